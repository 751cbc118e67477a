//! Isolation that really isolates: steps and jobs on this machine's kernel, as root and as an ordinary user.
//!
//! A test that this machine cannot run prints `skipped:` and why.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod escape;
mod image;
mod isolation;
mod job;
mod life;
mod outlet;
mod rootless;
mod support;
mod user;
mod volumes;
