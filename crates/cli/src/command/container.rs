//! `run`, `create`, `start`, `cp`, `rm`.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use stave_engine::{
    Attached, ContainerExit, ContainerMount, ContainerMountKind, ContainerRequest, ContainerSettings, CopySource,
    CopyTarget, EngineError, PullPolicy, SharedLimits, store::ContainerError,
};

use super::lifecycle::leave_running;
use super::terminal::{self, Raw};
use super::{Context, settled};
use crate::args::{
    CapabilityArg, ContainerOptions, CpArgs, CpEnd, CreateArgs, LogDriver, MountArg, NetworkMode, PullWhen, RmArgs,
    RunArgs, RunNetwork, StartArgs, TmpfsArg, VolumeArg,
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
    let (cidfile, quiet) = (args.options.cidfile.clone(), args.options.quiet);
    let request = request(args.options).map_err(not_started)?;
    let (interactive, tty) = (request.interactive, request.settings.terminal);
    if tty && !args.detach {
        terminal::require(interactive).map_err(not_started)?;
    }
    refuse_known(cidfile.as_deref()).map_err(not_started)?;
    let host = context.host(Processes::Some).map_err(not_started)?;
    let id = make(&host, request, context, quiet).map_err(not_started)?;
    write_id(cidfile.as_deref(), &id).map_err(not_started)?;
    if args.detach {
        drop(host);
        leave_running(&id, context).map_err(not_started)?;
        output::text(&format!("{id}\n"))?;
        return Ok(0);
    }
    attached(&host, &id, interactive, tty, args.sig_proxy)
}

fn make(host: &Host, request: ContainerRequest, context: &Context<'_>, quiet: bool) -> Result<String, Failure> {
    let display = context.display(quiet);
    let created = host.engine.create(request, &|event| display.report(event));
    display.finish();
    settled(host, created.map_err(Failure::from))
}

/// Runs a container with our own streams and returns its code.
fn attached(host: &Host, name: &str, input: bool, tty: bool, proxy: bool) -> Result<u8, Failure> {
    if proxy {
        host.signals.forward();
    }
    let raw = (tty && input).then(Raw::begin);
    let attached = Attached::Caller { input, size: terminal::size() };
    let result = host.engine.start(name, &attached, &|started| {
        if let Some(end) = started.terminal {
            terminal::feed(end, input);
        }
    });
    drop(raw);
    let result = result.map_err(|error| {
        let code = failure::start_code(&error);
        Failure::from(error).with_code(code)
    });
    settled(host, result).map(exit_code)
}

pub(super) fn exit_code(exit: ContainerExit) -> u8 {
    u8::try_from(exit.code & 0xff).expect("one byte")
}

pub(super) fn create(args: CreateArgs, context: &Context<'_>) -> Result<u8, Failure> {
    let (cidfile, quiet) = (args.options.cidfile.clone(), args.options.quiet);
    let request = request(args.options)?;
    refuse_known(cidfile.as_deref())?;
    let host = context.host(Processes::Some)?;
    let id = make(&host, request, context, quiet)?;
    write_id(cidfile.as_deref(), &id)?;
    output::text(&format!("{id}\n"))?;
    Ok(0)
}

/// Fails if the file for the id is there: another container's id would be lost.
fn refuse_known(cidfile: Option<&Path>) -> Result<(), Failure> {
    match cidfile.filter(|path| path.symlink_metadata().is_ok()) {
        None => Ok(()),
        Some(path) => {
            Err(Failure::usage(format!("the file for the container's id, `{}`, is there already", path.display()))
                .with_hint("Another container may have its id in it: remove the file, or name another one."))
        }
    }
}

fn write_id(cidfile: Option<&Path>, id: &str) -> Result<(), Failure> {
    let Some(path) = cidfile else { return Ok(()) };
    let written =
        std::fs::File::create_new(path).and_then(|mut file| std::io::Write::write_all(&mut file, id.as_bytes()));
    written.map_err(|error| Failure::of_file("write", path, &error))
}

