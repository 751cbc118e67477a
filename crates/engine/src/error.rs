//! Why something could not be done, outside the language.

use std::io;
use std::path::PathBuf;

use stave_cache::CacheError;
use stave_dockerfile::suggest::nearest;
use stave_fetch::{FetchError, GitError};
use stave_http::HttpError;
use stave_oci::{DiffId, Platform};
use stave_registry::RegistryError;
use stave_store::{BlobError, BuildError, ContainerError, ImageError, StoreError, VolumeError};

/// An operation that failed. The text is a fragment; causes follow by `source`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// Neither the image nor the caller says what to run.
    #[error("no command is given, and image `{0}` has none")]
    NoCommand(String),
    /// A file of the user is not there, or is not what it should be.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// The verb.
        action: &'static str,
        /// The path, as the user knows it.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The request contradicts itself or asks for what does not exist.
    #[error("{message}")]
    Request {
        /// What is wrong.
        message: String,
        /// What to do instead, as a whole sentence.
        hint: Option<String>,
    },
    /// The image is for another platform.
    #[error("image `{image}` is for {found}, and {wanted} was asked for")]
    Platform {
        /// The image.
        image: String,
        /// What it is for.
        found: String,
        /// What was asked for.
        wanted: String,
    },
    /// A layer's files are not those that the image's configuration says.
    #[error("layer digest mismatch: expected {expected}, got {actual}")]
    LayerDigest {
        /// What the configuration says.
        expected: DiffId,
        /// What the layer has.
        actual: DiffId,
    },
    /// A program is for another processor, and nothing runs it here.
    #[error("cannot run `{program}`: it is for {platform}, and this machine ({host}) has no emulator for that")]
    NoEmulator {
        /// Path of the program.
        program: String,
        /// What the process is for.
        platform: String,
        /// What this machine is.
        host: String,
    },
    /// Cancelled by the caller.
    #[error("interrupted")]
    Interrupted,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] stave_store::StoreError),
    /// An image of the store cannot be found, stored or removed.
    #[error(transparent)]
    Image(#[from] stave_store::ImageError),
    /// A container of the store cannot be made, found or removed.
    #[error(transparent)]
    Container(#[from] stave_store::ContainerError),
    /// A blob of the store cannot be read or written.
    #[error(transparent)]
    Blob(#[from] stave_store::BlobError),
    /// The registries' configuration cannot be used.
    #[error(transparent)]
    Config(#[from] stave_registry::ConfigError),
    /// A registry failed or refused.
    #[error(transparent)]
    Registry(#[from] stave_registry::RegistryError),
    /// A daemon of Docker or Podman does not answer.
    #[error("cannot talk to the daemon at `{}`", socket.display())]
    Daemon {
        /// Where it listens, or should.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An image of a daemon is named, and none runs.
    #[error("`docker-daemon:{0}` is of a daemon, and neither Docker's nor Podman's is found")]
    NoDaemon(String),
    /// A cache of other machines could not be read or written.
    #[error(transparent)]
    Cache(#[from] stave_cache::CacheError),
    /// A build is done, and a cache cannot be told of it.
    #[error("the cache cannot be exported to {place}")]
    CacheExport {
        /// Where it goes.
        place: String,
        /// Why not.
        source: Box<EngineError>,
    },
    /// What a bundle has is not what was written into it.
    #[error("the bundle `{}` is damaged", path.display())]
    Bundle {
        /// The bundle.
        path: PathBuf,
        /// Where it shows.
        source: Box<EngineError>,
    },
    /// A volume cannot be made, found or removed.
    #[error(transparent)]
    Volume(#[from] stave_store::VolumeError),
    /// A build of the history is not there, or not as needed.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A file on the network could not be fetched.
    #[error(transparent)]
    Fetch(#[from] stave_fetch::FetchError),
    /// A Git repository could not be read.
    #[error(transparent)]
    Git(#[from] stave_fetch::GitError),
    /// A process could not be started or watched.
    #[error(transparent)]
    Sandbox(#[from] stave_sandbox::SandboxError),
    /// Files could not be read, copied, packed or unpacked.
    #[error("{context}")]
    Tree {
        /// What was being done, as a fragment.
        context: String,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl EngineError {
    /// Wraps an io error with its verb and path.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io { action, path: path.into(), source }
    }

    /// Wraps an error of the `tree` crate with what was being done.
    pub(crate) fn tree(context: impl Into<String>, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Tree { context: context.into(), source: Box::new(source) }
    }

    /// A request that cannot be carried out as asked.
    pub(crate) fn request(message: impl Into<String>, hint: Option<&str>) -> Self {
        Self::Request { message: message.into(), hint: hint.map(str::to_owned) }
    }

    /// Whether what is on the network was reached and is not there, or not what it should be.
    #[must_use]
    pub fn is_answer(&self) -> bool {
        match self {
            Self::Fetch(FetchError::Http(HttpError::Status { status, .. })) => (400..500).contains(status),
            Self::Fetch(error) => matches!(error, FetchError::Checksum { .. } | FetchError::Address { .. }),
            Self::Git(error) => matches!(
                error,
                GitError::Checksum { .. }
                    | GitError::NoReference { .. }
                    | GitError::Subdir { .. }
                    | GitError::Secret { .. }
            ),
            Self::Registry(error) => matches!(error, RegistryError::NotFound { .. }),
            _ => false,
        }
    }

    /// Whether it was stopped by who asked for it.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        match self {
            Self::Interrupted
            | Self::Git(GitError::Cancelled)
            | Self::Fetch(FetchError::Http(HttpError::Cancelled))
            | Self::Registry(RegistryError::Http(HttpError::Cancelled))
            | Self::Cache(
                CacheError::Http(HttpError::Cancelled)
                | CacheError::Registry(RegistryError::Http(HttpError::Cancelled)),
            ) => true,
            Self::CacheExport { source, .. } => source.is_cancelled(),
            _ => false,
        }
    }

    /// Returns advice on what to do, as a whole sentence, where there is one.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Request { hint, .. } => hint.clone(),
            Self::CacheExport { source, .. } => Some(source.hint().unwrap_or_else(|| {
                "With `ignore-error=true` in `--cache-to`, a build that is done does not fail for it.".to_owned()
            })),
            Self::Registry(RegistryError::NoPlatform { wanted, .. }) => unknown_processor(wanted),
            Self::Platform { wanted, .. } => wanted.parse().ok().and_then(|wanted| unknown_processor(&wanted)),
            Self::NoDaemon(_) => {
                Some("Start it, or name its socket in the variable DOCKER_HOST.".to_owned())
            }
            Self::Bundle { .. } => Some(
                "Copy it again, or export it again with `stave debug --export FILE` on the machine where the build failed."
                    .to_owned(),
            ),
            Self::NoEmulator { .. } => Some(stave_sandbox::emulation::ADVICE.to_owned()),
            Self::Image(ImageError::NotFound(name)) => Some(match name.parse::<stave_oci::Reference>() {
                Ok(_) => format!("Pull it with `stave pull {name}`, or see `stave images`."),
                Err(error) => format!("See `stave images`: {error}."),
            }),
            Self::Container(ContainerError::NotFound(_)) => {
                Some("See `stave ps -a` for the containers that there are.".to_owned())
            }
            Self::Build(BuildError::Empty) => Some("It has one as soon as `stave build` has begun with one.".to_owned()),
            Self::Build(BuildError::NotFound(_) | BuildError::Ambiguous { .. }) => {
                Some("See `stave builds ls` for the builds that there are.".to_owned())
            }
            Self::Git(error) => error.hint().map(str::to_owned),
            Self::Fetch(FetchError::Http(HttpError::Status { status: 401 | 403, url, .. })) => {
                let host = url.origin().authority();
                Some(format!("If the file is private, give a token with `--secret id=HTTP_AUTH_TOKEN_{host}`."))
            }
            Self::Registry(error) if error.lacks_tls() => {
                Some("A registry without TLS has to be declared `insecure` in registries.conf.".to_owned())
            }
            Self::Registry(RegistryError::Denied { origin, with_credentials, .. }) => {
                let registry = origin.authority();
                let registry = if registry.ends_with("docker.io") { "" } else { &registry };
                let login = format!("stave login {registry}");
                let login = login.trim_end();
                Some(if *with_credentials {
                    format!("Log in as somebody who may with `{login}`, or check the image's name.")
                } else {
                    format!("If it is private, log in with `{login}`.")
                })
            }
            _ => matches!(self.store_error(), Some(StoreError::Limit { .. })).then(|| {
                "`stave store limit` raises it, `stave store usage` shows what takes space, and `stave rmi` and `stave rm` \
                 free it."
                    .to_owned()
            }),
        }
    }

    /// Returns the store's own failure, where that is what stopped an operation on one of its things.
    fn store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error)
            | Self::Image(ImageError::Store(error) | ImageError::Config { source: BlobError::Store(error), .. })
            | Self::Container(ContainerError::Store(error))
            | Self::Blob(BlobError::Store(error))
            | Self::Volume(VolumeError::Store(error))
            | Self::Build(BuildError::Store(error)) => Some(error),
            _ => None,
        }
    }
}

/// Returns what to say of a platform that nothing is for, where its processor is none that is known: it is taken, as
/// containerd takes it, and is most probably misspelt.
fn unknown_processor(wanted: &Platform) -> Option<String> {
    let (name, known) = wanted.unknown_processor()?;
    let near = nearest(name, known.iter().copied()).map(|near| format!("; a similar one is `{near}`"));
    Some(format!("`{name}` is no architecture that stave knows{}.", near.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use stave_oci::{BlobDigest, ImageId};

    use super::*;

    #[test]
    fn a_full_store_has_its_advice_whatever_did_not_fit() {
        let full = || StoreError::Limit { limit: 5, used: 4, needed: 2 };
        let advice = EngineError::from(full()).hint().expect("there is advice");
        assert!(advice.starts_with("`stave store limit` raises it"), "{advice}");
        let id = ImageId::from(BlobDigest::of(b"{}"));
        let wrapped: [EngineError; 5] = [
            ImageError::Config { id, source: BlobError::Store(full()) }.into(),
            ImageError::Store(full()).into(),
            BlobError::Store(full()).into(),
            ContainerError::Store(full()).into(),
            VolumeError::Store(full()).into(),
        ];
        for error in wrapped {
            assert_eq!(error.hint().as_ref(), Some(&advice), "{error}");
        }
        assert_eq!(EngineError::from(ImageError::Config { id, source: BlobError::TooLong { limit: 1 } }).hint(), None);
    }
}
