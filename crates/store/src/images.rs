//! Images and their names.

use rusqlite::{Row, params};
use stave_oci::{BlobDigest, DiffId, ImageId, Reference};

use crate::database::{Durability, Rows};
use crate::error::{BlobError, ImageError, StoreError};
use crate::forget;
use crate::id::LayerId;
use crate::indexes;
use crate::lease::Lease;
use crate::record::{ImageLayer, ImageManifest, ImageRecord, NewImage, RemovedImage, Tag};
use crate::reserve;
use crate::store::Store;

/// The longest configuration that is read back. Larger ones are not stored.
pub const CONFIG_BYTES_MAX: u64 = 8 << 20;

impl Lease {
    /// Stores an image under its names. Names that another image had are taken from it. Its layers and blobs have to
    /// be in the store, and an image that is there already gets what is new about it.
    pub fn put_image(&self, image: &NewImage<'_>, tags: &[Tag]) -> Result<ImageId, ImageError> {
        let id = ImageId::from(BlobDigest::of(image.config));
        let config_error = |source| ImageError::Config { id, source };
        if image.config.len() as u64 > CONFIG_BYTES_MAX {
            return Err(config_error(BlobError::TooLong { limit: CONFIG_BYTES_MAX }));
        }
        self.put_blob(image.config).map_err(config_error)?;
        let store = self.store();
        store.reach("image.configured");
        store.database().write(Durability::Lazy, |rows| {
            self.pin(rows, "image", id.as_bytes())?;
            insert_image(rows, &id, image, store.boot_id(), store.now())?;
            for tag in tags {
                put_tag(rows, &id, tag)?;
            }
            self.pin_parts(rows, &id)?;
            if forget::is_broken(rows, &id)? {
                return Err(ImageError::LayerMissing(id));
            }
            Ok(())
        })?;
        store.reach("image.recorded");
        Ok(id)
    }

    /// Returns the image that a name, an id or the beginning of an id means, and pins it with all that it needs.
    pub fn resolve_image(&self, text: &str) -> Result<ImageRecord, ImageError> {
        self.store().database().write(Durability::Lazy, |rows| {
            let id = resolve(rows, text)?;
            self.pin(rows, "image", id.as_bytes())?;
            self.pin_parts(rows, &id)?;
            read(rows, &id)?.ok_or_else(|| ImageError::NotFound(text.to_owned()))
        })
    }

    /// Pins what an image is made of: it stays even if the image is removed.
    fn pin_parts(&self, rows: &Rows<'_>, id: &ImageId) -> Result<(), ImageError> {
        let Some(image) = read(rows, id)? else { return Ok(()) };
        self.require_blob(rows, id, &BlobDigest::from(*id))?;
        if let Some(manifest) = &image.manifest {
            self.require_blob(rows, id, &manifest.digest)?;
        }
        for layer in &image.layers {
            if let Some(layer) = layer.layer {
                self.pin_layer(rows, layer)?;
            }
            for form in crate::layers::forms(rows, &layer.diff_id)? {
                self.pin_blob(rows, &form.digest)?;
            }
        }
        Ok(())
    }

    fn require_blob(&self, rows: &Rows<'_>, id: &ImageId, blob: &BlobDigest) -> Result<(), ImageError> {
        match self.pin_blob(rows, blob)? {
            Some(_) => Ok(()),
            None => Err(ImageError::BlobMissing { id: *id, blob: *blob }),
        }
    }
}

impl Store {
    /// Returns the image that a name, an id or the beginning of an id means. Nothing is pinned.
    pub fn find_image(&self, text: &str) -> Result<ImageRecord, ImageError> {
        self.database().snapshot(|rows| {
            let id = resolve(rows, text)?;
            read(rows, &id)?.ok_or_else(|| ImageError::NotFound(text.to_owned()))
        })
    }

    /// Returns the image with an id, if it is there. Nothing is pinned.
    pub fn image(&self, id: &ImageId) -> Result<Option<ImageRecord>, StoreError> {
        self.database().snapshot(|rows| read(rows, id))
    }

    /// Returns all images, the latest first.
    pub fn images(&self) -> Result<Vec<ImageRecord>, StoreError> {
        self.database().snapshot(|rows| {
            let query = "SELECT id FROM images ORDER BY coalesce(created, stored) DESC, id";
            let ids = rows.all(query, [], |row| row.get::<_, [u8; 32]>(0))?;
            ids.into_iter().filter_map(|id| read(rows, &id.into()).transpose()).collect()
        })
    }

