//! What a step is: the values that the caller fills in.

use std::fmt;
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

/// The layers that a step sees joined into one tree, and where its own changes go.
#[derive(Debug)]
pub struct RootFs {
    /// An open directory; the paths below are relative to it and contain no `..`.
    pub base: OwnedFd,
    /// Read-only layers in overlayfs format, lowest first; at least one, at most [`LAYERS_MAX`].
    pub lowers: Vec<String>,
    /// The directory that receives the step's changes.
    pub upper: String,
    /// An empty directory on the same file system as `upper`, for overlayfs itself.
    pub work: String,
    /// Keep overlayfs' private attributes in `user.overlay.*`; needed in a user namespace.
    pub userxattr: bool,
    /// Leave out every sync of `upper`; the caller makes it durable. Ignored where the kernel does not know it.
    pub volatile: bool,
}

/// Layers that one overlay joins: `OVL_MAX_STACK` of the kernel.
pub(crate) const OVERLAY_LAYERS_MAX: usize = 500;

/// Most layers of a root: an overlay of the lowest is one of the layers of another, and no more overlays than two lie on
/// each other (`FILESYSTEM_MAX_STACK_DEPTH` of the kernel).
pub const LAYERS_MAX: usize = 2 * OVERLAY_LAYERS_MAX - 1;

/// Which network a step sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// The network of the builder.
    Host,
    /// A network of its own that has nothing but a loopback device.
    None,
}

/// How much a step may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Security {
    /// `BuildKit`'s fourteen capabilities, a system call filter, and a `/proc` and `/sys` that cannot change the host.
    #[default]
    Sandbox,
    /// All that the builder itself may do: its capabilities, every system call, all of `/proc`, `/sys` and some devices.
    Insecure,
}

/// What a container may do more or less than every step.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rights {
    /// Whether nobody may write to its layers. What is mounted into them is as it says itself.
    pub read_only: bool,
    /// Capabilities beside the fourteen, as numbers.
    pub added: Vec<u32>,
    /// Capabilities that it does not have, as numbers.
    pub dropped: Vec<u32>,
}

/// A further process in the world of a step that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecSpec {
    /// Program and arguments, as in [`StepSpec::args`].
    pub args: Vec<String>,
    /// The whole environment, as in [`StepSpec::env`].
    pub env: Vec<String>,
    /// Absolute path in the root, which has to be there.
    pub cwd: String,
    /// `USER` text.
    pub user: String,
    /// Which network the step has.
    pub network: Network,
    /// How much the process may do.
    pub security: Security,
    /// What differs from that.
    pub rights: Rights,
    /// Limits that differ from the builder's.
    pub limits: Vec<ResourceLimit>,
}

/// Something that is mounted into the step's root, beside what every step has.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StepMount {
    /// Absolute path in the root. Links in it are followed inside the root. Not `/`, `/dev`, or below `/proc` or `/sys`.
    pub target: String,
    /// What is there.
    pub source: MountSource,
    /// What is not allowed on it. Devices never are.
    #[serde(default)]
    pub denied: Denied,
    /// A symbolic link at the end of the source's path is shown itself, and not what it leads to.
    #[serde(default)]
    pub link: bool,
}

impl StepMount {
    /// Returns a mount on which everything is allowed that its source allows.
    #[must_use]
    pub fn new(target: String, source: MountSource) -> Self {
        Self { target, source, denied: Denied::default(), link: false }
    }
}

/// What the files of a mount cannot do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denied {
    /// Programs give nobody the rights of their owner: `nosuid`.
    pub set_id: bool,
    /// Nothing is run: `noexec`.
    pub programs: bool,
}

/// What a [`StepMount`] shows. Relative paths start at [`RootFs::base`] and contain no `..`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum MountSource {
    /// A file or directory of layers that are joined for this mount alone.
    Layers {
        /// The layers, lowest first; may be empty.
        lowers: Vec<String>,
        /// Where writes go; read-only without.
        scratch: Option<Scratch>,
        /// Path inside the layers; links stay inside.
        path: String,
    },
    /// A file or directory inside a directory below the base.
    Directory {
        /// The directory.
        directory: String,
        /// Path inside it, which whoever wrote the directory may have made a link; it stays inside.
        path: String,
        /// Whether the step may write.
        writable: bool,
    },
    /// A new, empty file system in memory.
    Tmpfs {
        /// Its size; half of the memory if there is none.
        bytes: Option<u64>,
    },
    /// A read-only file that is nowhere but in memory and ends with the step.
    File {
        /// What it says.
        content: Secret,
        /// Its mode.
        mode: u32,
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
    },
    /// A socket that listens; the listening end is among [`crate::Running::take_listeners`].
    Socket {
        /// Its mode.
        mode: u32,
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
    },
    /// A file or directory of the host. The path is the caller's own, never an image's.
    Host {
        /// Absolute path on the host.
        path: String,
        /// Whether the step may write.
        writable: bool,
    },
    /// A device node of the host.
    Device {
        /// Absolute path on the host.
        path: String,
    },
}

