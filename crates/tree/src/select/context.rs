//! A build context and its ignore file.

use stave_pattern::IgnoreFile;

use super::matching::select_by;
use super::{Keep, SelectError, Selection};
use crate::digest::Owners;
use crate::dir::{Dir, clean};
use crate::memory::HashMemory;
use crate::scan::{Content, Filter, Scanner};

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
