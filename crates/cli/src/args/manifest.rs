//! The arguments of `manifest`, with Docker's names, and Buildah's for what only that has.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand};
use stave_engine::EntryName;
use stave_oci::Reference;
use stave_oci::reference::ReferenceError;

pub(super) const MANIFEST_EXAMPLES: &str = "\
Examples:
  stave manifest create me/app:1 me/app:1-amd64 me/app:1-arm64
  stave manifest annotate me/app:1 me/app:1-arm64 --variant v8
  stave manifest push --purge me/app:1
  stave manifest add --artifact --artifact-type text/spdx me/app:1 sbom.spdx

`stave imagetools create` does all of it at once.";

/// The commands about manifest lists.
#[derive(Debug, Subcommand)]
pub(crate) enum ManifestCommand {
    Create(ListCreateArgs),
    Add(Box<ListAddArgs>),
    Annotate(Box<AnnotateArgs>),
    Exists(ListExistsArgs),
    Inspect(ListInspectArgs),
    Push(ListPushArgs),
    Remove(ListRemoveArgs),
    Rm(ListRmArgs),
}

/// An image's name, and how it was typed: a short one may mean several registries.
#[derive(Debug, Clone)]
pub(crate) struct TypedName {
    pub(crate) typed: String,
    /// What it means where nothing is configured.
    pub(crate) name: Reference,
}

impl FromStr for TypedName {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        // That it is in a registry, in Buildah's words.
        let typed = text.strip_prefix("docker://").unwrap_or(text);
        Ok(Self { typed: typed.to_owned(), name: typed.parse()? })
    }
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
    /// Images, as registries have them; of an index, all that it lists [default: none, for `manifest add`]
    #[arg(value_name = "IMAGE")]
    pub(crate) images: Vec<TypedName>,
    /// Add all that an index lists, as is done anyway
    #[arg(long = "all", hide_short_help = true)]
    pub(crate) _all: bool,
}

/// What is said of the platform of an entry.
#[derive(Debug, Args)]
pub(crate) struct PlatformArgs {
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
}

/// Add an image, or files as an artifact, to a list
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stave manifest add me/app:1 me/app:1-arm64
  stave manifest add --all me/app:1 me/other:1                 All that an index lists
  stave manifest add --artifact --artifact-type text/spdx me/app:1 sbom.spdx

The files of an artifact are read again when the list is pushed.")]
pub(crate) struct ListAddArgs {
    /// Add all that an index lists, instead of what is for the platform given, or for this machine
    #[arg(long, conflicts_with_all = ["arch", "os", "os_features", "os_version", "variant"])]
    pub(crate) all: bool,
    /// A remark on the entry, or on the artifact
    #[arg(long, value_name = "NAME=VALUE", value_parser = remark)]
    pub(crate) annotation: Vec<(String, String)>,
    /// Make an artifact of files
    #[arg(long, conflicts_with_all = ["all", "arch", "os", "os_features", "os_version", "variant"])]
    pub(crate) artifact: bool,
    #[command(flatten)]
    pub(crate) about: ArtifactArgs,
    /// Let the registries lack TLS or a good certificate
    #[arg(long)]
    pub(crate) insecure: bool,
    #[command(flatten)]
    pub(crate) platform: PlatformArgs,
    /// The list's name
    #[arg(value_name = "LIST")]
    pub(crate) list: Reference,
    /// Images as registries have them; with `--artifact`, files
    #[arg(value_name = "IMAGE|FILE", required = true)]
    pub(crate) what: Vec<String>,
}

/// What an artifact is.
#[derive(Debug, Args)]
pub(crate) struct ArtifactArgs {
    /// The artifact's type [default: application/vnd.unknown.artifact.v1]
    #[arg(long = "artifact-type", value_name = "TYPE", requires = "artifact")]
    pub(crate) kind: Option<String>,
    /// A file with its configuration [default: an empty one]
    #[arg(long = "artifact-config", value_name = "FILE", requires = "artifact")]
    pub(crate) config: Option<PathBuf>,
    /// The type of that
    #[arg(long = "artifact-config-type", value_name = "TYPE", requires = "artifact")]
    pub(crate) config_type: Option<String>,
    /// The type of its files [default: application/octet-stream]
    #[arg(long = "artifact-layer-type", value_name = "TYPE", requires = "artifact")]
    pub(crate) file_type: Option<String>,
    /// Do not keep the names of the files
    #[arg(long = "artifact-exclude-titles", requires = "artifact")]
    pub(crate) without_titles: bool,
    /// The image that it refers to, in the repository that the list goes to
    #[arg(long = "artifact-subject", value_name = "IMAGE", requires = "artifact")]
    pub(crate) subject: Option<Reference>,
}

