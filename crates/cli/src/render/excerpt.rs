//! Words of a file, underlined, with what is to be said of them.

use std::fmt::Write as _;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Snippet};
use stave_advice::Advice;
use stave_dockerfile::check::rules;
use stave_dockerfile::span::position;
use stave_dockerfile::{Diagnostic, Label, Severity, Span};
use stave_engine::masked_text;

use super::{Style, hint, printable};
use crate::progress::columns;

/// The same for what underlines words.
const MARK_COLUMNS_MIN: usize = 4;

/// Columns of the number of a line of a file, with what stands around it.
const LINE_HEAD_COLUMNS: usize = 10;
/// Returns all mistakes of one file, one after the other, in the order of the file.
pub(crate) fn diagnostics(name: &str, text: &str, diagnostics: &[Diagnostic], style: Style) -> String {
    let mut sorted: Vec<&Diagnostic> = diagnostics.iter().collect();
    sorted.sort_by_key(|diagnostic| diagnostic.labels.iter().find(|label| label.primary).map(|label| label.span.start));
    let blocks: Vec<String> = sorted.iter().map(|one| diagnostic(name, text, one, style)).collect();
    blocks.join("\n")
}

pub(super) fn diagnostic(name: &str, text: &str, diagnostic: &Diagnostic, style: Style) -> String {
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

/// Returns the words that an advice is about, as mistakes are shown.
pub(crate) fn advice(name: &str, text: &str, advice: &Advice, style: Style) -> String {
    let title = Level::NOTE.with_name("advice").primary_title(printable(&advice.message)).id(advice.code.as_str());
    let group = title.element(snippet(name, text, &advice.labels, style));
    style.renderer().render(&[group]) + "\n"
}

/// Shows the lines that `labels` are on, without the credentials of addresses. Only these lines are handed on: a file can
/// have very many lines and very many findings.
pub(super) fn snippet<'a>(
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
fn on_rows(text: &str, range: Range<usize>, label: &str, style: Style) -> Range<usize> {
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
pub(super) fn inside(text: &str, span: Span) -> Range<usize> {
    let start = text.floor_char_boundary(span.range().start.min(text.len()));
    let end = text.ceil_char_boundary(span.range().end.clamp(start, text.len()));
    start..end
}
#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "FROM scratch AS build\nCOPY --from=builder /out/app /app\nRUN make \\\n  all\n";

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
}
