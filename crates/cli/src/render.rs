//! Mistakes and failures as text for people. This is the only place that knows how they look.
//!
//! Every text from outside (file names, output of steps, messages of registries) has its control characters replaced.

use std::error::Error;
use std::fmt::Write as _;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use stave_advice::Advice;
use stave_dockerfile::check::rules;
use stave_dockerfile::span::position;
use stave_dockerfile::{Diagnostic, Label, Severity, Span, codes};
use stave_engine::sandbox::SandboxError;
use stave_engine::{
    BaseFailure, EngineError, NearName, StepCause, StepFailure, StepLine, Tally, how_ended, masked_text,
};

use crate::progress::{as_shown, columns, cut};
use crate::{clue, human};

/// What is cut to fit into a row has this many columns at least, however narrow the terminal is.
const PART_COLUMNS_MIN: usize = 16;
/// The same for what underlines words.
const MARK_COLUMNS_MIN: usize = 4;
/// Columns of the number of a line of a file, with what stands around it.
const LINE_HEAD_COLUMNS: usize = 10;

/// Digits of a build's id by which it is named: enough to be the only one that begins so.
const BUILD_DIGITS: usize = 8;

/// How text is decorated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    /// Whether colours are used.
    pub(crate) colour: bool,
    /// Columns of the terminal, where each line is to be one of its rows. A log has no such end.
    pub(crate) columns: Option<usize>,
}

impl Style {
    /// Text without any colour.
    #[cfg(test)]
    pub(crate) const PLAIN: Self = Self { colour: false, columns: None };

