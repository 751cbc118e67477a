//! What a step asks to have mounted beside what every step has.
//!
//! Each becomes a mount that is attached nowhere yet, before the root exists; then they are attached in their order, each
//! on a place that was opened inside the root by descriptor. Nothing in them is a device, whoever made it.

use std::borrow::Cow;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid, chmodat, chownat, fstat, open, openat};
use rustix::io::Errno as Code;
use rustix::mount::{MountAttrFlags, OpenTreeFlags, open_tree};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::error::During;
use crate::rootfs::{Layers, Root, Scaffold, attach as attach_mount, clone_mount, new_mount, quiet};
use crate::step::Reporter;
use crate::wire::{Report, StepMessage};
use crate::{Denied, MountSource, SandboxError, Security, StepMount, inside, places, probe, sys};

/// Connections that wait for the builder to take them.
const BACKLOG: i32 = 16;

/// Devices that a step without a sandbox has where the host has them; all loop devices, too.
const INSECURE_DEVICES: &[&str] = &["kmsg", "cuse", "fuse", "kvm", "net/tun", "loop-control"];

/// Something to mount.
pub(crate) struct Volume<'a> {
    pub(crate) target: Cow<'a, str>,
    /// Whether the image has nothing at the target.
    pub(crate) fresh: bool,
    shows: Shows,
}

enum Shows {
    Mount { mount: OwnedFd, directory: bool },
    Tmpfs { bytes: Option<u64>, denied: MountAttrFlags },
}

impl Volume<'_> {
    pub(crate) fn is_directory(&self) -> bool {
        match self.shows {
            Shows::Mount { directory, .. } => directory,
            Shows::Tmpfs { .. } => true,
        }
    }
}

/// Trees of the host, which must be taken before its mounts are left.
pub(crate) struct HostTrees {
    /// In the order of the mounts that show them.
    asked: Vec<OwnedFd>,
    /// Devices by their path in the step.
    devices: Vec<(String, OwnedFd)>,
}

fn source_error<'a>(target: &'a str, path: &'a str) -> impl Fn(Code) -> SandboxError + 'a {
    move |errno| SandboxError::MountSource { path: path.to_owned(), target: target.to_owned(), errno: errno.into() }
}

fn is_directory(fd: &OwnedFd) -> Result<bool, Code> {
    Ok(FileType::from_raw_mode(fstat(fd)?.st_mode) == FileType::Directory)
}

/// Takes what the step shows of the host.
pub(crate) fn clone_host(step: &StepMessage<'_>) -> Result<HostTrees, SandboxError> {
    let mut trees = HostTrees { asked: Vec::new(), devices: Vec::new() };
    for StepMount { target, source, .. } in step.mounts.iter() {
        match source {
            MountSource::Host { path, .. } => {
                let flags =
                    OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
                trees.asked.push(open_tree(CWD, path, flags).map_err(source_error(target, path))?);
            }
            MountSource::Device { path } => {
                let tree = device(path).map_err(source_error(target, path))?;
                trees.asked.push(tree.ok_or_else(|| SandboxError::MountTarget {
                    target: target.clone(),
                    reason: format!("`{path}` of this machine is not a device"),
                })?);
            }
            MountSource::Layers { .. }
            | MountSource::Directory { .. }
            | MountSource::Tmpfs { .. }
            | MountSource::File { .. }
            | MountSource::Socket { .. } => {}
        }
    }
    match step.security {
        // The nodes of a host belong to its root; in a user namespace nobody is that.
        Security::Insecure if probe::is_initial_namespace() => {
            let loops = std::fs::read_dir("/dev").into_iter().flatten().flatten().filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let number = name.strip_prefix("loop")?;
                (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())).then_some(name)
            });
            for name in INSECURE_DEVICES.iter().map(|name| (*name).to_owned()).chain(loops) {
                let path = format!("/dev/{name}");
                // What this host does not have, the step does without.
                if let Ok(Some(tree)) = device(&path) {
                    trees.devices.push((path, tree));
                }
            }
        }
        Security::Insecure | Security::Sandbox => {}
    }
    Ok(trees)
}

