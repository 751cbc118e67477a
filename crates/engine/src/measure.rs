//! Counts and hashes what is written, beside whoever writes it.
//!
//! Reading a layer's files and hashing its tar take about the same time, so they share the processors. A tar that begins
//! like one that was hashed before is hashed from where they part.

use std::io::{self, Write};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use stave_oci::{DiffId, Hasher};
use stave_store::TarMark;
use stave_tree::pack::{Mark, Resumable};

/// Bytes that are hashed at once. What is shorter is hashed by the writer itself: a thread would cost more.
const CHUNK_BYTES: usize = 512 * 1024;
/// Chunks that wait for the hasher.
const CHUNKS_WAITING_MAX: usize = 4;

/// What the hasher is given.
enum Work {
    Chunk(Vec<u8>),
    /// All bytes before this place were given.
    Mark(Mark),
}

/// What the hasher ends with.
type Hashed = (Hasher, Vec<TarMark>);

/// A writer that keeps nothing but the digest and the length.
#[derive(Default)]
pub(crate) struct Measure {
    start: Hasher,
    chunk: Vec<u8>,
    bytes: u64,
    worker: Option<(SyncSender<Work>, JoinHandle<Hashed>)>,
}

impl Measure {
    /// Returns the digest and the length of all that was written.
    pub(crate) fn finish(self) -> (DiffId, u64) {
        let (diff_id, bytes, _) = self.finish_marked();
        (diff_id, bytes)
    }

    fn finish_marked(self) -> (DiffId, u64, Vec<TarMark>) {
        let (mut hasher, marks) = match self.worker {
            Some((work, worker)) => {
                drop(work);
                worker.join().expect("the hasher does not panic")
            }
            None => (self.start, Vec::new()),
        };
        hasher.update(&self.chunk);
        (hasher.finish(), self.bytes, marks)
    }

    fn send_chunk(&mut self) -> io::Result<()> {
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK_BYTES));
        self.send(Work::Chunk(chunk))
    }

    fn send(&mut self, piece: Work) -> io::Result<()> {
        let (work, _) = match &mut self.worker {
            Some(worker) => worker,
            slot @ None => slot.insert(start(self.start.clone())?),
        };
        work.send(piece).map_err(|_| io::Error::other("the hasher has ended"))
    }
}

fn start(mut hasher: Hasher) -> io::Result<(SyncSender<Work>, JoinHandle<Hashed>)> {
    let (work, waiting) = sync_channel(CHUNKS_WAITING_MAX);
    let worker = thread::Builder::new().name("hasher".to_owned()).spawn(move || {
        let mut marks = Vec::new();
        for piece in waiting {
            match piece {
                Work::Chunk(chunk) => hasher.update(&chunk),
                Work::Mark(Mark { prefix, bytes }) => marks.push(TarMark { prefix, bytes, state: hasher.state() }),
            }
        }
        (hasher, marks)
    })?;
    Ok((work, worker))
}

/// A [`Measure`] that knows how tars may begin, and remembers its way for later ones.
pub(crate) struct MarkedMeasure<'a> {
    measure: Measure,
    known: &'a dyn Fn(&[u8; 32]) -> Option<TarMark>,
    marks: Vec<TarMark>,
}

impl<'a> MarkedMeasure<'a> {
    /// Returns a measure that asks `known` for what earlier ones remembered.
    pub(crate) fn new(known: &'a dyn Fn(&[u8; 32]) -> Option<TarMark>) -> Self {
        Self { measure: Measure::default(), known, marks: Vec::new() }
    }

    /// Returns the digest and the length of all that was written or known, and all marks on the way.
    pub(crate) fn finish(self) -> (DiffId, u64, Vec<TarMark>) {
        let (diff_id, bytes, passed) = self.measure.finish_marked();
        let mut marks = self.marks;
        marks.extend(passed);
        (diff_id, bytes, marks)
    }
}

impl Write for MarkedMeasure<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.measure.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Resumable for MarkedMeasure<'_> {
    fn resume(&mut self, prefix: &[u8; 32]) -> Option<u64> {
        let known = (self.known)(prefix)?;
        let bytes = known.bytes;
        self.measure = Measure { start: Hasher::resume(&known.state)?, bytes, ..Measure::default() };
        self.marks.push(known);
        Some(bytes)
    }

    fn pass(&mut self, mark: &Mark) -> io::Result<()> {
        self.measure.send_chunk()?;
        self.measure.send(Work::Mark(*mark))
    }
}

impl Write for Measure {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(CHUNK_BYTES - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..taken]);
        self.bytes += taken as u64;
        if self.chunk.len() == CHUNK_BYTES {
            self.send_chunk()?;
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