    pub(crate) fn paint(self, codes: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{codes}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(crate) fn bold_red(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    pub(crate) fn bold_yellow(self, text: &str) -> String {
        self.paint("1;33", text)
    }

    pub(crate) fn cyan(self, text: &str) -> String {
        self.paint("36", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    fn renderer(self) -> Renderer {
        let renderer = if self.colour { Renderer::styled() } else { Renderer::plain() };
        self.columns.map_or(renderer.clone(), |columns| renderer.term_width(columns))
    }

    /// Returns the text on one line, cut to what a row has beside `taken` columns.
    fn on_row(self, text: &str, taken: usize) -> String {
        let line = printable(&one_line(text));
        self.columns.map_or(line.clone(), |columns| cut(&line, columns.saturating_sub(taken).max(PART_COLUMNS_MIN)))
    }
}

/// Returns all mistakes of one file, one after the other, in the order of the file.
pub(crate) fn diagnostics(name: &str, text: &str, diagnostics: &[Diagnostic], style: Style) -> String {
    let mut sorted: Vec<&Diagnostic> = diagnostics.iter().collect();
    sorted.sort_by_key(|diagnostic| diagnostic.labels.iter().find(|label| label.primary).map(|label| label.span.start));
    let blocks: Vec<String> = sorted.iter().map(|one| diagnostic(name, text, one, style)).collect();
    blocks.join("\n")
}

fn diagnostic(name: &str, text: &str, diagnostic: &Diagnostic, style: Style) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level.primary_title(printable(&diagnostic.message)).id(diagnostic.code);
    let mut block = if diagnostic.labels.is_empty() {
        style.renderer().render(&[Group::with_title(title)])
    } else {
        let group = title.element(snippet(name, text, &diagnostic.labels, style));
        style.renderer().render(&[group])
    };
    block.push('\n');
    for advice in &diagnostic.hints {
        block += &hint(advice, style);
    }
    if let Some(rule) = rules::find(diagnostic.code) {
        writeln!(block, "{} {}", style.cyan("see:"), rule.url()).expect("writing to a string does not fail");
    }
    block
}

/// Returns what the checks found, one line each, for the end of a build.
pub(crate) fn findings_summary(name: &str, text: &str, findings: &[Diagnostic], style: Style) -> String {
    let count = match findings.len() {
        1 => "1 warning".to_owned(),
        count => format!("{count} warnings"),
    };
    let mut lines = format!("{} (use --debug to expand):\n", style.bold_yellow(&format!("{count} found")));
    for finding in findings {
        let line = position(text, finding.span().start).line;
        writeln!(lines, " - {}: {} ({}:{line})", finding.code, printable(&finding.message), printable(name))
            .expect("writing to a string does not fail");
    }
    lines
}

/// Shows the lines that `labels` are on, without the credentials of addresses. Only these lines are handed on: a file can
/// have very many lines and very many findings.
fn snippet<'a>(
    name: &str,
    text: &str,
    labels: &[Label],
    style: Style,
) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
    let mark = |label: &Label| on_rows(text, inside(text, label.span), &label.text, style);
    let ranges: Vec<_> = labels.iter().map(mark).collect();
    let first = ranges.iter().map(|range| range.start).min().unwrap_or_default();
    let last = ranges.iter().map(|range| range.end).max().unwrap_or_default();
    let from = text[..first].rfind('\n').map_or(0, |at| at + 1);
    let to = text[last..].find('\n').map_or(text.len(), |at| last + at + 1);
    let line = 1 + text[..from].matches('\n').count();
    let annotations = labels.iter().zip(ranges).map(|(label, range)| {
        let kind = if label.primary { AnnotationKind::Primary } else { AnnotationKind::Context };
        let annotation = kind.span(range.start - from..range.end - from);
        if label.text.is_empty() { annotation } else { annotation.label(printable(&label.text)) }
    });
    Snippet::source(masked_text(&text[from..to])).line_start(line).path(printable(name)).annotations(annotations)
}

/// Returns as much of a range as can be underlined in one row, with the label behind it: a row shows the words around what
/// is underlined, and all of what is.
fn on_rows(text: &str, range: std::ops::Range<usize>, label: &str, style: Style) -> std::ops::Range<usize> {
    let Some(width) = style.columns else { return range };
    let room = width.saturating_sub(LINE_HEAD_COLUMNS + columns(label) + 1).max(MARK_COLUMNS_MIN);
    // Of several lines, it is the last that has the mark and the label.
    let from = text[range.clone()].rfind('\n').map_or(range.start, |at| range.start + at + 1);
    let mut width = 0;
    for (at, character) in text[from..range.end].char_indices() {
        width += columns(character.encode_utf8(&mut [0; 4]));
        if width > room {
            return range.start..from + at;
        }
    }
    range
}

/// Returns the range of a span, moved into the text and onto character boundaries whatever it was.
fn inside(text: &str, span: Span) -> std::ops::Range<usize> {
    let start = text.floor_char_boundary(span.range().start.min(text.len()));
    let end = text.ceil_char_boundary(span.range().end.clamp(start, text.len()));
    start..end
}

/// Returns the words that an advice is about, as mistakes are shown.
pub(crate) fn advice(name: &str, text: &str, advice: &Advice, style: Style) -> String {
    let title = Level::NOTE.with_name("advice").primary_title(printable(&advice.message)).id(advice.code.as_str());
    let group = title.element(snippet(name, text, &advice.labels, style));
    style.renderer().render(&[group]) + "\n"
}

/// Returns one advice on a line of its own.
pub(crate) fn hint(advice: &str, style: Style) -> String {
    format!("{} {}\n", style.cyan("hint:"), printable(advice))
}

/// Returns an error with its causes, and advice.
pub(crate) fn error(error: &dyn Error, advice: Option<&str>, style: Style) -> String {
    message(&chain(error), advice, style)
}

/// Returns an error that is a text.
pub(crate) fn message(text: &str, advice: Option<&str>, style: Style) -> String {
    let mut block = format!("{} {}\n", style.bold_red("error:"), printable(text));
    if let Some(advice) = advice {
        block += &hint(advice, style);
    }
    block
}

/// Returns an error and its causes on one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // A wrapper that shows its cause itself would say it twice.
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

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

/// Steps of each kind that are named.
const NAMED_MAX: usize = 8;

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

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether a character ends a line, or changes the direction of what follows on it, without being a control character.
pub(crate) fn is_turn(character: char) -> bool {
    matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Returns `text` with every control character, and what is as good as one, shown instead of sent to the terminal. Tabs and
/// newlines stay.
pub(crate) fn printable(text: &str) -> String {
    let dangerous =
        |character: char| character.is_control() && character != '\t' && character != '\n' || is_turn(character);
    if !text.chars().any(dangerous) {
        return text.to_owned();
    }
    text.chars()
        .map(
            |character| {
                if dangerous(character) { character.escape_default().to_string() } else { character.to_string() }
            },
        )
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const TEXT: &str = "FROM scratch AS build\nCOPY --from=builder /out/app /app\nRUN make \\\n  all\n";

    #[test]
    fn what_a_terminal_would_obey_is_shown() {
        assert_eq!(
            printable("a\tb\nc\u{1b}[2J\u{9b}\u{202e}d\u{2069}é"),
            "a\tb\nc\\u{1b}[2J\\u{9b}\\u{202e}d\\u{2069}é"
        );
    }

    fn span(words: &str) -> Span {
        let start = TEXT.find(words).expect("the words are in the text");
        Span::new(start, start + words.len())
    }

    /// A14, A20.
    #[test]
    fn the_line_of_a_mistake_does_not_show_the_credentials_that_stand_in_it() {
        let text = "FROM scratch\nADD --lnk https://me:hunter2@example.com/f /f\n";
        let start = text.find("--lnk").expect("it is there");
        let mistake = Diagnostic::error("D011", Span::new(start, start + 5), "unknown flag `--lnk` of `ADD`");
        let expected = "\
error[D011]: unknown flag `--lnk` of `ADD`
 --> Dockerfile:2:5
  |
2 | ADD --lnk https://xxxxxxxxxx@example.com/f /f
  |     ^^^^^
";
        assert_eq!(diagnostics("Dockerfile", text, &[mistake], Style::PLAIN), expected);
    }

    #[test]
    fn a_mistake_is_shown_at_its_words_with_its_hints() {
        let mut mistake = Diagnostic::error("D012", span("builder"), "no stage is named `builder`");
        mistake.labels[0].text = "not the name of an earlier stage".to_owned();
        mistake.hints.push("a stage with a similar name is defined on line 1: `build`".to_owned());
        let expected = "\
error[D012]: no stage is named `builder`
 --> Dockerfile:2:13
  |
2 | COPY --from=builder /out/app /app
  |             ^^^^^^^ not the name of an earlier stage
hint: a stage with a similar name is defined on line 1: `build`
";
        assert_eq!(diagnostics("Dockerfile", TEXT, &[mistake], Style::PLAIN), expected);
    }

    #[test]
    fn all_mistakes_are_shown_in_the_order_of_the_file() {
        let second = Diagnostic::error("D002", span("RUN"), "second");
        let first = Diagnostic::warning("D001", span("FROM"), "first");
        let text = diagnostics("x/Dockerfile", TEXT, &[second, first], Style::PLAIN);
        let places: Vec<_> = ["warning[D001]: first", " --> x/Dockerfile:1:1", "error[D002]: second", ":3:1"]
            .iter()
            .map(|part| text.find(part).unwrap_or_else(|| panic!("`{part}` is not in:\n{text}")))
            .collect();
        assert!(places.is_sorted(), "{text}");
    }

    #[test]
    fn a_span_outside_of_the_text_is_moved_into_it() {
        for (start, end) in [(0, 9999), (9998, 9999), (3, 3)] {
            let mistake = Diagnostic::error("D001", Span::new(start, end), "x");
            assert!(diagnostics("f", TEXT, &[mistake], Style::PLAIN).starts_with("error[D001]: x\n --> f:"));
        }
        let mistake = Diagnostic::error("D001", Span::new(1, 2), "x");
        assert!(diagnostics("f", "é", &[mistake], Style::PLAIN).contains("f:1:1"));
        let mistake = Diagnostic::error("D001", Span::new(0, 0), "x");
        assert!(diagnostics("f", "", &[mistake], Style::PLAIN).contains("error[D001]: x"));
    }

    #[test]
    fn colours_come_only_when_asked_for_and_control_characters_never() {
        let mistake = Diagnostic::error("D001", span("FROM"), "a\u{1b}[31mb");
        let plain = diagnostics("na\u{7}me", TEXT, std::slice::from_ref(&mistake), Style::PLAIN);
        assert!(!plain.contains('\u{1b}') && !plain.contains('\u{7}'), "{plain:?}");
        assert!(diagnostics("f", TEXT, &[mistake], Style { colour: true, columns: None }).contains('\u{1b}'));
    }

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
