//! What can be done with images that are there: list, name, remove, describe, pull, push.

use std::path::Path;

use serde_json::Value;
use stave_dockerfile::suggest::nearest;
use stave_oci::{BlobDigest, Descriptor, ImageConfig, ImageId, Platform, Reference};
use stave_registry::{OpenBlob, PushImage};
use stave_store::{ImageRecord, Lease, Tag};
use stave_tree::Times;

use crate::base::seconds;
use crate::build::Report;
use crate::compose::Composed;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::event::Event;
use crate::export::{
    Prepared, PreparedBuild, Pushed, Said, Sending, joined, put_dir, put_in_daemon, put_in_docker_archive,
    put_in_layout, put_in_oci_archive, send,
};
use crate::finish::ReadyImage;
use crate::form::ImageForm;
use crate::forms::{BuiltLayer, PackedLayer};
use crate::inspect;
use crate::place::{ImagePlace, WhichImage};
use crate::platforms::platforms;

/// An image as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSummary {
    /// Digest of its configuration.
    pub id: ImageId,
    /// Its names with tags.
    pub names: Vec<Reference>,
    /// The digests under which registries have it, with the repository's name as Docker prints it.
    pub digests: Vec<(String, BlobDigest)>,
    /// When it says that it was made, in seconds since 1970.
    pub created: Option<i64>,
    /// Uncompressed bytes of all layers.
    pub size: u64,
    /// How many containers were made from it.
    pub containers: usize,
}

/// What a name stands for on one platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImagePlatform {
    /// Which.
    pub platform: Platform,
    /// The image.
    pub id: ImageId,
    /// Uncompressed bytes of all layers.
    pub size: u64,
    /// How many containers were made from it.
    pub containers: usize,
}

/// What removing an image did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// This name no longer names anything.
    Untagged(String),
    /// This image is gone.
    Deleted(ImageId),
}

/// One line of an image's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryLine {
    /// The image, on the newest line only.
    pub image: Option<ImageId>,
    /// When the line was made, in seconds since 1970.
    pub created: Option<i64>,
    /// What made it.
    pub created_by: String,
    /// Uncompressed bytes of its layer.
    pub size: u64,
    /// A remark.
    pub comment: String,
}

/// An image that was pulled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// The image.
    pub id: ImageId,
    /// Its name, with the registry.
    pub name: Reference,
    /// The digest under which the registry has it.
    pub digest: BlobDigest,
    /// Whether it was not here before.
    pub fresh: bool,
}

fn tagged(name: &Reference, tags: Vec<String>) -> Vec<Reference> {
    tags.into_iter().map(|tag| Reference { tag: Some(tag), digest: None, ..name.clone() }).collect()
}

/// Which types of manifests a place takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kinds {
    /// Docker's and OCI's.
    Any,
    /// OCI's alone.
    Oci,
}

impl Kinds {
    fn allows(self, media_type: &str) -> bool {
        self == Self::Any || media_type == stave_oci::media_type::OCI_MANIFEST
    }
}

impl Engine {
    /// Returns the name of the image in the store that is nearest to one that cannot be had, if one is near. A store that
    /// cannot be read has none.
    pub(crate) fn similar_image(&self, wanted: &str) -> Option<String> {
        let familiar = |reference: &str| {
            let reference = reference.parse::<Reference>().ok()?;
            let tag = reference.effective_tag().filter(|tag| *tag != "latest");
            Some(tag.map_or_else(|| reference.familiar_name(), |tag| format!("{}:{tag}", reference.familiar_name())))
        };
        let wanted = familiar(wanted)?;
        let images = self.store.images().unwrap_or_default();
        let names = images.iter().flat_map(|image| &image.tags).filter_map(|tag| familiar(&tag.reference));
        let names: Vec<String> = names.filter(|name| *name != wanted).collect();
        nearest(&wanted, names.iter().map(String::as_str)).map(str::to_owned)
    }

    /// Returns what platform an image of the store is for, by its name.
    pub(crate) fn platform_here(&self, name: &str) -> Option<Platform> {
        let reference = name.parse::<Reference>().ok()?;
        let record = self.store.find_image(&reference.to_string()).ok()?;
        Some(self.image_config(&record.id).ok()?.platform())
    }

