//! An image becomes a manifest and the blobs that it names.

use std::io::{self, Write};

use stave_oci::{BlobDigest, Descriptor, Manifest, Reference, media_type};
use stave_registry::PushImage;
use stave_store::Lease;

use crate::archive::{ArchiveWriter, ArchivedImage};
use crate::build::Report;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::finish::ReadyImage;
use crate::forms::LayerBlob;
use crate::request::ImageForm;

pub(crate) fn unwritable(source: io::Error) -> EngineError {
    EngineError::io("write", "the archive", source)
}

/// An image with a manifest, ready to be written anywhere.
pub(crate) struct Prepared {
    pub(crate) manifest: Vec<u8>,
    pub(crate) manifest_type: String,
    pub(crate) config: Vec<u8>,
    pub(crate) config_descriptor: Descriptor,
    pub(crate) layers: Vec<LayerBlob>,
}

impl Prepared {
    /// Makes the manifest of an image, and all blobs that have to be compressed for it.
    pub(crate) fn new(
        engine: &Engine,
        lease: &Lease,
        image: &ReadyImage,
        form: ImageForm,
        events: Report<'_>,
    ) -> Result<Self, EngineError> {
        let layers = image
            .layers
            .iter()
            .map(|layer| engine.layer_blob(lease, *layer, form.compression, events))
            .collect::<Result<Vec<_>, _>>()?;
        let config = image.composed.bytes.clone();
        let config_descriptor = Descriptor::new(media_type::OCI_CONFIG, image.composed.id.into(), config.len() as u64);
        let manifest = Manifest {
            schema_version: 2,
            media_type: media_type::OCI_MANIFEST.to_owned(),
            config: config_descriptor.clone(),
            layers: layers.iter().map(|layer| layer.descriptor.clone()).collect(),
            annotations: std::collections::BTreeMap::new(),
        };
        let manifest = serde_json::to_vec(&manifest).expect("a manifest has only text keys");
        let manifest_type = media_type::OCI_MANIFEST.to_owned();
        Ok(Self { manifest, manifest_type, config, config_descriptor, layers })
    }

    /// Returns the manifest's descriptor.
    pub(crate) fn descriptor(&self) -> Descriptor {
        Descriptor::new(&self.manifest_type, BlobDigest::of(&self.manifest), self.manifest.len() as u64)
    }

    /// Writes the blobs into an archive.
    pub(crate) fn write<W: Write>(
        &self,
        engine: &Engine,
        writer: &mut ArchiveWriter<W>,
        names: &[Reference],
    ) -> Result<ArchivedImage, EngineError> {
        for layer in &self.layers {
            engine.go_on()?;
            let Descriptor { digest, size, .. } = layer.descriptor;
            if !writer.has(&digest) {
                engine.with_blob(layer, |bytes| writer.blob(digest, size, bytes))?;
            }
        }
        let manifest = self.descriptor();
        for (descriptor, bytes) in [(&self.config_descriptor, &self.config), (&manifest, &self.manifest)] {
            writer.blob(descriptor.digest, descriptor.size, &mut bytes.as_slice()).map_err(unwritable)?;
        }
        Ok(ArchivedImage {
            config: self.config_descriptor.digest,
            layers: self.layers.iter().map(|layer| layer.descriptor.digest).collect(),
            manifest,
            names: names.to_vec(),
        })
    }

    /// Returns the image as a registry takes it.
    ///
    /// Errors: the configuration cannot be stored, from where it is sent.
    pub(crate) fn push_image(&self, engine: &Engine, lease: &Lease) -> Result<PushImage, EngineError> {
        lease.put_blob(&self.config)?;
        let descriptors =
            std::iter::once(&self.config_descriptor).chain(self.layers.iter().map(|layer| &layer.descriptor));
        Ok(PushImage {
            manifest_bytes: self.manifest.clone(),
            media_type: self.manifest_type.clone(),
            blobs: descriptors.map(|descriptor| engine.stored(descriptor.clone())).collect(),
        })
    }
}
