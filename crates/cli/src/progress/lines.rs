//! Bytes that a program wrote for a terminal in, plain lines out.

use std::mem;

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
pub(super) struct Lines {
    line: Vec<u8>,
    state: State,
    returned: bool,
}

impl Lines {
    /// Takes more output and returns the lines that it completes.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut complete = Vec::new();
        for &byte in bytes {
            match (self.state, byte) {
                (State::Text, b'\n') => complete.push(self.take()),
                (State::Text, _) => self.text(byte),
                (State::Escape, b'[') => self.state = State::Csi,
                (State::Escape, b']' | b'P' | b'_' | b'^' | b'X') => self.state = State::String,
                (State::String, 0x1b) => self.state = State::StringEscape,
                (State::String, 0x07) | (State::StringEscape, _) => self.state = State::Text,
                (State::Escape, 0x20..=0x2f) | (State::Csi, 0x20..=0x3f) | (State::String, _) => {}
                (State::Escape | State::Csi, b'\n') => {
                    self.state = State::Text;
                    complete.push(self.take());
                }
                (State::Escape | State::Csi, _) => self.state = State::Text,
            }
            if self.line.len() >= LINE_BYTES_MAX {
                complete.push(self.take());
            }
        }
        complete
    }

    fn text(&mut self, byte: u8) {
        match byte {
            0x1b => self.state = State::Escape,
            b'\r' => self.returned = true,
            0x08 => drop(self.line.pop()),
            b'\t' | 0x20..=0x7e | 0x80.. => {
                if mem::take(&mut self.returned) {
                    self.line.clear();
                }
                self.line.push(byte);
            }
            _ => {}
        }
    }

    /// Returns what has no end of line yet, if there is something.
    pub(super) fn finish(&mut self) -> Option<String> {
        (!self.line.is_empty()).then(|| self.take())
    }

    fn take(&mut self) -> String {
        self.returned = false;
        let line = String::from_utf8_lossy(&mem::take(&mut self.line)).into_owned();
        // Two-byte forms of the old eight-bit control characters.
        line.chars().filter(|character| !character.is_control() || *character == '\t').collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<String> {
        let mut lines = Lines::default();
        let mut all: Vec<String> = pieces.iter().flat_map(|piece| lines.push(piece)).collect();
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
    fn a_line_without_end_is_cut() {
        let long = vec![b'x'; LINE_BYTES_MAX * 2 + 1];
        assert_eq!(lines(&[&long]).iter().map(String::len).collect::<Vec<_>>(), [LINE_BYTES_MAX, LINE_BYTES_MAX, 1]);
    }
}