fn request(options: ContainerOptions) -> Result<ContainerRequest, Failure> {
    let settings = settings(&options)?;
    let mut labels = BTreeMap::new();
    for file in &options.label_files {
        labels.extend(env_file(file)?.iter().map(|label| pair(label)));
    }
    labels.extend(options.labels.iter().map(|label| pair(label)));
    let env = environment(&options.env_files, &options.env)?;
    let mut words = options.image_and_command.into_iter();
    let image = words.next().expect("clap asks for an image");
    Ok(ContainerRequest {
        image,
        name: options.name,
        command: words.collect(),
        entrypoint: options.entrypoint,
        env,
        workdir: options.workdir,
        user: options.user,
        hostname: options.hostname,
        labels,
        network: options.network.into(),
        interactive: options.interactive,
        settings,
        pull: match options.pull {
            PullWhen::Always => PullPolicy::Always,
            PullWhen::Missing => PullPolicy::Missing,
            PullWhen::Never => PullPolicy::Never,
        },
        platform: options.platform,
    })
}

/// Returns the variables of files, then those of the command line.
pub(super) fn environment(files: &[PathBuf], given: &[String]) -> Result<Vec<String>, Failure> {
    let mut env = Vec::new();
    for file in files {
        env.extend(env_file(file)?);
    }
    env.extend(given.iter().filter_map(|text| variable(text)));
    Ok(env)
}

fn settings(options: &ContainerOptions) -> Result<ContainerSettings, Failure> {
    published(options)?;
    let (mounts, volumes) = mounts(options)?;
    let numbers = |given: &[CapabilityArg]| given.iter().flat_map(|capability| capability.numbers()).collect();
    let mut resolv_conf: Vec<String> = options.dns.iter().map(|server| format!("nameserver {server}")).collect();
    if !options.dns_search.is_empty() {
        resolv_conf.push(format!("search {}", options.dns_search.join(" ")));
    }
    if !options.dns_option.is_empty() {
        resolv_conf.push(format!("options {}", options.dns_option.join(" ")));
    }
    if options.dns.is_empty() && !resolv_conf.is_empty() {
        return Err(Failure::usage("`--dns-search` and `--dns-option` need a `--dns`")
            .with_hint("Without one the container has this machine's resolv.conf as it is."));
    }
    let hosts = options.add_hosts.iter();
    Ok(ContainerSettings {
        terminal: options.tty,
        hosts: hosts
            .flat_map(|host| host.addresses.iter().map(|address| (host.name.clone(), address.to_string())))
            .collect(),
        resolv_conf,
        mounts,
        read_only: options.read_only,
        privileged: options.privileged,
        capabilities_added: numbers(&options.cap_add),
        capabilities_dropped: numbers(&options.cap_drop),
        limits: options.ulimits.iter().map(|limit| (limit.name.clone(), limit.soft, limit.hard)).collect(),
        shared_limits: SharedLimits {
            cpu_quota: options.cpus.or(options.limits.cpu_quota),
            processes: options.pids_limit,
            ..options.limits.limits()
        },
        shm_bytes: options.shm_size,
        stop_signal: options.stop_signal,
        stop_seconds: options.stop_timeout,
        volumes,
        exposed: options.expose.clone(),
        remove: options.rm,
        no_log: options.log_driver == LogDriver::None,
        annotations: options.annotations.iter().map(|text| pair(text)).collect(),
    })
}

/// A container has the host's network or none, so there is nothing between its ports and this machine's.
fn published(options: &ContainerOptions) -> Result<(), Failure> {
    let Some(port) = options.publish.first() else { return Ok(()) };
    match options.network {
        RunNetwork::Host => {
            let note = format!("note: `-p {port}` changes nothing: with the host's network, every port is published as it is\n");
            crate::print_error(&note);
            Ok(())
        }
        RunNetwork::Default | RunNetwork::None => Err(Failure::usage(format!("`-p {port}` is not supported: there is no network between a container and this machine"))
            .with_hint("A container has the host's network, so what listens in it can be reached as it is: leave `-p` out, or say `--network host`.")),
    }
}

