//! Reads the crates of a program that was built with `cargo auditable`.
//!
//! Reference: `cargo-auditable`, "PARSING.md": the section `.dep-v0` holds JSON, compressed with zlib.

use std::io::Read as _;

use flate2::read::ZlibDecoder;
use serde_json::Value;

use crate::limits::BUILD_LIST_BYTES_MAX;
use crate::package::{Ecosystem, Package};

/// Calls `found` for each crate that is in the program; says nothing if the section is not what it should be.
pub(crate) fn read(section: &[u8], mut found: impl FnMut(Package)) -> Option<()> {
    let mut text = Vec::new();
    ZlibDecoder::new(section).take(BUILD_LIST_BYTES_MAX + 1).read_to_end(&mut text).ok()?;
    if text.len() as u64 > BUILD_LIST_BYTES_MAX {
        return None;
    }
    let value: Value = serde_json::from_slice(&text).ok()?;
    for package in value.get("packages")?.as_array()? {
        // A crate that only built others is not in the program.
        if package.get("kind").and_then(Value::as_str) == Some("build") {
            continue;
        }
        let text = |key: &str| package.get(key).and_then(Value::as_str).unwrap_or_default();
        found(Package::new(Ecosystem::Cargo, text("name"), text("version")));
    }
    Some(())
}