    /// Returns an image's configuration, verified.
    pub fn image_config(&self, id: &ImageId) -> Result<Vec<u8>, ImageError> {
        self.read_blob(&BlobDigest::from(*id), CONFIG_BYTES_MAX)
            .map_err(|source| ImageError::Config { id: *id, source })
    }

    /// Gives what a name stands for another name: all images of an index.
    pub fn tag_as(&self, source: &str, tag: &Tag) -> Result<(), ImageError> {
        self.database().write(Durability::Lazy, |rows| {
            let id = resolve(rows, source)?;
            let named = match by_reference(rows, source)? {
                Some((_, reference)) => Some(reference),
                None if ImageId::from_hex(source.strip_prefix("sha256:").unwrap_or(source)) == Some(id) => None,
                None => indexes::by_digest(rows, source)?,
            };
            if named.as_ref() == Some(&tag.reference) {
                return Ok(());
            }
            put_tag(rows, &id, tag)?;
            named.map_or(Ok(()), |named| indexes::copy(rows, &named, &tag.reference)).map_err(ImageError::from)
        })
    }

    /// Notes under which digest a registry has what a name stands for, if it is a name.
    pub fn set_repo_digest(&self, tag: &Tag) -> Result<(), StoreError> {
        let digest = tag.repo_digest.as_ref().map(BlobDigest::as_bytes);
        let update = "UPDATE tags SET repo_digest = ?2 WHERE reference = ?1";
        self.database().write(Durability::Lazy, |rows| rows.run(update, params![tag.reference, digest]).map(drop))
    }

    /// Has a name mean nothing any more. The image that had it stays, without it.
    pub fn forget_name(&self, tag: &Tag) -> Result<(), StoreError> {
        self.database().write(Durability::Lazy, |rows| {
            rows.run("DELETE FROM tags WHERE reference = ?1", [&tag.reference])?;
            rows.run("DELETE FROM indexes WHERE reference = ?1", [&tag.reference]).map(drop)
        })
    }

    /// Gives an image a name. The image that had it loses it.
    pub fn tag(&self, id: &ImageId, tag: &Tag) -> Result<(), ImageError> {
        self.database().write(Durability::Lazy, |rows| {
            if read(rows, id)?.is_none() {
                return Err(ImageError::NotFound(id.to_string()));
            }
            put_tag(rows, id, tag).map_err(ImageError::from)
        })
    }

    /// Removes a name or an image, as `docker rmi` does: a name that is not the last goes alone, the last name takes
    /// the image with it, an id takes its only name with it.
    ///
    /// An image that a container was made from goes only with `force`, and not at all while the container runs.
    pub fn remove_image(&self, text: &str, force: bool) -> Result<RemovedImage, ImageError> {
        let remove = || self.database().write(Durability::Durable, |rows| remove(rows, text, force));
        let removed = reserve::or_use(self, remove)?;
        self.reach("image.removed");
        if removed.deleted.is_some() || !removed.parts.is_empty() {
            reserve::or_use(self, || self.collect_garbage())?;
        }
        Ok(removed)
    }
}

/// The names of an image that are removed when the user writes `text`: one name, or an id.
enum Removal {
    Name(ImageId, String),
    Id(ImageId),
}

fn remove(rows: &Rows<'_>, text: &str, force: bool) -> Result<RemovedImage, ImageError> {
    let removal = match by_reference(rows, text)? {
        Some((id, reference)) => Removal::Name(id, reference),
        None => Removal::Id(resolve(rows, text)?),
    };
    let (Removal::Name(id, _) | Removal::Id(id)) = removal;
    let names = names(rows, &id)?;
    let users = containers_of(rows, &id)?;
    let running = users.iter().find(|(_, running)| *running).map(|(name, _)| name.clone());
    let stopped = users.iter().find(|(_, running)| !running).map(|(name, _)| name.clone());
    if let Removal::Name(_, reference) = &removal {
        if let (1, false, Some((container, is_running))) = (names.len(), force, users.first()) {
            let container = container.clone();
            return Err(match is_running {
                true => ImageError::UsedByRunning { id, container },
                false => ImageError::UsedByStopped { id, container },
            });
        }
        if names.len() > 1 || !users.is_empty() || !indexes::names(rows, &id)?.is_empty() {
            let parts = forget_parts(rows, &id, std::slice::from_ref(reference))?;
            rows.run("DELETE FROM indexes WHERE reference = ?1", [reference])?;
            rows.run("DELETE FROM tags WHERE reference = ?1", [reference])?;
            return Ok(RemovedImage { untagged: vec![reference.clone()], deleted: None, parts });
        }
    } else {
        if names.len() > 1 && !force {
            return Err(ImageError::SeveralNames { id, names });
        }
        if let Some(container) = running {
            return Err(ImageError::UsedByRunning { id, container });
        }
        if let (Some(container), false) = (stopped, force) {
            return Err(ImageError::UsedByStopped { id, container });
        }
    }
    let parts = forget_parts(rows, &id, &names)?;
    forget::image(rows, &id)?;
    Ok(RemovedImage { untagged: names, deleted: Some(id), parts })
}

