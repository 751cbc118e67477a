//! A proxy on the loopback interface that leads from names that nobody has to servers of the test.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// A running proxy. Ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Starts a proxy that leads each name, a host and a port, to a server of this machine, and refuses every other place.
    #[must_use]
    pub fn start(places: &[(&str, &str)]) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port on the loopback interface");
        let address = listener.local_addr().expect("a listener has an address");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let owned = |(name, server): &(&str, &str)| (format!("CONNECT {name} HTTP/1.1"), (*server).to_owned());
        let places: Arc<[(String, String)]> = places.iter().map(owned).collect();
        let accepting = std::thread::spawn(move || {
            for connection in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(connection) = connection else { continue };
                let places = Arc::clone(&places);
                // A client that goes away ends its own connection and nothing else.
                std::thread::spawn(move || lead(connection, &places).ok());
            }
        });
        Self { address, stop, accepting: Some(accepting) }
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for a connection.
        drop(TcpStream::connect(self.address));
        if let Some(accepting) = self.accepting.take() {
            accepting.join().expect("the accepting thread does not panic");
        }
    }
}

/// Reads what the client wants, and lets it talk with the server.
///
/// Reference: RFC 9110, section 9.3.6 (`CONNECT`).
fn lead(client: TcpStream, places: &[(String, String)]) -> io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let Some((_, server)) = places.iter().find(|(wanted, _)| wanted == first.trim_end()) else {
        return (&client).write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n");
    };
    let server = TcpStream::connect(server)?;
    (&client).write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    let (mut answers, mut to_client) = (server.try_clone()?, client);
    let answering = std::thread::spawn(move || {
        io::copy(&mut answers, &mut to_client).ok();
        to_client.shutdown(Shutdown::Both).ok();
    });
    io::copy(&mut reader, &mut &server).ok();
    server.shutdown(Shutdown::Both).ok();
    answering.join().expect("copying does not panic");
    Ok(())
}