/// Directories for writes that are given up later.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Scratch {
    /// An empty directory.
    pub upper: String,
    /// Another one on the same file system.
    pub work: String,
}

/// Bytes that nobody should see in a log.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret(pub Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} bytes", self.0.len())
    }
}

/// One resource limit of the step's processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceLimit {
    /// Its name as `ulimit` and Docker call it: `nofile`, `nproc`, `core` and so on.
    pub name: String,
    /// The limit that holds; `None` for none.
    pub soft: Option<u64>,
    /// The most that the step may set itself; `None` for none.
    pub hard: Option<u64>,
}

/// The way out of a step that has no network: a socket that the caller serves from outside.
///
/// The step has to be without a network. Nothing of it is in the step's layer, but where the step itself changes a file of
/// trusted certificates: what it saw there begins with [`Outlet::trusted`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outlet {
    /// The port on 127.0.0.1 of the step's loopback device. The listening socket is [`crate::Running::take_outlet`].
    pub port: u16,
    /// Certificates in the PEM format that are put in front of each file of trusted certificates that the root has; which
    /// these are is [`crate::Running::extended`].
    pub trusted: Vec<u8>,
}

/// One process to run, and the world that it sees.
#[derive(Debug)]
pub struct StepSpec {
    /// The root file system.
    pub root: RootFs,
    /// Program and arguments. A program without `/` is looked up in the `PATH` of `env`, inside the root.
    pub args: Vec<String>,
    /// The whole environment as `NAME=value`. `PATH` and `HOME` are added where they are missing.
    pub env: Vec<String>,
    /// Absolute path in the root; created with mode 0755 and the step's user where it is missing.
    pub cwd: String,
    /// `USER` text: empty, a name or a uid, optionally with `:` and a group or a gid.
    pub user: String,
    /// Host name in the step's own UTS namespace.
    pub hostname: String,
    /// The network.
    pub network: Network,
    /// A way out of no network.
    pub outlet: Option<Outlet>,
    /// Content of `/etc/hosts`.
    pub hosts: Vec<u8>,
    /// Content of `/etc/resolv.conf`.
    pub resolv_conf: Vec<u8>,
    /// Size of `/dev/shm` in bytes.
    pub shm_bytes: u64,
    /// What else is mounted, in this order: what is below another mount comes after it.
    pub mounts: Vec<StepMount>,
    /// How much it may do.
    pub security: Security,
    /// What differs from the rights of a sandbox; an insecure step has all of them.
    pub rights: Rights,
    /// Limits that differ from the builder's.
    pub limits: Vec<ResourceLimit>,
    /// The directory of a group of the unified cgroup hierarchy that the step starts in; the builder's own without.
    pub cgroup: Option<OwnedFd>,
}

/// What a step's descriptors 0, 1 and 2 are.
#[derive(Debug)]
pub enum StepIo {
    /// Three descriptors of the caller.
    Streams {
        /// Descriptor 0.
        stdin: OwnedFd,
        /// Descriptor 1.
        stdout: OwnedFd,
        /// Descriptor 2.
        stderr: OwnedFd,
    },
    /// A new terminal of the step's own `/dev/pts`; its other end is [`crate::Running::take_terminal`].
    Terminal(WindowSize),
}

/// Size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It called `exit` with this status.
    Code(i32),
    /// A signal ended it.
    Signal {
        /// The signal's number.
        number: i32,
        /// Whether memory was dumped.
        core: bool,
    },
}

impl Exit {
    /// The status as a shell shows it: the code, or 128 + the signal's number.
    #[must_use]
    pub fn shell_code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal { number, .. } => 128 + number,
        }
    }
}
