//! What a caller can ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use stave_dockerfile::plan::RunDefaults;
use stave_graph::remote::{AddressPlace, GitAddressError, is_http, parse_git, redacted};
use stave_graph::{GitSource, Network};
use stave_oci::{BlobDigest, Platform, Reference};

use crate::attest::Attestations;
use crate::caches::Caches;
use crate::container::ContainerSettings;
use crate::error::EngineError;
use crate::form::{ImageForm, LayerMethod, Regroup};
use crate::limits::SharedLimits;
use crate::rules::SourceRules;

/// Where the files that `COPY` reads come from.
pub enum ContextSource {
    /// A directory of this machine.
    Directory(PathBuf),
    /// A stream that holds a tar (compressed or not) or, if it is no archive, the text of a Dockerfile.
    Stream(Box<dyn Read + Send>),
    /// A commit of a Git repository.
    Git(GitSource),
    /// A file on the network: an archive, or the text of a Dockerfile.
    Url(String),
}

impl ContextSource {
    /// Returns what `text` names on the network, if it is an address: `https://host/repository.git#branch:directory`,
    /// `git@host:path`, `github.com/a/b`, `https://host/context.tar.gz`.
    ///
    /// # Errors
    /// If it is an address of a Git repository that has a mistake.
    #[must_use]
    pub fn of_address(text: &str) -> Option<Result<Self, EngineError>> {
        if let Some(address) = parse_git(text, AddressPlace::Context) {
            return Some(address.map(|address| Self::Git(address.into_source())).map_err(|error| wrong(text, &error)));
        }
        is_http(text).then(|| Ok(Self::Url(text.to_owned())))
    }
}

fn wrong(text: &str, error: &GitAddressError) -> EngineError {
    EngineError::request(format!("cannot use the address `{}`: {error}", redacted(text)), None)
}

/// What a name stands for that `FROM`, `COPY --from` or a mount can use.
///
/// Reference: `docker buildx build --build-context`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedContextSource {
    /// A directory of this machine, with an ignore file of its own.
    Directory(PathBuf),
    /// An image: `docker-image://alpine:3`.
    Image(String),
    /// An image of an OCI layout on this machine: `oci-layout://directory:tag@digest`.
    OciLayout(LayoutSource),
    /// A commit of a Git repository.
    Git(GitSource),
    /// A file on the network; an archive stands for what is in it.
    Url(String),
    /// A stage of the Dockerfile: `target:name`.
    Target(String),
}

/// An image of an OCI layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayoutSource {
    /// The directory with `index.json`.
    pub path: PathBuf,
    /// The name in the layout; without it `latest`, or the only image.
    pub tag: Option<String>,
    /// The digest of its manifest or index.
    pub digest: Option<BlobDigest>,
}

impl NamedContextSource {
    /// Reads what follows the `=` of `--build-context name=`.
    ///
    /// # Errors
    /// If it begins like an address and is none.
    pub fn parse(text: &str) -> Result<Self, EngineError> {
        if let Some(name) = text.strip_prefix("docker-image://") {
            if name != "scratch" {
                name.parse::<Reference>()
                    .map_err(|error| EngineError::tree(format!("cannot use the image name `{name}`"), error))?;
            }
            return Ok(Self::Image(name.to_owned()));
        }
        if let Some(rest) = text.strip_prefix("oci-layout://") {
            return LayoutSource::parse(rest).map(Self::OciLayout);
        }
        if let Some(name) = text.strip_prefix("target:") {
            return Ok(Self::Target(name.to_owned()));
        }
        if let Some(address) = parse_git(text, AddressPlace::Context).filter(|_| !Path::new(text).is_dir()) {
            return address.map(|address| Self::Git(address.into_source())).map_err(|error| wrong(text, &error));
        }
        if is_http(text) {
            return Ok(Self::Url(text.to_owned()));
        }
        if let Some((scheme, _)) = text.split_once("://") {
            return Err(EngineError::request(
                format!("a named context cannot come from `{scheme}://`"),
                Some("Give a directory, `docker-image://`, `oci-layout://`, `target:`, or an address of git or http."),
            ));
        }
        Ok(Self::Directory(text.into()))
    }
}

