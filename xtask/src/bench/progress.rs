//! The row of what showing progress costs: the same build by stave with a terminal that is drawn on, with lines, and with
//! nothing, in turns.

use super::builder::{Builder, Job};
use super::{Bench, Cell, Line, median, scene};
use crate::failure::{Failure, Result};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Steps of the build, and lines that each writes.
const STEPS: usize = 40;
const LINES: usize = 500;
/// Builds of each kind in a run: what is looked for is less than the noise of one.
const REPEATS: usize = 8;

/// Measures it.
pub(super) fn line(bench: &Bench, runs: usize) -> Result<Line> {
    let context = scene::dockerfile(&bench.home.join("progress"), &scene::loud_steps(STEPS, LINES))?;
    let Some(builder) = bench.builders.iter().find(|builder| matches!(builder, Builder::Stave(_))) else {
        return Err(Failure::new("stave is measured always"));
    };
    let build = |mode: &str| -> Result<Duration> {
        let job = Job { context: &context, no_cache: true, archive: None };
        let mut command = builder.command(job).ok_or_else(|| Failure::new("stave builds"))?;
        // Of several, the last counts.
        command.arg(format!("--progress={mode}"));
        shown(command)
    };
    build("tty")?;
    let (mut drawn, mut printed, mut silent) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs * REPEATS {
        drawn.push(build("tty")?);
        silent.push(build("none")?);
        printed.push(build("plain")?);
    }
    let others = bench.builders.len().saturating_sub(1);
    let cells = std::iter::once(Cell { time: Some(median(drawn)), kib: None });
    Ok(Line {
        work: format!(
            "{STEPS} steps that write {LINES} lines each, drawn on a terminal (as lines {})",
            crate::table::time(median(printed))
        ),
        cells: cells.chain((0..others).map(|_| Cell { time: None, kib: None })).collect(),
        limit: Some((median(silent), "the same, showing nothing")),
        goal: "limit + 1 %",
    })
}

/// Runs a command whose standard error is a terminal that takes what comes.
fn shown(mut command: Command) -> Result<Duration> {
    let (mut ours, theirs) = stave_testkit::terminal::terminal(100, 40);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(theirs);
    let start = Instant::now();
    let mut child = command.spawn().map_err(|error| Failure::new(format!("stave does not start: {error}")))?;
    // Holds the last descriptor of the other end, without which reading does not end.
    drop(command);
    let reader = std::thread::spawn(move || {
        // The end of a terminal is an error.
        std::io::copy(&mut ours, &mut std::io::sink()).ok();
    });
    let status = child.wait().map_err(|error| Failure::new(format!("stave cannot be waited for: {error}")))?;
    let taken = start.elapsed();
    reader.join().map_err(|_| Failure::new("the terminal's reader panicked"))?;
    if status.success() { Ok(taken) } else { Err(Failure::new(format!("stave failed: {status}"))) }
}
