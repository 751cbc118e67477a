//! The constant lowest layer: the empty places on which a step's file systems and files are mounted.
//!
//! With them below every snapshot, a step's own layer never gets a mount point that nobody asked for.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::error::StoreError;
use crate::id::random_bytes;
use crate::layout;

const DIRECTORIES: [(&str, u32); 5] = [("", 0o755), ("proc", 0o755), ("sys", 0o755), ("dev", 0o755), ("etc", 0o755)];
const FILES: [&str; 2] = ["etc/hosts", "etc/resolv.conf"];

/// Makes `stubs`, unless it is there: all of it or nothing.
pub(crate) fn create(root: &Path) -> Result<(), StoreError> {
    let target = root.join(layout::STUBS);
    if target.exists() {
        return Ok(());
    }
    let work = root.join(layout::TRASH).join(stave_oci::digest::hex(&random_bytes::<8>()?));
    fill(&work).map_err(|error| StoreError::io("create", &target, error))?;
    std::fs::rename(&work, &target).map_err(|error| StoreError::io("create", &target, error))
}

/// Returns the directories of `stubs`.
pub(crate) fn directories(root: &Path) -> impl Iterator<Item = PathBuf> {
    let stubs = root.join(layout::STUBS);
    DIRECTORIES.into_iter().map(move |(name, _)| stubs.join(name))
}

fn fill(work: &Path) -> io::Result<()> {
    // Modes are set on their own, because the process's umask takes bits from those of a creation.
    for (name, mode) in DIRECTORIES {
        let path = if name.is_empty() { work.to_owned() } else { work.join(name) };
        std::fs::create_dir(&path)?;
        std::fs::set_permissions(&path, Permissions::from_mode(mode))?;
    }
    for name in FILES {
        let file = File::create_new(work.join(name))?;
        file.set_permissions(Permissions::from_mode(0o644))?;
    }
    Ok(())
}
