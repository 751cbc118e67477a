//! Any text is the address of a file or none; what is accepted leads to one host, whatever a server answers, and what is shown
//! of it has no credentials.
//!
//! Run with `cargo +nightly fuzz run http_address`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stave_graph::remote::{file_name, is_http, masked_text, redacted, redacted_text, without_credentials};
use stave_http::{Origin, Scheme, Url, UrlError};

/// Redirections that are followed.
const LOCATIONS: usize = 4;

fuzz_target!(|input: (&str, &str)| {
    let (text, location) = input;
    let _http = is_http(text);
    let name = file_name(text);
    assert!(!name.is_empty() && name != "." && name != ".." && name.len() <= 255);
    assert!(!name.contains('/') && !name.chars().any(char::is_control));
    let plain = without_credentials(text);
    assert!(plain.len() <= text.len());
    assert_eq!(masked_text(text).len(), text.len(), "what stands at an offset stands there still");
    let _shown = (redacted(text), redacted_text(text));
    for scheme in [Scheme::Http, Scheme::Https] {
        if let Ok(origin) = Origin::of_authority(scheme, text) {
            assert!(!origin.host.is_empty() && !origin.host.contains(['@', '/', '?', '#', ' ']));
            assert_eq!(Origin::of_authority(scheme, &origin.authority()).as_ref(), Ok(&origin));
        }
    }
    let Ok(mut url) = text.parse::<Url>() else { return };
    for _ in 0..LOCATIONS {
        let full = url.full();
        assert!(full.is_ascii() && !full.contains([' ', '\r', '\n', '#']), "{full:?}");
        assert!(url.path().starts_with('/'));
        match full.parse::<Url>() {
            Ok(again) => assert_eq!(again.full(), full),
            Err(error) => assert!(matches!(error, UrlError::TooLong(_)), "{full:?}: {error}"),
        }
        let Ok(next) = url.join(location) else { return };
        url = next;
    }
});
