//! What is printed instead of running a command: help, and what is wrong with the command line.

use std::borrow::Cow;
use std::error::Error as _;
use std::ffi::OsString;
use std::num::{IntErrorKind, ParseIntError};

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::globals::command_position;

/// A text to print instead of running a command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UsageError {
    /// The text, with its last newline.
    pub(crate) text: String,
    /// The exit code: 0 if the user asked for the text.
    pub(crate) code: u8,
}

/// Flags of Docker's that stave does not have: commands, flags, and what to do instead. Table.
const REFUSED: &[(&str, &[&str], &str)] = &[
    (
        "run create",
        &[
            "--blkio-weight",
            "--blkio-weight-device",
            "--cgroup-parent",
            "--cgroupns",
            "--cpu-count",
            "--cpu-percent",
            "--cpu-rt-period",
            "--cpu-rt-runtime",
            "--device-read-bps",
            "--device-read-iops",
            "--device-write-bps",
            "--device-write-iops",
            "--io-maxbandwidth",
            "--io-maxiops",
            "--memory-reservation",
            "--memory-swappiness",
            "--oom-kill-disable",
            "--oom-score-adj",
            "--storage-opt",
        ],
        "`--memory`, `--cpus`, `--cpu-shares`, `--cpuset-cpus` and `--pids-limit` limit a container, `--ulimit` single \
         processes; anything else is for the process that starts it, with `systemd-run --scope -p ... stave run ...`.",
    ),
    (
        "run create",
        &["--ip", "--ip6", "--link", "--link-local-ip", "--mac-address", "--network-alias", "--publish-all", "-P"],
        "stave makes no networks: a container has the host's, or none.",
    ),
    (
        "run create",
        &["--ipc", "--pid", "--userns", "--uts", "--isolation", "--runtime", "--domainname", "--sysctl"],
        "Every container has namespaces of its own, made by stave itself.",
    ),
    (
        "run create",
        &["--security-opt", "--group-add", "--device-cgroup-rule", "--gpus", "--use-api-socket"],
        "`--cap-add`, `--cap-drop`, `--device` and `--privileged` are what there is to change a container's rights.",
    ),
    (
        "run create",
        &["--volume-driver", "--volumes-from"],
        "Volumes are in the store: name one with `-v NAME:PATH`, in each container that is to have it.",
    ),
    (
        "run create",
        &[
            "--health-cmd",
            "--health-interval",
            "--health-retries",
            "--health-start-interval",
            "--health-start-period",
            "--health-timeout",
        ],
        "There is no daemon that would run health checks: run the command with `stave exec`.",
    ),
    ("run create", &["--init"], "Name an init of the image as the command; all processes end with the first one."),
    ("run create", &["--log-opt"], "A log keeps its latest 8 to 16 MiB; `--log-driver none` keeps nothing."),
    (
        "run create",
        &["--attach", "-a"],
        "`-d` attaches nothing, `-i` standard input too; without them output is shown.",
    ),
    (
        "run start exec attach",
        &["--detach-keys"],
        "One cannot detach from a container that runs attached: start it with `-d`, and see it with `stave attach`.",
    ),
    ("start", &["--checkpoint", "--checkpoint-dir"], "stave makes no checkpoints."),
    ("rm", &["--link", "-l"], "There are no links between containers."),
    (
        "builds",
        &["--addr", "--compare"],
        "stave shows no traces itself: `stave builds trace` prints one for a program that does, and `stave report` draws \
         the timeline.",
    ),
    ("logs", &["--details"], "A log has no details."),
    ("rmi", &["--platform"], "An image is removed with all its platforms."),
    (
        "pull push login logout",
        &["--tls-verify"],
        "A registry without TLS or with a certificate of its own is `insecure = true` in registries.conf, or has its \
         authority in certs.d: see docs/registries.md.",
    ),
    ("login", &["--authfile", "--cert-dir"], "Credentials are where REGISTRY_AUTH_FILE or DOCKER_CONFIG say."),
];