    /// Returns all images, the latest first. Of those that share their names, one for each platform, only the one for
    /// this machine is among them, unless `all` are wanted.
    pub fn images(&self, all: bool) -> Result<Vec<ImageSummary>, EngineError> {
        let containers = self.store.containers()?;
        let mut records = self.store.images()?;
        let parts = self.store.parts()?;
        records.retain(|record| all || !parts.contains_key(&record.id));
        for record in &mut records {
            let shared = parts.get(&record.id).into_iter().flatten();
            record.tags.extend(shared.map(|name| Tag { reference: name.clone(), repo_digest: None }));
        }
        let summary = |record: &ImageRecord| ImageSummary {
            id: record.id,
            names: names(record),
            digests: digests(record),
            created: record.created,
            size: record.size,
            containers: containers.iter().filter(|container| container.image == record.id).count(),
        };
        Ok(records.iter().map(summary).collect())
    }

    /// Returns the images that a name or an id stands for, one for each platform.
    pub fn image_platforms(&self, name: &str) -> Result<Vec<ImagePlatform>, EngineError> {
        let ids: Vec<ImageId> = match self.store.find_index(name)? {
            Some(index) => index.images.iter().map(|(_, id)| *id).collect(),
            None => vec![self.store.find_image(name)?.id],
        };
        let containers = self.store.containers()?;
        let mut found = Vec::new();
        for id in ids {
            let Some(record) = self.store.image(&id)? else { continue };
            let platform = self.image_config(&id)?.platform();
            let containers = containers.iter().filter(|container| container.image == id).count();
            found.push(ImagePlatform { platform, id, size: record.size, containers });
        }
        Ok(found)
    }

    /// Returns the labels of an image.
    pub fn image_labels(&self, id: &ImageId) -> Result<std::collections::BTreeMap<String, String>, EngineError> {
        Ok(self.image_config(id)?.config.labels)
    }

    /// Gives an image another name.
    pub fn tag(&self, source: &str, target: &Reference) -> Result<(), EngineError> {
        Ok(self.store.tag_as(source, &Tag::new(target, None))?)
    }

    /// Removes a name, or an image with its last name.
    pub fn remove_image(&self, name: &str, force: bool) -> Result<Vec<Removed>, EngineError> {
        let removed = self.store.remove_image(name, force)?;
        let untagged = removed.untagged.iter().map(|name| Removed::Untagged(familiar_text(name)));
        let deleted = removed.deleted.into_iter().chain(removed.parts).map(Removed::Deleted);
        Ok(untagged.chain(deleted).collect())
    }

    /// Describes an image as `docker inspect` does.
    pub fn inspect_image(&self, name: &str, platform: Option<&Platform>) -> Result<Value, EngineError> {
        let record = self.image_for_platform(&self.lease()?, name, platform)?;
        let config = self.image_config(&record.id)?;
        let (names, digests) = (names(&record), digests(&record));
        let facts =
            inspect::ImageFacts { id: record.id, names: &names, digests: &digests, size: record.size, config: &config };
        Ok(inspect::image(&facts))
    }

    /// Returns the history of an image, newest line first.
    pub fn history(&self, name: &str, platform: Option<&Platform>) -> Result<Vec<HistoryLine>, EngineError> {
        let record = self.image_for_platform(&self.lease()?, name, platform)?;
        let config = self.image_config(&record.id)?;
        let mut sizes = Vec::new();
        for layer in &record.layers {
            sizes.push(self.layer_bytes(layer)?);
        }
        let mut sizes = sizes.into_iter();
        let mut lines: Vec<HistoryLine> = config
            .history
            .iter()
            .map(|entry| HistoryLine {
                image: None,
                created: entry.created.as_deref().and_then(seconds),
                created_by: entry.created_by.clone().unwrap_or_default(),
                size: if entry.empty_layer { 0 } else { sizes.next().unwrap_or_default() },
                comment: entry.comment.clone().unwrap_or_default(),
            })
            .collect();
        lines.reverse();
        if let Some(newest) = lines.first_mut() {
            newest.image = Some(record.id);
        }
        Ok(lines)
    }

    fn layer_bytes(&self, layer: &stave_store::ImageLayer) -> Result<u64, EngineError> {
        if let Some(id) = layer.layer
            && let Some(bytes) = self.store.layer_source_bytes(id)?
        {
            return Ok(bytes);
        }
        let packed = self.store.layers_that_pack_to(&layer.diff_id)?;
        for (id, times) in packed {
            if let Some((_, bytes)) = self.store.layer_tar(id, &times)? {
                return Ok(bytes);
            }
        }
        Ok(0)
    }

