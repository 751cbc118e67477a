//! `explain`: why the steps of a build ran, as its record says it.

use std::fmt::Write as _;

use serde_json::{Value, json};
use stave_history::event::{Ending, Miss, StepLine};
use stave_history::{Record, StepRecord, StepState};

use super::{Context, builds};
use crate::args::{ExplainArgs, ExplainFormat};
use crate::failure::Failure;
use crate::host::Processes;
use crate::progress::title;
use crate::render::printable;
use crate::{human, output};

/// Version of the JSON. A reader may rely on the fields that there are; new ones may come.
const SCHEMA: u32 = 1;

/// Carries out `explain`.
pub(super) fn explain(args: &ExplainArgs, context: &Context<'_>) -> Result<u8, Failure> {
    let host = context.host(Processes::None)?;
    let (_, record) = builds::find(&host, args.build.as_deref())?;
    output::text(&explanation(&record, args.format))?;
    Ok(0)
}

/// Returns the explanation of a build.
pub(super) fn explanation(record: &Record, format: ExplainFormat) -> String {
    match format {
        ExplainFormat::Text => text(record),
        ExplainFormat::Json => format!("{}\n", document(record)),
    }
}

/// Returns the step whose change made this one run, if it was another one's.
fn root<'a>(record: &'a Record, step: &StepRecord) -> Option<&'a StepRecord> {
    let Some(Miss::Parent { step: name, .. }) = &step.miss else { return None };
    record.steps.iter().find(|other| {
        let line = &other.line;
        line.stage == name.stage && line.number == name.number && line.platform == name.platform
    })
}

/// Returns a step as an object: what it is, what became of it, and why.
pub(super) fn step_object(record: &Record, step: &StepRecord) -> Value {
    let StepLine { step: id, platform, stage, number, of, title, .. } = &step.line;
    let mut object = json!({
        "step": id.0, "stage": stage, "number": number, "of": of, "title": title, "state": step.state,
    });
    if let Some(platform) = platform {
        object["platform"] = json!(platform);
    }
    if let Some(took) = step.took {
        object["took"] = json!(took.as_secs_f64());
    }
    if let Some(miss) = &step.miss {
        object["miss"] = json!({
            "code": miss.code(), "root": miss.root().code(), "text": miss.to_string(), "details": miss,
        });
        if let Some(root) = root(record, step) {
            object["miss"]["step"] = json!(root.line.step.0);
        }
    }
    object
}

/// Returns the word for what has become of a step.
pub(super) fn state_name(step: &StepRecord) -> &'static str {
    match step.state {
        StepState::Waiting => "not run",
        StepState::Running => "running",
        StepState::Cached => "known",
        StepState::Done if step.is_base() => "fetched",
        StepState::Done => "ran",
        StepState::Failed => "failed",
        StepState::Cancelled => "cancelled",
    }
}

fn document(record: &Record) -> Value {
    let step = |step: &StepRecord| step_object(record, step);
    json!({
        "schema": SCHEMA,
        "build": record.id,
        "file": record.name,
        "ran": record.count(StepState::Done),
        "failed": record.count(StepState::Failed),
        "known": record.count(StepState::Cached),
        "total": record.count_all(),
        "steps": record.steps.iter().map(step).collect::<Vec<_>>(),
    })
}

fn text(record: &Record) -> String {
    let mut text = String::new();
    let is_below = |step: &&StepRecord| root(record, step).is_some_and(|root| root.line.step != step.line.step);
    for step in record.steps.iter().filter(|step| !is_below(step)) {
        line(&mut text, step, 0);
        let follows = |other: &&StepRecord| {
            root(record, other).is_some_and(|root| root.line.step == step.line.step)
                && other.line.step != step.line.step
        };
        for below in record.steps.iter().filter(follows) {
            line(&mut text, below, 1);
        }
    }
    if record.steps.is_empty() {
        let why = match &record.ending {
            Some(Ending::Failed { message, .. }) => format!("the build ended before it had any: {message}"),
            Some(_) => "the build had none".to_owned(),
            None => "the build has none yet".to_owned(),
        };
        return format!("no step to explain: {}\n", printable(&why));
    }
    let known = record.count(StepState::Cached);
    let count = |number: usize| if number == 1 { "1 step".to_owned() } else { format!("{number} steps") };
    // Writing to a text cannot fail.
    let _written = writeln!(text, "{} of {} known", known, count(record.count_all()));
    text
}

/// Writes a step; `depth` is 1 for one that runs because of the one above.
fn line(text: &mut String, step: &StepRecord, depth: usize) {
    let indent = "    ".repeat(depth);
    let word = state_name(step);
    let state = match (step.state, step.took) {
        (StepState::Done, Some(took)) => format!("{word} {}", human::seconds(took)),
        _ => word.to_owned(),
    };
    // Writing to a text cannot fail.
    let _written = writeln!(text, "{indent}{}: {state}", printable(&title(&step.line)));
    match &step.miss {
        Some(Miss::Parent { miss, .. }) if depth > 0 && !matches!(**miss, Miss::Parent { .. }) => {}
        Some(miss) => {
            let _written = writeln!(text, "{indent}    because {}", printable(&miss.to_string()));
        }
        None => {}
    }
}
