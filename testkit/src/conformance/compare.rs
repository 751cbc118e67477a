//! Which differences between two images count. With `BuildKit` layer by layer, with others the trees that layers make.

use super::case::Peer;
use super::saved::{Entry, Saved};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// One difference, as a line.
pub type Difference = String;

const FIELDS: [&str; 12] = [
    "Env",
    "Cmd",
    "Entrypoint",
    "WorkingDir",
    "User",
    "Labels",
    "ExposedPorts",
    "Volumes",
    "StopSignal",
    "Shell",
    "Healthcheck",
    "OnBuild",
];

/// Mount points of buildah's own.
const BUILDAH_LEAVES: [&str; 5] = ["etc/hostname", "etc/hosts", "etc/resolv.conf", "run", "run/.containerenv"];

/// What differs between stave's image and that of `peer`.
#[must_use]
pub fn differences(ours: &Saved, theirs: &Saved, peer: Peer) -> Vec<Difference> {
    let mut lines = Vec::new();
    for field in FIELDS {
        let (left, right) = (settled(ours, field, peer), settled(theirs, field, peer));
        push(&mut lines, field, &left, &right);
    }
    push(&mut lines, "author", &ours.config["author"].to_string(), &theirs.config["author"].to_string());
    for field in ["os", "architecture"] {
        push(&mut lines, field, &ours.config[field].to_string(), &theirs.config[field].to_string());
    }
    match peer {
        Peer::BuildKit => compare_layers(&mut lines, ours, theirs),
        Peer::Buildah => compare_trees(&mut lines, &ours.tree(), &theirs.tree()),
    }
    lines
}

fn push(lines: &mut Vec<Difference>, what: &str, ours: &str, theirs: &str) {
    if ours != theirs {
        lines.push(format!("{what}: {ours}, the peer has {theirs}"));
    }
}

/// A field of the configuration as text, with one text for all that means the same.
fn settled(saved: &Saved, field: &str, peer: Peer) -> String {
    let value = &saved.config["config"][field];
    let empty = match value {
        Value::Null => true,
        Value::String(text) => text.is_empty() || (field == "WorkingDir" && text == "/"),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    if empty {
        return "nothing".to_owned();
    }
    // Buildah keeps the variables in an order of its own.
    if let (Peer::Buildah, "Env", Value::Array(list)) = (peer, field, value) {
        let mut list: Vec<String> = list.iter().map(Value::to_string).collect();
        list.sort();
        return list.join(" ");
    }
    sorted(value)
}

fn sorted(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let fields: BTreeMap<&String, String> = map.iter().map(|(key, value)| (key, sorted(value))).collect();
            format!("{fields:?}")
        }
        other => other.to_string(),
    }
}

fn compare_layers(lines: &mut Vec<Difference>, ours: &Saved, theirs: &Saved) {
    let (left, right) = (history(ours), history(theirs));
    for (number, (left, right)) in left.iter().zip(&right).enumerate() {
        push(lines, &format!("history {number}"), left, right);
    }
    if left.len() != right.len() {
        lines.push(format!("history: {} entries, the peer has {}", left.len(), right.len()));
    }
    if ours.layers.len() != theirs.layers.len() {
        lines.push(format!("{} layers, the peer has {}", ours.layers.len(), theirs.layers.len()));
    }
    for (number, (left, right)) in ours.layers.iter().zip(&theirs.layers).enumerate() {
        let paths: BTreeSet<&String> = left.entries.keys().chain(right.entries.keys()).collect();
        for path in paths {
            let (left, right) = (left.entries.get(path), right.entries.get(path));
            // Debian's BuildKit leaves the directories of its mount points in every layer of a RUN.
            if left.is_none() && right.is_some_and(|entry| entry.kind == "dir") && path == "etc" {
                continue;
            }
            let show = |entry: Option<&Entry>| match entry {
                // A whiteout is its name; what else its entry says means nothing.
                Some(_) if path.contains(".wh.") => "whiteout".to_owned(),
                Some(entry) => entry.line(false),
                None => "absent".to_owned(),
            };
            push(lines, &format!("layer {number}: {path}"), &show(left), &show(right));
        }
    }
}

fn compare_trees(lines: &mut Vec<Difference>, ours: &BTreeMap<String, Entry>, theirs: &BTreeMap<String, Entry>) {
    let paths: BTreeSet<&String> = ours.keys().chain(theirs.keys()).filter(|path| !path.is_empty()).collect();
    for path in paths {
        let (left, right) = (ours.get(path), theirs.get(path));
        // Buildah leaves what it mounted something on.
        if left.is_none() && right.is_some() && BUILDAH_LEAVES.contains(&path.as_str()) {
            continue;
        }
        let show = |entry: Option<&Entry>| entry.map_or_else(|| "absent".to_owned(), |entry| entry.line(false));
        push(lines, path, &show(left), &show(right));
    }
}

fn history(saved: &Saved) -> Vec<String> {
    saved.history().iter().map(|(text, empty)| format!("{} empty={empty}", wording(text))).collect()
}

/// A line of the history without what `BuildKit` has worded differently since the version that Debian has
/// (`conformance/README.md`).
fn wording(created_by: &str) -> String {
    let (keyword, rest) = created_by.split_once(' ').unwrap_or((created_by, ""));
    match keyword {
        "EXPOSE" | "HEALTHCHECK" => keyword.to_owned(),
        "ARG" => format!("ARG {}", rest.split('=').next().unwrap_or_default()),
        "COPY" | "ADD" => {
            let words = rest.split(' ').filter(|word| !word.starts_with("--"));
            format!("{keyword} {}", words.collect::<Vec<_>>().join(" "))
        }
        "RUN" => format!("RUN {}", rest.split_once("/bin/sh -c ").map_or(rest, |(_, command)| command)),
        _ => created_by.to_owned(),
    }
}
