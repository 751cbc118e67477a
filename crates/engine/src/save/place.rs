//! Images come from places on this machine, as [`ImagePlace`] names them.

use std::fs::File;
use std::path::Path;

use stave_oci::{Descriptor, Document, Manifest, Platform, Reference};
use stave_store::Lease;
use stave_tree::Dir;

use super::{DockerEntry, Entry, Found, Loaded, docker_image, image_for, image_name, oci_entry, read, said, verified};
use crate::build::Report;
use crate::confined;
use crate::engine::{Engine, open_user_dir};
use crate::error::EngineError;
use crate::event::{Event, TaskKind};
use crate::export::fetch_from_daemon;
use crate::layout::{REF_NAME, choose};
use crate::place::{ImagePlace, WhichImage};
use crate::request::LayoutSource;
use crate::task::Task;

impl Engine {
    /// Takes the images that `place` names into the store, with the names that they have there; of an image for several
    /// platforms the one for `platform`, or all of them. `socket` is where a daemon listens, if one does.
    ///
    /// # Errors
    /// If there is no such image, or it is not what its digests say.
    pub fn pull_from_place(
        &self,
        place: &ImagePlace,
        (platform, socket): (Option<&Platform>, Option<&Path>),
        events: &(dyn Fn(Event) + Sync),
    ) -> Result<Vec<Loaded>, EngineError> {
        let lease = self.lease()?;
        let load = |root: &Dir, entries| self.load_entries(&lease, root, entries, platform, events);
        let loaded = match place {
            ImagePlace::Layout { path, name } => {
                Task::during(events, TaskKind::Fetch, format!("load {}", path.display()), |_| {
                    let root = open_user_dir(path)?;
                    load(&root, vec![layout_entry(&root, (path, name.as_deref(), platform))?])
                })?
            }
            ImagePlace::OciArchive { path, name } => self.unpacked(&lease, path, events, |root| {
                load(root, vec![layout_entry(root, (path, name.as_deref(), platform))?])
            })?,
            ImagePlace::DockerArchive { path, which } => {
                self.unpacked(&lease, path, events, |root| load(root, docker_entries(root, path, which.as_ref())?))?
            }
            ImagePlace::Dir(path) => Task::during(events, TaskKind::Fetch, format!("load {}", path.display()), |_| {
                let root = open_user_dir(path)?;
                load(&root, vec![dir_entry(&root, path, platform)?])
            })?,
            ImagePlace::Daemon(image) => {
                let socket = socket.ok_or_else(|| EngineError::NoDaemon(image.clone()))?;
                let archive = fetch_from_daemon(socket, image)?;
                self.load_for(&lease, Box::new(archive), platform, events)?
            }
        };
        self.store.settle()?;
        Ok(loaded)
    }

    /// Unpacks the archive at `path`, and has `take` take images out of it.
    fn unpacked<T>(
        &self,
        lease: &Lease,
        path: &Path,
        events: Report<'_>,
        take: impl FnOnce(&Dir) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        Task::during(events, TaskKind::Fetch, format!("load {}", path.display()), |_| {
            let mut file = File::open(path).map_err(|source| EngineError::io("open", path, source))?;
            let work = lease.work_dir()?;
            let root = self.store_dir(&work.diff_rel_path())?;
            confined::extract(self, &root, &mut file, &format!("`{}`", path.display()))?;
            take(&root)
        })
    }
}

/// Returns the image of a layout that has the name, or the images of its index, with the name that it has there.
fn layout_entry(
    root: &Dir,
    (path, name, platform): (&Path, Option<&str>, Option<&Platform>),
) -> Result<Entry, EngineError> {
    let layout = LayoutSource { path: path.to_owned(), tag: name.map(str::to_owned), digest: None };
    let chosen = choose(root, &layout)?;
    let mut entry = match platform {
        Some(platform) => Entry::Image(image_for(root, &chosen, platform)?),
        None => oci_entry(root, &chosen)?,
    };
    entry.names().extend(image_name(&chosen)?.or_else(|| named_by_tag(&chosen)));
    let list: stave_oci::Index = serde_json::from_slice(&read(root, b"index.json")?)
        .map_err(|source| EngineError::tree(format!("cannot use `index.json` of `{}`", path.display()), source))?;
    said::tell(root, &list.manifests, entry.images())?;
    Ok(entry)
}

/// Returns the name that the tag of an entry is, as Podman takes it, if it is one.
fn named_by_tag(entry: &Descriptor) -> Option<Reference> {
    let name: Reference = entry.annotations.get(REF_NAME)?.parse().ok()?;
    // With a digest it would say what the manifest is.
    name.digest.is_none().then_some(name)
}

