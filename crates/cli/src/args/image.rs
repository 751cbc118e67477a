//! The arguments of the commands about images: `images`, `tag`, `rmi`, `inspect`, `history`, `pull`, `push`, `save`, `load`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use stave_oci::{Platform, Reference};

use super::build::truth;

/// Docker's `--disable-content-trust`, of `pull`, `push`, `run` and `create`.
#[derive(Debug, Args)]
pub(crate) struct TrustOptions {
    /// Verify no signatures of docker's content trust, as docker without it; policies verify others
    #[arg(
        long = "disable-content-trust",
        hide = true,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = no_content_trust
    )]
    pub(crate) _disable_content_trust: Option<bool>,
}

/// Reads the value of `--disable-content-trust`: true is what is so anyway.
fn no_content_trust(text: &str) -> Result<bool, String> {
    match truth(text) {
        Some(true) => Ok(true),
        Some(false) => Err("signatures of content trust are not verified: name the image `NAME@sha256:...`".to_owned()),
        None => Err(format!("`{text}` is neither true nor false")),
    }
}

/// List images
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "one for each flag")]
#[command(after_help = "\
Examples:
  stave images me/app                                  Images of one repository
  stave images -q --filter dangling=true               Ids of images that have no name
  stave images --format '{{.Repository}}:{{.Tag}} {{.Size}}'
  stave images --format 'table {{.ID}}\\t{{.Size}}'      Chosen columns
  stave images --format json                           One JSON object a line

Filters: reference (a pattern like `me/*:1.*`), dangling (true, false), label (`NAME` or `NAME=VALUE`), before, since (an
image), until (a time). All have to hold; of several references one.
Fields: .ID .Repository .Tag .Digest .CreatedSince .CreatedAt .Size .Containers .SharedSize .UniqueSize")]
pub(crate) struct ImagesArgs {
    /// Show all images, also those for other platforms that share their names with this machine's
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Print only ids
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Show the digests of the manifests
    #[arg(long)]
    pub(crate) digests: bool,
    /// Do not shorten ids
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Print by a template: `table TEMPLATE`, `TEMPLATE`, `table` or `json`
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
    /// Show below each name the platforms that it stands for
    #[arg(long, conflicts_with_all = ["format", "quiet", "digests"])]
    pub(crate) tree: bool,
    /// Show only images for which `KEY=VALUE` holds
    #[arg(short, long = "filter", value_name = "KEY=VALUE")]
    pub(crate) filters: Vec<String>,
    /// Show only this repository, or this name
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub(crate) repository: Option<String>,
}

/// Give an image one more name
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  stave tag me/app me/app:1.2   A name that another image had moves to this one")]
pub(crate) struct TagArgs {
    /// The image, by name or id
    #[arg(value_name = "IMAGE")]
    pub(crate) source: String,
    /// The new name
    #[arg(value_name = "NAME", value_parser = Reference::of_new_name)]
    pub(crate) target: Reference,
}

/// Remove images
#[derive(Debug, Args)]
#[command(after_help = "\
A name is taken away first; the image goes with its last name. An image that a container uses
stays, unless `--force` is given.")]
pub(crate) struct RmiArgs {
    /// Remove the image even if it has several names or a container uses it
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Keep the parents that have no name; stave stores none, so there is nothing to keep
    #[arg(long = "no-prune")]
    pub(crate) _no_prune: bool,
    /// Images, by name or id
    #[arg(value_name = "IMAGE", required = true)]
    pub(crate) images: Vec<String>,
}

/// What `inspect` looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ObjectType {
    Image,
    Container,
}

/// Show everything about images and containers, as JSON
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stave inspect me/app
  stave inspect -f '{{.Config.Cmd}}' me/app
  stave inspect -f '{{json .Config.Env}}' me/app
  stave inspect -f '{{range $k, $v := .Config.Labels}}{{$k}}={{$v}}{{println}}{{end}}' me/app")]