    /// Fetches an image from its registry, with all its layers. Of a short name with several meanings, the first image
    /// that there is.
    pub fn pull(
        &self,
        name: &str,
        platform: Option<&Platform>,
        events: &(dyn Fn(Event) + Sync),
    ) -> Result<Pulled, EngineError> {
        let lease = self.lease()?;
        let remote = self.find_remote(name, platform, events)?;
        let before = self.store.image(&remote.id)?.is_some();
        self.pull_image(&lease, &remote, events)?;
        self.store.settle()?;
        let digest = remote.resolved.index_digest.unwrap_or(remote.resolved.digest);
        Ok(Pulled { id: remote.id, name: remote.reference, digest, fresh: !before })
    }

    /// Returns the names of the store's images that differ from `name` in nothing but the tag.
    pub fn tags_here(&self, name: &Reference) -> Result<Vec<Reference>, EngineError> {
        let mut found: Vec<Reference> = self.store.images()?.iter().flat_map(names).collect();
        found.retain(|known| known.name() == name.name());
        found.sort();
        // Images for several platforms share a name.
        found.dedup();
        Ok(found)
    }

    /// Returns the names of the images in the registry that differ from `name` in nothing but the tag. Of a short name with
    /// several meanings, those of the first that has some.
    pub fn tags_there(&self, name: &str) -> Result<Vec<Reference>, EngineError> {
        let client = self.client()?;
        let mut first_error = None;
        for meaning in client.config().meanings(name).map_err(crate::base::unusable_name)? {
            match client.tags(&meaning) {
                Ok(tags) if tags.is_empty() => {}
                Ok(tags) => return Ok(tagged(&meaning, tags)),
                Err(error) => drop(first_error.get_or_insert(error)),
            }
        }
        first_error.map_or(Ok(Vec::new()), |error| Err(error.into()))
    }

    /// Sends an image, given by name or id, to the registry that `name` says: an image, or the images for several platforms
    /// with an index of them; with a platform, the one image for it. Returns the manifest or the index.
    ///
    /// # Errors
    /// If there is no such image, or the registry does not take it.
    pub fn push(
        &self,
        (source, name): (&str, &Reference),
        platform: Option<&Platform>,
        events: &(dyn Fn(Event) + Sync),
    ) -> Result<Descriptor, EngineError> {
        let lease = self.lease()?;
        let (pushed, said) = self.gather(&lease, source, (platform, Some(name), Kinds::Any), events)?;
        let sending = Sending { pushed: &pushed, said: &said, elsewhere: &[], insecure: false };
        send(self, &lease, name, &sending, events)?;
        let descriptor = pushed.descriptor();
        if platform.is_none() && self.is_name_of(name, source) {
            self.store.set_repo_digest(&Tag::new(name, Some(descriptor.digest)))?;
        }
        self.store.settle()?;
        Ok(descriptor)
    }

    /// Whether the store has the image `source` under the name `name`.
    fn is_name_of(&self, name: &Reference, source: &str) -> bool {
        let named = self.store.find_image(&name.to_string());
        let image = self.store.find_image(source);
        named.is_ok_and(|named| image.is_ok_and(|image| image.id == named.id))
    }

    /// Writes an image, given by name or id, to a place on this machine: of several platforms the one asked for; without
    /// one, all where the place holds several, else this machine's. `socket` is where a daemon listens, if one does.
    /// Returns the manifest or the index.
    ///
    /// # Errors
    /// If there is no such image, or it cannot be written there; a file, or the image of a directory, that was there stays
    /// as it was.
    pub fn push_to_place(
        &self,
        source: &str,
        place: &ImagePlace,
        (platform, socket): (Option<&Platform>, Option<&Path>),
        events: &(dyn Fn(Event) + Sync),
    ) -> Result<Descriptor, EngineError> {
        let lease = self.lease()?;
        let gather = |kinds| self.gather(&lease, source, (platform, None, kinds), events);
        let prepare = || {
            let record = self.image_for_platform(&lease, source, platform)?;
            let ready = self.ready_image(&lease, &record, events)?;
            Prepared::new(self, &lease, &ready, &ImageForm::plain(), events)
        };
        let descriptor = match place {
            ImagePlace::Layout { path, name } => {
                let (pushed, said) = gather(Kinds::Oci)?;
                put_in_layout(self, (&pushed, &said), (path, name.as_deref()), events)?;
                pushed.descriptor()
            }
            ImagePlace::OciArchive { path, name } => {
                let (pushed, said) = gather(Kinds::Oci)?;
                put_in_oci_archive(self, (&pushed, &said), (path, name.as_deref()), events)?;
                pushed.descriptor()
            }
            ImagePlace::Dir(path) => {
                let (pushed, _) = gather(Kinds::Any)?;
                put_dir(self, &pushed, path, events)?;
                pushed.descriptor()
            }
            ImagePlace::DockerArchive { path, which } => {
                let names = match which {
                    None => Vec::new(),
                    Some(WhichImage::Named(name)) => vec![name.clone()],
                    Some(WhichImage::Numbered(_)) => {
                        let hint = "Write `docker-archive:FILE[:NAME[:TAG]]`.";
                        return Err(EngineError::request("a new archive has no numbered images", Some(hint)));
                    }
                };
                put_in_docker_archive(self, &prepare()?, (path, &names), events)?
            }
            ImagePlace::Daemon(image) => {
                let socket = socket.ok_or_else(|| EngineError::NoDaemon(image.clone()))?;
                let name = image.parse::<Reference>().map_err(|error| {
                    EngineError::tree(format!("cannot use `docker-daemon:{image}` as the image's name"), error)
                })?;
                put_in_daemon(self, prepare()?, (socket, &name), events)?
            }
        };
        self.store.settle()?;
        Ok(descriptor)
    }

