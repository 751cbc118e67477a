//! `images`, `ps`, `history`: rows with Docker's columns.

use std::cmp::Ordering;
use std::time::Duration;

use serde_json::{Value, json};
use stave_engine::{ContainerState, ContainerSummary, Engine, EngineError, HistoryLine, ImageSummary};
use stave_oci::{Platform, Reference};

use super::Context;
use crate::args::{HistoryArgs, ImagesArgs, PsArgs, When};
use crate::failure::Failure;
use crate::host::{self, Processes};
use crate::table::{self, Column, Format, column};
use crate::{glob, human, output};

const NONE: &str = "<none>";

const IMAGE_COLUMNS: &[Column] = &[
    column("Repository", "REPOSITORY"),
    column("Tag", "TAG"),
    column("Digest", "DIGEST"),
    column("ID", "IMAGE ID"),
    column("CreatedSince", "CREATED"),
    column("Size", "SIZE"),
    column("CreatedAt", "CREATED AT"),
    column("Containers", "CONTAINERS"),
    column("SharedSize", "SHARED SIZE"),
    column("UniqueSize", "UNIQUE SIZE"),
    column("VirtualSize", "SIZE"),
];

const CONTAINER_COLUMNS: &[Column] = &[
    column("ID", "CONTAINER ID"),
    column("Image", "IMAGE"),
    column("Command", "COMMAND"),
    column("RunningFor", "CREATED"),
    column("Status", "STATUS"),
    column("Ports", "PORTS"),
    column("Names", "NAMES"),
    column("CreatedAt", "CREATED AT"),
    column("State", "STATE"),
    column("Labels", "LABELS"),
    column("Label", "LABEL"),
    column("Networks", "NETWORKS"),
    column("Platform", "PLATFORM"),
    column("Mounts", "MOUNTS"),
    column("LocalVolumes", "LOCAL VOLUMES"),
    column("Size", "SIZE"),
];

const HISTORY_COLUMNS: &[Column] = &[
    column("ID", "IMAGE"),
    column("CreatedSince", "CREATED"),
    column("CreatedBy", "CREATED BY"),
    column("Size", "SIZE"),
    column("Comment", "COMMENT"),
    column("CreatedAt", "CREATED AT"),
];

fn only(columns: &[Column], fields: &[&str]) -> Vec<Column> {
    columns.iter().filter(|column| fields.contains(&column.field)).copied().collect()
}

/// A filter that was typed: `KEY=VALUE`.
pub(super) fn filters<'a>(given: &'a [String], known: &[&str]) -> Result<Vec<(&'a str, &'a str)>, Failure> {
    let filter = |text: &'a String| match text.split_once('=') {
        Some((key, value)) if known.contains(&key) => Ok((key, value)),
        Some((key, _)) => {
            Err(Failure::usage(format!("the filter `{key}` is not supported, only {}", known.join(", "))))
        }
        None => Err(Failure::usage(format!("the filter `{text}` is not of the form `KEY=VALUE`"))),
    };
    given.iter().map(filter).collect()
}

pub(super) fn images(args: &ImagesArgs, context: &Context<'_>) -> Result<u8, Failure> {
    let mut fields = vec!["Repository", "Tag", "ID", "CreatedSince", "Size"];
    if args.digests {
        fields.push("Digest");
    }
    let format = Format::parse(args.format.as_deref(), &only(IMAGE_COLUMNS, &fields))?;
    let mut wanted = Wanted::default();
    let now = host::now();
    let engine = context.host(Processes::None)?.engine;
    let mut images = engine.images(args.all)?;
    let known = ["reference", "dangling", "label", "before", "since", "until"];
    for (key, value) in filters(&args.filters, &known)? {
        match (key, value) {
            ("label", _) => retain_labelled(&engine, &mut images, value)?,
            ("until", _) => {
                let until = value.parse::<When>().map_err(Failure::usage)?.seconds(now);
                images.retain(|image| image.created.is_some_and(|created| created < until));
            }
            ("before" | "since", _) => {
                let other = engine.store().find_image(value).map_err(EngineError::from)?;
                let wanted = if key == "before" { Ordering::Less } else { Ordering::Greater };
                images.retain(|image| image.id != other.id && image.created.cmp(&other.created) == wanted);
            }
            ("dangling", "true" | "1") => wanted.dangling = Some(true),
            ("dangling", "false" | "0") => wanted.dangling = Some(false),
            ("dangling", _) => return Err(Failure::usage(format!("`dangling={value}` is neither true nor false"))),
            _ => wanted.references.push(value.to_owned()),
        }
    }
    wanted.repository.clone_from(&args.repository);
    let rows: Vec<Value> = images.iter().flat_map(|image| image_rows(image, args, &wanted, now)).collect();
    if args.tree {
        return output::text(&tree(&engine, &rows, args.no_trunc)?).map(|()| 0);
    }
    output::text(&if args.quiet { ids(&rows) } else { format.render(&rows, IMAGE_COLUMNS)? })?;
    Ok(0)
}

