//! Compressing on all processors into bytes that do not depend on how many there are.
//!
//! Gzip is written as members of 1 MiB of input each, zstd as frames of 4 MiB each, whatever the sizes of the writes are.
//! eStargz is gzip with members that begin where files do, and a table of contents.

mod estargz;
mod parallel;
mod toc;

use std::io::{self, Write};

use stave_oci::{BlobDigest, DiffId};

pub use estargz::EstargzWriter;
use parallel::{Codec, Pipeline};

/// Bytes of input in one gzip member. Part of the bytes that come out.
const MEMBER_BYTES: usize = 1024 * 1024;

/// Bytes of input in one zstd frame. Part of the bytes that come out.
const FRAME_BYTES: usize = 4 * 1024 * 1024;

/// How a layer's tar becomes a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// As it is.
    Plain,
    /// Gzip, at a level from 0 to 9.
    Gzip(u8),
    /// Gzip whose files can be read one by one, at a level from 0 to 9.
    Estargz(u8),
    /// Zstd, at a level from 1 to 22.
    Zstd(u8),
}

impl Method {
    /// Returns what decides the bytes beside those of the tar, in words.
    #[must_use]
    pub fn parameters(self) -> String {
        match self {
            Self::Plain => String::new(),
            Self::Gzip(level) => format!("libdeflate 1 MiB members, level {level}"),
            Self::Estargz(level) => format!("estargz 4 MiB chunks, libdeflate, level {level}"),
            Self::Zstd(level) => format!("zstd 4 MiB frames, level {level}"),
        }
    }
}

/// What a blob is whose tar is not the one that was written to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extended {
    /// Digest of the tar that comes out of the blob.
    pub diff_id: DiffId,
    /// Length of that tar.
    pub bytes: u64,
    /// Digest of the table of contents.
    pub toc: BlobDigest,
}

/// Compresses what is written to it.
///
/// [`LayerWriter::finish`] must be called: what is dropped before is not complete.
#[derive(Debug)]
pub enum LayerWriter<W: Write> {
    /// [`Method::Plain`].
    Plain(W),
    /// [`Method::Gzip`].
    Gzip(GzipWriter<W>),
    /// [`Method::Estargz`].
    Estargz(Box<EstargzWriter<W>>),
    /// [`Method::Zstd`].
    Zstd(ZstdWriter<W>),
}

impl<W: Write> LayerWriter<W> {
    /// Returns a writer to `out` with `threads` threads (at least one).
    pub fn new(out: W, method: Method, threads: usize) -> Self {
        match method {
            Method::Plain => Self::Plain(out),
            Method::Gzip(level) => Self::Gzip(GzipWriter::new(out, level, threads)),
            Method::Estargz(level) => Self::Estargz(Box::new(EstargzWriter::new(out, level, threads))),
            Method::Zstd(level) => Self::Zstd(ZstdWriter::new(out, level, threads)),
        }
    }

    /// Writes what is left. Returns what was written to, and what the tar became if it is another one.
    pub fn finish(self) -> io::Result<(W, Option<Extended>)> {
        match self {
            Self::Plain(mut out) => out.flush().map(|()| (out, None)),
            Self::Gzip(writer) => writer.finish().map(|out| (out, None)),
            Self::Estargz(writer) => writer.finish().map(|(out, extended)| (out, Some(extended))),
            Self::Zstd(writer) => writer.finish().map(|out| (out, None)),
        }
    }
}

impl<W: Write> Write for LayerWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(out) => out.write(bytes),
            Self::Gzip(writer) => writer.write(bytes),
            Self::Estargz(writer) => writer.write(bytes),
            Self::Zstd(writer) => writer.write(bytes),
        }
    }

    /// Does nothing, as each of them.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Cuts what is written into pieces of one size.
#[derive(Debug)]
struct Pieces<W: Write> {
    pipeline: Pipeline<W>,
    piece: Vec<u8>,
    piece_bytes: usize,
    is_empty: bool,
}

impl<W: Write> Pieces<W> {
    fn new(out: W, codec: Codec, piece_bytes: usize, threads: usize) -> Self {
        let pipeline = Pipeline::new(out, codec, threads);
        Self { pipeline, piece: Vec::with_capacity(piece_bytes), piece_bytes, is_empty: true }
    }

    fn submit(&mut self) -> io::Result<()> {
        self.is_empty = false;
        self.piece = self.pipeline.submit(std::mem::take(&mut self.piece))?;
        self.piece.reserve(self.piece_bytes);
        Ok(())
    }

    fn finish(mut self) -> io::Result<W> {
        if !self.piece.is_empty() || self.is_empty {
            self.submit()?;
        }
        self.pipeline.finish().map(|(out, _, _)| out)
    }
}

