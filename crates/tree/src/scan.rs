//! Reading a tree: what is in a directory, how it is set, and what it hashes to.
//!
//! Turns a path inside an open directory into a node with all below it, on all processors. It follows no links, and
//! it keeps one directory open per thread, however deep the tree is.

use std::cell::RefCell;
use std::os::fd::{AsFd as _, OwnedFd};

use rayon::prelude::*;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use stave_oci::{BlobDigest, Hasher};

use crate::dir::{Dir, Kind, Metadata, PathError, Xattr, for_each_name, join, list_xattrs, shown};
use crate::limits::DEPTH_MAX;
use crate::memory::{FileDigest, HashMemory};

/// A tree that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// A file or directory could not be examined or read.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A file was written to while it was read, again and again.
    #[error("`{}` keeps changing while it is read", .0.display())]
    Changing(std::path::PathBuf),
    /// Directories are nested too deeply.
    #[error("`{}` is deeper than {DEPTH_MAX} directories", .0.display())]
    TooDeep(std::path::PathBuf),
}

/// A file with its name, or a directory with all that was selected below it.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) name: Vec<u8>,
    pub(crate) metadata: Metadata,
    pub(crate) content: Content,
}

impl Node {
    /// Tells whether `path` is below this directory, or is the directory itself.
    pub(crate) fn has(&self, path: &[u8]) -> bool {
        let mut at = self;
        for name in crate::dir::components(path) {
            let Content::Directory { children, .. } = &at.content else { return false };
            match children.iter().find(|child| child.name == name) {
                Some(child) => at = child,
                None => return false,
            }
        }
        true
    }

    /// Tells whether this is anything but a directory.
    pub(crate) fn is_leaf(&self) -> bool {
        !matches!(self.content, Content::Directory { .. })
    }
}

/// What a node holds.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// A regular file; its digest unless it was not asked for.
    File(Option<FileDigest>),
    /// A directory: its entries by name, and the digest of its extended attributes (zeros: none).
    Directory {
        children: Vec<Node>,
        xattrs: [u8; 32],
        /// Overlayfs's note that the directory hides all below it; only ever set for layers.
        opaque: bool,
    },
    /// A symbolic link and its target.
    Link(Vec<u8>),
    /// A pipe, a socket or a device: all is in the metadata.
    Special,
}

/// Decides what is left out of a scan.
pub(crate) trait Filter: Sync {
    /// Tells whether the path is left out.
    fn ignored(&self, path: &[u8]) -> bool;
    /// Tells whether something below the left-out directory may be wanted all the same.
    fn wanted_below(&self, path: &[u8]) -> bool;
    /// Returns the line of the rule that leaves the path out.
    fn excluding_line(&self, path: &[u8]) -> Option<usize>;
}

/// Leaves nothing out.
pub(crate) struct Everything;

impl Filter for Everything {
    fn ignored(&self, _path: &[u8]) -> bool {
        false
    }

    fn wanted_below(&self, _path: &[u8]) -> bool {
        true
    }

    fn excluding_line(&self, _path: &[u8]) -> Option<usize> {
        None
    }
}

/// How to read a tree.
pub(crate) struct Scanner<'a, F> {
    /// Where all paths start.
    pub(crate) root: &'a Dir,
    /// What to leave out.
    pub(crate) filter: &'a F,
    /// Whether files are hashed now.
    pub(crate) hash: bool,
    /// Digests known from earlier.
    pub(crate) memory: Option<&'a HashMemory>,
    /// The attribute that marks an opaque directory, when a layer is read.
    pub(crate) opaque_xattr: Option<&'a [u8]>,
    /// Whether whiteouts are names that do not exist: when a layer is read that is all of a tree, or its highest part.
    pub(crate) hides_whiteouts: bool,
}

/// Names examined by one thread before another may take over.
const NAMES_PER_TASK: usize = 256;

/// Times that a changing file is read again.
const ATTEMPTS_MAX: u32 = 4;

