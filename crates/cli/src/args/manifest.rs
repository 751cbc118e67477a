//! The arguments of `manifest`, with Docker's names.

use clap::{Args, Subcommand};
use stave_oci::Reference;

pub(super) const MANIFEST_EXAMPLES: &str = "\
Examples:
  stave manifest create me/app:1 me/app:1-amd64 me/app:1-arm64
  stave manifest annotate me/app:1 me/app:1-arm64 --variant v8
  stave manifest push --purge me/app:1

`stave imagetools create` does all of it at once.";

/// The commands about manifest lists.
#[derive(Debug, Subcommand)]
pub(crate) enum ManifestCommand {
    Create(ListCreateArgs),
    Annotate(AnnotateArgs),
    Inspect(ListInspectArgs),
    Push(ListPushArgs),
    Rm(ListRmArgs),
}

/// Make a list of images that registries have; it stays here until it is pushed
#[derive(Debug, Args)]
pub(crate) struct ListCreateArgs {
    /// Add to a list that there is already
    #[arg(short, long)]
    pub(crate) amend: bool,
    /// Let the registries lack TLS or a good certificate
    #[arg(long)]
    pub(crate) insecure: bool,
    /// The list's name
    #[arg(value_name = "LIST")]
    pub(crate) list: Reference,
    /// Images, as registries have them
    #[arg(value_name = "IMAGE", required = true)]
    pub(crate) images: Vec<Reference>,
}

/// Say for which platform an image of a list is
#[derive(Debug, Args)]
pub(crate) struct AnnotateArgs {
    /// The architecture
    #[arg(long, value_name = "ARCH")]
    pub(crate) arch: Option<String>,
    /// The operating system
    #[arg(long, value_name = "OS")]
    pub(crate) os: Option<String>,
    /// Features of the operating system
    #[arg(long, value_name = "FEATURE", value_delimiter = ',')]
    pub(crate) os_features: Vec<String>,
    /// Version of the operating system
    #[arg(long, value_name = "VERSION")]
    pub(crate) os_version: Option<String>,
    /// Variant of the architecture
    #[arg(long, value_name = "VARIANT")]
    pub(crate) variant: Option<String>,
    /// The list's name
    #[arg(value_name = "LIST")]
    pub(crate) list: Reference,
    /// The image, as it was named when it was added
    #[arg(value_name = "IMAGE")]
    pub(crate) image: Reference,
}

/// Show a list that is here, or a manifest as a registry has it
#[derive(Debug, Args)]
pub(crate) struct ListInspectArgs {
    /// Let the registry lack TLS or a good certificate
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Show what an index lists, too, and where everything is
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// A list and one of its images, or a list or an image alone
    #[arg(value_name = "[LIST] IMAGE", num_args = 1..=2, required = true)]
    pub(crate) names: Vec<Reference>,
}

/// Send a list to the registry of its name, with the images that are not there yet
#[derive(Debug, Args)]
pub(crate) struct ListPushArgs {
    /// Let the registries lack TLS or a good certificate
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Forget the list here afterwards
    #[arg(short, long)]
    pub(crate) purge: bool,
    /// The list's name
    #[arg(value_name = "LIST")]
    pub(crate) list: Reference,
}

/// Forget lists; what was pushed stays
#[derive(Debug, Args)]
pub(crate) struct ListRmArgs {
    /// The lists' names
    #[arg(value_name = "LIST", required = true)]
    pub(crate) lists: Vec<Reference>,
}
