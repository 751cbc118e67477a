//! `builds show`: everything that is known of one build.

use std::io::IsTerminal as _;
use std::path::Path;

use serde_json::{Value, json};
use stave_dockerfile::span::position;
use stave_engine::store::{BuildRecord, BuildState};
use stave_engine::{EngineError, Remarks};
use stave_history::event::{Ending, Miss, TaskEnding};
use stave_history::{Record, StepRecord, StepState, TaskRecord};

use super::list::{ended, reason, steps, took};
use super::{Context, directory, find, state_name};
use crate::args::BuildsShowArgs;
use crate::command::{explain, inspect};
use crate::failure::Failure;
use crate::host::{self, Processes};
use crate::progress::title;
use crate::render::{self, Style, printable};
use crate::template::Template;
use crate::{human, output, table};

/// How many requests of a step to the network are shown to people. All are in the JSON, and in the step's log.
const REQUESTS_SHOWN: usize = 20;

/// Version of the JSON. A reader may rely on the fields that there are; new ones may come.
const SCHEMA: u32 = 1;

/// Where what is said about a build begins, after its heads.
const FACT_COLUMN: usize = 15;

/// A build, and where what is kept of it lies.
struct Shown<'a> {
    build: &'a BuildRecord,
    record: &'a Record,
    directory: &'a Path,
    /// Whether the state in which it failed is still there.
    has_state: bool,
    now: i64,
}

pub(super) fn show(args: &BuildsShowArgs, context: &Context<'_>) -> Result<u8, Failure> {
    let template = match args.format.as_deref() {
        None | Some("json") => None,
        Some(text) => Some(Template::parse(text)?),
    };
    let host = context.host(Processes::None)?;
    let store = host.engine.store();
    let (build, record) = find(&host, args.build.as_deref())?;
    if args.file {
        output::text(&record.text)?;
        return Ok(0);
    }
    let has_state = !store.kept_state(&build.id).map_err(EngineError::from)?.is_empty();
    let directory = directory(store, &build);
    let shown = Shown { build: &build, record: &record, directory: &directory, has_state, now: host::now() };
    output::text(&match (template, args.format.is_some()) {
        (Some(template), _) => template.render(&shown.document())? + "\n",
        (None, true) => inspect::pretty(&shown.document()),
        (None, false) => {
            shown.text(Style { colour: context.style.colour && std::io::stdout().is_terminal(), columns: None })
        }
    })?;
    Ok(0)
}

