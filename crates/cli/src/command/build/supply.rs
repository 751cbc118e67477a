//! What the arguments say about sources: files with policies and the lock are read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use stave_engine::{BuildFailure, EngineError, Lock, Policy, PolicyLog, RegoPolicy, SourceRules, StepCause};

use super::variables::Surroundings;
use crate::args::{PolicyArg, SupplyArgs};
use crate::command::policy;
use crate::failure::Failure;
use crate::render;

/// The name of a lock that is not said.
const LOCK_NAME: &str = "stave.lock";

/// Largest policy and lock, in bytes: more than a hundred thousand entries.
const FILE_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Returns where the lock of a context is, if nothing else is said: in its directory, or for one that is none, in the
/// current one.
pub(crate) fn lock_path(context: &Path) -> PathBuf {
    if context.is_dir() { context.join(LOCK_NAME) } else { LOCK_NAME.into() }
}

fn read(path: &Path, what: &str) -> Result<String, Failure> {
    let unread =
        |error: &dyn std::fmt::Display| Failure::usage(format!("cannot read {what} `{}`: {error}", path.display()));
    let bytes = std::fs::metadata(path).map_err(|error| unread(&error))?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(unread(&format!("it has {bytes} bytes, and {FILE_BYTES_MAX} are the most")));
    }
    std::fs::read_to_string(path).map_err(|error| unread(&error))
}

/// Returns what is said beforehand about the sources; `file` is what `-f` says.
pub(super) fn rules(
    args: &SupplyArgs,
    (context, file): (&Path, Option<&Path>),
    surroundings: &Surroundings<'_>,
) -> Result<SourceRules, Failure> {
    let from_variable = surroundings.text("EXPERIMENTAL_BUILDKIT_SOURCE_POLICY").map(PathBuf::from);
    let files = from_variable.iter().chain(args.source_policies.iter().filter(|path| super::request::is_given(path)));
    let policy = |path: &PathBuf| {
        let text = read(path, "the source policy")?;
        Policy::parse(&path.display().to_string(), &text).map_err(|error| Failure::usage(render::chain(&error)))
    };
    let policies = files.map(policy).collect::<Result<_, _>>()?;
    let lock = args.is_locked().then(|| {
        let path = args.lock_file().map_or_else(|| lock_path(context), Path::to_path_buf);
        let text = read(&path, "the lock").map_err(|failure| failure.with_hint("`stave lock` makes it."))?;
        Lock::parse(&text).map_err(|error| Failure::usage(render::chain(&error)).within(&path.display().to_string()))
    });
    let rego = rego(&args.rego, context, file)?;
    let trusted_root = args.rego.iter().filter_map(|option| option.trusted_root.as_deref()).next_back();
    let trusted_root = trusted_root.map(policy::trusted_root).transpose()?.map(Arc::new);
    // Of several, the last counts.
    let log = PolicyLog::new(args.rego.iter().filter_map(|option| option.log_level).next_back().unwrap_or_default());
    Ok(SourceRules { policies, lock: lock.transpose()?, rego, trusted_root, log, ..SourceRules::default() })
}

/// Returns the policies in Rego: that beside the Dockerfile, and those that options name.
fn rego(options: &[PolicyArg], context: &Path, file: Option<&Path>) -> Result<Vec<RegoPolicy>, Failure> {
    if options.iter().any(|option| option.disabled) {
        return Ok(Vec::new());
    }
    let stdin = Path::new("-");
    let dockerfile = match file {
        Some(file) if file != stdin && file.exists() => Some(file.to_owned()),
        None if context.is_dir() => Some(context.join("Dockerfile")),
        _ => None,
    };
    let mut files: Vec<PathBuf> =
        dockerfile.map(|file| policy::beside(&file)).into_iter().filter(|path| path.is_file()).collect();
    for option in options {
        if option.reset {
            files.clear();
        }
        files.extend(option.files.iter().cloned());
    }
    if files.is_empty() && options.iter().any(|option| option.strict) {
        return Err(Failure::usage("`--policy strict=true` needs a policy, and there is none").with_hint(
            "Write `Dockerfile.rego` beside the Dockerfile, or name a file with `--policy filename=FILE`.",
        ));
    }
    files.iter().map(|path| policy::read(path)).collect()
}

/// Returns the failure, with what to do if a source is no longer what the lock says.
pub(super) fn advised(failure: BuildFailure, is_locked: bool) -> Failure {
    let is_about_source = match &failure {
        BuildFailure::Base(_) => true,
        BuildFailure::Step(step) => matches!(&step.cause, StepCause::Refused(error) if is_answer(error)),
        BuildFailure::Environment(error) => is_answer(error),
        BuildFailure::Dockerfile { .. } | BuildFailure::NotReproducible(_) | BuildFailure::Interrupted => false,
    };
    let failure = Failure::from(failure);
    if !(is_locked && is_about_source) {
        return failure;
    }
    failure.with_hint("The lock says what it has to be. If it was changed on purpose, run `stave lock`.")
}

fn is_answer(error: &EngineError) -> bool {
    error.is_answer()
}
