//! What is printed instead of running a command: help, and what is wrong with the command line.

use std::error::Error as _;
use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::normalise::command_position;

/// A text to print instead of running a command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UsageError {
    /// The text, with its last newline.
    pub(crate) text: String,
    /// The exit code: 0 if the user asked for the text.
    pub(crate) code: u8,
}

/// Flags of Docker's that stave does not have yet, each with its commands. Table.
const NOT_YET: &[(&str, &[&str])] = &[
    (
        "run create",
        &[
            "--add-host",
            "--annotation",
            "--attach",
            "--cap-add",
            "--cap-drop",
            "--cgroup-parent",
            "--cidfile",
            "--cpus",
            "--cpu-shares",
            "--cpuset-cpus",
            "--detach",
            "--device",
            "--dns",
            "--dns-option",
            "--dns-search",
            "--expose",
            "--gpus",
            "--group-add",
            "--health-cmd",
            "--init",
            "--ip",
            "--ipc",
            "--isolation",
            "--label-file",
            "--link",
            "--log-driver",
            "--log-opt",
            "--memory",
            "--memory-swap",
            "--mount",
            "--network-alias",
            "--no-healthcheck",
            "--oom-score-adj",
            "--pid",
            "--pids-limit",
            "--privileged",
            "--publish",
            "--publish-all",
            "--quiet",
            "--read-only",
            "--restart",
            "--runtime",
            "--security-opt",
            "--shm-size",
            "--sig-proxy",
            "--stop-signal",
            "--stop-timeout",
            "--storage-opt",
            "--sysctl",
            "--tmpfs",
            "--tty",
            "--ulimit",
            "--userns",
            "--uts",
            "--volume",
            "--volume-driver",
            "--volumes-from",
            "-P",
            "-a",
            "-c",
            "-d",
            "-m",
            "-p",
            "-q",
            "-t",
            "-v",
        ],
    ),
    ("start", &["--checkpoint", "--checkpoint-dir", "--detach-keys"]),
    ("rm", &["--link", "-l"]),
    ("ps", &["--last", "--latest", "--size", "-l", "-n", "-s"]),
    ("images", &["--tree"]),
    ("inspect", &["--size", "-s"]),
    ("rmi load", &["--platform"]),
    ("pull push", &["--disable-content-trust"]),
];

/// Commands of Docker's that stave does not have yet. Table.
const COMMANDS_NOT_YET: &[&str] = &[
    "attach",
    "commit",
    "compose",
    "config",
    "container",
    "context",
    "diff",
    "events",
    "exec",
    "export",
    "import",
    "info",
    "kill",
    "logs",
    "manifest",
    "network",
    "node",
    "pause",
    "plugin",
    "port",
    "rename",
    "restart",
    "search",
    "secret",
    "service",
    "stack",
    "stats",
    "stop",
    "swarm",
    "system",
    "top",
    "trust",
    "unpause",
    "update",
    "volume",
    "wait",
];

impl UsageError {
    /// A text that the user asked for.
    pub(super) fn for_stdout(text: String) -> Self {
        Self { text: if text.ends_with('\n') { text } else { text + "\n" }, code: 0 }
    }

    /// A mistake on the command line, and what to do about it.
    pub(crate) fn usage(message: impl AsRef<str>, hint: &str) -> Self {
        Self { text: format!("error: {}\nhint: {hint}\n", message.as_ref()), code: 2 }
    }
}

