//! The arguments of `graph` and `report`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::build::VariableArg;

/// Draw the stages of a build, or its steps, and what reads from what
///
/// Without a format, the end of the file's name says which it is (`.svg`, `.dot`, `.gv`, `.mmd`); standard output gets
/// Mermaid.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stave graph                           The stages of the latest build, as Mermaid
  stave graph -o build.svg              The same as a picture
  stave graph 3f2a --steps -o steps.svg Each step of an earlier build
  stave graph --format dot | dot -Tpng  With Graphviz
  stave graph --file Dockerfile         The stages of a file that was not built")]
pub(crate) struct GraphArgs {
    /// The build, by its id or how that begins [default: the latest]
    #[arg(value_name = "BUILD", conflicts_with = "file")]
    pub(crate) build: Option<String>,
    /// Draw each step
    #[arg(long, conflicts_with = "file")]
    pub(crate) steps: bool,
    /// Draw the stages of this Dockerfile, without building it; `-` is standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Only what this stage of the file needs
    #[arg(long, value_name = "STAGE", requires = "file")]
    pub(crate) target: Option<String>,
    /// Value of an `ARG` of the file that a `FROM` uses
    #[arg(long = "build-arg", value_name = "NAME=VALUE", requires = "file")]
    pub(crate) build_args: Vec<VariableArg>,
    /// The language of the graph
    #[arg(long, value_enum)]
    pub(crate) format: Option<GraphFormat>,
    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// How a graph is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum GraphFormat {
    /// A picture
    Svg,
    /// For Graphviz
    Dot,
    /// For Markdown, as GitHub and GitLab show it
    Mermaid,
}

/// Write a page about a build, to be looked at in a browser
///
/// The page has what was built and what that cost, the graph of its stages, a timeline with the critical path, each step with
/// the reason why it ran and its log, and the Dockerfile with what the checks say of it. It is one file that asks for nothing: it
/// can be kept, sent and printed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stave report -o report.html           The latest build
  stave report 3f2a -o report.html      An earlier one, by the beginning of its id
  stave report > report.html            To standard output")]
pub(crate) struct ReportArgs {
    /// The build, by its id or how that begins [default: the latest]
    #[arg(value_name = "BUILD")]
    pub(crate) build: Option<String>,
    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}
