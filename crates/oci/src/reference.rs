//! Image references: `registry/repository:tag@digest`, with Docker's short names made long.
//!
//! Reference: the grammar of `distribution/reference`; the OCI distribution-spec 1.1, "Pulling manifests".

use std::fmt;
use std::str::FromStr;

use crate::digest::BlobDigest;

/// The registry that a name without one means.
pub const DEFAULT_REGISTRY: &str = "docker.io";

/// A normalised image reference. Without a tag and a digest it means the tag `latest`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    /// Host and port: `docker.io`, `127.0.0.1:5000`.
    pub registry: String,
    /// Path of the repository: `library/alpine`.
    pub repository: String,
    /// The tag, if one was written.
    pub tag: Option<String>,
    /// The digest of the manifest, if one was written.
    pub digest: Option<BlobDigest>,
}

/// Why a text is no image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Nothing was written.
    #[error("image name is empty")]
    Empty,
    /// Upper-case letters are allowed in registries and tags only.
    #[error("image name `{0}` has upper-case letters: repository names are lower-case")]
    UpperCase(String),
    /// Some part breaks the grammar.
    #[error("`{text}` is not an image name: its {part} is not valid{}", expected(part))]
    Invalid {
        /// What was written.
        text: String,
        /// Which part is wrong: `registry`, `repository`, `tag` or `digest`.
        part: &'static str,
    },
    /// Who reads it takes it for an image's id.
    #[error("`{0}` cannot be given to an image as a name: it reads as an id")]
    Id(String),
    /// Longer than 255 characters.
    #[error("image name has {0} characters, and at most 255 are allowed")]
    TooLong(usize),
}

/// What a part of a name has to be, where a mistake in it is no misprint.
fn expected(part: &str) -> &'static str {
    match part {
        "tag" => ": expected up to 128 letters, digits, `_`, `.` and `-`",
        "repository" => ": expected `[REGISTRY/]NAME[:TAG]`, of lower-case letters, digits, `.`, `_`, `-` and `/`",
        _ => "",
    }
}

impl Reference {
    /// Parses a name that an image is to be given: what [`from_str`](str::parse) takes, without names that an id would
    /// be mistaken for, 64 hexadecimal digits and `sha256` with any tag.
    ///
    /// Reference: distribution's `reference.ParseNormalizedNamed`; Docker's daemon for `sha256`.
    pub fn of_new_name(text: &str) -> Result<Self, ReferenceError> {
        let reference: Self = text.parse()?;
        let hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if reference.familiar_name() == "sha256" || text.len() == 64 && text.bytes().all(hexadecimal) {
            return Err(ReferenceError::Id(text.to_owned()));
        }
        Ok(reference)
    }

    /// Returns the tag that this reference means: the one written, or `latest` if there is no digest either.
    #[must_use]
    pub fn effective_tag(&self) -> Option<&str> {
        match (&self.tag, self.digest) {
            (Some(tag), _) => Some(tag),
            (None, None) => Some("latest"),
            (None, Some(_)) => None,
        }
    }

    /// Returns the repository with its registry, without tag and digest, in full: `docker.io/library/alpine`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// Returns the repository as Docker prints it: `alpine`, `avmaksimov/href-counter`, `127.0.0.1:5000/x`.
    #[must_use]
    pub fn familiar_name(&self) -> String {
        if self.registry != DEFAULT_REGISTRY {
            return self.name();
        }
        match self.repository.strip_prefix("library/") {
            Some(short) if !short.contains('/') => short.to_owned(),
            // Alone, it would be read as a registry and a repository.
            _ if self.repository.split_once('/').is_some_and(|(first, _)| is_host_like(first)) => self.name(),
            _ => self.repository.clone(),
        }
    }
}

