//! `save` and `load`: images as one archive, out and in.
//!
//! What is read may be an OCI layout or what Docker's `save` wrote at any time. Nothing in it is believed: every blob is
//! stored under the digest of its own bytes, and an image only if its layers have the digests that its configuration
//! says. `place` reads from the other places that images have on a machine.

use std::io::{Read, Write};

use serde::Deserialize;
use stave_oci::{
    BlobDigest, Compression, Descriptor, Document, ImageConfig, ImageId, Index, Manifest, Platform, Reference,
};
use stave_store::{BlobExpectation, ImageLayer, ImageManifest, LayerForm, Lease, NewImage, Tag};
use stave_tree::Dir;
use stave_tree::limits::TEXT_BYTES_MAX;

use crate::archive::{ArchiveWriter, ArchivedImage, blob_path, named};
use crate::attest::Statement;
use crate::base::{ORIGINAL, seconds};
use crate::build::Report;
use crate::confined;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::event::Event;
use crate::export::unwritable;
use crate::images::names as names_of;

mod place;
mod said;

/// An image that was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The image; of an index, the one for this machine.
    pub id: ImageId,
    /// The index, where it is for several platforms.
    pub index: Option<BlobDigest>,
    /// The names that it was given.
    pub names: Vec<Reference>,
}

/// One image of `manifest.json`, as Docker's `save` writes it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerEntry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// Where a part of an image is, and the digest and the size in bytes that it must have: Docker's list says neither.
type Part = (Vec<u8>, Option<(BlobDigest, u64)>);

/// An image found in an archive.
pub(crate) struct Found {
    config: Part,
    layers: Vec<Part>,
    names: Vec<Reference>,
    /// Its manifest with its bytes, where it has one that is a blob.
    manifest: Option<Box<(Descriptor, Vec<u8>)>>,
    /// What is said about it.
    statements: Vec<Statement>,
}

impl Found {
    /// Returns the configuration, with its bytes.
    ///
    /// Errors: it cannot be read, is no configuration, or is not what the manifest says.
    fn read_config(&self, root: &Dir) -> Result<(Vec<u8>, ImageConfig), EngineError> {
        let (path, expected) = &self.config;
        let bytes = match expected {
            Some(expected) => verified(root, path, *expected)?,
            None => read(root, path)?,
        };
        let config = serde_json::from_slice(&bytes)
            .map_err(|source| EngineError::tree("cannot use a configuration of the archive", source))?;
        Ok((bytes, config))
    }
}

/// What one entry of an archive stands for.
enum Entry {
    /// One image.
    Image(Found),
    /// An index with images for several platforms.
    Index { digest: BlobDigest, images: Vec<(Platform, Found)>, names: Vec<Reference> },
}

impl Entry {
    /// Returns the image for a platform; where there is but one, that one.
    fn best_for(self, platform: &Platform) -> Result<Found, EngineError> {
        match self {
            Self::Image(found) => Ok(found),
            Self::Index { images, names, .. } => {
                let found = platform.best_of(images).ok_or_else(|| {
                    EngineError::request(format!("an index of the archive has no image for {platform}"), None)
                })?;
                Ok(Found { names, ..found })
            }
        }
    }

    /// Returns the image for the platform that was asked for.
    ///
    /// Errors: it is for none that runs there. What says no platform itself is what was asked for.
    fn only_for(self, root: &Dir, wanted: &Platform) -> Result<Self, EngineError> {
        let image = self.best_for(wanted)?;
        let (bytes, config) = image.read_config(root)?;
        let found = config.platform();
        if found.os.is_empty() || found.runs_on(wanted) {
            return Ok(Self::Image(image));
        }
        let (found, wanted) = (found.to_string(), wanted.to_string());
        Err(EngineError::Platform { image: ImageId::of(&bytes).to_string(), found, wanted })
    }

    /// Returns its images.
    fn images(&mut self) -> Vec<&mut Found> {
        match self {
            Self::Image(found) => vec![found],
            Self::Index { images, .. } => images.iter_mut().map(|(_, found)| found).collect(),
        }
    }

    fn names(&mut self) -> &mut Vec<Reference> {
        match self {
            Self::Image(Found { names, .. }) | Self::Index { names, .. } => names,
        }
    }
}

