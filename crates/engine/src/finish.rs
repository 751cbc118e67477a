//! The end of a build: a snapshot becomes an image in the store, or an output.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use stave_dockerfile::plan::BuildPlan;
use stave_graph::{NodeId, TreeDigest};
use stave_oci::{BlobDigest, Descriptor, DiffId, ImageConfig, Platform, Reference};
use stave_store::{ImageLayer, LayerId, Lease, NewImage, Tag};
use stave_tree::Times;

use crate::attest::Statement;
use crate::base::Bases;
use crate::build::Report;
use crate::compose::{Composed, LayerFacts, compose};
use crate::engine::Engine;
use crate::epoch::Epoch;
use crate::error::EngineError;
use crate::event::{Event, TaskKind};
use crate::export;
use crate::form::LayerMethod;
use crate::forms::{BuiltLayer, PackedLayer, not_here};
use crate::outside::Found;
use crate::request::{Indexing, Keep, Output};
use crate::snapshot::{KnownSnapshot, SnapshotLayer};
use crate::task::Task;

/// What the schedule left.
pub(crate) struct Finished {
    /// One for each platform, in the order of the plans.
    pub(crate) parts: Vec<FinishedPart>,
    /// What is searched for packages beside the images.
    pub(crate) extras: Vec<ScannedFiles>,
    pub(crate) steps_run: u32,
    pub(crate) steps_cached: u32,
    /// What was read outside the graph, by node.
    pub(crate) selections: BTreeMap<NodeId, TreeDigest>,
    /// What was found on the network, by node.
    pub(crate) found: BTreeMap<NodeId, Found>,
    /// What other machines may know of what it was made from, where a cache is written.
    pub(crate) parcels: Parcels,
}

/// Files that are searched for packages beside those of an image.
pub(crate) struct ScannedFiles {
    /// The place of the image's plan.
    pub(crate) part: usize,
    /// What a scanner knows them by.
    pub(crate) name: String,
    /// Their layers, lowest first.
    pub(crate) layers: Arc<[LayerId]>,
}

/// What the steps were made from, for others.
#[derive(Default)]
pub(crate) struct Parcels {
    /// For caches.
    pub(crate) whole: Option<Vec<u8>>,
    /// For an image's configuration.
    pub(crate) inline: Option<Vec<u8>>,
}

/// What the schedule left for one platform.
pub(crate) struct FinishedPart {
    /// The target's files.
    pub(crate) snapshot: KnownSnapshot,
    /// When each entry of the plan's history was made, in seconds since 1970.
    pub(crate) times: Vec<i64>,
}

/// An image that is ready to be stored or written out.
pub(crate) struct ReadyImage {
    pub(crate) composed: Composed,
    pub(crate) layers: Vec<BuiltLayer>,
    /// What becomes of the times of its files where they are written without layers.
    pub(crate) files: Times,
    /// How many of the layers, the lowest, are the base's.
    pub(crate) base_layers: usize,
}

impl ReadyImage {
    /// Returns the uncompressed bytes of all layers.
    pub(crate) fn size(&self) -> u64 {
        self.layers.iter().map(BuiltLayer::bytes).sum()
    }

    /// Returns its layers, the lowest first.
    ///
    /// Errors: one is not here.
    pub(crate) fn packed(&self) -> Result<Vec<PackedLayer>, EngineError> {
        let here = |layer: &BuiltLayer| match layer {
            BuiltLayer::Here(packed) => Ok(*packed),
            BuiltLayer::There(remote) => Err(not_here(remote)),
        };
        self.layers.iter().map(here).collect()
    }

    /// Returns where its files are, the lowest layer first.
    ///
    /// Errors: a layer is not here.
    pub(crate) fn layer_ids(&self) -> Result<Vec<LayerId>, EngineError> {
        Ok(self.packed()?.iter().map(|layer| layer.layer).collect())
    }

    /// Whether the store has its files.
    pub(crate) fn is_here(&self) -> bool {
        self.layers.iter().all(|layer| layer.here().is_some())
    }
}

/// The result for one platform.
pub(crate) struct BuiltImage {
    pub(crate) platform: Platform,
    pub(crate) image: ReadyImage,
    /// What is said about it.
    pub(crate) statements: Vec<Statement>,
}

