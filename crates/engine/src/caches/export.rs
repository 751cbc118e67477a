//! Writing: what a solved build knows becomes records, and their layers become blobs.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use stave_cache::format::RecordNote;
use stave_cache::{
    Blob, CacheError, Catalog, ExportSpec, Layer, LayerKind, Mode, NewRecord, Place, document, parcel, publish,
};
use stave_graph::{CacheKey, Graph, NodeId, Op, TreeDigest, cache_key, op_digest};
use stave_oci::{BlobDigest, DiffId, Platform, Reference, media_type};
use stave_registry::OpenBlob;
use stave_store::{CacheLookup, CacheRecord, LayerId, Lease};
use stave_tree::Times;

use super::deadline::Deadline;
use super::{Content, Imports, RemoteLayer, content_digest, key_digest, open};
use crate::build::Report;
use crate::compose::Composed;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::event::{Event, TaskKind};
use crate::finish::{Parcels, ReadyImage};
use crate::form::{GZIP_LEVEL, ImageForm, LayerMethod, ZSTD_LEVEL};
use crate::forms::PackedLayer;
use crate::task::Task;

/// A build whose targets have results.
pub(crate) struct Solved<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) targets: &'a [NodeId],
    /// What was read outside the graph, by node.
    pub(crate) selections: &'a BTreeMap<NodeId, TreeDigest>,
    /// What a node is called, for people.
    pub(crate) title: &'a dyn Fn(NodeId) -> String,
    /// What becomes of the times of files.
    pub(crate) times: Times,
    pub(crate) imports: &'a Imports,
    /// What the steps were made from, for others.
    pub(crate) parcels: &'a Parcels,
}

/// A result, and where its layers are.
struct Known {
    digest: BlobDigest,
    inputs: Vec<BlobDigest>,
    layers: Layers,
    created: Option<i64>,
    note: RecordNote,
}

enum Layers {
    /// In the store.
    Here(Vec<PackedLayer>),
    /// In a cache that was imported, and not here.
    There(Vec<RemoteLayer>),
}

/// Adds what the build knows to each of the caches that `specs` name.
///
/// # Errors
/// The first cache that cannot be written and whose errors are not to be ignored.
pub(crate) fn export(
    engine: &Engine,
    lease: &Lease,
    solved: &Solved<'_>,
    (specs, platform): (&[ExportSpec], &Platform),
    events: Report<'_>,
) -> Result<(), EngineError> {
    for spec in specs.iter().filter(|spec| !matches!(spec.place, Place::Inline)) {
        engine.go_on()?;
        let task = Task::start(events, TaskKind::Cache, format!("export cache to {}", spec.place));
        let mut written = write(engine, lease, solved, (spec, platform), events);
        if written.is_err() && solved.imports.take_gap() {
            // Without the results of another cache that are not there after all.
            written = write(engine, lease, solved, (spec, platform), events);
        }
        task.end(&written);
        match written {
            // A recipe for a workflow is good elsewhere, too.
            Err(error)
                if (spec.ignore_error || matches!(spec.place, Place::Gha(None))) && !engine.cancel().is_cancelled() =>
            {
                let text = crate::told::causes(&error);
                events(Event::Notice { message: format!("the cache `{}` was not written: {text}", spec.place) });
            }
            Err(EngineError::Interrupted) => return Err(EngineError::Interrupted),
            Err(source) => {
                return Err(EngineError::CacheExport { place: spec.place.to_string(), source: Box::new(source) });
            }
            Ok(()) => {}
        }
    }
    Ok(())
}

fn write(
    engine: &Engine,
    lease: &Lease,
    solved: &Solved<'_>,
    (spec, platform): (&ExportSpec, &Platform),
    events: Report<'_>,
) -> Result<(), EngineError> {
    let deadline = Deadline::start(engine.cancel().transfers(), spec.timeout)
        .map_err(|source| EngineError::io("start", "a thread", source))?;
    let written = write_within(engine, lease, solved, (spec, platform, &deadline), events);
    match spec.timeout {
        Some(time) if written.is_err() && deadline.has_passed() => {
            let reason = format!("it took longer than its `timeout` of {} s", time.as_secs_f64());
            Err(CacheError::Place { name: spec.place.to_string(), reason }.into())
        }
        _ => written,
    }
}

