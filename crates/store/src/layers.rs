//! Layers: publishing them, and what is known about their tars.

use rusqlite::params;
use stave_oci::{Compression, DiffId, TreeDigest};

use crate::database::{Durability, Rows};
use crate::error::StoreError;
use crate::id::LayerId;
use crate::layout;
use crate::lease::{Lease, WorkDir};
use crate::record::{LayerForm, TarMark};
use crate::store::Store;

impl Lease {
    /// Makes a layer of a private directory. It is pinned by the lease that made the directory.
    ///
    /// `unpacked_from` is the digest of the tar whose files these are, if they came from one. If another process has
    /// published the same in the meantime, that layer is returned and this directory deleted.
    pub fn publish_layer(&self, mut work: WorkDir, unpacked_from: Option<DiffId>) -> Result<LayerId, StoreError> {
        let store = self.store();
        store.hold_limit()?;
        let id = self.next_layer();
        let existing = store.database().write(Durability::Lazy, |rows| {
            let existing = self.pin_unpacked(rows, unpacked_from)?;
            if existing.is_none() {
                self.announce(rows, "layer", &id.to_row())?;
            }
            Ok::<_, StoreError>(existing)
        })?;
        if let Some(existing) = existing {
            return Ok(existing);
        }
        store.reach("layer.announced");
        let target = store.path(&layout::layer_dir(id));
        std::fs::rename(work.path(), &target).map_err(|error| StoreError::io("publish", &target, error))?;
        work.published = true;
        drop(work);
        store.reach("layer.renamed");
        let other = store.database().write(Durability::Lazy, |rows| {
            if let Some(other) = self.pin_unpacked(rows, unpacked_from)? {
                return Ok(Some(other));
            }
            let insert = "INSERT INTO layers (id, diff_id, boot, created) VALUES (?1, ?2, ?3, ?4)";
            let diff_id = unpacked_from.as_ref().map(DiffId::as_bytes);
            rows.run(insert, params![id.to_row(), diff_id, store.boot_id(), store.now()])?;
            self.pin(rows, "layer", &id.to_row())?;
            self.done(rows, "layer", &id.to_row())?;
            Ok::<_, StoreError>(None)
        })?;
        store.reach("layer.recorded");
        let Some(other) = other else { return Ok(id) };
        self.clear_announced()?;
        store.empty_trash()?;
        Ok(other)
    }

    fn pin_unpacked(&self, rows: &Rows<'_>, diff_id: Option<DiffId>) -> Result<Option<LayerId>, StoreError> {
        let Some(diff_id) = diff_id else { return Ok(None) };
        let Some(layer) = by_diff_id(rows, &diff_id)? else { return Ok(None) };
        self.pin_layer(rows, layer)?;
        Ok(Some(layer))
    }

    /// Returns the layer with the files of a tar, and pins it: one that was unpacked from that tar, or one that
    /// gives it when it is packed.
    pub fn layer_by_diff_id(&self, diff_id: &DiffId) -> Result<Option<LayerId>, StoreError> {
        self.store().database().write(Durability::Lazy, |rows| {
            let packed = "SELECT layer FROM layer_tars WHERE diff_id = ?1 ORDER BY layer LIMIT 1";
            let layer = match by_diff_id(rows, diff_id)? {
                Some(layer) => Some(layer),
                None => rows.one(packed, [diff_id.as_bytes()], |row| row.get(0))?.map(LayerId::from_row),
            };
            match layer {
                Some(layer) if self.pin_layer(rows, layer)? => Ok(Some(layer)),
                _ => Ok(None),
            }
        })
    }

    /// Returns all blobs that are a layer's tar, compressed or not, and pins them.
    pub fn layer_forms(&self, diff_id: &DiffId) -> Result<Vec<LayerForm>, StoreError> {
        self.store().database().write(Durability::Lazy, |rows| {
            let forms = forms(rows, diff_id)?;
            for form in &forms {
                self.pin_blob(rows, &form.digest)?;
            }
            Ok(forms)
        })
    }