/// What was built: all that outputs are written from.
pub(crate) struct Built {
    /// One for each platform, in the order in which they were asked for.
    pub(crate) images: Vec<BuiltImage>,
    /// Names for the whole.
    pub(crate) names: Vec<Reference>,
    /// When an index lists the images.
    pub(crate) indexing: Indexing,
}

impl Built {
    /// Whether the whole is an index of images, and not an image.
    pub(crate) fn is_index(&self) -> bool {
        self.indexing.makes_index(self.images.len())
    }

    /// Returns the index by which the store knows the images, if the whole is one.
    pub(crate) fn index(&self) -> Option<Vec<u8>> {
        self.is_index().then(|| export::unpacked_index(&self.images))
    }
}

/// Composes the image for one platform from what the schedule left.
///
/// Errors: a layer cannot be read.
pub(crate) fn compose_image(
    (engine, lease): (&Engine, &Lease),
    plan: &BuildPlan,
    bases: &Bases,
    finished: &FinishedPart,
    (epoch, wanted): (Epoch, Option<LayerMethod>),
    events: Report<'_>,
) -> Result<ReadyImage, EngineError> {
    let base = plan.base.as_ref().and_then(|base| bases.get(base)).map(|base| &base.config);
    let layers = Task::during(events, TaskKind::Digest, "digest layers".to_owned(), |task| {
        let done = AtomicU64::new(0);
        let told = |bytes| task.progress(done.fetch_add(bytes, Ordering::Relaxed) + bytes, None);
        let below = base.map(|base| base.rootfs.diff_ids.as_slice()).unwrap_or_default();
        match finished.snapshot.here() {
            Some(here) => {
                let packed = engine.packed(lease, (below, &here.layers), epoch.files, wanted, &told)?;
                Ok(packed.into_iter().map(BuiltLayer::Here).collect())
            }
            None => partly_here((engine, lease), below, &finished.snapshot, epoch.files),
        }
    })?;
    ready(plan, base, layers, &finished.times, epoch)
}

/// Returns the layers of a snapshot of which some are elsewhere; the lowest are a base's, whose tars are `below`.
fn partly_here(
    (engine, lease): (&Engine, &Lease),
    below: &[DiffId],
    snapshot: &KnownSnapshot,
    times: Times,
) -> Result<Vec<BuiltLayer>, EngineError> {
    let mut layers = Vec::new();
    for (place, layer) in snapshot.layers.iter().enumerate() {
        match layer {
            SnapshotLayer::There(remote) => layers.push(BuiltLayer::There(remote.clone())),
            SnapshotLayer::Here(layer) => {
                let base = below.get(place..=place).unwrap_or_default();
                let packed = engine.packed(lease, (base, &[*layer]), times, None, &|_| ())?;
                layers.extend(packed.into_iter().map(BuiltLayer::Here));
            }
        }
    }
    Ok(layers)
}

/// What came of a build's outputs.
pub(crate) struct Delivered {
    /// The manifest or the index of the first output that has one.
    pub(crate) manifest: Option<Descriptor>,
    /// Whether the store has what was built.
    pub(crate) is_kept: bool,
}

/// Writes the outputs on this machine, stores what was built if it is to be kept, and sends it to where others have it: a
/// file that cannot be written leaves no name, and an image that cannot be sent is not lost.
///
/// Errors: the first output that cannot be written.
pub(crate) fn deliver(
    engine: &Engine,
    lease: &Lease,
    built: &Built,
    (keep, outputs): (Keep, Vec<Output>),
    events: Report<'_>,
) -> Result<Delivered, EngineError> {
    let (away, here): (Vec<_>, Vec<_>) = outputs.into_iter().enumerate().partition(|(_, output)| output.is_away());
    let mut all = BTreeMap::new();
    for (place, output) in here {
        engine.go_on()?;
        all.insert(place, export::write(engine, lease, built, output, events)?);
    }
    let is_here = built.images.iter().all(|one| one.image.is_here());
    let is_kept = keep == Keep::Yes || keep == Keep::IfHere && is_here;
    if is_kept {
        keep_built(engine, lease, built)?;
        for image in &built.images {
            engine.keep_statements(lease, &image.image.composed.id, &image.statements)?;
        }
    }
    for written in all.values() {
        export::record(engine, lease, built, written)?;
    }
    for (place, output) in away {
        engine.go_on()?;
        let written = export::write(engine, lease, built, output, events)?;
        export::record(engine, lease, built, &written)?;
        all.insert(place, written);
    }
    if keep == Keep::IfHere && !is_here {
        leave_away(engine, built, events)?;
    }
    Ok(Delivered { manifest: all.into_values().find_map(export::Written::into_descriptor), is_kept })
}

