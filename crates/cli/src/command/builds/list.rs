//! `builds ls`: a row for each build.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use stave_engine::EngineError;
use stave_engine::store::{BuildRecord, BuildState, Store};
use stave_history::event::Ending;
use stave_history::{Record, StepState};
use stave_oci::Reference;

use super::{Context, directory, state_name, written};
use crate::args::{BuildsLsArgs, Comparison, FilterArg};
use crate::command::filters::{Keys, Sorted, holds_for};
use crate::failure::Failure;
use crate::host::{self, Processes};
use crate::render::printable;
use crate::table::{Column, Format, column};
use crate::{human, output};

const COLUMNS: &[Column] = &[
    column("ID", "BUILD ID"),
    column("Name", "NAME"),
    column("Status", "STATUS"),
    column("CreatedSince", "CREATED"),
    column("Duration", "DURATION"),
    column("Steps", "STEPS"),
    column("Image", "IMAGE"),
    column("Names", "NAMES"),
    column("File", "FILE"),
    column("Context", "CONTEXT"),
    column("Target", "TARGET"),
    column("Platforms", "PLATFORMS"),
    column("Reason", "REASON"),
    column("CreatedAt", "CREATED AT"),
    column("CompletedAt", "COMPLETED AT"),
    column("Seconds", "SECONDS"),
    column("Ran", "RAN"),
    column("Cached", "CACHED"),
    column("Total", "TOTAL"),
    column("Size", "SIZE"),
    column("LogBytes", "LOG BYTES"),
];

/// How many of them a table has.
const SHOWN: usize = 7;
/// Characters of an id, and of a name, in a table.
const ID_CHARACTERS: usize = 12;
const NAME_CHARACTERS: usize = 40;

/// Filters of builds.
const KEYS: Keys =
    Keys { times: &["since", "until"], texts: &["status", "id", "name", "file", "target", "image"], truths: &[] };

/// A build with what is written down of it.
struct Listed {
    build: BuildRecord,
    record: Record,
    log_bytes: u64,
}

pub(super) fn list(args: &BuildsLsArgs, context: &Context<'_>) -> Result<u8, Failure> {
    let format = Format::parse(args.format.as_deref(), &COLUMNS[..SHOWN])?;
    let now = host::now();
    let filters = Filters::new(&args.filters, now)?;
    let host = context.host(Processes::None)?;
    let store = host.engine.store();
    let mut rows = Vec::new();
    for build in store.builds(u32::MAX).map_err(EngineError::from)? {
        if args.last.is_some_and(|last| rows.len() >= last) {
            break;
        }
        let listed = read(store, build);
        if filters.accept(&listed) {
            rows.push(row(&listed, args.no_trunc, now));
        }
    }
    let ids = || rows.iter().filter_map(|row| row["ID"].as_str()).map(str::to_owned).collect::<Vec<_>>();
    if args.quiet {
        output::lines(&ids())?;
    } else {
        output::text(&format.render(&rows, COLUMNS)?)?;
    }
    Ok(0)
}

/// Returns that a build which nobody named is not the latest that has ended, if it is not.
pub(in super::super) fn remark_on_later(store: &Store, id: &str, now: i64) -> Option<String> {
    let mut ended = store.builds(u32::MAX).ok()?.into_iter().filter(|build| build.state != BuildState::Running);
    let latest = ended.next().filter(|latest| latest.id.as_str() != id)?;
    let found = ended.find(|build| build.id.as_str() == id)?;
    let ago = human::ago(found.started, now);
    let name = |build: BuildRecord| {
        let listed = read(store, build);
        format!("{} (`{}`)", listed.build.id, printable(&listed.name()))
    };
    Some(format!("this is build {}, begun {}; build {} came after it", name(found), ago.to_lowercase(), name(latest)))
}

fn read(store: &Store, build: BuildRecord) -> Listed {
    let directory = directory(store, &build);
    let record = written(store, &build).unwrap_or_default();
    let lengths = record.steps.iter().filter_map(|step| directory.join(step.log_name()).metadata().ok());
    let log_bytes = lengths.map(|metadata| metadata.len()).sum();
    Listed { build, record, log_bytes }
}

impl Listed {
    /// Returns the image's names as a person types them.
    fn names(&self) -> Vec<String> {
        let familiar = |name: &String| match name.parse::<Reference>() {
            Ok(reference) => {
                format!("{}:{}", reference.familiar_name(), reference.effective_tag().unwrap_or_default())
            }
            Err(_) => name.clone(),
        };
        self.record.request.names.iter().map(familiar).collect()
    }

    /// Returns what to call it: the first name of its image, or where its Dockerfile is.
    fn name(&self) -> String {
        let file = || match Path::new(&self.record.request.context).file_name() {
            Some(folder) if !Path::new(&self.build.title).is_absolute() => {
                format!("{}/{}", folder.display(), self.build.title)
            }
            _ => self.build.title.clone(),
        };
        let name = self.names().into_iter().next().unwrap_or_else(file);
        match &self.record.request.target {
            Some(target) => format!("{name} ({target})"),
            None => name,
        }
    }
}

/// Returns how long a build took, or has been running; of one that was killed, as long as something was told of it.
pub(super) fn took(build: &BuildRecord, record: &Record, now: i64) -> Duration {
    let since = Duration::from_secs(u64::try_from(now - build.started).unwrap_or(0));
    if build.state == BuildState::Running { since.max(record.took) } else { record.took }
}

/// Returns when it ended, in seconds since 1970. When one that was killed did is not known, only when that was noticed.
pub(super) fn ended(build: &BuildRecord, record: &Record) -> Option<i64> {
    match build.state {
        BuildState::Running => None,
        BuildState::Interrupted => {
            Some(build.started.saturating_add(i64::try_from(record.took.as_secs()).unwrap_or(i64::MAX)))
        }
        BuildState::Done | BuildState::Failed => build.finished,
    }
}

