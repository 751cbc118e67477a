//! What happens during a build, a pull or a push, as typed values, and these as lines of JSON and back.
//!
//! Terminal, JSON, history, report and explanation are readers of one stream of [`Event`]s. This crate knows neither who
//! tells nor who reads: no engine, no terminal, no disk, no clock.
//!
//! Invariants:
//! 1. A build tells [`Event::Begun`] first, [`Event::Planned`] once before any step, and [`Event::Ended`] last.
//! 2. A step is started or cached at most once; started, it finishes or fails, unless the build ends before.
//! 3. No event holds the value of a secret.
//! 4. [`json::read`] gives back what [`json::line`] was given, but for the text of a file, which only `Begun` carries.

mod ending;
mod event;
pub mod json;
mod miss;
mod remarks;
mod request;
mod step;
mod task;
mod written;

pub use ending::{BuiltImage, Ending, LayerLine};
pub use event::Event;
pub use miss::{Evicted, FileChange, ImageName, Miss, StepName, Value};
pub use remarks::Remarks;
pub use request::RequestFacts;
pub use step::{Origin, RequestLine, StepId, StepLine, Stream};
pub use task::{TaskEnding, TaskId, TaskKind};