/// Say for which platform an image of a list is, or remark on it or on the list
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stave manifest annotate me/app:1 me/app:1-arm64 --variant v8
  stave manifest annotate me/app:1 sha256:15352d97... --annotation note=arm
  stave manifest annotate --index me/app:1 --annotation note=all")]
pub(crate) struct AnnotateArgs {
    /// A remark on the entry, or with `--index` on the list
    #[arg(long, value_name = "NAME=VALUE", value_parser = remark)]
    pub(crate) annotation: Vec<(String, String)>,
    /// Remark on the list itself
    #[arg(long, conflicts_with_all = ["image", "arch", "os", "os_features", "os_version", "variant"])]
    pub(crate) index: bool,
    /// The image that the list refers to, in the repository that it goes to
    #[arg(long, value_name = "IMAGE", requires = "index")]
    pub(crate) subject: Option<Reference>,
    /// Let the registry of the subject lack TLS or a good certificate
    #[arg(long)]
    pub(crate) insecure: bool,
    #[command(flatten)]
    pub(crate) platform: PlatformArgs,
    /// The list's name
    #[arg(value_name = "LIST")]
    pub(crate) list: Reference,
    /// The image, as it was named when it was added, or its digest
    #[arg(value_name = "IMAGE|DIGEST", required_unless_present = "index")]
    pub(crate) image: Option<EntryName>,
}

/// Reads `NAME=VALUE`.
fn remark(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

/// Tell by the exit code whether there is a list here: 0 or 1
#[derive(Debug, Args)]
pub(crate) struct ListExistsArgs {
    /// The list's name
    #[arg(value_name = "LIST")]
    pub(crate) list: Reference,
}

/// Take an image out of a list
#[derive(Debug, Args)]
pub(crate) struct ListRemoveArgs {
    /// The list's name
    #[arg(value_name = "LIST")]
    pub(crate) list: Reference,
    /// The image, as it was named when it was added, or its digest
    #[arg(value_name = "IMAGE|DIGEST", required = true)]
    pub(crate) images: Vec<EntryName>,
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
    pub(crate) names: Vec<TypedName>,
}

/// Send a list to a registry, with the images that are not there yet
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "one for each flag")]
#[command(after_help = "\
Examples:
  stave manifest push --purge registry.example/me/app:1
  stave manifest push me/app:1 docker://registry.example/me/app:1   Under another name")]
pub(crate) struct ListPushArgs {
    /// Send the images, too, as is done anyway
    #[arg(long = "all", hide_short_help = true)]
    pub(crate) _all: bool,
    /// Refused: images are sent as they are
    #[arg(long = "add-compression", value_name = "FORMAT", hide = true, value_parser = add_compression)]
    pub(crate) _add_compression: Option<String>,
    /// Write the digest of what was sent to this file
    #[arg(long = "digestfile", value_name = "FILE")]
    pub(crate) digest_file: Option<PathBuf>,
    /// Let the registries lack TLS or a good certificate
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Forget the list here afterwards
    #[arg(short, long, visible_alias = "rm")]
    pub(crate) purge: bool,
    /// Show no progress
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// The list's name
    #[arg(value_name = "LIST")]
    pub(crate) list: Reference,
    /// Where it goes, also `oci:DIRECTORY[:NAME]` and `oci-archive:FILE[:NAME]` [default: the registry of its name]
    #[arg(value_name = "DESTINATION")]
    pub(crate) destination: Option<String>,
}

/// Says what is done instead of compressing what registries have.
fn add_compression(_: &str) -> Result<String, String> {
    Err("images are sent as they are; build with `-o type=registry,compression=zstd,force-compression=true,name=OTHER`, \
         and add that to the list"
        .to_owned())
}

/// Forget lists; what was pushed stays
#[derive(Debug, Args)]
pub(crate) struct ListRmArgs {
    /// The lists' names
    #[arg(value_name = "LIST", required = true)]
    pub(crate) lists: Vec<Reference>,
}