impl<'a, F: Filter> Scanner<'a, F> {
    /// Returns the same with another filter.
    pub(crate) fn with_filter<'b, G>(&self, filter: &'b G) -> Scanner<'b, G>
    where
        'a: 'b,
    {
        let Self { root, hash, memory, opaque_xattr, hides_whiteouts, .. } = *self;
        Scanner { root, filter, hash, memory, opaque_xattr, hides_whiteouts }
    }

    /// Returns the node at `path`, which has no links in it, with everything below it; nothing if all of it is left out.
    pub(crate) fn scan(&self, path: &[u8], name: &[u8]) -> Result<Option<Node>, ScanError> {
        let ignored = !path.is_empty() && self.filter.ignored(path);
        let metadata = self.root.metadata(path, crate::dir::Follow::No)?;
        if metadata.kind == Kind::Directory {
            if ignored && !self.filter.wanted_below(path) {
                return Ok(None);
            }
            return self.directory(path, name.to_vec(), ignored, 0);
        }
        if ignored {
            return Ok(None);
        }
        let (parent, last) = match path.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&b""[..], path),
        };
        let parent = self.root.open_dir_no_links(parent)?;
        let mut node = self.leaf(&parent, path, last, metadata)?;
        node.name = name.to_vec();
        Ok(Some(node))
    }

    /// Returns `node`, which is at `path`, with the digests of all files in it. What it does not have is not looked at.
    pub(crate) fn hashed(&self, path: &[u8], node: &Node) -> Result<Node, ScanError> {
        let content = match &node.content {
            Content::Directory { children, xattrs, opaque } => {
                let child = |child: &Node| self.hashed(&join(path, &child.name), child);
                let children: Result<Vec<Node>, ScanError> = children.par_iter().with_min_len(8).map(child).collect();
                Content::Directory { children: children?, xattrs: *xattrs, opaque: *opaque }
            }
            Content::File(None) => {
                let (parent, name) = crate::copy::split(path);
                let parent = self.root.open_dir_no_links(parent)?;
                let (metadata, digest) = hash_file(&parent, name, path)?;
                return Ok(Node { name: node.name.clone(), metadata, content: Content::File(Some(digest)) });
            }
            Content::File(Some(_)) | Content::Link(_) | Content::Special => node.content.clone(),
        };
        Ok(Node { name: node.name.clone(), metadata: node.metadata, content })
    }

    fn directory(&self, path: &[u8], name: Vec<u8>, ignored: bool, depth: usize) -> Result<Option<Node>, ScanError> {
        if depth > DEPTH_MAX {
            return Err(ScanError::TooDeep(shown(path)));
        }
        let dir = self.root.open_dir_no_links(path)?;
        let failed = |source: Errno| PathError::io("examine", path, source);
        let metadata = dir.own_metadata()?;
        let (xattrs, opaque) = self.directory_xattrs(&dir).map_err(failed)?;
        let mut names: Vec<(Vec<u8>, FileType)> = Vec::new();
        for_each_name(&dir, |listed| -> Result<(), Errno> {
            names.push((listed.name.to_vec(), listed.file_type));
            Ok(())
        })
        .map_err(|source| PathError::io("list", path, source))?;
        names.sort_unstable_by(|left, right| left.0.cmp(&right.0));
        let found = self.examine_all(&dir, path, &names)?;
        drop(dir);
        let children = self.descend(path, found, depth)?;
        if ignored && children.is_empty() {
            return Ok(None);
        }
        Ok(Some(Node { name, metadata, content: Content::Directory { children, xattrs, opaque } }))
    }

    /// Examines the names of one directory; directories among them are still empty.
    fn examine_all(&self, dir: &Dir, path: &[u8], names: &[(Vec<u8>, FileType)]) -> Result<Vec<Found>, ScanError> {
        let examine = |names: &[(Vec<u8>, FileType)]| -> Result<Vec<Found>, ScanError> {
            let mut found = Vec::with_capacity(names.len());
            for (name, file_type) in names {
                if let Some(one) = self.examine(dir, path, name, *file_type)? {
                    found.push(one);
                }
            }
            Ok(found)
        };
        if names.len() <= NAMES_PER_TASK {
            return examine(names);
        }
        let parts: Result<Vec<Vec<Found>>, ScanError> = names.par_chunks(NAMES_PER_TASK).map(examine).collect();
        Ok(parts?.into_iter().flatten().collect())
    }

    fn examine(&self, dir: &Dir, path: &[u8], name: &[u8], file_type: FileType) -> Result<Option<Found>, ScanError> {
        let path = join(path, name);
        let ignored = self.filter.ignored(&path);
        if ignored && file_type != FileType::Directory && file_type != FileType::Unknown {
            return Ok(None);
        }
        if file_type == FileType::Directory {
            let wanted = !ignored || self.filter.wanted_below(&path);
            return Ok(wanted.then(|| Found::Directory { name: name.to_vec(), ignored }));
        }
        let stat = match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // It was deleted between the listing and now.
            Err(Errno::NOENT) => return Ok(None),
            Err(source) => return Err(PathError::io("examine", &path, source).into()),
        };
        let metadata = Metadata::from_stat(&stat);
        if metadata.kind == Kind::Directory {
            let wanted = !ignored || self.filter.wanted_below(&path);
            return Ok(wanted.then(|| Found::Directory { name: name.to_vec(), ignored }));
        }
        if ignored || (self.hides_whiteouts && metadata.is_whiteout()) {
            return Ok(None);
        }
        self.leaf(dir, &path, name, metadata).map(|node| Some(Found::Leaf(node)))
    }

    fn leaf(&self, dir: &Dir, path: &[u8], name: &[u8], mut metadata: Metadata) -> Result<Node, ScanError> {
        let content = match metadata.kind {
            Kind::File if !self.hash => Content::File(None),
            Kind::File => {
                let known = self.memory.and_then(|memory| memory.recall(&metadata));
                let digest = if let Some(digest) = known {
                    digest
                } else {
                    let digest;
                    (metadata, digest) = hash_file(dir, name, path)?;
                    if let Some(memory) = self.memory {
                        memory.learn(&metadata, &digest);
                    }
                    digest
                };
                Content::File(Some(digest))
            }
            Kind::Link => {
                let target = rustix::fs::readlinkat(dir, name, Vec::new())
                    .map_err(|source| PathError::io("read link", path, source))?;
                Content::Link(target.into_bytes())
            }
            _ => Content::Special,
        };
        Ok(Node { name: name.to_vec(), metadata, content })
    }

    fn directory_xattrs(&self, dir: &Dir) -> Result<([u8; 32], bool), Errno> {
        let names = crate::dir::xattr_names(dir)?;
        if names.is_empty() {
            return Ok(([0; 32], false));
        }
        let opaque = match self.opaque_xattr {
            Some(wanted) => names.split(|&byte| byte == 0).any(|name| name == wanted) && is_opaque(dir, wanted)?,
            None => false,
        };
        Ok((xattrs_digest(&list_xattrs(dir)?), opaque))
    }

    fn descend(&self, path: &[u8], found: Vec<Found>, depth: usize) -> Result<Vec<Node>, ScanError> {
        let directories = found.iter().filter(|one| matches!(one, Found::Directory { .. })).count();
        let descend = |one: Found| match one {
            Found::Leaf(node) => Ok(Some(node)),
            Found::Directory { name, ignored } => match self.directory(&join(path, &name), name, ignored, depth + 1) {
                // It was deleted, or replaced by something else, between the listing and now.
                Err(ScanError::Path(error)) if error.is_no_directory() => Ok(None),
                result => result,
            },
        };
        let nodes: Result<Vec<Option<Node>>, ScanError> = if directories > 1 {
            found.into_par_iter().with_min_len(8).map(descend).collect()
        } else {
            found.into_iter().map(descend).collect()
        };
        Ok(nodes?.into_iter().flatten().collect())
    }
}

