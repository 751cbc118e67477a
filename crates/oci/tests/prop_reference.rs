//! Laws of image names: no text makes the parser panic, and what was understood is written so that it is understood
//! the same way again.

use proptest::prelude::*;
use stave_oci::{BlobDigest, Reference};

/// Text that is nearly a name.
fn name_like() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just("/".to_owned()),
        Just(":".to_owned()),
        Just("@".to_owned()),
        Just("localhost".to_owned()),
        Just("docker.io".to_owned()),
        Just("index.docker.io".to_owned()),
        Just("library/".to_owned()),
        Just("[::1]".to_owned()),
        Just("__".to_owned()),
        Just(BlobDigest::of(b"").to_string()),
        "[a-z0-9._-]{0,8}",
        "[A-Z]{0,2}",
        "[0-9]{0,6}",
    ];
    prop::collection::vec(part, 0..8).prop_map(|parts| parts.concat())
}

fn valid() -> impl Strategy<Value = String> {
    // A first component with a dot in it would be a registry.
    let first = "[a-z0-9]{1,6}([_-][a-z0-9]{1,4}){0,2}";
    let component = "[a-z0-9]{1,6}([._-][a-z0-9]{1,4}){0,2}";
    let registry = prop_oneof![
        Just(String::new()),
        Just("localhost/".to_owned()),
        Just("[fe80::1]:5000/".to_owned()),
        Just("127.0.0.1:5000/".to_owned()),
        "[a-z]{1,8}\\.[a-z]{2,3}(:[1-9][0-9]{0,3})?/",
    ];
    let path = (first, prop::collection::vec(component, 0..3))
        .prop_map(|(first, rest)| std::iter::once(first).chain(rest).collect::<Vec<_>>().join("/"));
    let tag = prop_oneof![Just(String::new()), ":[A-Za-z0-9_][A-Za-z0-9._-]{0,10}"];
    let digest = prop_oneof![Just(String::new()), Just(format!("@{}", BlobDigest::of(b"x")))];
    (registry, path, tag, digest).prop_map(|(registry, path, tag, digest)| format!("{registry}{path}{tag}{digest}"))
}

/// What every understood name obeys.
fn check(reference: &Reference) -> Result<(), TestCaseError> {
    let again: Reference = reference
        .to_string()
        .parse()
        .map_err(|error| TestCaseError::fail(format!("`{reference}` is not read back: {error}")))?;
    let mut expected = reference.clone();
    expected.tag = reference.effective_tag().map(str::to_owned);
    prop_assert_eq!(&again, &expected);
    let familiar: Reference = reference
        .familiar_name()
        .parse()
        .map_err(|error| TestCaseError::fail(format!("`{}` is not read back: {error}", reference.familiar_name())))?;
    prop_assert_eq!(familiar.name(), reference.name());
    // Safe in a path and in a URL.
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte);
    prop_assert!(reference.repository.bytes().all(safe), "{}", reference.repository);
    prop_assert!(reference.repository.split('/').all(|part| !part.is_empty() && !part.starts_with('.')));
    Ok(())
}

proptest! {
    #[test]
    fn any_text_is_a_name_or_an_error(text in "\\PC{0,80}") {
        if let Ok(reference) = text.parse::<Reference>() {
            check(&reference)?;
        }
    }

    #[test]
    fn nearly_names_are_names_or_errors(text in name_like()) {
        if let Ok(reference) = text.parse::<Reference>() {
            check(&reference)?;
        }
    }

    #[test]
    fn names_are_read_and_written(text in valid()) {
        let reference: Reference = text.parse().map_err(|error| TestCaseError::fail(format!("{text}: {error}")))?;
        check(&reference)?;
    }
}
