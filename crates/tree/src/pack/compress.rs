//! Compressing on all processors into bytes that do not depend on how many there are.
//!
//! Gzip is written as members of 1 MiB of input each, zstd as jobs of 4 MiB each, whatever the sizes of the writes are.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use libdeflater::{CompressionLvl, Compressor};

/// Bytes of input in one gzip member. Part of the bytes that come out.
const MEMBER_BYTES: usize = 1024 * 1024;

/// Bytes of input in one zstd job. Part of the bytes that come out.
const JOB_BYTES: u32 = 4 * 1024 * 1024;

/// A chunk to compress and where its result goes.
type Work = (Vec<u8>, SyncSender<Vec<u8>>);

/// Compresses what is written to it as gzip, on several threads.
///
/// [`GzipWriter::finish`] must be called: what is dropped before is not complete.
#[derive(Debug)]
pub struct GzipWriter<W: Write> {
    out: W,
    chunk: Vec<u8>,
    members: u64,
    work: Option<SyncSender<Work>>,
    results: VecDeque<Receiver<Vec<u8>>>,
    ahead_max: usize,
    workers: Vec<JoinHandle<()>>,
}

impl<W: Write> GzipWriter<W> {
    /// Returns a writer of gzip to `out` with `threads` threads (at least one). `level` is from 0 to 12.
    pub fn new(out: W, level: u32, threads: usize) -> Self {
        let level = CompressionLvl::new(i32::try_from(level).unwrap_or(12)).unwrap_or_else(|_| CompressionLvl::best());
        let threads = threads.max(1);
        let (work, queue) = sync_channel::<Work>(threads);
        let queue = Arc::new(Mutex::new(queue));
        let worker = || {
            let queue = Arc::clone(&queue);
            std::thread::spawn(move || compress_members(&queue, level))
        };
        let workers = (0..threads).map(|_| worker()).collect();
        Self {
            out,
            chunk: Vec::with_capacity(MEMBER_BYTES),
            members: 0,
            work: Some(work),
            results: VecDeque::new(),
            ahead_max: 2 * threads,
            workers,
        }
    }

    /// Writes what is left and returns what was written to.
    pub fn finish(mut self) -> io::Result<W> {
        if !self.chunk.is_empty() || self.members == 0 {
            self.submit()?;
        }
        while let Some(result) = self.results.pop_front() {
            self.write_member(&result)?;
        }
        drop(self.work.take());
        for worker in self.workers.drain(..) {
            worker.join().map_err(|_| io::Error::other("a compressor failed"))?;
        }
        self.out.flush()?;
        Ok(self.out)
    }

    fn submit(&mut self) -> io::Result<()> {
        if self.results.len() >= self.ahead_max
            && let Some(oldest) = self.results.pop_front()
        {
            self.write_member(&oldest)?;
        }
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(MEMBER_BYTES));
        let (result, receiver) = sync_channel(1);
        let work = self.work.as_ref().expect("it is only taken when the writer is finished");
        work.send((chunk, result)).map_err(|_| io::Error::other("all compressors failed"))?;
        self.results.push_back(receiver);
        self.members += 1;
        Ok(())
    }

    fn write_member(&mut self, result: &Receiver<Vec<u8>>) -> io::Result<()> {
        let member = result.recv().map_err(|_| io::Error::other("a compressor failed"))?;
        self.out.write_all(&member)
    }
}

impl<W: Write> Write for GzipWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(MEMBER_BYTES - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..taken]);
        if self.chunk.len() == MEMBER_BYTES {
            self.submit()?;
        }
        Ok(taken)
    }

    /// Does nothing: a member that is not full would make the bytes depend on the writes.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn compress_members(queue: &Mutex<Receiver<Work>>, level: CompressionLvl) {
    let mut compressor = Compressor::new(level);
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((chunk, result)) = next else { return };
        let mut member = vec![0; compressor.gzip_compress_bound(chunk.len())];
        let Ok(length) = compressor.gzip_compress(&chunk, &mut member) else { return };
        member.truncate(length);
        if result.send(member).is_err() {
            // The writer was dropped in the middle.
            return;
        }
    }
}

/// Compresses what is written to it as zstd, on several threads.
///
/// [`ZstdWriter::finish`] must be called: what is dropped before is not complete.
pub struct ZstdWriter<W: Write> {
    encoder: zstd::stream::write::Encoder<'static, W>,
}

impl<W: Write> std::fmt::Debug for ZstdWriter<W> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("ZstdWriter")
    }
}

impl<W: Write> ZstdWriter<W> {
    /// Returns a writer of zstd to `out` with `threads` threads (at least one). `level` is from 1 to 19.
    pub fn new(out: W, level: i32, threads: usize) -> io::Result<Self> {
        let mut encoder = zstd::stream::write::Encoder::new(out, level.clamp(1, 19))?;
        // Without any worker the library takes another path, with other bytes.
        encoder.multithread(u32::try_from(threads.max(1)).unwrap_or(u32::MAX).min(64))?;
        encoder.set_parameter(zstd::zstd_safe::CParameter::JobSize(JOB_BYTES))?;
        encoder.include_checksum(true)?;
        Ok(Self { encoder })
    }

    /// Writes what is left and returns what was written to.
    pub fn finish(self) -> io::Result<W> {
        let mut out = self.encoder.finish()?;
        out.flush()?;
        Ok(out)
    }
}

impl<W: Write> Write for ZstdWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.encoder.write(bytes)
    }

    /// Does nothing: a block that is not full would make the bytes depend on the writes.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::unpack::decompress;

    fn sample() -> Vec<u8> {
        let mut state = 1_u32;
        let mut bytes = Vec::new();
        while bytes.len() < 11 * 1024 * 1024 + 17 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            bytes.extend_from_slice(&state.to_le_bytes()[2..]);
            bytes.extend_from_slice(b"some text that repeats");
        }
        bytes
    }

    fn write_in(mut writer: impl Write, bytes: &[u8], step: usize) {
        for part in bytes.chunks(step) {
            writer.write_all(part).unwrap();
            writer.flush().unwrap();
        }
    }

    fn gzip(bytes: &[u8], threads: usize, step: usize) -> Vec<u8> {
        let mut writer = GzipWriter::new(Vec::new(), 6, threads);
        write_in(&mut writer, bytes, step);
        writer.finish().unwrap()
    }

    fn zstd(bytes: &[u8], threads: usize, step: usize) -> Vec<u8> {
        let mut writer = ZstdWriter::new(Vec::new(), 3, threads).unwrap();
        write_in(&mut writer, bytes, step);
        writer.finish().unwrap()
    }

    fn plain(compressed: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        decompress(compressed).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn bytes_do_not_depend_on_threads_or_writes() {
        let bytes = sample();
        for compress in [gzip, zstd] {
            let first = compress(&bytes, 1, bytes.len());
            assert!(first.len() < bytes.len() / 2);
            for (threads, step) in [(2, 1000), (3, 1 << 20), (7, 12_345)] {
                assert!(compress(&bytes, threads, step) == first, "{threads} threads");
            }
            assert!(plain(&first) == bytes);
        }
    }

    #[test]
    fn nothing_compresses_to_a_valid_stream() {
        for compress in [gzip, zstd] {
            let compressed = compress(b"", 2, 1);
            assert!(!compressed.is_empty());
            assert_eq!(plain(&compressed), b"");
        }
    }

    #[test]
    fn a_writer_that_fails_does_not_hang() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut writer = GzipWriter::new(Full, 1, 2);
        let written = writer.write_all(&sample()).and_then(|()| writer.finish().map(drop));
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
