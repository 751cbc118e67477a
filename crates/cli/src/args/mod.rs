//! What the user typed, as values: one struct a command, Docker's names and flags.
//!
//! Knows the shape of the command line and nothing of what the commands do. A flag that is declared here is carried
//! out; a flag of Docker's that is not yet carried out is not declared, and [`usage`] says so by its name. `build` knows
//! those of other builders, too, and has an answer for each.

mod advise;
mod attestations;
mod build;
mod builds;
mod call;
mod container;
mod debug;
mod diff;
mod explain;
mod filter;
mod globals;
mod image;
mod imagetools;
mod lifecycle;
mod lock;
mod manifest;
mod mount;
mod normalise;
mod picture;
mod policy;
mod registry;
mod store;
mod usage;
mod volume;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

pub(crate) use advise::{AdviceFormat, AdviseArgs};
pub(crate) use attestations::AttestationsArgs;
pub(crate) use build::{
    AllowArg, Answer, BuildArgs, CacheArg, CompressionArg, ContextArg, ContextPlace, HostArg, NamesArg, NetworkMode,
    OnFailure, OutputArg, OutputKind, PolicyArg, ProgressMode, SecretArg, SecretPlace, SshArg, SupplyArgs, TakeOutArg,
    Timestamp, VariableArg, epoch_seconds, truth,
};
pub(crate) use builds::{
    BuildsCommand, BuildsLimitArgs, BuildsLogsArgs, BuildsLsArgs, BuildsRmArgs, BuildsShowArgs, BuildsTraceArgs,
};
pub(crate) use call::{CallArg, Method};
pub(crate) use container::{
    ContainerOptions, CpArgs, CpEnd, CreateArgs, LimitOptions, LogDriver, PsArgs, PullWhen, RmArgs, RunArgs,
    RunNetwork, StartArgs,
};
pub(crate) use debug::DebugArgs;
pub(crate) use diff::{DiffArgs, DiffFormat};
pub(crate) use explain::{BuildExplain, ExplainArgs, ExplainFormat};
pub(crate) use filter::{Comparison, FilterArg, When};
pub(crate) use image::{
    HistoryArgs, ImagesArgs, InspectArgs, LoadArgs, ObjectType, PullArgs, PushArgs, RmiArgs, SaveArgs, TagArgs,
};
pub(crate) use imagetools::{ExamineArgs, ImagetoolsCommand, MergeArgs, SourceArg, TargetArg};
pub(crate) use lifecycle::{
    AttachArgs, CommitArgs, ExecArgs, ExportArgs, ImportArgs, InfoArgs, KillArgs, LogsArgs, PauseArgs, RenameArgs,
    RestartArgs, StopArgs, SuperviseArgs, TopArgs, UnpauseArgs, WaitArgs,
};
pub(crate) use lock::LockArgs;
pub(crate) use manifest::{
    AnnotateArgs, ArtifactArgs, ListAddArgs, ListCreateArgs, ListInspectArgs, ListPushArgs, ListRemoveArgs, ListRmArgs,
    ManifestCommand, PlatformArgs, TypedName,
};
pub(crate) use mount::{CapabilityArg, MountArg, TmpfsArg, VolumeArg};
pub(crate) use picture::{GraphArgs, GraphFormat, ReportArgs};
pub(crate) use policy::{PolicyCommand, PolicyEvalArgs, PolicyTestArgs};
pub(crate) use registry::{LoginArgs, LogoutArgs};
pub(crate) use store::{
    CheckArgs, CompletionsArgs, DoctorArgs, LimitArgs, ManArgs, PruneArgs, PruneKind, StoreCommand, UsageArgs, UsageBy,
    VersionArgs, size_limit,
};
pub(crate) use usage::UsageError;
pub(crate) use volume::{
    VolumeCommand, VolumeCreateArgs, VolumeInspectArgs, VolumeLsArgs, VolumePruneArgs, VolumeRmArgs,
};

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "stave",
    about = "Builds container images from multi-stage Dockerfiles, without a daemon, with or without root",
    after_help = TOP_EXAMPLES,
    disable_version_flag = true,
    disable_help_subcommand = true,
    args_override_self = true,
    max_term_width = 100,
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const TOP_EXAMPLES: &str = "\
Examples:
  stave build -t me/app .                 Build ./Dockerfile and name the image
  stave run --rm me/app                   Run it
  stave build -o type=oci,dest=app.tar .  Write an OCI archive
  stave doctor                            What this host offers, and what it lacks

Exit codes: 0 done, 1 a step failed, a check found something or nothing by that name exists, 2 bad
usage or Dockerfile, 3 environment (registry, permissions, disk), 4 a step would have to run and
`--fail-on-miss` was given, 101 a bug in stave. `run` and `start -a` exit with the container's own
code (125 if it could not be started). Ctrl-C gives 130.

A link named `docker` that points to stave answers to docker's commands and flags.";

/// Flags that every command has.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Directory of images, layers and the cache [default: `/var/lib/stave` for root, else
    /// `$XDG_DATA_HOME/stave`; the variable `STAVE_ROOT` changes it]
    #[arg(long, value_name = "DIR", global = true, help_heading = "Global options")]
    pub(crate) root: Option<PathBuf>,
    /// Directory of docker's `config.json` [default: `$DOCKER_CONFIG`, else `~/.docker`]
    #[arg(long, value_name = "DIR", help_heading = "Global options")]
    pub(crate) config: Option<PathBuf>,
    /// Print where the store is and which user ids there are
    #[arg(short = 'D', long, global = true, help_heading = "Global options")]
    pub(crate) debug: bool,
    /// Never colour the output (the variable `NO_COLOR` does the same)
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) no_color: bool,
}

