//! `--cgroup-parent`: a group of the unified hierarchy for one step.
//!
//! Reference: Linux, `Documentation/admin-guide/cgroup-v2.rst`.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::EngineError;

/// Tells the groups of this process's steps apart.
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// The group of one step. Dropping it removes it; its parent stays, with the limits that somebody may have set there.
pub(crate) struct Group {
    path: PathBuf,
}

impl Group {
    /// Makes a group below `parent`, which is made, too, where it does not exist.
    pub(crate) fn make(parent: &str) -> Result<Self, EngineError> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let hint = "Leave `--cgroup-parent` out, or run stave where it may write to the unified cgroup hierarchy.";
        let Some(root) = unified(&mounts) else {
            return Err(EngineError::request("this machine has no unified cgroup hierarchy", Some(hint)));
        };
        let names: Vec<&str> = parent.split('/').filter(|name| !name.is_empty() && *name != ".").collect();
        if names.is_empty() || names.contains(&"..") {
            return Err(EngineError::request(format!("`{parent}` is not a cgroup below the root"), None));
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = names.iter().fold(root, |path, name| path.join(name));
        let path = directory.join(format!("stave-{}-{number}", std::process::id()));
        fs::create_dir_all(&directory).and_then(|()| fs::create_dir(&path)).map_err(|source| match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                EngineError::request(format!("cgroup `{parent}` cannot be made: {source}"), Some(hint))
            }
            _ => EngineError::io("make cgroup", &path, source),
        })?;
        Ok(Self { path })
    }

    /// Returns where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns its directory.
    pub(crate) fn directory(&self) -> Result<OwnedFd, EngineError> {
        let opened = File::open(&self.path).map(OwnedFd::from);
        opened.map_err(|source| EngineError::io("open cgroup", &self.path, source))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Empty once the step has ended; if the kernel is not done with it yet it stays, without processes.
        drop(fs::remove_dir(&self.path));
    }
}

/// Returns where the unified hierarchy is mounted, from the text of `mountinfo`.
fn unified(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let path = before.split(' ').nth(4)?;
        after.starts_with("cgroup2 ").then(|| Path::new(path).to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unified_hierarchy_is_found_wherever_it_is() {
        let mounts = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - tmpfs tmpfs rw\n\
                      31 30 0:27 / /sys/fs/cgroup/unified rw shared:10 - cgroup2 cgroup2 rw\n";
        assert_eq!(unified(mounts), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(unified("30 23 0:26 / /sys/fs/cgroup rw - cgroup cgroup rw,cpu\n"), None);
    }

    #[test]
    fn a_group_outside_the_hierarchy_is_refused() {
        for parent in ["", "/", "../x", "a/../../b"] {
            assert!(Group::make(parent).is_err(), "{parent}");
        }
    }
}
