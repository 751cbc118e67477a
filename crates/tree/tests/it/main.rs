//! The crate as its users see it: real directories, real overlays.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test that cannot go on has failed, or says why")]

mod adversarial;
mod archive;
mod copy;
mod namespace;
mod pack;
mod resume;
mod select;
mod support;
mod unpack;
