//! What was selected: its sources, how much it is, and its digest.

use std::collections::BTreeSet;

use stave_oci::TreeDigest;

use super::{SelectError, whole_tree};
use crate::digest::{Owners, tree_digest};
use crate::dir::{Dir, Kind, Metadata, Time};
use crate::scan::{Content, Node};
use crate::times::Origin;

/// A file or directory that was selected, with all that was selected below it.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// Where it is: without links, relative to the root of the selection.
    pub(crate) path: Vec<u8>,
    /// What it is. Its name is the last one of the path that was named, before links were followed.
    pub(crate) node: Node,
}

/// Files that are to be copied.
#[derive(Debug)]
pub struct Selection {
    pub(crate) root: Dir,
    pub(crate) owners: Owners,
    /// The files are a context's, and what times they have means nothing.
    pub(crate) given: bool,
    /// Archives named as sources are unpacked.
    pub(crate) unpack: bool,
    pub(crate) sources: Vec<Source>,
    /// Device and inode of files that were selected under several names.
    shared: BTreeSet<(u64, u64)>,
}

impl Selection {
    pub(super) fn new(root: Dir, owners: Owners) -> Self {
        Self { root, owners, given: false, unpack: false, sources: Vec::new(), shared: BTreeSet::new() }
    }

    /// Returns the same, with archives that were named to be unpacked instead of copied.
    #[must_use]
    pub fn unpacking(mut self, unpack: bool) -> Self {
        self.unpack = unpack;
        self
    }

    /// Returns the same, as files of which the times mean nothing.
    #[must_use]
    pub fn given(mut self) -> Self {
        self.given = true;
        self
    }

    /// Returns the time that the copy of a selected file has.
    pub(crate) fn time(&self, metadata: &Metadata) -> Time {
        if self.given { metadata.modified.marked(Origin::Given) } else { metadata.modified }
    }

    /// Tells whether nothing was selected: no file matched any of the wildcards.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// Returns how many files and other leaves were selected, and how many bytes are in them.
    #[must_use]
    pub fn size(&self) -> Size {
        let mut size = Size::default();
        for source in &self.sources {
            size.add(&source.node);
        }
        size
    }

    /// Returns the identity of what was selected. Files that have not been hashed yet are hashed now.
    pub fn digest(&self) -> Result<TreeDigest, SelectError> {
        crate::pool::run(|| self.digest_here())
    }

    fn digest_here(&self) -> Result<TreeDigest, SelectError> {
        if self.sources.iter().all(|source| is_hashed(&source.node)) {
            return Ok(tree_digest(self.sources.iter().map(|source| &source.node), self.owners));
        }
        let scanner = whole_tree(&self.root, true);
        let mut nodes = Vec::new();
        for source in &self.sources {
            nodes.push(scanner.hashed(&source.path, &source.node)?);
        }
        Ok(tree_digest(nodes.iter(), self.owners))
    }

    /// Tells `item` of everything that was selected, in the order of the selection. What was not hashed has no content.
    pub fn each(&self, item: &mut dyn FnMut(Item<'_>)) {
        for source in &self.sources {
            let mut path = source.path.clone();
            tell(&mut path, &source.node, self.owners, item);
        }
    }

    /// Tells whether a file was selected under several names.
    pub(crate) fn is_shared(&self, metadata: &Metadata) -> bool {
        self.shared.contains(&(metadata.device, metadata.inode))
    }

    pub(super) fn push(&mut self, source: Source) {
        let mut seen = BTreeSet::new();
        find_shared(&source.node, &mut seen, &mut self.shared);
        self.sources.push(source);
    }
}

/// How much was selected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    /// Files, links and other leaves.
    pub files: u64,
    /// Bytes in regular files.
    pub bytes: u64,
}

impl Size {
    fn add(&mut self, node: &Node) {
        match &node.content {
            Content::Directory { children, .. } => children.iter().for_each(|child| self.add(child)),
            Content::File(_) => {
                self.files += 1;
                self.bytes += node.metadata.size;
            }
            Content::Link(_) | Content::Special => self.files += 1,
        }
    }
}

/// Something that was selected, as its digest sees it.
#[derive(Debug, Clone, Copy)]
pub struct Item<'a> {
    /// Where it is: without links, relative to the root of the selection; empty for the root itself.
    pub path: &'a [u8],
    /// Its type, as a letter of `docs/tree-digest.md`.
    pub kind: u8,
    /// Its permissions; 0 for a link.
    pub mode: u32,
    /// Its owner in the result.
    pub uid: u32,
    /// Its group in the result.
    pub gid: u32,
    /// The digest of a file's content.
    pub content: Option<&'a [u8; 32]>,
    /// Where a link points.
    pub target: Option<&'a [u8]>,
    /// The number of a device.
    pub device: u64,
    /// The digest of its extended attributes; zeros if there are none.
    pub xattrs: [u8; 32],
}

fn tell(path: &mut Vec<u8>, node: &Node, owners: Owners, item: &mut dyn FnMut(Item<'_>)) {
    let metadata = &node.metadata;
    let (mut content, mut target, mut xattrs, mut below) = (None, None, [0; 32], &[][..]);
    match &node.content {
        Content::File(digest) => {
            content = digest.as_ref().map(|digest| &digest.content);
            xattrs = digest.as_ref().map_or([0; 32], |digest| digest.xattrs);
        }
        Content::Directory { children, xattrs: own, .. } => (below, xattrs) = (children, *own),
        Content::Link(to) => target = Some(to.as_slice()),
        Content::Special => {}
    }
    let (kind, device) = match metadata.kind {
        Kind::File => (b'f', 0),
        Kind::Directory => (b'd', 0),
        Kind::Link => (b'l', 0),
        Kind::Pipe => (b'p', 0),
        Kind::Socket => (b's', 0),
        Kind::CharDevice => (b'c', metadata.rdev),
        Kind::BlockDevice => (b'b', metadata.rdev),
    };
    let mode = if metadata.kind == Kind::Link { 0 } else { metadata.mode };
    let (uid, gid) = if owners == Owners::Kept { (metadata.uid, metadata.gid) } else { (0, 0) };
    item(Item { path, kind, mode, uid, gid, content, target, device, xattrs });
    let length = path.len();
    for child in below {
        if length > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(&child.name);
        tell(path, child, owners, item);
        path.truncate(length);
    }
}

/// Adds the inodes that `node` has under several names to `shared`. A link count alone does not tell: the other names may
/// be elsewhere.
fn find_shared(node: &Node, seen: &mut BTreeSet<(u64, u64)>, shared: &mut BTreeSet<(u64, u64)>) {
    match &node.content {
        Content::Directory { children, .. } => children.iter().for_each(|child| find_shared(child, seen, shared)),
        Content::File(_) if node.metadata.links > 1 => {
            let inode = (node.metadata.device, node.metadata.inode);
            if !seen.insert(inode) {
                shared.insert(inode);
            }
        }
        Content::File(_) | Content::Link(_) | Content::Special => {}
    }
}

fn is_hashed(node: &Node) -> bool {
    match &node.content {
        Content::File(digest) => digest.is_some(),
        Content::Directory { children, .. } => children.iter().all(is_hashed),
        Content::Link(_) | Content::Special => true,
    }
}
