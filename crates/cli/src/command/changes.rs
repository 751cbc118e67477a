//! `commit`, `export`, `import`, `diff` of one container, `info`.

use std::fs::File;
use std::io::{IsTerminal as _, Read};

use serde_json::json;
use stave_engine::{ChangeKind, ContainerState, ImageChanges};
use stave_oci::Platform;

use super::transfer::NewFile;
use super::{Context, settled};
use crate::args::{CommitArgs, ExportArgs, ImportArgs, InfoArgs};
use crate::failure::Failure;
use crate::host::{self, Processes};
use crate::template::Template;
use crate::{human, output};

/// Prints what a container has changed, as `docker diff` does.
pub(super) fn of_container(name: &str, context: &Context<'_>) -> Result<u8, Failure> {
    let host = context.host(Processes::None)?;
    let changes = settled(&host, host.engine.container_changes(name).map_err(Failure::from))?;
    let line = |change: stave_engine::Change| {
        let letter = match change.kind {
            ChangeKind::Added => 'A',
            ChangeKind::Changed => 'C',
            ChangeKind::Deleted => 'D',
        };
        format!("{letter} {}", crate::render::printable(&change.path))
    };
    output::lines(&changes.into_iter().map(line).collect::<Vec<_>>())?;
    Ok(0)
}

pub(super) fn commit(args: CommitArgs, context: &Context<'_>) -> Result<u8, Failure> {
    let changes =
        ImageChanges { name: args.name, author: args.author, message: args.message, instructions: args.changes };
    let host = context.host(Processes::Some)?;
    let made = host.engine.commit(&args.container, &changes, !args.pause).map_err(Failure::from);
    output::text(&format!("{}\n", settled(&host, made)?))?;
    Ok(0)
}

pub(super) fn export(args: &ExportArgs, context: &Context<'_>) -> Result<u8, Failure> {
    if args.output.is_none() {
        output::refuse_terminal("an archive")?;
    }
    let host = context.host(Processes::Visitor)?;
    let result = match &args.output {
        None => host.engine.export(&args.container, &mut crate::output::Stdout).map_err(Failure::from),
        Some(path) => NewFile::create(path).and_then(|mut file| {
            host.engine.export(&args.container, &mut file.file)?;
            file.keep()
        }),
    };
    settled(&host, result).map(|()| 0)
}

pub(super) fn import(args: ImportArgs, context: &Context<'_>) -> Result<u8, Failure> {
    let text = args.file.to_string_lossy();
    if text.starts_with("http://") || text.starts_with("https://") {
        let changes = ImageChanges { name: args.name, author: None, message: args.message, instructions: args.changes };
        let host = context.host(Processes::Some)?;
        let display = context.display(false);
        let made = host.engine.import_from(&text, &changes, args.platform.as_ref(), &|event| display.report(event));
        display.finish();
        output::text(&format!("{}\n", settled(&host, made.map_err(Failure::from))?))?;
        return Ok(0);
    }
    let input: Box<dyn Read + Send> = if text == "-" {
        if std::io::stdin().is_terminal() {
            return Err(Failure::usage("standard input is a terminal, expected an archive"));
        }
        Box::new(std::io::stdin())
    } else {
        Box::new(File::open(&args.file).map_err(|error| Failure::of_file("open", &args.file, &error))?)
    };
    let changes = ImageChanges { name: args.name, author: None, message: args.message, instructions: args.changes };
    let host = context.host(Processes::Some)?;
    let display = context.display(false);
    let made = host.engine.import(input, &changes, args.platform.as_ref(), &|event| display.report(event));
    display.finish();
    output::text(&format!("{}\n", settled(&host, made.map_err(Failure::from))?))?;
    Ok(0)
}

pub(super) fn info(args: &InfoArgs, context: &Context<'_>) -> Result<u8, Failure> {
    let root = host::store_root(context.global)?;
    let host = context.host(Processes::None)?;
    let containers = host.engine.containers()?;
    let running =
        containers.iter().filter(|container| matches!(container.state, ContainerState::Running { .. })).count();
    let platform = Platform::host();
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kilobytes = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next());
    let memory = kilobytes.and_then(|text| text.parse::<u64>().ok()).unwrap_or_default() * 1024;
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let value = json!({
        "Containers": containers.len(),
        "ContainersRunning": running,
        "ContainersStopped": containers.len() - running,
        "Images": host.engine.images(true)?.len(),
        "DockerRootDir": root.display().to_string(),
        "Driver": "overlayfs",
        "NCPU": std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        "MemTotal": memory,
        "OSType": platform.os,
        "Architecture": platform.architecture,
        "KernelVersion": kernel.trim(),
        "ServerVersion": env!("CARGO_PKG_VERSION"),
        "Rootless": host::in_user_namespace(),
    });
    let text = match args.format.as_deref() {
        Some("json") => format!("{value}\n"),
        Some(format) => Template::parse(format)?.render(&value)? + "\n",
        None => format!(
            "{}\nstore: {}\nimages: {}\ncontainers: {} ({running} running)\nplatform: {platform}\nkernel: {}\n\
             processors: {}\nmemory: {}\nwithout root: {}\n",
            crate::version_line(),
            root.display(),
            value["Images"],
            containers.len(),
            kernel.trim(),
            value["NCPU"],
            human::size(memory),
            if host::in_user_namespace() { "yes" } else { "no" },
        ),
    };
    output::text(&text)?;
    Ok(0)
}
