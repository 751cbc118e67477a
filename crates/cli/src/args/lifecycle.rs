//! The arguments of the commands about containers that exist: `stop`, `kill`, `wait`, `logs`, `exec` and their like.

use std::path::PathBuf;

use clap::Args;
use stave_oci::{Platform, Reference};

use super::filter::When;
use super::mount::signal;

/// Stop containers: ask them to end, and kill those that do not
#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    /// Signal that asks [default: the container's own, else SIGTERM]
    #[arg(short, long, value_name = "SIGNAL", value_parser = signal)]
    pub(crate) signal: Option<i32>,
    /// Seconds to wait before it is killed; -1 waits for ever [default: the container's own, else 10]
    #[arg(short = 't', long = "timeout", alias = "time", value_name = "SECONDS", allow_negative_numbers = true)]
    pub(crate) timeout: Option<i64>,
    /// Containers, by name or id
    #[arg(value_name = "CONTAINER", required = true)]
    pub(crate) containers: Vec<String>,
}

/// Stop containers and start them again
#[derive(Debug, Args)]
pub(crate) struct RestartArgs {
    #[command(flatten)]
    pub(crate) stop: StopArgs,
}

/// Have all processes of containers stand still
#[derive(Debug, Args)]
#[command(after_help = "\
`unpause` lets them go on. Processes are stopped by a signal, which none can refuse, and see no other sign of it.")]
pub(crate) struct PauseArgs {
    /// Containers, by name or id
    #[arg(value_name = "CONTAINER", required = true)]
    pub(crate) containers: Vec<String>,
}

/// Let containers that were paused go on
#[derive(Debug, Args)]
pub(crate) struct UnpauseArgs {
    /// Containers, by name or id
    #[arg(value_name = "CONTAINER", required = true)]
    pub(crate) containers: Vec<String>,
}

/// Show what a container writes from now on, and connect its input
#[derive(Debug, Args)]
#[command(after_help = "\
Exits with the container's own code. Input goes to a container that was made with `-i`, and has no end as long as it
runs; signals go to it, too. With `--sig-proxy=false`, Ctrl-C ends only this command. What was written before is
shown by `stave logs`.")]
pub(crate) struct AttachArgs {
    /// Connect no input
    #[arg(long)]
    pub(crate) no_stdin: bool,
    /// Pass signals on to the container
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        default_value = "true",
        action = clap::ArgAction::Set
    )]
    pub(crate) sig_proxy: bool,
    /// The container, by name or id
    #[arg(value_name = "CONTAINER")]
    pub(crate) container: String,
}

/// Send containers a signal
#[derive(Debug, Args)]
pub(crate) struct KillArgs {
    /// The signal
    #[arg(short, long, value_name = "SIGNAL", value_parser = signal, default_value = "KILL")]
    pub(crate) signal: i32,
    /// Containers, by name or id
    #[arg(value_name = "CONTAINER", required = true)]
    pub(crate) containers: Vec<String>,
}

/// Wait until containers have ended, and print their exit codes
#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// Containers, by name or id
    #[arg(value_name = "CONTAINER", required = true)]
    pub(crate) containers: Vec<String>,
}

/// Show what a container has written
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stave logs job              All that is kept: the latest 8 to 16 MiB
  stave logs -f --tail 10 job The last ten lines, and what follows
  stave logs --since 10m job  Of the last ten minutes")]
pub(crate) struct LogsArgs {
    /// Go on until the container ends
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only the last lines; `all` is all of them
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = lines, default_value = "all")]
    pub(crate) tail: usize,
    /// Put the time before each line
    #[arg(short, long)]
    pub(crate) timestamps: bool,
    /// Only what was written since this time, like `10m` or `2026-01-31T12:00:00Z`
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<When>,
    /// Only what was written before this time
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<When>,
    /// The container, by name or id
    #[arg(value_name = "CONTAINER")]
    pub(crate) container: String,
}

/// Reads a number of lines. A negative one is all of them, as in docker.
pub(super) fn lines(text: &str) -> Result<usize, String> {
    match text {
        "all" => Ok(usize::MAX),
        number if number.starts_with('-') && number.parse::<i64>().is_ok() => Ok(usize::MAX),
        number => number.parse().map_err(|_| format!("`{text}` is no number of lines")),
    }
}

