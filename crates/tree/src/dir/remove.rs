//! Deleting trees without following links or crossing into other file systems.

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::{Dir, PathError, join, list};
use crate::limits::DEPTH_MAX;

impl Dir {
    /// Deletes `name`, a name in this very directory, and all below it. Nothing there is no error. A link is deleted, not
    /// followed; a directory on another file system (a mount) is an error and stays.
    pub fn remove_tree(&self, name: &[u8]) -> Result<(), PathError> {
        let device = self.own_metadata()?.device;
        if name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') {
            return Err(PathError::io("delete", name, Errno::INVAL));
        }
        remove(self, name, name, device, 0)
    }

    /// Deletes all that is in this directory, which itself stays.
    pub fn remove_contents(&self) -> Result<(), PathError> {
        let device = self.own_metadata()?.device;
        let opened = self.open_dir(b"")?;
        for name in list::names(&opened.fd).map_err(|source| PathError::io("list", b"", source))? {
            remove(&opened, &name, &name, device, 0)?;
        }
        Ok(())
    }
}

fn remove(parent: &Dir, name: &[u8], path: &[u8], device: u64, depth: usize) -> Result<(), PathError> {
    let failed = |source: Errno| PathError::io("delete", path, source);
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(source) => return Err(failed(source)),
    }
    match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTEMPTY | Errno::EXIST) => {}
        Err(source) => return Err(failed(source)),
    }
    if depth > DEPTH_MAX {
        return Err(failed(Errno::NAMETOOLONG));
    }
    let dir = open_same_device(parent, name, device).map_err(failed)?;
    for child in list::names(&dir.fd).map_err(failed)? {
        remove(&dir, &child, &join(path, &child), device, depth + 1)?;
    }
    drop(dir);
    match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(source) => Err(failed(source)),
    }
}

fn open_same_device(parent: &Dir, name: &[u8], device: u64) -> Result<Dir, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd: OwnedFd = match rustix::fs::openat(parent, name, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            // A directory of ours without read permission, as a step may leave it for a user who is not root.
            let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                return Err(Errno::NOTDIR);
            }
            rustix::fs::chmodat(parent, name, Mode::RWXU, AtFlags::SYMLINK_NOFOLLOW)?;
            rustix::fs::openat(parent, name, flags, Mode::empty())?
        }
        result => result?,
    };
    let stat = rustix::fs::fstat(fd.as_fd())?;
    if super::Metadata::from_stat(&stat).device != device {
        return Err(Errno::XDEV);
    }
    Ok(Dir::from_fd(fd))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_deleted_and_not_followed() {
        let temporary = tempfile::tempdir().unwrap();
        let victim = temporary.path().join("victim");
        std::fs::create_dir_all(victim.join("kept")).unwrap();
        let tree = temporary.path().join("root/tree/deep/er");
        std::fs::create_dir_all(&tree).unwrap();
        symlink(&victim, tree.join("link")).unwrap();
        std::fs::write(tree.join("file"), "x").unwrap();
        let root = Dir::open_ambient(&temporary.path().join("root")).unwrap();
        root.remove_tree(b"tree").unwrap();
        root.remove_tree(b"tree").unwrap();
        assert!(!root.exists(b"tree").unwrap());
        assert!(victim.join("kept").is_dir());
    }

    #[test]
    fn only_a_name_of_this_directory_is_deleted() {
        let temporary = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(temporary.path().join("root")).unwrap();
        std::fs::create_dir_all(temporary.path().join("victim")).unwrap();
        let root = Dir::open_ambient(&temporary.path().join("root")).unwrap();
        for name in ["..", ".", "", "../victim", "a/../../victim"] {
            assert!(root.remove_tree(name.as_bytes()).is_err(), "{name}");
        }
        assert!(temporary.path().join("victim").is_dir());
    }
}
