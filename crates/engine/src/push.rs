//! What every push has in common: what the registry is said to have already, and how much was sent.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use stave_oci::{BlobDigest, Descriptor, Document, Reference};
use stave_registry::{Client, PushProgress};
use stave_store::{ImageRecord, Lease};

use crate::engine::Engine;
use crate::error::EngineError;
use crate::task::Task;

impl Engine {
    /// Tells a client that pushes to `names` in which other repositories of their registries the blobs of the store's images
    /// are, since those were pulled from there or pushed to there: a base's layers need not be sent again.
    pub(crate) fn tell_origins(&self, client: &Client, lease: &Lease, names: &[Reference]) -> Result<(), EngineError> {
        for record in self.store.images()? {
            let origins: Vec<Reference> = origins(&record)
                .filter(|origin| {
                    names.iter().any(|name| name.registry == origin.registry && name.name() != origin.name())
                })
                .collect();
            if origins.is_empty() {
                continue;
            }
            let blobs = self.blobs_of(lease, &record)?;
            for origin in &origins {
                client.remember(origin, blobs.iter().copied());
            }
        }
        Ok(())
    }

    /// Returns the blobs that an image has had in registries.
    fn blobs_of(&self, lease: &Lease, record: &ImageRecord) -> Result<Vec<BlobDigest>, EngineError> {
        if let Some(manifest) = &record.manifest {
            let bytes = self.store.read_blob(&manifest.digest, stave_registry::limits::MANIFEST_BYTES_MAX)?;
            if let Ok(Document::Manifest(parsed)) = Document::parse(&bytes, &manifest.media_type) {
                return Ok(parsed.layers.iter().map(|layer| layer.digest).collect());
            }
        }
        let mut blobs = Vec::new();
        for layer in &record.layers {
            blobs.extend(lease.layer_forms(&layer.diff_id)?.into_iter().map(|form| form.digest));
        }
        Ok(blobs)
    }
}

/// Returns the repositories that an image is in.
fn origins(record: &ImageRecord) -> impl Iterator<Item = Reference> {
    let pulled = record.manifest.iter().map(|manifest| manifest.source.as_str()).filter(|source| !source.is_empty());
    let named = record.tags.iter().filter(|tag| tag.repo_digest.is_some()).map(|tag| tag.reference.as_str());
    pulled.chain(named).filter_map(|name| name.parse().ok())
}

/// Adds up what is sent of all blobs of a push.
#[derive(Default)]
pub(crate) struct Sent(Mutex<BTreeMap<BlobDigest, u64>>);

impl Sent {
    /// Takes what the client tells of one blob, and tells the whole.
    pub(crate) fn tell(&self, task: &Task<'_>, blob: &Descriptor, progress: PushProgress) {
        let PushProgress::Sent(bytes) = progress else { return };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(blob.digest, bytes);
        task.progress(all.values().sum(), None);
    }
}
