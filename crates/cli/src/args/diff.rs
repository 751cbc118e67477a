//! The arguments of `diff`.

use clap::{Args, ValueEnum};

/// Show in what two images differ, or what a container has changed
///
/// One name is a container's, as with docker: its changed files are listed. Of two images, each is given by name, by id,
/// or as an archive or an OCI layout of this machine. Fields of the configuration are compared one by one, layers file by
/// file, and at last the files as a container sees them. Exit code 0: they are equal, 1: they differ.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stave diff web                          Files that the container `web` has changed
  stave diff me/app:1 me/app:2            All that differs, the first thing first
  stave diff --format json a.tar b.tar    The same for programs
  stave diff -q me/app:1 me/app:2         Only the exit code")]
pub(crate) struct DiffArgs {
    /// The first image, or a container
    #[arg(value_name = "IMAGE|CONTAINER")]
    pub(crate) left: String,
    /// The second image
    #[arg(value_name = "OTHER")]
    pub(crate) right: Option<String>,
    /// How it is printed
    #[arg(long, value_enum, default_value_t = DiffFormat::Text)]
    pub(crate) format: DiffFormat,
    /// Print nothing
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// How `diff` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DiffFormat {
    /// For people
    Text,
    /// One JSON object
    Json,
}