    /// Records that a blob is a layer's tar. The blob has to be in the store.
    pub fn set_layer_form(&self, form: &LayerForm) -> Result<(), StoreError> {
        self.store().database().write(Durability::Lazy, |rows| {
            if self.pin_blob(rows, &form.digest)?.is_none() {
                let detail = format!("blob {} is not in the store", form.digest);
                return Err(StoreError::Row { table: "layer_forms", detail });
            }
            let insert = "INSERT OR REPLACE INTO layer_forms \
                          (diff_id, compression, parameters, digest, bytes, media_type) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
            rows.run(insert, params![
                form.diff_id.as_bytes(),
                compression_name(form.compression),
                form.parameters,
                form.digest.as_bytes(),
                form.size,
                form.media_type
            ])
            .map(drop)
        })
    }
}

impl Store {
    /// Returns the path of a layer's files below the store's root.
    #[must_use]
    pub fn layer_rel_path(&self, layer: LayerId) -> String {
        layout::layer_diff(layer)
    }

    /// Returns the digest and the length of a layer's tar, packed with these times, if it is known. A
    /// layer that was unpacked from a tar has that tar's digest only through [`Lease::layer_forms`].
    pub fn layer_tar(&self, layer: LayerId, times: &str) -> Result<Option<(DiffId, u64)>, StoreError> {
        self.database().read(|rows| {
            let query = "SELECT diff_id, bytes FROM layer_tars WHERE layer = ?1 AND epoch = ?2";
            rows.one(query, params![layer.to_row(), times], |row| {
                Ok((DiffId::from(row.get::<_, [u8; 32]>(0)?), row.get(1)?))
            })
        })
    }

    /// Returns what is known of a tar that begins with `prefix`, as long as a layer with that beginning is there.
    pub fn tar_mark(&self, prefix: &[u8; 32]) -> Result<Option<TarMark>, StoreError> {
        self.database().read(|rows| {
            let query = "SELECT bytes, state FROM tar_marks WHERE prefix = ?1 LIMIT 1";
            rows.one(query, [prefix], |row| Ok(TarMark { prefix: *prefix, bytes: row.get(0)?, state: row.get(1)? }))
        })
    }

    /// Remembers the digest and the length of a layer's tar, and the marks on the way to it.
    pub fn set_layer_tar(
        &self,
        layer: LayerId,
        times: &str,
        diff_id: &DiffId,
        bytes: u64,
        marks: &[TarMark],
    ) -> Result<(), StoreError> {
        self.of_layer(layer, |rows| {
            let insert = "INSERT OR REPLACE INTO layer_tars (layer, epoch, diff_id, bytes) VALUES (?1, ?2, ?3, ?4)";
            let changed = rows.run(insert, params![layer.to_row(), times, diff_id.as_bytes(), bytes])?;
            let insert = "INSERT OR REPLACE INTO tar_marks (prefix, layer, bytes, state) VALUES (?1, ?2, ?3, ?4)";
            for mark in marks {
                rows.run(insert, params![mark.prefix, layer.to_row(), mark.bytes, mark.state])?;
            }
            Ok(changed)
        })
    }

    /// Returns the layers, with the times that they have then, that give a tar of this digest when they are packed.
    pub fn layers_that_pack_to(&self, diff_id: &DiffId) -> Result<Vec<(LayerId, String)>, StoreError> {
        self.database().read(|rows| {
            rows.all("SELECT layer, epoch FROM layer_tars WHERE diff_id = ?1", [diff_id.as_bytes()], |row| {
                Ok((LayerId::from_row(row.get(0)?), row.get(1)?))
            })
        })
    }

    /// Returns the digest of the tar that a layer was unpacked from, if it was.
    pub fn layer_source(&self, layer: LayerId) -> Result<Option<DiffId>, StoreError> {
        self.layer_digest_column("SELECT diff_id FROM layers WHERE id = ?1", layer).map(|found| found.map(DiffId::from))
    }

    /// Returns the digest of a layer's files, if it is known.
    pub fn layer_tree_digest(&self, layer: LayerId) -> Result<Option<TreeDigest>, StoreError> {
        self.layer_digest_column("SELECT tree FROM layers WHERE id = ?1", layer)
            .map(|found| found.map(TreeDigest::from))
    }

