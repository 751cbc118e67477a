//! The graph: operations by number, equal ones once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::op::{Copy, CopySource, Op};

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
        let mut seen = BTreeSet::from([target]);
        let mut open = vec![target];
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
        Op::Scratch | Op::Image(_) => {}
        Op::Exec(exec) => exec.parent = rename(exec.parent),
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
        Op::Exec(exec) => {
            write!(out, "exec on {} {:?}", exec.parent, exec.args)?;
            write!(out, " env={:?} cwd={:?} user={:?}", exec.env, exec.cwd, exec.user)?;
            if !exec.unkeyed_env.is_empty() {
                write!(out, " unkeyed_env={:?}", exec.unkeyed_env)?;
            }
            write!(out, " network={:?}", exec.network)
        }
        Op::Copy(copy) => {
            write!(out, "{} on {}", if copy.unpack { "add" } else { "copy" }, copy.parent)?;
            for source in &copy.sources {
                match source {
                    CopySource::Context { pattern } => write!(out, " context:{pattern:?}")?,
                    CopySource::Tree { node, pattern } => write!(out, " {node}:{pattern:?}")?,
                }
            }
            write!(out, " to {:?}{}", copy.dest, if copy.dest_is_dir { " as directory" } else { "" })?;
            if let Some(chown) = &copy.chown {
                write!(out, " chown={chown:?}")?;
            }
            copy.chmod.map_or(Ok(()), |mode| write!(out, " chmod={mode:o}"))
        }
        Op::MakeDir(make_dir) => {
            write!(out, "make directory on {} {:?} owner={:?}", make_dir.parent, make_dir.path, make_dir.owner)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::MakeDir;

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
    fn a_copy_reads_its_parent_and_then_its_sources_in_order() {
        let mut graph = Graph::new();
        let scratch = graph.add(Op::Scratch, Origin(0));
        let a = graph.add(dir(scratch, "/a"), Origin(0));
        let tree = |node| CopySource::Tree { node, pattern: ".".into() };
        let op = Op::Copy(Copy {
            parent: scratch,
            sources: vec![tree(a), CopySource::Context { pattern: "x".into() }, tree(scratch)],
            dest: "/".into(),
            dest_is_dir: true,
            chown: None,
            chmod: None,
            unpack: false,
        });
        assert_eq!(op.inputs().collect::<Vec<_>>(), [scratch, a, scratch]);
        assert!(op.reads_context());
        assert!(!op.is_source());
    }
}
