//! Turns the parser's own tables into the tables of `docs/dockerfile.md`, so that the page cannot say anything else than
//! the parser does.

use std::fmt::Write as _;

use crate::expand::{EXPANDED_BYTES_MAX, NESTING_MAX, PATTERN_BYTES_MAX};
use crate::parse::{FILE_BYTES_MAX, syntax};
use crate::plan::{PLAN_BYTES_MAX, STAGES_MAX};

/// Returns the generated tables by the names of their places in the page.
#[must_use]
pub fn tables() -> Vec<(&'static str, String)> {
    vec![("instructions", instructions()), ("mounts", mounts()), ("limits", limits())]
}

/// Every instruction with its flags.
fn instructions() -> String {
    let mut table = "| instruction | flags | heredocs |\n| --- | --- | --- |\n".to_owned();
    for (name, flags, heredocs) in syntax::instructions() {
        let flags = if flags.is_empty() { "none".to_owned() } else { flags.join(", ") };
        let heredocs = if heredocs { "yes" } else { "" };
        writeln!(table, "| `{name}` | {flags} | {heredocs} |").expect("a String takes every text");
    }
    table
}

/// Every option of a mount with the types that have it.
fn mounts() -> String {
    let mut table = "| option | other names | types |\n| --- | --- | --- |\n".to_owned();
    for (name, others, types) in syntax::mount_options() {
        let others = others.iter().map(|other| format!("`{other}`")).collect::<Vec<_>>().join(", ");
        let types = types.join(", ");
        writeln!(table, "| `{name}` | {others} | {types} |").expect("a String takes every text");
    }
    table
}

/// What is refused because no real file needs it.
fn limits() -> String {
    let mut table = "| what | most |\n| --- | --- |\n".to_owned();
    for (what, most, unit) in [
        ("a Dockerfile that is parsed", FILE_BYTES_MAX, "bytes"),
        ("a line of it", syntax::LINE_BYTES_MAX, "bytes"),
        ("stages", STAGES_MAX, ""),
        ("a word after its variables are expanded", EXPANDED_BYTES_MAX, "bytes"),
        ("expansions inside each other", NESTING_MAX, ""),
        ("a pattern in an expansion", PATTERN_BYTES_MAX, "bytes"),
        ("environments and histories of all stages and steps together", PLAN_BYTES_MAX, "bytes"),
    ] {
        writeln!(table, "| {what} | {} |", format!("{} {unit}", grouped(most)).trim_end())
            .expect("a String takes every text");
    }
    table
}

/// Writes a number with commas between its thousands.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(",")
}