/// Returns a line for each row of images, and below it one for each platform that it stands for.
fn tree(engine: &Engine, rows: &[Value], no_trunc: bool) -> Result<String, Failure> {
    let mut lines = vec!["IMAGE\tID\tSIZE\tCONTAINERS".to_owned()];
    for row in rows {
        let cell = |field: &str| row[field].as_str().unwrap_or_default().to_owned();
        let (repository, tag, id) = (cell("Repository"), cell("Tag"), cell("ID"));
        let (name, asked) = match (repository.as_str(), tag.as_str()) {
            (NONE, _) | (_, NONE) => ("<untagged>".to_owned(), id.clone()),
            _ => (format!("{repository}:{tag}"), format!("{repository}:{tag}")),
        };
        let parts = engine.image_platforms(&asked)?;
        let size = parts.iter().map(|part| part.size).sum();
        lines.push(format!("{name}\t{id}\t{}\t{}", human::size(size), cell("Containers")));
        for (place, part) in parts.iter().enumerate() {
            let branch = if place + 1 == parts.len() { "└─" } else { "├─" };
            let id = if no_trunc { part.id.to_string() } else { part.id.hex()[..12].to_owned() };
            let size = human::size(part.size);
            lines.push(format!("{branch} {}\t{id}\t{size}\t{}", part.platform, part.containers));
        }
    }
    Ok(table::aligned(&lines))
}

/// Keeps the images that have a label: `NAME`, or `NAME=VALUE`.
fn retain_labelled(engine: &Engine, images: &mut Vec<ImageSummary>, wanted: &str) -> Result<(), Failure> {
    let (name, value) = wanted.split_once('=').map_or((wanted, None), |(name, value)| (name, Some(value)));
    let mut kept = Vec::new();
    for image in images.drain(..) {
        let labels = engine.image_labels(&image.id)?;
        if labels.get(name).is_some_and(|found| value.is_none_or(|value| found == value)) {
            kept.push(image);
        }
    }
    *images = kept;
    Ok(())
}

/// Which rows of images are shown.
#[derive(Default)]
struct Wanted {
    dangling: Option<bool>,
    references: Vec<String>,
    repository: Option<String>,
}

impl Wanted {
    /// Whether an image is shown that has a repository and no tag, by the repository's name as Docker has it.
    fn matches_repository(&self, name: &str) -> bool {
        let is = |pattern: &str| match name.parse::<Reference>() {
            Ok(full) => glob::matches(pattern, name) || glob::matches(pattern, &full.name()),
            Err(_) => false,
        };
        self.dangling != Some(false)
            && (self.references.is_empty() || self.references.iter().any(|pattern| is(pattern)))
            && self.repository.as_deref().is_none_or(is)
    }

    fn matches(&self, name: Option<&Reference>) -> bool {
        let Some(name) = name else {
            return self.dangling != Some(false) && self.references.is_empty() && self.repository.is_none();
        };
        let is = |pattern: &str| {
            let familiar = name.familiar_name();
            let tagged = format!("{familiar}:{}", name.effective_tag().unwrap_or_default());
            // The full name is accepted too.
            glob::matches(pattern, &familiar)
                || glob::matches(pattern, &tagged)
                || glob::matches(pattern, &name.name())
                || glob::matches(pattern, &name.to_string())
        };
        self.dangling != Some(true)
            && (self.references.is_empty() || self.references.iter().any(|pattern| is(pattern)))
            && self.repository.as_deref().is_none_or(is)
    }
}

/// Returns a row for each name, or one for an image without names.
fn image_rows(image: &ImageSummary, args: &ImagesArgs, wanted: &Wanted, now: i64) -> Vec<Value> {
    let full = image.id.to_string();
    let id = if args.no_trunc { full } else { image.id.hex()[..12].to_owned() };
    let created = image.created.unwrap_or(0);
    let row = |repository: String, tag: String, digest: String| {
        json!({
            "Repository": repository,
            "Tag": tag,
            "Digest": digest,
            "ID": id,
            "CreatedSince": human::ago(created, now),
            "CreatedAt": if created == 0 { "N/A".to_owned() } else { human::created_at(created) },
            "Size": human::size(image.size),
            "VirtualSize": human::size(image.size),
            "Containers": image.containers.to_string(),
            "SharedSize": "N/A",
            "UniqueSize": "N/A",
        })
    };
    let digest_of = |repository: &str| {
        let digest = image.digests.iter().find(|(name, _)| name == repository);
        digest.map_or_else(|| NONE.to_owned(), |(_, digest)| digest.to_string())
    };
    if image.names.is_empty() && image.digests.is_empty() {
        let none = || NONE.to_owned();
        return wanted.matches(None).then(|| row(none(), none(), none())).into_iter().collect();
    }
    if image.names.is_empty() {
        // It was pulled by digest: no tag, but a repository.
        let of = image.digests.iter().filter(|(name, _)| wanted.matches_repository(name));
        return of.map(|(name, digest)| row(name.clone(), NONE.to_owned(), digest.to_string())).collect();
    }
    let named = image.names.iter().filter(|name| wanted.matches(Some(name)));
    named
        .map(|name| {
            let repository = name.familiar_name();
            let tag = name.effective_tag().unwrap_or(NONE).to_owned();
            let digest = digest_of(&repository);
            row(repository, tag, digest)
        })
        .collect()
}

