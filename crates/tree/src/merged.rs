//! Stacks of layers seen as one tree, through overlayfs.
//!
//! Turns open layer directories into a detached mount: a descriptor that is used as a directory and appears in no mount
//! table, so that it is gone with the process, however that ends.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use crate::dir::{Dir, PathError};
use crate::limits::OVERLAY_LAYERS_MAX;

/// How a layer directory notes what overlayfs needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerFormat {
    /// Notes are `user.overlay.*` (inside a user namespace) instead of `trusted.overlay.*`.
    pub userxattr: bool,
}

impl LayerFormat {
    /// Returns the attribute that marks a directory which hides all that lower layers have at its path.
    #[must_use]
    pub fn opaque_xattr(self) -> &'static [u8] {
        if self.userxattr { b"user.overlay.opaque" } else { b"trusted.overlay.opaque" }
    }
}

/// A merged view that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum OverlayError {
    /// The kernel refused a step of making the mount.
    #[error("cannot {action} for {layers} layers")]
    Refused {
        /// The step, as a verb.
        action: &'static str,
        /// How many layers were to be joined.
        layers: usize,
        /// Why.
        source: std::io::Error,
    },
    /// This kernel can only take a few layers in one mount.
    #[error("this kernel joins at most {limit} layers, not {layers}; Linux 6.5 and newer take {OVERLAY_LAYERS_MAX}")]
    TooManyLayers {
        /// How many layers were to be joined.
        layers: usize,
        /// How many this kernel takes.
        limit: usize,
    },
    /// A layer directory could not be used.
    #[error(transparent)]
    Path(#[from] PathError),
}

/// Returns the tree that `layers`, lowest first, make together. It is read-only, and devices in it cannot be opened.
pub fn merged(layers: &[&Dir], format: LayerFormat) -> Result<Dir, OverlayError> {
    let attributes =
        MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID;
    let empty = if layers.len() < 2 { Some(empty_tree()?) } else { None };
    let (Some(&highest), lower) = (layers.last(), layers) else {
        return empty.ok_or(OverlayError::TooManyLayers { layers: 0, limit: 0 });
    };
    if lower.len() > OVERLAY_LAYERS_MAX {
        let below = merged(&lower[..OVERLAY_LAYERS_MAX], format)?;
        let mut stack = vec![&below];
        stack.extend_from_slice(&lower[OVERLAY_LAYERS_MAX..]);
        return merged(&stack, format);
    }
    let overlay = Overlay::new(layers.len(), format)?;
    match &empty {
        // A single layer still has to go through overlayfs, which hides its whiteouts; overlayfs wants two.
        Some(empty) => overlay.lowers(&[empty, highest])?,
        None => overlay.lowers(lower)?,
    }
    overlay.mount(attributes)
}

/// Returns the tree that `layers`, lowest first, make together; what is written in it goes to `upper`. `work` is an empty
/// directory on the same file system as `upper`, and neither is inside the other.
pub fn merged_writable(layers: &[&Dir], upper: &Dir, work: &Dir, format: LayerFormat) -> Result<Dir, OverlayError> {
    if layers.len() > OVERLAY_LAYERS_MAX {
        let below = merged(&layers[..OVERLAY_LAYERS_MAX], format)?;
        let stack: Vec<&Dir> = [&below].into_iter().chain(layers[OVERLAY_LAYERS_MAX..].iter().copied()).collect();
        return merged_writable(&stack, upper, work, format);
    }
    let empty = if layers.is_empty() { Some(empty_tree()?) } else { None };
    let overlay = Overlay::new(layers.len(), format)?;
    match &empty {
        Some(empty) => overlay.lowers(&[empty])?,
        None => overlay.lowers(layers)?,
    }
    overlay.directory("upperdir", upper)?;
    overlay.directory("workdir", work)?;
    overlay.flag("volatile")?;
    overlay.mount(MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID)
}

/// Returns an empty directory that is on no disk.
fn empty_tree() -> Result<Dir, OverlayError> {
    let refused = |action| move |source: Errno| OverlayError::Refused { action, layers: 0, source: source.into() };
    let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).map_err(refused("open tmpfs"))?;
    rustix::mount::fsconfig_create(&context).map_err(refused("make tmpfs"))?;
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_RDONLY)
        .map(Dir::from_fd)
        .map_err(refused("mount tmpfs"))
}

struct Overlay {
    context: OwnedFd,
    layers: usize,
}