/// A name of a directory: examined, or a directory that is still to be entered.
enum Found {
    Leaf(Node),
    Directory { name: Vec<u8>, ignored: bool },
}

/// Tells whether overlayfs takes the directory as hiding what is below it.
pub(crate) fn is_opaque(dir: &Dir, opaque_xattr: &[u8]) -> Result<bool, Errno> {
    let mut value = [0_u8; 4];
    match rustix::fs::fgetxattr(dir, opaque_xattr, &mut value) {
        Ok(length) => Ok(&value[..length] == b"y"),
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::RANGE) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns the digest of extended attributes that are sorted by name; zeros if there are none.
pub(crate) fn xattrs_digest(xattrs: &[Xattr]) -> [u8; 32] {
    if xattrs.is_empty() {
        return [0; 32];
    }
    let mut hasher = Hasher::new();
    for part in xattrs.iter().flat_map(|xattr| [&xattr.name, &xattr.value]) {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    *hasher.finish::<BlobDigest>().as_bytes()
}

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; 128 * 1024]);
}

/// Reads and hashes the regular file `name` of `dir` until it stays unchanged while that is done.
pub(crate) fn hash_file(dir: &Dir, name: &[u8], path: &[u8]) -> Result<(Metadata, FileDigest), ScanError> {
    for _ in 0..ATTEMPTS_MAX {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(dir, name, flags, Mode::empty())
            .map_err(|source| PathError::io("open", path, source))?;
        let failed = |source: Errno| PathError::io("read", path, source);
        let before = Metadata::from_stat(&rustix::fs::fstat(&file).map_err(failed)?);
        if before.kind != Kind::File {
            return Err(PathError::NotRegular { path: shown(path), kind: before.kind }.into());
        }
        let (content, bytes) = hash_content(&file).map_err(failed)?;
        let xattrs = xattrs_digest(&list_xattrs(file.as_fd()).map_err(failed)?);
        let after = Metadata::from_stat(&rustix::fs::fstat(&file).map_err(failed)?);
        if after.is_unchanged_since(&before) && bytes == after.size {
            return Ok((after, FileDigest { content, xattrs }));
        }
    }
    Err(ScanError::Changing(shown(path)))
}

fn hash_content(file: &OwnedFd) -> Result<([u8; 32], u64), Errno> {
    BUFFER.with_borrow_mut(|buffer| {
        let mut hasher = Hasher::new();
        let mut bytes = 0;
        loop {
            match rustix::io::read(file, &mut buffer[..]) {
                Ok(0) => break,
                Ok(length) => {
                    hasher.update(&buffer[..length]);
                    bytes += length as u64;
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok((*hasher.finish::<BlobDigest>().as_bytes(), bytes))
    })
}