impl Engine {
    /// Writes images, each given by name or id, as one archive, with what is said about them: of several platforms the one
    /// asked for, or all. A reader of Docker's list finds the one for this machine.
    pub fn save(
        &self,
        (names, platform): (&[String], Option<&Platform>),
        out: &mut dyn Write,
        events: &(dyn Fn(Event) + Sync),
    ) -> Result<(), EngineError> {
        let lease = self.lease()?;
        // Everything that can be refused is refused before the first byte.
        let mut builds = Vec::new();
        for name in names {
            let record = self.image_for_platform(&lease, name, platform)?;
            // An image named by its id is saved without a name, as Docker does.
            let asked: Vec<Reference> = name
                .parse::<Reference>()
                .ok()
                .filter(|asked| names_of(&record).iter().any(|known| known.to_string() == asked.to_string()))
                .into_iter()
                .collect();
            let build = self.prepare_stored(&lease, name, (platform, &asked), events)?;
            builds.push((record.id, asked, build));
        }
        let mut writer = ArchiveWriter::new(out).map_err(unwritable)?;
        let (mut entries, mut for_docker): (Vec<Descriptor>, Vec<ArchivedImage>) = (Vec::new(), Vec::new());
        for (own, asked, build) in &builds {
            for image in &build.images {
                let is_own = image.config_descriptor.digest == BlobDigest::from(*own);
                let image = image.write(self, &mut writer, if is_own { asked } else { &[] })?;
                match for_docker.iter_mut().find(|earlier| earlier.config == image.config) {
                    Some(earlier) => earlier.names.extend(image.names),
                    None if is_own => for_docker.push(image),
                    None => {}
                }
            }
            build.write_rest(&mut writer)?;
            let referring = build.said.referring.iter().map(|attached| attached.descriptor.clone());
            for entry in named(&build.descriptor, asked).into_iter().chain(referring) {
                if !entries.contains(&entry) {
                    entries.push(entry);
                }
            }
        }
        writer.finish_with(entries, &for_docker).map_err(unwritable)?;
        self.store.settle()?;
        Ok(())
    }

    /// Reads the images of an archive into the store, with what it says about them; of an image for several platforms the
    /// one for `platform`, or all.
    ///
    /// # Errors
    /// If one of them is not for that platform, or is not what its digests say.
    pub fn load(
        &self,
        input: Box<dyn Read + Send>,
        platform: Option<&Platform>,
        events: &(dyn Fn(Event) + Sync),
    ) -> Result<Vec<Loaded>, EngineError> {
        let loaded = self.load_for(&self.lease()?, input, platform, events)?;
        self.store.settle()?;
        Ok(loaded)
    }

    /// Reads the images of an archive into the store; of an image for several platforms the one that is `wanted`, or all.
    fn load_for(
        &self,
        lease: &Lease,
        input: Box<dyn Read + Send>,
        wanted: Option<&Platform>,
        events: Report<'_>,
    ) -> Result<Vec<Loaded>, EngineError> {
        let work = lease.work_dir()?;
        let root = self.store_dir(&work.diff_rel_path())?;
        let mut input = input;
        confined::extract(self, &root, &mut input, "the archive")?;
        let loaded = self.load_entries(lease, &root, find(&root)?, wanted, events)?;
        if loaded.is_empty() {
            return Err(EngineError::request("the archive has no image", None));
        }
        Ok(loaded)
    }

    /// Reads what the entries stand for into the store, with their names; of an image for several platforms the one that
    /// is `wanted`, or all.
    ///
    /// Errors: one of them is not for that platform; then no name has moved.
    fn load_entries(
        &self,
        lease: &Lease,
        root: &Dir,
        mut entries: Vec<Entry>,
        wanted: Option<&Platform>,
        events: Report<'_>,
    ) -> Result<Vec<Loaded>, EngineError> {
        if let Some(wanted) = wanted {
            entries = entries.into_iter().map(|entry| entry.only_for(root, wanted)).collect::<Result<_, _>>()?;
        }
        entries.into_iter().map(|entry| self.load_entry(lease, root, entry, events)).collect()
    }

    /// Reads what one entry of an archive stands for into the store, with its names.
    fn load_entry(&self, lease: &Lease, root: &Dir, entry: Entry, events: Report<'_>) -> Result<Loaded, EngineError> {
        self.go_on()?;
        let (digest, images, names) = match entry {
            Entry::Image(found) => return self.load_one(lease, root, found, events),
            Entry::Index { digest, images, names } => (digest, images, names),
        };
        let mut ids = Vec::new();
        for (platform, found) in images {
            // That some are for other platforms is what an index is for.
            ids.push((platform, self.load_one(lease, root, found, &|_| ())?.id));
        }
        let tags: Vec<Tag> = names.iter().map(|name| Tag::new(name, None)).collect();
        self.name_index(lease, digest, &ids, &tags)?;
        let id = lease.resolve_image(&names.first().map_or(digest.to_string(), Reference::to_string))?.id;
        Ok(Loaded { id, index: Some(digest), names })
    }

