//! A server that answers what it is told to, a judge, and a client that speaks byte by byte.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stave_http::{Environment, Reach, Setup};
use stave_oci::BlobDigest;
use stave_proxy::{Authority, Content, Exchange, Judge, Outcome, Proxy, Settings, Verdict};

/// Longest wait for anything that has to come.
const PATIENCE: Duration = Duration::from_mins(2);

/// What a judge says.
type Says = dyn Fn(&str, &str) -> Result<Verdict, String> + Send + Sync;

pub(crate) struct Judged(Box<Says>);

impl Judge for Judged {
    fn judge(&self, method: &str, url: &str) -> Result<Verdict, String> {
        (self.0)(method, url)
    }
}

#[expect(clippy::unnecessary_wraps, reason = "it is what a judge says")]
pub(crate) fn as_asked(url: &str) -> Result<Verdict, String> {
    Ok(Verdict { url: url.to_owned(), checksum: None })
}

/// A server in a thread, which keeps what it was sent.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Mutex<Vec<String>>>,
}

/// Reads a head, and a body with a length or in chunks.
pub(crate) fn read_request(stream: &mut BufReader<impl Read>) -> Option<String> {
    let (mut text, mut length, mut chunked) = (String::new(), 0, false);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        chunked |= lower.starts_with("transfer-encoding:");
        text.push_str(&line);
        if line == "\r\n" {
            break;
        }
    }
    if chunked {
        while !text.ends_with("\r\n0\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).ok()?;
            text.push(char::from(byte[0]));
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    text.push_str(&String::from_utf8_lossy(&body));
    Some(text)
}

impl Server {
    /// Answers each request with what `answer` makes of its first line; closes the connection where that ends with `!`.
    pub(crate) fn start(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (notes, answer) = (Arc::clone(&seen), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let (notes, answer) = (Arc::clone(&notes), Arc::clone(&answer));
                std::thread::spawn(move || serve(&stream, &notes, &*answer));
            }
        });
        Self { address, seen }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().expect("no panic").clone()
    }
}

fn serve(stream: &TcpStream, notes: &Mutex<Vec<String>>, answer: &dyn Fn(&str) -> String) {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_request(&mut reader) {
        let said = answer(request.lines().next().unwrap_or_default());
        notes.lock().expect("no panic").push(request);
        let mut writer = stream;
        if writer.write_all(said.trim_end_matches('!').as_bytes()).is_err() || said.ends_with('!') {
            return;
        }
    }
}

pub(crate) fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// A proxy and where it listens.
pub(crate) struct Bench {
    pub(crate) address: SocketAddr,
    pub(crate) authority: Arc<Authority>,
    proxy: Proxy,
}

pub(crate) fn bench(says: impl Fn(&str, &str) -> Result<Verdict, String> + Send + Sync + 'static) -> Bench {
    bench_with(Setup::new(Environment::default()), says)
}

pub(crate) fn bench_with(
    setup: Setup,
    says: impl Fn(&str, &str) -> Result<Verdict, String> + Send + Sync + 'static,
) -> Bench {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let authority = Arc::new(Authority::new().expect("randomness"));
    let settings = Settings {
        setup,
        judge: Arc::new(Judged(Box::new(says))),
        authority: Arc::clone(&authority),
        spool: Arc::new(tempfile::tempfile),
    };
    let proxy = Proxy::serve(listener.into(), settings).expect("a thread");
    Bench { address, authority, proxy }
}

/// How a client of the default network is served.
pub(crate) fn others_only() -> Setup {
    Setup { reach: Reach::Others, ..Setup::new(Environment::default()) }
}

impl Bench {
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("the proxy listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time is set");
        stream
    }

    /// Sends `text` and returns all that comes until the proxy closes.
    pub(crate) fn say(&self, text: &str) -> String {
        let mut stream = self.connect();
        stream.write_all(text.as_bytes()).expect("the proxy reads");
        let mut answer = String::new();
        // A proxy that closes before it has read everything resets the connection; what it said has come.
        drop(stream.read_to_string(&mut answer));
        answer
    }

    /// Ends the proxy and returns its record, a line for each request.
    pub(crate) fn record(self) -> Vec<String> {
        self.proxy.finish().iter().map(line).collect()
    }
}

fn line(exchange: &Exchange) -> String {
    let outcome = match &exchange.outcome {
        Outcome::Answered(status) => status.to_string(),
        Outcome::Refused(text) => format!("refused: {text}"),
        Outcome::Failed(text) => format!("failed: {text}"),
        Outcome::Unfinished => "unfinished".to_owned(),
    };
    let content = match exchange.content {
        Content::Nothing => String::new(),
        Content::Whole { digest, bytes } => format!(" {bytes} bytes {}", &digest.to_string()[..14]),
        Content::Cut => " cut".to_owned(),
    };
    format!("{} {} -> {outcome}{content}", exchange.method, exchange.url)
}

pub(crate) fn short(body: &str) -> String {
    format!("{} bytes {}", body.len(), &BlobDigest::of(body.as_bytes()).to_string()[..14])
}
