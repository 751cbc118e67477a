//! What ran when: a bar for each step and each task, in as many rows as there was work at the same time.

use std::collections::BTreeSet;
use std::time::Duration;

use maud::{Markup, html};
use stave_history::Record;
use stave_history::event::{StepId, TaskEnding, TaskKind};

use super::Page;
use super::budget::Pieces;
use super::places::{left_out, percent, step_id, step_link};
use crate::measure::{count, time};
use crate::stages::{Mark, place_name};
use crate::text;

/// Rows of bars; what would need more is only in the table.
const ROWS_MAX: usize = 60;
/// Rows that are looked at for room.
const ROWS_LOOKED_AT: usize = 4 * ROWS_MAX;
/// Pixels of a row, and of a bar in it.
const ROW: usize = 24;
const BAR: usize = 18;
/// Pixels above the first row.
const TOP: usize = 22;
/// A bar of what took no time still has this part of the width, so that one sees when it was.
const LEAST_PART: f64 = 0.001;
/// A bar that takes less of the width has no text.
const TEXT_PART: f64 = 0.03;
/// Bytes of the bars, and of the table.
const BYTES: usize = 1536 * 1024;

/// A bar.
struct Bar {
    start: Duration,
    took: Duration,
    /// Bars of one group stand in one row, if they can.
    group: String,
    class: String,
    step: Option<StepId>,
    name: String,
    row: usize,
}

/// The part about times.
pub(super) fn timeline(page: &Page<'_>) -> Markup {
    let record = page.record;
    let mut steps = step_bars(record);
    let mut tasks = task_bars(record);
    let (rows, task_rows) = (pack(&mut steps), pack(&mut tasks));
    if steps.is_empty() && tasks.is_empty() {
        return html! { p { "Nothing ran: all results were known." } };
    }
    let whole = record.took.max(Duration::from_millis(1));
    let busy: Duration = steps.iter().map(|bar| bar.took).sum();
    html! {
        p {
            "Steps took " strong { (time(busy)) } " together, in " (time(record.took)) ": "
            (format!("{:.1}", busy.as_secs_f64() / whole.as_secs_f64())) " at a time on average, "
            (count(rows)) " at most."
        }
        (chart("Steps", "timeline-steps", &steps, rows, whole))
        @if !tasks.is_empty() { (chart("Transfers and other work", "timeline-tasks", &tasks, task_rows, whole)) }
        p.legend {
            "Full bars are the critical path. Framed bars are other steps. Dashed bars failed, were cancelled or still run. "
            span.with-script hidden { "Arrow keys go from bar to bar, Enter to the step, Escape out." }
        }
        details.table {
            summary { "The same as a table" }
            (table(record, &steps, &tasks))
        }
    }
}

fn step_bars(record: &Record) -> Vec<Bar> {
    let critical: BTreeSet<StepId> = record.critical_path().steps.into_iter().collect();
    let bar = |step: &stave_history::StepRecord| {
        let start = step.started?;
        let took = step.took.unwrap_or_else(|| record.took.saturating_sub(start));
        let mark = Mark::of(step.state);
        let on_path = critical.contains(&step.line.step);
        Some(Bar {
            start,
            took,
            group: format!("{:?}{}", step.line.platform, step.line.stage),
            class: format!("bar-{}{}", mark.class(), if on_path { " critical" } else { "" }),
            step: Some(step.line.step),
            name: format!("{} {}", place_name(step), step.line.title),
            row: 0,
        })
    };
    record.steps.iter().filter_map(bar).collect()
}

fn task_bars(record: &Record) -> Vec<Bar> {
    let bar = |task: &stave_history::TaskRecord| Bar {
        start: task.started,
        took: task.took.unwrap_or_else(|| record.took.saturating_sub(task.started)),
        group: format!("{:?}", task.kind),
        class: match task.ending {
            Some(TaskEnding::Failed { .. } | TaskEnding::Cancelled) => "bar-task bar-cancelled".to_owned(),
            Some(TaskEnding::Done) | None => "bar-task".to_owned(),
        },
        step: None,
        name: match &task.ending {
            Some(TaskEnding::Failed { message }) => {
                format!("{}: {} failed: {message}", kind(task.kind), task.title)
            }
            Some(TaskEnding::Cancelled) => format!("{}: {} was cancelled", kind(task.kind), task.title),
            Some(TaskEnding::Done) | None => format!("{}: {}", kind(task.kind), task.title),
        },
        row: 0,
    };
    record.tasks.iter().map(bar).collect()
}

fn kind(kind: TaskKind) -> &'static str {
    match kind {
        TaskKind::Resolve => "resolve",
        TaskKind::Fetch => "fetch",
        TaskKind::Unpack => "unpack",
        TaskKind::Push => "push",
        TaskKind::Digest => "digest",
        TaskKind::Compress => "compress",
        TaskKind::Output => "output",
        TaskKind::Cache => "cache",
        TaskKind::Other => "other",
    }
}

/// Gives bars their rows, so that none overlap, and returns how many rows there are.
fn pack(bars: &mut [Bar]) -> usize {
    bars.sort_by_key(|bar| (bar.start, bar.step));
    let mut rows: Vec<(Duration, String)> = Vec::new();
    for bar in bars.iter_mut() {
        let free = |(end, _): &(Duration, String)| *end <= bar.start;
        let own = rows.iter().position(|row| free(row) && row.1 == bar.group);
        // Where there is not even room for the row, its number only says so.
        let row = own.or_else(|| rows.iter().position(free)).unwrap_or(rows.len()).min(ROWS_LOOKED_AT - 1);
        let end = bar.start.saturating_add(bar.took);
        if row == rows.len() {
            rows.push((end, bar.group.clone()));
        } else {
            rows[row] = (end, bar.group.clone());
        }
        bar.row = row;
    }
    rows.len()
}

