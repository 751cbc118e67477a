//! Giving back what nobody needs. Safe beside running builds: what a living lease has pinned stays.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;

use rusqlite::params;
use stave_oci::ImageId;

use crate::database::{Durability, Rows};
use crate::error::StoreError;
use crate::forget;
use crate::id::LayerId;
use crate::layout;
use crate::lease::Lease;
use crate::record::{Eviction, ImageRecord};
use crate::records::{DiskRecord, Sizes};
use crate::reserve;
use crate::store::{Store, names};

/// Records of results whose files are gone that are kept to explain later misses.
const EVICTED_KEPT: u32 = 10_000;

/// Cache records that are given up before the store is measured again.
const BATCH: usize = 32;

/// The same where one write waits for it.
const WAY_BATCH: usize = 4;

/// What to give up. The default takes images without a name and the whole build cache, with the cache mounts that no
/// step uses.
#[derive(Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each leaves something out, or adds it")]
pub struct PruneOptions<'a> {
    /// Also images that have names, if no container was made from them.
    pub all: bool,
    /// No images at all.
    pub cache_only: bool,
    /// Nothing but images.
    pub images_only: bool,
    /// No results whose files an image or a container needs anyway.
    pub private_only: bool,
    /// Only what was stored and last used before this time, in seconds since 1970.
    pub until: Option<i64>,
    /// Gives up cache records, then cache mounts, those unused for longest first, only until the store is no larger than
    /// this.
    pub keep_bytes: Option<u64>,
    /// The same, until this much is free on the file system.
    pub free_bytes: Option<u64>,
    /// Never goes below this size because of the other two. Alone, it is the size to go down to.
    pub reserved_bytes: Option<u64>,
    /// Only what this says yes to, of the cache.
    pub filter: Option<&'a dyn Fn(&DiskRecord) -> bool>,
    /// Only what this says yes to, of the images.
    pub image_filter: Option<&'a dyn Fn(&ImageRecord) -> bool>,
}

impl PruneOptions<'_> {
    /// Returns the size to go down to; without one, everything goes.
    ///
    /// Reference: `BuildKit`'s `reservedSpace`, `maxUsedSpace` and `minFreeSpace`.
    fn target(&self, total: u64, free: u64) -> Option<u64> {
        let excess = self.free_bytes.map(|wanted| total.saturating_sub(wanted.saturating_sub(free)));
        let most = match (self.keep_bytes, excess) {
            (Some(most), Some(excess)) => most.min(excess),
            (Some(most), None) => most,
            (None, Some(excess)) => excess,
            (None, None) => return self.reserved_bytes,
        };
        Some(most.max(self.reserved_bytes.unwrap_or(0)))
    }
}

/// What of the cache may be given up.
struct Chosen<'a> {
    options: &'a PruneOptions<'a>,
    before: i64,
    /// Layers, caches and memories that the filter lets through; all of them without.
    ids: Option<HashSet<String>>,
}

impl<'a> Chosen<'a> {
    fn new(store: &Store, options: &'a PruneOptions<'a>) -> Result<Self, StoreError> {
        let before = options.until.unwrap_or(i64::MAX);
        if options.filter.is_none() && !options.private_only {
            return Ok(Self { options, before, ids: None });
        }
        let records = store.list_records(Sizes::Unknown)?;
        let wanted = records.iter().filter(|record| {
            options.filter.is_none_or(|filter| filter(record)) && !(options.private_only && record.shared)
        });
        Ok(Self { options, before, ids: Some(wanted.map(|record| record.id.clone()).collect()) })
    }

    fn has(&self, id: &str) -> bool {
        self.ids.as_ref().is_none_or(|ids| ids.contains(id))
    }

    /// Results without files have no record that a filter could look at.
    fn has_layer(&self, id: Option<LayerId>) -> bool {
        self.ids.as_ref().is_none_or(|ids| id.is_some_and(|id| ids.contains(&id.to_string())))
    }

    /// Whether the store is larger than it should be after this; always, if nothing is said about sizes.
    fn goes_on(&self, store: &Store) -> Result<bool, StoreError> {
        let sizes = [self.options.keep_bytes, self.options.free_bytes, self.options.reserved_bytes];
        if sizes.iter().all(Option::is_none) {
            return Ok(true);
        }
        let total = store.usage()?.total_bytes();
        let free = match self.options.free_bytes {
            None => 0,
            Some(_) => rustix::fs::statvfs(store.root())
                .map(|space| space.f_bavail.saturating_mul(space.f_frsize))
                .map_err(|error| StoreError::io("measure", store.root(), error))?,
        };
        Ok(self.options.target(total, free).is_none_or(|target| total > target))
    }

