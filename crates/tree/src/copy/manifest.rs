//! What is in a layer that a copy made, so that the next copy can link what is the same.
//!
//! Layout: the magic, then for each file the length of its path (`u32`, little-endian), its path in the layer and its
//! state, then the SHA-256 of all before it. A state is the SHA-256 over the digests of the file's bytes and attributes,
//! its mode, owner, group and time. Files with several names are not listed: they are never linked.

use std::collections::{HashMap, HashSet};

use stave_oci::{BlobDigest, Hasher};

use crate::dir::{Dir, Time};
use crate::memory::FileDigest;

const MAGIC: &[u8; 22] = b"stave copy manifest 1\n";

/// The files of a layer that a copy made, each with what it was made from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CopyManifest {
    files: Vec<(Vec<u8>, [u8; 32])>,
}

impl CopyManifest {
    /// Returns the manifest that [`CopyManifest::to_bytes`] wrote, or nothing if the bytes are damaged or of another
    /// version: then all is copied.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (body, check) = bytes.split_at_checked(bytes.len().checked_sub(32)?)?;
        if BlobDigest::of(body).as_bytes() != check {
            return None;
        }
        let mut rest = body.strip_prefix(MAGIC)?;
        let mut files = Vec::new();
        while !rest.is_empty() {
            let (length, after) = rest.split_first_chunk::<4>()?;
            let (path, after) = after.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
            let (state, after) = after.split_first_chunk::<32>()?;
            files.push((path.to_vec(), *state));
            rest = after;
        }
        Some(Self { files })
    }

    /// Returns the manifest as bytes to be kept next to the layer.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for (path, state) in &self.files {
            let length = u32::try_from(path.len()).expect("paths are limited");
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(path);
            bytes.extend_from_slice(state);
        }
        let check = BlobDigest::of(&bytes);
        bytes.extend_from_slice(check.as_bytes());
        bytes
    }

    /// Tells whether nothing can be linked from the layer.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    pub(super) fn push(&mut self, path: &[u8], state: [u8; 32]) {
        self.files.push((path.to_vec(), state));
    }

    /// Brings the files into the order of their paths. Of a path that was written twice, the last is in the layer, and
    /// only it stays.
    pub(super) fn sort(&mut self) {
        self.files.reverse();
        self.files.sort_by(|left, right| left.0.cmp(&right.0));
        self.files.dedup_by(|later, earlier| later.0 == earlier.0);
    }

    pub(super) fn lookup<'a>(&'a self, layer: &'a Dir) -> Lookup<'a> {
        Lookup { layer, states: self.files.iter().map(|(path, state)| (path.as_slice(), *state)).collect() }
    }
}

/// A manifest by path, and the layer it describes.
pub(super) struct Lookup<'a> {
    layer: &'a Dir,
    states: HashMap<&'a [u8], [u8; 32]>,
}

impl Lookup<'_> {
    /// Returns the directory `path` of the layer, if it is there.
    pub(super) fn directory(&self, path: &[u8]) -> Option<Dir> {
        self.layer.open_dir_no_links(path).ok()
    }

    /// Returns the states of all files of the layer.
    pub(super) fn states(&self) -> HashSet<[u8; 32]> {
        self.states.values().copied().collect()
    }

    pub(super) fn has(&self, path: &[u8], state: &[u8; 32]) -> bool {
        self.states.get(path) == Some(state)
    }
}

/// Returns all that is to be seen of a regular file in a layer, except its name, as one digest.
pub(super) fn state(digest: &FileDigest, mode: u32, owner: (u32, u32), modified: Time) -> [u8; 32] {
    let mut hasher = Hasher::new();
    hasher.update(&digest.content);
    hasher.update(&digest.xattrs);
    for number in [mode, owner.0, owner.1, modified.nanoseconds] {
        hasher.update(&number.to_le_bytes());
    }
    hasher.update(&modified.seconds.to_le_bytes());
    *hasher.finish::<BlobDigest>().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_survives_its_bytes_and_damage_is_noticed() {
        let mut manifest = CopyManifest::default();
        manifest.push(b"b", [2; 32]);
        manifest.push(b"a\xff/x", [1; 32]);
        manifest.push(b"b", [3; 32]);
        manifest.sort();
        assert_eq!(manifest.files, [(b"a\xff/x".to_vec(), [1; 32]), (b"b".to_vec(), [3; 32])]);
        let mut bytes = manifest.to_bytes();
        assert_eq!(CopyManifest::from_bytes(&bytes), Some(manifest));
        bytes[30] ^= 1;
        assert_eq!(CopyManifest::from_bytes(&bytes), None);
        assert_eq!(CopyManifest::from_bytes(b""), None);
    }
}
