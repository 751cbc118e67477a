//! End-to-end tests: the `stave` binary as a user runs it, each test on a bench of its own.
//!
//! One file for each command, and one for each subject that goes across commands. What a machine lacks is said in a
//! line that begins with `skipped:`.

mod attacks;
mod concurrency;
mod conformance;
mod docker;
mod faults;
mod interop;
mod pattern;
mod reproducible;
mod rootless;
mod stages;
mod story;
