//! What every child needs and the zygote makes once.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::fs::{FileType, Mode, OFlags, fstat, makedev, open, statfs};

use crate::paths::Paths;
use crate::seccomp::{self, Subject};
use crate::{SandboxError, springboard};

/// The device nodes of a step: name, major and minor number.
pub(crate) const DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// `CGROUP2_SUPER_MAGIC`
const CGROUP2_MAGIC: i64 = 0x6367_7270;

/// Prepared once, used by each child.
pub(crate) struct Kit {
    pub(crate) step_filter: Vec<libc::sock_filter>,
    pub(crate) job_filter: Vec<libc::sock_filter>,
    pub(crate) springboard: OwnedFd,
    /// The host's nodes, in the order of [`DEVICES`], as mounts to clone.
    pub(crate) devices: Vec<OwnedFd>,
    /// What is hidden of `/proc` and `/sys`.
    pub(crate) paths: Paths,
    /// Whether the host has the unified cgroup hierarchy.
    pub(crate) cgroup2: bool,
}

impl Kit {
    pub(crate) fn prepare() -> Result<Self, SandboxError> {
        Ok(Self {
            step_filter: seccomp::program(Subject::Step),
            job_filter: seccomp::program(Subject::Job),
            springboard: springboard::prepare()?,
            devices: DEVICES.iter().map(device).collect::<Result<_, _>>()?,
            paths: Paths::of_this_kernel(),
            cgroup2: statfs("/sys/fs/cgroup").is_ok_and(|found| found.f_type == CGROUP2_MAGIC),
        })
    }

    /// Every descriptor that a child keeps.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        self.devices.iter().chain([&self.springboard]).map(AsRawFd::as_raw_fd)
    }
}

/// Opens a node of the host and makes sure that it is the device it should be.
fn device(&(name, major, minor): &(&str, u32, u32)) -> Result<OwnedFd, SandboxError> {
    let path = format!("/dev/{name}");
    let node = open(&path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| SandboxError::Start { action: format!("open `{path}`"), errno: errno.into() })?;
    let status = fstat(&node)
        .map_err(|errno| SandboxError::Start { action: format!("look at `{path}`"), errno: errno.into() })?;
    let right =
        FileType::from_raw_mode(status.st_mode) == FileType::CharacterDevice && status.st_rdev == makedev(major, minor);
    if right {
        return Ok(node);
    }
    Err(SandboxError::MountPoint {
        path,
        found: "another kind of file on this host".to_owned(),
        expected: format!("character device {major}:{minor}"),
    })
}
