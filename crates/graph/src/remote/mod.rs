//! Turns the text of an address into what it names: a Git repository with what is wanted of it, or a file to fetch.
//!
//! Nothing here knows whether the address exists. What is parsed cannot be taken for an option by the programs that get
//! it, and leads nowhere outside the repository. `git` parses, `redact` shows an address without its credentials.
//!
//! Reference: BuildKit, `frontend/dockerfile/docs/reference.md`, "Adding files from a Git repository", and
//! Docker's documentation of build contexts, "Remote context".

mod git;
mod redact;

use std::fmt;

pub use self::git::{AddressPlace, GitAddress, GitAddressError, is_whole_commit, parse_git, reference_of};
pub use self::redact::{masked_text, redacted, redacted_text, redacted_text_without_queries, without_credentials};

/// A Git repository and what is wanted of it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GitSource {
    /// What `git` is given. May hold credentials: [`redacted`] is for people, [`without_credentials`] for keys.
    pub url: String,
    /// A branch, tag, full name of a reference or commit; what the server's `HEAD` names if there is none.
    pub reference: Option<String>,
    /// A directory of the repository: relative and clean.
    pub subdir: Option<String>,
    /// Whether the result has a directory `.git`.
    pub keep_git_dir: bool,
    /// Whether submodules are fetched too.
    pub submodules: bool,
    /// The first digits, or all, of the commit (or of the tag object) that the reference must name. It decides
    /// whether there is a result, not which, so it is not part of the cache key.
    pub checksum: Option<String>,
    /// Which times the files have.
    pub mtime: GitTime,
    /// Whether the commit of [`Self::checksum`], which is whole then, is fetched even if the reference has moved on.
    pub fetch_by_commit: bool,
}

impl fmt::Debug for GitSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("GitSource")
            .field("url", &redacted(&self.url))
            .field("reference", &self.reference)
            .field("subdir", &self.subdir)
            .field("keep_git_dir", &self.keep_git_dir)
            .field("submodules", &self.submodules)
            .field("checksum", &self.checksum)
            .field("mtime", &self.mtime)
            .field("fetch_by_commit", &self.fetch_by_commit)
            .finish()
    }
}

/// Which modification times the files of a checkout have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum GitTime {
    /// The moment of the checkout.
    #[default]
    Checkout,
    /// The time of the commit.
    Commit,
}

/// Most bytes of a file's name.
const NAME_BYTES_MAX: usize = 255;

/// The name of a fetched file whose address gives none.
pub const UNNAMED: &str = "__unnamed__";

/// Whether `text` is the address of a file to fetch. That of a Git repository is none.
#[must_use]
pub fn is_http(text: &str) -> bool {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    matches!(scheme.as_deref(), Some("http" | "https")) && parse_git(text, AddressPlace::Instruction).is_none()
}

/// Returns the name that the file at `url` gets: the last component of the path, else [`UNNAMED`].
///
/// A name that is none for a file (`..`, control characters, more than 255 bytes) counts as no name.
#[must_use]
pub fn file_name(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let Some((_, path)) = rest.split_once('/') else { return UNNAMED.to_owned() };
    let path = decoded(path).unwrap_or_else(|| path.to_owned());
    match path.split('/').rfind(|component| !component.is_empty()) {
        None | Some("." | "..") => UNNAMED.to_owned(),
        Some(name) if name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) => UNNAMED.to_owned(),
        Some(name) => name.to_owned(),
    }
}

/// Replaces `%41` by `A`; nothing if that is not possible.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}
