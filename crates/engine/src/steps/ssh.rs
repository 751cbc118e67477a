//! The other end of a command's SSH agent: passes on what asks for keys and signatures, and refuses everything else.
//!
//! A command gets no descriptor of the caller's agent. It speaks to a thread of the builder, which opens a connection of
//! its own for each of the command's, so no command can add a key, remove one or lock the agent.
//!
//! Reference: draft-ietf-sshm-ssh-agent, "SSH Agent Protocol".

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use rustix::net::Shutdown;

use crate::error::EngineError;
use crate::request::Grants;

/// Longest message that is passed on, in bytes.
///
/// Reference: OpenSSH, `ssh-agent.c`, `AGENT_MAX_LEN`.
const MESSAGE_BYTES_MAX: u32 = 256 * 1024;
/// Connections of one command at the same time; more are closed at once.
const CONNECTIONS_MAX: usize = 64;

/// `SSH_AGENTC_REQUEST_IDENTITIES`: which keys are there?
const REQUEST_IDENTITIES: u8 = 11;
/// `SSH_AGENTC_SIGN_REQUEST`: sign this.
const SIGN_REQUEST: u8 = 13;
/// `SSH_AGENT_FAILURE`: the answer to everything else.
const FAILURE: [u8; 5] = [0, 0, 0, 1, 5];

/// An agent of the caller's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Agent {
    socket: PathBuf,
}

impl Agent {
    /// Returns the agent `id`; `None` if the caller has given none and the command can do without.
    pub(crate) fn find(grants: &Grants, id: &str, required: bool) -> Result<Option<Self>, EngineError> {
        let Some(paths) = grants.ssh.get(id) else {
            if !required {
                return Ok(None);
            }
            let hint = format!("Give it with `--ssh {id}=SOCKET`, or `--ssh default` for the one of `SSH_AUTH_SOCK`.");
            return Err(EngineError::request(format!("the step needs SSH agent `{id}`"), Some(&hint)));
        };
        let is_socket = |path: &Path| path.metadata().map(|metadata| metadata.file_type().is_socket());
        match &paths[..] {
            [path] if is_socket(path).map_err(|source| EngineError::io("look at", path, source))? => {
                Ok(Some(Self { socket: path.clone() }))
            }
            _ => Err(EngineError::request(
                format!("SSH agent `{id}` is given by key files, which stave does not read"),
                Some("Add the keys to an agent with `ssh-add`, and give its socket."),
            )),
        }
    }

    /// Answers at `listener` until the returned value is dropped.
    pub(crate) fn serve(self, listener: OwnedFd) -> Result<Service, EngineError> {
        let failed = |source| EngineError::io("listen for", "an SSH agent", source);
        let stopper = listener.as_fd().try_clone_to_owned().map_err(failed)?;
        let listener = UnixListener::from(listener);
        let accept = move || {
            let running = Arc::new(AtomicUsize::new(0));
            // The end of the listener is an error, too.
            while let Ok((caller, _)) = listener.accept() {
                if running.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
                    running.fetch_sub(1, Ordering::Relaxed);
                    continue;
                }
                let (socket, running) = (self.socket.clone(), running.clone());
                let answer = move || {
                    // A command that goes away, or an agent that does, ends the connection and nothing else.
                    drop(UnixStream::connect(socket).and_then(|agent| pass_on(&caller, &agent)));
                    running.fetch_sub(1, Ordering::Relaxed);
                };
                drop(std::thread::Builder::new().name("ssh-agent".to_owned()).spawn(answer));
            }
        };
        let thread = std::thread::Builder::new().name("ssh-agents".to_owned()).spawn(accept).map_err(failed)?;
        Ok(Service { stopper, thread: Some(thread) })
    }
}

/// A thread that answers. Dropping it ends it.
pub(crate) struct Service {
    stopper: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Service {
    fn drop(&mut self) {
        // If it cannot be woken it waits for a caller that never comes, and ends with the process.
        if rustix::net::shutdown(&self.stopper, Shutdown::Both).is_ok()
            && let Some(thread) = self.thread.take()
        {
            drop(thread.join());
        }
    }
}

/// Reads one message, without its length; `None` at the end.
fn receive(mut from: impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let length = u32::from_be_bytes(length);
    if length == 0 || length > MESSAGE_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = vec![0; length as usize];
    from.read_exact(&mut message)?;
    Ok(Some(message))
}

fn send(mut to: impl Write, message: &[u8]) -> io::Result<()> {
    let length = u32::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    to.write_all(&[&length.to_be_bytes(), message].concat())
}

/// Passes messages on, one at a time, until the caller has none any more.
fn pass_on(mut caller: &UnixStream, agent: &UnixStream) -> io::Result<()> {
    while let Some(message) = receive(caller)? {
        match message.first() {
            Some(&(REQUEST_IDENTITIES | SIGN_REQUEST)) => {
                send(agent, &message)?;
                match receive(agent)? {
                    Some(answer) => send(caller, &answer)?,
                    None => return Ok(()),
                }
            }
            _ => caller.write_all(&FAILURE)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// T159: what asks for keys and signatures arrives; what would change the agent does not.
    #[test]
    fn only_questions_reach_the_agent() {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let path = directory.path().join("agent");
        let upstream = UnixListener::bind(&path).expect("a socket can be made");
        let agent = std::thread::spawn(move || {
            let (connection, _) = upstream.accept().expect("somebody calls");
            let mut seen = Vec::new();
            while let Some(message) = receive(&connection).expect("messages are whole") {
                seen.push(message.clone());
                send(&connection, &[&[99], &message[..]].concat()).expect("the caller listens");
            }
            seen
        });
        let grants = Grants { ssh: BTreeMap::from([("default".to_owned(), vec![path])]), ..Grants::default() };
        let found = Agent::find(&grants, "default", true).expect("it is a socket").expect("it is given");
        let step = directory.path().join("step");
        let listener = UnixListener::bind(&step).expect("a socket can be made");
        let service = found.serve(listener.into()).expect("it can be served");
        let caller = UnixStream::connect(&step).expect("it listens");
        let ask = |message: &[u8]| {
            send(&caller, message).expect("it reads");
            receive(&caller).expect("it answers").expect("it stays")
        };
        assert_eq!(ask(&[11]), [99, 11]);
        // Add, remove, remove all, lock, unlock, add constrained, extension, nonsense.
        for refused in [17, 18, 19, 22, 23, 25, 26, 27, 1, 255] {
            assert_eq!(ask(&[refused, 1, 2, 3]), [5]);
        }
        assert_eq!(ask(&[13, 7, 7]), [99, 13, 7, 7]);
        drop(caller);
        drop(service);
        assert_eq!(agent.join().expect("the agent ends"), [vec![11], vec![13, 7, 7]]);
        assert!(UnixStream::connect(&step).is_err(), "nobody listens after the step");
    }

    #[test]
    fn a_message_that_is_too_long_ends_the_connection() {
        let (one, other) = UnixStream::pair().expect("sockets can be made");
        (&one).write_all(&(MESSAGE_BYTES_MAX + 1).to_be_bytes()).expect("it is read");
        assert!(receive(&other).is_err());
        (&one).write_all(&[0; 4]).expect("it is read");
        assert!(receive(&other).is_err());
    }

    #[test]
    fn a_missing_agent_is_an_error_only_if_it_is_needed() {
        assert_eq!(Agent::find(&Grants::default(), "default", false).expect("it is not needed"), None);
        let error = Agent::find(&Grants::default(), "other", true).expect_err("it is needed");
        assert_eq!(error.to_string(), "the step needs SSH agent `other`");
    }
}