/// Flags of kaniko's executor that `stave build` has in other words. `docs/from-kaniko.md` says the same at length. Table.
const KANIKO: &[(&[&str], &str)] = &[
    (&["--context"], "The context is the last argument: a directory, an address, or `-` for an archive."),
    (&["--context-sub-path"], "Name the directory itself, or for a repository `URL#REF:DIRECTORY`."),
    (&["--dockerfile"], "Write `-f FILE`."),
    (&["--destination", "-d"], "Write `-t NAME`, once for each name, and `--push`."),
    (&["--no-push"], "Nothing is pushed without `--push`."),
    (&["--tar-path"], "Write `-o type=docker,dest=FILE`."),
    (&["--oci-layout-path"], "Write `-o type=oci,tar=false,dest=DIRECTORY`."),
    (
        &["--digest-file", "--image-name-with-digest-file", "--image-name-tag-with-digest-file"],
        "`--metadata-file FILE` has the digest as `containerimage.digest`; `stave push --digest-file FILE` writes it alone.",
    ),
    (
        &["--cache", "--cache-repo"],
        "Everything is cached on this machine; `--cache-to type=registry,ref=NAME,mode=max` and `--cache-from NAME` do it in a \
         registry.",
    ),
    (
        &["--cache-copy-layers", "--cache-run-layers"],
        "With `mode=max` in `--cache-to`, the results of all steps are in the cache.",
    ),
    (&["--cache-dir"], "Base images stay in the store: fetch them before with `stave pull`."),
    (&["--custom-platform"], "Write `--platform OS/ARCH`."),
    (&["--single-snapshot"], "Write `--squash`."),
    (
        &["--snapshot-mode", "--use-new-run", "--image-fs-extract-retry"],
        "Leave it out: what a step changes is where the step wrote it, and is not searched for.",
    ),
    (&["--reproducible"], "Leave it out: the same inputs give the same image anyway."),
    (
        &["--cleanup", "--ignore-path", "--ignore-var-run"],
        "Leave it out: steps do not run over the builder's own files.",
    ),
    (
        &[
            "--insecure",
            "--insecure-pull",
            "--insecure-registry",
            "--skip-tls-verify",
            "--skip-tls-verify-pull",
            "--skip-tls-verify-registry",
            "--registry-certificate",
            "--registry-client-cert",
            "--registry-mirror",
            "--registry-map",
            "--skip-default-registry-fallback",
        ],
        "Registries are described in registries.conf and certs.d, for all commands: see docs/registries.md.",
    ),
    (&["--image-download-retry", "--push-retry"], "Leave it out: what can be tried again is."),
    (
        &["--push-ignore-immutable-tag-errors", "--skip-push-permission-check"],
        "Leave it out: a push that fails is an error.",
    ),
    (
        &["--verbosity", "--log-format", "--log-timestamp"],
        "`--progress=plain` writes lines, `--progress=rawjson` JSON.",
    ),
];

/// Commands of Docker's that stave does not have, and what to do instead. Table.
const COMMANDS_REFUSED: &[(&str, &str)] = &[
    ("compose", "stave runs single containers; run each with `stave run -d`."),
    ("config", SWARM),
    ("context", "There is one store and no server: `--root` or STAVE_ROOT name another one."),
    ("events", "There is no daemon that would know of them; `stave build --progress rawjson` tells what a build does."),
    ("network", "stave makes no networks: a container has the host's, or none (`--network`)."),
    ("node", SWARM),
    ("plugin", "There are no plugins."),
    ("port", "A container has the host's network, so its ports are the host's."),
    ("search", "Search on the registry's own page."),
    ("secret", SWARM),
    ("service", SWARM),
    ("stack", SWARM),
    ("stats", "`stave top` lists the processes of a container."),
    ("swarm", SWARM),
    ("trust", "Images are told apart by digests: name them `NAME@sha256:...`."),
    ("update", "A container has the limits that it was made with: make another one."),
];