fn part(time: Duration, whole: Duration) -> f64 {
    time.as_secs_f64() / whole.as_secs_f64()
}

fn chart(name: &str, id: &str, bars: &[Bar], rows: usize, whole: Duration) -> Markup {
    let shown = rows.min(ROWS_MAX);
    let height = TOP + shown * ROW + 4;
    let mut pieces = Pieces::within(BYTES);
    for (at, bar) in bars.iter().filter(|bar| bar.row < ROWS_MAX).enumerate() {
        pieces.push(|| drawn(bar, at == 0, whole));
    }
    let (pieces, missing) = pieces.finish();
    html! {
        h3 #(id) { (name) }
        svg.timeline role="group" aria-labelledby=(id) width="100%" height=(height) {
            (ticks(whole, height))
            (pieces)
        }
        @if rows > shown || missing > 0 {
            p.note { "There was more at the same time than is drawn here; the table has more." }
        }
    }
}

fn drawn(bar: &Bar, is_first: bool, whole: Duration) -> Markup {
    let width = part(bar.took, whole).max(LEAST_PART);
    let (x, width) = (percent(part(bar.start, whole).min(1.0 - width)), percent(width));
    let y = TOP + bar.row * ROW;
    let said = format!("{}, {} from {}", text::cut(&bar.name, 160), time(bar.took), time(bar.start));
    let has_text = part(bar.took, whole) >= TEXT_PART;
    let inner = html! {
        title { (said) }
        rect x={(x) "%"} y=(y) width={(width) "%"} height=(BAR) {}
        @if has_text {
            svg x={(x) "%"} y=(y) width={(width) "%"} height=(BAR) aria-hidden="true" {
                text x="5" y="13" { (text::cut(&bar.name, 120)) }
            }
        }
    };
    let tab = if is_first { "0" } else { "-1" };
    html! {
        @match bar.step {
            Some(step) => a class=(bar.class) href={"#" (step_id(step))} aria-label=(said) tabindex=(tab) { (inner) },
            None => g class=(bar.class) { (inner) },
        }
    }
}

/// Lines at round times.
fn ticks(whole: Duration, height: usize) -> Markup {
    let step = round_step(whole.as_secs_f64() / 8.0);
    let times = (0..).map(|at| f64::from(at) * step).take_while(|&at| at <= whole.as_secs_f64());
    html! {
        g.ticks aria-hidden="true" {
            @for at in times {
                @let x = percent(at / whole.as_secs_f64());
                line x1={(x) "%"} x2={(x) "%"} y1="14" y2=(height) {}
                @let is_last = at + step > whole.as_secs_f64();
                text x={(x) "%"} y="10" .first[at == 0.0] .last[is_last && at > 0.0] {
                    (time(Duration::from_secs_f64(at)))
                }
            }
        }
    }
}

/// Returns the next larger of 1, 2, 5, 10, ... and for minutes and hours of 15, 30, 60, ... seconds.
fn round_step(least: f64) -> f64 {
    const LONG: [f64; 12] = [1., 2., 5., 10., 15., 30., 60., 120., 300., 600., 1800., 3600.];
    if least > 3600.0 {
        return (least / 3600.0).ceil() * 3600.0;
    }
    if let Some(step) = LONG.into_iter().find(|&step| least > 0.5 && step >= least) {
        return step;
    }
    let power = 10_f64.powf(least.max(1e-6).log10().floor());
    [1.0, 2.0, 5.0].into_iter().map(|digit| digit * power).find(|&step| step >= least).unwrap_or(10.0 * power)
}

fn table(record: &Record, steps: &[Bar], tasks: &[Bar]) -> Markup {
    let mut rows = Pieces::within(BYTES);
    for bar in steps.iter().chain(tasks) {
        rows.push(|| {
            let step = bar.step.and_then(|step| record.step(step));
            html! {
                tr {
                    td.number { (time(bar.start)) }
                    td.number { (time(bar.took)) }
                    td {
                        @match step {
                            Some(step) => (step_link(step)),
                            None => code { (text::cut(&bar.name, super::places::TITLE_COLUMNS)) },
                        }
                    }
                }
            }
        });
    }
    let (rows, missing) = rows.finish();
    html! {
        div.scroll role="region" aria-label="Timeline as a table" tabindex="0" {
            table {
                caption { "What ran, by its begin" }
                thead { tr { th.number scope="col" { "Began" } th.number scope="col" { "Took" } th scope="col" { "What" } } }
                tbody { (rows) }
            }
        }
        @if missing > 0 { (left_out(missing, "row", &record.id)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_at_round_times() {
        for (least, step) in [(0.0004, 0.0005), (0.03, 0.05), (0.11, 0.2), (0.7, 1.0), (3.0, 5.0), (40.0, 60.0)] {
            assert!((round_step(least) - step).abs() < 1e-9, "{least}: {}", round_step(least));
        }
        assert!((round_step(5_000.0) - 7_200.0).abs() < 1e-9);
    }
}