impl Overlay {
    fn new(layers: usize, format: LayerFormat) -> Result<Self, OverlayError> {
        let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)
            .map_err(|source| OverlayError::Refused { action: "open overlayfs", layers, source: source.into() })?;
        let overlay = Self { context, layers };
        if format.userxattr {
            overlay.flag("userxattr")?;
        }
        // Layers come from outside: no note in them may point to another place.
        overlay.set("redirect_dir", "nofollow")?;
        overlay.set("metacopy", "off")?;
        overlay.set("index", "off")?;
        Ok(overlay)
    }

    fn refused(&self, action: &'static str) -> impl Fn(Errno) -> OverlayError + use<> {
        let layers = self.layers;
        move |source| OverlayError::Refused { action, layers, source: source.into() }
    }

    fn flag(&self, name: &'static str) -> Result<(), OverlayError> {
        rustix::mount::fsconfig_set_flag(&self.context, name).map_err(self.refused("set an overlay option"))
    }

    fn set(&self, name: &'static str, value: &'static str) -> Result<(), OverlayError> {
        match rustix::mount::fsconfig_set_string(&self.context, name, value) {
            // Built without the feature: then it is off, which is what is wanted.
            Ok(()) | Err(Errno::INVAL) => Ok(()),
            Err(source) => Err(self.refused("set an overlay option")(source)),
        }
    }

    /// Gives an open directory to the option `name`: by descriptor where the kernel takes it (6.13), else by its name in
    /// `/proc`.
    fn directory(&self, name: &str, dir: &Dir) -> Result<(), OverlayError> {
        match rustix::mount::fsconfig_set_fd(&self.context, name, dir) {
            Ok(()) => Ok(()),
            Err(Errno::INVAL) => {
                let path = format!("/proc/self/fd/{}", dir.as_fd().as_raw_fd());
                rustix::mount::fsconfig_set_string(&self.context, name, path)
                    .map_err(self.refused("give a layer to overlayfs"))
            }
            Err(source) => Err(self.refused("give a layer to overlayfs")(source)),
        }
    }

    /// Gives the lower layers, lowest first, to the kernel, which wants the highest first.
    fn lowers(&self, layers: &[&Dir]) -> Result<(), OverlayError> {
        let Some((highest, rest)) = layers.split_last() else { return Ok(()) };
        match self.directory("lowerdir+", highest) {
            Ok(()) => {}
            Err(OverlayError::Refused { source, .. }) if source.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                return self.lowers_in_one_option(layers);
            }
            Err(error) => return Err(error),
        }
        for layer in rest.iter().rev() {
            self.directory("lowerdir+", layer)?;
        }
        Ok(())
    }

    /// For kernels before 6.5: one option, which can have 255 bytes.
    fn lowers_in_one_option(&self, layers: &[&Dir]) -> Result<(), OverlayError> {
        let path = |dir: &&Dir| format!("/proc/self/fd/{}", dir.as_fd().as_raw_fd());
        let paths: Vec<String> = layers.iter().rev().map(path).collect();
        let option = paths.join(":");
        if option.len() > 255 {
            return Err(OverlayError::TooManyLayers { layers: layers.len(), limit: 255 / (paths[0].len() + 1) });
        }
        rustix::mount::fsconfig_set_string(&self.context, "lowerdir", option)
            .map_err(self.refused("give the layers to overlayfs"))
    }

    fn mount(self, attributes: MountAttrFlags) -> Result<Dir, OverlayError> {
        rustix::mount::fsconfig_create(&self.context).map_err(self.refused("make an overlay"))?;
        // This very descriptor has to stay: with it closed, the mount can be read but no longer be stacked on.
        rustix::mount::fsmount(&self.context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
            .map(Dir::from_fd)
            .map_err(self.refused("mount an overlay"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(path: &std::path::Path, name: &str) -> Dir {
        let path = path.join(name);
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join(name), name).unwrap();
        std::fs::write(path.join("same"), name).unwrap();
        Dir::open_ambient(&path).unwrap()
    }

    const FORMAT: LayerFormat = LayerFormat { userxattr: false };

    fn may_mount() -> bool {
        let root = rustix::process::geteuid().is_root();
        if !root {
            eprintln!("skipped: making an overlay needs root or a user namespace");
        }
        root
    }

    #[test]
    fn no_layer_is_an_empty_tree() {
        if may_mount() {
            assert_eq!(merged(&[], FORMAT).unwrap().list(b"").unwrap(), []);
        }
    }

    #[test]
    fn a_single_layer_hides_what_it_deletes() {
        if !may_mount() {
            return;
        }
        let temporary = tempfile::tempdir().unwrap();
        let only = layer(temporary.path(), "a");
        rustix::fs::mknodat(&only, c"gone", rustix::fs::FileType::CharacterDevice, rustix::fs::Mode::empty(), 0)
            .unwrap();
        let names: Vec<_> = merged(&[&only], FORMAT).unwrap().list(b"").unwrap();
        let names: Vec<_> = names.iter().map(|entry| entry.name.as_slice()).collect();
        assert_eq!(names, [b"a".as_slice(), b"same"]);
    }

    #[test]
    fn higher_layers_win() {
        if !may_mount() {
            return;
        }
        let temporary = tempfile::tempdir().unwrap();
        let (a, b) = (layer(temporary.path(), "a"), layer(temporary.path(), "b"));
        let view = merged(&[&a, &b], FORMAT).unwrap();
        assert_eq!(view.read_file(b"same", 10).unwrap(), b"b");
        assert_eq!(view.read_file(b"/a", 10).unwrap(), b"a");
    }

    #[test]
    fn more_layers_than_one_overlay_takes_are_stacked() {
        if !may_mount() {
            return;
        }
        let temporary = tempfile::tempdir().unwrap();
        let layers: Vec<Dir> = (0..OVERLAY_LAYERS_MAX + 20).map(|n| layer(temporary.path(), &n.to_string())).collect();
        let layers: Vec<&Dir> = layers.iter().collect();
        let view = merged(&layers, FORMAT).unwrap();
        assert_eq!(view.list(b"").unwrap().len(), layers.len() + 1);
        assert_eq!(view.read_file(b"same", 10).unwrap(), b"519");
    }

    #[test]
    fn what_is_written_goes_to_the_upper_directory() {
        if !may_mount() {
            return;
        }
        let temporary = tempfile::tempdir().unwrap();
        let lower = layer(temporary.path(), "a");
        let dir = |name: &str| {
            std::fs::create_dir(temporary.path().join(name)).unwrap();
            Dir::open_ambient(&temporary.path().join(name)).unwrap()
        };
        let (upper, work) = (dir("upper"), dir("work"));
        let view = merged_writable(&[&lower], &upper, &work, FORMAT).unwrap();
        view.replace_file(b"new", b"1", 0o644).unwrap();
        assert_eq!(upper.read_file(b"new", 10).unwrap(), b"1");
        assert!(!lower.exists(b"new").unwrap());
    }
}
