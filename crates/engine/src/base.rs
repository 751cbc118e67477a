//! Base images: finding them here or in a registry, and having their layers unpacked.
//!
//! To plan a build, only a base's configuration is needed; its layers are fetched when a step needs them.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use stave_dockerfile::plan::BaseRequest;
use stave_graph::Image;
use stave_oci::{BlobDigest, Compression, Descriptor, DiffId, ImageConfig, ImageId, Platform, Reference};
use stave_registry::{BlobSink, Resolved};
use stave_store::{
    BlobExpectation, BlobWriter, ImageError, ImageLayer, ImageManifest, ImageRecord, LayerForm, LayerId, Lease,
    NewImage, Tag, WorkDir,
};
use stave_tree::adopt_directories;

use crate::build::Report;
use crate::confined::{self, Unpacked};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::event::{Event, TaskKind};
use crate::follow::{Arrival, Followed, Follower};
use crate::platforms::part;
use crate::request::PullPolicy;
use crate::task::{Counted, Task};

/// Parameters of a layer form whose bytes came from elsewhere.
pub(crate) const ORIGINAL: &str = "original";

/// A base image of which the configuration is known.
pub(crate) struct KnownBase {
    pub(crate) id: ImageId,
    pub(crate) config: ImageConfig,
    /// Where its layers are, if they are not in the store.
    remote: Option<Remote>,
    /// Under which digest a registry had what is in the store now.
    known_as: Option<BlobDigest>,
}

impl KnownBase {
    /// A base that the store has.
    pub(crate) fn in_store(id: ImageId, config: ImageConfig) -> Self {
        Self { id, config, remote: None, known_as: None }
    }

    /// Returns the name under which its registry was asked for it, if it is not in the store.
    pub(crate) fn remote_name(&self) -> Option<&Reference> {
        self.remote.as_ref().map(|remote| &remote.reference)
    }

    /// Whether it is the image that has this manifest and this configuration. Of one whose layers are still in its registry
    /// only the manifest says which these are; those of the store are what the configuration says.
    pub(crate) fn is_image(&self, manifest: &BlobDigest, config: &BlobDigest) -> bool {
        match &self.remote {
            Some(remote) => remote.resolved.digest == *manifest,
            None => self.id.as_bytes() == config.as_bytes(),
        }
    }

    /// Returns the digest by which a registry has it: that of its index, if it is one of several; nothing if none has.
    pub(crate) fn digest(&self) -> Option<BlobDigest> {
        let resolved = self.remote.as_ref().map(|remote| &remote.resolved);
        resolved.map_or(self.known_as, |resolved| Some(resolved.index_digest.unwrap_or(resolved.digest)))
    }
}

/// An image in a registry.
pub(crate) struct Remote {
    pub(crate) reference: Reference,
    pub(crate) resolved: Resolved,
    pub(crate) config: ImageConfig,
    pub(crate) id: ImageId,
}

/// What becomes of an image that exists for one platform only, and for another one than is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OtherPlatform {
    Refused,
    Accepted,
}

/// A layer whose files are there, but not yet under a name.
struct UnpackedLayer {
    work: WorkDir,
    unpacked: Unpacked,
    diff_id: DiffId,
}

/// A layer of an image that is being pulled.
enum PulledLayer {
    Known(LayerId),
    Unpacked(Box<UnpackedLayer>),
}

/// The bases of one build.
#[derive(Default)]
pub(crate) struct Bases(BTreeMap<BaseRequest, KnownBase>);

impl Bases {
    pub(crate) fn add(&mut self, request: BaseRequest, base: KnownBase) {
        self.0.insert(request, base);
    }

    /// Returns the base that was asked for so.
    pub(crate) fn get(&self, request: &BaseRequest) -> Option<&KnownBase> {
        self.0.get(request)
    }

    /// Returns all that were asked for, and what they are.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&BaseRequest, &KnownBase)> {
        self.0.iter()
    }

    /// Returns when a base says that it was made, in seconds since 1970.
    pub(crate) fn created(&self, request: &BaseRequest) -> Option<i64> {
        self.get(request)?.config.created.as_deref().and_then(seconds)
    }

    /// Returns when the base with this id says that it was made, in seconds since 1970.
    pub(crate) fn created_by_id(&self, id: ImageId) -> Option<i64> {
        self.by_id(id)?.config.created.as_deref().and_then(seconds)
    }

    /// Returns what the base with this id was asked for as, or its id.
    pub(crate) fn name(&self, id: ImageId) -> String {
        let request = self.0.iter().find(|(_, base)| base.id == id).map(|(request, _)| request.reference.clone());
        request.unwrap_or_else(|| id.to_string())
    }

    /// Returns where a base is, if it is not in the store.
    pub(crate) fn remote(&self, image: &Image) -> Option<&Remote> {
        self.by_id(image.id).and_then(|base| base.remote.as_ref())
    }

    /// Whether a base is not in the store.
    pub(crate) fn is_remote(&self, image: &Image) -> bool {
        self.remote(image).is_some()
    }

    fn by_id(&self, id: ImageId) -> Option<&KnownBase> {
        self.0.values().find(|base| base.id == id)
    }
}

