//! What a run leaves: what it read and found, when its layers were made, how many steps ran, and why it failed.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use stave_dockerfile::plan::BuildPlan;
use stave_graph::{CacheKey, NodeId, TreeDigest};
use stave_oci::Platform;

use super::{Run, lock};
use crate::build::stage_name;
use crate::clue::Scene;
use crate::error::EngineError;
use crate::joined::step_id;
use crate::outcome::{BuildFailure, StepCause, StepFailure};
use crate::outside::Found;
use crate::snapshot::{KnownSnapshot, SnapshotLayer};
use crate::workbench::LeftStep;

impl Run<'_> {
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
            left: failure.left,
            title: step.map_or("", |step| &step.title),
            start: step.map_or(0, |step| step.span.range().start),
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
