//! How a build ended badly: an image that cannot be had, a step that failed.

use std::error::Error;
use std::fmt::Write as _;

use annotate_snippets::Level;
use stave_dockerfile::{Diagnostic, Label, codes};
use stave_engine::sandbox::SandboxError;
use stave_engine::{BaseFailure, EngineError, NearName, StepCause, StepFailure, StepLine, Tally, how_ended};

use super::excerpt::{diagnostic, inside, snippet};
use super::{Style, chain, hint, one_line, printable};
use crate::progress::{as_shown, columns};
use crate::{clue, human};

/// Digits of a build's id by which it is named: enough to be the only one that begins so.
const BUILD_DIGITS: usize = 8;

/// Steps of each kind that are named.
const NAMED_MAX: usize = 8;

/// Returns why an image that the file names cannot be had. If a stage was perhaps meant, it is shown as a mistake in the
/// name; of one that is nowhere no more is said than where it was looked for.
pub(crate) fn base_failure(failure: &BaseFailure, style: Style) -> String {
    let BaseFailure { name, text, span, image, near, reach, error } = failure;
    let span = *span;
    let cause = error.to_string();
    let absence = if let EngineError::Registry(error) = error { error.absence() } else { None };
    if let Some(NearName::LaterStage(line)) = near {
        let message = format!("stage `{image}` begins below, in line {line}, and no image of that name can be had");
        let mut mistake = Diagnostic::error(codes::UNKNOWN_STAGE, span, message);
        mistake.labels[0].text = String::from("only stages above can be named");
        mistake.hints.push("A stage can start from those above it: change their order.".to_owned());
        return diagnostic(name, text, &mistake, style);
    }
    if let Some(NearName::Stage(stage)) = near {
        let message = match &absence {
            Some(_) => format!("no stage and no image is named `{image}`"),
            None => format!("no stage is named `{image}`, and the image cannot be had: {}", chain(error)),
        };
        let mut mistake = Diagnostic::error(codes::UNKNOWN_STAGE, span, message);
        mistake.labels[0].text = String::from("not the name of an earlier stage");
        mistake.hints.push(format!("If a stage is meant, its name is `{stage}`."));
        return diagnostic(name, text, &mistake, style);
    }
    let (title, because) = match absence {
        Some(absence) => (format!("no image is named `{image}`"), absence),
        None if cause.contains(image) => (cause, because(error)),
        None => (format!("cannot use image `{image}`: {cause}"), because(error)),
    };
    let label = Label { span, text: because, primary: true };
    let group = Level::ERROR.primary_title(printable(&title)).element(snippet(name, text, &[label], style));
    let mut block = style.renderer().render(&[group]) + "\n";
    if let Some(NearName::Image(image)) = near {
        block += &hint(&format!("The store has an image with a similar name: `{image}`."), style);
    }
    if let Some(NearName::OtherPlatform(platform)) = near {
        let advice = format!("The store has `{image}` for {platform}: `--platform {platform}` builds from it.");
        block += &hint(&advice, style);
    }
    if let Some(advice) = error.hint().or_else(|| reach.as_ref().map(clue::reach)) {
        block += &hint(&advice, style);
    }
    block
}

/// Returns what is known about a step that failed.
///
/// What one can do without comes first, so that it is what leaves a short terminal: what became of the other steps, its last
/// lines, then why it failed and where it is written, one advice, its log.
pub(crate) fn step_failure(failure: &StepFailure, style: Style) -> String {
    let (what, because) = match &failure.cause {
        StepCause::Exit(_) | StepCause::Signal(_) => {
            (how_ended(&failure.cause, failure.killed.as_ref()).unwrap_or_default(), None)
        }
        StepCause::Missed(miss) => (miss.to_string(), Some(String::new())),
        StepCause::Refused(error) => (error.to_string(), Some(because(error))),
    };
    let platform = failure.platform.as_ref().map(|platform| format!("{platform} ")).unwrap_or_default();
    let stage = format!("[{platform}{}] ", failure.stage);
    let verb = if matches!(failure.cause, StepCause::Missed(_)) { "would have to run because" } else { "failed:" };
    let mut label = because.unwrap_or_else(|| format!("{what} after {}", human::seconds(failure.took)));
    if is_trigger(failure) {
        write!(label, ", in a trigger of the base: `ONBUILD {}`", one_line(&failure.title))
            .expect("writing to a string does not fail");
    }
    let label = Label { span: failure.span, text: label, primary: true };
    let mut block = tally(&failure.tally, style);
    if !failure.last_lines.is_empty() {
        let (before, after) = ("last lines of ", ":");
        let room = columns(before) + columns(&stage) + columns(after);
        writeln!(block, "{before}{}{}{after}", printable(&stage), style.on_row(&failure.title, room))
            .expect("writing to a string does not fail");
        for line in &failure.last_lines {
            writeln!(block, "{} {}", style.dim("  |"), as_shown(line)).expect("writing to a string does not fail");
        }
    }
    let (level, after) = ("error: ", format!(" {verb} {what}"));
    let instruction = style.on_row(&failure.title, columns(level) + columns(&stage) + columns(&after));
    let title = Level::ERROR.primary_title(printable(&format!("{stage}{instruction}{after}")));
    let group = title.element(snippet(&failure.name, &failure.text, &[label], style));
    block += &(style.renderer().render(&[group]) + "\n");
    if let Some(advice) = step_advice(failure) {
        block += &hint(&advice, style);
    }
    if let Some(log) = &failure.log {
        writeln!(block, "{} {}", style.cyan("full log:"), printable(&log.display().to_string()))
            .expect("writing to a string does not fail");
    }
    if is_worth_a_look(&failure.cause) {
        let build: String = failure.build.chars().take(BUILD_DIGITS).collect();
        writeln!(block, "{} stave debug {build}", style.cyan("look inside:"))
            .expect("writing to a string does not fail");
    }
    block
}

