//! The step's root: layers joined by overlayfs, and the change of root into them.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use rustix::io::Errno as Code;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, unmount,
};

use crate::SandboxError;
use crate::error::During;
use crate::spec::LAYERS_MAX;
use crate::wire::StepMessage;

/// What a kernel without one call per layer takes: the options share a page.
const OPTION_BYTES_MAX: usize = 4095;

/// The step's root and the scaffold beside it.
pub(crate) struct Root {
    /// The joined layers, attached at `root` of the scaffold.
    pub(crate) tree: OwnedFd,
    /// A small tmpfs that holds what is bound into the root. It goes away with the old root; the binds keep its content.
    pub(crate) scaffold: OwnedFd,
}

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// No set-user-id programs, no devices, no programs at all.
pub(crate) fn quiet() -> MountAttrFlags {
    MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC
}

/// A new file system that is attached nowhere yet.
pub(crate) fn new_mount(kind: &str, options: &[(&str, &str)], attributes: MountAttrFlags) -> Result<OwnedFd, Code> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", kind)?;
    for (key, value) in options {
        fsconfig_set_string(&context, *key, *value)?;
    }
    fsconfig_create(&context)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Attaches `mount` on what `place` is open on.
pub(crate) fn attach(mount: impl AsFd, place: impl AsFd) -> Result<(), Code> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, "", place, "", flags)
}

/// Mounts the layers. The current directory must be the base that their paths are relative to.
pub(crate) fn mount(step: &StepMessage<'_>) -> Result<Root, SandboxError> {
    mount_by(overlay, step)
}

/// A way to join layers, which answers `None` on a kernel that it does not suit.
type Join = fn(&StepMessage<'_>) -> Result<Option<OwnedFd>, Code>;

fn mount_by(join: Join, step: &StepMessage<'_>) -> Result<Root, SandboxError> {
    if step.lowers.is_empty() || step.lowers.len() > LAYERS_MAX {
        return Err(SandboxError::TooManyLayers { count: step.lowers.len(), limit: LAYERS_MAX });
    }
    let scaffold = new_mount("tmpfs", &[("mode", "0755"), ("size", "16m")], quiet()).during("mount", "a scaffold")?;
    for directory in ["root", "empty"] {
        mkdirat(&scaffold, directory, Mode::from_raw_mode(0o755)).during("make", directory)?;
    }
    let here = openat(CWD, ".", DIRECTORY, Mode::empty()).during("open", "the base directory")?;
    attach(&scaffold, here).during("attach", "the scaffold")?;
    let place = openat(&scaffold, "root", DIRECTORY, Mode::empty()).during("open", "the scaffold")?;
    match join(step).during("join", "the layers")? {
        Some(overlay) => attach(&overlay, place).during("attach", "the layers")?,
        None => mount_the_old_way(step, &place)?,
    }
    let tree = openat(&scaffold, "root", DIRECTORY, Mode::empty()).during("open", "the joined layers")?;
    Ok(Root { tree, scaffold })
}

/// The layers as a mount that is attached nowhere yet; `None` if the kernel has no option for one layer (before 6.7).
fn overlay(step: &StepMessage<'_>) -> Result<Option<OwnedFd>, Code> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", "stave")?;
    for lower in step.lowers.iter().rev() {
        match fsconfig_set_string(&context, "lowerdir+", lower.as_str()) {
            Err(Code::INVAL) => return Ok(None),
            other => other?,
        }
    }
    fsconfig_set_string(&context, "upperdir", &*step.upper)?;
    fsconfig_set_string(&context, "workdir", &*step.work)?;
    // A redirection that an image smuggled in must not be followed, and none is ever made.
    for (key, value) in [("redirect_dir", "nofollow"), ("index", "off"), ("metacopy", "off")] {
        fsconfig_set_string(&context, key, value)?;
    }
    if step.userxattr {
        fsconfig_set_flag(&context, "userxattr")?;
    }
    if step.volatile {
        fsconfig_set_flag(&context, "volatile")?;
    }
    fsconfig_create(&context)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_NODEV).map(Some)
}

