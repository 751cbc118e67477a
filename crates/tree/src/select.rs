//! Which files a pattern means.
//!
//! Turns the patterns of `COPY` and `ADD` into [`Selection`]s: from a build context, with its ignore file and its memory
//! of digests, or from the tree of another stage. Nothing outside the given directory is ever read: `..` and absolute
//! paths start at its root, links that are named are followed inside it, links found on the way are taken as links.

use std::collections::BTreeSet;

use stave_oci::TreeDigest;
use stave_pattern::{Component, IgnoreFile, Malformed, Wildcard};

use crate::digest::{Owners, tree_digest};
use crate::dir::{Dir, Follow, Kind, Metadata, PathError, Time, clean, join};
use crate::layers::{Layers, Located};
use crate::memory::HashMemory;
use crate::merged::OverlayError;
use crate::scan::{Content, Everything, Filter, Node, ScanError, Scanner};
use crate::times::Origin;

/// A selection that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SelectError {
    /// The pattern has no wildcards and names nothing.
    #[error("`{pattern}` not found")]
    NotFound {
        /// The pattern as it was given.
        pattern: String,
    },
    /// What the pattern names exists, but the ignore file leaves it out.
    #[error("`{pattern}` is excluded by line {line} of the ignore file")]
    Ignored {
        /// The pattern as it was given.
        pattern: String,
        /// Line of the deciding rule, from 1.
        line: usize,
    },
    /// The pattern's wildcards make no sense.
    #[error("`{pattern}` is no valid pattern")]
    Pattern {
        /// The pattern as it was given.
        pattern: String,
        /// What is wrong with it.
        source: Malformed,
    },
    /// A file could not be read.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// A path could not be followed.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The layers of the other stage or image could not be joined.
    #[error(transparent)]
    Overlay(#[from] OverlayError),
}

/// A file or directory that was selected, with all that was selected below it.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// Where it is: without links, relative to the root of the selection.
    pub(crate) path: Vec<u8>,
    /// What it is. Its name is the last one of the path that was named, before links were followed.
    pub(crate) node: Node,
}

/// What the text is that names a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Naming {
    /// A pattern: its wildcards match any number of sources.
    #[default]
    Pattern,
    /// A path: no character in it is a wildcard.
    Path,
    /// A path, at whose end a link is taken as a link, and not what it leads to. Those before it are followed.
    Link,
}

/// What of a source is copied.
#[derive(Debug, Clone, Default)]
pub struct Keep {
    /// How sources are named.
    pub naming: Naming,
    /// What is left out: paths relative to the directory that is the source. What is named itself is never left out.
    pub excludes: IgnoreFile,
    /// The directories above what a pattern names are kept, as far as they come after `/./` in it, and `**` is any number
    /// of directories (`COPY --parents`).
    pub parents: bool,
}

impl Keep {
    fn is_everything(&self) -> bool {
        self.excludes.is_empty() && !self.parents
    }
}

/// Leaves out what rules say about paths below `base`, and what `inner` leaves out.
struct Chosen<'a, F> {
    inner: &'a F,
    base: &'a [u8],
    rules: Vec<&'a IgnoreFile>,
}

impl<F> Chosen<'_, F> {
    fn below<'p>(&self, path: &'p [u8]) -> Option<&'p [u8]> {
        if self.base.is_empty() {
            return Some(path).filter(|path| !path.is_empty());
        }
        path.strip_prefix(self.base)?.strip_prefix(b"/")
    }
}

impl<F: Filter> Filter for Chosen<'_, F> {
    fn ignored(&self, path: &[u8]) -> bool {
        self.inner.ignored(path)
            || self.below(path).is_some_and(|path| self.rules.iter().any(|rules| rules.ignored(path)))
    }

    fn wanted_below(&self, path: &[u8]) -> bool {
        let chosen = |rules: &IgnoreFile, path: &[u8]| !rules.ignored(path) || rules.may_reinclude_below(path);
        (!self.inner.ignored(path) || self.inner.wanted_below(path))
            && self.below(path).is_none_or(|path| self.rules.iter().all(|rules| chosen(rules, path)))
    }

    fn excluding_line(&self, path: &[u8]) -> Option<usize> {
        self.inner.excluding_line(path)
    }
}

