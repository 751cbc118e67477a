//! Deleting trees without following links or crossing into other file systems.

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::{Dir, PathError, join, list};

impl Dir {
    /// Deletes `name`, a name in this very directory, and all below it. Nothing there is no error. A link is deleted, not
    /// followed; a directory on another file system (a mount) is an error and stays.
    pub fn remove_tree(&self, name: &[u8]) -> Result<(), PathError> {
        let device = self.own_metadata()?.device;
        if name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') {
            return Err(PathError::io("delete", name, Errno::INVAL));
        }
        remove(self, name, device)
    }

    /// Deletes all that is in this directory, which itself stays.
    pub fn remove_contents(&self) -> Result<(), PathError> {
        let device = self.own_metadata()?.device;
        let opened = self.open_dir(b"")?;
        for name in list::names(&opened.fd).map_err(|source| PathError::io("list", b"", source))? {
            remove(&opened, &name, device)?;
        }
        Ok(())
    }
}

/// Deletes `name` of `parent` and all below it. Directories are opened from `parent` again on the way back up, so that
/// only one is open at a time, however deep they are.
fn remove(parent: &Dir, name: &[u8], device: u64) -> Result<(), PathError> {
    if unlinked(parent, name).map_err(|source| PathError::io("delete", name, source))? {
        return Ok(());
    }
    // The path of the directory that is being emptied, and the names that are left in it and in those above.
    let mut path = name.to_vec();
    let mut levels = vec![open_directory(parent, &path, device)?.1];
    while let Some(names) = levels.last_mut() {
        let (above, last) = crate::copy::split(&path);
        let Some(child) = names.pop() else {
            levels.pop();
            let above_dir = parent.open_dir_no_links(above)?;
            match rustix::fs::unlinkat(&above_dir, last, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(source) => return Err(PathError::io("delete", &path, source)),
            }
            path = above.to_vec();
            continue;
        };
        let dir = parent.open_dir_no_links(&path)?;
        let mut left = vec![child];
        left.append(names);
        while let Some(child) = left.pop() {
            let below = join(&path, &child);
            if unlinked(&dir, &child).map_err(|source| PathError::io("delete", &below, source))? {
                continue;
            }
            let (_, children) = open_directory(parent, &below, device)?;
            *names = left;
            path = below;
            levels.push(children);
            break;
        }
    }
    Ok(())
}

/// Deletes what is not a directory, or is an empty one; says no if it is neither.
fn unlinked(parent: &Dir, name: &[u8]) -> Result<bool, Errno> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(true),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(source) => return Err(source),
    }
    match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
        Err(source) => Err(source),
    }
}

/// Opens a directory that is to be emptied and lists it.
fn open_directory(root: &Dir, path: &[u8], device: u64) -> Result<(Dir, Vec<Vec<u8>>), PathError> {
    let (above, name) = crate::copy::split(path);
    let failed = |source: Errno| PathError::io("delete", path, source);
    let above = root.open_dir_no_links(above)?;
    let dir = open_same_device(&above, name, device).map_err(failed)?;
    let names = list::names(&dir.fd).map_err(failed)?;
    Ok((dir, names))
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
