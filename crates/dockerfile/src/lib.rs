//! The Dockerfile language: text to syntax tree, syntax tree to build graph.
