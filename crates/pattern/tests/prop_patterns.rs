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

/// Whether one pattern of an ignore file matches all of `path`, by trying everything.
fn tries_rule(pattern: &[u8], path: &[u8], at_start: bool) -> bool {
    let plain = |part: &[u8]| !part.iter().any(|byte| b"*?[".contains(byte));
    match pattern {
        [] => path.is_empty(),
        [b'*', b'*'] => true,
        // Before a plain text, two stars at the start are any bytes, even within a name.
        [b'*', b'*', rest @ ..] if at_start && plain(rest) => {
            path.ends_with(rest) || rest.strip_prefix(b"/") == Some(path)
        }
        [b'*', b'*', rest @ ..] => {
            let rest = rest.strip_prefix(b"/").unwrap_or(rest);
            if rest.is_empty() {
                return true;
            }
            let after = path.iter().enumerate().filter(|&(_, &byte)| byte == b'/').map(|(slash, _)| &path[slash + 1..]);
            std::iter::once(path).chain(after).any(|path| tries_rule(rest, path, false))
        }
        [b'*', rest @ ..] => {
            let stop = path.iter().position(|&byte| byte == b'/').unwrap_or(path.len());
            (0..=stop).any(|taken| tries_rule(rest, &path[taken..], false))
        }
        [b'?', rest @ ..] => path.first().is_some_and(|&byte| byte != b'/') && tries_rule(rest, &path[1..], false),
        [b'[', rest @ ..] => {
            let end = rest.iter().position(|&byte| byte == b']').expect("a class ends");
            let (class, rest) = (&rest[..end], &rest[end + 1..]);
            let inside =
                |byte: &u8| class.strip_prefix(b"^").map_or(class.contains(byte), |class| !class.contains(byte));
            path.first().is_some_and(inside) && tries_rule(rest, &path[1..], false)
        }
        [first, rest @ ..] => path.first() == Some(first) && tries_rule(rest, &path[1..], false),
    }
}

/// Whether `path` is ignored, worked out as Docker does it: what a directory's rules were is handed down.
fn tries_file(rules: &[String], path: &str) -> bool {
    let mut above = vec![false; rules.len()];
    let mut ignored = false;
    let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
    for end in ends {
        let mut here = vec![false; rules.len()];
        ignored = false;
        for (index, rule) in rules.iter().enumerate() {
            let (reincludes, pattern) = rule.strip_prefix('!').map_or((false, rule.as_str()), |rest| (true, rest));
            let pattern = clean(pattern.as_bytes());
            let pattern = pattern.strip_prefix(b"/").filter(|rest| !rest.is_empty()).unwrap_or(&pattern);
            let asked = reincludes == ignored;
            if above[index] || (asked && tries_rule(pattern, &path.as_bytes()[..end], true)) {
                here[index] = true;
                ignored = !reincludes;
            }
        }
        above = here;
    }
    ignored
}

proptest! {
    /// T181, T182, T183: an ignore file agrees with what trying everything, by Docker's rules, says.
    #[test]
    fn ignore_files_ignore_what_trying_everything_ignores(rules in any_rules(), path in any_path()) {
        prop_assert_eq!(parse(&rules).ignored(path.as_bytes()), tries_file(&rules, &path), "{} with {:?}", path, rules);
    }

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
