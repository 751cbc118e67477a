//! What is mounted into a step's root: BuildKit's defaults.
//!
//! Every place is opened inside the root by descriptor and mounted on by descriptor; what `/proc`, `/dev` and `/sys` are
//! afterwards is checked. An image decides what these paths are in it, never where they lead.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, fstatfs, mkdirat, openat, statat, symlinkat};
use rustix::io::Errno as Code;
use rustix::mount::{MountAttrFlags, OpenTreeFlags, open_tree};

use crate::error::During;
use crate::kit::{DEVICES, Kit};
use crate::rootfs::{Root, attach, clone_mount, new_mount, quiet};
use crate::step::Reporter;
use crate::wire::StepMessage;
use crate::{SandboxError, Security, inside, sys};

const PROC_MAGIC: i64 = 0x9fa0;
const SYSFS_MAGIC: i64 = 0x6265_6572;
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// Links in `/dev`.
const LINKS: &[(&str, &str)] = &[
    ("ptmx", "pts/ptmx"),
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];
/// Size of the step's `/dev` itself.
const DEV_BYTES: &str = "65536k";

/// Clones the host's device nodes. They are on mounts of the builder's namespace, so this comes before it is left.
pub(crate) fn clone_devices(kit: &Kit) -> Result<Vec<OwnedFd>, SandboxError> {
    kit.devices
        .iter()
        .map(|node| clone_mount(node, ""))
        .collect::<Result<_, _>>()
        .during("clone", "the host's device nodes")
}

/// Mounts everything below the root.
pub(crate) fn attach_all(
    root: &Root,
    devices: Vec<OwnedFd>,
    kit: &Kit,
    step: &StepMessage<'_>,
    reporter: &Reporter<'_>,
) -> Result<(), SandboxError> {
    let proc = new_mount("proc", &[], quiet()).during("mount", "/proc")?;
    mount_on_directory(root, &proc, "proc", PROC_MAGIC)?;
    dev(root, devices, step)?;
    let sys = sysfs(step.security)?;
    mount_on_directory(root, &sys, "sys", SYSFS_MAGIC)?;
    cgroup(root, &sys, kit, step.security)?;
    match step.security {
        Security::Sandbox => hide(root, &proc, &sys, kit)?,
        Security::Insecure => {}
    }
    for (name, content) in [("hosts", &step.hosts), ("resolv.conf", &step.resolv_conf)] {
        bind_file(root, name, content, reporter)?;
    }
    Ok(())
}

/// Covers what a step must not see or change of the host.
fn hide(root: &Root, proc: &OwnedFd, sys: &OwnedFd, kit: &Kit) -> Result<(), SandboxError> {
    for path in &kit.paths.read_only_proc {
        make_read_only(proc, path)?;
    }
    for (base, paths) in [(proc, &kit.paths.masked_proc), (sys, &kit.paths.masked_sys)] {
        for path in paths {
            mask(root, base, path)?;
        }
    }
    Ok(())
}

/// What is read-only for a step that may not change the host.
fn read_only_for(security: Security) -> MountAttrFlags {
    match security {
        Security::Sandbox => MountAttrFlags::MOUNT_ATTR_RDONLY,
        Security::Insecure => MountAttrFlags::empty(),
    }
}

/// Device nodes that the step makes itself are nothing to it.
pub(crate) fn no_devices_for(security: Security) -> MountAttrFlags {
    match security {
        Security::Sandbox => MountAttrFlags::MOUNT_ATTR_NODEV,
        Security::Insecure => MountAttrFlags::empty(),
    }
}

fn what_is(path: &str, found: &str, expected: &str) -> SandboxError {
    SandboxError::MountPoint { path: path.to_owned(), found: found.to_owned(), expected: expected.to_owned() }
}

