//! What cases fetch: the files of each case's directory `http`, and the git repositories of its directory `git`.
//!
//! A file without a name, `http/index`, is also at `/?case=CASE`.

use crate::http::{Request, Response, Server};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::UNIX_EPOCH;

/// Serves what is below `root`: `/CASE/PATH` is the file `CASE/http/PATH`, `/CASE/NAME.git` the repository
/// `CASE/git/NAME.git`.
pub(super) fn serve(root: PathBuf) -> Server {
    Server::start(move |request| answer(&root, request).unwrap_or_else(|| Response::status(404)))
}

fn answer(root: &Path, request: &Request) -> Option<Response> {
    let unnamed = request.query_value("case").filter(|_| request.path == "/");
    let (case, path) = match &unnamed {
        Some(case) => (case.as_str(), ""),
        None => request.path.strip_prefix('/')?.split_once('/')?,
    };
    if case == ".." || path.split('/').any(|part| part == "..") {
        return None;
    }
    if path.contains(".git/") {
        return git(&root.join(case).join("git"), path, request);
    }
    let file = root.join(case).join("http").join(if path.is_empty() { "index" } else { path });
    let changed = file.metadata().ok().filter(fs::Metadata::is_file)?.modified().ok()?;
    let seconds = i64::try_from(changed.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok()?;
    let body = fs::read(&file).ok()?;
    Some(Response::body(200, "application/octet-stream", body).with("Last-Modified", date(seconds)))
}

/// git's own server side, as a web server calls it.
fn git(root: &Path, path: &str, request: &Request) -> Option<Response> {
    let mut command = Command::new("git");
    command.arg("http-backend").env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin");
    command.env("GIT_PROJECT_ROOT", root).env("GIT_HTTP_EXPORT_ALL", "1").env("PATH_INFO", format!("/{path}"));
    command.env("QUERY_STRING", &request.query).env("REQUEST_METHOD", &request.method).env("HOME", "/nonexistent");
    for (variable, header) in [("CONTENT_TYPE", "content-type"), ("HTTP_CONTENT_ENCODING", "content-encoding")] {
        command.env(variable, request.header(header).unwrap_or_default());
    }
    command.env("GIT_PROTOCOL", request.header("git-protocol").unwrap_or_default());
    command.env("CONTENT_LENGTH", request.body.len().to_string());
    // The repository belongs to whoever laid out the case.
    command.args(["-c", "safe.directory=*"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
    let mut stdin = child.stdin.take()?;
    let body = request.body.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&body).ok());
    let output = child.wait_with_output().ok()?.stdout;
    writer.join().ok()?;
    let end = output.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&output[..end]).into_owned();
    let headers = head.lines().filter_map(|line| line.split_once(": "));
    let mut response = Response::status(200);
    for (name, value) in headers {
        match (name, value.split(' ').next().and_then(|code| code.parse().ok())) {
            ("Status", Some(code)) => response.status = code,
            _ => response = response.with(name, value),
        }
    }
    output[end + 4..].clone_into(&mut response.body);
    Some(response)
}

/// A time as HTTP writes it.
fn date(seconds: i64) -> String {
    let output = Command::new("date").args(["-u", "-d", &format!("@{seconds}"), "+%a, %d %b %Y %H:%M:%S GMT"]).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_default()
}
