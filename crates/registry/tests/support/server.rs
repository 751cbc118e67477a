//! An HTTP server that does what a test says, right or wrong, and remembers what it was asked.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use stave_oci::BlobDigest;

use super::image::Image;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    pub target: String,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Asked {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// `GET /v2/x/manifests/1`, without the query.
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.target.split('?').next().expect("there is a first part"))
    }
}

/// How the answer's body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// As it should.
    Whole,
    /// The connection closes after so many bytes of the body.
    Cut(usize),
    /// The connection is reset after so many bytes of the body.
    Reset(usize),
    /// Nothing comes after so many bytes of the body.
    Stall(usize),
    /// The connection closes before anything was said.
    Silent,
}

/// An answer to a request.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Overrides the length that the header states; nothing means that the body ends with the connection.
    pub length: Option<usize>,
    pub end: End,
}

impl Answer {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Self { status, headers: Vec::new(), length: Some(body.len()), body, end: End::Whole }
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    #[must_use]
    pub fn ends(mut self, end: End) -> Self {
        self.end = end;
        self
    }

    #[must_use]
    pub fn without_length(mut self) -> Self {
        self.length = None;
        self
    }
}

type Script = dyn Fn(&Asked) -> Answer + Send + Sync;

/// The server; it ends with the value.
pub struct Server {
    /// `127.0.0.1:1234`.
    pub address: String,
    pub port: u16,
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
}

struct Shared {
    script: Box<Script>,
    asked: Mutex<Vec<Asked>>,
    open: Mutex<Vec<TcpStream>>,
    ended: AtomicBool,
    tls: Option<Arc<rustls::ServerConfig>>,
}

impl Server {
    pub fn start(script: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_on("127.0.0.1:0", script).expect("a port is free")
    }

    /// Nothing, if this machine lacks the address.
    pub fn start_on(address: &str, script: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Option<Self> {
        Some(Self::start_with(TcpListener::bind(address).ok()?, None, Box::new(script)))
    }

    /// A server for `registry.test` and its neighbours; with `clients`, only for those with a certificate.
    pub fn start_tls(clients: bool, script: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        Self::start_with(listener, Some(Arc::new(tls(clients, ("server.crt", "server.key")))), Box::new(script))
    }

    /// A server for `registry.test` with another certificate of the test data, and its key.
    pub fn start_tls_as(pair: (&str, &str), script: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        Self::start_with(listener, Some(Arc::new(tls(false, pair))), Box::new(script))
    }

    fn start_with(listener: TcpListener, tls: Option<Arc<rustls::ServerConfig>>, script: Box<Script>) -> Self {
        let address = listener.local_addr().expect("it is bound");
        let port = address.port();
        let (asked, open, ended) = (Mutex::default(), Mutex::default(), AtomicBool::new(false));
        let shared = Arc::new(Shared { script, asked, open, ended, tls });
        let for_thread = shared.clone();
        let thread = std::thread::spawn(move || accept(&listener, &for_thread));
        Self { address: address.to_string(), port, shared, thread: Some(thread) }
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().expect("no test thread panics").clone()
    }

    /// What was asked but for the search for TLS, which every client of a server on loopback begins with.
    pub fn lines(&self) -> Vec<String> {
        self.asked().iter().map(Asked::line).filter(|line| line != "HEAD /v2/").collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(&self.address));
        for stream in self.shared.open.lock().expect("no test thread panics").drain(..) {
            drop(stream.shutdown(Shutdown::Both));
        }
        self.thread.take().map(std::thread::JoinHandle::join);
    }
}

fn tls(clients: bool, (certificate, key): (&str, &str)) -> rustls::ServerConfig {
    let read = |name: &str| {
        std::fs::read(format!("{}/test_data/tls/{name}", env!("CARGO_MANIFEST_DIR"))).expect("the file is there")
    };
    let certificate = CertificateDer::from_pem_slice(&read(certificate)).expect("it is a certificate");
    let key = PrivateKeyDer::from_pem_slice(&read(key)).expect("it is a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("the versions are known");
    let builder = if clients {
        let mut roots = rustls::RootCertStore::empty();
        let authority = CertificateDer::from_pem_slice(&read("ca.crt")).expect("it is a certificate");
        roots.add(authority).expect("it is an authority");
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        builder.with_client_cert_verifier(verifier.build().expect("there are roots"))
    } else {
        builder.with_no_client_auth()
    };
    builder.with_single_cert(vec![certificate], key).expect("the key fits")
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.ended.load(Ordering::SeqCst) {
            return;
        }
        let stream = stream.expect("a connection can be accepted");
        let clone = stream.try_clone().expect("a connection can be cloned");
        shared.open.lock().expect("no test thread panics").push(clone);
        let shared = shared.clone();
        std::thread::spawn(move || {
            // However the client ends a connection is its own affair.
            drop(serve(&stream, &shared));
            drop(stream.shutdown(Shutdown::Both));
        });
    }
}