    /// Makes of an image what goes to a registry or a layout, and finds what is said about it. `name` is what it is called
    /// there, if that is an image's name.
    fn gather(
        &self,
        lease: &Lease,
        source: &str,
        (platform, name, kinds): (Option<&Platform>, Option<&Reference>, Kinds),
        events: Report<'_>,
    ) -> Result<(Pushed, Said), EngineError> {
        let (records, is_index) = self.records_of(lease, source, platform)?;
        let (mut images, mut about) = (Vec::new(), Vec::new());
        for (platform, record) in records {
            let image = self.push_image(lease, &record, kinds, events)?;
            let bytes = &image.manifest_bytes;
            let manifest = Descriptor::new(&image.media_type, BlobDigest::of(bytes), bytes.len() as u64);
            about.push((platform.clone(), manifest, self.kept_statements(&record.id)?));
            images.push((platform, image));
        }
        let about = about.iter().map(|(platform, manifest, statements)| (platform, manifest, statements.as_slice()));
        let own = source.parse::<Reference>().ok();
        let said = Said::about(about, name.or(own.as_ref()).map(std::slice::from_ref).unwrap_or_default());
        Ok((joined(images, &said, is_index), said))
    }

    /// Returns the images that `source` means, with their platforms: the one for `platform`, or all. They are an index if
    /// the second value says so.
    fn records_of(
        &self,
        lease: &Lease,
        source: &str,
        platform: Option<&Platform>,
    ) -> Result<(Vec<(Platform, ImageRecord)>, bool), EngineError> {
        let index = if platform.is_none() { self.store.find_index(source)? } else { None };
        let Some(index) = index else {
            let record = self.image_for_platform(lease, source, platform)?;
            return Ok((vec![(self.image_config(&record.id)?.platform(), record)], false));
        };
        let mut records = Vec::new();
        for (platform, id) in platforms(&index) {
            records.push((platform, lease.resolve_image(&id.to_string())?));
        }
        Ok((records, true))
    }

    /// Makes of an image what is written as files: as it came, or with layers that are tars as they are. Of several
    /// platforms the one asked for, or all. `names` are what the image is called there. Nothing is stored for it.
    pub(crate) fn prepare_stored(
        &self,
        lease: &Lease,
        source: &str,
        (platform, names): (Option<&Platform>, &[Reference]),
        events: Report<'_>,
    ) -> Result<PreparedBuild, EngineError> {
        let (records, is_index) = self.records_of(lease, source, platform)?;
        let mut images = Vec::new();
        for (platform, record) in records {
            let image = if let Some((bytes, manifest)) = self.as_it_came(&record, Kinds::Any)? {
                let config = self.image_config(&record.id)?;
                Prepared::as_it_came((self.store.image_config(&record.id)?, &config), (bytes, manifest))
            } else {
                let ready = self.ready_image(lease, &record, events)?;
                Prepared::new(self, lease, &ready, &ImageForm::plain(), events)?
            };
            images.push((platform, image, self.kept_statements(&record.id)?));
        }
        Ok(PreparedBuild::of_stored(images, names, is_index))
    }

