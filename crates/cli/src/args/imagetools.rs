//! The arguments of `imagetools`, with buildx's names.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{ArgAction, Args, Subcommand};
use stave_engine::{ImagePlace, ImageSource, Remark};
use stave_oci::{Descriptor, Platform, Reference};

use super::ProgressMode;

pub(super) const IMAGETOOLS_EXAMPLES: &str = "\
Examples:
  stave imagetools inspect alpine
  stave imagetools create -t me/app:1 me/app:1-amd64 me/app:1-arm64
  stave imagetools create -t registry.example.com/app:1 me/app:1     A copy, with all its platforms";

/// The commands about images in registries.
#[derive(Debug, Subcommand)]
pub(crate) enum ImagetoolsCommand {
    Create(MergeArgs),
    Inspect(ExamineArgs),
}

/// Merge images and indexes of registries into one, and copy what is elsewhere
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stave imagetools create -t me/app:1 me/app:1-amd64 me/app:1-arm64
  stave imagetools create --append -t me/app:1 me/app:1-riscv64
  stave imagetools create -t oci-archive:app.tar me/app:1-amd64 me/app:1-arm64
  stave imagetools create --dry-run me/app:1 -p linux/amd64
  stave imagetools create -t me/app:1 --annotation index:org.opencontainers.image.version=1 me/app:rc

A source is an image's name, a digest in the repository of the first --tag, or a descriptor as JSON.
Blobs never pass through this machine's store: within a registry they are mounted, and otherwise sent on
as they come.")]
pub(crate) struct MergeArgs {
    /// Names of the result in registries, or layouts that it is written to: `oci:DIRECTORY[:NAME]`, `oci-archive:FILE[:NAME]`
    #[arg(short, long = "tag", value_name = "NAME")]
    pub(crate) tags: Vec<TargetArg>,
    /// Put what the first --tag names now before the sources
    #[arg(long)]
    pub(crate) append: bool,
    /// Print the result and send nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Read sources from a file: a name, a digest, a descriptor or a list of descriptors as JSON
    #[arg(short, long = "file", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Add a remark: `index:KEY=VALUE` or `manifest-descriptor[PLATFORM]:KEY=VALUE`
    #[arg(long = "annotation", value_name = "TYPE:KEY=VALUE")]
    pub(crate) annotations: Vec<RemarkArg>,
    /// Take only what is for these platforms
    #[arg(short, long = "platform", value_name = "OS/ARCH", value_delimiter = ',')]
    pub(crate) platforms: Vec<Platform>,
    /// Make an index of one image alone, too; without, it is copied as it is
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        default_value = "true",
        action = ArgAction::Set
    )]
    pub(crate) prefer_index: bool,
    /// Write the result's digest and descriptor to a file, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) metadata_file: Option<PathBuf>,
    /// How to show what is done
    #[arg(long, value_name = "MODE", default_value = "auto")]
    pub(crate) progress: ProgressMode,
    /// What to merge
    #[arg(value_name = "SOURCE")]
    pub(crate) sources: Vec<SourceArg>,
}

/// Show an image or an index as the registry has it
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stave imagetools inspect alpine
  stave imagetools inspect --raw alpine
  stave imagetools inspect --format '{{json .Manifest}}' alpine
  stave imagetools inspect --format '{{range $platform, $image := .Image}}{{println $platform}}{{end}}' alpine

Fields of --format: .Name .Manifest .Image .Provenance .SBOM. Of an index of several images, the last three\nare maps by platform.")]
pub(crate) struct ExamineArgs {
    /// Print by a template
    #[arg(long, value_name = "TEMPLATE", conflicts_with = "raw")]
    pub(crate) format: Option<String>,
    /// Print the bytes as the registry has them
    #[arg(long)]
    pub(crate) raw: bool,
    /// The image's name
    #[arg(value_name = "NAME", value_parser = image_name)]
    pub(crate) name: String,
}

/// Where a merged index goes.
#[derive(Debug, Clone)]
pub(crate) enum TargetArg {
    /// To a registry, under a name.
    Name(Reference),
    /// To a place on this machine.
    Place(ImagePlace),
}

impl FromStr for TargetArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(place) = ImagePlace::parse(text).map_err(|error| error.to_string())? {
            return Ok(Self::Place(place));
        }
        let name = text.strip_prefix("docker://").unwrap_or(text);
        name.parse().map(Self::Name).map_err(|error: stave_oci::reference::ReferenceError| error.to_string())
    }
}

/// Takes an image's name as it is typed: a short one may mean several registries.
fn image_name(text: &str) -> Result<String, stave_oci::reference::ReferenceError> {
    text.parse::<Reference>().map(|_| text.to_owned())
}

