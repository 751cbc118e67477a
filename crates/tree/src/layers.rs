//! Layers seen as one tree by looking into each of them, without a mount.
//!
//! Turns open layer directories into answers about single names and paths, by overlayfs's rules: the highest layer that
//! has a name decides, a whiteout deletes it, directories of several layers are one unless an opaque one hides what is
//! below. A copy asks about a handful of paths, and an overlay for those costs more than the copy. Who needs all that
//! several layers have in one directory asks for [`Layers::mounted`].

use std::sync::{Arc, OnceLock};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::copy::split;
use crate::dir::{Child, Dir, Follow, Kind, Metadata, PathError, Place, Walked, components, shown, walk};
use crate::merged::{LayerFormat, OverlayError, merged};
use crate::scan::is_opaque;

/// Layers as one read-only tree.
#[derive(Debug)]
pub struct Layers {
    root: Stack,
    mounted: OnceLock<Dir>,
}

/// What a path means, and which layer has it.
pub(crate) enum Located {
    /// Nothing.
    Missing,
    /// Something else than a directory: it is at `path` of `layer`.
    Leaf { layer: Arc<Dir>, path: Vec<u8> },
    /// A directory: at `path`, and with all that is in it in `layer` alone, if there is one.
    Directory { layer: Option<Arc<Dir>>, path: Vec<u8> },
}

impl Layers {
    /// Returns the tree that `layers`, lowest first, make together.
    #[must_use]
    pub fn new(layers: Vec<Dir>, format: LayerFormat) -> Self {
        let parts = layers.into_iter().rev().enumerate();
        let parts = parts.map(|(layer, dir)| Part { layer, dir: Arc::new(dir) }).collect();
        Self { root: Stack { parts, format }, mounted: OnceLock::new() }
    }

    /// Returns the tree through overlayfs: a mount that is attached nowhere and vanishes with this.
    pub fn mounted(&self) -> Result<&Dir, OverlayError> {
        if let Some(view) = self.mounted.get() {
            return Ok(view);
        }
        let lowest_first: Vec<&Dir> = self.root.parts.iter().rev().map(|part| &*part.dir).collect();
        let view = merged(&lowest_first, self.root.format)?;
        Ok(self.mounted.get_or_init(|| view))
    }

    /// Returns the absolute path that `path` means: see [`Dir::resolve`].
    pub fn resolve(&self, path: &[u8]) -> Result<Vec<u8>, PathError> {
        self.walk(path).map(|walked| walked.path())
    }

    /// Returns what is known about `path`, in which no component is a link, if it exists.
    pub fn metadata(&self, path: &[u8]) -> Result<Option<Metadata>, PathError> {
        let (parent, name) = split(path);
        let Some(parent) = self.directory(parent)? else { return Ok(None) };
        if name.is_empty() { parent.top().map(Dir::own_metadata).transpose() } else { parent.child(name) }
    }

    /// Returns the bytes of a regular file that has at most `limit` of them. Links are followed.
    pub fn read_file(&self, path: &[u8], limit: u64) -> Result<Vec<u8>, PathError> {
        match self.locate(path)? {
            Located::Leaf { layer, path } => layer.read_file(&path, limit),
            Located::Directory { .. } => Err(PathError::NotRegular { path: shown(path), kind: Kind::Directory }),
            Located::Missing => Err(PathError::io("open", path, Errno::NOENT)),
        }
    }

    /// Returns the root directory of all layers.
    pub(crate) fn root(&self) -> &Stack {
        &self.root
    }

