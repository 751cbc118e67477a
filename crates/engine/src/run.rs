//! The hands of the solver: carries out the nodes of the joined plans, tells what happens, remembers what failed.

mod known;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use stave_dockerfile::plan::{BuildPlan, Step};
use stave_explain::Miss;
use stave_graph::{CacheKey, Image, NodeId, Op, TreeDigest, cache_key, op_digest};
use stave_oci::Platform;
use stave_sandbox::Exit;
use stave_solve::{Action, Event as Answer, Status};
use stave_store::{CacheLookup, CacheRecord, LayerId, Lease};

use crate::build::{BuildTarget, Report, Told, stage_name};
use crate::clue::Scene;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::event::{Event, Origin, StepId, Stream};
use crate::explain::{Explain, Reading};
use crate::joined::step_id;
use crate::log::StepLog;
use crate::memory::MemoryKill;
use crate::outcome::{BuildFailure, StepCause, StepFailure, Tally};
use crate::outside::{Found, Outside, read_contexts};
use crate::request::OnMiss;
use crate::schedule::Worker;
use crate::snapshot::{KnownSnapshot, Snapshot, SnapshotLayer};
use crate::source::Source;
use crate::steps::Sources;
use crate::steps::exec::Ran;
use crate::steps::{copy, exec, git, http, make_dir};
use crate::workbench::LeftStep;

/// One build while it runs.
pub(crate) struct Run<'a> {
    engine: &'a Engine,
    lease: &'a Lease,
    source: &'a Source,
    events: Report<'a>,
    target: BuildTarget<'a>,
    steps: BTreeMap<NodeId, Vec<usize>>,
    told: Told,
    /// What was told when the build had not begun again.
    told_before: &'a Told,
    outside: Mutex<BTreeMap<NodeId, Outside>>,
    /// The digests of it, which remain when it is used up.
    selections: Mutex<BTreeMap<NodeId, TreeDigest>>,
    /// The keys of all nodes, once they can be known.
    keys: OnceLock<BTreeMap<NodeId, CacheKey>>,
    /// What came from caches of other machines.
    imported: Mutex<BTreeSet<NodeId>>,
    /// What nobody knows by its key.
    missed: Mutex<BTreeSet<NodeId>>,
    /// What was found on the network.
    found: Mutex<BTreeMap<NodeId, Found>>,
    failure: Mutex<Option<(NodeId, Box<Failure>)>>,
    /// The first step that failed, and what it left.
    left: Mutex<Option<LeftStep>>,
    explain: Explain<'a>,
    states: Mutex<BTreeMap<usize, State>>,
    stopping: AtomicBool,
    ran: AtomicU32,
    cached: AtomicU32,
    /// The nodes that make layers of the image.
    of_image: BTreeSet<NodeId>,
    /// Takes each of those layers as soon as it is there.
    made: Sender<LayerId>,
}

/// Why a node failed.
struct Failure {
    cause: StepCause,
    last_lines: Vec<String>,
    log: Option<std::path::PathBuf>,
    took: Duration,
    killed: Option<MemoryKill>,
    /// What the node was given, if it has come so far.
    inputs: Vec<Vec<LayerId>>,
}

/// How far a step has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    Done,
    Cached,
    Failed,
}

impl Failure {
    /// The build may only use what is known, and this step is not.
    fn missed(miss: Miss) -> Box<Self> {
        let cause = StepCause::Missed(Box::new(miss));
        Box::new(Self {
            cause,
            last_lines: Vec::new(),
            log: None,
            took: Duration::ZERO,
            killed: None,
            inputs: Vec::new(),
        })
    }
}

