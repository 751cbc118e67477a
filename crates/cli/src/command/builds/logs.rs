//! `builds logs`: what the steps of a build have written, never clipped, in bounded memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use stave_dockerfile::span::position;
use stave_engine::store::{BuildRecord, BuildState};
use stave_engine::{EngineError, StepId, StepName};
use stave_history::{Record, StepRecord, StepState};

use super::{Context, directory, find, follow};
use crate::args::BuildsLogsArgs;
use crate::command::settled;
use crate::failure::Failure;
use crate::host::{Host, Processes};
use crate::progress::{Lines, title};
use crate::record;

/// Bytes that are copied between two looks at whether the user wants an end.
const COPIED_BYTES: u64 = 16 << 20;
/// Bytes that are read at once where what is written has to be looked at.
const READ_BYTES: usize = 64 * 1024;

pub(super) fn logs(args: &BuildsLogsArgs, context: &Context<'_>) -> Result<u8, Failure> {
    let host = context.host(Processes::None)?;
    let (build, record) = find(&host, args.build.as_deref()).map_err(|failure| match &args.build {
        // A step alone, as it is named in the build before one's eyes.
        Some(word) if args.step.is_none() && is_place(word) => failure.with_hint(&format!(
            "A step is named behind its build: `stave builds logs ^0 {word}` is one of the latest."
        )),
        _ => failure,
    })?;
    let wanted = args.step.as_deref();
    let mut printer = Printer::new(args.raw, args.tail);
    if args.follow && build.state == BuildState::Running {
        let result = follow::follow(&host, &build, wanted, &mut printer);
        return settled(&host, result).map(|()| 0);
    }
    let steps = chosen(&record, wanted).ok_or_else(|| no_step(&build, wanted))?;
    let directory = directory(host.engine.store(), &build);
    printer.has_headings = wanted.is_none() || several(&steps, &directory);
    let mut written = false;
    for step in &steps {
        written |= settled(&host, printer.print(&host, step, &directory))?;
    }
    settled(&host, printer.finish())?;
    if !written && let [step] = *steps {
        crate::print_error(&format!("note: {}\n", silence(&host, &build, step)?));
    }
    Ok(0)
}

/// Whether a word can only be a step's, and not a build's.
fn is_place(word: &str) -> bool {
    word.parse().is_ok_and(|name| !matches!(name, StepName::Stage(_)))
}

/// Whether several of the steps have written something.
pub(super) fn several(steps: &[&StepRecord], directory: &Path) -> bool {
    steps.iter().filter(|step| directory.join(step.log_name()).exists()).count() > 1
}

/// Returns the failure for a step that a build does not have.
pub(super) fn no_step(build: &BuildRecord, wanted: Option<&str>) -> Failure {
    let id = &build.id;
    Failure::failed(format!("build {id} has no step `{}`", wanted.unwrap_or_default()))
        .with_hint(&format!("See `stave builds show {id}` for its steps."))
}

/// Returns the steps that a text means, all without one. Nothing if it means none.
pub(super) fn chosen<'a>(record: &'a Record, wanted: Option<&str>) -> Option<Vec<&'a StepRecord>> {
    let Some(wanted) = wanted else { return Some(record.steps.iter().collect()) };
    let all = |is_meant: &dyn Fn(&StepRecord) -> bool| {
        let steps: Vec<_> = record.steps.iter().filter(|step| is_meant(step)).collect();
        (!steps.is_empty()).then_some(steps)
    };
    let is_stage = |step: &StepRecord, stage: &str| {
        let own = &step.line.stage;
        own.eq_ignore_ascii_case(stage) || own.strip_prefix("stage-") == Some(stage)
    };
    match wanted.parse::<StepName>() {
        Ok(StepName::Listed(number)) => record.steps.get(number.checked_sub(1)?).map(|step| vec![step]),
        Ok(StepName::OfStage(stage, number)) => {
            all(&|step| is_stage(step, &stage) && usize::try_from(step.line.number) == Ok(number))
        }
        Ok(StepName::Line(line)) => all(&|step| {
            let (first, end) = (step.line.span.start, step.line.span.end);
            (position(&record.text, first).line..=position(&record.text, end).line).contains(&line)
        }),
        Ok(StepName::Stage(_)) | Err(_) => {
            let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
            let looked_for = words(wanted);
            all(&|step| is_stage(step, wanted))
                .or_else(|| all(&|step| !looked_for.is_empty() && words(&step.line.title).contains(&looked_for)))
        }
    }
}

