//! Compressing pieces on several threads, each for itself, and writing them in their order.
//!
//! What becomes of a piece depends on that piece and the method alone, so the bytes do not depend on how many threads
//! there are or on when they run.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use libdeflater::{CompressionLvl, Compressor};

/// How one piece is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    /// A member of gzip, at a level from 0 to 9.
    Gzip(u8),
    /// A frame of zstd, at a level from 1 to 22.
    Zstd(u8),
}

/// Bytes of tables that all threads together may have where there are few of them, and what each one adds where there
/// are many.
const TABLE_BYTES_MAX: u64 = 72 * 1024 * 1024;
const TABLE_BYTES_PER_THREAD: u64 = 24 * 1024 * 1024;

impl Codec {
    /// Returns how many of `threads` are used. The high levels of zstd have large tables: more threads would be paid for
    /// in memory.
    fn threads(self, threads: usize) -> usize {
        let threads = threads.max(1);
        let tables: u64 = match self {
            Self::Gzip(_) | Self::Zstd(0..=9) => return threads,
            Self::Zstd(10..=15) => 24 * 1024 * 1024,
            Self::Zstd(16..=17) => 36 * 1024 * 1024,
            Self::Zstd(18..=19) => 52 * 1024 * 1024,
            Self::Zstd(_) => 72 * 1024 * 1024,
        };
        let budget = TABLE_BYTES_MAX.max(TABLE_BYTES_PER_THREAD.saturating_mul(threads as u64));
        usize::try_from(budget / tables).unwrap_or(1).clamp(1, threads)
    }
}

/// A piece and what it was compressed into.
type Done = io::Result<(Vec<u8>, Vec<u8>)>;

/// A piece to compress, what it is compressed into, and where both go then.
struct Work {
    input: Vec<u8>,
    output: Vec<u8>,
    done: SyncSender<Done>,
}

/// Compresses pieces on several threads and writes them in their order.
pub(super) struct Pipeline<W: Write> {
    out: W,
    written: u64,
    work: Option<SyncSender<Work>>,
    results: VecDeque<Receiver<Done>>,
    /// Where each piece begins in what is written, if that is asked for.
    starts: Option<Vec<u64>>,
    /// Buffers that were used, to be used again.
    inputs: Vec<Vec<u8>>,
    outputs: Vec<Vec<u8>>,
    ahead_max: usize,
    workers: Vec<JoinHandle<()>>,
}

impl<W: Write> std::fmt::Debug for Pipeline<W> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Pipeline").field("written", &self.written).finish_non_exhaustive()
    }
}

impl<W: Write> Pipeline<W> {
    /// Returns a pipeline to `out` with at most `threads` threads.
    pub(super) fn new(out: W, codec: Codec, threads: usize) -> Self {
        let threads = codec.threads(threads);
        let (work, queue) = sync_channel::<Work>(threads);
        let queue = Arc::new(Mutex::new(queue));
        let worker = || {
            let queue = Arc::clone(&queue);
            std::thread::spawn(move || compress_pieces(&queue, codec))
        };
        Self {
            out,
            written: 0,
            work: Some(work),
            results: VecDeque::new(),
            starts: None,
            inputs: Vec::new(),
            outputs: Vec::new(),
            ahead_max: threads + 1,
            workers: (0..threads).map(|_| worker()).collect(),
        }
    }

    /// The same, and [`Self::finish`] says where each piece begins.
    pub(super) fn with_starts(self) -> Self {
        Self { starts: Some(Vec::new()), ..self }
    }

    /// Returns where each piece that is written begins.
    pub(super) fn starts(&self) -> &[u64] {
        self.starts.as_deref().unwrap_or_default()
    }

    /// Compresses `piece`, and returns an empty buffer for the next one.
    pub(super) fn submit(&mut self, piece: Vec<u8>) -> io::Result<Vec<u8>> {
        if self.results.len() >= self.ahead_max
            && let Some(oldest) = self.results.pop_front()
        {
            self.write(&oldest)?;
        }
        let (done, result) = sync_channel(1);
        let work = self.work.as_ref().expect("it is only taken when the pipeline is finished");
        let output = self.outputs.pop().unwrap_or_default();
        work.send(Work { input: piece, output, done }).map_err(|_| failed())?;
        self.results.push_back(result);
        Ok(self.inputs.pop().unwrap_or_default())
    }

