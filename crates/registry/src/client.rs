//! The client: one per command, shared by all its threads.

use std::io::{self, Read, Write};
use std::sync::Arc;

use stave_oci::{BlobDigest, Descriptor, Manifest, Platform, Reference};

use crate::cancel::Cancel;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::config::registries::Place;
use crate::error::RegistryError;
use crate::limits::Limits;

/// A client of all the registries that a command deals with.
pub struct Client {
    pub(crate) config: Config,
    pub(crate) limits: Limits,
    pub(crate) cancel: Cancel,
    pub(crate) clock: Arc<dyn Clock>,
}

/// An image that was found: its manifest and configuration, verified, and where its layers are.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The manifest of the image for the platform asked for.
    pub manifest: Manifest,
    /// Its bytes as they were served.
    pub manifest_bytes: Vec<u8>,
    /// Its media type.
    pub media_type: String,
    /// Digest of the manifest.
    pub digest: BlobDigest,
    /// Digest of the index that the manifest was chosen from, if the reference leads to one.
    pub index_digest: Option<BlobDigest>,
    /// The bytes of the image's configuration.
    pub config_bytes: Vec<u8>,
    /// Where the image was found.
    pub source: Source,
}

/// Where an image was found, and where else its parts may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub(crate) places: Vec<Place>,
}

/// Where a blob is written to while it comes in.
pub trait BlobSink: Write {
    /// Throws everything written so far away: the blob starts anew, or it was wrong and must not be used.
    fn restart(&mut self) -> io::Result<()>;
}

/// Opens a blob for reading from its start; may be called several times.
pub type OpenBlob = Box<dyn Fn() -> io::Result<Box<dyn Read + Send>> + Send + Sync>;

/// An image to push.
pub struct PushImage {
    /// The manifest's bytes.
    pub manifest_bytes: Vec<u8>,
    /// The manifest's media type.
    pub media_type: String,
    /// The configuration and the layers.
    pub blobs: Vec<(Descriptor, OpenBlob)>,
}

/// How far a blob of a push is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushProgress {
    /// The registry has it already; nothing is sent.
    Exists,
    /// So many bytes were sent; fewer than before where the upload had to start anew.
    Sent(u64),
    /// The registry has it now.
    Done,
}

impl Client {
    /// Returns a client that works by `config` within `limits`.
    #[must_use]
    pub fn new(config: Config, limits: Limits) -> Self {
        Self { config, limits, cancel: Cancel::new(), clock: Arc::new(SystemClock::default()) }
    }

    /// Has everything that the client does end when `cancel` says so.
    #[must_use]
    pub fn with_cancel(mut self, cancel: Cancel) -> Self {
        self.cancel = cancel;
        self
    }

    /// Has the client take its time from `clock`.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Finds the image that `reference` names, for `platform`.
    pub fn resolve(&self, reference: &Reference, platform: &Platform) -> Result<Resolved, RegistryError> {
        let _ = (reference, platform);
        Err(RegistryError::Cancelled)
    }

    /// Fetches one blob of an image into `sink`. When it returns without error, exactly the blob is in the sink;
    /// otherwise the sink was told to restart or failed itself. `progress` gets the bytes that the sink has.
    pub fn fetch_blob(
        &self,
        image: &Resolved,
        blob: &Descriptor,
        sink: &mut dyn BlobSink,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<(), RegistryError> {
        let _ = (image, blob, sink, progress);
        Err(RegistryError::Cancelled)
    }

    /// Sends an image to where `reference` names: blobs first, several at once, then the manifest.
    /// Returns the manifest's digest.
    pub fn push(
        &self,
        reference: &Reference,
        image: &PushImage,
        progress: &(dyn Fn(&Descriptor, PushProgress) + Sync),
    ) -> Result<BlobDigest, RegistryError> {
        let _ = (reference, image, progress);
        Err(RegistryError::Cancelled)
    }
}
