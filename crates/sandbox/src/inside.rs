//! Paths of an image, opened inside its root and nowhere else.
//!
//! Turns a root's descriptor and a path into a descriptor. Links, absolute ones too, stay inside; the links of `/proc`
//! that lead to a process's files or directories are not followed.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno as Code;
use rustix::path::Arg;

/// How often a `..` is tried that the kernel cannot vouch for because something is renamed or mounted meanwhile.
const TRIES_MAX: u32 = 10_000;

/// Opens `path` inside `root`.
pub(crate) fn open(root: impl AsFd, path: impl Arg + Copy, flags: OFlags) -> Result<OwnedFd, Code> {
    open_with(root, path, flags, ResolveFlags::empty())
}

/// Opens `path` inside `root`; no part of it may be a link.
pub(crate) fn open_without_links(root: impl AsFd, path: impl Arg + Copy, flags: OFlags) -> Result<OwnedFd, Code> {
    open_with(root, path, flags | OFlags::NOFOLLOW, ResolveFlags::NO_SYMLINKS)
}

fn open_with(root: impl AsFd, path: impl Arg + Copy, flags: OFlags, more: ResolveFlags) -> Result<OwnedFd, Code> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | more;
    let mut tries = 0;
    loop {
        match openat2(root.as_fd(), path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Code::AGAIN | Code::INTR) if tries < TRIES_MAX => tries += 1,
            other => return other,
        }
    }
}
