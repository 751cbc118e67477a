//! Text for a line of a terminal: how wide it is, where it is cut, and nothing in it that could leave the line.
//!
//! Terminals differ in how wide they draw some characters. Widths here are never less than what one of them may draw, so
//! that a line that is said to fit does.

use std::fmt::Write as _;

use unicode_segmentation::UnicodeSegmentation as _;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Characters that one cell is drawn from at most; more marks than these on one letter are noise.
const CELL_CHARS_MAX: usize = 8;

/// Whether a character is drawn on its line and in its place: no control character, no separator of lines, and nothing that
/// changes the direction of what follows.
fn is_harmless(character: char) -> bool {
    !character.is_control()
        && !matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Returns the text with tabs as blanks and without characters that are not drawn in their place.
pub(super) fn safe(text: &str) -> String {
    text.chars().map(|one| if one == '\t' { ' ' } else { one }).filter(|&one| is_harmless(one)).collect()
}

/// Returns how many columns one grapheme takes at most.
fn columns_of(grapheme: &str) -> usize {
    let apart: usize = grapheme.chars().map(|one| one.width().unwrap_or_default()).sum();
    apart.max(grapheme.width())
}

/// Returns how many columns a text takes at most.
pub(crate) fn columns(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.graphemes(true).map(columns_of).sum() }
}

/// Returns as much of the text as fits into `room` columns, with `…` as the last character if something is missing.
pub(crate) fn cut(text: &str, room: usize) -> String {
    let text = safe(text);
    if text.is_ascii() && text.len() <= room {
        return text;
    }
    let mut kept = String::new();
    let (mut width, mut width_before_last, mut before_last) = (0, 0, 0);
    for grapheme in text.graphemes(true) {
        let drawn: String = grapheme.chars().take(CELL_CHARS_MAX).collect();
        let more = columns_of(&drawn);
        if width + more > room {
            // The mark takes the place of the last character, if there is no room beside it.
            if width == room {
                kept.truncate(before_last);
                width = width_before_last;
            }
            if width < room {
                kept.push('…');
            }
            return kept;
        }
        (before_last, width_before_last) = (kept.len(), width);
        kept += &drawn;
        width += more;
    }
    kept
}

/// Returns `text` at the left and `right` at the right end of `room` columns. What does not fit of the text is cut; if there
/// is room for nothing but the right one, it goes.
pub(super) fn between(text: &str, right: &str, room: usize) -> String {
    let taken = columns(right) + 1;
    if taken + 8 > room {
        return cut(text, room);
    }
    let mut line = cut(text, room - taken);
    let gap = room - taken - columns(&line) + 1;
    write!(line, "{:gap$}{right}", "").expect("writing to a string does not fail");
    line
}

/// Returns the text in lines of at most `room` columns, between words where there are some. One with colours is left whole.
pub(super) fn wrap(text: &str, room: usize) -> Vec<String> {
    if text.contains('\u{1b}') || columns(text) <= room {
        return vec![text.to_owned()];
    }
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if columns(line) + 1 + columns(word) <= room => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_parted_between_words() {
        assert_eq!(wrap("one two three", 8), ["one two", "three"]);
        assert_eq!(wrap("one twothreefour", 5), ["one", "twothreefour"]);
        assert_eq!(wrap("", 5), [""]);
    }

    #[test]
    fn wide_and_combining_characters_are_cut_between_graphemes() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "ab…");
        assert_eq!(cut("日本語", 6), "日本語");
        assert_eq!(cut("日本語", 5), "日本…");
        assert_eq!(cut("日本語", 4), "日…");
        assert_eq!(cut("日本", 1), "…");
        assert_eq!(cut("日本", 0), "");
        assert_eq!(cut("e\u{301}e\u{301}e\u{301}", 2), "e\u{301}…");
        let many = format!("a{}b", "\u{301}".repeat(100));
        assert_eq!(cut(&many, 9).chars().count(), CELL_CHARS_MAX + 1);
    }

    #[test]
    fn nothing_that_moves_the_cursor_or_turns_the_text_is_left() {
        assert_eq!(safe("a\tb\u{1b}[2Jc\u{9b}d\u{202e}e\u{2028}f\r\n"), "a b[2Jcdef");
    }

    #[test]
    fn the_right_side_is_at_the_right() {
        assert_eq!(between("run", "1.0s", 14), "run       1.0s");
        assert_eq!(between("run the thing", "1.0s", 14), "run the … 1.0s");
        assert_eq!(between("日本語日本語", "1.0s", 14), "日本語日… 1.0s");
        assert_eq!(between("run", "1.0s", 10), "run");
    }
}