/// Files that are to be copied.
#[derive(Debug)]
pub struct Selection {
    pub(crate) root: Dir,
    pub(crate) owners: Owners,
    /// The files are a context's, and what times they have means nothing.
    pub(crate) given: bool,
    /// Archives named as sources are unpacked.
    pub(crate) unpack: bool,
    pub(crate) sources: Vec<Source>,
    /// Device and inode of files that were selected under several names.
    shared: BTreeSet<(u64, u64)>,
}

impl Selection {
    fn new(root: Dir, owners: Owners) -> Self {
        Self { root, owners, given: false, unpack: false, sources: Vec::new(), shared: BTreeSet::new() }
    }

    /// Returns the same, with archives that were named to be unpacked instead of copied.
    #[must_use]
    pub fn unpacking(mut self, unpack: bool) -> Self {
        self.unpack = unpack;
        self
    }

    /// Returns the same, as files of which the times mean nothing.
    #[must_use]
    pub fn given(mut self) -> Self {
        self.given = true;
        self
    }

    /// Returns the time that the copy of a selected file has.
    pub(crate) fn time(&self, metadata: &Metadata) -> Time {
        if self.given { metadata.modified.marked(Origin::Given) } else { metadata.modified }
    }

    /// Tells whether nothing was selected: no file matched any of the wildcards.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// Returns how many files and other leaves were selected, and how many bytes are in them.
    #[must_use]
    pub fn size(&self) -> Size {
        let mut size = Size::default();
        for source in &self.sources {
            size.add(&source.node);
        }
        size
    }

    /// Returns the identity of what was selected. Files that have not been hashed yet are hashed now.
    pub fn digest(&self) -> Result<TreeDigest, SelectError> {
        crate::pool::run(|| self.digest_here())
    }

    fn digest_here(&self) -> Result<TreeDigest, SelectError> {
        if self.sources.iter().all(|source| is_hashed(&source.node)) {
            return Ok(tree_digest(self.sources.iter().map(|source| &source.node), self.owners));
        }
        let scanner = whole_tree(&self.root, true);
        let mut nodes = Vec::new();
        for source in &self.sources {
            nodes.push(scanner.hashed(&source.path, &source.node)?);
        }
        Ok(tree_digest(nodes.iter(), self.owners))
    }

    /// Tells `item` of everything that was selected, in the order of the selection. What was not hashed has no content.
    pub fn each(&self, item: &mut dyn FnMut(Item<'_>)) {
        for source in &self.sources {
            let mut path = source.path.clone();
            tell(&mut path, &source.node, self.owners, item);
        }
    }

    /// Tells whether a file was selected under several names.
    pub(crate) fn is_shared(&self, metadata: &Metadata) -> bool {
        self.shared.contains(&(metadata.device, metadata.inode))
    }

    fn push(&mut self, source: Source) {
        let mut seen = BTreeSet::new();
        find_shared(&source.node, &mut seen, &mut self.shared);
        self.sources.push(source);
    }
}

/// How much was selected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    /// Files, links and other leaves.
    pub files: u64,
    /// Bytes in regular files.
    pub bytes: u64,
}

impl Size {
    fn add(&mut self, node: &Node) {
        match &node.content {
            Content::Directory { children, .. } => children.iter().for_each(|child| self.add(child)),
            Content::File(_) => {
                self.files += 1;
                self.bytes += node.metadata.size;
            }
            Content::Link(_) | Content::Special => self.files += 1,
        }
    }
}

/// Something that was selected, as its digest sees it.
#[derive(Debug, Clone, Copy)]
pub struct Item<'a> {
    /// Where it is: without links, relative to the root of the selection; empty for the root itself.
    pub path: &'a [u8],
    /// Its type, as a letter of `docs/tree-digest.md`.
    pub kind: u8,
    /// Its permissions; 0 for a link.
    pub mode: u32,
    /// Its owner in the result.
    pub uid: u32,
    /// Its group in the result.
    pub gid: u32,
    /// The digest of a file's content.
    pub content: Option<&'a [u8; 32]>,
    /// Where a link points.
    pub target: Option<&'a [u8]>,
    /// The number of a device.
    pub device: u64,
    /// The digest of its extended attributes; zeros if there are none.
    pub xattrs: [u8; 32],
}

