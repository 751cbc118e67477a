//! `build`.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde_json::json;
use stave_engine::{
    BuildOutcome, BuildRequest, ContextSource, Destination, DockerfileSource, Event, Grants, Output, RunDefaults,
};

use super::{Context, check, settled};
use crate::args::{BuildArgs, CallArg, Method, OutputArg, OutputKind, ProgressMode};
use crate::failure::Failure;
use crate::host::{Processes, text_variable};
use crate::progress::Display;
use crate::{output, render};

pub(super) fn build(args: BuildArgs, context: &Context<'_>) -> Result<u8, Failure> {
    if let Some(call) = asked(&args)? {
        // Nothing is built, so nothing is written.
        let request = request(BuildArgs { outputs: Vec::new(), ..args })?;
        return check::call(&call, request, context);
    }
    let report = Report::new(&args);
    let request = request(args)?;
    report.prepare()?;
    let host = context.host(Processes::Some)?;
    let mode = if report.quiet { ProgressMode::Quiet } else { report.progress };
    let display = Display::start(mode, context.style);
    let findings = Mutex::new(None);
    let result = host.engine.build(request, &|event| {
        if let Event::Findings { name, text, findings: found } = &event {
            *findings.lock().unwrap_or_else(PoisonError::into_inner) =
                Some((name.clone(), text.clone(), found.clone()));
        }
        display.report(event);
    });
    display.finish();
    let findings = findings.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some((name, text, found)) = &findings
        && !matches!(mode, ProgressMode::Quiet | ProgressMode::Rawjson)
    {
        crate::print_error(&if context.global.debug {
            render::diagnostics(name, text, found, context.style)
        } else {
            render::findings_summary(text, found, context.style)
        });
    }
    let outcome = settled(&host, result.map_err(Failure::from))?;
    let wanted = text_variable(METADATA_WARNINGS).is_some_and(|value| matches!(&*value, "1" | "true"));
    let warnings = findings.filter(|_| wanted).map(|(name, text, found)| check::warnings_json(&name, &text, &found));
    report.write(&outcome, warnings)?;
    Ok(0)
}

/// The variable that puts findings into `--metadata-file`, as in buildx.
const METADATA_WARNINGS: &str = "BUILDX_METADATA_WARNINGS";

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
    quiet: bool,
    progress: ProgressMode,
    iidfile: Option<PathBuf>,
    metadata_file: Option<PathBuf>,
    written: Vec<PathBuf>,
}

impl Report {
    fn new(args: &BuildArgs) -> Self {
        let is_path = |dest: &PathBuf| dest.as_os_str() != "-";
        Self {
            quiet: args.quiet,
            progress: args.progress,
            iidfile: args.iidfile.clone(),
            metadata_file: args.metadata_file.clone(),
            written: args.outputs.iter().filter_map(|output| output.dest.clone()).filter(is_path).collect(),
        }
    }

    /// Takes away an earlier build's id, so that a failed build leaves none.
    fn prepare(&self) -> Result<(), Failure> {
        for path in self.iidfile.iter().chain(&self.metadata_file) {
            if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file()) {
                fs::remove_file(path).map_err(|error| cannot("remove", path, &error))?;
            }
        }
        Ok(())
    }

    fn write(&self, outcome: &BuildOutcome, warnings: Option<serde_json::Value>) -> Result<(), Failure> {
        if let Some(path) = &self.iidfile {
            write_in_place(path, outcome.image.to_string().as_bytes())?;
        }
        if let Some(path) = &self.metadata_file {
            write_in_place(path, metadata(outcome, warnings).as_bytes())?;
        }
        if self.quiet {
            return output::text(&format!("{}\n", outcome.image));
        }
        if self.progress == ProgressMode::Rawjson {
            crate::print_error(&format!("{}\n", done_event(outcome)));
            return Ok(());
        }
        if self.progress != ProgressMode::Quiet {
            let mut lines = vec![format!("image {}", outcome.image)];
            lines.extend(outcome.names.iter().map(|name| format!("named {name}")));
            lines.extend(self.written.iter().map(|path| format!("wrote {}", path.display())));
            crate::print_error(&(render::printable(&lines.join("\n")) + "\n"));
        }
        Ok(())
    }
}

fn done_event(outcome: &BuildOutcome) -> serde_json::Value {
    json!({
        "event": "built", "image": outcome.image.to_string(), "names": outcome.names, "size": outcome.size,
        "ran": outcome.steps_run, "cached": outcome.steps_cached,
    })
}

