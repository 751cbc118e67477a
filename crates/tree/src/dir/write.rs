//! Creating things in a directory. Every name is created new or replaced, never followed.

use std::fs::File;
use std::io::Write as _;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::{Dir, Metadata, PathError, clean, components, open};
use std::os::fd::AsFd as _;

impl Dir {
    /// Creates the directories of `path` that are missing with mode 0755 and returns the last. Links are followed inside
    /// this directory.
    pub fn create_dir_all(&self, path: &[u8]) -> Result<Self, PathError> {
        let resolved = self.resolve(path)?;
        let mut dir = self.try_clone()?;
        for name in components(&resolved) {
            dir.create_dir(name, 0o755)?;
            dir = dir.open_dir_no_links(name)?;
        }
        Ok(dir)
    }

    /// Creates the directory `name` in this very directory unless a directory of that name is there; says whether it did.
    pub fn create_dir(&self, name: &[u8], mode: u32) -> Result<bool, PathError> {
        match rustix::fs::mkdirat(self, name, Mode::from_raw_mode(mode)) {
            Ok(()) => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                open::no_links(self.as_fd(), name, flags)
                    .and_then(|fd| rustix::fs::fchmod(fd, Mode::from_raw_mode(mode)))
                    .map_err(|source| PathError::io("set the mode of", name, source))?;
                Ok(true)
            }
            Err(Errno::EXIST) => Ok(false),
            Err(source) => Err(PathError::io("create directory", name, source)),
        }
    }

    /// Creates the file `name` in this very directory for writing. It must not exist.
    pub fn create_file(&self, name: &[u8], mode: u32) -> Result<File, PathError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(self, name, flags, Mode::from_raw_mode(mode))
            .map_err(|source| PathError::io("create", name, source))?;
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode))
            .map_err(|source| PathError::io("set the mode of", name, source))?;
        Ok(File::from(fd))
    }

    /// Puts a file with these bytes at `name` in this very directory, in one step: whoever opens it sees the old bytes or
    /// the new ones.
    pub fn replace_file(&self, name: &[u8], bytes: &[u8], mode: u32) -> Result<(), PathError> {
        let mut temporary = name.to_vec();
        temporary.extend_from_slice(format!(".{}.new", rustix::process::getpid().as_raw_nonzero()).as_bytes());
        self.remove_tree(&temporary)?;
        let mut file = self.create_file(&temporary, mode)?;
        file.write_all(bytes).map_err(|source| PathError::io("write", name, source))?;
        drop(file);
        self.rename(&temporary, self, name)
    }

    /// Creates the symbolic link `name` in this very directory. It must not exist.
    pub fn symlink(&self, target: &[u8], name: &[u8]) -> Result<(), PathError> {
        rustix::fs::symlinkat(target, self, name).map_err(|source| PathError::io("create link", name, source))
    }

    /// Renames `name` of this very directory to `new_name` of `new_dir`, replacing a file that is there.
    pub fn rename(&self, name: &[u8], new_dir: &Self, new_name: &[u8]) -> Result<(), PathError> {
        rustix::fs::renameat(self, name, new_dir, new_name).map_err(|source| PathError::io("rename", name, source))
    }

    /// Deletes `name` of this very directory, which must not be a directory. Nothing there is no error.
    pub fn remove_file(&self, name: &[u8]) -> Result<(), PathError> {
        match rustix::fs::unlinkat(self, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(source) => Err(PathError::io("delete", name, source)),
        }
    }

    /// Returns what is known about `name` of this very directory, or nothing if there is no such name.
    pub fn child(&self, name: &[u8]) -> Result<Option<Metadata>, PathError> {
        match rustix::fs::statat(self, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(Metadata::from_stat(&stat))),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(source) => Err(PathError::io("examine", name, source)),
        }
    }

    /// Returns the directory that `path` is in, links followed, and its last name. Nothing for the root itself.
    pub fn open_parent(&self, path: &[u8]) -> Result<Option<(Self, Vec<u8>)>, PathError> {
        let cleaned = clean(path);
        if cleaned.is_empty() {
            return Ok(None);
        }
        let (parent, name) = match cleaned.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => (&cleaned[..slash], &cleaned[slash + 1..]),
            None => (&b""[..], &cleaned[..]),
        };
        Ok(Some((self.open_dir(parent)?, name.to_vec())))
    }
}
