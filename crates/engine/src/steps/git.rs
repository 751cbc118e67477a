//! A commit of a Git repository, as a layer with its files.

use stave_fetch::Resolved;
use stave_graph::{Git, TreeDigest};
use stave_store::{LayerId, Lease};

use crate::build::Report;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::remote::Wanted;
use crate::request::Grants;
use crate::steps::normalise::Fresh;

fn wanted<'a>(operation: &'a Git, grants: &'a Grants) -> Wanted<'a> {
    Wanted { source: &operation.source, grants, by_caller: false }
}

/// Finds the commit; the digest is of its name.
pub(crate) fn digest(
    engine: &Engine,
    lease: &Lease,
    operation: &Git,
    grants: &Grants,
    events: Report<'_>,
) -> Result<(TreeDigest, Resolved), EngineError> {
    let resolved = engine.resolve_commit(lease, wanted(operation, grants), events)?;
    Ok((TreeDigest::of(resolved.commit.as_bytes()), resolved))
}

/// Makes the layer of the files of `known`, the commit that was found.
pub(crate) fn run(
    engine: &Engine,
    lease: &Lease,
    operation: &Git,
    known: Option<Resolved>,
    (grants, events): (&Grants, Report<'_>),
) -> Result<LayerId, EngineError> {
    let resolved = match known {
        Some(resolved) => resolved,
        None => engine.resolve_commit(lease, wanted(operation, grants), events)?,
    };
    let work = lease.work_dir()?;
    let fresh = Fresh::open(engine, &work)?;
    engine.check_out(lease, wanted(operation, grants), &resolved, &work, events)?;
    fresh.finish(engine, &[])?;
    Ok(lease.publish_layer(work, None)?)
}