    /// Returns the directory `path` of all layers, if it exists. No component of `path` is a link.
    pub(crate) fn directory(&self, path: &[u8]) -> Result<Option<Stack>, PathError> {
        let mut at = self.root.clone();
        for name in components(path) {
            match at.below(name)? {
                Some(below) => at = below,
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    /// Says what `path` means, links followed.
    pub(crate) fn locate(&self, path: &[u8]) -> Result<Located, PathError> {
        let walked = self.walk(path)?;
        if walked.existing < walked.names.len() || walked.through_missing {
            return Ok(Located::Missing);
        }
        let directory = walked.directory.as_ref().unwrap_or(&self.root);
        let path = walked.names.join(&b'/');
        let layer = |part: &Part| Arc::clone(&self.root.parts[part.layer].dir);
        let Some(name) = walked.names.get(walked.directory_depth) else {
            let layer = if let [only] = &directory.parts[..] { Some(layer(only)) } else { None };
            return Ok(Located::Directory { layer, path });
        };
        Ok(match directory.find(name)? {
            Some((part, _)) => Located::Leaf { layer: layer(part), path },
            None => Located::Missing,
        })
    }

    fn walk(&self, path: &[u8]) -> Result<Walked<Stack>, PathError> {
        walk(&self.root, path, Follow::Yes).map_err(|source| PathError::io("resolve", path, source))
    }
}

/// The same directory in all layers that have it, highest first.
#[derive(Debug, Clone)]
pub(crate) struct Stack {
    parts: Vec<Part>,
    format: LayerFormat,
}

#[derive(Debug, Clone)]
struct Part {
    /// Index of the layer in the root.
    layer: usize,
    dir: Arc<Dir>,
}

impl Stack {
    /// Returns the directory of the highest layer: its attributes are those of all.
    pub(crate) fn top(&self) -> Option<&Dir> {
        self.parts.first().map(|part| &*part.dir)
    }

    /// Returns what is known about a name, if it exists.
    pub(crate) fn child(&self, name: &[u8]) -> Result<Option<Metadata>, PathError> {
        Ok(self.find(name)?.map(|(_, metadata)| metadata))
    }

    /// Opens the regular file `name`; a link is an error.
    pub(crate) fn open_file(&self, name: &[u8]) -> Result<std::fs::File, PathError> {
        match self.find(name)? {
            Some((part, _)) => part.dir.open_file_here(name),
            None => Err(PathError::io("open", name, Errno::NOENT)),
        }
    }

    /// Returns the directory `name`, if there is one.
    pub(crate) fn below(&self, name: &[u8]) -> Result<Option<Self>, PathError> {
        self.directory(name).map_err(|source| PathError::io("open directory", name, source))
    }

    fn find(&self, name: &[u8]) -> Result<Option<(&Part, Metadata)>, PathError> {
        for part in &self.parts {
            if let Some(metadata) = part.dir.child(name)? {
                return Ok((!metadata.is_whiteout()).then_some((part, metadata)));
            }
        }
        Ok(None)
    }

    fn directory(&self, name: &[u8]) -> Result<Option<Self>, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut parts = Vec::new();
        let mut rest = self.parts.iter();
        while let Some(part) = rest.next() {
            let dir = match rustix::fs::openat(&*part.dir, name, flags, Mode::empty()) {
                Ok(fd) => Dir::from_fd(fd),
                Err(Errno::NOENT) => continue,
                Err(Errno::NOTDIR | Errno::LOOP) => break,
                Err(error) => return Err(error),
            };
            let hides = !rest.as_slice().is_empty() && is_opaque(&dir, self.format.opaque_xattr())?;
            parts.push(Part { layer: part.layer, dir: Arc::new(dir) });
            if hides {
                break;
            }
        }
        Ok((!parts.is_empty()).then_some(Self { parts, format: self.format }))
    }
}

impl Place for Stack {
    type Below = Self;

    fn child(&self, name: &[u8]) -> Result<Child<Self>, Errno> {
        if let Some(directory) = self.directory(name)? {
            return Ok(Child::Directory(directory));
        }
        for part in &self.parts {
            let metadata = match rustix::fs::statat(&*part.dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => Metadata::from_stat(&stat),
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(error),
            };
            return Ok(match metadata.kind {
                _ if metadata.is_whiteout() => Child::Missing,
                Kind::Link => Child::Link(rustix::fs::readlinkat(&*part.dir, name, Vec::new())?.into_bytes()),
                _ => Child::Other,
            });
        }
        Ok(Child::Missing)
    }
}