    /// Returns the manifest that an image came with, if it is of these types and all that it names is here.
    fn as_it_came(
        &self,
        record: &ImageRecord,
        kinds: Kinds,
    ) -> Result<Option<(Vec<u8>, stave_oci::Manifest)>, EngineError> {
        let Some(manifest) = record.manifest.as_ref().filter(|manifest| kinds.allows(&manifest.media_type)) else {
            return Ok(None);
        };
        let bytes = self.store.read_blob(&manifest.digest, stave_registry::limits::MANIFEST_BYTES_MAX)?;
        match stave_oci::Document::parse(&bytes, &manifest.media_type) {
            Ok(stave_oci::Document::Manifest(mut parsed)) if self.has_all(&parsed)? => {
                // Its type may be said beside it alone.
                parsed.media_type.clone_from(&manifest.media_type);
                Ok(Some((bytes, parsed)))
            }
            _ => Ok(None),
        }
    }

    /// Returns an image with the manifest that it was pulled with, or a new one.
    fn push_image(
        &self,
        lease: &Lease,
        record: &ImageRecord,
        kinds: Kinds,
        events: Report<'_>,
    ) -> Result<PushImage, EngineError> {
        if let Some((manifest_bytes, parsed)) = self.as_it_came(record, kinds)? {
            let blobs =
                std::iter::once(parsed.config).chain(parsed.layers).map(|descriptor| self.stored(descriptor)).collect();
            return Ok(PushImage { manifest_bytes, media_type: parsed.media_type, blobs });
        }
        let ready = self.ready_image(lease, record, events)?;
        Prepared::new(self, lease, &ready, &ImageForm::default(), events)?.push_image(self, lease)
    }

    fn has_all(&self, manifest: &stave_oci::Manifest) -> Result<bool, EngineError> {
        for descriptor in std::iter::once(&manifest.config).chain(&manifest.layers) {
            if self.store.blob_size(&descriptor.digest)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns a blob of the store as a registry takes it.
    pub(crate) fn stored(&self, descriptor: Descriptor) -> (Descriptor, OpenBlob) {
        let (store, digest) = (self.store.clone(), descriptor.digest);
        let open = move || {
            let file = store.open_blob(&digest).map_err(std::io::Error::other)?;
            Ok(Box::new(file) as Box<dyn std::io::Read + Send>)
        };
        (descriptor, Box::new(open))
    }

    /// Returns an image of the store as if it had just been built, with its layers unpacked.
    pub(crate) fn ready_image(
        &self,
        lease: &Lease,
        record: &ImageRecord,
        events: Report<'_>,
    ) -> Result<ReadyImage, EngineError> {
        let bytes = self.store.image_config(&record.id)?;
        let config: ImageConfig = self.image_config(&record.id)?;
        let (mut layers, mut below) = (Vec::new(), Vec::new());
        for layer in &record.layers {
            let id = match layer.layer {
                Some(id) => id,
                None => self.unpack_known(lease, layer.diff_id, &below, events)?,
            };
            below.push(id);
            let packed = match self.tar_of(id, &layer.diff_id)? {
                Some(packed) => packed,
                None => PackedLayer {
                    layer: id,
                    diff_id: layer.diff_id,
                    bytes: self.layer_bytes(layer)?,
                    times: Times::Real,
                },
            };
            layers.push(BuiltLayer::Here(packed));
        }
        let base_layers = layers.len();
        Ok(ReadyImage { composed: Composed { id: record.id, bytes, config }, layers, files: Times::Real, base_layers })
    }
}

/// Returns an image's names that have tags.
pub(crate) fn names(record: &ImageRecord) -> Vec<Reference> {
    let parsed = record.tags.iter().filter_map(|tag| tag.reference.parse::<Reference>().ok());
    parsed.filter(|reference| reference.digest.is_none()).collect()
}

fn digests(record: &ImageRecord) -> Vec<(String, BlobDigest)> {
    let mut digests: Vec<(String, BlobDigest)> = record
        .tags
        .iter()
        .filter_map(|tag| Some((tag.reference.parse::<Reference>().ok()?.familiar_name(), tag.repo_digest?)))
        .collect();
    digests.dedup();
    digests
}

/// Returns a full reference as Docker prints it.
fn familiar_text(reference: &str) -> String {
    match reference.parse::<Reference>() {
        Ok(parsed) => match parsed.digest {
            Some(digest) => format!("{}@{digest}", parsed.familiar_name()),
            None => inspect::familiar(&parsed),
        },
        Err(_) => reference.to_owned(),
    }
}