impl LayoutSource {
    fn parse(text: &str) -> Result<Self, EngineError> {
        let (rest, digest) = match text.rsplit_once('@') {
            Some((rest, digest)) if digest.starts_with("sha256:") => {
                let digest = digest.parse().map_err(|error| {
                    EngineError::tree(format!("cannot use the digest of `oci-layout://{text}`"), error)
                })?;
                (rest, Some(digest))
            }
            _ => (text, None),
        };
        let (path, tag) = match rest.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') && !tag.is_empty() => (path, Some(tag.to_owned())),
            _ => (rest, None),
        };
        if path.is_empty() {
            let hint = "Write `oci-layout://DIRECTORY[:TAG][@sha256:DIGEST]`.";
            return Err(EngineError::request(format!("`oci-layout://{text}` names no directory"), Some(hint)));
        }
        Ok(Self { path: path.into(), tag, digest })
    }
}

impl fmt::Display for LayoutSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "oci-layout://{}", self.path.display())?;
        if let Some(tag) = &self.tag {
            write!(formatter, ":{tag}")?;
        }
        self.digest.map_or(Ok(()), |digest| write!(formatter, "@{digest}"))
    }
}

/// Where the Dockerfile comes from.
pub enum DockerfileSource {
    /// `Dockerfile`, else `dockerfile`, else `Containerfile`, in the root of the context (or the stream of the context
    /// itself).
    Default,
    /// A file of this machine, or, where the context is an archive, a path in it.
    Path(PathBuf),
    /// A stream with the text.
    Stream(Box<dyn Read + Send>),
    /// A file on the network.
    Url(String),
    /// Several files, of which the last is meant, or all one after the other where it says nothing alone: at least one, and
    /// none of them of this kind.
    Several(Vec<Self>),
}

/// How what a build is made from is read.
#[derive(Debug, Clone, Default)]
pub struct FileReading {
    /// What is left out of the build context is written in this file of this machine, whatever the context has.
    pub ignore_file: Option<PathBuf>,
    /// Flags of the C preprocessor, which reads Dockerfiles whose names end in `.in`.
    pub preprocessor_flags: Vec<String>,
}

impl DockerfileSource {
    /// Returns the file that `text` names on the network, if it is an address.
    #[must_use]
    pub fn of_address(text: &str) -> Option<Self> {
        is_http(text).then(|| Self::Url(text.to_owned()))
    }
}

/// Where an output goes.
pub enum Destination {
    /// A file or, for [`FilesKind::Local`], a directory of this machine.
    Path(PathBuf),
    /// A stream: the caller's standard output.
    Stream(Box<dyn Write + Send>),
}

/// An archive with an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveKind {
    /// OCI image layout in a tar.
    Oci,
    /// Archive for `docker load`.
    Docker,
}

/// The merged files of an image, without the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilesKind {
    /// In a tar.
    Tar,
    /// As files of a directory.
    Local,
}

/// The times of files that are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FileTimes {
    /// None is newer than the build's epoch, if it has one.
    #[default]
    OfBuild,
    /// As they are in the image.
    Kept,
    /// None is newer than this, in seconds since 1970.
    UpTo(i64),
}