fn ids(rows: &[Value]) -> String {
    rows.iter().filter_map(|row| row["ID"].as_str()).flat_map(|id| [id, "\n"]).collect()
}

pub(super) fn containers(args: &PsArgs, context: &Context<'_>) -> Result<u8, Failure> {
    let mut fields = vec!["ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"];
    if args.size {
        fields.push("Size");
    }
    let format = Format::parse(args.format.as_deref(), &only(CONTAINER_COLUMNS, &fields))?;
    let known = [
        "id", "name", "status", "ancestor", "exited", "label", "before", "since", "network", "volume", "publish",
        "expose",
    ];
    let filters = filters(&args.filters, &known)?;
    for (key, value) in &filters {
        sensible(key, value)?;
    }
    let engine = context.host(Processes::None)?.engine;
    let mut containers = engine.containers()?;
    let now = host::now();
    // The latest come first, so that what is before another one comes after it.
    let place = |key: &str| -> Result<Option<usize>, Failure> {
        let Some((_, name)) = filters.iter().find(|(known, _)| *known == key) else { return Ok(None) };
        let wanted = engine.store().resolve_container(name).map_err(EngineError::from)?;
        Ok(containers.iter().position(|container| container.id == wanted.id.as_str()))
    };
    let (before, since) = (place("before")?, place("since")?);
    let last = if args.latest { Some(1) } else { args.last };
    let by_state = filters.iter().any(|(key, _)| matches!(*key, "status" | "exited"));
    let everything = args.all || by_state || last.is_some_and(|last| last >= 0);
    let mut at = 0;
    containers.retain(|container| {
        at += 1;
        (everything || matches!(container.state, ContainerState::Running { .. }))
            && before.is_none_or(|place| at - 1 > place)
            && since.is_none_or(|place| at - 1 < place)
            && passes(container, &filters)
    });
    if let Some(last) = last.and_then(|last| usize::try_from(last).ok()) {
        containers.truncate(last);
    }
    let mut rows = Vec::new();
    for container in &containers {
        let size = if args.size || shows_size(args) { Some(engine.container_sizes(&container.id)?) } else { None };
        let mut row = container_row(container, size, args.no_trunc, now);
        if let Some(platform) = platform_of(&engine, args, container)? {
            row["Platform"] = platform.to_string().into();
        }
        rows.push(row);
    }
    output::text(&if args.quiet { ids(&rows) } else { format.render(&rows, CONTAINER_COLUMNS)? })?;
    Ok(0)
}

/// Returns what platform a container's image is for, where the form asks for it and the image is there.
fn platform_of(engine: &Engine, args: &PsArgs, container: &ContainerSummary) -> Result<Option<Platform>, Failure> {
    let asks = args.format.as_deref().is_some_and(|format| format.contains("Platform") || format.contains("json"));
    if asks { Ok(engine.container_platform(&container.id)?) } else { Ok(None) }
}

/// Whether a template asks for the size, which takes a while to find.
fn shows_size(args: &PsArgs) -> bool {
    args.format.as_deref().is_some_and(|format| format.contains(".Size"))
}

/// Fails for a value that no container can have.
fn sensible(key: &str, value: &str) -> Result<(), Failure> {
    const STATES: [&str; 7] = ["created", "restarting", "running", "removing", "paused", "exited", "dead"];
    match key {
        "status" if !STATES.contains(&value) => {
            Err(Failure::usage(format!("`status={value}` is no state of a container: there are {}", STATES.join(", "))))
        }
        "exited" if value.parse::<i32>().is_err() => Err(Failure::usage(format!("`exited={value}` is no exit code"))),
        _ => Ok(()),
    }
}

