//! The two ways to open a path: by the kernel's confined lookup, and by our own walk where that is refused.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::{Follow, Walked, components, walk};

/// Whether `openat2` has been found to be missing or forbidden. It only saves the repeated attempt: either way gives the
/// same answer.
static KERNEL_LOOKUP_REFUSED: AtomicBool = AtomicBool::new(false);

/// Attempts before a lookup that keeps racing with renames is given up to the walk.
const RACES_MAX: u32 = 64;

/// Opens `path` inside `root`, following links as if `root` were `/`.
pub(super) fn in_root(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let relative = if path.iter().all(|&byte| byte == b'/') { b"." } else { path };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    match kernel(root, relative, flags, resolve) {
        Err(Errno::NOSYS | Errno::PERM | Errno::NAMETOOLONG | Errno::AGAIN) => by_walk(root, path, flags),
        result => result,
    }
}

/// Opens `path` inside `root`; any link on the way or at the end is an error.
pub(super) fn no_links(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let path = path.strip_prefix(b"/").unwrap_or(path);
    let relative = if path.is_empty() { b"." } else { path };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match kernel(root, relative, flags, resolve) {
        Err(Errno::NOSYS | Errno::PERM | Errno::NAMETOOLONG | Errno::AGAIN) => step_by_step(root, path, flags),
        result => result,
    }
}

fn kernel(root: BorrowedFd<'_>, path: &[u8], flags: OFlags, resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
    if KERNEL_LOOKUP_REFUSED.load(Ordering::Relaxed) {
        return Err(Errno::NOSYS);
    }
    for _ in 0..RACES_MAX {
        match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(Errno::NOSYS) => {
                KERNEL_LOOKUP_REFUSED.store(true, Ordering::Relaxed);
                return Err(Errno::NOSYS);
            }
            result => return result,
        }
    }
    Err(Errno::AGAIN)
}

fn by_walk(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let follow = if flags.contains(OFlags::NOFOLLOW) { Follow::No } else { Follow::Yes };
    let walked = walk(&root, path, follow)?;
    if walked.existing < walked.names.len() || walked.through_missing {
        return Err(Errno::NOENT);
    }
    open_walked(root, &walked, flags)
}

/// Opens where a walk ended. The last name is opened without following a link, whatever has been put there since.
pub(super) fn open_walked(root: BorrowedFd<'_>, walked: &Walked<OwnedFd>, flags: OFlags) -> Result<OwnedFd, Errno> {
    let directory = walked.directory.as_ref().map_or(root, std::os::fd::AsFd::as_fd);
    let name: &[u8] = match walked.names.get(walked.directory_depth) {
        Some(name) => name,
        None => b".",
    };
    rustix::fs::openat(directory, name, flags | OFlags::NOFOLLOW, Mode::empty())
}

fn step_by_step(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let steps = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut directory: Option<OwnedFd> = None;
    let mut parts = components(path).peekable();
    while let Some(part) = parts.next() {
        if part == b".." {
            return Err(Errno::XDEV);
        }
        let here = directory.as_ref().map_or(root, std::os::fd::AsFd::as_fd);
        if parts.peek().is_none() {
            return rustix::fs::openat(here, part, flags | OFlags::NOFOLLOW, Mode::empty());
        }
        directory = Some(rustix::fs::openat(here, part, steps, Mode::empty())?);
    }
    rustix::fs::openat(root, c".", flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::dir::Dir;

    /// Both lookups must agree on every path, else a host without `openat2` would build other images.
    #[test]
    fn the_walk_agrees_with_the_kernel() {
        let temporary = tempfile::tempdir().unwrap();
        let at = |path: &str| temporary.path().join("root").join(path);
        std::fs::create_dir_all(at("a/b/c")).unwrap();
        std::fs::write(at("a/file"), "x").unwrap();
        std::fs::write(temporary.path().join("outside"), "secret").unwrap();
        symlink("/a/b", at("absolute")).unwrap();
        symlink("../../../../../outside", at("a/escape")).unwrap();
        symlink("../..", at("a/b/up")).unwrap();
        symlink("loop", at("loop")).unwrap();
        symlink("/missing/x", at("dangling")).unwrap();
        symlink("file", at("a/to-file")).unwrap();
        let root = Dir::open_ambient(&at("")).unwrap();
        let names =
            ["", "/", ".", "a", "absolute", "escape", "up", "loop", "dangling", "to-file", "file", "..", "b", "c"];
        let mut paths: Vec<String> = Vec::new();
        for first in names {
            for second in names {
                for third in names {
                    paths.push(format!("{first}/{second}/{third}"));
                }
            }
        }
        for path in paths {
            for flags in [OFlags::PATH, OFlags::PATH | OFlags::NOFOLLOW] {
                let stat = |fd: OwnedFd| rustix::fs::fstat(fd).unwrap().st_ino;
                let trimmed = path.trim_end_matches('/').as_bytes();
                let by_kernel = in_root(root.as_fd(), trimmed, flags | OFlags::CLOEXEC).map(stat);
                let walked = by_walk(root.as_fd(), trimmed, flags | OFlags::CLOEXEC).map(stat);
                assert_eq!(by_kernel.ok(), walked.ok(), "{path} {flags:?}");
            }
        }
    }
}
