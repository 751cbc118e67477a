//! The row of what finding out why a step runs costs: the same change of one file among many, by stave that looks for the
//! cause and by stave that does not, in turns.

use super::builder::{Builder, Job};
use super::{Bench, Cell, Line, median, scene};
use crate::failure::{Failure, Result};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Builds of each kind in a run: what is looked for is less than the noise of one.
const REPEATS: usize = 4;

/// Measures it.
pub(super) fn line(bench: &Bench, runs: usize) -> Result<Line> {
    let context = scene::many_files(&bench.home.join("context-explain"))?;
    let Some(builder) = bench.builders.iter().find(|builder| matches!(builder, Builder::Stave(_))) else {
        return Err(Failure::new("stave is measured always"));
    };
    build(builder, &context, "text")?;
    let (mut explained, mut silent) = (Vec::new(), Vec::new());
    for run in 0..runs * REPEATS {
        for (mode, times) in [("text", &mut explained), ("none", &mut silent)] {
            scene::change_one_file(&context, 2 * run + usize::from(mode == "none"))?;
            // What earlier runs left for the disk must not be written while this one is measured.
            rustix::fs::sync();
            let (time, is_found) = build(builder, &context, mode)?;
            // It is only worth something if the cause is found, or is not looked for.
            if is_found != (mode == "text") {
                return Err(Failure::new(format!("the cause was found or not with `--explain={mode}`: {is_found}")));
            }
            times.push(time);
        }
    }
    let others = bench.builders.len().saturating_sub(1);
    let cells = std::iter::once(Cell { time: Some(median(explained)), kib: None });
    Ok(Line {
        work: "`COPY` of 20,000 files, one changed, and which one is said".to_owned(),
        cells: cells.chain((0..others).map(|_| Cell { time: None, kib: None })).collect(),
        limit: Some((median(silent), "the same, without looking")),
        goal: "limit + 1 % + 50 ms",
    })
}

/// Builds once. Returns the time, and whether the file was named.
fn build(builder: &Builder, context: &Path, mode: &str) -> Result<(Duration, bool)> {
    let job = Job { context, no_cache: false, archive: None };
    let mut command = builder.command(job).ok_or_else(|| Failure::new("stave builds"))?;
    command.arg(format!("--explain={mode}")).stdin(Stdio::null());
    let start = Instant::now();
    let output = command.output().map_err(|error| Failure::new(format!("stave does not start: {error}")))?;
    let taken = start.elapsed();
    if !output.status.success() {
        return Err(Failure::new(format!("stave failed: {}", String::from_utf8_lossy(&output.stderr))));
    }
    let said = String::from_utf8_lossy(&output.stdout);
    Ok((taken, said.contains("`tree/100/050.dat` has other content")))
}
