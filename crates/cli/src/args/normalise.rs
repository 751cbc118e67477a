//! Rewrites what Docker's users type into the one form that the parser knows.
//!
//! `image ls` becomes `images`, `help build` becomes `build --help`, `--pull=true` becomes `--pull`. Done on the words,
//! before or after clap has seen them, so that the description of the command line stays small and quick to make.

use std::ffi::{OsStr, OsString};

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::globals::command_position;
use super::usage::UsageError;

/// Docker's two-word commands, and the words that stand for them here.
const NOUN_FORMS: &[(&str, &str, &[&str])] = &[
    ("builder", "build", &["build"]),
    ("builder", "du", &["store", "usage", "--by=record"]),
    ("builder", "prune", &["store", "prune", "--only=cache", "--docker"]),
    ("buildx", "build", &["build"]),
    ("buildx", "history", &["builds"]),
    ("buildx", "du", &["store", "usage", "--by=record"]),
    ("buildx", "prune", &["store", "prune", "--only=cache", "--docker"]),
    ("buildx", "imagetools", &["imagetools"]),
    ("image", "build", &["build"]),
    ("image", "history", &["history"]),
    ("image", "import", &["import"]),
    ("image", "inspect", &["inspect", "--type=image"]),
    ("image", "list", &["images"]),
    ("image", "load", &["load"]),
    ("image", "ls", &["images"]),
    ("image", "prune", &["store", "prune", "--only=images", "--docker"]),
    ("image", "pull", &["pull"]),
    ("image", "push", &["push"]),
    ("image", "remove", &["rmi"]),
    ("image", "rm", &["rmi"]),
    ("image", "save", &["save"]),
    ("image", "tag", &["tag"]),
    ("container", "attach", &["attach"]),
    ("container", "pause", &["pause"]),
    ("container", "unpause", &["unpause"]),
    ("container", "commit", &["commit"]),
    ("container", "cp", &["cp"]),
    ("container", "diff", &["diff"]),
    ("container", "export", &["export"]),
    ("container", "create", &["create"]),
    ("container", "inspect", &["inspect", "--type=container"]),
    ("container", "list", &["ps"]),
    ("container", "ls", &["ps"]),
    ("container", "ps", &["ps"]),
    ("container", "prune", &["store", "prune", "--only=containers", "--docker"]),
    ("container", "remove", &["rm"]),
    ("container", "rm", &["rm"]),
    ("container", "run", &["run"]),
    ("container", "exec", &["exec"]),
    ("container", "kill", &["kill"]),
    ("container", "logs", &["logs"]),
    ("container", "rename", &["rename"]),
    ("container", "restart", &["restart"]),
    ("container", "start", &["start"]),
    ("container", "stop", &["stop"]),
    ("container", "top", &["top"]),
    ("container", "wait", &["wait"]),
    ("system", "info", &["info"]),
    ("system", "df", &["store", "usage", "--by=use"]),
    ("system", "prune", &["store", "prune", "--only=containers", "--only=images", "--only=cache", "--docker"]),
];

/// Commands of Docker's plugins that stave does not have, and what does their work.
const FORMS_REFUSED: &[(&str, &str)] = &[
    (
        "buildx bake",
        "stave builds one Dockerfile at a time: `stave build -f FILE --target STAGE CONTEXT` for each target.",
    ),
    ("buildx dap", "There is no editor's debugger: `stave debug --before STEP` opens a shell before any step."),
    (
        "buildx debug",
        "`stave build --on-failure shell` opens a shell where a step fails, and `stave debug` does so afterwards.",
    ),
    (
        "buildx history export",
        "`stave report -o FILE` has all of a build in a page, `stave debug --export FILE` its failed state.",
    ),
    ("buildx history import", "A failed state of another machine is opened with `stave debug --bundle FILE`."),
    ("buildx history open", "`stave report -o report.html` writes the page to be opened."),
];

/// Rewrites `image ls` and the like, `help COMMAND` and `--version`.
pub(super) fn noun_forms(mut arguments: Vec<OsString>) -> Result<Vec<OsString>, UsageError> {
    let at = command_position(&arguments);
    let word = |position: usize| arguments.get(position).and_then(|word| word.to_str()).map(str::to_owned);
    let (Some(first), second) = (word(at), word(at + 1)) else { return Ok(arguments) };
    match first.as_str() {
        "--version" | "-V" | "-v" => return Err(UsageError::for_stdout(crate::version_line())),
        "help" => {
            arguments.remove(at);
            let end = (at + 1).min(arguments.len());
            arguments.truncate(end);
            arguments.push("--help".into());
            return noun_forms(arguments);
        }
        noun if NOUN_FORMS.iter().any(|(known, ..)| *known == noun) => {}
        _ => return Ok(arguments),
    }
    let third = word(at + 2).unwrap_or_default();
    let typed = format!("{first} {} {third} ", second.as_deref().unwrap_or_default());
    if let Some((form, why)) = FORMS_REFUSED.iter().find(|(form, _)| typed.starts_with(&format!("{form} "))) {
        return Err(UsageError::usage(format!("`{form}` is not supported"), why));
    }
    match second.as_deref() {
        None | Some("--help" | "-h") => Err(UsageError::for_stdout(noun_help(&first))),
        Some(verb) => match NOUN_FORMS.iter().find(|(noun, known, _)| *noun == first && *known == verb) {
            Some((_, _, words)) => {
                arguments.splice(at..at + 2, words.iter().map(OsString::from));
                Ok(arguments)
            }
            None => Err(UsageError::usage(
                format!("`{first} {verb}` is not supported"),
                &format!("See `stave {first} --help` for what is."),
            )),
        },
    }
}

fn noun_help(noun: &str) -> String {
    let mut lines = vec![format!("Docker's `{noun}` commands that stave has:\n")];
    for (_, verb, words) in NOUN_FORMS.iter().filter(|(known, ..)| *known == noun) {
        let shown: Vec<&str> = words.iter().filter(|word| **word != "--docker").copied().collect();
        lines.push(format!("  stave {noun} {verb:<10} the same as `stave {}`", shown.join(" ")));
    }
    lines.join("\n")
}

/// If `error` is about a value given to a flag that takes none (`--pull=true`), returns `arguments` without that value,
/// or, for a false one, without the flag.
pub(super) fn without_boolean_value(arguments: &[OsString], error: &clap::Error) -> Option<Vec<OsString>> {
    if error.kind() != ErrorKind::TooManyValues {
        return None;
    }
    let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else { return None };
    let Some(ContextValue::String(value)) = error.get(ContextKind::InvalidValue) else { return None };
    let given = OsString::from(format!("{flag}={value}"));
    let at = arguments.iter().position(|argument| *argument == given)?;
    let mut changed = arguments.to_vec();
    if matches!(value.as_str(), "1" | "t" | "T" | "true" | "TRUE" | "True") {
        changed[at] = OsString::from(flag);
    } else if matches!(value.as_str(), "0" | "f" | "F" | "false" | "FALSE" | "False") {
        changed.remove(at);
        // The last one counts, so an earlier `--flag` is off now, too.
        let mut position = 0;
        changed.retain(|argument| {
            position += 1;
            position > at || argument != OsStr::new(flag)
        });
    } else {
        return None;
    }
    Some(changed)
}
