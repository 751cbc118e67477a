//! Turns root file systems and a configuration into an image: manifest, blobs, an OCI layout on disk.

use crate::rootfs::Rootfs;
use flate2::{Compression as Level, write::GzEncoder};
use stave_oci::{
    BlobDigest, Descriptor, DiffId, History, ImageConfig, ImageId, Manifest, Platform, RunConfig, media_type,
};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// An image in memory, small enough for tests.
#[derive(Debug, Clone)]
pub struct Image {
    /// The configuration; `rootfs.diff_ids` follows [`Image::layer`].
    pub config: ImageConfig,
    layers: Vec<Blob>,
}

/// A blob and what describes it.
#[derive(Debug, Clone)]
pub struct Blob {
    /// Media type, digest and size.
    pub descriptor: Descriptor,
    /// Where its bytes are.
    pub source: Source,
}

/// Where the bytes of a blob are.
#[derive(Debug, Clone)]
pub enum Source {
    /// Here.
    Memory(Vec<u8>),
    /// In a file, which a layout takes by a hard link or, on another file system, by a copy.
    File(PathBuf),
}

impl Default for Image {
    fn default() -> Self {
        Self::new()
    }
}

impl Image {
    /// An image for this machine without layers, with the usual `PATH`.
    #[must_use]
    pub fn new() -> Self {
        let platform = Platform::host();
        let env = vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()];
        let config = ImageConfig {
            created: Some("2020-01-01T00:00:00Z".to_owned()),
            architecture: platform.architecture,
            os: platform.os,
            config: RunConfig { env, ..RunConfig::default() },
            ..ImageConfig::default()
        };
        Self { config, layers: Vec::new() }
    }

    /// An image with one layer in which `sh` and busybox's tools run, if this machine has a static `busybox`.
    #[must_use]
    pub fn of_busybox() -> Option<Self> {
        let path = crate::needs::busybox()?;
        let busybox = fs::read(&path).ok()?;
        let listed = std::process::Command::new(&path).arg("--list").output().ok()?;
        let names = String::from_utf8(listed.stdout).ok()?;
        let applets: Vec<&str> = names.lines().filter(|name| *name != "busybox").collect();
        let mut image = Self::new();
        image.config.config.cmd = Some(vec!["sh".to_owned()]);
        image.layer(&Rootfs::of_busybox(busybox, &applets));
        Some(image)
    }

    /// An image for arm64 like [`Image::of_busybox`], if the stand-ins have a `busybox` for it.
    #[must_use]
    pub fn of_arm64_busybox() -> Option<Self> {
        let mut image = Self::of_busybox()?;
        let busybox = fs::read(crate::needs::arm64_busybox()?).ok()?;
        let applets = ["sh", "cat", "echo", "ls", "mkdir", "rm", "sha256sum", "sleep", "stat", "test", "true", "uname"];
        "arm64".clone_into(&mut image.config.architecture);
        image.config.rootfs.diff_ids.clear();
        image.config.history.clear();
        image.layers.clear();
        image.layer(&Rootfs::of_busybox(busybox, &applets));
        Some(image)
    }

    /// Adds a layer with these files, compressed with gzip.
    pub fn layer(&mut self, files: &Rootfs) -> &mut Self {
        self.layer_tar(&files.tar())
    }

    /// Adds a layer with the bytes of a tar, whatever they are.
    pub fn layer_tar(&mut self, tar: &[u8]) -> &mut Self {
        let mut encoder = GzEncoder::new(Vec::new(), Level::fast());
        encoder.write_all(tar).and_then(|()| encoder.try_finish()).expect("writing to memory does not fail");
        let gzip = encoder.finish().expect("writing to memory does not fail");
        self.layer_blob(DiffId::of(tar), blob(media_type::OCI_LAYER_GZIP, gzip))
    }

    /// Adds a layer that is described by the caller, truthfully or not.
    pub fn layer_blob(&mut self, diff_id: DiffId, blob: Blob) -> &mut Self {
        self.config.rootfs.diff_ids.push(diff_id);
        // Buildah refuses to build on an image whose history does not account for each of its layers.
        let created_by = Some(format!("layer {} of a fixture", self.layers.len() + 1));
        let created = self.config.created.clone();
        self.config.history.push(History { created, created_by, ..History::default() });
        self.layers.push(blob);
        self
    }

    /// The configuration's bytes.
    #[must_use]
    pub fn config_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(&self.config).expect("a configuration is JSON")
    }

    /// The image's id: the digest of its configuration.
    #[must_use]
    pub fn id(&self) -> ImageId {
        ImageId::of(&self.config_bytes())
    }

    /// The layers, lowest first.
    #[must_use]
    pub fn layers(&self) -> &[Blob] {
        &self.layers
    }

    /// The bytes of the image's OCI manifest.
    #[must_use]
    pub fn manifest_bytes(&self) -> Vec<u8> {
        let config = blob(media_type::OCI_CONFIG, self.config_bytes()).descriptor;
        let manifest = Manifest {
            schema_version: 2,
            media_type: media_type::OCI_MANIFEST.to_owned(),
            config,
            layers: self.layers.iter().map(|layer| layer.descriptor.clone()).collect(),
            annotations: std::collections::BTreeMap::new(),
        };
        serde_json::to_vec(&manifest).expect("a manifest is JSON")
    }

    /// All blobs: the configuration, then the layers.
    #[must_use]
    pub fn blobs(&self) -> Vec<Blob> {
        let mut blobs = vec![blob(media_type::OCI_CONFIG, self.config_bytes())];
        blobs.extend(self.layers.iter().cloned());
        blobs
    }

    /// Writes the image as an OCI layout into the empty or absent directory `dir`, named `name` in its index.
    pub fn write_layout(&self, dir: &Path, name: &str) -> io::Result<()> {
        let blobs = dir.join("blobs/sha256");
        fs::create_dir_all(&blobs)?;
        let manifest = blob(media_type::OCI_MANIFEST, self.manifest_bytes());
        for blob in self.blobs().iter().chain([&manifest]) {
            let path = blobs.join(blob.descriptor.digest.hex());
            match &blob.source {
                Source::Memory(bytes) => fs::write(path, bytes)?,
                Source::File(file) => fs::hard_link(file, &path).or_else(|_| fs::copy(file, &path).map(drop))?,
            }
        }
        let mut described = serde_json::to_value(&manifest.descriptor)?;
        described["annotations"] = serde_json::json!({ "org.opencontainers.image.ref.name": name });
        let index = serde_json::json!({ "schemaVersion": 2, "manifests": [described] });
        fs::write(dir.join("index.json"), serde_json::to_vec(&index)?)?;
        fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)
    }
}

/// A blob with these bytes.
#[must_use]
pub fn blob(media_type: &str, bytes: Vec<u8>) -> Blob {
    let descriptor = Descriptor::new(media_type, BlobDigest::of(&bytes), bytes.len() as u64);
    Blob { descriptor, source: Source::Memory(bytes) }
}

impl Source {
    /// The bytes, wherever they are.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        match self {
            Self::Memory(bytes) => Ok(bytes.clone()),
            Self::File(path) => fs::read(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_holds_every_blob_that_its_manifest_names() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut image = Image::new();
        image.layer(Rootfs::new().file("a", 0o644, "1"));
        image.write_layout(dir.path(), "test").expect("written");
        for blob in image.blobs() {
            let path = dir.path().join("blobs/sha256").join(blob.descriptor.digest.hex());
            assert_eq!(BlobDigest::of(&fs::read(path).expect("the blob")), blob.descriptor.digest);
        }
    }
}
