//! Arguments about where a build's sources come from.

use std::path::PathBuf;

use clap::Args;

/// What a build may be made from.
#[derive(Debug, Default, Args)]
pub(crate) struct SupplyArgs {
    /// Use exactly the sources that `stave lock` found [default: CONTEXT/stave.lock]; one that is not in it, or has
    /// changed, is an error
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "", value_parser = super::path())]
    pub(crate) locked: Option<PathBuf>,
    /// Rules that allow, deny or replace sources, as JSON; may be given several times (the variable
    /// `EXPERIMENTAL_BUILDKIT_SOURCE_POLICY` names one more)
    #[arg(long = "source-policy-file", value_name = "FILE")]
    pub(crate) source_policies: Vec<PathBuf>,
}
