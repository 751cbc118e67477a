//! Manifest lists in the making: files of the user that say what an index will list, until it is pushed.
//!
//! One file for each, named as the index will be, with the index itself and where its images are. A reader sees the old
//! file or the new one. Who changes a list holds the lock of their folder from reading it to writing it, so that of two
//! changes at once none is lost.

use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stave_oci::reference::ReferenceError;
use stave_oci::{BlobDigest, Descriptor, Document, Reference, media_type};

use crate::artifact::Artifact;
use crate::error::EngineError;
use crate::imagetools::{Merged, SUBJECT_KEY};

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

/// What is said of an entry of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EntryRemark {
    /// Its platform.
    pub platform: PlatformRemark,
    /// Free remarks.
    pub annotations: Vec<(String, String)>,
}

/// How an entry of a list is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryName {
    /// By its digest.
    Digest(BlobDigest),
    /// As it was named when it was added, or by a repository and its digest, of which the digest counts.
    Image(Reference),
}

impl FromStr for EntryName {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        match text.parse() {
            Ok(digest) => Ok(Self::Digest(digest)),
            Err(_) => text.parse().map(Self::Image),
        }
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Digest(digest) => digest.fmt(formatter),
            Self::Image(name) => name.fmt(formatter),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Stored {
    index: Value,
    images: Vec<Home>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    artifacts: Vec<Artifact>,
}

impl Stored {
    fn digest_of(&self, list: &Reference, name: &EntryName) -> Result<BlobDigest, EngineError> {
        let entries = self.index["manifests"].as_array().map(Vec::as_slice).unwrap_or_default();
        let is_listed = |digest: &BlobDigest| entries.iter().any(|entry| entry["digest"] == digest.to_string());
        let found = match name {
            EntryName::Digest(digest) => Some(*digest),
            EntryName::Image(image) => {
                let named = self.images.iter().find(|home| home.name == image.to_string());
                // Of an index that was added with all that it lists, only the index has a home here.
                named.map(|home| home.digest).filter(|digest| is_listed(digest)).or(image.digest)
            }
        };
        found
            .filter(is_listed)
            .ok_or_else(|| EngineError::request(format!("the manifest list `{list}` does not have `{name}`"), None))
    }

    fn entry(&mut self, list: &Reference, name: &EntryName) -> Result<&mut Value, EngineError> {
        let digest = self.digest_of(list, name)?.to_string();
        let entries = self.index["manifests"].as_array_mut().map(Vec::as_mut_slice).unwrap_or_default();
        Ok(entries.iter_mut().find(|entry| entry["digest"] == digest).expect("it is listed"))
    }

    fn remark(&mut self, list: &Reference, entry: &EntryName, remark: &EntryRemark) -> Result<(), EngineError> {
        let entry = self.entry(list, entry)?;
        let PlatformRemark { architecture, os, os_features, os_version, variant } = &remark.platform;
        let texts = [("architecture", architecture), ("os", os), ("os.version", os_version), ("variant", variant)];
        for (key, text) in texts {
            if let Some(text) = text {
                entry["platform"][key] = json!(text);
            }
        }
        if !os_features.is_empty() {
            entry["platform"]["os.features"] = json!(os_features);
        }
        for (key, value) in &remark.annotations {
            entry["annotations"][key] = json!(value);
        }
        settle_type(&mut self.index);
        Ok(())
    }
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

    /// Keeps a new list under the name that the index will have.
    ///
    /// # Errors
    /// If there is one of this name already.
    pub fn create(&self, name: &Reference, merged: &Merged) -> Result<(), EngineError> {
        let _lock = self.lock()?;
        if self.read(name)?.is_some() {
            return Err(is_there(name));
        }
        self.keep(name, merged)
    }

