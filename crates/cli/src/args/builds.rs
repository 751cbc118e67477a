//! The arguments of the commands about the history of builds.

use clap::{Args, Subcommand};

use super::filter::FilterArg;
use super::lifecycle::lines;

pub(super) const BUILDS_EXAMPLES: &str = "\
Examples:
  stave builds ls              The builds of the history, the latest first
  stave builds show            All that is known of the latest
  stave builds logs 3f2a 4     What the fourth step of another one wrote
  stave builds rm --all        Forget those that have ended

A build is named by its id or how that begins, or by how many began after it: `^0` is the latest, and what
is meant where none is named. `docker buildx history` is the same.";

/// The commands about the history of builds.
#[derive(Debug, Subcommand)]
pub(crate) enum BuildsCommand {
    #[command(alias = "list")]
    Ls(BuildsLsArgs),
    #[command(alias = "inspect")]
    Show(BuildsShowArgs),
    Logs(BuildsLogsArgs),
    Trace(BuildsTraceArgs),
    #[command(alias = "remove")]
    Rm(BuildsRmArgs),
    Limit(BuildsLimitArgs),
}

/// List builds
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stave builds ls --filter status=failed --filter since=24h
  stave builds ls --filter name~=^me/         Builds of images whose names begin so
  stave builds ls -n 1 --format '{{.ID}}'     The id of the latest
  stave builds ls --format json               One JSON object a line

Filters: status (running, done, failed, interrupted), id, name (of the image), file (the Dockerfile), target,
image (the id), since, until (a time, like `24h` or `2026-01-31`). `=` compares, `!=` does the opposite,
`~=` looks for a regular expression. All have to hold; of several for one key with `=`, one.
Fields: .ID .Name .Names .File .Context .Target .Platforms .Status .Reason .CreatedSince .CreatedAt .CompletedAt
.Duration .Seconds .Ran .Cached .Total .Steps .Image .Size .LogBytes")]
pub(crate) struct BuildsLsArgs {
    /// Print only ids
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Show ids, names and reasons whole
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Show only the latest ones of those that the filters leave
    #[arg(short = 'n', long, value_name = "COUNT")]
    pub(crate) last: Option<usize>,
    /// Print by a template: `table TEMPLATE`, `TEMPLATE`, `table` or `json`
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
    /// Show only builds for which `KEY=VALUE` holds
    #[arg(short, long = "filter", value_name = "KEY=VALUE")]
    pub(crate) filters: Vec<FilterArg>,
}

/// Show what a build was asked for, what became of its steps and why, and how it ended
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stave builds show                  The latest build
  stave builds show ^1               The one before
  stave builds show --file > old     Its Dockerfile, as it was
  stave builds show --format json    One JSON object, for programs
  stave builds show --format '{{range .steps}}{{.state}} {{.title}}{{println}}{{end}}'")]
pub(crate) struct BuildsShowArgs {
    /// Print by a template, or `json`
    #[arg(long, value_name = "TEMPLATE", conflicts_with = "file")]
    pub(crate) format: Option<String>,
    /// Print the Dockerfile that was built, and nothing else
    #[arg(long)]
    pub(crate) file: bool,
    /// The build, by its id or how that begins [default: the latest]
    #[arg(value_name = "BUILD")]
    pub(crate) build: Option<String>,
}

/// Show what the steps of a build have written, all of it
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stave builds logs                     Every step of the latest build, each below its title
  stave builds logs 3f2a 4 > make.log   The fourth step of another build, byte for byte
  stave builds logs ^0 build/3          The third step of stage `build`
  stave builds logs ^0 :12              The instruction in line 12 of the Dockerfile
  stave builds logs ^0 'npm ci'         The step whose instruction has these words
  stave builds logs -f                  Follow a build that runs

To a terminal, control sequences are left out and of a line that overwrites itself its last state is shown;
`--raw` sends what the step wrote. To a file or a pipe, it is always that.")]
pub(crate) struct BuildsLogsArgs {
    /// Go on until the build ends
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only the last lines of each step; `all` is all of them
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = lines, default_value = "all")]
    pub(crate) tail: usize,
    /// Send control sequences to a terminal, too
    #[arg(long)]
    pub(crate) raw: bool,
    /// The build, by its id or how that begins [default: the latest]
    #[arg(value_name = "BUILD")]
    pub(crate) build: Option<String>,
    /// The step: its number in `stave builds show`, `STAGE/NUMBER`, `:LINE` of the Dockerfile, a stage, or words of
    /// its instruction [default: all steps]
    #[arg(value_name = "STEP")]
    pub(crate) step: Option<String>,
}

/// Print a build as a trace of OpenTelemetry, or send it to a collector
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stave builds trace > trace.json     The latest build, in OTLP's JSON on one line
  OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 stave builds trace --send 3f2a

A build sends its trace itself where the variables OTEL_* name a collector.")]
pub(crate) struct BuildsTraceArgs {
    /// Send it to the collector that the variables OTEL_* name
    #[arg(long)]
    pub(crate) send: bool,
    /// The build, by its id or how that begins [default: the latest]
    #[arg(value_name = "BUILD")]
    pub(crate) build: Option<String>,
}

/// Forget builds that have ended, with their logs and the states in which they failed
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stave builds rm 3f2a ^1
  stave builds rm --all       All but those that run

Images and cached steps stay.")]
pub(crate) struct BuildsRmArgs {
    /// All that have ended
    #[arg(short, long, conflicts_with = "builds")]
    pub(crate) all: bool,
    /// Builds, by their ids or how these begin
    #[arg(value_name = "BUILD")]
    pub(crate) builds: Vec<String>,
}

/// Show or set how much of the history is kept
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stave builds limit                        Show it
  stave builds limit --count 500 --size 2g  Keep 500 builds with 2 GiB of logs at most

When a build ends, the oldest go until both hold. Builds that run are not counted, and the latest that has
ended stays whatever it wrote: its logs are what one wants to see.")]
pub(crate) struct BuildsLimitArgs {
    /// Most builds that are kept
    #[arg(long, value_name = "COUNT")]
    pub(crate) count: Option<u32>,
    /// Most bytes that they take, like `512m`
    #[arg(long, value_name = "BYTES", value_parser = super::build::bytes)]
    pub(crate) size: Option<u64>,
}
