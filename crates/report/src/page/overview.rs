//! What a person wants to know first: what was built, how long it took, and what cost it.

use std::time::Duration;

use maud::{Markup, html};
use stave_history::event::{Ending, StepId};
use stave_history::{Record, StepState};

use super::places::{bar, step_link};
use super::{ImageLayers, Page, places};
use crate::measure::{count, counted, percent, size, time};
use crate::text;

/// Steps of the critical path that are listed.
const PATH_STEPS: usize = 12;
/// Columns of a value of what was asked for.
const VALUE_COLUMNS: usize = 200;
/// Bytes shipped for nothing that are worth a sentence.
const WASTED_MIN: u64 = 100_000;
/// Values of what was asked for, of one kind.
const VALUES: usize = 50;

/// Returns what was built, in a few words: its name, or the Dockerfile's.
pub(super) fn subject(record: &Record) -> String {
    let built = match &record.ending {
        Some(Ending::Built { names, .. }) => names.first(),
        _ => None,
    };
    let name = built.or_else(|| record.request.names.first()).map(|name| familiar(name));
    let file = || if record.name.is_empty() { "a build" } else { record.name.as_str() };
    text::line(name.unwrap_or_else(file))
}

fn familiar(name: &str) -> &str {
    name.strip_prefix("docker.io/library/").or_else(|| name.strip_prefix("docker.io/")).unwrap_or(name)
}

/// Returns the word for how a build ended, and its class.
fn state(record: &Record) -> (&'static str, &'static str) {
    match &record.ending {
        Some(Ending::Built { .. }) => ("Built", "built"),
        Some(Ending::Failed { .. }) => ("Failed", "failed"),
        Some(Ending::Interrupted) => ("Interrupted", "cancelled"),
        None => ("Running", "running"),
    }
}

/// The head of the page.
pub(super) fn head(page: &Page<'_>) -> Markup {
    let record = page.record;
    let (word, class) = state(record);
    html! {
        p.kind { "stave report" }
        h1 {
            span.state.(class) { (word) } " " (text::cut(&subject(record), 120))
        }
        p.when {
            @if !page.started.is_empty() { time { (page.started) } " · " }
            "build " code { (text::line(&record.id)) }
        }
    }
}

/// The first part: three sentences, the critical path, what was asked for.
pub(super) fn overview(page: &Page<'_>) -> Markup {
    let record = page.record;
    html! {
        div.summary {
            p { (what(record)) }
            p { (how_long(record)) }
            @if let Some(cost) = cost(record) { p { (cost) } }
            @let wasted: u64 = page.layers.iter().map(ImageLayers::wasted).sum();
            @if wasted > WASTED_MIN {
                p { strong { (size(wasted)) } " are shipped for nothing: a later layer deletes or replaces them. "
                    a href="#layers" { "See the layers" } "." }
            }
        }
        @if !record.notices.is_empty() {
            ul.notices { @for notice in record.notices.iter().take(VALUES) { li { (text::line(notice)) } } }
        }
        (path(record))
        (asked(record))
    }
}

fn what(record: &Record) -> Markup {
    let file = if record.name.is_empty() { "its Dockerfile".to_owned() } else { text::line(&record.name) };
    match &record.ending {
        Some(Ending::Built { images, size: bytes, .. }) => {
            let layers: usize = images.iter().map(|image| image.layers.len()).sum();
            let platforms: Vec<String> = images.iter().map(|image| text::line(&image.platform)).collect();
            let noun = if images.len() == 1 { "The image".to_owned() } else { counted(images.len(), "image") };
            let verb = if images.len() == 1 { "has" } else { "have" };
            html! {
                (noun) @if !platforms.is_empty() { " for " (platforms.join(", ")) }
                " " (verb) " " strong { (size(*bytes)) } " in " (counted(layers, "layer"))
                ", made from " code { (file) } "."
            }
        }
        Some(Ending::Failed { step, message }) => html! {
            "The build of " code { (file) } " failed: " strong { (text::cut(message, 400)) }
            @if let Some(step) = step.and_then(|step| record.step(step)) { " in " (step_link(step)) } "."
        },
        Some(Ending::Interrupted) => html! {
            "The build of " code { (file) } " was interrupted: somebody cancelled it, or its process was killed."
        },
        None => html! {
            "The build of " code { (file) } " was still running when this page was made."
        },
    }
}

fn how_long(record: &Record) -> Markup {
    let (ran, cached) = (record.count(StepState::Done), record.count(StepState::Cached));
    let all = record.count_all();
    let saved = record.saved();
    let others = all - ran - cached;
    html! {
        (if record.ending.is_some() { "It took " } else { "It has taken " }) strong { (time(record.took)) }
        (if record.ending.is_some() { ": " } else { " so far: " }) (count(ran)) " of " (counted(all, "step")) " ran"
        @if others > 0 { ", " (count(others)) " did not or did not end" }
        ", and " (if cached == 0 { "none".to_owned() } else { count(cached) })
        (if cached < 2 { " was" } else { " were" }) " known"
        @if saved > Duration::from_millis(50) { ", which saved " strong { (time(saved)) } }
        "."
    }
}