    /// Adds to a list what `new` has, each image once, and says `remark` of its images; what is said of an image that it has
    /// already counts anew. With `create`, a list that is not there is made.
    ///
    /// # Errors
    /// If there is no such list.
    pub fn add(
        &self,
        name: &Reference,
        (new, remark): (Merged, &EntryRemark),
        create: bool,
    ) -> Result<(), EngineError> {
        let _lock = self.lock()?;
        let added = new.images();
        let whole = match self.find(name)? {
            Some(mut known) => {
                known.absorb(new)?;
                known
            }
            None if create => new,
            None => return Err(no_list(name)),
        };
        let mut stored = Self::stored(&whole);
        for digest in added {
            stored.remark(name, &EntryName::Digest(digest), remark)?;
        }
        self.write(name, &stored)
    }

    /// Keeps others from changing lists until it is dropped.
    fn lock(&self) -> Result<File, EngineError> {
        let fail = |source: io::Error| EngineError::io("lock", &self.folder, source);
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder).map_err(fail)?;
        let lock = File::open(&self.folder).map_err(fail)?;
        flock(&lock, FlockOperation::LockExclusive).map_err(|source| fail(source.into()))?;
        Ok(lock)
    }

    fn keep(&self, name: &Reference, merged: &Merged) -> Result<(), EngineError> {
        self.write(name, &Self::stored(merged))
    }

    fn stored(merged: &Merged) -> Stored {
        let index = serde_json::from_slice(&merged.bytes).expect("it was made as JSON");
        let homes = merged.parts.iter().map(|(name, digest)| Home { name: name.to_string(), digest: *digest });
        Stored { index, images: homes.collect(), artifacts: merged.artifacts.clone() }
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
        let parts = parts.collect::<Result<_, EngineError>>()?;
        Ok(Some(Merged { parts, bytes, descriptor, artifacts: stored.artifacts }))
    }

    /// Says something about one entry of a list.
    ///
    /// # Errors
    /// If there is no such list or entry.
    pub fn annotate(&self, name: &Reference, entry: &EntryName, remark: &EntryRemark) -> Result<(), EngineError> {
        let _lock = self.lock()?;
        let mut stored = self.read(name)?.ok_or_else(|| no_list(name))?;
        stored.remark(name, entry, remark)?;
        self.write(name, &stored)
    }

    /// Says something about a list itself, and to which manifest of its repository it refers.
    ///
    /// # Errors
    /// If there is no such list.
    pub fn annotate_list(
        &self,
        name: &Reference,
        annotations: &[(String, String)],
        subject: Option<&Descriptor>,
    ) -> Result<(), EngineError> {
        let _lock = self.lock()?;
        let mut stored = self.read(name)?.ok_or_else(|| no_list(name))?;
        for (key, value) in annotations {
            stored.index["annotations"][key] = json!(value);
        }
        if let Some(subject) = subject {
            stored.index["subject"] = json!(subject);
        }
        settle_type(&mut stored.index);
        self.write(name, &stored)
    }

    /// Takes one entry out of a list. Returns its digest.
    ///
    /// # Errors
    /// If there is no such list or entry.
    pub fn remove_entry(&self, name: &Reference, entry: &EntryName) -> Result<BlobDigest, EngineError> {
        let _lock = self.lock()?;
        let mut stored = self.read(name)?.ok_or_else(|| no_list(name))?;
        let digest = stored.digest_of(name, entry)?;
        let text = digest.to_string();
        if let Some(entries) = stored.index["manifests"].as_array_mut() {
            entries.retain(|entry| entry["digest"] != text);
        }
        stored.images.retain(|home| home.digest != digest);
        stored.artifacts.retain(|artifact| artifact.digest != digest);
        settle_type(&mut stored.index);
        self.write(name, &stored)?;
        Ok(digest)
    }

