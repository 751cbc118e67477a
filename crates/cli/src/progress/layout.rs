//! Which lines are drawn of what runs, and in which order they give way on a terminal with few rows.

use std::time::Duration;

use stave_history::StepState;

use super::frame::{Line, Size};
use super::settings::Tone;
use super::silence::{self, Who};
use super::tty::{Running, State, Task};
use crate::human;

/// Most lines about what waits.
const WAITING_LINES: usize = 4;

/// Something that runs, with what can be shown below it.
struct Block {
    head: Line,
    below: Vec<Line>,
    /// When it was last heard of: of the liveliest, most is shown.
    heard: Duration,
}

/// Returns the lines of a drawing, at most as many as the terminal has room for.
pub(super) fn live(state: &State, now: Duration, size: Size) -> Vec<Line> {
    let mut room = size.height();
    let header = header(state, now);
    let mut blocks: Vec<Block> = state.tasks.iter().map(|task| task_block(state, task, now)).collect();
    blocks.extend(state.running.iter().map(|running| step_block(state, running, now)));
    let mut lines: Vec<Line> = header.into_iter().collect();
    room = room.saturating_sub(lines.len());
    // Who runs comes first, then what waits, then output, then what is cached.
    if room < blocks.len() {
        // One line is worth more with something on it that runs.
        let shown = if room > 1 { room - 1 } else { room };
        let more = format!("    and {} more", blocks.len() - shown);
        lines.extend(blocks.into_iter().take(shown).map(|block| block.head));
        if room > 1 {
            lines.push(Line::new(Tone::Quiet, more));
        }
        return lines;
    }
    room -= blocks.len();
    let mut waiting = waiting(state, now);
    waiting.truncate(room);
    room -= waiting.len();
    let cached = state.cached_line().filter(|_| room > 0);
    room -= usize::from(cached.is_some());
    lines.extend(cached);
    let shares = shares(&blocks, room);
    for (block, share) in blocks.into_iter().zip(shares) {
        lines.push(block.head);
        let skipped = block.below.len() - share;
        lines.extend(block.below.into_iter().skip(skipped));
    }
    lines.extend(waiting);
    lines
}

/// Returns how many lines each may have below it: in turns, the one that was heard of last first.
fn shares(blocks: &[Block], mut room: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..blocks.len()).collect();
    order.sort_by_key(|&place| std::cmp::Reverse(blocks[place].heard));
    let mut shares = vec![0; blocks.len()];
    loop {
        let before = room;
        for &place in &order {
            if room > 0 && shares[place] < blocks[place].below.len() {
                shares[place] += 1;
                room -= 1;
            }
        }
        if room == before {
            return shares;
        }
    }
}

fn header(state: &State, now: Duration) -> Option<Line> {
    if state.record.id.is_empty() || state.record.ending.is_some() {
        return None;
    }
    let (total, cached) = (state.record.count_all(), state.record.count(StepState::Cached));
    let ended = cached + state.record.count(StepState::Done);
    let text = match (total, cached) {
        (0, _) => "building".to_owned(),
        (_, 0) => format!("building: {ended} of {total} steps"),
        _ => format!("building: {ended} of {total} steps, {cached} cached"),
    };
    Some(Line::new(Tone::Usual, text).with_right([human::seconds(now)]))
}

fn task_block(state: &State, task: &Task, now: Duration) -> Block {
    let time = human::seconds(now.saturating_sub(task.started));
    let mut right = Vec::new();
    if task.done > 0 {
        let amount = super::amount(task.done, task.total);
        if let Some(rate) = task.rate(now) {
            right.push(format!("{amount}  {}/s  {time}", human::size(rate)));
        }
        right.push(format!("{amount}  {time}"));
        right.extend(
            task.total.filter(|&total| total > 0).map(|total| format!("{}%", task.done.min(total) * 100 / total)),
        );
    }
    right.push(time);
    let silent = state.silence.of(now, Who::Task(task.id)).map(|silent| (silent, "progress"));
    Block {
        head: Line::new(Tone::Usual, format!(" => {}", task.title)).with_right(right),
        below: silent.into_iter().map(silence_line).collect(),
        heard: Duration::ZERO,
    }
}

fn step_block(state: &State, running: &Running, now: Duration) -> Block {
    let time = human::seconds(now.saturating_sub(running.started));
    let mut below: Vec<Line> = Vec::new();
    below.extend(state.why(running.step).map(|why| Line::new(Tone::Quiet, format!("    because {why}"))));
    if running.skipped > 0 {
        let log = state.record.step(running.step).map(|step| state.record.directory.join(step.log_name()));
        let log = log.map(|log| log.display().to_string()).unwrap_or_default();
        let size = human::size(running.skipped);
        below.push(Line::new(Tone::Quiet, format!("  | ({size} went by too fast; all of it: {log})")));
    }
    let tail = running.tail();
    let skipped = tail.len().saturating_sub(state.settings.log_lines);
    below.extend(tail.into_iter().skip(skipped).map(|line| Line::new(Tone::Quiet, format!("  | {line}"))));
    let silent = state.silence.of(now, Who::Step(running.step)).map(|silent| (silent, "output"));
    below.extend(silent.map(silence_line));
    Block {
        head: Line::new(Tone::Usual, format!(" => {}", running.title)).with_right([time]),
        below,
        heard: running.wrote,
    }
}

fn silence_line((silent, what): (Duration, &str)) -> Line {
    Line::new(Tone::Warning, format!("    no {what} for {}", human::seconds(silent)))
}

/// Says what each waiting step waits for, when what holds it up has been silent for long.
fn waiting(state: &State, now: Duration) -> Vec<Line> {
    if !state.silence.is_general(now, state.heard) {
        return Vec::new();
    }
    let all = silence::waiting(&state.record, &state.silence, now);
    let count = all.len();
    let mut lines: Vec<Line> = Vec::new();
    for (step, holders) in all.into_iter().take(if count > WAITING_LINES { WAITING_LINES - 1 } else { WAITING_LINES }) {
        let what = silence::holders(&holders, state.tasks.iter().map(|task| task.title.as_str()), |step| {
            place(state.title(step)).to_owned()
        });
        lines.push(Line::new(Tone::Quiet, format!(" .. {} waits for {what}", place(state.title(step)))));
    }
    if count > WAITING_LINES {
        lines.push(Line::new(Tone::Quiet, format!(" .. and {} more steps wait", count - lines.len())));
    }
    lines
}

/// Returns the place in brackets that a title begins with.
fn place(title: &str) -> &str {
    title.find(']').map_or(title, |end| &title[..=end])
}
