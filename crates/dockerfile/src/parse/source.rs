//! The lines of the file, and the instructions that they are joined to.

use crate::span::Span;
use crate::text::Text;

/// Longest line in bytes, without its line feed: what the scanner of the established builders takes.
///
/// Reference: BuildKit, `frontend/dockerfile/parser`; Go, `bufio.MaxScanTokenSize` less one.
pub(crate) const LINE_BYTES_MAX: usize = 65_535;

/// A position between two lines.
pub(super) struct Source<'a> {
    text: &'a str,
    /// The position of the text's first byte.
    base: usize,
    /// Bytes of the text that were read.
    at: usize,
    /// Lines that were too long, once each.
    too_long: Vec<Span>,
    /// No line before this one is looked at again.
    measured: usize,
}

/// One line without its end.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    pub(super) text: &'a str,
    /// Where it starts.
    pub(super) start: usize,
    /// Where the next line starts.
    pub(super) next: usize,
}

impl<'a> Line<'a> {
    pub(super) fn span(&self) -> Span {
        Span::new(self.start, self.start + self.text.len())
    }

    /// Returns the place of the line feed, with carriage returns before it; empty at the end of a file without one.
    pub(super) fn end_span(&self) -> Span {
        Span::new(self.start + self.text.len(), self.next)
    }

    /// Returns a part of the line, with its place.
    pub(super) fn part(&self, part: &str) -> Text {
        let offset = part.as_ptr() as usize - self.text.as_ptr() as usize;
        Text::verbatim(part, u32::try_from(self.start + offset).unwrap_or(u32::MAX))
    }

    fn trimmed(&self) -> &'a str {
        self.text.trim_start()
    }

    pub(super) fn is_blank(&self) -> bool {
        self.trimmed().is_empty()
    }

    pub(super) fn is_comment(&self) -> bool {
        self.trimmed().starts_with('#')
    }
}

/// An instruction on one line.
pub(super) struct Joined {
    /// Without the blanks in front.
    pub(super) text: Text,
    /// Empty lines that were skipped.
    pub(super) empty_lines: Vec<Span>,
}

impl<'a> Source<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let at = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        Self { text, base: 0, at, too_long: Vec::new(), measured: 0 }
    }

    /// A source whose positions begin at `base`.
    pub(super) fn at_base(text: &'a str, base: usize) -> Self {
        Self { text, base, at: 0, too_long: Vec::new(), measured: 0 }
    }

    /// Returns where the next line starts.
    pub(super) fn at(&self) -> usize {
        self.base + self.at
    }

    /// Goes back to the beginning of a line.
    pub(super) fn go_back(&mut self, at: usize) {
        self.at = at - self.base;
    }

    pub(super) fn too_long(self) -> Vec<Span> {
        self.too_long
    }

    /// Moves past the next line.
    pub(super) fn line(&mut self) -> Option<Line<'a>> {
        let rest = &self.text[self.at..];
        if rest.is_empty() {
            return None;
        }
        let len = rest.find('\n').unwrap_or(rest.len());
        let line = Line {
            text: rest[..len].trim_end_matches('\r'),
            start: self.base + self.at,
            next: self.base + (self.at + len + 1).min(self.text.len()),
        };
        if len > LINE_BYTES_MAX && self.at >= self.measured {
            self.too_long.push(line.span());
        }
        self.at = line.next - self.base;
        self.measured = self.measured.max(self.at);
        Some(line)
    }

    /// Joins `first` to the lines that continue it, and moves past them.
    ///
    /// Comments in between are dropped, and so are empty lines. An escape character at the end of the file continues nothing.
    pub(super) fn join(&mut self, first: Line<'a>, escape: char) -> Joined {
        let mut joined = Joined { text: Text::default(), empty_lines: Vec::new() };
        let (part, mut open) = cut_continuation(first.trimmed(), escape);
        joined.text.push(&first.part(part));
        while open {
            let Some(line) = self.line() else { break };
            if line.is_comment() {
                continue;
            }
            if line.is_blank() {
                joined.empty_lines.push(line.span());
                continue;
            }
            let (part, still_open) = cut_continuation(line.text, escape);
            joined.text.push(&line.part(part));
            open = still_open;
        }
        joined
    }
}

/// Returns the line without the escape character at its end, and whether there was one.
///
/// Blanks after it do not count. Where there are two of them the line is not continued.
fn cut_continuation(line: &str, escape: char) -> (&str, bool) {
    match line.trim_end_matches([' ', '\t']).strip_suffix(escape) {
        Some(before) if !before.ends_with(escape) => (before, true),
        _ => (line, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(text: &str) -> (String, usize) {
        let mut source = Source::new(text);
        let first = source.line().unwrap();
        let joined = source.join(first, '\\');
        (joined.text.as_str().to_owned(), joined.empty_lines.len())
    }

    #[test]
    fn an_escape_character_joins_the_next_line() {
        assert_eq!(join("  RUN a \\\n  b\nc"), ("RUN a   b".to_owned(), 0));
        assert_eq!(join("RUN a \\  \t\r\n b\r\n"), ("RUN a  b".to_owned(), 0));
        assert_eq!(join("\\\nRUN a"), ("RUN a".to_owned(), 0));
    }

    #[test]
    fn two_escape_characters_do_not() {
        assert_eq!(join("RUN a \\\\\nb"), ("RUN a \\\\".to_owned(), 0));
    }

    #[test]
    fn comments_and_empty_lines_in_between_are_dropped() {
        assert_eq!(join("RUN a \\\n  # b \\\n\n \t\n c"), ("RUN a  c".to_owned(), 2));
        assert_eq!(join("RUN a \\"), ("RUN a ".to_owned(), 0));
    }

    #[test]
    fn a_line_that_is_too_long_is_noted_once() {
        let text = format!("{}\n{}\n", "a".repeat(LINE_BYTES_MAX), "b".repeat(LINE_BYTES_MAX + 1));
        let mut source = Source::new(&text);
        while source.line().is_some() {}
        source.go_back(0);
        while source.line().is_some() {}
        assert_eq!(source.too_long(), [Span::new(LINE_BYTES_MAX + 1, 2 * LINE_BYTES_MAX + 2)]);
    }
}
