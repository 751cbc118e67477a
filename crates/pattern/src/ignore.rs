//! Ignore files: `.dockerignore`.
//!
//! The rules are those of Docker (moby/patternmatcher), not git's: a pattern is anchored at the root of the context,
//! the last rule that matches decides, and what covers a directory covers all in it, unless a later `!` rule takes
//! it back. Docker translates patterns into regular expressions, and so an escaped letter may be a class (`\d`). stave
//! differs where that makes no sense: `^` outside a class is itself, and `*` or `?` in a class are themselves.

use crate::glob::{DoubleStar, Glob, Malformed, States};
use crate::path::clean;

/// The first rule of an ignore file that means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: pattern `{pattern}` {problem}")]
pub struct PatternError {
    /// Line of the file, from 1.
    pub line: usize,
    /// The pattern as it was written.
    pub pattern: String,
    /// What is wrong with it.
    pub problem: Malformed,
}

/// The rules of an ignore file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IgnoreFile {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    line: usize,
    /// As it stands there, without blanks around it.
    written: Vec<u8>,
    reincludes: bool,
    matcher: Matcher,
}

/// How a rule is matched. The kinds before the last need no automaton, and they are nearly all that is ever written.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Matcher {
    /// No wildcards.
    Exact(Vec<u8>),
    /// `prefix**`
    Prefix(Vec<u8>),
    /// `**suffix`, where the suffix may start inside a name; `**/name` also matches `name`.
    Suffix(Vec<u8>),
    Glob(Glob),
}

impl IgnoreFile {
    /// Reads an ignore file: one rule a line. A byte order mark, empty lines, and lines that start with `#` in their
    /// first column are skipped.
    pub fn parse(text: &[u8]) -> Result<Self, PatternError> {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let mut rules = Vec::new();
        for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
            let written = trim(line);
            if line.first() == Some(&b'#') || written.is_empty() {
                continue;
            }
            rules.push(Rule::parse(index + 1, written)?);
        }
        Ok(Self { rules })
    }

    /// Reads patterns that are given one by one, as in `COPY --exclude`. They are rules like those of a file, but a `#` has
    /// no meaning, and the line of an error is the pattern's number, from 1.
    pub fn from_patterns<P: AsRef<[u8]>>(patterns: impl IntoIterator<Item = P>) -> Result<Self, PatternError> {
        let mut rules = Vec::new();
        for (index, pattern) in patterns.into_iter().enumerate() {
            let written = trim(pattern.as_ref());
            if !written.is_empty() {
                rules.push(Rule::parse(index + 1, written)?);
            }
        }
        Ok(Self { rules })
    }

    /// Whether there is no rule, so that nothing is ignored.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether `path` is ignored. It is relative to the root of the context and clean.
    #[must_use]
    pub fn ignored(&self, path: &[u8]) -> bool {
        self.decisive(path).is_some_and(|index| !self.rules[index].reincludes)
    }

    /// Returns the line of the rule that decides about `path`: the one that ignores it or takes it back.
    #[must_use]
    pub fn matched_line(&self, path: &[u8]) -> Option<usize> {
        self.decisive(path).map(|index| self.rules[index].line)
    }

    /// Returns the rule that leaves `path` out, and its line, if one does.
    #[must_use]
    pub fn ignoring_rule(&self, path: &[u8]) -> Option<(usize, &[u8])> {
        let rule = &self.rules[self.decisive(path)?];
        (!rule.reincludes).then_some((rule.line, &rule.written))
    }

    /// Whether something below the ignored directory `dir` may not be ignored, so that it has to be walked.
    #[must_use]
    pub fn may_reinclude_below(&self, dir: &[u8]) -> bool {
        // A rule before the one that ignores the directory is overruled for all that is in it.
        let after = self.decisive(dir).map_or(0, |index| index + 1);
        self.rules[after..].iter().any(|rule| rule.reincludes && rule.matcher.may_match_below(dir))
    }

    /// Whether any rule takes something back.
    #[must_use]
    pub fn has_exceptions(&self) -> bool {
        self.rules.iter().any(|rule| rule.reincludes)
    }

    /// Returns the rule that decides about `path`. As Docker does, it goes down from the first directory: a rule that
    /// matched a directory holds for all below, but one that was not asked there, because it would have changed nothing,
    /// is asked for each path alone.
    ///
    /// Reference: moby/patternmatcher, `MatchesUsingParentResults`.
    fn decisive(&self, path: &[u8]) -> Option<usize> {
        let ends = path.iter().enumerate().filter(|&(_, &byte)| byte == b'/').map(|(end, _)| end);
        let mut above = States::none(self.rules.len());
        let mut decisive = None;
        for end in ends.chain([path.len()]) {
            let mut here = States::none(self.rules.len());
            let mut ignored = false;
            decisive = None;
            for (index, rule) in self.rules.iter().enumerate() {
                let holds = above.contains(index)
                    // A rule that would change nothing is not asked.
                    || (rule.reincludes == ignored && rule.matcher.matches(&path[..end]));
                if holds {
                    here.insert(index);
                    ignored = !rule.reincludes;
                    decisive = Some(index);
                }
            }
            above = here;
        }
        decisive
    }
}

