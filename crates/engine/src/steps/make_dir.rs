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
    let below = engine.layers(parent)?;
    let ids = match operation.owner.as_str() {
        "" => None,
        text => Some(owner(&below, text)?),
    };
    make_dir((!parent.is_empty()).then_some(&below), operation.path.as_bytes(), ids, &into)
        .map_err(|source| EngineError::tree(format!("cannot make directory `{}`", operation.path), source))?;
    Ok(lease.publish_layer(work, None)?)
}
