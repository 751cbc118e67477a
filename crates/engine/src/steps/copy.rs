//! `COPY` and `ADD`: files of contexts, of other snapshots or of the Dockerfile itself, as a layer.

use std::io::Write as _;

use stave_graph::{Copy, CopySource, Unpack};
use stave_oci::ModeChange;
use stave_pattern::literal;
use stave_sandbox::SandboxError;
use stave_store::{CacheRecord, LayerId, Lease, WorkDir};
use stave_tree::{
    CopyManifest, CopyReport, CopyRequest, Dir, Keep, Layers, Previous, Selection, copy_into, select, select_with,
};

use super::normalise::{Fresh, bytecode};
use super::{Sources, like_parent, owner};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::outside::keep;

/// Name of the file beside a layer that lists what a copy put into it.
const MANIFEST_FILE: &str = "manifest";

/// Whether `pattern`, less what `keep` leaves out, selects the same files, with the same content, from both snapshots.
pub(crate) fn same_files(
    engine: &Engine,
    one: &[LayerId],
    other: &[LayerId],
    pattern: &str,
    keep: &Keep,
) -> Result<bool, EngineError> {
    let digest = |layers: &[LayerId]| {
        let selection = select_with(&engine.layers(layers)?, &[pattern], keep).map_err(unselectable)?;
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
    let fresh = Fresh::open(engine, &work)?;
    let into = engine.store_dir(&work.diff_rel_path())?;
    let below = engine.layers(parent)?;
    let trees = sources.trees.iter().map(|layers| engine.layers(layers)).collect::<Result<Vec<_>, EngineError>>()?;
    let inline = Inline::write(engine, lease, operation)?;
    let previous = previous.and_then(|record| Earlier::open(engine, record));
    let selections = selections(operation, sources.contexts, &trees, inline.as_ref())?;
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
        mode: operation.chmod.as_deref().map(mode).transpose()?,
        previous: previous.as_ref().map(|earlier| Previous { layer: &earlier.layer, manifest: &earlier.manifest }),
        format: engine.format(),
    };
    lease.make_room(|| request.weight(&into))?;
    let report = copy_into(&request, &into)
        .map_err(|source| EngineError::tree(format!("cannot copy to `{}`", operation.dest), source))?;
    check_owners(&request, &report, note)?;
    if report.unpacked {
        fresh.finish(engine, parent)?;
    } else {
        bytecode(engine, &into, &report.bytecode, parent)?;
    }
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

fn mode(text: &str) -> Result<ModeChange, EngineError> {
    ModeChange::parse(text).map_err(|error| EngineError::request(error.to_string(), None))
}

/// Returns the selections in the order of the operation.
fn selections(
    operation: &Copy,
    contexts: Vec<Selection>,
    trees: &[Layers],
    inline: Option<&Inline>,
) -> Result<Vec<Selection>, EngineError> {
    let keep = keep(operation)?;
    let mut contexts = contexts.into_iter();
    let mut trees = trees.iter();
    let mut files = inline.into_iter().flat_map(|inline| &inline.patterns);
    let mut selections = Vec::new();
    let mut last = None;
    for source in &operation.sources {
        let mut context_of_source = None;
        match source {
            CopySource::Context { context, .. } => {
                context_of_source = Some(*context);
                // One selection for a whole run of sources in one context.
                if last != context_of_source {
                    let unpack = operation.unpack != Unpack::No;
                    selections.extend(contexts.next().map(|selection| selection.unpacking(unpack)));
                }
            }
            CopySource::Tree { pattern, .. } => {
                if let Some(layers) = trees.next() {
                    let selection = select_with(layers, &[pattern.as_str()], &keep).map_err(unselectable)?;
                    selections.push(selection.unpacking(operation.unpack == Unpack::All));
                }
            }
            CopySource::Inline { .. } => {
                if let (Some(inline), Some(pattern)) = (inline, files.next()) {
                    selections.push(select(&inline.tree, &[pattern.as_str()]).map_err(unselectable)?.given());
                }
            }
        }
        last = context_of_source;
    }
    Ok(selections)
}

/// The files that are written in the Dockerfile, in a private directory: each in a directory of its own, for two of them
/// may have the same name.
struct Inline {
    tree: Layers,
    /// What selects each of them from the tree.
    patterns: Vec<String>,
    _work: WorkDir,
}

impl Inline {
    /// Writes them, if there are any: with mode 0644, root's.
    fn write(engine: &Engine, lease: &Lease, operation: &Copy) -> Result<Option<Self>, EngineError> {
        let files = operation.sources.iter().filter_map(|source| match source {
            CopySource::Inline { name, content } => Some((name, content)),
            CopySource::Context { .. } | CopySource::Tree { .. } => None,
        });
        let files: Vec<(&String, &String)> = files.collect();
        if files.is_empty() {
            return Ok(None);
        }
        let work = lease.work_dir()?;
        let root = engine.store_dir(&work.diff_rel_path())?;
        let mut patterns = Vec::new();
        for (index, (name, content)) in files.into_iter().enumerate() {
            let name = name.rsplit('/').next().unwrap_or_default();
            let unwritable =
                |source| EngineError::tree(format!("cannot write file `{name}` of the Dockerfile"), source);
            let directory = index.to_string();
            root.create_dir(directory.as_bytes(), 0o755).map_err(unwritable)?;
            let file =
                root.open_dir_no_links(directory.as_bytes()).and_then(|dir| dir.create_file(name.as_bytes(), 0o644));
            let path = work.path().join("diff").join(&directory).join(name);
            file.map_err(unwritable)?
                .write_all(content.as_bytes())
                .map_err(|source| EngineError::io("write", path, source))?;
            patterns.push(format!("{directory}/{}", literal(name)));
        }
        Ok(Some(Self { tree: Layers::new(vec![root], engine.format()), patterns, _work: work }))
    }
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
