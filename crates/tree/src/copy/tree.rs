//! Copying a directory with all that was selected below it, on all processors.

use std::sync::atomic::Ordering;

use rayon::prelude::*;

use super::file::Pair;
use super::{Attributes, Copier, CopyError, Deferred, lock, split};
use crate::dir::{Dir, Kind, Metadata, join, list_xattrs, shown};
use crate::layers::{Layers, Stack};
use crate::scan::{Content, Node};
use crate::select::Selection;

/// Files that one thread copies before another may take over.
const FILES_PER_TASK: usize = 64;

impl<'a> Copier<'a> {
    /// Copies one file, link or device to `target`, whose directory is in the layer.
    pub(super) fn single(
        &self,
        selection: &'a Selection,
        source_path: &[u8],
        node: &'a Node,
        target: &[u8],
    ) -> Result<(), CopyError> {
        let (source_parent, source_name) = split(source_path);
        let (target_parent, target_name) = split(target);
        let from = selection.root.open_dir_no_links(source_parent)?;
        let to = self.into.open_dir_no_links(target_parent)?;
        let below = self.places.below(target_parent)?;
        let previous = self.previous_directory(target_parent);
        let pair = Pair {
            from: &from,
            from_name: source_name,
            to: &to,
            to_name: target_name,
            set_group: true,
            previous: previous.as_ref(),
        };
        self.leaf(selection, &pair, below.as_ref(), source_path, node, target)
    }

    /// Copies what is in the directory `node` into `target`, which is in the layer. `parents` is the tree below, or nothing
    /// where the target's parent is known not to exist there.
    pub(super) fn tree(
        &self,
        selection: &'a Selection,
        source_path: &[u8],
        node: &'a Node,
        target: &[u8],
        parents: Option<&'a Layers>,
    ) -> Result<(), CopyError> {
        let Content::Directory { children, .. } = &node.content else { return Ok(()) };
        let from = selection.root.open_dir_no_links(source_path)?;
        let (parent, name) = split(target);
        let exists_below = match parents {
            Some(_) if target.is_empty() => true,
            Some(below) => below.directory(parent)?.is_some_and(|parent| matches!(parent.below(name), Ok(Some(_)))),
            None => false,
        };
        let to = self.into.open_dir_no_links(target)?;
        let set_group = to.own_metadata()?.mode & 0o2000 != 0;
        let below = if exists_below { self.places.below(target)? } else { None };
        let previous = self.previous_directory(target);
        let leaf = |child: &&'a Node| {
            let pair = Pair {
                from: &from,
                from_name: &child.name,
                to: &to,
                to_name: &child.name,
                set_group,
                previous: previous.as_ref(),
            };
            let source_path = join(source_path, &child.name);
            self.leaf(selection, &pair, below.as_ref(), &source_path, child, &join(target, &child.name))
        };
        let (directories, leaves): (Vec<&'a Node>, Vec<&'a Node>) =
            children.iter().partition(|child| matches!(child.content, Content::Directory { .. }));
        if leaves.len() > FILES_PER_TASK {
            leaves.par_chunks(FILES_PER_TASK).try_for_each(|leaves| leaves.iter().try_for_each(leaf))?;
        } else {
            leaves.iter().try_for_each(leaf)?;
        }
        drop((from, to, below, previous));
        let parents = parents.filter(|_| exists_below);
        directories.into_par_iter().try_for_each(|child| {
            let (source_path, target) = (join(source_path, &child.name), join(target, &child.name));
            let from = selection.root.open_dir_no_links(&source_path)?;
            let attributes = self.attributes(selection, &from, &source_path, child)?;
            self.places.copied_directory(parents, &target, &attributes)?;
            self.tree(selection, &source_path, child, &target, parents)
        })
    }

    pub(super) fn previous_directory(&self, target: &[u8]) -> Option<Dir> {
        self.previous.as_ref()?.directory(target)
    }

    fn attributes(&self, selection: &Selection, from: &Dir, path: &[u8], node: &Node) -> Result<Attributes, CopyError> {
        let Content::Directory { xattrs, .. } = &node.content else {
            return Err(CopyError::Changed(shown(path)));
        };
        let xattrs = if *xattrs == [0; 32] {
            Vec::new()
        } else {
            list_xattrs(from).map_err(|source| crate::dir::PathError::io("read the attributes of", path, source))?
        };
        let metadata = &node.metadata;
        Ok(Attributes {
            mode: self.mode(metadata.mode, true),
            owner: self.owner(selection.owners, metadata.uid, metadata.gid),
            xattrs,
            modified: Some(selection.time(metadata)),
        })
    }

    /// Copies what is not a directory. `below` is the target's directory in the tree below, if it exists there.
    fn leaf(
        &self,
        selection: &'a Selection,
        pair: &Pair<'_>,
        below: Option<&Stack>,
        source_path: &[u8],
        node: &'a Node,
        target: &[u8],
    ) -> Result<(), CopyError> {
        if let Some(below) = below
            && let Some(Metadata { kind: Kind::Directory, .. }) = below.child(pair.to_name)?
        {
            return Err(CopyError::OverDirectory(shown(target)));
        }
        if matches!(node.content, Content::File(_)) && node.metadata.links > 1 && selection.is_shared(&node.metadata) {
            lock(&self.deferred).push(Deferred {
                selection,
                source_path: source_path.to_vec(),
                node,
                target: target.to_vec(),
            });
            return Ok(());
        }
        match &node.content {
            Content::File(digest) => self.regular_or_linked(selection, pair, node, digest.as_ref(), target)?,
            Content::Link(link) => self.symlink(selection, pair, node, link, target)?,
            Content::Special => self.special(selection, pair, node, target)?,
            Content::Directory { .. } => return Err(CopyError::Changed(shown(source_path))),
        }
        self.files.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
