//! The arguments of `debug`.

use std::path::PathBuf;

use clap::Args;
use stave_engine::StepName;

use super::build::{AllowArg, SecretArg, SshArg};

/// Open a shell in the state in which a build failed, or of any of its steps
///
/// Files, environment, mounts, user and directory are those of the step; its command is ready to run again, as `again`. What
/// is written there is thrown away. Secrets are not kept: give them again where they are needed.
#[derive(Debug, Args)]
#[command(
    override_usage = "stave debug [OPTIONS] [BUILD] [-- COMMAND [ARG]...]",
    after_help = "\
Examples:
  stave debug                           A shell in the latest failed build
  stave debug 4f1c -- cat /tmp/out.log  One command in a build of the history
  stave debug -- again                  Run the failed command again, and nothing else
  stave debug --list                    The steps, to be named in the next two
  stave debug --before build/3          A shell before the third step of stage `build`
  stave debug --after :12               After the instruction in line 12 of the Dockerfile
  stave debug --after build             After the last step of stage `build`
  stave debug --export failed.tar       The failed state as a file, to be sent to somebody
  stave debug --bundle failed.tar       A shell in such a file's state

Exits with the code of the shell or the command."
)]
pub(crate) struct DebugArgs {
    /// The state before this step: its number in the list, `STAGE/NUMBER`, or `:LINE` of the Dockerfile; or before the
    /// first of this `STAGE`
    #[arg(long, value_name = "STEP", conflicts_with = "after")]
    pub(crate) before: Option<StepName>,
    /// The state after this step, or after the last of this `STAGE`
    #[arg(long, value_name = "STEP")]
    pub(crate) after: Option<StepName>,
    /// List the steps of the build
    #[arg(short, long, conflicts_with_all = ["before", "after", "command", "bundle", "export"])]
    pub(crate) list: bool,
    /// The shell, which also runs a COMMAND: a path in the image, or `stave` for the small one that images without a shell
    /// get
    #[arg(long, value_name = "PATH")]
    pub(crate) shell: Option<String>,
    /// Connect standard input to the command
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Set an environment variable; without `=VALUE` it is taken from the environment
    #[arg(short, long = "env", value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// Secret of the step: `id=ID,src=FILE` or `id=ID,env=NAME`
    #[arg(long = "secret", value_name = "SECRET")]
    pub(crate) secrets: Vec<SecretArg>,
    /// SSH agent or keys of the step: `default`, or `ID=SOCKET`, or `ID=KEY,KEY`
    #[arg(long, value_name = "ID[=PATH,...]")]
    pub(crate) ssh: Vec<SshArg>,
    /// What the step may that asks for it: `security.insecure`, `network.host`, `device`, `device=NAME`
    #[arg(long = "allow", value_name = "PRIVILEGE", value_delimiter = ',')]
    pub(crate) allowed: Vec<AllowArg>,
    /// Write the failed state to this file, to be opened on another machine
    #[arg(long, value_name = "FILE", conflicts_with_all = ["before", "after", "command", "bundle"])]
    pub(crate) export: Option<PathBuf>,
    /// Open the state in this file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["before", "after", "build"])]
    pub(crate) bundle: Option<PathBuf>,
    /// The build: its id or the beginning of it [default: the latest that failed; with `--before`, `--after` and
    /// `--list` the latest]
    #[arg(value_name = "BUILD")]
    pub(crate) build: Option<String>,
    /// Run this instead of a shell; `again` is the step's own command
    #[arg(value_name = "COMMAND", last = true)]
    pub(crate) command: Vec<String>,
}