/// Whether the instruction is not what the file has there: then it came with the base.
fn is_trigger(failure: &StepFailure) -> bool {
    let range = inside(&failure.text, failure.span);
    let keyword = |text: &str| text.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    let before = failure.text[..range.start].rsplit('\n').next().unwrap_or_default();
    keyword(before) == "FROM" && keyword(&failure.title) != "FROM"
}

/// Whether a command failed, or could not be started for what is or is not in its files: the state is kept in which it did.
fn is_worth_a_look(cause: &StepCause) -> bool {
    match cause {
        StepCause::Exit(_) | StepCause::Signal(_) => true,
        StepCause::Refused(EngineError::Sandbox(error)) => matches!(
            error,
            SandboxError::CommandNotFound { .. }
                | SandboxError::InterpreterNotFound { .. }
                | SandboxError::Exec { .. }
                | SandboxError::WorkDir { .. }
        ),
        StepCause::Refused(_) | StepCause::Missed(_) => false,
    }
}

/// The one advice on a step that failed: of all that may be said, what is most about this one.
fn step_advice(failure: &StepFailure) -> Option<String> {
    if let Some(killed) = &failure.killed {
        return Some(clue::memory_advice(killed));
    }
    if let Some(clue) = &failure.clue {
        return Some(clue::sentence(clue));
    }
    match &failure.cause {
        StepCause::Exit(code) => exit_advice(*code).map(str::to_owned),
        StepCause::Signal(number) => signal_advice(*number).map(str::to_owned),
        StepCause::Refused(error) => error.hint(),
        StepCause::Missed(_) => None,
    }
}

/// Returns what became of the other steps, if there are any.
fn tally<'t>(tally: &'t Tally, style: Style) -> String {
    let kinds = [
        ("done", &tally.done),
        ("cached", &tally.cached),
        ("cancelled", &tally.cancelled),
        ("never started", &tally.unstarted),
    ];
    let work = |steps: &'t Vec<StepLine>| steps.iter().filter(|step| !step.is_base()).collect::<Vec<_>>();
    let kinds: Vec<_> = kinds.into_iter().map(|(name, steps)| (name, work(steps))).collect();
    let kinds: Vec<_> = kinds.into_iter().filter(|(_, steps)| !steps.is_empty()).collect();
    if kinds.is_empty() {
        return String::new();
    }
    let counts: Vec<String> = kinds.iter().map(|(name, steps)| format!("{} {name}", steps.len())).collect();
    let mut block = format!("other steps: {}\n", counts.join(", "));
    for (name, steps) in kinds {
        for (index, step) in steps.iter().take(NAMED_MAX).enumerate() {
            let head = if index == 0 { name } else { "" };
            let platform = step.platform.as_ref().map(|platform| format!("{platform} ")).unwrap_or_default();
            let line = format!("[{platform}{} {}/{}] {}", step.stage, step.number, step.of, step.title);
            writeln!(block, "  {} {}", style.dim(&format!("{head:<13}")), style.on_row(&line, 16))
                .expect("writing to a string does not fail");
        }
        if let Some(more @ 1..) = steps.len().checked_sub(NAMED_MAX) {
            writeln!(block, "  {:<13} and {more} more", "").expect("writing to a string does not fail");
        }
    }
    block
}

/// Returns the causes of an error without the error itself, the nearest first, as what goes on the line below the words.
fn because(error: &dyn Error) -> String {
    let mut causes: Vec<String> = Vec::new();
    let (mut last, mut source) = (error.to_string(), error.source());
    while let Some(cause) = source {
        let text = cause.to_string();
        // A wrapper that shows its cause itself would say it twice.
        if !last.ends_with(&text) {
            causes.push(text.clone());
            last = text;
        }
        source = cause.source();
    }
    causes.join(", because ")
}