/// One or more things to merge.
#[derive(Debug, Clone)]
pub(crate) struct SourceArg(pub(crate) Vec<ImageSource>);

impl FromStr for SourceArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let wrong = |error: serde_json::Error| format!("this is no descriptor: {error}");
        if text.starts_with('[') {
            let all: Vec<Descriptor> = serde_json::from_str(text).map_err(wrong)?;
            return Ok(Self(all.into_iter().map(|one| ImageSource::Described(Box::new(one))).collect()));
        }
        if text.starts_with('{') {
            let one = serde_json::from_str(text).map_err(wrong)?;
            return Ok(Self(vec![ImageSource::Described(Box::new(one))]));
        }
        if let Ok(digest) = text.trim_start_matches('@').parse() {
            return Ok(Self(vec![ImageSource::Digest(digest)]));
        }
        image_name(text).map(|name| Self(vec![ImageSource::Typed(name)])).map_err(|error| error.to_string())
    }
}

/// `index:KEY=VALUE`, `manifest-descriptor[PLATFORM]:KEY=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RemarkArg(pub(crate) Vec<Remark>);

impl FromStr for RemarkArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kinds, rest) = match text.split_once('=').and_then(|(before, _)| before.rsplit_once(':')) {
            Some((kinds, _)) => (kinds, &text[kinds.len() + 1..]),
            None => ("", text),
        };
        let (key, value) = rest.split_once('=').ok_or("expected `TYPE:KEY=VALUE`")?;
        if key.is_empty() {
            return Err("the key is empty".to_owned());
        }
        let mut remarks = Vec::new();
        for kind in kinds.split(',') {
            let (kind, platform) = match kind.split_once('[') {
                Some((kind, rest)) => (kind, Some(rest.strip_suffix(']').ok_or("a `]` is missing")?)),
                None => (kind, None),
            };
            let platform: Option<Platform> = platform
                .map(|text| text.parse().map_err(|error: stave_oci::platform::PlatformError| error.to_string()))
                .transpose()?;
            remarks.push(match (kind, platform) {
                ("index", None) => Remark::Index(key.to_owned(), value.to_owned()),
                ("manifest-descriptor", platform) => Remark::Descriptor(platform, key.to_owned(), value.to_owned()),
                ("index", Some(_)) => return Err("an index is for no platform".to_owned()),
                ("manifest" | "index-descriptor" | "", _) => {
                    return Err(
                        "the images themselves do not change here: expected `index:` or `manifest-descriptor:` \
                                before the key"
                            .to_owned(),
                    );
                }
                (other, _) => {
                    return Err(format!("`{other}` is no type: expected `index` or `manifest-descriptor`"));
                }
            });
        }
        Ok(Self(remarks))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// H041.
    #[test]
    fn remarks_are_for_the_index_or_for_what_it_says_of_its_images() {
        let remarks = |text: &str| text.parse::<RemarkArg>().map(|arg| arg.0);
        let arm: Platform = "linux/arm64".parse().expect("valid");
        assert_eq!(remarks("index:a.b=c:d=e"), Ok(vec![Remark::Index("a.b".into(), "c:d=e".into())]));
        assert_eq!(
            remarks("index,manifest-descriptor[linux/arm64]:a="),
            Ok(vec![
                Remark::Index("a".into(), String::new()),
                Remark::Descriptor(Some(arm), "a".into(), String::new())
            ])
        );
        for text in
            ["a=b", "manifest:a=b", "index", "index:=b", "index[linux/amd64]:a=b", "x:a=b", "manifest-descriptor[x:a=b"]
        {
            assert!(remarks(text).is_err(), "{text}");
        }
    }

    /// H041.
    #[test]
    fn sources_are_names_digests_or_descriptors() {
        let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let source = |text: &str| text.parse::<SourceArg>().map(|arg| arg.0);
        assert!(matches!(&source("alpine").expect("a name")[..], [ImageSource::Typed(_)]));
        for text in [digest.to_owned(), format!("@{digest}"), format!("{digest}\n")] {
            assert!(matches!(&source(&text).expect("a digest")[..], [ImageSource::Digest(_)]), "{text}");
        }
        let descriptor = format!(r#"{{"mediaType":"x/y","digest":"{digest}","size":1}}"#);
        assert!(matches!(&source(&descriptor).expect("a descriptor")[..], [ImageSource::Described(_)]));
        let two = source(&format!("[{descriptor},{descriptor}]")).expect("a list");
        assert!(matches!(&two[..], [ImageSource::Described(_), ImageSource::Described(_)]));
        assert!(source("{").is_err() && source("A/B").is_err());
    }
}
