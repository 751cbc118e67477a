//! What can go wrong between a reference and an image.
//!
//! Addresses in these errors are printed without their queries, credentials never appear, and what a registry said
//! in its own words is cut and cleaned of control characters.

use std::fmt;
use std::io;

pub use stave_http::error::{HttpError, RedirectError, ServerMessage, TransportError};
use stave_http::{Origin, Url, UrlError};
use stave_oci::manifest::ManifestError;
use stave_oci::{BlobDigest, Platform};

use crate::challenge::ChallengeError;
use crate::config::credentials::CredentialError;

/// Why a request could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The exchange with the server failed.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The user's configuration forbids this registry.
    #[error("`{name}` is blocked in `{file}`")]
    Blocked {
        /// The image's name.
        name: String,
        /// The file that says so.
        file: String,
    },
    /// The name of a registry or a mirror is no host.
    #[error("cannot use the registry `{name}`")]
    Registry {
        /// As it is written in the image's name or in the configuration.
        name: String,
        /// What is wrong with it.
        source: UrlError,
    },
    /// There is no such image, or it is not shown to us.
    #[error("image `{reference}` does not exist at {origin}{message}")]
    NotFound {
        /// The image's name.
        reference: String,
        /// Where it was looked for.
        origin: Box<Origin>,
        /// What the server said about it.
        message: ServerMessage,
    },
    /// Access needs credentials, or other ones.
    #[error("{origin} denies access to `{repository}`, or there is no such repository, {}{message}", if *.with_credentials { "with the configured credentials" } else { "without credentials: none are configured for it" })]
    Denied {
        /// The registry.
        origin: Box<Origin>,
        /// The repository.
        repository: String,
        /// Whether the user's configuration had credentials for it.
        with_credentials: bool,
        /// What the server said about it.
        message: ServerMessage,
    },
    /// Somebody wanted to log in, and is not let.
    #[error("{origin} does not accept this user name and password{message}")]
    Login {
        /// The registry.
        origin: Box<Origin>,
        /// What the server said about it.
        message: ServerMessage,
    },
    /// The user's credentials could not be read or kept.
    #[error("cannot use the credentials for `{registry}`")]
    Credentials {
        /// The registry.
        registry: String,
        /// What went wrong.
        source: CredentialError,
    },
    /// The registry's demand for authentication makes no sense.
    #[error("cannot understand how {origin} wants to be authenticated to")]
    Challenge {
        /// The registry.
        origin: Box<Origin>,
        /// What is wrong with its `WWW-Authenticate`.
        source: ChallengeError,
    },
    /// The registry names a token server that must not get what it asks for.
    #[error("{origin} asks for tokens from {realm}, {reason}")]
    Realm {
        /// The registry.
        origin: Box<Origin>,
        /// The token server.
        realm: String,
        /// Why that is refused.
        reason: &'static str,
    },
    /// The token server's answer is no token.
    #[error("cannot get a token from {url}: {reason}")]
    Token {
        /// The token server.
        url: Box<Url>,
        /// What is wrong with its answer.
        reason: &'static str,
    },
    /// The bytes are not those that were asked for.
    #[error("{what} from {url} has the wrong digest: expected {expected}, got {actual}")]
    Digest {
        /// What was read.
        what: &'static str,
        /// From where.
        url: Box<Url>,
        /// The digest asked for.
        expected: BlobDigest,
        /// The digest of what came.
        actual: BlobDigest,
    },
    /// The number of bytes is not the descriptor's.
    #[error("{what} {digest} from {url} has the wrong size: expected {expected} bytes, got {actual}")]
    Size {
        /// What was read.
        what: &'static str,
        /// Its digest.
        digest: BlobDigest,
        /// From where.
        url: Box<Url>,
        /// The size in the descriptor.
        expected: u64,
        /// The size of what came.
        actual: SizeSeen,
    },
    /// A part of a blob that is not the part that was asked for.
    #[error("{url} answered a request for a part of {digest} with another part: {reason}")]
    Range {
        /// From where.
        url: Box<Url>,
        /// The blob.
        digest: BlobDigest,
        /// What is wrong with it.
        reason: String,
    },
    /// The manifest is unreadable, ambiguous or of a kind that is not supported.
    #[error("cannot use the manifest of `{reference}`")]
    Manifest {
        /// The image's name.
        reference: String,
        /// What is wrong with it.
        source: ManifestError,
    },
    /// The index has nothing for the platform asked for.
    #[error("image `{reference}` has nothing for {wanted}: it is made for {}", list(.available))]
    NoPlatform {
        /// The image's name.
        reference: String,
        /// The platform asked for.
        wanted: Box<Platform>,
        /// What there is.
        available: Vec<Platform>,
    },
    /// An index within an index within an index.
    #[error("image `{reference}` is an index of indexes, nested too deep")]
    IndexDepth {
        /// The image's name.
        reference: String,
    },
    /// More layers than any runtime mounts.
    #[error("image `{reference}` has {layers} layers, and at most {limit} are supported")]
    Layers {
        /// The image's name.
        reference: String,
        /// How many it has.
        layers: usize,
        /// The limit.
        limit: usize,
    },
    /// A layer of a kind that stave cannot unpack.
    #[error("image `{reference}` has a part of the type `{media_type}`, which is not supported")]
    MediaType {
        /// The image's name.
        reference: String,
        /// The type.
        media_type: String,
    },
    /// A layer that lives at another server.
    #[error("layer {digest} is to be fetched from elsewhere (`urls`), which is not supported")]
    ForeignLayer {
        /// The layer.
        digest: BlobDigest,
    },
    /// The receiver of a blob failed.
    #[error("cannot store blob {digest}")]
    Sink {
        /// The blob.
        digest: BlobDigest,
        /// How it failed.
        source: io::Error,
    },
    /// The blob to send could not be read.
    #[error("cannot read blob {digest} to send it")]
    Source {
        /// The blob.
        digest: BlobDigest,
        /// How it failed.
        source: io::Error,
    },
    /// A response lacks a header that the protocol asks for.
    #[error("{url} answered without the header `{header}`")]
    MissingHeader {
        /// Who answered.
        url: Box<Url>,
        /// What is missing.
        header: &'static str,
    },
    /// A digest cannot be pushed to: the manifest's own digest differs.
    #[error("cannot push to `{reference}`: the manifest's digest is {actual}")]
    PushDigest {
        /// The name with the digest.
        reference: String,
        /// The digest of the manifest.
        actual: BlobDigest,
    },
    /// A list that does not end.
    #[error("{origin} lists more {what} than are read ({limit})")]
    TooMany {
        /// The registry.
        origin: Box<Origin>,
        /// What is listed.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// A list that is none.
    #[error("{url} is not a list of {what}")]
    List {
        /// What was asked.
        url: Box<Url>,
        /// What should be listed.
        what: &'static str,
    },
    /// Something to be attached says not to what.
    #[error("the manifest {digest} has no `subject`, so it can be attached to nothing")]
    NoSubject {
        /// The manifest.
        digest: BlobDigest,
    },
    /// The tag that lists referrers where the registry does not is used for something else.
    #[error("`{reference}` is not a list of referrers, and nothing is put in its place")]
    ReferrersTag {
        /// The tag's full name.
        reference: String,
    },
    /// Others changed the list of referrers again and again.
    #[error(
        "`{reference}`, the list of referrers, was changed by others each time that it was written ({tries} times)"
    )]
    ReferrersBusy {
        /// The tag's full name.
        reference: String,
        /// How often it was written.
        tries: u32,
    },
    /// Neither a mirror nor the registry itself gave the image.
    #[error("no mirror of `{reference}` works ({failures}), nor does the registry itself")]
    Mirrors {
        /// The image's name.
        reference: String,
        /// Each mirror and how it failed.
        failures: String,
        /// The mirrors, if all of them say that there is no such image.
        without: Option<String>,
        /// How the registry itself failed.
        source: Box<RegistryError>,
    },
}

