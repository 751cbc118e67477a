//! What operations read outside the graph: files of contexts, and what is on the network.
//!
//! Turns an operation into one digest of all that it reads there, which becomes part of its cache key, and into the
//! selections that are made on the way, so that what is copied is what was digested.

use stave_fetch::Resolved;
use stave_graph::{ContextId, Copy, CopySource, Mount, MountFlag, Op, TreeDigest};
use stave_pattern::IgnoreFile;
use stave_tree::{Keep, Naming, Selection};

use crate::error::EngineError;
use crate::remote::RemoteFile;
use crate::requests::Requests;
use crate::source::Source;

/// What one operation reads.
#[derive(Debug)]
pub(crate) struct Outside {
    /// The digest of all of it.
    pub(crate) digest: TreeDigest,
    /// What is selected from contexts, in the order of the operation.
    pub(crate) selections: Vec<Selection>,
    /// What was found on the network.
    pub(crate) found: Found,
}

/// What an operation that reads the network has found there, so that it gets what was digested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// It did not have to look.
    Nothing,
    /// A file.
    File(RemoteFile),
    /// A commit.
    Commit(Resolved),
    /// What a command asked for while it ran.
    Requests(Requests),
}

impl Outside {
    /// What is on the network, whose digest is `digest`.
    pub(crate) fn on_network(digest: TreeDigest, found: Found) -> Self {
        Self { digest, selections: Vec::new(), found }
    }
}

/// Reads what `op` reads of contexts.
pub(crate) fn read_contexts(source: &Source, op: &Op) -> Result<Outside, EngineError> {
    let select = |context: ContextId, patterns: &[&str], keep: &Keep| {
        let selection = source.context(context).select_with(patterns, keep);
        selection.map_err(|source| EngineError::tree("cannot read the context", source))
    };
    let selections = match op {
        Op::Copy(copy) => {
            let keep = keep(copy)?;
            runs(copy).iter().map(|(context, patterns)| select(*context, patterns, &keep)).collect()
        }
        Op::Exec(exec) => {
            let mounts = exec.mounts.iter().filter_map(|mount| Some((mount, mount.kind.context()?)));
            mounts.map(|(mount, (context, path))| select(context, &[path], &keep_of_mount(mount))).collect()
        }
        Op::Scratch | Op::Image(_) | Op::Http(_) | Op::Git(_) | Op::MakeDir(_) | Op::Merge(_) | Op::After(_) => {
            Ok(Vec::new())
        }
    };
    let selections: Vec<Selection> = selections?;
    Ok(Outside { digest: digest(&selections)?, selections, found: Found::Nothing })
}

/// Returns what a copy leaves out, and whether it keeps directories above its sources.
pub(crate) fn keep(copy: &Copy) -> Result<Keep, EngineError> {
    let excludes = IgnoreFile::from_patterns(&copy.excludes)
        .map_err(|error| EngineError::request(format!("`--exclude={}` {}", error.pattern, error.problem), None))?;
    Ok(Keep { excludes, parents: copy.parents, ..Keep::default() })
}

/// Returns how the source of a mount is taken: a path, all of it, and a link itself if the mount says so.
pub(crate) fn keep_of_mount(mount: &Mount) -> Keep {
    let naming = if mount.flags.contains(&MountFlag::NoDereference) { Naming::Link } else { Naming::Path };
    Keep { naming, ..Keep::default() }
}

/// Returns the sources of a copy that are in a context: each run of neighbours with their patterns.
fn runs(copy: &Copy) -> Vec<(ContextId, Vec<&str>)> {
    let mut runs: Vec<(ContextId, Vec<&str>)> = Vec::new();
    let mut last = None;
    for source in &copy.sources {
        let context = match source {
            CopySource::Context { context, pattern } => {
                match runs.last_mut().filter(|_| last == Some(*context)) {
                    Some((_, patterns)) => patterns.push(pattern),
                    None => runs.push((*context, vec![pattern])),
                }
                Some(*context)
            }
            CopySource::Tree { .. } | CopySource::Inline { .. } => None,
        };
        last = context;
    }
    runs
}

/// The digest of one selection, or of the digests of several.
fn digest(selections: &[Selection]) -> Result<TreeDigest, EngineError> {
    let digest = |selection: &Selection| {
        selection.digest().map_err(|source| EngineError::tree("cannot read the context", source))
    };
    if let [selection] = selections {
        return digest(selection);
    }
    let mut bytes = Vec::new();
    for selection in selections {
        bytes.extend_from_slice(digest(selection)?.as_bytes());
    }
    Ok(TreeDigest::of(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use stave_graph::{Graph, Origin};

    #[test]
    fn neighbours_in_one_context_are_selected_together() {
        let mut graph = Graph::new();
        let node = graph.add(Op::Scratch, Origin(0));
        let file =
            |number: u32, pattern: &str| CopySource::Context { context: ContextId(number), pattern: pattern.into() };
        let tree = CopySource::Tree { node, pattern: ".".into() };
        let copy = Copy::new(node, vec![file(0, "a"), file(0, "b"), tree, file(0, "c"), file(1, "d")], "/");
        let expected = [(ContextId(0), vec!["a", "b"]), (ContextId(0), vec!["c"]), (ContextId(1), vec!["d"])];
        assert_eq!(runs(&copy), expected);
    }
}
