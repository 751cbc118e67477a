//! Bases whose layers nobody here reads: they stay in their registry, as results of other machines' caches do
//! (`docs/decisions/0015-remote-layers.md`, `0020-bases-stay-away.md`).

use std::sync::Arc;

use stave_cache::backend::{Commit, Version};
use stave_cache::{Backend, Blob, CacheError, Catalog, Layer};
use stave_oci::{Descriptor, Reference};
use stave_registry::{BlobSink, Client, Resolved};

use crate::base::{Remote, seconds};
use crate::engine::Engine;
use crate::error::EngineError;

/// Where the layers of a base are: an image in a registry, which is only read.
struct BaseRegistry {
    name: String,
    reference: Reference,
    resolved: Resolved,
    client: Client,
}

impl BaseRegistry {
    fn read_only<T>(&self) -> Result<T, CacheError> {
        Err(CacheError::Place { name: self.name.clone(), reason: "it is an image, and is only read".to_owned() })
    }
}

impl Backend for BaseRegistry {
    fn name(&self) -> &str {
        &self.name
    }

    fn repository(&self) -> Option<&Reference> {
        Some(&self.reference)
    }

    fn load(&self) -> Result<(Catalog, Version), CacheError> {
        self.read_only()
    }

    fn fetch(
        &self,
        blob: &Descriptor,
        sink: &mut dyn BlobSink,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<(), CacheError> {
        Ok(self.client.fetch_blob(&self.resolved, blob, sink, progress)?)
    }

    fn has(&self, blob: &Descriptor) -> Result<bool, CacheError> {
        Ok(self.client.has_part(&self.resolved.source, blob)?)
    }

    fn send(&self, _blobs: Vec<Blob>) -> Result<(), CacheError> {
        self.read_only()
    }

    fn commit(&self, _catalog: &Catalog, _version: &Version) -> Result<Commit, CacheError> {
        self.read_only()
    }
}

/// Returns what is known of the layers of a base without them, lowest first.
pub(crate) fn layers(remote: &Remote) -> Vec<Layer> {
    let created = remote.config.created.as_deref().and_then(seconds);
    let of = |(diff_id, descriptor): (&stave_oci::DiffId, &Descriptor)| Layer {
        blob: descriptor.digest,
        size: descriptor.size,
        media_type: descriptor.media_type.clone(),
        diff_id: *diff_id,
        created,
        bytes: 0,
    };
    remote.config.rootfs.diff_ids.iter().zip(&remote.resolved.manifest.layers).map(of).collect()
}

impl Engine {
    /// Returns where the layers of a base can be fetched from later.
    pub(crate) fn base_registry(&self, remote: &Remote) -> Result<Arc<dyn Backend>, EngineError> {
        // Transfers outlive what they were begun by, and the engine's own client does not.
        let client = self.new_client()?;
        let name = remote.reference.to_string();
        Ok(Arc::new(BaseRegistry {
            name,
            reference: remote.reference.clone(),
            resolved: remote.resolved.clone(),
            client,
        }))
    }
}
