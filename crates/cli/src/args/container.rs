//! The arguments of the commands about containers: `run`, `create`, `start`, `cp`, `rm`, `ps`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use stave_engine::SharedLimits;
use stave_oci::Platform;

use super::build::HostArg;
use super::image::TrustOptions;
use super::mount::{CapabilityArg, DeviceArg, MountArg, TmpfsArg, VolumeArg, added_capability, signal};

/// Network of a container, as typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RunNetwork {
    // Docker's name of its default.
    #[value(alias = "bridge")]
    Default,
    Host,
    None,
}

/// Where a container's output is kept, as typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogDriver {
    JsonFile,
    Local,
    None,
}

/// When an image is looked up in its registry, as typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PullWhen {
    Always,
    Missing,
    Never,
}

/// Limits of memory and processors that all processes have together.
#[derive(Debug, Args)]
pub(crate) struct LimitOptions {
    /// Most memory of all processes together
    #[arg(short, long, value_name = "BYTES", value_parser = super::build::bytes)]
    pub(crate) memory: Option<u64>,
    /// Most memory and swap together; -1 is no limit
    #[arg(long, value_name = "BYTES", value_parser = swap, requires = "memory", allow_hyphen_values = true)]
    pub(crate) memory_swap: Option<i64>,
    /// Microseconds of processor time in each period
    #[arg(long, value_name = "MICROSECONDS", allow_hyphen_values = true)]
    pub(crate) cpu_quota: Option<i64>,
    /// Microseconds of a period [default: 100000]
    #[arg(long, value_name = "MICROSECONDS")]
    pub(crate) cpu_period: Option<u64>,
    /// Share of busy processors, compared with others; 1024 is what everybody has
    #[arg(short, long, value_name = "NUMBER")]
    pub(crate) cpu_shares: Option<u64>,
    /// Processors that may be used, as in `0-2,4`
    #[arg(long, value_name = "LIST")]
    pub(crate) cpuset_cpus: Option<String>,
    /// Nodes of memory that may be used
    #[arg(long, value_name = "LIST")]
    pub(crate) cpuset_mems: Option<String>,
}

impl LimitOptions {
    /// Returns the limits, before those that are given in another way.
    pub(crate) fn limits(&self) -> SharedLimits {
        SharedLimits {
            memory: self.memory,
            swap: self.memory_swap,
            cpu_quota: self.cpu_quota,
            cpu_period: self.cpu_period,
            cpu_shares: self.cpu_shares,
            cpus: self.cpuset_cpus.clone(),
            nodes: self.cpuset_mems.clone(),
            processes: None,
        }
    }
}

/// One limit as `--resource` of `build` has it: `NAME=VALUE`.
pub(super) fn resource(text: &str) -> Result<SharedLimits, String> {
    let mut limits = SharedLimits::default();
    for field in text.split(',') {
        let (name, value) = field.split_once('=').ok_or("expected `NAME=VALUE`")?;
        let number = || value.parse().map_err(|_| format!("`{value}` is no number"));
        match name {
            "memory" => limits.memory = Some(super::build::bytes(value)?),
            "memory-swap" => limits.swap = Some(swap(value)?),
            "cpu-shares" => limits.cpu_shares = Some(number()?),
            "cpu-period" => limits.cpu_period = Some(number()?),
            "cpu-quota" => limits.cpu_quota = Some(value.parse().map_err(|_| format!("`{value}` is no number"))?),
            "cpuset-cpus" => limits.cpus = Some(value.to_owned()),
            "cpuset-mems" => limits.nodes = Some(value.to_owned()),
            other => return Err(format!("no resource is named `{other}`")),
        }
    }
    Ok(limits)
}

/// Reads bytes, or -1.
fn swap(text: &str) -> Result<i64, String> {
    if text == "-1" {
        return Ok(-1);
    }
    i64::try_from(super::build::bytes(text)?).map_err(|_| format!("`{text}` is too large"))
}

/// Reads a number of processors as microseconds in 100,000.
fn cpus(text: &str) -> Result<i64, String> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let number = (digits(whole) && digits(part) && !(whole.is_empty() && part.is_empty()))
        .then(|| format!("{:0<5}", &part[..part.len().min(5)]))
        .and_then(|part| format!("{whole}{part}").parse::<i64>().ok());
    // The kernel takes no less than a millisecond.
    number.filter(|number| *number >= 1000).ok_or_else(|| format!("`{text}` is no number of processors"))
}

