//! Connections that open soon or not at all: all addresses of a host race, and the wait can be ended.
//!
//! Reference: RFC 8305 ("Happy Eyeballs").

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, ShutdownHandle, Transport,
};

use crate::cancel::Cancel;

/// How long an address may take before the next one is tried beside it.
const HEAD_START: Duration = Duration::from_millis(250);

/// How often a wait looks whether somebody asked for an end.
const TICK: Duration = Duration::from_millis(50);

/// Opens TCP connections.
pub(crate) struct Tcp {
    cancel: Cancel,
    timeout: Duration,
}

impl fmt::Debug for Tcp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Tcp")
    }
}

impl Tcp {
    pub(crate) fn new(cancel: Cancel, timeout: Duration) -> Self {
        Self { cancel, timeout }
    }

    fn open(&self, addresses: &[SocketAddr]) -> Result<TcpStream, ureq::Error> {
        let end = Instant::now() + self.timeout;
        let (sender, results) = mpsc::channel();
        let mut waiting = addresses.iter().copied();
        let mut running = 0;
        let mut next_start = Instant::now();
        let mut failure: Option<io::Error> = None;
        loop {
            if self.cancel.is_cancelled() {
                return Err(io::Error::other("cancelled").into());
            }
            let now = Instant::now();
            if now >= end {
                return Err(ureq::Error::Timeout(ureq::Timeout::Connect));
            }
            if (running == 0 || now >= next_start)
                && let Some(address) = waiting.next()
            {
                // The thread ends by itself, at the latest when its own time is up; nobody has to wait for it.
                let (sender, rest) = (sender.clone(), end - now);
                std::thread::Builder::new()
                    .name("connect".to_owned())
                    .spawn(move || drop(sender.send(TcpStream::connect_timeout(&address, rest))))?;
                running += 1;
                next_start = now + HEAD_START;
            } else if running == 0 {
                return Err(failure.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into()).into());
            }
            match results.recv_timeout(TICK) {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => {
                    running -= 1;
                    failure = Some(error);
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
        }
    }
}

impl<In: Transport> Connector<In> for Tcp {
    type Out = Either<In, Socket>;

    fn connect(&self, details: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<Self::Out>, ureq::Error> {
        if let Some(connected) = chained {
            return Ok(Some(Either::A(connected)));
        }
        let addresses: Vec<SocketAddr> = details.addrs.iter().copied().collect();
        let stream = self.open(&addresses)?;
        stream.set_nodelay(true)?;
        let stream = Arc::new(stream);
        let weak: Weak<dyn ShutdownHandle> = Arc::<TcpStream>::downgrade(&stream);
        (details.register_shutdown)(weak)?;
        let buffers = LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(Either::B(Socket { stream, buffers, read_timeout: None, write_timeout: None })))
    }
}

/// An open connection.
pub(crate) struct Socket {
    stream: Arc<TcpStream>,
    buffers: LazyBuffers,
    /// What the kernel was told last.
    read_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
}

impl fmt::Debug for Socket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Socket")
    }
}

/// Returns how long one operation may take, or that its time is over.
fn allowed(timeout: NextTimeout) -> Result<Option<Duration>, ureq::Error> {
    if timeout.after.is_zero() {
        return Err(ureq::Error::Timeout(timeout.reason));
    }
    Ok(timeout.not_zero().map(|after| *after))
}

fn failed(error: io::Error, timeout: NextTimeout) -> ureq::Error {
    match error.kind() {
        // Linux says that a socket "would block" when its time is over.
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ureq::Error::Timeout(timeout.reason),
        _ => error.into(),
    }
}

impl Transport for Socket {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        let timeout = timeout.for_write();
        let limit = allowed(timeout)?;
        if limit != self.write_timeout {
            self.stream.set_write_timeout(limit)?;
            self.write_timeout = limit;
        }
        let output = &self.buffers.output()[..amount];
        (&*self.stream).write_all(output).map_err(|error| failed(error, timeout))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let timeout = timeout.for_read();
        let limit = allowed(timeout)?;
        if limit != self.read_timeout {
            self.stream.set_read_timeout(limit)?;
            self.read_timeout = limit;
        }
        let input = self.buffers.input_append_buf();
        let count = loop {
            match (&*self.stream).read(input) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other.map_err(|error| failed(error, timeout))?,
            }
        };
        self.buffers.input_appended(count);
        Ok(count > 0)
    }

    /// Whether the connection can carry another request: open, and nothing came that nobody asked for.
    fn is_open(&mut self) -> bool {
        let quiet = self.stream.set_nonblocking(true).is_ok()
            && (&*self.stream).read(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        quiet && self.stream.set_nonblocking(false).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_dead_address_does_not_hide_a_live_one() {
        let live = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let dead = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let addresses = [dead.local_addr().expect("bound"), live.local_addr().expect("bound")];
        drop(dead);
        let tcp = Tcp::new(Cancel::new(), Duration::from_secs(20));
        let stream = tcp.open(&addresses).expect("the second one works");
        assert_eq!(stream.peer_addr().expect("it is connected"), addresses[1]);
        assert!(
            matches!(tcp.open(&addresses[..1]), Err(ureq::Error::Io(error)) if error.kind() == io::ErrorKind::ConnectionRefused)
        );
        assert!(tcp.open(&[]).is_err());
    }

    #[test]
    fn nothing_opens_after_the_end_was_asked_for() {
        let tcp = Tcp::new(Cancel::new(), Duration::from_secs(20));
        tcp.cancel.cancel();
        assert!(tcp.open(&[]).is_err());
    }
}
