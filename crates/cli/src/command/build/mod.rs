//! `build`: what was asked becomes a request, and what came of it is said and written.
//!
//! Read this file, then `request`, then `grants`, `variables` and `vcs`, which look things up for it.

mod agent;
mod caches;
pub(super) mod daemon;
mod grants;
mod lock;
mod outputs;
mod request;
mod supply;
mod variables;
mod vcs;

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;
use stave_engine::{BuildFailure, BuildOutcome, Event, Remarks};
use stave_history::Record;

use super::{Context, check, debug, explain, settled};
use crate::args::{
    Answer, BuildArgs, BuildExplain, CallArg, ExplainFormat, Method, OnFailure, OutputArg, OutputKind, ProgressMode,
};
use crate::failure::Failure;
use crate::host::{Processes, raw_variable};
use crate::progress::Display;
use crate::record::Recorder;
use crate::telemetry::Telemetry;
use crate::{output, render};
pub(super) use grants::grants;
pub(super) use variables::Surroundings;

pub(super) use lock::lock;

pub(super) fn build(args: BuildArgs, context: &Context<'_>) -> Result<u8, Failure> {
    let mut telemetry = Telemetry::new();
    let result = built(args, context, &mut telemetry).map_err(|failure| {
        // Why a build failed is said before its trace has arrived.
        Failure::silent(crate::print_failure(failure, context.global, context.style))
    });
    telemetry.finish();
    result
}

fn built(args: BuildArgs, context: &Context<'_>, telemetry: &mut Telemetry) -> Result<u8, Failure> {
    let surroundings = Surroundings::new(&raw_variable);
    daemon::check_variable(&surroundings)?;
    let mut notes = answers(&args)?;
    if let Some(call) = asked(&args)? {
        // Nothing is built, so nothing is written and no step is given anything.
        let args = BuildArgs { outputs: Vec::new(), secrets: Vec::new(), ssh: Vec::new(), ..args };
        let (request, _agents) = request::request(args, &surroundings, &mut notes)?;
        return check::call(&call, request, context);
    }
    let report = Report::new(&args, &surroundings)?;
    telemetry.speak(report.mode);
    debug::require_terminal(args.on_failure)?;
    let (on_failure, taken) = (args.on_failure, args.output_on_failure.clone());
    let is_locked = args.supply.is_locked();
    // The agents end when this function does.
    let (request, _agents) = request::request(args, &surroundings, &mut notes)?;
    report.prepare()?;
    let grants = (on_failure == Some(OnFailure::Shell)).then(|| (request.grants.clone(), request.build_args.clone()));
    let host = context.host(Processes::Some)?;
    let display = Display::start(report.mode, context.style);
    for message in notes.into_iter().chain(telemetry.mistake()) {
        display.report(Event::Notice { message });
    }
    let findings: Mutex<Option<Remarks>> = Mutex::new(None);
    let recorder = Recorder::start();
    let explained = Mutex::new(Record::default());
    let result = host.engine.build(request, &|event| {
        if report.explain.is_some() {
            explained.lock().unwrap_or_else(PoisonError::into_inner).take(Duration::ZERO, &event);
        }
        if let Event::Findings(found) = &event {
            *findings.lock().unwrap_or_else(PoisonError::into_inner) = Some(found.clone());
        }
        recorder.report(&event);
        display.report(event);
    });
    let failed = match &result {
        Err(BuildFailure::Step(failed)) => Some(failed.build.clone()),
        _ => None,
    };
    let result = result.map_err(|failure| supply::advised(failure, is_locked));
    display.finish();
    telemetry.send(recorder.finish(), &host.signals);
    let findings = findings.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(Remarks { name, text, diagnostics: found }) = &findings
        && !matches!(report.mode, ProgressMode::Quiet | ProgressMode::None | ProgressMode::Rawjson)
    {
        crate::print_error(&if context.global.debug {
            render::diagnostics(name, text, found, context.style)
        } else {
            render::findings_summary(name, text, found, context.style)
        });
    }
    if let Some(format) = report.explain {
        let record = explained.into_inner().unwrap_or_else(PoisonError::into_inner);
        output::text(&explain::explanation(&record, format))?;
    }
    let outcome = match (settled(&host, result), failed) {
        (Err(failure), Some(build)) => {
            debug::take_out(&host, &build, &taken);
            let Some(grants) = grants else { return Err(failure) };
            crate::print_error(&failure.render(context.style));
            debug::after_failure(&host, build, grants, context);
            return Err(Failure::silent(failure.code));
        }
        (result, _) => result?,
    };
    let warnings = findings
        .filter(|_| surroundings.wants_warnings())
        .map(|found| check::warnings_json(&found.name, &found.text, &found.diagnostics));
    report.write(&outcome, warnings)?;
    Ok(0)
}

