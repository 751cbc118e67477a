//! One HTTP exchange: connections, time limits, redirects and the meaning of failures. Knows nothing of registries.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ureq::http::{self, HeaderMap, Method};
use ureq::unversioned::transport::{ConnectProxyConnector, Connector as _, RustlsConnector};
use ureq::{Agent, SendBody};

use crate::cancel::Cancel;
use crate::config::{Config, certs};
use crate::error::{RedirectError, RegistryError, ServerMessage, TransportError};
use crate::limits::{self, Limits};
use crate::message;
use crate::net;
use crate::proxy;
use crate::secret::Secret;
use crate::url::{Origin, Scheme, Url};

/// Whether a failed request may succeed if it is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retry {
    /// No: the answer will be the same.
    Never,
    /// Perhaps, after a while.
    Later,
    /// Perhaps, but nobody is there at all: a few attempts are enough.
    Briefly,
    /// Not before so much time has passed; the server said so.
    After(Duration),
}

/// A failed request.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: RegistryError,
    pub(crate) retry: Retry,
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        Self { error, retry: Retry::Never }
    }
}

/// The value of an `Authorization` header and the only origin that may see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Authorization {
    pub(crate) origin: Origin,
    pub(crate) value: Secret<String>,
}

/// What a request carries.
pub(crate) enum Payload<'a> {
    None,
    Bytes(&'a [u8]),
    Stream { reader: &'a mut dyn Read, size: u64 },
}

/// A request.
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) authorization: Option<Authorization>,
    pub(crate) payload: Payload<'a>,
    /// Whether the user called the host insecure: its certificate may be wrong. Ends at the first redirect.
    pub(crate) insecure: bool,
}

impl Request<'_> {
    pub(crate) fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: Vec::new(), authorization: None, payload: Payload::None, insecure: false }
    }

    /// The verb for messages.
    fn action(&self) -> &'static str {
        match self.method.as_str() {
            "HEAD" => "look up",
            "POST" => "post to",
            "PUT" => "put",
            _ => "get",
        }
    }
}

/// A response whose header has come.
pub(crate) struct Reply {
    pub(crate) action: &'static str,
    /// Who answered, after all redirects.
    pub(crate) url: Url,
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Box<dyn Read + Send>,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Makes requests.
pub(crate) struct Http {
    limits: Limits,
    cancel: Cancel,
    config: Config,
    agents: Mutex<BTreeMap<(Origin, bool), Agent>>,
}

impl fmt::Debug for Http {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Http")
    }
}

impl Http {
    pub(crate) fn new(config: Config, limits: Limits, cancel: Cancel) -> Self {
        Self { limits, cancel, config, agents: Mutex::default() }
    }

    /// Sends `request`, follows redirects if it is one that only reads, and returns the response, whatever its status.
    pub(crate) fn send(&self, mut request: Request<'_>) -> Result<Reply, Failure> {
        let follows = matches!(request.method, Method::GET | Method::HEAD);
        for _ in 0..=limits::REDIRECTS_MAX {
            let reply = self.exchange(&mut request)?;
            if !follows || !matches!(reply.status, 301 | 302 | 303 | 307 | 308) {
                return Ok(reply);
            }
            let url =
                redirected(&reply).map_err(|source| RegistryError::Redirect { url: Box::new(reply.url), source })?;
            // Once an address was left, nothing that belongs to it is sent again, not even after a way back.
            if url.origin() != request.url.origin() {
                request.authorization = None;
                request.insecure = self.config.registries.is_insecure(&url.origin().authority());
            }
            request.url = url;
        }
        let source = RedirectError::TooMany(limits::REDIRECTS_MAX);
        Err(RegistryError::Redirect { url: Box::new(request.url), source }.into())
    }

    fn exchange(&self, request: &mut Request<'_>) -> Result<Reply, Failure> {
        if self.cancel.is_cancelled() {
            return Err(RegistryError::Cancelled.into());
        }
        let action = request.action();
        let url = request.url.clone();
        let agent = self.agent(url.origin(), request.insecure).map_err(|error| {
            let source = TransportError::Certificates(Box::new(error));
            RegistryError::Transport { action, url: Box::new(url.clone()), source }
        })?;
        let response = self.run(&agent, request).map_err(|error| self.transport_failure(action, &url, error))?;
        let (parts, body) = response.into_parts();
        Ok(Reply {
            action,
            url,
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: Box::new(body.into_reader()),
        })
    }

