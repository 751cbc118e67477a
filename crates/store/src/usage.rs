//! How much of the disk the store takes, as `du` counts: blocks, and files with several links once.

use std::collections::HashSet;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::error::StoreError;
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
    /// Builds in the history, and their logs.
    pub builds: Amount,
    /// Layers that only the cache needs: what pruning the cache would free at most.
    pub reclaimable: Amount,
    /// Work in progress and what waits to be deleted.
    pub temporary: Amount,
    /// The database and what is remembered about contexts.
    pub index: Amount,
}

impl Usage {
    /// Returns the bytes of everything.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        let kinds =
            [self.layers, self.blobs, self.containers, self.cache_mounts, self.builds, self.temporary, self.index];
        kinds.iter().map(|amount| amount.bytes).sum()
    }
}

/// Layers that no image, container or lease needs.
const CACHED_ONLY: &str = "
    SELECT id FROM layers AS layer
    WHERE NOT EXISTS (SELECT 1 FROM image_layers WHERE layer = layer.id)
      AND NOT EXISTS (SELECT 1 FROM image_layers WHERE diff_id = layer.diff_id)
      AND NOT EXISTS (SELECT 1 FROM container_layers WHERE layer = layer.id)
      AND NOT EXISTS (SELECT 1 FROM pins WHERE kind = 'layer' AND id = layer.id)";

impl Store {
    /// Measures everything. Files that other processes delete meanwhile are not counted.
    pub fn usage(&self) -> Result<Usage, StoreError> {
        let mut seen = Seen::default();
        let mut usage = Usage::default();
        let (counts, cached) = self.database().snapshot(|rows| {
            let count = |query| Ok::<u64, StoreError>(rows.one(query, [], |row| row.get(0))?.unwrap_or(0));
            let counts = [
                count("SELECT count(*) FROM images")?,
                count("SELECT count(*) FROM cache WHERE gone IS NULL")?,
                count("SELECT count(*) FROM builds")?,
                count("SELECT count(*) FROM blobs")?,
            ];
            let cached = rows.all(CACHED_ONLY, [], |row| row.get(0).map(crate::id::LayerId::from_row))?;
            Ok::<_, StoreError>((counts, cached.into_iter().map(|id| id.to_string()).collect::<HashSet<_>>()))
        })?;
        usage.images.count = counts[0];
        usage.cache_records.count = counts[1];
        for name in names(&self.path(layout::LAYERS))? {
            let bytes = seen.tree(&self.path(layout::LAYERS).join(&name))?;
            usage.layers.add(bytes);
            if cached.contains(&name) {
                usage.reclaimable.add(bytes);
            }
        }
        for name in names(&self.path(layout::CONTAINERS))? {
            usage.containers.add(seen.tree(&self.path(layout::CONTAINERS).join(&name))?);
        }
        for name in self.caches()? {
            usage.cache_mounts.add(seen.tree(&self.path(layout::CACHES).join(&name))?);
        }
        for directory in [layout::TMP, layout::TRASH] {
            for name in names(&self.path(directory))? {
                usage.temporary.add(seen.tree(&self.path(directory).join(&name))?);
            }
        }
        usage.builds = Amount { count: counts[2], bytes: seen.tree(&self.path(layout::LOGS))? };
        usage.blobs = Amount { count: counts[3], bytes: seen.tree(&self.path("blobs"))? };
        for name in
            layout::ROOT_NAMES.iter().filter(|name| name.starts_with(layout::DATABASE) || **name == layout::RESERVE)
        {
            usage.index.bytes += seen.tree(&self.path(name))?;
        }
        usage.index.bytes += seen.tree(&self.path(layout::CONTEXT))?;
        Ok(usage)
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
struct Seen(HashSet<(u64, u64)>);

impl Seen {
    fn tree(&mut self, root: &Path) -> Result<u64, StoreError> {
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