/// The commands, in the order in which help lists them.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Build(Box<BuildArgs>),
    Debug(Box<DebugArgs>),
    Lock(Box<LockArgs>),
    /// Ask, test and describe the policies in Rego that say which sources a build may use
    #[command(subcommand, after_help = policy::POLICY_EXAMPLES, args_override_self = true)]
    Policy(PolicyCommand),
    Run(RunArgs),
    Create(CreateArgs),
    Start(StartArgs),
    Stop(StopArgs),
    Restart(RestartArgs),
    Kill(KillArgs),
    Pause(PauseArgs),
    Unpause(UnpauseArgs),
    Wait(WaitArgs),
    Attach(AttachArgs),
    Logs(LogsArgs),
    Exec(ExecArgs),
    Top(TopArgs),
    Rename(RenameArgs),
    Commit(CommitArgs),
    Export(ExportArgs),
    Import(ImportArgs),
    /// Hold a container; started by stave itself
    #[command(hide = true)]
    Supervise(SuperviseArgs),
    Cp(CpArgs),
    Rm(RmArgs),
    Ps(PsArgs),
    Images(ImagesArgs),
    Tag(TagArgs),
    Rmi(RmiArgs),
    Inspect(InspectArgs),
    Attestations(AttestationsArgs),
    History(HistoryArgs),
    Diff(DiffArgs),
    Explain(ExplainArgs),
    /// List, show and remove the builds of the history, and what their steps wrote
    #[command(subcommand, after_help = builds::BUILDS_EXAMPLES, args_override_self = true)]
    Builds(BuildsCommand),
    Advise(AdviseArgs),
    Report(ReportArgs),
    Graph(GraphArgs),
    Pull(PullArgs),
    Push(PushArgs),
    /// Merge, copy and show images of registries
    #[command(subcommand, after_help = imagetools::IMAGETOOLS_EXAMPLES, args_override_self = true)]
    Imagetools(ImagetoolsCommand),
    /// Make manifest lists of images that registries have, and push them
    #[command(subcommand, after_help = manifest::MANIFEST_EXAMPLES, args_override_self = true)]
    Manifest(ManifestCommand),
    Login(LoginArgs),
    Logout(LogoutArgs),
    /// Make, list and remove the directories that containers share
    #[command(subcommand, after_help = volume::VOLUME_EXAMPLES, args_override_self = true)]
    Volume(VolumeCommand),
    Save(SaveArgs),
    Load(LoadArgs),
    /// Check, prune or measure the store
    #[command(subcommand, after_help = store::STORE_EXAMPLES, args_override_self = true)]
    Store(StoreCommand),
    Doctor(DoctorArgs),
    Info(InfoArgs),
    Version(VersionArgs),
    Completions(CompletionsArgs),
    Man(ManArgs),
}

/// Reads a command line whose first word is the program's name.
///
/// # Errors
/// The text to print and the code to exit with; `--help` arrives here too, with code 0.
pub(crate) fn parse(arguments: Vec<OsString>) -> Result<Cli, UsageError> {
    let mut arguments = normalise::noun_forms(globals::without_dockers(arguments)?)?;
    loop {
        let error = match Cli::command().try_get_matches_from(&arguments) {
            Ok(matches) => return Cli::from_arg_matches(&matches).map_err(|error| usage::explain(&error, &arguments)),
            Err(error) => error,
        };
        match normalise::without_boolean_value(&arguments, &error) {
            Some(shorter) => arguments = shorter,
            None if error.kind() == ErrorKind::DisplayHelp => {
                let error = command().try_get_matches_from(&arguments).err().unwrap_or(error);
                return Err(usage::explain(&error, &arguments));
            }
            None => return Err(usage::explain(&error, &arguments)),
        }
    }
}

/// Returns the description of the command line, for help and completions.
pub(crate) fn command() -> clap::Command {
    with_paragraphs(Cli::command())
}

/// Makes one line of each paragraph of what follows the options, so that it is broken where the reader's terminal ends and
/// not where the source's line does. Only help needs it, and it takes longer than to read a command line.
fn with_paragraphs(command: clap::Command) -> clap::Command {
    let command = command.mut_subcommands(with_paragraphs);
    match command.get_after_help().map(ToString::to_string) {
        Some(text) => command.after_help(paragraphs(&text)),
        None => command,
    }
}

/// Joins the lines of a paragraph. A line that is indented, one before such a line, and one that begins with a word and a
/// colon, as lists of fields do, stand for themselves.
fn paragraphs(text: &str) -> String {
    let mut joined = String::new();
    let is_prose = |line: &str| !line.is_empty() && !line.starts_with(' ') && !line.ends_with(':');
    let begins = |line: &str| line.split(' ').next().is_some_and(|word| word.ends_with(':'));
    let mut before = "";
    for line in text.lines() {
        if !joined.is_empty() {
            joined.push(if is_prose(before) && is_prose(line) && !begins(line) { ' ' } else { '\n' });
        }
        joined += line;
        before = line;
    }
    joined
}

#[cfg(test)]
mod tests;
