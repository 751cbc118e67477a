//! What `store usage` and `store prune` say about single records, and which of them a filter means.

use std::time::Duration;

use serde_json::{Value, json};
use stave_engine::store::{DiskRecord, RecordKind};

use super::filters::{Keys, Sorted, holds_for};
use crate::args::FilterArg;
use crate::failure::Failure;
use crate::human;
use crate::table::{Column, column};

/// Columns of `--by record`.
pub(super) const SHOWN: &[Column] = &[
    column("ID", "ID"),
    column("Type", "TYPE"),
    column("Reclaimable", "RECLAIMABLE"),
    column("Shared", "SHARED"),
    column("Size", "SIZE"),
    column("LastUsedSince", "LAST USED"),
    column("Description", "DESCRIPTION"),
];

/// Everything that a template may ask for.
pub(super) const COLUMNS: &[Column] = &[
    column("ID", "ID"),
    column("Type", "TYPE"),
    column("Reclaimable", "RECLAIMABLE"),
    column("Shared", "SHARED"),
    column("InUse", "IN USE"),
    column("Mutable", "MUTABLE"),
    column("Size", "SIZE"),
    column("Bytes", "BYTES"),
    column("Description", "DESCRIPTION"),
    column("Parents", "PARENTS"),
    column("CreatedAt", "CREATED AT"),
    column("CreatedSince", "CREATED"),
    column("LastUsedAt", "LAST USED AT"),
    column("LastUsedSince", "LAST USED"),
];

/// Characters of a description in a table, and of an id.
const DESCRIPTION_CHARACTERS: usize = 48;
const ID_CHARACTERS: usize = 23;

/// Filters of the cache.
const KEYS: Keys = Keys {
    times: &["until", "unused-for"],
    texts: &["id", "parents", "description", "type"],
    truths: &["inuse", "mutable", "immutable", "shared", "private"],
};

/// Filters of records, understood.
pub(super) struct Filters {
    filters: Vec<FilterArg>,
    /// The time before which a record has to have been used last.
    pub(super) until: Option<i64>,
}

impl Filters {
    /// Takes the filters of the cache; `until` is read here.
    pub(super) fn new(given: &[FilterArg], now: i64) -> Result<Self, Failure> {
        let Sorted { others, times } = KEYS.sort(given, now)?;
        // Two names of one thing.
        Ok(Self { filters: others, until: times.into_values().min() })
    }

    /// Whether nothing is asked of a record but when it was used.
    pub(super) fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    /// Whether all filters hold for a record.
    pub(super) fn accept(&self, record: &DiskRecord) -> bool {
        self.filters.iter().all(|filter| holds(filter, record))
    }

    /// The same, with the time of its last use.
    pub(super) fn accept_with_time(&self, record: &DiskRecord) -> bool {
        let used = record.last_used.or(record.created);
        self.until.is_none_or(|until| used.is_some_and(|used| used < until)) && self.accept(record)
    }
}

fn holds(filter: &FilterArg, record: &DiskRecord) -> bool {
    let truth = |truth| filter.accepts_truth(truth).unwrap_or(false);
    match filter.key.as_str() {
        "id" => filter.accepts(&record.id),
        "description" => filter.accepts(&record.description),
        "type" => filter.accepts(record.kind.name()),
        "parents" => holds_for(filter, &record.parents),
        "inuse" => truth(record.in_use),
        "mutable" => truth(record.mutable),
        "immutable" => truth(!record.mutable),
        "shared" => truth(record.shared),
        _ => truth(!record.shared),
    }
}

