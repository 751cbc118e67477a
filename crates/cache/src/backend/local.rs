//! A cache in a directory of this machine: an OCI layout, in which each tag of `index.json` is a catalog's manifest.
//!
//! Only one process writes at a time: it holds a lock on the directory from the first blob to the last.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};
use stave_oci::{BlobDigest, Descriptor, Hasher, Index, Manifest, Platform, media_type};
use stave_registry::BlobSink;

use super::{Backend, Blob, Commit, Version, copy_into};
use crate::catalog::{Catalog, FormatError};
use crate::document::{self, Document, Form};
use crate::error::CacheError;
use crate::limits;

const TAG: &str = "org.opencontainers.image.ref.name";
const LAYOUT: &str = "{\"imageLayoutVersion\":\"1.0.0\"}";
const LOCK: &str = ".stave.lock";

/// How old a blob is that nothing names before it is removed: another builder may be about to name a younger one.
const STRAY_AGE: Duration = Duration::from_hours(1);

static NEXT: AtomicU64 = AtomicU64::new(0);

/// What of the directory is meant.
#[derive(Debug, Clone)]
pub struct LocalPlace {
    /// The directory.
    pub directory: PathBuf,
    /// The name in `index.json`.
    pub tag: String,
    /// The digest of the manifest to read; it goes before the name.
    pub digest: Option<BlobDigest>,
}

/// A cache in a directory.
pub struct LocalCache {
    name: String,
    place: LocalPlace,
    form: Form,
    platform: Platform,
    /// Most bytes of blobs that an export leaves.
    bytes_max: u64,
    /// Whether an export removes what was there.
    reset: bool,
    /// The blobs that this export has added.
    sent: Mutex<BTreeSet<BlobDigest>>,
    /// What whoever exports is to be told.
    remark: Mutex<Option<String>>,
}

impl LocalCache {
    /// Returns the cache to be read from a directory.
    #[must_use]
    pub fn to_read(place: LocalPlace, platform: Platform) -> Self {
        Self::to_write(place, Form::default(), platform, (limits::LOCAL_BYTES_MAX, false))
    }

    /// Returns the cache to be written to a directory.
    #[must_use]
    pub fn to_write(place: LocalPlace, form: Form, platform: Platform, (bytes_max, reset): (u64, bool)) -> Self {
        Self {
            name: place.directory.display().to_string(),
            place,
            form,
            platform,
            bytes_max,
            reset,
            sent: Mutex::default(),
            remark: Mutex::default(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.directory.join(name)
    }

    fn blob_path(&self, digest: &BlobDigest) -> PathBuf {
        self.path("blobs/sha256").join(digest.hex())
    }

    fn format(&self, source: FormatError) -> CacheError {
        CacheError::Format { place: self.name.clone(), source }
    }

    fn index(&self) -> Result<Option<Index>, CacheError> {
        let path = self.path("index.json");
        let bytes = match read_limited(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(CacheError::io("read", path, error)),
        };
        serde_json::from_slice(&bytes).map(Some).map_err(|source| self.format(source.into()))
    }

    fn small(&self, digest: &BlobDigest) -> Result<Vec<u8>, CacheError> {
        let path = self.blob_path(digest);
        let bytes = read_limited(&path).map_err(|error| CacheError::io("read", &path, error))?;
        if BlobDigest::of(&bytes) == *digest {
            return Ok(bytes);
        }
        Err(self.format(FormatError::NoCache(format!("`{}` is not what its name says", path.display()))))
    }

    /// Returns what a manifest of the layout has: its catalog.
    fn read(&self, digest: &BlobDigest) -> Result<Catalog, CacheError> {
        let bytes = self.small(digest)?;
        let document = document::parse(&bytes, &self.platform).map_err(|source| self.format(source))?;
        match document {
            Document::Cache { config, layers } => {
                let bytes = self.small(&config.digest)?;
                let config = serde_json::from_slice(&bytes).map_err(|source| self.format(source.into()))?;
                Catalog::read(&config, &layers).map_err(|source| self.format(source))
            }
            Document::Image { config, layers } => {
                let bytes = self.small(&config.digest)?;
                let carried = document::read_inline(&bytes, &layers).map_err(|source| self.format(source))?;
                Ok(carried.unwrap_or_default())
            }
            Document::Images(images) => {
                let mut all = Catalog::default();
                for image in images {
                    let bytes = self.small(&image.digest)?;
                    if !bytes.starts_with(b"{\"manifests\"") && image.digest != *digest {
                        all.merge(&self.read(&image.digest)?);
                    }
                }
                Ok(all)
            }
        }
    }

    fn tagged<'a>(&self, index: &'a Index) -> Option<&'a Descriptor> {
        let named = |entry: &&Descriptor| match self.place.digest {
            Some(digest) => entry.digest == digest,
            None => entry.annotations.get(TAG) == Some(&self.place.tag),
        };
        index.manifests.iter().find(named)
    }

