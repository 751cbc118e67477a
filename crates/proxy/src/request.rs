//! One request after the other: asked about, made in the client's place, recorded.

use std::fs::File;
use std::io::{self, Read, Seek as _, Write};

use stave_http::{HttpError, Origin, Payload, Reply, Request, Scheme, Secret, Url};
use stave_oci::{BlobDigest, Hasher};
use ureq::http::Method;

use crate::exchange::{Content, Judged, Outcome, Verdict};
use crate::limits;
use crate::serve::{Client, Shared, unreadable};
use crate::wire::{Framing, Head, Wire, reason};

/// Headers that are between the client and the proxy, or that the proxy makes itself. The encoding is one of them: what is
/// recorded are the bytes of the file.
const OWN: &[&str] = &[
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Headers that prove who asks. They are not sent where a policy leads.
const PROOFS: &[&str] = &["authorization", "cookie"];

/// Bytes that are passed on at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// Serves requests until the connection ends; returns one for a tunnel. `through` is the server of the tunnel that they
/// come through.
pub(crate) fn requests<S: Read + Write>(
    wire: &mut Wire<S>,
    client: Client<'_>,
    shared: &Shared,
    through: Option<&Origin>,
) -> Option<Head> {
    loop {
        client.patience(limits::CLIENT_TIMEOUT);
        let head = match wire.head() {
            Ok(head) if head.method == "CONNECT" => return Some(head),
            Ok(head) => head,
            Err(error) => {
                unreadable(wire, error);
                return None;
            }
        };
        client.patience(limits::BODY_TIMEOUT);
        if !serve(wire, shared, &head, through).unwrap_or(false) {
            return None;
        }
    }
}

/// Why a request is not made, or came to nothing: the status and the words to answer with.
struct No {
    status: u16,
    outcome: Outcome,
}

impl No {
    fn refused(status: u16, text: impl Into<String>) -> Self {
        Self { status, outcome: Outcome::Refused(text.into()) }
    }

    fn failed(text: impl Into<String>) -> Self {
        Self { status: 502, outcome: Outcome::Failed(text.into()) }
    }

    fn text(&self) -> &str {
        match &self.outcome {
            Outcome::Refused(text) | Outcome::Failed(text) => text,
            Outcome::Answered(_) | Outcome::Unfinished => "",
        }
    }
}

/// Serves one request; returns whether there can be another one on the connection.
///
/// Errors: the client is gone.
fn serve<S: Read + Write>(
    wire: &mut Wire<S>,
    shared: &Shared,
    head: &Head,
    through: Option<&Origin>,
) -> io::Result<bool> {
    let url = match address(head, through) {
        Ok(url) => url,
        Err((status, text)) => {
            wire.answer(status, &text, false)?;
            return Ok(false);
        }
    };
    let Some(number) = shared.begin(&head.method, &url.full()) else {
        let most = limits::EXCHANGES_MAX;
        wire.answer(503, &format!("a step makes {most} requests at most where they are recorded"), false)?;
        return Ok(false);
    };
    let asked = ask(wire, (shared, number), head, &url);
    let (mut reply, checksum, body_is_read) = match asked {
        Ok(answered) => answered,
        Err(no) => {
            let answered = wire.answer(no.status, no.text(), false);
            shared.note(number, no.outcome, Content::Nothing);
            answered?;
            return Ok(false);
        }
    };
    let status = reply.status;
    let is_file = head.method == "GET" && status == 200;
    let spooled = match checksum.filter(|_| is_file).map(|expected| spool(shared, &mut reply, expected)).transpose() {
        Ok(spooled) => spooled,
        Err(no) => {
            let answered = wire.answer(no.status, no.text(), false);
            shared.note(number, no.outcome, Content::Cut);
            answered?;
            return Ok(false);
        }
    };
    let keeps = head.keeps() && body_is_read;
    let passed = pass(wire, head, reply, spooled, keeps);
    let content = match &passed {
        _ if !is_file => Content::Nothing,
        Ok(Passed { whole: Some((digest, bytes)), .. }) => Content::Whole { digest: *digest, bytes: *bytes },
        Ok(_) | Err(_) => Content::Cut,
    };
    shared.note(number, Outcome::Answered(status), content);
    Ok(passed?.keeps)
}

/// Returns what a request is for.
///
/// Errors: the status and the words to answer with.
fn address(head: &Head, through: Option<&Origin>) -> Result<Url, (u16, String)> {
    let wrong = |text: String| (400, text);
    let Some(origin) = through else {
        if head.target.starts_with('/') || head.target == "*" {
            return Err(wrong("this is a proxy, which is asked for whole addresses".to_owned()));
        }
        return head.target.parse::<Url>().map_err(|error| wrong(format!("the request is not for a file: {error}")));
    };
    let elsewhere = || (421, format!("the tunnel leads to {}, and to no other server", origin.authority()));
    let mut hosts = head.all("host");
    let named = hosts.next().and_then(|host| Origin::of_authority(Scheme::Https, host.trim()).ok());
    if named.as_ref() != Some(origin) || hosts.next().is_some() {
        return Err(elsewhere());
    }
    let target = if head.target.starts_with('/') { format!("{origin}{}", head.target) } else { head.target.clone() };
    let url: Url = target.parse().map_err(|error| wrong(format!("the request is not for a file: {error}")))?;
    if url.origin() == origin { Ok(url) } else { Err(elsewhere()) }
}

/// Asks whether a request may be made, and makes it. Returns the answer, what its content has to be, and whether all of
/// the request was read.
fn ask<S: Read + Write>(
    wire: &mut Wire<S>,
    (shared, number): (&Shared, usize),
    head: &Head,
    url: &Url,
) -> Result<(Reply, Option<BlobDigest>, bool), No> {
    let method = Method::from_bytes(head.method.as_bytes())
        .map_err(|_| No::refused(501, format!("`{}` is no method of HTTP", head.method)))?;
    if head.has("upgrade", "websocket") {
        return Err(No::refused(501, "connections that turn into others, like those of WebSocket, are not passed on"));
    }
    let framing = head.framing().map_err(|text| No::refused(400, text))?;
    let verdict = shared.judge.judge(&head.method, &url.full()).map_err(|text| {
        shared.judged(number, Judged::Denied);
        No::refused(403, text)
    })?;
    let is_other = verdict.url != url.full();
    let is_changed = is_other || verdict.checksum.is_some();
    shared.judged(number, if is_changed { Judged::Instead(verdict.clone()) } else { Judged::AsItIs });
    let Verdict { url: used, checksum } = verdict;
    if is_changed && !matches!(head.method.as_str(), "GET" | "HEAD") {
        let text = format!("a policy puts another file in the place of {url}, which `{}` cannot mean", head.method);
        return Err(No::refused(403, text));
    }
    let used: Url = used.parse().map_err(|error| No::failed(format!("a policy leads nowhere: {error}")))?;
    if !shared.may_reach(used.origin()) {
        let most = limits::ORIGINS_MAX;
        return Err(No::refused(503, format!("a step reaches {most} servers at most where its requests are recorded")));
    }
    let mut request = Request::new(method, used);
    request.secrets = headers(head, is_other);
    if head.has("expect", "100-continue") && framing != Framing::None {
        wire.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            .and_then(|()| wire.flush())
            .map_err(|error| No::failed(error.to_string()))?;
    }
    let mut body = wire.body(framing);
    let wants_body = matches!(head.method.as_str(), "POST" | "PUT" | "PATCH");
    request.payload = match framing {
        Framing::None if wants_body => Payload::Bytes(&[]),
        Framing::None => Payload::None,
        Framing::Bytes(size) => Payload::Stream { reader: &mut body, size },
        Framing::Chunked => Payload::Unsized(&mut body),
    };
    let reply = shared.http.exchange(&mut request).map_err(|failure| No::failed(words(&failure.error)))?;
    drop(request);
    Ok((reply, checksum, body.is_done()))
}

/// Returns an error with its causes.
fn words(error: &HttpError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Returns the headers that are passed on.
fn headers(head: &Head, is_other: bool) -> Vec<(String, Secret<String>)> {
    let is_named = |name: &str| head.has("connection", name);
    let kept = head.headers.iter().filter(|(name, _)| {
        let is_of = |list: &[&str]| list.iter().any(|known| name.eq_ignore_ascii_case(known));
        !(is_of(OWN) || is_named(name) || is_other && is_of(PROOFS))
    });
    let mut headers: Vec<_> = kept.map(|(name, value)| (name.clone(), Secret::new(value.clone()))).collect();
    headers.push(("accept-encoding".to_owned(), Secret::new("identity".to_owned())));
    headers
}

/// Has the whole content of an answer in a file, if it is what it has to be.
fn spool(shared: &Shared, reply: &mut Reply, expected: BlobDigest) -> Result<File, No> {
    let failed = |error: io::Error| No::failed(format!("cannot keep {} until it is verified: {error}", reply.url));
    let mut file = (shared.spool)().map_err(failed)?;
    let mut hasher = Hasher::new();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match reply.body.read(&mut piece) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(No::failed(format!("{} did not come to its end: {error}", reply.url))),
            Ok(0) => break,
            Ok(count) => {
                hasher.update(&piece[..count]);
                file.write_all(&piece[..count]).map_err(failed)?;
            }
        }
    }
    let found: BlobDigest = hasher.finish();
    if found != expected {
        let text = format!("{} has the checksum {found}, and a policy wants {expected}", reply.url);
        return Err(No::refused(502, text));
    }
    file.rewind().map_err(failed)?;
    Ok(file)
}

