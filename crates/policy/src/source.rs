//! Sources as policies see them.

use std::collections::BTreeMap;

/// Where something that a build reads comes from.
///
/// Reference: BuildKit's documentation, "Source types": `docker-image://docker.io/library/alpine:3`, `https://...`,
/// `git://host/path.git#reference` with the attribute `git.fullurl`, `local://context`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// What it is called, with its kind in front.
    pub identifier: String,
    /// What else is wanted of it: `http.checksum`, `git.checksum`, `git.fullurl`.
    pub attributes: BTreeMap<String, String>,
}

impl Source {
    /// Returns a source without attributes.
    #[must_use]
    pub fn new(identifier: impl Into<String>) -> Self {
        Self { identifier: identifier.into(), attributes: BTreeMap::new() }
    }

    /// Returns it with one more attribute.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.attributes.insert(key.to_owned(), value.into());
        self
    }
}