fn tell(path: &mut Vec<u8>, node: &Node, owners: Owners, item: &mut dyn FnMut(Item<'_>)) {
    let metadata = &node.metadata;
    let (mut content, mut target, mut xattrs, mut below) = (None, None, [0; 32], &[][..]);
    match &node.content {
        Content::File(digest) => {
            content = digest.as_ref().map(|digest| &digest.content);
            xattrs = digest.as_ref().map_or([0; 32], |digest| digest.xattrs);
        }
        Content::Directory { children, xattrs: own, .. } => (below, xattrs) = (children, *own),
        Content::Link(to) => target = Some(to.as_slice()),
        Content::Special => {}
    }
    let (kind, device) = match metadata.kind {
        Kind::File => (b'f', 0),
        Kind::Directory => (b'd', 0),
        Kind::Link => (b'l', 0),
        Kind::Pipe => (b'p', 0),
        Kind::Socket => (b's', 0),
        Kind::CharDevice => (b'c', metadata.rdev),
        Kind::BlockDevice => (b'b', metadata.rdev),
    };
    let mode = if metadata.kind == Kind::Link { 0 } else { metadata.mode };
    let (uid, gid) = if owners == Owners::Kept { (metadata.uid, metadata.gid) } else { (0, 0) };
    item(Item { path, kind, mode, uid, gid, content, target, device, xattrs });
    let length = path.len();
    for child in below {
        if length > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(&child.name);
        tell(path, child, owners, item);
        path.truncate(length);
    }
}

/// Adds the inodes that `node` has under several names to `shared`. A link count alone does not tell: the other names may
/// be elsewhere.
fn find_shared(node: &Node, seen: &mut BTreeSet<(u64, u64)>, shared: &mut BTreeSet<(u64, u64)>) {
    match &node.content {
        Content::Directory { children, .. } => children.iter().for_each(|child| find_shared(child, seen, shared)),
        Content::File(_) if node.metadata.links > 1 => {
            let inode = (node.metadata.device, node.metadata.inode);
            if !seen.insert(inode) {
                shared.insert(inode);
            }
        }
        Content::File(_) | Content::Link(_) | Content::Special => {}
    }
}

fn is_hashed(node: &Node) -> bool {
    match &node.content {
        Content::File(digest) => digest.is_some(),
        Content::Directory { children, .. } => children.iter().all(is_hashed),
        Content::Link(_) | Content::Special => true,
    }
}

/// A build context: a directory of the user, less what the ignore file excludes.
#[derive(Debug)]
pub struct Context {
    root: Dir,
    rules: Rules,
    memory: HashMemory,
    owners: Owners,
}

/// The rules of an ignore file, or none.
#[derive(Debug)]
struct Rules(Option<IgnoreFile>);

impl Filter for Rules {
    fn ignored(&self, path: &[u8]) -> bool {
        self.0.as_ref().is_some_and(|file| file.ignored(path))
    }

    fn wanted_below(&self, path: &[u8]) -> bool {
        self.0.as_ref().is_none_or(|file| file.may_reinclude_below(path))
    }

    fn excluding_line(&self, path: &[u8]) -> Option<usize> {
        let file = self.0.as_ref()?;
        file.ignored(path).then(|| file.matched_line(path)).flatten()
    }
}

impl Context {
    /// Returns the context in `root`. `memory` spares reading files that were read by an earlier run.
    #[must_use]
    pub fn open(root: Dir, ignore: Option<IgnoreFile>, memory: HashMemory) -> Self {
        Self { root, rules: Rules(ignore), memory, owners: Owners::Root }
    }

    /// Returns the context that an archive was unpacked to. Its files keep the owners that the archive says, as in BuildKit.
    #[must_use]
    pub fn of_archive(root: Dir, ignore: Option<IgnoreFile>, memory: HashMemory) -> Self {
        Self { owners: Owners::Kept, ..Self::open(root, ignore, memory) }
    }

    /// Returns the directory of the context.
    #[must_use]
    pub fn root(&self) -> &Dir {
        &self.root
    }

    /// Returns the memory of digests, to be saved after the build.
    #[must_use]
    pub fn memory(&self) -> &HashMemory {
        &self.memory
    }

    /// Returns what `patterns` select, hashed. All belongs to root but for what an archive says; the context's own directory
    /// counts as mode 0755 and root's.
    pub fn select(&self, patterns: &[&str]) -> Result<Selection, SelectError> {
        self.select_with(patterns, &Keep::default())
    }

    /// As [`Self::select`], less what `keep` leaves out.
    pub fn select_with(&self, patterns: &[&str], keep: &Keep) -> Result<Selection, SelectError> {
        let scanner = Scanner {
            root: &self.root,
            filter: &self.rules,
            hash: true,
            memory: Some(&self.memory),
            opaque_xattr: None,
            hides_whiteouts: false,
        };
        let mut selection = crate::pool::run(|| select_by(&scanner, patterns, keep, self.owners))?.given();
        for source in &mut selection.sources {
            if source.path.is_empty() {
                source.node.metadata.mode = 0o755;
                (source.node.metadata.uid, source.node.metadata.gid) = (0, 0);
                if let Content::Directory { xattrs, .. } = &mut source.node.content {
                    *xattrs = [0; 32];
                }
            }
        }
        Ok(selection)
    }

    /// Returns the rule of the ignore file that leaves out `path`, and its line, if something is there and one does.
    #[must_use]
    pub fn hidden_by(&self, path: &[u8]) -> Option<(usize, Vec<u8>)> {
        let path = clean(path);
        let (line, rule) = self.rules.0.as_ref()?.ignoring_rule(&path)?;
        self.root.exists(&path).is_ok_and(|exists| exists).then(|| (line, rule.to_vec()))
    }

    /// Tells which line of the ignore file excludes `path`, if one does.
    #[must_use]
    pub fn ignored_by(&self, path: &[u8]) -> Option<usize> {
        self.rules.excluding_line(&clean(path))
    }
}

/// Returns what `patterns` select in the tree of another stage or image. Owners are kept; nothing is hashed until
/// [`Selection::digest`] is asked for.
pub fn select(layers: &Layers, patterns: &[&str]) -> Result<Selection, SelectError> {
    select_with(layers, patterns, &Keep::default())
}

/// As [`select`], less what `keep` leaves out.
pub fn select_with(layers: &Layers, patterns: &[&str], keep: &Keep) -> Result<Selection, SelectError> {
    if let ([pattern], false) = (patterns, keep.parents || keep.naming == Naming::Link)
        && let Some(selection) = select_in_one_layer(layers, pattern, keep)?
    {
        return Ok(selection);
    }
    let scanner = whole_tree(layers.mounted()?, false);
    crate::pool::run(|| select_by(&scanner, patterns, keep, Owners::Kept))
}

/// Reads another stage or image: nothing is left out, but what overlayfs would hide.
fn whole_tree(root: &Dir, hash: bool) -> Scanner<'_, Everything> {
    Scanner { root, filter: &Everything, hash, memory: None, opaque_xattr: None, hides_whiteouts: true }
}

