//! One file over HTTP(S): fetched whole, or not at all where the server says that it is the one that is known.

use std::fmt;
use std::io::{self, Read as _, Write};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use stave_graph::remote::without_credentials;
use stave_http::{
    Authorization, Cancel, Clock, Environment, Failure, Http, HttpError, Patience, Reply, Request, Retry, Secret,
    Setup, SystemClock, Url, UrlError, Wait,
};
use stave_oci::{BlobDigest, Hasher};
use ureq::http::Method;

use crate::date;
use crate::limits::Limits;

/// How much is read at once, in bytes.
const CHUNK: usize = 256 * 1024;

/// How old a file has to be for its `Last-Modified` to tell it from the next one, in seconds.
///
/// Reference: RFC 9110, section 8.8.2.2; the minute is that of RFC 7232.
const SETTLED_SECONDS: i64 = 60;

/// Where a file is written to while it comes in.
pub trait FileSink: Write {
    /// Throws everything written so far away: the file starts anew, or it was wrong and must not be used.
    ///
    /// # Errors
    /// If that is not possible.
    fn restart(&mut self) -> io::Result<()>;
}

impl FileSink for Vec<u8> {
    fn restart(&mut self) -> io::Result<()> {
        self.clear();
        Ok(())
    }
}

/// By what a server recognises the content that it sent earlier.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Validators {
    /// Its `ETag`.
    pub etag: Option<String>,
    /// Its `Last-Modified`, where that can tell it from the next content.
    pub last_modified: Option<String>,
}

/// A file to fetch.
#[derive(Debug, Clone, Copy)]
pub struct FileRequest<'a> {
    /// Where it is. A user and a password in it are sent to this origin only.
    pub url: &'a str,
    /// What is known already: if the server has the same, nothing is fetched.
    pub known: Option<&'a Validators>,
    /// What it must be.
    pub checksum: Option<BlobDigest>,
    /// The value of the header that proves who asks, for the address's origin only.
    pub authorization: Option<&'a Secret<String>>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// The server has what is known.
    Unchanged,
    /// The whole file is in the sink.
    Whole(Download),
}

/// A file that came whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Download {
    /// The digest of its content.
    pub digest: BlobDigest,
    /// Its length.
    pub bytes: u64,
    /// When the server says that it was changed last, in seconds since 1970.
    pub modified: Option<i64>,
    /// By what the server will recognise it.
    pub validators: Validators,
}

/// Why a file could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The exchange failed.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The address is not one.
    #[error("cannot use the address `{url}`")]
    Address {
        /// The address, without credentials.
        url: String,
        /// What is wrong with it.
        source: UrlError,
    },
    /// The file is not the one that was asked for.
    #[error("{url} has the wrong checksum: expected {expected}, got {actual}")]
    Checksum {
        /// From where.
        url: Box<Url>,
        /// What was asked for.
        expected: BlobDigest,
        /// What came.
        actual: BlobDigest,
    },
    /// The connection ended too early.
    #[error("{url} sent {actual} of {expected} bytes")]
    Short {
        /// From where.
        url: Box<Url>,
        /// What the header promised.
        expected: u64,
        /// What came.
        actual: u64,
    },
    /// The file cannot be kept.
    #[error("cannot store the file from {url}")]
    Sink {
        /// From where.
        url: Box<Url>,
        /// How it failed.
        source: io::Error,
    },
}

/// A failed attempt.
struct Attempt {
    error: FetchError,
    retry: Retry,
}

impl From<Failure> for Attempt {
    fn from(failure: Failure) -> Self {
        Self { error: failure.error.into(), retry: failure.retry }
    }
}

impl From<FetchError> for Attempt {
    fn from(error: FetchError) -> Self {
        Self { error, retry: Retry::Never }
    }
}

/// Fetches files.
pub struct Fetcher {
    http: Http,
    limits: Limits,
    cancel: Cancel,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Fetcher")
    }
}

impl Fetcher {
    /// Returns what fetches files within `limits`, until `cancel` says to end.
    #[must_use]
    pub fn new(environment: Environment, limits: Limits, cancel: Cancel) -> Self {
        let http = Http::new(Setup::new(environment), limits.http.clone(), cancel.clone());
        Self { http, limits, cancel, clock: Arc::new(SystemClock::default()) }
    }

    /// Has the waits between attempts be those of `clock`.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Fetches the file that `request` names into `sink`. When it returns [`Fetched::Whole`], exactly the file is in the
    /// sink; otherwise the sink is empty or failed itself. `progress` gets the bytes that the sink has, and the size if
    /// the server says it; `again` gets why an attempt failed that is made again, and how long that takes.
    ///
    /// # Errors
    /// If the server does not give the file, or another one.
    pub fn fetch(
        &self,
        request: FileRequest<'_>,
        sink: &mut dyn FileSink,
        progress: &dyn Fn(u64, Option<u64>),
        again: &dyn Fn(&FetchError, Duration),
    ) -> Result<Fetched, FetchError> {
        let plain = without_credentials(request.url);
        let plain = plain.split('#').next().unwrap_or_default();
        let address = |source| FetchError::Address { url: plain.to_owned(), source };
        let url: Url = lower_scheme(plain).parse().map_err(address)?;
        let value = request.authorization.cloned().or_else(|| basic(request.url));
        let authorization = value.map(|value| Authorization { origin: url.origin().clone(), value });
        let mut patience = Patience::new(&self.limits.http, &self.cancel, &self.clock);
        loop {
            let mut ask = Request::new(Method::GET, url.clone());
            ask.authorization.clone_from(&authorization);
            let attempt = match self.attempt(ask, &request, sink, progress) {
                Ok(fetched) => return Ok(fetched),
                Err(attempt) => attempt,
            };
            sink.restart().map_err(|source| FetchError::Sink { url: Box::new(url.clone()), source })?;
            match patience.wait_told(attempt.retry, &|wait| again(&attempt.error, wait)) {
                Wait::Again => {}
                Wait::GiveUp => return Err(attempt.error),
                Wait::Cancelled => return Err(HttpError::Cancelled.into()),
            }
        }
    }

