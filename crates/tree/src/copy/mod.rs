//! Copying selections into a layer of their own: `COPY`, `ADD` of local files, `WORKDIR`.
//!
//! Turns selections and a destination into a layer directory. The tree that the layer will lie on is only looked at: to
//! follow the destination's links, and because directories that exist there have to appear in the layer as they are.
//! It does not know how a selection was made, nor where the layer will be kept.

mod file;
mod manifest;
mod place;
mod tree;
mod unpack;
mod weigh;

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rayon::prelude::*;
use stave_oci::ModeChange;

use crate::digest::Owners;
use crate::dir::{Dir, Kind, PathError, join, shown};
use crate::layers::Layers;
use crate::merged::LayerFormat;
use crate::scan::Content;
use crate::select::{Selection, Source};

pub use manifest::CopyManifest;
pub(crate) use place::{Attributes, New, Places, chown, set_best_effort};

/// What is to be copied where.
#[derive(Debug)]
pub struct CopyRequest<'a> {
    /// The tree that the new layer lies on; nothing for an empty one.
    pub parent: Option<&'a Layers>,
    /// What to copy, in order: what comes later replaces what came before.
    pub selections: Vec<Selection>,
    /// Where to, from the root of the parent.
    pub dest: &'a [u8],
    /// The destination was written with a `/` at its end: it is a directory, made if it does not exist.
    pub dest_is_dir: bool,
    /// Owner and group of all that is copied and of directories that are made. Without it, files of a context are root's
    /// and files of a tree keep their owners.
    pub owner: Option<(u32, u32)>,
    /// What happens to the permission bits of all files and directories that are copied or made.
    pub mode: Option<ModeChange>,
    /// An earlier result of the same instruction. Files that are the same are linked from it and not copied.
    pub previous: Option<Previous<'a>>,
    /// How the layer notes what overlayfs needs to know.
    pub format: LayerFormat,
}

/// An earlier result of an instruction.
#[derive(Debug, Clone, Copy)]
pub struct Previous<'a> {
    /// Its layer.
    pub layer: &'a Dir,
    /// What [`CopyReport::manifest`] was then.
    pub manifest: &'a CopyManifest,
}

/// What was copied.
#[derive(Debug, Default)]
pub struct CopyReport {
    /// Files, links and other leaves that are now in the layer.
    pub files: u64,
    /// Bytes of regular files that were copied.
    pub bytes: u64,
    /// Files that were linked from the previous result.
    pub linked: u64,
    /// Owners that are not mapped in this user namespace; those files are root's.
    pub unmapped: u64,
    /// Device nodes that could not be made in this user namespace and are left out.
    pub devices_skipped: u64,
    /// Files that may be Python's bytecode and were copied, for [`crate::normalise_bytecode`].
    pub bytecode: Vec<Vec<u8>>,
    /// Whether archives were unpacked: what came out of them is in no other list.
    pub unpacked: bool,
    /// What is needed to link from this layer later. To be kept next to the layer.
    pub manifest: CopyManifest,
}

/// A copy that failed. The layer is to be thrown away.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A file or directory could not be read or written.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A directory would have to replace something that is no directory.
    #[error("cannot copy to non-directory `{}`", .0.display())]
    OverNonDirectory(PathBuf),
    /// A file would have to replace a directory.
    #[error("cannot replace directory `{}` with a file", .0.display())]
    OverDirectory(PathBuf),
    /// A source is not what it was when it was selected and digested.
    #[error("`{}` changed while it was copied", .0.display())]
    Changed(PathBuf),
    /// A source is a character device 0:0, which in a layer would delete a file.
    #[error("`{}` is a character device 0:0 and cannot be in a layer", .0.display())]
    Whiteout(PathBuf),
    /// An archive could not be unpacked.
    #[error("cannot unpack `{}`", path.display())]
    Unpack {
        /// The archive, relative to the root that it was selected from.
        path: PathBuf,
        /// Why.
        source: crate::unpack::UnpackError,
    },
}

/// Copies what was selected into `into`, the empty directory of a new layer.
pub fn copy_into(request: &CopyRequest<'_>, into: &Dir) -> Result<CopyReport, CopyError> {
    // Few files are copied sooner than threads are woken.
    let leaves =
        |selection: &Selection| !selection.unpack && selection.sources.iter().all(|source| source.node.is_leaf());
    if request.selections.iter().all(leaves) {
        return copy_here(request, into);
    }
    crate::pool::run(|| copy_here(request, into))
}

