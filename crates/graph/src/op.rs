//! The operations: what a node of the graph does to make a snapshot.

use stave_oci::{DiffId, ImageId};

use crate::graph::NodeId;

/// What makes one snapshot of a file system.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Op {
    /// No files at all.
    Scratch,
    /// The files of an image.
    Image(Image),
    /// What a command leaves behind.
    Exec(Exec),
    /// Files put on top of the parent.
    Copy(Copy),
    /// A directory made on top of the parent.
    MakeDir(MakeDir),
}

impl Op {
    /// Returns the nodes that this operation reads: its parent first, then the sources of a copy as written. A node
    /// that is read twice is named twice.
    pub fn inputs(&self) -> impl Iterator<Item = NodeId> {
        let (parent, sources) = match self {
            Self::Scratch | Self::Image(_) => (None, &[][..]),
            Self::Exec(exec) => (Some(exec.parent), &[][..]),
            Self::Copy(copy) => (Some(copy.parent), &copy.sources[..]),
            Self::MakeDir(make_dir) => (Some(make_dir.parent), &[][..]),
        };
        parent.into_iter().chain(sources.iter().filter_map(CopySource::node))
    }

    /// Whether the result depends on files of the build context.
    #[must_use]
    pub fn reads_context(&self) -> bool {
        match self {
            Self::Copy(copy) => copy.sources.iter().any(|source| matches!(source, CopySource::Context { .. })),
            Self::Scratch | Self::Image(_) | Self::Exec(_) | Self::MakeDir(_) => false,
        }
    }

    /// Whether this is where files come from rather than a change to them: it is made, never looked up.
    #[must_use]
    pub fn is_source(&self) -> bool {
        matches!(self, Self::Scratch | Self::Image(_))
    }
}

/// The files of an image that is already known by its configuration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Image {
    /// The image. Not part of the cache key: a change of the configuration alone changes no file.
    pub id: ImageId,
    /// The layers, lowest first.
    pub diff_ids: Vec<DiffId>,
}

/// A command that runs on top of the parent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Exec {
    /// The file system in which it runs.
    pub parent: NodeId,
    /// Program and arguments.
    pub args: Vec<String>,
    /// Environment as `NAME=value`, in the order in which the process gets it.
    pub env: Vec<String>,
    /// Further environment that must not influence the result (proxies): not part of the cache key.
    pub unkeyed_env: Vec<String>,
    /// Working directory, absolute.
    pub cwd: String,
    /// Who runs it, as written in `USER`; empty is root.
    pub user: String,
    /// Name of the machine that it sees.
    pub hostname: String,
    /// The network that it sees.
    pub network: Network,
}

/// The network of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Network {
    /// The network of this machine.
    Host,
    /// A loopback interface only.
    None,
}

/// Files copied on top of the parent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Copy {
    /// What the files are put on top of.
    pub parent: NodeId,
    /// What is copied, in the order as written.
    pub sources: Vec<CopySource>,
    /// Where to: absolute and clean, without a slash at the end.
    pub dest: String,
    /// Whether the destination was written as a directory (`/x/`), so that files are put into it.
    pub dest_is_dir: bool,
    /// Owner of what is copied as written in `--chown`. Without it files of the context belong to root, and those of
    /// a snapshot keep their owners.
    pub chown: Option<String>,
    /// Permission bits of everything that is copied.
    pub chmod: Option<u32>,
    /// Whether local archives are unpacked (`ADD`).
    pub unpack: bool,
}

/// Where copied files come from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum CopySource {
    /// The build context.
    Context {
        /// Relative to the context, clean, with wildcards; `.` is the whole context.
        pattern: String,
    },
    /// A snapshot that this build makes.
    Tree {
        /// What makes the snapshot.
        node: NodeId,
        /// Relative to the snapshot's root, clean, with wildcards; `.` is the whole snapshot.
        pattern: String,
    },
}

impl CopySource {
    fn node(&self) -> Option<NodeId> {
        match self {
            Self::Context { .. } => None,
            Self::Tree { node, .. } => Some(*node),
        }
    }
}

/// A directory made on top of the parent, with those above it; one that exists is left as it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MakeDir {
    /// What the directory is made in.
    pub parent: NodeId,
    /// Absolute and clean.
    pub path: String,
    /// Owner as written in `USER`; empty is root.
    pub owner: String,
}
