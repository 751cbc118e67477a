//! The manifests of one image for several platforms become an index.

use std::collections::BTreeMap;

use stave_oci::{BlobDigest, Descriptor, DiffId, Index, Manifest, Platform, media_type};

use crate::finish::{BuiltImage, ReadyImage};

/// Returns the index of the manifests of several platforms, in the order given.
///
/// Reference: OCI image-spec 1.1, `image-index.md`.
pub(crate) fn index_bytes(manifests: &[(&Platform, Descriptor)]) -> Vec<u8> {
    index_with(manifests, media_type::OCI_INDEX, BTreeMap::new())
}

/// The same with another type and with annotations.
pub(super) fn index_with(
    manifests: &[(&Platform, Descriptor)],
    index_type: &str,
    annotations: BTreeMap<String, String>,
) -> Vec<u8> {
    let one = |(platform, descriptor): &(&Platform, Descriptor)| Descriptor {
        platform: Some((*platform).clone()),
        ..descriptor.clone()
    };
    let index = Index {
        schema_version: 2,
        media_type: index_type.to_owned(),
        manifests: manifests.iter().map(one).collect(),
        annotations,
    };
    serde_json::to_vec(&index).expect("an index has only text keys")
}

/// Returns what names an index.
pub(crate) fn index_descriptor(bytes: &[u8]) -> Descriptor {
    Descriptor::new(media_type::OCI_INDEX, BlobDigest::of(bytes), bytes.len() as u64)
}

/// Returns the index by which the store knows several images, which names layers that are not compressed: it can be made
/// without reading any of them, and is the same whatever the images are written out as.
pub(crate) fn unpacked_index(images: &[BuiltImage]) -> Vec<u8> {
    let manifests: Vec<(&Platform, Descriptor)> = images
        .iter()
        .map(|BuiltImage { platform, image, .. }| {
            let bytes = unpacked_manifest(image);
            (platform, Descriptor::new(media_type::OCI_MANIFEST, BlobDigest::of(&bytes), bytes.len() as u64))
        })
        .collect();
    index_bytes(&manifests)
}

fn unpacked_manifest(image: &ReadyImage) -> Vec<u8> {
    let (id, config) = (image.composed.id, &image.composed.bytes);
    let blob = |diff_id: &DiffId| BlobDigest::from(*diff_id.as_bytes());
    let manifest = Manifest {
        schema_version: 2,
        media_type: media_type::OCI_MANIFEST.to_owned(),
        config: Descriptor::new(media_type::OCI_CONFIG, id.into(), config.len() as u64),
        layers: image
            .layers
            .iter()
            .map(|layer| Descriptor::new(media_type::OCI_LAYER, blob(&layer.diff_id()), layer.bytes()))
            .collect(),
        annotations: BTreeMap::new(),
    };
    serde_json::to_vec(&manifest).expect("a manifest has only text keys")
}