/// Returns a record as the object that a template sees.
pub(super) fn row(record: &DiskRecord, now: i64, shortened: bool) -> Value {
    let at = |time: Option<i64>| time.map(human::rfc3339).unwrap_or_default();
    let since = |time: Option<i64>| {
        let seconds = |time| Duration::from_secs(u64::try_from(now.saturating_sub(time)).unwrap_or(0));
        time.map(|time| format!("{} ago", human::duration(seconds(time)))).unwrap_or_default()
    };
    let description = record.description.replace(['\n', '\t'], " ");
    json!({
        "ID": if shortened { record.id.chars().take(ID_CHARACTERS).collect() } else { record.id.clone() },
        "Type": record.kind.name(),
        "Reclaimable": record.reclaimable,
        "Shared": record.shared,
        "InUse": record.in_use,
        "Mutable": record.mutable,
        "Size": human::size(record.bytes),
        "Bytes": record.bytes,
        "Description": if shortened { human::ellipsis(&description, DESCRIPTION_CHARACTERS) } else { description },
        "Parents": record.parents,
        "CreatedAt": at(record.created),
        "CreatedSince": since(record.created),
        "LastUsedAt": at(record.last_used),
        "LastUsedSince": since(record.last_used),
    })
}

/// Returns all that is known of a record, a line each.
pub(super) fn block(record: &DiskRecord, now: i64) -> String {
    let row = row(record, now, false);
    let mut lines = Vec::new();
    for (field, head) in [
        ("ID", "ID"),
        ("Type", "Type"),
        ("Description", "Description"),
        ("Parents", "Parents"),
        ("CreatedAt", "Created at"),
        ("LastUsedAt", "Last used at"),
        ("Mutable", "Mutable"),
        ("Reclaimable", "Reclaimable"),
        ("Shared", "Shared"),
        ("InUse", "In use"),
        ("Size", "Size"),
    ] {
        let text = match &row[field] {
            Value::String(text) => text.clone(),
            Value::Array(values) => values.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
            other => other.to_string(),
        };
        if !text.is_empty() {
            lines.push(format!("{:<14}{text}\n", format!("{head}:")));
        }
    }
    lines.concat() + "\n"
}

/// Returns what all records take together.
pub(super) fn totals(records: &[&DiskRecord]) -> String {
    let sum = |chosen: &dyn Fn(&DiskRecord) -> bool| {
        human::size(records.iter().filter(|record| chosen(record)).map(|record| record.bytes).sum())
    };
    let rows = [
        ("Shared:", sum(&|record| record.shared)),
        ("Private:", sum(&|record| !record.shared)),
        ("Reclaimable:", sum(&|record| record.reclaimable)),
        ("Total:", sum(&|_| true)),
    ];
    rows.map(|(head, size)| format!("{head:<14}{size}\n")).concat()
}

/// What `docker system df` shows.
pub(super) fn uses(records: &[DiskRecord], images: (usize, usize)) -> Vec<Value> {
    let of = |chosen: &dyn Fn(&DiskRecord) -> bool| records.iter().filter(|record| chosen(record)).collect::<Vec<_>>();
    let bytes = |records: &[&DiskRecord]| records.iter().map(|record| record.bytes).sum::<u64>();
    let row = |kind: &str, total: usize, active: usize, size: u64, reclaimable: u64| {
        let percent = (reclaimable * 100).checked_div(size).map(|part| format!(" ({part}%)")).unwrap_or_default();
        json!({
            "Type": kind, "TotalCount": total, "Active": active, "Size": human::size(size),
            "Reclaimable": human::size(reclaimable) + &percent,
        })
    };
    let of_images = of(&|record| record.shared && record.kind != RecordKind::Container);
    let unused =
        of(&|record| record.shared && record.kind != RecordKind::Container && !record.by_container && !record.in_use);
    let containers = of(&|record| record.kind == RecordKind::Container);
    let stopped: Vec<_> = containers.iter().copied().filter(|record| !record.in_use).collect();
    let running = containers.len() - stopped.len();
    let cache = of(&|record| {
        !record.shared && matches!(record.kind, RecordKind::Regular | RecordKind::CacheMount | RecordKind::LocalSource)
    });
    let reclaimable: Vec<_> = cache.iter().copied().filter(|record| record.reclaimable).collect();
    let active = cache.iter().filter(|record| record.in_use).count();
    vec![
        row("Images", images.0, images.1, bytes(&of_images), bytes(&unused)),
        row("Containers", containers.len(), running, bytes(&containers), bytes(&stopped)),
        row("Local Volumes", 0, 0, 0, 0),
        row("Build Cache", cache.len(), active, bytes(&cache), bytes(&reclaimable)),
    ]
}
