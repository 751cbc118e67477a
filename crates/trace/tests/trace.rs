//! A build's trace: its spans, and their two encodings.

use std::time::Duration;

use stave_dockerfile::Span as Place;
use stave_history::Record;
use stave_history::event::{Ending, Event, Miss, Origin, RequestFacts, StepId, StepLine, TaskEnding, TaskId, TaskKind};
use stave_trace::{Parent, Span, Trace, Value, json, protobuf};

/// When the builds of these tests began.
const BEGAN: Duration = Duration::from_secs(1_700_000_000);

fn line(step: u32, stage: &str, title: &str, inputs: &[u32]) -> StepLine {
    StepLine {
        step: StepId(step),
        platform: None,
        stage: stage.to_owned(),
        number: step + 1,
        of: 4,
        title: title.to_owned(),
        span: Place::new(0, 0),
        inputs: inputs.iter().copied().map(StepId).collect(),
        bases: Vec::new(),
    }
}

/// One step is known, one ran, one failed, one never began; something was fetched.
fn failed() -> Record {
    let request = RequestFacts {
        version: "0.1.0".to_owned(),
        context: "/src".to_owned(),
        names: vec!["docker.io/me/app:latest".to_owned()],
        platforms: vec!["linux/amd64".to_owned()],
        build_args: vec![("TOKEN".to_owned(), Some("in no trace".to_owned()))],
        ..RequestFacts::default()
    };
    let begun = Event::Begun {
        build: "4f1c02b6a9d3e870".to_owned(),
        directory: "builds/4f1c02b6a9d3e870".into(),
        name: "Dockerfile".to_owned(),
        text: "in no trace".to_owned(),
        request,
    };
    let steps = vec![
        line(0, "base", "FROM alpine AS base", &[]),
        line(1, "base", "RUN make", &[0]),
        line(2, "base", "RUN test", &[1]),
        line(3, "base", "RUN never", &[2]),
    ];
    let saved = Some(Duration::from_millis(700));
    let message = "`RUN test` ended with 7".to_owned();
    let unreachable_host = TaskEnding::Failed { message: "no such host".to_owned() };
    let events = [
        (0, begun),
        (1, Event::Planned { steps }),
        (2, Event::TaskStarted { task: TaskId(0), kind: TaskKind::Fetch, title: "fetch alpine".to_owned() }),
        (3, Event::TaskProgress { task: TaskId(0), done: 4096, total: Some(4096) }),
        (4, Event::TaskFinished { task: TaskId(0), took: Duration::from_millis(2), ending: TaskEnding::Done }),
        (4, Event::TaskStarted { task: TaskId(1), kind: TaskKind::Resolve, title: "resolve b".to_owned() }),
        (5, Event::TaskFinished { task: TaskId(1), took: Duration::from_millis(1), ending: unreachable_host }),
        (5, Event::StepCached { step: StepId(0), saved, origin: Origin::Imported, result: "aa".to_owned() }),
        (6, Event::StepMissed { step: StepId(1), miss: Miss::NoCache }),
        (10, Event::StepStarted { step: StepId(1) }),
        (30, Event::StepFinished { step: StepId(1), took: Duration::from_millis(20), result: "bb".to_owned() }),
        (31, Event::StepStarted { step: StepId(2) }),
        (40, Event::StepFailed { step: StepId(2), took: Duration::from_millis(9), message: Some(message.clone()) }),
        (41, Event::Ended { ending: Ending::Failed { step: Some(StepId(2)), message } }),
    ];
    let mut record = Record::default();
    for (millis, event) in events {
        record.take(Duration::from_millis(millis), &event);
    }
    record
}

fn resource() -> Vec<(String, String)> {
    vec![("service.name".to_owned(), "stave".to_owned())]
}

fn trace(record: &Record) -> Trace {
    Trace::new(record, BEGAN, None, &resource())
}

fn named<'a>(trace: &'a Trace, name: &str) -> &'a Span {
    trace.spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no `{name}` in {:#?}", trace.spans))
}

/// When a span began and how long it is, in milliseconds since the begin of the build.
fn times(span: &Span) -> (u64, u64) {
    let millis = |nanos: u64| (nanos - u64::try_from(BEGAN.as_nanos()).expect("before 2554")) / 1_000_000;
    (millis(span.start), millis(span.end) - millis(span.start))
}

