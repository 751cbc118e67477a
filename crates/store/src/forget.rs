//! Rows that go when something is gone, with everything that depends on it. All of this is part of a transaction, and
//! the files are announced, so that they follow.

use rusqlite::params;
use stave_oci::{BlobDigest, ImageId};

use crate::database::Rows;
use crate::error::StoreError;
use crate::id::{ContainerId, LayerId};
use crate::lease::Lease;
use crate::record::Eviction;

impl Eviction {
    pub(crate) fn to_row(self) -> &'static str {
        match self {
            Self::Pruned => "pruned",
            Self::Room => "room",
            Self::NotDurable => "not durable",
            Self::Damaged => "damaged",
        }
    }

    pub(crate) fn from_row(text: &str) -> Option<Self> {
        [Self::Pruned, Self::Room, Self::NotDurable, Self::Damaged].into_iter().find(|reason| reason.to_row() == text)
    }
}

/// Forgets a layer, the cache records whose results it is part of, and the containers that stand on it.
pub(crate) fn layer(lease: &Lease, rows: &Rows<'_>, id: LayerId, reason: Eviction, now: i64) -> Result<(), StoreError> {
    let row = id.to_row();
    let keys = rows.all("SELECT key FROM cache_layers WHERE layer = ?1", [row], |row| row.get::<_, [u8; 32]>(0))?;
    for key in keys {
        cache_record(rows, &key, reason)?;
    }
    let standing = "SELECT DISTINCT container FROM container_layers WHERE layer = ?1";
    for container_id in rows.all(standing, [row], |row| row.get(0))? {
        container(lease, rows, &ContainerId::from_row(container_id), Some(now))?;
    }
    // A state of which a part is missing is none.
    let kept = "DELETE FROM build_layers WHERE build IN (SELECT build FROM build_layers WHERE layer = ?1)";
    rows.run(kept, [row])?;
    rows.run("UPDATE image_layers SET layer = NULL WHERE layer = ?1", [row])?;
    rows.run("DELETE FROM layer_tars WHERE layer = ?1", [row])?;
    // Its files' inodes may be others' from now on, and the marks speak of inodes.
    rows.run("DELETE FROM tar_marks WHERE layer = ?1", [row])?;
    rows.run("DELETE FROM pins WHERE kind = 'layer' AND id = ?1", [row])?;
    rows.run("DELETE FROM layers WHERE id = ?1", [row])?;
    lease.announce(rows, "layer", &row)
}

/// Forgets a result, but not that there was one.
pub(crate) fn cache_record(rows: &Rows<'_>, key: &[u8; 32], reason: Eviction) -> Result<(), StoreError> {
    rows.run("UPDATE cache SET gone = ?2 WHERE key = ?1", params![key, reason.to_row()])?;
    rows.run("DELETE FROM cache_layers WHERE key = ?1", [key]).map(drop)
}

/// Forgets a blob, and the forms of layers that it is.
pub(crate) fn blob(lease: &Lease, rows: &Rows<'_>, digest: &BlobDigest) -> Result<(), StoreError> {
    let digest = digest.as_bytes();
    rows.run("DELETE FROM layer_forms WHERE digest = ?1", [digest])?;
    rows.run("DELETE FROM attestations WHERE blob = ?1", [digest])?;
    rows.run("UPDATE images SET manifest = NULL, manifest_type = NULL WHERE manifest = ?1", [digest])?;
    rows.run("DELETE FROM pins WHERE kind = 'blob' AND id = ?1", [digest])?;
    rows.run("DELETE FROM blobs WHERE digest = ?1", [digest])?;
    lease.announce(rows, "blob", digest)
}

/// Forgets a container; with a time, it counts as lost.
pub(crate) fn container(lease: &Lease, rows: &Rows<'_>, id: &ContainerId, lost: Option<i64>) -> Result<(), StoreError> {
    if let Some(now) = lost {
        let remember = "INSERT INTO lost (kind, name, noticed) \
                        SELECT 'container', name, ?2 FROM containers WHERE id = ?1";
        rows.run(remember, params![id.as_str(), now])?;
    }
    rows.run("DELETE FROM container_layers WHERE container = ?1", [id.as_str()])?;
    rows.run("DELETE FROM containers WHERE id = ?1", [id.as_str()])?;
    lease.announce(rows, "container", &id.as_str())
}

/// Forgets an image and its names. A name that stands for it among others goes on without it.
pub(crate) fn image(rows: &Rows<'_>, id: &ImageId) -> Result<(), StoreError> {
    let id = id.as_bytes();
    let named = "DELETE FROM indexes WHERE image = ?1 OR reference IN (SELECT reference FROM tags WHERE image = ?1)";
    rows.run(named, [id])?;
    rows.run("DELETE FROM tags WHERE image = ?1", [id])?;
    rows.run("DELETE FROM image_layers WHERE image = ?1", [id])?;
    rows.run("DELETE FROM attestations WHERE image = ?1", [id])?;
    rows.run("DELETE FROM images WHERE id = ?1", [id]).map(drop)
}

/// Images, all or one of them, without a configuration or with a layer that is neither a directory nor a blob.
const BROKEN: &str = "
    SELECT id FROM images AS image
    WHERE (?1 IS NULL OR id = ?1) AND (NOT EXISTS (SELECT 1 FROM blobs WHERE digest = image.id)
       OR EXISTS (
        SELECT 1 FROM image_layers AS part WHERE part.image = image.id
          AND NOT EXISTS (SELECT 1 FROM layers WHERE id = part.layer)
          AND NOT EXISTS (SELECT 1 FROM layers WHERE diff_id = part.diff_id)
          AND NOT EXISTS (SELECT 1 FROM layer_forms JOIN blobs USING (digest) WHERE diff_id = part.diff_id)))";

/// Forgets images that can no longer be used, and remembers their names as lost.
pub(crate) fn broken_images(rows: &Rows<'_>, now: i64) -> Result<Vec<ImageId>, StoreError> {
    let broken = broken(rows)?;
    for id in &broken {
        let names = rows.all("SELECT reference FROM tags WHERE image = ?1 ORDER BY 1", [id.as_bytes()], |row| {
            row.get::<_, String>(0)
        })?;
        let name = if names.is_empty() { id.to_string() } else { names.join(", ") };
        rows.run("INSERT INTO lost (kind, name, noticed) VALUES ('image', ?1, ?2)", params![name, now])?;
        image(rows, id)?;
    }
    Ok(broken)
}

/// Returns the images that cannot be used.
pub(crate) fn broken(rows: &Rows<'_>) -> Result<Vec<ImageId>, StoreError> {
    Ok(rows.all(BROKEN, [None::<[u8; 32]>], |row| row.get::<_, [u8; 32]>(0))?.into_iter().map(ImageId::from).collect())
}

/// Whether an image cannot be used.
pub(crate) fn is_broken(rows: &Rows<'_>, id: &ImageId) -> Result<bool, StoreError> {
    rows.any(BROKEN, [id.as_bytes()])
}
