//! A record's spans.

use std::time::Duration;

use sha2::{Digest as _, Sha256};
use stave_history::event::{Ending, Origin, TaskEnding};
use stave_history::{Record, StepRecord, StepState, TaskRecord};

use crate::settings::Parent;

/// Characters of a span's name. Instructions can be as long as a script.
const NAME_CHARACTERS_MAX: usize = 200;

/// Characters of a text that is said of a span.
const TEXT_CHARACTERS_MAX: usize = 4096;

/// A build as others see it who look at what it is a part of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// Its number: that of the parent, or made of the build's.
    pub id: [u8; 16],
    /// What the systems on the way have to say; empty without a parent.
    pub state: String,
    /// What is said of all spans.
    pub resource: Vec<(String, String)>,
    /// Version of the builder.
    pub version: String,
    /// The build, then its steps in the order of the Dockerfile, then what else took time.
    pub spans: Vec<Span>,
}

/// Something that took time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Its number.
    pub id: [u8; 8],
    /// The span that it is a part of.
    pub parent: Option<[u8; 8]>,
    /// What it is.
    pub name: String,
    /// When it began, in nanoseconds since 1970.
    pub start: u64,
    /// When it ended, in nanoseconds since 1970.
    pub end: u64,
    /// What is said of it.
    pub attributes: Vec<(&'static str, Value)>,
    /// The spans of the same trace whose results it reads.
    pub links: Vec<[u8; 8]>,
    /// Why it failed, if it did.
    pub failure: Option<String>,
}

/// A value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A number.
    Number(i64),
    /// Yes or no.
    Truth(bool),
    /// Several texts.
    Texts(Vec<String>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.chars().take(TEXT_CHARACTERS_MAX).collect())
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl Trace {
    /// Returns the trace of a build that began at `began`, since 1970, as a part of `parent`.
    ///
    /// The ids follow from the build's own. A step that never began has no span; one whose result was known has one of no
    /// length at the begin of the build.
    #[must_use]
    pub fn new(record: &Record, began: Duration, parent: Option<&Parent>, resource: &[(String, String)]) -> Self {
        let maker = Maker { record, began, build: id(&record.id, "build") };
        let mut spans = vec![Span { parent: parent.map(|parent| parent.span), ..maker.build() }];
        spans.extend(record.steps.iter().filter_map(|step| maker.step(step)));
        spans.extend(record.tasks.iter().map(|task| maker.task(task)));
        Self {
            id: parent.map_or_else(|| id(&record.id, "trace"), |parent| parent.trace),
            state: parent.map(|parent| parent.state.clone()).unwrap_or_default(),
            resource: resource.to_vec(),
            version: record.request.version.clone(),
            spans,
        }
    }
}

/// The id of a part of a build. The build's own is a random number, so that no other build has it.
fn id<const N: usize>(build: &str, part: &str) -> [u8; N] {
    let digest = Sha256::digest(format!("stave trace\0{build}\0{part}"));
    let mut id = [0; N];
    id.copy_from_slice(&digest[..N]);
    // An id of zeros would be none.
    id[0] |= 1;
    id
}

fn name(text: &str) -> String {
    match text.char_indices().nth(NAME_CHARACTERS_MAX) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// What all spans of a build have in common.
struct Maker<'a> {
    record: &'a Record,
    began: Duration,
    build: [u8; 8],
}

