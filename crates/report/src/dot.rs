//! A diagram in the language of Graphviz.

use std::fmt::Write as _;

use crate::diagram::{Diagram, EdgeKind, NodeKind};
use crate::stages::Mark;
use crate::text;

/// Columns of a label, at most.
const LABEL_COLUMNS: usize = 120;

/// Returns the diagram as a `digraph`.
///
/// Reference: graphviz.org, "DOT Language".
#[must_use]
pub fn dot(diagram: &Diagram) -> String {
    let mut out = String::from(
        "digraph build {\n  rankdir=LR;\n  node [shape=box, fontname=\"sans-serif\", fontsize=11];\n  edge [fontname=\"sans-serif\", fontsize=9];\n",
    );
    for (place, node) in diagram.nodes.iter().enumerate() {
        let note = if node.note.is_empty() { String::new() } else { format!("\\n{}", quoted(&node.note)) };
        let mut styles = Vec::new();
        match node.kind {
            NodeKind::Source => styles.push("dashed"),
            NodeKind::Stage | NodeKind::Step => styles.push("rounded"),
        }
        match node.mark {
            Mark::Known | Mark::NotRun => styles.push("dotted"),
            Mark::Failed => styles.push("bold"),
            Mark::Plain | Mark::Ran | Mark::Running | Mark::Cancelled => {}
        }
        let target = if node.is_target { ", peripheries=2" } else { "" };
        let critical = if node.is_critical { ", penwidth=2" } else { "" };
        let name = quoted(&node.name);
        writeln!(out, "  n{place} [label=\"{name}{note}\", style=\"{}\"{target}{critical}];", styles.join(","))
            .expect("a text takes all");
    }
    for edge in &diagram.edges {
        let style = if edge.kind == EdgeKind::Files { " [style=dashed]" } else { "" };
        writeln!(out, "  n{} -> n{}{style};", edge.from, edge.to).expect("a text takes all");
    }
    out + "}\n"
}

/// Text between quotes. A backslash begins an escape there, so it is written twice.
fn quoted(label: &str) -> String {
    text::cut(label, LABEL_COLUMNS).replace('\\', "\\\\").replace('"', "\\\"")
}
