//! The row of the failed build that is looked into: from the command to the prompt of a shell in its state.

use super::builder::Builder;
use super::{Bench, Cell, Line, median, scene};
use crate::failure::{Failure, Result};
use crate::run;
use crate::stave::Stave;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// A step that fails on a large base, with something of its own.
const DOCKERFILE: &str = "FROM golang:1.7.3\nWORKDIR /src\nENV LEVEL=debug\n\
                          RUN echo started > /state && test -f /never\n";
/// What the shell's prompt ends with, as root.
const PROMPT: &[u8] = b"# ";

/// Measures it for stave: the peers keep no failed state.
pub(super) fn line(bench: &Bench, runs: usize) -> Result<Line> {
    let context = scene::dockerfile(&bench.home.join("context-debug"), DOCKERFILE)?;
    let Some(Builder::Stave(stave)) = bench.builders.first() else {
        return Err(Failure::new("stave is the first builder"));
    };
    if run::quiet(&mut stave.command(&context, ["build", "--progress=plain", "."])).is_ok() {
        return Err(Failure::new("the step that is to fail did not"));
    }
    let (mut opened, mut commands, mut started) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs {
        opened.push(until_prompt(stave, &context)?);
        commands.push(run::timed(&mut stave.command(&context, ["debug", "--", "test", "-f", "/state"]))?);
        started.push(run::timed(&mut Command::new("/bin/true"))?);
    }
    let others = bench.builders.len().saturating_sub(1);
    let cells = std::iter::once(Cell { time: Some(median(opened)), kib: None });
    Ok(Line {
        work: format!(
            "a shell in the state of a failed build on a large base (one command there {})",
            crate::table::time(median(commands))
        ),
        cells: cells.chain((0..others).map(|_| Cell { time: None, kib: None })).collect(),
        limit: Some((median(started), "start a process")),
        goal: "1 s",
    })
}

/// Opens a shell on a terminal. Returns the time until it asks for a command.
fn until_prompt(stave: &Stave, context: &Path) -> Result<Duration> {
    let (mut ours, theirs) = stave_testkit::terminal::terminal(100, 40);
    let failed = |what: &str, error: &std::io::Error| Failure::new(format!("{what}: {error}"));
    let copy = || theirs.try_clone().map_err(|error| failed("a terminal cannot be shared", &error));
    let mut command = stave.command(context, ["debug"]);
    command.stdin(copy()?).stdout(copy()?).stderr(copy()?);
    let start = Instant::now();
    let mut child = command.spawn().map_err(|error| failed("stave does not start", &error))?;
    // Hold the other end, without which reading does not end.
    drop((command, theirs));
    let (mut said, mut piece, mut taken) = (Vec::new(), [0; 4096], None);
    // The end of a terminal is an error.
    while let Ok(count @ 1..) = ours.read(&mut piece) {
        said.extend_from_slice(&piece[..count]);
        if taken.is_none() && said.windows(PROMPT.len()).any(|bytes| bytes == PROMPT) {
            taken = Some(start.elapsed());
            ours.write_all(b"exit\n").map_err(|error| failed("the shell takes no command", &error))?;
        }
    }
    let status = child.wait().map_err(|error| failed("stave cannot be waited for", &error))?;
    match taken.filter(|_| status.success()) {
        Some(taken) => Ok(taken),
        None => Err(Failure::new(format!("no shell was opened ({status}): {}", String::from_utf8_lossy(&said)))),
    }
}
