//! `store`, `doctor`, `version`, `completions`: what is about stave itself.

use serde_json::{Value, json};
use stave_engine::sandbox::probe::{Finding, State, probe};
use stave_engine::store::{Amount, PruneOptions};
use stave_engine::{EngineError, store::Usage};
use stave_oci::Platform;

use super::Context;
use crate::args::{CheckArgs, CompletionsArgs, DoctorArgs, PruneArgs, StoreCommand, UsageArgs, VersionArgs};
use crate::failure::{self, Failure};
use crate::host::Processes;
use crate::table::{Column, Format, column};
use crate::template::Template;
use crate::{human, output};

pub(super) fn store(command: &StoreCommand, context: &Context<'_>) -> Result<u8, Failure> {
    match command {
        StoreCommand::Check(args) => check(args, context),
        StoreCommand::Prune(args) => prune(args, context),
        StoreCommand::Usage(args) => usage(args, context),
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
    let host = context.host(Processes::None)?;
    let options = PruneOptions { all: args.all, ..PruneOptions::default() };
    let pruned = host.engine.store().prune(&options).map_err(EngineError::from)?;
    host.engine.settle()?;
    let mut lines: Vec<String> = pruned.untagged.iter().map(|name| format!("untagged: {name}")).collect();
    lines.extend(pruned.images.iter().map(|id| format!("deleted: {id}")));
    lines.push(format!(
        "{} cached steps, {} cache mounts, {} layers, {} blobs",
        pruned.cache_records, pruned.cache_mounts, pruned.layers, pruned.blobs
    ));
    lines.push(format!("Total reclaimed space: {}", human::size(pruned.bytes)));
    output::lines(&lines)?;
    Ok(0)
}

fn usage(args: &UsageArgs, context: &Context<'_>) -> Result<u8, Failure> {
    const COLUMNS: &[Column] = &[column("Kind", "KIND"), column("Count", "COUNT"), column("Size", "SIZE")];
    const HEADS: &[Column] =
        &[column("Kind", "KIND"), column("Count", "COUNT"), column("Size", "SIZE"), column("Bytes", "BYTES")];
    let format = Format::parse(args.format.as_deref(), COLUMNS)?;
    let usage = context.host(Processes::None)?.engine.store().usage().map_err(EngineError::from)?;
    output::text(&format.render(&usage_rows(&usage), HEADS)?)?;
    Ok(0)
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
        row("builds", usage.builds),
        row("temporary", usage.temporary),
        row("index", usage.index),
        row("total", total),
        row("only for the cache", usage.reclaimable),
    ];
    // Images and cached steps have no bytes of their own, and a total of counts means nothing.
    for (at, field) in [(0, "Size"), (4, "Size"), (9, "Count")] {
        rows[at][field] = json!("");
    }
    rows
}

pub(super) fn doctor(args: &DoctorArgs) -> Result<u8, Failure> {
    let findings = probe();
    let text = match args.format.as_deref() {
        Some(format) => {
            let rows: Vec<Value> = findings.iter().map(finding_row).collect();
            Format::parse(Some(format), DOCTOR_COLUMNS)?.render(&rows, DOCTOR_COLUMNS)?
        }
        None => doctor_text(&findings),
    };
    output::text(&text)?;
    let missing = findings.iter().any(|finding| finding.state == State::Missing);
    Ok(if missing { failure::ENVIRONMENT } else { 0 })
}

const DOCTOR_COLUMNS: &[Column] =
    &[column("Name", "NAME"), column("State", "STATE"), column("Detail", "DETAIL"), column("Advice", "ADVICE")];

fn state_text(state: State) -> &'static str {
    match state {
        State::Ok => "ok",
        State::Limited => "limited",
        State::Missing => "missing",
    }
}

fn finding_row(finding: &Finding) -> Value {
    json!({
        "Name": finding.name, "State": state_text(finding.state), "Detail": finding.detail, "Advice": finding.advice,
    })
}

/// A line for each finding; below it what to do, where something is to be done.
fn doctor_text(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.name.len()).max().unwrap_or(0);
    let mut lines = Vec::new();
    for finding in findings {
        lines.push(format!("{:<8} {:<width$}  {}", state_text(finding.state), finding.name, finding.detail));
        if !finding.advice.is_empty() {
            lines.push(format!("         {:<width$}  hint: {}", "", finding.advice));
        }
    }
    let count = |state| findings.iter().filter(|finding| finding.state == state).count();
    lines.push(match (count(State::Missing), count(State::Limited)) {
        (0, 0) => "\nEverything that stave uses is here.\n".to_owned(),
        (0, limited) => format!("\nStave works here; what is limited: {limited}.\n"),
        (missing, _) => format!("\nStave cannot run steps here; what is missing: {missing}.\n"),
    });
    lines.join("\n")
}

pub(super) fn version(args: &VersionArgs) -> Result<u8, Failure> {
    let platform = Platform::host();
    let value = json!({
        "Version": env!("CARGO_PKG_VERSION"),
        "Os": platform.os,
        "Arch": platform.architecture,
    });
    let text = match args.format.as_deref() {
        None => format!("{}\nplatform {platform}\n", crate::version_line()),
        Some("json") => format!("{value}\n"),
        Some(format) => Template::parse(format)?.render(&value)? + "\n",
    };
    output::text(&text)?;
    Ok(0)
}

pub(super) fn completions(args: &CompletionsArgs) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::args::command(), "stave", &mut script);
    output::text(&String::from_utf8_lossy(&script))?;
    Ok(0)
}
