//! What the store keeps, one record for each thing that takes space: what it is, who needs it, when it was last used.
//!
//! The words are those of `BuildKit`'s records, so that `du` and `prune` can speak of them as its users know them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use stave_oci::BlobDigest;

use crate::database::Rows;
use crate::error::StoreError;
use crate::id::LayerId;
use crate::layout;
use crate::store::{Store, names};
use crate::usage::Seen;

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecordKind {
    /// A layer.
    Regular,
    /// A cache mount.
    CacheMount,
    /// What is remembered about a build context.
    LocalSource,
    /// A container's own files.
    Container,
    /// A blob, the logs, work in progress, the index: what stave keeps for itself.
    Internal,
}

impl RecordKind {
    /// Returns the name that `BuildKit` has for it, where it has one.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Regular => "regular",
            Self::CacheMount => "exec.cachemount",
            Self::LocalSource => "source.local",
            Self::Container => "container",
            Self::Internal => "internal",
        }
    }
}

/// One thing that takes space.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each answers a question of its own")]
pub struct DiskRecord {
    /// What it is.
    pub kind: RecordKind,
    /// Its name: a layer's number, a blob's digest, a cache's or a container's name.
    pub id: String,
    /// What made it or needs it, for people.
    pub description: String,
    /// Records that this one stands on.
    pub parents: Vec<String>,
    /// Bytes on the disk. A file with several links belongs to the first record that has it.
    pub bytes: u64,
    /// When it was made, in seconds since 1970, where that is known.
    pub created: Option<i64>,
    /// When it was last used, in seconds since 1970, where that is known.
    pub last_used: Option<i64>,
    /// Whether an image or a container needs it.
    pub shared: bool,
    /// Whether a container does.
    pub by_container: bool,
    /// Whether a living process uses it.
    pub in_use: bool,
    /// Whether it changes while it is used.
    pub mutable: bool,
    /// Whether pruning all of the cache would free it.
    pub reclaimable: bool,
}

impl DiskRecord {
    fn new(kind: RecordKind, id: impl Into<String>, description: impl Into<String>) -> Self {
        Self {
            kind,
            id: id.into(),
            description: description.into(),
            parents: Vec::new(),
            bytes: 0,
            created: None,
            last_used: None,
            shared: false,
            by_container: false,
            in_use: false,
            mutable: false,
            reclaimable: false,
        }
    }
}

/// Whether sizes are wanted: they are what takes time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sizes {
    Measured,
    Unknown,
}

const LAYERS: &str = "
    SELECT id, created,
        EXISTS (SELECT 1 FROM image_layers WHERE layer = layers.id)
        OR EXISTS (SELECT 1 FROM image_layers WHERE diff_id = layers.diff_id)
        OR EXISTS (SELECT 1 FROM container_layers WHERE layer = layers.id),
        EXISTS (SELECT 1 FROM pins WHERE kind = 'layer' AND id = layers.id),
        EXISTS (SELECT 1 FROM container_layers WHERE layer = layers.id)
    FROM layers ORDER BY id";

/// Results, each by its highest layer.
const RESULTS: &str = "
    SELECT part.layer, record.title, record.last_used,
        (SELECT layer FROM cache_layers WHERE key = part.key AND position = part.position - 1)
    FROM cache AS record JOIN cache_layers AS part ON part.key = record.key
    WHERE record.gone IS NULL
      AND part.position = (SELECT max(position) FROM cache_layers WHERE key = record.key)
    ORDER BY record.created, record.key";

/// Blobs, and whether an image needs them or a lease uses them. That a kept layer may be sent as them is no need.
const BLOBS: &str = "
    SELECT digest, created,
        EXISTS (SELECT 1 FROM images WHERE id = blobs.digest OR manifest = blobs.digest)
        OR EXISTS (SELECT 1 FROM attestations WHERE blob = blobs.digest)
        OR EXISTS (SELECT 1 FROM layer_forms AS form JOIN image_layers AS part ON part.diff_id = form.diff_id
                   WHERE form.digest = blobs.digest),
        EXISTS (SELECT 1 FROM pins WHERE kind = 'blob' AND id = blobs.digest)
    FROM blobs ORDER BY digest";

impl Store {
    /// Returns a record for everything that takes space; their bytes are those of [`Store::usage`], and as `du` counts.
    pub fn records(&self) -> Result<Vec<DiskRecord>, StoreError> {
        self.list_records(Sizes::Measured)
    }

