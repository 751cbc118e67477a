//! What the tests of this folder share: repositories, their servers, and a place to fetch to.
#![allow(dead_code, unreachable_pub, reason = "every test file uses its own part of this")]

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use stave_fetch::{Git, GitAccess, GitError, Limits, Objects};
use stave_graph::GitSource;
use stave_http::{Cancel, Environment};
use stave_testkit::git::Repository;

pub struct Bench {
    folder: tempfile::TempDir,
    pub search_path: Option<OsString>,
    pub cancel: Cancel,
    pub limits: Limits,
    next: AtomicU32,
}

impl Bench {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        for name in ["served", "home", "scratch", "out"] {
            fs::create_dir(folder.path().join(name)).expect("the folder can be made");
        }
        let path = std::env::var_os("PATH");
        let next = AtomicU32::new(0);
        Self { folder, search_path: path, cancel: Cancel::new(), limits: Limits::default(), next }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where the repositories are that servers serve.
    pub fn served(&self) -> PathBuf {
        self.path("served")
    }

    /// Starts a repository that the servers of this bench serve.
    pub fn repository(&self, name: &str) -> Repository {
        Repository::init(&self.path("served").join(name))
    }

    pub fn fetch(&self, source: &GitSource) -> Result<PathBuf, GitError> {
        self.fetch_with(source, GitAccess::default())
    }

    pub fn fetch_with(&self, source: &GitSource, access: GitAccess) -> Result<PathBuf, GitError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (scratch, into) = (self.path(&format!("scratch/{number}")), self.path(&format!("out/{number}")));
        fs::create_dir(&scratch).expect("the folder can be made");
        fs::create_dir(&into).expect("the folder can be made");
        let (environment, limits, cancel) = (Environment::default(), self.limits.clone(), self.cancel.clone());
        let place = (source.url.as_str(), scratch.as_path());
        let git = Git::find(self.search_path.as_deref(), environment, access, limits, cancel, place)?;
        let resolved = git.resolve(source)?;
        git.checkout(source, &resolved, &into)?;
        Ok(into)
    }

    /// The commit and the tag that `source` names.
    pub fn objects(&self, source: &GitSource) -> Result<Objects, GitError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (scratch, into) = (self.path(&format!("scratch/{number}")), self.path(&format!("out/{number}")));
        fs::create_dir(&scratch).expect("the folder can be made");
        fs::create_dir(&into).expect("the folder can be made");
        let (environment, limits, cancel) = (Environment::default(), self.limits.clone(), self.cancel.clone());
        let place = (source.url.as_str(), scratch.as_path());
        let git = Git::find(self.search_path.as_deref(), environment, GitAccess::default(), limits, cancel, place)?;
        git.objects(source, &git.resolve(source)?, &into)
    }

    /// Everything below `folder`, sorted.
    pub fn names(folder: &Path) -> Vec<String> {
        let output = Command::new("find").args([".", "-mindepth", "1"]).current_dir(folder).output();
        let text = String::from_utf8(output.expect("find runs").stdout).expect("the names are texts");
        let mut names: Vec<String> = text.lines().map(|line| line.trim_start_matches("./").to_owned()).collect();
        names.sort();
        names
    }

    pub fn git_in(folder: &Path, args: &[&str]) -> String {
        Repository::at(folder).git(args)
    }

    /// Gives the user a configuration of Git.
    pub fn home(&self, config: &str) {
        fs::write(self.path("home/.gitconfig"), config).expect("it can be written");
    }

    /// A folder of hooks that all make `marker`.
    pub fn hooks(&self, marker: &Path) -> PathBuf {
        let folder = self.path("hooks");
        fs::create_dir(&folder).expect("the folder can be made");
        for name in ["post-checkout", "post-index-change", "reference-transaction"] {
            script(&folder.join(name), &format!("touch {}", marker.display()));
        }
        folder
    }

    /// Has all further fetches use a `git` that only writes down how it is called, into the file that is returned.
    pub fn fake_git(&mut self) -> PathBuf {
        let log = self.path("calls");
        let text = format!("echo \"$@\" >> {}; [ \"$1\" = version ] && echo git version 2.47.0", log.display());
        self.search_path = Some(self.program("git", &text));
        log
    }

    /// A folder with a program of this name.
    pub fn program(&self, name: &str, text: &str) -> OsString {
        let folder = self.path("programs");
        fs::create_dir_all(&folder).expect("the folder can be made");
        script(&folder.join(name), text);
        folder.into_os_string()
    }

    /// Whether a file of what was fetched has `text` in it.
    pub fn mentions(&self, text: &str) -> bool {
        let folders = [self.path("scratch"), self.path("out")];
        let status = Command::new("grep").args(["-rqaF", "--", text]).args(folders).status();
        status.expect("grep runs").success()
    }
}

fn script(path: &Path, text: &str) {
    fs::write(path, format!("#!/bin/sh\n{text}\n")).expect("it can be written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("the mode can be changed");
}
