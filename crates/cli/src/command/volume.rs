//! `volume create`, `inspect`, `ls`, `prune` and `rm`.

use serde_json::{Value, json};
use stave_engine::store::VolumeError;
use stave_engine::{EngineError, VolumeFilter, VolumeSummary};

use super::container::pair;
use super::lists::filters;
use super::{Context, prompt};
use crate::args::{
    VolumeCommand, VolumeCreateArgs, VolumeInspectArgs, VolumeLsArgs, VolumePruneArgs, VolumeRmArgs, truth,
};
use crate::failure::{self, Failure};
use crate::host::Processes;
use crate::output;
use crate::table::{Column, Format, column};
use crate::template::Template;

pub(super) fn volume(command: &VolumeCommand, context: &Context<'_>) -> Result<u8, Failure> {
    match command {
        VolumeCommand::Create(args) => create(args, context),
        VolumeCommand::Inspect(args) => inspect(args, context),
        VolumeCommand::Ls(args) => list(args, context),
        VolumeCommand::Prune(args) => prune(args, context),
        VolumeCommand::Rm(args) => remove(args, context),
    }
}

fn create(args: &VolumeCreateArgs, context: &Context<'_>) -> Result<u8, Failure> {
    let labels = args.labels.iter().map(|label| pair(label)).collect();
    let name = context.host(Processes::None)?.engine.create_volume(args.name.as_deref(), &labels)?;
    output::text(&format!("{name}\n"))?;
    Ok(0)
}

fn inspect(args: &VolumeInspectArgs, context: &Context<'_>) -> Result<u8, Failure> {
    let template = match args.format.as_deref() {
        None | Some("json") => None,
        Some(text) => Some(Template::parse(text)?),
    };
    let host = context.host(Processes::None)?;
    let (mut found, mut code) = (Vec::new(), 0);
    for name in &args.names {
        match host.engine.volume(name) {
            Ok(volume) => found.push(volume.json()),
            Err(error) => {
                let failure = Failure::from(error);
                crate::print_error(&failure.render(context.style));
                code = code.max(failure.code);
            }
        }
    }
    match template {
        Some(template) => {
            let lines: Result<Vec<String>, _> = found.iter().map(|value| template.render(value)).collect();
            output::lines(&lines?)?;
        }
        None if args.format.is_some() => output::lines(&found.iter().map(Value::to_string).collect::<Vec<_>>())?,
        None => output::text(&super::inspect::pretty(&Value::Array(found)))?,
    }
    Ok(code)
}

fn list(args: &VolumeLsArgs, context: &Context<'_>) -> Result<u8, Failure> {
    const COLUMNS: &[Column] = &[
        column("Driver", "DRIVER"),
        column("Name", "VOLUME NAME"),
        column("Labels", "LABELS"),
        column("Mountpoint", "MOUNTPOINT"),
        column("Scope", "SCOPE"),
        column("Links", "LINKS"),
    ];
    let format = Format::parse(args.format.as_deref(), &COLUMNS[..2])?;
    let wanted = filters(&args.filters, &["name", "label", "driver", "dangling"])?;
    let mut volumes = context.host(Processes::None)?.engine.volumes()?;
    for (key, value) in wanted {
        if key == "dangling" {
            let unused =
                truth(value).ok_or_else(|| Failure::usage(format!("`dangling={value}` is neither true nor false")))?;
            volumes.retain(|volume| volume.containers.is_empty() == unused);
        } else {
            volumes.retain(|volume| match key {
                "name" => volume.record.name.contains(value),
                "label" => volume.has_label(value),
                _ => value == "local",
            });
        }
    }
    if args.quiet {
        output::lines(&volumes.into_iter().map(|volume| volume.record.name).collect::<Vec<_>>())?;
        return Ok(0);
    }
    let row = |volume: &VolumeSummary| {
        let labels: Vec<String> = volume.record.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        json!({
            "Name": volume.record.name,
            "Driver": "local",
            "Labels": labels.join(","),
            "Mountpoint": volume.path,
            "Scope": "local",
            "Links": volume.containers.len().to_string(),
        })
    };
    output::text(&format.render(&volumes.iter().map(row).collect::<Vec<_>>(), COLUMNS)?)?;
    Ok(0)
}

fn prune(args: &VolumePruneArgs, context: &Context<'_>) -> Result<u8, Failure> {
    let warning = if args.all {
        "WARNING! This will remove all volumes not used by at least one container.\n"
    } else {
        "WARNING! This will remove anonymous volumes not used by at least one container.\n"
    };
    if !args.force && !prompt::confirmed(warning)? {
        return Ok(0);
    }
    let labels = filters(&args.filters, &["label"])?.into_iter().map(|(_, value)| value.to_owned()).collect();
    let filter = VolumeFilter { named: args.all, labels };
    let removed = context.host(Processes::None)?.engine.prune_volumes(&filter)?;
    output::lines(&removed)?;
    Ok(0)
}

fn remove(args: &VolumeRmArgs, context: &Context<'_>) -> Result<u8, Failure> {
    let host = context.host(Processes::None)?;
    let (mut names, mut code) = (Vec::new(), 0);
    for name in &args.names {
        match host.engine.remove_volume(name) {
            Ok(()) => names.push(name.clone()),
            Err(EngineError::Volume(VolumeError::NotFound(_))) if args.force => names.push(name.clone()),
            Err(error) => {
                crate::print_error(&Failure::from(error).render(context.style));
                code = failure::FAILED;
            }
        }
    }
    output::lines(&names)?;
    Ok(code)
}