/// What `run` and `create` have in common.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "one for each flag")]
pub(crate) struct ContainerOptions {
    /// Name of the container [default: one is made up]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Set an environment variable; without `=VALUE` it is taken from the environment
    #[arg(short, long = "env", value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// Read environment variables from a file, one a line
    #[arg(long = "env-file", value_name = "FILE")]
    pub(crate) env_files: Vec<PathBuf>,
    /// Replace the image's ENTRYPOINT; an empty one removes it
    #[arg(long, value_name = "COMMAND")]
    pub(crate) entrypoint: Option<String>,
    /// Working directory inside the container
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// User that the command runs as: `user`, `uid`, `user:group`, `uid:gid`
    #[arg(short, long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// Network of the container; `default` is the host's
    #[arg(long, alias = "net", value_name = "MODE", default_value = "default")]
    pub(crate) network: RunNetwork,
    /// Host name inside the container [default: the first 12 digits of its id]
    #[arg(short = 'h', long, value_name = "NAME")]
    pub(crate) hostname: Option<String>,
    /// Label of the container; may be given several times
    #[arg(short, long = "label", value_name = "NAME=VALUE")]
    pub(crate) labels: Vec<String>,
    /// When the image is looked up in its registry
    #[arg(long, value_name = "WHEN", default_value = "missing")]
    pub(crate) pull: PullWhen,
    /// Platform that the image must be for; this machine's is the only one yet
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<Platform>,
    /// Keep standard input open
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give the container a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Remove the container when it ends
    #[arg(long)]
    pub(crate) rm: bool,
    /// Mount a file or directory of this machine or a volume, or, with only a path, keep what is there out of images
    #[arg(short, long = "volume", value_name = "SOURCE:TARGET[:ro]")]
    pub(crate) volumes: Vec<VolumeArg>,
    /// Mount something: `type=bind,source=DIR,target=PATH[,readonly]`, `type=volume,source=NAME,target=PATH` or `type=tmpfs,target=PATH[,tmpfs-size=BYTES]`
    #[arg(long = "mount", value_name = "OPTIONS")]
    pub(crate) mounts: Vec<MountArg>,
    /// Mount an empty file system in memory
    #[arg(long = "tmpfs", value_name = "PATH[:size=BYTES]")]
    pub(crate) tmpfs: Vec<TmpfsArg>,
    /// Give the container a device of this machine
    #[arg(long = "device", value_name = "PATH[:TARGET]")]
    pub(crate) devices: Vec<DeviceArg>,
    /// Let nobody write to the container's own files
    #[arg(long)]
    pub(crate) read_only: bool,
    /// Let the container do all that stave may do
    #[arg(long)]
    pub(crate) privileged: bool,
    /// Add a capability, like `NET_ADMIN`
    #[arg(long = "cap-add", value_name = "NAME", value_parser = added_capability)]
    pub(crate) cap_add: Vec<CapabilityArg>,
    /// Take a capability away, or ALL
    #[arg(long = "cap-drop", value_name = "NAME")]
    pub(crate) cap_drop: Vec<CapabilityArg>,
    /// Limit a resource, like `nofile=1024:2048`
    #[arg(long = "ulimit", value_name = "NAME=SOFT[:HARD]", value_parser = super::build::ulimit)]
    pub(crate) ulimits: Vec<stave_engine::Ulimit>,
    #[command(flatten)]
    pub(crate) limits: LimitOptions,
    /// Share of processors, as in `1.5`
    #[arg(long, value_name = "NUMBER", value_parser = cpus, conflicts_with_all = ["cpu_quota", "cpu_period"])]
    pub(crate) cpus: Option<i64>,
    /// Most processes and threads; -1 is no limit
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pub(crate) pids_limit: Option<i64>,
    /// Size of /dev/shm
    #[arg(long, value_name = "BYTES", value_parser = super::build::bytes)]
    pub(crate) shm_size: Option<u64>,
    /// Add a name to /etc/hosts
    #[arg(long = "add-host", value_name = "NAME:ADDRESS")]
    pub(crate) add_hosts: Vec<HostArg>,
    /// Name server of the container
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) dns: Vec<std::net::IpAddr>,
    /// Domain in which names are looked for
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) dns_search: Vec<String>,
    /// Option of /etc/resolv.conf
    #[arg(long, alias = "dns-opt", value_name = "OPTION")]
    pub(crate) dns_option: Vec<String>,
    /// Write the container's id to a file, which must not be there
    #[arg(long, value_name = "FILE")]
    pub(crate) cidfile: Option<PathBuf>,
    /// Read labels from a file, one `NAME=VALUE` a line
    #[arg(long = "label-file", value_name = "FILE")]
    pub(crate) label_files: Vec<PathBuf>,
    /// Signal that asks the container to end
    #[arg(long, value_name = "SIGNAL", value_parser = signal)]
    pub(crate) stop_signal: Option<i32>,
    /// Seconds that it then has before it is killed
    #[arg(long, value_name = "SECONDS")]
    pub(crate) stop_timeout: Option<u64>,
    /// Say that the container listens at a port; nothing depends on it
    #[arg(long = "expose", value_name = "PORT[/PROTOCOL]")]
    pub(crate) expose: Vec<String>,
    /// Publish a port; with the host's network it is published already
    #[arg(short, long = "publish", value_name = "[HOST:]PORT")]
    pub(crate) publish: Vec<String>,
    /// Whether what the container writes is kept for `logs`: `json-file`, `local` or `none`
    #[arg(long, value_name = "DRIVER", value_enum, default_value = "json-file")]
    pub(crate) log_driver: LogDriver,
    /// What happens when it ends: `no` is all that there is without a daemon
    #[arg(long = "restart", value_name = "POLICY", value_parser = ["no"])]
    pub(crate) _restart: Option<String>,
    /// Run no health checks; stave never does
    #[arg(long = "no-healthcheck")]
    pub(crate) _no_healthcheck: bool,
    /// A remark, which `inspect` shows
    #[arg(long = "annotation", value_name = "NAME=VALUE")]
    pub(crate) annotations: Vec<String>,
    /// Do not show the progress of a pull
    #[arg(short, long)]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) _trust: TrustOptions,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    pub(crate) _help: Option<bool>,
    /// The image, and the command that replaces its CMD
    #[arg(value_names = ["IMAGE", "COMMAND"], num_args = 1.., required = true, trailing_var_arg = true)]
    pub(crate) image_and_command: Vec<String>,
}

