//! One JSON object an event: for programs that watch a build.
//!
//! Every object has `event` (what happened) and `at` (seconds since the start); the others are named as in
//! `docs/reference/progress.md`.

use std::io::{self, Write};
use std::time::Instant;

use serde_json::{Value, json};
use stave_dockerfile::span::position;
use stave_dockerfile::{Diagnostic, Severity};
use stave_engine::{Event, Stream};

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
        let at = at.saturating_duration_since(self.start).as_secs_f64();
        let mut object = json!({ "event": "", "at": at });
        if let (Value::Object(object), Value::Object(fields)) = (&mut object, fields(event)) {
            object.extend(fields);
        }
        writeln!(out, "{object}")
    }
}

fn fields(event: &Event) -> Value {
    match event {
        Event::Planned { steps } => {
            let step = |line: &stave_engine::StepLine| {
                let mut object = json!({
                    "step": line.step.0, "stage": line.stage, "number": line.number, "of": line.of, "title": line.title,
                });
                if let Some(platform) = &line.platform {
                    object["platform"] = json!(platform);
                }
                object
            };
            json!({ "event": "planned", "steps": steps.iter().map(step).collect::<Vec<_>>() })
        }
        Event::Warnings { name, text, diagnostics } => {
            json!({ "event": "warnings", "file": name, "warnings": diagnostics_of(text, diagnostics) })
        }
        Event::Findings { name, text, findings } => {
            json!({ "event": "findings", "file": name, "findings": diagnostics_of(text, findings) })
        }
        Event::Notice { message } => json!({ "event": "notice", "message": message }),
        Event::StepStarted { step } => json!({ "event": "step-started", "step": step.0 }),
        Event::StepCached { step } => json!({ "event": "step-cached", "step": step.0 }),
        Event::StepOutput { step, stream, bytes } => {
            let stream = match stream {
                Stream::Stdout => "stdout",
                Stream::Stderr => "stderr",
            };
            json!({ "event": "step-output", "step": step.0, "stream": stream, "text": String::from_utf8_lossy(bytes) })
        }
        Event::StepFinished { step, took } => {
            json!({ "event": "step-finished", "step": step.0, "took": took.as_secs_f64() })
        }
        Event::StepFailed { step, took } => {
            json!({ "event": "step-failed", "step": step.0, "took": took.as_secs_f64() })
        }
        Event::TaskStarted { task, title } => json!({ "event": "task-started", "task": task.0, "title": title }),
        Event::TaskProgress { task, done, total } => {
            json!({ "event": "task-progress", "task": task.0, "done": done, "total": total })
        }
        Event::TaskFinished { task, took } => {
            json!({ "event": "task-finished", "task": task.0, "took": took.as_secs_f64() })
        }
    }
}

fn diagnostics_of(text: &str, diagnostics: &[Diagnostic]) -> Vec<Value> {
    let object = |diagnostic: &Diagnostic| {
        let severity = match diagnostic.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let line =
            diagnostic.labels.iter().find(|label| label.primary).map(|label| position(text, label.span.start).line);
        json!({
            "code": diagnostic.code, "severity": severity, "message": diagnostic.message, "line": line,
            "hints": diagnostic.hints,
        })
    };
    diagnostics.iter().map(object).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
        assert_eq!(
            objects[0],
            json!({
                "event": "task-started", "at": 0.0, "task": 7, "title": "pull docker.io/library/golang:1.7.3",
            })
        );
        assert_eq!(objects[8]["text"], "\u{1b}[32mcompiling\u{1b}[0m\nlin");
        assert_eq!(objects[11]["event"], "step-failed");
    }
}
