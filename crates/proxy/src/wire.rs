//! HTTP/1.1 as a client of a proxy speaks it: heads and bodies of requests are read, heads of answers written.
//!
//! What is not as it has to be is refused and never repaired: two readers of one request must not see two.
//!
//! Reference: RFC 9112.

use std::io::{self, BufRead, Read, Write};

use rustls::{ServerConnection, StreamOwned};

use crate::limits;

/// A connection, with what was read of it and not yet used.
pub(crate) struct Wire<S> {
    stream: S,
    buffer: Vec<u8>,
}

/// A stream that says that it ends.
pub(crate) trait Ends {
    fn end(&mut self) -> io::Result<()>;
}

impl<T: Read + Write> Ends for StreamOwned<ServerConnection, T> {
    fn end(&mut self) -> io::Result<()> {
        self.conn.send_close_notify();
        self.flush()
    }
}

/// The head of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) method: String,
    pub(crate) target: String,
    /// Whether the client speaks HTTP/1.1, and not 1.0.
    pub(crate) modern: bool,
    pub(crate) headers: Vec<(String, String)>,
}

/// How long the body of a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    None,
    Bytes(u64),
    Chunked,
}

/// Why a head is none.
#[derive(Debug)]
pub(crate) enum HeadError {
    /// The connection ended or broke, or nothing came in time.
    Gone,
    /// It is wrong: the status and the words to answer with.
    Wrong(u16, String),
}

impl Head {
    /// Returns all values of a header.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.headers.iter().filter(move |(found, _)| found.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str())
    }

    /// Whether a header that is a list has this word in it.
    pub(crate) fn has(&self, name: &str, word: &str) -> bool {
        self.all(name).flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(word))
    }

    /// Whether the client wants to ask more on the same connection.
    pub(crate) fn keeps(&self) -> bool {
        let says = |word: &str| self.has("connection", word) || self.has("proxy-connection", word);
        !says("close") && (self.modern || says("keep-alive"))
    }

    /// Returns how long the body is.
    ///
    /// Errors: the words to answer with.
    pub(crate) fn framing(&self) -> Result<Framing, String> {
        let codings: Vec<&str> = self.all("transfer-encoding").collect();
        let lengths: Vec<&str> = self.all("content-length").collect();
        match (&codings[..], &lengths[..]) {
            ([], []) => Ok(Framing::None),
            ([coding], []) if self.modern && coding.trim().eq_ignore_ascii_case("chunked") => Ok(Framing::Chunked),
            ([], [length, others @ ..]) if others.iter().all(|other| other == length) => {
                let digits = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
                let bytes = digits.then(|| length.parse().ok()).flatten();
                bytes.map(Framing::Bytes).ok_or_else(|| format!("`Content-Length: {length}` is no length"))
            }
            _ => Err("it is not clear how long the body of the request is".to_owned()),
        }
    }

    fn parse(bytes: &[u8]) -> Result<Option<(usize, Self)>, HeadError> {
        let mut headers = [httparse::EMPTY_HEADER; limits::HEADERS_MAX];
        let mut request = httparse::Request::new(&mut headers);
        let length = match request.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(httparse::Error::TooManyHeaders) => {
                let most = limits::HEADERS_MAX;
                return Err(HeadError::Wrong(431, format!("the request has more than {most} headers")));
            }
            Err(error) => return Err(HeadError::Wrong(400, format!("this is no request of HTTP/1: {error}"))),
        };
        let mut kept = Vec::new();
        for header in request.headers.iter() {
            let value = std::str::from_utf8(header.value).ok().filter(|value| is_text(value));
            let value = value.ok_or_else(|| {
                HeadError::Wrong(400, format!("the header `{}` has characters that are not ASCII", header.name))
            })?;
            kept.push((header.name.to_owned(), value.to_owned()));
        }
        let text = |part: Option<&str>| part.unwrap_or_default().to_owned();
        let (method, target) = (text(request.method), text(request.path));
        Ok(Some((length, Self { method, target, modern: request.version == Some(1), headers: kept })))
    }
}

fn is_text(value: &str) -> bool {
    value.bytes().all(|byte| byte == b'\t' || (b' '..0x7f).contains(&byte))
}