impl Engine {
    /// Finds a base image: in the store, else (or with [`PullPolicy::Always`]) in its registry, where with
    /// [`PullPolicy::Never`] nothing is asked for.
    pub(crate) fn find_base(
        &self,
        lease: &Lease,
        request: &BaseRequest,
        pull: PullPolicy,
        events: Report<'_>,
    ) -> Result<KnownBase, EngineError> {
        if pull != PullPolicy::Always {
            let reference: Reference = request.reference.parse().map_err(unusable_name)?;
            if let Some((record, config)) = self.local(lease, &reference, &request.platform)?
                && config.platform().runs_on(&request.platform)
            {
                let name = reference.to_string();
                let known_as = record.tags.iter().find(|tag| tag.reference == name).and_then(|tag| tag.repo_digest);
                return Ok(KnownBase { id: record.id, config, remote: None, known_as: known_as.or(reference.digest) });
            }
        }
        if pull == PullPolicy::Never {
            let message = format!("the store has no `{}` for {}", request.reference, request.platform);
            return Err(EngineError::request(message, Some("Leave `--pull=never` out, or get it with `stave pull`.")));
        }
        // The image that a build makes is for its base's platform, and a check says so.
        let remote = self.search(&request.reference, &request.platform, OtherPlatform::Accepted, events)?;
        Ok(KnownBase { id: remote.id, config: remote.config.clone(), remote: Some(remote), known_as: None })
    }

    /// Returns the image of the store with this id as a base.
    ///
    /// Errors: the store does not have it.
    pub(crate) fn stored_base(&self, lease: &Lease, id: &ImageId) -> Result<KnownBase, EngineError> {
        let record = lease.resolve_image(&id.to_string())?;
        Ok(KnownBase::in_store(record.id, self.image_config(&record.id)?))
    }

