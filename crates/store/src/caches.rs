//! Cache mounts: directories that a step finds again as an earlier one left them.
//!
//! `caches/<name>.<instance>/` holds the files in `diff/data`, the lock of whoever uses them, and what they are for. The
//! lock is the kernel's, on an open file, so it ends with its process. Whoever removes a cache holds the lock alone.

use std::fs::{File, FileTimes, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::time::{Duration, SystemTime};

use crate::error::StoreError;
use crate::layout;
use crate::lease::{Lease, WorkDir};
use crate::store::{Store, make_private_dir, names};

/// Digits of a name.
const NAME_DIGITS: usize = 32;
/// Bytes of a description that are kept.
const LABEL_BYTES_MAX: usize = 1024;

/// Which cache: made of a digest of everything that tells it from others, never of text from outside.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CacheName {
    digits: String,
    /// Which of several with this name, for users that must not meet.
    pub instance: u32,
}

impl CacheName {
    /// Returns the name for a digest.
    #[must_use]
    pub fn new(digest: &[u8; 32]) -> Self {
        Self { digits: stave_oci::digest::hex(&digest[..NAME_DIGITS / 2]), instance: 0 }
    }

    fn directory(&self) -> String {
        format!("{}/{}.{}", layout::CACHES, self.digits, self.instance)
    }

    /// Reads a directory's name.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (digits, instance) = text.split_once('.')?;
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let right = digits.len() == NAME_DIGITS && digits.bytes().all(is_digit);
        let name = Self { digits: digits.to_owned(), instance: instance.parse().ok()? };
        (right && name.instance.to_string() == instance).then_some(name)
    }
}

/// With whom a cache may be shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CacheAccess {
    /// With others who share it.
    Shared,
    /// With nobody.
    Exclusive,
}

/// What came of asking for a cache.
#[derive(Debug)]
pub enum CacheAnswer {
    /// Here it is.
    Held(CacheMount),
    /// Somebody uses it in a way that does not go together.
    Busy,
    /// There is none; see [`Lease::publish_cache`].
    Missing,
}

/// A cache that is in use. Dropping it lets others have it.
#[derive(Debug)]
pub struct CacheMount {
    directory: String,
    _lock: File,
}

impl CacheMount {
    /// Returns the path of its files, below the store's root.
    #[must_use]
    pub fn rel_path(&self) -> String {
        format!("{}/diff/data", self.directory)
    }

    /// Returns its name among the caches: see [`Store::cache_named`].
    #[must_use]
    pub fn name(&self) -> &str {
        self.directory.rsplit('/').next().unwrap_or_default()
    }
}

impl Store {
    /// Asks for a cache by the name that [`CacheMount::name`] has returned, to share it. What is no such name is of none.
    pub fn cache_named(&self, name: &str) -> Result<CacheAnswer, StoreError> {
        match CacheName::parse(name) {
            Some(name) => self.cache_mount(&name, CacheAccess::Shared),
            None => Ok(CacheAnswer::Missing),
        }
    }

    /// Asks for a cache, and waits for nobody.
    pub fn cache_mount(&self, name: &CacheName, access: CacheAccess) -> Result<CacheAnswer, StoreError> {
        let directory = name.directory();
        let path = self.path(&format!("{directory}/lock"));
        let fault = |action| {
            let path = &path;
            move |error| StoreError::io(action, path, error)
        };
        let lock = match File::options().read(true).write(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(CacheAnswer::Missing),
            opened => opened.map_err(fault("open"))?,
        };
        let locked = match access {
            CacheAccess::Shared => lock.try_lock_shared(),
            CacheAccess::Exclusive => lock.try_lock(),
        };
        match locked {
            Err(TryLockError::WouldBlock) => return Ok(CacheAnswer::Busy),
            Err(TryLockError::Error(error)) => return Err(fault("lock")(error)),
            Ok(()) => {}
        }
        // Whoever removed it held the lock until its files had another name.
        match path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(CacheAnswer::Missing),
            found => {
                let (found, own) = (found.map_err(fault("examine"))?, lock.metadata().map_err(fault("examine"))?);
                if (found.dev(), found.ino()) != (own.dev(), own.ino()) {
                    return Ok(CacheAnswer::Busy);
                }
            }
        }
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(self.now()).unwrap_or_default());
        lock.set_times(FileTimes::new().set_modified(now)).map_err(fault("set the times of"))?;
        Ok(CacheAnswer::Held(CacheMount { directory, _lock: lock }))
    }

    /// Removes the caches that nobody uses and nobody has used since `before`, the oldest first; no more than `limit`, and
    /// only those whose directories are `chosen`. Returns how many.
    pub(crate) fn prune_caches(
        &self,
        before: i64,
        limit: usize,
        chosen: &dyn Fn(&str) -> bool,
    ) -> Result<u64, StoreError> {
        let mut idle = Vec::new();
        for name in self.caches()? {
            let Some(name) = CacheName::parse(&name).filter(|_| chosen(&name)) else { continue };
            // One that is removed meanwhile is as good as used.
            if let Ok(metadata) = self.path(&format!("{}/lock", name.directory())).symlink_metadata() {
                idle.push((metadata.mtime(), name));
            }
        }
        idle.sort();
        let mut removed = 0;
        for (_, name) in idle.into_iter().filter(|(used, _)| *used < before) {
            if removed == limit {
                break;
            }
            if let CacheAnswer::Held(held) = self.cache_mount(&name, CacheAccess::Exclusive)? {
                self.discard(&held.directory)?;
                removed += 1;
            }
        }
        Ok(removed as u64)
    }

    /// Returns the names of all caches' directories.
    pub(crate) fn caches(&self) -> Result<Vec<String>, StoreError> {
        let path = self.path(layout::CACHES);
        // A store of an earlier stave has none.
        if path.is_dir() { names(&path) } else { Ok(Vec::new()) }
    }

    /// Whether a cache's directory has what it must have.
    pub(crate) fn cache_is_whole(&self, name: &str) -> bool {
        let path = self.path(&format!("{}/{name}", layout::CACHES));
        CacheName::parse(name).is_some() && path.join("lock").is_file() && path.join("diff/data").is_dir()
    }
}

impl Lease {
    /// Makes a cache of a private directory whose layer is one directory, `data`. Returns whether nobody else has made
    /// one of this name in the meantime; otherwise this one is deleted. `label` says what it is for.
    pub fn publish_cache(&self, mut work: WorkDir, name: &CacheName, label: &str) -> Result<bool, StoreError> {
        let store = self.store();
        let fault = |error| StoreError::io("write", work.path(), error);
        File::options().write(true).create_new(true).mode(0o600).open(work.path().join("lock")).map_err(fault)?;
        let mut end = label.len().min(LABEL_BYTES_MAX);
        while !label.is_char_boundary(end) {
            end -= 1;
        }
        std::fs::write(work.path().join("label"), &label[..end]).map_err(fault)?;
        make_private_dir(&store.path(layout::CACHES))?;
        let target = store.path(&name.directory());
        store.reach("cache.ready");
        match std::fs::rename(work.path(), &target) {
            Ok(()) => {
                work.published = true;
                Ok(true)
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists) => {
                Ok(false)
            }
            Err(error) => Err(StoreError::io("publish", target, error)),
        }
    }
}
