//! End-to-end tests: the `stave` binary as a user runs it, each test on a bench of its own.
//!
//! One file for each command, and one for each subject that goes across commands. What a machine lacks is said in a
//! line that begins with `skipped:`.

mod attacks;
mod attestations;
mod book;
mod build;
mod bytecode;
mod callers;
mod checks;
mod concurrency;
mod conformance;
mod containers;
mod copies;
mod cp;
mod diff;
mod differential;
mod emulation;
mod errors;
mod explain;
mod failures;
mod faults;
mod flaky;
mod grants;
mod help;
mod hostile;
mod hygiene;
mod ignored;
mod images;
mod imagetools;
mod interop;
mod language;
mod lock;
mod mounts;
mod object_cache;
mod options;
mod outputs;
mod pattern;
mod platforms;
mod policy;
mod progress;
mod recipes;
mod reference;
mod registries;
mod remote;
mod remote_cache;
mod reproducible;
mod rootless;
mod roundtrip;
mod run;
mod stages;
mod story;
mod terminal;
mod usage;
mod volumes;
mod workbench;
