//! What a solver and its owner say to each other.

use std::collections::BTreeSet;

use stave_graph::{CacheKey, NodeId, TreeDigest};

/// How to solve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How many nodes may execute at the same time; at least one.
    pub running_max: usize,
    /// Whether results of earlier builds may be used.
    pub use_cache: bool,
    /// Nodes that execute if a target needs them, whatever is known of them. What depends on one is looked up by the
    /// content of its inputs only: its key would find a result that was made from the earlier one.
    pub rerun: BTreeSet<NodeId>,
}

/// Something that must now be done. The solver itself does nothing.
///
/// Every action but [`Action::Cancel`] is answered by exactly one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action<R> {
    /// Digest the context files that `node` selects. Answer: `Digested` or `Failed`.
    Digest {
        /// A copy that reads the context.
        node: NodeId,
    },
    /// Look for a result of exactly this operation on exactly these inputs. Answer: `KeyHit`, `KeyMissed` or `Failed`.
    LookUp {
        /// What needs a result.
        node: NodeId,
        /// Under which key.
        key: CacheKey,
    },
    /// Look for a result of the same instruction on inputs with the same content. Answer: `ContentHit`,
    /// `ContentMissed` or `Failed`.
    LookUpContent {
        /// What needs a result.
        node: NodeId,
        /// Its key, under which a hit can be recorded.
        key: CacheKey,
        /// Results of its inputs, in the order of `Op::inputs`.
        inputs: Vec<R>,
    },
    /// Make the result. Answer: `Executed` or `Failed`.
    Execute {
        /// What to execute.
        node: NodeId,
        /// Under which key the result can be recorded.
        key: CacheKey,
        /// Digest of the context files that it reads, as it was when the key was made.
        selection: Option<TreeDigest>,
        /// Results of its inputs, in the order of `Op::inputs`.
        inputs: Vec<R>,
    },
    /// Stop executing `node`: its result is no longer wanted. The `Execute` is still to be answered.
    Cancel {
        /// What is executing.
        node: NodeId,
    },
}

/// The answer to an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<R> {
    /// The context files of `node` have this content.
    Digested {
        /// The copy.
        node: NodeId,
        /// Digest of what it selects.
        digest: TreeDigest,
    },
    /// A result is known under the key.
    KeyHit {
        /// What was looked up.
        node: NodeId,
        /// The result.
        result: R,
    },
    /// No result is known under the key.
    KeyMissed {
        /// What was looked up.
        node: NodeId,
    },
    /// A result is known for inputs with the same content.
    ContentHit {
        /// What was looked up.
        node: NodeId,
        /// The result.
        result: R,
    },
    /// No result is known for inputs with the same content.
    ContentMissed {
        /// What was looked up.
        node: NodeId,
    },
    /// The node has been executed.
    Executed {
        /// What was executed.
        node: NodeId,
        /// The result.
        result: R,
    },
    /// The last action for `node` failed or was cancelled.
    Failed {
        /// What failed.
        node: NodeId,
    },
}

/// How a solve ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<R> {
    /// The targets have these results, in the order in which they were given.
    Done(Vec<R>),
    /// The solve failed.
    Failed {
        /// What failed first.
        node: NodeId,
    },
}

/// What has become of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Nothing has asked for its result.
    Unneeded,
    /// Its result is wanted; it waits for inputs, for a look-up or for its turn.
    Waiting,
    /// It is executing.
    Running,
    /// Its result was known.
    Hit,
    /// It was executed.
    Executed,
    /// It failed, or was cancelled because another one did.
    Failed,
}
