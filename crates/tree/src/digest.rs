//! The identity of a tree's content.
//!
//! Turns scanned nodes into a [`TreeDigest`]. It knows no times, no devices and no inode numbers: two trees with the same
//! files, modes, owners, attributes, links and bytes have the same digest on every machine.
//!
//! # Layout, version 1
//!
//! Numbers are little-endian. `bytes(x)` is the length of `x` as `u64` and then `x`.
//!
//! ```text
//! tree      = SHA-256( "stave.tree\0" u32(version) u64(sources) record* u64(groups) group* )
//! record    = bytes(name) kind u32(mode) u32(uid) u32(gid) u64(device) payload xattrs
//! kind      = 'f' file  'd' directory  'o' opaque directory of a layer  'l' symbolic link  'p' pipe  's' socket
//!             'c' character device  'b' block device  'w' whiteout of a layer
//! mode      = permission bits with set-id and sticky bits; 0 for a symbolic link and a whiteout
//! uid, gid  = 0 in a build context; 0 for a whiteout
//! device    = the device's number for 'c' and 'b', else 0
//! payload   = file: SHA-256(bytes of the file)       link: SHA-256(target)
//!             directory: SHA-256( "stave.tree.directory\0" u64(entries) record* ), entries sorted by name
//!             else: 32 zero bytes
//! xattrs    = 32 zero bytes if there are none, else SHA-256( ( bytes(name) bytes(value) )* ), sorted by name
//! group     = u64(paths) bytes(path)*       files that are one inode (hard links), two or more of them
//! path      = u64(index of the source) and the names below it, each with '/' before it
//! ```
//!
//! A record's name is the last name of the path for a source, so that a renamed file is another tree. Groups are in the
//! order of their first paths, and paths in the order of the walk: by source, then by name at each level.

use std::collections::BTreeMap;

use stave_oci::{BlobDigest, Hasher, TreeDigest};

use crate::dir::{Kind, Metadata};
use crate::scan::{Content, Node};

/// Bumped when the layout or the meaning of anything in it changes.
const VERSION: u32 = 1;

/// Whose files they are in the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owners {
    /// As the tree has them.
    Kept,
    /// All root's: files of a build context.
    Root,
}

/// Returns the digest of `sources`. Every file in them has been hashed.
pub(crate) fn tree_digest<'a>(sources: impl ExactSizeIterator<Item = &'a Node>, owners: Owners) -> TreeDigest {
    let mut groups = Groups::default();
    let mut records = Vec::new();
    records.extend_from_slice(b"stave.tree\0");
    records.extend_from_slice(&VERSION.to_le_bytes());
    records.extend_from_slice(&(sources.len() as u64).to_le_bytes());
    for (index, node) in sources.enumerate() {
        record(&mut records, node, owners);
        groups.collect(&(index as u64).to_le_bytes(), node);
    }
    groups.write(&mut records);
    TreeDigest::of(&records)
}

fn bytes(into: &mut Vec<u8>, value: &[u8]) {
    into.extend_from_slice(&(value.len() as u64).to_le_bytes());
    into.extend_from_slice(value);
}

fn kind_byte(metadata: &Metadata, opaque: bool, whiteout: bool) -> u8 {
    match metadata.kind {
        Kind::File => b'f',
        Kind::Directory if opaque => b'o',
        Kind::Directory => b'd',
        Kind::Link => b'l',
        Kind::Pipe => b'p',
        Kind::Socket => b's',
        Kind::CharDevice if whiteout => b'w',
        Kind::CharDevice => b'c',
        Kind::BlockDevice => b'b',
    }
}

fn record(into: &mut Vec<u8>, node: &Node, owners: Owners) {
    let metadata = &node.metadata;
    let opaque = matches!(node.content, Content::Directory { opaque: true, .. });
    let whiteout = metadata.is_whiteout();
    let device = if matches!(metadata.kind, Kind::CharDevice | Kind::BlockDevice) { metadata.rdev } else { 0 };
    let mode = if metadata.kind == Kind::Link || whiteout { 0 } else { metadata.mode };
    let (uid, gid) = match owners {
        Owners::Kept if !whiteout => (metadata.uid, metadata.gid),
        Owners::Kept | Owners::Root => (0, 0),
    };
    bytes(into, &node.name);
    into.push(kind_byte(metadata, opaque, whiteout));
    for number in [mode, uid, gid] {
        into.extend_from_slice(&number.to_le_bytes());
    }
    into.extend_from_slice(&device.to_le_bytes());
    let (payload, xattrs) = match &node.content {
        Content::File(digest) => {
            let digest = digest.as_ref().expect("files are hashed before a tree is digested");
            (digest.content, digest.xattrs)
        }
        Content::Directory { children, xattrs, .. } => (directory_payload(children, owners), *xattrs),
        Content::Link(target) => (*BlobDigest::of(target).as_bytes(), [0; 32]),
        Content::Special => ([0; 32], [0; 32]),
    };
    into.extend_from_slice(&payload);
    into.extend_from_slice(&xattrs);
}

fn directory_payload(children: &[Node], owners: Owners) -> [u8; 32] {
    let mut records = Vec::with_capacity(64 + children.len() * 128);
    records.extend_from_slice(b"stave.tree.directory\0");
    records.extend_from_slice(&(children.len() as u64).to_le_bytes());
    for child in children {
        record(&mut records, child, owners);
    }
    let mut hasher = Hasher::new();
    hasher.update(&records);
    *hasher.finish::<BlobDigest>().as_bytes()
}