/// How an answer was passed on.
struct Passed {
    /// Whether the connection can go on.
    keeps: bool,
    /// The digest and the length of the body, if the client was given all of it.
    whole: Option<(BlobDigest, u64)>,
}

/// Passes an answer on, whose body is in a file if it had to be verified.
///
/// Errors: the client is gone.
fn pass<S: Read + Write>(
    wire: &mut Wire<S>,
    head: &Head,
    mut reply: Reply,
    spooled: Option<File>,
    keeps: bool,
) -> io::Result<Passed> {
    let has_body = head.method != "HEAD" && !matches!(reply.status, 204 | 304) && reply.status >= 200;
    let length: Option<u64> = reply.header("content-length").and_then(|text| text.trim().parse().ok());
    let upstream_chunked = reply.header("transfer-encoding").is_some_and(|text| text.eq_ignore_ascii_case("chunked"));
    // Without either, the end of the connection is that of the body, whatever ended it.
    let ends = length.is_some() || upstream_chunked || spooled.is_some();
    let chunked = has_body && length.is_none() && head.modern;
    let keeps = keeps && (!has_body || length.is_some() || chunked);
    let mut text = format!("HTTP/1.1 {} {}\r\n", reply.status, reason(reply.status)).into_bytes();
    for (name, value) in &reply.headers {
        let is_own = ["connection", "keep-alive", "proxy-authenticate", "trailer", "transfer-encoding", "upgrade"];
        let is_wrong = name == "content-length" && length.is_none();
        if !is_own.contains(&name.as_str()) && !is_wrong {
            text.extend_from_slice(name.as_str().as_bytes());
            text.extend_from_slice(b": ");
            text.extend_from_slice(value.as_bytes());
            text.extend_from_slice(b"\r\n");
        }
    }
    if chunked {
        text.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    text.extend_from_slice(if keeps { b"Connection: keep-alive\r\n\r\n" } else { b"Connection: close\r\n\r\n" });
    wire.write(&text)?;
    if !has_body {
        wire.flush()?;
        return Ok(Passed { keeps, whole: None });
    }
    let mut body: Box<dyn Read + Send> = match spooled {
        Some(file) => Box::new(file),
        None => std::mem::replace(&mut reply.body, Box::new(io::empty())),
    };
    let copied = copy(wire, &mut body, chunked)?;
    let whole = copied.filter(|(_, bytes)| length.is_none_or(|length| length == *bytes));
    if chunked && whole.is_some() {
        wire.write(b"0\r\n\r\n")?;
    }
    wire.flush()?;
    // The client sees that a body is cut by the connection, which ends before the body does.
    Ok(Passed { keeps: keeps && whole.is_some(), whole: whole.filter(|_| ends) })
}

/// Copies a body; returns its digest and its length, or nothing if it broke off.
fn copy<S: Read + Write>(
    wire: &mut Wire<S>,
    body: &mut dyn Read,
    chunked: bool,
) -> io::Result<Option<(BlobDigest, u64)>> {
    let (mut hasher, mut bytes, mut piece) = (Hasher::new(), 0, vec![0; PIECE_BYTES]);
    loop {
        let count = match body.read(&mut piece) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return Ok(None),
            Ok(0) => return Ok(Some((hasher.finish(), bytes))),
            Ok(count) => count,
        };
        hasher.update(&piece[..count]);
        bytes += count as u64;
        if chunked {
            wire.write(format!("{count:x}\r\n").as_bytes())?;
        }
        wire.write(&piece[..count])?;
        if chunked {
            wire.write(b"\r\n")?;
        }
        wire.flush()?;
    }
}
