//! What registries say about failures.
//!
//! Reference: OCI distribution-spec 1.1, "Error Codes".

use serde::Deserialize;
use stave_http::clean;

use crate::error::ServerMessage;

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

/// Reads the body of a failed request; nothing if it is no error document.
pub(crate) fn parse(body: &[u8]) -> Option<ServerMessage> {
    let document = serde_json::from_slice::<Document>(body).ok()?;
    let Some(first) = document.errors.first() else { return Some(ServerMessage::default()) };
    let mut text = clean(&first.message);
    if let Some(detail) = first.detail.as_str().filter(|detail| !detail.is_empty()) {
        text = format!("{text} ({})", clean(detail));
    }
    Some(ServerMessage { code: clean(&first.code), text })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(body: &[u8]) -> String {
        parse(body).expect("it is an error document").to_string()
    }

    #[test]
    fn error_documents_are_read() {
        let body = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{"Tag":"x"}}]}"#;
        assert_eq!(shown(body), ": MANIFEST_UNKNOWN: manifest unknown");
        let body = br#"{"errors":[{"code":"DENIED","detail":"quota"}]}"#;
        assert_eq!(shown(body), ": DENIED:  (quota)");
    }

    #[test]
    fn other_bodies_say_little() {
        assert_eq!(parse(b"404 page not found\n"), None);
        assert_eq!(shown(br#"{"errors":[]}"#), "");
    }

    #[test]
    fn control_characters_and_lengths_are_tamed() {
        let body = format!(r#"{{"errors":[{{"code":"A\u001b[2J","message":"{}"}}]}}"#, "x".repeat(5000));
        let message = parse(body.as_bytes()).expect("it is one");
        assert_eq!(message.code, "A [2J");
        assert_eq!(message.text.chars().count(), stave_http::limits::MESSAGE_CHARS_MAX);
    }
}
