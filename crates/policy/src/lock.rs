//! The lock: for each source of a build what it was when the lock was made.
//!
//! It is a text of TOML, sorted, one entry for each source and platform, so that a change of one source is a change of
//! one line.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use stave_oci::{BlobDigest, ImageId};

/// The version of the form.
const VERSION: i64 = 1;

/// An image as a Dockerfile names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImageEntry {
    /// Its name, with registry and tag.
    pub name: String,
    /// The platform that is wanted.
    pub platform: String,
}

/// What an image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ImagePin {
    /// The digest of its manifest, by which a registry has it.
    Manifest(BlobDigest),
    /// The image's own id: no registry has it, it was built on this machine.
    Local(ImageId),
}

/// A file on the network.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileEntry {
    /// Its address, without credentials.
    pub url: String,
}

/// What is wanted of a repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GitEntry {
    /// Its address, without credentials.
    pub url: String,
    /// The branch, the tag or the commit; the server's own choice if there is none.
    pub reference: Option<String>,
}

/// What all sources are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lock {
    /// Images.
    pub images: BTreeMap<ImageEntry, ImagePin>,
    /// Files, by the digest of their content.
    pub files: BTreeMap<FileEntry, BlobDigest>,
    /// Repositories, by their commit.
    pub repositories: BTreeMap<GitEntry, String>,
}

/// Why a text is no lock.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// It is no TOML of the expected shape.
    #[error("the lock is not valid")]
    Toml(#[from] toml::de::Error),
    /// It is of another version.
    #[error("the lock has version {0}, and only 1 is known")]
    Version(i64),
    /// A digest or a commit in it is none.
    #[error("the lock has the entry `{entry}`, whose {what} `{value}` is none")]
    Value {
        /// The entry's name.
        entry: String,
        /// Which value.
        what: &'static str,
        /// What it says.
        value: String,
    },
    /// Two entries are about one source.
    #[error("the lock has the entry `{0}` twice")]
    Twice(String),
}

mod written {
    //! A lock as its text has it.

    use super::Deserialize;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct Lock {
        pub(super) version: i64,
        #[serde(default)]
        pub(super) image: Vec<Image>,
        #[serde(default)]
        pub(super) file: Vec<File>,
        #[serde(default)]
        pub(super) git: Vec<Git>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct Image {
        pub(super) name: String,
        pub(super) platform: String,
        pub(super) digest: Option<String>,
        pub(super) id: Option<String>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct File {
        pub(super) url: String,
        pub(super) digest: String,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct Git {
        pub(super) url: String,
        pub(super) reference: Option<String>,
        pub(super) commit: String,
    }
}

fn wrong(entry: &str, what: &'static str, value: &str) -> LockError {
    LockError::Value { entry: entry.to_owned(), what, value: value.to_owned() }
}

fn insert<K: Ord, V>(map: &mut BTreeMap<K, V>, name: &str, key: K, value: V) -> Result<(), LockError> {
    match map.insert(key, value) {
        None => Ok(()),
        Some(_) => Err(LockError::Twice(name.to_owned())),
    }
}

impl Lock {
    /// Reads a lock.
    ///
    /// # Errors
    /// If it is no lock of the known version, says anything that is not known, or says something twice.
    pub fn parse(text: &str) -> Result<Self, LockError> {
        let written: written::Lock = toml::from_str(text)?;
        if written.version != VERSION {
            return Err(LockError::Version(written.version));
        }
        let mut lock = Self::default();
        for written::Image { name, platform, digest, id } in written.image {
            let pin = match (digest, id) {
                (Some(digest), None) => {
                    digest.parse().map(ImagePin::Manifest).map_err(|_| wrong(&name, "digest", &digest))?
                }
                (None, Some(id)) => id.parse().map(ImagePin::Local).map_err(|_| wrong(&name, "id", &id))?,
                (_, _) => return Err(wrong(&name, "digest or id", "")),
            };
            insert(&mut lock.images, &name.clone(), ImageEntry { name, platform }, pin)?;
        }
        for written::File { url, digest } in written.file {
            let digest = digest.parse().map_err(|_| wrong(&url, "digest", &digest))?;
            insert(&mut lock.files, &url.clone(), FileEntry { url }, digest)?;
        }
        for written::Git { url, reference, commit } in written.git {
            let digits = commit.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
            if !digits || !matches!(commit.len(), 40 | 64) {
                return Err(wrong(&url, "commit", &commit));
            }
            insert(&mut lock.repositories, &url.clone(), GitEntry { url, reference }, commit)?;
        }
        Ok(lock)
    }
}

/// Writes a text as TOML does.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

impl fmt::Display for Lock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "# Made by `stave lock`; `stave build --locked` uses exactly these sources.")?;
        writeln!(formatter, "version = {VERSION}")?;
        for (ImageEntry { name, platform }, pin) in &self.images {
            writeln!(formatter, "\n[[image]]\nname = {}\nplatform = {}", quoted(name), quoted(platform))?;
            match pin {
                ImagePin::Manifest(digest) => writeln!(formatter, "digest = \"{digest}\"")?,
                ImagePin::Local(id) => writeln!(formatter, "id = \"{id}\"")?,
            }
        }
        for (FileEntry { url }, digest) in &self.files {
            writeln!(formatter, "\n[[file]]\nurl = {}\ndigest = \"{digest}\"", quoted(url))?;
        }
        for (GitEntry { url, reference }, commit) in &self.repositories {
            writeln!(formatter, "\n[[git]]\nurl = {}", quoted(url))?;
            if let Some(reference) = reference {
                writeln!(formatter, "reference = {}", quoted(reference))?;
            }
            writeln!(formatter, "commit = \"{commit}\"")?;
        }
        Ok(())
    }
}
