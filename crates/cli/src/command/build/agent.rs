//! An SSH agent with the keys of `--ssh ID=KEY`, for as long as a build needs it.
//!
//! Keys are read by OpenSSH's own programs, which know all their forms and ask for their passphrases. stave sees the
//! socket alone, and passes on to it what steps ask for as it does to any other agent.

use std::fs::{self, DirBuilder, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::failure::Failure;

/// Runs below the agent, and ends it when stave says so or is gone. Signals from the terminal are
/// stave's to answer, and the pipe may have lost its reader before it is ready.
const KEEPER: &str =
    "trap '' INT HUP TERM PIPE; echo ready; read -r end; kill \"$SSH_AGENT_PID\"; rm -rf \"$1\"; exit 0";

/// Makes the directories of several agents of one process differ.
static NUMBER: AtomicUsize = AtomicUsize::new(0);

/// An agent that holds some keys. Dropping it ends it.
#[derive(Debug)]
pub(in crate::command) struct KeyAgent {
    socket: PathBuf,
    keeper: Child,
    end: Option<ChildStdin>,
}

impl KeyAgent {
    /// Starts an agent in a directory below `place`, and gives it the keys.
    pub(super) fn start(id: &str, keys: &[PathBuf], place: &Path) -> Result<Self, Failure> {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = place.join(format!("stave-ssh-{}-{number}", std::process::id()));
        DirBuilder::new()
            .mode(0o700)
            .create(&directory)
            .map_err(|error| Failure::environment(&error).within(&format!("cannot make `{}`", directory.display())))?;
        let started = Self::start_in(&directory).map_err(|error| {
            drop(fs::remove_dir_all(&directory));
            Failure::environment(&error)
                .within(&format!("cannot start `ssh-agent` for the keys of `--ssh {id}`"))
                .with_hint("Install OpenSSH's client, or give the socket of an agent.")
        })?;
        for key in keys {
            started.add(key).map_err(|why| {
                let message = format!("cannot use the key `{}` of `--ssh {id}`: {why}", key.display());
                Failure::usage(message).with_hint("Give a private key, or the socket of an agent that has it.")
            })?;
        }
        Ok(started)
    }

    fn start_in(directory: &Path) -> io::Result<Self> {
        let socket = directory.join("agent");
        let mut keeper = Command::new("ssh-agent")
            .arg("-a")
            .arg(&socket)
            .args(["sh", "-c", KEEPER, "sh"])
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let end = keeper.stdin.take();
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().expect("it is a pipe")).read_line(&mut line)?;
        let agent = Self { socket, keeper, end };
        if line == "ready\n" { Ok(agent) } else { Err(agent.complaint()) }
    }

    /// Returns what the agent said when it did not start.
    fn complaint(mut self) -> io::Error {
        let mut said = String::new();
        let read = self.keeper.stderr.take().map(|mut stderr| stderr.read_to_string(&mut said));
        match read {
            Some(Err(error)) => error,
            Some(Ok(_)) | None => io::Error::other(one_line(&said)),
        }
    }

    /// Gives the agent a key. It goes through a pipe: whose file may be read by whom is not ours to judge.
    fn add(&self, key: &Path) -> Result<(), String> {
        let file = File::open(key).map_err(|error| error.to_string())?;
        let added = Command::new("ssh-add")
            .args(["-q", "-"])
            .env("SSH_AUTH_SOCK", &self.socket)
            .stdin(file)
            .output()
            .map_err(|error| format!("cannot run `ssh-add`: {error}"))?;
        if added.status.success() { Ok(()) } else { Err(one_line(&String::from_utf8_lossy(&added.stderr))) }
    }

    /// Returns its socket.
    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }
}

impl Drop for KeyAgent {
    fn drop(&mut self) {
        // Said as a line, because a process that was forked meanwhile may hold the pipe open.
        let said = self.end.take().map(|mut end| end.write_all(b"end\n"));
        if said.is_some_and(|said| said.is_err()) {
            // It has ended by itself; there is nobody who could be told.
            drop(self.keeper.kill());
        }
        drop(self.keeper.wait());
    }
}

/// Returns a program's message on one line, without control characters.
fn one_line(text: &str) -> String {
    crate::render::printable(text.split_whitespace().collect::<Vec<_>>().join(" ").as_str())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    /// Makes a key, if this machine can.
    fn key(directory: &Path) -> Option<PathBuf> {
        let key = directory.join("key");
        let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status();
        if !made.is_ok_and(|status| status.success()) {
            eprintln!("skipped: this machine has no `ssh-keygen`");
            return None;
        }
        Some(key)
    }

    /// Number of keys that the agent behind a socket lists.
    fn keys(socket: &Path) -> u32 {
        let mut agent = UnixStream::connect(socket).expect("the agent listens");
        agent.write_all(&[0, 0, 0, 1, 11]).expect("it reads");
        let mut answer = [0; 9];
        agent.read_exact(&mut answer).expect("it answers");
        u32::from_be_bytes([answer[5], answer[6], answer[7], answer[8]])
    }

    /// B020
    #[test]
    fn an_agent_has_the_keys_that_were_given_and_leaves_nothing() {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let Some(key) = key(directory.path()) else { return };
        let agent = KeyAgent::start("default", std::slice::from_ref(&key), directory.path()).expect("it starts");
        let socket = agent.socket().to_owned();
        assert_eq!(keys(&socket), 1);
        drop(agent);
        assert!(!socket.parent().expect("it is in a directory").exists());
        assert!(UnixStream::connect(&socket).is_err());
    }

    #[test]
    fn a_file_that_is_no_key_is_named() {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        if key(directory.path()).is_none() {
            return;
        }
        let wrong = directory.path().join("wrong");
        fs::write(&wrong, "no key").expect("it can be written");
        let failure = KeyAgent::start("git", &[wrong], directory.path()).expect_err("it is no key");
        let text = failure.render(crate::render::Style::PLAIN);
        assert!(text.contains("wrong` of `--ssh git`: ") && text.contains("hint: Give a private key"), "{text}");
        assert_eq!(fs::read_dir(directory.path()).expect("it is there").count(), 3, "no directory of an agent is left");
    }
}
