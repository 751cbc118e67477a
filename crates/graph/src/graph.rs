//! The graph: operations by number, equal ones once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::exec::{Exec, MountKind, MountSource};
use crate::op::{Copy, CopySource, Op, Unpack};

/// A node of one graph. Its number is larger than those of its inputs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u32);

impl NodeId {
    /// Returns the position of the node in its graph, for tables that are indexed by nodes.
    #[must_use]
    pub fn index(self) -> usize {
        usize::try_from(self.0).expect("a usize holds 32 bits on every platform with namespaces")
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "#{}", self.0)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "#{}", self.0)
    }
}

/// Where the user wrote an operation. Only who made it knows what the number means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin(pub u32);

/// What the nodes of a graph are in another one, which has absorbed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renamed(Vec<NodeId>);

impl Renamed {
    /// Returns the node that `node`, which must be of the absorbed graph, is now.
    #[must_use]
    pub fn node(&self, node: NodeId) -> NodeId {
        self.0[node.index()]
    }

    /// Returns a node of the absorbed graph that is `node` now, if there is one.
    #[must_use]
    pub fn earlier(&self, node: NodeId) -> Option<NodeId> {
        let position = self.0.iter().position(|&one| one == node)?;
        Some(NodeId(u32::try_from(position).expect("a graph has fewer than 2^32 nodes")))
    }
}

/// Operations and how they depend on each other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Graph {
    ops: Vec<Op>,
    origins: Vec<Origin>,
    known: BTreeMap<Op, NodeId>,
}

impl Graph {
    /// Returns a graph without nodes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an operation and returns its node: the one that it already has if an equal operation was added before.
    /// Inputs must be in the graph already, so that a cycle cannot be built.
    ///
    /// `origin` is kept beside the operation, never inside, because moving a line must not change a cache key. Of
    /// equal operations the first origin is kept.
    pub fn add(&mut self, op: Op, origin: Origin) -> NodeId {
        if let Some(&known) = self.known.get(&op) {
            return known;
        }
        let id = NodeId(u32::try_from(self.ops.len()).expect("a graph has fewer than 2^32 nodes"));
        assert!(op.inputs().all(|input| input < id), "{id} uses a node that does not exist yet");
        self.known.insert(op.clone(), id);
        self.ops.push(op);
        self.origins.push(origin);
        id
    }

    /// Returns the operation of `node`, which must be of this graph.
    #[must_use]
    pub fn op(&self, node: NodeId) -> &Op {
        &self.ops[node.index()]
    }

    /// Returns where `node` was written first.
    #[must_use]
    pub fn origin(&self, node: NodeId) -> Origin {
        self.origins[node.index()]
    }

    /// Returns the number of nodes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether there are no nodes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Returns `target` and all that it needs, inputs before what uses them.
    #[must_use]
    pub fn reachable(&self, target: NodeId) -> Vec<NodeId> {
        self.reachable_from(&[target])
    }

    /// Adds all operations of `other`; what this graph has already is one node with it.
    ///
    /// Returns what the nodes of `other` are here.
    pub fn absorb(&mut self, other: &Self) -> Renamed {
        let mut nodes: Vec<NodeId> = Vec::with_capacity(other.len());
        for (op, &origin) in other.ops.iter().zip(&other.origins) {
            let op = with_inputs(op, |input| nodes[input.index()]);
            nodes.push(self.add(op, origin));
        }
        Renamed(nodes)
    }

    /// Returns `targets` and all that they need, inputs before what uses them.
    #[must_use]
    pub fn reachable_from(&self, targets: &[NodeId]) -> Vec<NodeId> {
        let mut seen: BTreeSet<NodeId> = targets.iter().copied().collect();
        let mut open = targets.to_vec();
        while let Some(node) = open.pop() {
            open.extend(self.op(node).inputs().filter(|&input| seen.insert(input)));
        }
        seen.into_iter().collect()
    }

    /// Returns a graph of only what `target` needs, and the target in it.
    #[must_use]
    pub fn pruned(&self, target: NodeId) -> (Self, NodeId) {
        let mut kept = Self::new();
        let mut renamed = BTreeMap::new();
        let mut last = target;
        for node in self.reachable(target) {
            let op = with_inputs(self.op(node), |input| renamed[&input]);
            last = kept.add(op, self.origin(node));
            renamed.insert(node, last);
        }
        (kept, last)
    }
}