#[test]
fn a_build_is_a_span_with_one_for_each_step_and_task_that_began() {
    let trace = trace(&failed());
    let names: Vec<&str> = trace.spans.iter().map(|span| span.name.as_str()).collect();
    let expected = [
        "build docker.io/me/app:latest",
        "[base 1/4] FROM alpine AS base",
        "[base 2/4] RUN make",
        "[base 3/4] RUN test",
        "fetch alpine",
        "resolve b",
    ];
    assert_eq!(names, expected);
    let (build, known, ran) = (&trace.spans[0], &trace.spans[1], &trace.spans[2]);
    assert!(trace.spans[1..].iter().all(|span| span.parent == Some(build.id)) && build.parent.is_none());
    assert_eq!(
        trace.spans[..].iter().map(times).collect::<Vec<_>>(),
        [(0, 41), (0, 0), (10, 20), (31, 9), (2, 2), (4, 1)]
    );
    assert_eq!(ran.links, [known.id]);
    assert!(ran.attributes.contains(&("stave.step.cause", "no-cache".into())), "{ran:#?}");
    assert!(known.attributes.contains(&("stave.step.cached", Value::Truth(true))));
    assert!(known.attributes.contains(&("stave.step.cached.from", "imported".into())));
    assert!(known.attributes.contains(&("stave.step.cached.saved_ms", Value::Number(700))));
    assert!(named(&trace, "fetch alpine").attributes.contains(&("stave.task.bytes", Value::Number(4096))));
    let failures: Vec<Option<&str>> = trace.spans.iter().map(|span| span.failure.as_deref()).collect();
    let said = Some("`RUN test` ended with 7");
    assert_eq!(failures, [said, None, None, said, None, Some("no such host")]);
    assert!(!format!("{trace:?}").contains("in no trace"), "arguments and texts stay here");
}

#[test]
fn ids_follow_from_the_builds_and_those_of_a_parent_are_its_own() {
    let record = failed();
    assert_eq!(trace(&record), trace(&record));
    let other = trace(&Record { id: "4f1c02b6a9d3e871".to_owned(), ..record.clone() });
    assert_ne!(other.id, trace(&record).id);
    assert!(other.spans.iter().zip(&trace(&record).spans).all(|(one, other)| one.id != other.id));
    let parent = Parent { trace: [7; 16], span: [8; 8], sampled: true, state: "a=1".to_owned() };
    let part = Trace::new(&record, BEGAN, Some(&parent), &resource());
    assert_eq!((part.id, part.spans[0].parent, part.state.as_str()), ([7; 16], Some([8; 8]), "a=1"));
    assert_eq!(part.spans[1].parent, Some(part.spans[0].id));
}

#[test]
fn a_build_that_runs_or_was_stopped_has_a_trace_as_well() {
    let mut record = failed();
    record.ending = None;
    assert_eq!(trace(&record).spans[0].failure, None);
    record.ending = Some(Ending::Interrupted);
    assert_eq!(trace(&record).spans[0].failure.as_deref(), Some("interrupted"));
    assert_eq!(trace(&Record::default()).spans.len(), 1);
}

#[test]
fn no_name_or_text_is_longer_than_a_collector_takes() {
    let mut record = failed();
    record.steps[1].line.title = "RUN ".to_owned() + &"ä".repeat(100_000);
    let trace = trace(&record);
    let span = trace.spans.iter().find(|span| span.name.ends_with('…')).expect("it is cut");
    assert_eq!(span.name.chars().count(), 201);
    let longest = span.attributes.iter().map(|(_, value)| match value {
        Value::Text(text) => text.chars().count(),
        _ => 0,
    });
    assert_eq!(longest.max(), Some(4096));
}

