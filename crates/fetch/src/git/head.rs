//! When the commit was made that a directory of the user is a checkout of.
//!
//! Turns a directory into seconds since 1970, or into nothing where there is no repository, no commit or no `git`. What the
//! repository's own configuration names is not run: the one command that is used reads an object and nothing else.

use std::ffi::OsStr;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// How long `git` may take to read one object of this machine's disk.
const TIME_MAX: Duration = Duration::from_secs(10);
/// Bytes of a commit that are read: what says when it was made is at its beginning.
const COMMIT_BYTES_MAX: u64 = 1024 * 1024;

/// Returns the time of the commit at the head of the repository that `directory` is in, found with the `git` in `path`.
#[must_use]
pub fn head_time(path: Option<&OsStr>, directory: &Path) -> Option<i64> {
    let directory = directory.canonicalize().ok()?;
    if !directory.ancestors().any(|above| above.join(".git").symlink_metadata().is_ok()) {
        return None;
    }
    committed(&read_head(path, &directory)?)
}

fn read_head(path: Option<&OsStr>, directory: &Path) -> Option<Vec<u8>> {
    let path = path.unwrap_or(OsStr::new("/usr/local/bin:/usr/bin:/bin"));
    let mut child = Command::new("git")
        // Who owns the repository does not matter: nothing of it is run.
        .args(["-c", "safe.directory=*", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"])
        .args(["-c", "protocol.allow=never", "--no-replace-objects", "cat-file", "commit", "HEAD"])
        .current_dir(directory)
        .env_clear()
        .env("PATH", path)
        .envs([
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_NO_LAZY_FETCH", "1"),
            ("GIT_ALLOW_PROTOCOL", "none"),
            ("GIT_OPTIONAL_LOCKS", "0"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("LC_ALL", "C"),
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .ok()?;
    let stdout = child.stdout.take()?;
    let (sender, read) = mpsc::channel();
    let reader = move || {
        let mut bytes = Vec::new();
        let done = stdout.take(COMMIT_BYTES_MAX).read_to_end(&mut bytes).is_ok();
        // Nobody waits any more after the time limit.
        drop(sender.send(done.then_some(bytes)));
    };
    let started = thread::Builder::new().name("git".to_owned()).spawn(reader);
    let bytes = started.ok().and_then(|_| read.recv_timeout(TIME_MAX).ok().flatten());
    if bytes.is_none() {
        drop(child.kill());
    }
    let ended = child.wait().ok()?;
    bytes.filter(|_| ended.success())
}

/// Returns the time of the line `committer` of a commit.
///
/// Reference: gitformat-commit; only the header counts, which ends at the first empty line.
fn committed(commit: &[u8]) -> Option<i64> {
    let lines = commit.split(|&byte| byte == b'\n').take_while(|line| !line.is_empty());
    let line = lines.into_iter().find_map(|line| line.strip_prefix(b"committer "))?;
    let after = line.rsplitn(2, |&byte| byte == b'>').next()?;
    std::str::from_utf8(after).ok()?.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_that_of_the_committer() {
        let commit =
            b"tree 1\nauthor A <a@b> 5 +0000\ncommitter C > D <c@d> 1700000000 +0100\n\ncommitter X <x@y> 9 +0000\n";
        assert_eq!(committed(commit), Some(1_700_000_000));
        assert_eq!(committed(b"tree 1\n\ncommitter X <x@y> 9 +0000\n"), None);
        assert_eq!(committed(b""), None);
    }

    #[test]
    fn a_directory_without_a_repository_has_no_time() {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        assert_eq!(head_time(None, directory.path()), None);
    }
}
