//! Policies and locks as users write them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use proptest::prelude::*;
use stave_oci::{BlobDigest, ImageId};
use stave_policy::{
    FileEntry, GitEntry, ImageEntry, ImagePin, Lock, LockError, Policy, PolicyError, Refusal, Source, evaluate,
};

fn policy(rules: &str) -> Policy {
    Policy::parse("p.json", &format!(r#"{{"rules":[{rules}]}}"#)).unwrap()
}

fn rule(action: &str, identifier: &str, more: &str) -> String {
    format!(r#"{{"action":"{action}","selector":{{"identifier":"{identifier}"{more}}}}}"#)
}

fn convert(identifier: &str, kind: &str, to: &str) -> String {
    format!(
        r#"{{"action":"CONVERT","selector":{{"identifier":"{identifier}","match_type":"{kind}"}},"updates":{{"identifier":"{to}"}}}}"#
    )
}

fn used(policies: &[Policy], identifier: &str) -> Result<String, Refusal> {
    evaluate(policies, &Source::new(identifier)).map(|source| source.identifier)
}

const ALPINE: &str = "docker-image://docker.io/library/alpine:3";

/// E014: of the rules that allow and deny, the last counts.
#[test]
fn the_last_of_the_rules_that_allow_and_deny_counts() {
    let (allow, deny) = (rule("ALLOW", ALPINE, ""), rule("DENY", ALPINE, ""));
    let denied = used(&[policy(&format!("{allow},{deny}"))], ALPINE).unwrap_err();
    assert!(matches!(&denied, Refusal::Denied { rule: 2, .. }), "{denied}");
    assert_eq!(
        denied.to_string(),
        format!("rule 2 of the source policy `p.json` denies `{ALPINE}` (it is about `{ALPINE}`)")
    );
    assert_eq!(used(&[policy(&format!("{deny},{allow}"))], ALPINE).unwrap(), ALPINE);
    let all_but = format!("{},{}", rule("DENY", "*", ""), rule("ALLOW", "docker-image://docker.io/library/*", ""));
    assert_eq!(used(&[policy(&all_but)], ALPINE).unwrap(), ALPINE);
    assert!(used(&[policy(&all_but)], "https://h/x").is_err());
    assert!(used(&[policy(""), policy(&deny)], ALPINE).is_err(), "each policy is asked");
}

/// E013, E015: what a wildcard stands for is used in the update.
#[test]
fn what_a_wildcard_or_a_group_stands_for_is_used_in_the_update() {
    let wildcard =
        convert("docker-image://docker.io/library/golang:*", "WILDCARD", "docker-image://m/golang:${1}-alpine");
    assert_eq!(
        used(&[policy(&wildcard)], "docker-image://docker.io/library/golang:1.19").unwrap(),
        "docker-image://m/golang:1.19-alpine"
    );
    let two = convert("docker-image://*/a:*", "WILDCARD", "docker-image://m/$1/b:$2");
    assert_eq!(used(&[policy(&two)], "docker-image://r/a:1").unwrap(), "docker-image://m/r/b:1");
    let regex = convert("docker\\\\.io/(library/.*)", "REGEX", "m/$1");
    assert_eq!(used(&[policy(&regex)], ALPINE).unwrap(), "docker-image://m/library/alpine:3");
    let exact = convert(ALPINE, "EXACT", "docker-image://m/a");
    assert_eq!(used(&[policy(&exact)], ALPINE).unwrap(), "docker-image://m/a");
    assert_eq!(used(&[policy(&convert("docker-image://*", "EXACT", "x"))], ALPINE).unwrap(), ALPINE);
    let none = convert("docker-image://other:*", "WILDCARD", "x");
    assert_eq!(used(&[policy(&none)], ALPINE).unwrap(), ALPINE);
}

/// E014: after a conversion all is asked again.
#[test]
fn what_a_source_becomes_is_asked_about_again() {
    let rules = format!(
        "{},{}",
        rule("DENY", "docker-image://m/*", ""),
        convert("*library/*", "WILDCARD", "docker-image://m/$2")
    );
    assert!(matches!(used(&[policy(&rules)], ALPINE), Err(Refusal::Denied { rule: 1, .. })));
    // A source that is denied as it is written may still be converted: the denial is that of a whole round.
    let rules = format!("{},{}", rule("DENY", ALPINE, ""), convert(ALPINE, "WILDCARD", "docker-image://m/a"));
    assert_eq!(used(&[policy(&rules)], ALPINE).unwrap(), "docker-image://m/a");
}

/// E014: at most 20 rounds.
#[test]
fn rules_that_convert_without_an_end_are_an_error() {
    let longer = convert("docker-image://a*", "WILDCARD", "docker-image://a${1}x");
    let error = used(&[policy(&longer)], "docker-image://a").unwrap_err();
    assert!(
        matches!(&error, Refusal::Endless { rule: 1, .. }) && error.to_string().contains("more than 20"),
        "{error}"
    );
    let chain = |steps: usize| {
        let rules: Vec<String> =
            (0..steps).map(|n| convert(&format!("s{n}"), "EXACT", &format!("s{}", n + 1))).collect();
        used(&[policy(&rules.join(","))], "s0")
    };
    assert_eq!(chain(20).unwrap(), "s20");
    assert!(chain(21).is_err());
}

/// E015: constraints on attributes.
#[test]
fn a_rule_can_be_about_attributes() {
    let constraint = |key: &str, value: &str, condition: &str| {
        let more = format!(r#","constraints":[{{"key":"{key}","value":"{value}","condition":"{condition}"}}]"#);
        policy(&rule("DENY", "https://*", &more))
    };
    let source = Source::new("https://h/x").with("http.checksum", "sha256:1");
    let denied = |policy| evaluate(&[policy], &source).is_err();
    assert!(denied(constraint("http.checksum", "sha256:1", "EQUAL")));
    assert!(!denied(constraint("http.checksum", "sha256:2", "EQUAL")));
    assert!(denied(constraint("http.checksum", "sha256:2", "NOTEQUAL")));
    assert!(!denied(constraint("http.checksum", "sha256:1", "NOTEQUAL")));
    assert!(denied(constraint("http.checksum", "^sha256:", "MATCHES")));
    assert!(!denied(constraint("none", "x", "MATCHES")));
    assert!(denied(constraint("none", "", "EQUAL")), "what is not there is empty");
}

/// E013: a conversion can add attributes alone.
#[test]
fn attributes_are_added() {
    let rules = r#"{"action":"CONVERT","selector":{"identifier":"https://h/*"},"updates":{"attrs":{"http.checksum":"sha256:1"}}}"#;
    let source = evaluate(&[policy(rules)], &Source::new("https://h/x")).unwrap();
    assert_eq!(source, Source::new("https://h/x").with("http.checksum", "sha256:1"));
}

#[test]
fn what_is_not_known_in_a_policy_is_an_error() {
    let error = |text: &str| Policy::parse("p.json", text).expect_err(text);
    assert!(matches!(error("{"), PolicyError::Json { .. }));
    assert!(matches!(error(r#"{"rulez":[]}"#), PolicyError::Json { .. }));
    assert!(matches!(error(r#"{"version":2}"#), PolicyError::Version { version: 2, .. }));
    assert!(matches!(error(r#"{"rules":[{"action":"MAYBE"}]}"#), PolicyError::Json { .. }));
    for (rule, said) in [
        (r#"{"action":"DENY"}"#, "rule 1 of the source policy `p.json` has no `selector`"),
        (r#"{"action":"CONVERT","selector":{"identifier":"a"}}"#, "converts, and has no `updates`"),
        (r#"{"action":"DENY","selector":{"identifier":"a"},"updates":{}}"#, "does not convert"),
        (r#"{"action":"DENY","selector":{"identifier":"a**"}}"#, "`**`"),
        (r#"{"action":"DENY","selector":{"identifier":"(","match_type":"REGEX"}}"#, "unclosed group"),
    ] {
        let error = error(&format!(r#"{{"rules":[{rule}]}}"#)).to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn a_lock_is_read_as_it_was_written() {
    let mut lock = Lock::default();
    let image = |name: &str, platform: &str| ImageEntry { name: name.into(), platform: platform.into() };
    lock.images.insert(image("docker.io/library/b:1", "linux/amd64"), ImagePin::Manifest(BlobDigest::of(b"b")));
    lock.images.insert(image("docker.io/library/a:1", "linux/arm64"), ImagePin::Local(ImageId::of(b"a")));
    lock.files.insert(FileEntry { url: "https://h/\"x\\\n".into() }, BlobDigest::of(b"x"));
    lock.repositories.insert(GitEntry { url: "https://h/r.git".into(), reference: Some("v1".into()) }, "0a".repeat(20));
    lock.repositories.insert(GitEntry { url: "https://h/r.git".into(), reference: None }, "0b".repeat(20));
    let text = lock.to_string();
    assert_eq!(Lock::parse(&text).unwrap(), lock);
    assert!(text.find("/a:1").unwrap() < text.find("/b:1").unwrap(), "{text}");
}

#[test]
fn what_is_not_known_in_a_lock_is_an_error() {
    let error = |text: &str| Lock::parse(text).expect_err(text);
    assert!(matches!(error(""), LockError::Toml(_)));
    assert!(matches!(error("version = 2"), LockError::Version(2)));
    assert!(matches!(error("version = 1\nmore = 1"), LockError::Toml(_)));
    let file = "[[file]]\nurl = \"u\"\ndigest = \"sha256:1\"\n";
    assert!(error(&format!("version = 1\n{file}")).to_string().contains("`u`"));
    let git = format!("[[git]]\nurl = \"u\"\ncommit = \"{}\"\n", "0".repeat(40));
    assert!(matches!(error(&format!("version = 1\n{git}{git}")), LockError::Twice(_)));
    assert!(matches!(error("version = 1\n[[image]]\nname=\"a\"\nplatform=\"p\"\n"), LockError::Value { .. }));
}

proptest! {
    /// Whatever a policy says, an evaluation ends.
    #[test]
    fn every_evaluation_ends(
        rules in prop::collection::vec(("[ab*]{1,3}", "[ab$1{}]{0,4}", any::<bool>()), 1..5),
        identifier in "[ab]{0,4}",
    ) {
        let rules: Vec<String> = rules
            .iter()
            .map(|(from, to, is_conversion)| {
                let from = from.replace("**", "*");
                if *is_conversion { convert(&from, "WILDCARD", to) } else { rule("ALLOW", &from, "") }
            })
            .collect();
        if let Ok(policy) = Policy::parse("p", &format!(r#"{{"rules":[{}]}}"#, rules.join(","))) {
            let _ended = used(&[policy], &identifier);
        }
    }

    /// No text makes a reader panic.
    #[test]
    fn no_text_does_harm(text in "[^{}]{0,80}") {
        prop_assert!(Policy::parse("p", &text).is_err(), "a policy has quotes, and more letters");
        prop_assert!(Lock::parse(&text).is_err());
    }
}
