//! Reading a blob while it still comes in.
//!
//! Turns the file that a transfer writes into a stream for somebody beside it, who waits where the transfer waits. Nothing
//! that is read here is verified: whoever uses it keeps the result back until the transfer has ended well.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use stave_registry::BlobSink;

use crate::base::Sink;

/// How far a transfer is.
#[derive(Debug, Default)]
struct State {
    written: u64,
    /// It began anew, so that what was read may be of another attempt.
    torn: bool,
    /// It has ended; well, if so.
    ended: Option<bool>,
}

/// What a transfer and its reader share.
#[derive(Debug, Default)]
pub(crate) struct Arrival {
    state: Mutex<State>,
    changed: Condvar,
}

impl Arrival {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    /// Tells the reader that nothing more comes, and whether all was well.
    pub(crate) fn end(&self, well: bool) {
        self.change(|state| state.ended = Some(well));
    }

    /// Whether the transfer began anew, so that its reader gave up.
    pub(crate) fn is_torn(&self) -> bool {
        self.state().torn
    }
}

/// A sink whose reader learns of every write.
pub(crate) struct Followed {
    pub(crate) sink: Sink,
    pub(crate) arrival: Arc<Arrival>,
}

impl Write for Followed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.sink.write(bytes)?;
        self.arrival.change(|state| state.written += count as u64);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

impl BlobSink for Followed {
    fn restart(&mut self) -> io::Result<()> {
        // Before the file is emptied: the reader must not see an end that is none.
        self.arrival.change(|state| state.torn |= state.written > 0);
        self.sink.restart()
    }
}

/// Reads what a transfer has written, and waits for more.
pub(crate) struct Follower {
    file: File,
    read: u64,
    arrival: Arc<Arrival>,
}

impl Follower {
    /// Returns a reader of `file`, into which a [`Followed`] with this arrival writes.
    pub(crate) fn new(file: File, arrival: Arc<Arrival>) -> Self {
        Self { file, read: 0, arrival }
    }
}

impl Read for Follower {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.arrival.state();
        let there = loop {
            if state.torn || state.ended == Some(false) {
                return Err(io::Error::other("the transfer did not go on"));
            }
            let there = state.written - self.read;
            if there > 0 || state.ended.is_some() {
                break there;
            }
            state = self.arrival.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        drop(state);
        let length = usize::try_from(there).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.read(&mut buffer[..length])?;
        if count == 0 && length > 0 {
            // It was emptied meanwhile.
            return Err(io::Error::other("the transfer did not go on"));
        }
        self.read += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn followed() -> (File, Arc<Arrival>, Follower) {
        let file = tempfile::NamedTempFile::new().expect("a temporary file can be made");
        let reader = file.reopen().expect("it can be opened");
        let arrival = Arc::new(Arrival::default());
        (file.into_file(), Arc::clone(&arrival), Follower::new(reader, arrival))
    }

    #[test]
    fn a_reader_waits_for_what_comes_and_ends_with_it() {
        let (mut file, arrival, mut follower) = followed();
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            follower.read_to_string(&mut text).map(|_| text)
        });
        for part in ["one ", "two ", "three"] {
            file.write_all(part.as_bytes()).expect("it is written");
            arrival.change(|state| state.written += part.len() as u64);
        }
        arrival.end(true);
        assert_eq!(reader.join().expect("no panic").expect("it ended well"), "one two three");
    }

    #[test]
    fn a_reader_of_what_began_anew_or_failed_is_told() {
        let (_file, arrival, mut follower) = followed();
        arrival.end(false);
        assert!(follower.read(&mut [0; 8]).is_err() && !arrival.is_torn());
        let (_file, arrival, mut follower) = followed();
        arrival.change(|state| state.torn = true);
        assert!(follower.read(&mut [0; 8]).is_err() && arrival.is_torn());
    }
}
