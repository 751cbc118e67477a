//! The steps: each with what became of it, why it ran, what it reads, and what it wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use maud::{Markup, html};
use stave_history::event::{Ending, Miss, Origin, StepId, StepLine};
use stave_history::{Record, StepRecord, StepState};

use super::Page;
use super::budget::Pieces;
use super::places::{Lines, TITLE_COLUMNS, left_out, number, step_id, step_link};
use crate::log::LogExcerpt;
use crate::measure::{count, counted, size, time};
use crate::stages::{Mark, Read, StageSteps, place_name, reads, stages};
use crate::text;

/// Bytes of all steps, logs not counted, and of the logs.
const BYTES: usize = 5 * 1024 * 1024;
const LOGS_BYTES: usize = 4 * 1024 * 1024;
/// With more steps, those that are out of sight are not laid out.
const MANY: usize = 200;
/// Bytes of an instruction that is shown whole; more is in the source.
const INSTRUCTION_BYTES: usize = 4 * 1024;
/// A time that was saved and is worth saying.
const SAVED_MIN: Duration = Duration::from_millis(10);
/// Inputs of a step that are named.
const INPUTS: usize = 12;

/// What is known of all steps together.
struct Facts<'a> {
    page: &'a Page<'a>,
    critical: BTreeSet<StepId>,
    bytes: BTreeMap<StepId, u64>,
    /// Steps by what they are called.
    names: BTreeMap<Name<'a>, StepId>,
    lines: Lines,
    stages: Vec<StageSteps>,
}

/// Stage, number and platform of a step.
type Name<'a> = (&'a str, u32, Option<&'a str>);

fn name(line: &StepLine) -> Name<'_> {
    (&line.stage, line.number, line.platform.as_deref())
}

/// The part about steps.
pub(super) fn steps(page: &Page<'_>) -> Markup {
    let record = page.record;
    let facts = Facts {
        page,
        critical: record.critical_path().steps.into_iter().collect(),
        bytes: layer_bytes(record),
        names: record.steps.iter().rev().map(|step| (name(&step.line), step.line.step)).collect(),
        lines: Lines::of(&record.text),
        stages: stages(record),
    };
    let mut pieces = Pieces::within(BYTES + LOGS_BYTES);
    let mut log_room = LOGS_BYTES;
    for step in &record.steps {
        pieces.push(|| facts.step(step, &mut log_room));
    }
    let (pieces, missing) = pieces.finish();
    html! {
        (controls(record))
        p.count #step-count role="status" { (counted(record.steps.len() - missing, "step")) }
        ol.steps #step-list .many[record.steps.len() > MANY] { (pieces) }
        @if missing > 0 { (left_out(missing, "step", &record.id)) }
    }
}

/// Bytes that each step's layers have in all images.
fn layer_bytes(record: &Record) -> BTreeMap<StepId, u64> {
    let mut bytes = BTreeMap::new();
    let Some(Ending::Built { images, .. }) = &record.ending else { return bytes };
    for layer in images.iter().flat_map(|image| &image.layers) {
        if let Some(step) = layer.step {
            *bytes.entry(step).or_default() += layer.bytes;
        }
    }
    bytes
}

/// What chooses among the steps. Without a script there is none.
fn controls(record: &Record) -> Markup {
    let mut stages: Vec<String> = Vec::new();
    for step in &record.steps {
        if stages.last() != Some(&step.line.stage) && !stages.contains(&step.line.stage) && stages.len() < 500 {
            stages.push(step.line.stage.clone());
        }
    }
    let marks = [Mark::Ran, Mark::Known, Mark::Failed, Mark::Running, Mark::Cancelled, Mark::NotRun];
    let has = |mark: Mark| record.steps.iter().any(|step| Mark::of(step.state) == mark);
    html! {
        form.controls #step-controls hidden {
            label { "Search in steps and logs " input #step-search type="search" autocomplete="off" placeholder="text"; }
            label { "State "
                select #step-state {
                    option value="" { "all" }
                    @for mark in marks.into_iter().filter(|&mark| has(mark)) {
                        option value=(mark.class()) { (mark.word()) }
                    }
                    option value="critical" { "on the critical path" }
                }
            }
            @if stages.len() > 1 {
                label { "Stage "
                    select #step-stage {
                        option value="" { "all" }
                        @for stage in &stages { option value=(text::line(stage)) { (text::cut(stage, 40)) } }
                    }
                }
            }
            label { "Order "
                select #step-order {
                    option value="order" { "of the Dockerfile" }
                    option value="took" { "longest first" }
                    option value="start" { "as they began" }
                    option value="bytes" { "most bytes first" }
                }
            }
            span.buttons {
                button #step-open type="button" { "Open all" }
                button #step-close type="button" { "Close all" }
            }
        }
    }
}

