//! Reading: catalogs come in beside the build, and results are fetched when a look-up finds them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use stave_cache::{Backend, CacheError, Catalog, ImportSpec, Layer};
use stave_oci::{BlobDigest, Compression, DiffId, Platform};
use stave_store::{BlobExpectation, LayerForm, LayerId, Lease};

use super::remote::{Gaps, Hit, Lost, RemoteLayer};
use super::{Caches, key_digest, open};
use crate::base::{ORIGINAL, Sink, short};
use crate::build::Report;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::event::{Event, TaskKind};
use crate::snapshot::SnapshotLayer;
use crate::task::Task;
use stave_graph::CacheKey;

/// How many blobs of one result are fetched at once.
const TRANSFERS_MAX: usize = 4;

/// Why a cache that nobody has written is not used.
const NOTHING_YET: &str = "there is none yet";

/// Builds of one cache that a build is compared with.
const PARCELS_MAX: usize = 2;

/// How long a build waits for the explanation of a miss from elsewhere.
const PARCEL_WAIT: Duration = Duration::from_millis(500);

/// The caches that a build reads.
#[derive(Default)]
pub(crate) struct Imports {
    sources: Vec<Source>,
    /// Results that are older are not used, in seconds since 1970.
    since: Option<i64>,
    /// Records with a layer that is not there, or is not what it should be.
    gaps: Arc<Gaps>,
    /// Held while a layer is fetched: steps that have it in common wait for one transfer.
    fetching: Mutex<BTreeMap<DiffId, Arc<Mutex<()>>>>,
    told: Mutex<BTreeSet<String>>,
    /// When a look-up first needed them: from then on is counted how long they may be waited for.
    needed: OnceLock<Instant>,
}

