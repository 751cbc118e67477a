//! What a step saw: the files of its parent with what it left, and its mounts over them.

use std::io::Read as _;

use stave_graph::{Exec, Mount, MountKind, MountSource};
use stave_tree::{Dir, Follow, Kind, Layers};

use super::Scene;
use super::access::{absolute, is_below};

/// Bytes of a file that are read.
const START_BYTES: u64 = 4096;
/// Where the image has nothing to say about what a step sees.
const MACHINES: [&str; 3] = ["/proc", "/sys", "/dev"];

/// The files of a step.
pub(super) struct View<'a, 's> {
    scene: &'a Scene<'s>,
    exec: &'a Exec,
    files: Layers,
}

/// What a step saw at a path.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// A regular file that begins so.
    File(Vec<u8>),
    /// A directory.
    Directory,
    /// Nothing.
    Missing,
    /// It is not known: a secret, a cache, something of the machine's.
    Unknown,
}

impl<'a, 's> View<'a, 's> {
    pub(super) fn new(scene: &'a Scene<'s>, exec: &'a Exec, files: Layers) -> Self {
        Self { scene, exec, files }
    }

    /// The files without the mounts.
    pub(super) fn files(&self) -> &Layers {
        &self.files
    }

    /// Says what there was at an absolute path without `.` and `..`.
    pub(super) fn at(&self, path: &str) -> Seen {
        let resolved = self.files.resolve(path.as_bytes()).ok();
        let resolved = resolved.map(|path| format!("/{}", String::from_utf8_lossy(&path).trim_start_matches('/')));
        for path in [Some(path), resolved.as_deref()].into_iter().flatten() {
            if let Some((index, mount)) = mount_of(self.exec, path) {
                let target = absolute(&self.exec.cwd, &mount.target);
                return self.in_mount(index, mount, path[target.len()..].trim_start_matches('/'));
            }
            if MACHINES.iter().any(|place| is_below(path, place)) {
                return Seen::Unknown;
            }
        }
        self.files.mounted().map_or(Seen::Unknown, |root| look(root, path))
    }

    /// Says what there is at a path below a mount, which is empty for the mount itself.
    fn in_mount(&self, index: usize, mount: &Mount, below: &str) -> Seen {
        let (source, path) = match &mount.kind {
            MountKind::Inline { content, .. } if below.is_empty() => return Seen::File(content.clone().into_bytes()),
            MountKind::Bind { source, path, .. } => (source, path),
            _ => return Seen::Unknown,
        };
        let path = if below.is_empty() { path.clone() } else { format!("{path}/{below}") };
        match source {
            MountSource::Empty => Seen::Unknown,
            MountSource::Context(id) => {
                let context = self.scene.source.context(*id);
                match context.ignored_by(path.as_bytes()) {
                    Some(_) => Seen::Missing,
                    None => look(context.root(), &path),
                }
            }
            MountSource::Tree(_) => {
                let before = self.exec.mounts[..index].iter().filter(|mount| mount.kind.tree().is_some()).count();
                let layers = self.scene.inputs.get(before + 1);
                let files = layers.and_then(|layers| self.scene.engine.layers(layers).ok());
                let seen = files.and_then(|files| Some(look(files.mounted().ok()?, &path)));
                seen.unwrap_or(Seen::Unknown)
            }
        }
    }
}

/// Returns the innermost of a step's mounts that has an absolute path, and its place in the list.
pub(super) fn mount_of<'a>(exec: &'a Exec, path: &str) -> Option<(usize, &'a Mount)> {
    let mounts = exec.mounts.iter().enumerate();
    let mounts = mounts.filter(|(_, mount)| !mount.target.is_empty());
    let holding = mounts.filter(|(_, mount)| is_below(path, &absolute(&exec.cwd, &mount.target)));
    holding.max_by_key(|(_, mount)| mount.target.len())
}

fn look(root: &Dir, path: &str) -> Seen {
    match root.metadata(path.as_bytes(), Follow::Yes) {
        Err(error) if error.is_not_found() => Seen::Missing,
        Err(_) => Seen::Unknown,
        Ok(metadata) => match metadata.kind {
            Kind::Directory => Seen::Directory,
            Kind::File => start(root, path).map_or(Seen::Unknown, Seen::File),
            _ => Seen::Unknown,
        },
    }
}

fn start(root: &Dir, path: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    root.open_file(path.as_bytes()).ok()?.take(START_BYTES).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}
