//! One HTTP exchange: connections, time limits, redirects and the meaning of failures.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ureq::http::{self, HeaderMap, Method};
use ureq::unversioned::transport::{ConnectProxyConnector, Connector as _, RustlsConnector};
use ureq::{Agent, SendBody};

use crate::cancel::Cancel;
use crate::certs;
use crate::environment::Environment;
use crate::error::{HttpError, RedirectError, ServerMessage, TransportError};
use crate::limits::{self, Limits};
use crate::message;
use crate::net;
use crate::proxy;
use crate::secret::Secret;
use crate::url::{Origin, Scheme, Url, is_own};

/// Whether a failed request may succeed if it is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
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
pub struct Failure {
    /// How it failed.
    pub error: HttpError,
    /// Whether to try again.
    pub retry: Retry,
}

impl From<HttpError> for Failure {
    fn from(error: HttpError) -> Self {
        Self { error, retry: Retry::Never }
    }
}

/// The value of an `Authorization` header and the only origin that may see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorization {
    /// The origin.
    pub origin: Origin,
    /// The value.
    pub value: Secret<String>,
}

/// What a request carries.
pub enum Payload<'a> {
    /// Nothing.
    None,
    /// These bytes.
    Bytes(&'a [u8]),
    /// So many bytes of a stream.
    Stream {
        /// Where they come from.
        reader: &'a mut dyn Read,
        /// How many.
        size: u64,
    },
    /// A stream whose end says how long it is.
    Unsized(&'a mut dyn Read),
}

/// A request.
pub struct Request<'a> {
    /// What to do.
    pub method: Method,
    /// With what.
    pub url: Url,
    /// Headers that every server may see, also after a redirect.
    pub headers: Vec<(&'static str, String)>,
    /// What proves who asks.
    pub authorization: Option<Authorization>,
    /// Headers of the user's own, which may prove who asks: only the server of the address sees them.
    pub secrets: Vec<(String, Secret<String>)>,
    /// The body.
    pub payload: Payload<'a>,
    /// Whether the user called the host insecure: its certificate may be wrong. Ends at the first redirect.
    pub insecure: bool,
}

impl Request<'_> {
    /// Returns a request without anything that could be left out.
    #[must_use]
    pub fn new(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            headers: Vec::new(),
            authorization: None,
            secrets: Vec::new(),
            payload: Payload::None,
            insecure: false,
        }
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
pub struct Reply {
    /// The verb for messages.
    pub action: &'static str,
    /// Who answered, after all redirects.
    pub url: Url,
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, still to be read.
    pub body: Box<dyn Read + Send>,
}

impl Reply {
    /// Returns the value of a header, if it is there and a text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Which addresses a client connects to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reach {
    /// All.
    #[default]
    Everything,
    /// All but those by which this machine, or what only it sees, is reached: see [`crate::url::is_own`]. What counts is
    /// the address that is connected to, whatever name it was found by. A proxy of the [`Environment`] may have any address.
    Others,
}

/// How a client behaves where its user decides.
#[derive(Clone)]
pub struct Setup {
    /// Proxies, and where certificates and addresses are found.
    pub environment: Environment,
    /// Folders that may have a folder of certificates for a host, named as it with its port; the first that does counts.
    pub certificates: Vec<PathBuf>,
    /// Which hosts the user called insecure: there the certificate may be wrong.
    pub insecure: Arc<dyn Fn(&Origin) -> bool + Send + Sync>,
    /// Reads the body of a failed request, if it is of a form that is known; otherwise it is taken for a text.
    pub message: fn(&[u8]) -> Option<ServerMessage>,
    /// Which addresses it connects to.
    pub reach: Reach,
}

impl Setup {
    /// Returns how a client behaves that makes no difference between servers.
    #[must_use]
    pub fn new(environment: Environment) -> Self {
        Self {
            environment,
            certificates: Vec::new(),
            insecure: Arc::new(|_| false),
            message: |_| None,
            reach: Reach::default(),
        }
    }
}

/// Makes requests.
pub struct Http {
    limits: Limits,
    cancel: Cancel,
    setup: Setup,
    agents: Mutex<BTreeMap<(Origin, bool), Agent>>,
}

impl fmt::Debug for Http {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Http")
    }
}

impl Http {
    /// Returns a client that works by `setup` within `limits`, until `cancel` says to end.
    #[must_use]
    pub fn new(setup: Setup, limits: Limits, cancel: Cancel) -> Self {
        Self { limits, cancel, setup, agents: Mutex::default() }
    }

