//! What was built goes to registries: one image as it is, several with an index of them.

use stave_oci::{BlobDigest, Descriptor, Reference};
use stave_registry::{PushImage, PushIndex};
use stave_store::{Lease, Tag};

use super::BlobSink;
use super::prepared::{Prepared, PreparedBuild};
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
    (names, by_digest, insecure): (&[Reference], bool, bool),
    events: Report<'_>,
) -> Result<(), EngineError> {
    let pushed = match prepared.push_index(engine, lease)? {
        Some(index) => Pushed::Index(index),
        None => Pushed::Image(prepared.images[0].push_image(engine, lease)?),
    };
    let elsewhere: Vec<(Reference, BlobDigest)> = prepared.images.iter().flat_map(Prepared::elsewhere).collect();
    for name in names {
        let mut place = name.clone();
        if by_digest {
            (place.tag, place.digest) = (None, Some(prepared.descriptor.digest));
        }
        let sending = Sending { pushed: &pushed, said: &prepared.said, elsewhere: &elsewhere, insecure };
        send(engine, lease, &place, &sending, events)?;
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

    /// Calls `write` with every blob, a manifest after what it names, and the whole last.
    ///
    /// Errors: a blob cannot be read or written.
    pub(super) fn each_blob(&self, engine: &Engine, write: BlobSink<'_>) -> Result<(), EngineError> {
        let images = match self {
            Self::Image(image) => std::slice::from_ref(image),
            Self::Index(index) => &index.images,
        };
        let fail = |descriptor: &Descriptor, source| EngineError::io("write", descriptor.digest.to_string(), source);
        let own = |bytes: &[u8], kind: &str| Descriptor::new(kind, BlobDigest::of(bytes), bytes.len() as u64);
        for image in images {
            for (descriptor, open) in &image.blobs {
                engine.go_on()?;
                open()
                    .and_then(|mut bytes| write(descriptor, &mut bytes))
                    .map_err(|source| fail(descriptor, source))?;
            }
            let manifest = own(&image.manifest_bytes, &image.media_type);
            write(&manifest, &mut image.manifest_bytes.as_slice()).map_err(|source| fail(&manifest, source))?;
        }
        if let Self::Index(index) = self {
            let whole = descriptor(index);
            write(&whole, &mut index.index_bytes.as_slice()).map_err(|source| fail(&whole, source))?;
        }
        Ok(())
    }
}

/// What is sent under one name.
pub(crate) struct Sending<'a> {
    pub(crate) pushed: &'a Pushed,
    /// What is said about it.
    pub(crate) said: &'a Said,
    /// In which repositories blobs are, so that one of the same registry need not be sent.
    pub(crate) elsewhere: &'a [(Reference, BlobDigest)],
    /// Whether the registry's certificate may be wrong, and TLS missing.
    pub(crate) insecure: bool,
}

/// Sends what is pushed under one name, and after it what is said about it.
///
/// Errors: the registry does not take it.
pub(crate) fn send(
    engine: &Engine,
    lease: &Lease,
    name: &Reference,
    sending: &Sending<'_>,
    events: Report<'_>,
) -> Result<(), EngineError> {
    let Sending { pushed, said, elsewhere, insecure } = *sending;
    let own = if insecure { Some(engine.insecure_client(name)?) } else { None };
    let client = own.as_ref().map_or_else(|| engine.client(), Ok)?;
    engine.tell_origins(client, lease, std::slice::from_ref(name))?;
    for (repository, blob) in elsewhere {
        client.remember(repository, [*blob]);
    }
    Task::during(events, TaskKind::Push, format!("push {name}"), |task| {
        let sent = Sent::default();
        let progress = |blob: &Descriptor, progress| sent.tell(task, blob, progress);
        match pushed {
            Pushed::Image(image) => client.push(name, image, &progress)?,
            Pushed::Index(index) => client.push_index(name, index, &progress)?,
        };
        for attached in &said.referring {
            engine.go_on()?;
            client.push_referrer(name, &attached.push_image())?;
        }
        Ok(())
    })
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
