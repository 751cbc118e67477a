//! Any ignore file and any pattern is read, and what it says about a directory holds for what is in it.
//!
//! Run with `cargo +nightly fuzz run ignore_file`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stave_pattern::{IgnoreFile, Wildcard, clean, literal};

fuzz_target!(|input: (&[u8], &str, &str)| {
    let (text, dir, name) = input;
    if let Ok(wildcard) = Wildcard::parse(dir) {
        assert!(!wildcard.is_literal() || wildcard.matches(dir.as_bytes()));
    }
    assert!(Wildcard::parse(&literal(dir)).is_ok_and(|wildcard| wildcard.matches(dir.as_bytes())));
    let Ok(file) = IgnoreFile::parse(text) else { return };
    let dir = clean(dir.as_bytes());
    let path = clean(&[&dir, b"/".as_slice(), name.as_bytes()].concat());
    let is_below = path.starts_with(&[&dir, b"/".as_slice()].concat());
    assert!(!file.ignored(&path) || file.matched_line(&path).is_some());
    if is_below && file.ignored(&dir) && !file.may_reinclude_below(&dir) {
        assert!(file.ignored(&path));
    }
});
