//! Addresses of Git repositories and of files: what is accepted, what is refused and why, and what no text can do.

use proptest::prelude::*;
use stave_graph::remote::{
    AddressPlace, GitAddressError, UNNAMED, file_name, is_http, parse_git, redacted, redacted_text, without_credentials,
};
use stave_graph::{GitSource, GitTime};

fn parsed(text: &str) -> GitSource {
    let address = parse_git(text, AddressPlace::Context).expect("it is a Git address");
    address.unwrap_or_else(|error| panic!("{text}: {error}")).into_source()
}

fn refused(text: &str) -> String {
    let address = parse_git(text, AddressPlace::Context).expect("it is a Git address");
    address.expect_err(text).to_string()
}

#[test]
fn every_form_of_address_is_understood() {
    for (text, url) in [
        ("https://example.com/foo.git", "https://example.com/foo.git"),
        ("HTTP://example.com/foo.git", "http://example.com/foo.git"),
        ("https://foo:bar@example.com/a/b.git", "https://foo:bar@example.com/a/b.git"),
        ("git://example.com:1234/foo", "git://example.com:1234/foo"),
        ("ssh://git@[::1]:22/~/foo", "ssh://git@[::1]:22/~/foo"),
        ("git@example.com:a/b", "git@example.com:a/b"),
        ("other-user@example.com:/srv/b.git", "other-user@example.com:/srv/b.git"),
        ("github.com/a/b", "https://github.com/a/b"),
    ] {
        assert_eq!(parsed(text).url, url);
    }
}

#[test]
fn what_is_no_git_address_is_left_to_others() {
    for text in [
        "https://example.com/",
        "https://example.com/foo",
        "https://example.git",
        "https://example.com/foo.git/",
        "https://example.com/foo.git.bar",
        "http://example.com/docker.git:#branch",
        "custom.xyz/a/b.git",
        "./foo.git",
        "../foo.git",
        ".git",
        "file:///srv/foo.git",
        "ext::sh -c true",
        "@host:path",
    ] {
        assert!(parse_git(text, AddressPlace::Context).is_none(), "{text}");
    }
    assert!(parse_git("github.com/a/b", AddressPlace::Instruction).is_none());
}

#[test]
fn a_fragment_names_the_reference_and_the_directory() {
    let wanted = |text: &str| {
        let source = parsed(text);
        (source.reference.unwrap_or_default(), source.subdir.unwrap_or_default())
    };
    let pair = |first: &str, second: &str| (first.to_owned(), second.to_owned());
    assert_eq!(wanted("https://h/a.git#release/1.2"), pair("release/1.2", ""));
    assert_eq!(wanted("https://h/a.git#b/c:d/e"), pair("b/c", "d/e"));
    assert_eq!(wanted("https://h/a.git#:d"), pair("", "d"));
    assert_eq!(wanted("https://h/a.git#:/d/./e/../f/"), pair("", "d/f"));
    assert_eq!(wanted("git@h:a.git#v1"), pair("v1", ""));
    assert_eq!(wanted("https://h/a.git#"), pair("", ""));
    assert_eq!(wanted("github.com/a/b#main:x"), pair("main", "x"));
}

/// T139
#[test]
fn a_query_says_the_same_and_more() {
    let source = parsed(
        "https://h/a.git?branch=main&subdir=/a&checksum=DEADBEEF&keep-git-dir=true&submodules=false&mtime=commit",
    );
    assert_eq!(source.url, "https://h/a.git");
    assert_eq!(source.reference.as_deref(), Some("refs/heads/main"));
    assert_eq!(source.subdir.as_deref(), Some("a"));
    assert_eq!(source.checksum.as_deref(), Some("deadbeef"));
    assert!(source.keep_git_dir && !source.submodules && !source.fetch_by_commit);
    assert_eq!(source.mtime, GitTime::Commit);
    assert_eq!(parsed("git@h:a?tag=refs/tags/v1").reference.as_deref(), Some("refs/tags/v1"));
    assert_eq!(parsed("https://h/a.git?ref=v1#v1").reference.as_deref(), Some("v1"));
    assert!(parsed("https://h/a.git?keep-git-dir").keep_git_dir);
    let commit = "0123456789abcdef0123456789abcdef01234567";
    assert!(parsed(&format!("https://h/a.git?commit={commit}&fetch-by-commit=1")).fetch_by_commit);
}