/// Whether for every key one of its values holds.
fn passes(container: &ContainerSummary, filters: &[(&str, &str)]) -> bool {
    let holds = |key: &str, value: &str| match key {
        "id" => container.id.starts_with(value),
        "name" => container.name.contains(value.trim_start_matches(['^', '/']).trim_end_matches('$')),
        "status" => state_name(container) == value,
        "exited" => {
            matches!(container.state, ContainerState::Exited { code } if value.parse::<i32>().is_ok_and(|wanted| wanted == code))
        }
        "label" => match value.split_once('=') {
            Some((name, value)) => container.labels.get(name).is_some_and(|found| found == value),
            None => container.labels.contains_key(value),
        },
        "network" => container.network == value,
        "volume" => container.mounts.iter().chain(&container.targets).any(|mounted| mounted == value),
        "expose" => container.exposed.iter().any(|port| port == value || port.strip_suffix("/tcp") == Some(value)),
        // No port of a container is published: with the host's network it is the host's.
        "publish" => false,
        // These are about all containers together.
        "before" | "since" => true,
        _ => {
            let same = |left: &str| match (left.parse::<Reference>(), container.image.parse::<Reference>()) {
                (Ok(left), Ok(right)) => left.to_string() == right.to_string() || left.name() == right.name(),
                _ => false,
            };
            container.image == value || same(value)
        }
    };
    // One of several states will do, and all of several labels have to be there.
    filters.iter().all(|(key, value)| match *key {
        "label" => holds(key, value),
        _ => filters.iter().any(|(other, value)| other == key && holds(key, value)),
    })
}

fn state_name(container: &ContainerSummary) -> &'static str {
    match container.state {
        ContainerState::Running { .. } if container.paused => "paused",
        ContainerState::Created => "created",
        ContainerState::Running { .. } => "running",
        ContainerState::Exited { .. } => "exited",
    }
}

fn container_row(container: &ContainerSummary, size: Option<(u64, u64)>, no_trunc: bool, now: i64) -> Value {
    let size =
        size.map_or_else(String::new, |(own, all)| format!("{} (virtual {})", human::size(own), human::size(all)));
    let created = container.created.as_secs().cast_signed();
    let since = |then: Option<Duration>| {
        let seconds = now.saturating_sub(then.map_or(now, |then| then.as_secs().cast_signed()));
        human::duration(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
    };
    let status = match container.state {
        ContainerState::Created => "Created".to_owned(),
        ContainerState::Running { .. } if container.paused => format!("Up {} (Paused)", since(container.started)),
        ContainerState::Running { .. } => format!("Up {}", since(container.started)),
        ContainerState::Exited { code } => format!("Exited ({code}) {} ago", since(container.finished)),
    };
    let command = container.command.join(" ");
    let command = if no_trunc { command } else { human::ellipsis(&command, 20) };
    let labels: Vec<String> = container.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    json!({
        "ID": if no_trunc { &container.id } else { &container.id[..12] },
        "Image": container.image,
        "Command": format!("{command:?}"),
        "RunningFor": human::ago(created, now),
        "CreatedAt": human::created_at(created),
        "Status": status,
        "State": state_name(container),
        "Ports": "",
        "Names": container.name,
        "Labels": labels.join(","),
        "Label": container.labels,
        "Networks": container.network,
        "Platform": "",
        "Mounts": container.mounts.join(","),
        "LocalVolumes": "0",
        "Size": size,
    })
}

pub(super) fn history(args: &HistoryArgs, context: &Context<'_>) -> Result<u8, Failure> {
    let fields = ["ID", "CreatedSince", "CreatedBy", "Size", "Comment"];
    let format = Format::parse(args.format.as_deref(), &only(HISTORY_COLUMNS, &fields))?;
    let lines = context.host(Processes::None)?.engine.history(&args.image, args.platform.as_ref())?;
    let now = host::now();
    let rows: Vec<Value> = lines.iter().map(|line| history_row(line, args, now)).collect();
    output::text(&if args.quiet { ids(&rows) } else { format.render(&rows, HISTORY_COLUMNS)? })?;
    Ok(0)
}

fn history_row(line: &HistoryLine, args: &HistoryArgs, now: i64) -> Value {
    let id = match &line.image {
        None => "<missing>".to_owned(),
        Some(id) if args.no_trunc => id.to_string(),
        Some(id) => id.hex()[..12].to_owned(),
    };
    let created = line.created.unwrap_or(0);
    let at = if created == 0 { "N/A".to_owned() } else { human::rfc3339(created) };
    let by = line.created_by.replace(['\t', '\n'], " ");
    json!({
        "ID": id,
        "CreatedSince": if args.human { human::ago(created, now) } else { at.clone() },
        "CreatedAt": at,
        "CreatedBy": if args.no_trunc { by } else { human::ellipsis(&by, 45) },
        "Size": if args.human { human::size(line.size) } else { line.size.to_string() },
        "Comment": line.comment,
    })
}