    /// Reads the one image of an unpacked archive or of a layout into the store, without its names; of an index, the image
    /// for this machine.
    pub(crate) fn load_without_names(
        &self,
        lease: &Lease,
        root: &Dir,
        events: Report<'_>,
    ) -> Result<ImageId, EngineError> {
        let mut found = find(root)?;
        match (found.pop(), found.len()) {
            (Some(entry), 0) => {
                let found = entry.best_for(&Platform::host())?;
                Ok(self.load_one(lease, root, Found { names: Vec::new(), ..found }, events)?.id)
            }
            (_, others) => {
                let images = if others == 0 { 0 } else { others + 1 };
                Err(EngineError::request(format!("the archive has {images} images, and one is expected"), None))
            }
        }
    }

    pub(crate) fn load_one(
        &self,
        lease: &Lease,
        root: &Dir,
        found: Found,
        events: Report<'_>,
    ) -> Result<Loaded, EngineError> {
        let (bytes, config) = found.read_config(root)?;
        if !config.platform().runs_on(&Platform::host()) && !config.os.is_empty() {
            let message = format!("an image of the archive is for {}", config.platform());
            events(Event::Notice { message });
        }
        let id = ImageId::of(&bytes);
        if config.rootfs.diff_ids.len() != found.layers.len() {
            let (layers, digests) = (found.layers.len(), config.rootfs.diff_ids.len());
            let message = format!("image {id} of the archive has {layers} layers, and its configuration {digests}");
            return Err(EngineError::request(message, None));
        }
        let (mut layers, mut unpacked, mut size) = (Vec::new(), Vec::new(), 0);
        for ((path, expected), diff_id) in found.layers.iter().zip(&config.rootfs.diff_ids) {
            if lease.layer_by_diff_id(diff_id)?.is_none() {
                self.load_blob(lease, root, path, *expected, diff_id)?;
            }
            let layer = self.unpack_known(lease, *diff_id, &unpacked, events)?;
            unpacked.push(layer);
            size += self.store.layer_source_bytes(layer)?.unwrap_or_default();
            layers.push(ImageLayer { diff_id: *diff_id, layer: Some(layer) });
        }
        let created = config.created.as_deref().and_then(seconds);
        let manifest = kept_manifest(lease, found.manifest)?;
        let image = NewImage { config: &bytes, created, size, layers, manifest };
        let tags: Vec<Tag> = found.names.iter().map(|name| Tag::new(name, None)).collect();
        lease.put_image(&image, &tags)?;
        if !found.statements.is_empty() {
            self.keep_statements(lease, &id, &found.statements)?;
        }
        Ok(Loaded { id, index: None, names: found.names })
    }

    /// Stores a layer of an archive as a blob, under the digest of its own bytes.
    fn load_blob(
        &self,
        lease: &Lease,
        root: &Dir,
        path: &[u8],
        expected: Option<(BlobDigest, u64)>,
        diff_id: &stave_oci::DiffId,
    ) -> Result<(), EngineError> {
        let unreadable = |error| EngineError::tree("cannot read a layer of the archive", error);
        let mut file = root.open_file(path).map_err(unreadable)?;
        let expected =
            expected.map_or_else(BlobExpectation::none, |(digest, size)| BlobExpectation::exactly(digest, size));
        let mut writer = lease.blob_writer(expected)?;
        std::io::copy(&mut file, &mut writer)
            .map_err(|source| EngineError::io("store", "a layer of the archive", source))?;
        let (digest, size) = writer.commit()?;
        let mut head = [0; 4];
        let mut blob = self.store.open_blob(&digest)?;
        let known = blob.read(&mut head).map_err(|source| EngineError::io("read", digest.to_string(), source))?;
        let (compression, media_type) = match &head[..known] {
            [0x1f, 0x8b, ..] => (Compression::Gzip, stave_oci::media_type::OCI_LAYER_GZIP),
            [0x28, 0xb5, 0x2f, 0xfd] => (Compression::Zstd, stave_oci::media_type::OCI_LAYER_ZSTD),
            _ => (Compression::None, stave_oci::media_type::OCI_LAYER),
        };
        let (parameters, media_type) = (ORIGINAL.to_owned(), media_type.to_owned());
        lease.set_layer_form(&LayerForm { diff_id: *diff_id, compression, parameters, digest, size, media_type })?;
        Ok(())
    }
}