    fn layer_digest_column(&self, query: &str, layer: LayerId) -> Result<Option<[u8; 32]>, StoreError> {
        let read = |row: &rusqlite::Row<'_>| row.get::<_, Option<[u8; 32]>>(0);
        let row = self.database().read(|rows| rows.one(query, [layer.to_row()], read))?;
        row.ok_or(StoreError::NoLayer(layer))
    }

    /// Returns when each of `layers` was published, in seconds since 1970.
    pub fn layers_created(&self, layers: &[LayerId]) -> Result<Vec<i64>, StoreError> {
        self.database().snapshot(|rows| {
            let created = |layer: &LayerId| {
                let found = rows.one("SELECT created FROM layers WHERE id = ?1", [layer.to_row()], |row| row.get(0))?;
                found.ok_or(StoreError::NoLayer(*layer))
            };
            layers.iter().map(created).collect()
        })
    }

    /// Returns the length of the tar that a layer was unpacked from, if it is known.
    pub fn layer_source_bytes(&self, layer: LayerId) -> Result<Option<u64>, StoreError> {
        let query = "SELECT tar_bytes FROM layers WHERE id = ?1";
        let row = self.database().read(|rows| rows.one(query, [layer.to_row()], |row| row.get(0)))?;
        row.ok_or(StoreError::NoLayer(layer))
    }

    /// Remembers the length of the tar that a layer was unpacked from.
    pub fn set_layer_source_bytes(&self, layer: LayerId, bytes: u64) -> Result<(), StoreError> {
        self.of_layer(layer, |rows| {
            rows.run("UPDATE layers SET tar_bytes = ?2 WHERE id = ?1", params![layer.to_row(), bytes])
        })
    }

    /// Remembers the digest of a layer's files.
    pub fn set_layer_tree_digest(&self, layer: LayerId, tree: &TreeDigest) -> Result<(), StoreError> {
        self.of_layer(layer, |rows| {
            rows.run("UPDATE layers SET tree = ?2 WHERE id = ?1", params![layer.to_row(), tree.as_bytes()])
        })
    }

    fn of_layer(
        &self,
        layer: LayerId,
        work: impl FnOnce(&Rows<'_>) -> Result<usize, StoreError>,
    ) -> Result<(), StoreError> {
        self.database().write(Durability::Lazy, |rows| {
            if !rows.any("SELECT 1 FROM layers WHERE id = ?1", [layer.to_row()])? {
                return Err(StoreError::NoLayer(layer));
            }
            work(rows).map(drop)
        })
    }
}

fn by_diff_id(rows: &Rows<'_>, diff_id: &DiffId) -> Result<Option<LayerId>, StoreError> {
    let query = "SELECT id FROM layers WHERE diff_id = ?1";
    Ok(rows.one(query, [diff_id.as_bytes()], |row| row.get(0))?.map(LayerId::from_row))
}

pub(crate) fn forms(rows: &Rows<'_>, diff_id: &DiffId) -> Result<Vec<LayerForm>, StoreError> {
    let query = "SELECT compression, parameters, digest, layer_forms.bytes, media_type \
                 FROM layer_forms JOIN blobs USING (digest) WHERE diff_id = ?1 ORDER BY 1, 2, 3";
    let read = |row: &rusqlite::Row<'_>| {
        let form = LayerForm {
            diff_id: *diff_id,
            compression: Compression::None,
            parameters: row.get(1)?,
            digest: row.get::<_, [u8; 32]>(2)?.into(),
            size: row.get(3)?,
            media_type: row.get(4)?,
        };
        Ok((row.get::<_, String>(0)?, form))
    };
    let named = rows.all(query, [diff_id.as_bytes()], read)?;
    named.into_iter().map(|(name, form)| Ok(LayerForm { compression: compression(&name)?, ..form })).collect()
}

fn compression_name(compression: Compression) -> &'static str {
    match compression {
        Compression::None => "none",
        Compression::Gzip => "gzip",
        Compression::Zstd => "zstd",
    }
}

fn compression(name: &str) -> Result<Compression, StoreError> {
    [Compression::None, Compression::Gzip, Compression::Zstd]
        .into_iter()
        .find(|&compression| compression_name(compression) == name)
        .ok_or_else(|| StoreError::Row { table: "layer_forms", detail: format!("compression `{name}`") })
}