/// Says why there is nothing of a step, and where there is something of it.
fn silence(host: &Host, build: &BuildRecord, step: &StepRecord) -> Result<String, Failure> {
    let title = title(&step.line);
    Ok(match step.state {
        StepState::Waiting => format!("{title} did not run"),
        StepState::Running => format!("{title} has written nothing yet"),
        StepState::Done | StepState::Failed | StepState::Cancelled => format!("{title} wrote nothing"),
        StepState::Cached => match maker(host, build, step)? {
            Some((id, number)) => {
                format!("{title} was known and did not run: it did in build {id}, `stave builds logs {id} {number}`")
            }
            None => format!("{title} was known and did not run; the build in which it did is no longer in the history"),
        },
    })
}

/// Returns the build in which a result was made, and the number of the step there.
fn maker(host: &Host, build: &BuildRecord, step: &StepRecord) -> Result<Option<(String, u32)>, Failure> {
    let store = host.engine.store();
    for other in store.builds(u32::MAX).map_err(EngineError::from)? {
        let Some(record) = record::read(&directory(store, &other)).filter(|_| other.id != build.id) else { continue };
        let made = |one: &&StepRecord| one.state == StepState::Done && one.result == step.result;
        if let Some(made) = record.steps.iter().find(made) {
            return Ok(Some((other.id.to_string(), made.line.step.0 + 1)));
        }
    }
    Ok(None)
}

/// Writes logs to standard output: as they are, or line by line without what a terminal would obey.
pub(super) struct Printer {
    /// Whether each step's log stands below its title.
    pub(super) has_headings: bool,
    plain: bool,
    tail: usize,
    shown: Option<StepId>,
    /// Whether the last thing that was written ended its line.
    at_begin: bool,
    /// How far each log was read, and what of it is no whole line yet.
    read: BTreeMap<StepId, (u64, Lines)>,
}

impl Printer {
    fn new(raw: bool, tail: usize) -> Self {
        let plain = !raw && io::stdout().is_terminal();
        Self { has_headings: true, plain, tail, shown: None, at_begin: true, read: BTreeMap::new() }
    }

    /// Writes what a step's log has and what was not written yet. Returns whether there was something.
    pub(super) fn print(&mut self, host: &Host, step: &StepRecord, directory: &Path) -> Result<bool, Failure> {
        let path = directory.join(step.log_name());
        let Ok(mut file) = File::open(&path) else { return Ok(false) };
        let cannot =
            |error: io::Error| Failure::environment(&error).within(&format!("cannot read `{}`", path.display()));
        let length = file.metadata().map_err(cannot)?.len();
        let (id, tail) = (step.line.step, self.tail);
        let mut at = match self.read.get(&id) {
            Some((at, _)) => *at,
            None => tail_start(&file, length, tail).map_err(cannot)?,
        };
        if at >= length {
            return Ok(length > 0);
        }
        file.seek(SeekFrom::Start(at)).map_err(cannot)?;
        self.heading(step)?;
        // What is written meanwhile comes with the next look.
        while at < length {
            if host.engine.cancel().is_cancelled() {
                return Err(EngineError::Interrupted.into());
            }
            at += if self.plain { self.lines(id, &mut file)? } else { copy(&mut file, length - at)? };
        }
        let mut last = [0];
        file.read_exact_at(&mut last, length - 1).map_err(cannot)?;
        self.at_begin = self.plain || last == *b"\n";
        self.read.entry(id).or_default().0 = at;
        Ok(true)
    }

