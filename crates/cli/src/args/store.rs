//! The arguments of the commands about stave itself: `store`, `doctor`, `version`, `completions`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use clap_complete::Shell;

use super::filter::FilterArg;

pub(super) const STORE_EXAMPLES: &str = "\
Examples:
  stave store usage      How much space images, layers and the cache take
  stave store prune      Free what no image, container or recent build needs
  stave store limit 50g  Never take more than that
  stave store check      Verify every digest and reference";

/// The commands about the store.
#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    Check(CheckArgs),
    Prune(Box<PruneArgs>),
    Usage(UsageArgs),
    Limit(LimitArgs),
}

/// Verify everything in the store: digests, references, leftovers
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Delete what nothing refers to, and forget what is damaged, so that it is fetched or built again
    #[arg(long)]
    pub(crate) repair: bool,
}

/// What `prune` looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PruneKind {
    Cache,
    Images,
    Containers,
}

/// Free space: cached steps, and images without a name
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "one for each flag")]
#[command(after_help = "\
Examples:
  stave store prune                                Images without a name, and what only the cache needs
  stave store prune --filter until=24h             What was not used for a day
  stave store prune --only cache --max-used-space 20g
                                                   Cached steps, until the store takes 20 GiB
  stave store prune --filter type=exec.cachemount  Only cache mounts
  stave store prune --all                          Also images with names, if no container was made from them

What a running command uses always stays. Without `--all`, so do cached steps whose files an image or a
container needs anyway.

Filters of the cache: until, unused-for (a time), id, parents, description, type (regular, exec.cachemount,
source.local), inuse, mutable, immutable, shared, private (true, false). Filters of images: until, label,
dangling. `=` compares, `!=` does the opposite, `~=` looks for a regular expression. All have to hold.")]
pub(crate) struct PruneArgs {
    /// Also cached steps that an image needs, and images that have names, if no container was made from them
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Only this; may be given several times [default: cache and images]
    #[arg(long, value_name = "KIND")]
    pub(crate) only: Vec<PruneKind>,
    /// Only that for which `KEY=VALUE` holds
    #[arg(long = "filter", value_name = "KEY=VALUE")]
    pub(crate) filters: Vec<FilterArg>,
    /// Only what was not used for this time, like `48h`
    #[arg(long, value_name = "DURATION", value_parser = super::filter::duration)]
    pub(crate) keep_duration: Option<Duration>,
    /// Stop when the store takes no more than this
    #[arg(long, value_name = "BYTES", value_parser = super::build::bytes)]
    pub(crate) max_used_space: Option<u64>,
    /// Stop when this much is free on the file system
    #[arg(long, value_name = "BYTES", value_parser = super::build::bytes)]
    pub(crate) min_free_space: Option<u64>,
    /// Never go below this size; alone, the size to go down to
    #[arg(long, alias = "keep-storage", value_name = "BYTES", value_parser = super::build::bytes)]
    pub(crate) reserved_space: Option<u64>,
    /// List what was given up
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// Do not ask; asked is on a terminal with `--all`, and always in docker's forms, as `image prune`
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Ask and answer as docker does: its forms, as `image prune`, come with it
    #[arg(long, hide = true)]
    pub(crate) docker: bool,
}

/// What a line of `usage` is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum UsageBy {
    Kind,
    Record,
    Use,
}

/// Show how much space the store takes
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stave store usage                                What lies in the store
  stave store usage --by record                    Every layer, blob and cache mount, with who needs it
  stave store usage --filter type=exec.cachemount  The cache mounts
  stave store usage --by record --format json      One JSON object a line
  stave store usage --by use                       Images, containers and the cache, as `docker system df`

Sizes are those of `du`: blocks on the disk, a file with several links once.

Fields of kinds: .Kind .Count .Size .Bytes. Fields of records: .ID .Type .Reclaimable .Shared .InUse .Mutable
.Size .Bytes .Description .Parents .CreatedAt .CreatedSince .LastUsedAt .LastUsedSince. Fields of uses: .Type
.TotalCount .Active .Size .Reclaimable. Filters: as of `stave store prune`.")]
pub(crate) struct UsageArgs {
    /// What a line is about [default: kind; record with `--filter` or `--verbose`]
    #[arg(long, value_name = "WHAT")]
    pub(crate) by: Option<UsageBy>,
    /// Only records for which `KEY=VALUE` holds
    #[arg(long = "filter", value_name = "KEY=VALUE")]
    pub(crate) filters: Vec<FilterArg>,
    /// Show all that is known of each record
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// Print by a template: `table TEMPLATE`, `TEMPLATE`, `table` or `json`
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
}

/// Show or set the most that the store may take
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stave store limit 50g    Never take more than 50 GiB
  stave store limit        Show the limit
  stave store limit none   Take it away

The limit holds before something is written: cached steps and cache mounts that no running command uses are
given up first, those unused for longest first; images and containers never are. What does not fit then fails.
The variable STAVE_STORE_LIMIT sets another limit, or `none`, for one command.")]
pub(crate) struct LimitArgs {
    /// A size like `50g`, or `none`
    #[arg(value_name = "BYTES", value_parser = size_limit)]
    pub(crate) limit: Option<SizeText>,
}

/// A size limit as typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SizeText(pub(crate) Option<u64>);

/// Reads a size limit: a number of bytes with a unit, or `none`.
pub(crate) fn size_limit(text: &str) -> Result<SizeText, String> {
    match text {
        "none" => Ok(SizeText(None)),
        text => match super::build::bytes(text)? {
            0 => Err("a store of no bytes holds nothing: `none` takes the limit away".to_owned()),
            bytes => Ok(SizeText(Some(bytes))),
        },
    }
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
#[command(after_help = "\
Fields: .Version .Os .Arch, and for docker's sake the same of .Client and .Server.")]
pub(crate) struct VersionArgs {
    /// Print by a template, or `json`
    #[arg(short, long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
}

/// Print the completions of a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stave completions bash > /etc/bash_completion.d/stave
  stave completions zsh > ~/.zfunc/_stave          With `fpath+=~/.zfunc` in ~/.zshrc, before `compinit`
  stave completions fish > ~/.config/fish/completions/stave.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: Shell,
}

/// Write the manual pages, one a command
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stave man /usr/local/share/man/man1
  stave man . && man ./stave-build.1     Read one without installing it")]
pub(crate) struct ManArgs {
    /// The directory, made if it is missing
    pub(crate) dir: PathBuf,
}
