//! The build graph: operations, pruning, canonical encoding and cache keys.
