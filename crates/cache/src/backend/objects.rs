//! A cache in an object store: blobs are objects under their digests, a catalog is one under its name, with all that a
//! manifest would say written into it.
//!
//! Reference: BuildKit, `cache/remotecache/s3` and `cache/remotecache/azblob`: the names of the objects are the same.

use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use stave_oci::Descriptor;
use stave_registry::{BlobSink, OpenBlob};

use super::{Backend, Blob, Commit, Version, copy_into};
use crate::catalog::{Catalog, FormatError};
use crate::error::CacheError;
use crate::limits;

/// Where in a store a cache is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectNames {
    /// In front of every name.
    pub prefix: String,
    /// After it, in front of a blob's digest.
    pub blobs: String,
    /// After it, in front of a catalog's name.
    pub manifests: String,
    /// The catalog's names: all are written and read.
    pub names: Vec<String>,
}

impl ObjectNames {
    fn blob(&self, blob: &Descriptor) -> String {
        format!("{}{}{}", self.prefix, self.blobs, blob.digest)
    }

    fn manifest(&self, name: &str) -> String {
        format!("{}{}{name}", self.prefix, self.manifests)
    }
}

/// What has to be so for an object to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    /// Nothing.
    None,
    /// There is no such object.
    Absent,
    /// It is of this version.
    Is(String),
}

/// An object that is being read.
pub(crate) struct Object {
    /// Tells its versions apart.
    pub(crate) version: Option<String>,
    pub(crate) body: Box<dyn Read + Send>,
}

/// A store of objects.
pub(crate) trait ObjectStore: Send + Sync {
    /// Opens an object, if it is there.
    fn get(&self, key: &str) -> Result<Option<Object>, CacheError>;

    /// Returns the length of an object, if it is there, and keeps it from being removed as unused.
    fn look(&self, key: &str) -> Result<Option<u64>, CacheError>;

    /// Writes an object; says no if the condition is not met.
    fn put(&self, key: &str, size: u64, open: &OpenBlob, condition: &Condition) -> Result<bool, CacheError>;
}

/// A cache in an object store.
pub(crate) struct ObjectCache<S> {
    name: String,
    store: S,
    names: ObjectNames,
    /// How many blobs are sent at once.
    parallel: usize,
}

impl<S: ObjectStore> ObjectCache<S> {
    pub(crate) fn new(name: String, store: S, names: ObjectNames, parallel: usize) -> Self {
        Self { name, store, names, parallel }
    }

    fn catalog(&self, name: &str) -> Result<Option<(Catalog, Option<String>)>, CacheError> {
        let Some(object) = self.store.get(&self.names.manifest(name))? else { return Ok(None) };
        let mut bytes = Vec::new();
        let read = object.body.take(limits::CONFIG_BYTES_MAX + 1).read_to_end(&mut bytes);
        read.map_err(|source| CacheError::Blob { action: "read", digest: name.to_owned(), source })?;
        let format = |source| CacheError::Format { place: self.name.clone(), source };
        if bytes.len() as u64 > limits::CONFIG_BYTES_MAX {
            return Err(format(FormatError::NoCache("its configuration is too large".to_owned())));
        }
        let config = serde_json::from_slice(&bytes).map_err(|source| format(source.into()))?;
        Ok(Some((Catalog::read(&config, &[]).map_err(format)?, object.version)))
    }

    fn send_one(&self, blob: &Blob) -> Result<(), CacheError> {
        let (key, size) = (self.names.blob(&blob.descriptor), blob.descriptor.size);
        if self.store.look(&key)? == Some(size) {
            return Ok(());
        }
        self.store.put(&key, size, &blob.open, &Condition::None).map(drop)
    }
}

impl<S: ObjectStore> Backend for ObjectCache<S> {
    fn name(&self) -> &str {
        &self.name
    }

    fn load(&self) -> Result<(Catalog, Version), CacheError> {
        let mut all: Option<Catalog> = None;
        let mut versions = Vec::new();
        for name in &self.names.names {
            let found = self.catalog(name)?;
            versions.push(found.as_ref().and_then(|(_, version)| version.clone()));
            if let Some((catalog, _)) = found {
                all.get_or_insert_default().merge(&catalog);
            }
        }
        let text = serde_json::to_string(&versions).expect("texts are JSON");
        all.map(|all| (all, Version(Some(text)))).ok_or_else(|| CacheError::Missing(self.name.clone()))
    }

    fn fetch(
        &self,
        blob: &Descriptor,
        sink: &mut dyn BlobSink,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<(), CacheError> {
        let object = self.store.get(&self.names.blob(blob))?;
        let mut object =
            object.ok_or_else(|| CacheError::NoBlob { digest: blob.digest.to_string(), place: self.name.clone() })?;
        copy_into(&mut *object.body, &blob.digest, sink, progress)
    }

    fn has(&self, blob: &Descriptor) -> Result<bool, CacheError> {
        Ok(self.store.look(&self.names.blob(blob))? == Some(blob.size))
    }

    fn send(&self, blobs: Vec<Blob>) -> Result<(), CacheError> {
        let (next, stop, failed) = (AtomicUsize::new(0), AtomicBool::new(false), Mutex::new(None));
        let work = || {
            while !stop.load(Ordering::SeqCst) {
                let Some(blob) = blobs.get(next.fetch_add(1, Ordering::SeqCst)) else { return };
                if let Err(error) = self.send_one(blob)
                    && !stop.swap(true, Ordering::SeqCst)
                {
                    *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..self.parallel.min(blobs.len()) {
                scope.spawn(work);
            }
            work();
        });
        failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    fn commit(&self, catalog: &Catalog, version: &Version) -> Result<Commit, CacheError> {
        let text = serde_json::to_vec(&catalog.to_config(true)).expect("a cache's configuration has only text keys");
        let size = text.len() as u64;
        let open: OpenBlob = Box::new(move || Ok(Box::new(std::io::Cursor::new(text.clone()))));
        let versions: Vec<Option<String>> =
            version.0.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        for (place, name) in self.names.names.iter().enumerate() {
            let condition = match versions.get(place).cloned().flatten() {
                _ if version.is_any() => Condition::None,
                Some(version) => Condition::Is(version),
                None => Condition::Absent,
            };
            if !self.store.put(&self.names.manifest(name), size, &open, &condition)? {
                return Ok(Commit::Conflict);
            }
        }
        Ok(Commit::Done)
    }

    /// Not every store that speaks the protocol knows conditions.
    fn confirm(&self, catalog: &Catalog) -> Result<bool, CacheError> {
        let (there, _) = self.load()?;
        Ok(there.has_all_of(catalog))
    }
}
