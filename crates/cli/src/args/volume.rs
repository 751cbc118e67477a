//! The arguments of the commands about volumes.

use clap::{Args, Subcommand};

pub(super) const VOLUME_EXAMPLES: &str = "\
Examples:
  stave volume create data                 A directory of the store with a name
  stave run -v data:/var/lib/app me/app    Made by its first use, too
  stave volume rm data                     Gone, with what is in it

`create`, `build` and `run` keep nothing in volumes of their own accord, and pruning the store leaves them alone.";

/// The commands about volumes.
#[derive(Debug, Subcommand)]
pub(crate) enum VolumeCommand {
    Create(VolumeCreateArgs),
    Inspect(VolumeInspectArgs),
    #[command(alias = "list")]
    Ls(VolumeLsArgs),
    Prune(VolumePruneArgs),
    #[command(alias = "remove")]
    Rm(VolumeRmArgs),
}

/// Make a volume; one that is there stays as it is
#[derive(Debug, Args)]
pub(crate) struct VolumeCreateArgs {
    /// Label of the volume; may be given several times
    #[arg(long = "label", value_name = "NAME=VALUE")]
    pub(crate) labels: Vec<String>,
    /// What keeps it; the store is the only place
    #[arg(short, long, value_name = "DRIVER", default_value = "local", value_parser = ["local"])]
    pub(crate) driver: String,
    /// Its name [default: one is made up]
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
}

/// Describe volumes as JSON
#[derive(Debug, Args)]
pub(crate) struct VolumeInspectArgs {
    /// Print by a template, or `json`
    #[arg(short, long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
    /// Volumes, by name
    #[arg(value_name = "VOLUME", required = true)]
    pub(crate) names: Vec<String>,
}

/// List volumes
#[derive(Debug, Args)]
#[command(after_help = "\
Filters: name (a part of it), label, driver, dangling (true: no container has it).
Fields: .Name .Driver .Labels .Mountpoint .Scope .Links")]
pub(crate) struct VolumeLsArgs {
    /// Print only names
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Print by a template: `table TEMPLATE`, `TEMPLATE`, `table` or `json`
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
    /// Show only volumes for which `KEY=VALUE` holds
    #[arg(short, long = "filter", value_name = "KEY=VALUE")]
    pub(crate) filters: Vec<String>,
}

/// Remove volumes that no container has
#[derive(Debug, Args)]
pub(crate) struct VolumePruneArgs {
    /// Also volumes whose names somebody chose
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Only volumes with this label: `label=NAME` or `label=NAME=VALUE`
    #[arg(long = "filter", value_name = "KEY=VALUE")]
    pub(crate) filters: Vec<String>,
}

/// Remove volumes and what is in them
#[derive(Debug, Args)]
pub(crate) struct VolumeRmArgs {
    /// Do not fail for one that does not exist
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Volumes, by name
    #[arg(value_name = "VOLUME", required = true)]
    pub(crate) names: Vec<String>,
}
