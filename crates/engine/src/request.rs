//! What a caller can ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::path::PathBuf;

use stave_dockerfile::plan::RunDefaults;
use stave_graph::Network;
use stave_oci::{Platform, Reference};

/// Where the files that `COPY` reads come from.
pub enum ContextSource {
    /// A directory of this machine.
    Directory(PathBuf),
    /// A stream that holds a tar (compressed or not) or, if it is no archive, the text of a Dockerfile.
    Stream(Box<dyn Read + Send>),
}

/// Where the Dockerfile comes from.
pub enum DockerfileSource {
    /// `Dockerfile`, else `dockerfile`, in the root of the context (or the stream of the context itself).
    Default,
    /// A file of this machine, or, where the context is an archive, a path in it.
    Path(PathBuf),
    /// A stream with the text.
    Stream(Box<dyn Read + Send>),
}

/// Where an output goes.
pub enum Destination {
    /// A file or, for [`OutputKind::Local`], a directory of this machine.
    Path(PathBuf),
    /// A stream: the caller's standard output.
    Stream(Box<dyn Write + Send>),
}

/// The form of an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputKind {
    /// OCI image layout in a tar.
    Oci,
    /// Archive for `docker load`.
    Docker,
    /// The root file system in a tar.
    Tar,
    /// The root file system as files of a directory.
    Local,
}

/// Something to write when the build has succeeded.
pub struct Output {
    /// In which form.
    pub kind: OutputKind,
    /// Where to.
    pub dest: Destination,
}

/// Where a secret's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// In a file of this machine, which is read when a step needs it.
    File(PathBuf),
    /// In the caller's environment, under this name; the caller looked it up.
    Value(Vec<u8>),
}

/// What a step may be allowed beyond what every step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entitlement {
    /// `security.insecure`: `RUN --security=insecure`.
    SecurityInsecure,
    /// `network.host`: `RUN --network=host`.
    NetworkHost,
    /// `device`: `RUN --device`.
    Device,
}

/// What of the caller's its steps may use. None of it is part of a cache key or a record.
#[derive(Default)]
pub struct Grants {
    /// Secrets by id.
    pub secrets: BTreeMap<String, SecretSource>,
    /// For each id of an SSH mount the socket of an agent, or files with keys.
    pub ssh: BTreeMap<String, Vec<PathBuf>>,
    /// What steps are allowed beyond what every step is.
    pub entitlements: BTreeSet<Entitlement>,
}

/// A build.
pub struct BuildRequest {
    /// The files.
    pub context: ContextSource,
    /// The instructions.
    pub dockerfile: DockerfileSource,
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
    /// When bases are looked up in their registry.
    pub pull: PullPolicy,
    /// The platform to build for; this machine's if none.
    pub platform: Option<Platform>,
    /// Labels that are set last.
    pub labels: Vec<(String, String)>,
    /// Network of the steps that don't say themselves.
    pub network: Network,
    /// What else is true of all `RUN` steps.
    pub run: RunDefaults,
    /// What of the caller's the steps may use.
    pub grants: Grants,
    /// Whether the image is kept in the store.
    pub keep: bool,
    /// What to write.
    pub outputs: Vec<Output>,
    /// Seconds since 1970 to which the times of new files, the configuration and the history are clamped.
    pub source_date_epoch: Option<i64>,
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
    /// When the image is pulled.
    pub pull: PullPolicy,
    /// The platform that the image must be for.
    pub platform: Option<Platform>,
}
