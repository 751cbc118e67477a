//! What a rule says of identifiers: one, a wildcard, or a regular expression.

use regex::{Captures, Regex, RegexBuilder};

/// Bytes that a compiled expression may take. The engine that runs it has no backtracking: its time is linear.
const EXPRESSION_BYTES_MAX: usize = 1024 * 1024;

/// A pattern of identifiers.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    text: String,
    expression: Option<Regex>,
    whole: bool,
}

/// Compiles a regular expression.
pub(crate) fn expression(text: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(text).size_limit(EXPRESSION_BYTES_MAX).build()
}

impl Pattern {
    /// Exactly `text`.
    pub(crate) fn exact(text: &str) -> Self {
        Self { text: text.to_owned(), expression: None, whole: true }
    }

    /// `text` with `*` for any letters; nothing if it has `**`, which BuildKit refuses too.
    pub(crate) fn wildcard(text: &str) -> Option<Result<Self, regex::Error>> {
        if text.contains("**") {
            return None;
        }
        let parts: Vec<String> = text.split('*').map(regex::escape).collect();
        let compiled = expression(&format!("^{}$", parts.join("(.*)")));
        Some(compiled.map(|regex| Self { text: text.to_owned(), expression: Some(regex), whole: true }))
    }

    /// A regular expression, which may match a part of an identifier.
    pub(crate) fn regex(text: &str) -> Result<Self, regex::Error> {
        Ok(Self { text: text.to_owned(), expression: Some(expression(text)?), whole: false })
    }

    /// The text of the pattern.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether an identifier is meant. The text of a pattern always means itself.
    pub(crate) fn matches(&self, identifier: &str) -> bool {
        self.text == identifier || self.expression.as_ref().is_some_and(|regex| regex.is_match(identifier))
    }

    /// Returns what `update` makes of an identifier: `${1}` in it is what the first wildcard or group stands for.
    pub(crate) fn updated(&self, identifier: &str, update: &str) -> String {
        let Some(regex) = &self.expression else { return update.to_owned() };
        if !self.whole {
            return regex.replace_all(identifier, update).into_owned();
        }
        let expand = |captures: &Captures<'_>| {
            let mut expanded = String::new();
            captures.expand(update, &mut expanded);
            expanded
        };
        regex.captures(identifier).as_ref().map_or_else(|| identifier.to_owned(), expand)
    }
}
