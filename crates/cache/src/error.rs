//! Why a cache could not be read or written.

use std::io;
use std::path::PathBuf;

use stave_http::HttpError;
use stave_http::url::Url;
use stave_registry::{ConfigError, RegistryError};

use crate::catalog::FormatError;

/// An operation on a cache that failed. The text is a fragment; causes follow by `source`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// There is no cache there.
    #[error("there is no cache at {0}")]
    Missing(String),
    /// A blob that the cache names is not there.
    #[error("blob {digest} is not at {place}")]
    NoBlob {
        /// The blob.
        digest: String,
        /// The cache.
        place: String,
    },
    /// What is there is no cache.
    #[error("what is at {place} cannot be used as a cache")]
    Format {
        /// The cache.
        place: String,
        /// Why.
        source: FormatError,
    },
    /// Others changed the cache each time that it was about to be written.
    #[error("{place} was changed by others {attempts} times while it was written")]
    Contended {
        /// The cache.
        place: String,
        /// How often.
        attempts: u32,
    },
    /// The service answered with something that it should not.
    #[error("{url}: {reason}")]
    Answer {
        /// Who answered.
        url: Box<Url>,
        /// What is wrong.
        reason: String,
    },
    /// The place cannot be used as it is named.
    #[error("cannot use `{name}` for a cache: {reason}")]
    Place {
        /// Its name.
        name: String,
        /// Why.
        reason: String,
    },
    /// A file or directory of a local cache.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// The verb.
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The bytes of a blob could not be read, or not be kept.
    #[error("cannot {action} blob {digest}")]
    Blob {
        /// The verb.
        action: &'static str,
        /// The blob.
        digest: String,
        /// Why.
        source: io::Error,
    },
    /// A server could not be reached, or refused.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// A registry failed or refused.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The registries' configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl CacheError {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io { action, path: path.into(), source }
    }

    /// Whether there is just nothing there, as before the first export.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::Missing(_) | Self::Registry(RegistryError::NotFound { .. }))
    }
}
