//! The arguments of `policy`, with buildx's names.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use stave_oci::Platform;

pub(super) const POLICY_EXAMPLES: &str = "\
Examples:
  stave policy eval alpine:3              What ./Dockerfile.rego says of an image; no output is consent
  stave policy eval --print alpine:3      What a policy is told of it
  stave policy test .                     The rules test_... of ./*_test.rego

A policy is beside its Dockerfile, or is named by `stave build --policy filename=FILE`.";

/// The commands about policies in Rego.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    Eval(PolicyEvalArgs),
    Test(PolicyTestArgs),
    JsonSchema(PolicySchemaArgs),
}

/// Ask a policy about a source
///
/// Exits with 0 if it is allowed, and with 1 and the policy's words if it is not. What the policy prints is shown.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stave policy eval alpine:3
  stave policy eval -f app.Dockerfile https://github.com/org/repo.git#v1
  stave policy eval --print --fields image.labels alpine:3

A source is an image's name, an address of a file or a Git repository, or a directory, which stands for the
context; `local://NAME` is any other directory by its name.")]
pub(crate) struct PolicyEvalArgs {
    /// The Dockerfile whose policy is asked, or a file whose name ends in `.rego`
    #[arg(short, long, value_name = "FILE", default_value = "Dockerfile")]
    pub(crate) file: PathBuf,
    /// Print what a policy is told of the source, and ask none
    #[arg(long)]
    pub(crate) print: bool,
    /// With `--print`: look the source up if one of these fields needs it, as in `image.labels`
    #[arg(long, value_name = "FIELD", value_delimiter = ',', requires = "print")]
    pub(crate) fields: Vec<String>,
    /// The platform that an image is for [default: this machine's]
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<Platform>,
    /// Sigstore's `trusted_root.json`: who is believed about who signed an image
    #[arg(long, value_name = "FILE")]
    pub(crate) trusted_root: Option<PathBuf>,
    /// The source
    #[arg(value_name = "SOURCE")]
    pub(crate) source: String,
}

/// Evaluate the tests of a policy
///
/// Each rule whose name begins with `test_` has to be true. Exits with 1 if one is not.
#[derive(Debug, Args)]
pub(crate) struct PolicyTestArgs {
    /// Only tests whose names contain this
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) run: String,
    /// The Dockerfile whose policy is tested, or a file whose name ends in `.rego` [default: `Dockerfile` beside the tests]
    #[arg(long = "filename", value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// A file whose name ends in `_test.rego`, or a directory of such files
    #[arg(value_name = "PATH", default_value = ".")]
    pub(crate) path: PathBuf,
}

/// Print the JSON schema of what a policy is told
#[derive(Debug, Args)]
pub(crate) struct PolicySchemaArgs {}