impl<S: Read + Write> Wire<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    /// Returns the stream, which begins with what was read and not used.
    pub(crate) fn into_stream(self) -> Prefixed<S> {
        Prefixed { before: io::Cursor::new(self.buffer), stream: self.stream }
    }

    fn more(&mut self) -> io::Result<usize> {
        let mut piece = [0; 8192];
        loop {
            match self.stream.read(&mut piece) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(count) => {
                    self.buffer.extend_from_slice(&piece[..count]);
                    return Ok(count);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads the head of the next request.
    pub(crate) fn head(&mut self) -> Result<Head, HeadError> {
        // A head ends with a line; what brought no end of one need not be looked at again.
        let mut looked_at = 0;
        loop {
            let has_line = self.buffer[looked_at..].contains(&b'\n');
            looked_at = self.buffer.len();
            if (has_line || looked_at > limits::HEAD_BYTES_MAX)
                && let Some((length, head)) = Head::parse(&self.buffer)?
            {
                self.buffer.drain(..length);
                return Ok(head);
            }
            if self.buffer.len() > limits::HEAD_BYTES_MAX {
                let most = limits::HEAD_BYTES_MAX / 1024;
                return Err(HeadError::Wrong(431, format!("the head of the request is longer than {most} KiB")));
            }
            match self.more() {
                Ok(0) | Err(_) => return Err(HeadError::Gone),
                Ok(_) => {}
            }
        }
    }

    /// Returns the body of the request whose head was read last.
    pub(crate) fn body(&mut self, framing: Framing) -> RequestBody<'_, S> {
        let state = match framing {
            Framing::None | Framing::Bytes(0) => BodyState::Done,
            Framing::Bytes(bytes) => BodyState::Bytes(bytes),
            Framing::Chunked => BodyState::Size,
        };
        RequestBody { wire: self, state }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Ends the connection as TLS wants it, so that the client does not take it for cut.
    pub(crate) fn close(&mut self) -> io::Result<()>
    where
        S: Ends,
    {
        self.stream.end()
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }

    /// Answers with words of the proxy's own.
    pub(crate) fn answer(&mut self, status: u16, text: &str, keep: bool) -> io::Result<()> {
        let body = format!("stave: {text}\n");
        let connection = if keep { "keep-alive" } else { "close" };
        let head = format!(
            "HTTP/1.1 {status} {}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n",
            reason(status),
            body.len()
        );
        self.write(head.as_bytes())?;
        self.write(body.as_bytes())?;
        self.flush()
    }
}

/// Returns the words that go with a status that the proxy itself answers with.
pub(crate) fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        421 => "Misdirected Request",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        _ => "",
    }
}

/// A stream in front of which there is something else to be read.
pub(crate) struct Prefixed<S> {
    before: io::Cursor<Vec<u8>>,
    stream: S,
}

impl<S: Read> Prefixed<S> {
    /// Returns the next byte without taking it; nothing at the end.
    pub(crate) fn peek(&mut self) -> io::Result<Option<u8>> {
        if self.before.fill_buf()?.is_empty() {
            let mut byte = [0];
            let count = self.stream.read(&mut byte)?;
            self.before = io::Cursor::new(byte[..count].to_vec());
        }
        Ok(self.before.fill_buf()?.first().copied())
    }
}

impl<S: Read> Read for Prefixed<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.before.read(buffer)? {
            0 => self.stream.read(buffer),
            count => Ok(count),
        }
    }
}

impl<S: Write> Write for Prefixed<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

enum BodyState {
    /// So many bytes are left.
    Bytes(u64),
    /// The line with the size of the next chunk comes.
    Size,
    /// So many bytes of a chunk are left.
    Chunk(u64),
    /// The line after a chunk comes.
    AfterChunk,
    /// Lines after the last chunk come.
    Trailers,
    Done,
}

/// The body of a request.
pub(crate) struct RequestBody<'a, S> {
    wire: &'a mut Wire<S>,
    state: BodyState,
}

fn wrong(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.to_owned())
}

impl<S: Read + Write> RequestBody<'_, S> {
    /// Whether all of it was read.
    pub(crate) fn is_done(&self) -> bool {
        matches!(self.state, BodyState::Done)
    }

    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.wire.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.wire.buffer.drain(..=end).collect();
                let line = line.strip_suffix(b"\r\n").ok_or_else(|| wrong("a line ends without a carriage return"))?;
                return String::from_utf8(line.to_vec()).map_err(|_| wrong("a line of the body's frame is no text"));
            }
            if self.wire.buffer.len() > limits::CHUNK_LINE_BYTES_MAX {
                return Err(wrong("a line of the body's frame is too long"));
            }
            if self.wire.more()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn take(&mut self, buffer: &mut [u8], left: u64) -> io::Result<usize> {
        if self.wire.buffer.is_empty() && self.wire.more()? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len()).min(self.wire.buffer.len());
        buffer[..most].copy_from_slice(&self.wire.buffer[..most]);
        self.wire.buffer.drain(..most);
        Ok(most)
    }
}

