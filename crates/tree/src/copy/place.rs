//! The directories that a copy writes into: found through the tree below, made in the layer.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;

use super::{CopyError, lock, split};
use crate::dir::{Dir, Kind, Metadata, PathError, Time, Xattr, clean, components, join, list_xattrs, set_xattr, shown};
use crate::layers::{Layers, Stack};
use crate::times::Origin;

/// The bit of a directory that gives its group to what is made in it.
const SET_GID: u32 = 0o2000;

/// How a directory is set.
#[derive(Debug, Clone)]
pub(crate) struct Attributes {
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) xattrs: Vec<Xattr>,
    /// Nothing: the time at which it is made.
    pub(crate) modified: Option<Time>,
}

impl Attributes {
    /// Returns the attributes of an existing directory.
    pub(crate) fn of(dir: &Dir, path: &[u8]) -> Result<Self, PathError> {
        let metadata = dir.own_metadata()?;
        // A merged view's own descriptor can only be walked from.
        let readable = dir.open_dir(b"")?;
        let xattrs = list_xattrs(&readable).map_err(|source| PathError::io("read the attributes of", path, source))?;
        let owner = (metadata.uid, metadata.gid);
        Ok(Self { mode: metadata.mode, owner, xattrs, modified: Some(metadata.modified) })
    }
}

/// How a directory is made that nothing else describes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct New {
    pub(crate) mode: u32,
    /// Nothing: root's, and of the group of a set-gid directory that it is made in.
    pub(crate) owner: Option<(u32, u32)>,
    /// In a set-gid directory it is one too, as the file system would make it.
    pub(crate) takes_set_gid: bool,
}

impl New {
    /// A directory on the way to something, as `mkdir` makes it.
    pub(crate) fn plain(owner: Option<(u32, u32)>) -> Self {
        Self { mode: 0o755, owner, takes_set_gid: true }
    }

    /// Its attributes where `group` is that of the set-gid directory above it, if that is one.
    fn below(self, group: Option<u32>) -> Attributes {
        let set_gid = if group.is_some() && self.takes_set_gid { SET_GID } else { 0 };
        let owner = self.owner.unwrap_or((0, group.unwrap_or(0)));
        Attributes { mode: self.mode | set_gid, owner, xattrs: Vec::new(), modified: None }
    }
}

/// Returns `dest` with the links of `parent` followed, relative and clean.
pub(super) fn resolved(parent: Option<&Layers>, dest: &[u8]) -> Result<Vec<u8>, CopyError> {
    let Some(parent) = parent else { return Ok(clean(dest)) };
    match parent.resolve(dest) {
        Ok(path) => Ok(clean(&path)),
        Err(PathError::Io { source, .. }) if source.raw_os_error() == Some(Errno::NOTDIR.raw_os_error()) => {
            Err(CopyError::OverNonDirectory(shown(dest)))
        }
        Err(error) => Err(error.into()),
    }
}

/// The layer that is written and the tree below it.
pub(crate) struct Places<'a> {
    below: Option<&'a Layers>,
    into: &'a Dir,
    /// Times of directories, set when nothing is written any more.
    times: Mutex<BTreeMap<Vec<u8>, Option<Time>>>,
    pub(crate) unmapped: AtomicU64,
}

impl<'a> Places<'a> {
    pub(crate) fn new(below: Option<&'a Layers>, into: &'a Dir) -> Self {
        Self { below, into, times: Mutex::default(), unmapped: AtomicU64::new(0) }
    }

    /// Returns the directory `path` of the tree below, if there is one. No component of `path` is a link.
    pub(crate) fn below(&self, path: &[u8]) -> Result<Option<Stack>, PathError> {
        match self.below {
            Some(below) => below.directory(path),
            None => Ok(None),
        }
    }

    /// Tells whether `path` is a directory, in the layer or below it.
    pub(crate) fn is_directory(&self, path: &[u8]) -> Result<bool, PathError> {
        match self.into.metadata(path, crate::dir::Follow::No) {
            Ok(metadata) => Ok(metadata.kind == Kind::Directory),
            Err(error) if error.is_not_found() => Ok(self.below(path)?.is_some()),
            Err(error) => Err(error),
        }
    }

    /// Makes `path` and all above it in the layer. What exists below is made as it is there, the rest as `new` says.
    pub(crate) fn ensure(&self, path: &[u8], new: New) -> Result<(), CopyError> {
        if path.is_empty() {
            return self.root();
        }
        if self.into.open_dir_no_links(path).is_ok() {
            return Ok(());
        }
        let mut at = Vec::new();
        let mut below = self.below;
        for name in components(path) {
            at = join(&at, name);
            if !self.directory_on(below, &at, new)? {
                below = None;
            }
        }
        Ok(())
    }

    /// The layer's root looks like the root of the tree below: overlayfs shows the topmost.
    fn root(&self) -> Result<(), CopyError> {
        let attributes = match self.below.and_then(|below| below.root().top()) {
            Some(top) => Attributes::of(top, b"")?,
            None => Attributes { mode: 0o755, owner: (0, 0), xattrs: Vec::new(), modified: None },
        };
        let root = self.into.open_dir(b"")?;
        Ok(self.set(&root, b"", &attributes)?)
    }

    /// Makes the single directory `path`, whose parent is in the layer already; says whether it exists below. In the
    /// layer it may exist too.
    pub(crate) fn directory(&self, path: &[u8], new: New) -> Result<bool, CopyError> {
        self.directory_on(self.below, path, new)
    }

