//! The arguments of the commands about stave itself: `store`, `doctor`, `version`, `completions`.

use clap::{Args, Subcommand};
use clap_complete::Shell;

pub(super) const STORE_EXAMPLES: &str = "\
Examples:
  stave store usage      How much space images, layers and the cache take
  stave store prune      Free what no image, container or recent build needs
  stave store check      Verify every digest and reference";

/// The commands about the store.
#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    Check(CheckArgs),
    Prune(PruneArgs),
    Usage(UsageArgs),
}

/// Verify everything in the store: digests, references, leftovers
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Delete what nothing refers to, and forget what is damaged, so that it is fetched or built again
    #[arg(long)]
    pub(crate) repair: bool,
}

/// Free space: cached steps, and images without a name
#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Remove images that no container uses too, even if they have a name
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Do not ask: accepted because stave never asks
    #[arg(short = 'f', long = "force", hide = true)]
    pub(crate) _force: bool,
}

/// Show how much space the store takes
#[derive(Debug, Args)]
pub(crate) struct UsageArgs {
    /// Print by a template, or `json`
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
}

/// Show what this host offers to stave, and what to do about what it lacks
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Print by a template, or `json`
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
}

/// Show the version
#[derive(Debug, Args)]
pub(crate) struct VersionArgs {
    /// Print by a template, or `json`
    #[arg(short, long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
}

/// Print the completions of a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  stave completions bash > /etc/bash_completion.d/stave")]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: Shell,
}
