//! What can go wrong, as values that cross process borders.

use std::io;

use serde::{Deserialize, Serialize};

/// An error number of the kernel. Unlike [`io::Error`] it can be sent, compared and cloned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{}", io::Error::from_raw_os_error(*.0))]
pub struct Errno(pub i32);

impl From<rustix::io::Errno> for Errno {
    fn from(errno: rustix::io::Errno) -> Self {
        Self(errno.raw_os_error())
    }
}

impl From<io::Error> for Errno {
    fn from(error: io::Error) -> Self {
        Self(error.raw_os_error().unwrap_or(rustix::io::Errno::IO.raw_os_error()))
    }
}

/// Why a step or a confined job did not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// The launcher must be started before the first thread.
    #[error("the step launcher was started by a process of {threads} threads, expected 1")]
    NotSingleThreaded {
        /// Threads that there were.
        threads: usize,
    },
    /// The launcher could not be started.
    #[error("cannot start the step launcher: cannot {action}")]
    Start {
        /// What was tried.
        action: String,
        /// The kernel's answer.
        #[source]
        errno: Errno,
    },
    /// The launcher's process is gone, and with it every step.
    #[error("the step launcher ended unexpectedly")]
    LauncherGone,
    /// The child ended before it could run the command or say why not.
    #[error("the step's process ended while it was set up")]
    SetUpDied,
    /// A system call that sets up a step failed.
    #[error("cannot {action} `{target}` for the step")]
    SetUp {
        /// Verb: what was tried.
        action: String,
        /// The path or thing that it was tried on.
        target: String,
        /// The kernel's answer.
        #[source]
        errno: Errno,
    },
    /// A running container could not be looked into.
    #[error("cannot {action}")]
    Visit {
        /// Verb and object: what was tried.
        action: String,
        /// The kernel's answer.
        #[source]
        errno: Errno,
    },
    /// More layers than the kernel joins.
    #[error("cannot join {count} layers, expected at most {limit}")]
    TooManyLayers {
        /// Layers asked for.
        count: usize,
        /// What this kernel takes.
        limit: usize,
    },
    /// A path in the image on which something must be mounted is not what it must be.
    #[error("`{path}` in the image is {found}, expected {expected}")]
    MountPoint {
        /// Path in the image.
        path: String,
        /// What is there.
        found: String,
        /// What must be there.
        expected: String,
    },
    /// A mount that was asked for shows something that is not there.
    #[error("cannot open `{path}` for the mount on `{target}`")]
    MountSource {
        /// Path in what is mounted.
        path: String,
        /// Path in the step's root.
        target: String,
        /// The kernel's answer.
        #[source]
        errno: Errno,
    },
    /// Nothing can be mounted there.
    #[error("cannot mount on `{target}`: {reason}")]
    MountTarget {
        /// Path in the step's root as asked for.
        target: String,
        /// Why not, as a fragment.
        reason: String,
    },
    /// A limit that no kernel has under this name.
    #[error("no resource limit is named `{name}`")]
    UnknownLimit {
        /// The name asked for.
        name: String,
    },
    /// A limit that the builder itself may not set.
    #[error("cannot set limit `{name}` to {wanted}: the builder's own is {own}")]
    Limit {
        /// The limit's name.
        name: String,
        /// The value or values asked for.
        wanted: String,
        /// The builder's hard limit.
        own: String,
        /// The kernel's answer.
        #[source]
        errno: Errno,
    },
    /// A user text that is not one, or that names nobody.
    #[error("cannot use `{user}` as the user")]
    User {
        /// The text as given.
        user: String,
        /// What is wrong with it.
        #[source]
        source: stave_oci::user::UserError,
    },
    /// The image's `/etc/passwd` or `/etc/group` cannot be used.
    #[error("cannot use `{path}` of the image: {reason}")]
    UserFile {
        /// Which file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The id exists in the image but not in the builder's user namespace.
    #[error("{kind} {id} is not among the ids that this user may use")]
    UnmappedId {
        /// `user` or `group`.
        kind: String,
        /// The id.
        id: u32,
    },
    /// The working directory cannot be entered or made.
    #[error("cannot {action} working directory `{path}`")]
    WorkDir {
        /// Verb: what was tried.
        action: String,
        /// Path in the image.
        path: String,
        /// The kernel's answer.
        #[source]
        errno: Errno,
    },
    /// An argument or a variable that the kernel would cut short.
    #[error("`{text}` has a zero byte")]
    ZeroByte {
        /// The text, with the byte shown as `\\0`.
        text: String,
    },
    /// The step has no command.
    #[error("the step has no command")]
    NoCommand,
    /// No directory of `PATH` has the program.
    #[error("`{program}` is not in any directory of PATH")]
    CommandNotFound {
        /// The program as given.
        program: String,
    },
    /// The program exists but its interpreter (of a script or of a dynamic executable) does not.
    #[error("`{program}` needs an interpreter that the image does not have")]
    InterpreterNotFound {
        /// Path of the program.
        program: String,
    },
    /// The kernel does not run the program.
    #[error("cannot run `{program}`")]
    Exec {
        /// Path of the program.
        program: String,
        /// The kernel's answer.
        #[source]
        errno: Errno,
    },
    /// A message between the processes of the launcher makes no sense: a bug.
    #[error("the step launcher sent a message that makes no sense: {detail}")]
    Protocol {
        /// What was wrong.
        detail: String,
    },
    /// The job is not in the table that the launcher was started with.
    #[error("no confined job is named `{name}`")]
    UnknownJob {
        /// The name asked for.
        name: String,
    },
    /// The job panicked: a bug, or an input that found one.
    #[error("confined job `{name}` panicked: {message}")]
    JobPanicked {
        /// Name of the job.
        name: String,
        /// Message and place of the panic.
        message: String,
    },
    /// The job ended without an answer.
    #[error("confined job `{name}` ended without an answer (status {status})")]
    JobDied {
        /// Name of the job.
        name: String,
        /// Its exit status as a shell shows it.
        status: i32,
    },
    /// The job's answer is too long.
    #[error("confined job `{name}` answered {bytes} bytes, expected at most {limit}")]
    JobAnswerTooLong {
        /// Name of the job.
        name: String,
        /// Length of the answer.
        bytes: u64,
        /// [`crate::launcher::ANSWER_BYTES_MAX`].
        limit: u64,
    },
}

