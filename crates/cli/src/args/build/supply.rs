//! Arguments about where a build's sources come from, and what is said about the result.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use stave_engine::Attestations;

use super::attest::{self, AttestArg};
use super::policy::PolicyArg;
use super::truth;

/// What a build may be made from.
#[derive(Debug, Default, Args)]
pub(crate) struct SupplyArgs {
    /// Use exactly the sources that `stave lock` found [default: CONTEXT/stave.lock]; one that is not in it, or has
    /// changed, is an error
    #[arg(long, value_name = "FILE|BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) locked: Option<LockedArg>,
    /// The file that `--locked` reads, as `stave lock` has this flag
    #[arg(long, value_name = "FILE", requires = "locked")]
    pub(crate) lock_file: Option<PathBuf>,
    /// Rules that allow, deny or replace sources, as JSON; may be given several times (the variable
    /// `EXPERIMENTAL_BUILDKIT_SOURCE_POLICY` names one more)
    #[arg(long = "source-policy-file", value_name = "FILE")]
    pub(crate) source_policies: Vec<PathBuf>,
    /// Policies in Rego that have to allow each source, besides the one that lies beside the Dockerfile as
    /// `Dockerfile.rego`: `filename=FILE`; `reset=true` leaves out those before, `strict=true` needs one,
    /// `disabled=true` asks none, `trusted-root=FILE` says who is believed about who signed an image; may be given
    /// several times
    #[arg(long = "policy", value_name = "FIELDS")]
    pub(crate) rego: Vec<PolicyArg>,
    /// Say how the image was built: `mode=max` (the default) or `mode=min`, or `false`; other fields: docs/attestations.md
    #[arg(long, value_name = "MODE|FIELDS", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = attest::provenance)]
    pub(crate) provenance: Option<AttestArg>,
    /// Say what packages the image is made of: `true`, `false`, or `format=spdx`, `cyclonedx`
    #[arg(long, value_name = "BOOL|FIELDS", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = attest::sbom)]
    pub(crate) sbom: Option<AttestArg>,
    /// The same as `--provenance` and `--sbom`: `type=provenance,...` or `type=sbom,...`; may be given several times
    #[arg(long = "attest", value_name = "FIELDS")]
    pub(crate) attests: Vec<AttestArg>,
}

/// The value of `--locked`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LockedArg {
    /// The file of `--lock-file`, or that beside the context.
    Usual,
    /// This file.
    File(PathBuf),
    /// None: the sources are not locked.
    Off,
}

impl FromStr for LockedArg {
    type Err = Infallible;

    /// A file whose name is a truth value is `./true`.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match truth(text) {
            Some(true) => Self::Usual,
            Some(false) => Self::Off,
            None if text.is_empty() => Self::Usual,
            None => Self::File(text.into()),
        })
    }
}

impl SupplyArgs {
    /// Whether the sources are those of a lock.
    pub(crate) fn is_locked(&self) -> bool {
        self.locked.as_ref().is_some_and(|locked| *locked != LockedArg::Off)
    }

    /// Returns the lock's file, if one is named.
    pub(crate) fn lock_file(&self) -> Option<&Path> {
        match &self.locked {
            Some(LockedArg::File(path)) => Some(path),
            _ => self.lock_file.as_deref(),
        }
    }

    /// Returns what is to be said about the image.
    pub(crate) fn attestations(&self) -> Attestations {
        let all = self.attests.iter().chain(&self.provenance).chain(&self.sbom);
        attest::all(all.cloned())
    }
}
