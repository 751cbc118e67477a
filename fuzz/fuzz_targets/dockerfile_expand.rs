//! Any word is expanded, within its limits, and every mistake in it points into it.
//!
//! Run with `cargo +nightly fuzz run dockerfile_expand -- -dict=dockerfile.dict`. The first byte chooses the escape character.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stave_dockerfile::Text;
use stave_dockerfile::expand::{EXPANDED_BYTES_MAX, expand, expand_words};

fuzz_target!(|input: (bool, &str)| {
    let (backtick, text) = input;
    let escape = if backtick { '`' } else { '\\' };
    let lookup = |name: &str| match name {
        "a" => Some("some value/with*all?kinds of characters".to_owned()),
        "b" => Some(String::new()),
        _ => None,
    };
    let word = Text::verbatim(text, 0);
    match expand(&word, escape, &lookup) {
        Ok(expanded) => {
            assert!(expanded.text.len() <= EXPANDED_BYTES_MAX);
            for found in &expanded.undefined {
                assert_eq!(text.get(found.span.range()), Some(found.name.as_str()));
            }
            assert!(expand_words(&word, escape, &lookup).is_ok());
        }
        Err(error) => assert!(text.get(error.span().range()).is_some(), "{error:?}"),
    }
});
