//! `doctor`, `version`, `completions`: what is about stave itself.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::{Value, json};
use stave_engine::sandbox::probe::{Finding, State, probe};
use stave_oci::Platform;

use crate::args::{CompletionsArgs, DoctorArgs, ManArgs, VersionArgs};
use crate::command::Context;
use crate::failure::{self, Failure};
use crate::host;
use crate::man;
use crate::output;
use crate::table::{Column, Format, column};
use crate::template::Template;

pub(super) fn doctor(args: &DoctorArgs, context: &Context) -> Result<u8, Failure> {
    let mut findings = probe();
    findings.push(place_of_store(&host::store_root(context.global)?));
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

/// Whether layers can be joined where the store is, or will be. What is looked at is the nearest directory that exists.
fn place_of_store(root: &Path) -> Finding {
    let there = root.ancestors().find(|path| path.exists()).unwrap_or(root);
    let kind = rustix::fs::statfs(there).map(|found| found.f_type);
    let (state, detail, advice) = if kind == Ok(OVERLAY) {
        let detail =
            format!("`{}` is among the files of a container, on which no layers can be joined", root.display());
        (
            State::Missing,
            detail,
            "Put the store on a volume of the container: `--root DIR`, or the variable STAVE_ROOT.",
        )
    } else {
        (State::Ok, format!("`{}`", root.display()), "")
    };
    Finding { name: "store", state, detail, advice: advice.to_owned() }
}

/// What `statfs` says of an overlay. Reference: Linux, `include/uapi/linux/magic.h`, `OVERLAYFS_SUPER_MAGIC`.
const OVERLAY: rustix::fs::FsWord = 0x794c_7630;

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
    let own = json!({
        "Version": env!("CARGO_PKG_VERSION"),
        "Os": platform.os,
        "Arch": platform.architecture,
    });
    // One program is what for docker are two.
    let mut value = own.clone();
    (value["Client"], value["Server"]) = (own.clone(), own);
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

pub(super) fn man(args: &ManArgs) -> Result<u8, Failure> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error: io::Error| Failure::of_file("write", &path, &error)
    };
    let pages = man::pages(crate::args::command()).map_err(failed(&args.dir))?;
    fs::create_dir_all(&args.dir).map_err(failed(&args.dir))?;
    for page in &pages {
        let path = args.dir.join(&page.file);
        fs::write(&path, &page.text).map_err(failed(&path))?;
    }
    output::text(&format!("{} pages\n", pages.len()))?;
    Ok(0)
}
