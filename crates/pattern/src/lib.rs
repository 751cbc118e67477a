//! Decides which paths a pattern selects: the rules of ignore files, and the wildcards of `COPY`.
//!
//! It knows no disk: paths are bytes, relative and separated by `/`.
//!
//! Invariants:
//! 1. Time is linear in the length of a path times that of a pattern, whatever both are: nothing backtracks.
//! 2. A pattern that means nothing is an error when it is read, never a silent mismatch.
//! 3. If [`IgnoreFile::may_reinclude_below`] denies it, every path below an ignored directory is ignored.
//!
//! Read `path`, `glob`, `wildcard`, `ignore` in this order.

mod glob;
mod ignore;
mod path;
mod wildcard;

pub use glob::Malformed;
pub use ignore::{IgnoreFile, PatternError};
pub use path::clean;
pub use wildcard::{Component, Wildcard, literal};
