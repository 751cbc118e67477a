//! Places that keep caches: each turns a catalog and blobs into what its service stores, and back.

pub mod azure;
pub mod gha;
pub mod keys;
mod local;
mod objects;
mod registry;
pub mod s3;
mod sign;
mod web;

use std::fs::File;
use std::io::Read;

use stave_oci::{BlobDigest, Descriptor, Reference};
use stave_registry::{BlobSink, OpenBlob};

use crate::catalog::Catalog;
use crate::error::CacheError;
use crate::limits;

pub use local::{LocalCache, LocalPlace};
pub use objects::ObjectNames;
pub use registry::RegistryCache;

/// What a place had when it was read: says whether it has changed since.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Version(pub(crate) Option<String>);

impl Version {
    /// Whatever is there.
    pub(crate) fn any() -> Self {
        Self(Some("*".to_owned()))
    }

    pub(crate) fn is_any(&self) -> bool {
        self.0.as_deref() == Some("*")
    }
}

/// Whether a catalog was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commit {
    /// It was.
    Done,
    /// Somebody else wrote since the version that was read.
    Conflict,
}

/// A blob that may have to be sent.
pub struct Blob {
    /// What it is.
    pub descriptor: Descriptor,
    /// Opens it; called only if the place lacks it.
    pub open: OpenBlob,
    /// A name in whose repository it is as well, if that is a registry's.
    pub elsewhere: Option<Reference>,
}

/// A place that keeps a cache.
pub trait Backend: Send + Sync {
    /// What it is, for people: `registry example.com/cache:main`.
    fn name(&self) -> &str;

    /// Returns the name in whose repository its blobs are, if that is a registry's: others there can have them without a
    /// transfer.
    fn repository(&self) -> Option<&Reference> {
        None
    }

    /// Keeps others from writing until what it returns is dropped, where that is possible.
    ///
    /// # Errors
    /// If the place cannot be locked.
    fn hold(&self) -> Result<Option<File>, CacheError> {
        Ok(None)
    }

    /// Whether what is there is not to be kept.
    fn starts_anew(&self) -> bool {
        false
    }

    /// Returns what whoever has just exported is to be told, although nothing failed.
    fn remark(&self) -> Option<String> {
        None
    }

    /// Reads what is there.
    ///
    /// # Errors
    /// [`CacheError::Missing`] if there is nothing; else what went wrong.
    fn load(&self) -> Result<(Catalog, Version), CacheError>;

    /// Fetches a blob that the catalog names. The sink checks it.
    ///
    /// # Errors
    /// [`CacheError::NoBlob`] if it is not there; else what went wrong.
    fn fetch(
        &self,
        blob: &Descriptor,
        sink: &mut dyn BlobSink,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<(), CacheError>;

    /// Whether a blob is there, without fetching it.
    ///
    /// # Errors
    /// If the place cannot be asked.
    fn has(&self, blob: &Descriptor) -> Result<bool, CacheError>;

    /// Sends the blobs that are not there yet.
    ///
    /// # Errors
    /// The first blob that could not be read or sent.
    fn send(&self, blobs: Vec<Blob>) -> Result<(), CacheError>;

    /// Writes the catalog, if nobody has since `version`.
    ///
    /// # Errors
    /// If it cannot be written.
    fn commit(&self, catalog: &Catalog, version: &Version) -> Result<Commit, CacheError>;

    /// Whether what is there has all records of `catalog` for certain: where a service cannot refuse to overwrite what
    /// somebody else has just written, it is looked at again.
    ///
    /// # Errors
    /// If it cannot be looked at.
    fn confirm(&self, catalog: &Catalog) -> Result<bool, CacheError> {
        let _ = catalog;
        Ok(true)
    }
}

/// Adds `catalog` to what a place has: blobs first, then, as often as others interfere, what is there with `catalog` merged
/// into it.
///
/// # Errors
/// What the place could not do; that others interfered too often.
pub fn publish(backend: &dyn Backend, catalog: &Catalog, blobs: Vec<Blob>, now: i64) -> Result<(), CacheError> {
    let _held = backend.hold()?;
    backend.send(blobs)?;
    let since = now - i64::try_from(limits::KEPT_UNUSED.as_secs()).unwrap_or(i64::MAX);
    for attempt in 0..limits::ATTEMPTS_MAX {
        if attempt > 0 {
            std::thread::sleep(limits::CONFLICT_WAIT * (1 << attempt.min(5)));
        }
        let (there, version) = match backend.load() {
            Ok(_) if backend.starts_anew() => (Catalog::default(), Version::any()),
            Ok(there) => there,
            Err(error) if error.is_absence() => Default::default(),
            // What is no cache, or a damaged one, is written over.
            Err(CacheError::Format { .. } | CacheError::Io { .. }) => (Catalog::default(), Version::any()),
            Err(error) => return Err(error),
        };
        // What was read counts as older than what is added.
        let mut merged = catalog.clone();
        merged.merge(&there);
        merged.trim(since, limits::LAYERS_KEPT_MAX);
        merged.trim_parcels(limits::PARCELS_KEPT_MAX);
        let commit = match backend.commit(&merged, &version) {
            // Of what is there, something may be gone that it names, and then nobody takes a list with it in it.
            Err(error) if !there.is_empty() => backend.commit(catalog, &version).map_err(|_| error)?,
            other => other?,
        };
        if commit == Commit::Done && backend.confirm(catalog)? {
            return Ok(());
        }
    }
    Err(CacheError::Contended { place: backend.name().to_owned(), attempts: limits::ATTEMPTS_MAX })
}

/// Copies a stream into a sink and tells how far it is. The sink is empty again if it fails.
pub(crate) fn copy_into(
    reader: &mut dyn Read,
    digest: &BlobDigest,
    sink: &mut dyn BlobSink,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<(), CacheError> {
    let mut buffer = vec![0; 256 * 1024];
    let mut done = 0;
    let failed = |action| move |source| CacheError::Blob { action, digest: digest.to_string(), source };
    loop {
        let count = match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed("read")(error)),
        };
        sink.write_all(&buffer[..count]).map_err(failed("keep"))?;
        done += count as u64;
        progress(done);
    }
}
