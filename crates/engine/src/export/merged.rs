//! What was merged from registries goes to layouts on this machine and their archives, with all that it names.
//!
//! Nothing of it passes through the store. A blob has its name only when it has its digest and its size.

use std::io::{self, Read};

use stave_oci::{BlobDigest, Descriptor, Hasher};
use stave_registry::PushImage;

use super::prepared::unwritable;
use super::{BlobSink, into, layout};
use crate::archive::ArchiveWriter;
use crate::build::Report;
use crate::error::EngineError;
use crate::event::TaskKind;
use crate::imagetools::Merged;
use crate::place::ImagePlace;
use crate::registries::Registries;
use crate::request::Destination;
use crate::task::Task;

impl Registries {
    /// Writes a merged index, and all that it names, to a layout or an archive of one.
    ///
    /// # Errors
    /// If the place holds one image and no index; if something cannot be had, is not what its digest says, or cannot be
    /// written.
    pub fn write(
        &self,
        merged: &Merged,
        place: &ImagePlace,
        events: &(dyn Fn(crate::event::Event) + Sync),
    ) -> Result<(), EngineError> {
        let entry = |name: &Option<String>| {
            let mut entry = merged.descriptor.clone();
            if let Some(name) = name {
                entry.annotations.insert("org.opencontainers.image.ref.name".to_owned(), name.clone());
            }
            vec![entry]
        };
        match place {
            ImagePlace::Layout { path, name } => {
                let images = self.parts(merged, events)?;
                Task::during(events, TaskKind::Output, format!("write {}", path.display()), |_| {
                    layout::write(path, entry(name), |sink| each_blob(merged, &images, sink))
                })
            }
            ImagePlace::OciArchive { path, name } => {
                let images = self.parts(merged, events)?;
                into(Destination::Path(path.clone()), events, |sink| {
                    let mut writer = ArchiveWriter::new(&mut sink.out).map_err(unwritable)?;
                    let blob = |writer: &mut ArchiveWriter<_>, blob: &Descriptor, bytes: &mut dyn Read| {
                        writer.blob(blob.digest, blob.size, bytes)
                    };
                    each_blob(merged, &images, &mut |descriptor, bytes| blob(&mut writer, descriptor, bytes))?;
                    writer.finish_with(entry(name), &[]).map(drop).map_err(unwritable)
                })
            }
            ImagePlace::DockerArchive { .. } | ImagePlace::Dir(_) | ImagePlace::Daemon(_) => Err(EngineError::request(
                "an index from registries goes to a registry, a layout (`oci:`) or an archive of one (`oci-archive:`)",
                Some("Push it to a registry, and take it from there: `stave pull` and `stave push NAME PLACE`."),
            )),
        }
    }

    /// Returns all that a merged index names, a part before what names it.
    fn parts(&self, merged: &Merged, events: Report<'_>) -> Result<Vec<PushImage>, EngineError> {
        let mut images = Vec::new();
        for (from, digest) in &merged.parts {
            Task::during(events, TaskKind::Resolve, format!("resolve {}@{digest}", from.name()), |_| {
                images.extend(self.client.opened(from, *digest)?);
                Ok::<_, EngineError>(())
            })?;
        }
        for artifact in &merged.artifacts {
            images.push(artifact.push_image()?);
        }
        Ok(images)
    }
}

/// Calls `write` with every blob, a manifest after what it names, and the whole last.
fn each_blob(merged: &Merged, images: &[PushImage], write: BlobSink<'_>) -> Result<(), EngineError> {
    let fail = |descriptor: &Descriptor, source| EngineError::io("write", descriptor.digest.to_string(), source);
    for image in images {
        for (descriptor, open) in &image.blobs {
            // Of nothing, nothing is read, and so nothing would be checked.
            if descriptor.size == 0 && descriptor.digest != BlobDigest::of(b"") {
                return Err(fail(descriptor, io::Error::new(io::ErrorKind::InvalidData, "it cannot be empty")));
            }
            let checked =
                |bytes| Checked { inner: bytes, hasher: Some(Hasher::new()), left: descriptor.size, of: descriptor };
            open().and_then(|bytes| write(descriptor, &mut checked(bytes))).map_err(|error| fail(descriptor, error))?;
        }
        put(&image.manifest_bytes, &image.media_type, write, fail)?;
    }
    put(&merged.bytes, &merged.descriptor.media_type, write, fail)
}

fn put(
    bytes: &[u8],
    media_type: &str,
    write: BlobSink<'_>,
    fail: impl Fn(&Descriptor, io::Error) -> EngineError,
) -> Result<(), EngineError> {
    let descriptor = Descriptor::new(media_type, BlobDigest::of(bytes), bytes.len() as u64);
    write(&descriptor, &mut &*bytes).map_err(|error| fail(&descriptor, error))
}

/// Bytes of a blob, whose end is an error if they were not the blob's: what is tried again may come otherwise.
struct Checked<'d> {
    inner: Box<dyn Read + Send>,
    /// Until the end was seen.
    hasher: Option<Hasher>,
    left: u64,
    of: &'d Descriptor,
}

impl Read for Checked<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let Some(hasher) = &mut self.hasher else { return Ok(0) };
        let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("{what} than its digest says"));
        // One byte more than there may be, so that more is noticed.
        let room = usize::try_from(self.left.saturating_add(1)).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.inner.read(&mut buffer[..room])?;
        hasher.update(&buffer[..count]);
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| wrong("it is longer"))?;
        // An archive reads no further than the size, so the last bytes are the end.
        if count == 0 || self.left == 0 {
            let actual: Option<BlobDigest> = self.hasher.take().map(Hasher::finish);
            if self.left > 0 || actual != Some(self.of.digest) {
                return Err(wrong("it is other"));
            }
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &'static [u8], digest: &[u8], size: u64) -> io::Result<Vec<u8>> {
        let of = Descriptor::new("x", BlobDigest::of(digest), size);
        let mut checked = Checked { inner: Box::new(bytes), hasher: Some(Hasher::new()), left: size, of: &of };
        let mut read = Vec::new();
        checked.read_to_end(&mut read).map(|_| read)
    }

    #[test]
    fn bytes_that_are_not_the_blobs_end_with_an_error() {
        assert_eq!(read(b"abc", b"abc", 3).expect("they are"), b"abc");
        for (bytes, digest, size) in [(&b"abd"[..], b"abc", 3), (b"ab", b"abc", 3), (b"abcd", b"abc", 2)] {
            assert!(read(bytes, digest, size).is_err(), "{bytes:?}");
        }
        assert!(read(b"", b"abc", 0).is_err());
    }
}