impl Facts<'_> {
    fn step(&self, step: &StepRecord, log_room: &mut usize) -> Markup {
        let id = step.line.step;
        let mark = Mark::of(step.state);
        let is_critical = self.critical.contains(&id);
        let bytes = self.bytes.get(&id).copied().unwrap_or_default();
        let log = self.page.logs.get(&id).map(|log| self.log(step, log, log_room));
        let millis = |time: Option<Duration>| time.map(|time| time.as_millis().to_string());
        html! {
            li.step #(step_id(id)) .critical[is_critical] data-state=(mark.class()) data-order=(number(id))
                data-stage=(text::line(&step.line.stage)) data-took=[millis(step.took)] data-start=[millis(step.started)]
                data-bytes=[(bytes > 0).then_some(bytes)] {
                details open[step.state == StepState::Failed] {
                    summary {
                        span.place { (text::line(&place_name(step))) }
                        code.title { (text::cut(&step.line.title, TITLE_COLUMNS * 2)) }
                        span.facts {
                            @if bytes > 0 { span.bytes { (size(bytes)) } }
                            @if let Some(took) = step.took { span.took { (time(took)) } }
                            span.mark.(mark.class()) { (mark.word()) }
                            @if is_critical { span.on-path { "critical" } }
                        }
                    }
                    div.body {
                        (self.cause(step))
                        (self.instruction(step))
                        (self.reads(step))
                        @if let Some(log) = log { (log) }
                    }
                }
            }
        }
    }

    /// Why it ran, or where its result came from.
    fn cause(&self, step: &StepRecord) -> Markup {
        if step.is_base() && step.miss.is_none() {
            return html! { p.cause { "What the stage starts from; it has no work of its own." } };
        }
        let saved = step.saved.filter(|saved| *saved >= SAVED_MIN);
        let saved = saved.map(|saved| format!("; it took {} when it ran", time(saved))).unwrap_or_default();
        match (&step.miss, step.state, step.origin) {
            (Some(miss), ..) => html! {
                p.cause {
                    strong { "Ran because " } (text::line(&miss.to_string())) "."
                    " " span.code { (miss.root().code()) }
                    @if let Some(root) = self.root(step) { " See " (step_link(root)) "." }
                }
            },
            (None, StepState::Cached, Some(Origin::Imported)) => {
                html! { p.cause { strong { "Known" } " from a cache of another machine" (saved) "." } }
            }
            (None, StepState::Cached, _) => {
                html! { p.cause { strong { "Known" } " from an earlier build" (saved) "." } }
            }
            (None, StepState::Waiting, _) => html! { p.cause { strong { "Not run" } ": the build ended before." } },
            (None, ..) => html! {},
        }
    }

    /// The step whose change made this one run.
    fn root(&self, step: &StepRecord) -> Option<&StepRecord> {
        let Some(Miss::Parent { step: name, .. }) = &step.miss else { return None };
        let found = self.names.get(&(name.stage.as_str(), name.number, name.platform.as_deref()))?;
        self.page.record.step(*found)
    }

    /// The words of the Dockerfile, where they are more than the title says.
    fn instruction(&self, step: &StepRecord) -> Markup {
        let text = &self.page.record.text;
        let words = text.get(step.line.span.range()).unwrap_or_default();
        if words.is_empty() {
            return html! {};
        }
        let line = self.lines.number(step.line.span.start);
        let shown = words.get(..INSTRUCTION_BYTES).unwrap_or(words);
        html! {
            p.where { a href={"#L" (line)} { "Line " (count(line)) } }
            @if text::line(words) != step.line.title || text::columns(words) > TITLE_COLUMNS * 2 {
                pre.instruction tabindex="0" role="region" aria-label={"Instruction of " (text::line(&place_name(step)))} {
                    code { (text::lines(shown)) @if shown.len() < words.len() { "…" } }
                }
            }
        }
    }

    fn reads(&self, step: &StepRecord) -> Markup {
        let record = self.page.record;
        let place = step.line.step.0 as usize;
        let stage = self.stages.partition_point(|stage| stage.steps.end <= place);
        if stage >= self.stages.len() {
            return html! {};
        }
        let read = reads(record, &self.stages, stage, place);
        if read.is_empty() {
            return html! {};
        }
        html! {
            p.reads { "Reads:" }
            ul.reads {
                @for (read, _) in read.iter().take(INPUTS) {
                    @match read {
                        Read::Step(place) => li { (step_link(&record.steps[*place])) },
                        Read::Image(name) => li { "image " code { (text::cut(name, TITLE_COLUMNS)) } },
                    }
                }
                @if read.len() > INPUTS { li { "and " (counted(read.len() - INPUTS, "other result")) } }
            }
        }
    }

    fn log(&self, step: &StepRecord, log: &LogExcerpt, room: &mut usize) -> Markup {
        let (head, tail) = (text::log(&log.head), text::log(&log.tail));
        if head.trim().is_empty() && tail.trim().is_empty() {
            return html! {};
        }
        let place = text::line(&place_name(step));
        let build = text::line(&self.page.record.id);
        let command = format!("stave builds logs {build} {}", number(step.line.step));
        let written = escaped_len(&head) + escaped_len(&tail);
        if written > *room {
            return html! { p.note { "Its log would make this page too large: " code { (command) } } };
        }
        *room -= written;
        html! {
            pre.log tabindex="0" role="region" aria-label={"Log of " (place)} {
                (head.trim_end_matches('\n'))
                @if log.left_out > 0 {
                    "\n"
                    span.gap { (size(log.left_out)) " are left out here: " (command) }
                    "\n" (tail.trim_end_matches('\n'))
                }
            }
        }
    }
}

/// Bytes of a text in a page.
fn escaped_len(text: &str) -> usize {
    let more = |byte: u8| match byte {
        b'&' | b'<' | b'>' | b'"' => 6,
        _ => 1,
    };
    text.bytes().map(more).sum()
}
