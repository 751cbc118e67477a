//! Where something was written: byte ranges of the text as it was given, and their lines and columns.

use std::fmt;
use std::ops::Range;

/// A range of bytes of the Dockerfile's text, exactly as it was given to `parse`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u32,
    /// Offset after the last byte; never less than `start`.
    pub end: u32,
}

impl Span {
    /// Returns the span from `start` up to, not including, `end`.
    #[must_use]
    pub fn new(start: usize, end: usize) -> Self {
        debug_assert!(start <= end, "span {start}..{end} ends before it starts");
        Self { start: offset(start), end: offset(end) }
    }

    /// Returns the range to index the text with.
    #[must_use]
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// Returns the smallest span that covers both.
    #[must_use]
    pub fn to(self, other: Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    /// Tells whether it covers no byte: a position, not a range.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}..{}", self.start, self.end)
    }
}

/// A text longer than a `u32` can count is refused by the parser; until then its offsets saturate.
fn offset(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Line and column of a position, both counted from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The character in the line, from 1.
    pub column: usize,
}

/// Returns the line and column of byte `at` of `text`; a position after the end is the end.
#[must_use]
pub fn position(text: &str, at: u32) -> Position {
    let mut at = (at as usize).min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    let before = &text[..at];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Position {
        line: before.bytes().filter(|byte| *byte == b'\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let text = "FROM a\nRÜN b\n";
        assert_eq!(position(text, 0), Position { line: 1, column: 1 });
        assert_eq!(position(text, 6), Position { line: 1, column: 7 });
        assert_eq!(position(text, 7), Position { line: 2, column: 1 });
        assert_eq!(position(text, 10), Position { line: 2, column: 3 });
        assert_eq!(position(text, 1000), Position { line: 3, column: 1 });
    }

    #[test]
    fn a_position_inside_a_character_is_the_character() {
        assert_eq!(position("RÜN", 2), Position { line: 1, column: 2 });
    }

    #[test]
    fn joined_spans_cover_both() {
        assert_eq!(Span::new(4, 6).to(Span::new(1, 2)), Span::new(1, 6));
        assert!(Span::new(3, 3).is_empty());
    }
}
