//! The arguments of `explain`.

use clap::{Args, ValueEnum};

/// Say why the steps of a build ran
///
/// Each step is listed with what has become of it and, if it ran, the first of its inputs that was another one than in the
/// build before: a file, an argument, the base, the instruction itself. A step that ran because another one changed stands
/// below that one.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stave explain                     Why the steps of the latest build ran
  stave explain 3f2a                The same of an earlier one, by the beginning of its id
  stave explain --format json       One JSON object, for programs
  stave build --explain=json .      Build, and say it at once")]
pub(crate) struct ExplainArgs {
    /// The build, by its id or how that begins [default: the latest]
    #[arg(value_name = "BUILD")]
    pub(crate) build: Option<String>,
    /// How it is printed
    #[arg(long, value_enum, default_value_t = ExplainFormat::Text)]
    pub(crate) format: ExplainFormat,
}

/// How an explanation is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExplainFormat {
    /// For people
    Text,
    /// One JSON object
    Json,
}

/// Whether a build explains itself, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BuildExplain {
    /// At its end, for people
    Text,
    /// At its end, as one JSON object
    Json,
    /// Not at all: nothing is looked for, and nothing kept for the next build to be compared with
    None,
}

impl BuildExplain {
    /// Returns how it is printed at the end, if it is.
    pub(crate) fn printed(self) -> Option<ExplainFormat> {
        match self {
            Self::Text => Some(ExplainFormat::Text),
            Self::Json => Some(ExplainFormat::Json),
            Self::None => None,
        }
    }
}