/// Takes one node of the host; `None` if it is no device.
fn device(path: &str) -> Result<Option<OwnedFd>, Code> {
    let node = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    match FileType::from_raw_mode(fstat(&node)?.st_mode) {
        FileType::CharacterDevice | FileType::BlockDevice => clone_mount(&node, "").map(Some),
        _ => Ok(None),
    }
}

/// Bytes of all files that the step asks for.
pub(crate) fn bytes(step: &StepMessage<'_>) -> u64 {
    let length = |mount: &StepMount| match &mount.source {
        MountSource::File { content, .. } => content.0.len() as u64,
        _ => 0,
    };
    step.mounts.iter().map(length).sum()
}

/// Makes a mount of everything that the step asks for. The current directory must be the base.
pub(crate) fn prepare<'a>(
    step: &'a StepMessage<'_>,
    host: HostTrees,
    scaffold: &Scaffold,
    reporter: &Reporter<'_>,
) -> Result<Vec<Volume<'a>>, SandboxError> {
    let mut asked = host.asked.into_iter();
    let mut next =
        || asked.next().ok_or_else(|| SandboxError::Protocol { detail: "a mount without a tree".to_owned() });
    let devices = host.devices.into_iter().map(|(path, mount)| Volume {
        target: path.into(),
        fresh: false,
        shows: Shows::Mount { mount, directory: false },
    });
    let mut volumes: Vec<Volume<'a>> = devices.collect();
    for (number, StepMount { target, source, denied, link }) in step.mounts.iter().enumerate() {
        let name = format!("volume-{number}");
        let bound = |mount| {
            Ok::<_, SandboxError>(Shows::Mount { directory: is_directory(&mount).during("look at", target)?, mount })
        };
        let shows = match source {
            MountSource::Layers { lowers, scratch, path } => {
                let layers = Layers {
                    lowers: lowers.iter().map(String::as_str).collect(),
                    changes: scratch.as_ref().map(|scratch| (scratch.upper.as_str(), scratch.work.as_str())),
                    userxattr: step.userxattr,
                    volatile: true,
                    attributes: MountAttrFlags::MOUNT_ATTR_NODEV,
                };
                let tree = scaffold.view(&layers, &name)?;
                bound(part(&tree, (target, path), (scratch.is_some(), *link))?)?
            }
            MountSource::Directory { directory, path, writable } => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let tree = openat(CWD, directory, flags, Mode::empty()).map_err(source_error(target, directory))?;
                bound(part(&tree, (target, path), (*writable, *link))?)?
            }
            MountSource::Tmpfs { bytes } => Shows::Tmpfs { bytes: *bytes, denied: attributes_of(*denied) },
            MountSource::File { content, mode, uid, gid } => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                let file = openat(&scaffold.tree, &*name, flags, Mode::from_raw_mode(0o600)).during("make", target)?;
                std::io::Write::write_all(&mut std::fs::File::from(file), &content.0).during("write", target)?;
                give(scaffold, &name, target, (*mode, *uid, *gid))?;
                let mount = clone_mount(&scaffold.tree, &name).during("clone", target)?;
                let runs = if mode & 0o111 == 0 { MountAttrFlags::empty() } else { MountAttrFlags::MOUNT_ATTR_NOEXEC };
                let set = quiet().difference(runs) | MountAttrFlags::MOUNT_ATTR_RDONLY;
                sys::mount_change_attr(&mount, set.bits().into(), runs.bits().into(), false)
                    .during("make read-only", target)?;
                bound(mount)?
            }
            MountSource::Socket { mode, uid, gid } => {
                let listener = listen(scaffold, &name).during("listen on", target)?;
                give(scaffold, &name, target, (*mode, *uid, *gid))?;
                reporter.send(&Report::Listener, &[&listener])?;
                bound(clone_mount(&scaffold.tree, &name).during("clone", target)?)?
            }
            MountSource::Host { writable, .. } => {
                let mount = next()?;
                let attributes = MountAttrFlags::MOUNT_ATTR_NODEV | read_only_unless(*writable);
                sys::mount_setattr(&mount, attributes.bits().into(), true).during("quiet", target)?;
                bound(mount)?
            }
            MountSource::Device { .. } => bound(next()?)?,
        };
        if let (Shows::Mount { mount, .. }, true) = (&shows, *denied != Denied::default()) {
            sys::mount_setattr(mount, attributes_of(*denied).bits().into(), true).during("restrict", target)?;
        }
        volumes.push(Volume { target: target.into(), fresh: false, shows });
    }
    Ok(volumes)
}

