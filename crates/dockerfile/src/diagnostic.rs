//! What is said to the user about their text. Rendering (colours, excerpts, carets) is not known here.

use crate::check::rules;
use crate::span::Span;
use crate::{codes, plan};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The build goes on.
    Warning,
    /// Nothing is built.
    Error,
}

/// One mistake, or one thing worth knowing, in the user's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Stable code, one of [`crate::codes`].
    pub code: &'static str,
    /// Whether it ends the build.
    pub severity: Severity,
    /// Lower-case fragment without a final period.
    pub message: String,
    /// The words that it is about. Exactly one is primary.
    pub labels: Vec<Label>,
    /// Whole advices, each printed on its own `hint:` line.
    pub hints: Vec<String>,
}

/// Some words of the text, and what is to be said about them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Which words.
    pub span: Span,
    /// What is wrong with them or what they have to do with it; may be empty.
    pub text: String,
    /// Whether these are the words with the mistake.
    pub primary: bool,
}

/// Returns the code, or the name of the check, that reads like `text`: for what was written down earlier and is read
/// again. What no mistake and no check is called is `unknown`.
#[must_use]
pub fn known_code(text: &str) -> &'static str {
    let of_check = rules::find(text).map(|rule| rule.name);
    let mut of_mistakes = codes::TABLE.iter().chain(plan::codes::ALL).map(|code| code.code);
    of_check.or_else(|| of_mistakes.find(|code| *code == text)).unwrap_or("unknown")
}

impl Diagnostic {
    /// Returns an error about the words at `span`.
    #[must_use]
    pub fn error(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Error, span, message.into())
    }

    /// Returns a warning about the words at `span`.
    #[must_use]
    pub fn warning(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Warning, span, message.into())
    }

    fn new(code: &'static str, severity: Severity, span: Span, message: String) -> Self {
        let label = Label { span, text: String::new(), primary: true };
        Self { code, severity, message, labels: vec![label], hints: Vec::new() }
    }

    /// Says `text` below the words with the mistake.
    #[must_use]
    pub fn label(mut self, text: impl Into<String>) -> Self {
        self.labels[0].text = text.into();
        self
    }

    /// Points at other words that matter, and says `text` about them.
    #[must_use]
    pub fn also(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label { span, text: text.into(), primary: false });
        self
    }

    /// Adds an advice.
    #[must_use]
    pub fn hint(mut self, text: impl Into<String>) -> Self {
        self.hints.push(text.into());
        self
    }

    /// Adds an advice if there is one.
    #[must_use]
    pub fn maybe_hint(mut self, text: Option<String>) -> Self {
        self.hints.extend(text);
        self
    }

    /// Returns where the mistake is.
    #[must_use]
    pub fn span(&self) -> Span {
        self.labels[0].span
    }

    /// Tells whether it ends the build.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}
