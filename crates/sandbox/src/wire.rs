//! Messages between the builder, the zygote and its children, with descriptors.

use std::borrow::Cow;
use std::io::{IoSlice, IoSliceMut, Read, Seek, SeekFrom};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::rootfs::Layers;
use crate::{
    ExecSpec, Network, Outlet, ResourceLimit, Rights, SandboxError, Security, StepMount, StepSpec, WindowSize,
};

/// Descriptors in one message at most.
pub(crate) const FILES_MAX: usize = 32;
/// Longest message, in bytes. What may be longer travels in a memory file.
const MESSAGE_BYTES_MAX: usize = 16 * 1024;

/// What the builder asks of the zygote. Three descriptors come first: events, reports, payload.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Run the step in the payload. Then come the directory of its cgroup, if it has one of its own, the base directory
    /// and, without a terminal, descriptors 0 to 2.
    Step {
        /// Whether it has a network of its own.
        own_network: bool,
        /// Whether it has a cgroup of its own.
        own_cgroup: bool,
    },
    /// Run the process in the payload in the namespaces of a step. Then come the step's pidfd and, without a terminal,
    /// descriptors 0 to 2.
    Exec,
    /// Run this job of the table with the payload as request. Then come the answer's file and the job's files.
    Job {
        /// Index in the table.
        index: usize,
    },
}

/// What the zygote says about one child.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Event {
    /// It exists; its pidfd comes along.
    Started,
    /// It could not be made.
    NotStarted(SandboxError),
    /// It has ended; the most memory that one of its processes has had, in bytes.
    Exited(ExitMessage, Option<u64>),
}

/// [`crate::Exit`] on the wire.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum ExitMessage {
    /// By itself.
    Code(i32),
    /// By a signal, with or without a dump.
    Signal(i32, bool),
}

/// What a child says about itself until its program runs.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The other end of its terminal comes along.
    Terminal,
    /// A listening socket of the step's root comes along.
    Listener,
    /// The listening socket of the step's way out comes along.
    Outlet,
    /// These files of the root begin with what is trusted beside the image's own.
    Extended(Vec<String>),
    /// Something was left out.
    Note(String),
    /// Everything is set up; this program is executed next.
    Ready(String),
    /// It gives up.
    Failed(SandboxError),
}

/// [`StepSpec`] on the wire, without its descriptors.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StepMessage<'a> {
    pub(crate) lowers: Cow<'a, [String]>,
    pub(crate) upper: Cow<'a, str>,
    pub(crate) work: Cow<'a, str>,
    pub(crate) userxattr: bool,
    pub(crate) volatile: bool,
    pub(crate) args: Cow<'a, [String]>,
    pub(crate) env: Cow<'a, [String]>,
    pub(crate) cwd: Cow<'a, str>,
    pub(crate) user: Cow<'a, str>,
    pub(crate) hostname: Cow<'a, str>,
    pub(crate) network: Network,
    pub(crate) outlet: Cow<'a, Option<Outlet>>,
    pub(crate) hosts: Cow<'a, [u8]>,
    pub(crate) resolv_conf: Cow<'a, [u8]>,
    pub(crate) shm_bytes: u64,
    pub(crate) mounts: Cow<'a, [StepMount]>,
    pub(crate) security: Security,
    pub(crate) rights: Cow<'a, Rights>,
    pub(crate) limits: Cow<'a, [ResourceLimit]>,
    pub(crate) terminal: Option<WindowSize>,
}

/// [`ExecSpec`] on the wire.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ExecMessage<'a> {
    pub(crate) spec: Cow<'a, ExecSpec>,
    pub(crate) terminal: Option<WindowSize>,
}

impl<'a> StepMessage<'a> {
    pub(crate) fn new(spec: &'a StepSpec, terminal: Option<WindowSize>) -> Self {
        Self {
            lowers: Cow::Borrowed(&spec.root.lowers),
            upper: Cow::Borrowed(&spec.root.upper),
            work: Cow::Borrowed(&spec.root.work),
            userxattr: spec.root.userxattr,
            volatile: spec.root.volatile,
            args: Cow::Borrowed(&spec.args),
            env: Cow::Borrowed(&spec.env),
            cwd: Cow::Borrowed(&spec.cwd),
            user: Cow::Borrowed(&spec.user),
            hostname: Cow::Borrowed(&spec.hostname),
            network: spec.network,
            outlet: Cow::Borrowed(&spec.outlet),
            hosts: Cow::Borrowed(&spec.hosts),
            resolv_conf: Cow::Borrowed(&spec.resolv_conf),
            shm_bytes: spec.shm_bytes,
            mounts: Cow::Borrowed(&spec.mounts),
            security: spec.security,
            rights: Cow::Borrowed(&spec.rights),
            limits: Cow::Borrowed(&spec.limits),
            terminal,
        }
    }

    /// The layers of its root, with the place for its changes.
    pub(crate) fn layers(&self) -> Layers<'_> {
        Layers {
            lowers: self.lowers.iter().map(String::as_str).collect(),
            changes: Some((&self.upper, &self.work)),
            userxattr: self.userxattr,
            volatile: self.volatile,
            attributes: crate::mounts::no_devices_for(self.security),
        }
    }

    /// The layers of its root as they are before it.
    pub(crate) fn lowers(&self) -> Layers<'_> {
        Layers { changes: None, ..self.layers() }
    }
}

/// A connected pair of sockets that keep messages apart.
pub(crate) fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// Sends one message.
pub fn send<M: Serialize>(socket: impl AsFd, message: &M, files: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let bytes = serde_json::to_vec(message).map_err(|_| Errno::INVAL)?;
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(Errno::MSGSIZE);
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() && !control.push(SendAncillaryMessage::ScmRights(files)) {
        return Err(Errno::TOOBIG);
    }
    loop {
        match rustix::net::sendmsg(&socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            other => return other.map(drop),
        }
    }
}

/// One received message.
pub struct Received {
    /// The message.
    pub bytes: Vec<u8>,
    /// The descriptors that came along.
    pub files: Vec<OwnedFd>,
}

impl Received {
    /// Reads the message.
    pub fn parse<M: DeserializeOwned>(&self) -> Result<M, SandboxError> {
        serde_json::from_slice(&self.bytes).map_err(|error| SandboxError::Protocol { detail: error.to_string() })
    }
}

/// Receives one message; `None` where the other end is closed.
pub fn receive(socket: impl AsFd) -> Result<Option<Received>, Errno> {
    let mut bytes = vec![0; MESSAGE_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        match rustix::net::recvmsg(&socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            // The peer died with messages unread.
            Err(Errno::CONNRESET) => return Ok(None),
            other => break other?,
        }
    };
    if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(Errno::MSGSIZE);
    }
    let mut files = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            files.extend(rights);
        }
    }
    if received.bytes == 0 && files.is_empty() {
        return Ok(None);
    }
    bytes.truncate(received.bytes);
    Ok(Some(Received { bytes, files }))
}

/// Puts `bytes` into a memory file.
pub fn payload(bytes: &[u8]) -> Result<OwnedFd, Errno> {
    let file = std::fs::File::from(memfd_create(c"stave-payload", MemfdFlags::CLOEXEC)?);
    std::io::Write::write_all(&mut &file, bytes).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    Ok(file.into())
}

/// Takes the bytes of a memory file out.
pub fn unpack(file: OwnedFd) -> Result<Vec<u8>, Errno> {
    let mut file = std::fs::File::from(file);
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))
        .and_then(|_| file.read_to_end(&mut bytes))
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    Ok(bytes)
}
