//! What is found: packages, and what could not be read.

use std::collections::{BTreeMap, BTreeSet};

use stave_oci::BlobDigest;

use crate::limits::{NAME_BYTES_MAX, NOTES_MAX, PACKAGES_MAX, PATHS_MAX};
use crate::release::Distribution;

/// Where packages of a kind come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ecosystem {
    /// Debian, Ubuntu and their relatives.
    Deb,
    /// Alpine and its relatives.
    Apk,
    /// Fedora, Red Hat, SUSE and their relatives.
    Rpm,
    /// Modules of Go.
    Golang,
    /// Packages of Node.js.
    Npm,
    /// Packages of Python.
    Pypi,
    /// Crates of Rust.
    Cargo,
}

impl Ecosystem {
    /// Returns the type that a package URL has for it.
    #[must_use]
    pub fn purl_type(self) -> &'static str {
        match self {
            Self::Deb => "deb",
            Self::Apk => "apk",
            Self::Rpm => "rpm",
            Self::Golang => "golang",
            Self::Npm => "npm",
            Self::Pypi => "pypi",
            Self::Cargo => "cargo",
        }
    }

    /// Whether a distribution makes these packages.
    #[must_use]
    pub fn is_of_distribution(self) -> bool {
        matches!(self, Self::Deb | Self::Apk | Self::Rpm)
    }
}

/// An installed package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// Who made it.
    pub ecosystem: Ecosystem,
    /// Its name there; with the scope in npm, the whole path in Go.
    pub name: String,
    /// Its version there.
    pub version: String,
    /// The architecture that it was built for, in the ecosystem's own words.
    pub architecture: Option<String>,
    /// The package that it was built from, where it has another name: the source package.
    pub source: Option<String>,
    /// The licence as the package states it.
    pub license: Option<String>,
    /// Who distributes it, as the package states it.
    pub supplier: Option<String>,
}

impl Package {
    pub(crate) fn new(ecosystem: Ecosystem, name: &str, version: &str) -> Self {
        let (name, version) = (clean(name), clean(version));
        Self { ecosystem, name, version, architecture: None, source: None, license: None, supplier: None }
    }
}

/// Returns a text of an image as it can be in a document: without what moves a terminal's cursor.
pub(crate) fn clean(text: &str) -> String {
    text.trim().chars().filter(|letter| !letter.is_control()).collect()
}

/// Returns a text, if it says anything.
pub(crate) fn stated(text: &str) -> Option<String> {
    let text = clean(text);
    (!text.is_empty() && text.len() <= 8 * NAME_BYTES_MAX).then_some(text)
}

/// What a document is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// What the image is called.
    pub name: String,
    /// The digest of its manifest.
    pub digest: BlobDigest,
    /// When it was made, as RFC 3339 writes it: a document has no clock of its own.
    pub created: String,
    /// What made the document: `stave 0.1.0`.
    pub tool: (String, String),
}

/// All that was found in an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    /// The distribution, if the image says which.
    pub distribution: Distribution,
    /// Packages, each with the files that say that it is there.
    pub packages: BTreeMap<Package, BTreeSet<String>>,
    /// What could not be read, in words.
    pub notes: Vec<String>,
    /// Notes that are not in [`Self::notes`], because there are too many.
    pub notes_left_out: usize,
}

impl Inventory {
    /// Adds a package that the file `path` names.
    pub(crate) fn add(&mut self, package: Package, path: &[u8]) {
        let usable = |text: &str| !text.is_empty() && text.len() <= NAME_BYTES_MAX;
        if !usable(&package.name) || package.version.len() > NAME_BYTES_MAX {
            self.note(path, "names a package whose name or version cannot be one");
            return;
        }
        if self.packages.len() >= PACKAGES_MAX && !self.packages.contains_key(&package) {
            self.note(path, &format!("is not listed whole: a document has at most {PACKAGES_MAX} packages"));
            return;
        }
        let paths = self.packages.entry(package).or_default();
        if paths.len() < PATHS_MAX {
            paths.insert(shown(path));
        }
    }

    /// Notes what could not be read of a file.
    pub(crate) fn note(&mut self, path: &[u8], what: &str) {
        let note = format!("{} {what}", shown(path));
        if self.notes.contains(&note) {
            return;
        }
        if self.notes.len() < NOTES_MAX {
            self.notes.push(note);
        } else {
            self.notes_left_out += 1;
        }
    }

    /// Returns all notes, the last of which counts those that are left out.
    #[must_use]
    pub fn all_notes(&self) -> Vec<String> {
        let mut notes = self.notes.clone();
        if self.notes_left_out > 0 {
            notes.push(format!("and {} more notes", self.notes_left_out));
        }
        notes
    }
}

/// Returns a path of the image as a document has it.
pub(crate) fn shown(path: &[u8]) -> String {
    format!("/{}", clean(&String::from_utf8_lossy(path)))
}