/// Mounts the layers with mount(2), whose options must fit into a page. Without `volatile`, which is as right and slower.
fn mount_the_old_way(step: &StepMessage<'_>, place: &OwnedFd) -> Result<(), SandboxError> {
    let lowers: Vec<&str> = step.lowers.iter().rev().map(String::as_str).collect();
    let options = format!(
        "lowerdir={},upperdir={},workdir={},redirect_dir=nofollow,index=off,metacopy=off{}",
        lowers.join(":"),
        step.upper,
        step.work,
        if step.userxattr { ",userxattr" } else { "" }
    );
    if options.len() > OPTION_BYTES_MAX {
        let each = options.len().div_ceil(step.lowers.len());
        return Err(SandboxError::TooManyLayers { count: step.lowers.len(), limit: OPTION_BYTES_MAX / each });
    }
    let options = crate::program::c_string(&options)?;
    let place = format!("/proc/self/fd/{}", place.as_raw_fd());
    rustix::mount::mount("stave", place, "overlay", MountFlags::NODEV, options.as_c_str()).during("join", "the layers")
}

/// Makes `tree` the root of this mount namespace and lets go of the old one.
pub(crate) fn pivot(tree: &OwnedFd) -> Result<(), SandboxError> {
    rustix::process::fchdir(tree).during("enter", "the step's root")?;
    rustix::process::pivot_root(".", ".").during("change to", "the step's root")?;
    // Now the old root is mounted on top of the new one.
    unmount(".", UnmountFlags::DETACH).during("leave", "the builder's root")?;
    rustix::process::chdir("/").during("enter", "/")
}

/// A clone of the mount at `path` below `from`, or of `from` itself with an empty path.
pub(crate) fn clone_mount(from: impl AsFd, path: &str) -> Result<OwnedFd, Code> {
    use rustix::mount::{OpenTreeFlags, open_tree};
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(from, path, flags)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::fs;

    use super::*;
    use crate::{Network, probe, step, sys};

    fn message(lowers: Vec<String>, userxattr: bool) -> StepMessage<'static> {
        StepMessage {
            lowers: Cow::Owned(lowers),
            upper: "upper".into(),
            work: "work".into(),
            userxattr,
            volatile: false,
            args: Cow::Borrowed(&[]),
            env: Cow::Borrowed(&[]),
            cwd: "/".into(),
            user: "".into(),
            hostname: "".into(),
            network: Network::Host,
            hosts: Cow::Borrowed(b""),
            resolv_conf: Cow::Borrowed(b""),
            shm_bytes: 0,
            terminal: None,
        }
    }

    /// What is in the joined layers, and whether one can write to them.
    fn joined(base: &std::path::Path, join: Join, lowers: Vec<String>) -> Result<Vec<String>, String> {
        let show = |errno: Code| errno.to_string();
        probe::enter().map_err(show)?;
        rustix::process::chdir(base).map_err(show)?;
        step::own_mounts().map_err(|error| error.to_string())?;
        let userxattr = !rustix::process::geteuid().is_root() || !probe::is_initial_namespace();
        let root = mount_by(join, &message(lowers, userxattr)).map_err(|error| error.to_string())?;
        pivot(&root.tree).map_err(|error| error.to_string())?;
        fs::write("/new", "").map_err(|error| error.to_string())?;
        let mut names: Vec<String> =
            fs::read_dir("/").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        Ok(names)
    }

    #[test]
    fn the_old_call_joins_the_same_layers_as_the_new_one() {
        for join in [overlay as Join, |_| Ok(None)] {
            let base = tempfile::tempdir().unwrap();
            for name in ["low", "high", "upper", "work"] {
                fs::create_dir(base.path().join(name)).unwrap();
            }
            fs::write(base.path().join("low/a"), "").unwrap();
            fs::write(base.path().join("high/b"), "").unwrap();
            let outcome = sys::in_child(|| joined(base.path(), join, vec!["low".into(), "high".into()]));
            match outcome.expect("the child answers") {
                Ok(names) => {
                    assert_eq!(names, ["a", "b", "new"]);
                    assert!(base.path().join("upper/new").exists());
                }
                Err(why) if why.contains("not permitted") => eprintln!("skipped: no namespaces here: {why}"),
                Err(why) => panic!("{why}"),
            }
        }
    }

    #[test]
    fn the_old_call_says_how_many_layers_fit() {
        let lowers = vec!["x".repeat(60); 200];
        let place = OwnedFd::from(fs::File::open("/").unwrap());
        let outcome = mount_the_old_way(&message(lowers, false), &place);
        assert_eq!(outcome, Err(SandboxError::TooManyLayers { count: 200, limit: 66 }));
    }
}
