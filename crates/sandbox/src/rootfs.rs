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
use crate::spec::{LAYERS_MAX, OVERLAY_LAYERS_MAX};

/// What a kernel without one call per layer takes: the options share a page.
const OPTION_BYTES_MAX: usize = 4095;
/// Room of a scaffold for what every step has, in bytes.
const SCAFFOLD_BYTES: u64 = 16 << 20;

/// Layers to join.
pub(crate) struct Layers<'a> {
    /// Lowest first; relative to the base, or absolute.
    pub(crate) lowers: Vec<&'a str>,
    /// Directories for changes and for overlayfs itself; nobody can write without.
    pub(crate) changes: Option<(&'a str, &'a str)>,
    pub(crate) userxattr: bool,
    pub(crate) volatile: bool,
    pub(crate) attributes: MountAttrFlags,
}

/// A small tmpfs that holds what is bound into the root. It goes away with the old root; the binds keep its content.
pub(crate) struct Scaffold {
    pub(crate) tree: OwnedFd,
}

/// The step's root and the scaffold beside it.
pub(crate) struct Root {
    /// The joined layers, attached at `root` of the scaffold.
    pub(crate) tree: OwnedFd,
    pub(crate) scaffold: Scaffold,
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

/// Mounts a scaffold for `bytes` of files and then some, over the current directory, which must be the base.
pub(crate) fn scaffold(bytes: u64) -> Result<Scaffold, SandboxError> {
    let size = (SCAFFOLD_BYTES + bytes).to_string();
    let tree = new_mount("tmpfs", &[("mode", "0755"), ("size", &size)], quiet()).during("mount", "a scaffold")?;
    let here = openat(CWD, ".", DIRECTORY, Mode::empty()).during("open", "the base directory")?;
    attach(&tree, here).during("attach", "the scaffold")?;
    let scaffold = Scaffold { tree };
    scaffold.directory("empty")?;
    Ok(scaffold)
}

impl Scaffold {
    /// Makes a directory in it, and opens that.
    pub(crate) fn directory(&self, name: &str) -> Result<OwnedFd, SandboxError> {
        mkdirat(&self.tree, name, Mode::from_raw_mode(0o755)).during("make", name)?;
        self.open(name).during("open", "the scaffold")
    }

    fn open(&self, name: &str) -> Result<OwnedFd, Code> {
        openat(&self.tree, name, DIRECTORY, Mode::empty())
    }

    /// Joins layers and mounts them on `name` in it.
    pub(crate) fn join(&self, layers: &Layers<'_>, name: &str) -> Result<OwnedFd, SandboxError> {
        self.join_by(overlay, layers, name)
    }

    fn join_by(&self, join: Join, layers: &Layers<'_>, name: &str) -> Result<OwnedFd, SandboxError> {
        let count = layers.lowers.len();
        if layers.lowers.is_empty() || count > LAYERS_MAX {
            return Err(SandboxError::TooManyLayers { count, limit: LAYERS_MAX });
        }
        if count > OVERLAY_LAYERS_MAX {
            // Overlayfs takes another overlay as one of its layers, once.
            let (below, above) = layers.lowers.split_at(OVERLAY_LAYERS_MAX);
            let below = Layers { lowers: below.to_vec(), changes: None, ..*layers };
            let below = self.join_by(join, &below, &format!("{name}-below"))?;
            let below = format!("/proc/self/fd/{}", below.as_raw_fd());
            let lowers = [below.as_str()].into_iter().chain(above.iter().copied()).collect();
            return self.join_by(join, &Layers { lowers, ..*layers }, name);
        }
        let place = self.directory(name)?;
        match join(layers).during("join", "the layers")? {
            Some(overlay) => attach(&overlay, place).during("attach", "the layers")?,
            None => mount_the_old_way(layers, &place)?,
        }
        self.open(name).during("open", "the joined layers")
    }