const SWARM: &str = "stave works on one machine.";

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
    let whole = path(command, arguments);
    let help = format!("See `stave {whole} --help` for what there is.");
    let mut usage = match error.kind() {
        ErrorKind::DisplayHelp => return UsageError::for_stdout(error.render().to_string()),
        ErrorKind::InvalidSubcommand => unknown_command(error, command),
        ErrorKind::UnknownArgument if !argument.starts_with('-') => {
            UsageError::usage(format!("`{argument}` is one argument too many for `stave {whole}`"), &help)
        }
        ErrorKind::UnknownArgument if refused(command, argument).is_some() => {
            let why = refused(command, argument).unwrap_or_default();
            let theirs = if command == "builds" { "buildx history" } else { command };
            UsageError::usage(format!("`{argument}` of `docker {theirs}` is not supported"), why)
        }
        ErrorKind::UnknownArgument if command == "build" && of_kaniko(argument).is_some() => {
            let why = of_kaniko(argument).unwrap_or_default();
            UsageError::usage(format!("`{argument}` is a flag of kaniko's, and none of `stave build`"), why)
        }
        ErrorKind::UnknownArgument => {
            let hint = match error.get(ContextKind::SuggestedArg) {
                Some(ContextValue::String(similar)) => format!("A similar flag is `{similar}`."),
                _ => help,
            };
            let place =
                if command.is_empty() || command.starts_with('-') { String::new() } else { format!(" {whole}") };
            UsageError::usage(format!("`stave{place}` has no flag `{argument}`"), &hint)
        }
        ErrorKind::ValueValidation | ErrorKind::InvalidValue => wrong_value(error, argument, &help),
        ErrorKind::ArgumentConflict => conflict(error, argument),
        ErrorKind::MissingRequiredArgument => missing(error, &whole, &help),
        ErrorKind::TooFewValues | ErrorKind::WrongNumberOfValues if !argument.starts_with('-') => {
            let given = match error.get(ContextKind::ActualNumValues) {
                Some(ContextValue::Number(given)) => usize::try_from(*given).unwrap_or_default(),
                _ => 0,
            };
            let mut needed = several_names(argument);
            // What was given is not missing; the last name may stand for several.
            needed.drain(..given.min(needed.len().saturating_sub(1)));
            UsageError::usage(format!("`stave {whole}` needs {}", needed.join(" and ")), &help)
        }
        _ => UsageError { text: error.render().to_string(), code: 2 },
    };
    if command == "run" {
        // Docker's convention: below 125 is the container's own code.
        usage.code = 125;
    }
    usage
}

/// Returns the name in `--ulimit <NAME=SOFT[:HARD]>`; of what is no option, the name that help has for it: `BYTES` of
/// `[BYTES]`, `REPOSITORY` of `[REPOSITORY[:TAG]]`.
fn flag_name(argument: &str) -> &str {
    let inner = argument.strip_prefix(['[', '<']).unwrap_or(argument);
    inner.split([' ', '[', ']', '>']).next().unwrap_or(inner)
}

/// Returns the names in `<CONTAINER> <COMMAND>...`.
fn several_names(argument: &str) -> Vec<String> {
    let words = argument.split(' ').map(|word| word.trim_end_matches('.').trim_matches(['<', '>', '[', ']']));
    words.filter(|word| !word.is_empty()).map(|word| format!("`{word}`")).collect()
}

