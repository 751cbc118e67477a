//! Blobs: bytes under their digest. They are checked while they are written, and again when somebody asks.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use rusqlite::params;
use stave_oci::{BlobDigest, Hasher};

use crate::database::Durability;
use crate::error::{BlobError, StoreError};
use crate::layout;
use crate::lease::Lease;
use crate::store::{Store, make_private_dir};

/// Bytes for which room is made at once, of a blob whose size is not known. A small one has no more than it takes.
const ROOM_BYTES: u64 = 1 << 20;

/// What is known of a blob before its bytes come.
#[derive(Debug, Clone, Copy)]
pub struct BlobExpectation {
    /// Its digest, if somebody promised one.
    pub digest: Option<BlobDigest>,
    /// Its size, if somebody promised one.
    pub size: Option<u64>,
    /// The most bytes that are accepted, promised or not.
    pub limit: u64,
}

impl BlobExpectation {
    /// A blob of which nothing is known: one that this process makes itself.
    #[must_use]
    pub fn none() -> Self {
        Self { digest: None, size: None, limit: u64::MAX }
    }

    /// A blob that a descriptor promises.
    #[must_use]
    pub fn exactly(digest: BlobDigest, size: u64) -> Self {
        Self { digest: Some(digest), size: Some(size), limit: size }
    }
}

/// A blob that is being written. It is deleted when it is dropped without a [commit](BlobWriter::commit).
#[derive(Debug)]
pub struct BlobWriter {
    lease: Lease,
    path: PathBuf,
    file: File,
    hasher: Hasher,
    written: u64,
    /// Bytes up to which room was made, where the size is not known.
    roomy: u64,
    expected: BlobExpectation,
}

impl Lease {
    /// Begins a blob.
    pub fn blob_writer(&self, expected: BlobExpectation) -> Result<BlobWriter, StoreError> {
        let (parent, number) = self.next_work()?;
        let path = self.store().path(&format!("{parent}/{number}.blob"));
        let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(|error| StoreError::io("create", &path, error))?;
        let writer =
            BlobWriter { lease: self.clone(), path, file, hasher: Hasher::new(), written: 0, roomy: 0, expected };
        if let Some(size) = expected.size {
            self.store().reserve(&writer.file, size)?;
        }
        Ok(writer)
    }

    /// Stores bytes that are in memory.
    pub fn put_blob(&self, bytes: &[u8]) -> Result<BlobDigest, BlobError> {
        let digest = BlobDigest::of(bytes);
        if self.blob(&digest)?.is_some() {
            return Ok(digest);
        }
        let mut writer = self.blob_writer(BlobExpectation::exactly(digest, bytes.len() as u64))?;
        writer.write_all(bytes).map_err(|error| StoreError::io("write", &writer.path, error))?;
        writer.commit().map(|(digest, _)| digest)
    }

    /// Pins a blob and returns its size, if it is there.
    pub fn blob(&self, digest: &BlobDigest) -> Result<Option<u64>, StoreError> {
        self.store().database().write(Durability::Lazy, |rows| self.pin_blob(rows, digest))
    }
}

impl BlobWriter {
    /// Returns how many bytes were written.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Forgets what was written, for a transfer that has to begin again.
    pub fn restart(&mut self) -> Result<(), StoreError> {
        let path = &self.path;
        self.roomy = 0;
        self.file.set_len(0).map_err(|error| StoreError::io("truncate", path, error))?;
        self.file.rewind().map_err(|error| StoreError::io("rewind", path, error))?;
        self.hasher = Hasher::new();
        self.written = 0;
        Ok(())
    }

    /// Returns a reader of what was written so far; it is not verified yet.
    pub fn reader(&self) -> Result<File, StoreError> {
        File::open(&self.path).map_err(|error| StoreError::io("open", &self.path, error))
    }

