//! The end of a build: a snapshot becomes an image in the store, or an output.

use jiff::Timestamp;
use stave_dockerfile::plan::BuildPlan;
use stave_oci::{Compression, ImageConfig, Reference};
use stave_store::{ImageLayer, Lease, NewImage, Tag};

use crate::base::Bases;
use crate::build::Report;
use crate::compose::{Composed, LayerFacts, compose};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::export;
use crate::forms::PackedLayer;
use crate::outcome::BuildOutcome;
use crate::request::{Output, OutputKind};
use crate::snapshot::Snapshot;
use crate::task::Task;

/// What the schedule left.
pub(crate) struct Finished {
    /// The target's files.
    pub(crate) snapshot: Snapshot,
    /// When each entry of the plan's history was made, in seconds since 1970.
    pub(crate) times: Vec<i64>,
    pub(crate) steps_run: u32,
    pub(crate) steps_cached: u32,
}

/// What is made of it.
pub(crate) struct Target<'a> {
    pub(crate) plan: &'a BuildPlan,
    pub(crate) bases: &'a Bases,
    pub(crate) finished: Finished,
    pub(crate) tags: Vec<Reference>,
    pub(crate) keep: bool,
    pub(crate) outputs: Vec<Output>,
    pub(crate) source_date_epoch: Option<i64>,
}

/// An image that is ready to be stored or written out.
pub(crate) struct ReadyImage {
    pub(crate) composed: Composed,
    pub(crate) layers: Vec<PackedLayer>,
    pub(crate) epoch: Option<i64>,
}

impl ReadyImage {
    /// Returns the uncompressed bytes of all layers.
    pub(crate) fn size(&self) -> u64 {
        self.layers.iter().map(|layer| layer.bytes).sum()
    }
}

/// Composes the image, and stores or writes it.
pub(crate) fn finish(
    engine: &Engine,
    lease: &Lease,
    target: Target<'_>,
    events: Report<'_>,
) -> Result<BuildOutcome, EngineError> {
    let Target { plan, bases, finished, tags, keep, outputs, source_date_epoch } = target;
    let needs_image = keep || outputs.iter().any(|output| is_image(output.kind));
    let base = plan.base.as_ref().and_then(|base| bases.get(base)).map(|base| &base.config);
    let layers = {
        let _task = needs_image.then(|| Task::start(events, "digest layers".to_owned()));
        engine.packed(&finished.snapshot.layers, source_date_epoch)?
    };
    let ready = ready(plan, base, layers, &finished.times, source_date_epoch)?;
    let mut manifest = None;
    let names = tags.iter().map(Reference::to_string).collect();
    if keep {
        store(engine, lease, &ready, &tags)?;
    }
    for output in outputs {
        engine.go_on()?;
        let written = export::write(engine, lease, &ready, &finished.snapshot.layers, &tags, output, events)?;
        manifest = manifest.or(written);
    }
    Ok(BuildOutcome {
        image: ready.composed.id,
        manifest,
        size: ready.size(),
        names,
        steps_run: finished.steps_run,
        steps_cached: finished.steps_cached,
    })
}

fn is_image(kind: OutputKind) -> bool {
    match kind {
        OutputKind::Oci | OutputKind::Docker => true,
        OutputKind::Tar | OutputKind::Local => false,
    }
}

fn ready(
    plan: &BuildPlan,
    base: Option<&ImageConfig>,
    layers: Vec<PackedLayer>,
    times: &[i64],
    epoch: Option<i64>,
) -> Result<ReadyImage, EngineError> {
    let timestamp = |seconds: &i64| {
        let seconds = epoch.map_or(*seconds, |epoch| epoch.min(*seconds));
        Timestamp::from_second(seconds)
            .map_err(|source| EngineError::tree(format!("{seconds} seconds since 1970 is no time"), source))
    };
    let times = times.iter().map(timestamp).collect::<Result<Vec<_>, _>>()?;
    let facts: Vec<LayerFacts> = layers.iter().map(|layer| LayerFacts { diff_id: layer.diff_id }).collect();
    Ok(ReadyImage { composed: compose(plan, base, &facts, &times), layers, epoch })
}

fn store(engine: &Engine, lease: &Lease, ready: &ReadyImage, tags: &[Reference]) -> Result<(), EngineError> {
    let composed = &ready.composed;
    let image = NewImage {
        config: &composed.bytes,
        created: composed.config.created.as_deref().and_then(crate::base::seconds),
        size: ready.size(),
        layers: ready
            .layers
            .iter()
            .map(|packed| ImageLayer { diff_id: packed.diff_id, layer: Some(packed.layer) })
            .collect(),
        manifest: None,
    };
    let tags: Vec<Tag> = tags.iter().map(|tag| Tag::new(tag, None)).collect();
    if unchanged(engine, composed, &tags)? {
        return Ok(());
    }
    lease.put_image(&image, &tags)?;
    Ok(())
}

/// Whether the store has the image under all these names already.
fn unchanged(engine: &Engine, composed: &Composed, tags: &[Tag]) -> Result<bool, EngineError> {
    let Some(record) = engine.store.image(&composed.id)? else { return Ok(false) };
    Ok(record.snapshot().is_some()
        && tags.iter().all(|tag| record.tags.iter().any(|there| there.reference == tag.reference)))
}

/// The compression of layers in archives that other tools read.
pub(crate) fn compression(kind: OutputKind) -> Compression {
    match kind {
        OutputKind::Oci => Compression::Gzip,
        OutputKind::Docker | OutputKind::Tar | OutputKind::Local => Compression::None,
    }
}
