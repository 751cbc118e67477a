//! A cache in a registry: the catalog is a manifest under a tag, or is carried by an image.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use stave_oci::{BlobDigest, Descriptor, Platform, Reference};
use stave_registry::{
    BlobSink, Cancel, Client, Config, Environment, FoundManifest, Limits, OpenBlob, PushImage, RegistryError, Source,
};

use super::{Backend, Blob, Commit, Version};
use crate::catalog::Catalog;
use crate::document::{self, Document, Form};
use crate::error::CacheError;
use crate::limits;

/// Images of an index that are looked at for a cache in them.
const IMAGES_MAX: usize = 16;

/// How long a confirmation waits at least and at most for what others may be writing at the same time.
const CONFIRM_WAIT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// So often a confirmation waits while others go on writing.
const CONFIRMATIONS_MAX: u32 = 6;

/// What an export remembers of its own reading and writing, to know how long those of others take.
#[derive(Default)]
struct Window {
    opened: Option<Instant>,
    /// From reading to writing.
    took: Duration,
    /// The manifest that was written.
    written: Option<BlobDigest>,
}

/// A cache in a registry.
pub struct RegistryCache {
    name: String,
    client: Client,
    reference: Reference,
    form: Form,
    platform: Platform,
    /// Whether it is written to: then it is read where it is written, and not from mirrors.
    to_write: bool,
    source: Mutex<Option<Source>>,
    window: Mutex<Window>,
}

impl RegistryCache {
    /// Returns the cache that `reference` names. Nothing is asked for yet.
    ///
    /// # Errors
    /// If the registries' configuration cannot be read.
    pub fn new(
        reference: Reference,
        insecure: bool,
        (form, platform, to_write): (Form, Platform, bool),
        environment: &Environment,
        cancel: Cancel,
    ) -> Result<Self, CacheError> {
        let mut config = Config::load(environment)?;
        if insecure {
            let name = reference.name();
            config.allow_insecure(name.split('/').next().unwrap_or_default());
        }
        // A finished build waits for its export: not as long as for what it is built from.
        let patient = Limits::default();
        let limits = Limits {
            first_byte_timeout: limits::EXPORT_ANSWER_WAIT,
            retries_max: limits::EXPORT_RETRIES_MAX,
            ..patient.clone()
        };
        let client = Client::new(config, if to_write { limits } else { patient }).with_cancel(cancel);
        let name = reference.to_string();
        let (source, window) = (Mutex::default(), Mutex::default());
        Ok(Self { name, client, reference, form, platform, to_write, source, window })
    }

    fn format(&self, source: crate::catalog::FormatError) -> CacheError {
        CacheError::Format { place: self.name.clone(), source }
    }

    fn small(&self, source: &Source, blob: &Descriptor) -> Result<Vec<u8>, CacheError> {
        if blob.size > limits::CONFIG_BYTES_MAX {
            let (what, limit) = ("bytes of configuration", limits::CONFIG_BYTES_MAX);
            let too_many = crate::catalog::FormatError::TooMany {
                what,
                count: usize::try_from(blob.size).unwrap_or(usize::MAX),
                limit: usize::try_from(limit).unwrap_or(usize::MAX),
            };
            return Err(self.format(too_many));
        }
        let mut bytes = Vec::new();
        self.client.fetch_part(source, blob, &mut bytes, &|_| ())?;
        Ok(bytes)
    }

    fn find(&self, reference: &Reference) -> Result<FoundManifest, RegistryError> {
        if self.to_write { self.client.manifest_to_push(reference) } else { self.client.manifest(reference) }
    }