impl Rule {
    /// Reads a rule without blanks around it.
    fn parse(line: usize, written: &[u8]) -> Result<Self, PatternError> {
        let malformed =
            |problem| PatternError { line, pattern: String::from_utf8_lossy(written).into_owned(), problem };
        let (reincludes, pattern) = match written.strip_prefix(b"!") {
            Some(rest) => (true, trim(rest)),
            None => (false, written),
        };
        if pattern.is_empty() {
            return Err(malformed(Malformed::LoneExclamation));
        }
        let pattern = clean(pattern);
        let pattern = pattern.strip_prefix(b"/").filter(|rest| !rest.is_empty()).unwrap_or(&pattern);
        Ok(Self { line, written: written.to_vec(), reincludes, matcher: Matcher::parse(pattern).map_err(malformed)? })
    }
}

impl Matcher {
    fn parse(pattern: &[u8]) -> Result<Self, Malformed> {
        let special = |byte: &u8| b"*?[\\".contains(byte);
        let plain = |part: &[u8]| !part.iter().any(special);
        if plain(pattern) {
            return Ok(Self::Exact(pattern.to_vec()));
        }
        match (pattern.strip_prefix(b"**"), pattern.strip_suffix(b"**")) {
            (Some(suffix), _) if plain(suffix) => Ok(Self::Suffix(suffix.to_vec())),
            (_, Some(prefix)) if plain(prefix) => Ok(Self::Prefix(prefix.to_vec())),
            _ => Glob::parse(pattern, DoubleStar::Directories).map(Self::Glob),
        }
    }

    fn matches(&self, path: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => exact == path,
            Self::Prefix(prefix) => path.starts_with(prefix),
            Self::Suffix(suffix) => path.ends_with(suffix) || suffix.strip_prefix(b"/") == Some(path),
            Self::Glob(glob) => glob.matches(path),
        }
    }

    fn may_match_below(&self, dir: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => is_below(exact, dir),
            // Below the directory in which the prefix ends, or inside what the prefix covers.
            Self::Prefix(prefix) => is_below(prefix, dir) || dir.starts_with(prefix),
            Self::Suffix(_) => true,
            Self::Glob(glob) => glob.may_match_below(dir),
        }
    }
}

fn is_below(path: &[u8], dir: &[u8]) -> bool {
    path.strip_prefix(dir).is_some_and(|rest| rest.first() == Some(&b'/'))
}