/// Stores the manifest that an image came with, so that it goes on with it. One with layers that are not compressed is made
/// anew whenever it is needed, and nobody wants to push it.
fn kept_manifest(
    lease: &Lease,
    found: Option<Box<(Descriptor, Vec<u8>)>>,
) -> Result<Option<ImageManifest>, EngineError> {
    let Some((descriptor, bytes)) = found.map(|found| *found) else { return Ok(None) };
    let parsed = Document::parse(&bytes, &descriptor.media_type);
    let is_small = |layer: &Descriptor| layer.media_type.ends_with("gzip") || layer.media_type.ends_with("zstd");
    match parsed {
        Ok(Document::Manifest(manifest)) if manifest.layers.iter().all(is_small) => {
            lease.put_blob(&bytes)?;
            let (digest, media_type, source) = (descriptor.digest, descriptor.media_type, String::new());
            Ok(Some(ImageManifest { digest, media_type, source }))
        }
        _ => Ok(None),
    }
}

/// Finds the images of an unpacked archive: by the OCI index, where that has all names that Docker's list has, else by that
/// list, which knows one platform alone.
fn find(root: &Dir) -> Result<Vec<Entry>, EngineError> {
    let exists = |path: &[u8]| root.exists(path).map_err(|error| EngineError::tree("cannot read the archive", error));
    let has_index = exists(b"index.json")?;
    if exists(b"manifest.json")? {
        let entries: Vec<DockerEntry> = serde_json::from_slice(&read(root, b"manifest.json")?)
            .map_err(|source| EngineError::tree("cannot use `manifest.json` of the archive", source))?;
        let listed = entries.into_iter().map(docker_image).collect::<Result<Vec<_>, _>>()?;
        if has_index && exists(b"oci-layout")? {
            let mut images = oci_images(root)?;
            let known: Vec<&Reference> = images.iter_mut().flat_map(|image| image.names().iter()).collect();
            if listed.iter().flat_map(|image| &image.names).all(|name| known.contains(&name)) && !images.is_empty() {
                return Ok(images);
            }
        }
        return Ok(listed.into_iter().map(Entry::Image).collect());
    }
    if has_index {
        return oci_images(root);
    }
    Err(EngineError::request(
        "the archive is no image archive: it has neither `manifest.json` nor `index.json`",
        Some("`stave import FILE NAME` makes an image of an archive of files."),
    ))
}

fn docker_image(entry: DockerEntry) -> Result<Found, EngineError> {
    let names = entry.repo_tags.unwrap_or_default();
    Ok(Found {
        config: (entry.config.into_bytes(), None),
        layers: entry.layers.into_iter().map(|path| (path.into_bytes(), None)).collect(),
        names: names.iter().map(|name| reference(name)).collect::<Result<_, _>>()?,
        manifest: None,
        statements: Vec::new(),
    })
}

fn reference(name: &str) -> Result<Reference, EngineError> {
    Reference::of_new_name(name).map_err(|source| EngineError::tree("cannot use a name of the archive", source))
}

fn oci_images(root: &Dir) -> Result<Vec<Entry>, EngineError> {
    let unusable = |source| EngineError::tree("cannot use `index.json` of the archive", source);
    let index: Index = serde_json::from_slice(&read(root, b"index.json")?).map_err(unusable)?;
    let mut found: Vec<(Descriptor, Entry)> = Vec::new();
    // What refers to an image is none.
    for descriptor in index.manifests.iter().filter(|entry| entry.artifact_type.is_empty()) {
        let name = image_name(descriptor)?;
        if let Some((_, entry)) = found.iter_mut().find(|(earlier, _)| earlier.digest == descriptor.digest) {
            entry.names().extend(name);
            continue;
        }
        let mut entry = oci_entry(root, descriptor)?;
        entry.names().extend(name);
        found.push((descriptor.clone(), entry));
    }
    said::tell(root, &index.manifests, found.iter_mut().flat_map(|(_, entry)| entry.images()).collect())?;
    Ok(found.into_iter().map(|(_, image)| image).collect())
}

/// Returns the image's name that an entry of a layout says.
fn image_name(entry: &Descriptor) -> Result<Option<Reference>, EngineError> {
    entry.annotations.get("io.containerd.image.name").map(|name| reference(name)).transpose()
}

