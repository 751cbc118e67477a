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

/// Operating systems and processors that one word alone may mean, in Go's names.
///
/// Reference: containerd, `platforms/database.go`.
const SYSTEMS: &[&str] = &[
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "hurd",
    "illumos",
    "ios",
    "js",
    "linux",
    "nacl",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "windows",
    "zos",
];
const PROCESSORS: &[&str] = &[
    "386",
    "amd64",
    "amd64p32",
    "arm",
    "armbe",
    "arm64",
    "arm64be",
    "loong64",
    "mips",
    "mipsle",
    "mips64",
    "mips64le",
    "mips64p32",
    "mips64p32le",
    "ppc",
    "ppc64",
    "ppc64le",
    "riscv",
    "riscv64",
    "s390",
    "s390x",
    "sparc",
    "sparc64",
    "wasm",
];

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

    /// Returns the processor, if it is none that is known, and all that are.
    #[must_use]
    pub fn unknown_processor(&self) -> Option<(&str, &'static [&'static str])> {
        (!PROCESSORS.contains(&self.architecture.as_str())).then_some((&self.architecture, PROCESSORS))
    }

    /// Returns what one word means.
    fn of_word(word: &str) -> Option<Self> {
        let host = Self::host();
        let system = Self::normalised(word, &host.architecture, host.variant.as_deref());
        if SYSTEMS.contains(&&*system.os) {
            return Some(system);
        }
        let processor = Self::normalised("linux", word, None);
        PROCESSORS.contains(&&*processor.architecture).then_some(processor)
    }

    /// Returns the platform as its parts are written in one way only: `linux/arm64` for `linux/arm64/v8`.
    #[must_use]
    pub fn normal(&self) -> Self {
        let normal = Self::normalised(&self.os, &self.architecture, self.variant.as_deref());
        Self { os_version: self.os_version.clone(), ..normal }
    }

    /// Whether an image made for `self` runs on `host` as it is: a processor runs what was made for those before it.
    #[must_use]
    pub fn runs_on(&self, host: &Self) -> bool {
        self.fitness(host).is_some()
    }

    /// Returns the best of `offered` for `self`: what was made for it, or for the latest of those before it.
    ///
    /// Reference: containerd's `platforms.OnlyStrict`.
    pub fn best_of<T>(&self, offered: impl IntoIterator<Item = (Self, T)>) -> Option<T> {
        let mut best: Option<(u8, T)> = None;
        for (platform, value) in offered {
            let Some(fitness) = platform.fitness(self) else { continue };
            // Of equal ones the first.
            if best.as_ref().is_none_or(|(known, _)| *known < fitness) {
                best = Some((fitness, value));
            }
        }
        best.map(|(_, value)| value)
    }

    /// Returns how well what was made for `self` uses `host`, if it runs there.
    fn fitness(&self, host: &Self) -> Option<u8> {
        let (normal, host) = (self.normal(), host.normal());
        let same_os = normal.os == host.os
            && (self.os_version.is_none() || host.os_version.is_none() || self.os_version == host.os_version);
        if !same_os || normal.architecture != host.architecture {
            return None;
        }
        if normal.variant == host.variant {
            return Some(u8::MAX);
        }
        let level = |platform: &Self| match (platform.architecture.as_str(), platform.variant.as_deref()) {
            ("amd64", None) => Some(1),
            ("arm64", None) => Some(8),
            ("amd64" | "arm" | "arm64", Some(variant)) => variant.strip_prefix('v')?.parse::<u8>().ok(),
            _ => None,
        };
        let (own, most) = (level(&normal)?, level(&host)?);
        (own < most).then_some(own)
    }

    /// Takes the version of an operating system out of `windows(10.0.17763)`.
    fn os_and_version(os: &str) -> (&str, Option<&str>) {
        match os.strip_suffix(')').and_then(|os| os.split_once('(')) {
            Some((os, version)) => (os, Some(version).filter(|version| !version.is_empty())),
            None => (os, None),
        }
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    /// Parses `linux/arm/v7`; `local` is this machine's platform, and a single word a known operating system on this
    /// machine's processor or a known architecture of Linux.
    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let allowed = |part: &&str| {
            part.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
        };
        if text == "local" {
            return Ok(Self::host());
        }
        let (first, rest) = text.split_once('/').map_or((text, None), |(first, rest)| (first, Some(rest)));
        let (first, os_version) = if rest.is_some() { Self::os_and_version(first) } else { (first, None) };
        if os_version.is_some_and(|version| !allowed(&version)) {
            return Err(PlatformError(text.to_owned()));
        }
        let parts: Vec<&str> =
            std::iter::once(first).chain(rest.into_iter().flat_map(|rest| rest.split('/'))).collect();
        if !parts.iter().all(allowed) {
            return Err(PlatformError(text.to_owned()));
        }
        let platform = match parts.as_slice() {
            [word] => Self::of_word(word).ok_or_else(|| PlatformError(text.to_owned())),
            [os, architecture] => Ok(Self::normalised(os, architecture, None)),
            [os, architecture, variant] => Ok(Self::normalised(os, architecture, Some(variant))),
            _ => Err(PlatformError(text.to_owned())),
        }?;
        Ok(Self { os_version: os_version.map(str::to_owned), ..platform })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.os)?;
        self.os_version.as_ref().map_or(Ok(()), |version| write!(formatter, "({version})"))?;
        write!(formatter, "/{}", self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(formatter, "/{variant}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().expect(text)
    }

    /// H002
    #[test]
    fn platforms_are_normalised_and_keep_what_tells_them_apart() {
        let parsed = |text: &str| platform(text).to_string();
        for (text, expected) in [
            ("linux/amd64/v2", "linux/amd64/v2"),
            ("linux/amd64/v1", "linux/amd64"),
            ("x86_64", "linux/amd64"),
            ("linux/aarch64", "linux/arm64"),
            ("arm64", "linux/arm64"),
            ("armhf", "linux/arm/v7"),
            ("linux/arm/v6", "linux/arm/v6"),
            ("i386", "linux/386"),
            ("windows(10.0.17763)/amd64", "windows(10.0.17763)/amd64"),
            ("windows(10.0.17763)/x86_64/v1", "windows(10.0.17763)/amd64"),
        ] {
            assert_eq!(parsed(text), expected, "{text}");
        }
        assert_eq!(platform("windows(10.0.17763)/amd64").os_version.as_deref(), Some("10.0.17763"));
        for text in ["windows(10.0/amd64", "windows()/amd64/", "windows(a b)/amd64", "(1)/amd64"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_processor_runs_what_was_made_for_those_before_it_and_the_latest_is_chosen() {
        for (made_for, host, runs) in [
            ("linux/amd64", "linux/amd64/v3", true),
            ("linux/amd64/v3", "linux/amd64/v2", false),
            ("linux/arm/v6", "linux/arm/v7", true),
            ("linux/arm/v7", "linux/arm/v6", false),
            ("linux/arm/v7", "linux/arm64", false),
            ("linux/amd64", "linux/arm64", false),
            ("windows(1)/amd64", "windows(2)/amd64", false),
            ("windows/amd64", "windows(2)/amd64", true),
        ] {
            assert_eq!(platform(made_for).runs_on(&platform(host)), runs, "{made_for} on {host}");
        }
        let offered = ["linux/arm64", "linux/amd64", "linux/amd64/v2", "linux/amd64/v4"];
        let best = |wanted: &str| platform(wanted).best_of(offered.map(|text| (platform(text), text)));
        assert_eq!(best("linux/amd64/v3"), Some("linux/amd64/v2"));
        assert_eq!(best("linux/amd64"), Some("linux/amd64"));
        assert_eq!(best("linux/arm64/v9"), Some("linux/arm64"));
        assert_eq!(best("linux/s390x"), None);
    }

    #[test]
    fn names_of_one_platform_are_one_value() {
        let parsed = |text: &str| text.parse::<Platform>().map(|platform| platform.to_string());
        assert_eq!(parsed("linux/x86_64").as_deref(), Ok("linux/amd64"));
        assert_eq!(parsed("linux/arm64/v8").as_deref(), Ok("linux/arm64"));
        assert_eq!(parsed("linux/arm").as_deref(), Ok("linux/arm/v7"));
        assert_eq!(parsed("aarch64").as_deref(), Ok("linux/arm64"));
        let processor = Platform::host().architecture;
        assert_eq!(parsed("darwin"), Ok(format!("darwin/{processor}")));
        assert_eq!(parsed("macos"), Ok(format!("darwin/{processor}")));
        assert_eq!(parsed("linux"), Ok(Platform::host().to_string()));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "linux/", "a/b/c/d", "linux/am d64", "../x", "amr64", "foo", "v7"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
        assert_eq!(
            "amr64".parse::<Platform>().map_err(|error| error.to_string()),
            Err("`amr64` is not a platform: expected `os/architecture` or `os/architecture/variant`, like `linux/amd64`"
                .to_owned())
        );
    }
}