/// Files with several names, by inode.
#[derive(Default)]
struct Groups {
    paths: BTreeMap<(u64, u64), Vec<Vec<u8>>>,
}

impl Groups {
    fn collect(&mut self, path: &[u8], node: &Node) {
        match &node.content {
            Content::Directory { children, .. } => {
                for child in children {
                    if matches!(child.content, Content::Directory { .. }) || child.metadata.links > 1 {
                        let mut below = path.to_vec();
                        below.push(b'/');
                        below.extend_from_slice(&child.name);
                        self.collect(&below, child);
                    }
                }
            }
            Content::File(_) if node.metadata.links > 1 => {
                let inode = (node.metadata.device, node.metadata.inode);
                self.paths.entry(inode).or_default().push(path.to_vec());
            }
            Content::File(_) | Content::Link(_) | Content::Special => {}
        }
    }

    fn write(self, into: &mut Vec<u8>) {
        let mut groups: Vec<Vec<Vec<u8>>> = self.paths.into_values().filter(|paths| paths.len() > 1).collect();
        groups.sort_unstable();
        into.extend_from_slice(&(groups.len() as u64).to_le_bytes());
        for group in groups {
            into.extend_from_slice(&(group.len() as u64).to_le_bytes());
            for path in group {
                bytes(into, &path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dir::Time;
    use crate::memory::FileDigest;

    fn node(name: &str, kind: Kind, mode: u32, inode: u64, content: Content) -> Node {
        let time = Time { seconds: 1, nanoseconds: 2 };
        let metadata = Metadata {
            kind,
            mode,
            uid: 7,
            gid: 8,
            size: 3,
            allocated: 4096,
            modified: time,
            changed: time,
            device: 1,
            inode,
            links: 2,
            rdev: 0x0103,
        };
        Node { name: name.as_bytes().to_vec(), metadata, content }
    }

    fn example() -> Node {
        let file = |text: &[u8]| {
            Content::File(Some(FileDigest { content: *BlobDigest::of(text).as_bytes(), xattrs: [0; 32] }))
        };
        let children = vec![
            node("a", Kind::File, 0o644, 5, file(b"abc")),
            node("b", Kind::Link, 0o777, 6, Content::Link(b"../a".to_vec())),
            node("c", Kind::CharDevice, 0o600, 7, Content::Special),
            node("hard", Kind::File, 0o644, 5, file(b"abc")),
        ];
        node("top", Kind::Directory, 0o755, 9, Content::Directory { children, xattrs: [0; 32], opaque: false })
    }

    /// Cache keys of every store are made from these bytes: a change here needs a new version.
    #[test]
    fn the_layout_is_frozen() {
        let digest = tree_digest([&example()].into_iter(), Owners::Kept);
        assert_eq!(digest.hex(), "be88a5037c3d0c3fbe8f380fbc18d47a8a581c08fc51458e466479893cebac6a");
        let digest = tree_digest([&example()].into_iter(), Owners::Root);
        assert_eq!(digest.hex(), "00ef17481295e20d95a0700383fc09fc33498faa945025008d24b894e1c75768");
        assert_eq!(
            tree_digest([].into_iter(), Owners::Root).hex(),
            "fc3fdffb4792c1fda8ba48a196fba3af7bc6778c18c1d640f10eb90a85e632fd"
        );
    }

    /// The vectors above are what the text at the top of this file says, written out by hand.
    #[test]
    fn the_layout_is_the_documented_one() {
        let mut directory = b"stave.tree.directory\0".to_vec();
        directory.extend(4_u64.to_le_bytes());
        let entry = |name: &[u8], kind: u8, mode: u32, device: u64, payload: [u8; 32]| {
            let mut record = (name.len() as u64).to_le_bytes().to_vec();
            record.extend(name);
            record.push(kind);
            record.extend([mode.to_le_bytes(), 7_u32.to_le_bytes(), 8_u32.to_le_bytes()].concat());
            record.extend(device.to_le_bytes());
            record.extend(payload);
            record.extend([0; 32]);
            record
        };
        let sha = |bytes: &[u8]| *BlobDigest::of(bytes).as_bytes();
        directory.extend(entry(b"a", b'f', 0o644, 0, sha(b"abc")));
        directory.extend(entry(b"b", b'l', 0, 0, sha(b"../a")));
        directory.extend(entry(b"c", b'c', 0o600, 0x0103, [0; 32]));
        directory.extend(entry(b"hard", b'f', 0o644, 0, sha(b"abc")));
        let mut tree = b"stave.tree\0\x01\0\0\0".to_vec();
        tree.extend(1_u64.to_le_bytes());
        tree.extend(entry(b"top", b'd', 0o755, 0, sha(&directory)));
        tree.extend(1_u64.to_le_bytes());
        tree.extend(2_u64.to_le_bytes());
        for path in [b"/a".as_slice(), b"/hard"] {
            tree.extend((8 + path.len() as u64).to_le_bytes());
            tree.extend(0_u64.to_le_bytes());
            tree.extend(path);
        }
        assert_eq!(tree_digest([&example()].into_iter(), Owners::Kept), TreeDigest::of(&tree));
    }
}
