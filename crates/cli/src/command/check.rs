//! `build --check`, `build --call`: answers about a Dockerfile instead of a build.
//!
//! Answers go to standard output, as text for people or as JSON. The JSON is what `docker buildx build --call` prints.
//!
//! Reference: BuildKit, `frontend/subrequests`.

use std::io::IsTerminal as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use stave_dockerfile::check::outline::{Outline, outline};
use stave_dockerfile::check::targets::{Target, targets};
use stave_dockerfile::check::{lines, rules};
use stave_dockerfile::span::position;
use stave_dockerfile::{Diagnostic, Dockerfile, Span};
use stave_engine::{BuildFailure, BuildRequest, Checked, Event, Reading};

use super::{Context, settled};
use crate::args::{CallArg, Method};
use crate::failure::{FAILED, Failure};
use crate::host::Processes;
use crate::render::{self, Style};
use crate::{output, table};

/// The version of the answers' form.
const VERSION: &str = "1.0.0";

/// Answers `call` about the Dockerfile of `request`, and returns the exit code.
pub(super) fn call(call: &CallArg, request: BuildRequest, context: &Context<'_>) -> Result<u8, Failure> {
    if call.method == Method::Describe {
        return output::text(&describe(call.json)).map(|()| 0);
    }
    let host = context.host(Processes::Some)?;
    if call.method == Method::Check {
        let checked = host.engine.check_dockerfile(request, &note);
        let checked = settled(&host, checked.map_err(Failure::from))?;
        return check(call, checked, context.style);
    }
    let reading = settled(&host, host.engine.read_dockerfile(request, &note).map_err(Failure::from))?;
    if reading.parsed.has_errors() {
        let diagnostics = reading.parsed.diagnostics.clone();
        return Err(mistaken(reading, diagnostics));
    }
    let text = if call.method == Method::Targets {
        let targets = targets(&reading.parsed.file);
        if call.json { pretty(&targets_json(&reading, &targets)) } else { targets_text(&targets) }
    } else {
        match outline(&reading.parsed.file, &reading.options) {
            Ok(outline) if call.json => pretty(&outline_json(&reading, &outline)),
            Ok(outline) => outline_text(&outline),
            Err(mistakes) => return Err(mistaken(reading, mistakes)),
        }
    };
    output::text(&text).map(|()| 0)
}

/// Shows what policies print; nothing else that happens is news here.
fn note(event: Event) {
    if let Event::Notice { message } = event {
        crate::print_error(&format!("note: {}\n", render::printable(&message)));
    }
}

fn mistaken(reading: Reading, diagnostics: Vec<Diagnostic>) -> Failure {
    let Reading { name, text, .. } = reading;
    Failure::from(BuildFailure::Dockerfile { name, text, diagnostics })
}

/// Prints what a check found. Findings fail it with 1, mistakes with the code of a bad Dockerfile.
fn check(call: &CallArg, checked: Checked, style: Style) -> Result<u8, Failure> {
    let Checked { reading, mistakes, findings, absent } = checked;
    for (image, error) in absent {
        let note =
            format!("image `{image}` cannot be had, so what depends on it is not checked: {}", render::chain(&error));
        crate::print_error(&format!("note: {}\n", render::printable(&note)));
    }
    let wrong = mistakes.iter().any(Diagnostic::is_error);
    let failed = if findings.is_empty() || call.ignore_status { 0 } else { FAILED };
    if call.json {
        output::text(&pretty(&check_json(&reading, &mistakes, &findings)))?;
    } else {
        let style = Style { colour: style.colour && std::io::stdout().is_terminal(), columns: None };
        let found = match findings.len() {
            0 if wrong => String::new(),
            0 => "Check complete, no warnings found.\n".to_owned(),
            1 => "Check complete, 1 warning has been found!\n\n".to_owned(),
            count => format!("Check complete, {count} warnings have been found!\n\n"),
        };
        output::text(&(found + &render::diagnostics(&reading.name, &reading.text, &findings, style)))?;
    }
    if wrong {
        return Err(mistaken(reading, mistakes));
    }
    crate::print_error(&render::diagnostics(&reading.name, &reading.text, &mistakes, style));
    Ok(failed)
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).expect("a value is JSON") + "\n"
}

/// The lines of the instruction that `span` is in.
fn location(reading: &Reading, span: Span) -> Value {
    json!({ "ranges": ranges(&reading.parsed.file, &reading.text, span) })
}

fn ranges(file: &Dockerfile, text: &str, span: Span) -> Value {
    let (first, last) = lines(file, text, span);
    json!([{ "start": { "line": first }, "end": { "line": last } }])
}

fn source_json(name: &str, text: &str) -> Value {
    json!({ "filename": name, "data": STANDARD.encode(text), "language": "Dockerfile" })
}

/// Returns what was found during a build in the form that buildx puts it into `--metadata-file`.
///
/// Reference: buildx, `docs/reference/buildx_build.md`, "metadata-file".
pub(super) fn warnings_json(name: &str, text: &str, findings: &[Diagnostic]) -> Value {
    let file = stave_dockerfile::parse(text).file;
    let warning = |finding: &Diagnostic| {
        let line = position(text, finding.span().start).line;
        let rule = rules::find(finding.code);
        json!({
            "level": 1,
            "short": STANDARD.encode(format!("{}: {} (line {line})", finding.code, finding.message)),
            "detail": rule.map(|rule| [STANDARD.encode(rule.summary)]),
            "url": rule.map(rules::Rule::url),
            "sourceInfo": source_json(name, text),
            "range": ranges(&file, text, finding.span()),
        })
    };
    findings.iter().map(warning).collect()
}

