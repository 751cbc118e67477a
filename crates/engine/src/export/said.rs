//! What is said about images, as it goes where they go: as manifests that refer to them, or in their index.

use std::io::Cursor;
use std::sync::Arc;

use stave_oci::{BlobDigest, Descriptor, Platform, Reference, media_type};
use stave_registry::{OpenBlob, PushImage, PushIndex};

use super::index::index_bytes;
use super::registry::Pushed;
use crate::attest::{Attached, Statement, in_index, referrers};

/// What is said about the images of one output.
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// Entries of the images' index.
    pub(crate) inline: Vec<Attached>,
    /// Manifests that refer to an image.
    pub(crate) referring: Vec<Attached>,
}

impl Said {
    /// Returns what is said about images with these manifests.
    pub(crate) fn about<'a>(
        images: impl Iterator<Item = (&'a Platform, &'a Descriptor, &'a [Statement])>,
        names: &[Reference],
    ) -> Self {
        let mut said = Self::default();
        for (platform, manifest, statements) in images {
            said.inline.extend(in_index(statements, manifest, (names, platform)));
            said.referring.extend(referrers(statements, manifest, (names, platform)));
        }
        said
    }

    /// Returns the entries of the images' index, for no platform.
    pub(super) fn in_index(&self) -> impl Iterator<Item = (&Platform, Descriptor)> {
        self.inline
            .iter()
            .filter_map(|attached| Some((attached.descriptor.platform.as_ref()?, attached.descriptor.clone())))
    }

    /// Returns all of it.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Attached> {
        self.inline.iter().chain(&self.referring)
    }
}

impl Attached {
    /// Returns its blobs, the manifest last.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (&Descriptor, &[u8])> {
        let blobs = self.blobs.iter().map(|(descriptor, bytes)| (descriptor, bytes.as_slice()));
        blobs.chain(std::iter::once((&self.descriptor, self.manifest.as_slice())))
    }

    /// Returns the manifest as a registry takes it.
    pub(crate) fn push_image(&self) -> PushImage {
        let blob = |(descriptor, bytes): &(Descriptor, Vec<u8>)| {
            let bytes: Arc<[u8]> = bytes.as_slice().into();
            let open: OpenBlob = Box::new(move || Ok(Box::new(Cursor::new(bytes.clone()))));
            (descriptor.clone(), open)
        };
        PushImage {
            manifest_bytes: self.manifest.clone(),
            media_type: self.descriptor.media_type.clone(),
            blobs: self.blobs.iter().map(blob).collect(),
        }
    }
}

/// Joins images that are to be pushed with what is said about them: one image of which nothing is said in an index stays
/// as it is, unless the whole is an index by itself.
pub(crate) fn joined(images: Vec<(Platform, PushImage)>, said: &Said, is_index: bool) -> Pushed {
    let images = match <[_; 1]>::try_from(images) {
        Ok([(_, image)]) if said.inline.is_empty() && !is_index => return Pushed::Image(image),
        Ok([one]) => vec![one],
        Err(images) => images,
    };
    let descriptor = |image: &PushImage| {
        let bytes = &image.manifest_bytes;
        Descriptor::new(&image.media_type, BlobDigest::of(bytes), bytes.len() as u64)
    };
    let own = images.iter().map(|(platform, image)| (platform, descriptor(image)));
    let index_bytes = index_bytes(&own.chain(said.in_index()).collect::<Vec<_>>());
    let images = images.into_iter().map(|(_, image)| image);
    let images = images.chain(said.inline.iter().map(Attached::push_image)).collect();
    Pushed::Index(PushIndex { index_bytes, media_type: media_type::OCI_INDEX.to_owned(), images })
}
