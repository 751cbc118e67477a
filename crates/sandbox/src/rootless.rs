//! Makes an ordinary user the root of a user namespace of its own.

use std::path::PathBuf;

use crate::Errno;

/// Where to look; every path enters here.
#[derive(Debug, Clone)]
pub struct RootlessOptions {
    /// Subordinate user ids, as in `subuid(5)`.
    pub subuid: PathBuf,
    /// Subordinate group ids, as in `subgid(5)`.
    pub subgid: PathBuf,
    /// The host's users: ranges may be given by name.
    pub passwd: PathBuf,
    /// Directories in which `newuidmap` and `newgidmap` are looked for.
    pub helper_dirs: Vec<PathBuf>,
}

impl Default for RootlessOptions {
    fn default() -> Self {
        Self {
            subuid: "/etc/subuid".into(),
            subgid: "/etc/subgid".into(),
            passwd: "/etc/passwd".into(),
            helper_dirs: ["/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin", "/sbin"].map(PathBuf::from).to_vec(),
        }
    }
}

/// Ids `inside..inside + count` of the namespace are `outside..outside + count` of the one around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// First id in the namespace.
    pub inside: u32,
    /// First id outside.
    pub outside: u32,
    /// Number of ids.
    pub count: u32,
}

/// Which ids the process has after [`enter`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdMap {
    /// It was root already; only the mounts are private now.
    Inherited,
    /// Root is the caller, the rest comes from its subordinate ranges.
    Ranges {
        /// User ids.
        uids: Vec<Extent>,
        /// Group ids.
        gids: Vec<Extent>,
    },
    /// Root is the caller, and no other id exists.
    Single {
        /// Why there are no ranges.
        reason: SingleReason,
    },
}

/// Why only one id is mapped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SingleReason {
    /// No range for this user.
    #[error("`{}` has no range for user {user}", file.display())]
    NoRange {
        /// The file without it.
        file: PathBuf,
        /// Name or id of the user.
        user: String,
    },
    /// The helper is not installed.
    #[error("`{name}` is not installed")]
    NoHelper {
        /// Its name.
        name: &'static str,
    },
    /// The helper refused.
    #[error("`{name}` failed: {message}")]
    HelperFailed {
        /// Its name.
        name: &'static str,
        /// What it printed.
        message: String,
    },
}

impl IdMap {
    /// What the user can do to get more, as whole sentences; `None` where nothing is missing.
    #[must_use]
    pub fn advice(&self) -> Option<String> {
        let Self::Single { reason } = self else { return None };
        Some(match reason {
            SingleReason::NoRange { file, user } => format!(
                "Only one user id is available, so files of other owners belong to root and `USER` other than root fails. \
                 An administrator can add the line `{user}:100000:65536` to `{}`.",
                file.display()
            ),
            SingleReason::NoHelper { name } => format!(
                "Only one user id is available, so files of other owners belong to root and `USER` other than root fails. \
                 Install the package with `{name}` (Debian: `uidmap`)."
            ),
            SingleReason::HelperFailed { name, message } => format!(
                "Only one user id is available, so files of other owners belong to root and `USER` other than root fails. \
                 `{name}` said: {message}. Check that it is set-user-id root and that the ranges in `/etc/subuid` and `/etc/subgid` are right."
            ),
        })
    }
}

/// Why the namespace could not be entered.
#[derive(Debug, thiserror::Error)]
pub enum RootlessError {
    /// The kernel gave no user namespace.
    #[error("cannot create a user namespace")]
    UserNamespace(#[source] Errno),
    /// The kernel gave no mount namespace.
    #[error("cannot create a mount namespace")]
    MountNamespace(#[source] Errno),
    /// A file of `/proc/self` could not be written.
    #[error("cannot write `{path}`")]
    Map {
        /// Which file.
        path: String,
        /// The kernel's answer.
        #[source]
        errno: Errno,
    },
    /// The process has threads.
    #[error("a user namespace can only be entered by a process of one thread, this one has {threads}")]
    NotSingleThreaded {
        /// Threads that there were.
        threads: usize,
    },
}

/// Makes the calling process uid 0 with all capabilities in a namespace with private mounts.
///
/// Root (with `CAP_SYS_ADMIN`) only gets private mounts.
pub fn enter(options: &RootlessOptions) -> Result<IdMap, RootlessError> {
    let _ = options;
    Err(RootlessError::UserNamespace(Errno(1)))
}
