//! A small image of made-up layers.

use std::io::{self, Read};

use stave_oci::{BlobDigest, Descriptor, Manifest, media_type};
use stave_registry::{OpenBlob, PushImage};

/// An image whose layers are the given bytes.
pub struct Image {
    pub manifest: Manifest,
    pub manifest_bytes: Vec<u8>,
    pub blobs: Vec<Vec<u8>>,
}

impl Image {
    /// The configuration is the first blob.
    pub fn new(layers: &[Vec<u8>]) -> Self {
        let config = br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#.to_vec();
        let describe = |kind: &str, bytes: &[u8]| Descriptor::new(kind, BlobDigest::of(bytes), bytes.len() as u64);
        let manifest = Manifest {
            schema_version: 2,
            media_type: media_type::OCI_MANIFEST.to_owned(),
            config: describe(media_type::OCI_CONFIG, &config),
            layers: layers.iter().map(|layer| describe(media_type::OCI_LAYER_GZIP, layer)).collect(),
            annotations: std::collections::BTreeMap::default(),
        };
        let manifest_bytes = serde_json::to_vec(&manifest).expect("a manifest is JSON");
        let blobs = std::iter::once(config).chain(layers.iter().cloned()).collect();
        Self { manifest, manifest_bytes, blobs }
    }

    pub fn digest(&self) -> BlobDigest {
        BlobDigest::of(&self.manifest_bytes)
    }

    pub fn push(&self) -> PushImage {
        let descriptors = std::iter::once(&self.manifest.config).chain(&self.manifest.layers);
        let blobs = descriptors.zip(&self.blobs).map(|(descriptor, bytes)| {
            let bytes = bytes.clone();
            let open: OpenBlob = Box::new(move || Ok(Box::new(io::Cursor::new(bytes.clone())) as Box<dyn Read + Send>));
            (descriptor.clone(), open)
        });
        PushImage {
            manifest_bytes: self.manifest_bytes.clone(),
            media_type: self.manifest.media_type.clone(),
            blobs: blobs.collect(),
        }
    }
}

/// Bytes that don't repeat soon; the same for the same seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    })
    .take(length)
    .collect()
}
