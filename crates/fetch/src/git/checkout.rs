//! From a commit to its files, in a directory of our own.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use stave_graph::{GitSource, GitTime};

use super::{Git, GitError, Resolved};

impl Git {
    /// Makes the files of `resolved` in `into`, an empty directory, and returns when the commit was made, in seconds since
    /// 1970. They have the modes 644 and 755, the caller as
    /// their owner, and there is no `.git` but where the source keeps it.
    ///
    /// # Errors
    /// If the commit cannot be fetched, or has no such directory.
    pub fn checkout(&self, source: &GitSource, resolved: &Resolved, into: &Path) -> Result<i64, GitError> {
        let commit = resolved.commit.as_str();
        self.prepare(into, commit)?;
        self.fetch_commit(into, resolved)?;
        self.git("check out", into, &["checkout", "-q", "--force", "--detach", commit, "--"])?;
        if source.submodules && into.join(".gitmodules").symlink_metadata().is_ok_and(|found| found.is_file()) {
            self.fetch_submodules(into)?;
        }
        let made = self.time_of(into, commit)?;
        let time = match source.mtime {
            GitTime::Checkout => None,
            GitTime::Commit => Some(made),
        };
        if source.keep_git_dir && source.subdir.is_none() {
            forget_the_way(&into.join(".git"))?;
        } else {
            remove_git(into)?;
        }
        if let Some(subdir) = &source.subdir {
            self.descend(into, subdir)?;
        }
        settle(into, time)?;
        Ok(made)
    }

    /// Makes an empty repository that knows where `commit` is.
    pub(crate) fn prepare(&self, into: &Path, commit: &str) -> Result<(), GitError> {
        let format = if commit.len() == 64 { "--object-format=sha256" } else { "--object-format=sha1" };
        self.git("prepare", into, &["init", "-q", "--template=", "--initial-branch=main", format])?;
        self.git("prepare", into, &["remote", "add", "--", "origin", &self.address()]).map(drop)
    }

    pub(crate) fn git(&self, action: &'static str, folder: &Path, args: &[&str]) -> Result<Vec<u8>, GitError> {
        let args: Vec<_> = args.iter().map(AsRef::as_ref).collect();
        self.run(action, folder, &args)
    }