    fn write(&self, digest: &BlobDigest, bytes: &[u8]) -> Result<(), CacheError> {
        let path = self.blob_path(digest);
        if path.exists() { Ok(()) } else { self.replace(&path, bytes) }
    }

    /// Writes a file that appears under its name when it is complete.
    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), CacheError> {
        let fail = |source| CacheError::io("write", path, source);
        let partial = self.partial();
        let written = File::create(&partial).and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_data()));
        written.and_then(|()| fs::rename(&partial, path)).map_err(fail)
    }

    fn partial(&self) -> PathBuf {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        self.path(&format!("blobs/.partial-{}-{number}", std::process::id()))
    }

    fn add(&self, blob: &Blob) -> Result<(), CacheError> {
        let digest = blob.descriptor.digest;
        let path = self.blob_path(&digest);
        if fs::metadata(&path).is_ok_and(|metadata| metadata.len() == blob.descriptor.size) {
            return Ok(());
        }
        let failed = |action| move |source| CacheError::Blob { action, digest: digest.to_string(), source };
        let partial = self.partial();
        let copied = (|| {
            let mut sink = FileSink { file: File::create(&partial).map_err(failed("write"))?, hasher: Hasher::new() };
            let mut reader = (blob.open)().map_err(failed("read"))?;
            copy_into(&mut *reader, &digest, &mut sink, &|_| ())?;
            let actual: BlobDigest = sink.hasher.finish();
            if actual != digest {
                return Err(failed("write")(io::Error::other(format!("its digest is {actual}"))));
            }
            sink.file.sync_data().map_err(failed("write"))?;
            fs::rename(&partial, &path).map_err(failed("write"))?;
            lock(&self.sent).insert(digest);
            Ok(())
        })();
        if copied.is_err() {
            // What is left of it is of no use to anybody.
            drop(fs::remove_file(&partial));
        }
        copied
    }

    /// Notes that something of this very export had to be left out of the results and blobs that there were.
    fn note_lack(&self, kept: &Catalog, (results, blobs): &(usize, BTreeSet<BlobDigest>)) {
        let (sent, left) = (lock(&self.sent), blobs_of(kept));
        let lacks = blobs.iter().any(|digest| sent.contains(digest) && !left.contains(digest));
        *lock(&self.remark) = lacks.then(|| {
            let (lost, limit) = (results - kept.len(), self.bytes_max);
            format!("{lost} of {results} results are left out: with them it would have more than the {limit} bytes of `max-size`")
        });
    }

    /// Returns the blobs that the manifests of the layout name, and the manifests.
    fn named(&self, index: &Index) -> BTreeSet<BlobDigest> {
        let mut named = BTreeSet::new();
        for entry in &index.manifests {
            named.insert(entry.digest);
            let Ok(bytes) = self.small(&entry.digest) else { continue };
            if let Ok(manifest) = serde_json::from_slice::<Manifest>(&bytes) {
                named.insert(manifest.config.digest);
                named.extend(manifest.layers.iter().map(|layer| layer.digest));
            } else if let Ok(inner) = serde_json::from_slice::<Index>(&bytes) {
                named.extend(inner.manifests.iter().map(|entry| entry.digest));
                named.extend(self.named_below(&inner));
            }
        }
        named
    }

    /// The same for an index in the index, one level deep.
    fn named_below(&self, index: &Index) -> BTreeSet<BlobDigest> {
        let mut named = BTreeSet::new();
        for entry in &index.manifests {
            let small = [media_type::OCI_MANIFEST, media_type::DOCKER_MANIFEST].contains(&entry.media_type.as_str());
            let manifest = small.then(|| self.small(&entry.digest).ok()).flatten();
            if let Some(manifest) = manifest.and_then(|bytes| serde_json::from_slice::<Manifest>(&bytes).ok()) {
                named.insert(manifest.config.digest);
                named.extend(manifest.layers.iter().map(|layer| layer.digest));
            }
        }
        named
    }

    /// Removes blobs that `index` does not name: those that it named `before`, those that this export has added and that did
    /// not fit, and old ones.
    fn sweep(&self, index: &Index, before: &BTreeSet<BlobDigest>) -> Result<(), CacheError> {
        let (named, sent) = (self.named(index), lock(&self.sent));
        let directory = self.path("blobs/sha256");
        let entries = fs::read_dir(&directory).map_err(|error| CacheError::io("list", &directory, error))?;
        for entry in entries.flatten() {
            let digest = entry.file_name().to_str().and_then(BlobDigest::from_hex);
            let Some(digest) = digest.filter(|digest| !named.contains(digest)) else { continue };
            let age = entry.metadata().and_then(|metadata| metadata.modified()).ok();
            let old = age.and_then(|at| SystemTime::now().duration_since(at).ok()).is_some_and(|age| age > STRAY_AGE);
            if self.reset || old || before.contains(&digest) || sent.contains(&digest) {
                fs::remove_file(entry.path()).map_err(|error| CacheError::io("remove", entry.path(), error))?;
            }
        }
        Ok(())
    }
}