    /// Joins any number of layers, also none, for reading unless they have a place for changes.
    pub(crate) fn view(&self, layers: &Layers<'_>, name: &str) -> Result<OwnedFd, SandboxError> {
        let empty = self.open("empty").during("open", "the scaffold")?;
        // Overlayfs joins two layers or more, of which one may be the place for changes.
        let enough = layers.lowers.len() + usize::from(layers.changes.is_some()) > 1;
        match (enough, layers.lowers.is_empty() && layers.changes.is_none()) {
            (true, _) if !layers.lowers.is_empty() => self.join(layers, name),
            (_, true) => Ok(empty),
            _ => {
                let empty = format!("/proc/self/fd/{}", empty.as_raw_fd());
                let lowers = [empty.as_str()].into_iter().chain(layers.lowers.iter().copied()).collect();
                self.join(&Layers { lowers, ..*layers }, name)
            }
        }
    }
}

/// Mounts the layers, with one more on top that has the mount points that they lack.
pub(crate) fn mount(layers: Layers<'_>, points: Option<&OwnedFd>, scaffold: Scaffold) -> Result<Root, SandboxError> {
    let points = points.map(|points| format!("/proc/self/fd/{}", points.as_raw_fd()));
    let mut layers = layers;
    layers.lowers.extend(points.as_deref());
    let tree = scaffold.join(&layers, "root")?;
    Ok(Root { tree, scaffold })
}

/// A way to join layers, which answers `None` on a kernel that it does not suit.
type Join = fn(&Layers<'_>) -> Result<Option<OwnedFd>, Code>;

/// The layers as a mount that is attached nowhere yet; `None` if the kernel has no option for one layer (before 6.7).
fn overlay(layers: &Layers<'_>) -> Result<Option<OwnedFd>, Code> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", "stave")?;
    for lower in layers.lowers.iter().rev() {
        match fsconfig_set_string(&context, "lowerdir+", *lower) {
            Err(Code::INVAL) => return Ok(None),
            other => other?,
        }
    }
    if let Some((upper, work)) = layers.changes {
        fsconfig_set_string(&context, "upperdir", upper)?;
        fsconfig_set_string(&context, "workdir", work)?;
    }
    // A redirection that an image smuggled in must not be followed, and none is ever made.
    for (key, value) in [("redirect_dir", "nofollow"), ("index", "off"), ("metacopy", "off")] {
        fsconfig_set_string(&context, key, value)?;
    }
    if layers.userxattr {
        fsconfig_set_flag(&context, "userxattr")?;
    }
    if layers.volatile && layers.changes.is_some() {
        fsconfig_set_flag(&context, "volatile")?;
    }
    fsconfig_create(&context)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, layers.attributes).map(Some)
}

/// Mounts the layers with mount(2), whose options must fit into a page. Without `volatile`, which is as right and slower.
fn mount_the_old_way(layers: &Layers<'_>, place: &OwnedFd) -> Result<(), SandboxError> {
    let lowers: Vec<&str> = layers.lowers.iter().rev().copied().collect();
    let mut options = format!("lowerdir={}", lowers.join(":"));
    if let Some((upper, work)) = layers.changes {
        options = format!("{options},upperdir={upper},workdir={work}");
    }
    options.push_str(",redirect_dir=nofollow,index=off,metacopy=off");
    if layers.userxattr {
        options.push_str(",userxattr");
    }
    if options.len() > OPTION_BYTES_MAX {
        let each = options.len().div_ceil(layers.lowers.len());
        return Err(SandboxError::TooManyLayers { count: layers.lowers.len(), limit: OPTION_BYTES_MAX / each });
    }
    let options = crate::program::c_string(&options)?;
    let place = format!("/proc/self/fd/{}", place.as_raw_fd());
    let flags = [
        (MountAttrFlags::MOUNT_ATTR_NODEV, MountFlags::NODEV),
        (MountAttrFlags::MOUNT_ATTR_NOSUID, MountFlags::NOSUID),
    ];
    let flags = flags.into_iter().filter(|(attribute, _)| layers.attributes.contains(*attribute));
    let flags = flags.fold(MountFlags::empty(), |flags, (_, flag)| flags | flag);
    rustix::mount::mount("stave", place, "overlay", flags, options.as_c_str()).during("join", "the layers")
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
    use std::fs;

    use super::*;
    use crate::{probe, step, sys};

    fn layers(lowers: Vec<&str>, userxattr: bool) -> Layers<'_> {
        let attributes = MountAttrFlags::MOUNT_ATTR_NODEV;
        Layers { lowers, changes: Some(("upper", "work")), userxattr, volatile: false, attributes }
    }

    /// What is in the joined layers, and whether one can write to them.
    fn joined(base: &std::path::Path, join: Join, lowers: Vec<&str>) -> Result<Vec<String>, String> {
        let show = |errno: Code| errno.to_string();
        probe::enter().map_err(show)?;
        rustix::process::chdir(base).map_err(show)?;
        step::own_mounts().map_err(|error| error.to_string())?;
        let userxattr = !rustix::process::geteuid().is_root() || !probe::is_initial_namespace();
        let scaffold = scaffold(0).map_err(|error| error.to_string())?;
        let tree = scaffold.join_by(join, &layers(lowers, userxattr), "root").map_err(|error| error.to_string())?;
        pivot(&tree).map_err(|error| error.to_string())?;
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
            let outcome = sys::in_child(|| joined(base.path(), join, vec!["low", "high"]));
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
        let lower = "x".repeat(60);
        let place = OwnedFd::from(fs::File::open("/").unwrap());
        let outcome = mount_the_old_way(&layers(vec![&lower; 200], false), &place);
        assert_eq!(outcome, Err(SandboxError::TooManyLayers { count: 200, limit: 66 }));
    }
}