impl Shown<'_> {
    /// Returns how many bytes a step has written.
    fn log_bytes(&self, step: &StepRecord) -> Option<u64> {
        Some(self.directory.join(step.log_name()).metadata().ok()?.len())
    }

    fn text(&self, style: Style) -> String {
        let rows = self.facts();
        let fact = |(head, fact): &(&str, String)| format!("{head:<FACT_COLUMN$}{}\n", printable(fact));
        let mut text: String = rows.iter().map(fact).collect();
        if !self.record.steps.is_empty() {
            text += "\n";
            text += &self.steps();
        }
        if !self.record.tasks.is_empty() {
            text += "\n";
            text += &tasks(&self.record.tasks);
        }
        for remarks in self.record.warnings.iter().chain(&self.record.findings) {
            text += "\n";
            text += &render::diagnostics(&remarks.name, &self.record.text, &remarks.diagnostics, style);
        }
        for notice in &self.record.notices {
            text += "\n";
            text += &["note: ", &printable(notice), "\n"].concat();
        }
        text
    }

    /// Returns what is said on a line each before the steps.
    fn facts(&self) -> Vec<(&'static str, String)> {
        let Self { build, record, directory, now, .. } = *self;
        let request = &record.request;
        let status = match (state_name(build.state), reason(record)) {
            (state, reason) if reason.is_empty() => state.to_owned(),
            (state, reason) => format!("{state}: {reason}"),
        };
        let words = |list: &[String]| list.join(", ");
        let args: Vec<String> = request.build_args.iter().map(build_arg).collect();
        let path = record.critical_path();
        let numbers: Vec<String> = path.steps.iter().map(|step| (step.0 + 1).to_string()).collect();
        let seconds =
            |time: std::time::Duration| if time.as_millis() < 50 { String::new() } else { human::seconds(time) };
        let id = build.id.as_str();
        let failed = match (build.state, self.has_state) {
            (BuildState::Failed, true) => format!("kept: `stave debug {id}` opens it"),
            _ => String::new(),
        };
        let facts = vec![
            ("Build", id.to_owned()),
            ("Status", status),
            ("Names", words(&request.names)),
            ("Dockerfile", build.title.clone()),
            ("Context", request.context.clone()),
            ("Target", request.target.clone().unwrap_or_default()),
            ("Platforms", words(&request.platforms)),
            ("Arguments", words(&args)),
            ("Cache", if request.no_cache { "not used (--no-cache)".to_owned() } else { String::new() }),
            ("Begun", format!("{} ({})", human::rfc3339(build.started), human::ago(build.started, now))),
            ("Took", human::seconds(took(build, record, now))),
            ("Steps", steps(record)),
            ("Saved", seconds(record.saved())),
            (
                "Critical path",
                if numbers.len() < 2 {
                    String::new()
                } else {
                    format!("{}: steps {}", human::seconds(path.took), numbers.join(", "))
                },
            ),
            ("Builder", format!("stave {}", request.version)),
            ("Logs", directory.display().to_string()),
            ("Failed state", failed),
        ];
        facts.into_iter().chain(outputs(record)).filter(|(_, fact)| !fact.is_empty()).collect()
    }

    fn steps(&self) -> String {
        let mut rows = vec!["STEP\tSTATE\tTIME\tLOG\tINSTRUCTION".to_owned()];
        for step in &self.record.steps {
            let (number, state) = (step.line.step.0 + 1, explain::state_name(step));
            let running = step.started.filter(|_| step.state == StepState::Running);
            let so_far = running.map(|started| self.record.took.saturating_sub(started));
            let time = step.took.or(so_far).map(human::seconds).unwrap_or_default();
            let log = self.log_bytes(step).map(human::size).unwrap_or_default();
            let title = printable(&title(&step.line)).replace('\t', " ");
            rows.push(format!("{number}\t{state}\t{time}\t{log}\t{title}"));
            // That a step is new needs no reason.
            if let Some(miss) = step.miss.as_ref().filter(|miss| *miss.root() != Miss::First) {
                rows.push(format!("\t\t\t\t  because {}", printable(&miss.to_string()).replace('\t', " ")));
            }
            let shown = step.requests.iter().take(REQUESTS_SHOWN);
            rows.extend(shown.map(|one| format!("\t\t\t\t  {}", printable(&one.to_string()).replace('\t', " "))));
            if let Some(more) = step.requests.len().checked_sub(REQUESTS_SHOWN).filter(|more| *more > 0) {
                rows.push(format!("\t\t\t\t  and {more} more requests"));
            }
        }
        table::aligned(&rows)
    }

    fn document(&self) -> Value {
        let Self { build, record, directory, has_state, .. } = *self;
        let step = |step: &StepRecord| {
            let mut object = explain::step_object(record, step);
            object["line"] = json!(position(&record.text, step.line.span.start).line);
            object["inputs"] = json!(step.line.inputs);
            object["began"] = json!(step.started.map(|at| at.as_secs_f64()));
            object["saved"] = json!(step.saved.map(|time| time.as_secs_f64()));
            object["origin"] = json!(step.origin);
            object["result"] = json!(step.result);
            object["requests"] = json!(step.requests);
            object["log"] = match self.log_bytes(step) {
                Some(bytes) => json!({ "path": directory.join(step.log_name()), "bytes": bytes }),
                None => Value::Null,
            };
            object
        };
        let task = |task: &TaskRecord| {
            json!({
                "kind": task.kind, "title": task.title, "began": task.started.as_secs_f64(),
                "took": task.took.map(|time| time.as_secs_f64()), "ending": task.ending, "done": task.done,
                "total": task.total,
            })
        };
        let remarks = |all: &[Remarks]| {
            let with_text = |one: &Remarks| json!(Remarks { text: record.text.clone(), ..one.clone() });
            let said = all.iter().map(with_text);
            said.flat_map(|one| one["diagnostics"].as_array().cloned().unwrap_or_default()).collect::<Vec<_>>()
        };
        let path = record.critical_path();
        json!({
            "schema": SCHEMA,
            "build": build.id.as_str(),
            "state": state_name(build.state),
            "reason": reason(record),
            "began": human::rfc3339(build.started),
            "ended": ended(build, record).map(human::rfc3339),
            "took": took(build, record, self.now).as_secs_f64(),
            "file": build.title,
            "text": record.text,
            "request": record.request,
            "ending": record.ending,
            "image": build.image.map(|image| image.to_string()),
            "steps": record.steps.iter().map(step).collect::<Vec<_>>(),
            "tasks": record.tasks.iter().map(task).collect::<Vec<_>>(),
            "warnings": remarks(&record.warnings),
            "findings": remarks(&record.findings),
            "notices": record.notices,
            "critical-path": { "steps": path.steps, "took": path.took.as_secs_f64() },
            "saved": record.saved().as_secs_f64(),
            "logs": directory,
            "has-failed-state": has_state,
        })
    }
}

