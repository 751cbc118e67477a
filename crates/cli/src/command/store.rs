//! `store check`, `prune`, `usage`, `limit`.

use std::io::IsTerminal as _;

use serde_json::{Value, json};
use stave_engine::store::{Amount, DiskRecord, PruneOptions, Pruned, RecordKind, Usage};
use stave_engine::{EngineError, ImageFilter};

use super::{Context, filters, prompt, records, settled};
use crate::args::{CheckArgs, FilterArg, LimitArgs, PruneArgs, PruneKind, StoreCommand, UsageArgs, UsageBy};
use crate::failure::{self, Failure};
use crate::host::{self, Host, Processes};
use crate::table::{Column, Format, column};
use crate::{human, output};

pub(super) fn store(command: &StoreCommand, context: &Context<'_>) -> Result<u8, Failure> {
    match command {
        StoreCommand::Check(args) => check(args, context),
        StoreCommand::Prune(args) => prune(args, context),
        StoreCommand::Usage(args) => usage(args, context),
        StoreCommand::Limit(args) => limit(args, context),
    }
}

fn check(args: &CheckArgs, context: &Context<'_>) -> Result<u8, Failure> {
    let host = context.host(Processes::None)?;
    let report = host.engine.check(args.repair)?;
    let lost = report.lost.iter().map(|lost| format!("lost when the machine stopped: {} `{}`", lost.kind, lost.name));
    let mut lines: Vec<String> = lost.collect();
    lines.extend(report.problems.iter().map(|problem| format!("problem: {problem}")));
    let counts = format!(
        "{} images, {} layers, {} blobs, {} containers",
        report.images, report.layers, report.blobs, report.containers
    );
    lines.push(match report.problems.len() {
        0 => format!("{counts}: no problems"),
        1 => format!("{counts}: 1 problem"),
        count => format!("{counts}: {count} problems"),
    });
    output::lines(&lines)?;
    Ok(if report.is_clean() { 0 } else { failure::ENVIRONMENT })
}

fn prune(args: &PruneArgs, context: &Context<'_>) -> Result<u8, Failure> {
    let now = host::now();
    let only = |kind| args.only.contains(&kind);
    let (containers, everything) = (only(PruneKind::Containers), args.only.is_empty());
    let (images, cache) = (everything || only(PruneKind::Images), everything || only(PruneKind::Cache));
    // A filter that only the cache has is about the cache alone, and the other way round.
    let of_images = args.filters.iter().all(|filter| ["until", "label", "dangling"].contains(&filter.key.as_str()));
    let image_filter =
        if (images || containers) && (of_images || !cache) { Some(image_filter(&args.filters, now)?) } else { None };
    let cache_filter = match records::Filters::new(&args.filters, now) {
        Ok(filters) => Some(filters),
        Err(error) if image_filter.is_none() => return Err(error),
        Err(_) => None,
    };
    let asks = !args.force && (args.docker || args.all && std::io::stdin().is_terminal());
    if asks && !prompt::confirmed(&warning(args.all, [containers, images, cache]))? {
        output::text(&format!("Total reclaimed space: {}\n", human::size(0)))?;
        return Ok(0);
    }
    let host = context.host(Processes::None)?;
    let mut gone = Gone::default();
    if containers && let Some(filter) = &image_filter {
        gone.containers = host.engine.prune_containers(filter)?;
    }
    if images && let Some(filter) = &image_filter {
        let all = args.all || filter.with_names;
        gone.pruned = settled(&host, host.engine.prune_images(all, filter).map_err(Failure::from))?;
    }
    if cache && let Some(filters) = &cache_filter {
        let told = args.verbose || args.docker;
        let before = if told { host.engine.store().records().map_err(EngineError::from)? } else { Vec::new() };
        let of_cache = prune_cache(args, filters, &host, now)?;
        if told {
            gone.records = gone_records(before, &host)?;
        }
        gone.pruned.cache_records += of_cache.cache_records;
        gone.pruned.cache_mounts += of_cache.cache_mounts;
        gone.pruned.layers += of_cache.layers;
        gone.pruned.blobs += of_cache.blobs;
        gone.pruned.bytes += of_cache.bytes;
    }
    host.engine.settle()?;
    output::lines(&if args.docker { gone.as_docker(args.verbose) } else { gone.lines() })?;
    Ok(0)
}

