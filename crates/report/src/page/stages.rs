//! The graph of the stages, and the same as a table.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::budget::Pieces;
use super::places::{bar, step_id};
use super::{Page, places};
use crate::diagram::{Detail, Diagram, NodeKind};
use crate::measure::{count, counted, size, time};
use crate::stages::{Mark, StageSteps, outcome, place_of};
use crate::{svg, text};

/// A graph with more nodes is not drawn in the page.
const NODES_MAX: usize = 600;
/// Bytes of the table.
const TABLE_BYTES: usize = 1024 * 1024;

/// The part about stages.
pub(super) fn stages(page: &Page<'_>) -> Markup {
    let record = page.record;
    let diagram = Diagram::of_build(record, Detail::Stages);
    let link = |node: &crate::Node| node.step.map(|step| format!("#{}", step_id(step)));
    html! {
        @if diagram.nodes.len() <= NODES_MAX {
            div.scroll role="region" aria-label="Graph of the stages" tabindex="0" { (svg::in_page(&diagram, &link)) }
            p.legend {
                "From left to right, from what is read to what reads it: a line where a stage goes on, a dashed line where "
                "files are copied or mounted. Double frame: what was asked for. Thick: on the critical path. Dotted: its "
                "results were known. Dashed: it comes from elsewhere."
            }
        } @else {
            p { "The graph of " (counted(diagram.nodes.len(), "node")) " is not drawn here. "
                code { "stave graph " (text::line(&record.id)) " -o graph.svg" } " draws it." }
        }
        (table(page, &diagram))
    }
}

/// Bytes of each stage's layers in the first image.
fn bytes(page: &Page<'_>, stage: &StageSteps) -> u64 {
    let images = match &page.record.ending {
        Some(stave_history::event::Ending::Built { images, .. }) => images.as_slice(),
        _ => &[],
    };
    let of_stage = |layer: &&stave_history::event::LayerLine| {
        layer.step.and_then(|step| place_of(page.record, step)).is_some_and(|step| stage.steps.contains(&step))
    };
    images.iter().flat_map(|image| &image.layers).filter(of_stage).map(|layer| layer.bytes).sum()
}

fn table(page: &Page<'_>, diagram: &Diagram) -> Markup {
    let record = page.record;
    let stages = crate::stages::stages(record);
    let longest = stages.iter().map(|stage| outcome(record, stage).1).max().unwrap_or_default();
    let sources = diagram.nodes.iter().filter(|node| node.kind == NodeKind::Source).count();
    let mut reads: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for edge in &diagram.edges {
        reads.entry(edge.to).or_default().push(edge.from);
    }
    let mut rows = Pieces::within(TABLE_BYTES);
    for (place, stage) in stages.iter().enumerate() {
        let (mark, took) = outcome(record, stage);
        let read = reads.get(&(sources + place)).map(Vec::as_slice).unwrap_or_default();
        let read: Vec<String> = read.iter().map(|&node| text::cut(&diagram.nodes[node].name, 60)).collect();
        rows.push(|| {
            let first = record.steps[stage.steps.start].line.step;
            let bytes = bytes(page, stage);
            html! {
                tr {
                    th scope="row" { a href={"#" (step_id(first))} { (text::cut(&stage.name, 60)) } }
                    td { span.mark.(mark.class()) { (mark.word()) } }
                    td.number { (count(stage.steps.len())) }
                    td.number { @if mark != Mark::Known && !took.is_zero() { (time(took)) } @else { "–" } }
                    td.wide { (bar(took.as_secs_f64() / longest.as_secs_f64().max(f64::MIN_POSITIVE), mark.class())) }
                    td.number { @if bytes > 0 { (size(bytes)) } @else { "–" } }
                    td { @if read.is_empty() { "–" } @else { (read.join(", ")) } }
                }
            }
        });
    }
    let (rows, left_out) = rows.finish();
    html! {
        div.scroll role="region" aria-label="Table of the stages" tabindex="0" {
            table {
                caption { "Stages" }
                thead {
                    tr {
                        th scope="col" { "Stage" } th scope="col" { "State" } th.number scope="col" { "Steps" }
                        th.number scope="col" { "Ran" } td.wide {} th.number scope="col" { "In the image" }
                        th scope="col" { "Reads" }
                    }
                }
                tbody { (rows) }
            }
        }
        @if left_out > 0 { (places::left_out(left_out, "stage", &record.id)) }
    }
}
