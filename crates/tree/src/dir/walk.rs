//! Resolving a path component by component, for whatever answers "what is this name here?".
//!
//! The kernel does this faster (`openat2`); this walk is for kernels and sandboxes that refuse it, for paths longer than
//! the kernel takes in one call, for paths whose end does not exist yet, and for two trees seen as one.

use std::collections::VecDeque;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::Follow;
use crate::limits::{LINKS_FOLLOWED_MAX, NAME_BYTES_MAX};

/// What a name is in a directory.
pub(crate) enum Child<P> {
    /// A directory, opened.
    Directory(P),
    /// A symbolic link and where it points.
    Link(Vec<u8>),
    /// Anything else that exists.
    Other,
    /// There is no such name.
    Missing,
}

/// A directory in which names can be looked up without ever following a link.
pub(crate) trait Place {
    /// An opened directory below.
    type Below: Place<Below = Self::Below>;

    /// Says what `name`, a single component and not `..`, is here.
    fn child(&self, name: &[u8]) -> Result<Child<Self::Below>, Errno>;
}

fn child_of(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Child<OwnedFd>, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(dir, name, flags, Mode::empty()) {
        Ok(fd) => Ok(Child::Directory(fd)),
        Err(Errno::NOENT) => Ok(Child::Missing),
        Err(Errno::NOTDIR | Errno::LOOP) => {
            let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
                return Ok(Child::Other);
            }
            Ok(Child::Link(rustix::fs::readlinkat(dir, name, Vec::new())?.into_bytes()))
        }
        Err(error) => Err(error),
    }
}

impl Place for BorrowedFd<'_> {
    type Below = OwnedFd;

    fn child(&self, name: &[u8]) -> Result<Child<OwnedFd>, Errno> {
        child_of(*self, name)
    }
}

impl Place for OwnedFd {
    type Below = Self;

    fn child(&self, name: &[u8]) -> Result<Child<Self>, Errno> {
        child_of(self.as_fd(), name)
    }
}

/// Where a walk ended.
pub(crate) struct Walked<B> {
    /// The components of the resolved path.
    pub(crate) names: Vec<Vec<u8>>,
    /// How many of them exist.
    pub(crate) existing: usize,
    /// The last directory on the way that exists; nothing when that is the root itself.
    pub(crate) directory: Option<B>,
    /// How many of the names lead to `directory`.
    pub(crate) directory_depth: usize,
    /// Whether the path went on after a name that does not exist and came back (`missing/..`): the kernel refuses that.
    pub(crate) through_missing: bool,
    /// The link that was not followed because it is at the end and [`Follow::No`] was asked for.
    pub(crate) link: Option<Vec<u8>>,
}

impl<B> Walked<B> {
    fn at_root() -> Self {
        Self { names: Vec::new(), existing: 0, directory: None, directory_depth: 0, through_missing: false, link: None }
    }

    /// The resolved path: absolute, without a final `/`, `/` alone for the root.
    pub(crate) fn path(&self) -> Vec<u8> {
        let mut path = vec![b'/'];
        path.extend_from_slice(&self.names.join(&b'/'));
        path
    }
}

/// Stands after the components of a link that ends in a slash: what is there must be a directory, if it is there.
/// No component is this.
const DIRECTORY: &[u8] = b"/";

/// Returns the components of `path`, `.` and `..` among them.
fn parts(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/').filter(|part| !part.is_empty())
}

/// Walks `path` from `root`. A name that does not exist ends the search, and what follows is taken as it is written.
pub(crate) fn walk<P: Place>(root: &P, path: &[u8], follow: Follow) -> Result<Walked<P::Below>, Errno> {
    let mut todo: VecDeque<Vec<u8>> = parts(path).map(<[u8]>::to_vec).collect();
    let mut walked = Walked::at_root();
    let mut links_followed = 0;
    while let Some(name) = todo.pop_front() {
        if name == b"." || name == b".." {
            walked.through_missing |= walked.existing < walked.names.len();
        }
        if name == b"." || name == DIRECTORY {
            if walked.existing == walked.names.len() && walked.directory_depth < walked.names.len() {
                return Err(Errno::NOTDIR);
            }
            continue;
        }
        if name == b".." {
            step_up(root, &mut walked)?;
            continue;
        }
        if name.len() > NAME_BYTES_MAX {
            return Err(Errno::NAMETOOLONG);
        }
        if walked.existing < walked.names.len() {
            walked.names.push(name);
            continue;
        }
        if walked.directory_depth < walked.names.len() {
            return Err(Errno::NOTDIR);
        }
        let child = match &walked.directory {
            Some(directory) => directory.child(&name)?,
            None => root.child(&name)?,
        };
        match child {
            Child::Directory(directory) => {
                walked.names.push(name);
                walked.existing += 1;
                walked.directory = Some(directory);
                walked.directory_depth += 1;
            }
            Child::Link(target) if !(todo.is_empty() && follow == Follow::No) => {
                links_followed += 1;
                if links_followed > LINKS_FOLLOWED_MAX {
                    return Err(Errno::LOOP);
                }
                if target.starts_with(b"/") {
                    walked = Walked { through_missing: walked.through_missing, ..Walked::at_root() };
                }
                if target.ends_with(b"/") {
                    todo.push_front(DIRECTORY.to_vec());
                }
                for part in parts(&target).rev() {
                    todo.push_front(part.to_vec());
                }
            }
            Child::Link(target) => {
                walked.names.push(name);
                walked.existing += 1;
                walked.link = Some(target);
            }
            Child::Other => {
                walked.names.push(name);
                walked.existing += 1;
            }
            Child::Missing => walked.names.push(name),
        }
    }
    Ok(walked)
}

/// Goes to the parent: by text when already beyond what exists, else by walking down from the root again, so that only
/// one descriptor is open however deep the path is.
fn step_up<P: Place>(root: &P, walked: &mut Walked<P::Below>) -> Result<(), Errno> {
    if walked.names.pop().is_none() || walked.existing <= walked.names.len() {
        return Ok(());
    }
    walked.existing = walked.names.len();
    if walked.directory_depth <= walked.names.len() {
        return Err(Errno::NOTDIR);
    }
    walked.directory = None;
    walked.directory_depth = 0;
    for name in &walked.names {
        let child = match &walked.directory {
            Some(directory) => directory.child(name)?,
            None => root.child(name)?,
        };
        let Child::Directory(directory) = child else { return Err(Errno::NOTDIR) };
        walked.directory = Some(directory);
        walked.directory_depth += 1;
    }
    Ok(())
}
