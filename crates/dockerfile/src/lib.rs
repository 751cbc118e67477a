//! Turns the text of a Dockerfile into a syntax tree, and the syntax tree into a build graph.
//!
//! It knows no disk, no network, no clock and no environment: what it needs to know about base images it asks for
//! ([`plan`]), and the text is given to it as a `str`.
//!
//! Invariants:
//! 1. [`parse`] is total: every text gives a tree, and every mistake in it a [`Diagnostic`] of the same run.
//! 2. Every [`Span`] lies inside the text that was parsed, on character boundaries.
//! 3. Nothing that was written is ignored: an unknown instruction, flag or option is an error that points at it.
//! 4. A line ending written as CR LF means the same as LF.
//!
//! Read `span`, `diagnostic`, `text`, `ast`, then `parse` (top down from its `mod.rs`), `expand`, `plan` and `check`.

pub mod ast;
pub mod check;
pub mod codes;
pub mod diagnostic;
pub mod expand;
mod parse;
pub mod plan;
pub mod reference;
pub mod span;
pub mod suggest;
pub mod text;

pub use ast::Dockerfile;
pub use diagnostic::{Diagnostic, Label, Severity, known_code};
pub use parse::{FILE_BYTES_MAX, Parse, parse};
pub use span::Span;
pub use text::Text;
