//! The row of a step that writes a gigabyte: through the builder into its log, and from the log into a file, beside `cat`
//! of the same bytes.

use super::builder::{Builder, Job};
use super::memory::peak_kib;
use super::{Bench, Cell, Line, median, scene};
use crate::failure::{At, Failure, Result};
use crate::run;
use crate::table::time;
use std::fs;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

/// The step reads the lines from another stage: one that came with the context would be copied for it, which is another row.
const DOCKERFILE: &str = "\
FROM busybox:latest AS lines
COPY lines /lines
FROM busybox:latest
ARG RUN
RUN --mount=type=bind,from=lines,source=/lines,target=/lines : $RUN; cat /lines
";
/// Bytes that the step writes, in lines of this many.
const OUTPUT_BYTES: u64 = 1_000_000_000;
const LINE: &[u8] = b"a line of output as a compiler or a test writes it, with its end\n";
/// Time between two looks at the memory.
const LOOK: Duration = Duration::from_millis(20);

/// Measures it for stave; what the peers do with so much they clip, so there is nothing to compare.
pub(super) fn line(bench: &Bench, runs: usize) -> Result<Line> {
    let context = scene::dockerfile(&bench.home.join("context-output"), DOCKERFILE)?;
    let (lines, copy) = (context.join("lines"), bench.home.join("output.log"));
    write_lines(&lines).at("write", &lines)?;
    let Some(builder @ Builder::Stave(stave)) = bench.builders.first() else {
        return Err(Failure::new("stave is the first builder"));
    };
    // The stage with the lines is known afterwards.
    build(builder, &context, "first")?;
    let (mut built, mut shown, mut copied, mut most) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for number in 0..runs {
        run::quiet(&mut stave.command(&context, ["builds", "rm", "--all"]))?;
        rustix::fs::sync();
        let (taken, kib) = build(builder, &context, &number.to_string())?;
        built.push(taken);
        most = most.max(kib);
        rustix::fs::sync();
        shown.push(into_file(&mut stave.command(&context, ["builds", "logs", "--raw", "^0", "4"]), &copy)?);
        is_whole(&copy)?;
        rustix::fs::sync();
        copied.push(into_file(Command::new("cat").arg(&lines), &copy)?);
    }
    for file in [&lines, &copy] {
        fs::remove_file(file).at("remove", file)?;
    }
    let others = bench.builders.len().saturating_sub(1);
    let cells = std::iter::once(Cell { time: Some(median(built)), kib: None });
    Ok(Line {
        work: format!(
            "a step that writes 1 GB, with at most {} MB of memory (`builds logs` of it into a file {})",
            most * 1024 / 1_000_000,
            time(median(shown))
        ),
        cells: cells.chain((0..others).map(|_| Cell { time: None, kib: None })).collect(),
        limit: Some((median(copied), "`cat` of the same bytes into a file")),
        goal: "500 MB/s, 64 MB",
    })
}

fn write_lines(path: &Path) -> std::io::Result<()> {
    let mut file = BufWriter::new(fs::File::create(path)?);
    for _ in 0..OUTPUT_BYTES / LINE.len() as u64 {
        file.write_all(LINE)?;
    }
    // A file that was changed just now would be read again by every build, as nobody can tell whether it is changed once more.
    file.into_inner()?.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000))
}

/// A log that is shown in part would be shown sooner.
fn is_whole(copy: &Path) -> Result {
    let (bytes, expected) =
        (fs::metadata(copy).at("examine", copy)?.len(), OUTPUT_BYTES / LINE.len() as u64 * LINE.len() as u64);
    if bytes == expected {
        return Ok(());
    }
    Err(Failure::new(format!("the log has {bytes} bytes, and the step wrote {expected}")))
}

/// Runs a command whose output goes to a file; returns how long it took.
fn into_file(command: &mut Command, path: &Path) -> Result<Duration> {
    let file = fs::File::create(path).at("create", path)?;
    let start = Instant::now();
    let status = command.stdout(file).stderr(Stdio::null()).status();
    let taken = start.elapsed();
    match status.map_err(|error| Failure::new(format!("`{}` does not start: {error}", run::line(command))))? {
        status if status.success() => Ok(taken),
        status => Err(Failure::new(format!("`{}` failed: {status}", run::line(command)))),
    }
}

/// Runs the step once more, for a run of this name. Returns the time, and the most memory that stave's processes and the step had.
fn build(builder: &Builder, context: &Path, name: &str) -> Result<(Duration, u64)> {
    let job = Job { context, no_cache: false, archive: None };
    let mut command = builder.command(job).ok_or_else(|| Failure::new("stave builds"))?;
    command.args(["--progress=quiet", "--build-arg", &format!("RUN={name}")]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let start = Instant::now();
    let mut child = command.spawn().map_err(|error| Failure::new(format!("stave does not start: {error}")))?;
    let mut peak = 0;
    loop {
        peak = peak.max(peak_kib(child.id()));
        match child.try_wait().map_err(|error| Failure::new(format!("stave cannot be waited for: {error}")))? {
            Some(status) if status.success() => return Ok((start.elapsed(), peak)),
            Some(status) => return Err(Failure::new(format!("stave failed: {status}"))),
            None => std::thread::sleep(LOOK),
        }
    }
}
