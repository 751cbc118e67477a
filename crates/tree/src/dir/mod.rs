//! Open directories that paths cannot leave.
//!
//! Turns a path of bytes into an open descriptor, reading every symbolic link as if the directory were `/`: absolute
//! links and `..` stay inside. It does not know what the files mean, and it never works with a host path again once
//! the directory is open.

mod attributes;
mod list;
mod metadata;
mod open;
mod remove;
mod walk;
mod write;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

pub use attributes::{Xattr, kept_xattr};
pub(crate) use attributes::{list_xattrs, set_xattr, xattr_names};
pub(crate) use list::for_each_name;
pub use metadata::{Kind, Metadata, Time};
pub(crate) use walk::{Child, Place, Walked, walk};

/// A path operation inside a directory that failed.
#[derive(Debug, thiserror::Error)]
pub enum PathError {
    /// The kernel refused.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried, as a verb: `open`, `list`.
        action: &'static str,
        /// The path, inside the directory.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A regular file was needed.
    #[error("`{}` is {kind}, not a regular file", path.display())]
    NotRegular {
        /// The path, inside the directory.
        path: PathBuf,
        /// What it is instead.
        kind: Kind,
    },
    /// A file is larger than the reader allows.
    #[error("`{}` is larger than {limit} bytes", path.display())]
    TooLarge {
        /// The path, inside the directory.
        path: PathBuf,
        /// The most that would have been read.
        limit: u64,
    },
}

impl PathError {
    /// Returns the error for `action` on `path`.
    pub(crate) fn io(action: &'static str, path: &[u8], source: impl Into<io::Error>) -> Self {
        Self::Io { action, path: shown(path), source: source.into() }
    }

    /// Tells whether a path that must have no links in it leads to no directory: it is missing, a file or a link.
    pub(crate) fn is_no_directory(&self) -> bool {
        match self {
            Self::Io { source, .. } => {
                self.is_not_found() || source.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
            }
            Self::NotRegular { .. } | Self::TooLarge { .. } => false,
        }
    }

    /// Tells whether the path, or a directory on the way to it, does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::Io { source, .. } => {
                matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
            }
            Self::NotRegular { .. } | Self::TooLarge { .. } => false,
        }
    }
}

/// Returns `path` as errors carry it.
pub(crate) fn shown(path: &[u8]) -> PathBuf {
    if path.is_empty() { PathBuf::from("/") } else { PathBuf::from(OsStr::from_bytes(path)) }
}

/// Whether a symbolic link at the end of a path is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// The link's target is meant.
    Yes,
    /// The link itself is meant.
    No,
}

/// An open directory that no path given to it can leave.
///
/// A path is bytes, relative to the directory whether or not it starts with `/`. Symbolic links on the way are followed
/// as if the directory were the root of the file system.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
}

