//! The way to a running container: a socket in its directory, at which the process listens that holds it.
//!
//! Signals and further processes go through it, because only that process is surely allowed to signal the container's
//! user and to enter its namespaces, and because only it knows how the container really ended.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Scope;

use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen, socket_with,
};
use serde::{Deserialize, Serialize};
use stave_sandbox::{ExecSpec, Exit, Launcher, Running, SandboxError, StepIo, WindowSize, wire};
use stave_store::ContainerId;

use crate::engine::Engine;
use crate::error::EngineError;

/// Who may wait to be accepted.
const BACKLOG: i32 = 64;

/// What is asked of the holder of a container.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// Send its first process a signal. Answer: [`Answer::Done`].
    Signal(i32),
    /// Say when it has ended and the store knows. Answer: [`Answer::Exited`].
    Wait,
    /// Hand out the end at which its input is written, if it has one, and say when it has ended. Answer: [`Answer::Started`]
    /// with that, then [`Answer::Exited`].
    Attach,
    /// Have all its processes stand still, or go on. Answer: [`Answer::Done`].
    Pause(bool),
    /// Start a further process. An [`ExecSpec`] in a memory file comes along and, without a terminal, descriptors 0 to 2.
    /// Answer: [`Answer::Started`], with a terminal its other end, then [`Answer::Exited`].
    Exec(Option<WindowSize>),
}

/// What the holder says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    Done,
    Started,
    Exited(i32),
    Failed(SandboxError),
}

/// A container that runs, as its holder serves it.
pub(super) struct Served<'a> {
    pub(super) launcher: &'a Launcher,
    pub(super) running: &'a Running,
    /// The end at which its input is written, if nobody else has it.
    pub(super) input: Option<BorrowedFd<'a>>,
    /// How it ended, once the store knows.
    pub(super) ended: &'a Ended,
}

/// The code of a container that has ended, for those who wait for it.
#[derive(Default)]
pub(super) struct Ended {
    code: std::sync::Mutex<Option<i32>>,
    changed: std::sync::Condvar,
}

impl Ended {
    pub(super) fn set(&self, code: i32) {
        *self.code.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(code);
        self.changed.notify_all();
    }

    fn wait(&self) -> i32 {
        let mut code = self.code.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        loop {
            match *code {
                Some(code) => return code,
                None => code = self.changed.wait(code).unwrap_or_else(std::sync::PoisonError::into_inner),
            }
        }
    }
}

/// The holder's end of the socket.
pub(super) struct Door {
    socket: OwnedFd,
    path: PathBuf,
    closed: AtomicBool,
}

/// A socket's path may have 107 bytes, a store's may have more: it is reached through its descriptor.
fn address(engine: &Engine, id: &ContainerId) -> Result<SocketAddrUnix, rustix::io::Errno> {
    let store = engine.store.root_dir_fd().as_raw_fd();
    SocketAddrUnix::new(format!("/proc/self/fd/{store}/{}", engine.store.container_file_rel_path(id, "control")))
}

fn new_socket() -> Result<OwnedFd, rustix::io::Errno> {
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

impl Door {
    pub(super) fn open(engine: &Engine, id: &ContainerId) -> Result<Self, EngineError> {
        let path = engine.store.root().join(engine.store.container_file_rel_path(id, "control"));
        let open = || -> Result<OwnedFd, rustix::io::Errno> {
            let socket = new_socket()?;
            // What an earlier holder left, who was killed.
            match rustix::fs::unlink(&path) {
                Err(rustix::io::Errno::NOENT) | Ok(()) => {}
                Err(errno) => return Err(errno),
            }
            bind(&socket, &address(engine, id)?)?;
            listen(&socket, BACKLOG)?;
            Ok(socket)
        };
        let socket = open().map_err(|errno| EngineError::io("listen at", &path, errno.into()))?;
        Ok(Self { socket, path, closed: AtomicBool::new(false) })
    }

    /// Answers whoever asks, until the door is closed. Each has a thread of its own.
    pub(super) fn serve<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, served: &'scope Served<'scope>) {
        scope.spawn(move || {
            while let Ok(peer) = accept_with(&self.socket, SocketFlags::CLOEXEC) {
                if self.closed.load(Ordering::SeqCst) {
                    break;
                }
                scope.spawn(move || answer(&peer, served));
            }
        });
    }

    /// Lets nobody in any more.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        // A container that was removed meanwhile has taken its socket with it.
        drop(std::fs::remove_file(&self.path));
        let _ended = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
    }
}

