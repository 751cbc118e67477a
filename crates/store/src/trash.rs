//! Deleting: a rename into `trash`, then a walk by descriptors that follows no link and crosses no mount.
//!
//! Several processes may empty the trash at once: what another one has deleted is no error.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, StatxFlags};
use rustix::io::Errno;

use crate::error::StoreError;
use crate::id::random_bytes;
use crate::layout::TRASH;

/// Directories that are open at once while one tree is deleted. Deeper ones are first moved up.
const DEPTH_MAX: usize = 64;

/// A name in the trash that nothing else has.
fn fresh_name() -> Result<CString, StoreError> {
    Ok(CString::new(stave_oci::digest::hex(&random_bytes::<12>()?)).expect("hexadecimal digits have no zero byte"))
}

/// Renames `path` (below `root`) into the trash. Returns its name there, if it was there to be renamed.
pub(crate) fn discard(root: &Path, path: &str) -> Result<Option<CString>, StoreError> {
    let name = fresh_name()?;
    match std::fs::rename(root.join(path), root.join(TRASH).join(name.to_string_lossy().as_ref())) {
        Ok(()) => Ok(Some(name)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::io("move to the trash", root.join(path), error)),
    }
}

/// Deletes one thing in the trash, and nothing that others put there.
pub(crate) fn delete(root: &Path, name: &CStr) -> Result<(), StoreError> {
    let (trash, path) = open(root)?;
    let stat = rustix::fs::statat(&trash, name, AtFlags::SYMLINK_NOFOLLOW);
    let is_directory = stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
    Sweep { trash: trash.as_fd(), path, freed: 0, moved: Vec::new() }.delete_whole(name, is_directory)
}

/// Deletes everything in the trash. Returns how many bytes that gave back to the disk.
pub(crate) fn empty(root: &Path) -> Result<u64, StoreError> {
    let (trash, path) = open(root)?;
    let mut sweep = Sweep { trash: trash.as_fd(), path, freed: 0, moved: Vec::new() };
    loop {
        let names = sweep.names(trash.as_fd())?;
        if names.is_empty() {
            return Ok(sweep.freed);
        }
        for (name, is_directory) in names {
            sweep.delete_whole(&name, is_directory)?;
        }
    }
}

fn open(root: &Path) -> Result<(OwnedFd, PathBuf), StoreError> {
    let path = root.join(TRASH);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let trash = rustix::fs::openat(CWD, &path, flags, Mode::empty());
    Ok((trash.map_err(|error| StoreError::io("open", &path, error))?, path))
}

struct Sweep<'t> {
    trash: BorrowedFd<'t>,
    path: PathBuf,
    freed: u64,
    /// Deep directories that were moved to the top.
    moved: Vec<CString>,
}

impl Sweep<'_> {
    /// Deletes one thing at the top, with whatever was moved there on the way.
    fn delete_whole(&mut self, name: &CStr, is_directory: bool) -> Result<(), StoreError> {
        self.delete(self.trash, name, is_directory, 0)?;
        while let Some(moved) = self.moved.pop() {
            self.delete(self.trash, &moved, true, 0)?;
        }
        Ok(())
    }

    fn delete(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &CStr,
        is_directory: bool,
        depth: usize,
    ) -> Result<(), StoreError> {
        if !is_directory {
            return self.delete_file(parent, name);
        }
        if depth >= DEPTH_MAX {
            let top = fresh_name()?;
            let moved = rustix::fs::renameat(parent, name, self.trash, &top);
            self.moved.extend(self.gone_is_fine("move", name, moved)?.map(|()| top));
            return Ok(());
        }
        let Some(directory) = self.open_directory(parent, name)? else { return Ok(()) };
        for (entry, is_directory) in self.names(directory.as_fd())? {
            self.delete(directory.as_fd(), &entry, is_directory, depth + 1)?;
        }
        drop(directory);
        match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
            // Another process deletes the same tree, and has just moved something deep to the top: it goes on with it.
            Err(Errno::NOTEMPTY | Errno::NOENT) | Ok(()) => Ok(()),
            Err(error) => Err(self.fault("delete", name, error)),
        }
    }

    fn delete_file(&mut self, parent: BorrowedFd<'_>, name: &CStr) -> Result<(), StoreError> {
        let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW);
        let Some(stat) = self.gone_is_fine("read the metadata of", name, stat)? else { return Ok(()) };
        let deleted = rustix::fs::unlinkat(parent, name, AtFlags::empty());
        if self.gone_is_fine("delete", name, deleted)?.is_some() && stat.st_nlink == 1 {
            self.freed += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
        }
        Ok(())
    }

    fn open_directory(&self, parent: BorrowedFd<'_>, name: &CStr) -> Result<Option<OwnedFd>, StoreError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(parent, name, flags, Mode::empty());
        let Some(directory) = self.gone_is_fine("open", name, opened)? else { return Ok(None) };
        let stat = rustix::fs::statx(&directory, c"", AtFlags::EMPTY_PATH, StatxFlags::TYPE)
            .map_err(|error| self.fault("read the metadata of", name, error))?;
        if stat.stx_attributes.contains(rustix::fs::StatxAttributes::MOUNT_ROOT) {
            return Err(StoreError::MountPoint { path: self.shown(name) });
        }
        Ok(Some(directory))
    }

    fn names(&self, directory: BorrowedFd<'_>) -> Result<Vec<(CString, bool)>, StoreError> {
        let fault = |error| StoreError::io("list", &self.path, error);
        let mut names = Vec::new();
        for entry in Dir::read_from(directory).map_err(fault)? {
            let entry = match entry {
                Ok(entry) => entry,
                // The directory was deleted by another process in the meantime.
                Err(Errno::NOENT) => break,
                Err(error) => return Err(fault(error)),
            };
            if matches!(entry.file_name().to_bytes(), b"." | b"..") {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => rustix::fs::statat(directory, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)
                    .map_or(FileType::Unknown, |stat| FileType::from_raw_mode(stat.st_mode)),
                known => known,
            };
            names.push((entry.file_name().to_owned(), kind == FileType::Directory));
        }
        Ok(names)
    }

    fn gone_is_fine<T>(
        &self,
        action: &'static str,
        name: &CStr,
        result: Result<T, Errno>,
    ) -> Result<Option<T>, StoreError> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(self.fault(action, name, error)),
        }
    }

    fn fault(&self, action: &'static str, name: &CStr, error: Errno) -> StoreError {
        StoreError::io(action, self.shown(name), error)
    }

    fn shown(&self, name: &CStr) -> PathBuf {
        self.path.join(name.to_string_lossy().as_ref())
    }
}
