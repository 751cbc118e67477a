//! `run`, `create`, `start`, `cp`, `rm`.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::Path;

use stave_engine::{
    ContainerExit, ContainerRequest, CopySource, CopyTarget, EngineError, PullPolicy, store::ContainerError,
};

use super::{Context, settled};
use crate::args::{
    ContainerOptions, CpArgs, CpEnd, CreateArgs, NetworkMode, PullWhen, RmArgs, RunArgs, RunNetwork, StartArgs,
};
use crate::failure::{self, Failure};
use crate::host::{Host, Processes};
use crate::output;

/// The type of [`ContainerRequest::network`], which this crate has no other name for.
macro_rules! network {
    ($($mode:ty),*) => {
        $(impl From<$mode> for stave_engine::Network {
            fn from(mode: $mode) -> Self {
                match mode {
                    <$mode>::Default | <$mode>::Host => Self::Host,
                    <$mode>::None => Self::None,
                }
            }
        })*
    };
}

network!(NetworkMode, RunNetwork);

pub(super) fn run(args: RunArgs, context: &Context<'_>) -> Result<u8, Failure> {
    let not_started = |failure: Failure| {
        let code = if failure.code >= failure::NOT_STARTED { failure.code } else { failure::NOT_STARTED };
        failure.with_code(code)
    };
    let request = request(args.options).map_err(not_started)?;
    let interactive = request.interactive;
    let host = context.host(Processes::Some).map_err(not_started)?;
    let display = context.display(false);
    let created = host.engine.create(request, &|event| display.report(event));
    display.finish();
    let id = settled(&host, created.map_err(Failure::from)).map_err(not_started)?;
    let result = attached(&host, &id, interactive);
    if args.rm {
        let removed = host.engine.remove_container(&id, true).map_err(Failure::from);
        return result.and_then(|code| removed.map(|_| code));
    }
    result
}

/// Runs a container with our own streams and returns its code.
fn attached(host: &Host, name: &str, interactive: bool) -> Result<u8, Failure> {
    host.signals.forward();
    let result = host.engine.start(name, interactive).map_err(|error| {
        let code = failure::start_code(&error);
        Failure::from(error).with_code(code)
    });
    settled(host, result).map(exit_code)
}

fn exit_code(exit: ContainerExit) -> u8 {
    u8::try_from(exit.code & 0xff).expect("one byte")
}

pub(super) fn create(args: CreateArgs, context: &Context<'_>) -> Result<u8, Failure> {
    let request = request(args.options)?;
    let host = context.host(Processes::Some)?;
    let display = context.display(false);
    let created = host.engine.create(request, &|event| display.report(event));
    display.finish();
    let id = settled(&host, created.map_err(Failure::from))?;
    output::text(&format!("{id}\n"))?;
    Ok(0)
}

fn request(options: ContainerOptions) -> Result<ContainerRequest, Failure> {
    let mut words = options.image_and_command.into_iter();
    let image = words.next().expect("clap asks for an image");
    let mut env = Vec::new();
    for file in &options.env_files {
        env.extend(env_file(file)?);
    }
    env.extend(options.env.iter().filter_map(|text| variable(text)));
    Ok(ContainerRequest {
        image,
        name: options.name,
        command: words.collect(),
        entrypoint: options.entrypoint,
        env,
        workdir: options.workdir,
        user: options.user,
        hostname: options.hostname,
        labels: options.labels.iter().map(|label| pair(label)).collect::<BTreeMap<_, _>>(),
        network: options.network.into(),
        interactive: options.interactive,
        pull: match options.pull {
            PullWhen::Always => PullPolicy::Always,
            PullWhen::Missing => PullPolicy::Missing,
            PullWhen::Never => PullPolicy::Never,
        },
        platform: options.platform,
    })
}

/// Splits `name=value`; without `=` the value is empty.
pub(super) fn pair(text: &str) -> (String, String) {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    (name.to_owned(), value.to_owned())
}

/// Returns `NAME=value`. One without `=` is the environment's, and nothing if that has none.
fn variable(text: &str) -> Option<String> {
    if text.contains('=') {
        return Some(text.to_owned());
    }
    std::env::var(text).ok().map(|value| format!("{text}={value}"))
}

/// Reads a file of variables: one a line, `#` begins a comment line, values are taken as they are.
fn env_file(path: &Path) -> Result<Vec<String>, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::environment(&error).within(&format!("cannot read `{}`", path.display())).with_code(failure::USAGE)
    })?;
    parse_env_file(&text).map_err(|line| {
        Failure::usage(format!("`{}`, line {line}: a variable's name is expected before `=`", path.display()))
    })
}

fn parse_env_file(text: &str) -> Result<Vec<String>, usize> {
    let mut variables = Vec::new();
    for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let name = line.split('=').next().unwrap_or_default();
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(number + 1);
        }
        variables.extend(variable(line));
    }
    Ok(variables)
}