impl<W: Write> Write for Pieces<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.piece_bytes - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() == self.piece_bytes {
            self.submit()?;
        }
        Ok(taken)
    }

    /// Does nothing: a piece that is not full would make the bytes depend on the writes.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Compresses what is written to it as gzip, on several threads.
///
/// [`GzipWriter::finish`] must be called: what is dropped before is not complete.
#[derive(Debug)]
pub struct GzipWriter<W: Write>(Pieces<W>);

impl<W: Write> GzipWriter<W> {
    /// Returns a writer of gzip to `out` with `threads` threads (at least one). `level` is from 0 to 9.
    pub fn new(out: W, level: u8, threads: usize) -> Self {
        Self(Pieces::new(out, Codec::Gzip(level), MEMBER_BYTES, threads))
    }

    /// Writes what is left and returns what was written to.
    pub fn finish(self) -> io::Result<W> {
        self.0.finish()
    }
}

impl<W: Write> Write for GzipWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    /// Does nothing: a member that is not full would make the bytes depend on the writes.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Compresses what is written to it as zstd, on several threads.
///
/// [`ZstdWriter::finish`] must be called: what is dropped before is not complete.
#[derive(Debug)]
pub struct ZstdWriter<W: Write>(Pieces<W>);

impl<W: Write> ZstdWriter<W> {
    /// Returns a writer of zstd to `out` with `threads` threads (at least one). `level` is from 1 to 22.
    pub fn new(out: W, level: u8, threads: usize) -> Self {
        Self(Pieces::new(out, Codec::Zstd(level), FRAME_BYTES, threads))
    }

    /// Writes what is left and returns what was written to.
    pub fn finish(self) -> io::Result<W> {
        self.0.finish()
    }
}

impl<W: Write> Write for ZstdWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    /// Does nothing: a frame that is not full would make the bytes depend on the writes.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::unpack::decompress;

    fn sample(length: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let mut bytes = Vec::new();
        while bytes.len() < length {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            bytes.extend_from_slice(&state.to_le_bytes()[2..]);
            bytes.extend_from_slice(b"some text that repeats");
        }
        bytes
    }

    fn compress(bytes: &[u8], method: Method, threads: usize, step: usize) -> Vec<u8> {
        let mut writer = LayerWriter::new(Vec::new(), method, threads);
        for part in bytes.chunks(step) {
            writer.write_all(part).unwrap();
            writer.flush().unwrap();
        }
        writer.finish().unwrap().0
    }

    fn plain(compressed: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        decompress(compressed).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn bytes_do_not_depend_on_threads_or_writes() {
        let mut bytes = sample(11 * 1024 * 1024 + 17);
        // A hole between other things.
        bytes[3_000_000..8_000_000].fill(0);
        for method in [Method::Gzip(6), Method::Zstd(3)] {
            let first = compress(&bytes, method, 1, bytes.len());
            assert!(first.len() < bytes.len() / 2);
            for (threads, step) in [(2, 1000), (3, 1 << 20), (64, 12_345)] {
                assert!(compress(&bytes, method, threads, step) == first, "{threads} threads");
            }
            assert!(plain(&first) == bytes);
        }
    }

    #[test]
    fn every_level_gives_one_result_for_1_2_and_64_threads() {
        let (two_members, two_frames) = (sample(MEMBER_BYTES + 4711), sample(FRAME_BYTES + 4711));
        for method in (0..=9).map(Method::Gzip).chain((1..=22).map(Method::Zstd)) {
            // The highest levels take their time, and their frames are cut as those of the others.
            let bytes = if matches!(method, Method::Zstd(1..=4)) { &two_frames[..] } else { &two_members[..] };
            let first = compress(bytes, method, 1, bytes.len());
            assert!(compress(bytes, method, 2, 70_001) == first, "{method:?}");
            assert!(compress(bytes, method, 64, 1 << 16) == first, "{method:?}");
            assert!(plain(&first) == bytes, "{method:?}");
        }
    }

    #[test]
    fn nothing_compresses_to_a_valid_stream() {
        for method in [Method::Gzip(6), Method::Zstd(3)] {
            let compressed = compress(b"", method, 2, 1);
            assert!(!compressed.is_empty());
            assert_eq!(plain(&compressed), b"");
        }
        assert!(compress(b"", Method::Plain, 2, 1).is_empty());
    }

    #[test]
    fn a_level_that_there_is_not_is_an_error() {
        let mut writer = GzipWriter::new(Vec::new(), 200, 1);
        let written = writer.write_all(b"x").and_then(|()| writer.finish().map(drop));
        assert!(written.unwrap_err().to_string().contains("no level 200"));
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
        for method in [Method::Gzip(1), Method::Zstd(1)] {
            let mut writer = LayerWriter::new(Full, method, 2);
            let written = writer.write_all(&sample(11_000_000)).and_then(|()| writer.finish().map(drop));
            assert_eq!(written.unwrap_err().kind(), io::ErrorKind::StorageFull);
        }
    }
}