/// Run a command in a new container
#[derive(Debug, Args)]
#[command(
    // `-h` is the host name's, as in docker.
    disable_help_flag = true,
    override_usage = "stave run [OPTIONS] <IMAGE> [COMMAND] [ARG]...",
    after_help = "\
Examples:
  stave run --rm alpine ls -l /               Flags after the image belong to the command
  stave run --rm -e url=http://host/ me/app   Set a variable
  stave run --name kept me/app                Keep the container: `stave cp kept:/file .`
  stave run -it --rm alpine                   A shell
  stave run --rm -v ./src:/src alpine ls /src Show it a directory of this machine
  stave run -d --name job me/app              Leave it running: `stave logs -f job`, `stave stop job`

Exits with the command's own code; 125 if stave could not start it, 126 if the command could not
be executed, 127 if it was not found."
)]
pub(crate) struct RunArgs {
    /// Leave the container running, and print its id
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Pass signals on to the command
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
    #[command(flatten)]
    pub(crate) options: ContainerOptions,
}

/// Create a container without starting it
#[derive(Debug, Args)]
#[command(
    disable_help_flag = true,
    override_usage = "stave create [OPTIONS] <IMAGE> [COMMAND] [ARG]...",
    after_help = "\
Examples:
  stave create --name extract me/app:build   Prints the container's id
  stave cp extract:/app ./app                Take a file out of it"
)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    pub(crate) options: ContainerOptions,
}

/// Start containers that exist
#[derive(Debug, Args)]
#[command(after_help = "\
Without `-a` the container is left running, and its output is in its log: `stave logs`. There is no
daemon: a process of stave's own stays with each container, and ends with it.")]
pub(crate) struct StartArgs {
    /// Show the output, and exit with the container's code
    #[arg(short, long)]
    pub(crate) attach: bool,
    /// Connect standard input
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Containers, by name or id
    #[arg(value_name = "CONTAINER", required = true)]
    pub(crate) containers: Vec<String>,
}

