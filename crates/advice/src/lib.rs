//! Turns what a build really did into the changes of its Dockerfile that would save most: the record of the build, the
//! file's syntax tree and the anatomy of the image into [`Advice`], each with the words that it is about, the exact text to
//! write and what is gained by it.
//!
//! It knows no disk, no terminal and no engine, and it decides nothing about how an advice is shown.
//!
//! Invariants:
//! 1. A gain is measured: bytes are those of entries that the image has, times those that steps took. Where nothing was
//!    measured there is no advice.
//! 2. The edits of an advice, applied to the text that it was made for, give a text without a new mistake.
//! 3. No Dockerfile, record or anatomy makes it fail: what contradicts itself gives no advice.
//!
//! Read `advice`, `subject`, `shell`, then `rules`.

mod advice;
mod program;
mod rules;
mod shell;
mod subject;

pub use advice::{Advice, Code, Edit, Gain, Hunk, apply, hunks};
pub use program::is_static;
pub use rules::advise;
pub use stave_anatomy as anatomy;
pub use subject::{StageLayers, Subject, program_of};
