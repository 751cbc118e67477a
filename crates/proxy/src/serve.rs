//! The proxy of one step: takes connections, finds out what they are, and ends with the step.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::{ServerConnection, StreamOwned};
use stave_http::{Cancel, Http, Limits, Origin, Scheme, Setup};

use crate::authority::Authority;
use crate::exchange::{Content, Exchange, Judge, Judged, Outcome};
use crate::limits;
use crate::request::requests;
use crate::wire::{Head, HeadError, Prefixed, Wire};

/// First byte of a TLS connection: a record of the handshake.
///
/// Reference: RFC 8446, section 5.1.
const TLS_HANDSHAKE: u8 = 22;

/// Makes a file without a name for content that must be verified before anybody sees it.
pub type Spool = dyn Fn() -> io::Result<File> + Send + Sync;

/// What the proxy of a step works with.
pub struct Settings {
    /// How servers are spoken to, and which may be reached.
    pub setup: Setup,
    /// Who decides.
    pub judge: Arc<dyn Judge>,
    /// Whose certificates the step trusts.
    pub authority: Arc<Authority>,
    /// Where content waits that has to be verified.
    pub spool: Arc<Spool>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Settings")
    }
}

/// What all connections of a step share.
pub(crate) struct Shared {
    pub(crate) http: Http,
    pub(crate) judge: Arc<dyn Judge>,
    pub(crate) spool: Arc<Spool>,
    authority: Arc<Authority>,
    cancel: Cancel,
    ending: AtomicBool,
    exchanges: Mutex<Vec<Exchange>>,
    origins: Mutex<BTreeSet<Origin>>,
    open: Mutex<BTreeMap<u64, Arc<TcpStream>>>,
    /// Told when a connection ends.
    closed: Condvar,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Begins the record of a request; nothing if there are too many.
    pub(crate) fn begin(&self, method: &str, url: &str) -> Option<usize> {
        let mut exchanges = lock(&self.exchanges);
        if exchanges.len() >= limits::EXCHANGES_MAX {
            return None;
        }
        exchanges.push(Exchange {
            method: method.to_owned(),
            url: url.to_owned(),
            judged: Judged::Unasked,
            outcome: Outcome::Unfinished,
            content: Content::Nothing,
        });
        Some(exchanges.len() - 1)
    }

    /// Adds to the record of a request what the judge said.
    pub(crate) fn judged(&self, number: usize, judged: Judged) {
        if let Some(exchange) = lock(&self.exchanges).get_mut(number) {
            exchange.judged = judged;
        }
    }

    /// Completes the record of a request.
    pub(crate) fn note(&self, number: usize, outcome: Outcome, content: Content) {
        if let Some(exchange) = lock(&self.exchanges).get_mut(number) {
            (exchange.outcome, exchange.content) = (outcome, content);
        }
    }

    /// Whether one more server may be reached, if this is one.
    pub(crate) fn may_reach(&self, origin: &Origin) -> bool {
        let mut origins = lock(&self.origins);
        origins.contains(origin) || origins.len() < limits::ORIGINS_MAX && origins.insert(origin.clone())
    }
}

/// The proxy of a step that runs. Dropping it ends it.
pub struct Proxy {
    shared: Arc<Shared>,
    listener: Arc<TcpListener>,
    accepts: Option<JoinHandle<()>>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Proxy")
    }
}

impl Proxy {
    /// Serves the connections of `listener`, a listening socket of TCP, until [`Proxy::finish`].
    ///
    /// # Errors
    /// If there can be no further thread.
    pub fn serve(listener: OwnedFd, settings: Settings) -> io::Result<Self> {
        let cancel = Cancel::new();
        let times = Limits {
            first_byte_timeout: limits::ANSWER_TIMEOUT,
            idle_timeout: limits::BODY_TIMEOUT,
            ..Limits::default()
        };
        let shared = Arc::new(Shared {
            http: Http::new(settings.setup, times, cancel.clone()),
            judge: settings.judge,
            spool: settings.spool,
            authority: settings.authority,
            cancel,
            ending: AtomicBool::new(false),
            exchanges: Mutex::default(),
            origins: Mutex::default(),
            open: Mutex::default(),
            closed: Condvar::new(),
        });
        let listener = Arc::new(TcpListener::from(listener));
        let (from, with) = (Arc::clone(&listener), Arc::clone(&shared));
        let accepts = std::thread::Builder::new().name("proxy".to_owned()).spawn(move || accept(&from, &with))?;
        Ok(Self { shared, listener, accepts: Some(accepts) })
    }

    /// Ends all connections and returns what was asked over them.
    #[must_use]
    pub fn finish(mut self) -> Vec<Exchange> {
        self.end();
        std::mem::take(&mut *lock(&self.shared.exchanges))
    }

    fn end(&mut self) {
        let Some(accepts) = self.accepts.take() else { return };
        self.shared.ending.store(true, Ordering::SeqCst);
        self.shared.cancel.cancel();
        // Whoever waits for a connection, or for one to end, wakes up; what fails has ended already.
        let _is_down = rustix::net::shutdown(&*self.listener, rustix::net::Shutdown::Both);
        let mut open = lock(&self.shared.open);
        self.shared.closed.notify_all();
        for stream in open.values() {
            drop(stream.shutdown(Shutdown::Both));
        }
        while !open.is_empty() {
            open = self.shared.closed.wait(open).unwrap_or_else(PoisonError::into_inner);
        }
        drop(open);
        drop(accepts.join());
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.end();
    }
}

