//! Listing a directory with as few system calls as the kernel allows.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, RawDir};
use rustix::io::Errno;

/// Bytes of directory entries fetched by one system call.
const BUFFER_BYTES: usize = 32 * 1024;

/// A name as the directory itself tells it.
pub(crate) struct Listed<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) file_type: FileType,
}

/// Calls `each` for every name in the directory, `.` and `..` left out, in the directory's own order.
pub(crate) fn for_each_name<E: From<Errno>>(
    dir: impl AsFd,
    mut each: impl FnMut(Listed<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut buffer = vec![MaybeUninit::<u8>::uninit(); BUFFER_BYTES];
    let mut entries = RawDir::new(dir, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            each(Listed { name, file_type: entry.file_type() })?;
        }
    }
    Ok(())
}

/// Returns the names in the directory, sorted.
pub(super) fn names(dir: &OwnedFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = Vec::new();
    rustix::fs::seek(dir, rustix::fs::SeekFrom::Start(0))?;
    for_each_name(dir, |listed| -> Result<(), Errno> {
        names.push(listed.name.to_vec());
        Ok(())
    })?;
    names.sort_unstable();
    Ok(names)
}
