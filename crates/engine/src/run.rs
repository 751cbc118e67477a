//! The hands of the solver: carries out the nodes of the joined plans, tells what happens, remembers what failed.
//!
//! `known` is what needs no work, `work` the work, `left` what remains of a run when it has ended.

mod known;
mod left;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use stave_dockerfile::plan::Step;
use stave_explain::Miss;
use stave_graph::{CacheKey, NodeId, Op, TreeDigest, cache_key, op_digest};
use stave_solve::{Action, Event as Answer, Status};
use stave_store::{CacheLookup, CacheRecord, LayerId, Lease};

use crate::build::{BuildTarget, Report, Told};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::event::{Event, Origin, StepId};
use crate::explain::{Explain, Reading};
use crate::joined::step_id;
use crate::memory::MemoryKill;
use crate::outcome::{StepCause, Tally};
use crate::outside::{Found, Outside, read_contexts};
use crate::requests::Requests;
use crate::schedule::Worker;
use crate::snapshot::{KnownSnapshot, Snapshot};
use crate::source::Source;
use crate::steps::{exec, git, http};
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
    /// The commands whose requests are recorded; of most builds none.
    recorded: BTreeSet<NodeId>,
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
    /// What it did to the first of that, if it is kept.
    left: Option<LayerId>,
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
            left: None,
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
            left: None,
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
            recorded: target.joined.recorded(),
            made,
        }
    }

    fn reading(&self) -> Reading<'_> {
        Reading { selections: &self.selections, found: &self.found, outside: &self.outside }
    }

    /// Whether a step was carried out, or its result was known.
    pub(crate) fn has_begun(&self, index: usize) -> bool {
        lock(&self.states).contains_key(&index)
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
            let is_base = matches!(self.target.joined.graph.op(node), Op::Image(_) | Op::Scratch);
            let count = self.steps.get(&node).filter(|_| !is_base).map_or(0, Vec::len);
            self.cached.fetch_add(u32::try_from(count).unwrap_or(u32::MAX), Ordering::Relaxed);
            if !lock(self.told_before).insert(node) {
                continue;
            }
            let saved = costs.get(place).copied().flatten();
            let origin = if imported.contains(&node) { Origin::Imported } else { Origin::Local };
            self.tell(node, |step| Event::StepCached { step, saved, origin, result: key.to_string() });
            let found = lock(&self.found).get(&node).cloned();
            if let Some(Found::Requests(requests)) = found {
                self.tell_requests(node, &requests);
            }
        }
    }

    /// Tells what a command asked of the network, if anything.
    fn tell_requests(&self, node: NodeId, requests: &Requests) {
        let requests = requests.lines();
        if !requests.is_empty() {
            self.tell(node, |step| Event::StepRequests { step, requests: requests.clone() });
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
        let now = self.engine.now();
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

    /// Nobody knows the result of a node by its key.
    fn missed(&self, node: NodeId) -> Answer<KnownSnapshot> {
        lock(&self.missed).insert(node);
        Answer::KeyMissed { node }
    }

    pub(crate) fn note(&self, message: &str) {
        (self.events)(Event::Notice { message: message.to_owned() });
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
            Ok(CacheLookup::Hit(_)) if !self.is_recorded_below(node) => Ok(self.missed(node)),
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
