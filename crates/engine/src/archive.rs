//! Writes an image as one archive: an OCI image layout that `docker load` understands too.
//!
//! The same image always gives the same bytes: entries are sorted by when they are needed, and carry no times.
//!
//! Reference: OCI image-spec 1.1, `image-layout.md`; the `manifest.json` of `docker save`.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};

use serde_json::json;
use stave_oci::{BlobDigest, Descriptor, Index, Reference, media_type};

use crate::inspect::familiar;

/// An image whose blobs are written.
pub(crate) struct ArchivedImage {
    /// Its manifest.
    pub(crate) manifest: Descriptor,
    /// Its configuration.
    pub(crate) config: BlobDigest,
    /// Its layers, lowest first.
    pub(crate) layers: Vec<BlobDigest>,
    /// Its names.
    pub(crate) names: Vec<Reference>,
}

/// An archive that is being written.
pub(crate) struct ArchiveWriter<W: Write> {
    tar: tar::Builder<W>,
    written: BTreeSet<BlobDigest>,
}

impl<W: Write> ArchiveWriter<W> {
    /// Starts an archive that goes to `out`.
    pub(crate) fn new(out: W) -> io::Result<Self> {
        let mut writer = Self { tar: tar::Builder::new(out), written: BTreeSet::new() };
        for directory in ["blobs/", "blobs/sha256/"] {
            let mut header = header(tar::EntryType::Directory, 0o755, 0);
            writer.tar.append_data(&mut header, directory, io::empty())?;
        }
        Ok(writer)
    }

    /// Whether the blob `digest` is in the archive already.
    pub(crate) fn has(&self, digest: &BlobDigest) -> bool {
        self.written.contains(digest)
    }

    /// Writes the blob `digest`, which has `size` bytes. The caller vouches for the digest.
    pub(crate) fn blob(&mut self, digest: BlobDigest, size: u64, bytes: &mut dyn Read) -> io::Result<()> {
        if !self.written.insert(digest) {
            return Ok(());
        }
        let mut header = header(tar::EntryType::Regular, 0o644, size);
        let mut counted = Exactly { inner: bytes, left: size };
        self.tar.append_data(&mut header, blob_path(&digest), &mut counted)?;
        if counted.left > 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("blob {digest} is shorter than recorded"),
            ));
        }
        Ok(())
    }

    fn file(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut header = header(tar::EntryType::Regular, 0o644, bytes.len() as u64);
        self.tar.append_data(&mut header, name, bytes)
    }

    /// Writes what names the images, and ends the archive. Returns the writer that it went to.
    pub(crate) fn finish(self, images: &[ArchivedImage], for_docker: bool) -> io::Result<W> {
        let entries = images.iter().flat_map(|image| named(&image.manifest, &image.names)).collect();
        self.finish_with(entries, if for_docker { images } else { &[] })
    }

    /// Does the same for entries that are made already; `for_docker` are the images that `docker load` finds.
    pub(crate) fn finish_with(mut self, entries: Vec<Descriptor>, for_docker: &[ArchivedImage]) -> io::Result<W> {
        let index = Index {
            schema_version: 2,
            media_type: media_type::OCI_INDEX.to_owned(),
            manifests: entries,
            annotations: std::collections::BTreeMap::new(),
        };
        self.file("index.json", &serde_json::to_vec(&index).expect("an index has only text keys"))?;
        if !for_docker.is_empty() {
            let entries: Vec<_> = for_docker.iter().map(docker_entry).collect();
            self.file("manifest.json", &serde_json::to_vec(&entries).expect("the keys are texts"))?;
        }
        self.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        let mut out = self.tar.into_inner()?;
        out.flush()?;
        Ok(out)
    }
}

/// Returns the entries of a layout's list for what `descriptor` names: one for each name, or one without.
pub(crate) fn named(descriptor: &Descriptor, names: &[Reference]) -> Vec<Descriptor> {
    if names.is_empty() {
        return vec![descriptor.clone()];
    }
    let entry = |name: &Reference| {
        let mut descriptor = descriptor.clone();
        let tag = name.effective_tag().unwrap_or("latest").to_owned();
        descriptor.annotations.insert("io.containerd.image.name".to_owned(), name.to_string());
        descriptor.annotations.insert("org.opencontainers.image.ref.name".to_owned(), tag);
        descriptor
    };
    names.iter().map(entry).collect()
}

fn docker_entry(image: &ArchivedImage) -> serde_json::Value {
    json!({
        "Config": blob_path(&image.config),
        "RepoTags": image.names.iter().map(familiar).collect::<Vec<_>>(),
        "Layers": image.layers.iter().map(blob_path).collect::<Vec<_>>(),
    })
}

/// Returns where a layout has the blob `digest`.
pub(crate) fn blob_path(digest: &BlobDigest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header
}

/// Reads at most so many bytes: a blob that grew must not shift what follows it in the archive.
struct Exactly<'a> {
    inner: &'a mut dyn Read,
    left: u64,
}

impl Read for Exactly<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.inner.read(&mut buffer[..room])?;
        self.left -= count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(names: &[&str]) -> ArchivedImage {
        let manifest = Descriptor::new(media_type::OCI_MANIFEST, BlobDigest::of(b"m"), 1);
        let names = names.iter().map(|name| name.parse().expect("the name is valid")).collect();
        ArchivedImage { manifest, config: BlobDigest::of(b"c"), layers: vec![BlobDigest::of(b"l")], names }
    }

    fn names_in(archive: &[u8]) -> Vec<String> {
        let mut archive = tar::Archive::new(archive);
        let entries = archive.entries().expect("the archive is valid");
        entries
            .map(|entry| entry.expect("the entry is valid").path().expect("it has a path").display().to_string())
            .collect()
    }

    #[test]
    fn a_blob_is_written_once() {
        let mut writer = ArchiveWriter::new(Vec::new()).expect("memory can be written");
        for _ in 0..2 {
            writer.blob(BlobDigest::of(b"m"), 1, &mut &b"m"[..]).expect("memory can be written");
        }
        let archive = writer.finish(&[image(&["a", "b:1"])], true).expect("memory can be written");
        let blob = blob_path(&BlobDigest::of(b"m"));
        let expected = ["blobs/", "blobs/sha256/", &blob, "index.json", "manifest.json", "oci-layout"];
        assert_eq!(names_in(&archive), expected);
    }

    #[test]
    fn an_image_with_two_names_has_two_entries() {
        let image_of_two = image(&["a", "b:1"]);
        let entries = named(&image_of_two.manifest, &image_of_two.names);
        let names: Vec<&str> =
            entries.iter().map(|entry| entry.annotations["io.containerd.image.name"].as_str()).collect();
        assert_eq!(names, ["docker.io/library/a:latest", "docker.io/library/b:1"]);
        assert_eq!(docker_entry(&image(&["a"]))["RepoTags"], json!(["a:latest"]));
    }

    #[test]
    fn a_short_blob_is_an_error() {
        let mut writer = ArchiveWriter::new(Vec::new()).expect("memory can be written");
        assert!(writer.blob(BlobDigest::of(b"m"), 2, &mut &b"m"[..]).is_err());
    }
}
