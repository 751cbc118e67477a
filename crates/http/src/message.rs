//! What servers say about failures.

use crate::error::ServerMessage;
use crate::limits;

/// Reads the body of a failed request: a short single line of plain text is worth repeating; anything else is not.
pub(crate) fn plain(body: &[u8]) -> ServerMessage {
    let text = std::str::from_utf8(body).unwrap_or_default().trim();
    let worth = !text.is_empty() && text.len() <= 200 && !text.contains(['<', '{', '\n']);
    ServerMessage { code: String::new(), text: if worth { clean(text) } else { String::new() } }
}

/// Removes what could move a terminal's cursor or fill its screen.
#[must_use]
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(limits::MESSAGE_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_short_line_is_repeated() {
        assert_eq!(plain(b"<html>...</html>").to_string(), "");
        assert_eq!(plain(b"404 page not found\n").to_string(), ": 404 page not found");
        assert_eq!(plain(b"\xff\xfe").to_string(), "");
        assert_eq!(plain(b"a\x1b[2Jb").to_string(), ": a [2Jb");
    }
}