    fn run(&self, agent: &Agent, request: &mut Request<'_>) -> Result<http::Response<ureq::Body>, ureq::Error> {
        let mut builder = http::Request::builder().method(&request.method).uri(request.url.full());
        for (name, value) in &request.headers {
            builder = builder.header(*name, value);
        }
        if let Some(authorization) = &request.authorization
            && authorization.origin == *request.url.origin()
        {
            let mut value = http::HeaderValue::from_str(authorization.value.expose()).map_err(http::Error::from)?;
            value.set_sensitive(true);
            builder = builder.header("authorization", value);
        }
        match &mut request.payload {
            Payload::None => agent.run(builder.body(())?),
            Payload::Bytes(bytes) => agent.run(builder.body(*bytes)?),
            Payload::Stream { reader, size } => {
                let body = SendBody::from_reader(reader);
                let request = builder.header("content-length", size.to_string()).body(body)?;
                let patience = self.limits.commit_timeout;
                let request = agent.configure_request(request);
                agent.run(request.timeout_per_read(Some(patience)).timeout_recv_response(Some(patience)).build())
            }
        }
    }

    /// Returns the keeper of the connections to `origin`.
    fn agent(&self, origin: &Origin, insecure: bool) -> Result<Agent, certs::CertificateError> {
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (origin.clone(), insecure);
        if let Some(agent) = agents.get(&key) {
            return Ok(agent.clone());
        }
        let limits = &self.limits;
        let mut builder = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("stave/", env!("CARGO_PKG_VERSION")))
            .proxy(proxy::for_origin(&self.config.environment, origin))
            .max_response_header_size(limits::HEADER_BYTES_MAX)
            .max_idle_connections_per_host(limits.uploads_parallel_max.max(8))
            .input_buffer_size(256 * 1024)
            .output_buffer_size(256 * 1024)
            .timeout_resolve(Some(limits.connect_timeout))
            .timeout_connect(Some(limits.connect_timeout))
            .timeout_recv_response(Some(limits.first_byte_timeout))
            .timeout_per_read(Some(limits.idle_timeout))
            .timeout_per_write(Some(limits.idle_timeout));
        if origin.scheme == Scheme::Https {
            let tls = certs::tls_for(&self.config.environment, &origin.authority(), insecure)?;
            builder = builder.tls_config(tls);
        }
        let resolver = net::Resolver::new(self.config.environment.etc(), self.cancel.clone(), limits.connect_timeout);
        let connector =
            ().chain(ConnectProxyConnector::default())
                .chain(net::Tcp::new(self.cancel.clone(), limits.connect_timeout))
                .chain(RustlsConnector::default());
        let agent = Agent::with_parts(builder.build(), connector, resolver);
        self.cancel.shuts(&agent);
        agents.insert(key, agent.clone());
        Ok(agent)
    }

    /// Returns what a failed connection means.
    pub(crate) fn transport_failure(&self, action: &'static str, url: &Url, error: ureq::Error) -> Failure {
        if self.cancel.is_cancelled() {
            return RegistryError::Cancelled.into();
        }
        let (source, retry) = self.transport_error(url, error);
        Failure { error: RegistryError::Transport { action, url: Box::new(url.clone()), source }, retry }
    }

    /// Returns what a failed read of a body means.
    pub(crate) fn read_failure(&self, reply_url: &Url, error: io::Error) -> Failure {
        let error = match error.downcast::<ureq::Error>() {
            Ok(error) => error,
            Err(error) => ureq::Error::Io(error),
        };
        self.transport_failure("read", reply_url, error)
    }

    fn transport_error(&self, url: &Url, error: ureq::Error) -> (TransportError, Retry) {
        match error {
            ureq::Error::Timeout(timeout @ (ureq::Timeout::Resolve | ureq::Timeout::Connect)) => {
                (self.timeout(timeout), Retry::Briefly)
            }
            ureq::Error::Timeout(timeout) => (self.timeout(timeout), Retry::Later),
            ureq::Error::Other(other) => match other.downcast::<net::ResolveError>() {
                Ok(error) => {
                    let (host, reason) = (url.origin().host.clone(), error.reason);
                    let retry = if error.temporary { Retry::Briefly } else { Retry::Never };
                    (TransportError::Resolve { host, reason }, retry)
                }
                Err(other) => (TransportError::Protocol(other.to_string()), Retry::Never),
            },
            ureq::Error::Tls(text) => (TransportError::Tls(text.to_owned()), Retry::Never),
            ureq::Error::Rustls(error) => (tls_error(&error), Retry::Never),
            ureq::Error::Io(error) => match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                Some(tls) => (tls_error(tls), Retry::Never),
                None if is_absence(&error) => (TransportError::Io(error), Retry::Briefly),
                None => (TransportError::Io(error), Retry::Later),
            },
            ureq::Error::LargeResponseHeader(..) => (TransportError::Protocol(error.to_string()), Retry::Never),
            ureq::Error::Protocol(_) => (TransportError::Protocol(error.to_string()), Retry::Later),
            other => (TransportError::Protocol(other.to_string()), Retry::Never),
        }
    }

    fn timeout(&self, timeout: ureq::Timeout) -> TransportError {
        let limits = &self.limits;
        let (what, limit) = match timeout {
            ureq::Timeout::Resolve | ureq::Timeout::Connect => ("connecting", limits.connect_timeout),
            ureq::Timeout::RecvResponse => ("waiting for an answer", limits.first_byte_timeout),
            _ => ("waiting for the next byte", limits.idle_timeout),
        };
        TransportError::Timeout { what, limit }
    }

    /// Reads the whole body; more than `limit` bytes are an error.
    pub(crate) fn read_all(&self, what: &'static str, reply: &mut Reply, limit: u64) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        let read = (&mut reply.body).take(limit + 1).read_to_end(&mut bytes);
        read.map_err(|error| self.read_failure(&reply.url, error))?;
        if bytes.len() as u64 > limit {
            return Err(RegistryError::TooLarge { what, url: Box::new(reply.url.clone()), limit }.into());
        }
        Ok(bytes)
    }

    /// Returns what an unwelcome status means.
    pub(crate) fn status_failure(&self, mut reply: Reply) -> Failure {
        if self.cancel.is_cancelled() {
            return RegistryError::Cancelled.into();
        }
        let retry = retry_after(&reply);
        let message = Self::message(&mut reply);
        let (action, url, status) = (reply.action, Box::new(reply.url), reply.status);
        Failure { error: RegistryError::Status { action, url, status, message }, retry }
    }

    /// Returns what the server said about a failure. A body that cannot be read says nothing.
    pub(crate) fn message(reply: &mut Reply) -> ServerMessage {
        let mut bytes = Vec::new();
        let read = (&mut reply.body).take(limits::ERROR_BYTES_MAX).read_to_end(&mut bytes);
        read.map_or_else(|_| ServerMessage::default(), |_| message::parse(&bytes))
    }
}