/// Answers the options of other builders: returns the notes, or fails with the first that is not there.
fn answers(args: &BuildArgs) -> Result<Vec<String>, Failure> {
    let mut notes = Vec::new();
    for (flag, value, answer) in &args.elsewhere.given {
        match answer {
            Answer::So(_) => {}
            Answer::Note(why) => notes.push(format!("`{flag}` changes nothing here: {why}")),
            Answer::Refused(hint) => {
                let what = if value.is_empty() { flag.clone() } else { format!("{flag}={value}") };
                return Err(Failure::usage(format!("`{what}` is not supported")).with_hint(hint));
            }
            Answer::NotYet(hint) => {
                return Err(Failure::usage(format!("`{flag}` is not supported by stave yet")).with_hint(hint));
            }
        }
    }
    Ok(notes)
}

/// Returns what is asked for instead of a build, if something is.
fn asked(args: &BuildArgs) -> Result<Option<CallArg>, Failure> {
    match &args.call {
        Some(CallArg { method: Method::Check, .. }) => Ok(args.call.clone()),
        Some(_) if args.check => {
            Err(Failure::usage("`--check` is `--call=check`, and `--call` asks for something else"))
        }
        Some(CallArg { method: Method::Build, .. }) => Ok(None),
        Some(call) => Ok(Some(call.clone())),
        None => Ok(args.check.then_some(CallArg::CHECK)),
    }
}

/// What is said and written about a build when it has succeeded.
struct Report {
    explain: Option<ExplainFormat>,
    mode: ProgressMode,
    /// Whether an output goes to standard output, where nothing else may be then.
    is_piped: bool,
    iidfile: Option<PathBuf>,
    iidfile_raw: Option<PathBuf>,
    metadata_file: Option<PathBuf>,
    written: Vec<PathBuf>,
}

impl Report {
    fn new(args: &BuildArgs, surroundings: &Surroundings<'_>) -> Result<Self, Failure> {
        let mode = match (args.quiet, args.progress) {
            (false, Some(mode)) => mode,
            (true, None | Some(ProgressMode::Auto | ProgressMode::Quiet)) => ProgressMode::Quiet,
            (true, Some(_)) => {
                return Err(Failure::usage("`--quiet` and `--progress` contradict each other")
                    .with_hint("With `-q` only the image's id is printed; leave one of the two out."));
            }
            (false, None) => surroundings.progress()?,
        };
        let only_files = !args.load
            && !args.push
            && !args.outputs.is_empty()
            && args.outputs.iter().all(|output| matches!(output.kind, OutputKind::Local | OutputKind::Tar));
        let ids = [&args.iidfile, &args.iidfile_raw];
        if only_files && ids.into_iter().flatten().any(request::is_given) {
            return Err(Failure::usage("`--iidfile` needs an image, and `--output` writes only its files")
                .with_hint("Keep the image, too, with `--load`, or leave `--iidfile` out."));
        }
        let is_path = |dest: &PathBuf| dest.as_os_str() != "-";
        let dests = args.outputs.iter().filter_map(|output: &OutputArg| output.dest.clone());
        let is_piped = args.outputs.iter().any(|output| output.dest.as_deref() == Some(Path::new("-")));
        let printed = args.explain.and_then(BuildExplain::printed);
        if args.fail_on_miss && args.explain == Some(BuildExplain::None) {
            return Err(Failure::usage(
                "`--fail-on-miss` says why a step would have to run, and `--explain=none` does not look",
            )
            .with_hint("Leave one of them out."));
        }
        if printed.is_some() && args.outputs.iter().any(|output| output.dest.as_ref().is_some_and(|to| !is_path(to))) {
            return Err(Failure::usage("`--explain` and an output both write to standard output")
                .with_hint("Give the output a file, or ask with `stave explain` afterwards."));
        }
        Ok(Self {
            explain: printed,
            mode,
            is_piped,
            iidfile: args.iidfile.clone().filter(|path| request::is_given(path)),
            iidfile_raw: args.iidfile_raw.clone().filter(|path| request::is_given(path)),
            metadata_file: args.metadata_file.clone().filter(|path| request::is_given(path)),
            written: dests.filter(is_path).collect(),
        })
    }