fn build_arg((name, value): &(String, Option<String>)) -> String {
    match value {
        Some(value) => format!("{name}={value}"),
        None => format!("{name} (not kept: its name is that of a secret)"),
    }
}

/// Returns what came of it.
fn outputs(record: &Record) -> Vec<(&'static str, String)> {
    let Some(Ending::Built { images, index, size, .. }) = &record.ending else { return Vec::new() };
    let mut outputs: Vec<_> = match images.as_slice() {
        [image] => vec![("Image", image.image.clone())],
        several => several.iter().map(|one| ("Image", format!("{} for {}", one.image, one.platform))).collect(),
    };
    outputs.push(("Index", index.clone().unwrap_or_default()));
    let stage = |part: &stave_history::StageBytes| match (&part.stage, part.of_base) {
        (Some(stage), _) => format!("{stage} {}", human::size(part.bytes)),
        (None, true) => format!("base {}", human::size(part.bytes)),
        (None, false) => format!("joined layers {}", human::size(part.bytes)),
    };
    let parts: Vec<String> = record.stage_bytes().iter().filter(|part| part.bytes > 0).map(stage).collect();
    outputs.push((
        "Size",
        match parts.as_slice() {
            [] => human::size(*size),
            parts => format!("{}: {}", human::size(*size), parts.join(", ")),
        },
    ));
    outputs
}

/// Returns what took time beside the steps.
fn tasks(tasks: &[TaskRecord]) -> String {
    let mut rows = vec!["STATE\tTIME\tBYTES\tOTHER WORK".to_owned()];
    for task in tasks {
        let state = match &task.ending {
            None => "not ended",
            Some(TaskEnding::Done) => "done",
            Some(TaskEnding::Failed { .. }) => "failed",
            Some(TaskEnding::Cancelled) => "cancelled",
        };
        let time = task.took.map(human::seconds).unwrap_or_default();
        let bytes = if task.done > 0 { human::size(task.done) } else { String::new() };
        rows.push(format!("{state}\t{time}\t{bytes}\t{}", printable(&task.title).replace('\t', " ")));
        if let Some(TaskEnding::Failed { message }) = &task.ending {
            rows.push(format!("\t\t\t  because {}", printable(message).replace('\t', " ")));
        }
    }
    table::aligned(&rows)
}