    fn by_size(&self) -> bool {
        self.options.keep_bytes.or(self.options.free_bytes).or(self.options.reserved_bytes).is_some()
    }
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
      AND (?1 OR NOT EXISTS (SELECT 1 FROM tags WHERE image = image.id AND reference NOT LIKE '%@sha256:%')
             AND NOT EXISTS (SELECT 1 FROM indexes JOIN tags USING (reference) WHERE indexes.image = image.id))
      AND stored < ?2";

const UNUSED_LAYERS: &str = "
    SELECT id FROM layers AS layer
    WHERE NOT EXISTS (SELECT 1 FROM image_layers WHERE layer = layer.id)
      AND NOT EXISTS (SELECT 1 FROM image_layers WHERE diff_id = layer.diff_id)
      AND NOT EXISTS (SELECT 1 FROM cache_layers WHERE layer = layer.id)
      AND NOT EXISTS (SELECT 1 FROM container_layers WHERE layer = layer.id)
      AND NOT EXISTS (SELECT 1 FROM build_layers WHERE layer = layer.id)
      AND NOT EXISTS (SELECT 1 FROM pins WHERE kind = 'layer' AND id = layer.id)";

const UNUSED_BLOBS: &str = "
    SELECT digest FROM blobs AS blob
    WHERE NOT EXISTS (SELECT 1 FROM images WHERE id = blob.digest)
      AND NOT EXISTS (SELECT 1 FROM images WHERE manifest = blob.digest)
      AND NOT EXISTS (SELECT 1 FROM attestations WHERE attestations.blob = blob.digest)
      AND NOT EXISTS (SELECT 1 FROM pins WHERE kind = 'blob' AND id = blob.digest)
      AND NOT EXISTS (
        SELECT 1 FROM layer_forms AS form WHERE form.digest = blob.digest
          AND (EXISTS (SELECT 1 FROM image_layers WHERE diff_id = form.diff_id)
            OR EXISTS (SELECT 1 FROM layers WHERE diff_id = form.diff_id)
            OR EXISTS (SELECT 1 FROM layer_tars WHERE diff_id = form.diff_id)))";

/// Cache records whose results no lease uses, the one unused for longest first. A result is in use if its highest layer is
/// pinned: those below may be a base that every build pins.
const IDLE_RECORDS: &str = "
    SELECT key, (SELECT layer FROM cache_layers WHERE key = record.key ORDER BY position DESC LIMIT 1)
    FROM cache AS record
    WHERE gone IS NULL AND last_used < ?1
      AND NOT EXISTS (
        SELECT 1 FROM cache_layers AS part JOIN pins ON pins.kind = 'layer' AND pins.id = part.layer
        WHERE part.key = record.key
          AND part.position = (SELECT max(position) FROM cache_layers WHERE key = record.key))
    ORDER BY last_used, created, key";

impl Store {
    /// Gives up what `options` say and returns what that was.
    pub fn prune(&self, options: &PruneOptions<'_>) -> Result<Pruned, StoreError> {
        // What was given up before the disk turned out to be full stays in the account.
        let mut pruned = Pruned::default();
        reserve::or_use(self, || self.prune_into(options, &mut pruned))?;
        Ok(pruned)
    }

    fn prune_into(&self, options: &PruneOptions<'_>, pruned: &mut Pruned) -> Result<(), StoreError> {
        let lease = self.lease()?;
        let chosen = Chosen::new(self, options)?;
        if !options.cache_only {
            let wanted = self.wanted_images(options)?;
            let (images, untagged) = self
                .database()
                .write(Durability::Durable, |rows| prune_images(rows, options.all, chosen.before, wanted.as_ref()))?;
            pruned.images.extend(images);
            pruned.untagged.extend(untagged);
            self.reach("prune.images");
        }
        self.collect(&lease, pruned)?;
        if !options.images_only {
            self.prune_cache(&lease, &chosen, pruned)?;
        }
        self.database().write(Durability::Lazy, |rows| {
            let trim = "DELETE FROM cache WHERE gone IS NOT NULL AND key NOT IN \
                        (SELECT key FROM cache WHERE gone IS NOT NULL ORDER BY last_used DESC LIMIT ?1)";
            rows.run(trim, [EVICTED_KEPT]).map(drop)
        })
    }

    /// Returns the images that the filter lets through, if there is one.
    fn wanted_images(&self, options: &PruneOptions<'_>) -> Result<Option<HashSet<ImageId>>, StoreError> {
        let Some(filter) = options.image_filter else { return Ok(None) };
        Ok(Some(self.images()?.iter().filter(|image| filter(image)).map(|image| image.id).collect()))
    }

