//! What the steps of this build are made from, as `stave-explain` compares it.
//!
//! Turns the joined plans, and what was read for them, into values; nothing here looks at a disk.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use stave_dockerfile::check::is_secret_name;
use stave_dockerfile::plan::Scope;
use stave_explain::{
    Field, Ingredients, Input, Known, Manifest, Payload, Read, Step, StepName, Variable, ingredients, known,
};
use stave_graph::remote::{redacted, redacted_text};
use stave_graph::{CacheKey, ContextId, CopySource, KEY_SCHEMA, NodeId, Op, TreeDigest, cache_key, describe};
use stave_oci::{BlobDigest, Hasher};
use stave_tree::{Item, Selection};

use crate::build::{BuildTarget, stage_name};
use crate::outside::Found;

/// Shortest secret that is looked for inside of other values: a shorter one is in everything.
const SECRET_BYTES_MIN: usize = 4;

/// All that was read before the first step.
pub(super) struct Outcomes<'a> {
    pub(super) selections: &'a BTreeMap<NodeId, TreeDigest>,
    pub(super) found: &'a BTreeMap<NodeId, Found>,
}

/// Returns the nodes that belong to each step: its own, and those below that are steps of nobody.
pub(super) fn owners(target: &BuildTarget<'_>) -> BTreeMap<NodeId, usize> {
    let mut owners = BTreeMap::new();
    for (index, step) in target.joined.steps.iter().enumerate() {
        owners.entry(step.node).or_insert(index);
    }
    for index in 0..target.joined.steps.len() {
        let mut open = vec![target.joined.steps[index].node];
        while let Some(node) = open.pop() {
            for input in target.joined.graph.op(node).inputs() {
                let is_other =
                    matches!(target.joined.graph.op(input), Op::Merge(_) | Op::After(_) | Op::Image(_) | Op::Scratch);
                if !is_other && !owners.contains_key(&input) {
                    owners.insert(input, index);
                    open.push(input);
                }
            }
        }
    }
    owners
}

/// Returns the keys of all nodes; nothing of those that were not digested, or depend on one that was not.
pub(super) fn keys(target: &BuildTarget<'_>, selections: &BTreeMap<NodeId, TreeDigest>) -> BTreeMap<NodeId, CacheKey> {
    let graph = &target.joined.graph;
    let mut keys: BTreeMap<NodeId, CacheKey> = BTreeMap::new();
    for node in graph.reachable_from(&target.joined.targets()) {
        let op = graph.op(node);
        let inputs: Option<Vec<CacheKey>> = op.inputs().map(|input| keys.get(&input).copied()).collect();
        let selection = selections.get(&node);
        if let Some(inputs) = inputs.filter(|_| op.reads_outside() == selection.is_some()) {
            keys.insert(node, cache_key(op, &inputs, selection));
        }
    }
    keys
}