/// Something to write when the build has succeeded.
pub enum Output {
    /// An image in an archive.
    Archive {
        /// Which archive.
        kind: ArchiveKind,
        /// How the image is written.
        form: ImageForm,
        /// Its names, instead of the build's.
        names: Option<Vec<Reference>>,
        /// Where to.
        dest: Destination,
    },
    /// An image in an OCI image layout, which keeps the images that it has.
    Layout {
        /// How the image is written.
        form: ImageForm,
        /// Its names, instead of the build's.
        names: Option<Vec<Reference>>,
        /// The directory; made if it is missing.
        path: PathBuf,
    },
    /// The files of the image.
    Files {
        /// In which form.
        kind: FilesKind,
        /// Whether each platform has a directory of its own; if nothing is said, where there are several.
        split: Option<bool>,
        /// Whether what else is in the directory is removed.
        delete: bool,
        /// The times that the files get.
        times: FileTimes,
        /// Before the names of the files that say something about the image.
        prefix: String,
        /// Where to.
        dest: Destination,
    },
    /// An image in registries.
    Registry {
        /// Under which names; each says its registry.
        names: Vec<Reference>,
        /// Whether only its digest names it there.
        by_digest: bool,
        /// Whether the certificates of these registries may be wrong, and TLS missing.
        insecure: bool,
        /// How the image is written.
        form: ImageForm,
    },
    /// An image of the store, with the manifest that a later push sends.
    Image {
        /// Its names.
        names: Vec<Reference>,
        /// Its names with its digest.
        naming: Naming,
        /// How the image is written.
        form: ImageForm,
    },
    /// An image of a running daemon of Docker or Podman.
    Load {
        /// Its socket.
        socket: PathBuf,
        /// Its names, instead of the build's.
        names: Option<Vec<Reference>>,
        /// How the image is written.
        form: ImageForm,
    },
}

/// Names of an image in the store that end with the digest of its manifest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Naming {
    /// Whether it has each of its names so, too.
    pub canonical: bool,
    /// A name that it has so, beside those that it was given.
    pub dangling: Option<Reference>,
}

impl Output {
    /// Returns how the image is written, if one is.
    #[must_use]
    pub fn form(&self) -> Option<&ImageForm> {
        match self {
            Self::Archive { form, .. }
            | Self::Layout { form, .. }
            | Self::Registry { form, .. }
            | Self::Image { form, .. }
            | Self::Load { form, .. } => Some(form),
            Self::Files { .. } => None,
        }
    }

    /// Whether it goes to others: a registry or a daemon.
    pub(crate) fn is_away(&self) -> bool {
        matches!(self, Self::Registry { .. } | Self::Load { .. })
    }

    /// Returns the forms in which registries get the image, if `outputs` are nothing else.
    pub(crate) fn only_pushed(outputs: &[Self]) -> Option<Vec<ImageForm>> {
        let form = |output: &Self| match output {
            Self::Registry { form, .. } if form.regroup.is_none() => Some(form.clone()),
            _ => None,
        };
        outputs.iter().map(form).collect()
    }

    /// Returns the same outputs once more, if they only go to registries.
    pub(crate) fn pushed_again(outputs: &[Self]) -> Option<Vec<Self>> {
        let again = |output: &Self| match output {
            Self::Registry { names, by_digest, insecure, form } => {
                let (names, form) = (names.clone(), form.clone());
                Some(Self::Registry { names, by_digest: *by_digest, insecure: *insecure, form })
            }
            _ => None,
        };
        outputs.iter().map(again).collect()
    }

    /// Returns how layers are best compressed while steps still run, for outputs like these.
    ///
    /// Errors: an output asks for what only an index can have, where `is_index` says that there will be none.
    pub(crate) fn wanted(
        outputs: &[Self],
        is_index: bool,
        regroup: Option<Regroup>,
    ) -> Result<Option<LayerMethod>, EngineError> {
        outputs.iter().filter_map(Self::form).try_for_each(|form| form.check(is_index))?;
        if regroup.is_some() {
            return Ok(None);
        }
        let wanted = |output: &Self| {
            output
                .form()
                .filter(|form| form.regroup.is_none() && form.layers != LayerMethod::Plain)
                .map(|form| form.layers)
        };
        Ok(outputs.iter().find_map(wanted))
    }
}

/// Where a secret's bytes are.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// In a file of this machine, which is read when a step needs it.
    File(PathBuf),
    /// In the caller's environment, under this name; the caller looked it up.
    Value(Vec<u8>),
}

impl fmt::Debug for SecretSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => formatter.debug_tuple("File").field(path).finish(),
            Self::Value(bytes) => write!(formatter, "Value({} bytes)", bytes.len()),
        }
    }
}