    /// Takes away an earlier build's id, so that a failed build leaves none.
    fn prepare(&self) -> Result<(), Failure> {
        for path in self.iidfile.iter().chain(&self.iidfile_raw).chain(&self.metadata_file) {
            if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file()) {
                fs::remove_file(path).map_err(|error| cannot("remove", path, &error))?;
            }
        }
        Ok(())
    }

    fn write(&self, outcome: &BuildOutcome, warnings: Option<serde_json::Value>) -> Result<(), Failure> {
        if let Some(path) = &self.iidfile {
            write_in_place(path, outcome.id().as_bytes())?;
        }
        if let Some(path) = &self.iidfile_raw {
            let id = outcome.id();
            write_in_place(path, id.strip_prefix("sha256:").unwrap_or(&id).as_bytes())?;
        }
        if let Some(path) = &self.metadata_file {
            write_in_place(path, metadata(outcome, warnings).as_bytes())?;
        }
        if self.mode == ProgressMode::Quiet && !self.is_piped {
            return output::text(&format!("{}\n", outcome.id()));
        }
        // With JSON, the last event has said it.
        if !matches!(self.mode, ProgressMode::Quiet | ProgressMode::None | ProgressMode::Rawjson) {
            let mut lines = match &outcome.index {
                None => vec![format!("image {}", outcome.image)],
                Some(_) => outcome.images.iter().map(|(platform, id)| format!("image {id} for {platform}")).collect(),
            };
            lines.extend(outcome.index.as_ref().map(|_| format!("index {}", outcome.id())));
            lines.extend(outcome.names.iter().map(|name| format!("named {name}")));
            lines.extend(self.written.iter().map(|path| format!("wrote {}", path.display())));
            crate::print_error(&(render::printable(&lines.join("\n")) + "\n"));
        }
        Ok(())
    }
}

/// Returns the content of `--metadata-file`, with buildx's names.
fn metadata(outcome: &BuildOutcome, warnings: Option<serde_json::Value>) -> String {
    let mut object = json!({});
    if outcome.index.is_none() {
        object["containerimage.config.digest"] = json!(outcome.image.to_string());
    }
    if let Some(manifest) = outcome.manifest.as_ref().or(outcome.index.as_ref()) {
        object["containerimage.descriptor"] = json!(manifest);
        object["containerimage.digest"] = json!(manifest.digest.to_string());
    } else if outcome.is_kept {
        // As Docker has it with a store of its own: no manifest is made until the image goes somewhere.
        object["containerimage.digest"] = json!(outcome.image.to_string());
    }
    if !outcome.names.is_empty() {
        object["image.name"] = json!(outcome.names.join(","));
    }
    if let Some(warnings) = warnings {
        object["buildx.build.warnings"] = warnings;
    }
    serde_json::to_string_pretty(&object).expect("an object of texts")
}

/// Writes into the file that is there, so that `/dev/null` stays a device.
fn write_in_place(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let open = OpenOptions::new().write(true).create(true).truncate(true).open(path);
    open.and_then(|mut file| file.write_all(content)).map_err(|error| cannot("write", path, &error))
}

fn cannot(action: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::of_file(action, path, error)
}