/// Returns what the build is made from. `seal` keys the digests of what is secret.
pub(super) fn make(
    target: &BuildTarget<'_>,
    owners: &BTreeMap<NodeId, usize>,
    outcomes: &Outcomes<'_>,
    seal: &[u8],
) -> Ingredients {
    let keys = keys(target, outcomes.selections);
    let mut made = Ingredients {
        format: ingredients::FORMAT,
        schema: KEY_SCHEMA,
        builder: env!("CARGO_PKG_VERSION").to_owned(),
        platforms: target.joined.parts.iter().map(|part| part.platform.to_string()).collect(),
        target: target.joined.steps.last().map(|step| stage_name(&step.planned().stage)).unwrap_or_default(),
        scopes: Vec::new(),
        steps: Vec::new(),
    };
    let mut scopes: Vec<(Arc<Scope>, Secrets<'_>)> = Vec::new();
    for (index, joined) in target.joined.steps.iter().enumerate() {
        let planned = joined.planned();
        let place = scopes.iter().rposition(|(known, _)| Arc::ptr_eq(known, &planned.scope)).unwrap_or_else(|| {
            let secrets = Secrets::of(&planned.scope, seal);
            made.scopes.push(secrets.variables(&planned.scope));
            scopes.push((Arc::clone(&planned.scope), secrets));
            scopes.len() - 1
        });
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let mut step = Step {
            name: StepName {
                platform: target.joined.shown_platform(planned),
                stage: stage_name(&planned.stage),
                number: number(planned.number),
                of: number(planned.of),
                title: planned.title.clone(),
            },
            platform: planned.platform.to_string(),
            key: keys.get(&joined.node).map(CacheKey::to_string).unwrap_or_default(),
            scope: place,
            fields: Vec::new(),
            reads: Vec::new(),
            inputs: Vec::new(),
            uses_variables: matches!(target.joined.graph.op(joined.node), Op::Exec(_)),
            done: false,
            failed: false,
        };
        let owner = owners.get(&joined.node).copied().unwrap_or(index);
        let mut making = Making { target, owners, outcomes, owner, secrets: &scopes[place].1, seen: BTreeSet::new() };
        making.node(joined.node, &mut step);
        made.steps.push(step);
    }
    made
}

/// One step while it is taken apart.
struct Making<'a> {
    target: &'a BuildTarget<'a>,
    owners: &'a BTreeMap<NodeId, usize>,
    outcomes: &'a Outcomes<'a>,
    /// The step whose nodes these are.
    owner: usize,
    secrets: &'a Secrets<'a>,
    seen: BTreeSet<NodeId>,
}

impl Making<'_> {
    fn node(&mut self, node: NodeId, step: &mut Step) {
        if !self.seen.insert(node) {
            return;
        }
        let op = self.target.joined.graph.op(node);
        if matches!(op, Op::Image(_)) {
            step.inputs.push(self.image(node));
            return;
        }
        for field in describe(op) {
            let value = redacted_text(&field.value);
            let hidden = value != field.value || self.secrets.are_in(&field.value);
            let value = self.secrets.known(&field.value, hidden);
            step.fields.push(Field { mount: field.mount, name: field.name.to_owned(), value, text: field.text });
        }
        self.reads(node, op, step);
        for input in op.inputs() {
            self.input(input, step);
        }
    }

    fn input(&mut self, input: NodeId, step: &mut Step) {
        match (self.target.joined.graph.op(input), self.owners.get(&input)) {
            (Op::Image(_), _) => step.inputs.push(self.image(input)),
            (Op::Scratch, _) => step.inputs.push(Input::Nothing),
            // A merge is what its parts are.
            (Op::Merge(merge), None) => {
                self.input(merge.lower, step);
                self.input(merge.upper, step);
            }
            // What must have been made is not read.
            (Op::After(after), None) => self.input(after.parent, step),
            (_, Some(owner)) if *owner < self.owner => step.inputs.push(Input::Step(*owner)),
            _ => self.node(input, step),
        }
    }

    fn reads(&self, node: NodeId, op: &Op, step: &mut Step) {
        let Some(digest) = self.outcomes.selections.get(&node) else { return };
        let address = match op {
            Op::Http(http) => redacted(&http.url),
            Op::Git(git) => {
                let reference = git.source.reference.as_ref().map(|name| format!("#{name}")).unwrap_or_default();
                format!("{}{reference}", redacted(&git.source.url))
            }
            _ => return step.reads.push(Read::Files { digest: digest.hex() }),
        };
        let digest = match self.outcomes.found.get(&node) {
            Some(Found::Commit(commit)) => commit.commit.clone(),
            Some(Found::File(file)) => file.digest.to_string(),
            Some(Found::Nothing | Found::Requests(_)) | None => digest.hex(),
        };
        step.reads.push(Read::Remote { address, digest });
    }

    fn image(&self, node: NodeId) -> Input {
        let Op::Image(image) = self.target.joined.graph.op(node) else { return Input::Nothing };
        let mut hasher = Hasher::new();
        for layer in &image.diff_ids {
            hasher.update(layer.as_bytes());
        }
        let found = self.target.bases.all().find(|(_, base)| base.id == image.id);
        let digest =
            found.and_then(|(_, base)| base.digest()).map_or_else(|| image.id.to_string(), |own| own.to_string());
        let name = found.map_or_else(|| image.id.to_string(), |(request, _)| request.reference.clone());
        Input::Image { name, digest, layers: hasher.finish::<BlobDigest>().hex() }
    }
}

