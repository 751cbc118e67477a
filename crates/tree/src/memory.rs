//! Digests of files remembered from run to run, so that an unchanged context is examined and not read.
//!
//! Turns what `stat` says about a file into the digest of its bytes, if that file was read before and cannot have
//! changed since. It does not know paths: a renamed file is still known.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use stave_oci::{BlobDigest, Hasher};

use crate::dir::{Dir, Metadata, PathError, Time};

/// What a file's bytes and extended attributes hash to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileDigest {
    /// SHA-256 of the bytes.
    pub(crate) content: [u8; 32],
    /// SHA-256 over the attributes that copies keep, zeros if there are none.
    pub(crate) xattrs: [u8; 32],
}

/// Age, in seconds, that a file's last change must have when it is read for the result to be remembered. A younger file
/// can change again within the same tick of the kernel's clock, and nothing would show it.
const AGE_SECONDS_MIN: i64 = 2;

/// First bytes of the file that holds the memory; the digit is its version.
const MAGIC: &[u8; 24] = b"stave hash memory 1\n\0\0\0\0";

const KEY_BYTES: usize = 48;
const RECORD_BYTES: usize = KEY_BYTES + 64;
const CHECK_BYTES: usize = 32;

/// Largest file of remembered digests that is read: about twenty million files.
const MEMORY_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// Records kept although this run did not meet their files, for contexts that are built in turns.
const UNSEEN_MAX: usize = 200_000;

/// Digests of files, remembered by device, inode, size and the times of the last changes.
#[derive(Debug)]
pub struct HashMemory {
    /// Sorted records as they were loaded.
    known: Vec<u8>,
    seen: Vec<AtomicBool>,
    learned: Mutex<Vec<[u8; RECORD_BYTES]>>,
    now: Time,
}

impl HashMemory {
    /// Returns a memory that knows nothing. `now` is the time of the wall clock, taken before any file is examined.
    #[must_use]
    pub fn empty(now: Time) -> Self {
        Self { known: Vec::new(), seen: Vec::new(), learned: Mutex::new(Vec::new()), now }
    }

    /// Returns what was saved as `name` in `dir`. A file that is missing, damaged or of another version counts as empty:
    /// all that is lost is time. `now` is the time of the wall clock, taken before any file is examined.
    #[must_use]
    pub fn load(dir: &Dir, name: &[u8], now: Time) -> Self {
        let known = dir.read_file(name, MEMORY_BYTES_MAX).ok().and_then(checked).unwrap_or_default();
        let mut seen = Vec::new();
        seen.resize_with(known.len() / RECORD_BYTES, AtomicBool::default);
        Self { known, seen, ..Self::empty(now) }
    }

    /// Saves what is known as `name` in `dir`, in one step, if anything was learned; says whether it wrote.
    pub fn save(&self, dir: &Dir, name: &[u8]) -> Result<bool, PathError> {
        let learned = self.learned.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if learned.is_empty() {
            return Ok(false);
        }
        let mut records: Vec<&[u8]> = learned.iter().map(<[u8; RECORD_BYTES]>::as_slice).collect();
        let mut unseen = 0;
        for (record, seen) in self.known.chunks_exact(RECORD_BYTES).zip(&self.seen) {
            let seen = seen.load(Ordering::Relaxed);
            unseen += usize::from(!seen);
            if seen || unseen <= UNSEEN_MAX {
                records.push(record);
            }
        }
        // What was learned comes first for each inode, and only the first is kept.
        records.sort_by_key(|record| &record[..16]);
        records.dedup_by_key(|record| &record[..16]);
        let mut bytes = Vec::with_capacity(MAGIC.len() + records.len() * RECORD_BYTES + CHECK_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend(records.into_iter().flatten());
        let check = BlobDigest::of(&bytes);
        bytes.extend_from_slice(check.as_bytes());
        dir.replace_file(name, &bytes, 0o600)?;
        Ok(true)
    }

    /// Returns the digest of the file that `metadata` describes, if it is known and the file is as it was then.
    pub(crate) fn recall(&self, metadata: &Metadata) -> Option<FileDigest> {
        let key = key(metadata);
        let (mut low, mut high) = (0, self.seen.len());
        while low < high {
            let middle = low.midpoint(high);
            let record = &self.known[middle * RECORD_BYTES..(middle + 1) * RECORD_BYTES];
            match record[..16].cmp(&key[..16]) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => {
                    if record[..KEY_BYTES] != key {
                        return None;
                    }
                    self.seen[middle].store(true, Ordering::Relaxed);
                    let mut digest = FileDigest { content: [0; 32], xattrs: [0; 32] };
                    digest.content.copy_from_slice(&record[KEY_BYTES..KEY_BYTES + 32]);
                    digest.xattrs.copy_from_slice(&record[KEY_BYTES + 32..]);
                    return Some(digest);
                }
            }
        }
        None
    }