fn with_inputs(op: &Op, rename: impl Fn(NodeId) -> NodeId) -> Op {
    let mut op = op.clone();
    match &mut op {
        Op::Scratch | Op::Image(_) | Op::Http(_) | Op::Git(_) => {}
        Op::Exec(exec) => {
            exec.parent = rename(exec.parent);
            for mount in &mut exec.mounts {
                if let Some(MountSource::Tree(node)) = mount.kind.source_mut() {
                    *node = rename(*node);
                }
            }
        }
        Op::Merge(merge) => (merge.lower, merge.upper) = (rename(merge.lower), rename(merge.upper)),
        Op::After(after) => {
            after.parent = rename(after.parent);
            after.others.iter_mut().for_each(|node| *node = rename(*node));
        }
        Op::MakeDir(make_dir) => make_dir.parent = rename(make_dir.parent),
        Op::Copy(Copy { parent, sources, .. }) => {
            *parent = rename(*parent);
            for source in sources {
                if let CopySource::Tree { node, .. } = source {
                    *node = rename(*node);
                }
            }
        }
    }
    op
}

/// One line for each node, for people and for the snapshots of tests.
impl fmt::Display for Graph {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, op) in self.ops.iter().enumerate() {
            write!(formatter, "#{index} = ")?;
            write_op(formatter, op)?;
            writeln!(formatter)?;
        }
        Ok(())
    }
}

fn write_op(out: &mut fmt::Formatter<'_>, op: &Op) -> fmt::Result {
    match op {
        Op::Scratch => write!(out, "scratch"),
        Op::Image(image) => write!(out, "image of {} layers", image.diff_ids.len()),
        Op::Http(http) => {
            write!(out, "http {:?} as {:?}", http.url, http.name)?;
            http.checksum.as_ref().map_or(Ok(()), |checksum| write!(out, " checksum={checksum}"))
        }
        Op::Git(git) => write!(out, "git {:?}", git.source),
        Op::Exec(exec) => write_exec(out, exec),
        Op::Copy(copy) => write_copy(out, copy),
        Op::MakeDir(make_dir) => {
            write!(out, "make directory on {} {:?} owner={:?}", make_dir.parent, make_dir.path, make_dir.owner)
        }
        Op::Merge(merge) => write!(out, "merge {} on {}", merge.upper, merge.lower),
        Op::After(after) => {
            write!(out, "{} after", after.parent)?;
            after.others.iter().try_for_each(|node| write!(out, " {node}"))
        }
    }
}

fn write_exec(out: &mut fmt::Formatter<'_>, exec: &Exec) -> fmt::Result {
    write!(out, "exec on {} {:?}", exec.parent, exec.args)?;
    write!(out, " env={:?} cwd={:?} user={:?}", exec.env, exec.cwd, exec.user)?;
    if !exec.unkeyed_env.is_empty() {
        write!(out, " unkeyed_env={:?}", exec.unkeyed_env)?;
    }
    write!(out, " network={:?}", exec.network)?;
    for mount in &exec.mounts {
        write!(out, " mount={:?}:", mount.target)?;
        match &mount.kind {
            MountKind::Bind { source, path, writable } => {
                write!(out, "bind {source:?} {path:?}{}", if *writable { " rw" } else { "" })?;
            }
            other => write!(out, "{other:?}")?,
        }
        mount.flags.iter().try_for_each(|flag| write!(out, " {}", flag.as_str()))?;
    }
    if exec.security != crate::Security::Sandbox {
        write!(out, " security={:?}", exec.security)?;
    }
    for (name, address) in &exec.hosts {
        write!(out, " host={name}={address}")?;
    }
    for limit in &exec.ulimits {
        write!(out, " ulimit={}={}:{}", limit.name, limit.soft, limit.hard)?;
    }
    for device in &exec.devices {
        write!(out, " device={}{}", device.name, if device.required { " required" } else { "" })?;
    }
    exec.shm_bytes.map_or(Ok(()), |bytes| write!(out, " shm={bytes}"))?;
    exec.cgroup_parent.as_ref().map_or(Ok(()), |parent| write!(out, " cgroup={parent:?}"))
}