/// Whether nobody listens at the other end, as far as anybody can say.
fn is_absence(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(error.kind(), Kind::ConnectionRefused | Kind::HostUnreachable | Kind::NetworkUnreachable)
}

fn tls_error(error: &rustls::Error) -> TransportError {
    match error {
        rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType) => TransportError::NoTls,
        other => TransportError::Tls(other.to_string()),
    }
}

/// Returns where a redirect leads.
fn redirected(reply: &Reply) -> Result<Url, RedirectError> {
    let url = reply.url.join(reply.header("location").ok_or(RedirectError::Missing)?)?;
    if reply.url.origin().scheme == Scheme::Https && url.origin().scheme == Scheme::Http {
        return Err(RedirectError::Downgrade(Box::new(url)));
    }
    Ok(url)
}

/// Requests that the server could not serve just now are repeated; those that it refused are not.
fn retry_after(reply: &Reply) -> Retry {
    if !matches!(reply.status, 408 | 429 | 500 | 502 | 503 | 504) {
        return Retry::Never;
    }
    // The form with a date would need a wall clock that agrees with the server's; our own wait serves as well.
    let seconds = reply.header("retry-after").and_then(|value| value.trim().parse().ok());
    seconds.map_or(Retry::Later, |seconds| Retry::After(Duration::from_secs(seconds)))
}

/// Counts failures of one undertaking and waits between its attempts.
pub(crate) struct Patience<'a> {
    limits: &'a Limits,
    cancel: &'a Cancel,
    clock: &'a Arc<dyn crate::clock::Clock>,
    retries: u32,
    failures: u32,
}

impl<'a> Patience<'a> {
    pub(crate) fn new(limits: &'a Limits, cancel: &'a Cancel, clock: &'a Arc<dyn crate::clock::Clock>) -> Self {
        Self { limits, cancel, clock, retries: limits.retries_max, failures: 0 }
    }

    /// None at all: somebody else can be asked.
    pub(crate) fn none(mut self) -> Self {
        self.retries = 0;
        self
    }

    /// Forgets the failures so far: something was achieved since.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Waits before the next attempt, or returns the failure's error if there should be none.
    pub(crate) fn wait(&mut self, failure: Failure) -> Result<(), RegistryError> {
        let wait = match failure.retry {
            Retry::Never => return Err(failure.error),
            _ if self.failures >= self.retries => return Err(failure.error),
            Retry::Briefly if self.failures >= self.limits.connect_retries_max => return Err(failure.error),
            Retry::After(wait) => wait.min(self.limits.retry_after_max),
            Retry::Later | Retry::Briefly => {
                let doubled = self.limits.backoff_first.saturating_mul(1_u32 << self.failures.min(16));
                let wait = doubled.min(self.limits.backoff_max);
                // Up to a quarter more, so that clients that failed together don't come back together.
                wait + wait * self.clock.chance() / 400
            }
        };
        self.failures += 1;
        self.clock.sleep(wait, self.cancel);
        if self.cancel.is_cancelled() { Err(RegistryError::Cancelled) } else { Ok(()) }
    }
}