    /// Sends `request`, follows redirects if it is one that only reads, and returns the response, whatever its status.
    ///
    /// # Errors
    /// If no answer came, or a redirect leads to where it must not.
    pub fn send(&self, mut request: Request<'_>) -> Result<Reply, Failure> {
        let follows = matches!(request.method, Method::GET | Method::HEAD);
        for _ in 0..=limits::REDIRECTS_MAX {
            let reply = self.exchange(&mut request)?;
            if !follows || !matches!(reply.status, 301 | 302 | 303 | 307 | 308) {
                return Ok(reply);
            }
            let url = redirected(&reply).map_err(|source| HttpError::Redirect { url: Box::new(reply.url), source })?;
            // Once an address was left, nothing that belongs to it is sent again, not even after a way back.
            if url.origin() != request.url.origin() {
                request.authorization = None;
                request.secrets.clear();
                request.insecure = (self.setup.insecure)(url.origin());
            }
            request.url = url;
        }
        let source = RedirectError::TooMany(limits::REDIRECTS_MAX);
        Err(HttpError::Redirect { url: Box::new(request.url), source }.into())
    }

    /// Sends `request` and returns the response, whatever its status and wherever it leads.
    ///
    /// # Errors
    /// If no answer came.
    pub fn exchange(&self, request: &mut Request<'_>) -> Result<Reply, Failure> {
        if self.cancel.is_cancelled() {
            return Err(HttpError::Cancelled.into());
        }
        let action = request.action();
        let url = request.url.clone();
        let agent = self.agent(url.origin(), request.insecure).map_err(|error| {
            let source = TransportError::Certificates(Box::new(error));
            HttpError::Transport { action, url: Box::new(url.clone()), source }
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
            builder = builder.header("authorization", sensitive(&authorization.value)?);
        }
        for (name, value) in &request.secrets {
            builder = builder.header(name, sensitive(value)?);
        }
        match &mut request.payload {
            Payload::None => agent.run(builder.body(())?),
            Payload::Bytes(bytes) => agent.run(builder.body(*bytes)?),
            Payload::Unsized(reader) => agent.run(builder.body(SendBody::from_reader(reader))?),
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
        let proxy = proxy::for_origin(&self.setup.environment, origin);
        // Who asks a proxy does not resolve the host's name, but the proxy's.
        let reach =
            if proxy.is_some() && !origin.address().is_some_and(is_own) { Reach::Everything } else { self.setup.reach };
        let mut builder = Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("stave/", env!("CARGO_PKG_VERSION")))
            .proxy(proxy.filter(|_| !(reach == Reach::Others)))
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
            let tls = certs::tls_for(&self.setup.environment, &self.setup.certificates, &origin.authority(), insecure)?;
            builder = builder.tls_config(tls);
        }
        let resolver =
            net::Resolver::new(self.setup.environment.etc(), self.cancel.clone(), limits.connect_timeout, reach);
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
    pub fn transport_failure(&self, action: &'static str, url: &Url, error: ureq::Error) -> Failure {
        if self.cancel.is_cancelled() {
            return HttpError::Cancelled.into();
        }
        let (source, retry) = self.transport_error(url, error);
        Failure { error: HttpError::Transport { action, url: Box::new(url.clone()), source }, retry }
    }

    /// Returns what a failed read of a body means.
    pub fn read_failure(&self, reply_url: &Url, error: io::Error) -> Failure {
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
            ureq::Error::Protocol(error) => (TransportError::Protocol(in_own_words(&error.to_string())), Retry::Later),
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
    ///
    /// # Errors
    /// If there are more, or the connection fails.
    pub fn read_all(&self, what: &'static str, reply: &mut Reply, limit: u64) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        let read = (&mut reply.body).take(limit + 1).read_to_end(&mut bytes);
        read.map_err(|error| self.read_failure(&reply.url, error))?;
        if bytes.len() as u64 > limit {
            return Err(HttpError::TooLarge { what, url: Box::new(reply.url.clone()), limit }.into());
        }
        Ok(bytes)
    }

    /// Returns what an unwelcome status means.
    pub fn status_failure(&self, mut reply: Reply) -> Failure {
        if self.cancel.is_cancelled() {
            return HttpError::Cancelled.into();
        }
        let retry = retry_after(&reply);
        let message = self.message(&mut reply);
        let (action, url, status) = (reply.action, Box::new(reply.url), reply.status);
        Failure { error: HttpError::Status { action, url, status, message }, retry }
    }

    /// Returns what the server said about a failure. A body that cannot be read says nothing.
    pub fn message(&self, reply: &mut Reply) -> ServerMessage {
        let mut bytes = Vec::new();
        let read = (&mut reply.body).take(limits::ERROR_BYTES_MAX).read_to_end(&mut bytes);
        if read.is_err() {
            return ServerMessage::default();
        }
        (self.setup.message)(&bytes).unwrap_or_else(|| message::plain(&bytes))
    }
}

/// A header's value that is in no debug output.
fn sensitive(value: &Secret<String>) -> Result<http::HeaderValue, http::Error> {
    let mut value = http::HeaderValue::from_str(value.expose())?;
    value.set_sensitive(true);
    Ok(value)
}

/// Returns what the library says of an answer that it cannot read, without the names of its parts.
fn in_own_words(text: &str) -> String {
    text.trim_start_matches("http parse fail: ").to_owned()
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
    if url.origin().is_link_local() && !reply.url.origin().is_link_local() {
        return Err(RedirectError::LinkLocal(Box::new(url)));
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