/// Returns what a pattern without wildcards selects, if all of it is in a single layer.
fn select_in_one_layer(layers: &Layers, pattern: &str, keep: &Keep) -> Result<Option<Selection>, SelectError> {
    let wildcard = named(pattern, keep)?;
    let Some(literals) = wildcard.components().iter().map(Component::literal).collect::<Option<Vec<&[u8]>>>() else {
        return Ok(None);
    };
    let named = literals.join(&b'/');
    let not_found = || SelectError::NotFound { pattern: pattern.to_owned() };
    let (layer, path, is_leaf) = match layers.locate(&named) {
        Ok(Located::Leaf { layer, path }) => (layer, path, true),
        Ok(Located::Directory { layer: Some(layer), path }) => (layer, path, false),
        Ok(Located::Directory { layer: None, .. }) => return Ok(None),
        Ok(Located::Missing) => return Err(not_found()),
        Err(error) if error.is_not_found() => return Err(not_found()),
        Err(error) => return Err(error.into()),
    };
    let scanner = whole_tree(&layer, false);
    let name = literals.last().copied().unwrap_or_default();
    let scan = || scan_kept(&scanner, &path, name, keep);
    let node = if is_leaf { scan()? } else { crate::pool::run(scan)? };
    let mut selection = Selection::new(layer.try_clone()?, Owners::Kept);
    selection.push(Source { path, node: node.ok_or_else(not_found)? });
    Ok(Some(selection))
}

