//! Bytes that a program wrote for a terminal in, plain lines out.

use std::mem;

use crate::render::is_turn;

/// Longest line that is kept together, in bytes.
const LINE_BYTES_MAX: usize = 16 * 1024;

/// Where in a control sequence the last byte was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Text,
    Escape,
    /// `ESC [`, up to a byte of `@` to `~`.
    Csi,
    /// `ESC ]` and the like, up to BEL or `ESC \`.
    String,
    StringEscape,
}

/// Joins pieces of output to lines, without control sequences. A carriage return starts the line anew, so of a
/// progress bar its last state is left.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    line: Vec<u8>,
    state: State,
    returned: bool,
}

impl Lines {
    /// Takes more output and hands on each line that it completes.
    pub(crate) fn each(&mut self, bytes: &[u8], complete: &mut dyn FnMut(&str)) {
        let mut rest = bytes;
        while let Some(&byte) = rest.first() {
            // Most output is text, which goes over in one piece.
            if self.state == State::Text && is_text(byte) {
                let room = LINE_BYTES_MAX.saturating_sub(self.line.len()).max(1);
                let length = rest.iter().take(room).position(|&byte| !is_text(byte)).unwrap_or(room.min(rest.len()));
                if mem::take(&mut self.returned) {
                    self.line.clear();
                }
                self.line.extend_from_slice(&rest[..length]);
                rest = &rest[length..];
            } else {
                self.byte(byte, complete);
                rest = &rest[1..];
            }
            if self.line.len() >= LINE_BYTES_MAX {
                self.take(complete);
            }
        }
    }

    fn byte(&mut self, byte: u8, complete: &mut dyn FnMut(&str)) {
        match (self.state, byte) {
            // The end of a line ends any sequence, so that an unfinished one cannot hide all that follows.
            (_, b'\n') => {
                self.state = State::Text;
                self.take(complete);
            }
            (State::Text, _) => self.control(byte),
            (State::Escape, b'[') => self.state = State::Csi,
            (State::Escape, b']' | b'P' | b'_' | b'^' | b'X') => self.state = State::String,
            (State::String, 0x1b) => self.state = State::StringEscape,
            (State::String, 0x07) | (State::StringEscape, _) => self.state = State::Text,
            (State::Escape, 0x20..=0x2f) | (State::Csi, 0x20..=0x3f) | (State::String, _) => {}
            (State::Escape | State::Csi, _) => self.state = State::Text,
        }
    }

    fn control(&mut self, byte: u8) {
        match byte {
            0x1b => self.state = State::Escape,
            b'\r' => self.returned = true,
            // Takes the whole character back, of however many bytes it is.
            0x08 => while self.line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {},
            _ => {}
        }
    }

    /// Returns what has no end of line yet, if there is something.
    pub(crate) fn finish(&mut self) -> Option<String> {
        let mut last = None;
        if !self.line.is_empty() {
            self.take(&mut |line| last = Some(line.to_owned()));
        }
        last
    }

    /// Returns the line that has no end yet, as far as it is there.
    pub(super) fn unfinished(&self) -> Option<String> {
        (!self.line.is_empty()).then(|| without_controls(&String::from_utf8_lossy(&self.line)))
    }

    /// Takes note that output is missing here: what was begun is no longer the begin of what comes.
    pub(super) fn skip(&mut self) -> Option<String> {
        self.state = State::Text;
        self.finish()
    }

    fn take(&mut self, complete: &mut dyn FnMut(&str)) {
        self.returned = false;
        match str::from_utf8(&self.line) {
            Ok(line) if line.is_ascii() => complete(line),
            _ => complete(&without_controls(&String::from_utf8_lossy(&self.line))),
        }
        self.line.clear();
    }
}

/// Returns one whole line of output as a terminal without colours shows it when it is written out.
pub(crate) fn as_shown(line: &str) -> String {
    let mut lines = Lines::default();
    // A return at its end has nothing after it that it could start anew.
    lines.each(line.trim_end_matches('\r').as_bytes(), &mut |_| {});
    lines.finish().unwrap_or_default()
}

/// Whether a byte is part of a line and ends or changes nothing.
fn is_text(byte: u8) -> bool {
    matches!(byte, b'\t' | 0x20..=0x7e | 0x80..)
}

/// Takes away the two-byte forms of the old eight-bit control characters, and what turns the direction of a line.
fn without_controls(line: &str) -> String {
    let is_shown = |character: &char| *character == '\t' || !character.is_control() && !is_turn(*character);
    line.chars().filter(is_shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<String> {
        let mut lines = Lines::default();
        let mut all = Vec::new();
        for piece in pieces {
            lines.each(piece, &mut |line| all.push(line.to_owned()));
        }
        all.extend(lines.finish());
        all
    }

    #[test]
    fn pieces_become_lines() {
        assert_eq!(lines(&[b"a", b"b\nc", b"\n\nd"]), ["ab", "c", "", "d"]);
        assert_eq!(lines(&[b"a\r\nb\r\n"]), ["a", "b"]);
    }

    #[test]
    fn of_a_progress_bar_the_last_state_is_left() {
        assert_eq!(lines(&[b"10%\r20", b"%\r100%\ndone\n"]), ["100%", "done"]);
    }

    #[test]
    fn control_sequences_are_removed_however_they_are_cut() {
        let bytes = b"\x1b[31mred\x1b[0m \x1b]0;title\x07t\x1b]8;;u\x1b\\l\x1b(B\xc2\x9b1m\x07!\n\x1b[2J\n";
        let whole = lines(&[bytes]);
        assert_eq!(whole, ["red tl1m!", ""]);
        for cut in 0..bytes.len() {
            assert_eq!(lines(&[&bytes[..cut], &bytes[cut..]]), whole, "cut at {cut}");
        }
    }

    #[test]
    fn nothing_turns_a_line_around_or_ends_it() {
        let bytes = "a\u{202e}b\u{2066}c\u{2028}d \u{200f}שלום\n".as_bytes();
        assert_eq!(lines(&[bytes]), ["abcd \u{200f}שלום"]);
    }

    #[test]
    fn one_line_is_shown_as_its_last_state() {
        let shown = ["\u{1b}[31mERR\u{1b}[0m npm", "\rprogress 10%\rprogress 100%\r", "", "a\tb\u{9b}\u{202e}"];
        assert_eq!(shown.map(as_shown), ["ERR npm", "progress 100%", "", "a\tb"]);
    }

    #[test]
    fn a_sequence_without_end_hides_its_line_only() {
        assert_eq!(lines(&[b"a\x1b]0;title\nb\n"]), ["a", "b"]);
    }

    #[test]
    fn a_backspace_takes_back_a_whole_character() {
        assert_eq!(lines(&["aé\u{8}b\u{8}\u{8}\u{8}c\n".as_bytes()]), ["c"]);
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let long = vec![b'x'; LINE_BYTES_MAX * 2 + 1];
        assert_eq!(lines(&[&long]).iter().map(String::len).collect::<Vec<_>>(), [LINE_BYTES_MAX, LINE_BYTES_MAX, 1]);
    }
}
