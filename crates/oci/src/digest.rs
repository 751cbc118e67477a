//! Digests, one type per thing that is digested.
//!
//! All are SHA-256 and print as `sha256:` and 64 lower-case hexadecimal digits. They are parsed strictly, so that
//! a digest from outside can be used in a path or a URL once it is a value of these types.
//!
//! Reference: OCI image-spec 1.1, `descriptor.md`, "Digests".

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::digest::common::hazmat::{SerializableState, SerializedState};
use sha2::{Digest as _, Sha256};

/// What is wrong with a text that should be a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// Neither `sha256:` nor any other algorithm that stave knows stands before the colon.
    #[error("digest `{0}` does not start with `sha256:`, the only algorithm that is supported")]
    Algorithm(String),
    /// The encoded part is not 64 lower-case hexadecimal digits.
    #[error("digest `{0}` is not `sha256:` and 64 lower-case hexadecimal digits")]
    Encoding(String),
}

fn parse(text: &str) -> Result<[u8; 32], DigestError> {
    let shown = || text.chars().take(100).collect::<String>();
    let hex = text.strip_prefix("sha256:").ok_or_else(|| DigestError::Algorithm(shown()))?;
    from_hex(hex).ok_or_else(|| DigestError::Encoding(shown()))
}

fn from_hex(hex: &str) -> Option<[u8; 32]> {
    let nibble = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let digits: &[u8; 64] = hex.as_bytes().try_into().ok()?;
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(bytes)
}

/// Returns the lower-case hexadecimal digits of `bytes`.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// Computes a SHA-256 over bytes that come in pieces; [`Hasher::finish`] says of what it is the digest.
#[derive(Clone, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Returns a hasher that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `bytes` to what is digested.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns what [`Hasher::resume`] goes on from: the same as having added everything that was added here.
    #[must_use]
    pub fn state(&self) -> Vec<u8> {
        self.0.serialize().to_vec()
    }

    /// Returns a hasher that goes on from a state, or nothing if the bytes are not one.
    #[must_use]
    pub fn resume(state: &[u8]) -> Option<Self> {
        let state = SerializedState::<Sha256>::try_from(state).ok()?;
        Sha256::deserialize(&state).ok().map(Self)
    }

    /// Returns the digest of everything added, as the kind of digest that the caller asks for.
    #[must_use]
    pub fn finish<D: From<[u8; 32]>>(self) -> D {
        D::from(<[u8; 32]>::from(self.0.finalize()))
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Hasher")
    }
}

macro_rules! digest_type {
    ($(#[$docs:meta])* $name:ident) => {
        $(#[$docs])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Returns the digest of `bytes`.
            #[must_use]
            pub fn of(bytes: &[u8]) -> Self {
                Self(Sha256::digest(bytes).into())
            }

            /// Returns the 32 bytes of the digest.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// Returns the 64 hexadecimal digits, without the algorithm.
            #[must_use]
            pub fn hex(&self) -> String {
                hex(&self.0)
            }

            /// Returns the digest that 64 lower-case hexadecimal digits name, or nothing.
            #[must_use]
            pub fn from_hex(hex: &str) -> Option<Self> {
                from_hex(hex).map(Self)
            }
        }

        impl From<[u8; 32]> for $name {
            fn from(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }
        }

        impl FromStr for $name {
            type Err = DigestError;

            fn from_str(text: &str) -> Result<Self, DigestError> {
                parse(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "sha256:{}", self.hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, concat!(stringify!($name), "({})"), &self.hex()[..12])
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

digest_type! {
    /// Digest of a layer's **uncompressed** tar. Survives recompression.
    ///
    /// Reference: OCI image-spec 1.1, `config.md`, "Layer DiffID".
    DiffId
}
digest_type! {
    /// Digest of a blob's bytes **as stored and transferred**, usually compressed.
    ///
    /// Reference: OCI image-spec 1.1, `descriptor.md`.
    BlobDigest
}
digest_type! {
    /// Digest of an image's configuration: what `docker images` calls IMAGE ID.
    ///
    /// Reference: OCI image-spec 1.1, `config.md`, "ImageID".
    ImageId
}
digest_type! {
    /// Identity of the content of a tree of files: names, types, modes, owners, extended attributes, link targets
    /// and bytes, but no times. `docs/cache-key.md` gives the byte layout.
    TreeDigest
}

impl From<ImageId> for BlobDigest {
    /// The configuration is itself a blob, and its digest is the image's id.
    fn from(id: ImageId) -> Self {
        Self(id.0)
    }
}

impl From<BlobDigest> for ImageId {
    /// Valid for the digest in a manifest's `config` descriptor and for nothing else.
    fn from(digest: BlobDigest) -> Self {
        Self(digest.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_of_nothing_is_the_published_one() {
        let expected = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(BlobDigest::of(b"").to_string(), expected);
        assert_eq!(expected.parse(), Ok(BlobDigest::of(b"")));
        assert_eq!(Hasher::new().finish::<DiffId>().to_string(), expected);
    }

    #[test]
    fn a_hasher_goes_on_from_where_another_was() {
        let bytes: Vec<u8> = (0..=255).cycle().take(1000).collect();
        for split in [0, 1, 63, 64, 65, 512, 1000] {
            let mut first = Hasher::new();
            first.update(&bytes[..split]);
            let mut second = Hasher::resume(&first.state()).expect("it is a state");
            second.update(&bytes[split..]);
            assert_eq!(second.finish::<DiffId>(), DiffId::of(&bytes), "{split}");
        }
        assert!(Hasher::resume(b"").is_none() && Hasher::resume(&[0; 40]).is_none());
    }

    #[test]
    fn digests_that_could_escape_a_path_are_refused() {
        let upper = format!("sha256:{}", "A".repeat(64));
        let long = format!("sha256:{}", "a".repeat(65));
        for text in ["sha256:../../etc/x", "x", "", "sha512:00", "sha256:", &upper, &long] {
            assert!(text.parse::<BlobDigest>().is_err(), "{text}");
        }
    }
}
