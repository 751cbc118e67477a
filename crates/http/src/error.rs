//! What can go wrong in an exchange with a server.
//!
//! Addresses in these errors are printed without their queries, credentials never appear, and what a server said in its
//! own words is cut and cleaned of control characters.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::certs::CertificateError;
use crate::url::{Url, UrlError};

/// Why a request could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Somebody asked for an end.
    #[error("the transfer was cancelled")]
    Cancelled,
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
    #[error("the server does not speak TLS")]
    NoTls,
    /// The secure connection failed.
    #[error("TLS failed: {0}{hint}", hint = clock_hint(.0))]
    Tls(String),
    /// The other side does not speak HTTP as it should.
    #[error("the server's answer is not valid HTTP: {0}")]
    Protocol(String),
    /// The connection broke or could not be made.
    #[error("{}", in_own_words(.0))]
    Io(io::Error),
}

/// Returns what became of a connection. What the library says of its end is not what the system says.
fn in_own_words(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::UnexpectedEof && error.raw_os_error().is_none() {
        return "the server closed the connection before its answer was complete".to_owned();
    }
    error.to_string()
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
    /// To an address that only this machine and its neighbours have, where clouds serve credentials.
    #[error("it leads to {0}, which is an address of this network alone")]
    LinkLocal(Box<Url>),
    /// The address is not one.
    #[error("its address is not valid")]
    Location(#[from] UrlError),
    /// No address.
    #[error("it has no address")]
    Missing,
}

/// What a server said about a failure, made fit for a message: `: MANIFEST_UNKNOWN: no such tag`, or nothing.
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