impl RegistryError {
    /// Returns where the image is not, as a part of a sentence, if that is why it cannot be had: its registry, or all of its
    /// mirrors where the registry cannot be asked, say that they have none of this name.
    #[must_use]
    pub fn absence(&self) -> Option<String> {
        match self {
            Self::NotFound { reference, origin, .. } => Some(format!("{origin} has no `{reference}`")),
            Self::Mirrors { source, without: None, .. } => source.absence(),
            Self::Mirrors { reference, source, without: Some(mirrors), .. } => Some(match &**source {
                Self::NotFound { origin, .. } => format!("neither {mirrors} nor {origin} has `{reference}`"),
                error => format!("{mirrors} has no `{reference}`, and its registry cannot say: {error}"),
            }),
            _ => None,
        }
    }

    /// Whether the registry spoke in the clear where TLS was expected.
    #[must_use]
    pub fn lacks_tls(&self) -> bool {
        matches!(self, Self::Http(HttpError::Transport { source: TransportError::NoTls, .. }))
    }
}

/// How many bytes came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SizeSeen {
    /// So many, and then the end.
    Exactly(u64),
    /// At least so many; the rest was not read.
    MoreThan(u64),
}

impl fmt::Display for SizeSeen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(bytes) => write!(formatter, "{bytes}"),
            Self::MoreThan(bytes) => write!(formatter, "more than {bytes}"),
        }
    }
}

fn list(platforms: &[Platform]) -> String {
    if platforms.is_empty() {
        return "no platform at all".to_owned();
    }
    platforms.iter().map(Platform::to_string).collect::<Vec<_>>().join(", ")
}
