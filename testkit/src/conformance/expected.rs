//! What a case is expected to give: `expected.json`, written once a peer or the reference's own words confirmed it, and
//! what `case.json` says by hand.

use super::case::Case;
use super::compare::Difference;
use super::saved::{Entry, Saved};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use stave_oci::DiffId;
use std::collections::BTreeMap;
use std::fs;

/// The recorded image of a case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// What confirmed it: peers with their version, or `case.json`.
    pub confirmed_by: Vec<String>,
    /// The run configuration.
    pub config: BTreeMap<String, Value>,
    /// `text`, or `text (empty)`.
    pub history: Vec<String>,
    /// The entries of each layer, by path. A layer of the base has none.
    pub layers: Vec<BTreeMap<String, String>>,
}

impl Expected {
    /// What `saved` is, with the layers in `base` left empty.
    #[must_use]
    pub fn of(saved: &Saved, base: &[DiffId], confirmed_by: Vec<String>) -> Self {
        let fields = saved.config["config"].as_object().into_iter().flatten();
        let config = fields.map(|(key, value)| (key.clone(), value.clone())).collect();
        let line = |(text, empty): (String, bool)| if empty { format!("{text} (empty)") } else { text };
        let entries = |layer: &super::saved::Layer| {
            let shown = layer.entries.iter().map(|(path, entry)| (path.clone(), entry.line(false)));
            if base.contains(&layer.diff_id) { BTreeMap::new() } else { shown.collect() }
        };
        let layers = saved.layers.iter().map(entries).collect();
        Self { confirmed_by, config, history: saved.history().into_iter().map(line).collect(), layers }
    }

    /// The record of `case`, if it has one.
    #[must_use]
    pub fn read(case: &Case) -> Option<Self> {
        let path = case.dir.join("expected.json");
        let text = fs::read(&path).ok()?;
        Some(serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    }

    /// Writes it as the record of `case`.
    pub fn write(&self, case: &Case) -> std::io::Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        fs::write(case.dir.join("expected.json"), text)
    }

    /// How `self` differs from what was recorded.
    #[must_use]
    pub fn differences(&self, recorded: &Self) -> Vec<Difference> {
        let mut lines = Vec::new();
        if self.config != recorded.config {
            lines.push(format!("configuration: {:?}, expected {:?}", self.config, recorded.config));
        }
        if self.history != recorded.history {
            lines.push(format!("history: {:#?}, expected {:#?}", self.history, recorded.history));
        }
        if self.layers.len() != recorded.layers.len() {
            lines.push(format!("{} layers, expected {}", self.layers.len(), recorded.layers.len()));
        }
        for (number, (left, right)) in self.layers.iter().zip(&recorded.layers).enumerate() {
            let only = left.iter().filter(|(path, line)| right.get(*path) != Some(line));
            lines.extend(
                only.map(|(path, line)| format!("layer {number}: {path}: {line}, expected {:?}", right.get(path))),
            );
            let missing = right.iter().filter(|(path, _)| !left.contains_key(*path));
            lines.extend(missing.map(|(path, line)| format!("layer {number}: {path}: absent, expected {line}")));
        }
        lines
    }
}

impl Case {
    /// How `saved` differs from what `case.json` says has to come out.
    #[must_use]
    pub fn unexpected(&self, saved: &Saved) -> Vec<Difference> {
        let expect = &self.about.expect;
        let tree = saved.tree();
        let mut lines = Vec::new();
        for (path, wanted) in &expect.files {
            let found = tree.get(path.trim_start_matches('/')).map(|entry: &Entry| entry.line(true));
            let as_wanted = match (&found, wanted) {
                (None, None) => true,
                (Some(found), Some(wanted)) => begins(found, wanted),
                _ => false,
            };
            if !as_wanted {
                lines.push(format!("{path}: {}, expected {}", shown(found.as_ref()), shown(wanted.as_ref())));
            }
        }
        for dir in &expect.all_below {
            let prefix = format!("{}/", dir.trim_matches('/'));
            let below = tree.keys().filter(|path| prefix == "/" || path.starts_with(&prefix));
            let extra = below.filter(|path| !expect.files.contains_key(&format!("/{path}")));
            lines.extend(extra.map(|path| format!("/{path}: is there, and is not expected")));
        }
        for (field, wanted) in &expect.config {
            let found = &saved.config["config"][field];
            if found != wanted {
                lines.push(format!("{field}: {found}, expected {wanted}"));
            }
        }
        let base = saved.history().into_iter().map(|(text, _)| text);
        let history: Vec<String> = base.filter(|text| !text.ends_with("of a fixture")).collect();
        if !expect.history.is_empty() && history != expect.history {
            lines.push(format!("history: {history:#?}, expected {:#?}", expect.history));
        }
        lines
    }
}

/// Whether all words of `wanted` are the first ones of `found`.
fn begins(found: &str, wanted: &str) -> bool {
    found.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
}

fn shown(line: Option<&String>) -> &str {
    line.map_or("absent", String::as_str)
}