/// What would be removed, in docker's words: of stopped containers, images and the cache those that are asked for.
fn warning(all: bool, [containers, images, cache]: [bool; 3]) -> String {
    let mut kinds = Vec::new();
    if containers {
        kinds.push("all stopped containers");
    }
    if images {
        kinds.push(if all {
            "all images without at least one container associated to them"
        } else {
            "all dangling images"
        });
    }
    if cache {
        kinds.push(if all { "all build cache" } else { "all dangling build cache" });
    }
    match kinds.as_slice() {
        [one] => format!("WARNING! This will remove {one}.\n"),
        several => {
            let lines: Vec<String> = several.iter().map(|kind| format!("  - {kind}")).collect();
            format!("WARNING! This will remove:\n{}\n\n", lines.join("\n"))
        }
    }
}

/// What `prune` removed.
#[derive(Default)]
struct Gone {
    /// Ids and names.
    containers: Vec<(String, String)>,
    pruned: Pruned,
    /// Only where somebody wants to know.
    records: Vec<DiskRecord>,
}

impl Gone {
    fn lines(&self) -> Vec<String> {
        let pruned = &self.pruned;
        let mut lines: Vec<String> = self.containers.iter().map(|(_, name)| format!("removed: {name}")).collect();
        lines.extend(self.records.iter().map(record_line));
        lines.extend(self.images());
        lines.push(format!(
            "{} cached steps, {} cache mounts, {} layers, {} blobs",
            pruned.cache_records, pruned.cache_mounts, pruned.layers, pruned.blobs
        ));
        lines.push(format!("Total reclaimed space: {}", human::size(pruned.bytes)));
        lines
    }

    fn images(&self) -> Vec<String> {
        let untagged = self.pruned.untagged.iter().map(|name| format!("untagged: {name}"));
        untagged.chain(self.pruned.images.iter().map(|id| format!("deleted: {id}"))).collect()
    }

    /// Reference: docker/cli, `cli/command/{container,image,builder}/prune.go`.
    fn as_docker(&self, verbose: bool) -> Vec<String> {
        let records = self.records.iter();
        let parts: [(&str, Vec<String>); 3] = [
            ("Deleted Containers:", self.containers.iter().map(|(id, _)| id.clone()).collect()),
            ("Deleted Images:", self.images()),
            (
                "Deleted build cache objects:",
                records.map(|record| if verbose { record_line(record) } else { record.id.clone() }).collect(),
            ),
        ];
        let mut lines = Vec::new();
        for (head, part) in parts {
            if !part.is_empty() {
                lines.push(head.to_owned());
                lines.extend(part);
                lines.push(String::new());
            }
        }
        lines.push(format!("Total reclaimed space: {}", human::size(self.pruned.bytes)));
        lines
    }
}

fn prune_cache(args: &PruneArgs, filters: &records::Filters, host: &Host, now: i64) -> Result<Pruned, Failure> {
    let accept = |record: &DiskRecord| filters.accept(record);
    let kept = args.keep_duration.map(|kept| now - i64::try_from(kept.as_secs()).unwrap_or(i64::MAX));
    let options = PruneOptions {
        cache_only: true,
        private_only: !args.all,
        until: [filters.until, kept].into_iter().flatten().min(),
        keep_bytes: args.max_used_space,
        free_bytes: args.min_free_space,
        reserved_bytes: args.reserved_space,
        filter: (!filters.is_empty()).then_some(&accept as &dyn Fn(&DiskRecord) -> bool),
        ..PruneOptions::default()
    };
    settled(host, host.engine.store().prune(&options).map_err(|error| Failure::from(EngineError::from(error))))
}

/// Returns the records that were there and are not there any more.
fn gone_records(mut before: Vec<DiskRecord>, host: &Host) -> Result<Vec<DiskRecord>, Failure> {
    let after = host.engine.store().records().map_err(EngineError::from)?;
    before.retain(|record| !after.iter().any(|left| left.id == record.id));
    Ok(before)
}

fn record_line(record: &DiskRecord) -> String {
    let description = crate::render::printable(&record.description.replace('\n', " "));
    format!("{} {} {} {description}", record.id, record.kind.name(), human::size(record.bytes))
}

/// Reads the filters that images and containers have.
fn image_filter(given: &[FilterArg], now: i64) -> Result<ImageFilter, Failure> {
    use crate::args::Comparison;
    let mut wanted = ImageFilter::default();
    for filter in given {
        match (filter.key.as_str(), &filter.comparison) {
            ("until", _) => wanted.until = Some(filters::time(filter, now)?),
            ("dangling", _) => wanted.with_names = filter.accepts_truth(false).map_err(Failure::usage)?,
            ("label", Comparison::Is(label)) => wanted.labels.push(label.clone()),
            ("label", Comparison::IsNot(label)) => wanted.labels_not.push(label.clone()),
            ("label", Comparison::Matches(_)) => {
                return Err(Failure::usage("`label` is compared with `=` or `!=`"));
            }
            (key, _) => return Err(filters::unknown(key, &["until", "label", "dangling"])),
        }
    }
    Ok(wanted)
}

