//! Files of the user that are an artifact in a registry: a manifest of them, and they themselves when it is pushed.
//!
//! Reference: OCI image-spec 1.1, `manifest.md`, "Guidelines for Artifact Usage"; the options `--artifact` of Buildah.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stave_oci::{BlobDigest, Descriptor, Hasher, media_type};
use stave_registry::{OpenBlob, PushImage};

use crate::error::EngineError;

/// The type of an artifact that says none.
const UNKNOWN_TYPE: &str = "application/vnd.unknown.artifact.v1";
/// The configuration of an artifact that has none.
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
const EMPTY: &[u8] = b"{}";
/// What a file is if nobody says it.
const BYTES_TYPE: &str = "application/octet-stream";
/// What a file is called.
const TITLE: &str = "org.opencontainers.image.title";

/// What an artifact is to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ArtifactRequest {
    /// Its files, of which each becomes a blob.
    pub files: Vec<PathBuf>,
    /// Its type.
    pub kind: Option<String>,
    /// The type of its files.
    pub file_type: Option<String>,
    /// A file with its configuration.
    pub config: Option<PathBuf>,
    /// The type of that.
    pub config_type: Option<String>,
    /// Whether the files have no names there.
    pub without_titles: bool,
    /// The manifest that it refers to, in the same repository.
    pub subject: Option<Descriptor>,
    /// Remarks on it.
    pub annotations: Vec<(String, String)>,
}

/// An artifact whose files are here.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Artifact {
    pub(crate) manifest: String,
    pub(crate) digest: BlobDigest,
    pub(crate) kind: String,
    files: Vec<ArtifactFile>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct ArtifactFile {
    /// Nothing for the empty configuration.
    path: Option<PathBuf>,
    descriptor: Descriptor,
}

impl Artifact {
    /// Reads the files and makes the manifest. They are read again when it is pushed.
    ///
    /// # Errors
    /// If a file cannot be read, or none is given.
    pub fn new(request: &ArtifactRequest) -> Result<Self, EngineError> {
        if request.files.is_empty() {
            return Err(EngineError::request("an artifact has at least one file", None));
        }
        let config = if let Some(path) = &request.config {
            ArtifactFile::read(path, request.config_type.as_deref().unwrap_or(media_type::OCI_CONFIG))?
        } else {
            let kind = request.config_type.as_deref().unwrap_or(EMPTY_TYPE);
            let descriptor = Descriptor::new(kind, BlobDigest::of(EMPTY), EMPTY.len() as u64);
            ArtifactFile { path: None, descriptor }
        };
        let mut files = vec![config];
        for path in &request.files {
            let mut file = ArtifactFile::read(path, request.file_type.as_deref().unwrap_or(BYTES_TYPE))?;
            if let (false, Some(name)) = (request.without_titles, path.file_name()) {
                file.descriptor.annotations.insert(TITLE.to_owned(), name.to_string_lossy().into_owned());
            }
            files.push(file);
        }
        let kind = request.kind.clone().unwrap_or_else(|| UNKNOWN_TYPE.to_owned());
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_MANIFEST,
            "artifactType": kind,
            "config": files[0].descriptor,
            "layers": files[1..].iter().map(|file| json!(file.descriptor)).collect::<Vec<Value>>(),
        });
        if let Some(subject) = &request.subject {
            manifest["subject"] = json!(subject);
        }
        for (key, value) in &request.annotations {
            manifest["annotations"][key] = json!(value);
        }
        let manifest = manifest.to_string();
        Ok(Self { digest: BlobDigest::of(manifest.as_bytes()), manifest, kind, files })
    }

    /// Returns what names it.
    pub(crate) fn descriptor(&self) -> Descriptor {
        Descriptor::new(media_type::OCI_MANIFEST, self.digest, self.manifest.len() as u64)
    }

    /// Whether it refers to another manifest.
    pub(crate) fn has_subject(&self) -> bool {
        serde_json::from_str::<Value>(&self.manifest).is_ok_and(|manifest| manifest.get("subject").is_some())
    }

    /// Returns it as a registry takes it.
    ///
    /// Errors: a file is not what it was.
    pub(crate) fn push_image(&self) -> Result<PushImage, EngineError> {
        let blobs = self.files.iter().map(ArtifactFile::blob).collect::<Result<_, EngineError>>()?;
        let manifest_bytes = self.manifest.clone().into_bytes();
        Ok(PushImage { manifest_bytes, media_type: media_type::OCI_MANIFEST.to_owned(), blobs })
    }
}

impl ArtifactFile {
    fn read(path: &Path, kind: &str) -> Result<Self, EngineError> {
        // It is read again from wherever the list is pushed.
        let path = std::path::absolute(path).map_err(|source| EngineError::io("find", path, source))?;
        let (digest, size) = digest_of(&path)?;
        Ok(Self { path: Some(path), descriptor: Descriptor::new(kind, digest, size) })
    }

    fn blob(&self) -> Result<(Descriptor, OpenBlob), EngineError> {
        let Some(path) = self.path.clone() else {
            return Ok((self.descriptor.clone(), Box::new(|| Ok(Box::new(EMPTY)))));
        };
        if digest_of(&path)? != (self.descriptor.digest, self.descriptor.size) {
            let message = format!("`{}` has changed since it was added to the manifest list", path.display());
            return Err(EngineError::request(
                message,
                Some("Take it out with `stave manifest remove`, and add it anew."),
            ));
        }
        Ok((self.descriptor.clone(), Box::new(move || Ok(Box::new(File::open(&path)?)))))
    }
}

fn digest_of(path: &Path) -> Result<(BlobDigest, u64), EngineError> {
    let fail = |source| EngineError::io("read", path, source);
    let mut file = File::open(path).map_err(fail)?;
    let mut hasher = Hashing(Hasher::new());
    let size = io::copy(&mut file, &mut hasher).map_err(fail)?;
    Ok((hasher.0.finish(), size))
}

struct Hashing(Hasher);

impl io::Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
