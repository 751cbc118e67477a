//! The arguments of `lock`.

use std::path::PathBuf;

use clap::{Args, FromArgMatches as _};

use super::build::{BuildArgs, ContextArg, PolicyArg, PullArg, SecretArg, SshArg, VariableArg};

/// Pin every source of a Dockerfile by its digest
///
/// Finds out what each base image, file of ADD and Git repository is now, and writes that into a file, from which
/// `stave build --locked` builds. Nothing is built. Without a target the sources of all stages are pinned.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stave lock .                       ./Dockerfile; writes ./stave.lock
  stave lock --pull .                What the registries have now, whatever the store has
  stave lock --lock-file - . | diff stave.lock -   What has changed
  stave build --locked .             Builds from exactly that")]
pub(crate) struct LockArgs {
    /// The context, as for `stave build`
    #[arg(value_name = "CONTEXT", default_value = ".")]
    pub(crate) context: PathBuf,
    /// The Dockerfile [default: CONTEXT/Dockerfile], a path or an address; the instructions of several follow each other
    #[arg(short, long = "file", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Where the lock is written [default: CONTEXT/stave.lock]; `-` is standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) lock_file: Option<PathBuf>,
    /// Value of an ARG; without `=VALUE` it is taken from the environment; may be given several times
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    build_args: Vec<VariableArg>,
    /// Files by a name, as for `stave build`
    #[arg(long = "build-context", value_name = "NAME=VALUE")]
    contexts: Vec<ContextArg>,
    /// Pin what this stage needs, and nothing else
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// Platforms to pin for [default: this machine's]
    #[arg(long = "platform", value_name = "OS/ARCH", value_delimiter = ',')]
    platforms: Vec<String>,
    /// Ask the registry for the base images even if they are here already; or `missing`, `never`
    #[arg(long, value_name = "WHEN", num_args = 0..=1, require_equals = true, default_missing_value = "always")]
    pull: Option<PullArg>,
    /// Secret that proves who asks, as for `stave build`
    #[arg(long = "secret", value_name = "SECRET")]
    secrets: Vec<SecretArg>,
    /// SSH agent or keys that prove who asks, as for `stave build`
    #[arg(long, value_name = "ID[=PATH,...]")]
    ssh: Vec<SshArg>,
    /// Rules that allow, deny or replace sources, as JSON; may be given several times
    #[arg(long = "source-policy-file", value_name = "FILE")]
    source_policies: Vec<PathBuf>,
    /// Policies in Rego, as for `stave build`
    #[arg(long = "policy", value_name = "FIELDS")]
    rego: Vec<PolicyArg>,
    /// Print nothing but mistakes
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

impl LockArgs {
    /// Returns the arguments of the build whose sources these are.
    pub(crate) fn into_build(self) -> BuildArgs {
        let command = BuildArgs::augment_args(clap::Command::new("build"));
        let matches = command.try_get_matches_from(["build", "."]).expect("a context is all that a build needs");
        let mut build = BuildArgs::from_arg_matches(&matches).expect("what was matched can be read");
        build.context = self.context;
        build.files = self.files;
        build.build_args = self.build_args;
        build.contexts = self.contexts;
        build.target = self.target;
        build.platforms = self.platforms;
        build.pull = self.pull;
        build.secrets = self.secrets;
        build.ssh = self.ssh;
        build.supply.source_policies = self.source_policies;
        build.supply.rego = self.rego;
        build
    }
}