fn copy_here(request: &CopyRequest<'_>, into: &Dir) -> Result<CopyReport, CopyError> {
    let copier = Copier::new(request, into);
    let dest = place::resolved(request.parent, request.dest)?;
    copier.places.ensure(b"", copier.made())?;
    for selection in &request.selections {
        for source in &selection.sources {
            copier.source(selection, source, &dest)?;
        }
    }
    copier.finish()
}

/// Makes the directory `path` and those above it that are missing in the tree `parent`, as a layer in `into`. Without
/// an owner they are root's, and of the group of a set-gid directory that they are made in. Says whether anything had to
/// be made; if not, no layer is needed.
pub fn make_dir(
    parent: Option<&Layers>,
    path: &[u8],
    owner: Option<(u32, u32)>,
    into: &Dir,
) -> Result<bool, CopyError> {
    let resolved = place::resolved(parent, path)?;
    if let Some(parent) = parent {
        match parent.metadata(&resolved)? {
            Some(metadata) if metadata.kind == Kind::Directory => return Ok(false),
            Some(_) => return Err(CopyError::OverNonDirectory(shown(&resolved))),
            None => {}
        }
    } else if resolved.is_empty() {
        return Ok(false);
    }
    let places = Places::new(parent, into);
    places.ensure(&resolved, New::plain(owner))?;
    places.finish()?;
    Ok(true)
}

/// A file with several names in its source, which is dealt with after all others.
struct Deferred<'a> {
    selection: &'a Selection,
    source_path: Vec<u8>,
    node: &'a crate::scan::Node,
    target: Vec<u8>,
}

struct Copier<'a> {
    request: &'a CopyRequest<'a>,
    into: &'a Dir,
    places: Places<'a>,
    /// The group that new files get by themselves.
    own_group: u32,
    previous: Option<manifest::Lookup<'a>>,
    deferred: Mutex<Vec<Deferred<'a>>>,
    copied: Mutex<CopyManifest>,
    bytecode: Mutex<Vec<Vec<u8>>>,
    unpacked: AtomicBool,
    files: AtomicU64,
    bytes: AtomicU64,
    linked: AtomicU64,
    unmapped: AtomicU64,
    devices_skipped: AtomicU64,
}

impl<'a> Copier<'a> {
    fn new(request: &'a CopyRequest<'a>, into: &'a Dir) -> Self {
        Self {
            request,
            into,
            places: Places::new(request.parent, into),
            own_group: rustix::process::getegid().as_raw(),
            previous: request.previous.map(|previous| previous.manifest.lookup(previous.layer)),
            deferred: Mutex::default(),
            copied: Mutex::default(),
            bytecode: Mutex::default(),
            unpacked: AtomicBool::new(false),
            files: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            linked: AtomicU64::new(0),
            unmapped: AtomicU64::new(0),
            devices_skipped: AtomicU64::new(0),
        }
    }

    /// How directories are set that are made on the way to the destination.
    fn made(&self) -> New {
        New { mode: self.mode(0o755, true), owner: self.request.owner, takes_set_gid: self.request.mode.is_none() }
    }

    /// Permission bits of the copy of what has those of `mode`.
    fn mode(&self, mode: u32, is_dir: bool) -> u32 {
        self.request.mode.as_ref().map_or(mode, |change| change.apply(mode, is_dir))
    }

    /// Owner and group of the copy of a file that `uid` and `gid` own.
    fn owner(&self, owners: Owners, uid: u32, gid: u32) -> (u32, u32) {
        self.request.owner.unwrap_or(match owners {
            Owners::Root => (0, 0),
            Owners::Kept => (uid, gid),
        })
    }

    fn source(&self, selection: &'a Selection, source: &'a Source, dest: &[u8]) -> Result<(), CopyError> {
        let node = &source.node;
        if selection.unpack && matches!(node.content, Content::File(_)) && self.unpack(selection, source, dest)? {
            return Ok(());
        }
        let parent_of_dest = parent(dest);
        if let Content::Directory { children, .. } = &node.content {
            // Of an empty directory nothing is copied into one that is there.
            if children.is_empty() && self.places.is_directory(dest)? {
                return Ok(());
            }
            // What is in the source is copied, not the source itself: the destination stays as it is, or is made like
            // any directory on the way.
            self.places.ensure(dest, self.made())?;
            self.tree(selection, &source.path, node, dest, self.request.parent)?;
            // Before the next source, which may replace them.
            return self.hard_links();
        }
        let is_dir = self.request.dest_is_dir || dest.is_empty() || self.places.is_directory(dest)?;
        let target = if is_dir { join(dest, &node.name) } else { dest.to_vec() };
        self.places.ensure(if is_dir { dest } else { parent_of_dest }, self.made())?;
        self.single(selection, &source.path, node, &target)?;
        self.hard_links()
    }

