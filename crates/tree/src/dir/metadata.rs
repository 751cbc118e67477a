//! What is known about a file without opening it.

use std::fmt;

use rustix::fs::{FileType, Stat};

/// What a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A named pipe.
    Pipe,
    /// A socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::File => "a regular file",
            Self::Directory => "a directory",
            Self::Link => "a symbolic link",
            Self::Pipe => "a named pipe",
            Self::Socket => "a socket",
            Self::CharDevice => "a character device",
            Self::BlockDevice => "a block device",
        })
    }
}

/// A point in time: seconds since 1970 (negative before) and nanoseconds that are added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Time {
    /// Whole seconds since 1970, rounded down.
    pub seconds: i64,
    /// Nanoseconds to be added, below 1,000,000,000.
    pub nanoseconds: u32,
}

impl Time {
    pub(crate) fn timestamps(self) -> rustix::fs::Timestamps {
        let time = rustix::fs::Timespec { tv_sec: self.seconds, tv_nsec: i64::from(self.nanoseconds) };
        rustix::fs::Timestamps { last_access: time, last_modification: time }
    }
}

/// What is known about a file without opening it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// What it is.
    pub kind: Kind,
    /// Permission bits with set-user-id, set-group-id and sticky: `0o7777` at most.
    pub mode: u32,
    /// Owner, as this process's user namespace numbers users.
    pub uid: u32,
    /// Group, as this process's user namespace numbers groups.
    pub gid: u32,
    /// Size in bytes; the length of the target for a link.
    pub size: u64,
    /// Bytes of its blocks on disk: fewer than `size` where it has holes.
    pub allocated: u64,
    /// Last change of the content.
    pub modified: Time,
    /// Last change of content or attributes, by the kernel's clock.
    pub changed: Time,
    /// Device of the file system.
    pub device: u64,
    /// Inode number on `device`.
    pub inode: u64,
    /// Number of names the inode has.
    pub links: u64,
    /// For a device node: which device.
    pub rdev: u64,
}

impl Metadata {
    #[allow(
        clippy::unnecessary_cast,
        clippy::cast_lossless,
        clippy::cast_sign_loss,
        clippy::cast_possible_truncation,
        reason = "the fields of `struct stat` differ in width between architectures; values are the kernel's"
    )]
    pub(crate) fn from_stat(stat: &Stat) -> Self {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Link,
            FileType::Fifo => Kind::Pipe,
            FileType::Socket => Kind::Socket,
            FileType::CharacterDevice => Kind::CharDevice,
            FileType::BlockDevice => Kind::BlockDevice,
            FileType::RegularFile | FileType::Unknown => Kind::File,
        };
        Self {
            kind,
            mode: stat.st_mode as u32 & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: stat.st_size as u64,
            allocated: (stat.st_blocks as u64).saturating_mul(512),
            modified: Time { seconds: stat.st_mtime as i64, nanoseconds: stat.st_mtime_nsec as u32 },
            changed: Time { seconds: stat.st_ctime as i64, nanoseconds: stat.st_ctime_nsec as u32 },
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            links: stat.st_nlink as u64,
            rdev: stat.st_rdev as u64,
        }
    }

    /// Tells whether this is how overlayfs notes a deleted name: a character device 0:0.
    #[must_use]
    pub fn is_whiteout(&self) -> bool {
        self.kind == Kind::CharDevice && self.rdev == 0
    }

    /// Tells whether both describe the same inode, and nothing about it has changed in between, not even its attributes or
    /// the number of its names.
    #[must_use]
    pub fn is_unchanged_since(&self, earlier: &Self) -> bool {
        self.has_content_of(earlier) && self.changed == earlier.changed
    }

    /// Tells whether both describe the same inode with the same content, as far as its size and time tell. Files of a layer
    /// get further names at any time, from builds that link them into theirs; that is no change of content.
    #[must_use]
    pub fn has_content_of(&self, earlier: &Self) -> bool {
        self.device == earlier.device
            && self.inode == earlier.inode
            && self.kind == earlier.kind
            && self.size == earlier.size
            && self.modified == earlier.modified
    }
}