fn named(source: &str, keep: &Keep) -> Result<Wildcard, SelectError> {
    match keep.naming {
        Naming::Pattern => parsed(source),
        Naming::Path | Naming::Link => {
            let cleaned = String::from_utf8(clean(source.as_bytes())).expect("cleaning keeps whole components");
            Ok(Wildcard::of_path(&cleaned))
        }
    }
}

fn parsed(pattern: &str) -> Result<Wildcard, SelectError> {
    let cleaned = String::from_utf8(clean(pattern.as_bytes())).expect("cleaning keeps whole components");
    Wildcard::parse(&cleaned).map_err(|source| SelectError::Pattern { pattern: pattern.to_owned(), source })
}

fn select_by<F: Filter>(
    scanner: &Scanner<'_, F>,
    patterns: &[&str],
    keep: &Keep,
    owners: Owners,
) -> Result<Selection, SelectError> {
    let mut selection = Selection::new(scanner.root.try_clone()?, owners);
    for pattern in patterns {
        if keep.parents {
            for source in with_parents(scanner, pattern, keep)? {
                selection.push(source);
            }
            continue;
        }
        let wildcard = named(pattern, keep)?;
        let literals: Option<Vec<&[u8]>> = wildcard.components().iter().map(Component::literal).collect();
        if let Some(literals) = literals {
            let source = dereferenced(scanner, &literals.join(&b'/'), pattern, keep)?;
            selection.push(source);
            continue;
        }
        for named in matches(scanner, wildcard.components())? {
            match dereferenced(scanner, &named, pattern, keep) {
                Ok(source) => selection.push(source),
                // A match that the ignore file leaves out. A match that is a link to such a file is an error.
                Err(SelectError::Ignored { .. }) if scanner.filter.ignored(&named) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(selection)
}

/// Returns the directories that a pattern starts from, each with what the pattern names below it: what comes before `/./`
/// is not kept.
///
/// Reference: BuildKit, `frontend/dockerfile/dockerfile2llb/convert_copy.go`, `parents`.
fn with_parents<F: Filter>(scanner: &Scanner<'_, F>, pattern: &str, keep: &Keep) -> Result<Vec<Source>, SelectError> {
    let (pivot, rest) = pattern.split_once("/./").unwrap_or(("", pattern));
    let (pivot, named) = (parsed(pivot)?, parsed(rest)?);
    let rest = clean(rest.as_bytes());
    let rules = match &rest[..] {
        b"" => IgnoreFile::default(),
        rest => IgnoreFile::from_patterns([b"**".as_slice(), &[b"!", rest].concat()])
            .map_err(|error| SelectError::Pattern { pattern: pattern.to_owned(), source: error.problem })?,
    };
    let literals: Option<Vec<&[u8]>> = pivot.components().iter().map(Component::literal).collect();
    let starts = match literals {
        Some(literals) => BTreeSet::from([literals.join(&b'/')]),
        None => matches(scanner, pivot.components())?,
    };
    let required = pivot.is_literal() && named.is_literal();
    let mut sources = Vec::new();
    for start in starts {
        let path = match scanner.root.resolve(&start) {
            Ok(path) => clean(&path),
            Err(error) if error.is_not_found() && !required => continue,
            Err(error) if error.is_not_found() => {
                return Err(SelectError::NotFound { pattern: pattern.to_owned() });
            }
            Err(error) => return Err(error.into()),
        };
        let chosen = Chosen { inner: scanner.filter, base: &path, rules: vec![&rules, &keep.excludes] };
        let node = match scanner.with_filter(&chosen).scan(&path, b"") {
            Ok(node) => node.filter(|node| !node.is_leaf()),
            Err(ScanError::Path(error)) if error.is_not_found() => None,
            Err(error) => return Err(error.into()),
        };
        let whole = join(&path, &rest);
        if required && !node.as_ref().is_some_and(|node| node.has(&rest)) {
            if let Some(line) = scanner.filter.excluding_line(&whole) {
                return Err(SelectError::Ignored { pattern: pattern.to_owned(), line });
            }
            if !found(scanner, &whole)? {
                return Err(SelectError::NotFound { pattern: pattern.to_owned() });
            }
        }
        sources.extend(node.map(|node| Source { path, node }));
    }
    Ok(sources)
}

/// Whether `path`, in which no component is a link, exists.
fn found<F>(scanner: &Scanner<'_, F>, path: &[u8]) -> Result<bool, SelectError> {
    let (parent, name) = crate::copy::split(path);
    match scanner.root.open_dir_no_links(parent) {
        Ok(parent) => Ok(parent.child(name)?.is_some()),
        Err(error) if error.is_no_directory() => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Returns the node at `path`, less what is excluded below it.
fn scan_kept<F: Filter>(
    scanner: &Scanner<'_, F>,
    path: &[u8],
    name: &[u8],
    keep: &Keep,
) -> Result<Option<Node>, ScanError> {
    if keep.is_everything() {
        return scanner.scan(path, name);
    }
    let chosen = Chosen { inner: scanner.filter, base: path, rules: vec![&keep.excludes] };
    scanner.with_filter(&chosen).scan(path, name)
}

/// Returns the source at `named`, links followed; one at its end only where `keep` does not take links.
fn dereferenced<F: Filter>(
    scanner: &Scanner<'_, F>,
    named: &[u8],
    pattern: &str,
    keep: &Keep,
) -> Result<Source, SelectError> {
    let missing = |error: PathError| {
        if error.is_not_found() { SelectError::NotFound { pattern: pattern.to_owned() } } else { error.into() }
    };
    let (parent, last) = crate::copy::split(named);
    let path = if keep.naming == Naming::Link && !last.is_empty() {
        join(&clean(&scanner.root.resolve(parent).map_err(missing)?), last)
    } else {
        clean(&scanner.root.resolve(named).map_err(missing)?)
    };
    scanner.root.metadata(&path, Follow::No).map_err(missing)?;
    let name = named.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    let hidden = |path: &[u8], kind: Kind| {
        !path.is_empty()
            && scanner.filter.ignored(path)
            && !(kind == Kind::Directory && scanner.filter.wanted_below(path))
    };
    let named_kind = scanner.root.metadata(named, Follow::No).map_err(missing)?.kind;
    if !hidden(named, named_kind)
        && let Some(node) = scan_kept(scanner, &path, name, keep)?
    {
        return Ok(Source { path, node });
    }
    let line = [named, &path].into_iter().find_map(|path| scanner.filter.excluding_line(path));
    Err(match line {
        Some(line) => SelectError::Ignored { pattern: pattern.to_owned(), line },
        None => SelectError::NotFound { pattern: pattern.to_owned() },
    })
}

/// Returns the paths that match, in order. Names before the first wildcard are followed through links; below, only real
/// directories are entered.
fn matches<F: Filter>(scanner: &Scanner<'_, F>, components: &[Component]) -> Result<BTreeSet<Vec<u8>>, SelectError> {
    let literal = components.iter().take_while(|component| component.literal().is_some()).count();
    let prefix: Vec<&[u8]> = components[..literal].iter().filter_map(Component::literal).collect();
    let start = clean(&scanner.root.resolve(&prefix.join(&b'/'))?);
    let mut directories = BTreeSet::from([start]);
    let mut found = BTreeSet::new();
    for (index, component) in components.iter().enumerate().skip(literal) {
        let last = index + 1 == components.len();
        let mut next = BTreeSet::new();
        for directory in &directories {
            let opened = match scanner.root.open_dir_no_links(directory) {
                Err(error) if error.is_not_found() => continue,
                result => result?,
            };
            for entry in opened.list(b"")?.into_iter().filter(|entry| component.matches(&entry.name)) {
                let path = join(directory, &entry.name);
                if last {
                    found.insert(path);
                } else if entry.metadata.kind == Kind::Directory {
                    next.insert(path);
                }
            }
        }
        directories = next;
    }
    Ok(found)
}
