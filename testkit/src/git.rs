//! Git repositories of a test, and what serves them on the loopback interface.

use crate::http::{Request, Response, Server};
use std::fs;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A repository with its files.
#[derive(Debug)]
pub struct Repository {
    path: PathBuf,
}

#[expect(clippy::must_use_candidate, reason = "most of it is called for what it does")]
impl Repository {
    /// Makes an empty repository in the new directory `path`, on the branch `main`.
    #[must_use]
    pub fn init(path: &Path) -> Self {
        fs::create_dir(path).expect("a writable directory");
        let repository = Self::at(path);
        repository.git(&["init", "-q", "--initial-branch=main"]);
        repository
    }

    /// The repository in `path`.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `git` in it, with no configuration but its own, and returns what it prints.
    pub fn git(&self, args: &[&str]) -> String {
        let mut command = Command::new("git");
        command
            .args(args)
            .current_dir(&self.path)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1");
        command.env("GIT_CONFIG_COUNT", "1").env("GIT_CONFIG_KEY_0", "safe.directory").env("GIT_CONFIG_VALUE_0", "*");
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), "me").env(format!("GIT_{who}_EMAIL"), "me@example");
            command.env(format!("GIT_{who}_DATE"), "1700000000 +0000");
        }
        let output = command.output().expect("git runs");
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("it is a text").trim().to_owned()
    }

    /// Runs a script in it.
    pub fn run(&self, script: &str) {
        let status = Command::new("sh").args(["-c", script]).current_dir(&self.path).status();
        assert!(status.expect("sh runs").success(), "{script}");
    }

    /// Writes a file, with the directories above it.
    pub fn file(&self, name: &str, content: &str) -> &Self {
        let path = self.path.join(name);
        fs::create_dir_all(path.parent().expect("it has a parent")).expect("the folder can be made");
        fs::write(path, content).expect("it can be written");
        self
    }

    /// Commits everything, at 2023-11-14T22:13:20Z.
    pub fn commit(&self, message: &str) -> &Self {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", message]);
        self
    }

    /// What a name stands for.
    #[must_use]
    pub fn rev(&self, name: &str) -> String {
        self.git(&["rev-parse", name])
    }
}

/// A `git daemon`; it ends with the value.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    /// `git://127.0.0.1:PORT`.
    pub url: String,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Serves the repositories in `folder` by Git's own protocol.
#[must_use]
pub fn daemon(folder: &Path) -> Daemon {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port is free").port();
    // Not `git daemon`: that is a process which starts this one, and does not end it.
    let programs = Command::new("git").arg("--exec-path").output().expect("git runs").stdout;
    let programs = String::from_utf8(programs).expect("it is a text");
    let mut command = Command::new(Path::new(programs.trim()).join("git-daemon"));
    command.args(["--reuseaddr", "--listen=127.0.0.1", "--export-all", "--informative-errors"]);
    command.arg(format!("--port={port}")).arg(format!("--base-path={}", folder.display()));
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
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

/// Serves the repositories in `folder` over HTTP as a forge does, with Git's own program behind it; `before` may answer
/// instead.
pub fn smart(folder: &Path, before: impl Fn(&Request) -> Option<Response> + Send + Sync + 'static) -> Server {
    let root = folder.to_owned();
    Server::start(move |request| before(request).unwrap_or_else(|| http_backend(&root, request)))
}

/// Reference: git-http-backend(1).
fn http_backend(root: &Path, request: &Request) -> Response {
    let mut command = Command::new("git");
    command.arg("http-backend").env("GIT_PROJECT_ROOT", root).env("GIT_HTTP_EXPORT_ALL", "1");
    command.env("PATH_INFO", &request.path).env("QUERY_STRING", &request.query).env("REQUEST_METHOD", &request.method);
    command.env("CONTENT_TYPE", request.header("content-type").unwrap_or_default());
    command.env("CONTENT_LENGTH", request.body.len().to_string());
    command.env("HTTP_CONTENT_ENCODING", request.header("content-encoding").unwrap_or_default());
    command.env("GIT_PROTOCOL", request.header("git-protocol").unwrap_or_default());
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    command.env("GIT_CONFIG_COUNT", "1").env("GIT_CONFIG_KEY_0", "safe.directory").env("GIT_CONFIG_VALUE_0", "*");
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = child.expect("git runs");
    let mut stdin = child.stdin.take().expect("it is a pipe");
    let body = request.body.clone();
    let feeder = std::thread::spawn(move || stdin.write_all(&body).ok());
    let output = child.wait_with_output().expect("git ends").stdout;
    feeder.join().ok();
    let end = output.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(output.len().saturating_sub(4));
    let header = String::from_utf8_lossy(&output[..end]).into_owned();
    let status = header.lines().find_map(|line| line.strip_prefix("Status: ")?.get(..3)?.parse().ok());
    let kind = header.lines().find_map(|line| line.strip_prefix("Content-Type: ")).unwrap_or("text/plain").to_owned();
    Response::body(status.unwrap_or(200), &kind, output.get(end + 4..).unwrap_or_default())
}

/// Serves the files of the repositories in `folder`, as a web server that knows nothing of Git would; `before` may answer
/// instead. What is served of a repository is up to date after `git update-server-info`.
pub fn files(folder: &Path, before: impl Fn(&Request) -> Option<Response> + Send + Sync + 'static) -> Server {
    let root = folder.to_owned();
    Server::start(move |request| {
        if let Some(response) = before(request) {
            return response;
        }
        let path = request.path.trim_start_matches('/').replacen(".git/", ".git/.git/", 1);
        fs::read(root.join(path))
            .map_or_else(|_| Response::status(404), |bytes| Response::body(200, "application/octet-stream", bytes))
    })
}
