//! Manifest lists in the making: files of the user that say what an index will list, until it is pushed.
//!
//! One file for each, named as the index will be, with the index itself and where its images are. A reader sees the old
//! file or the new one.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stave_oci::{BlobDigest, Descriptor, Document, Index, Reference};

use crate::error::EngineError;
use crate::imagetools::Merged;

/// Largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// The lists in one folder.
pub struct ManifestLists {
    folder: PathBuf,
}

/// What is said of the platform of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlatformRemark {
    /// The architecture.
    pub architecture: Option<String>,
    /// The operating system.
    pub os: Option<String>,
    /// Its features.
    pub os_features: Vec<String>,
    /// Its version.
    pub os_version: Option<String>,
    /// The variant of the architecture.
    pub variant: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    index: Value,
    images: Vec<Home>,
}

#[derive(Serialize, Deserialize)]
struct Home {
    name: String,
    digest: BlobDigest,
}

impl ManifestLists {
    /// The lists that are kept in `folder`.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Keeps a merged index under the name that it will have.
    pub fn keep(&self, name: &Reference, merged: &Merged) -> Result<(), EngineError> {
        let index = serde_json::from_slice(&merged.bytes).expect("it was made as JSON");
        let homes = merged.parts.iter().map(|(name, digest)| Home { name: name.to_string(), digest: *digest });
        self.write(name, &Stored { index, images: homes.collect() })
    }

    /// Returns a list, if there is one of this name.
    pub fn find(&self, name: &Reference) -> Result<Option<Merged>, EngineError> {
        let Some(stored) = self.read(name)? else { return Ok(None) };
        let bytes = serde_json::to_vec_pretty(&stored.index).expect("a value is text");
        let kind = stored.index["mediaType"].as_str().unwrap_or_default();
        let what = || format!("cannot use the manifest list `{name}`");
        Document::parse(&bytes, kind).map_err(|source| EngineError::tree(what(), source))?;
        let parts = stored.images.into_iter().map(|home| {
            let from = home.name.parse::<Reference>().map_err(|source| EngineError::tree(what(), source))?;
            Ok((from, home.digest))
        });
        let descriptor = Descriptor::new(kind, BlobDigest::of(&bytes), bytes.len() as u64);
        Ok(Some(Merged { parts: parts.collect::<Result<_, EngineError>>()?, bytes, descriptor }))
    }

    /// Says something about the platform of one image of a list, which `image` names by its name or its digest.
    pub fn annotate(&self, name: &Reference, image: &Reference, remark: &PlatformRemark) -> Result<(), EngineError> {
        let mut stored = self.read(name)?.ok_or_else(|| no_list(name))?;
        let home = stored.images.iter().find(|home| {
            home.name == image.to_string() || image.digest == Some(home.digest) && home.name.starts_with(&image.name())
        });
        let absent = || EngineError::request(format!("the manifest list `{name}` does not have `{image}`"), None);
        let digest = home.ok_or_else(absent)?.digest.to_string();
        let entries = stored.index["manifests"].as_array_mut().ok_or_else(absent)?;
        let entry = entries.iter_mut().find(|entry| entry["digest"] == digest).ok_or_else(absent)?;
        let texts = [
            ("architecture", &remark.architecture),
            ("os", &remark.os),
            ("os.version", &remark.os_version),
            ("variant", &remark.variant),
        ];
        for (key, text) in texts {
            if let Some(text) = text {
                entry["platform"][key] = json!(text);
            }
        }
        if !remark.os_features.is_empty() {
            entry["platform"]["os.features"] = json!(remark.os_features);
        }
        self.write(name, &stored)
    }

    /// Forgets a list. Returns whether there was one.
    pub fn remove(&self, name: &Reference) -> Result<bool, EngineError> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(EngineError::io("remove", path, source)),
        }
    }

    /// A name has `/` and `:`, which a file's has not.
    fn path(&self, name: &Reference) -> PathBuf {
        let text = name.to_string();
        let safe = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
        let escaped: String = text
            .bytes()
            .map(|byte| if safe(byte) { char::from(byte).to_string() } else { format!("%{byte:02x}") })
            .collect();
        self.folder.join(format!("{escaped}.json"))
    }

    fn read(&self, name: &Reference) -> Result<Option<Stored>, EngineError> {
        let path = self.path(name);
        let bytes = match read_small(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(EngineError::io("read", path, source)),
        };
        let wrong = |source| EngineError::tree(format!("cannot use `{}`", path.display()), source);
        serde_json::from_slice(&bytes).map(Some).map_err(wrong)
    }

    fn write(&self, name: &Reference, stored: &Stored) -> Result<(), EngineError> {
        let path = self.path(name);
        let new = path.with_extension(format!("{}.tmp", std::process::id()));
        let bytes = serde_json::to_vec_pretty(stored).expect("a value is text");
        let written = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)
            .and_then(|()| fs::write(&new, bytes))
            .and_then(|()| fs::rename(&new, &path));
        written.map_err(|source| EngineError::io("write", path, source))
    }
}

/// What is said where there is no such list.
fn no_list(name: &Reference) -> EngineError {
    EngineError::request(
        format!("there is no manifest list `{name}` here"),
        Some("Make one with `stave manifest create`."),
    )
}

fn read_small(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Merged {
    /// Adds what another one has, each image once; the other's word on an image counts.
    pub fn absorb(&mut self, other: Self) -> Result<(), EngineError> {
        let parsed = |bytes: &[u8]| {
            serde_json::from_slice::<Value>(bytes)
                .map_err(|source| EngineError::tree("cannot use a manifest list", source))
        };
        let (mut ours, theirs) = (parsed(&self.bytes)?, parsed(&other.bytes)?);
        let entries = |value: &Value| value["manifests"].as_array().cloned().unwrap_or_default();
        let mut all = entries(&ours);
        for entry in entries(&theirs) {
            match all.iter_mut().find(|known| known["digest"] == entry["digest"]) {
                Some(known) => *known = entry,
                None => all.push(entry),
            }
        }
        ours["manifests"] = json!(all);
        let kinds = |index: &Index| index.manifests.iter().all(|entry| entry.media_type.contains("vnd.docker."));
        let docker = serde_json::from_value::<Index>(ours.clone()).is_ok_and(|index| kinds(&index));
        let kind = if docker { stave_oci::media_type::DOCKER_LIST } else { stave_oci::media_type::OCI_INDEX };
        ours["mediaType"] = json!(kind);
        self.bytes = serde_json::to_vec_pretty(&ours).expect("a value is text");
        self.descriptor = Descriptor::new(kind, BlobDigest::of(&self.bytes), self.bytes.len() as u64);
        for part in other.parts {
            if !self.parts.iter().any(|(_, digest)| *digest == part.1) {
                self.parts.push(part);
            }
        }
        Ok(())
    }
}
