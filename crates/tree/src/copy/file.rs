//! Copying one file, link or device.

use std::cell::RefCell;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::Ordering;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, SeekFrom};
use rustix::io::Errno;

use super::place::{chown, set_best_effort};
use super::{Copier, CopyError, lock, manifest};
use crate::digest::Owners;
use crate::dir::{Dir, Kind, Metadata, PathError, Time, list_xattrs, shown};
use crate::memory::FileDigest;
use crate::normalise::is_bytecode;
use crate::scan::Node;
use crate::select::Selection;

/// Where a file is and where its copy goes.
pub(super) struct Pair<'a> {
    pub(super) from: &'a Dir,
    pub(super) from_name: &'a [u8],
    pub(super) to: &'a Dir,
    pub(super) to_name: &'a [u8],
    /// The target's directory may give its own group to new files, so that the group must be set.
    pub(super) set_group: bool,
    /// The target's directory in the previous result, if there is one.
    pub(super) previous: Option<&'a Dir>,
}

/// Files up to this size are copied by one read and one write.
const SMALL_BYTES: usize = 128 * 1024;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; SMALL_BYTES]);
}

impl Copier<'_> {
    /// Links the file from the previous result if it is the same there, else copies it.
    pub(super) fn regular_or_linked(
        &self,
        selection: &Selection,
        pair: &Pair<'_>,
        node: &Node,
        digest: Option<&FileDigest>,
        target: &[u8],
    ) -> Result<(), CopyError> {
        let Some(digest) = digest else { return self.regular(selection, pair, node, target) };
        let metadata = &node.metadata;
        let (mode, modified) = (self.mode(metadata.mode, false), selection.time(metadata));
        let state = self.state_of(selection, node, digest);
        if self.linked_from_previous(pair, (node, mode, modified), &state, target)? {
            self.linked.fetch_add(1, Ordering::Relaxed);
        } else {
            self.regular(selection, pair, node, target)?;
        }
        lock(&self.copied).push(target, state);
        Ok(())
    }

    /// Returns what the copy of a file is known by in the layer.
    pub(super) fn state_of(&self, selection: &Selection, node: &Node, digest: &FileDigest) -> [u8; 32] {
        let metadata = &node.metadata;
        let owner = self.owner(selection.owners, metadata.uid, metadata.gid);
        manifest::state(digest, self.mode(metadata.mode, false), owner, selection.time(metadata))
    }

    fn linked_from_previous(
        &self,
        pair: &Pair<'_>,
        (node, mode, modified): (&Node, u32, Time),
        state: &[u8; 32],
        target: &[u8],
    ) -> Result<bool, CopyError> {
        let (Some(directory), Some(previous)) = (pair.previous, &self.previous) else { return Ok(false) };
        if !previous.has(target, state) {
            return Ok(false);
        }
        // The store vouches for the bytes; this only notices a layer that is not the manifest's.
        let Ok(Some(found)) = directory.child(pair.to_name) else { return Ok(false) };
        let same = found.kind == Kind::File
            && found.size == node.metadata.size
            && found.mode == mode
            && found.modified == modified;
        if !same {
            return Ok(false);
        }
        super::link(directory, pair.to_name, pair.to, pair.to_name, target)
    }

    /// Copies a regular file, which must still be what was selected, with mode, owner, attributes and time.
    pub(super) fn regular(
        &self,
        selection: &Selection,
        pair: &Pair<'_>,
        node: &Node,
        target: &[u8],
    ) -> Result<(), CopyError> {
        let source = open_source(pair, target)?;
        let changed = || CopyError::Changed(shown(target));
        let read = |source: Errno| PathError::io("read", target, source);
        let before = Metadata::from_stat(&rustix::fs::fstat(&source).map_err(read)?);
        let same: fn(&Metadata, &Metadata) -> bool = match selection.owners {
            Owners::Root => Metadata::is_unchanged_since,
            Owners::Kept => Metadata::has_content_of,
        };
        if !same(&before, &node.metadata) {
            return Err(changed());
        }
        let copy = create(pair, target)?;
        let length = copy_content(&source, &copy, before.size).map_err(|error| match error {
            Failed::Shrunk => changed(),
            Failed::Read(source) => PathError::io("read", target, source).into(),
            Failed::Write(source) => PathError::io("write", target, source).into(),
        })?;
        let after = Metadata::from_stat(&rustix::fs::fstat(&source).map_err(read)?);
        if length != before.size || !same(&after, &before) {
            return Err(changed());
        }
        let xattrs = list_xattrs(source.as_fd()).map_err(read)?;
        self.set(selection, pair, &copy, node, &xattrs)
            .map_err(|source| PathError::io("set the attributes of", target, source))?;
        self.bytes.fetch_add(length, Ordering::Relaxed);
        if is_bytecode(pair.to_name) {
            lock(&self.bytecode).push(target.to_vec());
        }
        Ok(())
    }

    /// Owner before mode and attributes, which a change of owner clears; time last.
    fn set(
        &self,
        selection: &Selection,
        pair: &Pair<'_>,
        copy: &OwnedFd,
        node: &Node,
        xattrs: &[crate::dir::Xattr],
    ) -> Result<(), Errno> {
        let metadata = &node.metadata;
        let (uid, gid) = self.owner(selection.owners, metadata.uid, metadata.gid);
        let owned_already = uid == 0 && gid == self.own_group && !pair.set_group;
        if !owned_already && !chown(copy, uid, gid)? {
            self.unmapped.fetch_add(1, Ordering::Relaxed);
        }
        rustix::fs::fchmod(copy, Mode::from_raw_mode(self.mode(metadata.mode, false)))?;
        for xattr in xattrs {
            set_best_effort(copy, xattr)?;
        }
        rustix::fs::futimens(copy, &selection.time(metadata).timestamps())
    }

    /// Copies a symbolic link as a link.
    pub(super) fn symlink(
        &self,
        selection: &Selection,
        pair: &Pair<'_>,
        node: &Node,
        link: &[u8],
        target: &[u8],
    ) -> Result<(), CopyError> {
        let create = || rustix::fs::symlinkat(link, pair.to, pair.to_name);
        created(pair, target, create)?;
        self.set_by_name(selection, pair, node, target)
    }

    /// Copies a device or a pipe; a socket, which means nothing without the process behind it, becomes an empty file.
    pub(super) fn special(
        &self,
        selection: &Selection,
        pair: &Pair<'_>,
        node: &Node,
        target: &[u8],
    ) -> Result<(), CopyError> {
        let metadata = &node.metadata;
        if metadata.is_whiteout() {
            return Err(CopyError::Whiteout(shown(target)));
        }
        let file_type = match metadata.kind {
            Kind::Pipe => FileType::Fifo,
            Kind::CharDevice => FileType::CharacterDevice,
            Kind::BlockDevice => FileType::BlockDevice,
            Kind::File | Kind::Directory | Kind::Link | Kind::Socket => FileType::RegularFile,
        };
        let mode = Mode::from_raw_mode(self.mode(metadata.mode, false));
        let create = || rustix::fs::mknodat(pair.to, pair.to_name, file_type, mode, metadata.rdev);
        match created(pair, target, create) {
            Err(CopyError::Path(PathError::Io { source, .. }))
                if matches!(metadata.kind, Kind::CharDevice | Kind::BlockDevice)
                    && source.raw_os_error() == Some(Errno::PERM.raw_os_error()) =>
            {
                self.devices_skipped.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
            result => result?,
        }
        self.set_by_name(selection, pair, node, target)?;
        rustix::fs::chmodat(pair.to, pair.to_name, mode, AtFlags::empty())
            .and_then(|()| {
                rustix::fs::utimensat(
                    pair.to,
                    pair.to_name,
                    &selection.time(metadata).timestamps(),
                    AtFlags::SYMLINK_NOFOLLOW,
                )
            })
            .map_err(|source| PathError::io("set the attributes of", target, source).into())
    }

    /// Sets owner and time of what cannot be opened.
    fn set_by_name(&self, selection: &Selection, pair: &Pair<'_>, node: &Node, target: &[u8]) -> Result<(), CopyError> {
        let metadata = &node.metadata;
        let failed = |source: Errno| PathError::io("set the attributes of", target, source);
        let (uid, gid) = self.owner(selection.owners, metadata.uid, metadata.gid);
        if (uid, gid) != (0, self.own_group) || pair.set_group {
            let (owner, group) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
            match rustix::fs::chownat(pair.to, pair.to_name, Some(owner), Some(group), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(()) => {}
                Err(Errno::INVAL) => {
                    self.unmapped.fetch_add(1, Ordering::Relaxed);
                }
                Err(source) => return Err(failed(source).into()),
            }
        }
        let times = selection.time(metadata).timestamps();
        rustix::fs::utimensat(pair.to, pair.to_name, &times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|source| failed(source).into())
    }
}

