//! Takes secrets out of what a step writes, wherever its pieces begin and end.
//!
//! What a step does with a secret is its own affair, but what it writes is printed, kept as a log and told in events.
//! A text that a secret was made into, such as its base64, is not recognised.

use std::ops::Range;

/// What stands in the place of a secret, whatever its length.
const MASK: &[u8] = b"****";
/// A shorter secret is left: it would be found everywhere.
const SECRET_BYTES_MIN: usize = 4;
/// A shorter line of a secret that has several is left.
const LINE_BYTES_MIN: usize = 8;

/// The texts that must not be seen.
#[derive(Default)]
pub(crate) struct Hidden {
    /// Sorted, each once.
    texts: Vec<Vec<u8>>,
}

impl Hidden {
    /// Hides `secret`, without the line end that a file ends in, and each line of it: a program may indent a key.
    pub(crate) fn add(&mut self, secret: &[u8]) {
        let whole = secret.trim_ascii_end();
        let lines = whole.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
        let lines = lines.filter(|line| line.len() >= LINE_BYTES_MIN);
        let texts = Some(whole).filter(|whole| whole.len() >= SECRET_BYTES_MIN).into_iter().chain(lines);
        self.texts.extend(texts.map(<[u8]>::to_vec));
        self.texts.sort_unstable();
        self.texts.dedup();
    }

    /// The texts that begin with `byte`.
    fn beginning_with(&self, byte: u8) -> &[Vec<u8>] {
        let place = |byte: u16| self.texts.partition_point(|text| u16::from(text[0]) < byte);
        let range: Range<usize> = place(u16::from(byte))..place(u16::from(byte) + 1);
        &self.texts[range]
    }
}

/// One stream of a step, without what is hidden.
pub(crate) struct Veil<'a> {
    hidden: &'a Hidden,
    /// What came last and may be the beginning of a hidden text.
    held: Vec<u8>,
}

impl<'a> Veil<'a> {
    pub(crate) fn new(hidden: &'a Hidden) -> Self {
        Self { hidden, held: Vec::new() }
    }

    /// Hands on what may be seen of the next piece.
    pub(crate) fn pass(&mut self, piece: &[u8], seen: impl FnOnce(&[u8])) {
        if self.hidden.texts.is_empty() {
            return seen(piece);
        }
        self.held.extend_from_slice(piece);
        let (shown, used) = self.shown(false);
        self.held.drain(..used);
        if !shown.is_empty() {
            seen(&shown);
        }
    }

    /// Hands on what was held back, at the end of the stream.
    pub(crate) fn end(&mut self, seen: impl FnOnce(&[u8])) {
        if !self.held.is_empty() {
            let (shown, _) = self.shown(true);
            self.held.clear();
            seen(&shown);
        }
    }

    /// Returns what may be seen of what is held, and of how many bytes it is made.
    fn shown(&self, ended: bool) -> (Vec<u8>, usize) {
        let mut shown = Vec::with_capacity(self.held.len());
        let mut at = 0;
        while let Some(&byte) = self.held.get(at) {
            let rest = &self.held[at..];
            let mut longest = 0;
            for text in self.hidden.beginning_with(byte) {
                if rest.starts_with(text) {
                    longest = longest.max(text.len());
                } else if !ended && text.starts_with(rest) {
                    return (shown, at);
                }
            }
            if longest == 0 {
                shown.push(byte);
                at += 1;
            } else {
                shown.extend_from_slice(MASK);
                at += longest;
            }
        }
        (shown, at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(secrets: &[&str]) -> Hidden {
        let mut hidden = Hidden::default();
        for secret in secrets {
            hidden.add(secret.as_bytes());
        }
        hidden
    }

    /// What is seen of the pieces, each as it comes, and last what the end brings.
    fn seen(hidden: &Hidden, pieces: &[&[u8]]) -> Vec<String> {
        let mut veil = Veil::new(hidden);
        let mut all = Vec::new();
        for piece in pieces {
            let mut text = String::new();
            veil.pass(piece, |bytes| text = String::from_utf8_lossy(bytes).into_owned());
            all.push(text);
        }
        let mut text = String::new();
        veil.end(|bytes| text = String::from_utf8_lossy(bytes).into_owned());
        all.push(text);
        all
    }

    #[test]
    fn a_secret_is_taken_out_wherever_the_pieces_begin() {
        let hidden = hidden(&["hunter2\n"]);
        let text = b"a hunter2, hunter22 and hunter\n".as_slice();
        for at in 0..text.len() {
            assert_eq!(seen(&hidden, &[&text[..at], &text[at..]]).concat(), "a ****, ****2 and hunter\n");
        }
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(seen(&hidden, &bytes).concat(), "a ****, ****2 and hunter\n");
    }

    #[test]
    fn what_cannot_become_a_secret_is_seen_at_once() {
        let hidden = hidden(&["hunter2"]);
        assert_eq!(seen(&hidden, &[b"50 % \r", b"h", b"i ", b"hunt"]), ["50 % \r", "", "hi ", "", "hunt"]);
        assert_eq!(seen(&Hidden::default(), &[b"hunter2"]), ["hunter2", ""]);
    }

    #[test]
    fn of_two_secrets_that_begin_alike_the_longer_one_is_taken_out() {
        let hidden = hidden(&["token", "token-of-all"]);
        assert_eq!(seen(&hidden, &[b"token-of", b"-all token-of token"]).concat(), "**** ****-of ****");
    }

    #[test]
    fn the_lines_of_a_key_are_secrets_and_short_texts_are_none() {
        let hidden = hidden(&["first line\r\n  second line  \nend\n", "abc", ""]);
        assert_eq!(
            seen(&hidden, &[b"    first line\n    second line\nend abc"]).concat(),
            "    ****\n    ****\nend abc"
        );
    }
}
