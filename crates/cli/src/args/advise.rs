//! The arguments of `advise`.

use clap::{Args, ValueEnum};

/// Say which changes of the Dockerfile would save most
///
/// What a build really did is looked at: which steps ran and how long they took, what their layers have in them, what of that
/// a later layer replaced or deleted. Each advice names what it is about, what is gained and the lines to write. Gains are
/// measured, not guessed; each is that of its change alone.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stave advise                      The three changes that would save most, of the latest build
  stave advise 3f2a                 The same of an earlier one, by the beginning of its id
  stave advise --all                All that would save something
  stave advise --format json        One JSON object, for programs")]
pub(crate) struct AdviseArgs {
    /// The build, by its id or how that begins [default: the latest that made an image]
    #[arg(value_name = "BUILD")]
    pub(crate) build: Option<String>,
    /// Say all there is to say, not only the three that would save most
    #[arg(long)]
    pub(crate) all: bool,
    /// How it is printed
    #[arg(long, value_enum, default_value_t = AdviceFormat::Text)]
    pub(crate) format: AdviceFormat,
}

/// How advice is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AdviceFormat {
    /// For people
    Text,
    /// One JSON object
    Json,
}