fn usage(args: &UsageArgs, context: &Context<'_>) -> Result<u8, Failure> {
    const KINDS: &[Column] = &[column("Kind", "KIND"), column("Count", "COUNT"), column("Size", "SIZE")];
    const KIND_HEADS: &[Column] =
        &[column("Kind", "KIND"), column("Count", "COUNT"), column("Size", "SIZE"), column("Bytes", "BYTES")];
    const USES: &[Column] = &[
        column("Type", "TYPE"),
        column("TotalCount", "TOTAL"),
        column("Active", "ACTIVE"),
        column("Size", "SIZE"),
        column("Reclaimable", "RECLAIMABLE"),
    ];
    let of_records = args.verbose || !args.filters.is_empty();
    let by = args.by.unwrap_or(if of_records { UsageBy::Record } else { UsageBy::Kind });
    if of_records && by == UsageBy::Kind {
        return Err(Failure::usage("`--by kind` has no records to filter or to show")
            .with_hint("Leave `--by` out, or say `--by record`."));
    }
    let host = context.host(Processes::None)?;
    let store = host.engine.store();
    let text = match by {
        UsageBy::Kind => {
            let usage = store.usage().map_err(EngineError::from)?;
            Format::parse(args.format.as_deref(), KINDS)?.render(&usage_rows(&usage), KIND_HEADS)?
        }
        UsageBy::Use => {
            let records = store.records().map_err(EngineError::from)?;
            if args.verbose || !args.filters.is_empty() {
                output::text(&records_text(args, &records)?)?;
                return Ok(0);
            }
            let images = host.engine.images(true)?;
            let active = images.iter().filter(|image| image.containers > 0).count();
            let rows = records::uses(&records, (images.len(), active));
            Format::parse(args.format.as_deref(), USES)?.render(&rows, USES)?
        }
        UsageBy::Record => records_text(args, &store.records().map_err(EngineError::from)?)?,
    };
    output::text(&text)?;
    Ok(0)
}

fn records_text(args: &UsageArgs, records: &[DiskRecord]) -> Result<String, Failure> {
    let now = host::now();
    let filters = records::Filters::new(&args.filters, now)?;
    let mut shown: Vec<&DiskRecord> = records.iter().filter(|record| filters.accept_with_time(record)).collect();
    shown.sort_by_key(|record| (record.kind == RecordKind::Internal, std::cmp::Reverse(record.bytes)));
    if args.verbose && args.format.is_none() {
        let blocks: String = shown.iter().map(|record| records::block(record, now)).collect();
        return Ok(blocks + &records::totals(&shown));
    }
    let format = Format::parse(args.format.as_deref(), records::SHOWN)?;
    let shortened = args.format.is_none();
    let rows: Vec<Value> = shown.iter().map(|record| records::row(record, now, shortened)).collect();
    let mut text = format.render(&rows, records::COLUMNS)?;
    if args.format.is_none() {
        text += &records::totals(&shown);
    }
    Ok(text)
}

fn usage_rows(usage: &Usage) -> Vec<Value> {
    let row = |kind: &str, amount: Amount| json!({ "Kind": kind, "Count": amount.count, "Size": human::size(amount.bytes), "Bytes": amount.bytes });
    let total = Amount { count: 0, bytes: usage.total_bytes() };
    let mut rows = vec![
        row("images", usage.images),
        row("layers", usage.layers),
        row("blobs", usage.blobs),
        row("containers", usage.containers),
        row("cached steps", usage.cache_records),
        row("cache mounts", usage.cache_mounts),
        row("volumes", usage.volumes),
        row("builds", usage.builds),
        row("temporary", usage.temporary),
        row("index", usage.index),
        row("total", total),
        row("only for the cache", usage.reclaimable),
    ];
    // Images and cached steps have no bytes of their own, and a total of counts means nothing.
    for (at, field) in [(0, "Size"), (4, "Size"), (10, "Count")] {
        rows[at][field] = json!("");
    }
    rows
}

fn limit(args: &LimitArgs, context: &Context<'_>) -> Result<u8, Failure> {
    let host = context.host(Processes::None)?;
    let store = host.engine.store();
    if let Some(limit) = args.limit {
        store.set_size_limit(limit.0).map_err(EngineError::from)?;
        return Ok(0);
    }
    let text =
        store.size_limit().map_err(EngineError::from)?.map_or_else(|| "none".to_owned(), |bytes| bytes.to_string());
    output::text(&format!("{text}\n"))?;
    Ok(0)
}
