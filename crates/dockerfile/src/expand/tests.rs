use super::*;

fn lookup(name: &str) -> Option<String> {
    let value = match name {
        "x" => "value",
        "empty" => "",
        "two" => "3000 4000/udp",
        "s" => "override",
        "path" => "/usr/local/bin",
        "star" => "a*b",
        "big" => return Some("b".repeat(EXPANDED_BYTES_MAX / 2)),
        _ => return None,
    };
    Some(value.to_owned())
}

fn word(text: &str) -> String {
    expand(&Text::verbatim(text, 0), '\\', &lookup).map_or_else(|error| format!("error: {error}"), |word| word.text)
}

fn check(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(word(text), *expected, "{text}");
    }
}

fn words(text: &str) -> Vec<String> {
    expand_words(&Text::verbatim(text, 0), '\\', &lookup).unwrap().words
}

fn error_span(text: &str) -> &str {
    let error = expand(&Text::verbatim(text, 0), '\\', &lookup).unwrap_err();
    &text[error.span().range()]
}

#[test]
fn variables_are_replaced_by_their_values() {
    check(&[
        ("$x", "value"),
        ("${x}", "value"),
        ("a${x}b", "avalueb"),
        ("$x.$x", "value.value"),
        ("$unset", ""),
        ("$unset.b", ".b"),
        ("$x_y", ""),
        ("$", "$"),
        ("a$", "a$"),
        ("$.", "$."),
        ("$(x)", "$(x)"),
        ("$1", ""),
        ("$12b", "b"),
        ("$@$*$?$$", ""),
    ]);
}

/// T37.
#[test]
fn defaults_with_and_without_colon() {
    check(&[
        ("${empty-d}", ""),
        ("${empty:-d}", "d"),
        ("${unset-d}", "d"),
        ("${unset:-d}", "d"),
        ("${x-d}", "value"),
        ("${unset:-}", ""),
        ("${unset:-a b}", "a b"),
    ]);
}

/// T38.
#[test]
fn alternatives_with_and_without_colon() {
    check(&[("${empty+a}", "a"), ("${empty:+a}", ""), ("${x:+a}", "a"), ("${unset+a}", ""), ("${unset:+a}", "")]);
}

/// T39.
#[test]
fn a_required_variable_without_a_value_is_the_users_error() {
    check(&[
        ("${FOO:?custom error}", "error: FOO: custom error"),
        ("${FOO?}", "error: FOO: is not allowed to be unset"),
        ("${empty:?}", "error: empty: is not allowed to be empty"),
        ("${empty?}", ""),
        ("${x:?no}", "value"),
    ]);
    assert_eq!(error_span("busybox:${FOO:?custom error}-a"), "${FOO:?custom error}");
}

#[test]
fn the_branch_that_is_not_taken_asks_for_nothing() {
    check(&[("${x:-${FOO:?no}}", "value"), ("${unset:+${FOO:?no}}", ""), ("${x-${a:-${b?c}}}", "value")]);
    let word = expand(&Text::verbatim("${x:-$unset}", 0), '\\', &lookup).unwrap();
    assert_eq!(word.undefined, []);
    check(&[("${x:-${}}", "error: bad substitution: a variable's name is expected after `${`")]);
}

#[test]
fn modifiers_nest() {
    check(&[
        ("${a:-${b:-c}}", "c"),
        ("${a:-${x}}", "value"),
        ("${a:-${b-${c:-$x}}}", "value"),
        ("${x:+\"${x} }\"}", "value }"),
    ]);
}

/// T41.
#[test]
fn shortest_and_longest_prefixes_are_removed() {
    check(&[
        ("busy${s#over}", "busyride"),
        ("${path#*/}", "usr/local/bin"),
        ("${path##*/}", "bin"),
        ("${x#?}", "alue"),
        ("${x#z}", "value"),
        ("${x#}", "value"),
        ("${star#a\\*}", "b"),
        ("${star##*}", ""),
        ("${empty#a}", ""),
    ]);
}

/// T42.
#[test]
fn shortest_and_longest_suffixes_are_removed_and_text_replaced() {
    check(&[
        ("${s%%e*}", "ov"),
        ("${s%e*}", "overrid"),
        ("${path%/*}", "/usr/local"),
        ("${path%%/*}", ""),
        ("${star%\\*b}", "a"),
        ("${s/r/R}", "oveRride"),
        ("${s//r/R}", "oveRRide"),
        ("${s//r/}", "oveide"),
        ("${path/\\//_}", "_usr/local/bin"),
        ("${path//\\//_}", "_usr_local_bin"),
        ("${s/v*r/-}", "o-ide"),
        ("${s//?/x}", "xxxxxxxx"),
        ("${x//*/y}", "y"),
        ("${x/zz/y}", "value"),
        ("${x/$x/y}", "y"),
        ("${x/l/\\}}", "va}ue"),
    ]);
}

#[test]
fn an_empty_pattern_matches_between_all_characters() {
    check(&[
        ("${s//over/}", "ride"),
        ("${x///-}", "-v-a-l-u-e-"),
        ("${x//}", "error: substitution without the `/` before its replacement"),
    ]);
}

#[test]
fn a_pattern_that_never_matches_costs_no_more_than_one_pass() {
    assert_eq!(word("${big//b*c/x}").len(), EXPANDED_BYTES_MAX / 2);
}

