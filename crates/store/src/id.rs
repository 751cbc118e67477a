//! Names of things in the store that are not digests.

use std::fmt;

use rustix::rand::{GetRandomFlags, getrandom};
use stave_oci::digest::hex;

use crate::error::StoreError;

/// A layer: one directory `layers/<id>/diff` that never changes once it is published.
///
/// The number is random, or follows one that is, and is written as 16 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LayerId(u64);

impl LayerId {
    pub(crate) fn new(number: u64) -> Self {
        Self(number)
    }

    /// Returns the layer that 16 lower-case hexadecimal digits name, or nothing.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let lower = text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        (text.len() == 16 && lower).then(|| u64::from_str_radix(text, 16).ok().map(Self))?
    }

    /// `SQLite` has signed integers only.
    pub(crate) fn to_row(self) -> i64 {
        self.0.cast_signed()
    }

    pub(crate) fn from_row(row: i64) -> Self {
        Self(row.cast_unsigned())
    }
}

impl fmt::Display for LayerId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

impl fmt::Debug for LayerId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "LayerId({self})")
    }
}

/// A container: 64 lower-case hexadecimal digits, of which users write a prefix.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContainerId(String);

impl ContainerId {
    pub(crate) fn random() -> Result<Self, StoreError> {
        Ok(Self(hex(&random_bytes::<32>()?)))
    }

    pub(crate) fn from_row(text: String) -> Self {
        Self(text)
    }

    /// Returns the 64 digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the 12 digits that Docker shows.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A build in the history: 16 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BuildId(String);

impl BuildId {
    pub(crate) fn random() -> Result<Self, StoreError> {
        Ok(Self(hex(&random_bytes::<8>()?)))
    }

    pub(crate) fn from_row(text: String) -> Self {
        Self(text)
    }

    /// Returns the 16 digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BuildId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Returns bytes that nobody can guess and that are not used twice.
pub(crate) fn random_bytes<const N: usize>() -> Result<[u8; N], StoreError> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        match getrandom(&mut bytes[filled..], GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(StoreError::Random(error.into())),
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_id_survives_its_text_and_its_row() {
        let id = LayerId(0xfedc_ba98_0000_0001);
        assert_eq!(id.to_string(), "fedcba9800000001");
        assert_eq!(LayerId::from_hex("fedcba9800000001"), Some(id));
        assert_eq!(LayerId::from_row(id.to_row()), id);
    }

    #[test]
    fn texts_that_are_no_layer_id_are_refused() {
        for text in ["", "fedcba980000000", "FEDCBA9800000001", "+edcba9800000001", "../../../../etc/x"] {
            assert_eq!(LayerId::from_hex(text), None, "{text}");
        }
    }
}
