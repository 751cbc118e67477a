//! Caches between machines: what other machines have made is looked up where this one has nothing, and what this one has
//! is added to them.
//!
//! Turns `--cache-from` into answers to look-ups, and a solved build into what `--cache-to` gets. It knows keys and layers;
//! what a cache looks like, and where it is, is the business of `stave-cache`. What is looked up by what:
//! `docs/decisions/0009-caches-between-machines.md`.

mod deadline;
mod export;
mod import;
mod remote;

use std::time::Duration;

use stave_graph::{CacheKey, OpDigest};
use stave_oci::{BlobDigest, DiffId, Hasher, Platform, TreeDigest};

use crate::engine::Engine;
use crate::error::EngineError;

pub(crate) use export::{Solved, carry, content, export};
pub(crate) use import::Imports;
pub(crate) use remote::{Hit, RemoteLayer};

pub use stave_cache::options::{export as parse_export, import as parse_import, parse_duration};
pub use stave_cache::{ExportSpec, ImportSpec};

/// The caches of other machines that a build reads and writes.
#[derive(Debug, Clone, Default)]
pub struct Caches {
    /// Those that are read, in the order in which they are asked.
    pub from: Vec<ImportSpec>,
    /// Those that are written.
    pub to: Vec<ExportSpec>,
    /// The age of results that are no longer read.
    pub ttl: Option<Duration>,
}

/// A layer of an input, as its content tells it from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// A layer of a base image.
    Tar(DiffId),
    /// A layer of a step: when its files were made does not matter.
    Files(TreeDigest),
}

/// Returns the digest of a record that says: the result of exactly this operation on exactly these inputs.
///
/// It is a digest of a text that no other builder digests, so that its records and ours never meet.
pub(crate) fn key_digest(key: &CacheKey) -> BlobDigest {
    digest(b"stave.cache-record", |hasher| hasher.update(key.as_bytes()))
}

/// Returns the digest of a record that says: the result of this instruction on inputs with this content.
pub(crate) fn content_digest(op: &OpDigest, selection: Option<&TreeDigest>, parent: &[Content]) -> BlobDigest {
    digest(b"stave.cache-content", |hasher| {
        hasher.update(op.as_bytes());
        hasher.update(&[u8::from(selection.is_some())]);
        hasher.update(selection.map_or(&[][..], |selection| selection.as_bytes()));
        for layer in parent {
            let (kind, bytes) = match layer {
                Content::Tar(digest) => (0, digest.as_bytes()),
                Content::Files(digest) => (1, digest.as_bytes()),
            };
            hasher.update(&[kind]);
            hasher.update(bytes);
        }
    })
}

fn digest(name: &[u8], write: impl FnOnce(&mut Hasher)) -> BlobDigest {
    let mut hasher = Hasher::new();
    hasher.update(name);
    hasher.update(&[0]);
    write(&mut hasher);
    hasher.finish()
}

/// Opens the place of a cache.
fn open(
    engine: &Engine,
    place: &stave_cache::Place,
    export: Option<&ExportSpec>,
    platform: &Platform,
    cancel: stave_registry::Cancel,
) -> Result<Box<dyn stave_cache::Backend>, EngineError> {
    use stave_cache::Place;
    let form = export.map(|spec| spec.form).unwrap_or_default();
    Ok(match place {
        Place::Registry { reference, insecure } => {
            let environment = &engine.settings.registries;
            let how = (form, platform.clone(), export.is_some());
            let cache =
                stave_cache::backend::RegistryCache::new(reference.clone(), *insecure, how, environment, cancel)?;
            Box::new(cache)
        }
        Place::Local(local) => Box::new(match export {
            Some(spec) => {
                let limits = (spec.bytes_max, spec.reset);
                stave_cache::backend::LocalCache::to_write(local.clone(), form, platform.clone(), limits)
            }
            None => stave_cache::backend::LocalCache::to_read(local.clone(), platform.clone()),
        }),
        Place::Gha(Some(place)) => {
            stave_cache::backend::gha::cache(place.clone(), &engine.settings.registries.http, cancel)?
        }
        Place::Gha(None) => {
            let hint =
                "Give `url=` and `token=`, or have the workflow set ACTIONS_RUNTIME_TOKEN and ACTIONS_RESULTS_URL.";
            return Err(EngineError::request("no workflow of GitHub's runs here that has a cache", Some(hint)));
        }
        Place::S3(place) => {
            let clock = engine.settings.clock;
            let environment = &engine.settings.registries.http;
            stave_cache::backend::s3::cache((**place).clone(), clock, environment, cancel)?
        }
        Place::Azure(place) => {
            let clock = engine.settings.clock;
            stave_cache::backend::azure::cache((**place).clone(), clock, &engine.settings.registries.http, cancel)
        }
        Place::Inline => return Err(EngineError::request("an inline cache is in the image, and in no place", None)),
    })
}