/// An option's value is not what it takes: what was expected, and which value is near.
fn wrong_value(error: &clap::Error, argument: &str, help: &str) -> UsageError {
    let flag = flag_name(argument);
    let value = match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) => value.as_str(),
        _ => "",
    };
    if value.is_empty() && error.source().is_none() {
        return UsageError::usage(format!("`{flag}` needs a value"), help);
    }
    let given = match (value.is_empty(), argument.starts_with('-')) {
        (true, _) => format!("`{flag}` without a value"),
        (false, true) => format!("`{flag} {value}`"),
        (false, false) => format!("{flag} `{value}`"),
    };
    let wrong = match (error.source(), error.get(ContextKind::ValidValue)) {
        (Some(source), _) => match source.downcast_ref::<ParseIntError>().map(ParseIntError::kind) {
            Some(IntErrorKind::PosOverflow) => "the number is too large".to_owned(),
            Some(IntErrorKind::NegOverflow) => "the number is too small".to_owned(),
            Some(_) => "expected a whole number".to_owned(),
            None => source.to_string(),
        },
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

/// Something that the command cannot do without.
fn missing(error: &clap::Error, command: &str, help: &str) -> UsageError {
    let Some(ContextValue::Strings(names)) = error.get(ContextKind::InvalidArg) else {
        return UsageError { text: error.render().to_string(), code: 2 };
    };
    let names: Vec<String> = names.iter().map(|name| format!("`{}`", name.replace(['<', '>'], ""))).collect();
    let hint = if command == "build" {
        "`stave build .` builds the Dockerfile of the current directory, with the files of that directory."
    } else {
        help
    };
    UsageError::usage(format!("`stave {command}` needs {}", names.join(" and ")), hint)
}

/// Returns what to do instead of a flag of Docker's that stave does not have.
fn refused(command: &str, flag: &str) -> Option<&'static str> {
    let has = |commands: &str| commands.split(' ').any(|known| known == command);
    REFUSED.iter().find(|(commands, flags, _)| has(commands) && flags.contains(&flag)).map(|(.., why)| *why)
}

/// Returns what to do instead of a flag of kaniko's.
fn of_kaniko(flag: &str) -> Option<&'static str> {
    KANIKO.iter().find(|(flags, _)| flags.contains(&flag)).map(|(_, why)| *why)
}

fn unknown_command(error: &clap::Error, command: &str) -> UsageError {
    let Some(ContextValue::String(name)) = error.get(ContextKind::InvalidSubcommand) else {
        return UsageError { text: error.render().to_string(), code: 2 };
    };
    if let Some((_, why)) = COMMANDS_REFUSED.iter().find(|(known, _)| known == name) {
        return UsageError::usage(format!("`docker {name}` is not supported"), why);
    }
    let hint = match error.get(ContextKind::SuggestedSubcommand) {
        // The most similar one comes last.
        Some(ContextValue::Strings(similar)) => similar.last(),
        Some(ContextValue::String(similar)) => Some(similar),
        _ => None,
    };
    // The first word is a command, of which the second is none.
    let is_below = command != name;
    let whose = if is_below { format!("`stave {command}`") } else { "stave".to_owned() };
    let help = if is_below { format!("stave {command} --help") } else { "stave --help".to_owned() };
    let hint = match hint {
        Some(similar) => format!("A similar command is `{similar}`."),
        None => format!("See `{help}` for the commands that there are."),
    };
    UsageError::usage(format!("{whose} has no command `{name}`"), &hint)
}

/// Returns the words of a command: two, where the second is one of the first's own commands.
fn path<'a>(command: &'a str, arguments: &'a [OsString]) -> Cow<'a, str> {
    let second = arguments.get(command_position(arguments) + 1).and_then(|word| word.to_str());
    let stave = super::command();
    let below = |second: &&str| stave.find_subcommand(command).is_some_and(|it| it.find_subcommand(second).is_some());
    second.filter(below).map_or(Cow::Borrowed(command), |second| format!("{command} {second}").into())
}

#[cfg(test)]
pub(super) fn refused_table() -> impl Iterator<Item = (&'static str, &'static [&'static str])> {
    REFUSED.iter().map(|(commands, flags, _)| (*commands, *flags))
}

#[cfg(test)]
pub(super) fn kanikos() -> impl Iterator<Item = (&'static str, &'static str)> {
    KANIKO.iter().flat_map(|(flags, why)| flags.iter().map(|flag| (*flag, *why)))
}

#[cfg(test)]
pub(super) fn refused_commands() -> impl Iterator<Item = &'static str> {
    COMMANDS_REFUSED.iter().map(|(name, _)| *name)
}
