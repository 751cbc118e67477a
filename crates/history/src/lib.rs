//! Turns the events of a build, live or read again, into the [`Record`] of it, and answers what follows from one: what
//! took how long, what it waited for, what the cache saved.
//!
//! The end of the progress display, the history, explanations, the report and the advice are made from a record. This
//! crate knows no disk, no terminal and no engine.
//!
//! Invariant: a record is made of any events in any order without a failure; what they do not say is not in it.

mod path;
mod record;

pub use path::CriticalPath;
pub use record::{Record, StageBytes, StepRecord, StepState, TaskRecord};
pub use stave_event as event;
