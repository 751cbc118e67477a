//! How much of the disk the store takes, as `du` counts: blocks, and files with several links once.

use std::collections::HashSet;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::error::StoreError;
use crate::id::LayerId;
use crate::layout;
use crate::store::{Store, names};

/// Count and size of the things of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// How many there are.
    pub count: u64,
    /// Bytes on the disk.
    pub bytes: u64,
}

/// What the store holds. A file with links in several layers is counted in the first of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Images. Their bytes are those of the layers and blobs below, so this size is zero.
    pub images: Amount,
    /// Layer directories.
    pub layers: Amount,
    /// Blobs.
    pub blobs: Amount,
    /// Containers' own files.
    pub containers: Amount,
    /// Usable cache records. Their bytes are those of layers.
    pub cache_records: Amount,
    /// Cache mounts.
    pub cache_mounts: Amount,
    /// Volumes.
    pub volumes: Amount,
    /// Builds in the history, and their logs.
    pub builds: Amount,
    /// Layers that only the cache needs: what pruning the cache would free at most.
    pub reclaimable: Amount,
    /// Work in progress and what waits to be deleted.
    pub temporary: Amount,
    /// The database, what is remembered about contexts, and the directories that hold everything else.
    pub index: Amount,
}

impl Usage {
    /// Returns the bytes of everything.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        let own = [self.layers, self.blobs, self.containers, self.cache_mounts, self.volumes];
        own.iter().chain(&[self.builds, self.temporary, self.index]).map(|amount| amount.bytes).sum()
    }
}

/// Layers, and whether an image, a container or a lease needs them.
const LAYERS: &str = "
    SELECT id,
        EXISTS (SELECT 1 FROM image_layers WHERE layer = layers.id)
        OR EXISTS (SELECT 1 FROM image_layers WHERE diff_id = layers.diff_id)
        OR EXISTS (SELECT 1 FROM container_layers WHERE layer = layers.id)
        OR EXISTS (SELECT 1 FROM pins WHERE kind = 'layer' AND id = layers.id) AS needed
    FROM layers ORDER BY needed DESC, id";

impl Store {
    /// Measures everything. Files that other processes delete meanwhile are not counted.
    pub fn usage(&self) -> Result<Usage, StoreError> {
        let mut seen = Seen::default();
        let mut usage = Usage::default();
        let (counts, layers) = self.database().snapshot(|rows| {
            let count = |query| Ok::<u64, StoreError>(rows.one(query, [], |row| row.get(0))?.unwrap_or(0));
            let counts = [
                count("SELECT count(*) FROM images")?,
                count("SELECT count(*) FROM cache WHERE gone IS NULL")?,
                count("SELECT count(*) FROM builds")?,
                count("SELECT count(*) FROM blobs")?,
            ];
            let layers =
                rows.all(LAYERS, [], |row| Ok((LayerId::from_row(row.get(0)?).to_string(), row.get::<_, bool>(1)?)))?;
            Ok::<_, StoreError>((counts, layers))
        })?;
        usage.images.count = counts[0];
        usage.cache_records.count = counts[1];
        // A file that a needed layer shares with one of the cache is not freed with the cache: needed ones come first.
        for (name, needed) in &layers {
            let bytes = seen.tree(&self.path(layout::LAYERS).join(name))?;
            usage.layers.add(bytes);
            if !needed {
                usage.reclaimable.add(bytes);
            }
        }
        // Those that are being published or deleted.
        let known: HashSet<&str> = layers.iter().map(|(name, _)| name.as_str()).collect();
        for name in names(&self.path(layout::LAYERS))?.iter().filter(|name| !known.contains(name.as_str())) {
            usage.temporary.add(seen.tree(&self.path(layout::LAYERS).join(name))?);
        }
        for name in names(&self.path(layout::CONTAINERS))? {
            usage.containers.add(seen.tree(&self.path(layout::CONTAINERS).join(&name))?);
        }
        for name in self.caches()? {
            usage.cache_mounts.add(seen.tree(&self.path(layout::CACHES).join(&name))?);
        }
        for volume in self.volumes()? {
            usage.volumes.add(seen.tree(&self.path(layout::VOLUMES).join(&volume.name))?);
        }
        for directory in [layout::TMP, layout::TRASH] {
            for name in names(&self.path(directory))? {
                usage.temporary.add(seen.tree(&self.path(directory).join(&name))?);
            }
        }
        usage.builds = Amount { count: counts[2], bytes: seen.tree(&self.path(layout::LOGS))? };
        usage.blobs = Amount { count: counts[3], bytes: seen.tree(&self.path("blobs"))? };
        usage.index.bytes = self.index_bytes(&mut seen, &[])?;
        Ok(usage)
    }

    /// The database, the memory of contexts, the constant files, and the directories that hold everything else. What is
    /// in the directories `counted` was counted before.
    pub(crate) fn index_bytes(&self, seen: &mut Seen, counted: &[&str]) -> Result<u64, StoreError> {
        let mut bytes = seen.one(self.root())?;
        for name in names(self.root())? {
            bytes += match name.as_str() {
                layout::TMP
                | layout::TRASH
                | layout::LAYERS
                | layout::CONTAINERS
                | layout::CACHES
                | layout::VOLUMES => seen.one(&self.path(&name))?,
                layout::LOGS | "blobs" => 0,
                name if counted.contains(&name) => seen.one(&self.path(name))?,
                _ => seen.tree(&self.path(&name))?,
            };
        }
        Ok(bytes)
    }
}

impl Amount {
    fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }
}

/// Returns the bytes on the disk below a path; nothing if it is not there.
pub(crate) fn tree_bytes(path: &Path) -> Result<u64, StoreError> {
    Seen::default().tree(path)
}

/// The files with several links that were counted.
#[derive(Default)]
pub(crate) struct Seen(HashSet<(u64, u64)>);

impl From<HashSet<(u64, u64)>> for Seen {
    fn from(seen: HashSet<(u64, u64)>) -> Self {
        Self(seen)
    }
}

impl Seen {
    /// Returns the bytes of one file or directory, without what is in it; nothing if it is not there.
    pub(crate) fn one(&mut self, path: &Path) -> Result<u64, StoreError> {
        Ok(gone_is_none(path.symlink_metadata(), path)?.map_or(0, |metadata| self.file(&metadata)))
    }

    /// Returns the bytes of everything below a path that was not counted before.
    pub(crate) fn tree(&mut self, root: &Path) -> Result<u64, StoreError> {
        let mut bytes = 0;
        let mut waiting = vec![root.to_owned()];
        while let Some(path) = waiting.pop() {
            let Some(metadata) = gone_is_none(path.symlink_metadata(), &path)? else { continue };
            bytes += self.file(&metadata);
            if !metadata.is_dir() {
                continue;
            }
            let Some(entries) = gone_is_none(std::fs::read_dir(&path), &path)? else { continue };
            for entry in entries {
                let Some(entry) = gone_is_none(entry, &path)? else { break };
                waiting.push(entry.path());
            }
        }
        Ok(bytes)
    }

    fn file(&mut self, metadata: &Metadata) -> u64 {
        let shared = !metadata.is_dir() && metadata.nlink() > 1;
        if shared && !self.0.insert((metadata.dev(), metadata.ino())) {
            return 0;
        }
        metadata.blocks() * 512
    }
}

fn gone_is_none<T>(result: io::Result<T>, path: &Path) -> Result<Option<T>, StoreError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::io("measure", path, error)),
    }
}
