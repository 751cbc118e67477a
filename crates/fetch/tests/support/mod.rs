//! What the tests of this folder share: repositories, their servers, and a place to fetch to.
#![allow(dead_code, unreachable_pub, reason = "every test file uses its own part of this")]

use std::ffi::OsString;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use stave_fetch::{Git, GitAccess, GitError, Limits};
use stave_graph::GitSource;
use stave_http::{Cancel, Environment};
use stave_testkit::http::{Request, Response, Server};

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

    /// Starts a repository that the servers of this bench serve.
    pub fn repository(&self, name: &str) -> Repository {
        let repository = Repository { path: self.path("served").join(name), home: self.path("home") };
        fs::create_dir(&repository.path).expect("the folder can be made");
        repository.git(&["init", "-q", "--initial-branch=main"]);
        repository
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

    /// Everything below `folder`, sorted.
    pub fn names(folder: &Path) -> Vec<String> {
        let output = Command::new("find").args([".", "-mindepth", "1"]).current_dir(folder).output();
        let text = String::from_utf8(output.expect("find runs").stdout).expect("the names are texts");
        let mut names: Vec<String> = text.lines().map(|line| line.trim_start_matches("./").to_owned()).collect();
        names.sort();
        names
    }

    pub fn git_in(&self, folder: &Path, args: &[&str]) -> String {
        Repository { path: folder.to_owned(), home: self.path("home") }.git(args)
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

/// A repository of a test.
pub struct Repository {
    path: PathBuf,
    home: PathBuf,
}

impl Repository {
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn git(&self, args: &[&str]) -> String {
        let mut command = Command::new("git");
        command.args(args).current_dir(&self.path).env("HOME", &self.home).env("GIT_CONFIG_NOSYSTEM", "1");
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), "me").env(format!("GIT_{who}_EMAIL"), "me@example");
            command.env(format!("GIT_{who}_DATE"), "1700000000 +0000");
        }
        let output = command.output().expect("git runs");
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("it is a text").trim().to_owned()
    }

    pub fn run(&self, script: &str) {
        let status = Command::new("sh").args(["-c", script]).current_dir(&self.path).status();
        assert!(status.expect("sh runs").success(), "{script}");
    }

    pub fn file(&self, name: &str, content: &str) -> &Self {
        let path = self.path.join(name);
        fs::create_dir_all(path.parent().expect("it has a parent")).expect("the folder can be made");
        fs::write(path, content).expect("it can be written");
        self
    }

    pub fn commit(&self, message: &str) -> &Self {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", message]);
        self
    }

    pub fn rev(&self, name: &str) -> String {
        self.git(&["rev-parse", name])
    }
}

/// A `git daemon`; it ends with the value.
pub struct Daemon {
    child: Child,
    pub url: String,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Serves the repositories of `bench` by Git's own protocol. Each is asked for with its folder `.git` left out.
pub fn daemon(bench: &Bench) -> Daemon {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port is free").port();
    // Not `git daemon`: that is a process which starts this one, and does not end it.
    let folder = Command::new("git").arg("--exec-path").output().expect("git runs").stdout;
    let folder = String::from_utf8(folder).expect("it is a text");
    let mut command = Command::new(Path::new(folder.trim()).join("git-daemon"));
    command.args(["--reuseaddr", "--listen=127.0.0.1", "--export-all", "--informative-errors"]);
    command.arg(format!("--port={port}")).arg(format!("--base-path={}", bench.path("served").display()));
    command.env("HOME", bench.path("home")).env("GIT_CONFIG_NOSYSTEM", "1");
    command.env("GIT_CONFIG_COUNT", "1").env("GIT_CONFIG_KEY_0", "safe.directory").env("GIT_CONFIG_VALUE_0", "*");
    let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("git daemon starts");
    let daemon = Daemon { child, url: format!("git://127.0.0.1:{port}") };
    for _ in 0..500 {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return daemon;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("git daemon does not listen");
}

/// Serves the files of the repositories of `bench`, as a web server that knows nothing of Git would.
pub fn dumb_http(bench: &Bench, before: impl Fn(&Request) -> Option<Response> + Send + Sync + 'static) -> Server {
    let root = bench.path("served");
    Server::start(move |request| {
        if let Some(response) = before(request) {
            return response;
        }
        let path = request.path.trim_start_matches('/').replacen(".git/", ".git/.git/", 1);
        fs::read(root.join(path))
            .map_or_else(|_| Response::status(404), |bytes| Response::body(200, "application/octet-stream", bytes))
    })
}
