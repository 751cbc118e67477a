//! Servers of files, honest and hostile.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stave_fetch::{Download, FetchError, Fetched, Fetcher, FileRequest, Limits, Validators};
use stave_http::{Cancel, Clock, Environment, HttpError, Secret};
use stave_oci::BlobDigest;
use stave_testkit::http::{Request, Response, Server};

/// Time that passes only in waits, which take none.
#[derive(Default)]
struct NoWait(Mutex<Duration>);

impl Clock for NoWait {
    fn now(&self) -> Duration {
        *self.0.lock().expect("no test thread panics")
    }

    fn sleep(&self, duration: Duration, _: &Cancel) {
        *self.0.lock().expect("no test thread panics") += duration;
    }

    fn chance(&self) -> u32 {
        0
    }
}

fn limits() -> Limits {
    let http = stave_http::Limits {
        connect_timeout: Duration::from_secs(20),
        first_byte_timeout: Duration::from_millis(400),
        idle_timeout: Duration::from_millis(400),
        retries_max: 2,
        ..stave_http::Limits::default()
    };
    Limits { file_bytes_max: 1_000_000, http, ..Limits::default() }
}

fn request(url: &str) -> FileRequest<'_> {
    FileRequest { url, known: None, checksum: None, authorization: None }
}

fn fetch(request: FileRequest<'_>) -> (Result<Fetched, FetchError>, Vec<u8>) {
    let client = Fetcher::new(Environment::default(), limits(), Cancel::new()).with_clock(Arc::<NoWait>::default());
    let mut bytes = Vec::new();
    let fetched = client.fetch(request, &mut bytes, &|_, _| (), &|_, _| ());
    (fetched, bytes)
}

fn whole(url: &str) -> (Download, Vec<u8>) {
    match fetch(request(url)) {
        (Ok(Fetched::Whole(download)), bytes) => (download, bytes),
        (other, _) => panic!("{other:?}"),
    }
}

fn failure(request: FileRequest<'_>) -> String {
    let (fetched, bytes) = fetch(request);
    assert!(bytes.is_empty(), "what failed leaves nothing");
    let error = fetched.expect_err("it fails");
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    text
}

fn file(content: &str) -> Response {
    Response::body(200, "text/plain", content)
}

/// T132
#[test]
fn a_file_comes_with_its_date_and_its_digest() {
    let server =
        Server::start(|_| file("content").with("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT").with("ETag", "\"1\""));
    let (download, bytes) = whole(&format!("{}/p/foo?x=1#y", server.url()));
    assert_eq!(bytes, b"content");
    assert_eq!((download.modified, download.bytes), (Some(784_111_777), 7));
    assert_eq!(download.digest, BlobDigest::of(b"content"));
    assert_eq!(download.validators.etag.as_deref(), Some("\"1\""));
}

/// T133
#[test]
fn what_is_known_is_not_sent_again() {
    let bodies = Arc::new(AtomicU32::new(0));
    let counted = bodies.clone();
    let server = Server::start(move |request| {
        if request.header("if-none-match") == Some("\"1\"") {
            return Response::status(304);
        }
        counted.fetch_add(1, Ordering::SeqCst);
        file("content").with("ETag", "\"1\"")
    });
    let url = server.url();
    let (download, _) = whole(&url);
    let again = |etag: &str| {
        let known = Validators { etag: Some(etag.to_owned()), last_modified: None };
        fetch(FileRequest { known: Some(&known), ..request(&url) }).0.expect("it is there")
    };
    assert_eq!(again("\"1\""), Fetched::Unchanged);
    assert_eq!(bodies.load(Ordering::SeqCst), 1);
    assert_eq!(again("\"0\""), Fetched::Whole(download));
}

/// T133
#[test]
fn a_server_that_knows_no_conditions_is_believed_by_its_tag() {
    let server = Server::start(|_| file("content").with("ETag", "W/\"1\""));
    let known = Validators { etag: Some("W/\"1\"".to_owned()), last_modified: None };
    let (fetched, bytes) = fetch(FileRequest { known: Some(&known), ..request(&server.url()) });
    assert_eq!(fetched.expect("it is there"), Fetched::Unchanged);
    assert!(bytes.is_empty());
}

