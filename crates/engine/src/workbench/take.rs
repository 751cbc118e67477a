//! Files of a step that failed, copied to the caller: `--output-on-failure`.
//!
//! Reference: docker/cli#2577, which asks for it.

use std::path::{Path, PathBuf};

use stave_tree::{Follow, Kind};

use super::description::DescribedKind;
use super::find::{Found, StateOf};
use crate::copy_files::{self, CopyFrom, CopyTo};
use crate::engine::{Engine, open_user_dir};
use crate::error::EngineError;

/// What to copy out of a step that fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakeOut {
    /// The stage of the step, by name or number; any without.
    pub stage: Option<String>,
    /// Absolute path in its files.
    pub path: String,
    /// Where it goes: a directory's content into a directory of this name, a file to a file of this name.
    pub dest: PathBuf,
}

/// What came of it.
#[derive(Debug)]
pub enum Taken {
    /// It was copied.
    Copied,
    /// It was not, for a reason that is no failure: there is nothing of that name, or another stage failed.
    Nothing(String),
    /// It could not be copied.
    Failed(EngineError),
}

impl Engine {
    /// Copies files out of the step in which a build (a beginning of its id, or the latest) failed. Each is copied for
    /// itself, whatever becomes of the others.
    pub fn take_out(&self, build: &str, wanted: &[TakeOut]) -> Result<Vec<Taken>, EngineError> {
        let lease = self.lease()?;
        let found = self.find_state(&lease, Some(build), &StateOf::Failed)?;
        let take = |wanted| self.take(&found, wanted).unwrap_or_else(Taken::Failed);
        Ok(wanted.iter().map(take).collect())
    }

    fn take(&self, found: &Found, wanted: &TakeOut) -> Result<Taken, EngineError> {
        self.go_on()?;
        let (step, path) = (&found.step, wanted.path.as_str());
        let is_meant = |stage: &String| step.stage.eq_ignore_ascii_case(stage) || stage.parse() == Ok(step.stage_index);
        if !wanted.stage.as_ref().is_none_or(is_meant) {
            return Ok(Taken::Nothing(format!("the step that failed is of stage `{}`", step.stage)));
        }
        let view = self.view(&found.layers)?;
        let unreadable = |source| EngineError::tree(format!("cannot look at `{path}` of the failed step"), source);
        let resolved = match view.resolve(path.as_bytes()) {
            Err(error) if error.is_not_found() => None,
            resolved => Some(resolved.map_err(unreadable)?),
        };
        let metadata = match resolved.map(|path| view.metadata(&path, Follow::No)).transpose() {
            Err(error) if error.is_not_found() => None,
            metadata => metadata.map_err(unreadable)?,
        };
        let Some(metadata) = metadata else { return Ok(Taken::Nothing(missing(found, path))) };
        let is_dir = metadata.kind == Kind::Directory;
        let from = if is_dir { format!("{}/.", path.trim_end_matches('/')) } else { path.to_owned() };
        let dest = absolute(&wanted.dest)?;
        let parent = if is_dir { Some(&*dest) } else { dest.parent() };
        if let Some(parent) = parent {
            std::fs::create_dir_all(parent).map_err(|source| EngineError::io("create", parent, source))?;
        }
        let root = open_user_dir(Path::new("/"))?;
        let shown = (format!("{path} of the failed step"), wanted.dest.display().to_string());
        let from = CopyFrom { root: &view, path: from.as_bytes(), shown: &shown.0 };
        let to = CopyTo { root: &root, path: dest.as_os_str().as_encoded_bytes(), shown: &shown.1 };
        copy_files::copy(self, &from, &to, true, false)?;
        Ok(Taken::Copied)
    }
}

/// Says why there is nothing of that name.
fn missing(found: &Found, path: &str) -> String {
    let is_in = |target: &str| path == target || path.strip_prefix(target).is_some_and(|rest| rest.starts_with('/'));
    let mount = found.step.operation.mounts.iter().find(|mount| !mount.target.is_empty() && is_in(&mount.target));
    match mount.map(|mount| &mount.kind) {
        Some(DescribedKind::Tmpfs { .. }) => format!("`{path}` was in memory and ended with the step"),
        Some(_) => format!("`{path}` is of a mount, and only the step's own files are taken"),
        None => format!("the failed step left no `{path}`"),
    }
}

fn absolute(path: &Path) -> Result<PathBuf, EngineError> {
    std::path::absolute(path).map_err(|source| EngineError::io("find", path, source))
}
