//! Names that stand for an image of several platforms.
//!
//! Such a name is a row of `tags`, whose image is the one for this machine, and rows of `indexes`, one for each platform.
//! Whoever asks for no platform needs to know nothing of it.

use std::collections::BTreeMap;

use rusqlite::{Row, params};
use stave_oci::{BlobDigest, ImageId};

use crate::database::{Durability, Rows};
use crate::error::{ImageError, StoreError};
use crate::images;
use crate::lease::Lease;
use crate::record::{IndexRecord, NewIndex, Tag};
use crate::store::Store;

impl Lease {
    /// Gives several images, which are in the store, one name. Without a name they are known by the index's digest.
    ///
    /// What else had the name loses it.
    pub fn put_index(&self, index: &NewIndex<'_>, tags: &[Tag]) -> Result<(), ImageError> {
        let store = self.store();
        store.database().write(Durability::Lazy, |rows| {
            for (_, id) in index.images {
                if images::read(rows, id)?.is_none() {
                    return Err(ImageError::NotFound(id.to_string()));
                }
            }
            for tag in tags {
                images::put_tag(rows, &index.default, tag)?;
                insert(rows, &tag.reference, index)?;
            }
            if tags.is_empty() {
                insert(rows, &index.digest.to_string(), index)?;
            }
            Ok(())
        })?;
        store.reach("image.recorded");
        Ok(())
    }
}

impl Store {
    /// Returns the index that a name or a digest means, if it means one. Nothing is pinned.
    pub fn find_index(&self, text: &str) -> Result<Option<IndexRecord>, ImageError> {
        self.database().snapshot(|rows| {
            let named = images::by_reference(rows, text)?.map(|(_, reference)| reference);
            let Some(reference) = named.map_or_else(|| by_digest(rows, text), |named| Ok(Some(named)))? else {
                return Ok(None);
            };
            read(rows, &reference).map_err(ImageError::from)
        })
    }

    /// Returns all images that share each of their names with the one for this machine, with these names; of an index
    /// without a name, all but the first, without any.
    pub fn parts(&self) -> Result<BTreeMap<ImageId, Vec<String>>, StoreError> {
        let query = "SELECT DISTINCT image, reference, reference IN (SELECT reference FROM tags) FROM indexes \
                     WHERE image NOT IN (SELECT image FROM tags) AND (reference IN (SELECT reference FROM tags) \
                     OR position > (SELECT min(position) FROM indexes first WHERE first.reference = indexes.reference)) \
                     ORDER BY reference";
        let read = |row: &Row<'_>| Ok((ImageId::from(row.get::<_, [u8; 32]>(0)?), row.get(1)?, row.get(2)?));
        let mut parts: BTreeMap<ImageId, Vec<String>> = BTreeMap::new();
        let found: Vec<(ImageId, String, bool)> = self.database().read(|rows| rows.all(query, [], read))?;
        for (id, reference, is_named) in found {
            parts.entry(id).or_default().extend(is_named.then_some(reference));
        }
        Ok(parts)
    }
}

/// Makes a name, which has an image already, stand for all images of an index.
pub(crate) fn insert(rows: &Rows<'_>, reference: &str, index: &NewIndex<'_>) -> Result<(), StoreError> {
    rows.run("DELETE FROM indexes WHERE reference = ?1", [reference])?;
    let insert =
        "INSERT OR REPLACE INTO indexes (reference, position, platform, image, digest) VALUES (?1, ?2, ?3, ?4, ?5)";
    for (position, (platform, id)) in index.images.iter().enumerate() {
        let row = params![reference, position as u64, platform, id.as_bytes(), index.digest.as_bytes()];
        rows.run(insert, row)?;
    }
    Ok(())
}

/// Gives another name to what a name stands for.
pub(crate) fn copy(rows: &Rows<'_>, from: &str, to: &str) -> Result<(), StoreError> {
    if from == to {
        return Ok(());
    }
    rows.run("DELETE FROM indexes WHERE reference = ?1", [to])?;
    let copy = "INSERT INTO indexes (reference, position, platform, image, digest) \
                SELECT ?2, position, platform, image, digest FROM indexes WHERE reference = ?1";
    rows.run(copy, [from, to]).map(drop)
}

/// Returns the image for this machine of the index whose digest begins so, and its first name.
pub(crate) fn by_digest(rows: &Rows<'_>, text: &str) -> Result<Option<String>, StoreError> {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    if !(2..=64).contains(&digits.len()) || !digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Ok(None);
    }
    let query =
        "SELECT min(reference) FROM indexes WHERE substr(lower(hex(digest)), 1, length(?1)) = ?1 GROUP BY digest";
    let found = rows.all(query, [digits], |row| row.get::<_, String>(0))?;
    // The beginning of several digests is none of them; then the text names nothing.
    Ok(<[String; 1]>::try_from(found).ok().map(|[reference]| reference))
}

/// Returns what a name stands for, if that is several images.
pub(crate) fn read(rows: &Rows<'_>, reference: &str) -> Result<Option<IndexRecord>, StoreError> {
    let query = "SELECT platform, image, digest FROM indexes WHERE reference = ?1 ORDER BY position";
    let found = rows.all(query, [reference], |row| {
        let (platform, image, digest) = (row.get(0)?, row.get::<_, [u8; 32]>(1)?, row.get::<_, [u8; 32]>(2)?);
        Ok((platform, ImageId::from(image), BlobDigest::from(digest)))
    })?;
    let Some(&(_, first, digest)) = found.first() else { return Ok(None) };
    let default = "SELECT image FROM tags WHERE reference = ?1";
    let default = rows.one(default, [reference], |row| row.get::<_, [u8; 32]>(0))?.map_or(first, ImageId::from);
    let images = found.into_iter().map(|(platform, image, _)| (platform, image)).collect();
    Ok(Some(IndexRecord { reference: reference.to_owned(), digest, default, images }))
}

/// Returns the names that stand for an image among others, without those that mean the image itself.
pub(crate) fn names(rows: &Rows<'_>, id: &ImageId) -> Result<Vec<String>, StoreError> {
    let query = "SELECT DISTINCT reference FROM indexes WHERE image = ?1 AND reference IN (SELECT reference FROM tags) \
                 AND reference NOT IN (SELECT reference FROM tags WHERE image = ?1) ORDER BY 1";
    rows.all(query, [id.as_bytes()], |row| row.get(0))
}

/// Returns the other images that a name stands for and nothing else keeps: they go with it.
pub(crate) fn only_in(rows: &Rows<'_>, references: &[String]) -> Result<Vec<ImageId>, StoreError> {
    let mut found = Vec::new();
    for reference in references {
        let query = "SELECT image FROM indexes WHERE reference = ?1 ORDER BY position";
        found.extend(rows.all(query, [reference], |row| row.get::<_, [u8; 32]>(0).map(ImageId::from))?);
    }
    let is_kept = |id: &ImageId| -> Result<bool, StoreError> {
        let row = id.as_bytes();
        let mut names =
            rows.all("SELECT reference FROM tags WHERE image = ?1", [row], |row| row.get::<_, String>(0))?;
        names.extend(self::names(rows, id)?);
        let used = rows.any("SELECT 1 FROM containers WHERE image = ?1", [row])?;
        Ok(used || names.iter().any(|name| !references.contains(name)))
    };
    let mut alone = Vec::new();
    for id in found {
        if !alone.contains(&id) && !is_kept(&id)? {
            alone.push(id);
        }
    }
    Ok(alone)
}
