//! Remote layers: those of a result that a cache of another machine has, of which nobody here has needed the bytes yet.
//!
//! Turns a hit into layers that can be described, named in a manifest, and fetched when somebody reads them after all. What
//! then is not there is a *gap*: the build begins again and takes that result for a miss
//! (`docs/decisions/0015-remote-layers.md`).

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use stave_cache::{Backend, Layer};
use stave_oci::{BlobDigest, Compression, DiffId, Reference};
use stave_registry::OpenBlob;
use stave_store::{BlobExpectation, Lease};

use crate::base::Sink;

/// A result that a cache has.
#[derive(Clone)]
pub(crate) struct Hit {
    pub(super) digest: BlobDigest,
    pub(super) backend: Arc<dyn Backend>,
    /// Lowest first.
    pub(crate) layers: Vec<Layer>,
    /// When it was made, in seconds since 1970.
    pub(crate) created: Option<i64>,
    /// Where is noted what cannot be had.
    pub(super) gaps: Arc<Gaps>,
}

impl Hit {
    /// Returns its layers as they are elsewhere, lowest first.
    pub(crate) fn remote_layers(self) -> Vec<RemoteLayer> {
        let hit = Arc::new(self);
        (0..hit.layers.len()).map(|place| RemoteLayer { hit: Arc::clone(&hit), place }).collect()
    }
}

/// A layer that a cache has, and that need not be here.
#[derive(Clone)]
pub(crate) struct RemoteLayer {
    pub(super) hit: Arc<Hit>,
    place: usize,
}

impl fmt::Debug for RemoteLayer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "RemoteLayer({} of {})", self.diff_id(), self.hit.backend.name())
    }
}

impl RemoteLayer {
    /// Returns what the cache says of it.
    pub(crate) fn layer(&self) -> &Layer {
        &self.hit.layers[self.place]
    }

    /// Returns the digest of its tar.
    pub(crate) fn diff_id(&self) -> DiffId {
        self.layer().diff_id
    }

    /// Returns when it was made, in seconds since 1970, as far as anybody has said.
    pub(crate) fn created(&self) -> Option<i64> {
        self.layer().created.or(self.hit.created)
    }

    /// Returns how its blob is compressed; nothing for a kind that nobody here reads.
    pub(crate) fn compression(&self) -> Option<Compression> {
        Compression::of_media_type(&self.layer().media_type)
    }

    /// Returns the name in whose repository its blob is, if that is a registry's.
    pub(crate) fn repository(&self) -> Option<&Reference> {
        self.hit.backend.repository()
    }

    /// Returns its blob as a registry or another cache takes it: fetched only if somebody wants its bytes.
    pub(crate) fn blob(&self, lease: &Lease) -> OpenBlob {
        let (lease, remote) = (lease.clone(), self.clone());
        Box::new(move || {
            remote.open(&lease).inspect_err(|error| {
                remote.hit.gaps.lose(&remote.hit, error.to_string());
                remote.hit.gaps.late.store(true, Ordering::SeqCst);
            })
        })
    }

    fn open(&self, lease: &Lease) -> io::Result<Box<dyn Read + Send>> {
        let layer = self.layer();
        if lease.blob(&layer.blob).map_err(io::Error::other)?.is_none() {
            let expected = BlobExpectation::exactly(layer.blob, layer.size);
            let mut sink = Sink(lease.blob_writer(expected).map_err(io::Error::other)?);
            self.hit.backend.fetch(&layer.descriptor(), &mut sink, &|_| ()).map_err(io::Error::other)?;
            sink.0.commit().map_err(io::Error::other)?;
        }
        Ok(Box::new(lease.store().open_blob(&layer.blob).map_err(io::Error::other)?))
    }
}

/// Results of caches that cannot be used, and whether that came out when they had been relied on.
#[derive(Default)]
pub(crate) struct Gaps {
    lost: Mutex<BTreeMap<BlobDigest, Lost>>,
    pub(super) late: AtomicBool,
    /// Whether nothing is relied on any more without its bytes.
    wary: AtomicBool,
}

/// Where a result is that cannot be used, and why not.
#[derive(Clone)]
pub(super) struct Lost {
    pub(super) cache: String,
    pub(super) reason: String,
}

impl Gaps {
    /// Notes that a result is not what it says.
    pub(super) fn lose(&self, hit: &Hit, reason: String) {
        let lost = Lost { cache: hit.backend.name().to_owned(), reason };
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).insert(hit.digest, lost);
    }

    /// Returns why the result under `digest` cannot be used, if it cannot.
    pub(super) fn find(&self, digest: &BlobDigest) -> Option<Lost> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).get(digest).cloned()
    }

    /// Whether results may be relied on whose bytes are not here.
    pub(super) fn trusting(&self) -> bool {
        !self.wary.load(Ordering::SeqCst)
    }

    /// Whether a result that was relied on is not there.
    pub(super) fn is_late(&self) -> bool {
        self.late.load(Ordering::SeqCst)
    }

    /// Whether one was since this was last asked; from then on, nothing is relied on without its bytes.
    pub(super) fn take(&self) -> bool {
        let late = self.late.swap(false, Ordering::SeqCst);
        if late {
            self.wary.store(true, Ordering::SeqCst);
        }
        late
    }
}
