//! Giving back what nobody needs. Safe beside running builds: what a living lease has pinned stays.

use std::os::unix::fs::MetadataExt;

use rusqlite::params;
use stave_oci::ImageId;

use crate::database::{Durability, Rows};
use crate::error::StoreError;
use crate::forget;
use crate::id::LayerId;
use crate::layout;
use crate::lease::Lease;
use crate::record::Eviction;
use crate::reserve;
use crate::store::{Store, names};

/// Records of results whose files are gone that are kept to explain later misses.
const EVICTED_KEPT: u32 = 10_000;

/// Cache records that are given up before the store is measured again.
const BATCH: u32 = 32;

/// What to give up. The default takes images without a name and the whole build cache, with the cache mounts that no
/// step uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PruneOptions {
    /// Also images that have names, if no container was made from them.
    pub all: bool,
    /// No images at all.
    pub cache_only: bool,
    /// Only what was stored and last used before this time, in seconds since 1970.
    pub until: Option<i64>,
    /// Gives up cache records, then cache mounts, those unused for longest first, only until the store is no larger than
    /// this.
    pub keep_bytes: Option<u64>,
}

/// What was given up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Names that no longer name anything.
    pub untagged: Vec<String>,
    /// Images.
    pub images: Vec<ImageId>,
    /// Cache records.
    pub cache_records: u64,
    /// Cache mounts.
    pub cache_mounts: u64,
    /// Layers.
    pub layers: u64,
    /// Blobs.
    pub blobs: u64,
    /// Bytes given back to the disk.
    pub bytes: u64,
}

const UNUSED_IMAGES: &str = "
    SELECT id FROM images AS image
    WHERE NOT EXISTS (SELECT 1 FROM containers WHERE image = image.id)
      AND NOT EXISTS (SELECT 1 FROM pins WHERE kind = 'image' AND id = image.id)
      AND (?1 OR NOT EXISTS (SELECT 1 FROM tags WHERE image = image.id)
             AND NOT EXISTS (SELECT 1 FROM indexes JOIN tags USING (reference) WHERE indexes.image = image.id))
      AND stored < ?2";

const UNUSED_LAYERS: &str = "
    SELECT id FROM layers AS layer
    WHERE NOT EXISTS (SELECT 1 FROM image_layers WHERE layer = layer.id)
      AND NOT EXISTS (SELECT 1 FROM image_layers WHERE diff_id = layer.diff_id)
      AND NOT EXISTS (SELECT 1 FROM cache_layers WHERE layer = layer.id)
      AND NOT EXISTS (SELECT 1 FROM container_layers WHERE layer = layer.id)
      AND NOT EXISTS (SELECT 1 FROM pins WHERE kind = 'layer' AND id = layer.id)";

const UNUSED_BLOBS: &str = "
    SELECT digest FROM blobs AS blob
    WHERE NOT EXISTS (SELECT 1 FROM images WHERE id = blob.digest)
      AND NOT EXISTS (SELECT 1 FROM images WHERE manifest = blob.digest)
      AND NOT EXISTS (SELECT 1 FROM pins WHERE kind = 'blob' AND id = blob.digest)
      AND NOT EXISTS (
        SELECT 1 FROM layer_forms AS form WHERE form.digest = blob.digest
          AND (EXISTS (SELECT 1 FROM image_layers WHERE diff_id = form.diff_id)
            OR EXISTS (SELECT 1 FROM layers WHERE diff_id = form.diff_id)
            OR EXISTS (SELECT 1 FROM layer_tars WHERE diff_id = form.diff_id)))";

/// Cache records whose results no lease uses, the one unused for longest first. A result is in use if its highest layer is
/// pinned: those below may be a base that every build pins.
const IDLE_RECORDS: &str = "
    SELECT key FROM cache AS record
    WHERE gone IS NULL AND last_used < ?1
      AND NOT EXISTS (
        SELECT 1 FROM cache_layers AS part JOIN pins ON pins.kind = 'layer' AND pins.id = part.layer
        WHERE part.key = record.key
          AND part.position = (SELECT max(position) FROM cache_layers WHERE key = record.key))
    ORDER BY last_used, created, key LIMIT ?2";

impl Store {
    /// Gives up what `options` say and returns what that was.
    pub fn prune(&self, options: &PruneOptions) -> Result<Pruned, StoreError> {
        // What was given up before the disk turned out to be full stays in the account.
        let mut pruned = Pruned::default();
        reserve::or_use(self, || self.prune_into(options, &mut pruned))?;
        Ok(pruned)
    }

