//! A diagram in the language of Mermaid, which GitHub and GitLab draw in Markdown.

use std::fmt::Write as _;

use crate::diagram::{Diagram, EdgeKind, NodeKind};
use crate::text;

/// Columns of a label, at most.
const LABEL_COLUMNS: usize = 80;

/// Returns the diagram as a `flowchart`.
///
/// Reference: mermaid.js.org, "Flowcharts", "Entity codes to escape characters".
#[must_use]
pub fn mermaid(diagram: &Diagram) -> String {
    let mut out = String::from("flowchart LR\n");
    for (place, node) in diagram.nodes.iter().enumerate() {
        let (open, close) = match (node.kind, node.is_target) {
            (NodeKind::Source, _) => ("([", "])"),
            (_, true) => ("[[", "]]"),
            (_, false) => ("[", "]"),
        };
        let note = if node.note.is_empty() { String::new() } else { format!("<br>{}", coded(&node.note)) };
        writeln!(out, "  n{place}{open}\"{}{note}\"{close}", coded(&node.name)).expect("a text takes all");
    }
    for edge in &diagram.edges {
        let arrow = if edge.kind == EdgeKind::Files { "-.->" } else { "-->" };
        writeln!(out, "  n{} {arrow} n{}", edge.from, edge.to).expect("a text takes all");
    }
    let critical = diagram.nodes.iter().enumerate().filter(|(_, node)| node.is_critical);
    let critical: Vec<String> = critical.map(|(place, _)| format!("n{place}")).collect();
    if !critical.is_empty() {
        out += "  classDef critical stroke-width:3px\n";
        writeln!(out, "  class {} critical", critical.join(",")).expect("a text takes all");
    }
    out
}

/// Text between quotes, in which whatever could mean something is a number.
fn coded(label: &str) -> String {
    let mut out = String::new();
    for one in text::cut(label, LABEL_COLUMNS).chars() {
        if one.is_alphanumeric() || matches!(one, ' ' | '.' | ',' | ':' | '/' | '-' | '_' | '(' | ')' | '[' | ']' | '=')
        {
            out.push(one);
        } else {
            write!(out, "#{};", u32::from(one)).expect("a text takes all");
        }
    }
    out
}