/// Returns the content of `--metadata-file`, with buildx's names.
fn metadata(outcome: &BuildOutcome, warnings: Option<serde_json::Value>) -> String {
    let mut object = json!({ "containerimage.config.digest": outcome.image.to_string() });
    if let Some(manifest) = outcome.manifest {
        object["containerimage.digest"] = json!(manifest.to_string());
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
    Failure::environment(error).within(&format!("cannot {action} `{}`", path.display()))
}

fn request(args: BuildArgs) -> Result<BuildRequest, Failure> {
    let stdin = Path::new("-");
    let (context, dockerfile) = match (args.context.as_path() == stdin, args.file) {
        (true, Some(file)) if file == stdin => {
            return Err(Failure::usage("the context and the Dockerfile cannot both come from standard input"));
        }
        (true, file) => {
            refuse_terminal_input()?;
            let dockerfile = file.map_or(DockerfileSource::Default, DockerfileSource::Path);
            (ContextSource::Stream(Box::new(std::io::stdin())), dockerfile)
        }
        (false, file) => {
            let dockerfile = match file {
                Some(file) if file == stdin => {
                    refuse_terminal_input()?;
                    DockerfileSource::Stream(Box::new(std::io::stdin()))
                }
                Some(file) => DockerfileSource::Path(file),
                None => DockerfileSource::Default,
            };
            (directory(args.context)?, dockerfile)
        }
    };
    Ok(BuildRequest {
        context,
        dockerfile,
        tags: args.tags,
        build_args: build_args(&args.build_args),
        target: args.target,
        use_cache: !args.no_cache,
        pull: args.pull,
        platform: args.platform,
        labels: args.labels.iter().map(|label| super::container::pair(label)).collect(),
        network: args.network.into(),
        run: RunDefaults::default(),
        grants: Grants::default(),
        outputs: outputs(args.outputs, args.quiet)?,
        source_date_epoch: source_date_epoch(&args.build_args)?,
    })
}

fn refuse_terminal_input() -> Result<(), Failure> {
    if std::io::stdin().is_terminal() {
        return Err(Failure::usage("standard input is a terminal, expected a Dockerfile or a tar archive")
            .with_hint("Give the context as a directory: `stave build .`"));
    }
    Ok(())
}

fn directory(path: PathBuf) -> Result<ContextSource, Failure> {
    let text = path.to_string_lossy();
    let remote = ["http://", "https://", "git://", "ssh://", "git@", "github.com/"];
    if remote.iter().any(|start| text.starts_with(start)) && !path.exists() {
        return Err(Failure::usage(format!("the context `{text}` is remote, which is not supported by stave yet"))
            .with_hint("Fetch it first, and give its directory."));
    }
    Ok(ContextSource::Directory(path))
}

/// Returns the values of `ARG`s. One without `=` is the environment's, and nothing if that has none.
fn build_args(given: &[String]) -> BTreeMap<String, String> {
    let value = |text: &String| match text.split_once('=') {
        Some((name, value)) => Some((name.to_owned(), value.to_owned())),
        None => std::env::var(text).ok().map(|value| (text.clone(), value)),
    };
    given.iter().filter_map(value).collect()
}

/// Returns the time that `SOURCE_DATE_EPOCH` names, as a build argument or else in the environment.
fn source_date_epoch(given: &[String]) -> Result<Option<i64>, Failure> {
    const NAME: &str = "SOURCE_DATE_EPOCH";
    let Some(text) = build_args(given).remove(NAME).or_else(|| text_variable(NAME)).filter(|text| !text.is_empty())
    else {
        return Ok(None);
    };
    match text.parse() {
        Ok(seconds) if seconds >= 0 => Ok(Some(seconds)),
        _ => Err(Failure::usage(format!("{NAME} is `{text}`, expected a number of seconds since 1970"))),
    }
}

fn outputs(given: Vec<OutputArg>, quiet: bool) -> Result<Vec<Output>, Failure> {
    let to_stdout = given.iter().filter(|output| output.dest.as_deref() == Some(Path::new("-"))).count();
    if to_stdout + usize::from(quiet) > 1 && to_stdout > 0 {
        return Err(Failure::usage("standard output can take one thing only: one output, or with `-q` the id"));
    }
    if given.len() > 1 && given.iter().any(|output| output.dest.is_none()) {
        return Err(Failure::usage(
            "`type=docker` without `dest=` keeps the image in the store, which goes with no other output yet",
        ));
    }
    let mut outputs = Vec::new();
    for OutputArg { kind, dest } in given {
        let Some(dest) = dest else { continue };
        let dest = if dest.as_os_str() == "-" {
            output::refuse_terminal("an archive")?;
            Destination::Stream(Box::new(std::io::stdout()))
        } else {
            Destination::Path(dest)
        };
        outputs.push(Output { kind: kind.into(), dest });
    }
    Ok(outputs)
}

impl From<OutputKind> for stave_engine::OutputKind {
    fn from(kind: OutputKind) -> Self {
        match kind {
            OutputKind::Oci => Self::Oci,
            OutputKind::Docker => Self::Docker,
            OutputKind::Tar => Self::Tar,
            OutputKind::Local => Self::Local,
        }
    }
}
