//! The client: one per command, shared by all its threads.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use stave_oci::reference::DEFAULT_REGISTRY;
use stave_oci::{BlobDigest, Descriptor, Document, Manifest};
use ureq::http::Method;

use crate::auth::{Grant, GrantKey};
use crate::config::Config;
use crate::config::registries::Place;
use crate::error::{HttpError, RegistryError, TransportError};
use crate::failure::Failure;
use crate::limits::Limits;
use crate::message;
use crate::seen::Seen;
use crate::slots::Slots;
use stave_http::Cancel;
use stave_http::url::{Origin, Scheme, Url};
use stave_http::{Clock, SystemClock};
use stave_http::{Http, Patience, Request, Setup};

/// Where Docker Hub's registry really is.
const DOCKER_HUB: &str = "registry-1.docker.io";

/// Whether a failure is one of what is configured here: nothing was sent.
fn is_own(error: &HttpError) -> bool {
    matches!(error, HttpError::Transport { source: TransportError::Certificates(_), .. })
}

/// A client of all the registries that a command deals with.
pub struct Client {
    pub(crate) config: Config,
    pub(crate) limits: Limits,
    pub(crate) cancel: Cancel,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) http: Http,
    /// How each registry that may lack TLS is spoken to.
    origins: Mutex<BTreeMap<String, Origin>>,
    pub(crate) grants: Mutex<BTreeMap<GrantKey, Grant>>,
    pub(crate) authenticating: Mutex<()>,
    pub(crate) slots: Slots,
    pub(crate) seen: Seen,
    /// Held while the list of something's referrers is changed.
    pub(crate) referring: Mutex<()>,
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

/// A manifest or an index that was found, verified.
#[derive(Debug, Clone)]
pub struct FoundManifest {
    /// What it says.
    pub document: Document,
    /// Its bytes as they were served.
    pub bytes: Vec<u8>,
    /// Its media type.
    pub media_type: String,
    /// Its digest.
    pub digest: BlobDigest,
    /// Where it was found.
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

/// An index to push, with all that it lists.
pub struct PushIndex {
    /// The index's bytes.
    pub index_bytes: Vec<u8>,
    /// The index's media type.
    pub media_type: String,
    /// The images that it lists, each with its blobs. What the registry's repository has already may be left out.
    pub images: Vec<PushImage>,
}

/// How far a blob of a push is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushProgress {
    /// The registry has it already; nothing is sent.
    Exists,
    /// The registry had it in another repository and took it from there; nothing is sent.
    Mounted,
    /// So many bytes were sent; fewer than before where the upload had to start anew.
    Sent(u64),
    /// The registry has it now.
    Done,
}

/// Returns how servers are spoken to where `config` decides.
fn setup(config: &Config) -> Setup {
    let registries = config.registries.clone();
    Setup {
        certificates: config.environment.certificates(),
        insecure: Arc::new(move |origin| registries.is_insecure(&origin.authority())),
        message: message::parse,
        ..Setup::new(config.environment.http.clone())
    }
}

impl Client {
    /// Returns a client that works by `config` within `limits`.
    #[must_use]
    pub fn new(config: Config, limits: Limits) -> Self {
        let cancel = Cancel::new();
        Self {
            http: Http::new(setup(&config), limits.clone(), cancel.clone()),
            config,
            limits,
            cancel,
            clock: Arc::new(SystemClock::default()),
            origins: Mutex::default(),
            grants: Mutex::default(),
            authenticating: Mutex::default(),
            slots: Slots::default(),
            seen: Seen::default(),
            referring: Mutex::default(),
        }
    }

    /// Returns what the client works by.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Has everything that the client does end when `cancel` says so.
    #[must_use]
    pub fn with_cancel(mut self, cancel: Cancel) -> Self {
        self.http = Http::new(setup(&self.config), self.limits.clone(), cancel.clone());
        self.cancel = cancel;
        self
    }

    /// Has the client take its time from `clock`.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    pub(crate) fn patience(&self) -> Patience<'_> {
        Patience::new(&self.limits, &self.cancel, &self.clock)
    }

    /// Returns where and how the registry `host` is spoken to.
    ///
    /// HTTPS, always; only for a host on this machine and for one that the user called insecure, whichever of HTTPS
    /// and HTTP gets an answer.
    pub(crate) fn origin(&self, host: &str, insecure: bool) -> Result<Origin, Failure> {
        let known = |source| RegistryError::Registry { name: host.to_owned(), source };
        let name = if host == DEFAULT_REGISTRY { DOCKER_HUB } else { host };
        let secure = Origin::of_authority(Scheme::Https, name).map_err(known)?;
        if !insecure && !secure.is_loopback() {
            return Ok(secure);
        }
        let mut origins = self.origins.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(origin) = origins.get(host) {
            return Ok(origin.clone());
        }
        let plain = Origin::of_authority(Scheme::Http, name).map_err(known)?;
        let mut failure = None;
        for origin in [secure, plain] {
            let mut request = Request::new(Method::HEAD, Url::new(origin.clone(), "/v2/"));
            request.insecure = true;
            match self.http.send(request) {
                Ok(_) => {
                    origins.insert(host.to_owned(), origin.clone());
                    return Ok(origin);
                }
                // What is wrong on this side is no sign that the other one speaks no TLS.
                Err(error) if is_own(&error.error) => return Err(Failure::from(error)),
                Err(error) => failure = Some(Failure::from(error)),
            }
            if self.cancel.is_cancelled() {
                break;
            }
        }
        Err(failure.expect("at least one of them was tried"))
    }
}