fn attributes_of(denied: Denied) -> MountAttrFlags {
    let mut attributes = MountAttrFlags::empty();
    attributes.set(MountAttrFlags::MOUNT_ATTR_NOSUID, denied.set_id);
    attributes.set(MountAttrFlags::MOUNT_ATTR_NOEXEC, denied.programs);
    attributes
}

fn read_only_unless(writable: bool) -> MountAttrFlags {
    if writable { MountAttrFlags::empty() } else { MountAttrFlags::MOUNT_ATTR_RDONLY }
}

/// A mount of what is at `path` in `tree`; links stay inside, and one at the end is shown itself with `link`.
fn part(tree: &OwnedFd, (target, path): (&str, &str), (writable, link): (bool, bool)) -> Result<OwnedFd, SandboxError> {
    let failed = source_error(target, path);
    let flags = if link { OFlags::PATH | OFlags::NOFOLLOW } else { OFlags::PATH };
    let found = inside::open(tree, if path.is_empty() { "." } else { path }, flags).map_err(&failed)?;
    let mount = clone_mount(&found, "").map_err(&failed)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NODEV | read_only_unless(writable);
    sys::mount_setattr(&mount, attributes.bits().into(), false).during("quiet", target)?;
    Ok(mount)
}

/// Gives a file of the scaffold its owner, then its mode.
fn give(scaffold: &Scaffold, name: &str, target: &str, (mode, uid, gid): (u32, u32, u32)) -> Result<(), SandboxError> {
    let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    chownat(&scaffold.tree, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW).map_err(|errno| match errno {
        Code::INVAL => SandboxError::UnmappedId { kind: "owner of a mount".to_owned(), id: uid.max(gid) },
        errno => SandboxError::SetUp {
            action: "change the owner of".to_owned(),
            target: target.to_owned(),
            errno: errno.into(),
        },
    })?;
    chmodat(&scaffold.tree, name, Mode::from_raw_mode(mode & 0o7777), AtFlags::empty())
        .during("change the mode of", target)
}

fn listen(scaffold: &Scaffold, name: &str) -> Result<OwnedFd, Code> {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // By way of the descriptor: the path of the scaffold may be longer than an address.
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/{name}", scaffold.tree.as_raw_fd()))?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// Attaches everything, in order.
pub(crate) fn attach(root: &Root, volumes: Vec<Volume<'_>>) -> Result<(), SandboxError> {
    for volume in volumes {
        let target = &*volume.target;
        let (place, was_made) = places::open(&root.tree, target, volume.is_directory())?;
        let mount = match volume.shows {
            Shows::Mount { mount, .. } => mount,
            Shows::Tmpfs { bytes, denied } => {
                // Like the directory of the image; one that is only there for the mount is everybody's.
                let fresh = volume.fresh || was_made;
                let mode = if fresh { 0o1777 } else { fstat(&place).during("look at", target)?.st_mode & 0o7777 };
                let mode = format!("{mode:04o}");
                let size = bytes.map(|bytes| bytes.to_string());
                let options: Vec<(&str, &str)> =
                    [("mode", mode.as_str())].into_iter().chain(size.as_deref().map(|size| ("size", size))).collect();
                let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | denied;
                new_mount("tmpfs", &options, attributes).during("mount", target)?
            }
        };
        attach_mount(mount, place).during("mount", target)?;
    }
    Ok(())
}
