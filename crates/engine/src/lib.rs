//! Turns requests (build this, run that, copy these) into work of the other crates and reports what happens as events.
//!
//! It is the only crate that sees the language, the schedule, the store, the sandbox and the registry together. It
//! knows no terminal, no command line, no clock and no environment of its own: all enter through [`Settings`].
//!
//! Invariants:
//! 1. A name (tag, container) is given only to something complete.
//! 2. Every event of one build comes in an order in which it could have happened; nothing waits for a reader.
//! 3. Cancelling ends every step and removes all that was unfinished before the call returns.
//!
//! Read `request`, `event`, `engine`, `base`, `build`, `steps`, `image`, `export`, `container` in this order.

pub mod event;
pub mod request;

pub use event::{Event, StepId, StepLine, Stream, TaskId};
pub use request::{
    BuildRequest, ContainerRequest, ContextSource, Destination, DockerfileSource, Output, OutputKind, PullPolicy,
};