/// Deletes what is at `name` of `to` to make room for a file.
pub(super) fn clear(to: &Dir, name: &[u8], target: &[u8]) -> Result<(), CopyError> {
    match rustix::fs::unlinkat(to, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR) => Err(CopyError::OverDirectory(shown(target))),
        Err(source) => Err(PathError::io("replace", target, source).into()),
    }
}

/// Creates the target, replacing what an earlier source put there.
fn create(pair: &Pair<'_>, target: &[u8]) -> Result<OwnedFd, CopyError> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let create = || rustix::fs::openat(pair.to, pair.to_name, flags, Mode::RUSR | Mode::WUSR);
    let created = match create() {
        Err(Errno::EXIST) => {
            clear(pair.to, pair.to_name, target)?;
            create()
        }
        result => result,
    };
    created.map_err(|source| PathError::io("create", target, source).into())
}

fn created(pair: &Pair<'_>, target: &[u8], create: impl Fn() -> Result<(), Errno>) -> Result<(), CopyError> {
    let created = match create() {
        Err(Errno::EXIST) => {
            clear(pair.to, pair.to_name, target)?;
            create()
        }
        result => result,
    };
    created.map_err(|source| PathError::io("create", target, source).into())
}

fn open_source(pair: &Pair<'_>, target: &[u8]) -> Result<OwnedFd, CopyError> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(pair.from, pair.from_name, flags, Mode::empty()) {
        Ok(fd) => Ok(fd),
        Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => Err(CopyError::Changed(shown(target))),
        Err(source) => Err(PathError::io("open", target, source).into()),
    }
}