    fn count(&self, applied: &crate::unpack::Applied) {
        self.unpacked.store(true, Ordering::Relaxed);
        self.files.fetch_add(applied.entries, Ordering::Relaxed);
        self.bytes.fetch_add(applied.bytes, Ordering::Relaxed);
        self.unmapped.fetch_add(applied.unmapped, Ordering::Relaxed);
        self.devices_skipped.fetch_add(applied.devices_skipped, Ordering::Relaxed);
    }

    fn finish(self) -> Result<CopyReport, CopyError> {
        self.places.finish()?;
        let mut manifest = self.copied.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        manifest.sort();
        let mut bytecode = self.bytecode.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        bytecode.sort();
        bytecode.dedup();
        Ok(CopyReport {
            files: self.files.into_inner(),
            bytes: self.bytes.into_inner(),
            linked: self.linked.into_inner(),
            unmapped: self.unmapped.into_inner() + self.places.unmapped.load(Ordering::Relaxed),
            devices_skipped: self.devices_skipped.into_inner(),
            bytecode,
            unpacked: self.unpacked.into_inner(),
            manifest,
        })
    }

    /// Copies files that have several names once, and gives the copies the same names.
    fn hard_links(&self) -> Result<(), CopyError> {
        let mut deferred = std::mem::take(&mut *lock(&self.deferred));
        if deferred.is_empty() {
            return Ok(());
        }
        deferred.sort_by_key(|left| inode(left));
        let groups: Vec<&[Deferred<'_>]> = deferred.chunk_by(|left, right| inode(left) == inode(right)).collect();
        groups.par_iter().try_for_each(|group| self.hard_link_group(group))
    }

    fn hard_link_group(&self, group: &[Deferred<'_>]) -> Result<(), CopyError> {
        let alone = group.len() == 1;
        let mut first: Option<&Deferred<'_>> = None;
        for one in group {
            let (parent_path, name) = split(&one.target);
            let to = self.into.open_dir_no_links(parent_path)?;
            if let Some(first) = first {
                let (first_parent, first_name) = split(&first.target);
                let from = self.into.open_dir_no_links(first_parent)?;
                if first.target == one.target || link(&from, first_name, &to, name, &one.target)? {
                    self.files.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
            }
            let (source_parent, source_name) = split(&one.source_path);
            let from = one.selection.root.open_dir_no_links(source_parent)?;
            let previous = self.previous_directory(parent_path);
            let pair = file::Pair {
                from: &from,
                from_name: source_name,
                to: &to,
                to_name: name,
                set_group: true,
                previous: previous.as_ref(),
            };
            match &one.node.content {
                // Its other names were not selected: it is a file like any other.
                Content::File(digest) if alone => {
                    self.regular_or_linked(one.selection, &pair, one.node, digest.as_ref(), &one.target)?;
                }
                _ => self.regular(one.selection, &pair, one.node, &one.target)?,
            }
            self.files.fetch_add(1, Ordering::Relaxed);
            first = first.or(Some(one));
        }
        Ok(())
    }
}

/// Links a file to a second name; says no if the file has as many names as the file system allows.
fn link(from: &Dir, name: &[u8], to: &Dir, new_name: &[u8], target: &[u8]) -> Result<bool, CopyError> {
    use rustix::io::Errno;
    for _ in 0..2 {
        match rustix::fs::linkat(from, name, to, new_name, rustix::fs::AtFlags::empty()) {
            Ok(()) => return Ok(true),
            Err(Errno::EXIST) => file::clear(to, new_name, target)?,
            Err(Errno::MLINK | Errno::XDEV | Errno::PERM) => return Ok(false),
            Err(source) => return Err(PathError::io("link", target, source).into()),
        }
    }
    Ok(false)
}

fn inode(one: &Deferred<'_>) -> (u64, u64) {
    (one.node.metadata.device, one.node.metadata.inode)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Returns the directory that `path` is in: nothing for the root and for what is in it.
fn parent(path: &[u8]) -> &[u8] {
    split(path).0
}

/// Returns the directory that `path` is in and its last name.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}