    /// As [`Self::directory`]. `below` is nothing where the parent is known not to exist in the tree below.
    fn directory_on(&self, below: Option<&Layers>, path: &[u8], new: New) -> Result<bool, CopyError> {
        let (existing, made) = self.make(below, path)?;
        if let (Some(dir), Some(existing)) = (&made, existing.as_ref().and_then(Stack::top)) {
            self.set(dir, path, &Attributes::of(existing, path)?)?;
        } else if let Some(dir) = made {
            self.set(&dir, path, &new.below(self.group_above(path)?))?;
        }
        Ok(existing.is_some())
    }

    /// Returns the group that the directory above `path` gives to what is made in it, if it does.
    fn group_above(&self, path: &[u8]) -> Result<Option<u32>, PathError> {
        let above = self.into.open_dir_no_links(split(path).0)?.own_metadata()?;
        Ok((above.mode & SET_GID != 0).then_some(above.gid))
    }

    /// Makes the directory `path` as a copy of one with `attributes`, which it has afterwards even where it existed; only
    /// extended attributes that the existing one has and the copied one lacks are kept.
    ///
    /// Reference: fsutil, `copy`, which BuildKit copies with.
    pub(super) fn copied_directory(
        &self,
        below: Option<&Layers>,
        path: &[u8],
        attributes: &Attributes,
    ) -> Result<(), CopyError> {
        let (existing, made) = self.make(below, path)?;
        let dir = match made {
            Some(dir) => dir,
            None => self.into.open_dir_no_links(path)?,
        };
        if let Some(existing) = existing.as_ref().and_then(Stack::top) {
            for xattr in &Attributes::of(existing, path)?.xattrs {
                set_best_effort(&dir, xattr).map_err(|source| PathError::io("set the attributes of", path, source))?;
            }
        }
        Ok(self.set(&dir, path, attributes)?)
    }

    /// Makes the single directory `path`. Returns what it is in the tree below, and it itself if the layer did not have
    /// it yet.
    fn make(&self, below: Option<&Layers>, path: &[u8]) -> Result<(Option<Stack>, Option<Dir>), CopyError> {
        let (parent, name) = split(path);
        let parent_dir = self.into.open_dir_no_links(parent)?;
        let existing = match below {
            None => None,
            Some(below) => existing_below(below, parent, name, path)?,
        };
        match rustix::fs::mkdirat(&parent_dir, name, Mode::RWXU) {
            Ok(()) => Ok((existing, Some(parent_dir.open_dir_no_links(name)?))),
            Err(Errno::EXIST) => match parent_dir.child(name)? {
                Some(Metadata { kind: Kind::Directory, .. }) => Ok((existing, None)),
                _ => Err(CopyError::OverNonDirectory(shown(path))),
            },
            Err(source) => Err(PathError::io("create directory", path, source).into()),
        }
    }

    /// Sets the attributes of a directory of the layer; its time is set at the end.
    pub(crate) fn set(&self, dir: &Dir, path: &[u8], attributes: &Attributes) -> Result<(), PathError> {
        let failed = |source: Errno| PathError::io("set the attributes of", path, source);
        let (uid, gid) = attributes.owner;
        if !chown(dir, uid, gid).map_err(failed)? {
            self.unmapped.fetch_add(1, Ordering::Relaxed);
        }
        rustix::fs::fchmod(dir, Mode::from_raw_mode(attributes.mode)).map_err(failed)?;
        for xattr in &attributes.xattrs {
            set_best_effort(dir, xattr).map_err(failed)?;
        }
        lock(&self.times).insert(path.to_vec(), attributes.modified);
        Ok(())
    }

    /// Sets the times of directories. Nothing is written into them afterwards.
    pub(crate) fn finish(&self) -> Result<(), PathError> {
        for (path, time) in std::mem::take(&mut *lock(&self.times)) {
            let dir = match self.into.open_dir_no_links(&path) {
                // Something else has replaced it.
                Err(error) if error.is_no_directory() => continue,
                result => result?,
            };
            let time = match time {
                Some(time) => time,
                None => dir.own_metadata()?.modified.marked(Origin::Made),
            };
            rustix::fs::utimensat(&dir, c".", &time.timestamps(), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|source| PathError::io("set the time of", &path, source))?;
        }
        Ok(())
    }
}

fn existing_below(below: &Layers, parent: &[u8], name: &[u8], path: &[u8]) -> Result<Option<Stack>, CopyError> {
    let Some(parent) = below.directory(parent)? else { return Ok(None) };
    match parent.below(name)? {
        Some(existing) => Ok(Some(existing)),
        None if parent.child(name)?.is_none() => Ok(None),
        None => Err(CopyError::OverNonDirectory(shown(path))),
    }
}

/// Sets owner and group of an open file; says no if they are not mapped in this user namespace, and leaves it as it is.
pub(crate) fn chown(file: impl std::os::fd::AsFd, uid: u32, gid: u32) -> Result<bool, Errno> {
    let (owner, group) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
    match rustix::fs::fchown(file, Some(owner), Some(group)) {
        Ok(()) => Ok(true),
        Err(Errno::INVAL) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Sets an attribute where the file system and this user namespace allow it.
pub(crate) fn set_best_effort(file: impl std::os::fd::AsFd, xattr: &Xattr) -> Result<(), Errno> {
    match set_xattr(file, &xattr.name, &xattr.value) {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::PERM) => Ok(()),
        Err(error) => Err(error),
    }
}