#[test]
fn a_date_is_a_condition_only_if_it_was_old_when_it_was_seen() {
    let dated = |sent: &'static str| {
        Server::start(move |_| {
            file("content").with("Date", sent).with("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT")
        })
    };
    let (young, old) = (dated("Sun, 06 Nov 1994 08:49:57 GMT"), dated("Sun, 06 Nov 1994 08:51:37 GMT"));
    assert_eq!(whole(&young.url()).0.validators, Validators::default());
    assert!(whole(&old.url()).0.validators.last_modified.is_some());

    let server = Server::start(|request| match request.header("if-modified-since") {
        Some(_) => Response::status(304),
        None => file("content"),
    });
    let known = Validators { etag: None, last_modified: Some("Sun, 06 Nov 1994 08:49:37 GMT".to_owned()) };
    let (fetched, _) = fetch(FileRequest { known: Some(&known), ..request(&server.url()) });
    assert_eq!(fetched.expect("it is there"), Fetched::Unchanged);
    assert!(failure(request(&server_304().url())).contains("304"), "nobody asked for that");
}

fn server_304() -> Server {
    Server::start(|_| Response::status(304))
}

/// T134, A15
#[test]
fn another_file_than_the_one_asked_for_is_not_kept() {
    let server = Server::start(|_| file("evil"));
    let url = server.url();
    let text = failure(FileRequest { checksum: Some(BlobDigest::of(b"good")), ..request(&url) });
    assert!(text.contains("has the wrong checksum: expected sha256:") && text.contains(&server.url()), "{text}");
    let (fetched, _) = fetch(FileRequest { checksum: Some(BlobDigest::of(b"evil")), ..request(&url) });
    assert!(matches!(fetched, Ok(Fetched::Whole(_))));
}

/// T136
#[test]
fn a_missing_file_is_asked_for_once() {
    let asked = Arc::new(AtomicU32::new(0));
    let counted = asked.clone();
    let server = Server::start(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        Response::body(404, "text/plain", "no such file")
    });
    let text = failure(request(&format!("{}/x?token=hunter2", server.url())));
    assert!(text.ends_with("/x?...: the server answered 404: no such file"), "{text}");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[test]
fn a_server_that_fails_for_a_moment_is_asked_again() {
    let asked = Arc::new(AtomicU32::new(0));
    let counted = asked.clone();
    let server = Server::start(move |_| match counted.fetch_add(1, Ordering::SeqCst) {
        0 => Response::status(503),
        1 => Response { cut_after: Some(3), ..file("content") },
        _ => file("content"),
    });
    assert_eq!(whole(&server.url()).1, b"content");
    assert_eq!(asked.load(Ordering::SeqCst), 3);
}

/// Who waits is told why, each time, and for how long.
#[test]
fn each_attempt_that_is_made_again_is_told_with_its_cause() {
    let asked = AtomicU32::new(0);
    let server = Server::start(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
        0 => Response::status(503),
        1 => Response { cut_after: Some(3), ..file("content") },
        _ => file("content"),
    });
    let client = Fetcher::new(Environment::default(), limits(), Cancel::new()).with_clock(Arc::<NoWait>::default());
    let told = Mutex::new(Vec::new());
    let again = |error: &FetchError, wait: Duration| told.lock().expect("no panic").push((error.to_string(), wait));
    let url = server.url();
    client.fetch(request(&url), &mut Vec::new(), &|_, _| (), &again).expect("the third attempt succeeds");
    let told = told.into_inner().expect("no panic");
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].0.ends_with("the server answered 503") && told[1].1 > told[0].1, "{told:?}");
}

/// A15
#[test]
fn a_file_that_breaks_off_is_never_taken_for_whole() {
    let server = Server::start(|_| Response { cut_after: Some(3), ..file("content") });
    let text = failure(request(&server.url()));
    let closed = ": the server closed the connection before its answer was complete";
    assert!(text.contains("cannot read") && text.ends_with(closed) || text.contains("sent 3 of 7 bytes"), "{text}");
}