/// Takes connections, no more at a time than are allowed.
fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for number in 0.. {
        let mut open = lock(&shared.open);
        while open.len() >= limits::CONNECTIONS_MAX && !shared.ending.load(Ordering::SeqCst) {
            open = shared.closed.wait(open).unwrap_or_else(PoisonError::into_inner);
        }
        drop(open);
        if shared.ending.load(Ordering::SeqCst) {
            return;
        }
        let stream = match listener.accept() {
            Ok((stream, _)) => Arc::new(stream),
            Err(_) if shared.ending.load(Ordering::SeqCst) => return,
            // A connection that was gone before it was taken, or no descriptor is free just now.
            Err(_) => {
                std::thread::sleep(Duration::from_millis(10));
                continue;
            }
        };
        let mut open = lock(&shared.open);
        // Whoever ends the proxy either sees it in the list, or has said so before.
        if shared.ending.load(Ordering::SeqCst) {
            return;
        }
        open.insert(number, Arc::clone(&stream));
        drop(open);
        let with = Arc::clone(shared);
        let spawned = std::thread::Builder::new().name("proxied".to_owned()).spawn(move || {
            let served = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| connection(&stream, &with)));
            close(&with, number, &stream);
            drop(served);
        });
        if spawned.is_err() {
            lock(&shared.open).remove(&number);
        }
    }
}

fn close(shared: &Shared, number: u64, stream: &TcpStream) {
    drop(stream.shutdown(Shutdown::Both));
    lock(&shared.open).remove(&number);
    shared.closed.notify_all();
}

/// A connection of a client, whose reads and writes end within a known time.
#[derive(Clone, Copy)]
pub(crate) struct Client<'a>(&'a TcpStream);

impl Client<'_> {
    /// Sets how long one read or write may take.
    pub(crate) fn patience(self, limit: Duration) {
        // A duration that is not zero is always taken.
        drop(self.0.set_read_timeout(Some(limit)));
        drop(self.0.set_write_timeout(Some(limit)));
    }
}

impl Read for Client<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut stream = self.0;
        stream.read(buffer)
    }
}

impl Write for Client<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut stream = self.0;
        stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn connection(stream: &TcpStream, shared: &Shared) {
    let client = Client(stream);
    drop(stream.set_nodelay(true));
    client.patience(limits::CLIENT_TIMEOUT);
    let mut wire = Wire::new(client);
    if let Some(head) = requests(&mut wire, client, shared, None) {
        tunnel(wire, client, shared, &head);
    }
}

/// Serves what comes through a tunnel to a server.
fn tunnel(mut wire: Wire<Client<'_>>, client: Client<'_>, shared: &Shared, head: &Head) {
    let Ok(origin) = Origin::of_authority(Scheme::Https, &head.target) else {
        drop(wire.answer(400, "`CONNECT` is followed by a host and its port", false));
        return;
    };
    let shown = format!("{}:{}", origin.host, origin.port);
    let refuse = |text: String| {
        if let Some(number) = shared.begin("CONNECT", &shown) {
            shared.note(number, Outcome::Refused(text), Content::Nothing);
        }
    };
    let host = origin.host.trim_matches(['[', ']']).to_owned();
    let config = match shared.authority.server(&host) {
        Ok(config) => config,
        Err(error) => {
            drop(wire.answer(502, &error.to_string(), false));
            return refuse(error.to_string());
        }
    };
    if wire.write(b"HTTP/1.1 200 Connection established\r\n\r\n").is_err() {
        return;
    }
    let mut stream: Prefixed<Client<'_>> = wire.into_stream();
    match stream.peek() {
        Ok(Some(TLS_HANDSHAKE)) => {}
        // A client that went away before it said anything wanted nothing.
        Ok(None) => return,
        Ok(Some(_)) | Err(_) => {
            let text = "only TLS is spoken through the proxy's tunnels";
            drop(Wire::new(stream).answer(501, text, false));
            return refuse(text.to_owned());
        }
    }
    let Ok(mut session) = ServerConnection::new(config) else { return };
    while session.is_handshaking() {
        if let Err(error) = session.complete_io(&mut stream) {
            return refuse(format!("no TLS with the step's program, which has to trust the proxy: {error}"));
        }
    }
    let mut wire = Wire::new(StreamOwned::new(session, stream));
    if requests(&mut wire, client, shared, Some(&origin)).is_some() {
        drop(wire.answer(501, "there are no tunnels inside of tunnels", false));
    }
    drop(wire.close());
}

/// Answers what cannot be read as a request, where somebody may read that.
pub(crate) fn unreadable<S: Read + Write>(wire: &mut Wire<S>, error: HeadError) {
    if let HeadError::Wrong(status, text) = error {
        drop(wire.answer(status, &text, false));
    }
}