fn exit_advice(code: i32) -> Option<&'static str> {
    match code {
        126 => Some("126 means that a command was found and could not be executed."),
        127 => Some("127 means that a command was not found in the image."),
        137 => Some("137 means that a process was killed by SIGKILL; the kernel has not said that memory ran out."),
        _ => None,
    }
}

fn signal_advice(number: i32) -> Option<&'static str> {
    (number == 9).then_some("A process was killed by SIGKILL; the kernel has not said that memory ran out.")
}
#[cfg(test)]
mod tests {
    use std::time::Duration;

    use stave_dockerfile::Span;

    use super::*;

    /// A failure of the instruction that is the whole `text` behind its first line.
    fn failure(text: &str) -> StepFailure {
        let start = text.find('\n').expect("there are two lines") + 1;
        StepFailure {
            step: None,
            build: "0123456789abcdef".into(),
            name: "Dockerfile".to_owned(),
            text: text.to_owned(),
            span: Span::new(start, text.trim_end().len()),
            platform: None,
            stage: "build".to_owned(),
            title: text[start..].replace("\\\n", ""),
            cause: StepCause::Exit(127),
            last_lines: vec!["one".to_owned(), "make: \u{1b}[1mnot found".to_owned()],
            log: Some("/store/builds/1/3.log".into()),
            took: Duration::from_millis(1234),
            killed: None,
            clue: None,
            tally: Tally::default(),
        }
    }

    /// The terminal of 80 columns and 24 rows: what is on it when all has been printed.
    fn last_screen(failure: &StepFailure) -> Vec<String> {
        let shown = step_failure(failure, Style { columns: Some(80), ..Style::PLAIN });
        let rows = |line: &str| columns(line).div_ceil(80).max(1);
        let mut free = 23;
        let mut lines: Vec<String> = Vec::new();
        for line in shown.lines().rev() {
            let Some(rest) = usize::checked_sub(free, rows(line)) else { break };
            free = rest;
            lines.insert(0, line.to_owned());
        }
        lines
    }

    /// Whatever a step wrote, however long its instruction is and however many others there are.
    #[test]
    fn the_last_screen_of_a_small_terminal_has_all_that_is_needed() {
        let step = |number: u32| StepLine {
            step: stave_engine::StepId(number),
            platform: None,
            stage: "other".to_owned(),
            number,
            of: 40,
            title: format!("RUN echo {}", "long ".repeat(60)),
            span: Span::default(),
            inputs: Vec::new(),
            bases: Vec::new(),
        };
        let one_line = format!("FROM scratch\nRUN {}exit 127\n", "echo a word && ".repeat(33));
        let continued = format!("FROM scratch\nRUN {}\\\n    {}exit 127\n", "a &&".repeat(40), "b && ".repeat(40));
        let many = format!("FROM scratch\nRUN <<EOF\n{}EOF\n", "echo a word\n".repeat(60));
        for text in [one_line, continued, many] {
            let mut failure = failure(&text);
            failure.last_lines = (0..50).map(|number| format!("line {number} {}", "x".repeat(200))).collect();
            failure.tally.unstarted = (0..20).map(step).collect();
            failure.tally.done = (20..40).map(step).collect();
            let screen = last_screen(&failure);
            let title = screen.iter().position(|line| line.starts_with("error: [build] RUN "));
            let title = title.unwrap_or_else(|| panic!("no title in:\n{}", screen.join("\n")));
            let shown = screen[title..].join("\n");
            assert!(screen[title..].iter().all(|line| columns(line) <= 80), "{shown}");
            for part in [
                "failed: exit status 127\n",
                " --> Dockerfile:2:1\n",
                "^ exit status 127 after 1.2s\n",
                "hint: 127",
                "full log: /store",
                "look inside: stave debug 01234567",
            ] {
                assert!(shown.contains(part), "{part:?} in:\n{shown}");
            }
            // A row is lines of the step's output; nothing of a log is cut.
            let whole = step_failure(&failure, Style::PLAIN);
            assert!(
                whole.contains(&"x".repeat(200)) && whole.contains(&"long ".repeat(60).trim().to_owned()),
                "{whole}"
            );
        }
    }

    #[test]
    fn a_failed_step_shows_its_last_lines_place_status_and_log() {
        let failure = failure("FROM scratch AS build\nRUN make \\\n  all\n");
        let expected = "\
last lines of [build] RUN make all:
  | one
  | make: not found
error: [build] RUN make all failed: exit status 127
 --> Dockerfile:2:1
  |
2 | / RUN make \\
3 | |   all
  | |_____^ exit status 127 after 1.2s
hint: 127 means that a command was not found in the image.
full log: /store/builds/1/3.log
look inside: stave debug 01234567
";
        assert_eq!(step_failure(&failure, Style::PLAIN), expected);
    }
}
