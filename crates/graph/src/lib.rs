//! Turns the operations of a build into an acyclic graph without duplicates, and each operation into its cache key.
//!
//! It knows no Dockerfile (an [`Origin`] is only a number here), no file, no cache and no order of execution.
//!
//! Invariants:
//! 1. Inputs come before what uses them, so a graph has no cycle and ascending ids are a topological order.
//! 2. Equal operations on equal inputs are one node ([`Graph::add`]).
//! 3. A cache key depends on what an operation is and on the keys of its inputs, never on where it was written,
//!    on node ids or on the variables that are declared not to matter (`docs/cache-key.md`).
//!
//! Read `op`, `exec`, `graph`, `key` in this order; `describe` and `remote` stand by themselves.

mod describe;
mod exec;
mod graph;
mod key;
mod op;
pub mod remote;

pub use describe::{Description, describe};
pub use graph::{Graph, NodeId, Origin, Renamed};
pub use key::{CacheKey, KEY_SCHEMA, OpDigest, cache_key, op_digest};
/// The content of what an operation reads outside the graph: part of its cache key.
pub use stave_oci::TreeDigest;

pub use exec::{Device, Exec, Mount, MountFlag, MountKind, MountSource, Network, Security, Sharing, Ulimit};
pub use op::{After, ContextId, Copy, CopySource, Git, Http, Image, MakeDir, Merge, Op, Unpack};
pub use remote::{GitSource, GitTime};