fn write_within(
    engine: &Engine,
    lease: &Lease,
    solved: &Solved<'_>,
    (spec, platform, deadline): (&ExportSpec, &Platform, &Deadline),
    events: Report<'_>,
) -> Result<(), EngineError> {
    let backend = open(engine, &spec.place, Some(spec), platform, deadline.cancel())?;
    let known = known(engine, lease, solved, spec.mode, events)?;
    let mut catalog = Catalog::default();
    let mut blobs: BTreeMap<DiffId, (Layer, OpenBlob, Option<Reference>)> = BTreeMap::new();
    let parcel = solved.parcels.whole.as_deref().and_then(parcel::pack);
    let (made_of, parcel) = parcel.map_or((None, None), |(entry, blob)| (Some(entry), Some(blob)));
    for Known { digest, inputs, layers, created, note } in known {
        engine.go_on()?;
        let note = RecordNote { made_of: made_of.clone(), ..note };
        let mut described = Vec::new();
        match layers {
            Layers::Here(layers) => {
                for packed in layers {
                    let (layer, ..) = match blobs.entry(packed.diff_id) {
                        Entry::Occupied(made) => made.into_mut(),
                        Entry::Vacant(place) => {
                            let (layer, open) = blob(engine, lease, packed, spec, events)?;
                            place.insert((layer, open, None))
                        }
                    };
                    described.push(layer.clone());
                }
            }
            Layers::There(layers) => {
                for remote in layers {
                    let carried = || (remote.layer().clone(), remote.blob(lease), remote.repository().cloned());
                    described.push(blobs.entry(remote.diff_id()).or_insert_with(carried).0.clone());
                }
            }
        }
        catalog.add(NewRecord { digest, inputs, layers: described, created, note });
    }
    let sent =
        |(layer, open, elsewhere): (Layer, OpenBlob, _)| Blob { descriptor: layer.descriptor(), open, elsewhere };
    let blobs = blobs.into_values().map(sent).chain(parcel).collect();
    publish(&*backend, &catalog, blobs, engine.now())?;
    if let Some(remark) = backend.remark() {
        events(Event::Notice { message: format!("of what was exported to the cache `{}`, {remark}", spec.place) });
    }
    Ok(())
}

/// Returns a layer's blob, made if there is none yet.
fn blob(
    engine: &Engine,
    lease: &Lease,
    packed: PackedLayer,
    spec: &ExportSpec,
    events: Report<'_>,
) -> Result<(Layer, OpenBlob), EngineError> {
    let made = engine.layer_blob(lease, packed, &form(spec)?, events)?;
    engine.keep_blob(lease, &made)?;
    let (descriptor, open) = engine.stored(made.descriptor);
    let layer = Layer {
        blob: descriptor.digest,
        size: descriptor.size,
        media_type: descriptor.media_type,
        diff_id: packed.diff_id,
        created: engine.store.layers_created(&[packed.layer])?.first().copied(),
        bytes: packed.bytes,
    };
    Ok((layer, open))
}

/// Returns how a cache's layers are compressed.
///
/// Errors: they would be others than those of the steps.
fn form(spec: &ExportSpec) -> Result<ImageForm, EngineError> {
    let level = spec.compressed.level;
    let layers = match spec.compressed.kind {
        LayerKind::Uncompressed => LayerMethod::Plain,
        LayerKind::Gzip => LayerMethod::Gzip(level.unwrap_or(GZIP_LEVEL)),
        // 0 is the library's word for its default.
        LayerKind::Zstd => LayerMethod::Zstd(level.filter(|level| *level > 0).unwrap_or(ZSTD_LEVEL)),
        LayerKind::Estargz => {
            let hint = "Write `gzip`, `zstd` or `uncompressed`.";
            return Err(EngineError::request(
                "layers of a cache cannot be eStargz, which adds files to them",
                Some(hint),
            ));
        }
    };
    Ok(ImageForm { layers, force: spec.compressed.force, ..ImageForm::default() })
}

/// Has an image carry the records of its own layers in its configuration, if one of `specs` says so.
///
/// # Errors
/// A record that cannot be read.
pub(crate) fn carry(
    engine: &Engine,
    lease: &Lease,
    solved: &Solved<'_>,
    specs: &[ExportSpec],
    image: &mut ReadyImage,
    events: Report<'_>,
) -> Result<(), EngineError> {
    if !specs.iter().any(|spec| matches!(spec.place, Place::Inline)) {
        return Ok(());
    }
    // What the layers' blobs will be is decided when they are written out; an image knows its layers by their tars.
    let stand_in = |diff_id: &DiffId| BlobDigest::from(*diff_id.as_bytes());
    let mut catalog = Catalog::default();
    // One of the records has it for all.
    let mut made_of = solved.parcels.inline.as_deref().and_then(parcel::pack_inline);
    if made_of.is_none() && solved.parcels.inline.is_some() {
        let message = "what the steps were made from is too much for the image's configuration, so builds that import the \
                       image's cache cannot say what has changed";
        events(Event::Notice { message: message.to_owned() });
    }
    for Known { digest, inputs, layers, created, note } in known(engine, lease, solved, Mode::Min, events)? {
        let layers: Vec<(DiffId, u64)> = match layers {
            Layers::Here(layers) => layers.iter().map(|packed| (packed.diff_id, packed.bytes)).collect(),
            Layers::There(layers) => layers.iter().map(|remote| (remote.diff_id(), remote.layer().bytes)).collect(),
        };
        let layers = layers.into_iter().map(|(diff_id, bytes)| Layer {
            blob: stand_in(&diff_id),
            size: 0,
            media_type: media_type::OCI_LAYER.to_owned(),
            diff_id,
            created: None,
            bytes,
        });
        // When it was exported would make each build's image another one.
        let note = RecordNote { used: 0, made_of: made_of.take(), ..note };
        catalog.add(NewRecord { digest, inputs, layers: layers.collect(), created, note });
    }
    let layers: Vec<BlobDigest> = image.layers.iter().map(|layer| stand_in(&layer.diff_id())).collect();
    if let Some((field, value)) = document::write_inline(&catalog, &layers) {
        let mut config = image.composed.config.clone();
        config.other.insert(field.to_owned(), value.into());
        image.composed = Composed::new(config);
    }
    Ok(())
}