fn write_copy(out: &mut fmt::Formatter<'_>, copy: &Copy) -> fmt::Result {
    write!(out, "{} on {}", if copy.unpack == Unpack::No { "copy" } else { "add" }, copy.parent)?;
    for source in &copy.sources {
        match source {
            CopySource::Context { context: crate::ContextId(0), pattern } => write!(out, " context:{pattern:?}")?,
            CopySource::Context { context, pattern } => write!(out, " context {}:{pattern:?}", context.0)?,
            CopySource::Tree { node, pattern } => write!(out, " {node}:{pattern:?}")?,
            CopySource::Inline { name, content } => write!(out, " {name:?}={content:?}")?,
        }
    }
    write!(out, " to {:?}{}", copy.dest, if copy.dest_is_dir { " as directory" } else { "" })?;
    if let Some(chown) = &copy.chown {
        write!(out, " chown={chown:?}")?;
    }
    if let Some(chmod) = &copy.chmod {
        write!(out, " chmod={chmod}")?;
    }
    if copy.unpack == Unpack::All {
        write!(out, " unpack=all")?;
    }
    if copy.parents {
        write!(out, " parents")?;
    }
    copy.excludes.iter().try_for_each(|pattern| write!(out, " exclude={pattern:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::Mount;
    use crate::op::{MakeDir, Merge};

    fn dir(parent: NodeId, path: &str) -> Op {
        Op::MakeDir(MakeDir { parent, path: path.to_owned(), owner: String::new() })
    }

    #[test]
    fn equal_operations_are_one_node_and_keep_the_first_origin() {
        let mut graph = Graph::new();
        let scratch = graph.add(Op::Scratch, Origin(1));
        let first = graph.add(dir(scratch, "/a"), Origin(2));
        let other = graph.add(dir(scratch, "/b"), Origin(3));
        assert_eq!(graph.add(dir(scratch, "/a"), Origin(4)), first);
        assert_ne!(first, other);
        assert_eq!(graph.origin(first), Origin(2));
        assert_eq!(graph.len(), 3);
    }

    #[test]
    fn reachable_leaves_out_what_the_target_does_not_need() {
        let mut graph = Graph::new();
        let scratch = graph.add(Op::Scratch, Origin(0));
        let unused = graph.add(dir(scratch, "/unused"), Origin(0));
        let a = graph.add(dir(scratch, "/a"), Origin(0));
        let b = graph.add(dir(a, "/b"), Origin(0));
        assert_eq!(graph.reachable(b), [scratch, a, b]);
        assert_eq!(graph.reachable(unused), [scratch, unused]);
        let (pruned, target) = graph.pruned(b);
        assert_eq!(
            pruned.to_string(),
            "#0 = scratch\n#1 = make directory on #0 \"/a\" owner=\"\"\n#2 = make directory on #1 \"/b\" owner=\"\"\n"
        );
        assert_eq!(target.index(), 2);
    }

    #[test]
    fn absorbing_a_graph_adds_only_what_is_new_and_says_what_became_of_each_node() {
        let mut graph = Graph::new();
        let scratch = graph.add(Op::Scratch, Origin(1));
        let a = graph.add(dir(scratch, "/a"), Origin(2));
        let mut other = Graph::new();
        let their_scratch = other.add(Op::Scratch, Origin(7));
        let their_b = other.add(dir(their_scratch, "/b"), Origin(8));
        let their_a = other.add(dir(their_scratch, "/a"), Origin(9));
        let renamed = graph.absorb(&other);
        assert_eq!((renamed.node(their_scratch), renamed.node(their_a)), (scratch, a));
        let b = renamed.node(their_b);
        assert_eq!((graph.len(), b.index(), graph.origin(b)), (3, 2, Origin(8)));
        assert_eq!((renamed.earlier(a), renamed.earlier(b)), (Some(their_a), Some(their_b)));
        assert_eq!(graph.reachable_from(&[a, b]), [scratch, a, b]);
    }

    #[test]
    fn a_command_reads_its_parent_and_then_its_mounts_in_order() {
        let mut graph = Graph::new();
        let scratch = graph.add(Op::Scratch, Origin(0));
        let a = graph.add(dir(scratch, "/a"), Origin(0));
        let bind = |source| Mount::new("/m", MountKind::Bind { source, path: ".".into(), writable: false });
        let mut exec = Exec::new(a, vec!["/x".into()]);
        exec.mounts = vec![bind(MountSource::Tree(scratch)), bind(MountSource::Empty), bind(MountSource::Tree(a))];
        assert_eq!(Op::Exec(exec.clone()).inputs().collect::<Vec<_>>(), [a, scratch, a]);
        assert!(!Op::Exec(exec.clone()).reads_outside());
        exec.mounts.push(bind(MountSource::Context(crate::ContextId(1))));
        assert!(Op::Exec(exec.clone()).reads_outside());

        let node = graph.add(Op::Exec(exec), Origin(0));
        let merged = graph.add(Op::Merge(Merge { lower: scratch, upper: node }), Origin(0));
        let (pruned, target) = graph.pruned(merged);
        assert_eq!((pruned.len(), target.index()), (4, 3));
    }

    #[test]
    fn a_copy_reads_its_parent_and_then_its_sources_in_order() {
        let mut graph = Graph::new();
        let scratch = graph.add(Op::Scratch, Origin(0));
        let a = graph.add(dir(scratch, "/a"), Origin(0));
        let tree = |node| CopySource::Tree { node, pattern: ".".into() };
        let context = CopySource::Context { context: crate::ContextId::MAIN, pattern: "x".into() };
        let op = Op::Copy(Copy::new(scratch, vec![tree(a), context, tree(scratch)], "/"));
        assert_eq!(op.inputs().collect::<Vec<_>>(), [scratch, a, scratch]);
        assert!(op.reads_outside());
        assert!(!op.is_source());
    }
}
