//! Why steps run: what the steps of this build were made from is compared with what is known of earlier ones.
//!
//! Turns a miss of the cache into a [`Miss`], and a build that ended into what the next one is compared with. Nothing of it
//! is needed for a build: whatever cannot be read or written is as if it had never been there.
//! `docs/decisions/0014-explained-misses.md` says what is compared with what.

mod ingredients;
mod kept;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use stave_explain::{Comparison, Evicted, Files, Ingredients, Manifest, Miss, Rule, Side};
use stave_graph::{CacheKey, KEY_SCHEMA, NodeId, Op, OpDigest, TreeDigest, op_digest};
use stave_oci::{BlobDigest, Hasher};
use stave_store::{Eviction, Lease};
use stave_tree::Selection;

use crate::build::{BuildTarget, Report, stage_name};
use crate::engine::Engine;
use crate::outside::{Found, Outside};
use crate::request::OnMiss;
use crate::source::Source;
use ingredients::Outcomes;
use kept::{Kept, Parcel};

/// Most bytes of lists of files that a parcel for other machines has, before it is compressed.
const PARCEL_FILES_MAX: usize = 8 * 1024 * 1024;
/// The same for an image that carries its cache in its configuration.
const INLINE_FILES_MAX: usize = 64 * 1024;

/// What one build knows of why its steps run.
pub(crate) struct Explain<'a> {
    source: &'a Source,
    target: BuildTarget<'a>,
    kept: Option<Kept>,
    owners: OnceLock<BTreeMap<NodeId, usize>>,
    own: OnceLock<Arc<Ingredients>>,
    earlier: OnceLock<Vec<Comparison>>,
    imported: OnceLock<Vec<Imported>>,
    /// The lists of files that were made or read, by their digest.
    manifests: Mutex<BTreeMap<String, Option<Arc<Manifest>>>>,
    /// Why nodes ran.
    misses: Mutex<BTreeMap<NodeId, Miss>>,
    evicted: Mutex<BTreeMap<NodeId, Eviction>>,
    /// Nodes whose results have no record that can be used.
    unrecorded: Mutex<BTreeSet<NodeId>>,
    done: Mutex<BTreeSet<NodeId>>,
    failed: Mutex<BTreeSet<NodeId>>,
}

/// A build of another machine, as a cache tells it.
struct Imported {
    cache: String,
    comparison: Comparison,
    parcel: Parcel,
}