    /// Fetches as little as the server allows: the commit alone, else what the reference has now, else its history.
    pub(crate) fn fetch_commit(&self, into: &Path, resolved: &Resolved) -> Result<(), GitError> {
        let Resolved { commit, name } = resolved;
        let fetch = |depth: Option<&str>, what: &[&str]| {
            let mut args = vec!["fetch", "-q", "--no-tags", "--no-recurse-submodules"];
            args.extend(depth);
            args.extend(["--", "origin"]);
            args.extend(what);
            self.git("fetch", into, &args).map(drop)
        };
        let shallow = Some("--depth=1");
        let everything = ["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"];
        let named = name.as_deref();
        let mut attempts: Vec<(Option<&str>, Vec<&str>)> = vec![(shallow, vec![commit])];
        attempts.extend(named.map(|name| (shallow, vec![name])));
        attempts.extend(named.map(|name| (None, vec![name])));
        attempts.push((None, everything.into()));
        let mut first = None;
        for (depth, what) in attempts {
            match fetch(depth, &what) {
                Ok(()) if self.has(into, commit) => return Ok(()),
                Ok(()) => {}
                Err(error @ (GitError::Failed { .. } | GitError::TimedOut { .. })) => {
                    first.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(first.unwrap_or_else(|| GitError::NoReference { url: self.shown(), reference: commit.clone() }))
    }

    /// Whether the commit is there.
    fn has(&self, into: &Path, commit: &str) -> bool {
        self.git("look at", into, &["cat-file", "-e", &format!("{commit}^{{commit}}")]).is_ok()
    }

    /// Fetches what the commit names of other repositories.
    fn fetch_submodules(&self, into: &Path) -> Result<(), GitError> {
        let update = |depth: &[&str]| {
            let args = [&["submodule", "--quiet", "update", "--init", "--recursive", "--force"], depth, &["--"]];
            self.git("fetch the submodules of", into, &args.concat())
        };
        // Not every server has a part of a history to give.
        match update(&["--depth=1"]) {
            Err(GitError::Failed { .. }) => update(&[]).map(drop),
            other => other.map(drop),
        }
    }

    /// Returns when a commit was made, in seconds since 1970.
    fn time_of(&self, into: &Path, commit: &str) -> Result<i64, GitError> {
        let args = ["show", "-s", "--no-show-signature", "--format=%ct", commit, "--"];
        let text = self.git("look at", into, &args)?;
        let time = std::str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok());
        time.ok_or_else(|| GitError::Listing { url: self.shown() })
    }

    /// Leaves only what is in `subdir`. Each part of it must be a directory: a link could lead anywhere.
    fn descend(&self, into: &Path, subdir: &str) -> Result<(), GitError> {
        let wrong = |reason: String| GitError::Subdir { url: self.shown(), subdir: subdir.to_owned(), reason };
        let mut inner = into.to_owned();
        for part in subdir.split('/') {
            inner.push(part);
            match inner.symlink_metadata() {
                Ok(found) if found.is_dir() => {}
                Ok(found) if found.is_symlink() => return Err(wrong(format!("`{part}` is a symbolic link"))),
                Ok(_) => return Err(wrong(format!("`{part}` is a file"))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(wrong(format!("there is no `{part}`")));
                }
                Err(source) => return Err(GitError::io("examine", inner, source)),
            }
        }
        let aside = self.scratch().join("subdir");
        fs::rename(&inner, &aside).map_err(|source| GitError::io("move", &inner, source))?;
        clear(into)?;
        for entry in entries(&aside)? {
            let name = entry.file_name();
            fs::rename(entry.path(), into.join(&name)).map_err(|source| GitError::io("move", entry.path(), source))?;
        }
        fs::remove_dir(&aside).map_err(|source| GitError::io("remove", aside, source))
    }
}

fn entries(folder: &Path) -> Result<Vec<fs::DirEntry>, GitError> {
    let read = fs::read_dir(folder).and_then(Iterator::collect);
    read.map_err(|source| GitError::io("list", folder, source))
}

/// Removes everything in `folder`.
fn clear(folder: &Path) -> Result<(), GitError> {
    entries(folder)?.iter().try_for_each(|entry| remove(&entry.path()))
}

fn remove(path: &Path) -> Result<(), GitError> {
    let is_dir = path.symlink_metadata().is_ok_and(|found| found.is_dir());
    let removed = if is_dir { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.map_err(|source| GitError::io("remove", path, source))
}

/// Removes what `git` itself made: no commit can have a file of that name.
fn remove_git(into: &Path) -> Result<(), GitError> {
    let mut folders = vec![into.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in entries(&folder)? {
            let path = entry.path();
            if entry.file_name() == ".git" {
                remove(&path)?;
            } else if entry.file_type().map_err(|source| GitError::io("examine", &path, source))?.is_dir() {
                folders.push(path);
            }
        }
    }
    Ok(())
}

/// Removes from a repository that is kept what says how and when it was fetched.
fn forget_the_way(repository: &Path) -> Result<(), GitError> {
    for name in ["FETCH_HEAD", "ORIG_HEAD", "logs", "hooks", "branches"] {
        let path = repository.join(name);
        if path.symlink_metadata().is_ok() {
            remove(&path)?;
        }
    }
    Ok(())
}

/// Gives everything below `into` the permissions that Git knows, whatever this process's own mask is, and `time`.
fn settle(into: &Path, time: Option<i64>) -> Result<(), GitError> {
    let (mut folders, mut all) = (vec![into.to_owned()], vec![into.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in entries(&folder)? {
            let path = entry.path();
            let metadata = path.symlink_metadata().map_err(|source| GitError::io("examine", &path, source))?;
            if metadata.is_dir() {
                folders.push(path.clone());
            } else if metadata.is_file() {
                let mode = if metadata.mode() & 0o100 == 0 { 0o644 } else { 0o755 };
                set_mode(&path, mode)?;
            }
            all.push(path);
        }
        set_mode(&folder, 0o755)?;
    }
    let Some(seconds) = time else { return Ok(()) };
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    all.iter().rev().try_for_each(|path| {
        let set = utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW);
        set.map_err(|error| GitError::io("set the time of", path, error.into()))
    })
}

fn set_mode(path: &Path, mode: u32) -> Result<(), GitError> {
    fs::set_permissions(path, Permissions::from_mode(mode))
        .map_err(|source| GitError::io("change the mode of", path, source))
}
