//! HTTPS through the proxy: its certificates for the client, the server's for itself (E019).

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use stave_http::{Environment, Setup};
use stave_proxy::Authority;

use crate::support::{Bench, Server, as_asked, bench, bench_with, ok, short};

/// A client that trusts whom `pem` names.
fn client(pem: &str, host: &str, stream: TcpStream) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate")).expect("it is one");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
    let name = ServerName::try_from(host.to_owned()).expect("a name");
    StreamOwned::new(ClientConnection::new(config, name).expect("a client"), stream)
}

/// Opens a tunnel.
fn tunnel(bench: &Bench, to: &str) -> TcpStream {
    let mut stream = bench.connect();
    stream.write_all(format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n").as_bytes()).expect("the proxy reads");
    let mut answer = vec![0; b"HTTP/1.1 200 Connection established\r\n\r\n".len()];
    stream.read_exact(&mut answer).expect("the proxy answers");
    assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 200 Connection established\r\n\r\n");
    stream
}

/// Says `text` and reads to the end, which has to be one of TLS.
fn say(mut stream: StreamOwned<ClientConnection, TcpStream>, text: &str) -> String {
    stream.write_all(text.as_bytes()).expect("the proxy reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the connection is closed as TLS wants it");
    answer
}

/// A server of TLS: another proxy of the same kind, whose answers are its own words.
fn secure_server(folder: &std::path::Path) -> (Bench, Setup) {
    let server = bench(|_, _| Err("never asked".to_owned()));
    let file = folder.join("ca.pem");
    std::fs::write(&file, server.authority.pem()).expect("it can be written");
    let environment = Environment { ssl_cert_file: Some(file), ..Environment::default() };
    (server, Setup::new(environment))
}

#[test]
fn what_is_asked_inside_of_a_tunnel_is_judged_and_recorded() {
    let plain = Server::start(|_| ok("inside"));
    let to = plain.url("/used");
    // The judge puts a server in the clear in the place of the one that is asked for.
    let bench = bench(move |_, url| {
        assert!(url.starts_with("https://a.example/x"), "{url}");
        as_asked(&to)
    });
    let stream = client(bench.authority.pem(), "a.example", tunnel(&bench, "a.example:443"));
    let answer = say(stream, "GET /x?y HTTP/1.1\r\nHost: A.example\r\nAuthorization: x\r\nConnection: close\r\n\r\n");
    assert!(answer.ends_with("\r\n\r\ninside"), "{answer}");
    assert!(
        plain.seen()[0].starts_with("GET /used ") && !plain.seen()[0].to_ascii_lowercase().contains("authorization")
    );
    assert_eq!(bench.record(), [format!("GET https://a.example/x?y -> 200 {}", short("inside"))]);
}

#[test]
fn a_server_whose_certificate_is_not_trusted_is_not_asked() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (server, trusting) = secure_server(folder.path());
    let port = {
        // The server of TLS is the inside of the other proxy's tunnel: found through a listener that opens it.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let address = server.address;
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || join(stream, address));
            }
        });
        port
    };
    let ask = |bench: &Bench| {
        let stream = client(bench.authority.pem(), "127.0.0.1", tunnel(bench, &format!("127.0.0.1:{port}")));
        say(stream, &format!("GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"))
    };
    let (trusts, does_not) = (bench_with(trusting, |_, url| as_asked(url)), bench(|_, url| as_asked(url)));
    let answer = ask(&trusts);
    assert!(answer.contains(&format!("the tunnel leads to 127.0.0.1:{}", 1)), "{answer}");
    let answer = ask(&does_not);
    assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n") && answer.contains("TLS failed"), "{answer}");
    assert_eq!(trusts.record(), [format!("GET https://127.0.0.1:{port}/ -> 421")]);
    assert_eq!(does_not.record().len(), 1);
}

/// Joins a connection with the inside of a tunnel to `127.0.0.1:1` of a proxy.
fn join(stream: TcpStream, proxy: std::net::SocketAddr) {
    let mut inside = TcpStream::connect(proxy).expect("the proxy listens");
    inside.write_all(b"CONNECT 127.0.0.1:1 HTTP/1.1\r\n\r\n").expect("it reads");
    let mut answer = vec![0; b"HTTP/1.1 200 Connection established\r\n\r\n".len()];
    inside.read_exact(&mut answer).expect("it answers");
    let (mut from, mut to) = (stream.try_clone().expect("a descriptor"), inside.try_clone().expect("a descriptor"));
    std::thread::spawn(move || drop(std::io::copy(&mut from, &mut to)));
    drop(std::io::copy(&mut inside, &mut { stream }));
}

#[test]
fn a_tunnel_leads_where_it_says_and_carries_nothing_but_requests() {
    let bench = bench(|_, url| as_asked(url));
    let through = |text: &str| {
        let stream = client(bench.authority.pem(), "a.example", tunnel(&bench, "a.example:8443"));
        say(stream, text)
    };
    let other = through("GET / HTTP/1.1\r\nHost: b.example:8443\r\nConnection: close\r\n\r\n");
    assert!(other.ends_with("stave: the tunnel leads to a.example:8443, and to no other server\n"), "{other}");
    let other = through("GET https://b.example/ HTTP/1.1\r\nHost: a.example:8443\r\nConnection: close\r\n\r\n");
    assert!(other.ends_with("stave: the tunnel leads to a.example:8443, and to no other server\n"), "{other}");
    let other = through("CONNECT c.example:443 HTTP/1.1\r\n\r\n");
    assert!(other.ends_with("stave: there are no tunnels inside of tunnels\n"), "{other}");
    let websocket =
        through("GET / HTTP/1.1\r\nHost: a.example:8443\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    let text = "connections that turn into others, like those of WebSocket, are not passed on";
    assert!(websocket.ends_with(&format!("stave: {text}\n")), "{websocket}");
    let mut plain = tunnel(&bench, "a.example:22");
    plain.write_all(b"SSH-2.0-x\r\n").expect("the proxy reads");
    let mut answer = String::new();
    plain.read_to_string(&mut answer).expect("the proxy answers");
    assert!(answer.ends_with("stave: only TLS is spoken through the proxy's tunnels\n"), "{answer}");
    assert_eq!(
        bench.record(),
        [
            format!("GET https://a.example:8443/ -> refused: {text}"),
            "CONNECT a.example:22 -> refused: only TLS is spoken through the proxy's tunnels".to_owned(),
        ]
    );
}

#[test]
fn a_program_that_does_not_trust_the_proxy_is_in_the_record() {
    let bench = bench(|_, url| as_asked(url));
    let other = Authority::new().expect("randomness");
    let mut stream = client(other.pem(), "a.example", tunnel(&bench, "a.example:443"));
    assert!(stream.write_all(b"GET / HTTP/1.1\r\n\r\n").is_err());
    drop(stream);
    let mut record = bench.record();
    let line = record.pop().expect("a line");
    assert!(record.is_empty());
    let text = "CONNECT a.example:443 -> refused: no TLS with the step's program, which has to trust the proxy: ";
    assert!(line.starts_with(text) || line.contains("unfinished"), "{line}");
}
