//! What events say of a build at its begin and at its end: a request without its secrets, and how it came out.

use std::error::Error;

use stave_dockerfile::check::is_secret_name;
use stave_graph::remote::{masked_text, redacted_text};
use stave_oci::Reference;
use stave_store::BuildId;

use crate::build::Report;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::event::{BuiltImage, Ending, Event, LayerLine, RequestFacts, StepId};
use crate::finish::ReadyImage;
use crate::joined::Joined;
use crate::memory::{MemoryKill, SIGKILL};
use crate::outcome::{BuildFailure, BuildOutcome, StepCause};
use crate::request::{BuildRequest, ContextSource};
use crate::signal::signal_name;
use crate::source::Source;

/// Returns what is told of a request.
pub(crate) fn request_facts(request: &BuildRequest, platforms: Vec<String>, now: i64) -> RequestFacts {
    let context = match &request.context {
        // Whoever reads of it later is elsewhere.
        ContextSource::Directory(path) => {
            std::path::absolute(path).unwrap_or_else(|_| path.clone()).display().to_string()
        }
        ContextSource::Stream(_) => "-".to_owned(),
        ContextSource::Git(source) => redacted_text(&source.url),
        ContextSource::Url(url) => redacted_text(url),
    };
    let build_arg =
        |(name, value): (&String, &String)| (name.clone(), (!is_secret_name(name)).then(|| redacted_text(value)));
    RequestFacts {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        context,
        target: request.target.clone(),
        platforms,
        names: request.tags.iter().map(Reference::to_string).collect(),
        build_args: request.build_args.iter().map(build_arg).collect(),
        no_cache: !request.use_cache,
        started: now,
    }
}

/// Tells that a build begins.
pub(crate) fn begun(engine: &Engine, build: &BuildId, source: &Source, request: &RequestFacts, events: Report<'_>) {
    events(Event::Begun {
        build: build.as_str().to_owned(),
        directory: engine.store.root().join(engine.store.build_logs_rel_path(build)),
        name: source.name.clone(),
        text: masked_text(&source.text),
        request: request.clone(),
    });
}

/// Returns the layers of an image with the steps that made them. Where layers were joined or split, no step made one.
pub(crate) fn layer_lines(joined: &Joined, part: usize, image: &ReadyImage) -> Vec<LayerLine> {
    let makers = joined.layer_steps(part);
    let own = image.layers.len().saturating_sub(image.base_layers);
    let maker = |place: usize| {
        let place = place.checked_sub(image.base_layers)?;
        (makers.len() == own).then(|| makers[place]).flatten()
    };
    let line = |(place, layer): (usize, &crate::forms::BuiltLayer)| LayerLine {
        step: maker(place),
        of_base: place < image.base_layers,
        bytes: layer.bytes(),
        diff_id: layer.diff_id().to_string(),
    };
    image.layers.iter().enumerate().map(line).collect()
}

/// Returns how a build ended.
pub(crate) fn ending(result: &Result<BuildOutcome, BuildFailure>) -> Ending {
    match result {
        Ok(outcome) => Ending::Built {
            images: outcome
                .images
                .iter()
                .zip(&outcome.layers)
                .map(|((platform, image), layers)| BuiltImage {
                    platform: platform.to_string(),
                    image: image.to_string(),
                    layers: layers.clone(),
                })
                .collect(),
            index: outcome.index.as_ref().map(|index| index.digest.to_string()),
            names: outcome.names.clone(),
            size: outcome.size,
            ran: outcome.steps_run,
            cached: outcome.steps_cached,
        },
        Err(BuildFailure::Interrupted) => Ending::Interrupted,
        Err(failure) => Ending::Failed { step: failed_step(failure), message: message(failure) },
    }
}

fn failed_step(failure: &BuildFailure) -> Option<StepId> {
    if let BuildFailure::Step(failure) = failure { failure.step } else { None }
}

/// Returns why a build failed, on one line.
pub(crate) fn message(failure: &BuildFailure) -> String {
    match failure {
        BuildFailure::Dockerfile { diagnostics, .. } => {
            let first = diagnostics.iter().find(|diagnostic| diagnostic.is_error());
            first.map(|diagnostic| diagnostic.message.clone()).unwrap_or_default()
        }
        BuildFailure::NotReproducible(_) => "built a second time, the image was another one".to_owned(),
        BuildFailure::Base(failure) => format!("image `{}` cannot be had: {}", failure.image, causes(&failure.error)),
        BuildFailure::Step(failure) => why(&failure.cause, failure.killed.as_ref()).unwrap_or_else(interrupted),
        BuildFailure::Environment(error) => causes(error.as_ref()),
        BuildFailure::Interrupted => interrupted(),
    }
}

fn interrupted() -> String {
    "interrupted".to_owned()
}

/// Returns why a step failed, on one line; nothing if it was stopped because of something else.
pub(crate) fn why(cause: &StepCause, killed: Option<&MemoryKill>) -> Option<String> {
    match cause {
        StepCause::Exit(_) | StepCause::Signal(_) => how_ended(cause, killed),
        StepCause::Missed(miss) => Some(format!("it would have to run because {miss}")),
        StepCause::Refused(EngineError::Interrupted) => None,
        StepCause::Refused(error) => Some(causes(error)),
    }
}

/// What ends a program against its will, but SIGKILL, of which a hint says more. A shell that waited for it ends with 128 more.
const CRASHES: [i32; 8] = [4, 5, 6, 7, 8, 11, 15, 31];

/// Returns how the command of a step ended, in the words that all readers of a build have: `exit status 2`, `ended by SIGSEGV`,
/// `exit status 139 (SIGSEGV)` of a shell whose command ended so, `killed for memory at 96 MiB`. Nothing if it was not its
/// command by which the step failed.
#[must_use]
pub fn how_ended(cause: &StepCause, killed: Option<&MemoryKill>) -> Option<String> {
    match (cause, killed) {
        (StepCause::Signal(SIGKILL), Some(killed)) => Some(killed.to_string()),
        (StepCause::Exit(code), Some(killed)) => Some(format!("exit status {code}, a process of it was {killed}")),
        (StepCause::Exit(code), None) => {
            let signal = CRASHES.iter().find(|signal| *code == 128 + *signal);
            let name = signal.map(|signal| format!(" ({})", signal_name(*signal))).unwrap_or_default();
            Some(format!("exit status {code}{name}"))
        }
        (StepCause::Signal(number), _) => Some(format!("ended by {}", signal_name(*number))),
        (StepCause::Missed(_) | StepCause::Refused(_), _) => None,
    }
}

/// Returns an error and its causes on one line; what an error says of its cause is not said again.
pub(crate) fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        source = cause.source();
    }
    text.replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_is_named_also_behind_a_shell() {
        let ended = |cause| how_ended(&cause, None).unwrap_or_default();
        assert_eq!(ended(StepCause::Signal(11)), "ended by SIGSEGV");
        let codes = [139, 134, 143, 137, 127, 2, 255].map(|code| ended(StepCause::Exit(code)));
        let names = [" 139 (SIGSEGV)", " 134 (SIGABRT)", " 143 (SIGTERM)", " 137", " 127", " 2", " 255"];
        assert_eq!(codes, names.map(|name| format!("exit status{name}")));
    }
}
