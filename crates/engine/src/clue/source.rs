//! A file that is to be copied or mounted and is not there: where it was looked for, what is nearly called so, and which
//! rule of an ignore file hides it.

use std::collections::VecDeque;
use std::error::Error;

use stave_dockerfile::plan::NamedContext;
use stave_dockerfile::suggest::nearest;
use stave_graph::{ContextId, CopySource, Exec, NodeId, Op};
use stave_tree::{Context, Dir, Kind, SelectError};

use super::Scene;
use crate::build::stage_name;
use crate::error::EngineError;

/// Names that are looked at for one of the same name elsewhere.
const NAMES_MAX: usize = 20_000;
/// Directories below each other that are looked into for it.
const DEPTH_MAX: usize = 6;

/// A file that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoSource {
    /// What was looked for, relative to the root of where.
    pub path: String,
    /// Where it was looked for.
    pub place: Place,
    /// What is there and has nearly that name, or the same name elsewhere.
    pub nearest: Option<String>,
    /// Whether it was written with a `..` that would lead out of where it was looked for.
    pub is_above: bool,
    /// The rule that hides what was looked for; with `nearest`, the one that hides that.
    pub rule: Option<Rule>,
}

/// Where files come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The build context.
    Context,
    /// A context that the caller named.
    Named(String),
    /// A stage, or `stage-N`.
    Stage(String),
    /// An image.
    Image,
}

/// A rule of an ignore file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The file, as the user calls it.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
}

/// What is missing, if the error says that something is.
pub(super) fn of_error(scene: &Scene<'_>, error: &EngineError) -> Option<NoSource> {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        match error.downcast_ref::<SelectError>() {
            Some(SelectError::NotFound { pattern }) => return find(scene, pattern, None),
            Some(SelectError::Ignored { pattern, line }) => return find(scene, pattern, Some(*line)),
            _ => cause = error.source(),
        }
    }
    None
}

/// What is missing of a mount from another stage or image.
pub(super) fn of_mount(scene: &Scene<'_>, exec: &Exec, path: &str) -> Option<NoSource> {
    let mounts = exec.mounts.iter().filter_map(|mount| mount.kind.tree());
    let at = mounts.clone().position(|(_, pattern)| pattern.trim_start_matches('/') == path.trim_start_matches('/'))?;
    let (node, pattern) = mounts.clone().nth(at)?;
    in_tree(scene, pattern, node, at)
}

fn find(scene: &Scene<'_>, pattern: &str, line: Option<usize>) -> Option<NoSource> {
    let (contexts, trees): (Vec<_>, Vec<(NodeId, &str)>) = match scene.op {
        Op::Copy(copy) => {
            let contexts = copy.sources.iter().filter_map(|source| match source {
                CopySource::Context { context, pattern } => Some((*context, pattern.as_str())),
                CopySource::Tree { .. } | CopySource::Inline { .. } => None,
            });
            let trees = copy.sources.iter().filter_map(|source| match source {
                CopySource::Tree { node, pattern } => Some((*node, pattern.as_str())),
                CopySource::Context { .. } | CopySource::Inline { .. } => None,
            });
            (contexts.collect(), trees.collect())
        }
        Op::Exec(exec) => (
            exec.mounts.iter().filter_map(|mount| mount.kind.context()).collect(),
            exec.mounts.iter().filter_map(|mount| mount.kind.tree()).collect(),
        ),
        _ => return None,
    };
    if let Some((context, _)) = contexts.iter().find(|(_, own)| *own == pattern) {
        return Some(in_context(scene, pattern, *context, line));
    }
    let at = trees.iter().position(|(_, own)| *own == pattern)?;
    in_tree(scene, pattern, trees[at].0, at)
}

fn in_context(scene: &Scene<'_>, pattern: &str, id: ContextId, line: Option<usize>) -> NoSource {
    let context: &Context = scene.source.context(id);
    let name = scene.source.named.contexts.iter().find_map(|(name, named)| match named {
        NamedContext::Local(known) if *known == id => Some(name.clone()),
        _ => None,
    });
    let file = match (&name, &scene.source.ignored) {
        (None, Some(ignored)) => ignored.name.clone(),
        _ => ".dockerignore".to_owned(),
    };
    let found = if line.is_some() { None } else { nearest_in(context.root(), pattern) };
    let line = line.or_else(|| context.ignored_by(found.as_ref()?.as_bytes()));
    let place = name.map_or(Place::Context, Place::Named);
    NoSource {
        path: pattern.to_owned(),
        place,
        nearest: found,
        rule: line.map(|line| Rule { file, line }),
        is_above: scene.names_above(),
    }
}

/// `at` is the number of the tree among the operation's further inputs.
fn in_tree(scene: &Scene<'_>, pattern: &str, node: NodeId, at: usize) -> Option<NoSource> {
    let place = match scene.graph.op(node) {
        Op::Image(_) => Place::Image,
        _ => Place::Stage((scene.maker)(node).map(|step| stage_name(&step.stage))?),
    };
    let files = scene.inputs.get(at + 1).and_then(|layers| scene.engine.layers(layers).ok());
    let nearest = files.and_then(|files| nearest_in(files.mounted().ok()?, pattern));
    Some(NoSource { path: pattern.to_owned(), place, nearest, rule: None, is_above: scene.names_above() })
}

/// What is nearly called so: a neighbour of the first name on the way that does not exist, else a file of the same name
/// elsewhere.
pub(super) fn nearest_in(root: &Dir, pattern: &str) -> Option<String> {
    let clean: Vec<&str> = pattern.split('/').filter(|name| !name.is_empty() && *name != ".").collect();
    if clean.iter().any(|name| name.contains(['*', '?', '[', '\\'])) {
        return None;
    }
    let mut at: Vec<String> = Vec::new();
    for (index, name) in clean.iter().enumerate() {
        let here = at.join("/");
        let names: Vec<String> = root
            .list(here.as_bytes())
            .ok()?
            .into_iter()
            .map(|entry| String::from_utf8_lossy(&entry.name).into_owned())
            .collect();
        if names.iter().any(|known| known == name) {
            at.push((*name).to_owned());
            continue;
        }
        let mut sorted: Vec<&str> = names.iter().map(String::as_str).collect();
        sorted.sort_unstable();
        let Some(near) = nearest(name, sorted) else { break };
        at.push(near.to_owned());
        at.extend(clean[index + 1..].iter().map(|name| (*name).to_owned()));
        let found = at.join("/");
        // What is below may not be there under the other name.
        return if root.exists(found.as_bytes()).unwrap_or(false) { Some(found) } else { Some(at[..=index].join("/")) };
    }
    elsewhere(root, clean.last()?)
}

/// The path of something with this name, the nearest to the root that there is.
fn elsewhere(root: &Dir, name: &str) -> Option<String> {
    let mut seen = 0;
    let mut pending = VecDeque::from([(String::new(), 0)]);
    while let Some((directory, depth)) = pending.pop_front() {
        let Ok(mut entries) = root.list(directory.as_bytes()) else { continue };
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        for entry in entries {
            seen += 1;
            if seen > NAMES_MAX {
                return None;
            }
            let own = String::from_utf8_lossy(&entry.name).into_owned();
            let path = if directory.is_empty() { own.clone() } else { format!("{directory}/{own}") };
            if own == name {
                return Some(path);
            }
            if entry.metadata.kind == Kind::Directory && depth < DEPTH_MAX && own != ".git" {
                pending.push_back((path, depth + 1));
            }
        }
    }
    None
}
