//! Counts and hashes what is written, beside whoever writes it.
//!
//! Reading a layer's files and hashing its tar take about the same time, so they share the processors.

use std::io::{self, Write};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use stave_oci::{DiffId, Hasher};

/// Bytes that are hashed at once. What is shorter is hashed by the writer itself: a thread would cost more.
const CHUNK_BYTES: usize = 512 * 1024;
/// Chunks that wait for the hasher.
const CHUNKS_WAITING_MAX: usize = 4;

/// A writer that keeps nothing but the digest and the length.
#[derive(Default)]
pub(crate) struct Measure {
    chunk: Vec<u8>,
    bytes: u64,
    worker: Option<(SyncSender<Vec<u8>>, JoinHandle<Hasher>)>,
}

impl Measure {
    /// Returns the digest and the length of all that was written.
    pub(crate) fn finish(self) -> (DiffId, u64) {
        let mut hasher = match self.worker {
            Some((chunks, worker)) => {
                drop(chunks);
                worker.join().expect("the hasher does not panic")
            }
            None => Hasher::new(),
        };
        hasher.update(&self.chunk);
        (hasher.finish(), self.bytes)
    }

    fn send(&mut self) -> io::Result<()> {
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK_BYTES));
        let (chunks, _) = match &mut self.worker {
            Some(worker) => worker,
            slot @ None => slot.insert(start()?),
        };
        chunks.send(chunk).map_err(|_| io::Error::other("the hasher has ended"))
    }
}

fn start() -> io::Result<(SyncSender<Vec<u8>>, JoinHandle<Hasher>)> {
    let (chunks, waiting) = sync_channel::<Vec<u8>>(CHUNKS_WAITING_MAX);
    let worker = thread::Builder::new().name("hasher".to_owned()).spawn(move || {
        let mut hasher = Hasher::new();
        for chunk in waiting {
            hasher.update(&chunk);
        }
        hasher
    })?;
    Ok((chunks, worker))
}

impl Write for Measure {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(CHUNK_BYTES - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..taken]);
        self.bytes += taken as u64;
        if self.chunk.len() == CHUNK_BYTES {
            self.send()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_the_whole_at_any_length() {
        for length in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, 3 * CHUNK_BYTES + 7] {
            let bytes: Vec<u8> = (0..length).map(|index| u8::try_from(index % 251).expect("it is below 251")).collect();
            let mut measure = Measure::default();
            bytes.chunks(70_001).for_each(|piece| measure.write_all(piece).expect("nothing can fail"));
            assert_eq!(measure.finish(), (DiffId::of(&bytes), length as u64));
        }
    }
}