impl From<EngineError> for Box<Failure> {
    fn from(error: EngineError) -> Self {
        Self::new(Failure {
            cause: StepCause::Refused(error),
            last_lines: Vec::new(),
            log: None,
            took: Duration::ZERO,
            killed: None,
            inputs: Vec::new(),
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Run<'a> {
    pub(crate) fn new(
        engine: &'a Engine,
        lease: &'a Lease,
        source: &'a Source,
        target: BuildTarget<'a>,
        events: Report<'a>,
        (made, told_before): (Sender<LayerId>, &'a Told),
    ) -> Self {
        Self {
            engine,
            lease,
            source,
            events,
            target,
            steps: target.joined.steps_by_node(),
            told: Told::default(),
            told_before,
            outside: Mutex::default(),
            selections: Mutex::default(),
            keys: OnceLock::new(),
            imported: Mutex::default(),
            missed: Mutex::default(),
            found: Mutex::default(),
            failure: Mutex::default(),
            left: Mutex::default(),
            explain: Explain::new(engine, source, target),
            states: Mutex::default(),
            stopping: AtomicBool::new(false),
            ran: AtomicU32::new(0),
            cached: AtomicU32::new(0),
            of_image: target.joined.layer_makers(),
            made,
        }
    }

    fn reading(&self) -> Reading<'_> {
        Reading { selections: &self.selections, found: &self.found, outside: &self.outside }
    }

    fn planned(&self, index: usize) -> &Step {
        self.target.joined.steps[index].planned()
    }

    fn tell(&self, node: NodeId, event: impl Fn(StepId) -> Event) {
        for &index in self.steps.get(&node).into_iter().flatten() {
            let event = event(step_id(index));
            let state = match event {
                Event::StepStarted { .. } => Some(State::Running),
                Event::StepFinished { .. } => Some(State::Done),
                Event::StepCached { .. } => Some(State::Cached),
                Event::StepFailed { .. } => Some(State::Failed),
                _ => None,
            };
            if let Some(state) = state {
                lock(&self.states).insert(index, state);
            }
            (self.events)(event);
        }
    }

    /// What became of all steps but those of `failed`.
    fn tally(&self, failed: Option<NodeId>) -> Tally {
        let own = failed.and_then(|node| self.steps.get(&node)).map_or(&[][..], Vec::as_slice);
        let (states, mut tally) = (lock(&self.states), Tally::default());
        for (index, line) in self.target.joined.lines(&|id| id.to_string()).into_iter().enumerate() {
            match states.get(&index) {
                _ if own.contains(&index) => {}
                Some(State::Done) => tally.done.push(line),
                Some(State::Cached) => tally.cached.push(line),
                Some(State::Running | State::Failed) => tally.cancelled.push(line),
                None => tally.unstarted.push(line),
            }
        }
        tally
    }

    /// Tells that a node and all below it need not run, each once, in the order of the file.
    fn tell_cached(&self, node: NodeId) {
        let mut told = lock(&self.told);
        let news: Vec<NodeId> =
            self.target.joined.graph.reachable(node).into_iter().filter(|&node| told.insert(node)).collect();
        let steps: Vec<NodeId> = news.into_iter().filter(|node| self.steps.contains_key(node)).collect();
        let keys: Vec<CacheKey> = steps.iter().map(|&node| self.key(node)).collect();
        let ids: Vec<[u8; 32]> = keys.iter().map(|key| *key.as_bytes()).collect();
        // What is not known is not told; nothing fails for it.
        let costs = self.lease.costs(&ids).unwrap_or_default();
        let imported = lock(&self.imported);
        for (place, (node, key)) in steps.into_iter().zip(keys).enumerate() {
            let count = self.steps.get(&node).map_or(0, Vec::len);
            self.cached.fetch_add(u32::try_from(count).unwrap_or(u32::MAX), Ordering::Relaxed);
            if !lock(self.told_before).insert(node) {
                continue;
            }
            let saved = costs.get(place).copied().flatten();
            let origin = if imported.contains(&node) { Origin::Imported } else { Origin::Local };
            self.tell(node, |step| Event::StepCached { step, saved, origin, result: key.to_string() });
        }
    }

    /// Returns the key of a node. All that is read outside the graph is known by the time that anything is looked up.
    fn key(&self, node: NodeId) -> CacheKey {
        self.keys.get_or_init(|| {
            let (graph, selections) = (&self.target.joined.graph, lock(&self.selections));
            let mut keys = BTreeMap::new();
            for node in graph.reachable_from(&self.target.joined.wanted()) {
                let op = graph.op(node);
                let inputs: Vec<CacheKey> = op.inputs().map(|input| keys[&input]).collect();
                let selection = op.reads_outside().then(|| selections.get(&node)).flatten();
                if op.reads_outside() == selection.is_some() {
                    keys.insert(node, cache_key(op, &inputs, selection));
                }
            }
            keys
        })[&node]
    }

    fn fail(&self, node: NodeId, failure: Box<Failure>) -> Answer<KnownSnapshot> {
        lock(&self.failure).get_or_insert((node, failure));
        Answer::Failed { node }
    }

    fn digest(&self, node: NodeId) -> Result<TreeDigest, EngineError> {
        let outside = match self.target.joined.graph.op(node) {
            Op::Http(operation) => {
                let (digest, file) = http::digest(self.engine, self.lease, operation, self.target.grants, self.events)?;
                Outside::on_network(digest, file.map_or(Found::Nothing, Found::File))
            }
            Op::Git(operation) => {
                let (digest, commit) =
                    git::digest(self.engine, self.lease, operation, self.target.grants, self.events)?;
                Outside::on_network(digest, Found::Commit(commit))
            }
            op => read_contexts(self.source, op)?,
        };
        let digest = outside.digest;
        lock(&self.selections).insert(node, digest);
        if outside.found != Found::Nothing {
            lock(&self.found).insert(node, outside.found.clone());
        }
        lock(&self.outside).insert(node, outside);
        Ok(digest)
    }

    fn record(
        &self,
        node: NodeId,
        key: CacheKey,
        (selection, took): (Option<TreeDigest>, Option<Duration>),
        inputs: &[Snapshot],
        result: &Snapshot,
    ) -> Result<(), EngineError> {
        let title = self.steps.get(&node).and_then(|steps| steps.first()).map(|&index| &self.planned(index).title);
        let now = (self.engine.settings.now)();
        let record = CacheRecord {
            key: *key.as_bytes(),
            op: *op_digest(self.target.joined.graph.op(node)).as_bytes(),
            inputs: inputs.iter().map(|input| input.layers.to_vec()).collect(),
            selection,
            snapshot: result.layers.to_vec(),
            title: title.cloned().unwrap_or_default(),
            took,
            created: now,
            last_used: now,
        };
        Ok(self.lease.record(&record)?)
    }

    fn execute(
        &self,
        node: NodeId,
        key: CacheKey,
        selection: Option<TreeDigest>,
        known: &[KnownSnapshot],
    ) -> Result<KnownSnapshot, Box<Failure>> {
        if self.stopping.load(Ordering::SeqCst) {
            return Err(EngineError::Interrupted.into());
        }
        self.engine.go_on()?;
        let op = self.target.joined.graph.op(node);
        if let Op::Image(image) = op {
            if let Some(away) = self.base_away(node, image)? {
                self.tell_base(node, &key.to_string(), false);
                return Ok(away);
            }
            return self.base(node, key, image).map(KnownSnapshot::from);
        }
        if let (Op::Merge(_), [lower, upper]) = (op, known) {
            let result = KnownSnapshot::joined(lower, upper);
            // What is elsewhere is remembered when it comes.
            if let (Some(here), Some(lower), Some(upper)) = (result.here(), lower.here(), upper.here()) {
                self.record(node, key, (selection, None), &[lower, upper], &here)?;
            }
            return Ok(result);
        }
        if let (Op::After(_), [parent, others @ ..]) = (op, known) {
            let others: Option<Vec<Snapshot>> = others.iter().map(KnownSnapshot::here).collect();
            if let (Some(here), Some(others)) = (parent.here(), others) {
                let inputs: Vec<Snapshot> = [here.clone()].into_iter().chain(others).collect();
                self.record(node, key, (selection, None), &inputs, &here)?;
            }
            return Ok(parent.clone());
        }
        let nothing = Snapshot { layers: [].into() };
        if matches!(op, Op::Scratch) {
            return Ok(nothing.into());
        }
        let inputs = &self.bring_inputs(node, known)?[..];
        let (parent, others) = inputs.split_first().unwrap_or((&nothing, &[]));
        let miss = self.explain.miss(node, self.lease, self.reading(), self.events);
        if let Some(miss) = miss {
            self.tell(node, |step| Event::StepMissed { step, miss: miss.clone() });
            if self.target.on_miss == OnMiss::Fail {
                return Err(Failure::missed(miss));
            }
        }
        lock(&self.told).insert(node);
        self.tell(node, |step| Event::StepStarted { step });
        let started = Instant::now();
        let layer = self.step(node, parent, others, started).map_err(|failure| {
            let took = started.elapsed();
            let message = crate::told::why(&failure.cause, failure.killed.as_ref());
            self.tell(node, |step| Event::StepFailed { step, took, message: message.clone() });
            self.leave(node, &parent.layers, None);
            let inputs = inputs.iter().map(|input| input.layers.to_vec()).collect();
            Box::new(Failure { took, inputs, ..*failure })
        })?;
        let result = parent.with(layer);
        let took = started.elapsed();
        self.record(node, key, (selection, Some(took)), inputs, &result)?;
        if self.of_image.contains(&node) {
            // Who takes it may have ended; then it is digested with the rest.
            let _sent = self.made.send(layer);
        }
        let steps = self.steps.get(&node).map_or(0, Vec::len);
        self.ran.fetch_add(u32::try_from(steps).unwrap_or(u32::MAX), Ordering::Relaxed);
        self.explain.done([node]);
        self.tell(node, |step| Event::StepFinished { step, took, result: key.to_string() });
        Ok(result.into())
    }

    /// Has the layers of a base here.
    fn base(&self, node: NodeId, key: CacheKey, image: &Image) -> Result<Snapshot, Box<Failure>> {
        let (started, result) = (Instant::now(), key.to_string());
        let is_told = self.tell_base(node, &result, self.target.bases.is_remote(image));
        let layers = self.engine.base_layers(self.lease, self.target.bases, image, self.events);
        let layers = layers.map_err(Box::<Failure>::from);
        let took = started.elapsed();
        match &layers {
            _ if !is_told => {}
            Ok(_) => self.tell(node, |step| Event::StepFinished { step, took, result: result.clone() }),
            Err(failure) => {
                let message = crate::told::why(&failure.cause, failure.killed.as_ref());
                self.tell(node, |step| Event::StepFailed { step, took, message: message.clone() });
            }
        }
        Ok(Snapshot { layers: layers? })
    }

    /// Tells that a base is known if its image is in the store, else that it begins. Returns whether its end is to be told.
    fn tell_base(&self, node: NodeId, result: &str, is_remote: bool) -> bool {
        // Held to the end, so that nothing that reads the base is told of before it.
        let mut told = lock(&self.told);
        if !(told.insert(node) && lock(self.told_before).insert(node)) {
            return false;
        }
        if is_remote {
            self.tell(node, |step| Event::StepStarted { step });
        } else {
            let origin = Origin::Local;
            self.tell(node, |step| Event::StepCached { step, saved: None, origin, result: result.to_owned() });
        }
        is_remote
    }

    /// Makes the layer of a step on `parent`; `others` are the results of its further inputs.
    fn step(
        &self,
        node: NodeId,
        parent: &Snapshot,
        others: &[Snapshot],
        started: Instant,
    ) -> Result<LayerId, Box<Failure>> {
        let (engine, lease) = (self.engine, self.lease);
        let outside = lock(&self.outside).remove(&node);
        let (selections, found) =
            outside.map_or((Vec::new(), Found::Nothing), |outside| (outside.selections, outside.found));
        let sources = Sources { contexts: selections, trees: others.iter().map(|input| &*input.layers).collect() };
        match self.target.joined.graph.op(node) {
            Op::Exec(operation) => self.exec(node, operation, parent, sources, started),
            Op::Copy(operation) => {
                // Without the cache, nothing of an earlier build may be in the result, not even a link.
                let kept = u32::from(self.target.use_cache && !self.target.rerun.contains(&node));
                let op = op_digest(self.target.joined.graph.op(node));
                let previous = lease.candidates(op.as_bytes(), kept).map_err(EngineError::from)?;
                let remark = |text: &str| self.note(text);
                Ok(copy::run(engine, lease, operation, &parent.layers, sources, previous.first(), &remark)?)
            }
            Op::MakeDir(operation) => Ok(make_dir::run(engine, lease, operation, &parent.layers)?),
            Op::Http(operation) => {
                let known = if let Found::File(file) = found { Some(file) } else { None };
                Ok(http::run(engine, lease, operation, known, (self.target.grants, self.events))?)
            }
            Op::Git(operation) => {
                let known = if let Found::Commit(commit) = found { Some(commit) } else { None };
                Ok(git::run(engine, lease, operation, known, (self.target.grants, self.events))?)
            }
            Op::Scratch | Op::Image(_) | Op::Merge(_) | Op::After(_) => {
                Err(EngineError::request(format!("{node} is no step"), None).into())
            }
        }
    }

    /// Nobody knows the result of a node by its key.
    fn missed(&self, node: NodeId) -> Answer<KnownSnapshot> {
        lock(&self.missed).insert(node);
        Answer::KeyMissed { node }
    }

    pub(crate) fn note(&self, message: &str) {
        (self.events)(Event::Notice { message: message.to_owned() });
    }

    fn exec(
        &self,
        node: NodeId,
        operation: &stave_graph::Exec,
        parent: &Snapshot,
        sources: Sources<'_>,
        started: Instant,
    ) -> Result<LayerId, Box<Failure>> {
        let number = self.steps.get(&node).and_then(|steps| steps.first()).copied().unwrap_or(node.index());
        let directory = self.engine.store.root().join(self.engine.store.build_logs_rel_path(self.target.build));
        let mut log = StepLog::new(directory.join(format!("{}.log", number + 1)));
        let report = |stream: Stream, bytes: &[u8]| {
            self.tell(node, |step| Event::StepOutput { step, stream, bytes: bytes.to_vec() });
        };
        let go_on =
            || if self.stopping.load(Ordering::SeqCst) { Err(EngineError::Interrupted) } else { self.engine.go_on() };
        let step = self.steps.get(&node).and_then(|steps| steps.first());
        let platform = step.map_or_else(Platform::host, |&index| self.planned(index).platform.clone());
        // Others are ended because of the first that failed.
        let keeps = || !self.stopping.load(Ordering::SeqCst) && lock(&self.left).is_none();
        let tell_note = |text: &str| self.note(text);
        let mut watch = exec::Watch {
            log: &mut log,
            report: &report,
            note: &tell_note,
            go_on: &go_on,
            keeps: &keeps,
            left: None,
            killed: None,
        };
        let ran = exec::run(
            self.engine,
            self.lease,
            (operation, &platform),
            &parent.layers,
            sources,
            self.target.grants,
            &mut watch,
        );
        let left = watch.left.take();
        if left.is_some() {
            self.leave(node, &parent.layers, left);
        }
        let killed = watch.killed.take();
        let cause = match ran {
            Ok(Ran::Layer(layer)) => return Ok(layer),
            Ok(Ran::Failed(Exit::Code(code))) => StepCause::Exit(code),
            Ok(Ran::Failed(Exit::Signal { number, .. })) => StepCause::Signal(number),
            Err(error) => StepCause::Refused(error),
        };
        let (last_lines, log) = (log.last_lines(), log.path().map(Into::into));
        Err(Box::new(Failure { cause, last_lines, log, took: started.elapsed(), killed, inputs: Vec::new() }))
    }

    /// Remembers what the first step that failed has left; nothing beside its parent, if nobody has said more.
    fn leave(&self, node: NodeId, parent: &[LayerId], left: Option<exec::Left>) {
        let Some(step) = self.steps.get(&node).and_then(|steps| steps.first()).copied() else { return };
        if left.is_some() || !self.stopping.load(Ordering::SeqCst) {
            let state = LeftStep { step, parent: parent.to_vec(), left, log: format!("{}.log", step + 1) };
            lock(&self.left).get_or_insert(state);
        }
    }

    /// Returns what the first step that failed has left.
    pub(crate) fn take_left(&self) -> Option<LeftStep> {
        lock(&self.left).take()
    }

    /// Returns the keys of all nodes, if they are known already.
    pub(crate) fn known_keys(&self) -> Option<&BTreeMap<NodeId, CacheKey>> {
        self.keys.get()
    }

    /// Returns the digests of what was read outside the graph, so far.
    pub(crate) fn selections(&self) -> BTreeMap<NodeId, TreeDigest> {
        lock(&self.selections).clone()
    }

    /// Returns the time of each entry of a plan's history, in seconds since 1970: when its layer was made, and for an
    /// entry without a layer, when the one before it was.
    pub(crate) fn times(&self, plan: &BuildPlan, target: &KnownSnapshot) -> Result<Vec<i64>, EngineError> {
        let made = plan.history.iter().filter(|item| item.node.is_some()).count();
        let own = target.layers.len().saturating_sub(made);
        let mut times = Vec::new();
        for layer in &target.layers[own..] {
            match layer {
                SnapshotLayer::Here(layer) => times.extend(self.engine.store.layers_created(&[*layer])?),
                SnapshotLayer::There(remote) => times.push(remote.created().unwrap_or_default()),
            }
        }
        let mut created = times.into_iter();
        let base = plan.base.as_ref().and_then(|base| self.target.bases.created(base));
        let mut last = base.or(created.as_slice().first().copied()).unwrap_or_default();
        let mut times = Vec::new();
        for item in &plan.history {
            if item.node.is_some() {
                last = created.next().unwrap_or(last);
            }
            times.push(last);
        }
        Ok(times)
    }

    /// Keeps what the build was made from, for the next one to be compared with.
    pub(crate) fn keep(&self, succeeded: bool) {
        self.explain.keep(succeeded, self.reading());
    }

    /// Returns what other machines may know of that; with an image's configuration only a little of it travels.
    pub(crate) fn parcel(&self, inline: bool) -> Vec<u8> {
        self.explain.parcel(inline, self.reading())
    }

    /// Returns how many steps ran and how many were known.
    pub(crate) fn counts(&self) -> (u32, u32) {
        (self.ran.load(Ordering::Relaxed), self.cached.load(Ordering::Relaxed))
    }

    /// Returns the first command that wants what the caller has not allowed, and remembers why: what is known of earlier
    /// builds does not change what a build may do.
    pub(crate) fn forbidden(&self) -> Option<NodeId> {
        let graph = &self.target.joined.graph;
        let refused =
            graph.reachable_from(&self.target.joined.wanted()).into_iter().find_map(|node| match graph.op(node) {
                Op::Exec(operation) => {
                    exec::refuse_what_is_not_allowed(operation, self.target.grants).err().map(|error| (node, error))
                }
                _ => None,
            });
        let (node, error) = refused?;
        self.fail(node, error.into());
        Some(node)
    }

    /// Returns what was found on the network.
    pub(crate) fn found(&self) -> BTreeMap<NodeId, Found> {
        lock(&self.found).clone()
    }

    /// Returns the digests of what was read outside the graph.
    pub(crate) fn into_selections(self) -> BTreeMap<NodeId, TreeDigest> {
        self.selections.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns why the build failed, of which `node` was the first sign.
    pub(crate) fn into_failure(self, node: NodeId) -> BuildFailure {
        let failure = lock(&self.failure).take();
        let Some((node, failure)) = failure else {
            return EngineError::request(format!("{node:?} failed without a cause"), None).into();
        };
        if let StepCause::Refused(EngineError::Interrupted) = failure.cause {
            return BuildFailure::Interrupted;
        }
        // What is fetched for a step is no step of its own.
        let graph = &self.target.joined.graph;
        let shown = if self.steps.contains_key(&node) {
            Some(node)
        } else {
            self.steps.keys().copied().find(|above| graph.reachable(*above).contains(&node))
        };
        let of = |node: NodeId| self.steps.get(&node)?.first().map(|&index| self.planned(index));
        let step = shown.and_then(of);
        let place = shown.and_then(|node| self.steps.get(&node)?.first().copied());
        let scene = Scene {
            engine: self.engine,
            source: self.source,
            graph,
            op: graph.op(node),
            cause: &failure.cause,
            last_lines: &failure.last_lines,
            inputs: &failure.inputs,
            platform: step.map_or_else(Platform::host, |step| step.platform.clone()).to_string(),
            maker: &of,
        };
        let (clue, tally) = (scene.clue(), self.tally(shown));
        let span = step.map_or_else(|| self.target.joined.span(node), |step| step.span);
        BuildFailure::Step(Box::new(StepFailure {
            step: place.map(step_id),
            build: self.target.build.to_string(),
            name: self.source.name.clone(),
            text: self.source.text.clone(),
            span,
            platform: step.and_then(|step| self.target.joined.shown_platform(step)),
            stage: step.map(|step| stage_name(&step.stage)).unwrap_or_default(),
            title: step.map(|step| step.title.clone()).unwrap_or_default(),
            cause: failure.cause,
            last_lines: failure.last_lines,
            log: failure.log,
            took: failure.took,
            killed: failure.killed,
            clue,
            tally,
        }))
    }
}

impl Worker<KnownSnapshot> for Run<'_> {
    fn perform(&self, action: Action<KnownSnapshot>) -> Answer<KnownSnapshot> {
        match action {
            Action::Digest { node } => match self.digest(node) {
                Ok(digest) => Answer::Digested { node, digest },
                Err(error) => self.fail(node, error.into()),
            },
            Action::LookUpContent { node, key, inputs } => match self.look_up_content(node, key, &inputs) {
                Ok(Some(result)) => Answer::ContentHit { node, result: result.into() },
                Ok(None) => Answer::ContentMissed { node },
                Err(error) => self.fail(node, error.into()),
            },
            Action::Execute { node, key, selection, inputs } => match self.execute(node, key, selection, &inputs) {
                Ok(result) => Answer::Executed { node, result },
                Err(failure) => self.fail(node, failure),
            },
            // What is here was looked up before.
            Action::LookUp { node, key } => match self.import(node, key) {
                Ok(Some(result)) => Answer::KeyHit { node, result },
                Ok(None) => self.missed(node),
                Err(error) => self.fail(node, error.into()),
            },
            Action::Cancel { node } => Answer::Failed { node },
        }
    }

    fn look_up(&self, action: Action<KnownSnapshot>) -> Result<Answer<KnownSnapshot>, Action<KnownSnapshot>> {
        let Action::LookUp { node, key } = action else {
            unreachable!("the schedule calls this for look-ups only");
        };
        match self.lease.lookup(key.as_bytes()) {
            Ok(CacheLookup::Hit(record)) => {
                Ok(Answer::KeyHit { node, result: Snapshot { layers: record.snapshot.into() }.into() })
            }
            Ok(gone @ (CacheLookup::Miss | CacheLookup::Evicted { .. })) => {
                if let CacheLookup::Evicted { reason, .. } = gone {
                    self.explain.evicted(node, reason);
                }
                if self.target.imports.is_empty() { Ok(self.missed(node)) } else { Err(action) }
            }
            Err(error) => Ok(self.fail(node, EngineError::from(error).into())),
        }
    }

    fn stop(&self) {
        // What runs when the build has to begin again is not lost: then its result is known.
        if self.target.imports.has_gap() {
            return;
        }
        self.stopping.store(true, Ordering::SeqCst);
        self.engine.cancel().signal(rustix::process::Signal::KILL);
    }

    fn changed(&self, node: NodeId, status: Status) {
        if status == Status::Hit {
            self.explain.done(self.target.joined.graph.reachable(node));
            self.tell_cached(node);
        }
    }
}
