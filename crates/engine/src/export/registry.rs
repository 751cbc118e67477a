//! What was built goes to registries: one image as it is, several with an index of them.

use stave_oci::{BlobDigest, Descriptor, Reference};
use stave_registry::{PushImage, PushIndex};
use stave_store::{Lease, Tag};

use super::prepared::PreparedBuild;
use super::said::Said;
use crate::build::Report;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::event::TaskKind;
use crate::finish::Built;
use crate::platforms::descriptor;
use crate::push::Sent;
use crate::task::Task;

/// What is pushed.
pub(crate) enum Pushed {
    /// An image for one platform.
    Image(PushImage),
    /// Images for several platforms.
    Index(PushIndex),
}

/// Sends the images to each of the registries that `names` say; `by_digest`, without a tag.
///
/// Errors: a registry does not take it.
pub(super) fn push(
    engine: &Engine,
    lease: &Lease,
    prepared: &PreparedBuild,
    (names, by_digest): (&[Reference], bool),
    events: Report<'_>,
) -> Result<(), EngineError> {
    let pushed = match prepared.push_index(engine, lease)? {
        Some(index) => Pushed::Index(index),
        None => Pushed::Image(prepared.images[0].push_image(engine, lease)?),
    };
    for name in names {
        let mut place = name.clone();
        if by_digest {
            (place.tag, place.digest) = (None, Some(prepared.descriptor.digest));
        }
        send(engine, lease, &place, (&pushed, &prepared.said), events)?;
    }
    Ok(())
}

impl Pushed {
    /// Returns what names it in a registry.
    pub(crate) fn descriptor(&self) -> Descriptor {
        match self {
            Self::Image(image) => {
                let bytes = &image.manifest_bytes;
                Descriptor::new(&image.media_type, BlobDigest::of(bytes), bytes.len() as u64)
            }
            Self::Index(index) => descriptor(index),
        }
    }
}

/// Sends what is pushed under one name, and after it what is said about it.
///
/// Errors: the registry does not take it.
pub(crate) fn send(
    engine: &Engine,
    lease: &Lease,
    name: &Reference,
    (pushed, said): (&Pushed, &Said),
    events: Report<'_>,
) -> Result<(), EngineError> {
    let client = engine.pusher(lease, std::slice::from_ref(name))?;
    let task = Task::start(events, TaskKind::Push, format!("push {name}"));
    let sent = Sent::default();
    let progress = |blob: &Descriptor, progress| sent.tell(&task, blob, progress);
    match pushed {
        Pushed::Image(image) => client.push(name, image, &progress)?,
        Pushed::Index(index) => client.push_index(name, index, &progress)?,
    };
    for attached in &said.referring {
        engine.go_on()?;
        client.push_referrer(name, &attached.push_image())?;
    }
    Ok(())
}

/// Notes under which digest the registry has what was built, if the store has it under that name.
///
/// Errors: the store cannot be written.
pub(super) fn note_digest(
    engine: &Engine,
    built: &Built,
    name: &Reference,
    digest: BlobDigest,
) -> Result<(), EngineError> {
    let Some(first) = built.images.first() else { return Ok(()) };
    let text = name.to_string();
    let is_named = match built.index() {
        Some(bytes) => engine.store.find_index(&text)?.is_some_and(|known| known.digest == BlobDigest::of(&bytes)),
        None => engine
            .store
            .image(&first.image.composed.id)?
            .is_some_and(|record| record.tags.iter().any(|tag| tag.reference == text)),
    };
    if is_named {
        engine.store.set_repo_digest(&Tag::new(name, Some(digest)))?;
    }
    Ok(())
}
