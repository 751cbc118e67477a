//! The work on one node: a base is had here, a step makes its layer, and what it ended with is told and recorded.

use std::sync::atomic::Ordering;
use std::time::Instant;

use stave_graph::{CacheKey, Image, NodeId, Op, TreeDigest, op_digest};
use stave_oci::Platform;
use stave_sandbox::Exit;
use stave_store::LayerId;

use super::{Failure, Run, lock};
use crate::error::EngineError;
use crate::event::{Event, Origin, Stream};
use crate::log::StepLog;
use crate::outcome::StepCause;
use crate::outside::Found;
use crate::request::OnMiss;
use crate::snapshot::{KnownSnapshot, Snapshot};
use crate::steps::exec::Ran;
use crate::steps::{Sources, copy, exec, git, http, make_dir};
use crate::workbench::LeftStep;

impl Run<'_> {
    /// Carries out a node, whose inputs are known: returns its files.
    pub(super) fn execute(
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
            if message.is_some() {
                self.explain.failed(node);
            }
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
            recorder: self.target.recorder,
            asked: None,
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
        self.target.recorder.tell(self.events);
        let left = watch.left.take();
        let left_layer = left.as_ref().map(|left| left.layer);
        if left.is_some() {
            self.leave(node, &parent.layers, left);
        }
        let killed = watch.killed.take();
        let asked = watch.asked.take();
        if let Some(asked) = &asked {
            self.tell_requests(node, asked);
        }
        let cause = match ran {
            Ok(Ran::Layer(layer)) => {
                if let Some(asked) = asked {
                    lock(&self.found).insert(node, Found::Requests(asked));
                }
                return Ok(layer);
            }
            Ok(Ran::Failed(Exit::Code(code))) => StepCause::Exit(code),
            Ok(Ran::Failed(Exit::Signal { number, .. })) => StepCause::Signal(number),
            Err(error) => StepCause::Refused(error),
        };
        let (last_lines, log) = (log.last_lines(), log.path().map(Into::into));
        Err(Box::new(Failure {
            cause,
            last_lines,
            log,
            took: started.elapsed(),
            killed,
            inputs: Vec::new(),
            left: left_layer,
        }))
    }

    /// Remembers what the first step that failed has left; nothing beside its parent, if nobody has said more.
    fn leave(&self, node: NodeId, parent: &[LayerId], left: Option<exec::Left>) {
        let Some(step) = self.steps.get(&node).and_then(|steps| steps.first()).copied() else { return };
        if left.is_some() || !self.stopping.load(Ordering::SeqCst) {
            let state = LeftStep { step, parent: parent.to_vec(), left, log: format!("{}.log", step + 1) };
            lock(&self.left).get_or_insert(state);
        }
    }
}
