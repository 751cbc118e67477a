//! What a step is: the values that the caller fills in.

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

/// Layers that overlayfs joins at most.
///
/// Reference: Linux `fs/overlayfs/params.h`, `OVL_MAX_STACK`.
pub const LAYERS_MAX: usize = 500;

/// Which network a step sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// The network of the builder.
    Host,
    /// A network of its own that has nothing but a loopback device.
    None,
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
    /// Content of `/etc/hosts`.
    pub hosts: Vec<u8>,
    /// Content of `/etc/resolv.conf`.
    pub resolv_conf: Vec<u8>,
    /// Size of `/dev/shm` in bytes.
    pub shm_bytes: u64,
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
