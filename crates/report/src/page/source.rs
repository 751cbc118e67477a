//! The Dockerfile: with what each instruction cost, and what is to be said of its words.

use std::collections::BTreeMap;

use maud::{Markup, html};
use stave_dockerfile::check::rules;
use stave_dockerfile::{Diagnostic, Severity, Span};
use stave_history::{Record, StepRecord};

use super::Page;
use super::budget::Pieces;
use super::places::{Lines, step_id};
use crate::measure::{counted, time};
use crate::stages::{Mark, place_name};
use crate::text;

/// Bytes of all lines.
const BYTES: usize = 2 * 1024 * 1024;
/// Remarks that are shown.
const REMARKS: usize = 500;
/// Lines of one remark's words that are underlined.
const LINES: usize = 40;
/// Steps of one line that are named: one for each platform.
const STEPS: usize = 4;

/// What stands at one line.
#[derive(Default)]
struct Line<'a> {
    /// Ranges of bytes to underline, with their class.
    marks: Vec<(usize, usize, &'static str)>,
    remarks: Vec<&'a Diagnostic>,
    steps: Vec<&'a StepRecord>,
}

/// The part about the source.
pub(super) fn source(page: &Page<'_>) -> Markup {
    let record = page.record;
    let remarks: Vec<&Diagnostic> =
        record.warnings.iter().chain(&record.findings).flat_map(|remarks| &remarks.diagnostics).take(REMARKS).collect();
    let mut lines: BTreeMap<usize, Line<'_>> = BTreeMap::new();
    let places = Lines::of(&record.text);
    let starts = places.starts();
    for remark in &remarks {
        let last = remark.labels.iter().filter(|label| label.primary).map(|label| label.span.end.max(label.span.start));
        let end = last.max().unwrap_or_default();
        lines.entry(places.number(end.saturating_sub(1))).or_default().remarks.push(remark);
        for label in &remark.labels {
            let class = if label.primary { class(remark) } else { "also" };
            underline(&mut lines, &places, &record.text, label.span, class);
        }
    }
    for step in record.steps.iter().filter(|step| !step.line.span.is_empty()) {
        lines.entry(places.number(step.line.span.start)).or_default().steps.push(step);
    }
    let none = Line::default();
    let mut pieces = Pieces::within(BYTES);
    for (at, words) in record.text.split('\n').enumerate() {
        let line = lines.get(&(at + 1)).unwrap_or(&none);
        if at + 1 == starts.len() && words.is_empty() && line.remarks.is_empty() {
            break;
        }
        pieces.push(|| drawn(at + 1, words.strip_suffix('\r').unwrap_or(words), starts[at], line));
    }
    let (pieces, missing) = pieces.finish();
    html! {
        (found(record, &places, &remarks))
        div.scroll role="region" aria-label={"Text of " (text::line(&record.name))} tabindex="0" { ol.source { (pieces) } }
        @if missing > 0 { p.note { (counted(missing, "line")) " more would make this page too large." } }
    }
}

fn class(remark: &Diagnostic) -> &'static str {
    match remark.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

fn underline(lines: &mut BTreeMap<usize, Line<'_>>, places: &Lines, text: &str, span: Span, class: &'static str) {
    let (from, to) = (span.start as usize, (span.end as usize).min(text.len()));
    let (starts, first) = (places.starts(), places.number(span.start) - 1);
    for at in (first..starts.len()).take(LINES).take_while(|&at| starts[at] < to) {
        let end = starts.get(at + 1).map_or(text.len(), |next| next - 1);
        let (from, to) = (from.max(starts[at]), to.min(end));
        if from < to {
            lines.entry(at + 1).or_default().marks.push((from, to, class));
        }
    }
}

/// Says how much there is to be said, with the way there.
fn found(record: &Record, places: &Lines, remarks: &[&Diagnostic]) -> Markup {
    if remarks.is_empty() {
        return html! { p { "The checks found nothing in " code { (text::line(&record.name)) } "." } };
    }
    html! {
        p { (counted(remarks.len(), "remark")) " on " code { (text::line(&record.name)) } ":" }
        ul.found {
            @for remark in remarks {
                @let line = places.number(remark.span().start);
                li { a href={"#L" (line)} { "line " (line) } " " (code(remark)) ": " (text::line(&remark.message)) }
            }
        }
    }
}

/// The code of a remark, with the page about it.
fn code(remark: &Diagnostic) -> Markup {
    html! {
        @match rules::find(remark.code) {
            Some(rule) => a.code href=(rule.url()) rel="noreferrer" { (remark.code) },
            None => span.code { (remark.code) },
        }
    }
}

fn drawn(number: usize, words: &str, start: usize, line: &Line<'_>) -> Markup {
    let parts = parts(words, start, &line.marks);
    html! {
        li id={"L" (number)} value=(number) {
            span.words {
                code { @for (part, class) in &parts {
                    @match class {
                        Some(class) => mark class=(class) { (text::lines(part)) },
                        None => (text::lines(part)),
                    }
                } }
                @if !line.steps.is_empty() {
                    span.steps { @for step in line.steps.iter().take(STEPS) { (cost(step)) } }
                }
            }
            @for remark in &line.remarks { (note(remark)) }
        }
    }
}

/// What a step of this line cost.
fn cost(step: &StepRecord) -> Markup {
    let mark = Mark::of(step.state);
    let took = step.took.filter(|_| mark != Mark::Known).map(time);
    html! {
        a.mark.(mark.class()) href={"#" (step_id(step.line.step))}
            title=(text::line(&place_name(step))) { (took.unwrap_or_else(|| mark.word().to_owned())) }
    }
}

fn note(remark: &Diagnostic) -> Markup {
    let primary = remark.labels.iter().find(|label| label.primary && !label.text.is_empty());
    html! {
        p.remark.(class(remark)) role="note" {
            strong { @match remark.severity { Severity::Error => "Error ", Severity::Warning => "Warning " } }
            (code(remark)) ": " (text::line(&remark.message))
            @if let Some(label) = primary { ": " (text::line(&label.text)) }
            "."
            @for hint in &remark.hints { " " (text::line(hint)) }
        }
    }
}

/// A part of a line, and the class of what is under it.
type Part<'a> = (&'a str, Option<&'static str>);

/// Cuts a line at the begins and ends of what is underlined. Of two marks on the same words, the first counts.
fn parts<'a>(words: &'a str, start: usize, marks: &[(usize, usize, &'static str)]) -> Vec<Part<'a>> {
    let mut marks: Vec<(usize, usize, &'static str)> = marks
        .iter()
        .map(|&(from, to, class)| (from.saturating_sub(start).min(words.len()), (to - start).min(words.len()), class))
        .filter(|&(from, to, _)| words.is_char_boundary(from) && words.is_char_boundary(to))
        .collect();
    marks.sort_by_key(|&(from, to, _)| (from, std::cmp::Reverse(to)));
    let (mut parts, mut at) = (Vec::new(), 0);
    for (from, to, class) in marks {
        let from = from.max(at);
        if to <= from {
            continue;
        }
        if at < from {
            parts.push((&words[at..from], None));
        }
        parts.push((&words[from..to], Some(class)));
        at = to;
    }
    if at < words.len() {
        parts.push((&words[at..], None));
    }
    parts
}
