//! Clients that want to harm (E019; R7 of the rules for what comes from outside).

use std::io::{Read as _, Write as _};

use stave_proxy::limits;

use crate::support::{Server, as_asked, bench, ok};

#[test]
fn what_is_no_request_is_answered_or_closed_and_asks_nobody() {
    let server = Server::start(|_| ok("x"));
    let bench = bench(|_, url| as_asked(url));
    let url = server.url("/");
    assert!(bench.say("\u{1}\u{2}\u{3}\r\n\r\n").starts_with("HTTP/1.1 400 Bad Request\r\n"));
    assert!(
        bench.say("GET / HTTP/1.1\r\n\r\n").ends_with("stave: this is a proxy, which is asked for whole addresses\n")
    );
    let ftp = bench.say("GET ftp://a/ HTTP/1.1\r\n\r\n");
    let text = "stave: the request is not for a file: address `ftp` starts with neither `https://` nor `http://`\n";
    assert!(ftp.ends_with(text), "{ftp}");
    assert!(
        bench.say("CONNECT nonsense/ HTTP/1.1\r\n\r\n").ends_with("`CONNECT` is followed by a host and its port\n")
    );
    let user = bench.say("GET http://me:pw@a/ HTTP/1.1\r\n\r\n");
    assert!(user.ends_with("stave: the request is not for a file: address has a user name or a password in it\n"));
    let long = bench.say(&format!("GET {url}{} HTTP/1.1\r\n\r\n", "x".repeat(200_000)));
    assert!(long.is_empty() || long.starts_with("HTTP/1.1 431 "), "{long}");
    let smuggled = format!("POST {url} HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    assert!(bench.say(&smuggled).ends_with("stave: it is not clear how long the body of the request is\n"));
    assert!(server.seen().is_empty());
    assert_eq!(bench.record(), [format!("POST {url} -> refused: it is not clear how long the body of the request is")]);
}

#[test]
fn connections_beyond_the_limit_wait_for_others_and_not_forever() {
    let server = Server::start(|_| ok("served"));
    let bench = bench(|_, url| as_asked(url));
    let mut idle: Vec<_> = (0..limits::CONNECTIONS_MAX + 20).map(|_| bench.connect()).collect();
    let mut last = bench.connect();
    let url = server.url("/");
    last.write_all(format!("GET {url} HTTP/1.1\r\nConnection: close\r\n\r\n").as_bytes()).expect("it is in the queue");
    idle.drain(..30);
    let mut answer = String::new();
    last.read_to_string(&mut answer).expect("it is served when others have gone");
    assert!(answer.ends_with("served"), "{answer}");
    // The others are still open: the end of the proxy is theirs.
    assert_eq!(bench.record().len(), 1);
}

#[test]
fn the_end_comes_whatever_is_under_way() {
    let bench = bench(|_, url| as_asked(url));
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let url = format!("http://{}/", silent.local_addr().expect("it is bound"));
    let mut asks = bench.connect();
    asks.write_all(format!("GET {url} HTTP/1.1\r\n\r\n").as_bytes()).expect("the proxy reads");
    // The request has reached the server, which never answers.
    let (mut upstream, _) = silent.accept().expect("the proxy connects");
    let mut byte = [0];
    upstream.read_exact(&mut byte).expect("the proxy asks");
    let record = bench.record();
    assert_eq!(record.len(), 1);
    assert!(record[0].starts_with(&format!("GET {url} -> ")), "{record:?}");
}
