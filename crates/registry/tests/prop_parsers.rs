//! Laws of the parsers that read what registries say: they never panic, and they never read more into it than it says.

use proptest::prelude::*;
use stave_http::Url;
use stave_registry::challenge::{self, Challenge};
use stave_registry::range;

/// Text that is nearly a challenge.
fn challenge_like() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just("Bearer ".to_owned()),
        Just("Basic".to_owned()),
        Just("realm=".to_owned()),
        Just(",".to_owned()),
        Just("\"".to_owned()),
        Just("\\".to_owned()),
        Just("==".to_owned()),
        "[ -~]{0,12}",
    ];
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn any_bytes_are_a_challenge_or_an_error(values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..4)) {
        drop(challenge::parse(values.iter().map(Vec::as_slice)));
    }

    #[test]
    fn nearly_challenges_are_challenges_or_errors(text in challenge_like()) {
        if let Ok(Challenge::Bearer { realm, .. }) = challenge::parse([text.as_bytes()]) {
            prop_assert!(!realm.is_empty());
            // Whatever is read stands in the text, but for the backslashes.
            prop_assert!(text.replace('\\', "").contains(&realm.replace('\\', "")));
        }
    }

    #[test]
    fn a_written_challenge_is_read_back(realm in "[ -~]{1,40}", service in "[ -~]{0,20}", scope in "[ -~]{0,40}") {
        let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
        let text = format!("Bearer realm={},service={}, scope={}", quoted(&realm), quoted(&service), quoted(&scope));
        prop_assert_eq!(challenge::parse([text.as_bytes()]), Ok(Challenge::Bearer { realm, service, scope }));
    }

    #[test]
    fn any_text_is_a_range_or_none(text in "\\PC{0,40}") {
        prop_assert!(range::parse(&text).is_none_or(|range| range.first <= range.last));
    }

    #[test]
    fn a_range_is_consistent(first in any::<u64>(), last in any::<u64>(), total in prop::option::of(any::<u64>())) {
        let whole = total.map_or("*".to_owned(), |total| total.to_string());
        let parsed = range::parse(&format!("bytes {first}-{last}/{whole}"));
        let consistent = first <= last && total.is_none_or(|total| last < total);
        prop_assert_eq!(parsed.is_some(), consistent);
        if let Some(parsed) = parsed {
            prop_assert_eq!((parsed.first, parsed.last, parsed.total), (first, last, total));
        }
    }

    #[test]
    fn any_location_is_an_address_or_an_error(location in "\\PC{0,60}") {
        let base: Url = "https://a.example/v2/x?y=z".parse().expect("the base is valid");
        if let Ok(url) = base.join(&location) {
            // What is printed is an address again, at the same place.
            let again: Url = url.to_string().parse().expect("an address is printed");
            prop_assert_eq!(again.origin(), url.origin());
        }
    }

    #[test]
    fn a_relative_location_never_leaves_its_host(path in "[a-z0-9./?=&_-]{0,40}") {
        let base: Url = "https://a.example:5000/v2/x/y".parse().expect("the base is valid");
        let away = path.starts_with("//");
        if let Ok(url) = base.join(&path) && !away {
            prop_assert_eq!(url.origin(), base.origin());
        }
    }
}
