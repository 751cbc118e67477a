//! Credential helpers: programs named `docker-credential-NAME` that keep credentials for others.
//!
//! They get the server's name on standard input, never in an argument, and run with the caller's environment, for a
//! limited time, and no longer than the command that asks.
//!
//! Reference: docker/docker-credential-helpers, "Development".

use std::ffi::OsStr;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::credentials::{Credential, CredentialError};
use crate::limits;
use stave_http::{Cancel, Secret};

/// How often a wait for a helper looks whether it has ended.
const HELPER_TICK: Duration = Duration::from_millis(5);

/// The user name that says that the secret is an identity token.
const TOKEN_USER: &str = "<token>";

/// Where helpers are, and who may end them.
pub(crate) struct Helper<'a> {
    /// The search path.
    pub(crate) search: Option<&'a OsStr>,
    pub(crate) cancel: &'a Cancel,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

#[derive(Serialize)]
struct Entry<'a> {
    #[serde(rename = "ServerURL")]
    server: &'a str,
    #[serde(rename = "Username")]
    username: &'a str,
    #[serde(rename = "Secret")]
    secret: &'a str,
}

impl Helper<'_> {
    /// Asks a helper for the credentials of a server, as Docker calls it.
    pub(crate) fn get(&self, helper: &str, server: &str) -> Result<Option<Credential>, CredentialError> {
        let (name, program) = self.find(helper)?;
        let Some(output) = self.run(&name, &program, "get", server.as_bytes())? else { return Ok(None) };
        let answer: Answer = serde_json::from_slice(&output).map_err(|_| CredentialError::HelperOutput(name))?;
        let password = Secret::new(answer.secret);
        if answer.username == TOKEN_USER {
            return Ok(Some(Credential::Identity(password)));
        }
        Ok(Some(Credential::Password { username: answer.username, password }))
    }

    /// Gives a helper the credentials of a server to keep.
    pub(crate) fn store(&self, helper: &str, server: &str, credential: &Credential) -> Result<(), CredentialError> {
        let (username, secret) = match credential {
            Credential::Password { username, password } => (username.as_str(), password),
            Credential::Identity(token) | Credential::Registry(token) => (TOKEN_USER, token),
        };
        let entry = Entry { server, username, secret: secret.expose() };
        let text = Secret::new(serde_json::to_string(&entry).expect("texts are JSON"));
        let (name, program) = self.find(helper)?;
        self.run(&name, &program, "store", text.expose().as_bytes())?;
        Ok(())
    }

    /// Has a helper forget a server. That it knows nothing of it is as good.
    pub(crate) fn erase(&self, helper: &str, server: &str) -> Result<(), CredentialError> {
        let (name, program) = self.find(helper)?;
        self.run(&name, &program, "erase", server.as_bytes())?;
        Ok(())
    }

    /// Returns the name and the path of a helper's program.
    fn find(&self, helper: &str) -> Result<(String, PathBuf), CredentialError> {
        let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if helper.is_empty() || !helper.bytes().all(safe) {
            return Err(CredentialError::HelperName(helper.to_owned()));
        }
        let name = format!("docker-credential-{helper}");
        let folders = self.search.map(std::env::split_paths).into_iter().flatten();
        let program = folders.map(|folder| folder.join(&name)).find(|path| is_program(path));
        let program = program.ok_or_else(|| CredentialError::HelperMissing(name.clone()))?;
        Ok((name, program))
    }

    /// Runs a helper; returns what it printed, or nothing if it knows nothing of the server.
    fn run(&self, name: &str, program: &Path, verb: &str, input: &[u8]) -> Result<Option<Vec<u8>>, CredentialError> {
        let (output, status) = self
            .run_to_end(program, verb, input)
            .map_err(|source| CredentialError::HelperRun { name: name.to_owned(), source })?;
        if status.success() {
            return Ok(Some(output));
        }
        // The protocol's only word for "nothing known" is this message, on standard output.
        if String::from_utf8_lossy(&output).contains("credentials not found") {
            return Ok(None);
        }
        Err(CredentialError::HelperFailed { name: name.to_owned(), status: status.to_string() })
    }

    /// Runs a helper to its end, or ends it when its time is over or somebody asks for an end.
    fn run_to_end(&self, program: &Path, verb: &str, input: &[u8]) -> io::Result<(Vec<u8>, ExitStatus)> {
        let mut command = Command::new(program);
        command.arg(verb).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.envs(self.search.map(|search| ("PATH", search)));
        let mut child = command.spawn()?;
        // A helper that ends without reading gives EPIPE here and says the rest with its exit status. So short a
        // text always fits into the pipe.
        let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(input));
        let stdout = child.stdout.take().expect("it was asked for");
        let reader = std::thread::spawn(move || {
            let mut output = Vec::new();
            stdout.take(limits::HELPER_BYTES_MAX).read_to_end(&mut output).map(|_| output)
        });
        let end = Instant::now() + limits::HELPER_TIME_MAX;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if self.cancel.wait(HELPER_TICK) || Instant::now() >= end {
                child.kill()?;
                child.wait()?;
                return Err(io::Error::new(io::ErrorKind::TimedOut, "it did not end in time"));
            }
        };
        let output = reader.join().expect("reading does not panic")?;
        match written {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok((output, status)),
        }
    }
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}
