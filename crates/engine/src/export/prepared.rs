//! Images become manifests, the blobs that they name, and an index where there are several.

use std::collections::BTreeSet;
use std::io::{self, Write};

use stave_oci::{BlobDigest, Descriptor, ImageConfig, Manifest, Platform, Reference, media_type};
use stave_registry::{PushImage, PushIndex};
use stave_store::Lease;

use super::BlobSink;
use super::said::Said;
use crate::archive::{ArchiveWriter, ArchivedImage};
use crate::attest::{Attached, Statement};
use crate::build::Report;
use crate::compose::Composed;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::finish::{Built, ReadyImage};
use crate::form::{AnnotationLevel, ImageForm};
use crate::forms::{BuiltLayer, LayerBlob, remote_blob};
use crate::regroup;

pub(crate) fn unwritable(source: io::Error) -> EngineError {
    EngineError::io("write", "the archive", source)
}

/// An image with a manifest, ready to be written anywhere.
pub(crate) struct Prepared {
    pub(crate) manifest: Vec<u8>,
    pub(crate) config: Vec<u8>,
    pub(crate) config_descriptor: Descriptor,
    pub(crate) layers: Vec<LayerBlob>,
    /// The entry for it in an index or a layout, with remarks but without its platform.
    pub(crate) descriptor: Descriptor,
    /// When the image says that it was made.
    pub(crate) created: Option<String>,
}

impl Prepared {
    /// Makes the manifest of an image, and all blobs that have to be compressed for it.
    pub(crate) fn new(
        engine: &Engine,
        lease: &Lease,
        image: &ReadyImage,
        form: &ImageForm,
        events: Report<'_>,
    ) -> Result<Self, EngineError> {
        let regrouped = match form.regroup {
            Some(how) => Some(regroup::regroup(engine, lease, image, how, events)?),
            None => None,
        };
        let image = regrouped.as_ref().unwrap_or(image);
        let platform = image.composed.config.platform();
        let layers = image
            .layers
            .iter()
            .map(|layer| {
                engine.go_on()?;
                match layer {
                    BuiltLayer::Here(packed) => engine.layer_blob(lease, *packed, form, events),
                    BuiltLayer::There(remote) => remote_blob(lease, remote, form),
                }
            })
            .collect::<Result<Vec<_>, _>>()?;
        let composed = with_layers(&image.composed, &layers);
        let (config_type, manifest_type) = if form.docker_types {
            (media_type::DOCKER_CONFIG, media_type::DOCKER_MANIFEST)
        } else {
            (media_type::OCI_CONFIG, media_type::OCI_MANIFEST)
        };
        let config_descriptor = Descriptor::new(config_type, composed.id.into(), composed.bytes.len() as u64);
        let manifest = Manifest {
            schema_version: 2,
            media_type: manifest_type.to_owned(),
            config: config_descriptor.clone(),
            layers: layers.iter().map(|layer| layer.descriptor.clone()).collect(),
            annotations: form.annotations.of(AnnotationLevel::Manifest, Some(&platform)),
        };
        let manifest = serde_json::to_vec(&manifest).expect("a manifest has only text keys");
        let mut descriptor = Descriptor::new(manifest_type, BlobDigest::of(&manifest), manifest.len() as u64);
        descriptor.annotations = form.annotations.of(AnnotationLevel::ManifestDescriptor, Some(&platform));
        let created = composed.config.created.clone();
        let config = composed.bytes;
        Ok(Self { manifest, config, config_descriptor, layers, descriptor, created })
    }

    /// Returns an image with the manifest that it came with. The store has all that this names.
    pub(crate) fn as_it_came(
        (config, parsed): (Vec<u8>, &ImageConfig),
        (bytes, manifest): (Vec<u8>, Manifest),
    ) -> Self {
        let descriptor = Descriptor::new(&manifest.media_type, BlobDigest::of(&bytes), bytes.len() as u64);
        let layers = manifest.layers.into_iter().zip(&parsed.rootfs.diff_ids);
        Self {
            manifest: bytes,
            config,
            config_descriptor: manifest.config,
            layers: layers.map(|(layer, diff_id)| LayerBlob::stored(layer, *diff_id)).collect(),
            descriptor,
            created: parsed.created.clone(),
        }
    }

    /// Writes the blobs into an archive.
    pub(crate) fn write<W: Write>(
        &self,
        engine: &Engine,
        writer: &mut ArchiveWriter<W>,
        names: &[Reference],
    ) -> Result<ArchivedImage, EngineError> {
        self.write_without(engine, writer, (names, &BTreeSet::new()))
    }

    /// Writes the blobs into an archive, without those of the layers at the places `known`, which whoever reads it has.
    pub(crate) fn write_without<W: Write>(
        &self,
        engine: &Engine,
        writer: &mut ArchiveWriter<W>,
        (names, known): (&[Reference], &BTreeSet<usize>),
    ) -> Result<ArchivedImage, EngineError> {
        for (_, layer) in self.layers.iter().enumerate().filter(|(place, _)| !known.contains(place)) {
            engine.go_on()?;
            let Descriptor { digest, size, .. } = layer.descriptor;
            if !writer.has(&digest) {
                engine.with_blob(layer, |bytes| writer.blob(digest, size, bytes))?;
            }
        }
        for (descriptor, bytes) in [(&self.config_descriptor, &self.config), (&self.descriptor, &self.manifest)] {
            writer.blob(descriptor.digest, descriptor.size, &mut bytes.as_slice()).map_err(unwritable)?;
        }
        Ok(self.archived(names))
    }

