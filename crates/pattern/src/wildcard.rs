//! The wildcards of `COPY` and `ADD`: Go's `filepath.Match`, component by component.

use crate::glob::{DoubleStar, Glob, Malformed};

/// A path in which components may have wildcards: `*`, `?`, `[a-z]`, `[^a]`. None of them matches a `/`, and `**` is
/// the same as `*`.
///
/// In a component with wildcards, `\` makes the character after it literal. A component without is a name exactly as
/// it is written, backslashes included, as in BuildKit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wildcard {
    components: Vec<Component>,
}

/// One component of a [`Wildcard`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component(Kind);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Literal(Vec<u8>),
    Wild(Glob),
}

impl Wildcard {
    /// Reads a pattern. It should be clean; empty components and slashes at the ends are ignored.
    pub fn parse(pattern: &str) -> Result<Self, Malformed> {
        let parts = pattern.split('/').filter(|part| !part.is_empty());
        Ok(Self { components: parts.map(Component::parse).collect::<Result<_, _>>()? })
    }

    /// Returns what matches `path` and nothing else: no character in it is a wildcard.
    #[must_use]
    pub fn of_path(path: &str) -> Self {
        let parts = path.split('/').filter(|part| !part.is_empty());
        Self { components: parts.map(|part| Component(Kind::Literal(part.as_bytes().to_vec()))).collect() }
    }

    /// Whether there is only one path that it can match: it has no wildcards.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        self.components.iter().all(|component| component.literal().is_some())
    }

    /// Returns the components, to be matched against the names of directory entries one by one.
    #[must_use]
    pub fn components(&self) -> &[Component] {
        &self.components
    }

    /// Whether all of `path` (relative, clean) matches.
    #[must_use]
    pub fn matches(&self, path: &[u8]) -> bool {
        let mut names = path.split(|&byte| byte == b'/').filter(|name| !name.is_empty());
        self.components.iter().all(|component| names.next().is_some_and(|name| component.matches(name)))
            && names.next().is_none()
    }
}

impl Component {
    fn parse(pattern: &str) -> Result<Self, Malformed> {
        if has_wildcards(pattern) {
            Glob::parse(pattern.as_bytes(), DoubleStar::Star).map(Kind::Wild).map(Self)
        } else {
            Ok(Self(Kind::Literal(pattern.as_bytes().to_vec())))
        }
    }

    /// Returns the only name that it can match, if it has no wildcards.
    #[must_use]
    pub fn literal(&self) -> Option<&[u8]> {
        match &self.0 {
            Kind::Literal(name) => Some(name),
            Kind::Wild(_) => None,
        }
    }

    /// Whether the name of a file or directory matches.
    #[must_use]
    pub fn matches(&self, name: &[u8]) -> bool {
        match &self.0 {
            Kind::Literal(literal) => literal == name,
            Kind::Wild(glob) => glob.matches(name),
        }
    }
}

/// Returns the pattern that matches `path` and nothing else.
#[must_use]
pub fn literal(path: &str) -> String {
    // Each name by itself: whether a backslash means something depends on the wildcards of its own name.
    path.split('/').map(literal_name).collect::<Vec<_>>().join("/")
}

fn literal_name(name: &str) -> String {
    if !has_wildcards(name) {
        return name.to_owned();
    }
    let mut pattern = String::new();
    for char in name.chars() {
        match char {
            // A backslash alone would make a name without wildcards, in which it is itself.
            '*' | '?' | '[' => pattern.extend(['[', char, ']']),
            '\\' => pattern.push_str("\\\\"),
            _ => pattern.push(char),
        }
    }
    pattern
}