/// T139
#[test]
fn a_wrong_query_is_an_error_that_names_it() {
    for (query, part) in [
        ("what=1", "unknown query `what`"),
        ("ref=a&ref=b", "`ref` of the Git address is given twice"),
        ("ref=a&tag=b", "both `a` and `refs/tags/b`"),
        ("branch=a&tag=b", "both `b` and `a`"),
        ("branch", "`branch` of the Git address has no value"),
        ("submodules=perhaps", "submodules `perhaps`"),
        ("checksum=xyz1", "checksum `xyz1`"),
        ("checksum=abc", "fewer than 4 digits"),
        ("checksum=abcd&commit=abce", "both `abcd` and `abce`"),
        ("mtime=never", "mtime `never`"),
        ("fetch-by-commit=true&commit=abcd", "all its digits"),
        ("ref=%zz", "query `%zz`"),
        ("subdir=..", "leads out of the repository"),
    ] {
        let error = refused(&format!("https://h/a.git?{query}"));
        assert!(error.contains(part), "{query}: {error}");
    }
    assert!(refused("https://h/a.git?subdir=a#:b").contains("both `b` and `a`"));
}

/// The names of CVE-2019-13139, of BuildKit's GHSA-hw3h-2gp9-cxpv and CVE-2026-33748, and of RUSTSEC-2024-0335.
#[test]
fn nothing_that_is_accepted_is_an_option_or_leads_out() {
    for text in [
        "git@host:repo#--upload-pack=touch /tmp/marker;:",
        "https://h/a.git#refs/heads/--upload-pack=x",
        "ssh://-oProxyCommand=x/y",
        "ssh://-oProxyCommand=x@h/y",
        "-o@h:y",
        "git@-h:y",
        "git@h:-y",
        "git@h:",
        "git://h",
        "git://h:99999/a",
        "git://h:/a",
        "https://h/a b.git",
        "https://h/a.git#main:../../escape",
        "https://h/a.git#main:a/../../b",
        "https://h/a.git#main:.GIT/hooks",
        "https://h/a.git#a..b",
        "https://h/a.git?ref=a:b",
        "https://h/a.git?ref=%2Ba",
        "https://h/a.git?ref=%5Ea",
        "https://h/a.git?ref=a*",
        "https://h/a.git?ref=a%0A",
        "https://h/a.git#a%00b",
        "https://h/a.git#a/",
        "https://h/a.git#a.lock",
    ] {
        let error = refused(text);
        assert!(!error.contains('\0') && !error.contains('\n'), "{error}");
    }
}

#[test]
fn a_flag_adds_to_the_address_and_must_not_contradict_it() {
    let with = |text: &str, keep, checksum| {
        let address = parse_git(text, AddressPlace::Instruction).expect("it is one").expect("it is valid");
        address.with_flags(keep, checksum)
    };
    let joined = with("https://h/a.git?checksum=abcd", Some(true), Some("ABCD")).expect("they agree");
    assert!(joined.keep_git_dir && joined.checksum.as_deref() == Some("abcd"));
    assert!(with("https://h/a.git?keep-git-dir=1", None, None).expect("it is valid").keep_git_dir);
    let contradiction = with("https://h/a.git?keep-git-dir=1", Some(false), None);
    assert!(matches!(contradiction, Err(GitAddressError::Conflict { part: "keep-git-dir", .. })));
    assert!(matches!(with("https://h/a.git?commit=abcd", None, Some("abce")), Err(GitAddressError::Conflict { .. })));
    assert!(matches!(
        with("https://h/a.git", None, Some("md5:1")),
        Err(GitAddressError::Part { part: "checksum", .. })
    ));
}