    fn prune_cache(&self, lease: &Lease, chosen: &Chosen<'_>, pruned: &mut Pruned) -> Result<(), StoreError> {
        // What failed builds have kept is looked at at most once; results of steps are used again.
        let batch = if chosen.by_size() { 1 } else { usize::MAX };
        while chosen.options.filter.is_none() && chosen.goes_on(self)? {
            let given_up = self.give_up_states(chosen.before, batch)?;
            self.collect(lease, pruned)?;
            if given_up == 0 || batch == usize::MAX {
                break;
            }
        }
        let batch = if chosen.by_size() { BATCH } else { usize::MAX };
        while chosen.goes_on(self)? {
            let evicted = self.evict(chosen, batch, Eviction::Pruned)?;
            pruned.cache_records += evicted;
            self.collect(lease, pruned)?;
            if evicted == 0 || batch == usize::MAX {
                break;
            }
        }
        let batch = if chosen.by_size() { 1 } else { usize::MAX };
        while chosen.goes_on(self)? {
            let removed = self.prune_caches(chosen.before, batch, &|name| chosen.has(name))?;
            pruned.cache_mounts += removed;
            pruned.bytes += self.empty_trash()?;
            if removed == 0 || batch == usize::MAX {
                break;
            }
        }
        if !chosen.by_size() {
            pruned.bytes += self.forget_contexts(chosen)?;
        }
        Ok(())
    }

    /// Gives up results and caches, those unused for longest first, until `enough` or nothing is left that nobody uses.
    /// Returns whether it was enough.
    pub(crate) fn make_way(&self, enough: &dyn Fn() -> Result<bool, StoreError>) -> Result<bool, StoreError> {
        let lease = self.lease()?;
        let options = PruneOptions::default();
        let chosen = Chosen::new(self, &options)?;
        let mut pruned = Pruned::default();
        self.collect(&lease, &mut pruned)?;
        loop {
            if enough()? {
                return Ok(true);
            }
            if self.give_up_states(i64::MAX, 1)? > 0 {
                self.collect(&lease, &mut pruned)?;
                self.empty_trash()?;
                continue;
            }
            let evicted = self.evict(&chosen, WAY_BATCH, Eviction::Room)?;
            self.collect(&lease, &mut pruned)?;
            if evicted == 0 && self.prune_caches(i64::MAX, 1, &|_| true)? == 0 {
                break;
            }
            self.empty_trash()?;
        }
        enough()
    }

    /// Deletes what is remembered about build contexts that were not used since. They are then read again. What explains
    /// why a step runs stays, as the records of results that are gone do: it is asked for as soon as they are.
    fn forget_contexts(&self, chosen: &Chosen<'_>) -> Result<u64, StoreError> {
        let directory = self.path(layout::CONTEXT);
        for name in names(&directory)? {
            // A memory that has just been replaced by a build is newer, and one that is gone needs no deletion.
            if directory.join(&name).symlink_metadata().is_ok_and(|metadata| metadata.mtime() < chosen.before)
                && chosen.has(&name)
                && !name.ends_with(layout::EXPLANATIONS)
            {
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

    fn evict(&self, chosen: &Chosen<'_>, limit: usize, reason: Eviction) -> Result<u64, StoreError> {
        self.database().write(Durability::Lazy, |rows| {
            let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, [u8; 32]>(0)?, row.get::<_, Option<i64>>(1)?));
            let idle = rows.all(IDLE_RECORDS, [chosen.before], read)?.into_iter();
            let chosen = idle.filter(|(_, layer)| chosen.has_layer(layer.map(LayerId::from_row)));
            let mut evicted = 0;
            for (key, _) in chosen.take(limit) {
                forget::cache_record(rows, &key, reason)?;
                evicted += 1;
            }
            Ok(evicted)
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
fn prune_images(
    rows: &Rows<'_>,
    all: bool,
    before: i64,
    wanted: Option<&HashSet<ImageId>>,
) -> Result<(Vec<ImageId>, Vec<String>), StoreError> {
    let mut ids = rows.all(UNUSED_IMAGES, params![all, before], |row| row.get::<_, [u8; 32]>(0).map(ImageId::from))?;
    ids.retain(|id| wanted.is_none_or(|wanted| wanted.contains(id)));
    let mut untagged = Vec::new();
    for id in &ids {
        let names = "SELECT reference FROM tags WHERE image = ?1 ORDER BY 1";
        untagged.extend(rows.all(names, [id.as_bytes()], |row| row.get::<_, String>(0))?);
        forget::image(rows, id)?;
    }
    Ok((ids, untagged))
}