impl<S: Read + Write> Read for RequestBody<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match self.state {
                BodyState::Done => return Ok(0),
                BodyState::Bytes(left) => {
                    let count = self.take(buffer, left)?;
                    let left = left - count as u64;
                    self.state = if left == 0 { BodyState::Done } else { BodyState::Bytes(left) };
                    return Ok(count);
                }
                BodyState::Size => {
                    let line = self.line()?;
                    let size = line.split(';').next().unwrap_or_default().trim();
                    let digits = !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_hexdigit());
                    let size = digits.then(|| u64::from_str_radix(size, 16).ok()).flatten();
                    let size = size.ok_or_else(|| wrong("a chunk of the body has no size"))?;
                    self.state = if size == 0 { BodyState::Trailers } else { BodyState::Chunk(size) };
                }
                BodyState::Chunk(left) => {
                    let count = self.take(buffer, left)?;
                    let left = left - count as u64;
                    self.state = if left == 0 { BodyState::AfterChunk } else { BodyState::Chunk(left) };
                    return Ok(count);
                }
                BodyState::AfterChunk => {
                    if !self.line()?.is_empty() {
                        return Err(wrong("a chunk of the body is longer than it says"));
                    }
                    self.state = BodyState::Size;
                }
                BodyState::Trailers => {
                    if self.line()?.is_empty() {
                        self.state = BodyState::Done;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a client sends, in pieces of a few bytes, and what it is answered.
    struct Client {
        sent: io::Cursor<Vec<u8>>,
        answered: Vec<u8>,
    }

    impl Read for Client {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let most = buffer.len().min(3);
            self.sent.read(&mut buffer[..most])
        }
    }

    impl Write for Client {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.answered.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn wire(sent: &str) -> Wire<Client> {
        Wire::new(Client { sent: io::Cursor::new(sent.as_bytes().to_vec()), answered: Vec::new() })
    }

    fn wrong_head(sent: &str) -> String {
        match wire(sent).head() {
            Err(HeadError::Wrong(status, text)) => format!("{status}: {text}"),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn two_requests_follow_each_other_on_one_connection() {
        let mut wire = wire(
            "POST http://a/x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;e=1\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: 1\r\n\r\n\
             GET http://b/ HTTP/1.0\r\nConnection: a, Keep-Alive\r\n\r\n",
        );
        let head = wire.head().expect("a head");
        assert_eq!((head.method.as_str(), head.target.as_str(), head.keeps()), ("POST", "http://a/x", true));
        let mut body = String::new();
        let mut reader = wire.body(head.framing().expect("a frame"));
        reader.read_to_string(&mut body).expect("a body");
        assert!(reader.is_done());
        assert_eq!(body, "abc0123456789");
        let head = wire.head().expect("a head");
        assert_eq!((head.target.as_str(), head.modern, head.keeps()), ("http://b/", false, true));
        assert_eq!(head.framing(), Ok(Framing::None));
        assert!(matches!(wire.head(), Err(HeadError::Gone)));
    }

    #[test]
    fn what_is_no_request_is_answered_in_words() {
        assert_eq!(wrong_head("\u{1}\u{2}\r\n\r\n"), "400: this is no request of HTTP/1: invalid token");
        assert_eq!(wrong_head("GET / HTTP/2.0\r\n\r\n"), "400: this is no request of HTTP/1: invalid HTTP version");
        let many = "a: b\r\n".repeat(200);
        assert_eq!(wrong_head(&format!("GET / HTTP/1.1\r\n{many}\r\n")), "431: the request has more than 128 headers");
        let long = "x".repeat(100_000);
        assert_eq!(wrong_head(&format!("GET /{long}")), "431: the head of the request is longer than 64 KiB");
        assert_eq!(
            wrong_head("GET / HTTP/1.1\r\nA: \u{e4}\r\n\r\n"),
            "400: the header `A` has characters that are not ASCII"
        );
    }

    #[test]
    fn a_body_whose_length_is_not_clear_is_refused() {
        let framing =
            |headers: &str| wire(&format!("POST / HTTP/1.1\r\n{headers}\r\n")).head().expect("a head").framing();
        let unclear = Err("it is not clear how long the body of the request is".to_owned());
        assert_eq!(framing("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"), unclear);
        assert_eq!(framing("Content-Length: 3\r\nContent-Length: 4\r\n"), unclear);
        assert_eq!(framing("Transfer-Encoding: gzip, chunked\r\n"), unclear);
        assert_eq!(framing("Content-Length: +3\r\n"), Err("`Content-Length: +3` is no length".to_owned()));
        assert_eq!(framing("Content-Length: 3\r\nContent-Length: 3\r\n"), Ok(Framing::Bytes(3)));
    }

    #[test]
    fn a_broken_body_is_an_error_and_no_shorter_one() {
        let read = |sent: &str, framing| {
            let (mut wire, mut body) = (wire(sent), Vec::new());
            wire.body(framing).read_to_end(&mut body).map_err(|error| error.to_string())
        };
        assert_eq!(read("abc", Framing::Bytes(3)), Ok(3));
        assert!(read("abc", Framing::Bytes(4)).is_err());
        assert_eq!(read("x\r\n", Framing::Chunked), Err("a chunk of the body has no size".to_owned()));
        assert_eq!(read("1\r\nab\r\n", Framing::Chunked), Err("a chunk of the body is longer than it says".to_owned()));
        assert_eq!(read(&"f".repeat(5000), Framing::Chunked), Err("a line of the body's frame is too long".to_owned()));
        assert!(read("3\r\nabc\r\n", Framing::Chunked).is_err());
    }
}
