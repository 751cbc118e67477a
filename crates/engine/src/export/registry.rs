//! A prepared image goes to registries.

use stave_oci::{BlobDigest, Descriptor, ImageId, Reference};
use stave_store::{Lease, Tag};

use super::Prepared;
use crate::build::Report;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::push::Sent;
use crate::task::Task;

/// Sends the image to each of the registries that `names` say. Returns its manifest.
///
/// Errors: no names; a registry does not take it.
pub(super) fn push(
    engine: &Engine,
    lease: &Lease,
    (id, prepared): (&ImageId, &Prepared),
    names: &[Reference],
    events: Report<'_>,
) -> Result<Descriptor, EngineError> {
    let image = prepared.push_image(engine, lease)?;
    let client = engine.pusher(lease, names)?;
    for name in names {
        let task = Task::start(events, format!("push {name}"));
        let sent = Sent::default();
        let progress = |blob: &Descriptor, progress| sent.tell(&task, blob, progress);
        let digest = client.push(name, &image, &progress)?;
        note_digest(engine, id, name, digest)?;
    }
    Ok(prepared.descriptor())
}

/// Notes under which digest the registry has the image, if the store has it under that name.
fn note_digest(engine: &Engine, id: &ImageId, name: &Reference, digest: BlobDigest) -> Result<(), EngineError> {
    let text = name.to_string();
    if engine.store.image(id)?.is_some_and(|record| record.tags.iter().any(|tag| tag.reference == text)) {
        engine.store.tag(id, &Tag::new(name, Some(digest)))?;
    }
    Ok(())
}
