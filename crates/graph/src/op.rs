//! The operations: what a node of the graph does to make a snapshot.

use stave_oci::{BlobDigest, DiffId, ImageId};

use crate::exec::Exec;
use crate::graph::NodeId;
use crate::remote::GitSource;

/// What makes one snapshot of a file system.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Op {
    /// No files at all.
    Scratch,
    /// The files of an image.
    Image(Image),
    /// A file on the network.
    Http(Http),
    /// The files of a git repository.
    Git(Git),
    /// What a command leaves behind.
    Exec(Exec),
    /// Files put on top of the parent.
    Copy(Copy),
    /// A directory made on top of the parent.
    MakeDir(MakeDir),
    /// One snapshot on top of another one.
    Merge(Merge),
    /// A snapshot that is there only after others are: `FROM --after`.
    After(After),
}

impl Op {
    /// Returns the nodes that this operation reads: its parent first, then the sources of a copy or of the mounts of a
    /// command as written. A node that is read twice is named twice.
    pub fn inputs(&self) -> impl Iterator<Item = NodeId> {
        let (parent, sources, mounts, others) = match self {
            Self::Scratch | Self::Image(_) | Self::Http(_) | Self::Git(_) => (None, &[][..], &[][..], &[][..]),
            Self::Exec(exec) => (Some(exec.parent), &[][..], &exec.mounts[..], &[][..]),
            Self::Copy(copy) => (Some(copy.parent), &copy.sources[..], &[][..], &[][..]),
            Self::MakeDir(make_dir) => (Some(make_dir.parent), &[][..], &[][..], &[][..]),
            Self::Merge(merge) => (Some(merge.lower), &[][..], &[][..], std::slice::from_ref(&merge.upper)),
            Self::After(after) => (Some(after.parent), &[][..], &[][..], &after.others[..]),
        };
        let sources = sources.iter().filter_map(CopySource::node);
        let mounts = mounts.iter().filter_map(|mount| mount.kind.tree()).map(|(node, _)| node);
        parent.into_iter().chain(sources).chain(mounts).chain(others.iter().copied())
    }

    /// Whether the result depends on something that is not in the graph: files of a context, or of the network.
    #[must_use]
    pub fn reads_outside(&self) -> bool {
        match self {
            Self::Http(_) | Self::Git(_) => true,
            Self::Copy(copy) => copy.sources.iter().any(|source| matches!(source, CopySource::Context { .. })),
            Self::Exec(exec) => exec.mounts.iter().any(|mount| mount.kind.context().is_some()),
            Self::Scratch | Self::Image(_) | Self::MakeDir(_) | Self::Merge(_) | Self::After(_) => false,
        }
    }

    /// Whether this makes no layer, and its result is of layers that others make.
    #[must_use]
    pub fn is_join(&self) -> bool {
        matches!(self, Self::Merge(_) | Self::After(_))
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

/// A file on the network.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Http {
    /// Where it is. Not part of the cache key: the content is.
    pub url: String,
    /// Its name in the root of the snapshot.
    pub name: String,
    /// What its content must be.
    pub checksum: Option<BlobDigest>,
}

/// A commit of a git repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Git {
    /// Which, and what of it.
    pub source: GitSource,
}

/// The layers of one snapshot on top of another one, whatever they are: `COPY --link`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Merge {
    /// What is below.
    pub lower: NodeId,
    /// What is on top.
    pub upper: NodeId,
}

/// The files of one snapshot, once other ones have been made: `FROM --after`.
///
/// The keys of the others are part of its key, so that they are made again when they have changed. What is above sees
/// nothing of them, and is not made again if its own files are the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct After {
    /// Whose files these are.
    pub parent: NodeId,
    /// What must have been made.
    pub others: Vec<NodeId>,
}

/// One of the directories that the caller gives: 0 is the build context, the others are the named contexts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContextId(pub u32);

impl ContextId {
    /// The build context.
    pub const MAIN: Self = Self(0);
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
    /// Permissions of everything that is copied: octal, or symbolic as in chmod(1).
    pub chmod: Option<String>,
    /// Which archives are unpacked.
    pub unpack: Unpack,
    /// Whether sources keep the directories that they are in (`COPY --parents`).
    pub parents: bool,
    /// Patterns of what is left out, in order.
    pub excludes: Vec<String>,
}

impl Copy {
    /// Returns a copy of `sources` into the directory `dest` that changes neither owners nor permissions.
    #[must_use]
    pub fn new(parent: NodeId, sources: Vec<CopySource>, dest: &str) -> Self {
        Self {
            parent,
            sources,
            dest: dest.to_owned(),
            dest_is_dir: true,
            chown: None,
            chmod: None,
            unpack: Unpack::No,
            parents: false,
            excludes: Vec::new(),
        }
    }
}

/// Which of the copied files are unpacked if they are archives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unpack {
    /// None.
    No,
    /// Those of contexts (`ADD`).
    Local,
    /// All (`ADD --unpack`).
    All,
}

/// Where copied files come from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum CopySource {
    /// A context.
    Context {
        /// Which one. Not part of the cache key: the content is.
        context: ContextId,
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
    /// A file that is written in the Dockerfile: mode 0644, root's.
    Inline {
        /// Its name, if the destination is a directory.
        name: String,
        /// Its content.
        content: String,
    },
}

impl CopySource {
    /// Returns what is selected, if the source is not written in the Dockerfile.
    #[must_use]
    pub fn pattern(&self) -> Option<&str> {
        match self {
            Self::Context { pattern, .. } | Self::Tree { pattern, .. } => Some(pattern),
            Self::Inline { .. } => None,
        }
    }

    fn node(&self) -> Option<NodeId> {
        match self {
            Self::Context { .. } | Self::Inline { .. } => None,
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
