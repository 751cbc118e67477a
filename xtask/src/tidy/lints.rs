//! The lint files of the pure crates: the nearest `clippy.toml` wins and does not merge, so they must stay in step.

use crate::place::Place;
use std::fs;

/// Crates without effects: no file, no process, no clock, no environment.
const PURE: &[&str] = &["oci", "pattern", "graph", "dockerfile", "solve"];

/// Compares each pure crate's file with the workspace's and with the others.
pub(super) fn check(place: &Place) -> Vec<String> {
    let read = |path: &str| fs::read_to_string(place.root.join(path)).unwrap_or_default();
    let common = read("clippy.toml");
    let first = read(&format!("crates/{}/clippy.toml", PURE[0]));
    let mut findings = Vec::new();
    for name in PURE {
        let path = format!("crates/{name}/clippy.toml");
        let text = read(&path);
        if let Some(line) = common.lines().find(|line| !text.contains(line)) {
            findings.push(format!("{path} lacks the workspace's line `{line}`"));
        }
        if text != first {
            findings.push(format!("{path} differs from crates/{}/clippy.toml", PURE[0]));
        }
    }
    findings
}
