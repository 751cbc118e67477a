//! Events as lines of JSON: what `--progress=rawjson` prints and what the history keeps.
//!
//! `docs/reference/progress.md` describes the objects. A field is never given another meaning; what is new is a new field
//! or a new event, which readers pass over.

use std::time::Duration;

use serde_json::{Value, json};

use crate::event::Event;

/// Version of the schema, in every [`Event::Begun`].
pub const SCHEMA: u32 = 1;

/// Returns the event as one line without its end; `at` is the time since the build began.
#[must_use]
pub fn line(at: Duration, event: &Event) -> String {
    let Ok(Value::Object(fields)) = serde_json::to_value(event) else {
        unreachable!("every event is an object with texts as names");
    };
    let mut object = json!({ "event": fields["event"], "at": at.as_secs_f64() });
    if let (Value::Object(object), Event::Begun { .. }) = (&mut object, event) {
        object.insert("schema".to_owned(), SCHEMA.into());
    }
    if let Value::Object(object) = &mut object {
        object.extend(fields);
    }
    object.to_string()
}

/// Returns the event that a line says, with its time; nothing for what this version does not know, or what was cut off.
#[must_use]
pub fn read(line: &str) -> Option<(Duration, Event)> {
    let object: Value = serde_json::from_str(line).ok()?;
    let at = Duration::try_from_secs_f64(object["at"].as_f64()?).ok()?;
    Some((at, serde_json::from_value(object).ok()?))
}

#[cfg(test)]
mod tests {
    use stave_dockerfile::{Diagnostic, Span, codes};

    use super::*;
    use crate::{
        BuiltImage, Ending, LayerLine, Miss, Origin, Remarks, RequestFacts, StepId, StepLine, Stream, TaskEnding,
        TaskId, TaskKind,
    };

    /// One of each kind, as a build might tell them.
    fn events() -> Vec<Event> {
        let (step, task) = (StepId(1), TaskId(7));
        let took = Duration::from_millis(1250);
        let layers = vec![LayerLine { step: Some(step), of_base: false, bytes: 10, diff_id: "sha256:aa".to_owned() }];
        let images = vec![BuiltImage { platform: "linux/amd64".to_owned(), image: "sha256:bb".to_owned(), layers }];
        let names = vec!["docker.io/library/app:latest".to_owned()];
        let diagnostics = vec![Diagnostic::warning(codes::FRONTEND_NOT_RUN, Span::new(0, 4), "text").hint("Do it.")];
        let remarks = Remarks { name: "Dockerfile".to_owned(), text: String::new(), diagnostics };
        vec![
            Event::Begun {
                build: "b".to_owned(),
                directory: "builds/b".into(),
                name: "Dockerfile".to_owned(),
                text: "FROM a\n".to_owned(),
                request: RequestFacts { build_args: vec![("A".to_owned(), None)], ..RequestFacts::default() },
            },
            Event::Planned {
                steps: vec![StepLine {
                    step,
                    platform: None,
                    stage: "build".to_owned(),
                    number: 1,
                    of: 2,
                    title: "RUN make".to_owned(),
                    span: Span::new(7, 15),
                    inputs: vec![StepId(0)],
                    bases: vec!["alpine".to_owned()],
                }],
            },
            Event::Warnings(remarks.clone()),
            Event::Findings(remarks),
            Event::Notice { message: "a remark".to_owned() },
            Event::StepMissed { step, miss: Miss::NoCache },
            Event::StepMissed {
                step,
                miss: Miss::Arg {
                    name: "A".to_owned(),
                    old: crate::Value::Text("1".to_owned()),
                    new: crate::Value::Hidden,
                },
            },
            Event::StepStarted { step },
            Event::StepCached { step, saved: Some(took), origin: Origin::Imported, result: "ab".to_owned() },
            Event::StepOutput { step, stream: Stream::Stderr, bytes: b"\x1b[1mx\n".to_vec() },
            Event::StepFinished { step, took, result: "ab".to_owned() },
            Event::StepOutputSkipped { step, bytes: 9 },
            Event::StepRequests {
                step,
                requests: vec![crate::RequestLine {
                    method: "GET".to_owned(),
                    url: "https://a/".to_owned(),
                    status: Some(200),
                    digest: Some("sha256:ab".to_owned()),
                    ..crate::RequestLine::default()
                }],
            },
            Event::StepFailed { step, took, message: Some("exit status 1".to_owned()) },
            Event::StepFailed { step, took, message: None },
            Event::TaskStarted { task, kind: TaskKind::Fetch, title: "fetch x".to_owned() },
            Event::TaskProgress { task, done: 1, total: None },
            Event::TaskFinished { task, took, ending: TaskEnding::Done },
            Event::TaskFinished { task, took, ending: TaskEnding::Failed { message: "no space".to_owned() } },
            Event::TaskFinished { task, took, ending: TaskEnding::Cancelled },
            Event::Ended { ending: Ending::Built { images, index: None, names, size: 10, ran: 1, cached: 0 } },
            Event::Ended { ending: Ending::Failed { step: Some(step), message: "exit status 1".to_owned() } },
            Event::Ended { ending: Ending::Interrupted },
        ]
    }

    #[test]
    fn an_event_that_is_written_and_read_is_the_same() {
        for event in events() {
            let line = line(Duration::from_millis(1500), &event);
            assert!(!line.contains('\n'), "{line}");
            assert_eq!(read(&line), Some((Duration::from_millis(1500), event)), "{line}");
        }
    }

    #[test]
    fn every_line_begins_with_its_event_and_its_time() {
        for event in events() {
            let line = line(Duration::ZERO, &event);
            let object: serde_json::Value = serde_json::from_str(&line).expect("JSON");
            let names: Vec<&String> = object.as_object().expect("an object").keys().take(2).collect();
            assert_eq!(names, ["event", "at"], "{line}");
        }
    }

    /// The page is a promise to programs: no event and no field is missing there.
    #[test]
    fn the_page_about_the_schema_names_every_event_and_field() {
        let page = include_str!("../../../docs/reference/progress.md");
        assert!(page.contains(&format!("`begun`: {SCHEMA}.")));
        for event in events() {
            let object: Value = serde_json::from_str(&line(Duration::ZERO, &event)).expect("JSON");
            let kind = object["event"].as_str().expect("a name");
            assert!(page.contains(&format!("\n| `{kind}` |")), "`{kind}`");
            for field in object.as_object().expect("an object").keys() {
                assert!(page.contains(&format!("`{field}`")), "`{field}` of `{kind}`");
            }
        }
    }

    /// Histories that were written before tasks said how they ended are read.
    #[test]
    fn a_task_of_which_only_its_end_was_told_is_done() {
        let old = r#"{"event":"task-finished","at":1.0,"task":7,"took":1.0}"#;
        let took = Duration::from_secs(1);
        let ended = Event::TaskFinished { task: TaskId(7), took, ending: TaskEnding::Done };
        assert_eq!(read(old), Some((Duration::from_secs(1), ended)));
    }

    #[test]
    fn what_is_cut_off_or_not_known_is_passed_over() {
        let line = line(Duration::ZERO, &Event::StepStarted { step: StepId(3) });
        for end in 0..line.len() {
            assert_eq!(read(&line[..end]), None);
        }
        assert_eq!(read(r#"{"event":"later","at":1.0}"#), None);
        assert_eq!(read(r#"{"event":"step-started","at":-1.0,"step":3}"#), None);
        let more = r#"{"event":"step-started","at":1.0,"step":3,"more":[1]}"#;
        assert_eq!(read(more), Some((Duration::from_secs(1), Event::StepStarted { step: StepId(3) })));
    }
}