struct Source {
    spec: ImportSpec,
    name: String,
    state: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
enum State {
    #[default]
    Loading,
    Ready(Ready),
    Failed(String),
}

#[derive(Clone)]
struct Ready {
    backend: Arc<dyn Backend>,
    catalog: Arc<Catalog>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Imports {
    /// Begins to read what the caches have, beside whatever the build does meanwhile.
    ///
    /// The threads belong to nobody: a build that needs nothing of them ends without waiting for them.
    pub(crate) fn start(engine: &Engine, caches: Option<&Caches>, platform: &Platform) -> Self {
        let Some(caches) = caches else { return Self::default() };
        let none = caches.ttl == Some(Duration::ZERO);
        let sources = caches.from.iter().filter(|_| !none).map(|spec| {
            let spec = spec.clone();
            let name = spec.place.to_string();
            let state = Arc::new(Shared::default());
            match open(engine, &spec.place, None, platform, engine.cancel().transfers()) {
                Ok(backend) => {
                    let (shared, backend) = (Arc::clone(&state), Arc::from(backend));
                    let started = thread::Builder::new().name("cache".to_owned()).spawn(move || load(&shared, backend));
                    if let Err(error) = started {
                        state.set(State::Failed(error.to_string()));
                    }
                }
                Err(error) => state.set(State::Failed(crate::told::causes(&error))),
            }
            Source { spec, name, state }
        });
        let age = caches.ttl.and_then(|age| i64::try_from(age.as_secs()).ok());
        let since = age.map(|age| engine.now() - age);
        Self { sources: sources.collect(), since, ..Self::default() }
    }

    /// Whether there is any.
    pub(crate) fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// Returns what the caches have that have answered by now, or do so soon.
    fn ready<'a>(&'a self, events: Report<'a>) -> impl Iterator<Item = Ready> + 'a {
        self.sources.iter().filter_map(move |source| {
            let problem = match source.wait(*self.needed.get_or_init(Instant::now) + source.spec.wait) {
                Ok(ready) => return Some(ready),
                Err(problem) => problem,
            };
            if lock(&self.told).insert(source.name.clone()) {
                let message = format!("the cache `{}` {problem}", source.name);
                events(Event::Notice { message });
            }
            None
        })
    }

    /// Looks a result up by the step's own key.
    pub(crate) fn find(&self, key: &CacheKey, events: Report<'_>) -> Option<Hit> {
        self.find_digest(&key_digest(key), events)
    }

    /// Looks a result up by the digest of a record.
    pub(crate) fn find_digest(&self, digest: &BlobDigest, events: Report<'_>) -> Option<Hit> {
        if self.sources.is_empty() || self.gaps.find(digest).is_some() {
            return None;
        }
        self.ready(events).find_map(|Ready { backend, catalog }| {
            let (layers, created) = catalog.find(digest)?;
            if self.since.is_some_and(|since| created.is_none_or(|created| created < since)) {
                return None;
            }
            let layers = layers.into_iter().cloned().collect();
            Some(Hit { digest: *digest, backend, layers, created, gaps: Arc::clone(&self.gaps) })
        })
    }

    /// Returns layers of `backend` that are no cache's result, and are relied on as those of one are.
    pub(crate) fn lend(&self, digest: BlobDigest, backend: Arc<dyn Backend>, layers: Vec<Layer>) -> Hit {
        Hit { digest, backend, layers, created: None, gaps: Arc::clone(&self.gaps) }
    }

    /// Returns the other records that the cache with the result under `digest` has of the same step with the same layers.
    pub(crate) fn twins(&self, digest: &BlobDigest, events: Report<'_>) -> Vec<BlobDigest> {
        let mut ready = self.ready(events);
        ready.find_map(|ready| ready.catalog.find(digest).map(|_| ready.catalog.twins(digest))).unwrap_or_default()
    }

    /// Returns which cache has a result of the step with this key that could not be used, and why not.
    pub(crate) fn lost(&self, key: &CacheKey) -> Option<(String, String)> {
        let Lost { cache, reason } = self.gaps.find(&key_digest(key))?;
        Some((cache, reason))
    }

    /// Returns the first cache that there should be and that could not be read, and why not.
    pub(crate) fn unusable(&self) -> Option<(String, String)> {
        self.sources.iter().find_map(|source| {
            let deadline = *self.needed.get_or_init(Instant::now) + source.spec.wait;
            let problem = source.wait(deadline).err().filter(|problem| problem != NOTHING_YET)?;
            Some((source.name.clone(), problem))
        })
    }

    /// Returns what the caches say of how their results were made, with their names, the latest first: as much as comes within a short time.
    pub(crate) fn parcels(&self, events: Report<'_>) -> Vec<(String, Vec<u8>)> {
        let mut found = Vec::new();
        for Ready { backend, catalog } in self.ready(events) {
            for blob in catalog.latest_parcels(PARCELS_MAX) {
                let (answers, inbox) = mpsc::channel();
                let (name, backend) = (backend.name().to_owned(), Arc::clone(&backend));
                // It belongs to nobody: who no longer waits for it does not end it.
                let fetched = move || drop(answers.send(stave_cache::parcel::fetch(&*backend, &blob)));
                if thread::Builder::new().name("ingredients".to_owned()).spawn(fetched).is_ok() {
                    let came = inbox.recv_timeout(PARCEL_WAIT).ok().flatten();
                    found.extend(came.map(|bytes| (name, bytes)));
                }
            }
        }
        found
    }

    /// Whether any cache has a result of the instruction with this identity, so that a look-up by content may succeed.
    pub(crate) fn knows_op(&self, op: &str, events: Report<'_>) -> bool {
        self.ready(events).any(|ready| ready.catalog.has_op(op))
    }

    /// Fetches the layers of a result that are not here, and returns all of them. Nothing if one is not what the cache
    /// says: then its step just runs.
    pub(crate) fn fetch(&self, engine: &Engine, lease: &Lease, hit: &Hit, events: Report<'_>) -> Option<Vec<LayerId>> {
        self.try_fetch(engine, lease, hit, &[], events)
    }

    /// The same for the highest layer alone, which is put on `below`.
    pub(crate) fn fetch_top(
        &self,
        engine: &Engine,
        lease: &Lease,
        hit: &Hit,
        below: &[LayerId],
        events: Report<'_>,
    ) -> Option<LayerId> {
        let top = Hit { layers: vec![hit.layers.last()?.clone()], ..hit.clone() };
        self.try_fetch(engine, lease, &top, below, events)?.pop()
    }

    fn try_fetch(
        &self,
        engine: &Engine,
        lease: &Lease,
        hit: &Hit,
        below: &[LayerId],
        events: Report<'_>,
    ) -> Option<Vec<LayerId>> {
        let layers: Vec<SnapshotLayer> = below.iter().copied().map(SnapshotLayer::Here).collect();
        let remote = hit.clone().remote_layers().into_iter().map(SnapshotLayer::There);
        let fetched = self.layers(engine, lease, &layers.into_iter().chain(remote).collect::<Vec<_>>(), events);
        fetched.ok().map(|mut layers| layers.split_off(below.len()))
    }

    /// Returns layers that lie on each other, with those fetched that are not here.
    ///
    /// Errors: one cannot be had. What was relied on is missing then, and the build has to begin again.
    pub(crate) fn bring(
        &self,
        engine: &Engine,
        lease: &Lease,
        layers: &[SnapshotLayer],
        events: Report<'_>,
    ) -> Result<Vec<LayerId>, EngineError> {
        self.layers(engine, lease, layers, events).inspect_err(|_| self.gaps.late.store(true, Ordering::SeqCst))
    }

    /// Whether what a build has relied on was not there, since this was last asked.
    pub(crate) fn take_gap(&self) -> bool {
        self.gaps.take()
    }

    /// Whether what a build has relied on was not there, and it has not begun again yet.
    pub(crate) fn has_gap(&self) -> bool {
        self.gaps.is_late()
    }

    /// Returns whether the layers of a result may stay where they are until somebody reads them.
    pub(crate) fn may_stay(&self) -> bool {
        self.gaps.trusting()
    }

    fn layers(
        &self,
        engine: &Engine,
        lease: &Lease,
        wanted: &[SnapshotLayer],
        events: Report<'_>,
    ) -> Result<Vec<LayerId>, EngineError> {
        let remote = wanted.iter().filter_map(SnapshotLayer::remote);
        self.prefetch(engine, lease, remote, events)?;
        let mut layers = Vec::new();
        for layer in wanted {
            engine.go_on()?;
            layers.push(match layer {
                SnapshotLayer::Here(layer) => *layer,
                SnapshotLayer::There(remote) => self
                    .layer(engine, lease, remote, &layers, events)
                    .inspect_err(|error| self.lose(engine, remote, error, events))?,
            });
        }
        Ok(layers)
    }

    /// Notes that a result cannot be used, and says so.
    fn lose(&self, engine: &Engine, remote: &RemoteLayer, error: &EngineError, events: Report<'_>) {
        let (name, error) = (remote.hit.backend.name(), crate::told::causes(error));
        self.gaps.lose(&remote.hit, error.clone());
        let message = format!("a result of the cache `{name}` is not used: {error}");
        // Several results may have one layer in common.
        if !engine.cancel().is_cancelled() && lock(&self.told).insert(message.clone()) {
            events(Event::Notice { message });
        }
    }

    /// Fetches the blobs that are not here, several at once.
    fn prefetch<'l>(
        &self,
        engine: &Engine,
        lease: &Lease,
        layers: impl Iterator<Item = &'l RemoteLayer>,
        events: Report<'_>,
    ) -> Result<(), EngineError> {
        let mut wanted = Vec::new();
        for remote in layers {
            let layer = remote.layer();
            if lease.layer_by_diff_id(&layer.diff_id)?.is_none() && lease.blob(&layer.blob)?.is_none() {
                wanted.push(remote);
            }
        }
        if wanted.len() < 2 {
            return Ok(());
        }
        let next = Mutex::new(wanted.into_iter());
        let work = || -> Result<(), EngineError> {
            loop {
                let Some(remote) = lock(&next).next() else { return Ok(()) };
                let turn = self.turn(remote.diff_id());
                let _turn = lock(&turn);
                fetch(engine, lease, remote, events).inspect_err(|error| self.lose(engine, remote, error, events))?;
            }
        };
        thread::scope(|scope| {
            let workers: Vec<_> = (0..TRANSFERS_MAX).map(|_| scope.spawn(work)).collect();
            workers.into_iter().try_for_each(|worker| worker.join().expect("a transfer does not panic"))
        })
    }