/// Removes blanks at both ends as Go's `strings.TrimSpace` does.
fn trim(bytes: &[u8]) -> &[u8] {
    std::str::from_utf8(bytes).map_or(bytes.trim_ascii(), |text| text.trim().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> IgnoreFile {
        IgnoreFile::parse(text.as_bytes()).expect("the rules are valid")
    }

    #[track_caller]
    fn check(rules: &str, ignored: &[&str], kept: &[&str]) {
        let file = file(rules);
        for path in ignored {
            assert!(file.ignored(path.as_bytes()), "{path} should be ignored");
        }
        for path in kept {
            assert!(!file.ignored(path.as_bytes()), "{path} should be kept");
        }
    }

    #[test]
    fn rules_are_anchored_and_cover_what_is_below() {
        check("foo", &["foo", "foo/bar", "foo/bar/baz"], &["bar/foo", "foobar", "fo"]);
        check("*.md", &["README.md"], &["docs/README.md", "a.mdx"]);
        check("a/*/c", &["a/b/c", "a/b/c/d"], &["a/c", "a/b/b/c"]);
        check("?.txt", &["a.txt", "ü.txt"], &[".txt", "ab.txt"]);
    }

    #[test]
    fn rules_are_cleaned() {
        check("./foo\n/bar/\na/../b\n  spaced  \n", &["foo", "bar", "b", "spaced"], &["a"]);
        check("/", &[], &["a", "a/b"]);
        check(".", &[], &["a"]);
        check("..", &[], &["a"]);
    }

    #[test]
    fn two_stars_are_any_number_of_directories() {
        check("**", &["a", "a/b"], &[]);
        check("**/*.log", &["x.log", "a/x.log", "a/b/x.log"], &["x.logs"]);
        check("**/foo", &["foo", "a/foo", "a/b/foo/c"], &["afoo", "foob"]);
        check("foo/**", &["foo/a", "foo/a/b"], &["foo", "fooa"]);
        check("a/**/b", &["a/b", "a/x/b", "a/x/y/b"], &["ab", "a/xb"]);
        check("a**", &["a", "ab", "ab/c", "a/b"], &["b"]);
        check("**/foo/**", &["foo/a", "x/foo/a"], &["foo", "x/foo"]);
        check("**foo", &["foo", "xfoo", "a/xfoo"], &["foox"]);
        check("**foo?", &["foox", "a/foox"], &["xfoox"]);
    }

    /// T181.
    #[test]
    fn the_last_rule_that_matches_decides() {
        check("*\n!keep\n", &["a", "b/c"], &["keep", "keep/x"]);
        check("*\n!docs\ndocs/private\n", &["x", "docs/private", "docs/private/y"], &["docs", "docs/a"]);
        check("!a\na\n", &["a"], &[]);
        check("a\n!a\n", &[], &["a", "a/b"]);
        check("**/*.log\n!important.log\n", &["a.log", "a/important.log"], &["important.log"]);
    }

    /// T182, T183.
    #[test]
    fn a_file_in_an_ignored_directory_can_be_taken_back() {
        check("folder1\n!folder1/file1\n", &["folder1", "folder1/file2"], &["folder1/file1"]);
        check("*\n!*/sub1*\n", &["a", "a/x", "b/sub2"], &["a/sub1", "a/sub1x/y"]);
        check("**\n!a/b\n", &["a", "a/c"], &["a/b", "a/b/c"]);
    }

    /// What Docker does with a rule that stands twice: the second was not asked about the directory, which was ignored
    /// already, and does not match the file.
    #[test]
    fn a_rule_that_was_not_asked_above_is_asked_alone() {
        check("dir\n!dir/keep\ndir\n", &["dir", "dir/x"], &["dir/keep"]);
        check("dir\n!dir/keep\ndir/*\n", &["dir", "dir/x", "dir/keep"], &[]);
    }

    #[test]
    fn patterns_that_are_given_one_by_one_have_no_comments() {
        let file = IgnoreFile::from_patterns(["#a", " *.md ", "", "!keep.md"]).expect("the patterns are valid");
        assert!(file.ignored(b"#a") && file.ignored(b"b.md") && !file.ignored(b"keep.md") && !file.is_empty());
        assert!(IgnoreFile::from_patterns([""; 0]).expect("no pattern").is_empty());
        assert_eq!(IgnoreFile::from_patterns(["a", "["]).expect_err("it means nothing").line, 2);
    }

    #[test]
    fn comments_start_in_the_first_column() {
        check("#a\n #b\n\n\t\nc\n", &["#b", "c"], &["#a"]);
        check("\u{feff}#x\n\u{feff}a\n", &[], &["#x", "a"]);
        check("\u{feff}a\r\nb\r\n", &["a", "b"], &[]);
    }

    #[test]
    fn classes_are_gos() {
        check("[!a]", &["!", "a"], &["b"]);
        check("[^a]x", &["bx"], &["ax"]);
        check("a[^b]c", &["axc", "a/c"], &["abc", "a/b/c"]);
        check("x[a-c]", &["xb"], &["xd", "x"]);
        check("{a,b}", &["{a,b}"], &["a", "b"]);
        check(r"\*x", &["*x"], &["ax"]);
    }

    /// Paths written for Windows do not mean what they seem to.
    #[test]
    fn some_escaped_letters_are_classes() {
        check(r"bin\Debug", &["bin/ebug", "binDebug", "bin-ebug"], &["bin1ebug", "Debug"]);
        check(r"x\d", &["x1"], &["xd", "xx"]);
        check(r"x\w\s", &["xa ", "x_\t"], &["x- ", "xaa"]);
        check(r"x\a\bin", &[], &["xabin", "xain", "a"]);
        check(r"\!b\#\ \-", &["!b# -"], &[]);
        check(r"obj\Release", &["objRelease"], &[]);
    }

    #[test]
    fn signs_of_regular_expressions_are_themselves() {
        check("a.b*", &["a.bc"], &["axbc"]);
    }

    /// T186 and A190.
    #[test]
    fn rules_that_mean_nothing_are_errors() {
        let error = |text: &str| IgnoreFile::parse(text.as_bytes()).expect_err("it means nothing").to_string();
        let lone = "pattern `!` is an illegal exclusion pattern: it has nothing after `!`";
        assert_eq!(error("a\n!\n"), format!("line 2: {lone}"));
        assert_eq!(error("! "), format!("line 1: {lone}"));
        assert!(error("\n\n[a").starts_with("line 3: pattern `[a` has a `[` without `]`"));
        assert!(error("a\\").contains("escapes"));
        assert!(error("![a-]").contains("class"));
    }

    #[test]
    fn the_deciding_line_is_known() {
        let file = file("# c\n*\n!keep\nkeep/x\n");
        assert_eq!(file.matched_line(b"a"), Some(2));
        assert_eq!(file.matched_line(b"keep"), Some(3));
        assert_eq!(file.matched_line(b"keep/x/y"), Some(4));
        assert_eq!(IgnoreFile::default().matched_line(b"a"), None);
    }

    #[test]
    fn directories_are_walked_only_if_something_below_may_be_kept() {
        let walked = |rules: &str, dir: &str| file(rules).may_reinclude_below(dir.as_bytes());
        assert!(!walked("node_modules", "node_modules"));
        assert!(walked("*\n!a/b/c", "a"));
        assert!(walked("*\n!a/b/c", "a/b"));
        assert!(!walked("*\n!a/b/c", "b"));
        assert!(!walked("*\n!ab", "a"));
        assert!(!walked("!a/b\n*", "a"), "a later rule overrules it");
        assert!(walked("*\n!**/x", "a/b"));
        assert!(walked("*\n!a/*/c", "a/b"));
        assert!(!walked("*\n!a/*/c", "a/b/c"));
        assert!(walked("**\n!a/**", "a"));
    }
}
