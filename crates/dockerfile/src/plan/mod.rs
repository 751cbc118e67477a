//! Turns the syntax tree into a build graph.