/// Returns why it failed, if it did.
pub(super) fn reason(record: &Record) -> String {
    let Some(Ending::Failed { step, message }) = &record.ending else { return String::new() };
    match step.and_then(|step| record.step(step)) {
        Some(step) => format!("{}: {message}", crate::progress::title(&step.line)),
        None => message.clone(),
    }
}

/// Returns what has become of the steps, in words.
pub(super) fn steps(record: &Record) -> String {
    let words = [
        (StepState::Done, "ran"),
        (StepState::Cached, "cached"),
        (StepState::Failed, "failed"),
        (StepState::Running, "running"),
        (StepState::Cancelled, "cancelled"),
        (StepState::Waiting, "not run"),
    ];
    let said = words.map(|(state, word)| (record.count(state), word)).into_iter().filter(|(count, _)| *count > 0);
    said.map(|(count, word)| format!("{count} {word}")).collect::<Vec<_>>().join(", ")
}

fn row(listed: &Listed, whole: bool, now: i64) -> Value {
    let Listed { build, record, log_bytes } = listed;
    let took = took(build, record, now);
    let (id, name) = (build.id.as_str(), printable(&listed.name()));
    let image = build.image.map_or_else(String::new, |image| {
        if whole { image.to_string() } else { image.hex()[..ID_CHARACTERS].to_owned() }
    });
    let size = match &record.ending {
        Some(Ending::Built { size, .. }) => human::size(*size),
        _ => String::new(),
    };
    json!({
        "ID": if whole { id } else { &id[..ID_CHARACTERS.min(id.len())] },
        "Name": if whole { name } else { human::ellipsis(&name, NAME_CHARACTERS) },
        "Names": listed.names(),
        "File": printable(&build.title),
        "Context": record.request.context,
        "Target": record.request.target.as_deref().unwrap_or_default(),
        "Platforms": record.request.platforms,
        "Status": state_name(build.state),
        "Reason": printable(&reason(record)),
        "CreatedSince": human::ago(build.started, now),
        "CreatedAt": human::rfc3339(build.started),
        "CompletedAt": ended(build, record).map(human::rfc3339).unwrap_or_default(),
        "Duration": human::seconds(took),
        "Seconds": took.as_secs_f64(),
        "Ran": record.count(StepState::Done),
        "Cached": record.count(StepState::Cached),
        "Total": record.count_all(),
        "Steps": steps(record),
        "Image": image,
        "Size": size,
        "LogBytes": log_bytes,
    })
}

/// Filters, understood.
struct Filters {
    texts: Vec<FilterArg>,
    since: Option<i64>,
    until: Option<i64>,
}

impl Filters {
    fn new(given: &[FilterArg], now: i64) -> Result<Self, Failure> {
        let Sorted { others: texts, times } = KEYS.sort(given, now)?;
        texts.iter().try_for_each(known_status)?;
        let time = |key: &str| times.get(key).copied();
        Ok(Self { since: time("since"), until: time("until"), texts })
    }

    fn accept(&self, listed: &Listed) -> bool {
        let started = listed.build.started;
        self.since.is_none_or(|since| started >= since)
            && self.until.is_none_or(|until| started < until)
            && self.texts.iter().all(|filter| match filter.comparison {
                // One of several values will do.
                Comparison::Is(_) => {
                    let same = self.texts.iter().filter(|other| other.key == filter.key);
                    same.filter(|other| matches!(other.comparison, Comparison::Is(_))).any(|one| holds(one, listed))
                }
                _ => holds(filter, listed),
            })
    }
}

fn holds(filter: &FilterArg, listed: &Listed) -> bool {
    let Listed { build, record, .. } = listed;
    let texts: Vec<String> = match filter.key.as_str() {
        "status" => status_words(build.state).map(str::to_owned).into(),
        "id" => vec![build.id.to_string()],
        "file" => vec![build.title.clone()],
        "target" => vec![record.request.target.clone().unwrap_or_default()],
        "image" => build.image.map(|image| vec![image.to_string(), image.hex()]).unwrap_or_default(),
        _ => {
            // Whole, as it is typed, without its tag, and in full.
            let without_tag = |name: &String| name.parse::<Reference>().ok().map(|name| name.familiar_name());
            let full = record.request.names.iter();
            listed.names().into_iter().chain(full.clone().filter_map(without_tag)).chain(full.cloned()).collect()
        }
    };
    match (&filter.comparison, filter.key.as_str()) {
        (Comparison::Is(begin), "id" | "image") => {
            !begin.is_empty() && texts.iter().any(|text| text.starts_with(begin.as_str()))
        }
        _ => holds_for(filter, &texts),
    }
}

/// Fails if a filter asks for a status that there is not.
fn known_status(filter: &FilterArg) -> Result<(), Failure> {
    let states = [BuildState::Running, BuildState::Done, BuildState::Failed, BuildState::Interrupted];
    match &filter.comparison {
        Comparison::Is(text) | Comparison::IsNot(text)
            if filter.key == "status" && !states.map(status_words).concat().contains(&text.as_str()) =>
        {
            let known = states.map(state_name).join(", ");
            Err(Failure::usage(format!("`{text}` is no status of a build")).with_hint(&format!("There are: {known}.")))
        }
        _ => Ok(()),
    }
}

/// Returns our word for a state, and docker's.
fn status_words(state: BuildState) -> [&'static str; 2] {
    let other = match state {
        BuildState::Running => "running",
        BuildState::Done => "completed",
        BuildState::Failed => "error",
        BuildState::Interrupted => "canceled",
    };
    [state_name(state), other]
}