/// What a step may be allowed beyond what every step is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entitlement {
    /// `security.insecure`: `RUN --security=insecure`.
    SecurityInsecure,
    /// `network.host`: `RUN --network=host`.
    NetworkHost,
    /// `device`: `RUN --device` of any device.
    Device,
    /// `device=NAME`: `RUN --device` of one device, or with a class alone of every device of that class.
    OneDevice(String),
}

/// What of the caller's its steps may use. None of it is part of a cache key or a record.
#[derive(Clone, Default)]
pub struct Grants {
    /// Secrets by id.
    pub secrets: BTreeMap<String, SecretSource>,
    /// For each id of an SSH mount the socket of an agent, or files with keys.
    pub ssh: BTreeMap<String, Vec<PathBuf>>,
    /// What steps are allowed beyond what every step is.
    pub entitlements: BTreeSet<Entitlement>,
}

/// What is done about steps that are not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnMiss {
    /// They run.
    Run,
    /// They run, it is found out why, and what the next build is compared with is kept.
    Explain,
    /// As [`Self::Explain`], but the first of them ends the build as a failure.
    Fail,
}

/// A build.
pub struct BuildRequest {
    /// The files.
    pub context: ContextSource,
    /// What names stand for, beside stages and images; `name::os/architecture` is for that platform only.
    pub contexts: BTreeMap<String, NamedContextSource>,
    /// The instructions.
    pub dockerfile: DockerfileSource,
    /// How both are read.
    pub reading: FileReading,
    /// Names for the image.
    pub tags: Vec<Reference>,
    /// Values for `ARG`s.
    pub build_args: BTreeMap<String, String>,
    /// The stage to build, by name or number; the last if none.
    pub target: Option<String>,
    /// Whether results of earlier builds may be used.
    pub use_cache: bool,
    /// Stages, by name in any case or by number, of which nothing may be used that earlier builds made.
    pub rerun_stages: Vec<String>,
    /// What is done about steps that are not known.
    pub on_miss: OnMiss,
    /// When bases are looked up in their registry.
    pub pull: PullPolicy,
    /// The platforms to build for, each once; this machine's if there are none.
    pub platforms: Vec<Platform>,
    /// When an index lists the images for them.
    pub indexing: Indexing,
    /// Labels that are set last.
    pub labels: Vec<(String, String)>,
    /// Network of the steps that don't say themselves.
    pub network: Network,
    /// What else is true of all `RUN` steps.
    pub run: RunDefaults,
    /// What of the caller's the steps may use.
    pub grants: Grants,
    /// What is said beforehand about the sources.
    pub rules: SourceRules,
    /// What is to be said about the result.
    pub attestations: Attestations,
    /// Whether the image is kept in the store.
    pub keep: Keep,
    /// Limits that all steps have together.
    pub limits: SharedLimits,
    /// Whether layers are joined, in the store and in all outputs.
    pub regroup: Option<Regroup>,
    /// What to write.
    pub outputs: Vec<Output>,
    /// The caches of other machines.
    pub caches: Caches,
    /// Whether everything is built a second time, from nothing, and must come out the same.
    pub verify: bool,
    /// The times of what the build makes.
    pub epoch: EpochRequest,
}

/// When an index lists what was built, and each platform's files have a directory of their own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Indexing {
    /// If it is built for several platforms.
    #[default]
    Several,
    /// For one platform, too.
    Always,
}

impl Indexing {
    /// Whether images for so many platforms are listed in an index.
    pub(crate) fn makes_index(self, platforms: usize) -> bool {
        platforms > 1 || self == Self::Always
    }
}

/// Whether the store keeps what was built.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Keep {
    /// It does not.
    #[default]
    No,
    /// It does where all of it is here: what is only sent to a registry that has its layers is not fetched for this.
    IfHere,
    /// It does.
    Yes,
}

/// The times of what a build makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochRequest {
    /// Where they come from.
    pub source: EpochSource,
    /// Whether files have them as well, or only the configuration and its history.
    pub rewrite_files: bool,
}