impl Errno {
    /// Whether the kernel does not know how to run a file: a program for another processor, or no program at all.
    #[must_use]
    pub fn is_not_executable(self) -> bool {
        self == Self(rustix::io::Errno::NOEXEC.raw_os_error())
    }
}

impl SandboxError {
    /// The exit code that a shell or `docker run` gives where the command could not be started:
    /// 127 where there is no such program, 126 where it cannot be run; `None` where it is not the command's fault.
    #[must_use]
    pub fn exit_code(&self) -> Option<i32> {
        match self {
            Self::CommandNotFound { .. } | Self::InterpreterNotFound { .. } => Some(127),
            Self::Exec { errno, .. } if *errno == Errno(rustix::io::Errno::NOENT.raw_os_error()) => Some(127),
            Self::Exec { .. } => Some(126),
            _ => None,
        }
    }
}

/// Leaves a failure without consequence; the caller says why it may.
pub(crate) fn forgive<T, E>(_result: Result<T, E>) {}

/// Wraps an error number of setting up, with what was tried on what.
pub(crate) trait During<T> {
    fn during(self, action: &str, target: &str) -> Result<T, SandboxError>;
}

impl<T, E: Into<Errno>> During<T> for Result<T, E> {
    fn during(self, action: &str, target: &str) -> Result<T, SandboxError> {
        self.map_err(|errno| SandboxError::SetUp {
            action: action.to_owned(),
            target: target.to_owned(),
            errno: errno.into(),
        })
    }
}
