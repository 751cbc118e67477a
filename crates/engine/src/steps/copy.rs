//! `COPY` and `ADD` of local files: files of the context or of other snapshots, as a layer.

use stave_graph::{Copy, CopySource, Unpack};
use stave_sandbox::SandboxError;
use stave_store::{CacheRecord, LayerId, Lease};
use stave_tree::{CopyManifest, CopyReport, CopyRequest, Dir, Layers, Previous, Selection, copy_into, select};

use super::{Sources, like_parent, owner};
use crate::engine::Engine;
use crate::error::EngineError;

/// Name of the file beside a layer that lists what a copy put into it.
const MANIFEST_FILE: &str = "manifest";

/// Whether `pattern` selects the same files, with the same content, from both snapshots.
pub(crate) fn same_files(
    engine: &Engine,
    one: &[LayerId],
    other: &[LayerId],
    pattern: &str,
) -> Result<bool, EngineError> {
    let digest = |layers: &[LayerId]| {
        let selection = select(&engine.layers(layers)?, &[pattern]).map_err(unselectable)?;
        selection.digest().map_err(unselectable)
    };
    Ok(digest(one)? == digest(other)?)
}

fn unselectable(source: stave_tree::SelectError) -> EngineError {
    EngineError::tree("cannot copy from another stage or image", source)
}

/// Copies what `sources` say on top of `parent` and publishes the layer.
///
/// Files that are as `previous` has them, an earlier result of the same instruction, are linked from there.
pub(crate) fn run(
    engine: &Engine,
    lease: &Lease,
    operation: &Copy,
    parent: &[LayerId],
    sources: Sources<'_>,
    previous: Option<&CacheRecord>,
    note: &dyn Fn(&str),
) -> Result<LayerId, EngineError> {
    let work = lease.work_dir()?;
    like_parent(engine, parent, &work)?;
    let into = engine.store_dir(&work.diff_rel_path())?;
    let below = engine.layers(parent)?;
    let trees = sources.trees.iter().map(|layers| engine.layers(layers)).collect::<Result<Vec<_>, EngineError>>()?;
    let previous = previous.and_then(|record| Earlier::open(engine, record));
    let selections = selections(operation, sources.contexts, &trees)?;
    if !selections.is_empty() && selections.iter().all(Selection::is_empty) {
        // K004 of the feature list: no mistake, as in BuildKit, though others refuse it.
        note(&format!("no file matches what is copied to `{}`", operation.dest));
    }
    let request = CopyRequest {
        parent: (!parent.is_empty()).then_some(&below),
        selections,
        dest: operation.dest.as_bytes(),
        dest_is_dir: operation.dest_is_dir,
        owner: operation.chown.as_deref().map(|text| owner(&below, text)).transpose()?,
        mode: operation.chmod.as_deref().map(octal).transpose()?,
        unpack: operation.unpack != Unpack::No,
        previous: previous.as_ref().map(|earlier| Previous { layer: &earlier.layer, manifest: &earlier.manifest }),
        format: engine.format(),
    };
    let report = copy_into(&request, &into)
        .map_err(|source| EngineError::tree(format!("cannot copy to `{}`", operation.dest), source))?;
    check_owners(&request, &report, note)?;
    engine.go_on()?;
    let manifest = work.path().join(MANIFEST_FILE);
    std::fs::write(&manifest, report.manifest.to_bytes())
        .map_err(|source| EngineError::io("write", manifest, source))?;
    Ok(lease.publish_layer(work, None)?)
}

/// Fails if an owner that was asked for does not exist in this user namespace, and notes what else could not be kept.
fn check_owners(request: &CopyRequest<'_>, report: &CopyReport, note: &dyn Fn(&str)) -> Result<(), EngineError> {
    if report.devices_skipped > 0 {
        note(&format!("{} device nodes cannot be made without root and are left out", report.devices_skipped));
    }
    match request.owner {
        _ if report.unmapped == 0 => Ok(()),
        Some((user, group)) => {
            let (kind, id) = if user == 0 { ("group", group) } else { ("user", user) };
            Err(SandboxError::UnmappedId { kind: kind.to_owned(), id }.into())
        }
        None => {
            let dest = String::from_utf8_lossy(request.dest);
            let count = report.unmapped;
            note(&format!(
                "{count} files copied to `{dest}` belong to users that do not exist here, and become root's"
            ));
            Ok(())
        }
    }
}

fn octal(mode: &str) -> Result<u32, EngineError> {
    let message = format!("mode `{mode}` is not supported yet");
    u32::from_str_radix(mode, 8).map_err(|_| EngineError::request(message, Some("Write it as an octal number.")))
}

/// Returns the selections in the order of the operation.
fn selections(operation: &Copy, contexts: Vec<Selection>, trees: &[Layers]) -> Result<Vec<Selection>, EngineError> {
    let mut contexts = contexts.into_iter();
    let mut trees = trees.iter();
    let mut selections = Vec::new();
    let mut last = None;
    for source in &operation.sources {
        let context = match source {
            CopySource::Context { context, .. } => {
                // One selection for a whole run of sources in one context.
                if last != Some(*context) {
                    selections.extend(contexts.next());
                }
                Some(*context)
            }
            CopySource::Tree { pattern, .. } => {
                if let Some(layers) = trees.next() {
                    selections.push(select(layers, &[pattern.as_str()]).map_err(unselectable)?);
                }
                None
            }
            CopySource::Inline { .. } => {
                return Err(EngineError::request("files written in the Dockerfile are not supported yet", None));
            }
        };
        last = context;
    }
    Ok(selections)
}

/// An earlier result of the same instruction.
struct Earlier {
    layer: Dir,
    manifest: CopyManifest,
}

impl Earlier {
    /// Opens it, if it is still whole. Without it, everything is copied.
    fn open(engine: &Engine, record: &CacheRecord) -> Option<Self> {
        let layer = record.snapshot.last()?;
        let relative = engine.store.layer_rel_path(*layer);
        let layer = engine.store_dir(&relative).ok()?;
        let beside = engine.store.root().join(relative).with_file_name(MANIFEST_FILE);
        let manifest = CopyManifest::from_bytes(&std::fs::read(beside).ok()?)?;
        Some(Self { layer, manifest })
    }
}