    /// Checks size and digest and makes the blob visible. Returns them; the blob is pinned by the lease.
    pub fn commit(self) -> Result<(BlobDigest, u64), BlobError> {
        if let Some(expected) = self.expected.size.filter(|&size| size != self.written) {
            return Err(BlobError::SizeMismatch { expected, actual: self.written });
        }
        let digest: BlobDigest = self.hasher.clone().finish();
        if let Some(expected) = self.expected.digest.filter(|&expected| expected != digest) {
            return Err(BlobError::DigestMismatch { expected, actual: digest });
        }
        let (lease, store) = (&self.lease, self.lease.store());
        let there = store.database().write(Durability::Lazy, |rows| {
            let there = lease.pin_blob(rows, &digest)?.is_some();
            if !there {
                lease.announce(rows, "blob", digest.as_bytes())?;
            }
            Ok::<_, StoreError>(there)
        })?;
        if there {
            return Ok((digest, self.written));
        }
        store.reach("blob.announced");
        make_private_dir(&store.path(&layout::blob_parent(&digest)))?;
        // The rename is part of the transaction, so that it cannot meet the deletion of the same blob.
        store.database().write(Durability::Lazy, |rows| {
            let target = store.path(&layout::blob_file(&digest));
            std::fs::rename(&self.path, &target).map_err(|error| StoreError::io("publish", &target, error))?;
            store.reach("blob.renamed");
            let insert = "INSERT OR IGNORE INTO blobs (digest, bytes, boot, created) VALUES (?1, ?2, ?3, ?4)";
            rows.run(insert, params![digest.as_bytes(), self.written, store.boot_id(), store.now()])?;
            // If another process was faster, its row stood for its file, and the file is now ours: not settled.
            rows.run("UPDATE blobs SET boot = ?2 WHERE digest = ?1", params![digest.as_bytes(), store.boot_id()])?;
            lease.pin(rows, "blob", digest.as_bytes())?;
            lease.done(rows, "blob", digest.as_bytes())
        })?;
        store.reach("blob.recorded");
        Ok((digest, self.written))
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let limit = self.expected.size.map_or(self.expected.limit, |size| size.min(self.expected.limit));
        let after = self.written.saturating_add(bytes.len() as u64);
        if after > limit {
            return Err(io::Error::other(BlobError::TooLong { limit }));
        }
        if self.expected.size.is_none() && after > self.roomy {
            self.lease.store().make_room(ROOM_BYTES.max(bytes.len() as u64)).map_err(io::Error::other)?;
            self.roomy = self.written.saturating_add(ROOM_BYTES.max(bytes.len() as u64));
        }
        let count = self.file.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        // After a commit it has another name; what fails here goes with the lease.
        drop(std::fs::remove_file(&self.path));
    }
}

impl Store {
    /// Returns a blob's size, if it is there. Nothing is pinned.
    pub fn blob_size(&self, digest: &BlobDigest) -> Result<Option<u64>, StoreError> {
        self.database()
            .read(|rows| rows.one("SELECT bytes FROM blobs WHERE digest = ?1", [digest.as_bytes()], |row| row.get(0)))
    }

    /// Opens a blob. Its bytes are not verified again: [`Store::verify_blob`] does that.
    pub fn open_blob(&self, digest: &BlobDigest) -> Result<File, BlobError> {
        let path = self.path(&layout::blob_file(digest));
        match File::open(&path) {
            Ok(file) => Ok(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(BlobError::Missing(*digest)),
            Err(error) => Err(StoreError::io("open", &path, error).into()),
        }
    }

    /// Reads a small blob, and verifies it.
    pub fn read_blob(&self, digest: &BlobDigest, limit: u64) -> Result<Vec<u8>, BlobError> {
        let mut bytes = Vec::new();
        let mut file = self.open_blob(digest)?.take(limit.saturating_add(1));
        file.read_to_end(&mut bytes)
            .map_err(|error| StoreError::io("read", self.path(&layout::blob_file(digest)), error))?;
        if bytes.len() as u64 > limit {
            return Err(BlobError::TooLong { limit });
        }
        let actual = BlobDigest::of(&bytes);
        if actual != *digest {
            return Err(BlobError::DigestMismatch { expected: *digest, actual });
        }
        Ok(bytes)
    }

    /// Reads all of a blob and compares its digest.
    pub fn verify_blob(&self, digest: &BlobDigest) -> Result<(), BlobError> {
        let mut file = self.open_blob(digest)?;
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; 1 << 18];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => hasher.update(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(StoreError::io("read", self.path(&layout::blob_file(digest)), error).into()),
            }
        }
        let actual: BlobDigest = hasher.finish();
        if actual == *digest { Ok(()) } else { Err(BlobError::DigestMismatch { expected: *digest, actual }) }
    }
}
