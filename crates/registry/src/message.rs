//! What registries say about failures.
//!
//! Reference: OCI distribution-spec 1.1, "Error Codes".

use serde::Deserialize;

use crate::error::ServerMessage;
use crate::limits;

#[derive(Deserialize)]
struct Document {
    errors: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Entry {
    code: String,
    message: String,
    detail: serde_json::Value,
}

/// Reads the body of a failed request. What is no error document says nothing: it is a proxy's page, most likely.
pub(crate) fn parse(body: &[u8]) -> ServerMessage {
    let Ok(document) = serde_json::from_slice::<Document>(body) else {
        return plain(body);
    };
    let Some(first) = document.errors.first() else { return ServerMessage::default() };
    let mut text = clean(&first.message);
    if let Some(detail) = first.detail.as_str().filter(|detail| !detail.is_empty()) {
        text = format!("{text} ({})", clean(detail));
    }
    ServerMessage { code: clean(&first.code), text }
}

/// A short single line of plain text is worth repeating; anything else is not.
fn plain(body: &[u8]) -> ServerMessage {
    let text = std::str::from_utf8(body).unwrap_or_default().trim();
    let worth = !text.is_empty() && text.len() <= 200 && !text.contains(['<', '{', '\n']);
    ServerMessage { code: String::new(), text: if worth { clean(text) } else { String::new() } }
}

/// Removes what could move a terminal's cursor or fill its screen.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(limits::MESSAGE_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_documents_are_read() {
        let body = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{"Tag":"x"}}]}"#;
        assert_eq!(parse(body).to_string(), ": MANIFEST_UNKNOWN: manifest unknown");
        let body = br#"{"errors":[{"code":"DENIED","detail":"quota"}]}"#;
        assert_eq!(parse(body).to_string(), ": DENIED:  (quota)");
    }

    #[test]
    fn other_bodies_say_little() {
        assert_eq!(parse(b"<html>...</html>").to_string(), "");
        assert_eq!(parse(b"404 page not found\n").to_string(), ": 404 page not found");
        assert_eq!(parse(b"\xff\xfe").to_string(), "");
        assert_eq!(parse(br#"{"errors":[]}"#).to_string(), "");
    }

    #[test]
    fn control_characters_and_lengths_are_tamed() {
        let body = format!(r#"{{"errors":[{{"code":"A\u001b[2J","message":"{}"}}]}}"#, "x".repeat(5000));
        let message = parse(body.as_bytes());
        assert_eq!(message.code, "A [2J");
        assert_eq!(message.text.chars().count(), limits::MESSAGE_CHARS_MAX);
    }
}