    pub(crate) fn list_records(&self, sizes: Sizes) -> Result<Vec<DiskRecord>, StoreError> {
        let mut seen = Seen::default();
        let mut tree = |path: &Path| match sizes {
            Sizes::Measured => seen.tree(path),
            Sizes::Unknown => Ok(0),
        };
        let (mut records, blobs, containers) =
            self.database().snapshot(|rows| Ok::<_, StoreError>((layers(rows)?, blobs(rows)?, containers(rows)?)))?;
        // A file that several layers have is freed with the last of them, so it belongs to those that stay.
        records.sort_by_key(|record| record.reclaimable);
        for record in &mut records {
            record.bytes = tree(&self.path(layout::LAYERS).join(&record.id))?;
        }
        for mut record in blobs {
            if let Some(digest) = record.id.strip_prefix("sha256:").and_then(BlobDigest::from_hex) {
                record.bytes = tree(&self.path(&layout::blob_file(&digest)))?;
            }
            records.push(record);
        }
        for mut record in containers {
            record.bytes = tree(&self.path(layout::CONTAINERS).join(&record.id))?;
            records.push(record);
        }
        let locks = locked_inodes();
        for name in self.caches()? {
            let path = self.path(layout::CACHES).join(&name);
            let mut record = self.cache_record(&name, &locks);
            record.bytes = tree(&path)?;
            records.push(record);
        }
        for name in names(&self.path(layout::CONTEXT))? {
            let path = self.path(layout::CONTEXT).join(&name);
            let mut record = DiskRecord::new(RecordKind::LocalSource, &name, "digests of the files of a build context");
            record.last_used = path.symlink_metadata().ok().map(|metadata| metadata.mtime());
            (record.mutable, record.reclaimable) = (true, true);
            record.bytes = tree(&path)?;
            records.push(record);
        }
        if sizes == Sizes::Measured {
            let known = records.iter().map(|record| record.id.clone()).collect();
            records.extend(self.overhead(&known, &mut seen)?);
        }
        Ok(records)
    }

    /// What is left after everything else was counted.
    fn overhead(&self, known: &HashSet<String>, seen: &mut Seen) -> Result<Vec<DiskRecord>, StoreError> {
        let what = "work in progress, and what is being deleted";
        let mut temporary = DiskRecord::new(RecordKind::Internal, "temporary", what);
        (temporary.mutable, temporary.in_use) = (true, true);
        for directory in [layout::TMP, layout::TRASH, layout::LAYERS] {
            for name in names(&self.path(directory))?.into_iter().filter(|name| !known.contains(name)) {
                temporary.bytes += seen.tree(&self.path(directory).join(name))?;
            }
        }
        let mut logs = DiskRecord::new(RecordKind::Internal, "logs", "logs of the latest builds");
        logs.mutable = true;
        logs.bytes = seen.tree(&self.path(layout::LOGS))?;
        let mut index = DiskRecord::new(RecordKind::Internal, "index", "the database, and directories");
        (index.mutable, index.in_use) = (true, true);
        index.bytes = seen.one(&self.path("blobs"))? + seen.one(&self.path(layout::BLOBS))?;
        for name in names(&self.path(layout::BLOBS))? {
            index.bytes += seen.one(&self.path(layout::BLOBS).join(name))?;
        }
        index.bytes += self.index_bytes(seen, &[layout::CONTEXT])?;
        let mut volumes = DiskRecord::new(RecordKind::Internal, "volumes", "volumes of containers");
        (volumes.mutable, volumes.in_use) = (true, true);
        for volume in self.volumes()? {
            volumes.bytes += seen.tree(&self.path(layout::VOLUMES).join(&volume.name))?;
        }
        let mut all = vec![temporary, logs, index];
        all.extend((volumes.bytes > 0).then_some(volumes));
        Ok(all)
    }

    fn cache_record(&self, name: &str, locks: &HashSet<u64>) -> DiskRecord {
        let path = self.path(layout::CACHES).join(name);
        let label = std::fs::read_to_string(path.join("label")).unwrap_or_default();
        let mut record = DiskRecord::new(RecordKind::CacheMount, name, label);
        let lock = path.join("lock").symlink_metadata().ok();
        record.in_use = lock.as_ref().is_some_and(|lock| locks.contains(&lock.ino()));
        record.last_used = lock.map(|lock| lock.mtime());
        (record.mutable, record.reclaimable) = (true, !record.in_use);
        record
    }
}