/// Whether there is a wildcard that no `\` stands before.
fn has_wildcards(pattern: &str) -> bool {
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        match character {
            '*' | '?' | '[' => return true,
            '\\' => drop(characters.next()),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        Wildcard::parse(pattern).expect("the pattern is valid").matches(path.as_bytes())
    }

    /// The first two were found by the fuzz target `ignore_file`.
    #[test]
    fn a_literal_pattern_matches_its_path() {
        for path in [".*\\/M\\/I", "*/M\\", "a\\", "[a]", "a?/b*c/d", "plain/path"] {
            assert!(Wildcard::parse(&literal(path)).is_ok_and(|pattern| pattern.matches(path.as_bytes())), "{path}");
        }
    }

    #[test]
    fn stars_and_question_marks_stay_in_their_component() {
        assert!(matches("*", "abc"));
        assert!(matches("a*c", "abbc"));
        assert!(matches("*c", "abc"));
        assert!(matches("a?c", "aüc"));
        assert!(matches("*.go", ".go"));
        assert!(!matches("*", "a/b"));
        assert!(!matches("a?b", "a/b"));
        assert!(matches("a*/b*", "ax/by"));
        assert!(!matches("a*", ""));
        assert!(!matches("a", "a/b"));
    }

    /// T94: in `COPY`, two stars are no more than one.
    #[test]
    fn two_stars_are_one_directory_level() {
        assert!(matches("**/*.txt", "a/b.txt"));
        assert!(!matches("**/*.txt", "b.txt"));
        assert!(!matches("**/*.txt", "a/b/c.txt"));
    }

    /// T95.
    #[test]
    fn classes_and_escapes_reach_strange_names() {
        assert!(matches("[[]a].txt", "[a].txt"));
        assert!(matches(r"\[a\].*", "[a].txt"));
        assert!(matches(r"\*?", "*x"));
        assert!(!matches(r"\*?", "ax"));
        assert!(matches("[a-c]", "b"));
        assert!(!matches("[^a-c]", "b"));
        assert!(matches("[!a]", "!"), "an exclamation mark in a class is only itself");
        assert!(matches("{a,b}", "{a,b}"), "braces mean nothing");
        assert!(matches("ü%+ x", "ü%+ x"));
    }

    #[test]
    fn a_pattern_without_wildcards_is_a_name_as_it_is_written() {
        let literal = |pattern: &str| {
            let wildcard = Wildcard::parse(pattern).expect("the pattern is valid");
            let names: Option<Vec<_>> =
                wildcard.components().iter().map(|part| part.literal().map(String::from_utf8_lossy)).collect();
            assert_eq!(wildcard.is_literal(), names.is_some());
            names.map(|names| names.join("/"))
        };
        assert_eq!(literal("a/b").as_deref(), Some("a/b"));
        assert_eq!(literal(r"a/\[b\").as_deref(), Some(r"a/\[b\"));
        assert!(matches(r"a\b.txt", r"a\b.txt"));
        assert_eq!(literal("a/[b]"), None);
        assert_eq!(literal("").as_deref(), Some(""));
    }

    #[test]
    fn a_literal_pattern_matches_its_name_only() {
        for name in ["a", "a*b", "[x]", "?", r"\\", r"a\*", r"\[*", "ü[", "*"] {
            let wildcard = Wildcard::parse(&literal(name)).expect("the pattern is valid");
            assert!(wildcard.matches(name.as_bytes()), "{name}");
            assert!(!wildcard.matches(b"axb") && !wildcard.matches(b"x"), "{name}");
        }
    }

    #[test]
    fn a_path_matches_itself_only() {
        for name in ["a", "a*b", "[x]", "?", r"\\", r"a\*", "d/*/f", "["] {
            let wildcard = Wildcard::of_path(name);
            assert!(wildcard.is_literal() && wildcard.matches(name.as_bytes()), "{name}");
            assert!(!wildcard.matches(b"axb") && !wildcard.matches(b"x"), "{name}");
        }
    }

    #[test]
    fn malformed_patterns_say_what_is_missing() {
        let error = |pattern| Wildcard::parse(pattern).expect_err("the pattern is malformed");
        assert_eq!(error("a["), Malformed::UnclosedClass);
        assert_eq!(error("[a"), Malformed::UnclosedClass);
        assert_eq!(error("[]a]"), Malformed::IncompleteClass);
        assert_eq!(error("[a-]"), Malformed::IncompleteClass);
        assert_eq!(error("[^]"), Malformed::IncompleteClass);
        assert_eq!(error("[z-a]"), Malformed::BackwardRange);
        assert_eq!(error("*\\"), Malformed::TrailingEscape);
    }

    #[test]
    fn bytes_that_are_no_text_match_themselves_only() {
        let wildcard = Wildcard::parse("a?*").expect("the pattern is valid");
        assert!(wildcard.matches(b"a\xff"));
        assert!(!wildcard.matches(b"a"));
        let literal = Wildcard::parse("\u{fffd}").expect("the pattern is valid");
        assert!(!literal.matches(b"\xff"));
    }

    #[test]
    fn many_stars_take_no_time() {
        let wildcard = Wildcard::parse(&format!("{}b", "a*".repeat(100))).expect("the pattern is valid");
        assert!(!wildcard.matches(&[b'a'; 5000]));
    }
}