/// What plain and encrypted connections have in common.
trait Connection: Read + Write {}
impl<T: Read + Write> Connection for T {}

fn serve(stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let inner: Box<dyn Connection> = match &shared.tls {
        None => Box::new(stream.try_clone()?),
        Some(config) => {
            let connection = rustls::ServerConnection::new(config.clone()).map_err(io::Error::other)?;
            Box::new(rustls::StreamOwned::new(connection, stream.try_clone()?))
        }
    };
    let mut reader = BufReader::new(inner);
    if reader.fill_buf()?.first() == Some(&0x16) {
        // A client that speaks TLS to a server that does not; real ones answer like this too.
        reader.get_mut().write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")?;
        return Ok(());
    }
    while let Some(asked) = read_request(&mut reader)? {
        shared.asked.lock().expect("no test thread panics").push(asked.clone());
        let answer = (shared.script)(&asked);
        if !write_answer(reader.get_mut(), stream, &asked, &answer)? {
            return Ok(());
        }
    }
    Ok(())
}

fn read_request(reader: &mut impl BufRead) -> io::Result<Option<Asked>> {
    if reader.fill_buf()?.is_empty() {
        return Ok(None);
    }
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return Ok(None) };
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length: usize = headers.get("content-length").map_or(0, |value| value.parse().expect("it is a number"));
    assert!(!headers.contains_key("transfer-encoding"), "lengths are known");
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(Asked { method, target, headers, body }))
}

/// Returns whether the connection may be used again.
fn write_answer(out: &mut dyn Connection, stream: &TcpStream, asked: &Asked, answer: &Answer) -> io::Result<bool> {
    if answer.end == End::Silent {
        return Ok(false);
    }
    let mut head = format!("HTTP/1.1 {} Whatever\r\n", answer.status);
    for (name, value) in &answer.headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    match answer.length {
        Some(length) if answer.status != 204 => head.extend(["content-length: ", &length.to_string(), "\r\n"]),
        Some(_) => {}
        None => head.push_str("connection: close\r\n"),
    }
    head.push_str("\r\n");
    let body: &[u8] = if asked.method == "HEAD" { &[] } else { &answer.body };
    let sent = match answer.end {
        End::Whole | End::Silent => body.len(),
        End::Cut(bytes) | End::Reset(bytes) | End::Stall(bytes) => bytes.min(body.len()),
    };
    out.write_all(&[head.as_bytes(), &body[..sent]].concat())?;
    out.flush()?;
    match answer.end {
        End::Whole => Ok(answer.length.is_some()),
        End::Reset(_) => {
            // Whoever closes without lingering sends a reset.
            rustix::net::sockopt::set_socket_linger(stream, Some(std::time::Duration::ZERO))?;
            Ok(false)
        }
        End::Stall(_) => {
            // Until the client has had enough.
            let mut buffer = [0; 64];
            while out.read(&mut buffer)? > 0 {}
            Ok(false)
        }
        End::Cut(_) | End::Silent => Ok(false),
    }
}

/// Answers as a registry that has `image` under every name and tag, and takes every upload.
pub fn registry(image: &Image, asked: &Asked) -> Answer {
    let path = asked.target.split('?').next().expect("there is a first part");
    let name = path.rsplit('/').next().expect("there is a last part");
    match asked.method.as_str() {
        "GET" | "HEAD" if path == "/v2/" => Answer::new(200, "{}"),
        "GET" | "HEAD" if path.contains("/manifests/") => Answer::new(200, image.manifest_bytes.clone())
            .header("content-type", image.manifest.media_type.clone())
            .header("docker-content-digest", image.digest().to_string()),
        "GET" | "HEAD" if path.contains("/blobs/") => {
            match image.blobs.iter().find(|blob| BlobDigest::of(blob).to_string() == name) {
                Some(blob) => ranged(blob, asked.header("range")),
                None => Answer::new(404, r#"{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown"}]}"#),
            }
        }
        "POST" => Answer::new(202, "").header("location", format!("{path}session")),
        "PUT" => Answer::new(201, ""),
        _ => Answer::new(405, ""),
    }
}

/// Answers a request for a part, or for the whole.
pub fn ranged(blob: &[u8], range: &str) -> Answer {
    let first = range.strip_prefix("bytes=").and_then(|rest| rest.strip_suffix('-'));
    let Some(first) = first.and_then(|first| first.parse::<usize>().ok()) else {
        return Answer::new(200, blob);
    };
    let value = format!("bytes {first}-{}/{}", blob.len() - 1, blob.len());
    Answer::new(206, &blob[first..]).header("content-range", value)
}