/// Turns an answer of clap's into what is printed.
pub(super) fn explain(error: &clap::Error, arguments: &[OsString]) -> UsageError {
    let command = arguments.get(command_position(arguments)).and_then(|word| word.to_str()).unwrap_or_default();
    let argument = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(argument)) => argument.as_str(),
        _ => "",
    };
    let help = format!("See `stave {command} --help` for what there is.");
    let mut usage = match error.kind() {
        ErrorKind::DisplayHelp => return UsageError::for_stdout(error.render().to_string()),
        ErrorKind::InvalidSubcommand => unknown_command(error),
        ErrorKind::UnknownArgument if !argument.starts_with('-') => {
            UsageError::usage(format!("`{argument}` is one argument too many for `stave {command}`"), &help)
        }
        ErrorKind::UnknownArgument if not_yet(command, argument) => {
            UsageError::usage(format!("`{argument}` of `docker {command}` is not supported by stave yet"), &help)
        }
        ErrorKind::UnknownArgument => {
            let hint = match error.get(ContextKind::SuggestedArg) {
                Some(ContextValue::String(similar)) => format!("A similar flag is `{similar}`."),
                _ => help,
            };
            let place =
                if command.is_empty() || command.starts_with('-') { String::new() } else { format!(" {command}") };
            UsageError::usage(format!("`stave{place}` has no flag `{argument}`"), &hint)
        }
        ErrorKind::ValueValidation | ErrorKind::InvalidValue => wrong_value(error, argument, &help),
        ErrorKind::ArgumentConflict => conflict(error, argument),
        _ => UsageError { text: error.render().to_string(), code: 2 },
    };
    if command == "run" {
        // Docker's convention: below 125 is the container's own code.
        usage.code = 125;
    }
    usage
}

/// Returns the name in `--ulimit <NAME=SOFT[:HARD]>`, or the whole of it where it is no option.
fn flag_name(argument: &str) -> &str {
    argument.split([' ', '[']).next().unwrap_or(argument)
}

/// An option's value is not what it takes: what was expected, and which value is near.
fn wrong_value(error: &clap::Error, argument: &str, help: &str) -> UsageError {
    let flag = flag_name(argument);
    let value = match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) => value.as_str(),
        _ => "",
    };
    let given = if value.is_empty() { format!("`{flag}` without a value") } else { format!("`{flag} {value}`") };
    let wrong = match (error.source(), error.get(ContextKind::ValidValue)) {
        (Some(source), _) => source.to_string(),
        (None, Some(ContextValue::Strings(known))) if !known.is_empty() => {
            format!("expected one of {}", known.iter().map(|known| format!("`{known}`")).collect::<Vec<_>>().join(", "))
        }
        _ => "it needs a value".to_owned(),
    };
    let hint = match error.get(ContextKind::SuggestedValue) {
        Some(ContextValue::String(similar)) => format!("A similar value is `{similar}`."),
        _ => help.to_owned(),
    };
    UsageError::usage(format!("{given}: {wrong}"), &hint)
}

/// Two options exclude each other.
fn conflict(error: &clap::Error, argument: &str) -> UsageError {
    let other = match error.get(ContextKind::PriorArg) {
        Some(ContextValue::String(other)) => flag_name(other).to_owned(),
        Some(ContextValue::Strings(others)) => {
            others.iter().map(|other| flag_name(other)).collect::<Vec<_>>().join("`, `")
        }
        _ => return UsageError { text: error.render().to_string(), code: 2 },
    };
    let message = format!("`{}` and `{other}` cannot be used together", flag_name(argument));
    UsageError::usage(message, "Leave one of the two out.")
}

fn not_yet(command: &str, flag: &str) -> bool {
    NOT_YET.iter().any(|(commands, flags)| commands.split(' ').any(|known| known == command) && flags.contains(&flag))
}

fn unknown_command(error: &clap::Error) -> UsageError {
    let Some(ContextValue::String(name)) = error.get(ContextKind::InvalidSubcommand) else {
        return UsageError { text: error.render().to_string(), code: 2 };
    };
    if COMMANDS_NOT_YET.contains(&name.as_str()) {
        return UsageError::usage(
            format!("`docker {name}` is not supported by stave yet"),
            "See `stave --help` for the commands that there are.",
        );
    }
    let hint = match error.get(ContextKind::SuggestedSubcommand) {
        Some(ContextValue::Strings(similar)) if !similar.is_empty() => {
            format!("A similar command is `{}`.", similar[0])
        }
        Some(ContextValue::String(similar)) => format!("A similar command is `{similar}`."),
        _ => "See `stave --help` for the commands that there are.".to_owned(),
    };
    UsageError::usage(format!("stave has no command `{name}`"), &hint)
}

#[cfg(test)]
pub(super) fn not_yet_table() -> &'static [(&'static str, &'static [&'static str])] {
    NOT_YET
}
