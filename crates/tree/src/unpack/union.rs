//! A layer and the tree below it, seen as one for the purpose of following a path.

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::AtFlags;
use rustix::io::Errno;

use crate::dir::{Child, Dir, Metadata, Place};
use crate::layers::{Layers, Stack};

/// The same directory in the layer and in the tree below it, as far as each has it.
pub(super) struct Union {
    upper: Option<OwnedFd>,
    lower: Option<Stack>,
}

impl Union {
    /// Returns the root of `layer` on top of `below`.
    pub(super) fn new(layer: &Dir, below: Option<&Layers>) -> Result<Self, Errno> {
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
        let upper = rustix::fs::openat(layer, c".", flags, rustix::fs::Mode::empty())?;
        Ok(Self { upper: Some(upper), lower: below.map(|below| below.root().clone()) })
    }
}

impl Place for Union {
    type Below = Self;

    fn child(&self, name: &[u8]) -> Result<Child<Self>, Errno> {
        let lower = || match &self.lower {
            Some(lower) => Place::child(lower, name),
            None => Ok(Child::Missing),
        };
        let Some(upper) = &self.upper else { return Ok(below(lower()?)) };
        match upper.child(name)? {
            Child::Directory(upper) => {
                let lower = match lower()? {
                    Child::Directory(lower) => Some(lower),
                    Child::Link(_) | Child::Other | Child::Missing => None,
                };
                Ok(Child::Directory(Self { upper: Some(upper), lower }))
            }
            Child::Link(target) => Ok(Child::Link(target)),
            Child::Other => {
                let stat = rustix::fs::statat(upper.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW)?;
                Ok(if Metadata::from_stat(&stat).is_whiteout() { Child::Missing } else { Child::Other })
            }
            Child::Missing => Ok(below(lower()?)),
        }
    }
}

fn below(child: Child<Stack>) -> Child<Union> {
    match child {
        Child::Directory(lower) => Child::Directory(Union { upper: None, lower: Some(lower) }),
        Child::Link(target) => Child::Link(target),
        Child::Other => Child::Other,
        Child::Missing => Child::Missing,
    }
}