impl Maker<'_> {
    /// So long after the begin of the build, in nanoseconds since 1970.
    fn at(&self, since: Duration) -> u64 {
        u64::try_from(self.began.saturating_add(since).as_nanos()).unwrap_or(u64::MAX)
    }

    fn step_id(&self, number: u32) -> [u8; 8] {
        id(&self.record.id, &format!("step {number}"))
    }

    fn build(&self) -> Span {
        let record = self.record;
        let request = &record.request;
        let texts = |texts: &[String]| Value::Texts(texts.to_vec());
        let mut attributes = vec![
            ("stave.build.id", Value::from(record.id.as_str())),
            ("stave.build.dockerfile", record.name.as_str().into()),
            ("stave.build.context", request.context.as_str().into()),
            ("stave.build.platforms", texts(&request.platforms)),
            ("stave.build.names", texts(&request.names)),
            ("stave.build.no_cache", Value::Truth(request.no_cache)),
        ];
        attributes.extend(request.target.as_deref().map(|target| ("stave.build.target", target.into())));
        let failure = match &record.ending {
            Some(Ending::Built { images, size, ran, cached, .. }) => {
                let images: Vec<String> = images.iter().map(|image| image.image.clone()).collect();
                attributes.extend([
                    ("stave.build.images", texts(&images)),
                    ("stave.build.size", (*size).into()),
                    ("stave.build.steps.ran", u64::from(*ran).into()),
                    ("stave.build.steps.cached", u64::from(*cached).into()),
                ]);
                None
            }
            Some(Ending::Failed { message, .. }) => Some(message.clone()),
            Some(Ending::Interrupted) => Some("interrupted".to_owned()),
            None => None,
        };
        Span {
            id: self.build,
            parent: None,
            name: name(&format!("build {}", request.names.first().unwrap_or(&record.name))),
            start: self.at(Duration::ZERO),
            end: self.at(record.took),
            attributes,
            links: Vec::new(),
            failure,
        }
    }

    fn step(&self, step: &StepRecord) -> Option<Span> {
        let line = &step.line;
        let (started, took) = match step.state {
            StepState::Waiting => return None,
            StepState::Cached => (Duration::ZERO, Duration::ZERO),
            _ => {
                let started = step.started?;
                (started, step.took.unwrap_or_else(|| self.record.took.saturating_sub(started)))
            }
        };
        let mut attributes = vec![
            ("stave.step.number", Value::from(u64::from(line.step.0) + 1)),
            ("stave.step.stage", line.stage.as_str().into()),
            ("stave.step.instruction", line.title.as_str().into()),
            ("stave.step.cached", Value::Truth(step.state == StepState::Cached)),
        ];
        attributes.extend(line.platform.as_deref().map(|platform| ("stave.step.platform", platform.into())));
        attributes.extend(step.miss.as_ref().map(|miss| ("stave.step.cause", miss.code().into())));
        attributes.extend(step.miss.as_ref().map(|miss| ("stave.step.cause.text", miss.to_string().as_str().into())));
        attributes.extend(step.origin.map(|origin| {
            let from = match origin {
                Origin::Local => "local",
                Origin::Imported => "imported",
            };
            ("stave.step.cached.from", from.into())
        }));
        let saved = step.saved.map(|saved| u64::try_from(saved.as_millis()).unwrap_or(u64::MAX));
        attributes.extend(saved.map(|millis| ("stave.step.cached.saved_ms", millis.into())));
        let failure = match step.state {
            StepState::Failed => Some(self.why(step)),
            StepState::Cancelled => Some("stopped because the build ended".to_owned()),
            _ => None,
        };
        let known =
            |input: &u32| self.record.steps.get(*input as usize).is_some_and(|step| step.state != StepState::Waiting);
        let inputs = line.inputs.iter().map(|input| input.0).filter(known);
        Some(Span {
            id: self.step_id(line.step.0),
            parent: Some(self.build),
            name: name(&format!("[{} {}/{}] {}", line.stage, line.number, line.of, line.title)),
            start: self.at(started),
            end: self.at(started.saturating_add(took)),
            attributes,
            links: inputs.map(|input| self.step_id(input)).collect(),
            failure,
        })
    }

    /// Why a step failed: what ended the build says so of one.
    fn why(&self, step: &StepRecord) -> String {
        match &self.record.ending {
            Some(Ending::Failed { step: Some(failed), message }) if *failed == step.line.step => message.clone(),
            _ => "failed".to_owned(),
        }
    }

    fn task(&self, task: &TaskRecord) -> Span {
        let took = task.took.unwrap_or_else(|| self.record.took.saturating_sub(task.started));
        let kind = serde_json::to_value(task.kind).ok();
        let mut attributes = Vec::new();
        attributes.extend(kind.as_ref().and_then(|kind| kind.as_str()).map(|kind| ("stave.task.kind", kind.into())));
        if task.done > 0 || task.total.is_some() {
            attributes.push(("stave.task.bytes", task.done.into()));
        }
        Span {
            id: id(&self.record.id, &format!("task {}", task.task.0)),
            parent: Some(self.build),
            name: name(&task.title),
            start: self.at(task.started),
            end: self.at(task.started.saturating_add(took)),
            attributes,
            links: Vec::new(),
            failure: match &task.ending {
                Some(TaskEnding::Failed { message }) => Some(message.clone()),
                Some(TaskEnding::Cancelled) => Some("stopped because the build ended".to_owned()),
                Some(TaskEnding::Done) | None => None,
            },
        }
    }
}