/// The secrets among the variables of a place: values that are shown to nobody.
struct Secrets<'a> {
    values: Vec<String>,
    seal: &'a [u8],
}

impl<'a> Secrets<'a> {
    fn of(scope: &Scope, seal: &'a [u8]) -> Self {
        let secret = scope.variables.iter().filter(|(name, value)| is_secret_name(name) && !value.is_empty());
        Self { values: secret.map(|(_, value)| value.clone()).collect(), seal }
    }

    /// Whether a text is one of them, or has one in it.
    fn are_in(&self, text: &str) -> bool {
        self.values
            .iter()
            .any(|secret| text == secret || secret.len() >= SECRET_BYTES_MIN && text.contains(secret.as_str()))
    }

    fn known(&self, text: &str, hidden: bool) -> Known {
        let digest = |text: &str| BlobDigest::of(text.as_bytes()).hex();
        let sealed = |text: &str| {
            let mut hasher = Hasher::new();
            hasher.update(self.seal);
            hasher.update(text.as_bytes());
            hasher.finish::<BlobDigest>().hex()
        };
        known(text, hidden, &digest, &sealed)
    }

    fn variables(&self, scope: &Scope) -> Vec<Variable> {
        let variable = |(name, value): &(String, String)| Variable {
            name: name.clone(),
            value: self.known(value, is_secret_name(name) || self.are_in(value) || redacted_text(value) != *value),
            arg: scope.args.contains(name),
        };
        scope.variables.iter().map(variable).collect()
    }
}

/// Returns the list of the files that an operation has selected. `context` says what a context is called.
pub(super) fn manifest(op: &Op, selections: &[Selection], context: &dyn Fn(ContextId) -> String) -> Manifest {
    let mut contexts = Vec::new();
    match op {
        Op::Copy(copy) => {
            let mut last = None;
            for source in &copy.sources {
                let own = if let CopySource::Context { context, .. } = source { Some(*context) } else { None };
                if own.is_some() && own != last {
                    contexts.extend(own);
                }
                last = own;
            }
        }
        Op::Exec(exec) => {
            contexts.extend(exec.mounts.iter().filter_map(|mount| mount.kind.context()).map(|(id, _)| id));
        }
        _ => {}
    }
    let mut manifest = Manifest::default();
    for (selection, id) in selections.iter().zip(contexts) {
        let mut entries = Vec::new();
        selection.each(&mut |item| entries.push(entry(&item)));
        manifest.parts.push(stave_explain::Part { context: context(id), entries });
    }
    manifest.sort();
    manifest
}

fn entry(item: &Item<'_>) -> stave_explain::Entry {
    let payload = match (item.content, item.target) {
        (Some(content), _) => Payload::Content(first(content)),
        (None, Some(target)) => Payload::Target(target.to_vec()),
        (None, None) if matches!(item.kind, b'c' | b'b') => Payload::Device(item.device),
        // What nobody has hashed cannot be told from another; this does not happen to files of contexts.
        (None, None) if item.kind == b'f' => Payload::Content([0; 16]),
        (None, None) => Payload::None,
    };
    stave_explain::Entry {
        path: item.path.to_vec(),
        kind: item.kind,
        mode: item.mode,
        uid: item.uid,
        gid: item.gid,
        payload,
        attributes: first(&item.xattrs),
    }
}

fn first<const LENGTH: usize>(digest: &[u8; 32]) -> [u8; LENGTH] {
    let mut start = [0; LENGTH];
    start.copy_from_slice(&digest[..LENGTH]);
    start
}
