//! Makes an ordinary user the root of a user namespace of its own.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::io::Errno as Code;
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::process::{WaitId, WaitIdOptions, waitid};
use rustix::thread::{CapabilitySet, Gid, Uid, UnshareFlags, capabilities, set_thread_res_gid, set_thread_res_uid};
use serde::{Deserialize, Serialize};

use crate::error::forgive;
use crate::launcher::thread_count;
use crate::sys::{self, Forked};
use crate::{Errno, wire};

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
    /// A helper did half of the work, after which there is no other way.
    #[error("`{name}` failed: {message}")]
    Helper {
        /// Its name.
        name: &'static str,
        /// What it printed.
        message: String,
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
/// Root (with `CAP_SYS_ADMIN`) only gets private mounts. The caller must be the only thread.
pub fn enter(options: &RootlessOptions) -> Result<IdMap, RootlessError> {
    let threads = thread_count()
        .map_err(|error| RootlessError::Map { path: "/proc/self/task".to_owned(), errno: error.into() })?;
    if threads != 1 {
        return Err(RootlessError::NotSingleThreaded { threads });
    }
    if is_root() {
        private_mounts()?;
        return Ok(IdMap::Inherited);
    }
    let map = match Ranges::find(options) {
        Ok(ranges) => with_helpers(&ranges)?,
        Err(reason) => single(reason)?,
    };
    private_mounts()?;
    Ok(map)
}

pub(crate) fn is_root() -> bool {
    let held = capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN));
    rustix::process::geteuid().is_root() && held
}

fn private_mounts() -> Result<(), RootlessError> {
    sys::unshare_mounts().map_err(|errno| RootlessError::MountNamespace(errno.into()))?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).map_err(|errno| RootlessError::MountNamespace(errno.into()))
}

/// What the helpers will be asked for.
pub(crate) struct Ranges {
    pub(crate) uids: Vec<Extent>,
    pub(crate) gids: Vec<Extent>,
    newuidmap: PathBuf,
    newgidmap: PathBuf,
}

impl Ranges {
    pub(crate) fn find(options: &RootlessOptions) -> Result<Self, SingleReason> {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let passwd = fs::read_to_string(&options.passwd).unwrap_or_default();
        let name = user_name(&passwd, uid);
        let extents = |file: &Path, own: u32| {
            let ranges = ranges(&fs::read_to_string(file).unwrap_or_default(), uid, name);
            if ranges.is_empty() {
                let user = name.map_or_else(|| uid.to_string(), str::to_owned);
                return Err(SingleReason::NoRange { file: file.to_owned(), user });
            }
            Ok(extents(own, &ranges))
        };
        Ok(Self {
            uids: extents(&options.subuid, uid)?,
            gids: extents(&options.subgid, gid)?,
            newuidmap: helper(options, "newuidmap")?,
            newgidmap: helper(options, "newgidmap")?,
        })
    }
}

fn helper(options: &RootlessOptions, name: &'static str) -> Result<PathBuf, SingleReason> {
    let found = options.helper_dirs.iter().map(|directory| directory.join(name)).find(|path| path.is_file());
    found.ok_or(SingleReason::NoHelper { name })
}

/// The name of `uid` in `passwd(5)` text.
pub(crate) fn user_name(passwd: &str, uid: u32) -> Option<&str> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    })
}

/// The ranges of a user in `subuid(5)` text: first id and count. A line may name the user or its id.
pub(crate) fn ranges(text: &str, uid: u32, name: Option<&str>) -> Vec<(u32, u32)> {
    let number = uid.to_string();
    text.lines()
        .filter_map(|line| {
            let mut fields = line.trim().split(':');
            let owner = fields.next()?;
            let first: u32 = fields.next()?.parse().ok()?;
            let count: u32 = fields.next()?.parse().ok()?;
            let mine = owner == number || name == Some(owner);
            (mine && count > 0 && fields.next().is_none() && first.checked_add(count).is_some())
                .then_some((first, count))
        })
        .collect()
}

/// Root is `own`; 1 and up are the ranges, one after the other.
fn extents(own: u32, ranges: &[(u32, u32)]) -> Vec<Extent> {
    let mut extents = vec![Extent { inside: 0, outside: own, count: 1 }];
    let mut inside: u32 = 1;
    for (outside, count) in ranges {
        let count = (*count).min(u32::MAX - 1 - inside);
        if count > 0 {
            extents.push(Extent { inside, outside: *outside, count });
            inside += count;
        }
    }
    extents
}

