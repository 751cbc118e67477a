//! Why a step runs again: turns what the steps of two builds were made from into the first input that differs.
//!
//! It does not know where any of it is kept, what a store or a registry is, nor what a step does. Nothing of it decides
//! what is built: it only says what has been decided.
//!
//! Invariants:
//! 1. Two builds with the same ingredients differ in nothing.
//! 2. No document, list or text makes it panic or take more memory than a multiple of its own size.
//! 3. A value that is hidden is never shown, and leaves the machine not even as a digest.
//!
//! Read the event crate's `miss`, then `ingredients`, `manifest`, `align`, `compare` in this order.

mod align;
mod compare;
pub mod ingredients;
pub mod manifest;

pub use compare::{Comparison, Files, Side, known};
pub use ingredients::{Field, Ingredients, Input, Known, Read, Step, Variable};
pub use manifest::{Entry, Manifest, Part, Payload, Rule};
pub use stave_event::{Evicted, FileChange, ImageName, Miss, StepName, Value};