/// Serves one peer. What cannot be sent is for nobody: the peer has gone.
fn answer(peer: &OwnedFd, served: &Served<'_>) -> Option<()> {
    let received = wire::receive(peer).ok()??;
    let reply = |answer: &Answer, files: &[BorrowedFd<'_>]| wire::send(peer, answer, files).ok();
    match received.parse::<Request>() {
        Err(error) => reply(&Answer::Failed(error), &[]),
        Ok(Request::Signal(number)) => match served.running.forward(number) {
            Ok(()) => reply(&Answer::Done, &[]),
            Err(error) => reply(&Answer::Failed(error), &[]),
        },
        Ok(Request::Pause(still)) => match super::attach::pause(served.running.pidfd(), still) {
            Ok(()) => reply(&Answer::Done, &[]),
            Err(error) => reply(&Answer::Failed(SandboxError::Protocol { detail: error.to_string() }), &[]),
        },
        Ok(Request::Attach) => {
            let files: Vec<BorrowedFd<'_>> = served.input.into_iter().collect();
            reply(&Answer::Started, &files)?;
            reply(&Answer::Exited(served.ended.wait()), &[])
        }
        Ok(Request::Wait) => reply(&Answer::Exited(served.ended.wait()), &[]),
        Ok(Request::Exec(terminal)) => {
            let mut started = match start(served, received.files, terminal) {
                Ok(started) => started,
                Err(error) => return reply(&Answer::Failed(error), &[]),
            };
            let terminal = started.take_terminal();
            let files: Vec<BorrowedFd<'_>> = terminal.iter().map(AsFd::as_fd).collect();
            // A peer that is gone leaves its process running, as docker's do.
            let _told = reply(&Answer::Started, &files);
            drop(terminal);
            match started.wait() {
                Ok(exit @ (Exit::Code(_) | Exit::Signal { .. })) => reply(&Answer::Exited(exit.shell_code()), &[]),
                Err(error) => reply(&Answer::Failed(error), &[]),
            }
        }
    }
}

fn start(served: &Served<'_>, files: Vec<OwnedFd>, terminal: Option<WindowSize>) -> Result<Running, SandboxError> {
    let protocol = |detail: &str| SandboxError::Protocol { detail: detail.to_owned() };
    let mut files = files.into_iter();
    let payload = files.next().ok_or_else(|| protocol("a process without a description"))?;
    let bytes = wire::unpack(payload).map_err(|errno| protocol(&errno.to_string()))?;
    let spec: ExecSpec = serde_json::from_slice(&bytes).map_err(|error| protocol(&error.to_string()))?;
    let io = match (terminal, files.next(), files.next(), files.next()) {
        (Some(size), ..) => StepIo::Terminal(size),
        (None, Some(stdin), Some(stdout), Some(stderr)) => StepIo::Streams { stdin, stdout, stderr },
        _ => return Err(protocol("a process without streams")),
    };
    served.launcher.exec(served.running.pidfd(), &spec, io)
}

/// The caller's end of the socket.
pub(super) struct Holder(OwnedFd);

impl Holder {
    /// Calls the holder of a container; nothing if there is none.
    pub(super) fn call(engine: &Engine, id: &ContainerId) -> Option<Self> {
        let socket = new_socket().ok()?;
        connect(&socket, &address(engine, id).ok()?).ok()?;
        Some(Self(socket))
    }

    pub(super) fn ask(&self, request: &Request, files: &[BorrowedFd<'_>]) -> Result<(), SandboxError> {
        wire::send(&self.0, request, files).map_err(|_| SandboxError::LauncherGone)
    }

    /// Waits for the holder's next answer, with what comes along.
    pub(super) fn answer(&self) -> Result<(Answer, Vec<OwnedFd>), SandboxError> {
        let received = wire::receive(&self.0).ok().flatten().ok_or(SandboxError::LauncherGone)?;
        let answer = received.parse()?;
        Ok((answer, received.files))
    }

    /// Whether there is an answer before the time is over.
    pub(super) fn is_answered_within(&self, time: std::time::Duration) -> bool {
        let mut polled = [rustix::event::PollFd::new(&self.0, rustix::event::PollFlags::IN)];
        let time = rustix::event::Timespec::try_from(time).ok();
        rustix::event::poll(&mut polled, time.as_ref()).is_ok_and(|count| count > 0)
    }
}

/// An input that is open and never says anything: what a container has that keeps its standard input for nobody.
pub(super) fn silent_input() -> Result<(OwnedFd, Option<File>), EngineError> {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(|source| EngineError::io("make", "a pipe", source.into()))?;
    Ok((reader, Some(File::from(writer))))
}