enum Failed {
    Shrunk,
    Read(Errno),
    Write(Errno),
}

/// Copies the bytes and returns how many there were. Holes in large files stay holes.
fn copy_content(source: &OwnedFd, copy: &OwnedFd, size: u64) -> Result<u64, Failed> {
    if size < SMALL_BYTES as u64 {
        return BUFFER.with_borrow_mut(|buffer| copy_small(source, copy, buffer));
    }
    let mut copied = 0;
    while copied < size {
        let start = match rustix::fs::seek(source, SeekFrom::Data(copied)) {
            Ok(start) => start,
            // Only a hole is left.
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL) => copied,
            Err(error) => return Err(Failed::Read(error)),
        };
        let end = match rustix::fs::seek(source, SeekFrom::Hole(start)) {
            Ok(end) => end.min(size),
            Err(Errno::INVAL | Errno::NXIO) => size,
            Err(error) => return Err(Failed::Read(error)),
        };
        if end <= start {
            break;
        }
        copy_range(source, copy, start, end)?;
        copied = end;
    }
    rustix::fs::ftruncate(copy, size).map_err(Failed::Write)?;
    Ok(size)
}

fn copy_small(source: &OwnedFd, copy: &OwnedFd, buffer: &mut [u8]) -> Result<u64, Failed> {
    let mut total = 0;
    loop {
        let length = match rustix::io::read(source, &mut *buffer) {
            Ok(0) => return Ok(total),
            Ok(length) => length,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(Failed::Read(error)),
        };
        let mut rest = &buffer[..length];
        while !rest.is_empty() {
            let written = rustix::io::write(copy, rest).map_err(Failed::Write)?;
            rest = &rest[written..];
        }
        total += length as u64;
        // A short read of a small file is its end; the size is compared afterwards.
        if length < buffer.len() {
            return Ok(total);
        }
    }
}

/// Copies the bytes from `start` to `end`: inside the kernel where both file systems agree, else through a buffer.
fn copy_range(source: &OwnedFd, copy: &OwnedFd, start: u64, end: u64) -> Result<(), Failed> {
    let (mut from, mut to) = (start, start);
    while from < end {
        let wanted = usize::try_from((end - from).min(1 << 30)).expect("2^30 fits");
        match rustix::fs::copy_file_range(source, Some(&mut from), copy, Some(&mut to), wanted) {
            Ok(0) => return Err(Failed::Shrunk),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                return BUFFER.with_borrow_mut(|buffer| copy_buffered(source, copy, from, end, buffer));
            }
            Err(error) => return Err(Failed::Write(error)),
        }
    }
    Ok(())
}

fn copy_buffered(source: &OwnedFd, copy: &OwnedFd, start: u64, end: u64, buffer: &mut [u8]) -> Result<(), Failed> {
    let mut at = start;
    while at < end {
        let wanted = usize::try_from((end - at).min(buffer.len() as u64)).expect("a buffer's length fits");
        let length = match rustix::io::pread(source, &mut buffer[..wanted], at) {
            Ok(0) => return Err(Failed::Shrunk),
            Ok(length) => length,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(Failed::Read(error)),
        };
        let mut written = 0;
        while written < length {
            written +=
                rustix::io::pwrite(copy, &buffer[written..length], at + written as u64).map_err(Failed::Write)?;
        }
        at += length as u64;
    }
    Ok(())
}
