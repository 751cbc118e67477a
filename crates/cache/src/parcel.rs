//! What travels with a cache so that others can say why their steps run: opaque bytes, compressed, in a blob of their own.
//!
//! A manifest names the blob like a layer, so that registries keep it; who does not know its type leaves it alone.

use std::io::{self, Read, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use stave_oci::{BlobDigest, Descriptor};
use stave_registry::BlobSink;

use crate::backend::{Backend, Blob};
use crate::format::ParcelEntry;

/// The type of the blob.
pub const MEDIA_TYPE: &str = "application/vnd.stave.ingredients.v1+zstd";

/// Largest blob that is read, in bytes.
pub const BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Most bytes that are unpacked from one.
const CONTENT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Most bytes of a blob that an image carries in its configuration.
pub const INLINE_BYTES_MAX: usize = 32 * 1024;

/// How hard it is compressed: what cannot be compressed are digests, and all else is at the first level.
const LEVEL: i32 = 3;

/// Returns the blob of these bytes, and what names it. Nothing if it is too large to be read again.
#[must_use]
pub fn pack(content: &[u8]) -> Option<(ParcelEntry, Blob)> {
    let bytes = zstd::encode_all(content, LEVEL).ok().filter(|bytes| bytes.len() as u64 <= BYTES_MAX)?;
    let entry = ParcelEntry { blob: BlobDigest::of(&bytes), size: bytes.len() as u64, inline: None };
    let descriptor = descriptor(&entry);
    let open = Box::new(move || Ok(Box::new(io::Cursor::new(bytes.clone())) as Box<dyn Read + Send>));
    Some((entry, Blob { descriptor, open, elsewhere: None }))
}

/// Returns what carries these bytes itself. Nothing if they are too many for a configuration.
#[must_use]
pub fn pack_inline(content: &[u8]) -> Option<ParcelEntry> {
    let bytes = zstd::encode_all(content, LEVEL).ok().filter(|bytes| bytes.len() <= INLINE_BYTES_MAX)?;
    let inline = Some(STANDARD.encode(&bytes));
    Some(ParcelEntry { blob: BlobDigest::of(&bytes), size: bytes.len() as u64, inline })
}

/// Returns what a manifest says of the blob.
#[must_use]
pub fn descriptor(entry: &ParcelEntry) -> Descriptor {
    Descriptor::new(MEDIA_TYPE, entry.blob, entry.size)
}

/// Fetches what a catalog names, and unpacks it. Nothing if it is not there, or not what it says.
#[must_use]
pub fn fetch(backend: &dyn Backend, entry: &ParcelEntry) -> Option<Vec<u8>> {
    let bytes = if let Some(text) = &entry.inline {
        STANDARD.decode(text).ok()?
    } else {
        if entry.size > BYTES_MAX {
            return None;
        }
        let mut sink = Memory::default();
        backend.fetch(&descriptor(entry), &mut sink, &|_| ()).ok()?;
        sink.bytes
    };
    if BlobDigest::of(&bytes) != entry.blob {
        return None;
    }
    let mut content = Vec::new();
    let mut reader = zstd::stream::read::Decoder::new(&bytes[..]).ok()?.take(CONTENT_BYTES_MAX + 1);
    reader.read_to_end(&mut content).ok()?;
    (content.len() as u64 <= CONTENT_BYTES_MAX).then_some(content)
}

/// Keeps a blob in memory, up to the most that is read.
#[derive(Default)]
struct Memory {
    bytes: Vec<u8>,
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if (self.bytes.len() + bytes.len()) as u64 > BYTES_MAX {
            return Err(io::Error::other("it is longer than it may be"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl BlobSink for Memory {
    fn restart(&mut self) -> io::Result<()> {
        self.bytes.clear();
        Ok(())
    }
}
