//! Laws of patterns, over a small alphabet so that patterns and paths often meet.

use proptest::prelude::*;
use stave_pattern::{IgnoreFile, Wildcard, clean};

fn any_path() -> impl Strategy<Value = String> {
    "[ab]{1,2}(/[ab]{1,2}){0,3}"
}

fn any_rule() -> impl Strategy<Value = String> {
    "!?(\\*\\*/|/)?([ab?]|\\*|\\[ab\\]|\\[\\^a\\]){1,3}(/(\\*\\*|[ab*?]{1,2})){0,2}"
}

fn any_rules() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(any_rule(), 0..5)
}

fn parse(rules: &[String]) -> IgnoreFile {
    IgnoreFile::parse(rules.join("\n").as_bytes()).expect("the rules are valid")
}

/// Whether `pattern` matches all of `text`, by trying everything: slow, short and obviously right.
fn tries(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            let stop = text.iter().position(|&byte| byte == b'/').unwrap_or(text.len());
            (0..=stop).any(|taken| tries(rest, &text[taken..]))
        }
        (Some((b'?', rest)), Some((&byte, text))) => byte != b'/' && tries(rest, text),
        (Some((&expected, rest)), Some((&byte, text))) => expected == byte && tries(rest, text),
        (Some(_), None) | (None, Some(_)) => false,
    }
}

proptest! {
    /// The automaton agrees with a matcher that tries everything.
    #[test]
    fn wildcards_match_what_trying_everything_matches(pattern in "[ab*?]{1,4}(/[ab*?]{1,3}){0,2}", path in any_path()) {
        let wildcard = Wildcard::parse(&pattern).expect("the pattern is valid");
        prop_assert_eq!(wildcard.matches(path.as_bytes()), tries(pattern.as_bytes(), path.as_bytes()));
    }

    /// An ignored directory that need not be walked holds nothing that is kept.
    #[test]
    fn what_is_not_walked_holds_nothing_that_is_kept(rules in any_rules(), dir in any_path(), below in any_path()) {
        let file = parse(&rules);
        let path = format!("{dir}/{below}");
        if file.ignored(dir.as_bytes()) && !file.may_reinclude_below(dir.as_bytes()) {
            prop_assert!(file.ignored(path.as_bytes()), "{} with {:?}", path, rules);
        }
    }

    /// Without `!` rules, what is in an ignored directory is ignored.
    #[test]
    fn a_rule_covers_what_is_below(rules in any_rules(), dir in any_path(), below in any_path()) {
        let plain: Vec<_> = rules.into_iter().filter(|rule| !rule.starts_with('!')).collect();
        let file = parse(&plain);
        if file.ignored(dir.as_bytes()) {
            let path = format!("{dir}/{below}");
            prop_assert!(file.ignored(path.as_bytes()));
            prop_assert!(!file.may_reinclude_below(dir.as_bytes()));
        }
    }

    /// A path is ignored exactly if the line that decides about it has no `!`.
    #[test]
    fn the_deciding_line_says_the_same(rules in any_rules(), path in any_path()) {
        let file = parse(&rules);
        let by_line = file.matched_line(path.as_bytes()).is_some_and(|line| !rules[line - 1].starts_with('!'));
        prop_assert_eq!(file.ignored(path.as_bytes()), by_line);
    }

    /// Whatever the bytes, reading and matching end without a panic.
    #[test]
    fn any_bytes_are_read(text in prop::collection::vec(any::<u8>(), 0..60), path in prop::collection::vec(any::<u8>(), 0..20)) {
        if let Ok(file) = IgnoreFile::parse(&text) {
            let _decided = (file.ignored(&path), file.may_reinclude_below(&path));
        }
        if let Ok(wildcard) = Wildcard::parse(&String::from_utf8_lossy(&text)) {
            prop_assert!(!wildcard.is_literal() || wildcard.components().iter().all(|part| part.literal().is_some()));
            let _matched = wildcard.matches(&path);
        }
    }

    /// Cleaning twice is cleaning once.
    #[test]
    fn clean_is_idempotent(path in "[a./]{0,12}") {
        let once = clean(path.as_bytes());
        prop_assert_eq!(clean(&once), once);
    }
}
