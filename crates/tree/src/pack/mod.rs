//! Packing directories into tar archives, and compressing them.
//!
//! Turns a layer directory or a merged tree into the bytes of an archive. The bytes depend on the tree alone: entries are
//! sorted, times are whole seconds, nothing of this machine is in them. Files are read, never links' targets.

mod ahead;
mod compress;
mod header;
mod joined;
mod parts;
mod resume;
mod walk;

use std::io::{self, Write};
use std::path::PathBuf;

use stave_oci::TreeDigest;

use crate::digest::{Owners, tree_digest};
use crate::dir::{Dir, Kind, PathError};
use crate::merged::LayerFormat;
use crate::scan::{Everything, ScanError, Scanner};
use crate::times::Times;

pub use compress::{EstargzWriter, Extended, GzipWriter, LayerWriter, Method, ZstdWriter};
pub use joined::pack_joined;
pub use parts::Parts;
pub use resume::{Mark, Resumable};

/// A tree that cannot be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A file could not be read.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The archive could not be written.
    #[error("cannot write the archive")]
    Write(#[source] io::Error),
    /// A file is not the same before and after it was read.
    #[error("`{}` changed while it was packed", .0.display())]
    Changed(PathBuf),
    /// A file has a name that in an image means the deletion of another one.
    #[error("`{}` has a name that starts with `.wh.`, which no image can hold", .0.display())]
    ReservedName(PathBuf),
    /// An extended attribute has a name that an archive cannot hold.
    #[error("`{}` has an extended attribute with `=` in its name, which no archive can hold", .0.display())]
    XattrName(PathBuf),
    /// Directories are nested too deeply.
    #[error("`{}` is too deep", .0.display())]
    TooDeep(PathBuf),
}

/// What was packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Packed {
    /// Bytes of the archive.
    pub bytes: u64,
    /// Entries in it.
    pub entries: u64,
}

/// An entry of the archive of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted<'a> {
    /// Where it is in the layer.
    pub path: &'a [u8],
    /// What it is; nothing where the layer deletes what is below it.
    pub kind: Option<Kind>,
    /// Bytes of the archive that it takes.
    pub bytes: u64,
    /// How many of them are content.
    pub content: u64,
    /// How many of them say that something of a lower layer is deleted.
    pub deletion: u64,
    /// Of one more name of a file: the name that the archive has first.
    pub first: Option<&'a [u8]>,
}

/// Tells of each entry that [`pack_layer`] writes, in its order, without reading the content of files.
pub fn count_layer(
    layer: &Dir,
    format: LayerFormat,
    times: Times,
    told: &mut dyn FnMut(&Counted<'_>),
) -> Result<Packed, PackError> {
    walk::Packer::measuring(layer, format, times).telling(told).contents(b"", b"")
}

/// Writes the tar of a layer, with whiteouts as images note them.
pub fn pack_layer(layer: &Dir, format: LayerFormat, times: Times, out: &mut dyn Write) -> Result<Packed, PackError> {
    walk::Packer::new(layer, Some(format), times, out).contents(b"", b"")
}

/// Writes what [`pack_layer`] writes, to a reader that may know how it begins. Of the files of what it knows nothing is
/// read but their attributes: a layer most of whose files are links into an earlier one differs from it late.
pub fn pack_layer_resumed(
    layer: &Dir,
    format: LayerFormat,
    times: Times,
    out: &mut dyn Resumable,
) -> Result<Packed, PackError> {
    walk::Packer::resumed(layer, format, times, out).contents(b"", b"")
}

/// Writes the tar of what is at `path` of a tree, under `name`. If `name` is empty, `path` is a directory and its entries
/// are written without it. A link at the end of `path` is packed as a link.
pub fn pack_tree(view: &Dir, path: &[u8], name: &[u8], times: Times, out: &mut dyn Write) -> Result<Packed, PackError> {
    pack_at(walk::Packer::new(view, None, times, out), view, path, name)
}

/// Writes one tar of several trees, each below the directory that is named with it, or at the root if that is empty.
pub fn pack_trees(trees: &[(&Dir, &[u8], Times)], out: &mut dyn Write) -> Result<Packed, PackError> {
    let mut all = Packed::default();
    for (index, (view, name, times)) in trees.iter().enumerate() {
        let packer = walk::Packer::new(view, None, *times, &mut *out);
        let packer = if index + 1 < trees.len() { packer.unfinished() } else { packer };
        let Packed { bytes, entries } = pack_at(packer, view, b"", name)?;
        all = Packed { bytes: all.bytes + bytes, entries: all.entries + entries };
    }
    Ok(all)
}

/// Does what [`pack_tree`] does, for files that somebody may be writing: a file is packed with the size that it has when
/// its turn comes, and one that is gone by then is left out.
pub fn pack_live_tree(view: &Dir, path: &[u8], name: &[u8], out: &mut dyn Write) -> Result<Packed, PackError> {
    pack_at(walk::Packer::new(view, None, Times::Real, out).live(), view, path, name)
}

fn pack_at(packer: walk::Packer<'_>, view: &Dir, path: &[u8], name: &[u8]) -> Result<Packed, PackError> {
    let name = crate::dir::clean(name);
    let real = real_path(view, path)?;
    if name.is_empty() { packer.contents(&real, b"") } else { packer.single(&real, &name) }
}

/// Returns `path` without links on the way to its last name.
fn real_path(view: &Dir, path: &[u8]) -> Result<Vec<u8>, PathError> {
    let cleaned = crate::dir::clean(path);
    let (parent, name) = crate::copy::split(&cleaned);
    let parent = crate::dir::clean(&view.resolve(parent)?);
    Ok(if name.is_empty() { parent } else { crate::dir::join(&parent, name) })
}

/// Returns the identity of a layer's content, deletions included. Two layers with the same digest make the same files out
/// of the same lower layers, apart from times.
pub fn layer_digest(layer: &Dir, format: LayerFormat) -> Result<TreeDigest, ScanError> {
    let scanner = Scanner {
        root: layer,
        filter: &Everything,
        hash: true,
        memory: None,
        opaque_xattr: Some(format.opaque_xattr()),
        hides_whiteouts: false,
    };
    crate::pool::run(|| {
        let root = scanner.scan(b"", b"")?;
        Ok(tree_digest(root.iter().collect::<Vec<_>>().into_iter(), Owners::Kept))
    })
}