fn mounts(options: &ContainerOptions) -> Result<(Vec<ContainerMount>, Vec<String>), Failure> {
    let (mut mounts, mut volumes) = (Vec::new(), Vec::new());
    let bind = |source: &Path, target: &str, writable: bool, make: bool| {
        let source = std::path::absolute(source)
            .map_err(|error| Failure::environment(&error).within("cannot find the current directory"))?;
        if make && !source.exists() {
            // As docker does for `-v`, and not for `--mount`.
            std::fs::create_dir_all(&source).map_err(|error| Failure::of_file("create", &source, &error))?;
        }
        if !source.exists() {
            return Err(Failure::usage(format!("there is no `{}` to mount", source.display())));
        }
        let text = source.into_os_string().into_string();
        let source = text.map_err(|source| Failure::usage(format!("`{}` is no text", source.display())))?;
        Ok(ContainerMount { target: target.to_owned(), kind: ContainerMountKind::Bind { source, writable } })
    };
    let named = |name: &String, target: &String, writable: bool, copy: bool| ContainerMount {
        target: target.clone(),
        kind: ContainerMountKind::Volume { name: name.clone(), writable, copy },
    };
    let tmpfs = |given: &TmpfsArg| ContainerMount {
        target: given.target.clone(),
        kind: ContainerMountKind::Tmpfs { bytes: given.bytes },
    };
    for volume in &options.volumes {
        match volume {
            VolumeArg::Bind { source, target, writable } => mounts.push(bind(source, target, *writable, true)?),
            VolumeArg::Named { name, target, writable, copy } => mounts.push(named(name, target, *writable, *copy)),
            VolumeArg::Anonymous(target) => volumes.push(target.clone()),
        }
    }
    for mount in &options.mounts {
        match mount {
            MountArg::Bind { source, target, writable } => mounts.push(bind(source, target, *writable, false)?),
            MountArg::Named { name, target, writable, copy } => mounts.push(named(name, target, *writable, *copy)),
            MountArg::Tmpfs(given) => mounts.push(tmpfs(given)),
            MountArg::Anonymous(target) => volumes.push(target.clone()),
        }
    }
    mounts.extend(options.tmpfs.iter().map(tmpfs));
    for device in &options.devices {
        let path = device.path.to_string_lossy().into_owned();
        mounts.push(ContainerMount { target: device.target.clone(), kind: ContainerMountKind::Device { path } });
    }
    let mut targets: Vec<&str> = mounts.iter().map(|mount| mount.target.as_str()).collect();
    targets.sort_unstable();
    match targets.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Failure::usage(format!("two mounts have the target `{}`", pair[0]))),
        None => Ok((mounts, volumes)),
    }
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
    let text = std::fs::read_to_string(path).map_err(|error| Failure::of_file("read", path, &error))?;
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
    if args.attach || args.interactive {
        let host = context.host(Processes::Some)?;
        let name = &args.containers[0];
        let (tty, input) = host.engine.container_terminal(name)?;
        let input = args.interactive || input;
        if tty {
            terminal::require(input)?;
        }
        return attached(&host, name, input, tty, true);
    }
    let (mut started, mut code) = (Vec::new(), 0);
    for name in &args.containers {
        match leave_running(name, context) {
            Ok(()) => started.push(name.clone()),
            Err(failure) => {
                crate::print_error(&failure.render(context.style));
                code = code.max(failure.code);
            }
        }
    }
    output::lines(&started)?;
    Ok(code)
}

pub(super) fn copy(args: CpArgs, context: &Context<'_>) -> Result<u8, Failure> {
    let both = "copying between two containers is not supported";
    let neither = "neither of the two is in a container";
    match (args.source, args.dest) {
        (CpEnd::Container { .. }, CpEnd::Container { .. }) => Err(Failure::usage(both)),
        (CpEnd::Container { container, path }, dest) => {
            let (target, said) = if let CpEnd::Local(local) = dest {
                let said = format!("copied {container}:{path} to {}\n", local.display());
                (CopyTarget::Path(local), Some(said))
            } else {
                output::refuse_terminal("a tar archive")?;
                (CopyTarget::Tar(Box::new(crate::output::Stdout)), None)
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
    // As docker, which says it to people only.
    if std::io::stderr().is_terminal() {
        crate::print_error(&said.unwrap_or_default());
    }
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