/// Enters with ranges. The helpers must be executed by a process outside the new namespace, which is therefore forked
/// before this one enters.
fn with_helpers(ranges: &Ranges) -> Result<IdMap, RootlessError> {
    let failed = |errno: Code| RootlessError::UserNamespace(errno.into());
    let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let (ours, theirs) = wire::pair().map_err(failed)?;
    let parent = rustix::process::getpid().as_raw_nonzero().get();
    let outside = match sys::fork(0, None).map_err(failed)? {
        Forked::Child => {
            drop(ours);
            map_from_outside(parent, ranges, &theirs)
        }
        Forked::Parent(child) => child,
    };
    drop(theirs);
    sys::unshare(UnshareFlags::NEWUSER).map_err(failed)?;
    let answer = wire::send(&ours, &(), &[]).and_then(|()| wire::receive(&ours)).map_err(failed)?;
    while matches!(waitid(WaitId::PidFd(outside.as_fd()), WaitIdOptions::EXITED), Err(Code::INTR)) {}
    let outcome: Option<Outside> = answer.and_then(|message| message.parse().ok());
    match outcome {
        Some(Outside::Mapped) => {
            become_root().map_err(failed)?;
            Ok(IdMap::Ranges { uids: ranges.uids.clone(), gids: ranges.gids.clone() })
        }
        Some(Outside::Refused { uids_are_mapped: false, message }) => {
            write_maps(own.0, own.1)?;
            become_root().map_err(failed)?;
            Ok(IdMap::Single { reason: SingleReason::HelperFailed { name: "newuidmap", message } })
        }
        Some(Outside::Refused { uids_are_mapped: true, message }) => {
            Err(RootlessError::Helper { name: "newgidmap", message })
        }
        None => Err(RootlessError::Helper { name: "newuidmap", message: "it could not be run".to_owned() }),
    }
}

/// What the process outside says.
#[derive(Serialize, Deserialize)]
enum Outside {
    Mapped,
    Refused { uids_are_mapped: bool, message: String },
}

/// Waits until the parent has entered its namespace, then has its maps written. Does not return.
fn map_from_outside(parent: i32, ranges: &Ranges, channel: &OwnedFd) -> ! {
    let answer = std::panic::catch_unwind(|| {
        // The end of the channel without a message: the parent is gone.
        wire::receive(channel).ok().flatten()?;
        Some(match run_helper(&ranges.newuidmap, parent, &ranges.uids) {
            Err(message) => Outside::Refused { uids_are_mapped: false, message },
            Ok(()) => match run_helper(&ranges.newgidmap, parent, &ranges.gids) {
                Err(message) => Outside::Refused { uids_are_mapped: true, message },
                Ok(()) => Outside::Mapped,
            },
        })
    });
    if let Ok(Some(answer)) = answer {
        forgive(wire::send(channel, &answer, &[]));
    }
    sys::exit_now(0)
}

fn run_helper(helper: &Path, pid: i32, extents: &[Extent]) -> Result<(), String> {
    let numbers = extents.iter().flat_map(|extent| [extent.inside, extent.outside, extent.count]);
    let output = Command::new(helper)
        .arg(pid.to_string())
        .args(numbers.map(|number| number.to_string()))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(if message.is_empty() { output.status.to_string() } else { message })
}

/// Enters with one id.
fn single(reason: SingleReason) -> Result<IdMap, RootlessError> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    sys::unshare(UnshareFlags::NEWUSER).map_err(|errno| RootlessError::UserNamespace(errno.into()))?;
    write_maps(uid, gid)?;
    become_root().map_err(|errno| RootlessError::UserNamespace(errno.into()))?;
    Ok(IdMap::Single { reason })
}

pub(crate) fn write_maps(uid: u32, gid: u32) -> Result<(), RootlessError> {
    let write = |path: &str, text: String| {
        fs::write(path, text).map_err(|error| RootlessError::Map { path: path.to_owned(), errno: error.into() })
    };
    // Without this the kernel lets nobody write a map of groups: a group can also be what forbids something.
    write("/proc/self/setgroups", "deny".to_owned())?;
    write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    write("/proc/self/gid_map", format!("0 {gid} 1"))
}

/// Ids that were mapped after the namespace was entered are 0 already for the kernel; make the saved ones so, too.
fn become_root() -> Result<(), Code> {
    let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_name_and_by_number() {
        let text = "root:1:2\nann:100000:65536\n1000:300000:10\nann:200000:5\nann:bad:1\nann:5:0\nann:4294967295:2\nann:1:2:3\n";
        assert_eq!(ranges(text, 1000, Some("ann")), [(100_000, 65536), (300_000, 10), (200_000, 5)]);
        assert_eq!(ranges(text, 1001, None), []);
        assert_eq!(user_name("root:x:0:0::/:\nann:x:1000:1000::/:\n", 1000), Some("ann"));
    }

    #[test]
    fn root_is_the_caller_and_the_ranges_follow_each_other() {
        let extent = |inside, outside, count| Extent { inside, outside, count };
        assert_eq!(
            extents(1000, &[(100_000, 65536), (300_000, 10)]),
            [extent(0, 1000, 1), extent(1, 100_000, 65536), extent(65537, 300_000, 10)]
        );
        let all = extents(0, &[(1, u32::MAX - 1), (7, 7)]);
        assert_eq!(all, [extent(0, 0, 1), extent(1, 1, u32::MAX - 2)]);
    }
}