    fn attempt(
        &self,
        mut ask: Request<'_>,
        request: &FileRequest<'_>,
        sink: &mut dyn FileSink,
        progress: &dyn Fn(u64, Option<u64>),
    ) -> Result<Fetched, Attempt> {
        if let Some(known) = request.known {
            // With an entity tag, a date adds nothing but the chance that a server looks at that alone.
            match known {
                Validators { etag: Some(etag), .. } => ask.headers.push(("if-none-match", etag.clone())),
                Validators { last_modified: Some(date), .. } => ask.headers.push(("if-modified-since", date.clone())),
                Validators { etag: None, last_modified: None } => {}
            }
        }
        let mut reply = self.http.send(ask)?;
        let validators = validators(&reply);
        match reply.status {
            304 if request.known.is_some() => return Ok(Fetched::Unchanged),
            // A server that knows no conditions still says what it has; its body is left where it is.
            200 if validators.etag.is_some() && request.known.is_some_and(|known| known.etag == validators.etag) => {
                return Ok(Fetched::Unchanged);
            }
            200 | 203 => {}
            _ => return Err(self.http.status_failure(reply).into()),
        }
        let expected: Option<u64> = reply.header("content-length").and_then(|value| value.parse().ok());
        if expected.is_some_and(|bytes| bytes > self.limits.file_bytes_max) {
            return Err(self.too_large(&reply).into());
        }
        let (digest, bytes) = self.copy(&mut reply, expected, sink, progress)?;
        if let Some(expected) = request.checksum.filter(|expected| *expected != digest) {
            return Err(FetchError::Checksum { url: Box::new(reply.url), expected, actual: digest }.into());
        }
        let modified = reply.header("last-modified").and_then(date::parse);
        Ok(Fetched::Whole(Download { digest, bytes, modified, validators }))
    }

    fn copy(
        &self,
        reply: &mut Reply,
        expected: Option<u64>,
        sink: &mut dyn FileSink,
        progress: &dyn Fn(u64, Option<u64>),
    ) -> Result<(BlobDigest, u64), Attempt> {
        let url = || Box::new(reply.url.clone());
        let (mut buffer, mut bytes, mut hasher) = (vec![0; CHUNK], 0, Hasher::new());
        loop {
            if self.cancel.is_cancelled() {
                return Err(FetchError::from(HttpError::Cancelled).into());
            }
            let count = match reply.body.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.http.read_failure(&reply.url, error).into()),
            };
            bytes += count as u64;
            if bytes > self.limits.file_bytes_max {
                return Err(self.too_large(reply).into());
            }
            hasher.update(&buffer[..count]);
            sink.write_all(&buffer[..count]).map_err(|source| FetchError::Sink { url: url(), source })?;
            progress(bytes, expected);
        }
        if let Some(expected) = expected.filter(|expected| *expected != bytes) {
            let error = FetchError::Short { url: url(), expected, actual: bytes };
            return Err(Attempt { error, retry: Retry::Later });
        }
        sink.flush().map_err(|source| FetchError::Sink { url: url(), source })?;
        Ok((hasher.finish(), bytes))
    }

    fn too_large(&self, reply: &Reply) -> FetchError {
        let (url, limit) = (Box::new(reply.url.clone()), self.limits.file_bytes_max);
        HttpError::TooLarge { what: "the file", url, limit }.into()
    }
}

/// Returns by what the server will recognise the content of this reply.
fn validators(reply: &Reply) -> Validators {
    let text = |name: &str| reply.header(name).filter(|value| value.len() <= 1024).map(str::to_owned);
    // A date that is nearly now may be that of two contents.
    let settled = |modified: &String| {
        let (sent, modified) = (reply.header("date").and_then(date::parse), date::parse(modified));
        sent.zip(modified).is_some_and(|(sent, modified)| sent - modified >= SETTLED_SECONDS)
    };
    Validators { etag: text("etag"), last_modified: text("last-modified").filter(settled) }
}

/// Returns the address with its scheme in lower case, as those that compare it want it.
fn lower_scheme(url: &str) -> String {
    url.split_once("://").map_or_else(|| url.to_owned(), |(scheme, rest)| format!("{}://{rest}", scheme.to_lowercase()))
}

/// Returns the header for the user and the password that stand in an address.
pub(crate) fn basic(url: &str) -> Option<Secret<String>> {
    let rest = url.split_once("://")?.1;
    let authority = rest.split(['/', '?', '#']).next()?;
    let (credentials, _) = authority.rsplit_once('@')?;
    let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    let mut both = decoded(user);
    both.push(b':');
    both.extend(decoded(password));
    Some(Secret::new(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(both))))
}

/// Replaces `%41` by `A`; what is no such thing stays.
fn decoded(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::new(), 0);
    while let Some(&byte) = bytes.get(at) {
        let digit = |at: usize| char::from(*bytes.get(at)?).to_digit(16);
        if let (b'%', Some(high), Some(low)) = (byte, digit(at + 1), digit(at + 2)) {
            out.push(u8::try_from(high * 16 + low).unwrap_or_default());
            at += 3;
        } else {
            out.push(byte);
            at += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_credentials_of_an_address_are_a_header() {
        let header = basic("https://me:p%40ss@h/x@y").expect("there are some");
        assert_eq!(header.expose(), "Basic bWU6cEBzcw==");
        assert!(basic("https://h/x@y").is_none());
    }
}