/// Forgets the images for other platforms that only these names keep.
fn forget_parts(rows: &Rows<'_>, id: &ImageId, names: &[String]) -> Result<Vec<ImageId>, StoreError> {
    let parts: Vec<ImageId> = indexes::only_in(rows, names)?.into_iter().filter(|part| part != id).collect();
    for part in &parts {
        forget::image(rows, part)?;
    }
    Ok(parts)
}

fn names(rows: &Rows<'_>, id: &ImageId) -> Result<Vec<String>, StoreError> {
    rows.all("SELECT reference FROM tags WHERE image = ?1 ORDER BY 1", [id.as_bytes()], |row| row.get(0))
}

/// Names of the containers made from an image, and whether they run; running ones first.
fn containers_of(rows: &Rows<'_>, id: &ImageId) -> Result<Vec<(String, bool)>, StoreError> {
    let query = "SELECT name, state = 'running' FROM containers WHERE image = ?1 ORDER BY 2 DESC, 1";
    rows.all(query, [id.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))
}

fn insert_image(rows: &Rows<'_>, id: &ImageId, image: &NewImage<'_>, boot: &str, now: i64) -> Result<(), StoreError> {
    let row = id.as_bytes();
    let insert = "INSERT OR IGNORE INTO images (id, created, stored, bytes, boot) VALUES (?1, ?2, ?3, ?4, ?5)";
    rows.run(insert, params![row, image.created, now, image.size, boot])?;
    rows.run("UPDATE images SET bytes = ?2, boot = ?3 WHERE id = ?1 AND bytes < ?2", params![row, image.size, boot])?;
    if let Some(manifest) = &image.manifest {
        let update = "UPDATE images SET manifest = ?2, manifest_type = ?3, source = ?4 WHERE id = ?1";
        rows.run(update, params![row, manifest.digest.as_bytes(), manifest.media_type, manifest.source])?;
    }
    for (position, part) in image.layers.iter().enumerate() {
        if let Some(layer) = part.layer
            && !rows.any("SELECT 1 FROM layers WHERE id = ?1", [layer.to_row()])?
        {
            return Err(StoreError::NoLayer(layer));
        }
        let upsert = "INSERT INTO image_layers (image, position, diff_id, layer) VALUES (?1, ?2, ?3, ?4) \
                      ON CONFLICT DO UPDATE SET layer = coalesce(excluded.layer, layer)";
        let layer = part.layer.map(LayerId::to_row);
        rows.run(upsert, params![row, position as u64, part.diff_id.as_bytes(), layer])?;
    }
    Ok(())
}

pub(crate) fn put_tag(rows: &Rows<'_>, id: &ImageId, tag: &Tag) -> Result<(), StoreError> {
    let insert = "INSERT OR REPLACE INTO tags (reference, name, image, repo_digest) VALUES (?1, ?2, ?3, ?4)";
    let name = repository(&tag.reference);
    let repo_digest = tag.repo_digest.as_ref().map(BlobDigest::as_bytes);
    rows.run(insert, params![tag.reference, name, id.as_bytes(), repo_digest])?;
    rows.run("DELETE FROM indexes WHERE reference = ?1", [&tag.reference]).map(drop)
}

/// The part of a normalised reference before the tag and the digest.
fn repository(reference: &str) -> &str {
    let name = reference.split_once('@').map_or(reference, |(name, _)| name);
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    }
}

impl Tag {
    /// Returns the name under which a reference is kept: with its tag, or with its digest if it has one.
    #[must_use]
    pub fn new(reference: &Reference, repo_digest: Option<BlobDigest>) -> Self {
        Self { reference: key(reference), repo_digest: repo_digest.or(reference.digest) }
    }
}

fn key(reference: &Reference) -> String {
    match reference.digest {
        Some(digest) => format!("{}@{digest}", reference.name()),
        None => reference.to_string(),
    }
}