/// What took most of the time, and of the bytes.
fn cost(record: &Record) -> Option<Markup> {
    let took = |step: &StepId| record.step(*step).and_then(|step| step.took).unwrap_or_default();
    let path = record.critical_path();
    let longest = path.steps.iter().max_by_key(|step| took(step)).and_then(|&step| record.step(step));
    let most = record.stage_bytes().into_iter().max_by_key(|part| part.bytes).filter(|part| part.bytes > 0);
    if longest.is_none() && most.is_none() {
        return None;
    }
    Some(html! {
        @if let Some(step) = longest {
            "Most time went to " (step_link(step)) " with " strong { (time(step.took.unwrap_or_default())) }
        }
        @if let Some(part) = most {
            (if longest.is_some() { ", and most bytes come from " } else { "Most bytes come from " })
            @match (&part.stage, part.of_base) {
                (Some(stage), _) => { "the stage " code { (text::cut(stage, 60)) } }
                (None, true) => "the base image",
                (None, false) => "layers that several steps made",
            }
            " with " strong { (size(part.bytes)) }
        }
        "."
    })
}

fn path(record: &Record) -> Markup {
    let path = record.critical_path();
    if path.steps.is_empty() {
        return html! {};
    }
    let took = |step: StepId| record.step(step).and_then(|step| step.took).unwrap_or_default();
    let mut by_time = path.steps.clone();
    by_time.sort_by_key(|&step| std::cmp::Reverse(took(step)));
    let least = by_time.get(PATH_STEPS.min(by_time.len()) - 1).map(|&step| took(step)).unwrap_or_default();
    let mut listed: Vec<StepId> = path.steps.iter().copied().filter(|&step| took(step) >= least).collect();
    listed.truncate(PATH_STEPS);
    let others = path.steps.len() - listed.len();
    let rest: Duration = path.took.saturating_sub(listed.iter().map(|&step| took(step)).sum());
    html! {
        h3 { "Critical path" }
        p.note {
            "Each of these steps waited for the one before it. Together they took " strong { (time(path.took)) } ", "
            (percent(path.took, record.took)) " of the time of the build: with these steps it could not have been faster."
        }
        ol.path {
            @for step in listed.iter().filter_map(|&step| record.step(step)) {
                @let took = step.took.unwrap_or_default();
                li {
                    (step_link(step))
                    span.share { (time(took)) " · " (percent(took, path.took)) }
                    (bar(took.as_secs_f64() / path.took.as_secs_f64().max(f64::MIN_POSITIVE), "critical"))
                }
            }
        }
        @if others > 0 { p.note { "And " (counted(others, "shorter step")) ", " (time(rest)) " together." } }
    }
}

/// A name and its values.
type Fact = (&'static str, Vec<String>);

fn asked(record: &Record) -> Markup {
    let request = &record.request;
    let one = |value: &str| if value.is_empty() { Vec::new() } else { vec![value.to_owned()] };
    let args = request.build_args.iter().map(|(name, value)| match value {
        Some(value) => format!("{name}={value}"),
        None => format!("{name} (not shown: its name is that of a secret)"),
    });
    let mut facts: Vec<Fact> = vec![
        ("Context", one(&request.context)),
        ("Dockerfile", one(&record.name)),
        ("Target", request.target.iter().cloned().collect()),
        ("Platforms", request.platforms.clone()),
        ("Build arguments", args.collect()),
        ("Cache", if request.no_cache { vec!["not used: --no-cache".to_owned()] } else { Vec::new() }),
    ];
    if let Some(Ending::Built { images, index, names, .. }) = &record.ending {
        facts.push(("Names", names.clone()));
        facts.push(("Index", index.iter().cloned().collect()));
        let id = |image: &stave_history::event::BuiltImage| match images.len() {
            1 => image.image.clone(),
            _ => format!("{} for {}", image.image, image.platform),
        };
        facts.push(("Image", images.iter().map(id).collect()));
    } else {
        facts.push(("Names", request.names.clone()));
    }
    facts.retain(|(_, values)| !values.is_empty());
    html! {
        h3 { "What was asked for, and what came of it" }
        dl.facts {
            @for (name, values) in &facts {
                div {
                    dt { (name) }
                    dd {
                        @for value in values.iter().take(VALUES) { code { (text::cut(value, VALUE_COLUMNS)) } }
                        @if values.len() > VALUES { span { "and " (counted(values.len() - VALUES, "other")) } }
                    }
                }
            }
        }
        @if let Some(tasks) = tasks(record) { (tasks) }
    }
}

/// What took time beside the steps.
fn tasks(record: &Record) -> Option<Markup> {
    let longest = record.tasks.iter().filter(|task| task.took.is_some()).max_by_key(|task| task.took)?;
    let took = longest.took.unwrap_or_default();
    (took >= Duration::from_millis(20)).then(|| {
        html! {
            p.note {
                "Beside the steps, " (counted(record.tasks.len(), "other task")) " took time, the longest "
                code { (text::cut(&longest.title, places::TITLE_COLUMNS)) } " (" (time(took)) ")."
            }
        }
    })
}
