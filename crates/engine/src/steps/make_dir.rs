//! `WORKDIR`: a directory that exists afterwards, as a layer.

use stave_graph::MakeDir;
use stave_store::{LayerId, Lease};
use stave_tree::make_dir;

use super::{like_parent, owner};
use crate::engine::Engine;
use crate::error::EngineError;

/// Makes the directory on `parent` and publishes its layer, which is empty if the directory was there.
pub(crate) fn run(
    engine: &Engine,
    lease: &Lease,
    operation: &MakeDir,
    parent: &[LayerId],
) -> Result<LayerId, EngineError> {
    let work = lease.work_dir()?;
    like_parent(engine, parent, &work)?;
    let into = engine.store_dir(&work.diff_rel_path())?;
    let view = if parent.is_empty() { None } else { Some(engine.view(parent)?) };
    let ids = match (&view, operation.owner.as_str()) {
        (_, "") => (0, 0),
        (Some(view), text) => owner(view, text)?,
        (None, text) => owner(&into, text)?,
    };
    make_dir(view.as_ref(), operation.path.as_bytes(), ids, &into)
        .map_err(|source| EngineError::tree(format!("cannot make directory `{}`", operation.path), source))?;
    Ok(lease.publish_layer(work, None)?)
}
