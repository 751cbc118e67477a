//! A tree beside what a test attacks: whatever the test does, not a bit of it may change.

use rustix::fs::{CWD, FileType, Mode};
use stave_oci::BlobDigest;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A text that stands in one of the tree's files and must appear in no layer and no log.
pub const SECRET: &str = "sentinel-text-that-must-not-travel";

/// The tree and what it was like at first.
#[derive(Debug)]
pub struct Sentinel {
    root: PathBuf,
    before: Vec<String>,
}

impl Sentinel {
    /// Makes the tree at `root`: known files, an empty one, a FIFO, a setuid copy, a link, a directory.
    #[must_use]
    pub fn plant(root: &Path) -> Self {
        make(root).expect("a writable place for the sentinel");
        let root = root.to_owned();
        let before = describe(&root);
        Self { root, before }
    }

    /// Makes the tree as something that `user` may change. Only root can.
    #[must_use]
    pub fn plant_for(root: &Path, user: &str) -> Self {
        make(root).expect("a writable place for the sentinel");
        let status = Command::new("chown").args(["-hR", &format!("{user}:")]).arg(root).status();
        assert!(status.is_ok_and(|status| status.success()), "cannot give the sentinel to {user}");
        let root = root.to_owned();
        let before = describe(&root);
        Self { root, before }
    }

    /// Where the tree is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// Panics if anything of the tree has changed: names, inodes, modes, owners, times, contents.
    pub fn assert_untouched(&self) {
        let after = describe(&self.root);
        assert_eq!(self.before, after, "the tree outside was touched");
    }
}

fn make(root: &Path) -> std::io::Result<()> {
    fs::create_dir_all(root.join("dir"))?;
    fs::write(root.join("secret"), SECRET)?;
    fs::write(root.join("dir/known"), "known")?;
    fs::write(root.join("empty"), "")?;
    fs::write(root.join("setuid"), "#!/bin/sh\n")?;
    fs::set_permissions(root.join("setuid"), fs::Permissions::from_mode(0o4755))?;
    rustix::fs::mknodat(CWD, root.join("fifo"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    symlink("secret", root.join("link"))
}

fn describe(path: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    describe_into(path, &mut lines);
    lines.sort();
    lines
}

fn describe_into(path: &Path, lines: &mut Vec<String>) {
    let Ok(meta) = fs::symlink_metadata(path) else {
        lines.push(format!("{} is gone", path.display()));
        return;
    };
    let content = match meta.file_type() {
        kind if kind.is_file() => BlobDigest::of(&fs::read(path).unwrap_or_default()).to_string(),
        kind if kind.is_symlink() => fs::read_link(path).unwrap_or_default().display().to_string(),
        kind if kind.is_fifo() => "fifo".to_owned(),
        _ => String::new(),
    };
    let (mode, owner) = (meta.mode(), (meta.uid(), meta.gid()));
    let time = (meta.mtime(), meta.mtime_nsec());
    lines.push(format!("{} {} {mode:o} {owner:?} {time:?} {content}", path.display(), meta.ino()));
    if meta.is_dir() {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            describe_into(&entry.path(), lines);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_mode_is_noticed() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let sentinel = Sentinel::plant(&dir.path().join("s"));
        sentinel.assert_untouched();
        fs::set_permissions(sentinel.path().join("empty"), fs::Permissions::from_mode(0o600)).expect("changed");
        assert_ne!(describe(sentinel.path()), sentinel.before);
    }
}