impl Dir {
    /// Opens the directory at a host path. This is the one place where a host path comes in; the caller vouches for it.
    pub fn open_ambient(path: &Path) -> Result<Self, PathError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|source| PathError::io("open directory", path.as_os_str().as_bytes(), source))?;
        Ok(Self { fd })
    }

    /// Returns the directory behind `fd`, which must be an open directory.
    #[must_use]
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// Returns the descriptor, which the caller now owns.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// Returns a second handle on the same directory.
    pub fn try_clone(&self) -> Result<Self, PathError> {
        let fd = self.fd.try_clone().map_err(|source| PathError::io("duplicate", b"", source))?;
        Ok(Self { fd })
    }

    /// Opens a directory; links are followed inside this one.
    pub fn open_dir(&self, path: &[u8]) -> Result<Self, PathError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        open::in_root(self.fd.as_fd(), path, flags)
            .map(Self::from_fd)
            .map_err(|source| PathError::io("open directory", path, source))
    }

    /// Opens a directory; links on the way are followed, but a link at the end is an error.
    pub fn open_dir_nofollow_last(&self, path: &[u8]) -> Result<Self, PathError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        open::in_root(self.fd.as_fd(), path, flags)
            .map(Self::from_fd)
            .map_err(|source| PathError::io("open directory", path, source))
    }

    /// Opens a directory by a path whose every component must be a real directory.
    pub fn open_dir_no_links(&self, path: &[u8]) -> Result<Self, PathError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        open::no_links(self.fd.as_fd(), path, flags)
            .map(Self::from_fd)
            .map_err(|source| PathError::io("open directory", path, source))
    }

    /// Opens a regular file for reading. Anything else (a pipe, a device) is an error, and opening it does not block.
    pub fn open_file(&self, path: &[u8]) -> Result<File, PathError> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = open::in_root(self.fd.as_fd(), path, flags).map_err(|source| PathError::io("open", path, source))?;
        regular(fd, path)
    }

    /// Opens the regular file `name` of this very directory for reading; a link is an error.
    pub fn open_file_here(&self, name: &[u8]) -> Result<File, PathError> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, name, flags, Mode::empty())
            .map_err(|source| PathError::io("open", name, source))?;
        regular(fd, name)
    }

    /// Returns the bytes of a regular file that has at most `limit` of them.
    pub fn read_file(&self, path: &[u8], limit: u64) -> Result<Vec<u8>, PathError> {
        let file = self.open_file(path)?;
        let mut bytes = Vec::new();
        file.take(limit.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|source| PathError::io("read", path, source))?;
        if bytes.len() as u64 > limit {
            return Err(PathError::TooLarge { path: shown(path), limit });
        }
        Ok(bytes)
    }

    /// Returns what is known about a path without opening it for reading.
    pub fn metadata(&self, path: &[u8], follow: Follow) -> Result<Metadata, PathError> {
        let mut flags = OFlags::PATH | OFlags::CLOEXEC;
        if follow == Follow::No {
            flags |= OFlags::NOFOLLOW;
        }
        let fd = open::in_root(self.fd.as_fd(), path, flags).map_err(|source| PathError::io("find", path, source))?;
        let stat = rustix::fs::fstat(&fd).map_err(|source| PathError::io("examine", path, source))?;
        Ok(Metadata::from_stat(&stat))
    }

    /// Returns what is known about the directory itself.
    pub fn own_metadata(&self) -> Result<Metadata, PathError> {
        let stat = rustix::fs::fstat(&self.fd).map_err(|source| PathError::io("examine", b"", source))?;
        Ok(Metadata::from_stat(&stat))
    }

    /// Tells whether `path` exists, without following a link at its end.
    pub fn exists(&self, path: &[u8]) -> Result<bool, PathError> {
        match self.metadata(path, Follow::No) {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Returns the target of the symbolic link at `path`, as it is written.
    pub fn read_link(&self, path: &[u8]) -> Result<Vec<u8>, PathError> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        open::in_root(self.fd.as_fd(), path, flags)
            .and_then(|fd| rustix::fs::readlinkat(fd, c"", Vec::new()))
            .map(std::ffi::CString::into_bytes)
            .map_err(|source| PathError::io("read link", path, source))
    }

    /// Returns the absolute path inside this directory that `path` means: the links of the part that exists are
    /// followed (also one at the end), the rest is appended as it is written. The result has no `.`, `..` or final `/`.
    pub fn resolve(&self, path: &[u8]) -> Result<Vec<u8>, PathError> {
        let walked = walk(&self.as_fd(), path, Follow::Yes).map_err(|source| PathError::io("resolve", path, source))?;
        Ok(walked.path())
    }

    /// Returns the entries of the directory at `path`, sorted by name. Links in `path` are followed.
    pub fn list(&self, path: &[u8]) -> Result<Vec<Entry>, PathError> {
        let dir = self.open_dir(path)?;
        let mut entries = Vec::new();
        for name in list::names(&dir.fd).map_err(|source| PathError::io("list", path, source))? {
            let stat = match rustix::fs::statat(&dir.fd, &name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(rustix::io::Errno::NOENT) => continue,
                Err(source) => return Err(PathError::io("examine", &join(path, &name), source)),
            };
            entries.push(Entry { name, metadata: Metadata::from_stat(&stat) });
        }
        Ok(entries)
    }
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name, without any path.
    pub name: Vec<u8>,
    /// What it is; a link is not followed.
    pub metadata: Metadata,
}

impl Entry {
    /// Returns the name as the operating system's string.
    #[must_use]
    pub fn os_name(&self) -> std::ffi::OsString {
        std::ffi::OsString::from_vec(self.name.clone())
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn regular(fd: OwnedFd, path: &[u8]) -> Result<File, PathError> {
    let stat = rustix::fs::fstat(&fd).map_err(|source| PathError::io("examine", path, source))?;
    match Metadata::from_stat(&stat).kind {
        Kind::File => Ok(File::from(fd)),
        kind => Err(PathError::NotRegular { path: shown(path), kind }),
    }
}

/// Returns `name` in the directory `path`.
pub(crate) fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    let mut joined = Vec::with_capacity(path.len() + 1 + name.len());
    joined.extend_from_slice(path);
    if !path.is_empty() && !path.ends_with(b"/") {
        joined.push(b'/');
    }
    joined.extend_from_slice(name);
    joined
}

/// Returns the components of `path` without empty ones and `.`; `..` is kept.
pub(crate) fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/').filter(|part| !part.is_empty() && *part != b".")
}

/// Returns `path` with `.`, `..` and repeated `/` worked out by text alone, relative and never above its start.
#[must_use]
pub fn clean(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in components(path) {
        if part == b".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts.join(&b'/')
}