/// T132
#[test]
fn a_fetched_file_is_named_by_the_path_of_its_address() {
    for (url, name) in [
        ("http://h/p/foo?x=1", "foo"),
        ("http://h/p/foo/#x", "foo"),
        ("http://h/a%20b", "a b"),
        ("http://h/a%2Fb", "b"),
        ("http://h/a%zz", "a%zz"),
        ("http://h/", UNNAMED),
        ("http://h", UNNAMED),
        ("http://h?x=/y", UNNAMED),
        ("http://h/a/..", UNNAMED),
        ("http://h/%2e%2e", UNNAMED),
        ("http://h/a%00b", UNNAMED),
        ("http://h/a%0Ab", UNNAMED),
    ] {
        assert_eq!(file_name(url), name, "{url}");
    }
    assert_eq!(file_name(&format!("http://h/{}", "x".repeat(256))), UNNAMED);
}

#[test]
fn the_address_of_a_file_is_none_of_a_repository() {
    assert!(is_http("http://h/a.tar") && is_http("HTTPS://h/a.git/") && is_http("https://h"));
    assert!(!is_http("https://h/a.git#x") && !is_http("ftp://h/a") && !is_http("a/b") && !is_http("http:/a"));
}

#[test]
fn credentials_are_neither_shown_nor_part_of_a_place() {
    let secret = "https://user:tok@h:1/a.git?x=y@z";
    assert_eq!(redacted(secret), "https://xxxxx:xxxxx@h:1/a.git?x=y@z");
    assert_eq!(redacted("https://tok@h/a"), "https://xxxxx@h/a");
    assert_eq!(without_credentials(secret), "https://h:1/a.git?x=y@z");
    assert_eq!(redacted("ssh://git:tok@h/a"), "ssh://git:xxxxx@h/a");
    assert_eq!(redacted("git@h:a"), "git@h:a");
    assert_eq!(redacted("http://h/a@b"), "http://h/a@b");
    let line = "ADD [\"http://me:tok@h/a\", '--x=ssh://git:tok@h/b'] https://tok@h a@b é://c";
    let shown = "ADD [\"http://xxxxx:xxxxx@h/a\", '--x=ssh://git:xxxxx@h/b'] https://xxxxx@h a@b é://c";
    assert_eq!(redacted_text(line), shown);
    let shown = format!("{:?}", parsed("https://user:tok@h/a.git"));
    assert!(!shown.contains("tok"), "{shown}");
}

fn any_address() -> impl Strategy<Value = String> {
    let starts =
        vec!["https://", "ssh://", "git://", "git@h:", "github.com/", "http://h/a.git?", "https://h/a.git#", ""];
    (proptest::sample::select(starts), "[-a-z0-9./:@#?&=%~^+* \\[\\]]{0,40}|\\PC{0,20}")
        .prop_map(|(start, rest)| format!("{start}{rest}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn whatever_is_parsed_can_be_given_to_a_program(text in any_address()) {
        prop_assert!(text.contains("://") || redacted_text(&text) == text);
        let _shown = (is_http(&text), redacted(&text), without_credentials(&text));
        let name = file_name(&text);
        prop_assert!(!name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0']));
        if let Some(Ok(address)) = parse_git(&text, AddressPlace::Context) {
            let source = address.into_source();
            prop_assert!(!source.url.starts_with('-') && !source.url.contains(char::is_whitespace));
            if let Some(reference) = &source.reference {
                prop_assert!(!reference.starts_with(['-', '+', '^', '/']) && !reference.contains([':', '*', ' ']));
            }
            if let Some(subdir) = &source.subdir {
                prop_assert!(subdir.split('/').all(|part| !matches!(part, "" | "." | ".." | ".git")));
            }
            // What was understood, written as an address again, is understood the same way.
            let again = format!(
                "{}#{}:{}",
                source.url,
                source.reference.clone().unwrap_or_default().replace('%', "%25"),
                source.subdir.clone().unwrap_or_default().replace('%', "%25"),
            );
            if !source.url.contains('@') && source.url.strip_suffix(".git").is_some() {
                let again = parsed(&again);
                prop_assert_eq!((again.url, again.reference, again.subdir), (source.url, source.reference, source.subdir));
            }
        }
    }
}
