//! Names of the store that stand for an image of several platforms: one of them is chosen, stored, or all are pushed.
//!
//! Where nobody asks for a platform, a name means the image for this machine, and nothing here is needed.

use stave_oci::{BlobDigest, Descriptor, ImageId, Platform, Reference};
use stave_registry::PushIndex;
use stave_store::{ImageRecord, IndexRecord, Lease, NewIndex, Tag};

use crate::engine::Engine;
use crate::error::EngineError;

impl Engine {
    /// Returns the image that a name or an id means for `platform`, or for this machine; it is pinned with `lease`.
    pub(crate) fn image_for_platform(
        &self,
        lease: &Lease,
        text: &str,
        platform: Option<&Platform>,
    ) -> Result<ImageRecord, EngineError> {
        let Some(wanted) = platform else { return Ok(lease.resolve_image(text)?) };
        if let Some(index) = self.store.find_index(text)? {
            let id = part(&index, wanted).ok_or_else(|| lacks(text, wanted, &index))?;
            let mut record = lease.resolve_image(&id.to_string())?;
            let is_name = index.reference.parse::<Reference>().is_ok();
            if is_name && !record.tags.iter().any(|tag| tag.reference == index.reference) {
                record.tags.push(Tag { reference: index.reference, repo_digest: None });
            }
            return Ok(record);
        }
        let record = lease.resolve_image(text)?;
        let found = self.image_config(&record.id)?.platform();
        if !found.os.is_empty() && !found.runs_on(wanted) {
            let (found, wanted) = (found.to_string(), wanted.to_string());
            return Err(EngineError::Platform { image: text.to_owned(), found, wanted });
        }
        Ok(record)
    }

    /// Whether a name of the store stands for what a registry has under it.
    pub(crate) fn is_from_registry(&self, name: &str) -> bool {
        let Ok(reference) = name.parse::<Reference>() else { return false };
        let tag = Tag::new(&reference, None);
        self.store.find_image(name).is_ok_and(|record| {
            record.tags.iter().any(|known| known.reference == tag.reference && known.repo_digest.is_some())
        })
    }

    /// Gives images, which are in the store, their names: all of them each.
    pub(crate) fn name_index(
        &self,
        lease: &Lease,
        digest: BlobDigest,
        images: &[(Platform, ImageId)],
        tags: &[Tag],
    ) -> Result<(), EngineError> {
        let host = Platform::host();
        let default = host.best_of(images.iter().map(|(platform, id)| (platform.clone(), *id)));
        let first = images.first().map(|(_, id)| *id);
        let Some(default) = default.or(first) else { return Ok(()) };
        let images: Vec<(String, ImageId)> = images.iter().map(|(platform, id)| (platform.to_string(), *id)).collect();
        let same = |tag: &Tag| -> Result<bool, EngineError> {
            let known = self.store.find_index(&tag.reference)?;
            Ok(known.is_some_and(|known| known.digest == digest && known.images == images))
        };
        let mut new = Vec::new();
        for tag in tags {
            if !same(tag)? {
                new.push(tag.clone());
            }
        }
        if !new.is_empty() || tags.is_empty() {
            lease.put_index(&NewIndex { digest, default, images: &images }, &new)?;
        }
        Ok(())
    }

    /// Names an image that was pulled for one platform. Where the name stands for others of the same index, it goes on
    /// standing for them.
    pub(crate) fn name_pulled(
        &self,
        lease: &Lease,
        (id, platform): (ImageId, Platform),
        tag: &Tag,
        index: Option<BlobDigest>,
    ) -> Result<(), EngineError> {
        let platform = platform.normal();
        let mut images = match index {
            Some(digest) => self.pulled_before(&tag.reference, digest)?,
            None => Vec::new(),
        };
        images.retain(|(known, other)| *known != platform && *other != id);
        match index.filter(|_| !images.is_empty()) {
            Some(digest) => {
                images.push((platform, id));
                self.name_index(lease, digest, &images, std::slice::from_ref(tag))
            }
            None => Ok(self.store.tag(&id, tag)?),
        }
    }

    /// Returns the images of the index `digest` that a name stands for.
    fn pulled_before(&self, reference: &str, digest: BlobDigest) -> Result<Vec<(Platform, ImageId)>, EngineError> {
        let Ok(record) = self.store.find_image(reference) else { return Ok(Vec::new()) };
        let is_of = |tag: &Tag| tag.reference == reference && tag.repo_digest == Some(digest);
        if !record.tags.iter().any(is_of) {
            return Ok(Vec::new());
        }
        match self.store.find_index(reference)? {
            Some(index) => Ok(platforms(&index)),
            None => Ok(vec![(self.image_config(&record.id)?.platform().normal(), record.id)]),
        }
    }
}

/// Returns the images of an index with their platforms.
pub(crate) fn platforms(index: &IndexRecord) -> Vec<(Platform, ImageId)> {
    // The store keeps what was written by `Platform::to_string`.
    index.images.iter().filter_map(|(platform, id)| Some((platform.parse().ok()?, *id))).collect()
}

/// Returns the image of an index that is best for a platform.
pub(crate) fn part(index: &IndexRecord, wanted: &Platform) -> Option<ImageId> {
    wanted.best_of(platforms(index))
}

fn lacks(text: &str, wanted: &Platform, index: &IndexRecord) -> EngineError {
    let there: Vec<&str> = index.images.iter().map(|(platform, _)| platform.as_str()).collect();
    let message = format!("`{text}` is not here for {wanted}: it is for {}", there.join(", "));
    EngineError::request(
        message,
        Some("Choose one of these with `--platform`, or get the other one with `stave pull`."),
    )
}

/// Returns the descriptor of an index that is pushed.
pub(crate) fn descriptor(index: &PushIndex) -> Descriptor {
    Descriptor::new(&index.media_type, BlobDigest::of(&index.index_bytes), index.index_bytes.len() as u64)
}
