//! The arguments of `attestations`.

use clap::Args;

/// Show what is said about an image: how it was built, what it is made of
///
/// Lists the kinds of statements that the store keeps with the image, or prints one of them. `stave imagetools inspect`
/// shows those that a registry has.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stave attestations me/app                     The kinds that there are
  stave attestations me/app --type sbom         The list of packages, as SPDX or CycloneDX
  stave attestations me/app --type provenance   How it was built, as SLSA provenance")]
pub(crate) struct AttestationsArgs {
    /// The image, by name or id
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// Print this statement: `provenance`, `sbom`, or the address of its kind
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) kind: Option<String>,
    /// The image for this platform, of an image for several
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<stave_oci::Platform>,
}