/// Mounts on a directory directly below the root, which may not be a link, and checks that it is there afterwards.
fn mount_on_directory(root: &Root, mount: &OwnedFd, name: &str, magic: i64) -> Result<(), SandboxError> {
    let path = format!("/{name}");
    let open = || inside::open_without_links(&root.tree, name, OFlags::PATH | OFlags::DIRECTORY);
    let place = open().map_err(|errno| match errno {
        Code::LOOP | Code::NOTDIR => {
            let is_link = |status: Stat| FileType::from_raw_mode(status.st_mode) == FileType::Symlink;
            let link = statat(&root.tree, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(is_link);
            what_is(&path, if link { "a symbolic link" } else { "another kind of file" }, "a directory")
        }
        Code::NOENT => what_is(&path, "missing", "a directory"),
        errno => SandboxError::SetUp { action: "open".to_owned(), target: path.clone(), errno: errno.into() },
    })?;
    attach(mount, place).during("mount", &path)?;
    let seen = open().and_then(fstatfs).during("look at", &path)?;
    if seen.f_type == magic { Ok(()) } else { Err(what_is(&path, "another file system", "the one just mounted")) }
}

fn dev(root: &Root, devices: Vec<OwnedFd>, step: &StepMessage<'_>) -> Result<(), SandboxError> {
    let plain =
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_STRICTATIME | no_devices_for(step.security);
    let dev = new_mount("tmpfs", &[("mode", "0755"), ("size", DEV_BYTES)], plain).during("mount", "/dev")?;
    mount_on_directory(root, &dev, "dev", TMPFS_MAGIC)?;
    for directory in ["pts", "shm", "mqueue"] {
        mkdirat(&dev, directory, Mode::from_raw_mode(0o755)).during("make", directory)?;
    }
    let shm_bytes = step.shm_bytes.to_string();
    let shm = new_mount("tmpfs", &[("mode", "1777"), ("size", &shm_bytes)], quiet()).during("mount", "/dev/shm")?;
    for (name, mount) in [("pts", devpts()?), ("shm", shm), ("mqueue", mqueue()?)] {
        let place = openat(&dev, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
            .during("open", name)?;
        attach(mount, place).during("mount", name)?;
    }
    for ((name, ..), node) in DEVICES.iter().zip(devices) {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let place = openat(&dev, *name, flags, Mode::from_raw_mode(0o666)).during("make", name)?;
        attach(node, place).during("mount", name)?;
    }
    for (name, target) in LINKS {
        symlinkat(*target, &dev, *name).during("link", name)?;
    }
    if rustix::fs::access("/proc/kcore", rustix::fs::Access::EXISTS).is_ok() {
        symlinkat("/proc/kcore", &dev, "core").during("link", "core")?;
    }
    Ok(())
}

fn devpts() -> Result<OwnedFd, SandboxError> {
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let options = [("ptmxmode", "0666"), ("mode", "0620"), ("gid", "5")];
    let pts = match new_mount_instance(&options, attributes) {
        // Group 5 (tty) does not exist where only one id is mapped.
        Err(Code::INVAL) => new_mount_instance(&options[..2], attributes),
        other => other,
    };
    pts.during("mount", "/dev/pts")
}

fn new_mount_instance(options: &[(&str, &str)], attributes: MountAttrFlags) -> Result<OwnedFd, Code> {
    // Every devpts is an instance of its own since Linux 4.7.
    new_mount("devpts", options, attributes)
}

fn mqueue() -> Result<OwnedFd, SandboxError> {
    match new_mount("mqueue", &[], quiet()) {
        // A kernel without POSIX message queues: an empty directory is what a program then expects.
        Err(Code::NODEV) => new_mount("tmpfs", &[("size", "0")], quiet()),
        other => other,
    }
    .during("mount", "/dev/mqueue")
}

/// `/sys`, for most steps read-only. In a user namespace that does not own the network namespace it can only be the host's.
fn sysfs(security: Security) -> Result<OwnedFd, SandboxError> {
    let attributes = quiet() | read_only_for(security);
    match new_mount("sysfs", &[], attributes) {
        Err(Code::PERM) => {}
        other => return other.during("mount", "/sys"),
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(rustix::fs::CWD, "/sys", flags).during("clone", "/sys")?;
    sys::mount_setattr(&tree, attributes.bits().into(), true).during("make read-only", "/sys")?;
    Ok(tree)
}

/// `/sys/fs/cgroup`: the step's own part of the unified hierarchy, for most read-only; where there is none, nothing.
fn cgroup(root: &Root, sys: &OwnedFd, kit: &Kit, security: Security) -> Result<(), SandboxError> {
    let attributes = quiet() | read_only_for(security);
    let place = match openat(sys, "fs/cgroup", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
        // A kernel without cgroups.
        Err(Code::NOENT) => return Ok(()),
        other => other.during("open", "/sys/fs/cgroup")?,
    };
    let unified = if kit.cgroup2 { new_mount("cgroup2", &[], attributes).ok() } else { None };
    let mount = match unified {
        Some(mount) => mount,
        None => nothing(root)?,
    };
    attach(mount, place).during("mount", "/sys/fs/cgroup")
}

/// Opens a path of `/proc` or `/sys`; `None` where this kernel has no such thing.
fn kernel_path(base: &OwnedFd, path: &str) -> Result<Option<OwnedFd>, SandboxError> {
    match openat(base, path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
        Ok(place) => Ok(Some(place)),
        Err(Code::NOENT) => Ok(None),
        Err(errno) => Err(errno).during("open", path),
    }
}

fn make_read_only(base: &OwnedFd, path: &str) -> Result<(), SandboxError> {
    let Some(place) = kernel_path(base, path)? else { return Ok(()) };
    let mount = clone_mount(&place, "").during("clone", path)?;
    sys::mount_setattr(&mount, (quiet() | MountAttrFlags::MOUNT_ATTR_RDONLY).bits().into(), false)
        .during("make read-only", path)?;
    attach(mount, place).during("mount", path)
}

/// A mount of an empty directory that nobody can write.
fn nothing(root: &Root) -> Result<OwnedFd, SandboxError> {
    let empty = clone_mount(&root.scaffold.tree, "empty").during("clone", "an empty directory")?;
    sys::mount_setattr(&empty, MountAttrFlags::MOUNT_ATTR_RDONLY.bits().into(), false)
        .during("make read-only", "an empty directory")?;
    Ok(empty)
}

/// Covers a file with `/dev/null` and a directory with an empty one.
fn mask(root: &Root, base: &OwnedFd, path: &str) -> Result<(), SandboxError> {
    let Some(place) = kernel_path(base, path)? else { return Ok(()) };
    let status = fstat(&place).during("look at", path)?;
    let cover = match FileType::from_raw_mode(status.st_mode) {
        FileType::Directory => nothing(root)?,
        _ => clone_mount(&root.tree, "dev/null").during("clone", "/dev/null")?,
    };
    attach(cover, place).during("mask", path)
}

/// Covers a file of `/etc` with content of ours.
fn bind_file(root: &Root, name: &str, content: &[u8], reporter: &Reporter<'_>) -> Result<(), SandboxError> {
    let path = format!("/etc/{name}");
    let place = match inside::open(&root.tree, &path, OFlags::PATH) {
        Ok(place) => place,
        // A link that leads nowhere, or in a circle, or an `/etc` that is no directory: that is how the image wants it.
        Err(Code::NOENT | Code::LOOP | Code::NOTDIR) => {
            return reporter.note(format!("`{path}` of the image leads nowhere, so the step runs without it"));
        }
        Err(errno) => return Err(errno).during("open", &path),
    };
    let status = fstat(&place).during("look at", &path)?;
    if FileType::from_raw_mode(status.st_mode) == FileType::Directory {
        return Err(what_is(&path, "a directory", "a file"));
    }
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = openat(&root.scaffold.tree, name, flags, Mode::from_raw_mode(0o644)).during("make", &path)?;
    std::io::Write::write_all(&mut std::fs::File::from(file), content).during("write", &path)?;
    let mount = clone_mount(&root.scaffold.tree, name).during("clone", &path)?;
    sys::mount_setattr(&mount, (quiet() | MountAttrFlags::MOUNT_ATTR_RDONLY).bits().into(), false)
        .during("make read-only", &path)?;
    attach(mount.as_fd(), place).during("mount", &path)
}