/// Returns what is known of the build's steps, inputs first.
fn known(
    engine: &Engine,
    lease: &Lease,
    solved: &Solved<'_>,
    mode: Mode,
    events: Report<'_>,
) -> Result<Vec<Known>, EngineError> {
    let graph = solved.graph;
    let mut keys: BTreeMap<NodeId, CacheKey> = BTreeMap::new();
    let reachable: BTreeSet<NodeId> = solved.targets.iter().flat_map(|target| graph.reachable(*target)).collect();
    let chain: BTreeSet<NodeId> = solved.targets.iter().flat_map(|target| chain(graph, *target)).collect();
    let mut found = Vec::new();
    let used = engine.now();
    // A node's inputs have lower numbers than itself.
    for node in reachable {
        let op = graph.op(node);
        let inputs: Vec<CacheKey> = op.inputs().filter_map(|input| keys.get(&input).copied()).collect();
        let selection = solved.selections.get(&node);
        if op.reads_outside() && selection.is_none() {
            continue;
        }
        let key = cache_key(op, &inputs, selection);
        keys.insert(node, key);
        if op.is_source() || mode == Mode::Min && !chain.contains(&node) {
            continue;
        }
        let digest = key_digest(&key);
        let note = RecordNote { op: op_digest(op).to_string(), title: (solved.title)(node), used, made_of: None };
        let inputs = inputs.iter().map(key_digest).collect();
        match lease.lookup(key.as_bytes())? {
            CacheLookup::Hit(record) if !record.snapshot.is_empty() => {
                let layers = engine.packed(lease, (&[], &record.snapshot), solved.times, None, &|_| ())?;
                let created =
                    record.snapshot.last().map_or(Ok(Vec::new()), |top| engine.store.layers_created(&[*top]))?;
                let created = created.first().copied();
                if let Some(digest) = content_of(engine, solved, node, &record)? {
                    let (layers, note) = (Layers::Here(layers.clone()), note.clone());
                    found.push(Known { digest, inputs: Vec::new(), layers, created, note });
                }
                found.push(Known { digest, inputs, layers: Layers::Here(layers), created, note });
            }
            _ => {
                let Some(hit) = solved.imports.find(&key, events) else { continue };
                let (created, twins) = (hit.created, solved.imports.twins(&digest, events));
                let layers = hit.remote_layers();
                for digest in twins {
                    let (layers, note) = (Layers::There(layers.clone()), note.clone());
                    found.push(Known { digest, inputs: Vec::new(), layers, created, note });
                }
                found.push(Known { digest, inputs, layers: Layers::There(layers), created, note });
            }
        }
    }
    Ok(found)
}

/// Returns the nodes whose layers are in the result of `target`.
fn chain(graph: &Graph, target: NodeId) -> BTreeSet<NodeId> {
    let (mut chain, mut open) = (BTreeSet::new(), vec![target]);
    while let Some(node) = open.pop() {
        if chain.insert(node) {
            match graph.op(node) {
                Op::Merge(_) => open.extend(graph.op(node).inputs()),
                op => open.extend(op.inputs().next()),
            }
        }
    }
    chain
}

/// Returns the digest by which a step is found whose inputs have the same content, of steps that read their parent alone.
fn content_of(
    engine: &Engine,
    solved: &Solved<'_>,
    node: NodeId,
    record: &CacheRecord,
) -> Result<Option<BlobDigest>, EngineError> {
    let Some((_, parent)) = record.snapshot.split_last() else { return Ok(None) };
    content(engine, solved.graph, node, solved.selections.get(&node), parent)
}

/// The same for a step that is to be looked up, on `parent`.
///
/// Errors: a layer cannot be read.
pub(crate) fn content(
    engine: &Engine,
    graph: &Graph,
    node: NodeId,
    selection: Option<&TreeDigest>,
    parent: &[LayerId],
) -> Result<Option<BlobDigest>, EngineError> {
    let op = graph.op(node);
    let mut inputs = op.inputs();
    let (Some(input), None) = (inputs.next(), inputs.next()) else { return Ok(None) };
    let base = base_of(graph, input);
    if op.is_join() || base.len() > parent.len() {
        return Ok(None);
    }
    let mut layers: Vec<Content> = base.iter().copied().map(Content::Tar).collect();
    for layer in &parent[base.len()..] {
        layers.push(Content::Files(engine.layer_content(*layer)?));
    }
    Ok(Some(content_digest(&op_digest(op), selection, &layers)))
}

/// Returns the layers of the image at the bottom of a node's chain.
fn base_of(graph: &Graph, node: NodeId) -> &[DiffId] {
    let mut node = node;
    loop {
        match graph.op(node) {
            Op::Image(image) => return &image.diff_ids,
            op => match op.inputs().next() {
                Some(input) => node = input,
                None => return &[],
            },
        }
    }
}
