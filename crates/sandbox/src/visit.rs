//! The files of a running container, seen from outside.
//!
//! Turns the number of a process and the time of its start into a directory: the root of the file system that the
//! process runs in, without what is mounted below it (`/proc`, `/dev`). It does not know what a container is.
//!
//! One joins another process's namespaces only from the namespace that they were made in, or from one above it. So an ordinary
//! user's visitor is forked before [`crate::rootless::enter`]; what it opens there crosses namespaces as a descriptor.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno as Code;
use rustix::process::{
    DumpableBehavior, Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, set_dumpable_behavior, waitid,
};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};
use serde::{Deserialize, Serialize};

use crate::error::forgive;
use crate::launcher::thread_count;
use crate::sys::{self, Forked};
use crate::{Errno, SandboxError, rootfs, wire};

/// Which process.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Host {
    pid: u32,
    start_time: u64,
}

/// What the visitor found. With [`Found::Root`] comes a descriptor.
#[derive(Debug, Serialize, Deserialize)]
enum Found {
    Root,
    Ended,
    Failed(SandboxError),
}

/// A process that can look into one running container. It ends after that, or when this value is dropped.
#[derive(Debug)]
pub struct Visitor {
    channel: Option<OwnedFd>,
    process: OwnedFd,
}

impl Visitor {
    /// Forks it. The calling process must have one thread and must not have entered a user namespace for this yet.
    pub fn start() -> Result<Self, SandboxError> {
        let failed = |action: &str, errno: Errno| SandboxError::Start { action: action.to_owned(), errno };
        let threads = thread_count().map_err(|error| failed("count the threads of this process", error.into()))?;
        if threads != 1 {
            return Err(SandboxError::NotSingleThreaded { threads });
        }
        let (ours, theirs) = wire::pair().map_err(|errno| failed("make a socket", errno.into()))?;
        match sys::fork(0, None).map_err(|errno| failed("fork", errno.into()))? {
            Forked::Child => live(&theirs),
            Forked::Parent(process) => Ok(Self { channel: Some(ours), process }),
        }
    }

    /// Opens the root of the process `pid`, which was started at `start_time` (in clock ticks since boot); `None` if that
    /// process has ended. The directory stays open when the process ends.
    pub fn root_of(&self, pid: u32, start_time: u64) -> Result<Option<OwnedFd>, SandboxError> {
        let channel = self.channel.as_ref().ok_or(SandboxError::LauncherGone)?;
        wire::send(channel, &Host { pid, start_time }, &[]).map_err(|_| SandboxError::LauncherGone)?;
        let mut answer = wire::receive(channel).ok().flatten().ok_or(SandboxError::LauncherGone)?;
        match answer.parse()? {
            Found::Ended => Ok(None),
            Found::Failed(error) => Err(error),
            Found::Root => match answer.files.pop() {
                Some(root) => Ok(Some(root)),
                None => Err(SandboxError::Protocol { detail: "a root without a descriptor".to_owned() }),
            },
        }
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        drop(self.channel.take());
        while matches!(waitid(WaitId::PidFd(self.process.as_fd()), WaitIdOptions::EXITED), Err(Code::INTR)) {}
    }
}

/// The whole life of the process: one question, one answer.
fn live(channel: &OwnedFd) -> ! {
    let answered = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        sys::close_all_but(&[channel.as_raw_fd()]).ok()?;
        // Ctrl-C is the builder's to handle; when that ends, so does the channel.
        rustix::process::setsid().ok()?;
        let host: Host = wire::receive(channel).ok().flatten()?.parse().ok()?;
        let (found, root) = match visit(host) {
            Ok(Some(root)) => (Found::Root, Some(root)),
            Ok(None) => (Found::Ended, None),
            Err(error) => (Found::Failed(error), None),
        };
        let files: Vec<_> = root.iter().map(AsFd::as_fd).collect();
        wire::send(channel, &found, &files).ok()
    }));
    // The builder sees a channel that ended without an answer.
    forgive(answered);
    sys::exit_now(0)
}

fn visit(host: Host) -> Result<Option<OwnedFd>, SandboxError> {
    let failed = |action: &str, errno: Code| SandboxError::Visit { action: action.to_owned(), errno: errno.into() };
    // In a moment this process is in a namespace in which a stranger is root.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|errno| failed("hide this process", errno))?;
    let Some(pid) = i32::try_from(host.pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
    let process = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(Code::SRCH) => return Ok(None),
        other => other.map_err(|errno| failed("open its process", errno))?,
    };
    // The descriptor is of one process for good. Had it been of an earlier one than this line reads of, then that would
    // have ended before the one that is asked for began, and the number could not have been free for it.
    if started(host.pid) != Some(host.start_time) {
        return Ok(None);
    }
    let both = ThreadNameSpaceType::USER | ThreadNameSpaceType::MOUNT;
    let joined = match move_into_thread_name_spaces(process.as_fd(), both) {
        // It is in this user namespace, which cannot be joined again.
        Err(Code::INVAL) => move_into_thread_name_spaces(process.as_fd(), ThreadNameSpaceType::MOUNT),
        other => other,
    };
    match joined {
        Err(Code::SRCH) => return Ok(None),
        other => other.map_err(|errno| failed("join its namespaces", errno))?,
    }
    // Joining has made the container's root this process's. The clone of this one mount shows what the container's own
    // layer and image have: nothing of the kernel's file systems is in reach of a path, whatever links lead there.
    let whole = openat(CWD, "/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| failed("open its root", errno))?;
    let alone = rootfs::clone_mount(&whole, "").map_err(|errno| failed("clone its root", errno))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(&alone, ".", flags, Mode::empty()).map_err(|errno| failed("open the clone of its root", errno)).map(Some)
}

/// When a process was started, in clock ticks since boot: with its number it names one process for good.
///
/// Reference: `proc_pid_stat(5)`, field 22. The name in field 2 may hold spaces and parentheses.
#[must_use]
pub fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_has_ended_has_no_root() {
        let mut child = std::process::Command::new("true").spawn().expect("a program");
        let pid = child.id();
        let start_time = started(pid);
        child.wait().expect("waited for");
        let host = Host { pid, start_time: start_time.unwrap_or_default() };
        let found = sys::in_child(|| visit(host).map(|root| root.is_some())).expect("the child answers");
        assert_eq!(found, Ok(false));
    }

    #[test]
    fn another_process_with_the_same_number_is_not_visited() {
        let own = std::process::id();
        let host = Host { pid: own, start_time: started(own).expect("this process runs") + 1 };
        let found = sys::in_child(|| visit(host).map(|root| root.is_some())).expect("the child answers");
        assert_eq!(found, Ok(false));
    }
}