/// Returns what a descriptor leads to: of an index all images that the archive has, where they are several, else the one
/// for this machine.
fn oci_entry(root: &Dir, descriptor: &Descriptor) -> Result<Entry, EngineError> {
    let mut images = Vec::new();
    if let Document::Index(index) = document(root, descriptor)?.1 {
        for entry in &index.manifests {
            // Attestations stand in an index as manifests for no platform; of what was saved in part, not all is there.
            let Some(platform) = entry.platform.as_ref().filter(|platform| platform.os != "unknown") else { continue };
            let path = blob_path(&entry.digest);
            let there = root.exists(path.as_bytes());
            if there.map_err(|error| EngineError::tree("cannot read the archive", error))? {
                images.push((platform.normal(), image_for(root, entry, platform)?));
            }
        }
        said::tell(root, &index.manifests, images.iter_mut().map(|(_, found)| found).collect())?;
    }
    if images.len() > 1 {
        return Ok(Entry::Index { digest: descriptor.digest, images, names: Vec::new() });
    }
    match images.pop() {
        Some((_, only)) => Ok(Entry::Image(only)),
        None => image_for(root, descriptor, &Platform::host()).map(Entry::Image),
    }
}

/// Returns the parts of the image for `platform` that `descriptor` leads to, as an OCI layout has them.
pub(crate) fn image_for(root: &Dir, descriptor: &Descriptor, platform: &Platform) -> Result<Found, EngineError> {
    let (descriptor, bytes, manifest) = manifest(root, descriptor, platform, 0)?;
    let part = |blob: Descriptor| (blob_path(&blob.digest).into_bytes(), Some((blob.digest, blob.size)));
    Ok(Found {
        config: part(manifest.config),
        layers: manifest.layers.into_iter().map(part).collect(),
        names: Vec::new(),
        manifest: Some(Box::new((descriptor, bytes))),
        statements: Vec::new(),
    })
}

/// How deep indexes may be nested in an archive.
const INDEX_DEPTH_MAX: u32 = 2;

/// Reads the manifest that a descriptor leads to, with its bytes; of an index, the one for `platform`.
fn manifest(
    root: &Dir,
    descriptor: &Descriptor,
    platform: &Platform,
    depth: u32,
) -> Result<(Descriptor, Vec<u8>, Manifest), EngineError> {
    match document(root, descriptor)? {
        (bytes, Document::Manifest(manifest)) => {
            Ok((Descriptor::new(&manifest.media_type, descriptor.digest, descriptor.size), bytes, manifest))
        }
        (_, Document::Index(_)) if depth >= INDEX_DEPTH_MAX => {
            Err(EngineError::request("the indexes of the archive are nested too deep", None))
        }
        (_, Document::Index(index)) => {
            // One that says nothing of a platform is for all.
            let offered = |entry: &Descriptor| entry.platform.clone().unwrap_or_else(|| platform.clone());
            let entry =
                platform.best_of(index.manifests.iter().map(|entry| (offered(entry), entry))).ok_or_else(|| {
                    EngineError::request(format!("an index of the archive has no image for {platform}"), None)
                })?;
            manifest(root, entry, platform, depth + 1)
        }
    }
}

/// Reads the manifest or the index that a descriptor leads to, which must have its digest, with its bytes.
fn document(root: &Dir, descriptor: &Descriptor) -> Result<(Vec<u8>, Document), EngineError> {
    let bytes = verified(root, blob_path(&descriptor.digest).as_bytes(), (descriptor.digest, descriptor.size))?;
    let document = Document::parse(&bytes, &descriptor.media_type)
        .map_err(|source| EngineError::tree("cannot use a manifest of the archive", source))?;
    Ok((bytes, document))
}

/// Reads the blob at `path`, which must have this digest and this size in bytes.
fn verified(root: &Dir, path: &[u8], named: (BlobDigest, u64)) -> Result<Vec<u8>, EngineError> {
    checked(read(root, path)?, named)
}

/// Returns what was read, which must have this digest and this size in bytes.
fn checked(bytes: Vec<u8>, (digest, size): (BlobDigest, u64)) -> Result<Vec<u8>, EngineError> {
    let (actual, read) = (BlobDigest::of(&bytes), bytes.len());
    if actual != digest {
        let message = format!("blob digest mismatch in the archive: expected {digest}, got {actual}");
        return Err(EngineError::request(message, None));
    }
    if read as u64 != size {
        let message =
            format!("blob size mismatch in the archive: expected {size} bytes for {digest}, got {read} bytes");
        return Err(EngineError::request(message, None));
    }
    Ok(bytes)
}

pub(crate) fn read(root: &Dir, path: &[u8]) -> Result<Vec<u8>, EngineError> {
    read_most(root, path, TEXT_BYTES_MAX)
}

/// Reads a file of an archive that has at most so many bytes.
fn read_most(root: &Dir, path: &[u8], most: u64) -> Result<Vec<u8>, EngineError> {
    root.read_file(path, most).map_err(|error| {
        EngineError::tree(format!("cannot read `{}` of the archive", String::from_utf8_lossy(path)), error)
    })
}
