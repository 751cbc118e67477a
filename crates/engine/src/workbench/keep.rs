//! The end of a build: what is known of its steps is written down, and what a failed step left is kept.

use std::collections::BTreeMap;
use std::os::unix::fs::OpenOptionsExt as _;

use stave_graph::{CacheKey, Graph, NodeId, Op, TreeDigest, cache_key};
use stave_store::{LayerId, Lease};

use super::DESCRIPTION_FILE;
use super::description::{Described, Description, Failed, Files, KeptCache, KeptMount, Operation, VERSION};
use crate::build::{BuildTarget, stage_name};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::joined::JoinedStep;
use crate::run::Run;
use crate::source::Source;
use crate::steps::exec::Left;

/// Failed states that are kept.
const STATES_KEPT: usize = 5;

/// The first step that failed, and what it left.
pub(crate) struct LeftStep {
    /// The step's place in the list.
    pub(crate) step: usize,
    /// The files in which it was to run.
    pub(crate) parent: Vec<LayerId>,
    /// What it did to them; nothing if it is no command, or was never started.
    pub(crate) left: Option<Left>,
    /// Its log's name in the build's directory.
    pub(crate) log: String,
}

/// How the steps of a build came to their end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// All have results.
    Built,
    /// One failed, and those that had not begun never will.
    Failed,
    /// Somebody had enough of it.
    Interrupted,
}

/// Writes down what is known of a build's steps, and has its entry keep what is left of the one that failed.
pub(crate) fn keep(
    engine: &Engine,
    lease: &Lease,
    (target, source): (&BuildTarget<'_>, &Source),
    run: &Run<'_>,
    (end, left): (End, Option<LeftStep>),
) -> Result<(), EngineError> {
    let graph = &target.joined.graph;
    let nodes = graph.reachable_from(&target.joined.targets());
    // Where anything was in the cache, they were computed to say so.
    let own = if run.known_keys().is_none() { keys(graph, &nodes, &run.selections()) } else { BTreeMap::new() };
    let keys = run.known_keys().unwrap_or(&own);
    let files = |node: NodeId| files(graph, keys, node);
    // A linked copy is made for itself, and the node above merges it.
    let merge = |node: &NodeId| if let Op::Merge(merge) = graph.op(*node) { Some((merge.upper, *node)) } else { None };
    let known = Known { graph, merged: nodes.iter().filter_map(merge).collect(), starts: starts(&source.text) };
    let step = |(index, step): (usize, &JoinedStep)| Described {
        unreached: end != End::Built && !run.has_begun(index),
        ..known.step(step, &files)
    };
    let steps = target.joined.steps.iter().enumerate().map(step).collect();
    let interrupted = end == End::Interrupted;
    let mut description = Description { version: VERSION, name: source.name.clone(), steps, failed: None, interrupted };
    if let Some(left) = left {
        let failed = failed(left);
        let layers: Vec<LayerId> = failed.layers().filter_map(|layer| LayerId::from_hex(&layer.0)).collect();
        lease.keep_state(target.build, &layers, STATES_KEPT)?;
        description.failed = Some(failed);
    }
    let path = engine.store.root().join(engine.store.build_logs_rel_path(target.build)).join(DESCRIPTION_FILE);
    let bytes = serde_json::to_vec(&description).expect("it has only text keys");
    let mut options = std::fs::OpenOptions::new();
    let open = options.write(true).create(true).truncate(true).mode(0o600).open(&path);
    open.and_then(|mut file| std::io::Write::write_all(&mut file, &bytes))
        .map_err(|source| EngineError::io("write", path, source))
}

fn failed(LeftStep { step, parent, left, log }: LeftStep) -> Failed {
    let (mut changes, mut mounts, mut caches) = (None, Vec::new(), Vec::new());
    if let Some(left) = left {
        changes = Some(left.layer.into());
        let mount = |mount: crate::steps::mounts::LeftMount| KeptMount {
            mount: mount.mount,
            layers: mount.layers.into_iter().map(Into::into).collect(),
            path: mount.path,
        };
        mounts = left.mounts.into_iter().map(mount).collect();
        let cache = |cache: crate::steps::mounts::LeftCache| KeptCache {
            mount: cache.mount,
            name: cache.name,
            path: cache.path,
        };
        caches = left.caches.into_iter().map(cache).collect();
    }
    Failed { step, parent: parent.into_iter().map(Into::into).collect(), changes, mounts, caches, log: Some(log) }
}

/// Returns the keys of all nodes whose inputs are known.
fn keys(graph: &Graph, nodes: &[NodeId], selections: &BTreeMap<NodeId, TreeDigest>) -> BTreeMap<NodeId, CacheKey> {
    let mut keys: BTreeMap<NodeId, CacheKey> = BTreeMap::new();
    // A node's inputs come before itself.
    for &node in nodes {
        let op = graph.op(node);
        let inputs: Option<Vec<CacheKey>> = op.inputs().map(|input| keys.get(&input).copied()).collect();
        let selection = selections.get(&node);
        if let Some(inputs) = inputs.filter(|_| !op.reads_outside() || selection.is_some()) {
            keys.insert(node, cache_key(op, &inputs, selection));
        }
    }
    keys
}

fn files(graph: &Graph, keys: &BTreeMap<NodeId, CacheKey>, node: NodeId) -> Files {
    match graph.op(node) {
        Op::Scratch => Files::Nothing,
        Op::Image(image) => Files::Image(image.id.to_string()),
        _ => keys.get(&node).map_or(Files::Unknown, |key| Files::Result(stave_oci::digest::hex(key.as_bytes()))),
    }
}

/// What steps are described with.
struct Known<'a> {
    graph: &'a Graph,
    /// The nodes that merge the results of others.
    merged: BTreeMap<NodeId, NodeId>,
    /// Where the lines of the Dockerfile start.
    starts: Vec<usize>,
}

impl Known<'_> {
    fn step(&self, step: &JoinedStep, files: &dyn Fn(NodeId) -> Files) -> Described {
        let (planned, op) = (step.planned(), self.graph.op(step.node));
        let merge = self.merged.get(&step.node).map(|node| (*node, self.graph.op(*node)));
        let (before, after) = match (op, merge) {
            (_, Some((node, Op::Merge(merge)))) => (files(merge.lower), files(node)),
            // What comes from outside has nothing below it.
            (Op::Image(_) | Op::Scratch, _) => (Files::Nothing, files(step.node)),
            (op, _) => (op.inputs().next().map_or(Files::Nothing, files), files(step.node)),
        };
        let operation = match (op, &planned.world) {
            (Op::Exec(exec), _) => Operation::of_command(exec, files),
            (_, Some(world)) => Operation::of_world(world.env.clone(), world.cwd.clone(), world.user.clone()),
            (_, None) => Operation::of_world(Vec::new(), "/".to_owned(), String::new()),
        };
        let line = |at: u32| self.starts.partition_point(|start| *start <= at as usize);
        Described {
            platform: planned.platform.to_string(),
            stage: stage_name(&planned.stage),
            stage_index: planned.stage.index,
            number: planned.number,
            of: planned.of,
            title: planned.title.clone(),
            lines: (line(planned.span.start), line(planned.span.end.saturating_sub(1).max(planned.span.start))),
            operation,
            before,
            after,
            unreached: false,
        }
    }
}

/// Returns where the lines of a text start.
fn starts(text: &str) -> Vec<usize> {
    let after = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
    std::iter::once(0).chain(after).collect()
}