impl fmt::Display for Reference {
    /// The full form: `docker.io/library/alpine:latest`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name())?;
        if let Some(tag) = self.effective_tag() {
            write!(formatter, ":{tag}")?;
        }
        self.digest.map_or(Ok(()), |digest| write!(formatter, "@{digest}"))
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let invalid = |part| ReferenceError::Invalid { text: text.chars().take(300).collect(), part };
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse().map_err(|_| invalid("digest"))?)),
            None => (text, None),
        };
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(invalid("tag"));
        }
        let (registry, path) = match name.split_once('/') {
            Some((host, path)) if is_host_like(host) => (host, path),
            _ => (DEFAULT_REGISTRY, name),
        };
        let registry = if registry == "index.docker.io" { DEFAULT_REGISTRY } else { registry };
        if !is_registry(registry) {
            return Err(invalid("registry"));
        }
        if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(ReferenceError::UpperCase(path.chars().take(300).collect()));
        }
        if path.is_empty() || !path.split('/').all(is_component) {
            return Err(invalid("repository"));
        }
        let repository = if registry == DEFAULT_REGISTRY && !path.contains('/') {
            format!("library/{path}")
        } else {
            path.to_owned()
        };
        if registry.len() + repository.len() > 254 {
            return Err(ReferenceError::TooLong(registry.len() + 1 + repository.len()));
        }
        Ok(Self { registry: registry.to_owned(), repository, tag: tag.map(str::to_owned), digest })
    }
}

/// Whether the first component of a name is a registry rather than a part of the repository.
fn is_host_like(text: &str) -> bool {
    text == "localhost" || text.contains(['.', ':']) || text.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(bracketed) => match bracketed.split_once(']') {
            Some((address, rest)) if address.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':') => {
                ("ipv6", rest.strip_prefix(':').or(if rest.is_empty() { None } else { Some("bad") }))
            }
            _ => return false,
        },
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    port.is_none_or(|port| port.parse::<u16>().is_ok()) && host.split('.').all(is_label)
}

fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= 128
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

/// Lower-case letters and digits, joined by `.`, `_`, `__` or any number of `-`.
fn is_component(text: &str) -> bool {
    let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.first().is_some_and(alphanumeric)
        && bytes.last().is_some_and(alphanumeric)
        && bytes.split(alphanumeric).all(|separator| {
            matches!(separator, [] | b"." | b"_" | b"__") || separator.iter().all(|&byte| byte == b'-')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(text: &str) -> String {
        text.parse::<Reference>().map_or_else(|error| format!("error: {error}"), |reference| reference.to_string())
    }

    #[test]
    fn short_names_are_made_long() {
        assert_eq!(full("alpine"), "docker.io/library/alpine:latest");
        assert_eq!(full("golang:1.7.3"), "docker.io/library/golang:1.7.3");
        assert_eq!(full("avmaksimov/href-counter"), "docker.io/avmaksimov/href-counter:latest");
        assert_eq!(full("index.docker.io/library/x"), "docker.io/library/x:latest");
        assert_eq!(full("localhost/x"), "localhost/x:latest");
        assert_eq!(full("127.0.0.1:5000/a/b:c"), "127.0.0.1:5000/a/b:c");
        assert_eq!(full("[::1]:5000/a"), "[::1]:5000/a:latest");
    }

    #[test]
    fn a_digest_stands_in_for_the_tag() {
        let digest = BlobDigest::of(b"");
        assert_eq!(full(&format!("a@{digest}")), format!("docker.io/library/a@{digest}"));
        assert_eq!(full(&format!("a:1@{digest}")), format!("docker.io/library/a:1@{digest}"));
    }

    #[test]
    fn familiar_names_are_short_again() {
        for name in ["alpine", "avmaksimov/href-counter", "127.0.0.1:5000/x", "localhost/library/x"] {
            let reference: Reference = name.parse().expect("the name is valid");
            assert_eq!(reference.familiar_name(), name);
        }
    }

    #[test]
    fn names_that_shadow_ids_are_not_given() {
        let digits = "0123456789abcdef".repeat(4);
        for text in [&digits, "sha256", "sha256:0123456789ab", "docker.io/library/sha256:x"] {
            let error = Reference::of_new_name(text).expect_err(text).to_string();
            assert_eq!(error, format!("`{text}` cannot be given to an image as a name: it reads as an id"));
        }
        for text in [&format!("{digits}:1"), &digits[..12], "me/sha256:1", "sha256sum", &digits.replace('a', "g")] {
            assert!(Reference::of_new_name(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn bad_names_say_what_is_wrong() {
        assert_eq!(full(""), "error: image name is empty");
        assert!(full("library/Alpine").contains("upper-case"));
        for text in ["a//b", "-a", "a:", "a:b:c", "a@x", "a..b", "../x", "a b", "x.y:port/a", "a:-b", "/a"] {
            assert!(full(text).starts_with("error: "), "{text}: {}", full(text));
        }
        assert!(full(&"a".repeat(300)).contains("at most 255"));
    }
}