    fn read(&self, found: &FoundManifest, depth: u32) -> Result<Catalog, CacheError> {
        let document = document::parse(&found.bytes, &self.platform).map_err(|source| self.format(source))?;
        match document {
            Document::Cache { config, layers } => {
                let bytes = self.small(&found.source, &config)?;
                let config = serde_json::from_slice(&bytes).map_err(|source| self.format(source.into()))?;
                Catalog::read(&config, &layers).map_err(|source| self.format(source))
            }
            Document::Image { config, layers } => {
                let bytes = self.small(&found.source, &config)?;
                let carried = document::read_inline(&bytes, &layers).map_err(|source| self.format(source))?;
                Ok(carried.unwrap_or_default())
            }
            Document::Images(images) => {
                let mut all = Catalog::default();
                for image in images.iter().take(if depth == 0 { IMAGES_MAX } else { 0 }) {
                    let reference = Reference { digest: Some(image.digest), ..self.reference.clone() };
                    let image = self.find(&reference)?;
                    all.merge(&self.read(&image, depth + 1)?);
                }
                Ok(all)
            }
        }
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn there(&self) -> Result<Option<BlobDigest>, CacheError> {
        match self.find(&self.reference) {
            Ok(found) => Ok(Some(found.digest)),
            Err(RegistryError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Backend for RegistryCache {
    fn name(&self) -> &str {
        &self.name
    }

    fn repository(&self) -> Option<&Reference> {
        Some(&self.reference)
    }

    fn load(&self) -> Result<(Catalog, Version), CacheError> {
        self.window().opened = Some(Instant::now());
        let found = match self.find(&self.reference) {
            Ok(found) => found,
            Err(RegistryError::NotFound { .. }) => return Err(CacheError::Missing(self.name.clone())),
            Err(error) => return Err(error.into()),
        };
        let catalog = self.read(&found, 0)?;
        *self.source.lock().unwrap_or_else(PoisonError::into_inner) = Some(found.source);
        Ok((catalog, Version(Some(found.digest.to_string()))))
    }

    fn fetch(
        &self,
        blob: &Descriptor,
        sink: &mut dyn BlobSink,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<(), CacheError> {
        let source = self.source.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let source = source.ok_or_else(|| CacheError::Missing(self.name.clone()))?;
        Ok(self.client.fetch_part(&source, blob, sink, progress)?)
    }

    fn has(&self, blob: &Descriptor) -> Result<bool, CacheError> {
        let source = self.source.lock().unwrap_or_else(PoisonError::into_inner).clone();
        source.map_or(Ok(false), |source| Ok(self.client.has_part(&source, blob)?))
    }

    fn send(&self, blobs: Vec<Blob>) -> Result<(), CacheError> {
        for blob in &blobs {
            // A registry that has it elsewhere takes it from there.
            blob.elsewhere.iter().for_each(|name| self.client.remember(name, [blob.descriptor.digest]));
        }
        // The manifest that a push ends with comes when the catalog is known.
        let blobs: Vec<_> = blobs.into_iter().map(|blob| (blob.descriptor, blob.open)).collect();
        Ok(self.client.send_parts(&self.reference, &blobs, &|_, _| ())?)
    }

    fn commit(&self, catalog: &Catalog, version: &Version) -> Result<Commit, CacheError> {
        let written = document::write(catalog, self.form);
        let config = written.config;
        let open = move || -> std::io::Result<Box<dyn std::io::Read + Send>> {
            Ok(Box::new(std::io::Cursor::new(config.clone())))
        };
        let blobs: Vec<(Descriptor, OpenBlob)> = vec![(written.config_descriptor, Box::new(open))];
        // The protocol has no way to write only if nothing has changed. So all else is sent before the last look, which
        // leaves the moment until the registry has the manifest, and `confirm` looks behind it.
        self.client.send_parts(&self.reference, &blobs, &|_, _| ())?;
        if !version.is_any() && self.there()?.map(|digest| digest.to_string()) != version.0 {
            return Ok(Commit::Conflict);
        }
        let push = PushImage { manifest_bytes: written.manifest, media_type: written.media_type, blobs };
        let digest = self.client.push(&self.reference, &push, &|_, _| ())?;
        let mut window = self.window();
        window.took = window.opened.map(|since| since.elapsed()).unwrap_or_default();
        window.written = Some(digest);
        Ok(Commit::Done)
    }

    /// Looks after several times as long as our own writing took, and again for as long as others are seen to write: who
    /// is slow between the last look and the write overwrites what was written meanwhile.
    fn confirm(&self, catalog: &Catalog) -> Result<bool, CacheError> {
        let (mut wait, mut last) = {
            let window = self.window();
            ((window.took * 3).clamp(CONFIRM_WAIT.0, CONFIRM_WAIT.1), window.written.map(|digest| digest.to_string()))
        };
        for _ in 0..CONFIRMATIONS_MAX {
            std::thread::sleep(wait);
            let (there, version) = self.load()?;
            if !there.has_all_of(catalog) {
                return Ok(false);
            }
            if version.0 == last {
                break;
            }
            last = version.0;
            wait = (wait * 2).min(CONFIRM_WAIT.1);
        }
        Ok(true)
    }
}