    /// Returns the image that a reference names in the store, if it does: of several, the one for `platform`.
    pub(crate) fn local(
        &self,
        lease: &Lease,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<Option<(ImageRecord, ImageConfig)>, EngineError> {
        let named = match self.store.find_index(&reference.to_string())? {
            Some(index) => part(&index, platform).map(|id| id.to_string()),
            None => None,
        };
        let record = match lease.resolve_image(&named.unwrap_or_else(|| reference.to_string())) {
            Ok(record) => record,
            Err(ImageError::NotFound(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let config = self.image_config(&record.id)?;
        Ok(Some((record, config)))
    }

    /// Asks registries for the manifest and the configuration of an image; of a short name with several meanings, the
    /// first that is there. Where no platform is asked for, an image that is for one only may be for another one than
    /// this machine's.
    pub(crate) fn find_remote(
        &self,
        name: &str,
        asked: Option<&Platform>,
        events: Report<'_>,
    ) -> Result<Remote, EngineError> {
        let other = if asked.is_some() { OtherPlatform::Refused } else { OtherPlatform::Accepted };
        self.search(name, &Self::platform(asked), other, events)
    }

    fn search(
        &self,
        name: &str,
        platform: &Platform,
        other: OtherPlatform,
        events: Report<'_>,
    ) -> Result<Remote, EngineError> {
        let meanings = self.client()?.config().meanings(name).map_err(unusable_name)?;
        let mut first_error = None;
        for reference in meanings {
            match self.find_meaning(reference, platform, other, events) {
                Ok(remote) => return Ok(remote),
                Err(error) => {
                    self.go_on()?;
                    first_error.get_or_insert(error);
                }
            }
        }
        Err(first_error.unwrap_or_else(|| EngineError::request(format!("the name `{name}` means no image"), None)))
    }

    fn find_meaning(
        &self,
        reference: Reference,
        platform: &Platform,
        other: OtherPlatform,
        events: Report<'_>,
    ) -> Result<Remote, EngineError> {
        let resolved = Task::during(events, TaskKind::Resolve, format!("resolve {reference}"), |_| {
            Ok::<_, EngineError>(self.client()?.resolve(&reference, platform)?)
        })?;
        let config: ImageConfig = serde_json::from_slice(&resolved.config_bytes)
            .map_err(|source| EngineError::tree(format!("cannot use the configuration of `{reference}`"), source))?;
        if config.rootfs.diff_ids.len() != resolved.manifest.layers.len() {
            let (layers, digests) = (resolved.manifest.layers.len(), config.rootfs.diff_ids.len());
            let message = format!("the manifest of `{reference}` has {layers} layers, and its configuration {digests}");
            return Err(EngineError::request(message, None));
        }
        let refused = other == OtherPlatform::Refused;
        if refused && !config.os.is_empty() && !config.platform().runs_on(platform) {
            let (found, wanted) = (config.platform().to_string(), platform.to_string());
            return Err(EngineError::Platform { image: reference.to_string(), found, wanted });
        }
        let id = ImageId::of(&resolved.config_bytes);
        Ok(Remote { reference, resolved, config, id })
    }

    /// Returns the unpacked layers of a base, fetching what is not here.
    pub(crate) fn base_layers(
        &self,
        lease: &Lease,
        bases: &Bases,
        image: &Image,
        events: Report<'_>,
    ) -> Result<Arc<[LayerId]>, EngineError> {
        match bases.remote(image) {
            Some(remote) => self.pull_image(lease, remote, events).map(Into::into),
            None => self.unpacked_layers(lease, image.id, events).map(Into::into),
        }
    }

    /// Returns the layers of an image of the store; those that are only blobs are unpacked.
    pub(crate) fn unpacked_layers(
        &self,
        lease: &Lease,
        id: ImageId,
        events: Report<'_>,
    ) -> Result<Vec<LayerId>, EngineError> {
        let record = lease.resolve_image(&id.to_string())?;
        let mut layers = Vec::new();
        for layer in &record.layers {
            let id = match layer.layer {
                Some(id) => id,
                None => self.unpack_known(lease, layer.diff_id, &layers, events)?,
            };
            layers.push(id);
        }
        Ok(layers)
    }

    /// Unpacks a layer, which lies on `below`, from a blob that is here.
    pub(crate) fn unpack_known(
        &self,
        lease: &Lease,
        diff_id: DiffId,
        below: &[LayerId],
        events: Report<'_>,
    ) -> Result<LayerId, EngineError> {
        if let Some(layer) = lease.layer_by_diff_id(&diff_id)? {
            return Ok(layer);
        }
        let forms = lease.layer_forms(&diff_id)?;
        let form = forms.first().ok_or_else(|| {
            EngineError::request(format!("layer {diff_id} is not in the store"), Some("Pull or load the image again."))
        })?;
        self.unpack_form(lease, form, below, events)
    }

    /// Unpacks the blob of a layer, which lies on `below`, and checks that it is that layer.
    pub(crate) fn unpack_form(
        &self,
        lease: &Lease,
        form: &LayerForm,
        below: &[LayerId],
        events: Report<'_>,
    ) -> Result<LayerId, EngineError> {
        let unpacked = self.unpack_blob(lease, form, events)?;
        self.publish_unpacked(lease, unpacked, below)
    }

    fn unpack_blob(&self, lease: &Lease, form: &LayerForm, events: Report<'_>) -> Result<UnpackedLayer, EngineError> {
        self.unpack_stream(lease, form, &mut self.store.open_blob(&form.digest)?, events)
    }

    /// Unpacks the bytes of a layer's blob into a directory that has no name yet.
    fn unpack_stream(
        &self,
        lease: &Lease,
        form: &LayerForm,
        blob: &mut (dyn Read + Send),
        events: Report<'_>,
    ) -> Result<UnpackedLayer, EngineError> {
        Task::during(events, TaskKind::Unpack, format!("unpack {}", short(&form.diff_id)), |task| {
            self.unpack_counted(lease, form, Counted::new(blob, task, Some(form.size)), events)
        })
    }

    fn unpack_counted(
        &self,
        lease: &Lease,
        form: &LayerForm,
        mut blob: Counted<'_, '_, &mut (dyn Read + Send)>,
        events: Report<'_>,
    ) -> Result<UnpackedLayer, EngineError> {
        let work = lease.work_dir()?;
        let into = self.store_dir(&work.diff_rel_path())?;
        let what = format!("layer {}", short(&form.diff_id));
        let (actual, unpacked) = confined::unpack_layer(self, &into, &mut blob, &what)?;
        if actual != form.diff_id {
            return Err(EngineError::LayerDigest { expected: form.diff_id, actual });
        }
        if unpacked.unmapped > 0 {
            let message = format!(
                "{} files of {what} belong to users that this user namespace does not have, and appear as root's",
                unpacked.unmapped
            );
            events(Event::Notice { message });
        }
        if unpacked.devices_skipped > 0 {
            let message = format!("{} device nodes of {what} cannot be made without root", unpacked.devices_skipped);
            events(Event::Notice { message });
        }
        Ok(UnpackedLayer { work, unpacked, diff_id: form.diff_id })
    }

    /// Publishes an unpacked layer that lies on `below`.
    fn publish_unpacked(&self, lease: &Lease, layer: UnpackedLayer, below: &[LayerId]) -> Result<LayerId, EngineError> {
        let UnpackedLayer { work, unpacked, diff_id } = layer;
        if !unpacked.implied.is_empty() {
            let (own, below) = (self.store_dir(&work.diff_rel_path())?, self.layers(below)?);
            adopt_directories(&own, &below, &unpacked.implied)
                .map_err(|source| EngineError::tree(format!("cannot unpack layer {}", short(&diff_id)), source))?;
        }
        let id = lease.publish_layer(work, Some(diff_id))?;
        self.store.set_layer_source_bytes(id, unpacked.tar_bytes)?;
        Ok(id)
    }

    /// Fetches and unpacks all layers of an image, several at once, and gives it its name. Whoever pulls an image that has a
    /// layer in common with it waits until that is known.
    pub(crate) fn pull_image(
        &self,
        lease: &Lease,
        remote: &Remote,
        events: Report<'_>,
    ) -> Result<Vec<LayerId>, EngineError> {
        let turns = self.turns(&remote.config.rootfs.diff_ids);
        let _held: Vec<_> = turns.iter().map(|turn| turn.lock().unwrap_or_else(PoisonError::into_inner)).collect();
        let wanted: Vec<(DiffId, &Descriptor)> =
            remote.config.rootfs.diff_ids.iter().copied().zip(&remote.resolved.manifest.layers).collect();
        let done: Mutex<Vec<Option<Result<PulledLayer, EngineError>>>> =
            Mutex::new(wanted.iter().map(|_| None).collect());
        let next = Mutex::new(0..wanted.len());
        let take = || next.lock().unwrap_or_else(PoisonError::into_inner).next();
        let work = || {
            while let Some(index) = take() {
                let (diff_id, descriptor) = wanted[index];
                let result = self.pull_layer(lease, remote, diff_id, descriptor, events);
                if result.is_err() {
                    *next.lock().unwrap_or_else(PoisonError::into_inner) = 0..0;
                }
                done.lock().unwrap_or_else(PoisonError::into_inner)[index] = Some(result);
            }
        };
        thread::scope(|scope| {
            for _ in 0..wanted.len().min(TRANSFERS_MAX) {
                scope.spawn(work);
            }
        });
        let mut layers = Vec::new();
        let mut results = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = results.iter().position(|result| matches!(result, Some(Err(_))))
            && let Some(Err(error)) = results.swap_remove(index)
        {
            return Err(error);
        }
        for layer in results.into_iter().flatten() {
            let id = match layer? {
                PulledLayer::Known(id) => id,
                PulledLayer::Unpacked(unpacked) => self.publish_unpacked(lease, *unpacked, &layers)?,
            };
            layers.push(id);
        }
        self.keep_pulled(lease, remote, &layers)?;
        Ok(layers)
    }

    fn pull_layer(
        &self,
        lease: &Lease,
        remote: &Remote,
        diff_id: DiffId,
        descriptor: &Descriptor,
        events: Report<'_>,
    ) -> Result<PulledLayer, EngineError> {
        self.go_on()?;
        let compression = Compression::of_media_type(&descriptor.media_type).ok_or_else(|| {
            EngineError::request(
                format!("layer {} has the unknown type `{}`", descriptor.digest, descriptor.media_type),
                None,
            )
        })?;
        let form = LayerForm {
            diff_id,
            compression,
            parameters: ORIGINAL.to_owned(),
            digest: descriptor.digest,
            size: descriptor.size,
            media_type: descriptor.media_type.clone(),
        };
        let known = lease.layer_by_diff_id(&diff_id)?;
        let mut unpacked = None;
        if lease.blob(&descriptor.digest)?.is_none() {
            unpacked = self.fetch(lease, remote, &form, known.is_none(), events)?;
        }
        lease.set_layer_form(&form)?;
        match (known, unpacked) {
            (Some(layer), _) => Ok(PulledLayer::Known(layer)),
            (None, Some(unpacked)) => Ok(PulledLayer::Unpacked(Box::new(unpacked))),
            (None, None) => Ok(PulledLayer::Unpacked(Box::new(self.unpack_blob(lease, &form, events)?))),
        }
    }

    /// Fetches a layer's blob and, if that is wanted, unpacks it while it comes. What is unpacked is returned only when the
    /// blob was verified; nothing is, where the transfer had to begin anew.
    fn fetch(
        &self,
        lease: &Lease,
        remote: &Remote,
        form: &LayerForm,
        unpack: bool,
        events: Report<'_>,
    ) -> Result<Option<UnpackedLayer>, EngineError> {
        Task::during(events, TaskKind::Fetch, format!("fetch {}", &form.digest.hex()[..12]), |task| {
            self.fetch_told(lease, remote, (form, unpack), (task, events))
        })
    }

    fn fetch_told(
        &self,
        lease: &Lease,
        remote: &Remote,
        (form, unpack): (&LayerForm, bool),
        (task, events): (&Task<'_>, Report<'_>),
    ) -> Result<Option<UnpackedLayer>, EngineError> {
        let descriptor = Descriptor::new(&form.media_type, form.digest, form.size);
        let writer = lease.blob_writer(BlobExpectation::exactly(form.digest, form.size))?;
        let arrival = Arc::new(Arrival::default());
        let reader = if unpack { Some(Follower::new(writer.reader()?, Arc::clone(&arrival))) } else { None };
        let mut sink = Followed { sink: Sink(writer), arrival: Arc::clone(&arrival) };
        thread::scope(|scope| {
            let work =
                reader.map(|mut reader| scope.spawn(move || self.unpack_stream(lease, form, &mut reader, events)));
            let progress = |done| task.progress(done, Some(form.size));
            let fetched = self.client().and_then(|client| {
                client.fetch_blob(&remote.resolved, &descriptor, &mut sink, &progress)?;
                Ok(sink.sink.0.commit().map(drop)?)
            });
            arrival.end(fetched.is_ok());
            let unpacked = work.map(|work| work.join().expect("the unpacker does not panic"));
            // What is wrong with the blob is the cause of whatever is wrong with its files.
            fetched?;
            if arrival.is_torn() { Ok(None) } else { unpacked.transpose() }
        })
    }

    fn keep_pulled(&self, lease: &Lease, remote: &Remote, layers: &[LayerId]) -> Result<(), EngineError> {
        let resolved = &remote.resolved;
        let mut size = 0;
        for layer in layers {
            size += self.store.layer_source_bytes(*layer)?.unwrap_or_default();
        }
        let diff_ids = remote.config.rootfs.diff_ids.iter();
        let digest = lease.put_blob(&resolved.manifest_bytes)?;
        let image = NewImage {
            config: &resolved.config_bytes,
            created: remote.config.created.as_deref().and_then(seconds),
            size,
            layers: diff_ids
                .zip(layers)
                .map(|(diff_id, layer)| ImageLayer { diff_id: *diff_id, layer: Some(*layer) })
                .collect(),
            manifest: Some(ImageManifest {
                digest,
                media_type: resolved.media_type.clone(),
                source: remote.reference.name(),
            }),
        };
        let repo_digest = resolved.index_digest.unwrap_or(resolved.digest);
        let id = lease.put_image(&image, &[])?;
        let tag = Tag::new(&remote.reference, Some(repo_digest));
        self.name_pulled(lease, (id, remote.config.platform()), &tag, resolved.index_digest)
    }

    /// Returns the configuration of an image of the store.
    pub(crate) fn image_config(&self, id: &ImageId) -> Result<ImageConfig, EngineError> {
        let bytes = self.store.image_config(id)?;
        serde_json::from_slice(&bytes)
            .map_err(|source| EngineError::tree(format!("cannot use the configuration of image {id}"), source))
    }
}

pub(crate) fn unusable_name(source: stave_oci::reference::ReferenceError) -> EngineError {
    EngineError::tree("cannot use the image name", source)
}

/// How many layers are fetched at once.
const TRANSFERS_MAX: usize = 4;

/// Returns the first digits of a digest, for people.
pub(crate) fn short(diff_id: &DiffId) -> String {
    diff_id.hex()[..12].to_owned()
}

/// Returns an RFC 3339 time as seconds since 1970, or nothing if it is none.
pub(crate) fn seconds(text: &str) -> Option<i64> {
    text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second)
}

/// A blob of the store that a transfer writes.
pub(crate) struct Sink(pub(crate) BlobWriter);

impl std::io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

impl BlobSink for Sink {
    fn restart(&mut self) -> std::io::Result<()> {
        self.0.restart().map_err(std::io::Error::other)
    }
}
