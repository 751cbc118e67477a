//! Any text is an address or none, and what is accepted cannot be taken for an option or lead out of a repository.
//!
//! Run with `cargo +nightly fuzz run git_address`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stave_graph::remote::{AddressPlace, file_name, is_http, parse_git, redacted, without_credentials};

fuzz_target!(|text: &str| {
    let _shown = (is_http(text), redacted(text), without_credentials(text));
    let name = file_name(text);
    assert!(!name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0']));
    for place in [AddressPlace::Context, AddressPlace::Instruction] {
        let Some(Ok(address)) = parse_git(text, place) else { continue };
        let source = address.into_source();
        assert!(!source.url.starts_with('-') && !source.url.contains(char::is_whitespace));
        let reference = source.reference.unwrap_or_else(|| "HEAD".to_owned());
        assert!(!reference.starts_with(['-', '+', '^']) && !reference.contains([':', '*', ' ', '\n']));
        let subdir = source.subdir.unwrap_or_else(|| "x".to_owned());
        assert!(subdir.split('/').all(|part| !matches!(part, "" | "." | ".." | ".git")));
    }
});
