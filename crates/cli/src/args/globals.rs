//! Docker's flags before the command: which of them stave has, and which say what is so anyway.

use std::ffi::OsString;

use super::usage::UsageError;

/// Words before the command that stand for themselves, and those that a value follows.
const ALONE: &[&str] = &["--debug", "-D", "--no-color"];
const WITH_VALUE: &[&str] = &["--root", "--config"];

/// What docker writes of itself; stave writes what is at `debug` with `--debug`, and nothing of the others.
const LOG_LEVELS: &[&str] = &["debug", "info", "warn", "error", "fatal"];

/// Returns where the command is among `arguments`: after the program's name and the global flags.
pub(super) fn command_position(arguments: &[OsString]) -> usize {
    let mut position = 1;
    while let Some(word) = arguments.get(position).and_then(|word| word.to_str()) {
        position += match word {
            _ if WITH_VALUE.contains(&word) => 2,
            _ if ALONE.contains(&word) || is_given(word) => 1,
            _ => break,
        };
    }
    position.min(arguments.len())
}

/// Whether a word is a flag with its value: `--root=DIR`.
fn is_given(word: &str) -> bool {
    word.split_once('=').is_some_and(|(flag, _)| WITH_VALUE.contains(&flag))
}

/// Takes those of Docker's global flags away that ask for what is so anyway: `--context default`, `--log-level`.
///
/// Reference: docker/cli, `cli/flags/options.go`.
pub(super) fn without_dockers(mut arguments: Vec<OsString>) -> Result<Vec<OsString>, UsageError> {
    loop {
        let at = command_position(&arguments);
        let Some(word) = arguments.get(at).and_then(|word| word.to_str()).map(str::to_owned) else {
            return Ok(arguments);
        };
        let Some((flag, value)) = dockers(&word) else { return Ok(arguments) };
        let (value, words) = match value {
            Some(value) => (value, 1),
            None => match arguments.get(at + 1) {
                Some(next) => (next.to_string_lossy().into_owned(), 2),
                None => return Err(UsageError::usage(format!("`{flag}` needs a value"), HELP)),
            },
        };
        let kept = judged(flag, &value)?;
        arguments.splice(at..at + words, kept.map(OsString::from));
    }
}

const HELP: &str = "See `stave --help` for what there is.";
const NO_SERVER: &str = "There is one store and no server: `--root` or STAVE_ROOT name another one.";

/// Returns the long name of a global flag that only Docker has, and the value that is in the same word.
fn dockers(word: &str) -> Option<(&'static str, Option<String>)> {
    let (name, value) = match word.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (word, None),
    };
    let flag = match name {
        "--context" | "-c" => "--context",
        "--host" | "-H" => "--host",
        "--log-level" | "-l" => "--log-level",
        "--tlscacert" | "--tlscert" | "--tlskey" => return Some(("--tlscacert", Some(String::new()))),
        "--tls" | "--tlsverify" => return Some(("--tls", Some(String::new()))),
        _ => return None,
    };
    Some((flag, value))
}

/// Returns what stands for a flag, if anything has to.
fn judged(flag: &str, value: &str) -> Result<Option<&'static str>, UsageError> {
    match (flag, value) {
        ("--context", "default" | "") | ("--log-level", "info" | "warn" | "error" | "fatal") => Ok(None),
        ("--log-level", "debug") => Ok(Some("--debug")),
        ("--log-level", _) => {
            let levels: Vec<String> = LOG_LEVELS.iter().map(|level| format!("`{level}`")).collect();
            let message = format!("`--log-level {value}`: expected one of {}", levels.join(", "));
            Err(UsageError::usage(message, HELP))
        }
        ("--context", _) => {
            Err(UsageError::usage(format!("`--context {value}` of `docker` is not supported"), NO_SERVER))
        }
        _ => Err(UsageError::usage(format!("`{flag}` of `docker` is not supported"), NO_SERVER)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    fn kept(line: &str) -> Result<String, String> {
        let kept = without_dockers(words(line)).map_err(|error| error.text)?;
        Ok(kept.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn flags_before_the_command_that_change_nothing_are_taken_away() {
        assert_eq!(kept("docker --context default ps -l").as_deref(), Ok("docker ps -l"));
        assert_eq!(kept("docker -c default --log-level=warn -D ps").as_deref(), Ok("docker -D ps"));
        assert_eq!(kept("docker -l debug --config /x ps").as_deref(), Ok("docker --debug --config /x ps"));
        // What follows the command is the command's.
        assert_eq!(kept("docker run -c 512 -l a=b -h x i").as_deref(), Ok("docker run -c 512 -l a=b -h x i"));
    }

    #[test]
    fn what_would_ask_for_a_server_is_refused_by_name() {
        let hint = "hint: There is one store and no server: `--root` or STAVE_ROOT name another one.\n";
        let refused = |line: &str, message: &str| {
            assert_eq!(kept(line), Err(format!("error: {message}\n{hint}")), "{line}");
        };
        refused("docker -H tcp://h:2375 ps", "`--host` of `docker` is not supported");
        refused("docker --host=unix:///x ps", "`--host` of `docker` is not supported");
        refused("docker --context far ps", "`--context far` of `docker` is not supported");
        refused("docker --tlsverify ps", "`--tls` of `docker` is not supported");
        assert_eq!(
            kept("docker -l loud ps"),
            Err("error: `--log-level loud`: expected one of `debug`, `info`, `warn`, `error`, `fatal`\n\
                 hint: See `stave --help` for what there is.\n"
                .to_owned())
        );
    }

    #[test]
    fn the_command_is_after_the_global_flags() {
        assert_eq!(command_position(&words("stave --root /x --config=/y -D ps")), 5);
        assert_eq!(command_position(&words("stave --config /y ps")), 3);
        assert_eq!(command_position(&words("stave --root")), 2);
    }
}