/// Run a command in a container that runs
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "one for each flag")]
#[command(
    override_usage = "stave exec [OPTIONS] <CONTAINER> <COMMAND> [ARG]...",
    after_help = "\
Examples:
  stave exec job ls -l /      Flags after the container belong to the command
  stave exec -it job sh       A shell in it

Exits with the command's own code; 126 if it could not be executed, 127 if it was not found."
)]
pub(crate) struct ExecArgs {
    /// Do not wait for the command
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Set an environment variable; without `=VALUE` it is taken from the environment
    #[arg(short, long = "env", value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// Read environment variables from a file, one a line
    #[arg(long = "env-file", value_name = "FILE")]
    pub(crate) env_files: Vec<PathBuf>,
    /// Connect standard input
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Let the command do all that stave may do
    #[arg(long)]
    pub(crate) privileged: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// User that the command runs as
    #[arg(short, long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// Working directory of the command
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// The container, and the command
    #[arg(value_names = ["CONTAINER", "COMMAND"], num_args = 2.., required = true, trailing_var_arg = true)]
    pub(crate) container_and_command: Vec<String>,
}

/// List the processes of a container
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// The container, by name or id
    #[arg(value_name = "CONTAINER")]
    pub(crate) container: String,
}

/// Give a container another name
#[derive(Debug, Args)]
pub(crate) struct RenameArgs {
    /// The container, by name or id
    #[arg(value_name = "CONTAINER")]
    pub(crate) container: String,
    /// Its new name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
}

/// Hold a container; started by stave itself
#[derive(Debug, Args)]
pub(crate) struct SuperviseArgs {
    /// The container's id
    #[arg(value_name = "ID")]
    pub(crate) container: String,
}

/// Make an image of a container and what it has changed
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stave commit job me/app:2
  stave commit -c 'CMD [\"serve\"]' -c 'ENV A=b' -m 'as it is' job me/app:2

What is in the container's volumes is not part of the image.")]
pub(crate) struct CommitArgs {
    /// Who made it
    #[arg(short, long, value_name = "NAME")]
    pub(crate) author: Option<String>,
    /// Apply an instruction of a Dockerfile: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, USER, VOLUME, WORKDIR and their like
    #[arg(short, long = "change", value_name = "INSTRUCTION")]
    pub(crate) changes: Vec<String>,
    /// A remark, which `history` shows
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    /// Take nothing of a container that runs; `--pause=false` takes its files as they are while they may change
    #[arg(
        short,
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        default_value = "true",
        action = clap::ArgAction::Set
    )]
    pub(crate) pause: bool,
    /// The container, by name or id
    #[arg(value_name = "CONTAINER")]
    pub(crate) container: String,
    /// Name of the image
    #[arg(value_name = "NAME[:TAG]", value_parser = Reference::of_new_name)]
    pub(crate) name: Option<Reference>,
}

/// Write all files of a container to a tar archive
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stave export -o files.tar job
  stave export job | tar t

What is in the container's volumes is left out, as is everything but files: `stave save` writes images.")]
pub(crate) struct ExportArgs {
    /// The archive [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// The container, by name or id
    #[arg(value_name = "CONTAINER")]
    pub(crate) container: String,
}

/// Make an image of the files of a tar archive
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stave import files.tar me/base
  stave export job | stave import -c 'CMD [\"sh\"]' - me/base
  stave import https://host/files.tar.gz me/base")]
pub(crate) struct ImportArgs {
    /// Apply an instruction of a Dockerfile
    #[arg(short, long = "change", value_name = "INSTRUCTION")]
    pub(crate) changes: Vec<String>,
    /// A remark, which `history` shows
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    /// Platform of the image [default: this machine's]
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<Platform>,
    /// The archive, compressed or not: a file or an address; `-` is standard input
    #[arg(value_name = "FILE|URL|-")]
    pub(crate) file: PathBuf,
    /// Name of the image
    #[arg(value_name = "NAME[:TAG]", value_parser = Reference::of_new_name)]
    pub(crate) name: Option<Reference>,
}

/// Show what there is: the store, this machine, and how much is in it
#[derive(Debug, Args)]
#[command(after_help = "\
Fields of --format: .Containers .ContainersRunning .ContainersStopped .Images .DockerRootDir .Driver .NCPU .MemTotal
.OSType .Architecture .KernelVersion .ServerVersion .Rootless")]
pub(crate) struct InfoArgs {
    /// Print by a template, or `json`
    #[arg(short, long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
}
