//! A little space of our own, so that a full disk can be cleared: deleting needs a transaction, and that needs space.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::error::{ContainerError, ImageError, StoreError};
use crate::layout;
use crate::store::Store;

/// Enough for the write-ahead log of a large removal.
const BYTES: usize = 2 << 20;

/// Errors that may mean that the disk is full.
pub(crate) trait MayLackSpace {
    fn lacks_space(&self) -> bool;
}

impl MayLackSpace for StoreError {
    fn lacks_space(&self) -> bool {
        matches!(self, Self::NoSpace { .. })
    }
}

impl MayLackSpace for ImageError {
    fn lacks_space(&self) -> bool {
        matches!(self, Self::Store(error) if error.lacks_space())
    }
}

impl MayLackSpace for ContainerError {
    fn lacks_space(&self) -> bool {
        matches!(self, Self::Store(error) if error.lacks_space())
    }
}

/// Does work that frees space. If the disk is too full for it, gives up the reserve, tries once more, and fills the
/// reserve again as far as there is space.
pub(crate) fn or_use<T, E: MayLackSpace>(store: &Store, mut work: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    match work() {
        Err(error) if error.lacks_space() => {
            if std::fs::remove_file(store.path(layout::RESERVE)).is_err() {
                return Err(error);
            }
            let result = work();
            // Without a reserve the store works as well; the next full disk is harder to clear.
            drop(fill(store.root()));
            result
        }
        result => result,
    }
}

/// Makes the reserve that was used up on a full disk, once there is space again, and not out of the last of it.
pub(crate) fn fill_again(root: &Path) {
    if root.join(layout::RESERVE).exists() {
        return;
    }
    if rustix::fs::statvfs(root).is_ok_and(|space| space.f_bavail * space.f_frsize > 4 * BYTES as u64) {
        // Without a reserve the store works as well.
        drop(fill(root));
    }
}

/// Makes the reserve, unless it is there. A disk without that much space is no error.
pub(crate) fn fill(root: &Path) -> Result<(), StoreError> {
    let path = root.join(layout::RESERVE);
    let mut file = match File::options().write(true).create_new(true).mode(0o600).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => return Err(StoreError::io("create", &path, error)),
    };
    // Written, not allocated: not every file system can do that, and one that compresses may cheat here.
    if file.write_all(&vec![0; BYTES]).is_err() {
        std::fs::remove_file(&path).map_err(|error| StoreError::io("delete", &path, error))?;
    }
    Ok(())
}
