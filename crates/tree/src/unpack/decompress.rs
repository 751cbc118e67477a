//! Decompressing, by what the bytes are and not by what a name says.

use std::io::{self, BufRead as _, BufReader, Read};

use super::UnpackError;
use super::header::{BLOCK_BYTES, Header};
use crate::limits::{XZ_MEMORY_BYTES_MAX, ZSTD_WINDOW_LOG_MAX};

const BUFFER_BYTES: usize = 256 * 1024;

/// Returns the bytes that `input` compresses: gzip, bzip2, xz and zstd are recognised by their first bytes, anything else
/// is returned as it is. Memory is bounded whatever the stream asks for; no other program is run.
pub fn decompress<'a>(input: impl Read + Send + 'a) -> Result<Box<dyn Read + Send + 'a>, UnpackError> {
    let mut input = BufReader::with_capacity(BUFFER_BYTES, input);
    let start = fill(&mut input).map_err(UnpackError::Read)?;
    Ok(match start {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Box::new(bzip2::bufread::MultiBzDecoder::new(input)),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            let stream =
                liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY_BYTES_MAX, liblzma::stream::CONCATENATED)
                    .map_err(|error| UnpackError::Read(error.into()))?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(input, stream))
        }
        // A frame, or a skippable frame before one.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input).map_err(UnpackError::Read)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(UnpackError::Read)?;
            Box::new(decoder)
        }
        _ => Box::new(input),
    })
}

/// Tells whether a stream that starts like this would be decompressed.
pub(super) fn is_compressed(head: &[u8]) -> bool {
    let starts: [&[u8]; 4] = [&[0x1f, 0x8b], b"BZh", &[0xfd, b'7', b'z', b'X', b'Z', 0], &[0x28, 0xb5, 0x2f, 0xfd]];
    starts.iter().any(|start| head.starts_with(start))
}

/// Returns the first bytes of the stream, which stay to be read.
fn fill<R: Read>(input: &mut BufReader<R>) -> io::Result<&[u8]> {
    loop {
        match input.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            Ok(_) => break,
        }
    }
    Ok(input.buffer())
}

/// Tells whether `block` is the first header of a tar archive.
pub(crate) fn is_tar_header(block: &[u8; BLOCK_BYTES]) -> bool {
    block.iter().any(|&byte| byte != 0) && Header::new(block).is_ok()
}