/// What a library says of its parts is nothing for who reads it.
#[test]
fn an_answer_that_is_no_http_is_told_in_our_own_words() {
    for (answer, expected) in [
        ("", "the server closed the connection before its answer was complete"),
        ("SSH-2.0-OpenSSH_9.2\r\n\r\n", "the server's answer is not valid HTTP: invalid HTTP version"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let url = format!("http://{}/x", listener.local_addr().expect("it has one"));
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                // Whoever asks may be gone already.
                drop((stream.read(&mut [0; 4096]), stream.write_all(answer.as_bytes())));
            }
        });
        assert_eq!(failure(request(&url)), format!("cannot get {url}: {expected}"));
    }
}

/// A15
#[test]
fn a_file_without_end_is_left_at_the_limit() {
    let announced = Server::start(|_| file(&"x".repeat(1_000_001)));
    assert!(failure(request(&announced.url())).contains("more than the 1000000 bytes"));

    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let url = format!("http://{}/", listener.local_addr().expect("it is bound"));
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let Ok(mut connection) = connection else { return };
            drop(connection.read(&mut [0; 4096]));
            drop(connection.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"));
            while connection.write_all(&[b'x'; 4096]).is_ok() {}
        }
    });
    assert!(failure(request(&url)).contains("more than the 1000000 bytes"));
}

/// A15
#[test]
fn a_server_that_is_silent_is_left_after_a_while() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let url = format!("http://{}/", listener.local_addr().expect("it is bound"));
    let text = failure(request(&url));
    assert!(text.ends_with("waiting for an answer took longer than 0.4 s"), "{text}");
}

/// A15
#[test]
fn redirects_end_and_lead_nowhere_else_than_to_the_web() {
    let to = |location: &'static str| Server::start(move |_| Response::status(302).with("Location", location));
    assert!(failure(request(&to("/again").url())).contains("there were more than 10 of them"));
    assert!(failure(request(&to("file:///etc/passwd").url())).contains("its address is not valid"));
    assert!(failure(request(&to("http://169.254.169.254/latest").url())).contains("an address of this network alone"));
    assert!(failure(request(&to("ftp://127.0.0.1/x").url())).contains("its address is not valid"));
}

/// A15, A20
#[test]
fn a_proof_of_identity_goes_to_its_own_host_only() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = |name: &'static str, seen: &Arc<Mutex<Vec<String>>>| {
        let seen = seen.clone();
        move |request: &Request| {
            let value = request.header("authorization").unwrap_or("nobody");
            seen.lock().expect("no test thread panics").push(format!("{name}: {value}"));
        }
    };
    let other = Server::start({
        let record = record("other", &seen);
        move |request| {
            record(request);
            file("content")
        }
    });
    let first = Server::start({
        let (record, target) = (record("first", &seen), other.url());
        move |request| {
            record(request);
            Response::status(302).with("Location", target.clone())
        }
    });
    let secret = Secret::new("Bearer hunter2".to_owned());
    let url = first.url();
    let (fetched, _) = fetch(FileRequest { authorization: Some(&secret), ..request(&url) });
    assert!(matches!(fetched, Ok(Fetched::Whole(_))), "{fetched:?}");
    whole(&first.url().replace("http://", "HTTP://me:pw@"));
    let expected = ["first: Bearer hunter2", "other: nobody", "first: Basic bWU6cHc=", "other: nobody"];
    assert_eq!(*seen.lock().expect("no test thread panics"), expected);
}

#[test]
fn an_address_that_is_none_is_said_without_its_password() {
    let text = failure(request("https://me:hunter2@a b/x"));
    assert!(text.starts_with("cannot use the address `https://a b/x`: ") && !text.contains("hunter2"), "{text}");
}

#[test]
fn nothing_is_fetched_after_the_end_was_asked_for() {
    let server = Server::start(|_| file("content"));
    let cancel = Cancel::new();
    cancel.cancel();
    let client = Fetcher::new(Environment::default(), limits(), cancel);
    let fetched = client.fetch(request(&server.url()), &mut Vec::new(), &|_, _| (), &|_, _| ());
    assert!(matches!(fetched, Err(FetchError::Http(HttpError::Cancelled))), "{fetched:?}");
}
