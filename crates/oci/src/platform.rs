//! Platforms: `os/architecture/variant`, normalised as the ecosystem does.
//!
//! Reference: OCI image-spec 1.1, `image-index.md`, "platform"; the Go port names of the architectures.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An operating system and a processor.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    /// The processor's architecture in Go's names: `amd64`, `arm64`.
    pub architecture: String,
    /// The operating system in Go's names: `linux`.
    pub os: String,
    /// Version of the operating system; used by Windows only.
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// Variant of the architecture: `v7` of `arm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// A text that names no platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a platform: expected `os/architecture` or `os/architecture/variant`, like `linux/amd64`")]
pub struct PlatformError(pub String);

impl Platform {
    /// Returns the platform that this binary runs on.
    #[must_use]
    pub fn host() -> Self {
        Self::normalised("linux", std::env::consts::ARCH, None)
    }

    fn normalised(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let architecture = architecture.to_ascii_lowercase();
        let (architecture, variant) = match (architecture.as_str(), variant) {
            ("x86_64" | "x86-64" | "amd64", None | Some("v1")) => ("amd64", None),
            ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", variant),
            ("aarch64" | "arm64", None | Some("8" | "v8")) => ("arm64", None),
            ("armhf", _) | ("arm", None | Some("7")) => ("arm", Some("v7")),
            ("armel", _) | ("arm", Some("6")) => ("arm", Some("v6")),
            ("arm", Some("5")) => ("arm", Some("v5")),
            ("i386" | "i686" | "x86" | "386", _) => ("386", None),
            (other, variant) => (other, variant),
        };
        let os = match os.to_ascii_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        Self { architecture: architecture.to_owned(), os, os_version: None, variant: variant.map(str::to_owned) }
    }

    /// Whether an image made for `self` runs on `host` as it is.
    #[must_use]
    pub fn runs_on(&self, host: &Self) -> bool {
        let normal = Self::normalised(&self.os, &self.architecture, self.variant.as_deref());
        normal.os == host.os && normal.architecture == host.architecture && normal.variant == host.variant
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    /// Parses `linux/arm/v7`; `local` is this machine's platform and a single word an architecture of Linux.
    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let allowed = |part: &&str| {
            part.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
        };
        if text == "local" {
            return Ok(Self::host());
        }
        let parts: Vec<&str> = text.split('/').collect();
        if !parts.iter().all(allowed) {
            return Err(PlatformError(text.to_owned()));
        }
        match parts.as_slice() {
            ["linux"] => Ok(Self { os: "linux".to_owned(), ..Self::host() }),
            [architecture] => Ok(Self::normalised("linux", architecture, None)),
            [os, architecture] => Ok(Self::normalised(os, architecture, None)),
            [os, architecture, variant] => Ok(Self::normalised(os, architecture, Some(variant))),
            _ => Err(PlatformError(text.to_owned())),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(formatter, "/{variant}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_one_platform_are_one_value() {
        let parsed = |text: &str| text.parse::<Platform>().map(|platform| platform.to_string());
        assert_eq!(parsed("linux/x86_64").as_deref(), Ok("linux/amd64"));
        assert_eq!(parsed("linux/arm64/v8").as_deref(), Ok("linux/arm64"));
        assert_eq!(parsed("linux/arm").as_deref(), Ok("linux/arm/v7"));
        assert_eq!(parsed("aarch64").as_deref(), Ok("linux/arm64"));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "linux/", "a/b/c/d", "linux/am d64", "../x"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }
}