/// What a build has read by now.
#[derive(Clone, Copy)]
pub(crate) struct Reading<'a> {
    pub(crate) selections: &'a Mutex<BTreeMap<NodeId, TreeDigest>>,
    pub(crate) found: &'a Mutex<BTreeMap<NodeId, Found>>,
    /// What has not been used up yet.
    pub(crate) outside: &'a Mutex<BTreeMap<NodeId, Outside>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Explain<'a> {
    pub(crate) fn new(engine: &'a Engine, source: &'a Source, target: BuildTarget<'a>) -> Self {
        Self {
            source,
            target,
            kept: Kept::open(engine, &source.identity()),
            owners: OnceLock::new(),
            own: OnceLock::new(),
            earlier: OnceLock::new(),
            imported: OnceLock::new(),
            manifests: Mutex::default(),
            misses: Mutex::default(),
            evicted: Mutex::default(),
            unrecorded: Mutex::default(),
            done: Mutex::default(),
            failed: Mutex::default(),
        }
    }

    /// Remembers that the result of a node was known, and is gone.
    pub(crate) fn evicted(&self, node: NodeId, reason: Eviction) {
        lock(&self.evicted).insert(node, reason);
    }

    /// Remembers that a node has a result, but none of which it is known what it asked of the network.
    pub(crate) fn unrecorded(&self, node: NodeId) {
        lock(&self.unrecorded).insert(node);
    }

    /// Remembers that nodes have results.
    pub(crate) fn done(&self, nodes: impl IntoIterator<Item = NodeId>) {
        lock(&self.done).extend(nodes);
    }

    /// Remembers that a node was carried out and failed.
    pub(crate) fn failed(&self, node: NodeId) {
        lock(&self.failed).insert(node);
    }

    /// Returns why `node` has to be carried out, and remembers it: what depends on it refers to it.
    pub(crate) fn miss(&self, node: NodeId, lease: &Lease, reading: Reading<'_>, events: Report<'_>) -> Option<Miss> {
        if self.target.on_miss == OnMiss::Run {
            return None;
        }
        let step = *self.owners().get(&node)?;
        // What it read is used up when it runs.
        let read = digests_of(self.own(reading), step);
        for digest in &read {
            self.manifest(Side::New, digest, reading);
        }
        let miss = self.find(node, step, lease, reading, events);
        lock(&self.misses).insert(node, miss.clone());
        Some(miss)
    }

    fn find(&self, node: NodeId, step: usize, lease: &Lease, reading: Reading<'_>, events: Report<'_>) -> Miss {
        let planned = self.target.joined.steps[step].planned();
        if self.target.rerun.contains(&node) && self.target.use_cache {
            return Miss::NoCacheFilter { stage: stage_name(&planned.stage) };
        }
        if !self.target.use_cache {
            return Miss::NoCache;
        }
        let lost = self.key(node, reading).and_then(|key| self.target.imports.lost(&key));
        if let Some((cache, reason)) = lost {
            return Miss::ImportFailed { cache, reason };
        }
        if let Some(reason) = lock(&self.evicted).get(&node) {
            let reason = match reason {
                Eviction::Pruned => Evicted::Pruned,
                Eviction::Room => Evicted::Room,
                Eviction::NotDurable => Evicted::NotDurable,
                Eviction::Damaged => Evicted::Damaged,
            };
            return Miss::Evicted { reason };
        }
        if lock(&self.unrecorded).contains(&node) {
            return Miss::Unrecorded;
        }
        let files = Asking { explain: self, reading, parcel: None };
        let earlier = self.earlier(reading).iter().find(|earlier| earlier.has_stage(step));
        if let Some(miss) = earlier.and_then(|earlier| earlier.miss(step, &files)) {
            return miss;
        }
        let imported = if earlier.is_some() { &[][..] } else { self.imported(reading, events) };
        let others = || imported.iter().filter(|other| other.comparison.has_stage(step));
        let changed = others().find_map(|Imported { comparison, parcel, .. }| {
            comparison.miss(step, &Asking { explain: self, reading, parcel: Some(parcel) })
        });
        if let Some(miss) = changed.or_else(|| self.parent(step, reading)) {
            return miss;
        }
        if let Some(before) = earlier.and_then(|earlier| earlier.counterpart(step)).filter(|step| !step.done) {
            return Miss::Unfinished { failed: before.failed };
        }
        if let Some((cache, reason)) = self.target.imports.unusable() {
            return Miss::ImportFailed { cache, reason };
        }
        if earlier.is_some() {
            return Miss::Gone;
        }
        if let Some(Imported { cache, .. }) = others().find(|other| other.comparison.counterpart(step).is_some()) {
            return Miss::NotExported { cache: cache.clone() };
        }
        self.candidate(node, step, lease, reading).unwrap_or(Miss::First)
    }

    /// The first step that this one reads from and that ran in this build.
    fn parent(&self, step: usize, reading: Reading<'_>) -> Option<Miss> {
        let own = self.own(reading);
        let inputs = own.steps[step].inputs.iter().filter_map(stave_explain::Input::step);
        let misses = lock(&self.misses);
        for input in inputs {
            if let Some(miss) = misses.get(&self.target.joined.steps[input].node) {
                return Some(match miss {
                    below @ Miss::Parent { .. } => below.clone(),
                    miss => Miss::Parent { step: own.steps[input].name.clone(), miss: Box::new(miss.clone()) },
                });
            }
        }
        None
    }

    /// What the records of the same instruction say, where nothing is known of earlier builds.
    fn candidate(&self, node: NodeId, step: usize, lease: &Lease, reading: Reading<'_>) -> Option<Miss> {
        let op: OpDigest = op_digest(self.target.joined.graph.op(node));
        let records = lease.candidates(op.as_bytes(), 1).ok()?;
        let record = records.first()?;
        let own = lock(reading.selections).get(&node).copied();
        let inputs = &self.own(reading).steps[step].inputs;
        Some(if record.selection != own && own.is_some() {
            Miss::Files
        } else if inputs.is_empty() {
            return None;
        } else {
            Miss::OtherInputs
        })
    }

    fn owners(&self) -> &BTreeMap<NodeId, usize> {
        self.owners.get_or_init(|| ingredients::owners(&self.target))
    }

    fn key(&self, node: NodeId, reading: Reading<'_>) -> Option<CacheKey> {
        if self.target.imports.is_empty() {
            return None;
        }
        ingredients::keys(&self.target, &lock(reading.selections)).remove(&node)
    }

    /// What this build is made from. It is asked for when all has been read.
    fn own(&self, reading: Reading<'_>) -> &Arc<Ingredients> {
        self.own.get_or_init(|| {
            let seal = self.kept.as_ref().and_then(Kept::key).unwrap_or_default();
            let (selections, found) = (lock(reading.selections).clone(), lock(reading.found).clone());
            let outcomes = Outcomes { selections: &selections, found: &found };
            Arc::new(ingredients::make(&self.target, self.owners(), &outcomes, &seal))
        })
    }

    /// The builds that this one is compared with: those for the same platforms first, then the latest first.
    fn earlier(&self, reading: Reading<'_>) -> &[Comparison] {
        self.earlier.get_or_init(|| {
            let own = self.own(reading);
            let mut builds = self.kept.as_ref().map(Kept::builds).unwrap_or_default();
            builds.sort_by_key(|build| build.platforms != own.platforms);
            builds.into_iter().map(|old| Comparison::new(Arc::clone(own), old)).collect()
        })
    }

    /// The builds of other machines, as far as they have said what they were made from.
    fn imported(&self, reading: Reading<'_>, events: Report<'_>) -> &[Imported] {
        self.imported.get_or_init(|| {
            let own = self.own(reading);
            let parcels = self.target.imports.parcels(events).into_iter();
            let imported = |(cache, bytes): (String, Vec<u8>)| {
                let parcel = Parcel::read(&bytes)?;
                let comparison = Comparison::new(Arc::clone(own), Arc::clone(&parcel.build));
                Some(Imported { cache, comparison, parcel })
            };
            parcels.filter_map(imported).collect()
        })
    }

    /// Returns a list of files of this build, made if it has not been, or one that is kept.
    fn manifest(&self, side: Side, digest: &str, reading: Reading<'_>) -> Option<Arc<Manifest>> {
        if let Some(known) = lock(&self.manifests).get(digest) {
            return known.clone();
        }
        let made = match side {
            Side::New => self.made(digest, reading),
            Side::Old => None,
        };
        let found = made.or_else(|| self.kept.as_ref()?.files(digest)).map(Arc::new);
        lock(&self.manifests).insert(digest.to_owned(), found.clone());
        found
    }

    fn made(&self, digest: &str, reading: Reading<'_>) -> Option<Manifest> {
        let outside = lock(reading.outside);
        let (node, read) = outside.iter().find(|(_, read)| read.digest.hex() == digest)?;
        Some(self.list(self.target.joined.graph.op(*node), &read.selections))
    }

    fn list(&self, op: &Op, selections: &[Selection]) -> Manifest {
        ingredients::manifest(op, selections, &|context| self.source.context_name(context))
    }

    /// Keeps what this build was made from, unless the latest that is kept is the same.
    pub(crate) fn keep(&self, succeeded: bool, reading: Reading<'_>) {
        let Some(kept) = self.kept.as_ref().filter(|_| self.target.on_miss != OnMiss::Run) else { return };
        let stamp = self.stamp(succeeded, reading);
        if succeeded && kept.is_latest(&stamp) {
            return;
        }
        let mut build = Ingredients::clone(self.own(reading));
        let before = kept.builds();
        let was = |key: &str, what: &dyn Fn(&stave_explain::Step) -> bool| {
            before.iter().any(|build| build.steps.iter().any(|step| step.key == key && what(step)))
        };
        let (done, failed) = (lock(&self.done).clone(), lock(&self.failed).clone());
        for (step, joined) in build.steps.iter_mut().zip(&self.target.joined.steps) {
            step.done = succeeded || done.contains(&joined.node) || was(&step.key, &|step| step.done);
            step.failed = !step.done && (failed.contains(&joined.node) || was(&step.key, &|step| step.failed));
        }
        kept.keep(&stamp, &build, &|digest| self.manifest(Side::New, digest, reading));
    }

    /// What tells this build from one that was made from something else.
    fn stamp(&self, succeeded: bool, reading: Reading<'_>) -> String {
        let keys = ingredients::keys(&self.target, &lock(reading.selections));
        let mut hasher = Hasher::new();
        hasher.update(&KEY_SCHEMA.to_le_bytes());
        hasher.update(env!("CARGO_PKG_VERSION").as_bytes());
        hasher.update(&[u8::from(succeeded)]);
        for target in self.target.joined.targets() {
            hasher.update(keys.get(&target).map_or(&[][..], |key| key.as_bytes()));
        }
        for part in &self.target.joined.parts {
            hasher.update(part.platform.to_string().as_bytes());
            hasher.update(b"\n");
        }
        hasher.update(self.source.text.as_bytes());
        hasher.finish::<BlobDigest>().hex()
    }

    /// Returns what other machines may know of this build, to be compressed; for an image's configuration only a little.
    pub(crate) fn parcel(&self, inline: bool, reading: Reading<'_>) -> Vec<u8> {
        let own = self.own(reading);
        let digests = kept::digests(own);
        let lists = digests.into_iter().filter_map(|digest| {
            let list = self.manifest(Side::New, &digest, reading)?;
            Some((digest, list))
        });
        let max = if inline { INLINE_FILES_MAX } else { PARCEL_FILES_MAX };
        Parcel::write(own, &lists.collect::<Vec<_>>(), max)
    }
}

/// Answers what a comparison asks about files.
struct Asking<'a> {
    explain: &'a Explain<'a>,
    reading: Reading<'a>,
    parcel: Option<&'a Parcel>,
}

impl Files for Asking<'_> {
    fn manifest(&self, side: Side, digest: &str) -> Option<Arc<Manifest>> {
        match (side, self.parcel) {
            (Side::Old, Some(parcel)) => parcel.files.get(digest).cloned(),
            _ => self.explain.manifest(side, digest, self.reading),
        }
    }

    fn ignored(&self, context: &str, path: &[u8]) -> Option<Rule> {
        self.explain.source.hiding_rule(context, path)
    }
}

fn digests_of(build: &Ingredients, step: usize) -> Vec<String> {
    let reads = build.steps[step].reads.iter();
    let digest = |read: &stave_explain::Read| match read {
        stave_explain::Read::Files { digest } => Some(digest.clone()),
        stave_explain::Read::Remote { .. } => None,
    };
    reads.filter_map(digest).collect()
}