fn check_json(reading: &Reading, mistakes: &[Diagnostic], findings: &[Diagnostic]) -> Value {
    let warning = |finding: &Diagnostic| {
        let rule = rules::find(finding.code);
        json!({
            "ruleName": finding.code,
            "description": rule.map(|rule| rule.summary),
            "url": rule.map(rules::Rule::url),
            "detail": finding.message,
            "location": location(reading, finding.span()),
        })
    };
    let mut answer = json!({
        "warnings": findings.iter().map(warning).collect::<Vec<_>>(),
        "sources": [source_json(&reading.name, &reading.text)],
    });
    if let Some(mistake) = mistakes.iter().find(|mistake| mistake.is_error()) {
        answer["buildError"] = json!({ "message": mistake.message, "location": location(reading, mistake.span()) });
    }
    answer
}

fn targets_json(reading: &Reading, targets: &[Target]) -> Value {
    let target = |target: &Target| {
        let mut object = json!({});
        set(&mut object, "name", target.name.as_deref());
        if target.default {
            object["default"] = json!(true);
        }
        set(&mut object, "description", target.description.as_deref());
        set(&mut object, "base", Some(&target.base));
        set(&mut object, "platform", target.platform.as_deref());
        object["location"] = location(reading, target.span);
        object
    };
    json!({ "targets": targets.iter().map(target).collect::<Vec<_>>(), "sources": [STANDARD.encode(&reading.text)] })
}

/// Sets a field that is left out where it would say nothing.
fn set(object: &mut Value, field: &str, value: Option<&str>) {
    if let Some(value) = value.filter(|value| !value.is_empty()) {
        object[field] = json!(value);
    }
}

fn targets_text(targets: &[Target]) -> String {
    let row = |target: &Target| {
        let name = target.name.as_deref().unwrap_or("-");
        let default = if target.default { " (default)" } else { "" };
        format!("{name}{default}\t{}", target.description.as_deref().unwrap_or_default())
    };
    rows("TARGET\tDESCRIPTION", targets.iter().map(row))
}

fn outline_json(reading: &Reading, outline: &Outline) -> Value {
    let mut answer = json!({});
    set(&mut answer, "name", outline.name.as_deref());
    set(&mut answer, "description", outline.description.as_deref());
    let args = outline.args.iter().map(|arg| {
        let mut object = json!({ "name": arg.name });
        set(&mut object, "description", arg.description.as_deref());
        set(&mut object, "value", arg.value.as_deref());
        object["location"] = location(reading, arg.span);
        object
    });
    let mut lists = vec![("args", args.collect::<Vec<_>>())];
    for (field, id, mounts) in
        [("secrets", "name", &outline.secrets), ("ssh", "name", &outline.ssh), ("cache", "ID", &outline.caches)]
    {
        let mounted = mounts.iter().map(|mount| {
            let mut object = json!({ id: mount.id });
            if mount.required {
                object["required"] = json!(true);
            }
            object["location"] = location(reading, mount.span);
            object
        });
        lists.push((field, mounted.collect()));
    }
    for (field, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
        answer[field] = Value::Array(list);
    }
    answer["sources"] = json!([STANDARD.encode(&reading.text)]);
    answer
}

fn outline_text(outline: &Outline) -> String {
    let mut blocks = Vec::new();
    if outline.name.is_some() || outline.description.is_some() {
        let name = outline.name.as_deref().unwrap_or("(default)");
        let description = outline.description.as_ref().map(|text| format!("DESCRIPTION: {text}\n"));
        blocks.push(render::printable(&format!("TARGET:      {name}\n{}", description.unwrap_or_default())));
    }
    let arg = |arg: &stave_dockerfile::check::outline::Arg| {
        let shown = |text: &Option<String>| text.clone().unwrap_or_default();
        format!("{}\t{}\t{}", arg.name, shown(&arg.value), shown(&arg.description))
    };
    if !outline.args.is_empty() {
        blocks.push(rows("BUILD ARG\tVALUE\tDESCRIPTION", outline.args.iter().map(arg)));
    }
    for (head, mounts) in [("SECRET\tREQUIRED", &outline.secrets), ("SSH\tREQUIRED", &outline.ssh)] {
        let row = |mount: &stave_dockerfile::check::outline::Mounted| {
            format!("{}\t{}", mount.id, if mount.required { "true" } else { "" })
        };
        if !mounts.is_empty() {
            blocks.push(rows(head, mounts.iter().map(row)));
        }
    }
    if !outline.caches.is_empty() {
        blocks.push(rows("CACHE", outline.caches.iter().map(|mount| mount.id.clone())));
    }
    blocks.join("\n")
}

/// Rows under a head, with their cells in columns.
fn rows(head: &str, rows: impl Iterator<Item = String>) -> String {
    let lines: Vec<String> = std::iter::once(head.to_owned()).chain(rows).collect();
    render::printable(&table::aligned(&lines))
}

/// Lists what `--call` can be asked.
fn describe(json: bool) -> String {
    const METHODS: [(&str, &str); 4] = [
        ("frontend.outline", "What the target takes: arguments, secrets, agents, caches"),
        ("frontend.targets", "The stages of the file"),
        ("frontend.lint", "What the checks find in the file"),
        ("frontend.subrequests.describe", "What can be asked"),
    ];
    if json {
        let method = |(name, description): &(&str, &str)| {
            json!({
                "name": name, "version": VERSION, "type": "rpc", "description": description,
                "opts": [], "metadata": [{ "name": "result.json" }, { "name": "result.txt" }],
            })
        };
        return pretty(&Value::Array(METHODS.iter().map(method).collect()));
    }
    rows("NAME\tVERSION\tDESCRIPTION", METHODS.iter().map(|(name, text)| format!("{name}\t{VERSION}\t{text}")))
}