    /// Returns what an archive says of the image.
    fn archived(&self, names: &[Reference]) -> ArchivedImage {
        ArchivedImage {
            config: self.config_descriptor.digest,
            layers: self.layers.iter().map(|layer| layer.descriptor.digest).collect(),
            manifest: self.descriptor.clone(),
            names: names.to_vec(),
        }
    }

    /// Calls `write` with every blob, the manifest last. Each is a file of the store.
    ///
    /// Errors: a blob cannot be read.
    pub(crate) fn each_blob(&self, engine: &Engine, write: BlobSink<'_>) -> Result<(), EngineError> {
        for layer in &self.layers {
            engine.go_on()?;
            engine.with_blob(layer, |bytes| write(&layer.descriptor, bytes))?;
        }
        for (descriptor, bytes) in [(&self.config_descriptor, &self.config), (&self.descriptor, &self.manifest)] {
            write(descriptor, &mut bytes.as_slice())
                .map_err(|source| EngineError::io("write", descriptor.digest.to_string(), source))?;
        }
        Ok(())
    }

    /// Returns the blobs that caches in registries have, and the names in whose repositories they are.
    pub(super) fn elsewhere(&self) -> impl Iterator<Item = (Reference, BlobDigest)> {
        self.layers.iter().filter_map(|layer| Some((layer.repository()?.clone(), layer.descriptor.digest)))
    }

    /// Returns the image as a registry takes it.
    ///
    /// Errors: what is sent from the store cannot be stored.
    pub(crate) fn push_image(&self, engine: &Engine, lease: &Lease) -> Result<PushImage, EngineError> {
        lease.put_blob(&self.config)?;
        for layer in &self.layers {
            engine.keep_blob(lease, layer)?;
        }
        let config = std::iter::once(engine.stored(self.config_descriptor.clone()));
        Ok(PushImage {
            manifest_bytes: self.manifest.clone(),
            media_type: self.descriptor.media_type.clone(),
            blobs: config.chain(self.layers.iter().map(|layer| engine.pushed(layer))).collect(),
        })
    }
}

/// Returns the configuration for layers whose tars are others than the image's.
fn with_layers(composed: &Composed, layers: &[LayerBlob]) -> Composed {
    let diff_ids = layers.iter().map(|layer| layer.diff_id).collect();
    if composed.config.rootfs.diff_ids == diff_ids {
        return composed.clone();
    }
    let mut config = composed.config.clone();
    config.rootfs.diff_ids = diff_ids;
    Composed::new(config)
}

/// All images of a build, and the index of them where there are several.
pub(crate) struct PreparedBuild {
    pub(crate) images: Vec<Prepared>,
    /// The index and its type.
    pub(crate) index: Option<Vec<u8>>,
    /// What a registry or a layout names the whole by.
    pub(crate) descriptor: Descriptor,
    /// What is said about the images.
    pub(crate) said: Said,
}

impl PreparedBuild {
    /// Makes the manifests of all images, and the index.
    pub(crate) fn new(
        engine: &Engine,
        lease: &Lease,
        built: &Built,
        form: &ImageForm,
        events: Report<'_>,
    ) -> Result<Self, EngineError> {
        let images = built
            .images
            .iter()
            .map(|image| Prepared::new(engine, lease, &image.image, form, events))
            .collect::<Result<Vec<_>, _>>()?;
        let platforms: Vec<Platform> = built.images.iter().map(|image| image.platform.clone()).collect();
        Ok(Self::of(images, &platforms, built.is_index(), form))
    }

    /// Returns one image as a build.
    pub(super) fn of_one(image: Prepared) -> Self {
        let descriptor = image.descriptor.clone();
        Self { images: vec![image], index: None, descriptor, said: Said::default() }
    }

    /// Joins images of the store with what is said about them: one of which nothing is said in an index stays as it is,
    /// unless the whole is an index by itself.
    pub(crate) fn of_stored(
        images: Vec<(Platform, Prepared, Vec<Statement>)>,
        names: &[Reference],
        is_index: bool,
    ) -> Self {
        let about =
            images.iter().map(|(platform, image, statements)| (platform, &image.descriptor, statements.as_slice()));
        let said = Said::about(about, names);
        let own = images.iter().map(|(platform, image, _)| (platform, image.descriptor.clone()));
        let listed: Vec<_> = own.chain(said.in_index()).collect();
        let index = (is_index || listed.len() > 1).then(|| index_of(&listed, &ImageForm::plain()));
        let first = || images.first().map(|(_, image, _)| (Vec::new(), image.descriptor.clone()));
        let whole = index.clone().or_else(first).map(|(_, descriptor)| descriptor);
        Self {
            descriptor: whole.expect("a name stands for an image at least"),
            index: index.map(|(bytes, _)| bytes),
            images: images.into_iter().map(|(_, image, _)| image).collect(),
            said,
        }
    }

