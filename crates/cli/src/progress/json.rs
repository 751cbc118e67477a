//! One JSON object an event: for programs that watch a build.
//!
//! The objects are described in `docs/reference/progress.md`.

use std::io::{self, Write};
use std::time::Instant;

use stave_engine::Event;
use stave_history::event::json;

use super::Screen;

pub(super) struct Json {
    start: Instant,
}

impl Json {
    pub(super) fn new(start: Instant) -> Self {
        Self { start }
    }
}

impl Screen for Json {
    fn event(&mut self, at: Instant, event: &Event, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", json::line(at.saturating_duration_since(self.start), event))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn every_event_is_one_object_on_one_line() {
        let start = Instant::now();
        let (mut screen, mut out) = (Json::new(start), Vec::new());
        let events = super::super::plain::tests::example();
        for (millis, event) in &events {
            screen.event(start + Duration::from_millis(*millis), event, &mut out).expect("a vector takes all");
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