    /// Forgets a list. Returns whether there was one.
    pub fn remove(&self, name: &Reference) -> Result<bool, EngineError> {
        if !self.folder.exists() {
            return Ok(false);
        }
        let _lock = self.lock()?;
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

    /// The lock is held.
    fn write(&self, name: &Reference, stored: &Stored) -> Result<(), EngineError> {
        let path = self.path(name);
        let new = path.with_extension(format!("{}.tmp", std::process::id()));
        let bytes = serde_json::to_vec_pretty(stored).expect("a value is text");
        let written = fs::write(&new, bytes).and_then(|()| fs::rename(&new, &path));
        if written.is_err() {
            // Half a list is none.
            drop(fs::remove_file(&new));
        }
        written.map_err(|source| EngineError::io("write", path, source))
    }
}

/// Gives an index the type that it needs, and returns it: Docker's has no place for remarks, subjects and artifacts.
fn settle_type(index: &mut Value) -> &'static str {
    let entries = index["manifests"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_dockers = |entry: &Value| {
        entry["mediaType"] == media_type::DOCKER_MANIFEST && entry.get("annotations").is_none_or(Value::is_null)
    };
    let plain = ["annotations", "subject"].iter().all(|key| index.get(*key).is_none_or(Value::is_null));
    let docker = plain && !entries.is_empty() && entries.iter().all(is_dockers);
    let kind = if docker { media_type::DOCKER_LIST } else { media_type::OCI_INDEX };
    index["mediaType"] = json!(kind);
    kind
}

fn is_there(name: &Reference) -> EngineError {
    EngineError::request(
        format!("there is a manifest list `{name}` already"),
        Some("Add to it with `--amend`, or take it away with `stave manifest rm`."),
    )
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
    /// An index that lists nothing yet.
    #[must_use]
    pub fn empty() -> Self {
        let index = json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [] });
        Self::of(&index, Vec::new(), Vec::new())
    }

    /// An index that lists one artifact.
    #[must_use]
    pub fn of_artifact(artifact: Artifact) -> Self {
        let mut entry = json!(artifact.descriptor());
        entry["artifactType"] = json!(artifact.kind);
        let index = json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [entry] });
        Self::of(&index, Vec::new(), vec![artifact])
    }

    fn of(index: &Value, parts: Vec<(Reference, BlobDigest)>, artifacts: Vec<Artifact>) -> Self {
        let bytes = serde_json::to_vec_pretty(index).expect("a value is text");
        let descriptor = Descriptor::new(media_type::OCI_INDEX, BlobDigest::of(&bytes), bytes.len() as u64);
        Self { bytes, descriptor, parts, artifacts }
    }

    /// Returns the digests of what it lists, without what is attested of its images.
    #[must_use]
    pub fn images(&self) -> Vec<BlobDigest> {
        let index: Option<stave_oci::Index> = serde_json::from_slice(&self.bytes).ok();
        let entries = index.map(|index| index.manifests).unwrap_or_default();
        let is_own = |entry: &Descriptor| !entry.annotations.contains_key(SUBJECT_KEY);
        entries.into_iter().filter(is_own).map(|entry| entry.digest).collect()
    }

    /// Returns the names of where its images are.
    pub fn homes(&self) -> impl Iterator<Item = &Reference> {
        self.parts.iter().map(|(name, _)| name)
    }

    /// Returns the manifest of one of its artifacts that are files here.
    #[must_use]
    pub fn artifact(&self, digest: &BlobDigest) -> Option<&str> {
        self.artifacts.iter().find(|artifact| artifact.digest == *digest).map(|artifact| artifact.manifest.as_str())
    }

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
        let kind = settle_type(&mut ours);
        self.bytes = serde_json::to_vec_pretty(&ours).expect("a value is text");
        self.descriptor = Descriptor::new(kind, BlobDigest::of(&self.bytes), self.bytes.len() as u64);
        for artifact in other.artifacts {
            if !self.artifacts.iter().any(|known| known.digest == artifact.digest) {
                self.artifacts.push(artifact);
            }
        }
        for part in other.parts {
            if !self.parts.iter().any(|(_, digest)| *digest == part.1) {
                self.parts.push(part);
            }
        }
        Ok(())
    }
}
