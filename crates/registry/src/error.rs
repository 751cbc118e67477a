//! What can go wrong between a reference and an image.
//!
//! Addresses in these errors are printed without their queries, credentials never appear, and what a registry said
//! in its own words is cut and cleaned of control characters.

use std::fmt;
use std::io;
use std::time::Duration;

use stave_oci::manifest::ManifestError;
use stave_oci::{BlobDigest, Platform};

use crate::challenge::ChallengeError;
use crate::config::certs::CertificateError;
use crate::config::credentials::CredentialError;
use crate::url::{Origin, Url, UrlError};

/// Why a request could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// Somebody asked for an end.
    #[error("the transfer was cancelled")]
    Cancelled,
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
    /// The connection failed, or what came over it was no HTTP.
    #[error("cannot {action} {url}")]
    Transport {
        /// What was tried: `get`, `put`...
        action: &'static str,
        /// From or to where.
        url: Box<Url>,
        /// How it failed.
        source: TransportError,
    },
    /// The server refused.
    #[error("cannot {action} {url}: the server answered {status}{message}")]
    Status {
        /// What was tried.
        action: &'static str,
        /// From or to where.
        url: Box<Url>,
        /// The HTTP status.
        status: u16,
        /// What the server said about it.
        message: ServerMessage,
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
    /// The user's credentials could not be read.
    #[error("cannot read the credentials for `{registry}`")]
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
    /// Somewhere between hosts.
    #[error("cannot follow the redirect from {url}")]
    Redirect {
        /// Who redirects.
        url: Box<Url>,
        /// What is wrong with it.
        source: RedirectError,
    },
    /// More bytes than are allowed.
    #[error("{what} at {url} has more than the {limit} bytes that are allowed")]
    TooLarge {
        /// What was read.
        what: &'static str,
        /// From where.
        url: Box<Url>,
        /// The limit.
        limit: u64,
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
    /// Neither a mirror nor the registry itself gave the image.
    #[error("no mirror of `{reference}` works ({failures}), nor does the registry itself")]
    Mirrors {
        /// The image's name.
        reference: String,
        /// Each mirror and how it failed.
        failures: String,
        /// How the registry itself failed.
        source: Box<RegistryError>,
    },
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

/// How a connection failed.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// No such host, or no answer about it.
    #[error("cannot find the address of `{host}`: {reason}")]
    Resolve {
        /// The host.
        host: String,
        /// What the name servers said.
        reason: String,
    },
    /// Nothing moved for too long.
    #[error("{what} took longer than {} s", .limit.as_secs_f64())]
    Timeout {
        /// What was waited for.
        what: &'static str,
        /// For how long.
        limit: Duration,
    },
    /// The certificates configured for the host cannot be used.
    #[error(transparent)]
    Certificates(Box<CertificateError>),
    /// The server answered in the clear.
    #[error("the server does not speak TLS (a registry without TLS has to be declared `insecure` in registries.conf)")]
    NoTls,
    /// The secure connection failed.
    #[error("TLS failed: {0}{hint}", hint = clock_hint(.0))]
    Tls(String),
    /// The other side does not speak HTTP as it should.
    #[error("the server's answer is not valid HTTP: {0}")]
    Protocol(String),
    /// The connection broke or could not be made.
    #[error(transparent)]
    Io(io::Error),
}

/// A wrong clock is the usual reason for a certificate that is not valid yet or any more.
fn clock_hint(text: &str) -> &'static str {
    let times = ["Expired", "NotValidYet", "expired", "not valid yet"];
    if times.iter().any(|word| text.contains(word)) { " (is this machine's clock right?)" } else { "" }
}

/// What is wrong with a redirect.
#[derive(Debug, thiserror::Error)]
pub enum RedirectError {
    /// A loop, most likely.
    #[error("there were more than {0} of them")]
    TooMany(u32),
    /// From an encrypted connection to one in the clear.
    #[error("it leads from https to {0}, which is not encrypted")]
    Downgrade(Box<Url>),
    /// The address is not one.
    #[error("its address is not valid")]
    Location(#[from] UrlError),
    /// No address.
    #[error("it has no address")]
    Missing,
}

/// What a registry said about a failure, made fit for a message: `: MANIFEST_UNKNOWN: no such tag`, or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerMessage {
    /// The first error code, as `MANIFEST_UNKNOWN`; empty if the body was no error document.
    pub code: String,
    /// The words.
    pub text: String,
}

impl fmt::Display for ServerMessage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [&self.code, &self.text] {
            if !part.is_empty() {
                write!(formatter, ": {part}")?;
            }
        }
        Ok(())
    }
}

fn list(platforms: &[Platform]) -> String {
    if platforms.is_empty() {
        return "no platform at all".to_owned();
    }
    platforms.iter().map(Platform::to_string).collect::<Vec<_>>().join(", ")
}
