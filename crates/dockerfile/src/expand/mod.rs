//! Expands words: takes the quotes and escapes of the shell away and puts the values of variables in.
//!
//! Knows which forms of `${...}` exist; what a variable's value is, it asks. Commands are never expanded here:
//! that is the business of the shell that runs them.
//!
//! Reference: the Dockerfile reference, "Environment replacement"; POSIX.1-2017, XCU 2.6.2.

mod error;
mod glob;
mod scan;

pub use error::ExpandError;

use crate::span::Span;
use crate::text::Text;
use scan::Scan;

/// Longest result of one expansion, in bytes. A longer one is an error: a few lines of `ENV a=$a$a` would fill the memory.
pub const EXPANDED_BYTES_MAX: usize = 1024 * 1024;

/// Deepest nesting of `${a:-${b:-...}}`.
pub const NESTING_MAX: usize = 64;

/// Longest pattern of `${a#pattern}` and its kin, in bytes.
pub const PATTERN_BYTES_MAX: usize = 1024;

/// Returns the value of a variable, or nothing if it is not set.
pub type Lookup<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// A word after expansion.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expanded {
    /// The word without quotes, with all values in it.
    pub text: String,
    /// The variables that have no value, where nothing in the word says what should happen then.
    pub undefined: Vec<Undefined>,
    /// The variables that have no value, where the word says what should happen then: `${name:-default}`.
    pub guarded: Vec<Undefined>,
}

/// The words that one word became.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExpandedWords {
    /// The words, none of them empty.
    pub words: Vec<String>,
    /// As in [`Expanded`].
    pub undefined: Vec<Undefined>,
}

/// A variable without a value. Its place in the word is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undefined {
    /// Its name.
    pub name: String,
    /// Where the name stands.
    pub span: Span,
}

/// Expands `word` to one word; values are not split at their blanks.
pub fn expand(word: &Text, escape: char, lookup: &Lookup<'_>) -> Result<Expanded, ExpandError> {
    let mut scan = Scan::new(word, escape, lookup);
    let text = scan.all()?.text;
    Ok(Expanded { text, undefined: scan.undefined, guarded: scan.guarded })
}

/// Expands `word` and splits the result at blanks that are neither quoted nor escaped, as `EXPOSE` wants it.
pub fn expand_words(word: &Text, escape: char, lookup: &Lookup<'_>) -> Result<ExpandedWords, ExpandError> {
    let mut scan = Scan::new(word, escape, lookup);
    let words = scan.all()?.into_words();
    Ok(ExpandedWords { words, undefined: scan.undefined })
}

/// Expands the body of a heredoc that becomes a file: variables and backslashes, whatever the escape character of the file
/// is; quotes are part of the text.
///
/// Reference: the Dockerfile reference, "Here-Documents"; BuildKit, `frontend/dockerfile/shell`.
pub fn expand_body(body: &Text, lookup: &Lookup<'_>) -> Result<Expanded, ExpandError> {
    let mut scan = Scan::of_body(body, lookup);
    let text = scan.all()?.text;
    Ok(Expanded { text, undefined: scan.undefined, guarded: scan.guarded })
}

#[cfg(test)]
mod tests;