/// Copy files between a container and this machine
#[derive(Debug, Args)]
#[command(
    override_usage = "stave cp [OPTIONS] <CONTAINER:SRC> <DEST|->\n       stave cp [OPTIONS] <SRC|-> <CONTAINER:DEST>",
    after_help = "\
Examples:
  stave cp c:/etc/passwd .       A file out of the container
  stave cp ./conf c:/etc/        A directory into it: /etc/conf
  stave cp ./conf/. c:/etc/      Only what is in the directory
  stave cp c:/etc - | tar t      As a tar archive
  tar c x | stave cp - c:/tmp    From a tar archive

The container may run. What is mounted in it (/proc, /dev, /etc/hosts) is not part of its files.

A local path that contains a colon needs to be absolute or start with `./`."
)]
pub(crate) struct CpArgs {
    /// Keep the owners of the files
    #[arg(short, long)]
    pub(crate) archive: bool,
    /// If the source is a symbolic link, copy what it points to
    #[arg(short = 'L', long)]
    pub(crate) follow_link: bool,
    /// Do not say what was copied
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// What to copy
    #[arg(value_name = "SRC")]
    pub(crate) source: CpEnd,
    /// Where to
    #[arg(value_name = "DEST", allow_hyphen_values = true)]
    pub(crate) dest: CpEnd,
}

/// One end of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CpEnd {
    /// Standard input or output, as a tar archive.
    Stream,
    /// A path on this machine.
    Local(PathBuf),
    /// A path in a container.
    Container { container: String, path: String },
}

impl FromStr for CpEnd {
    type Err = String;

    /// Docker's rule: `name:path`, unless what is before the colon looks like a path.
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "-" {
            return Ok(Self::Stream);
        }
        if text.is_empty() {
            return Err("the path is empty".to_owned());
        }
        if text.starts_with('/') || text.starts_with('.') {
            return Ok(Self::Local(text.into()));
        }
        match text.split_once(':') {
            None => Ok(Self::Local(text.into())),
            Some(("", _)) => Err(format!("no container is named before the colon of `{text}`")),
            Some((_, "")) => Err(format!("no path is named after the colon of `{text}`")),
            Some((container, _)) if container.contains('/') => Ok(Self::Local(text.into())),
            Some((container, path)) => Ok(Self::Container { container: container.to_owned(), path: path.to_owned() }),
        }
    }
}

/// Remove containers
#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// Remove running containers too (they are killed), and do not fail for one that does not exist
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Remove anonymous volumes too; stave keeps such data in the container, so it always goes
    #[arg(short = 'v', long = "volumes")]
    pub(crate) _volumes: bool,
    /// Containers, by name or id
    #[arg(value_name = "CONTAINER", required = true)]
    pub(crate) containers: Vec<String>,
}

/// List containers
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "one for each flag")]
#[command(after_help = "\
Examples:
  stave ps -a                                    All containers
  stave ps -aq --filter status=exited            Ids of those that ended
  stave ps -a --format '{{.Names}}: {{.Status}}'   Chosen fields
  stave ps -a --format json                      One JSON object a line

Filters: id, name, status (created, running, paused, exited), ancestor (image), exited (a code), label, before, since (a
container), network (host, none), volume (a name, or a path on either side), expose, publish (a port; none is).
Fields: .ID .Image .Command .CreatedAt .RunningFor .Ports .State .Status .Size .Names .Labels .Label .Networks .Platform .Mounts;
{{.Label \"NAME\"}} is one label.")]
pub(crate) struct PsArgs {
    /// Show containers that do not run, too
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Show the last few containers, whatever they do
    #[arg(short = 'n', long, value_name = "COUNT", allow_negative_numbers = true)]
    pub(crate) last: Option<i64>,
    /// Show the latest container, whatever it does
    #[arg(short, long)]
    pub(crate) latest: bool,
    /// Show the size of each container's own files
    #[arg(short, long)]
    pub(crate) size: bool,
    /// Print only ids
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Do not shorten ids and commands
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Print by a template: `table TEMPLATE`, `TEMPLATE`, `table` or `json`
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
    /// Show only containers for which `KEY=VALUE` holds
    #[arg(short, long = "filter", value_name = "KEY=VALUE")]
    pub(crate) filters: Vec<String>,
}
