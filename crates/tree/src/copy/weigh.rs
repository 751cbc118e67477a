//! How much a copy will write, known before it begins.

use std::collections::{BTreeSet, HashSet};

use super::{Copier, CopyRequest, manifest};
use crate::dir::{Dir, Metadata};
use crate::scan::{Content, Node};
use crate::select::Selection;

/// What files are measured in, on nearly all file systems.
const BLOCK_BYTES: u64 = 4096;

impl CopyRequest<'_> {
    /// Returns the bytes of blocks that [`copy_into`](super::copy_into) will take for this in `into`, as far as that is known
    /// before: files with several names count once, those that are linked from the previous result not at all, holes stay
    /// holes, and an archive that will be unpacked counts as the file that it is.
    #[must_use]
    pub fn weight(&self, into: &Dir) -> u64 {
        let copier = Copier::new(self, into);
        let known = copier.previous.as_ref().map(manifest::Lookup::states).unwrap_or_default();
        let mut scale = Scale { copier: &copier, known, shared: BTreeSet::new(), bytes: 0 };
        for selection in &self.selections {
            selection.sources.iter().for_each(|source| scale.add(selection, &source.node));
        }
        scale.bytes
    }
}

/// Adds up what will be written.
struct Scale<'a> {
    copier: &'a Copier<'a>,
    /// Files that the previous result has.
    known: HashSet<[u8; 32]>,
    /// Files with several names that were counted.
    shared: BTreeSet<(u64, u64)>,
    bytes: u64,
}

impl Scale<'_> {
    fn add(&mut self, selection: &Selection, node: &Node) {
        let digest = match &node.content {
            Content::Directory { children, .. } => return children.iter().for_each(|child| self.add(selection, child)),
            Content::File(digest) => digest.as_ref(),
            Content::Link(_) | Content::Special => return,
        };
        let metadata = &node.metadata;
        let counts = if selection.is_shared(metadata) {
            self.shared.insert((metadata.device, metadata.inode))
        } else {
            digest.is_none_or(|digest| !self.known.contains(&self.copier.state_of(selection, node, digest)))
        };
        if counts {
            self.bytes = self.bytes.saturating_add(blocks(metadata));
        }
    }
}

/// Returns the bytes that a copy of a file takes on disk. Where it lies now it may have more: blocks that it was given before
/// it grew.
fn blocks(metadata: &Metadata) -> u64 {
    metadata.allocated.min(metadata.size.next_multiple_of(BLOCK_BYTES))
}