    /// Remembers that the file which `metadata` describes, examined before and after it was read, hashes to `digest`.
    pub(crate) fn learn(&self, metadata: &Metadata, digest: &FileDigest) {
        let settled = self.now.seconds.saturating_sub(AGE_SECONDS_MIN);
        if metadata.modified.seconds >= settled || metadata.changed.seconds >= settled {
            return;
        }
        let mut record = [0; RECORD_BYTES];
        record[..KEY_BYTES].copy_from_slice(&key(metadata));
        record[KEY_BYTES..KEY_BYTES + 32].copy_from_slice(&digest.content);
        record[KEY_BYTES + 32..].copy_from_slice(&digest.xattrs);
        self.learned.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(record);
    }
}

/// Returns the records of a saved memory, if it is whole.
fn checked(mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    let end = bytes.len().checked_sub(CHECK_BYTES)?;
    let records = end.checked_sub(MAGIC.len())?;
    if !bytes.starts_with(MAGIC) || records % RECORD_BYTES != 0 {
        return None;
    }
    let mut hasher = Hasher::new();
    hasher.update(&bytes[..end]);
    if hasher.finish::<BlobDigest>().as_bytes() != &bytes[end..] {
        return None;
    }
    bytes.truncate(end);
    bytes.drain(..MAGIC.len());
    Some(bytes)
}

/// The identity of a file's state. Numbers are big-endian so that the order of bytes is the order of numbers.
fn key(metadata: &Metadata) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    key[..8].copy_from_slice(&metadata.device.to_be_bytes());
    key[8..16].copy_from_slice(&metadata.inode.to_be_bytes());
    key[16..24].copy_from_slice(&metadata.size.to_be_bytes());
    key[24..32].copy_from_slice(&metadata.modified.seconds.to_be_bytes());
    key[32..36].copy_from_slice(&metadata.modified.nanoseconds.to_be_bytes());
    key[36..44].copy_from_slice(&metadata.changed.seconds.to_be_bytes());
    key[44..48].copy_from_slice(&metadata.changed.nanoseconds.to_be_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dir::Kind;

    const NOW: Time = Time { seconds: 1_000_000, nanoseconds: 0 };

    fn metadata(inode: u64, changed: i64) -> Metadata {
        let time = |seconds| Time { seconds, nanoseconds: 7 };
        Metadata {
            kind: Kind::File,
            mode: 0o644,
            uid: 0,
            gid: 0,
            size: 10,
            allocated: 4096,
            modified: time(5),
            changed: time(changed),
            device: 3,
            inode,
            links: 1,
            rdev: 0,
        }
    }

    fn digest(byte: u8) -> FileDigest {
        FileDigest { content: [byte; 32], xattrs: [0; 32] }
    }

    #[test]
    fn what_was_learned_is_known_in_the_next_run() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = Dir::open_ambient(temporary.path()).unwrap();
        let first = HashMemory::load(&dir, b"memory", NOW);
        for inode in 1..=200_u8 {
            first.learn(&metadata(u64::from(inode), 9), &digest(inode));
        }
        assert!(first.save(&dir, b"memory").unwrap());
        let second = HashMemory::load(&dir, b"memory", NOW);
        for inode in 1..=200_u8 {
            assert_eq!(second.recall(&metadata(u64::from(inode), 9)), Some(digest(inode)));
        }
        assert_eq!(second.recall(&metadata(1, 10)), None, "a later change of attributes is a change");
        assert_eq!(second.recall(&metadata(201, 9)), None);
        assert!(!second.save(&dir, b"memory").unwrap(), "nothing was learned");
        second.learn(&metadata(1, 10), &digest(77));
        assert!(second.save(&dir, b"memory").unwrap());
        let third = HashMemory::load(&dir, b"memory", NOW);
        assert_eq!(third.recall(&metadata(1, 10)), Some(digest(77)), "the newer record of an inode wins");
        assert_eq!(third.recall(&metadata(2, 9)), Some(digest(2)));
    }

    #[test]
    fn a_file_that_just_changed_is_not_remembered() {
        let memory = HashMemory::empty(NOW);
        memory.learn(&metadata(1, NOW.seconds - 1), &digest(1));
        memory.learn(&metadata(2, NOW.seconds + 50), &digest(2));
        let temporary = tempfile::tempdir().unwrap();
        let dir = Dir::open_ambient(temporary.path()).unwrap();
        assert!(!memory.save(&dir, b"memory").unwrap());
    }

    #[test]
    fn a_damaged_memory_is_an_empty_one() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = Dir::open_ambient(temporary.path()).unwrap();
        let first = HashMemory::load(&dir, b"memory", NOW);
        first.learn(&metadata(1, 9), &digest(1));
        assert!(first.save(&dir, b"memory").unwrap());
        let mut bytes = dir.read_file(b"memory", 10_000).unwrap();
        bytes[60] ^= 1;
        dir.replace_file(b"memory", &bytes, 0o600).unwrap();
        assert_eq!(HashMemory::load(&dir, b"memory", NOW).recall(&metadata(1, 9)), None);
    }
}
