//! One run of `git`: its environment, its configuration, its end.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use stave_graph::remote::{redacted, without_credentials};
use stave_http::{Cancel, Environment, clean};

use super::access::scope_of;
use super::{GitAccess, GitError, VERSION_MIN};
use crate::limits::{self, Limits};

/// How often a wait looks whether somebody asked for an end.
const TICK: Duration = Duration::from_millis(50);

/// Configuration of every command. `protocol.allow` and `GIT_ALLOW_PROTOCOL` say the same: submodules have no way around.
///
/// Reference: git-config(1).
const CONFIG: &str = "\
[advice]
\tdetachedHead = false
[core]
\tattributesFile = /dev/null
\tautocrlf = false
\teditor = false
\texcludesFile = /dev/null
\tfsmonitor = false
\thooksPath = /dev/null
\tpager = cat
\tprotectHFS = true
\tprotectNTFS = true
\tsymlinks = true
[credential]
\thelper =
[fetch]
\tfsckObjects = true
\trecurseSubmodules = false
[filter \"lfs\"]
\tprocess =
\trequired = false
\tsmudge =
[gc]
\tauto = 0
[http]
\tlowSpeedLimit = 1
\tlowSpeedTime = 60
[init]
\tdefaultBranch = main
\ttemplateDir =
[maintenance]
\tauto = false
[protocol]
\tallow = never
[protocol \"git\"]
\tallow = always
[protocol \"http\"]
\tallow = always
[protocol \"https\"]
\tallow = always
[protocol \"ssh\"]
\tallow = always
[safe]
\tdirectory = *
[submodule]
\trecurse = false
[transfer]
\tfsckObjects = true
";

/// The user's `git`.
#[derive(Debug)]
pub struct Git {
    program: PathBuf,
    path: OsString,
    environment: Environment,
    access: GitAccess,
    limits: Limits,
    cancel: Cancel,
    /// The repository, with its credentials.
    url: String,
    /// A directory of our own, where the configuration is.
    scratch: PathBuf,
}

impl Git {
    /// Finds `git` in `path` to read the repository at `url`. `scratch` is an empty directory that nobody else uses.
    ///
    /// # Errors
    /// If there is none, or only an old one.
    pub fn find(
        path: Option<&OsStr>,
        environment: Environment,
        access: GitAccess,
        limits: Limits,
        cancel: Cancel,
        (url, scratch): (&str, &Path),
    ) -> Result<Self, GitError> {
        let path = path.unwrap_or(OsStr::new("/usr/local/bin:/usr/bin:/bin")).to_owned();
        let program = std::env::split_paths(&path)
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join("git"))
            .find(|program| rustix::fs::access(program, rustix::fs::Access::EXEC_OK).is_ok() && program.is_file())
            .ok_or_else(|| GitError::Missing { url: redacted(url) })?;
        let config = scratch.join("config");
        fs::write(&config, CONFIG).map_err(|source| GitError::io("write", &config, source))?;
        let (url, scratch) = (url.to_owned(), scratch.to_owned());
        let git = Self { program, path, environment, access, limits, cancel, url, scratch };
        git.check_version()?;
        Ok(git)
    }

    pub(crate) fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// What `git` is given: the address without what is secret in it.
    pub(crate) fn address(&self) -> String {
        without_credentials(&self.url)
    }

    /// The address for people.
    pub(crate) fn shown(&self) -> String {
        without_credentials(&self.url)
    }

    fn check_version(&self) -> Result<(), GitError> {
        let output = self.run("ask for the version of git for", &self.scratch, &["version".as_ref()])?;
        let text = String::from_utf8_lossy(&output);
        let mut numbers = text.trim_start_matches("git version ").split(['.', ' ', '\n']).map(str::parse::<u32>);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= VERSION_MIN => Ok(()),
            _ => Err(GitError::TooOld { found: clean(text.trim()) }),
        }
    }

    /// Runs `git` in `folder` and returns what it prints.
    pub(crate) fn run(&self, action: &'static str, folder: &Path, args: &[&OsStr]) -> Result<Vec<u8>, GitError> {
        let mut command = Command::new(&self.program);
        command.args(args).current_dir(folder);
        self.surround(&mut command);
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).spawn();
        let mut child = child.map_err(|source| GitError::io("start", &self.program, source))?;
        let (sender, finished) = mpsc::channel();
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let output = thread::spawn({
            let sender = sender.clone();
            move || {
                let mut bytes = Vec::new();
                let read = stdout.map(|pipe| pipe.take(limits::GIT_OUTPUT_BYTES_MAX + 1).read_to_end(&mut bytes));
                tell(&sender);
                read.transpose().map(|_| bytes)
            }
        });
        let words = thread::spawn(move || {
            let words = stderr.map_or_else(Vec::new, last_words);
            tell(&sender);
            words
        });
        let ended = self.wait(action, &mut child, &finished);
        let output = output.join().unwrap_or_else(|_| Err(io::Error::other("the reader panicked")));
        let words = words.join().unwrap_or_default();
        let status = ended?;
        let output = output.map_err(|source| GitError::io("read from", &self.program, source))?;
        if status && output.len() as u64 <= limits::GIT_OUTPUT_BYTES_MAX {
            return Ok(output);
        }
        let words = if status { "it lists too much".to_owned() } else { fit(&words) };
        Err(GitError::Failed { action, url: self.shown(), words })
    }

    /// Waits for the end of both streams and of the process; says whether it ended well.
    fn wait(&self, action: &'static str, child: &mut Child, finished: &mpsc::Receiver<()>) -> Result<bool, GitError> {
        let end = Instant::now() + self.limits.git_time_max;
        let mut open = 2;
        let failed = loop {
            if self.cancel.is_cancelled() {
                break Some(GitError::Cancelled);
            }
            if Instant::now() >= end {
                let limit = self.limits.git_time_max;
                break Some(GitError::TimedOut { action, url: self.shown(), limit });
            }
            match finished.recv_timeout(TICK) {
                Ok(()) if open > 1 => open -= 1,
                Ok(()) | Err(RecvTimeoutError::Disconnected) => break None,
                Err(RecvTimeoutError::Timeout) => {}
            }
        };
        if failed.is_some() {
            // All that it started is in its group. What has ended already cannot be ended.
            match kill_process_group(Pid::from_child(child), Signal::KILL) {
                Ok(()) | Err(_) => {}
            }
        }
        let status = child.wait().map_err(|source| GitError::io("wait for", &self.program, source))?;
        failed.map_or_else(|| Ok(status.success()), Err)
    }

    /// Gives `command` an environment in which nothing is the user's but the way to the network.
    fn surround(&self, command: &mut Command) {
        command.env_clear().env("PATH", &self.path).env("HOME", &self.scratch).env("LC_ALL", "C");
        command
            .env("GIT_ALLOW_PROTOCOL", "git:http:https:ssh")
            .env("GIT_ASKPASS", "")
            .env("GIT_CEILING_DIRECTORIES", self.scratch.parent().unwrap_or(&self.scratch))
            .env("GIT_CONFIG_GLOBAL", self.scratch.join("config"))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_LFS_SKIP_SMUDGE", "1")
            .env("GIT_PROTOCOL_FROM_USER", "0")
            .env("GIT_SSH_COMMAND", self.ssh())
            .env("GIT_SSH_VARIANT", "ssh")
            .env("GIT_TEMPLATE_DIR", "")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("SSH_ASKPASS", "")
            .env("SSH_ASKPASS_REQUIRE", "never");
        if let Some(agent) = &self.access.ssh_agent {
            command.env("SSH_AUTH_SOCK", agent);
        }
        let Environment { ssl_cert_file, ssl_cert_dir, https_proxy, http_proxy, no_proxy, etc: _ } = &self.environment;
        let texts = [("https_proxy", https_proxy), ("http_proxy", http_proxy)];
        command.envs(texts.iter().filter_map(|(name, value)| Some((name, value.as_ref()?))));
        command.env("no_proxy", format!("localhost,127.0.0.1,::1,{}", no_proxy.as_deref().unwrap_or_default()));
        if let Some(file) = ssl_cert_file {
            command.env("GIT_SSL_CAINFO", file);
        }
        if let Some(folder) = ssl_cert_dir {
            command.env("GIT_SSL_CAPATH", folder);
        }
        if let (Some(value), Some(scope)) = (&self.access.authorization, scope_of(&self.url)) {
            // In the environment nobody else sees it, unlike an argument, and nothing of it stays, unlike in a file. It
            // goes to this host only: a redirect would take it elsewhere.
            command
                .env("GIT_CONFIG_COUNT", "2")
                .env("GIT_CONFIG_KEY_0", format!("http.{scope}.extraHeader"))
                .env("GIT_CONFIG_VALUE_0", format!("Authorization: {}", value.expose()))
                .env("GIT_CONFIG_KEY_1", format!("http.{scope}.followRedirects"))
                .env("GIT_CONFIG_VALUE_1", "false");
        }
    }

    /// Returns the command by which `git` starts `ssh`; a shell reads it.
    fn ssh(&self) -> OsString {
        let mut command = OsString::from(
            "ssh -F /dev/null -o BatchMode=yes -o StrictHostKeyChecking=yes -o ConnectTimeout=15 \
             -o ServerAliveInterval=15 -o ServerAliveCountMax=4 -o PermitLocalCommand=no -o ForwardAgent=no",
        );
        for file in &self.access.known_hosts {
            command.push(" -o ");
            command.push(quoted(OsStr::new("UserKnownHostsFile="), file));
        }
        if self.access.ssh_keys.is_empty() {
            command.push(" -o IdentityFile=none");
        }
        for file in &self.access.ssh_keys {
            command.push(" -o ");
            command.push(quoted(OsStr::new("IdentityFile="), file));
        }
        command
    }
}

/// Returns an option of `ssh` that names a file as one word of a shell.
fn quoted(name: &OsStr, file: &Path) -> OsString {
    let mut word = OsString::from("'");
    word.push(name);
    word.push("\"");
    for byte in file.as_os_str().as_bytes() {
        match byte {
            b'\'' => word.push("'\\''"),
            byte => word.push(OsStr::from_bytes(&[*byte])),
        }
    }
    word.push("\"'");
    word
}

/// Says that a stream has ended. Nobody listens any more where the process was ended before.
fn tell(sender: &mpsc::Sender<()>) {
    match sender.send(()) {
        Ok(()) | Err(mpsc::SendError(())) => {}
    }
}

/// Reads a stream to its end and returns the last of it.
fn last_words(mut stream: impl Read) -> Vec<u8> {
    let (mut words, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        words.extend_from_slice(&buffer[..count]);
        if words.len() > 2 * limits::GIT_WORDS_BYTES_MAX {
            words.drain(..words.len() - limits::GIT_WORDS_BYTES_MAX);
        }
    }
    words
}

/// Makes what `git` said about a failure fit for a message: the lines that name it, else the last one.
fn fit(words: &[u8]) -> String {
    let text = String::from_utf8_lossy(words);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let telling = |line: &&&str| {
        ["fatal: ", "error: ", "ssh: "].iter().any(|start| line.starts_with(start))
            || line.contains("Permission denied")
            || line.contains("verification failed")
    };
    let mut told: Vec<&str> = lines.iter().filter(telling).copied().take(3).collect();
    if told.is_empty() {
        told.extend(lines.last());
    }
    let told: Vec<&str> =
        told.iter().map(|line| line.trim_start_matches("fatal: ").trim_start_matches("error: ")).collect();
    if told.is_empty() { "git failed without a word".to_owned() } else { clean(&told.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_git_says_is_one_line() {
        assert_eq!(fit(b"Cloning...\nerror: a\nhint: x\nfatal: b\x1b[2J\n"), "a; b [2J");
        assert_eq!(fit(b"nothing\n"), "nothing");
        assert_eq!(fit(b""), "git failed without a word");
    }

    #[test]
    fn a_file_of_keys_is_one_word_of_the_shell() {
        assert_eq!(quoted(OsStr::new("A="), Path::new("/a b'$(x)")), OsStr::new("'A=\"/a b'\\''$(x)\"'"));
    }

    #[test]
    fn of_many_words_the_last_are_kept() {
        let words = last_words("x".repeat(100_000).as_bytes());
        assert!(!words.is_empty() && words.len() <= 3 * limits::GIT_WORDS_BYTES_MAX);
    }
}