    fn prune_into(&self, options: &PruneOptions, pruned: &mut Pruned) -> Result<(), StoreError> {
        let lease = self.lease()?;
        let before = options.until.unwrap_or(i64::MAX);
        if !options.cache_only {
            let (images, untagged) =
                self.database().write(Durability::Durable, |rows| prune_images(rows, options.all, before))?;
            pruned.images.extend(images);
            pruned.untagged.extend(untagged);
            self.reach("prune.images");
        }
        self.collect(&lease, pruned)?;
        match options.keep_bytes {
            None => {
                pruned.cache_records += self.evict(before, u32::MAX)?;
                self.collect(&lease, pruned)?;
                pruned.cache_mounts += self.prune_caches(before, usize::MAX)?;
                pruned.bytes += self.forget_contexts(before)?;
            }
            Some(keep) => {
                while self.usage()?.total_bytes() > keep {
                    let evicted = self.evict(before, BATCH)?;
                    if evicted == 0 {
                        break;
                    }
                    pruned.cache_records += evicted;
                    self.collect(&lease, pruned)?;
                }
                while self.usage()?.total_bytes() > keep {
                    let removed = self.prune_caches(before, 1)?;
                    if removed == 0 {
                        break;
                    }
                    pruned.cache_mounts += removed;
                    pruned.bytes += self.empty_trash()?;
                }
            }
        }
        self.database().write(Durability::Lazy, |rows| {
            let trim = "DELETE FROM cache WHERE gone IS NOT NULL AND key NOT IN \
                        (SELECT key FROM cache WHERE gone IS NOT NULL ORDER BY last_used DESC LIMIT ?1)";
            rows.run(trim, [EVICTED_KEPT]).map(drop)
        })
    }

    /// Deletes what is remembered about build contexts that were not used since. They are then read again.
    fn forget_contexts(&self, before: i64) -> Result<u64, StoreError> {
        let directory = self.path(layout::CONTEXT);
        for name in names(&directory)? {
            // A memory that has just been replaced by a build is newer, and one that is gone needs no deletion.
            if directory.join(&name).symlink_metadata().is_ok_and(|metadata| metadata.mtime() < before) {
                self.discard(&format!("{}/{name}", layout::CONTEXT))?;
            }
        }
        self.empty_trash()
    }

    /// Deletes what nothing refers to.
    pub(crate) fn collect_garbage(&self) -> Result<(), StoreError> {
        let lease = self.lease()?;
        self.collect(&lease, &mut Pruned::default())
    }

    fn evict(&self, before: i64, limit: u32) -> Result<u64, StoreError> {
        self.database().write(Durability::Lazy, |rows| {
            let keys = rows.all(IDLE_RECORDS, params![before, limit], |row| row.get::<_, [u8; 32]>(0))?;
            for key in &keys {
                forget::cache_record(rows, key, Eviction::Pruned)?;
            }
            Ok(keys.len() as u64)
        })
    }

    fn collect(&self, lease: &Lease, pruned: &mut Pruned) -> Result<(), StoreError> {
        let now = self.now();
        let unused = self
            .database()
            .read(|rows| Ok::<_, StoreError>(rows.any(UNUSED_LAYERS, [])? || rows.any(UNUSED_BLOBS, [])?))?;
        if unused {
            let (layers, blobs) = self.database().write(Durability::Durable, |rows| {
                let layers = rows.all(UNUSED_LAYERS, [], |row| row.get(0).map(LayerId::from_row))?;
                for &id in &layers {
                    forget::layer(lease, rows, id, Eviction::Pruned, now)?;
                }
                let blobs = rows.all(UNUSED_BLOBS, [], |row| row.get::<_, [u8; 32]>(0))?;
                for &digest in &blobs {
                    forget::blob(lease, rows, &digest.into())?;
                }
                Ok::<_, StoreError>((layers.len() as u64, blobs.len() as u64))
            })?;
            pruned.layers += layers;
            pruned.blobs += blobs;
            self.reach("prune.forgotten");
            lease.clear_announced()?;
            self.reach("prune.discarded");
        }
        pruned.bytes += self.empty_trash()?;
        Ok(())
    }
}

/// Returns the images that are given up and the names they had.
fn prune_images(rows: &Rows<'_>, all: bool, before: i64) -> Result<(Vec<ImageId>, Vec<String>), StoreError> {
    let ids = rows.all(UNUSED_IMAGES, params![all, before], |row| row.get::<_, [u8; 32]>(0).map(ImageId::from))?;
    let mut untagged = Vec::new();
    for id in &ids {
        let names = "SELECT reference FROM tags WHERE image = ?1 ORDER BY 1";
        untagged.extend(rows.all(names, [id.as_bytes()], |row| row.get::<_, String>(0))?);
        forget::image(rows, id)?;
    }
    Ok((ids, untagged))
}
