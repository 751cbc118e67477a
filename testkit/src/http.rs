//! Turns a function from requests to responses into an HTTP/1.1 server on the loopback interface.
//!
//! It knows as much of HTTP as test clients need: kept connections, bodies with a length or in chunks,
//! `Expect: 100-continue`. Bodies are held in memory.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET`, `PUT`, ...
    pub method: String,
    /// The path without the query.
    pub path: String,
    /// What follows the `?`, or nothing.
    pub query: String,
    headers: Vec<(String, String)>,
    /// The body, whole.
    pub body: Vec<u8>,
}

/// A response to send. `HEAD` requests get its headers only.
#[derive(Debug, Clone)]
pub struct Response {
    /// E.g. 200.
    pub status: u16,
    /// Headers but for the length, which is added.
    pub headers: Vec<(String, String)>,
    /// The body, whole.
    pub body: Vec<u8>,
    /// Sends only this many bytes of the body and closes the connection: a fault.
    pub cut_after: Option<usize>,
    /// Sends only this many bytes of the body and then nothing until the client goes: a fault.
    pub stall_after: Option<usize>,
    /// Sends only this many bytes of the body and resets the connection: a fault.
    pub reset_after: Option<usize>,
    /// Says nothing at all and closes the connection: a fault.
    pub silent: bool,
}

/// A running server. Ends when it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Request {
    /// The value of the header `name`, whose case does not matter.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The value of `name` in the query, not decoded but for `%3A`.
    #[must_use]
    pub fn query_value(&self, name: &str) -> Option<String> {
        let mut pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value.replace("%3A", ":").replace("%3a", ":"))
    }
}

impl Response {
    /// A response without a body.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            cut_after: None,
            stall_after: None,
            reset_after: None,
            silent: false,
        }
    }

    /// A response with a body of this type.
    #[must_use]
    pub fn body(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..Self::status(status) }.with("Content-Type", content_type)
    }

    /// Adds a header.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

impl Server {
    /// Starts answering with `handler`, on a thread for each connection.
    pub fn start(handler: impl Fn(&Request) -> Response + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port on the loopback interface");
        let address = listener.local_addr().expect("a listener has an address");
        let stop = Arc::new(AtomicBool::new(false));
        let handler = Arc::new(handler);
        let stopped = Arc::clone(&stop);
        let accepting = std::thread::spawn(move || {
            for connection in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(connection) = connection else { continue };
                let handler = Arc::clone(&handler);
                // A client that goes away ends its own connection and nothing else.
                std::thread::spawn(move || converse(&connection, &*handler).ok());
            }
        });
        Self { address, stop, accepting: Some(accepting) }
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for a connection.
        drop(TcpStream::connect(self.address));
        if let Some(accepting) = self.accepting.take() {
            accepting.join().expect("the accepting thread does not panic");
        }
    }
}

fn converse(connection: &TcpStream, handler: &dyn Fn(&Request) -> Response) -> io::Result<()> {
    let mut reader = BufReader::new(connection);
    let mut writer = connection;
    while let Some(request) = read_request(&mut reader, &mut writer)? {
        let response = handler(&request);
        if response.silent {
            return connection.shutdown(std::net::Shutdown::Both);
        }
        write_response(&mut writer, &request, &response)?;
        if response.reset_after.is_some() {
            // Whoever closes without lingering sends a reset; the connection closes with its last handle.
            return Ok(rustix::net::sockopt::set_socket_linger(connection, Some(std::time::Duration::ZERO))?);
        }
        if response.stall_after.is_some() {
            // Whatever else comes is not answered; the end of the connection is.
            return io::copy(&mut reader, &mut io::sink()).map(drop);
        }
        if response.cut_after.is_some() {
            return connection.shutdown(std::net::Shutdown::Both);
        }
    }
    Ok(())
}

fn read_request(reader: &mut impl BufRead, writer: &mut impl Write) -> io::Result<Option<Request>> {
    let first = read_line(reader)?;
    let mut words = first.split(' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return Ok(None) };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut headers = Vec::new();
    loop {
        let line = read_line(reader)?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let mut request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers,
        body: Vec::new(),
    };
    if request.header("expect").is_some() {
        writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    request.body = read_body(reader, &request)?;
    Ok(Some(request))
}

fn read_body(reader: &mut impl BufRead, request: &Request) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if request.header("transfer-encoding").is_none() {
        let length = request.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
        reader.take(length).read_to_end(&mut body)?;
        return Ok(body);
    }
    loop {
        let line = read_line(reader)?;
        let size = u64::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16)
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        reader.take(size).read_to_end(&mut body)?;
        read_line(reader)?;
        if size == 0 {
            return Ok(body);
        }
    }
}

fn read_line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

fn write_response(writer: &mut impl Write, request: &Request, response: &Response) -> io::Result<()> {
    let mut head = format!("HTTP/1.1 {} Status\r\nContent-Length: {}\r\n", response.status, response.body.len());
    for (name, value) in &response.headers {
        write!(head, "{name}: {value}\r\n").expect("writing to memory does not fail");
    }
    head.push_str("\r\n");
    writer.write_all(head.as_bytes())?;
    if request.method != "HEAD" {
        let end = response
            .cut_after
            .or(response.stall_after)
            .or(response.reset_after)
            .unwrap_or(response.body.len())
            .min(response.body.len());
        writer.write_all(&response.body[..end])?;
    }
    writer.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_carries_several_requests() {
        let server = Server::start(|request| Response::body(200, "text/plain", request.path.clone()));
        let mut connection = TcpStream::connect(server.address()).expect("connected");
        connection
            .write_all(b"GET /a HTTP/1.1\r\n\r\nPUT /b?x=1 HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi")
            .expect("sent");
        connection.shutdown(std::net::Shutdown::Write).expect("half closed");
        let mut answers = String::new();
        connection.read_to_string(&mut answers).expect("read");
        assert_eq!(answers.matches("HTTP/1.1 200").count(), 2);
        assert!(answers.contains("/a") && answers.ends_with("/b"), "{answers}");
    }
}
