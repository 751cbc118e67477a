//! The workbench: a shell in the state in which a build failed, or before or after any of its steps.
//!
//! While a build ends, `keep` turns what it knows into a description, a file of its entry in the history; a failed step's
//! changes are a layer by then, which the entry keeps. Later, `find` turns a build and a place in it into layers,
//! `session` those into a process, with the mounts of `mounts` and the tools of `tools`. `take` copies files out of a failed
//! step, `bundle` carries a state to another machine. Nothing here knows the terminal or the command line.
//!
//! No secret is in any of it: of secrets and agents the description has the ids and the places. See
//! `docs/decisions/0013-failed-states.md`.
//!
//! Read `description`, `keep`, `find`, `session`, then the others.

mod bundle;
mod description;
mod find;
mod keep;
mod mounts;
mod session;
mod take;
mod tools;

pub use bundle::Exported;
pub use find::{ListedStep, StateOf, StepName, StepNameError};
pub(crate) use keep::{End, LeftStep, keep};
pub use session::{DebugRequest, Opened, Shell};
pub use take::{TakeOut, Taken};

/// The file of a build's directory that holds its description.
const DESCRIPTION_FILE: &str = "workbench.json";