pub(super) fn start(args: &StartArgs, context: &Context<'_>) -> Result<u8, Failure> {
    if (args.attach || args.interactive) && args.containers.len() > 1 {
        return Err(Failure::usage("only one container can be attached to"));
    }
    let host = context.host(Processes::Some)?;
    if args.attach || args.interactive {
        return attached(&host, &args.containers[0], args.interactive);
    }
    let mut names = Vec::new();
    let quiet = Quiet::begin()?;
    let mut result = Ok(());
    for name in &args.containers {
        match host.engine.start(name, false) {
            Ok(_) => names.push(name.clone()),
            Err(error) => result = Err(Failure::from(error)),
        }
        if result.is_err() {
            break;
        }
    }
    quiet.end()?;
    output::lines(&names)?;
    settled(&host, result).map(|()| 0)
}

/// While it lives, standard output and standard error lead nowhere.
struct Quiet {
    stdout: OwnedFd,
    stderr: OwnedFd,
}

impl Quiet {
    fn begin() -> Result<Self, Failure> {
        let begin = || -> std::io::Result<Self> {
            let saved = Self {
                stdout: rustix::io::dup(rustix::stdio::stdout())?,
                stderr: rustix::io::dup(rustix::stdio::stderr())?,
            };
            let null = std::fs::OpenOptions::new().write(true).open("/dev/null")?;
            rustix::stdio::dup2_stdout(&null)?;
            rustix::stdio::dup2_stderr(&null)?;
            Ok(saved)
        };
        begin().map_err(|error| Failure::environment(&error).within("cannot redirect the container's output"))
    }

    fn end(self) -> Result<(), Failure> {
        rustix::stdio::dup2_stdout(&self.stdout)
            .and_then(|()| rustix::stdio::dup2_stderr(&self.stderr))
            .map_err(|error| Failure::environment(&error).within("cannot use standard output again"))
    }
}

pub(super) fn copy(args: CpArgs, context: &Context<'_>) -> Result<u8, Failure> {
    let both = "copying between two containers is not supported by stave yet";
    let neither = "neither of the two is in a container";
    match (args.source, args.dest) {
        (CpEnd::Container { .. }, CpEnd::Container { .. }) => Err(Failure::usage(both)),
        (CpEnd::Container { container, path }, dest) => {
            let (target, said) = if let CpEnd::Local(local) = dest {
                let said = format!("copied {container}:{path} to {}\n", local.display());
                (CopyTarget::Path(local), Some(said))
            } else {
                output::refuse_terminal("a tar archive")?;
                (CopyTarget::Tar(Box::new(std::io::stdout())), None)
            };
            let host = context.host(Processes::Visitor)?;
            let result = host.engine.copy_out(&container, path.as_bytes(), target, args.follow_link, args.archive);
            finish_copy(&host, result, said.filter(|_| !args.quiet))
        }
        (source, CpEnd::Container { container, path }) => {
            let (source, said) = match source {
                CpEnd::Local(local) => {
                    let said = format!("copied {} to {container}:{path}\n", local.display());
                    (CopySource::Path(local), Some(said))
                }
                _ => (CopySource::Tar(Box::new(std::io::stdin())), None),
            };
            let host = context.host(Processes::Visitor)?;
            let result = host.engine.copy_in(source, &container, path.as_bytes(), args.follow_link, args.archive);
            finish_copy(&host, result, said.filter(|_| !args.quiet))
        }
        _ => Err(Failure::usage(neither).with_hint("Name one of them `CONTAINER:PATH`.")),
    }
}

fn finish_copy(host: &Host, result: Result<(), EngineError>, said: Option<String>) -> Result<u8, Failure> {
    settled(
        host,
        result.map_err(|error| {
            // What is missing or in the way is Docker's failure of the command, not a mistake in how it was called.
            let failure = Failure::from(error);
            if failure.code == failure::USAGE { failure.with_code(failure::FAILED) } else { failure }
        }),
    )?;
    crate::print_error(&said.unwrap_or_default());
    Ok(0)
}

pub(super) fn remove(args: &RmArgs, context: &Context<'_>) -> Result<u8, Failure> {
    let host = context.host(Processes::None)?;
    let (mut names, mut code) = (Vec::new(), 0);
    for name in &args.containers {
        match host.engine.remove_container(name, args.force) {
            Ok(removed) => names.push(removed),
            Err(error) => {
                let missing = matches!(error, EngineError::Container(ContainerError::NotFound(_)));
                let failure = Failure::from(error);
                crate::print_error(&failure.render(context.style));
                if !(missing && args.force) {
                    code = code.max(failure.code);
                }
            }
        }
    }
    output::lines(&names)?;
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_variables_is_read_as_docker_reads_it() {
        let text = "# comment\n\nA=1\n  B= two words \nPATH\nNOT_SET_ANYWHERE_7\n";
        let path = std::env::var("PATH").expect("tests have a PATH");
        assert_eq!(
            parse_env_file(text),
            Ok(vec!["A=1".to_owned(), "B= two words ".to_owned(), format!("PATH={path}")])
        );
        assert_eq!(parse_env_file("A=1\n=2\n"), Err(2));
        assert_eq!(parse_env_file("A B=1\n"), Err(1));
    }
}