    fn turn(&self, diff_id: DiffId) -> Arc<Mutex<()>> {
        Arc::clone(lock(&self.fetching).entry(diff_id).or_default())
    }

    /// Returns one layer, which lies on `below`: the one that is here, else the one that the cache has, checked.
    fn layer(
        &self,
        engine: &Engine,
        lease: &Lease,
        remote: &RemoteLayer,
        below: &[LayerId],
        events: Report<'_>,
    ) -> Result<LayerId, EngineError> {
        let layer = remote.layer();
        let turn = self.turn(layer.diff_id);
        let _turn = lock(&turn);
        if let Some(known) = lease.layer_by_diff_id(&layer.diff_id)? {
            return Ok(known);
        }
        if !lease.layer_forms(&layer.diff_id)?.is_empty() {
            return engine.unpack_known(lease, layer.diff_id, below, events);
        }
        fetch(engine, lease, remote, events)?;
        let compression = Compression::of_media_type(&layer.media_type).ok_or_else(|| {
            EngineError::request(format!("layer {} has the unknown type `{}`", layer.blob, layer.media_type), None)
        })?;
        let form = LayerForm {
            diff_id: layer.diff_id,
            compression,
            parameters: ORIGINAL.to_owned(),
            digest: layer.blob,
            size: layer.size,
            media_type: layer.media_type.clone(),
        };
        let id = engine.unpack_form(lease, &form, below, events)?;
        // Only now it is known that the blob is that layer.
        lease.set_layer_form(&form)?;
        Ok(id)
    }
}

/// Has the blob of a layer in the store, whatever it takes; it is checked on its way.
fn fetch(engine: &Engine, lease: &Lease, remote: &RemoteLayer, events: Report<'_>) -> Result<(), EngineError> {
    let (backend, layer) = (&remote.hit.backend, remote.layer());
    if lease.blob(&layer.blob)?.is_some() {
        return Ok(());
    }
    engine.go_on()?;
    let title = format!("fetch {} from {}", short(&layer.diff_id), backend.name());
    Task::during(events, TaskKind::Cache, title, |task| {
        let mut sink = Sink(lease.blob_writer(BlobExpectation::exactly(layer.blob, layer.size))?);
        let progress = |done| task.progress(done, Some(layer.size));
        backend.fetch(&layer.descriptor(), &mut sink, &progress).map_err(EngineError::from)?;
        sink.0.commit()?;
        Ok(())
    })
}

fn load(shared: &Shared, backend: Arc<dyn Backend>) {
    let state = match backend.load() {
        Ok((catalog, _)) => State::Ready(Ready { backend, catalog: Arc::new(catalog) }),
        Err(CacheError::Missing(_)) => State::Failed(NOTHING_YET.to_owned()),
        Err(error) => State::Failed(crate::told::causes(&error)),
    };
    shared.set(state);
}

impl Shared {
    fn set(&self, state: State) {
        *lock(&self.state) = state;
        self.changed.notify_all();
    }
}

impl Source {
    /// Waits for the catalog as long as a build may. Without it, returns what is to be said of the cache.
    fn wait(&self, deadline: Instant) -> Result<Ready, String> {
        let mut state = lock(&self.state.state);
        loop {
            match &*state {
                State::Ready(ready) => return Ok(ready.clone()),
                State::Failed(problem) => return Err(format!("is not used: {problem}")),
                State::Loading => {}
            }
            let Some(rest) = deadline.checked_duration_since(Instant::now()).filter(|rest| !rest.is_zero()) else {
                // It may be used yet, by steps that come later.
                let time = self.spec.wait.as_millis();
                return Err(format!("is not waited for: it did not say within {time} ms what it has"));
            };
            state = self.state.changed.wait_timeout(state, rest).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