pub(crate) struct InspectArgs {
    /// Print by a template, or `json` for one line of JSON
    #[arg(short, long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
    /// Of an image for several platforms, show the one for this platform
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<Platform>,
    /// Show how large containers are: `SizeRw` and `SizeRootFs`
    #[arg(short, long)]
    pub(crate) size: bool,
    /// Look only for this kind of thing
    #[arg(long = "type", value_name = "KIND")]
    pub(crate) kind: Option<ObjectType>,
    /// Images or containers, by name or id
    #[arg(value_name = "NAME|ID", required = true)]
    pub(crate) names: Vec<String>,
}

/// Show how an image was made, newest step first
#[derive(Debug, Args)]
#[command(after_help = "\
Fields of --format: .ID .CreatedSince .CreatedAt .CreatedBy .Size .Comment")]
pub(crate) struct HistoryArgs {
    /// Print by a template: `table TEMPLATE`, `TEMPLATE`, `table` or `json`
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
    /// Print sizes and dates for people; `-H=false` prints bytes and RFC 3339
    #[arg(
        short = 'H',
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        default_value = "true",
        action = clap::ArgAction::Set
    )]
    pub(crate) human: bool,
    /// Do not shorten the commands
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Print only ids
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Of an image for several platforms, show the one for this platform
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<Platform>,
    /// The image, by name or id
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
}

/// Fetch an image from a registry, or take one from an archive, a directory or a daemon
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stave pull alpine
  stave pull oci-archive:app.tar            What `stave push` or another program wrote
  stave pull docker-daemon:me/app:1         From the store of Docker or Podman

Beside names of registries, also `docker://NAME`: oci:DIRECTORY[:NAME], oci-archive:FILE[:NAME],
docker-archive:FILE[:NAME[:TAG]|:@NUMBER], dir:DIRECTORY, docker-daemon:NAME[:TAG]. The image gets the name that it has there.")]
pub(crate) struct PullArgs {
    /// Fetch all images of the repository, whatever their tags
    #[arg(short, long)]
    pub(crate) all_tags: bool,
    /// Print nothing but the image's name
    #[arg(short, long)]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) _trust: TrustOptions,
    /// For which platform; this machine's without
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<Platform>,
    /// Name of the image
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    pub(crate) image: String,
}

/// Send an image to a registry, or write it to an archive, a directory or a daemon
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stave push registry.example/me/app:1
  stave push me/app:1 registry.example/me/app:1       Under another name than it has here
  stave push me/app:1 oci-archive:app.tar:1
  stave push --digestfile digest registry.example/me/app:1

Destinations beside names of registries, also `docker://NAME`: oci:DIRECTORY[:NAME], oci-archive:FILE[:NAME],
docker-archive:FILE[:NAME[:TAG]], dir:DIRECTORY, docker-daemon:NAME[:TAG].")]
pub(crate) struct PushArgs {
    /// Send all images of the repository, whatever their tags
    #[arg(short, long, conflicts_with_all = ["destination", "digest_file"])]
    pub(crate) all_tags: bool,
    /// Write the digest of what was sent to this file
    #[arg(long = "digestfile", visible_alias = "digest-file", value_name = "FILE")]
    pub(crate) digest_file: Option<PathBuf>,
    /// Print nothing but the image's name
    #[arg(short, long)]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) _trust: TrustOptions,
    /// Of an image for several platforms, send only the one for this platform
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<Platform>,
    /// Name of the image, which also says where it goes; with a destination, its name or id
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// Where it goes [default: the registry of its name]
    #[arg(value_name = "DESTINATION")]
    pub(crate) destination: Option<String>,
}

/// Write images to an archive that `load` and docker read
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stave save -o app.tar me/app
  stave save me/app | ssh host docker load

An image for several platforms is written with all of them, and with what is said about it: see docs/outputs.md.")]
pub(crate) struct SaveArgs {
    /// The archive [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Of images for several platforms, write only the ones for this platform
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<Platform>,
    /// Images, by name or id
    #[arg(value_name = "IMAGE", required = true)]
    pub(crate) images: Vec<String>,
}

/// Read images from an archive: docker's or OCI's, plain or compressed
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stave load -i app.tar
  docker save me/app | stave load")]
pub(crate) struct LoadArgs {
    /// The archive [default: standard input]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
    /// Of images for several platforms, take only the ones for this platform
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<Platform>,
    /// Do not show progress
    #[arg(short, long)]
    pub(crate) quiet: bool,
}