/// Returns the images of what Docker wrote, or the one that is asked for.
fn docker_entries(root: &Dir, path: &Path, which: Option<&WhichImage>) -> Result<Vec<Entry>, EngineError> {
    let list: Vec<DockerEntry> = serde_json::from_slice(&read(root, b"manifest.json")?)
        .map_err(|source| EngineError::tree(format!("cannot use `manifest.json` of `{}`", path.display()), source))?;
    let mut images = list.into_iter().map(docker_image).collect::<Result<Vec<Found>, _>>()?;
    let number = match which {
        None => return Ok(images.into_iter().map(Entry::Image).collect()),
        Some(WhichImage::Numbered(number)) => Some(*number).filter(|&number| number < images.len()),
        Some(WhichImage::Named(name)) => {
            images.iter().position(|image| image.names.iter().any(|known| known.to_string() == name.to_string()))
        }
    };
    let Some(number) = number else {
        let names: Vec<String> = images.iter().flat_map(|image| &image.names).map(ToString::to_string).collect();
        let hint = match names.as_slice() {
            [] => format!("It has {}, and no names.", counted(images.len())),
            names => format!("It has {}: {}.", counted(images.len()), names.join(", ")),
        };
        return Err(EngineError::request(format!("`{}` has no such image", path.display()), Some(&hint)));
    };
    Ok(vec![Entry::Image(images.swap_remove(number))])
}

fn counted(images: usize) -> String {
    if images == 1 { "1 image".to_owned() } else { format!("{images} images") }
}

/// Returns the image that a `dir:` has, or the images of its index.
fn dir_entry(root: &Dir, path: &Path, platform: Option<&Platform>) -> Result<Entry, EngineError> {
    let there = |name: &str| root.exists(name.as_bytes()).map_err(|error| unreadable(path, error));
    if !there("version")? || !there("manifest.json")? {
        let message = format!("`{}` has no image: `version` or `manifest.json` is missing in it", path.display());
        return Err(EngineError::request(message, Some("A layout with `index.json` is named `oci:DIRECTORY`.")));
    }
    let bytes = read(root, b"manifest.json")?;
    let digest = stave_oci::BlobDigest::of(&bytes);
    let index = match parse(path, &bytes)? {
        Document::Manifest(manifest) => return Ok(Entry::Image(dir_image(manifest))),
        Document::Index(index) => index,
    };
    let mut images = Vec::new();
    for entry in index.manifests {
        let Some(platform) = entry.platform.as_ref().filter(|platform| platform.os != "unknown") else { continue };
        let file = format!("{}.manifest.json", entry.digest.hex());
        if there(&file)? {
            images.push((platform.normal(), dir_image(dir_manifest(root, path, &entry)?)));
        }
    }
    if let Some(wanted) = platform {
        let chosen = wanted.best_of(images).ok_or_else(|| {
            EngineError::request(format!("the index in `{}` has no image for {wanted}", path.display()), None)
        })?;
        return Ok(Entry::Image(chosen));
    }
    if images.is_empty() {
        let message = format!("the index in `{}` has no image whose manifest is there", path.display());
        return Err(EngineError::request(message, Some("Copy it with its images, as `skopeo copy --all` does.")));
    }
    Ok(Entry::Index { digest, images, names: Vec::new() })
}

fn dir_manifest(root: &Dir, path: &Path, entry: &Descriptor) -> Result<Manifest, EngineError> {
    let bytes = verified(root, format!("{}.manifest.json", entry.digest.hex()).as_bytes(), (entry.digest, entry.size))?;
    match parse(path, &bytes)? {
        Document::Manifest(manifest) => Ok(manifest),
        Document::Index(_) => Err(EngineError::request(format!("`{}` has an index in an index", path.display()), None)),
    }
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Document, EngineError> {
    Document::parse(bytes, "")
        .map_err(|source| EngineError::tree(format!("cannot use a manifest of `{}`", path.display()), source))
}

fn unreadable(path: &Path, error: impl std::error::Error + Send + Sync + 'static) -> EngineError {
    EngineError::tree(format!("cannot read `{}`", path.display()), error)
}

/// Blobs are files there, named by their digests.
fn dir_image(manifest: Manifest) -> Found {
    let part = |blob: Descriptor| (blob.digest.hex().into_bytes(), Some((blob.digest, blob.size)));
    Found {
        config: part(manifest.config),
        layers: manifest.layers.into_iter().map(part).collect(),
        names: Vec::new(),
        manifest: None,
        statements: Vec::new(),
    }
}