/// Returns the inodes of the files that some process has locked, as far as this process may see. Asking the files
/// themselves would mean to lock them, and a step that wants one at that moment would go elsewhere.
///
/// Reference: `proc_locks(5)`: the sixth field is `major:minor:inode`.
fn locked_inodes() -> HashSet<u64> {
    let text = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    let inode = |line: &str| {
        line.split_ascii_whitespace().find(|word| word.matches(':').count() == 2)?.rsplit(':').next()?.parse().ok()
    };
    text.lines().filter(|line| line.contains("FLOCK")).filter_map(inode).collect()
}

fn layers(rows: &Rows<'_>) -> Result<Vec<DiskRecord>, StoreError> {
    #[derive(Default)]
    struct Results {
        titles: Vec<String>,
        last_used: Option<i64>,
        parents: Vec<String>,
    }
    let mut results: HashMap<i64, Results> = HashMap::new();
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get::<_, Option<i64>>(3)?));
    for (layer, title, last_used, parent) in rows.all(RESULTS, [], read)? {
        let known: &mut Results = results.entry(layer).or_default();
        if !known.titles.contains(&title) {
            known.titles.push(title);
        }
        known.last_used = known.last_used.max(Some(last_used));
        let parent = parent.map(|parent| LayerId::from_row(parent).to_string());
        known.parents.extend(parent.filter(|parent| !known.parents.contains(parent)).into_iter().collect::<Vec<_>>());
    }
    let names = image_names(rows)?;
    let read = |row: &rusqlite::Row<'_>| {
        let needs: [bool; 3] = [row.get(2)?, row.get(3)?, row.get(4)?];
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, needs))
    };
    let rows = rows.all(LAYERS, [], read)?;
    let mut record = |(id, created, [shared, in_use, by_container]): (i64, i64, [bool; 3])| {
        let results = results.remove(&id).unwrap_or_default();
        let description = match (results.titles.is_empty(), names.get(&id)) {
            (false, _) => results.titles.join("; "),
            (true, Some(name)) => format!("layer of {name}"),
            (true, None) => String::new(),
        };
        let mut record = DiskRecord::new(RecordKind::Regular, LayerId::from_row(id).to_string(), description);
        (record.created, record.last_used) = (Some(created), results.last_used);
        record.parents = results.parents;
        record.by_container = by_container;
        (record.shared, record.in_use, record.reclaimable) = (shared, in_use, !shared && !in_use);
        record
    };
    Ok(rows.into_iter().map(&mut record).collect())
}

/// For each layer of an image, one name of one such image.
fn image_names(rows: &Rows<'_>) -> Result<BTreeMap<i64, String>, StoreError> {
    let query = "SELECT coalesce(part.layer, layers.id), min(tags.reference) FROM image_layers AS part \
                 JOIN tags ON tags.image = part.image LEFT JOIN layers ON layers.diff_id = part.diff_id \
                 WHERE coalesce(part.layer, layers.id) IS NOT NULL GROUP BY 1";
    Ok(rows.all(query, [], |row| Ok((row.get(0)?, row.get(1)?)))?.into_iter().collect())
}

fn blobs(rows: &Rows<'_>) -> Result<Vec<DiskRecord>, StoreError> {
    rows.all(BLOBS, [], |row| {
        let digest = BlobDigest::from(row.get::<_, [u8; 32]>(0)?);
        let mut record = DiskRecord::new(
            RecordKind::Internal,
            digest.to_string(),
            "blob: a configuration, a manifest or a packed layer",
        );
        record.created = Some(row.get(1)?);
        (record.shared, record.in_use) = (row.get(2)?, row.get(3)?);
        record.reclaimable = !record.shared && !record.in_use;
        Ok(record)
    })
}

fn containers(rows: &Rows<'_>) -> Result<Vec<DiskRecord>, StoreError> {
    let query = "SELECT id, name, created, coalesce(finished, started, created), state = 'running' FROM containers";
    rows.all(query, [], |row| {
        let description = format!("container {}", row.get::<_, String>(1)?);
        let mut record = DiskRecord::new(RecordKind::Container, row.get::<_, String>(0)?, description);
        (record.created, record.last_used) = (Some(row.get(2)?), Some(row.get(3)?));
        (record.mutable, record.shared, record.in_use) = (true, true, row.get(4)?);
        Ok(record)
    })
}