/// T44.
#[test]
fn malformed_substitutions_are_errors_at_their_place() {
    assert_eq!(error_span("a${}b"), "${}");
    assert_eq!(error_span("a${:a}b"), "${:");
    assert_eq!(error_span("b${{a}"), "${{");
    assert_eq!(error_span("b${a"), "${a");
    assert_eq!(error_span("b${"), "${");
    assert_eq!(error_span("b${a:-c"), "${a:-c");
    assert_eq!(error_span("b${a:"), "${a:");
    assert_eq!(error_span("${a:#b}"), ":#");
    assert_eq!(error_span("${v=}"), "=");
    assert_eq!(error_span("${v^^}"), "^");
    assert_eq!(error_span("${.}"), "${.");
    assert_eq!(error_span("x${v#a\\b}"), "a\\b");
    assert_eq!(error_span("${a/b}"), "${a/b}");
}

/// T45.
#[test]
fn quotes_and_escapes() {
    check(&[
        ("'$x'", "$x"),
        ("\"\\$x\"", "$x"),
        ("\\\\$x", "\\value"),
        ("\\$x", "$x"),
        ("\"$x\"", "value"),
        ("\"a'b\"", "a'b"),
        ("'a\"b'", "a\"b"),
        ("\"a\\b\"", "a\\b"),
        ("\"a\\\\b\"", "a\\b"),
        ("\"a\\\"b\"", "a\"b"),
        ("a\\ b", "a b"),
        ("a\\", "a"),
        ("''", ""),
        ("a'b'\"c\"d", "abcd"),
        ("'a\\'", "a\\"),
        ("%s%d", "%s%d"),
        ("ümläut\\ü", "ümläutü"),
    ]);
}

/// T46.
#[test]
fn a_quote_that_is_not_closed_is_an_error_at_the_quote() {
    assert_eq!(error_span("a='b\\'c'"), "'");
    assert_eq!(error_span("a\"b"), "\"b");
    check(&[("'", "error: no closing `'`")]);
}

#[test]
fn a_backtick_escapes_when_the_file_says_so() {
    let windows = |text: &str| expand(&Text::verbatim(text, 0), '`', &lookup).unwrap().text;
    assert_eq!(windows("c:\\dir\\`$x"), "c:\\dir\\$x");
    assert_eq!(windows("\"`\"\""), "\"");
    assert_eq!(windows("${path#`/}"), "usr/local/bin");
}

/// T62.
#[test]
fn words_split_only_where_nothing_is_quoted() {
    assert_eq!(words("$two"), ["3000", "4000/udp"]);
    assert_eq!(words("\"$two\""), ["3000 4000/udp"]);
    assert_eq!(words("a\\ b"), ["a b"]);
    assert_eq!(words("x${two}y"), ["x3000", "4000/udpy"]);
    assert_eq!(words("$unset"), [""; 0]);
    assert_eq!(words("\"\""), [""; 0]);
}

#[test]
fn undefined_variables_with_a_default_are_told_apart() {
    let word = Text::verbatim("${A:-${B}} ${C+x}${D:-$E} $F", 0);
    let lookup = |name: &str| (name == "D").then(|| "d".to_owned());
    let word = expand(&word, '\\', &lookup).expect("a good word");
    let names = |found: &[Undefined]| found.iter().map(|found| found.name.clone()).collect::<Vec<_>>();
    assert_eq!(
        (names(&word.undefined), names(&word.guarded)),
        (vec!["B".into(), "F".into()], vec!["A".into(), "C".into()])
    );
}

#[test]
fn undefined_variables_are_reported_where_they_stand() {
    let text = Text::verbatim("$x-$nope-${none}-${a:-b}-${other#p}-$1", 100);
    let word = expand(&text, '\\', &lookup).unwrap();
    let found: Vec<(&str, u32)> = word.undefined.iter().map(|found| (found.name.as_str(), found.span.start)).collect();
    assert_eq!(found, [("nope", 104), ("none", 111), ("other", 127)]);
}

#[test]
fn spans_point_into_joined_lines() {
    let mut text = Text::verbatim("a${", 10);
    text.push_verbatim("b^}", 20);
    let error = expand(&text, '\\', &lookup).unwrap_err();
    assert_eq!(error.span(), Span::new(21, 22));
}

#[test]
fn nesting_and_length_have_limits() {
    let deep = format!("{}x{}", "${a:-".repeat(NESTING_MAX + 1), "}".repeat(NESTING_MAX + 1));
    assert_eq!(word(&deep), "error: substitutions are nested more than 64 deep");
    assert_eq!(word("$big$big"), "b".repeat(EXPANDED_BYTES_MAX));
    assert_eq!(word("$big$big$big"), "error: the expanded word is longer than 1048576 bytes");
    assert_eq!(word("${big//b/bbb}"), "error: the expanded word is longer than 1048576 bytes");
    let pattern = format!("${{x#{}}}", "a".repeat(PATTERN_BYTES_MAX + 1));
    assert!(word(&pattern).starts_with("error: invalid pattern"), "{pattern}");
}

/// T1: quotes of a heredoc's body stay, backslashes escape whatever the file's escape character is.
#[test]
fn bodies_keep_their_quotes() {
    let lookup = |name: &str| (name == "a").then(|| "A B".to_owned());
    for (body, expected) in [
        ("'$a' \"${a}\"\n", "'A B' \"A B\"\n"),
        ("\\$a \\\\ `$a`\n", "$a \\ `A B`\n"),
        ("it's ${b:-\"none\"}", "it's \"none\""),
    ] {
        assert_eq!(expand_body(&Text::verbatim(body, 0), &lookup).unwrap().text, expected, "{body}");
    }
}