fn ready(
    plan: &BuildPlan,
    base: Option<&ImageConfig>,
    layers: Vec<BuiltLayer>,
    times: &[i64],
    epoch: Epoch,
) -> Result<ReadyImage, EngineError> {
    let timestamp = |seconds: &i64| {
        let seconds = epoch.created.unwrap_or(*seconds);
        Timestamp::from_second(seconds)
            .map_err(|source| EngineError::tree(format!("{seconds} seconds since 1970 is no time"), source))
    };
    let times = times.iter().map(timestamp).collect::<Result<Vec<_>, _>>()?;
    let facts: Vec<LayerFacts> = layers.iter().map(|layer| LayerFacts { diff_id: layer.diff_id() }).collect();
    let base_layers = base.map_or(0, |base| base.rootfs.diff_ids.len());
    Ok(ReadyImage { composed: compose(plan, base, &facts, &times), layers, files: epoch.files, base_layers })
}

/// Stores what was built under its names.
fn keep_built(engine: &Engine, lease: &Lease, built: &Built) -> Result<(), EngineError> {
    let Some(index) = built.index() else {
        return built.images.iter().try_for_each(|one| store(engine, lease, &one.image, &built.names));
    };
    for one in &built.images {
        store(engine, lease, &one.image, &[])?;
    }
    let images: Vec<_> = built.images.iter().map(|one| (one.platform.clone(), one.image.composed.id)).collect();
    let tags: Vec<Tag> = built.names.iter().map(|name| Tag::new(name, None)).collect();
    engine.name_index(lease, BlobDigest::of(&index), &images, &tags)
}

fn store(engine: &Engine, lease: &Lease, ready: &ReadyImage, tags: &[Reference]) -> Result<(), EngineError> {
    let composed = &ready.composed;
    let image = NewImage {
        config: &composed.bytes,
        created: composed.config.created.as_deref().and_then(crate::base::seconds),
        size: ready.size(),
        layers: image_layers(ready)?,
        manifest: None,
    };
    let tags: Vec<Tag> = tags.iter().map(|tag| Tag::new(tag, None)).collect();
    if unchanged(engine, composed, &tags)? {
        return Ok(());
    }
    lease.put_image(&image, &tags)?;
    Ok(())
}

/// Has the names of what was built, which is in its registries alone, mean nothing else here any more.
fn leave_away(engine: &Engine, built: &Built, events: Report<'_>) -> Result<(), EngineError> {
    for name in &built.names {
        engine.store.forget_name(&Tag::new(name, None))?;
    }
    let names: Vec<String> = built.names.iter().map(|name| format!("`{}`", name.familiar_name())).collect();
    let message = format!(
        "{} is in its registry and not in the store: layers that nothing here reads were not fetched (`--load`, or \
         `stave pull`, brings it here)",
        names.join(", ")
    );
    events(Event::Notice { message });
    Ok(())
}

/// Returns an image's layers as the store keeps them.
///
/// Errors: one is not here.
pub(crate) fn image_layers(ready: &ReadyImage) -> Result<Vec<ImageLayer>, EngineError> {
    let layer = |packed: &PackedLayer| ImageLayer { diff_id: packed.diff_id, layer: Some(packed.layer) };
    Ok(ready.packed()?.iter().map(layer).collect())
}

/// Whether the store has the image under all these names already.
fn unchanged(engine: &Engine, composed: &Composed, tags: &[Tag]) -> Result<bool, EngineError> {
    let Some(record) = engine.store.image(&composed.id)? else { return Ok(false) };
    for tag in tags {
        if engine.store.find_index(&tag.reference)?.is_some() {
            return Ok(false);
        }
    }
    Ok(record.snapshot().is_some()
        && tags.iter().all(|tag| record.tags.iter().any(|there| there.reference == tag.reference)))
}