pub(crate) fn by_reference(rows: &Rows<'_>, text: &str) -> Result<Option<(ImageId, String)>, StoreError> {
    let Ok(reference) = text.parse::<Reference>() else { return Ok(None) };
    let read = |row: &Row<'_>| Ok((ImageId::from(row.get::<_, [u8; 32]>(0)?), row.get::<_, String>(1)?));
    let named = "SELECT image, reference FROM tags WHERE reference = ?1";
    if let Some(found) = rows.one(named, [key(&reference)], read)? {
        return Ok(Some(found));
    }
    let Some(digest) = reference.digest else { return Ok(None) };
    let pulled = "SELECT image, reference FROM tags WHERE name = ?1 AND repo_digest = ?2 ORDER BY reference LIMIT 1";
    rows.one(pulled, params![reference.name(), digest.as_bytes()], read)
}

/// Finds an image by its full id, its name, the beginning of the digest of an index or of its id, in this order.
fn resolve(rows: &Rows<'_>, text: &str) -> Result<ImageId, ImageError> {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    if let Some(id) = ImageId::from_hex(digits)
        && rows.any("SELECT 1 FROM images WHERE id = ?1", [id.as_bytes()])?
    {
        return Ok(id);
    }
    if let Some((id, _)) = by_reference(rows, text)? {
        return Ok(id);
    }
    if let Some(reference) = indexes::by_digest(rows, text)?
        && let Some(index) = indexes::read(rows, &reference)?
    {
        return Ok(index.default);
    }
    let hexadecimal = digits.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if !hexadecimal || !(2..64).contains(&digits.len()) {
        return Err(ImageError::NotFound(text.to_owned()));
    }
    let query = "SELECT id FROM images WHERE substr(lower(hex(id)), 1, length(?1)) = ?1 ORDER BY id";
    let found = rows.all(query, [digits], |row| row.get::<_, [u8; 32]>(0))?;
    match found.as_slice() {
        [] => Err(ImageError::NotFound(text.to_owned())),
        [id] => Ok(ImageId::from(*id)),
        several => Err(ImageError::Ambiguous {
            prefix: text.to_owned(),
            matches: several.iter().map(|id| ImageId::from(*id)).collect(),
        }),
    }
}

pub(crate) fn read(rows: &Rows<'_>, id: &ImageId) -> Result<Option<ImageRecord>, StoreError> {
    let query = "SELECT created, stored, bytes, manifest, manifest_type, source FROM images WHERE id = ?1";
    let image = rows.one(query, [id.as_bytes()], |row| {
        let digest = row.get::<_, Option<[u8; 32]>>(3)?.map(BlobDigest::from);
        let (media_type, source) = (row.get::<_, Option<String>>(4)?, row.get::<_, Option<String>>(5)?);
        let manifest = digest.map(|digest| ImageManifest {
            digest,
            media_type: media_type.unwrap_or_default(),
            source: source.unwrap_or_default(),
        });
        Ok(ImageRecord {
            id: *id,
            created: row.get(0)?,
            stored: row.get(1)?,
            size: row.get(2)?,
            layers: Vec::new(),
            manifest,
            tags: Vec::new(),
        })
    })?;
    let Some(image) = image else { return Ok(None) };
    let query = "SELECT part.diff_id, coalesce(part.layer, layers.id) FROM image_layers AS part \
                 LEFT JOIN layers ON layers.diff_id = part.diff_id WHERE part.image = ?1 ORDER BY part.position";
    let layers = rows.all(query, [id.as_bytes()], |row| {
        let layer = row.get::<_, Option<i64>>(1)?.map(LayerId::from_row);
        Ok(ImageLayer { diff_id: DiffId::from(row.get::<_, [u8; 32]>(0)?), layer })
    })?;
    let query = "SELECT reference, repo_digest FROM tags WHERE image = ?1 ORDER BY reference";
    let tags = rows.all(query, [id.as_bytes()], |row| {
        let repo_digest = row.get::<_, Option<[u8; 32]>>(1)?.map(BlobDigest::from);
        Ok(Tag { reference: row.get(0)?, repo_digest })
    })?;
    Ok(Some(ImageRecord { layers, tags, ..image }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_of_a_reference_is_found() {
        assert_eq!(repository("docker.io/library/x:latest"), "docker.io/library/x");
        assert_eq!(repository("127.0.0.1:5000/x:1"), "127.0.0.1:5000/x");
        assert_eq!(repository("127.0.0.1:5000/x@sha256:00"), "127.0.0.1:5000/x");
    }
}