impl Default for EpochRequest {
    fn default() -> Self {
        Self { source: EpochSource::Inputs, rewrite_files: true }
    }
}

/// Where the times of what a build makes come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EpochSource {
    /// From what is built: the time of the context's commit, else that of the youngest base.
    Inputs,
    /// From the clock: they are what they really are.
    Clock,
    /// These seconds since 1970. What a context has that is older stays older.
    Seconds(i64),
    /// These seconds since 1970, which all that is new has, however old it is.
    Exactly(i64),
    /// From what this names: `context`, a named context, or a stage that fetches something.
    Named(String),
}

/// When an image is looked up in its registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullPolicy {
    /// Even if it is here.
    Always,
    /// If it is not here.
    Missing,
    /// Not at all.
    Never,
}

/// A container to make. Absent values are the image's.
pub struct ContainerRequest {
    /// Name or id of the image.
    pub image: String,
    /// Name for the container; one is made up if there is none.
    pub name: Option<String>,
    /// Replaces the image's command.
    pub command: Vec<String>,
    /// Replaces the image's entrypoint; an empty text removes it.
    pub entrypoint: Option<String>,
    /// `NAME=value`, set after the image's.
    pub env: Vec<String>,
    /// Replaces the image's working directory.
    pub workdir: Option<String>,
    /// Replaces the image's user.
    pub user: Option<String>,
    /// Host name inside; the first 12 digits of the id if there is none.
    pub hostname: Option<String>,
    /// Labels of the container.
    pub labels: BTreeMap<String, String>,
    /// Network.
    pub network: Network,
    /// Whether the caller's standard input is connected.
    pub interactive: bool,
    /// Everything else.
    pub settings: ContainerSettings,
    /// When the image is pulled.
    pub pull: PullPolicy,
    /// The platform that the image must be for.
    pub platform: Option<Platform>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T192 to T195
    #[test]
    fn a_named_context_is_one_of_six_kinds() {
        use NamedContextSource as Source;
        let parsed = |text: &str| Source::parse(text).expect(text);
        assert_eq!(parsed("./dir"), Source::Directory("./dir".into()));
        assert_eq!(parsed("docker-image://alpine:3"), Source::Image("alpine:3".into()));
        assert_eq!(parsed("docker-image://scratch"), Source::Image("scratch".into()));
        assert_eq!(parsed("target:base"), Source::Target("base".into()));
        assert_eq!(parsed("https://h/x.tar"), Source::Url("https://h/x.tar".into()));
        assert!(matches!(parsed("https://h/x.git#main:sub"), Source::Git(git) if git.subdir.as_deref() == Some("sub")));
        assert!(matches!(parsed("git@h:x"), Source::Git(_)));
        let error = Source::parse("docker-image://A B").expect_err("it is no name");
        assert!(error.to_string().contains("`A B`"), "{error}");
        assert!(Source::parse("s3://bucket").expect_err("nobody knows it").to_string().contains("`s3://`"));
        assert!(Source::parse("https://h/x.git#a..b").is_err());
    }

    /// T195
    #[test]
    fn a_layout_is_named_by_directory_tag_and_digest() {
        let digest = BlobDigest::of(b"x");
        let parsed = |text: &str| {
            let LayoutSource { path, tag, digest } = LayoutSource::parse(text).expect(text);
            (path.display().to_string(), tag, digest)
        };
        assert_eq!(parsed("/a/b"), ("/a/b".into(), None, None));
        assert_eq!(parsed("/a:b/c"), ("/a:b/c".into(), None, None));
        assert_eq!(parsed("a:v1"), ("a".into(), Some("v1".into()), None));
        assert_eq!(parsed(&format!("a:v1@{digest}")), ("a".into(), Some("v1".into()), Some(digest)));
        assert_eq!(parsed(&format!("a@{digest}")), ("a".into(), None, Some(digest)));
        assert!(LayoutSource::parse("").is_err() && LayoutSource::parse("a@sha256:0").is_err());
    }
}