    fn of(mut images: Vec<Prepared>, platforms: &[Platform], is_index: bool, form: &ImageForm) -> Self {
        // Without an index there is one.
        if let Some(image) = images.pop_if(|_| !is_index) {
            return Self::of_one(image);
        }
        let manifests: Vec<_> =
            platforms.iter().zip(&images).map(|(platform, image)| (platform, image.descriptor.clone())).collect();
        let (index, descriptor) = index_of(&manifests, form);
        Self { images, index: Some(index), descriptor, said: Said::default() }
    }

    /// Adds what is said about the images: no byte of them changes, but what is to be part of an index makes one.
    ///
    /// Errors: an index with Docker's types cannot list what is said.
    pub(crate) fn with_statements(mut self, built: &Built, form: &ImageForm) -> Result<Self, EngineError> {
        let about = built
            .images
            .iter()
            .zip(&self.images)
            .map(|(image, prepared)| (&image.platform, &prepared.descriptor, image.statements.as_slice()));
        self.said = Said::about(about, &built.names);
        if self.said.inline.is_empty() {
            return Ok(self);
        }
        if form.docker_types {
            let hint = "Leave `oci-mediatypes=false` out, or `inline=true`.";
            return Err(EngineError::request("a list with Docker's types cannot have statements in it", Some(hint)));
        }
        let own = built.images.iter().zip(&self.images);
        let own = own.map(|(image, prepared)| (&image.platform, prepared.descriptor.clone()));
        let (index, descriptor) = index_of(&own.chain(self.said.in_index()).collect::<Vec<_>>(), form);
        (self.index, self.descriptor) = (Some(index), descriptor);
        Ok(self)
    }

    /// Writes what is beside the images into an archive: what is said about them, and their index.
    pub(crate) fn write_rest<W: Write>(&self, writer: &mut ArchiveWriter<W>) -> Result<(), EngineError> {
        let index = self.index.iter().map(|index| (&self.descriptor, index.as_slice()));
        for (descriptor, mut bytes) in self.said.all().flat_map(Attached::parts).chain(index) {
            writer.blob(descriptor.digest, descriptor.size, &mut bytes).map_err(unwritable)?;
        }
        Ok(())
    }

    /// Returns the entries that a layout lists: one for each name, or one without a name.
    pub(crate) fn entries(&self, names: &[Reference]) -> Vec<Descriptor> {
        let mut descriptor = self.descriptor.clone();
        if let Some(created) = self.images.first().and_then(|image| image.created.clone()) {
            descriptor.annotations.entry("org.opencontainers.image.created".to_owned()).or_insert(created);
        }
        let mut entries = crate::archive::named(&descriptor, names);
        entries.extend(self.said.referring.iter().map(|attached| attached.descriptor.clone()));
        entries
    }

    /// Calls `write` with every blob of the images and of what is said about them, a manifest after what it names.
    ///
    /// Errors: a blob cannot be read or written.
    pub(super) fn each_blob(&self, engine: &Engine, write: BlobSink<'_>) -> Result<(), EngineError> {
        for image in &self.images {
            image.each_blob(engine, &mut *write)?;
        }
        let index = self.index.iter().map(|index| (&self.descriptor, index.as_slice()));
        for (descriptor, mut bytes) in self.said.all().flat_map(Attached::parts).chain(index) {
            write(descriptor, &mut bytes)
                .map_err(|source| EngineError::io("write", descriptor.digest.to_string(), source))?;
        }
        Ok(())
    }

    /// Returns the index as a registry takes it, with its images; nothing if there is none.
    ///
    /// Errors: what is sent from the store cannot be stored.
    pub(crate) fn push_index(&self, engine: &Engine, lease: &Lease) -> Result<Option<PushIndex>, EngineError> {
        let Some(index) = &self.index else { return Ok(None) };
        let images = self.images.iter().map(|image| image.push_image(engine, lease));
        let inline = self.said.inline.iter().map(|attached| Ok(attached.push_image()));
        let images = images.chain(inline).collect::<Result<Vec<_>, EngineError>>()?;
        Ok(Some(PushIndex { index_bytes: index.clone(), media_type: self.descriptor.media_type.clone(), images }))
    }
}

/// Returns the index of these manifests, and what names it.
fn index_of(manifests: &[(&Platform, Descriptor)], form: &ImageForm) -> (Vec<u8>, Descriptor) {
    let index_type = if form.docker_types { media_type::DOCKER_LIST } else { media_type::OCI_INDEX };
    let remarks = form.annotations.of(AnnotationLevel::Index, None);
    let index = super::index::index_with(manifests, index_type, remarks);
    let mut descriptor = Descriptor::new(index_type, BlobDigest::of(&index), index.len() as u64);
    descriptor.annotations = form.annotations.of(AnnotationLevel::IndexDescriptor, None);
    (index, descriptor)
}
