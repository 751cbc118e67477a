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
use stave_store::{BlobExpectation, ImageLayer, LayerForm, Lease, NewImage, Tag};
use stave_tree::Dir;
use stave_tree::limits::TEXT_BYTES_MAX;

use crate::archive::{ArchiveWriter, ArchivedImage, blob_path};
use crate::base::{ORIGINAL, seconds};
use crate::build::Report;
use crate::confined;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::event::Event;
use crate::export::{Prepared, unwritable};
use crate::form::ImageForm;
use crate::images::names as names_of;

mod place;

/// An image that was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The image.
    pub id: ImageId,
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

    fn names(&mut self) -> &mut Vec<Reference> {
        match self {
            Self::Image(Found { names, .. }) | Self::Index { names, .. } => names,
        }
    }
}

impl Engine {
    /// Writes images, each given by name or id, as one archive: of several platforms the one asked for, or this
    /// machine's.
    pub fn save(
        &self,
        (names, platform): (&[String], Option<&Platform>),
        out: &mut dyn Write,
        events: &(dyn Fn(Event) + Sync),
    ) -> Result<(), EngineError> {
        let lease = self.lease()?;
        // Everything that can be refused is refused before the first byte.
        let records =
            names.iter().map(|name| self.image_for_platform(&lease, name, platform)).collect::<Result<Vec<_>, _>>()?;
        let mut writer = ArchiveWriter::new(out).map_err(unwritable)?;
        let mut archived: Vec<ArchivedImage> = Vec::new();
        for (name, record) in names.iter().zip(records) {
            let ready = self.ready_image(&lease, &record, events)?;
            let prepared = Prepared::new(self, &lease, &ready, &ImageForm::plain(), events)?;
            // An image named by its id is saved without a name, as Docker does.
            let asked: Vec<Reference> = name
                .parse::<Reference>()
                .ok()
                .filter(|asked| names_of(&record).iter().any(|known| known.to_string() == asked.to_string()))
                .into_iter()
                .collect();
            let image = prepared.write(self, &mut writer, &asked)?;
            match archived.iter_mut().find(|earlier| earlier.config == image.config) {
                Some(earlier) => earlier.names.extend(image.names),
                None => archived.push(image),
            }
        }
        writer.finish(&archived, true).map_err(unwritable)?;
        self.store.settle()?;
        for name in names.iter().filter(|_| platform.is_none()) {
            self.note_left_out(name, events)?;
        }
        Ok(())
    }

    /// Says what of an image an archive that Docker reads does not have.
    fn note_left_out(&self, name: &str, events: Report<'_>) -> Result<(), EngineError> {
        let (saved, index) = (self.store.find_image(name)?.id, self.store.find_index(name)?);
        let others: Vec<String> = index
            .into_iter()
            .flat_map(|index| index.images)
            .filter(|(_, id)| *id != saved)
            .map(|(platform, _)| format!("the image for {platform}"))
            .collect();
        let said = !self.store.attestations(&saved)?.is_empty();
        let left: Vec<String> = others.into_iter().chain(said.then(|| "what is said about it".to_owned())).collect();
        if !left.is_empty() {
            let left = left.join(", ");
            let message =
                format!("of `{name}`, the archive lacks {left}: `stave push {name} oci-archive:FILE` writes all");
            events(Event::Notice { message });
        }
        Ok(())
    }

    /// Reads all images of an archive into the store.
    pub fn load(
        &self,
        input: Box<dyn Read + Send>,
        events: &(dyn Fn(Event) + Sync),
    ) -> Result<Vec<Loaded>, EngineError> {
        let loaded = self.load_for(&self.lease()?, input, None, events)?;
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
        Ok(Loaded { id, names })
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
        let image = NewImage { config: &bytes, created, size, layers, manifest: None };
        let tags: Vec<Tag> = found.names.iter().map(|name| Tag::new(name, None)).collect();
        lease.put_image(&image, &tags)?;
        Ok(Loaded { id, names: found.names })
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

/// Finds the images of an unpacked archive: by Docker's list, else by the OCI index.
fn find(root: &Dir) -> Result<Vec<Entry>, EngineError> {
    let exists = |path: &[u8]| root.exists(path).map_err(|error| EngineError::tree("cannot read the archive", error));
    if exists(b"manifest.json")? {
        let entries: Vec<DockerEntry> = serde_json::from_slice(&read(root, b"manifest.json")?)
            .map_err(|source| EngineError::tree("cannot use `manifest.json` of the archive", source))?;
        return entries.into_iter().map(|entry| docker_image(entry).map(Entry::Image)).collect();
    }
    if exists(b"index.json")? {
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
    for descriptor in index.manifests.into_iter().filter(|entry| entry.artifact_type.is_empty()) {
        let name = image_name(&descriptor)?;
        if let Some((_, entry)) = found.iter_mut().find(|(earlier, _)| earlier.digest == descriptor.digest) {
            entry.names().extend(name);
            continue;
        }
        let mut entry = oci_entry(root, &descriptor)?;
        entry.names().extend(name);
        found.push((descriptor, entry));
    }
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
    if let Document::Index(index) = document(root, descriptor)? {
        for entry in index.manifests {
            // Attestations stand in an index as manifests for no platform; of what was saved in part, not all is there.
            let Some(platform) = entry.platform.as_ref().filter(|platform| platform.os != "unknown") else { continue };
            let path = blob_path(&entry.digest);
            let there = root.exists(path.as_bytes());
            if there.map_err(|error| EngineError::tree("cannot read the archive", error))? {
                images.push((platform.normal(), image_for(root, &entry, platform)?));
            }
        }
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
    let manifest = manifest(root, descriptor, platform, 0)?;
    let part = |blob: Descriptor| (blob_path(&blob.digest).into_bytes(), Some((blob.digest, blob.size)));
    Ok(Found {
        config: part(manifest.config),
        layers: manifest.layers.into_iter().map(part).collect(),
        names: Vec::new(),
    })
}

/// How deep indexes may be nested in an archive.
const INDEX_DEPTH_MAX: u32 = 2;

/// Reads the manifest that a descriptor leads to; of an index, the one for `platform`.
fn manifest(root: &Dir, descriptor: &Descriptor, platform: &Platform, depth: u32) -> Result<Manifest, EngineError> {
    match document(root, descriptor)? {
        Document::Manifest(manifest) => Ok(manifest),
        Document::Index(_) if depth >= INDEX_DEPTH_MAX => {
            Err(EngineError::request("the indexes of the archive are nested too deep", None))
        }
        Document::Index(index) => {
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

/// Reads the manifest or the index that a descriptor leads to, which must have its digest.
fn document(root: &Dir, descriptor: &Descriptor) -> Result<Document, EngineError> {
    let bytes = verified(root, blob_path(&descriptor.digest).as_bytes(), (descriptor.digest, descriptor.size))?;
    Document::parse(&bytes, &descriptor.media_type)
        .map_err(|source| EngineError::tree("cannot use a manifest of the archive", source))
}

/// Reads the blob at `path`, which must have this digest and this size in bytes.
fn verified(root: &Dir, path: &[u8], (digest, size): (BlobDigest, u64)) -> Result<Vec<u8>, EngineError> {
    let bytes = read(root, path)?;
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
    root.read_file(path, TEXT_BYTES_MAX).map_err(|error| {
        EngineError::tree(format!("cannot read `{}` of the archive", String::from_utf8_lossy(path)), error)
    })
}
