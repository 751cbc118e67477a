//! A file on the network, as a layer with that file alone.

use std::fs::FileTimes;
use std::time::{Duration, SystemTime};

use stave_graph::{Http, TreeDigest};
use stave_oci::BlobDigest;
use stave_store::{LayerId, Lease};

use crate::build::Report;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::remote::{RemoteFile, shown};
use crate::request::Grants;

/// Returns the digest of what the file has in it, and the file itself if that took a question. With a checksum the answer
/// is known.
///
/// When it was changed is not part of it, although the file gets that time (A166 of the feature list).
pub(crate) fn digest(
    engine: &Engine,
    lease: &Lease,
    operation: &Http,
    grants: &Grants,
    events: Report<'_>,
) -> Result<(TreeDigest, Option<RemoteFile>), EngineError> {
    let of = |digest: &BlobDigest| TreeDigest::of(digest.as_bytes());
    if let Some(checksum) = &operation.checksum {
        return Ok((of(checksum), None));
    }
    let file = engine.examine_file(lease, &operation.url, grants, events)?;
    Ok((of(&file.digest), Some(file)))
}

/// Makes the layer of the file: permissions 0600, root's, with the time that the server says, else 1970.
///
/// Reference: BuildKit, `source/http/source.go`.
pub(crate) fn run(
    engine: &Engine,
    lease: &Lease,
    operation: &Http,
    known: Option<RemoteFile>,
    (grants, events): (&Grants, Report<'_>),
) -> Result<LayerId, EngineError> {
    let file = match known {
        Some(file) if lease.blob(&file.digest)?.is_some() => file,
        known => {
            let expected = known.map(|file| file.digest).or(operation.checksum);
            engine.fetch_file(lease, &operation.url, expected, grants, events)?
        }
    };
    let work = lease.work_dir()?;
    let bytes = lease.blob(&file.digest)?.unwrap_or_default();
    lease.make_room(|| bytes)?;
    let into = engine.store_dir(&work.diff_rel_path())?;
    let what = || format!("cannot store the file from {}", shown(&operation.url));
    let mut target =
        into.create_file(operation.name.as_bytes(), 0o600).map_err(|source| EngineError::tree(what(), source))?;
    let mut content = engine.store.open_blob(&file.digest)?;
    std::io::copy(&mut content, &mut target).map_err(|source| EngineError::tree(what(), source))?;
    let seconds = u64::try_from(file.modified.unwrap_or_default()).unwrap_or_default();
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    target
        .set_times(FileTimes::new().set_accessed(time).set_modified(time))
        .map_err(|source| EngineError::tree(what(), source))?;
    engine.go_on()?;
    Ok(lease.publish_layer(work, None)?)
}
