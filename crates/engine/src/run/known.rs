//! What is known of a node without carrying it out: here, and in the caches of other machines.
//!
//! Turns a key, or inputs with the same content, into a result, whose files are here or stay where they are until somebody
//! reads them (`docs/decisions/0015-remote-layers.md`).

use std::collections::BTreeSet;

use stave_graph::{CacheKey, CopySource, Image, NodeId, Op, TreeDigest, op_digest};
use stave_oci::Compression;
use stave_store::{CacheLookup, LayerId};
use stave_tree::Keep;

use super::{Run, lock};
use crate::away;
use crate::caches::{self, Hit};
use crate::error::EngineError;
use crate::finish::ScannedFiles;
use crate::forms;
use crate::joined::Extra;
use crate::outside::{Found, keep, keep_of_mount};
use crate::snapshot::{KnownSnapshot, Snapshot};
use crate::steps::copy;

/// How many earlier results of the same instruction are compared by content.
const CANDIDATES_MAX: u32 = 8;

impl Run<'_> {
    /// Looks for a result of the same instruction whose inputs had the same content.
    pub(super) fn look_up_content(
        &self,
        node: NodeId,
        key: CacheKey,
        inputs: &[KnownSnapshot],
    ) -> Result<Option<Snapshot>, EngineError> {
        let op = self.target.joined.graph.op(node);
        if op.is_join() {
            return Ok(None);
        }
        let selection = lock(&self.outside).get(&node).map(|outside| outside.digest);
        let candidates = self.lease.candidates(op_digest(op).as_bytes(), CANDIDATES_MAX)?;
        if candidates.is_empty() && self.target.imports.is_empty() {
            return Ok(None);
        }
        let inputs = &self.bring_inputs(node, inputs)?;
        for candidate in candidates.iter().filter(|candidate| candidate.selection == selection) {
            if !self.same_inputs(op, inputs, &candidate.inputs)? {
                continue;
            }
            if !self.is_recorded(node, candidate.snapshot.last().copied()) {
                continue;
            }
            // The parent's layers are this build's own; only what the step added is taken from the candidate.
            let (Some(parent), Some(layer)) = (inputs.first(), candidate.snapshot.last()) else { continue };
            let result = parent.with(*layer);
            self.record(node, key, (selection, candidate.took), inputs, &result)?;
            return Ok(Some(result));
        }
        self.import_content(node, key, (selection, inputs))
    }

    /// Looks in the caches of other machines for a result under the key, and fetches it if somebody is going to read it. It
    /// cannot be used if it is not what it says.
    pub(super) fn import(&self, node: NodeId, key: CacheKey) -> Result<Option<KnownSnapshot>, EngineError> {
        let imports = self.target.imports;
        // What other machines have done is in no record here.
        if !self.is_recorded_below(node) {
            return Ok(None);
        }
        let Some(hit) = imports.find(&key, self.events) else { return Ok(None) };
        if self.may_stay(node, &hit)? {
            lock(&self.imported).insert(node);
            return Ok(Some(hit.remote_layers().into_iter().collect()));
        }
        let Some(layers) = imports.fetch(self.engine, self.lease, &hit, self.events) else { return Ok(None) };
        let result = Snapshot { layers: layers.into() };
        self.record_import(node, &result)?;
        lock(&self.imported).insert(node);
        Ok(Some(result.into()))
    }

    /// Remembers what came from elsewhere and is here now.
    fn record_import(&self, node: NodeId, result: &Snapshot) -> Result<(), EngineError> {
        let selection = lock(&self.selections).get(&node).copied();
        self.record(node, self.key(node), (selection, None), &[], result)
    }

    /// Returns the layers of a base as they are in its registry, if nobody is going to read their files.
    pub(super) fn base_away(&self, node: NodeId, image: &Image) -> Result<Option<KnownSnapshot>, EngineError> {
        let Some(remote) = self.target.bases.remote(image) else { return Ok(None) };
        let (imports, joined) = (self.target.imports, self.target.joined);
        // What a cache is to have, has to be here.
        if self.target.only_pushed.is_none() || !self.target.exports.is_empty() || !imports.may_stay() {
            return Ok(None);
        }
        let layers = away::layers(remote);
        let fits = layers.iter().all(|layer| self.may_go_as(&layer.media_type));
        if !fits || self.is_read(node, &lock(&self.missed)) || joined.extras.iter().any(|extra| extra.node == node) {
            return Ok(None);
        }
        let mut is_here = true;
        for layer in &layers {
            is_here &= self.lease.layer_by_diff_id(&layer.diff_id)?.is_some();
        }
        if is_here {
            return Ok(None);
        }
        let hit = imports.lend(remote.resolved.digest, self.engine.base_registry(remote)?, layers);
        Ok(Some(hit.remote_layers().into_iter().collect()))
    }

    /// Whether nobody is going to read the files of a result, as far as can be seen: it is a target that only goes to
    /// registries, or what is merged, and no step that reads it is known to run.
    fn may_stay(&self, node: NodeId, hit: &Hit) -> Result<bool, EngineError> {
        let joined = self.target.joined;
        if !self.target.imports.may_stay() || !self.target.rerun.is_empty() {
            return Ok(false);
        }
        if joined.targets().contains(&node) && !hit.layers.iter().all(|layer| self.may_go_as(&layer.media_type)) {
            return Ok(false);
        }
        if self.is_read(node, &lock(&self.missed)) {
            return Ok(false);
        }
        for layer in &hit.layers {
            if self.lease.layer_by_diff_id(&layer.diff_id)?.is_none() {
                return Ok(true);
            }
        }
        // All of it is here anyway.
        Ok(false)
    }

    /// Whether the files of a node are read by a step that runs, as far as is known, or by an output.
    fn is_read(&self, node: NodeId, missed: &BTreeSet<NodeId>) -> bool {
        let joined = self.target.joined;
        let is_above = |above: &&NodeId| joined.graph.op(**above).inputs().any(|input| input == node);
        let reads = |above: &NodeId| !joined.graph.op(*above).is_join() || self.is_read(*above, missed);
        self.target.only_pushed.is_none() && joined.targets().contains(&node)
            || missed.iter().filter(is_above).any(reads)
    }

    /// Whether a layer's blob with this type is what all outputs want, none of which reads its files.
    fn may_go_as(&self, media_type: &str) -> bool {
        let Some(forms) = self.target.only_pushed else { return false };
        Compression::of_media_type(media_type)
            .is_some_and(|compression| forms.iter().all(|form| forms::fits(compression, form)))
    }

    /// Returns a result with its files here: what was only known is fetched, and remembered.
    ///
    /// Errors: it is not there. The build begins again.
    fn bring(&self, node: NodeId, known: &KnownSnapshot) -> Result<Snapshot, EngineError> {
        if let Some(here) = known.here() {
            return Ok(here);
        }
        if let Op::Image(image) = self.target.joined.graph.op(node) {
            // All of it is fetched as any base is, and gets its name.
            let layers = self.engine.base_layers(self.lease, self.target.bases, image, self.events)?;
            return Ok(Snapshot { layers });
        }
        let layers = self.target.imports.bring(self.engine, self.lease, &known.layers, self.events)?;
        let result = Snapshot { layers: layers.into() };
        self.record_import(node, &result)?;
        Ok(result)
    }

    pub(super) fn bring_inputs(&self, node: NodeId, inputs: &[KnownSnapshot]) -> Result<Vec<Snapshot>, EngineError> {
        let nodes = self.target.joined.graph.op(node).inputs();
        nodes.zip(inputs).map(|(input, known)| self.bring(input, known)).collect()
    }

    /// Returns the layers of what is searched for packages beside the images.
    pub(crate) fn extras(
        &self,
        results: impl Iterator<Item = KnownSnapshot>,
    ) -> Result<Vec<ScannedFiles>, EngineError> {
        let files = |(extra, known): (&Extra, KnownSnapshot)| {
            let Snapshot { layers } = self.bring(extra.node, &known)?;
            Ok(ScannedFiles { part: extra.part, name: extra.name.clone(), layers })
        };
        self.target.joined.extras.iter().zip(results).map(files).collect()
    }

    /// Returns the result of a target as its outputs want it: with its files here, unless only its layers' blobs are named.
    pub(crate) fn settled(&self, node: NodeId, known: KnownSnapshot) -> Result<KnownSnapshot, EngineError> {
        if known.remote().all(|remote| self.may_go_as(&remote.layer().media_type)) {
            return Ok(known);
        }
        self.bring(node, &known).map(KnownSnapshot::from)
    }

    /// Looks there again, for one that answered late, and then for a result on inputs with the same content.
    fn import_content(
        &self,
        node: NodeId,
        key: CacheKey,
        (selection, inputs): (Option<TreeDigest>, &[Snapshot]),
    ) -> Result<Option<Snapshot>, EngineError> {
        let (imports, graph) = (self.target.imports, &self.target.joined.graph);
        if imports.is_empty() {
            return Ok(None);
        }
        let late = if self.above_rerun(node) { None } else { self.import(node, key)? };
        let late = late.map(|late| self.bring(node, &late)).transpose()?;
        let [parent] = inputs else { return Ok(late) };
        if !self.is_recorded(node, None) {
            return Ok(None);
        }
        if late.is_some() || !imports.knows_op(&op_digest(graph.op(node)).to_string(), self.events) {
            return Ok(late);
        }
        let digest = caches::content(self.engine, graph, node, selection.as_ref(), &parent.layers)?;
        let Some(hit) = digest.and_then(|digest| imports.find_digest(&digest, self.events)) else { return Ok(None) };
        let layer = imports.fetch_top(self.engine, self.lease, &hit, &parent.layers, self.events);
        let Some(layer) = layer else { return Ok(None) };
        let result = parent.with(layer);
        self.record(node, key, (selection, None), inputs, &result)?;
        lock(&self.imported).insert(node);
        Ok(Some(result))
    }

    /// Whether it is known what all commands that a node depends on asked of the network, as far as that is recorded, and
    /// all of it is still allowed.
    pub(super) fn is_recorded_below(&self, node: NodeId) -> bool {
        // Asked for each node that is looked up: where nothing is recorded, it costs nothing.
        if self.recorded.is_empty() {
            return true;
        }
        let below = self.target.joined.graph.reachable(node);
        below.into_iter().filter(|node| self.recorded.contains(node)).all(|node| {
            if matches!(lock(&self.found).get(&node), Some(Found::Requests(_))) {
                return true;
            }
            let layer = match self.lease.lookup(self.key(node).as_bytes()) {
                Ok(CacheLookup::Hit(record)) => record.snapshot.last().copied(),
                // Who looks for the node itself learns that the store cannot be read.
                Ok(CacheLookup::Miss | CacheLookup::Evicted { .. }) | Err(_) => None,
            };
            let is_recorded = self.is_recorded(node, layer);
            if layer.is_some() && !is_recorded {
                self.explain.unrecorded(node);
            }
            is_recorded
        })
    }

    /// Whether a layer can be the result of a node: if that is a command whose requests are recorded, it has to have a
    /// record, in which all is still allowed. Remembers what is in it.
    fn is_recorded(&self, node: NodeId, layer: Option<LayerId>) -> bool {
        if !self.recorded.contains(&node) {
            return true;
        }
        let found = layer.and_then(|layer| self.target.recorder.usable(self.engine, layer));
        found.is_some_and(|found| {
            lock(&self.found).insert(node, Found::Requests(found));
            true
        })
    }

    /// Whether a node depends on one that is to be executed again: its key would find what was made from the earlier one.
    fn above_rerun(&self, node: NodeId) -> bool {
        !self.target.rerun.is_empty()
            && self.target.joined.graph.reachable(node).iter().any(|input| self.target.rerun.contains(input))
    }

    fn same_inputs(&self, op: &Op, inputs: &[Snapshot], earlier: &[Vec<LayerId>]) -> Result<bool, EngineError> {
        if inputs.len() != earlier.len() {
            return Ok(false);
        }
        let (Some((parent, sources)), Some((old_parent, old_sources))) = (inputs.split_first(), earlier.split_first())
        else {
            return Ok(false);
        };
        if !self.engine.same_content(&parent.layers, old_parent)? {
            return Ok(false);
        }
        let patterns = read_of_trees(op)?;
        for ((source, old), (pattern, keep)) in sources.iter().zip(old_sources).zip(patterns) {
            if source.layers[..] != old[..] && !copy::same_files(self.engine, &source.layers, old, pattern, &keep)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Returns what is read of the sources that are other snapshots, in the order of the operation's further inputs.
fn read_of_trees(op: &Op) -> Result<Vec<(&str, Keep)>, EngineError> {
    let source = |source: &'_ CopySource| matches!(source, CopySource::Tree { .. });
    Ok(match op {
        Op::Copy(copy) => {
            let keep = keep(copy)?;
            let patterns = copy.sources.iter().filter(|one| source(one)).filter_map(CopySource::pattern);
            patterns.map(|pattern| (pattern, keep.clone())).collect()
        }
        Op::Exec(exec) => {
            let mounts = exec.mounts.iter();
            mounts.filter_map(|mount| Some((mount.kind.tree()?.1, keep_of_mount(mount)))).collect()
        }
        Op::Scratch | Op::Image(_) | Op::Http(_) | Op::Git(_) | Op::MakeDir(_) | Op::Merge(_) | Op::After(_) => {
            Vec::new()
        }
    })
}