    /// Writes what is left, and returns what was written to and where each piece begins.
    pub(super) fn finish(mut self) -> io::Result<(W, u64, Vec<u64>)> {
        self.drain()?;
        drop(self.work.take());
        for worker in self.workers.drain(..) {
            worker.join().map_err(|_| failed())?;
        }
        self.out.flush()?;
        Ok((self.out, self.written, self.starts.unwrap_or_default()))
    }

    /// Waits until all that was submitted is written.
    pub(super) fn drain(&mut self) -> io::Result<()> {
        while let Some(result) = self.results.pop_front() {
            self.write(&result)?;
        }
        Ok(())
    }

    fn write(&mut self, result: &Receiver<Done>) -> io::Result<()> {
        let (mut input, output) = result.recv().map_err(|_| failed())??;
        if let Some(starts) = &mut self.starts {
            starts.push(self.written);
        }
        self.out.write_all(&output)?;
        self.written += output.len() as u64;
        input.clear();
        self.inputs.push(input);
        self.outputs.push(output);
        Ok(())
    }
}

fn failed() -> io::Error {
    io::Error::other("a compressor failed")
}

fn compress_pieces(queue: &Mutex<Receiver<Work>>, codec: Codec) {
    let mut compressor = match Machine::new(codec) {
        Ok(machine) => Ok(machine),
        Err(error) => Err(error.to_string()),
    };
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Work { input, mut output, done }) = next else { return };
        let result = match &mut compressor {
            Ok(machine) => machine.compress(&input, &mut output).map(|()| (input, output)),
            Err(error) => Err(io::Error::other(error.clone())),
        };
        if done.send(result).is_err() {
            // The writer was dropped in the middle.
            return;
        }
    }
}

/// One thread's compressor.
struct Machine {
    inner: Inner,
    /// How many zeros became what the last time: holes of large files are all the same.
    zeros: (usize, Vec<u8>),
}

enum Inner {
    Gzip(Compressor),
    Zstd(zstd::bulk::Compressor<'static>),
}

impl Machine {
    fn new(codec: Codec) -> io::Result<Self> {
        let inner = match codec {
            Codec::Gzip(level) => {
                let level = CompressionLvl::new(i32::from(level)).map_err(|_| unknown_level(level))?;
                Inner::Gzip(Compressor::new(level))
            }
            Codec::Zstd(level) => {
                let mut compressor = zstd::bulk::Compressor::new(i32::from(level))?;
                compressor.include_checksum(true)?;
                Inner::Zstd(compressor)
            }
        };
        Ok(Self { inner, zeros: (0, Vec::new()) })
    }

    fn compress(&mut self, input: &[u8], output: &mut Vec<u8>) -> io::Result<()> {
        let is_zeros = !input.is_empty() && input[0] == 0 && input[1..] == input[..input.len() - 1];
        if is_zeros && self.zeros.0 == input.len() {
            output.clear();
            output.extend_from_slice(&self.zeros.1);
            return Ok(());
        }
        let length = match &mut self.inner {
            Inner::Gzip(compressor) => {
                output.resize(compressor.gzip_compress_bound(input.len()), 0);
                compressor.gzip_compress(input, output).map_err(io::Error::other)?
            }
            Inner::Zstd(compressor) => {
                output.resize(zstd::zstd_safe::compress_bound(input.len()), 0);
                compressor.compress_to_buffer(input, output.as_mut_slice())?
            }
        };
        output.truncate(length);
        if is_zeros {
            self.zeros = (input.len(), output.clone());
        }
        Ok(())
    }
}

fn unknown_level(level: u8) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("gzip has no level {level}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn high_levels_use_fewer_threads_and_never_none() {
        for level in 1..=22 {
            assert_eq!(Codec::Zstd(level).threads(1), 1);
            assert!((1..=64).contains(&Codec::Zstd(level).threads(64)));
        }
        assert_eq!(Codec::Zstd(22).threads(2), 1);
        assert_eq!(Codec::Zstd(19).threads(64), 29);
        assert_eq!((Codec::Gzip(9).threads(64), Codec::Zstd(3).threads(0)), (64, 1));
    }
}
