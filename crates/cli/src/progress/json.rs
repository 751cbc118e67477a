//! One JSON object an event: for programs that watch a build.
//!
//! The objects are described in `docs/reference/progress.md`.

use std::io::Write as _;
use std::time::Duration;

use stave_engine::Event;
use stave_history::event::json;

use super::Screen;

pub(super) struct Json;

impl Screen for Json {
    fn event(&mut self, at: Duration, event: &Event, out: &mut Vec<u8>) {
        writeln!(out, "{}", json::line(at, event)).expect("a vector takes all");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn every_event_is_one_object_on_one_line() {
        let (mut screen, mut out) = (Json, Vec::new());
        let events = super::super::plain::tests::example();
        for (millis, event) in &events {
            screen.event(Duration::from_millis(*millis), event, &mut out);
        }
        let text = String::from_utf8(out).expect("text");
        let objects: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(objects.len(), events.len());
        let title = "pull docker.io/library/golang:1.7.3";
        let first = json!({ "event": "task-started", "at": 0.0, "task": 7, "kind": "fetch", "title": title });
        assert_eq!(objects[0], first);
        assert_eq!(objects[8]["text"], "\u{1b}[32mcompiling\u{1b}[0m\nlin");
        assert_eq!(objects[11]["event"], "step-failed");
    }
}