    /// Writes the title of a step, if the last thing that was written was another one's.
    fn heading(&mut self, step: &StepRecord) -> Result<(), Failure> {
        let id = step.line.step;
        if !self.has_headings || self.shown == Some(id) {
            return Ok(());
        }
        let before = match (self.shown.replace(id), self.at_begin) {
            (None, _) => "",
            (Some(_), true) => "\n",
            (Some(_), false) => "\n\n",
        };
        put(format!("{before}==> {} {}\n", id.0 + 1, title(&step.line)).as_bytes())
    }

    /// Writes the next piece of a log as lines. Returns how long the piece is.
    fn lines(&mut self, step: StepId, file: &mut File) -> Result<u64, Failure> {
        let mut piece = vec![0; READ_BYTES];
        let count = file.read(&mut piece).map_err(|error| cannot_read(&error))?;
        if count == 0 {
            return Err(cannot_read(&io::ErrorKind::UnexpectedEof.into()));
        }
        let mut text = String::new();
        let (_, lines) = self.read.entry(step).or_default();
        lines.each(&piece[..count], &mut |line| {
            text.push_str(line);
            text.push('\n');
        });
        put(text.as_bytes())?;
        Ok(count as u64)
    }

    /// Writes what has no end of line.
    pub(super) fn finish(&mut self) -> Result<(), Failure> {
        for (_, lines) in self.read.values_mut() {
            if let Some(rest) = lines.finish() {
                put(format!("{rest}\n").as_bytes())?;
            }
        }
        Ok(())
    }
}

/// Copies a piece of a log to standard output; where it can, the kernel does it. Returns how long the piece is.
fn copy(file: &mut File, rest: u64) -> Result<u64, Failure> {
    let mut out = io::stdout().lock();
    let copied =
        io::copy(&mut file.take(rest.min(COPIED_BYTES)), &mut out).and_then(|count| out.flush().map(|()| count));
    match copied.map_err(|error| cannot_write(&error))? {
        // Somebody has made it shorter.
        0 => Err(cannot_read(&io::ErrorKind::UnexpectedEof.into())),
        count => Ok(count),
    }
}

fn put(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| cannot_write(&error))
}

fn cannot_write(error: &io::Error) -> Failure {
    Failure::environment(error).within("cannot write to standard output")
}

fn cannot_read(error: &io::Error) -> Failure {
    Failure::environment(error).within("cannot read a log")
}

/// Returns where the last lines of a file begin.
fn tail_start(file: &File, length: u64, lines: usize) -> io::Result<u64> {
    if lines == usize::MAX {
        return Ok(0);
    }
    let (mut end, mut missing) = (length, lines);
    let mut block = vec![0; READ_BYTES];
    while end > 0 {
        let begin = end.saturating_sub(READ_BYTES as u64);
        let piece = &mut block[..usize::try_from(end - begin).unwrap_or(READ_BYTES)];
        file.read_exact_at(piece, begin)?;
        for (place, _) in piece.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let after = begin + place as u64 + 1;
            // The end of the last line begins no line.
            if after == length {
                continue;
            }
            if missing <= 1 {
                return Ok(if missing == 0 { length } else { after });
            }
            missing -= 1;
        }
        end = begin;
    }
    Ok(if lines == 0 { length } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_begin_where_they_do() {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let path = directory.path().join("log");
        let long = "x".repeat(READ_BYTES + 10);
        for text in ["", "\n", "a", "a\n", "a\nb", "a\nb\n", "a\n\n\n", &format!("{long}\n{long}\nb\n{long}")] {
            std::fs::write(&path, text).expect("it is written");
            let file = File::open(&path).expect("it is there");
            let parts: Vec<&str> = text.split_inclusive('\n').collect();
            for lines in 0..5 {
                let expected: String = parts[parts.len().saturating_sub(lines)..].concat();
                let start = tail_start(&file, text.len() as u64, lines).expect("it is read");
                let start = usize::try_from(start).expect("it is small");
                assert_eq!(text[start..], expected, "{lines} lines of {} bytes", text.len());
            }
        }
    }
}
