//! Requests that are passed on, and those that are not (E019).

use stave_oci::BlobDigest;
use stave_proxy::Verdict;

use crate::support::{Server, as_asked, bench, bench_with, ok, others_only, short};

fn get(url: &str) -> String {
    format!("GET {url} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
}

#[test]
fn a_file_is_passed_on_and_recorded_with_its_digest() {
    let server = Server::start(|_| ok("hello"));
    let bench = bench(|_, url| as_asked(url));
    let url = server.url("/a?b=c");
    let answer = bench.say(&format!(
        "GET {url} HTTP/1.1\r\nHost: elsewhere\r\nAuthorization: Basic c2VjcmV0\r\nProxy-Authorization: Basic eA==\r\n\
         Accept-Encoding: gzip\r\nX-Mine: 1\r\nConnection: close, X-Drop\r\nX-Drop: 1\r\n\r\n"
    ));
    assert_eq!(answer, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nConnection: close\r\n\r\nhello");
    assert_eq!(bench.record(), [format!("GET {url} -> 200 {}", short("hello"))]);
    let seen = server.seen().concat().to_ascii_lowercase();
    assert!(seen.starts_with("get /a?b=c http/1.1\r\n"), "{seen}");
    for line in ["authorization: basic c2vjcmv0\r\n", "x-mine: 1\r\n", "accept-encoding: identity\r\n"] {
        assert!(seen.contains(line), "{line} {seen}");
    }
    for word in ["proxy-authorization", "x-drop", "gzip", "elsewhere"] {
        assert!(!seen.contains(word), "{word} {seen}");
    }
}

#[test]
fn one_connection_carries_several_requests_of_all_kinds() {
    let server = Server::start(|line| match line.split(' ').next() {
        Some("HEAD") => "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n".to_owned(),
        Some("POST") => ok("posted"),
        Some("PROPFIND") => {
            "HTTP/1.1 207 Multi-Status\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n".to_owned()
        }
        _ if line.contains("/none") => "HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n".to_owned(),
        _ if line.contains("/part") => "HTTP/1.1 206 Partial Content\r\nContent-Length: 1\r\n\r\nx".to_owned(),
        _ => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".to_owned(),
    });
    let bench = bench(|_, url| as_asked(url));
    let url = server.url("/");
    let answer = bench.say(&format!(
        "HEAD {url} HTTP/1.1\r\n\r\n\
         POST {url} HTTP/1.1\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n\
         PUT {url} HTTP/1.1\r\nContent-Length: 3\r\n\r\nput\
         PROPFIND {url} HTTP/1.1\r\n\r\n\
         GET {url}none HTTP/1.1\r\n\r\n\
         GET {url}part HTTP/1.1\r\nRange: bytes=0-0\r\n\r\n\
         GET {url} HTTP/1.0\r\n\r\n"
    ));
    let kept = "Connection: keep-alive\r\n\r\n";
    let chunked = |body: &str| format!("Transfer-Encoding: chunked\r\n{kept}{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    assert_eq!(
        answer,
        [
            format!("HTTP/1.1 200 OK\r\ncontent-length: 7\r\n{kept}"),
            format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 6\r\n{kept}posted"),
            format!("HTTP/1.1 200 OK\r\n{}", chunked("abc")),
            format!("HTTP/1.1 207 \r\n{}", chunked("ab")),
            format!("HTTP/1.1 304 \r\netag: x\r\n{kept}"),
            format!("HTTP/1.1 206 \r\ncontent-length: 1\r\n{kept}x"),
            "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc".to_owned(),
        ]
        .concat()
    );
    let lines = ["HEAD {} -> 200", "POST {} -> 200", "PUT {} -> 200", "PROPFIND {} -> 207", "GET {}none -> 304"];
    let mut lines: Vec<String> = lines.iter().map(|line| line.replace("{}", &url)).collect();
    lines.push(format!("GET {url}part -> 206"));
    lines.push(format!("GET {url} -> 200 {}", short("abc")));
    assert_eq!(bench.record(), lines);
    assert!(server.seen().iter().any(|seen| seen.starts_with("POST ") && seen.ends_with("4\r\nbody\r\n0\r\n\r\n")));
    assert!(server.seen().iter().any(|seen| seen.starts_with("PUT ") && seen.ends_with("\r\n\r\nput")));
}

#[test]
fn a_body_that_breaks_off_or_whose_end_nobody_tells_is_no_whole_file() {
    let server = Server::start(|line| match line {
        _ if line.contains("/cut") => "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf!".to_owned(),
        _ => "HTTP/1.0 200 OK\r\n\r\nall?!".to_owned(),
    });
    let bench = bench(|_, url| as_asked(url));
    let cut = bench.say(&get(&server.url("/cut")));
    assert!(cut.ends_with("content-length: 9\r\nConnection: close\r\n\r\nhalf"), "{cut}");
    assert!(bench.say(&get(&server.url("/"))).ends_with("\r\n\r\n4\r\nall?\r\n0\r\n\r\n"));
    let lines = [server.url("/cut"), server.url("/")].map(|url| format!("GET {url} -> 200 cut"));
    assert_eq!(bench.record(), lines);
}

#[test]
fn what_is_denied_is_not_asked_for_and_the_client_is_told_why() {
    let server = Server::start(|_| ok("secret"));
    let bench = bench(|method, url| Err(format!("no {method} of {}", url.len())));
    let url = server.url("/");
    let answer = bench.say(&get(&url));
    let text = format!("stave: no GET of {}\n", url.len());
    assert_eq!(
        answer,
        format!(
            "HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
            text.len()
        )
    );
    assert_eq!(bench.record(), [format!("GET {url} -> refused: no GET of {}", url.len())]);
    assert!(server.seen().is_empty());
}

#[test]
fn a_judge_may_put_another_file_in_the_place_of_one_and_say_what_it_has_to_be() {
    let server = Server::start(ok);
    let (other, good) = (server.url("/other"), BlobDigest::of(b"GET /other HTTP/1.1"));
    let bad = BlobDigest::of(b"something else");
    let to = other.clone();
    let bench = bench(move |_, url| {
        let checksum = if url.ends_with("/bad") { bad } else { good };
        Ok(Verdict { url: to.clone(), checksum: Some(checksum) })
    });
    let answer = bench.say(&format!("GET {} HTTP/1.1\r\nCookie: a\r\nConnection: close\r\n\r\n", server.url("/good")));
    assert!(answer.ends_with("\r\n\r\nGET /other HTTP/1.1"), "{answer}");
    let answer = bench.say(&get(&server.url("/bad")));
    let wrong = format!("{other} has the checksum {good}, and a policy wants {bad}");
    assert!(answer.starts_with("HTTP/1.1 502 ") && answer.ends_with(&format!("stave: {wrong}\n")), "{answer}");
    let post = bench.say(&format!("POST {} HTTP/1.1\r\nContent-Length: 0\r\n\r\n", server.url("/good")));
    let (asked, refused) = (server.url("/good"), "which `POST` cannot mean");
    let refused = format!("a policy puts another file in the place of {asked}, {refused}");
    assert!(post.ends_with(&format!("stave: {refused}\n")), "{post}");
    assert!(server.seen().iter().all(|seen| !seen.to_ascii_lowercase().contains("cookie")));
    assert_eq!(
        bench.record(),
        [
            format!("GET {asked} -> 200 {}", short("GET /other HTTP/1.1")),
            format!("GET {} -> refused: {wrong} cut", server.url("/bad")),
            format!("POST {asked} -> refused: {refused}"),
        ]
    );
}

#[test]
fn this_machine_is_not_reached_by_any_name_of_it() {
    let server = Server::start(|_| ok("this machine"));
    let port = server.address.port();
    let bench = bench_with(others_only(), |_, url| as_asked(url));
    let hosts = ["127.0.0.1", "localhost", "0.0.0.0", "[::1]", "[::]", "[::ffff:127.0.0.1]", "169.254.169.254"];
    for host in hosts {
        let answer = bench.say(&get(&format!("http://{host}:{port}/")));
        assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{host}: {answer}");
        let why =
            format!("cannot find the address of `{host}`: it is this machine, or one that only this machine sees\n");
        assert!(answer.ends_with(&why), "{host}: {answer}");
    }
    assert_eq!(bench.record().len(), hosts.len());
    assert!(server.seen().is_empty());
}

#[test]
fn a_server_that_is_not_there_is_a_failure_with_its_reason() {
    let bench = bench(|_, url| as_asked(url));
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        listener.local_addr().expect("it is bound").port()
    };
    let answer = bench.say(&get(&format!("http://127.0.0.1:{port}/?token=1")));
    assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{answer}");
    let why = format!("cannot get http://127.0.0.1:{port}/?...: Connection refused (os error 111)");
    assert!(answer.ends_with(&format!("stave: {why}\n")), "{answer}");
    assert_eq!(bench.record(), [format!("GET http://127.0.0.1:{port}/?token=1 -> failed: {why}")]);
}