/// Returns the blobs of all layers of a catalog.
fn blobs_of(catalog: &Catalog) -> BTreeSet<BlobDigest> {
    catalog.layers().into_iter().map(|layer| layer.blob).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct FileSink {
    file: File,
    hasher: Hasher,
}

impl Write for FileSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl BlobSink for FileSink {
    fn restart(&mut self) -> io::Result<()> {
        self.hasher = Hasher::new();
        self.file.set_len(0)?;
        io::Seek::rewind(&mut self.file)
    }
}

fn read_limited(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(File::open(path)?, limits::CONFIG_BYTES_MAX + 1), &mut bytes)?;
    if bytes.len() as u64 > limits::CONFIG_BYTES_MAX {
        return Err(io::Error::other(format!("it is larger than {} bytes", limits::CONFIG_BYTES_MAX)));
    }
    Ok(bytes)
}

impl Backend for LocalCache {
    fn name(&self) -> &str {
        &self.name
    }

    fn hold(&self) -> Result<Option<File>, CacheError> {
        let blobs = self.path("blobs/sha256");
        fs::create_dir_all(&blobs).map_err(|error| CacheError::io("create", &blobs, error))?;
        let path = self.path(LOCK);
        let lock = File::options().create(true).truncate(false).write(true).open(&path);
        let lock = lock.map_err(|error| CacheError::io("open", &path, error))?;
        loop {
            match flock(&lock, FlockOperation::LockExclusive) {
                Ok(()) => return Ok(Some(lock)),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(CacheError::io("lock", path, error.into())),
            }
        }
    }

    fn load(&self) -> Result<(Catalog, Version), CacheError> {
        let index = self.index()?.ok_or_else(|| CacheError::Missing(self.name.clone()))?;
        let entry = self.tagged(&index).ok_or_else(|| CacheError::Missing(self.name.clone()))?;
        Ok((self.read(&entry.digest)?, Version(Some(entry.digest.to_string()))))
    }

    fn fetch(
        &self,
        blob: &Descriptor,
        sink: &mut dyn BlobSink,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<(), CacheError> {
        let path = self.blob_path(&blob.digest);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(CacheError::NoBlob { digest: blob.digest.to_string(), place: self.name.clone() });
            }
            Err(error) => return Err(CacheError::io("open", path, error)),
        };
        copy_into(&mut file, &blob.digest, sink, progress)
    }

    fn has(&self, blob: &Descriptor) -> Result<bool, CacheError> {
        Ok(fs::metadata(self.blob_path(&blob.digest)).is_ok_and(|metadata| metadata.len() == blob.size))
    }

    fn send(&self, blobs: Vec<Blob>) -> Result<(), CacheError> {
        blobs.iter().try_for_each(|blob| self.add(blob))
    }

    fn commit(&self, catalog: &Catalog, _: &Version) -> Result<Commit, CacheError> {
        // Nobody else writes while the lock is held, so nothing can have changed.
        let old = if self.reset { None } else { self.index().ok().flatten() };
        let empty = || Index {
            schema_version: 2,
            media_type: media_type::OCI_INDEX.to_owned(),
            manifests: Vec::new(),
            annotations: std::collections::BTreeMap::new(),
        };
        let mut index = old.unwrap_or_else(empty);
        let before = self.named(&index);
        index.manifests.retain(|entry| entry.annotations.get(TAG) != Some(&self.place.tag));
        let others: u64 = self
            .named(&index)
            .iter()
            .filter_map(|digest| fs::metadata(self.blob_path(digest)).ok())
            .map(|blob| blob.len())
            .sum();
        let mut catalog = catalog.clone();
        let parcels: u64 = catalog.latest_parcels(usize::MAX).iter().map(|parcel| parcel.size).sum();
        let all = (catalog.len(), blobs_of(&catalog));
        catalog.trim_bytes(self.bytes_max.saturating_sub(others + parcels));
        self.note_lack(&catalog, &all);
        let written = document::write(&catalog, self.form);
        self.write(&written.config_descriptor.digest, &written.config)?;
        let digest = BlobDigest::of(&written.manifest);
        self.write(&digest, &written.manifest)?;
        let mut entry = Descriptor::new(&written.media_type, digest, written.manifest.len() as u64);
        entry.annotations.insert(TAG.to_owned(), self.place.tag.clone());
        index.manifests.push(entry);
        self.replace(&self.path("oci-layout"), LAYOUT.as_bytes())?;
        let text = serde_json::to_vec(&index).expect("an index has only text keys");
        self.replace(&self.path("index.json"), &text)?;
        self.sweep(&index, &before)?;
        Ok(Commit::Done)
    }

    fn starts_anew(&self) -> bool {
        self.reset
    }

    fn remark(&self) -> Option<String> {
        lock(&self.remark).clone()
    }
}