#[test]
fn json_is_that_of_otlp() {
    let mut record = failed();
    record.steps.truncate(2);
    record.tasks.clear();
    let trace = trace(&record);
    let read: serde_json::Value = serde_json::from_str(&json(&trace)).expect("JSON");
    let spans = &read["resourceSpans"][0]["scopeSpans"][0]["spans"];
    let known = &spans[1];
    assert_eq!(read["resourceSpans"][0]["resource"]["attributes"][0]["value"]["stringValue"], "stave");
    assert_eq!(known["traceId"].as_str().map(str::len), Some(32));
    assert_eq!(known["parentSpanId"], spans[0]["spanId"]);
    assert_eq!((&known["kind"], &known["startTimeUnixNano"]), (&1.into(), &"1700000000000000000".into()));
    assert_eq!(spans[2]["links"][0]["spanId"], known["spanId"]);
    assert_eq!((&spans[0]["status"]["code"], &known["status"]), (&2.into(), &serde_json::json!({})));
    assert_eq!(known["attributes"][0]["value"]["intValue"], "1", "64-bit numbers are texts");
    assert!(!json(&trace).contains('\n'));
}

/// A message of Protocol Buffers, read without knowing what it is: fields and their bytes, numbers as eight of them.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut number = 0;
        for place in 0.. {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            number |= u64::from(byte & 0x7f) << (7 * place);
            if byte < 0x80 {
                break;
            }
        }
        number
    }
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let value = match tag & 7 {
            0 => varint(&mut bytes).to_le_bytes().to_vec(),
            kind => {
                let length = if kind == 1 { 8 } else { usize::try_from(varint(&mut bytes)).expect("small") };
                let (value, rest) = bytes.split_at(length);
                bytes = rest;
                value.to_vec()
            }
        };
        found.push((tag >> 3, value));
    }
    found
}

fn all(message: &[u8], field: u64) -> Vec<Vec<u8>> {
    fields(message).into_iter().filter(|(number, _)| *number == field).map(|(_, value)| value).collect()
}

fn one(message: &[u8], path: &[u64]) -> Vec<u8> {
    path.iter().fold(message.to_vec(), |message, field| all(&message, *field).remove(0))
}

#[test]
fn protobuf_says_what_json_says() {
    let trace = trace(&failed());
    let bytes = protobuf(&trace);
    assert_eq!(one(&bytes, &[1, 1, 1, 1]), b"service.name");
    assert_eq!(one(&bytes, &[1, 1, 1, 2, 1]), b"stave");
    let scope = one(&bytes, &[1, 2]);
    let spans = all(&scope, 2);
    assert_eq!(spans.len(), trace.spans.len());
    for (bytes, span) in spans.iter().zip(&trace.spans) {
        assert_eq!(one(bytes, &[1]), trace.id);
        assert_eq!(one(bytes, &[2]), span.id);
        assert_eq!(all(bytes, 4), span.parent.iter().map(|parent| parent.to_vec()).collect::<Vec<_>>());
        assert_eq!(one(bytes, &[5]), span.name.as_bytes());
        assert_eq!(
            (one(bytes, &[7]), one(bytes, &[8])),
            (span.start.to_le_bytes().into(), span.end.to_le_bytes().into())
        );
        assert_eq!(all(bytes, 13).iter().map(|link| one(link, &[2])).collect::<Vec<_>>(), span.links);
        let status = span.failure.as_ref().map(|message| (message.as_bytes().to_vec(), 2_u64.to_le_bytes().to_vec()));
        assert_eq!(all(bytes, 15).first().map(|it| (one(it, &[2]), one(it, &[3]))), status);
        let attributes = all(bytes, 9);
        assert_eq!(attributes.len(), span.attributes.len());
        for (bytes, (name, value)) in attributes.iter().zip(&span.attributes) {
            assert_eq!(one(bytes, &[1]), name.as_bytes());
            let (field, expected) = match value {
                Value::Text(text) => (1, text.as_bytes().to_vec()),
                Value::Truth(truth) => (2, u64::from(*truth).to_le_bytes().to_vec()),
                Value::Number(number) => (3, number.to_le_bytes().to_vec()),
                Value::Texts(texts) => {
                    let values = all(&one(bytes, &[2, 5]), 1).iter().map(|value| one(value, &[1])).collect::<Vec<_>>();
                    assert_eq!(values, texts.iter().map(String::as_bytes).collect::<Vec<_>>());
                    continue;
                }
            };
            assert_eq!(one(bytes, &[2, field]), expected);
        }
    }
}
