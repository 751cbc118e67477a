//! Counts what tests left out, by reason. On a machine that CI has, nothing may be left out but what is named here.

use crate::failure::{At, Failure, Result};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Parts of the reasons that are accepted, and why.
const ACCEPTED: &[(&str, &str)] = &[
    ("shared/story", "the folder with the story's own files is not part of the repository"),
    ("landlock", "not every kernel has it"),
    ("cgroup", "not every machine delegates controllers"),
    ("Linux 6.7", "older kernels have no handlers of a user namespace"),
    ("not amd64", "what is foreign to one machine is another one's own"),
];

/// Prints the counts. Fails if `CI` is set and a reason is not accepted.
pub(super) fn judge(log: &Path) -> Result {
    let text = fs::read_to_string(log).at("read", log)?;
    let counts = count(&text);
    let total: usize = counts.values().sum();
    println!("skipped parts of tests: {total}");
    for (reason, count) in &counts {
        println!("  {count} x {reason}");
    }
    let is_accepted = |reason: &str| ACCEPTED.iter().any(|(part, _)| reason.contains(part));
    let unexpected: Vec<&str> = counts.keys().map(String::as_str).filter(|reason| !is_accepted(reason)).collect();
    if unexpected.is_empty() || std::env::var_os("CI").is_none() {
        return Ok(());
    }
    Err(Failure::new(format!("CI leaves out what it should not:\n  {}", unexpected.join("\n  "))))
}

/// The reasons of all lines of the form `skipped: TEST: REASON`.
fn count(text: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for line in text.lines() {
        let Some((_, said)) = line.split_once("skipped: ") else { continue };
        let reason = said.split_once(": ").map_or(said, |(_, reason)| reason);
        *counts.entry(unescaped(reason)).or_default() += 1;
    }
    counts
}

/// Without the entities of XML, in which nextest keeps the output.
fn unescaped(text: &str) -> String {
    text.trim_end_matches("</system-err>").replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_reasons_are_counted_together() {
        let text =
            "<system-err>skipped: a::b: not root\nskipped: c: not root</system-err>\nother\nskipped: d: no crun\n";
        let counts = count(text);
        assert_eq!(counts.get("not root"), Some(&2));
        assert_eq!(counts.get("no crun"), Some(&1));
        assert_eq!(counts.len(), 2);
    }
}
