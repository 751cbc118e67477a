//! Why a word cannot be expanded.

use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::span::Span;

/// A word that cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    /// `${}`, `${:x}`, `${{`.
    #[error("bad substitution: a variable's name is expected after `${{`")]
    NoName {
        /// From the dollar sign to what is wrong.
        span: Span,
    },
    /// No `}` up to the end of the word.
    #[error("substitution without its closing `}}`")]
    Unclosed {
        /// From the dollar sign to the end of the word.
        span: Span,
    },
    /// `${v/pattern}` without a second slash.
    #[error("substitution without the `/` before its replacement")]
    NoReplacement {
        /// From the dollar sign to the end of the word.
        span: Span,
    },
    /// A quote that is never closed.
    #[error("no closing `{quote}`")]
    Quote {
        /// From the quote to the end of the word.
        span: Span,
        /// Which quote.
        quote: char,
    },
    /// `${v=word}`, `${v^}`.
    #[error("unsupported modifier `{modifier}` in a substitution")]
    Modifier {
        /// The modifier.
        span: Span,
        /// The same, as text.
        modifier: String,
    },
    /// A pattern that escapes a character which needs no escape.
    #[error("invalid pattern `{pattern}` in a substitution")]
    Pattern {
        /// The pattern as it was written.
        span: Span,
        /// The pattern after expansion.
        pattern: String,
    },
    /// `${v:?message}` of a variable that has no value.
    #[error("{name}: {message}")]
    Required {
        /// From the dollar sign to the closing brace.
        span: Span,
        /// The variable.
        name: String,
        /// What the user wants to be said about it.
        message: String,
    },
    /// More than [`super::NESTING_MAX`] substitutions inside each other.
    #[error("substitutions are nested more than {limit} deep", limit = super::NESTING_MAX)]
    Depth {
        /// The first one too many.
        span: Span,
    },
    /// More than [`super::EXPANDED_BYTES_MAX`] bytes.
    #[error("the expanded word is longer than {limit} bytes", limit = super::EXPANDED_BYTES_MAX)]
    Length {
        /// The word.
        span: Span,
    },
}

impl ExpandError {
    /// Returns the words with the mistake.
    #[must_use]
    pub fn span(&self) -> Span {
        match self {
            Self::NoName { span }
            | Self::Unclosed { span }
            | Self::NoReplacement { span }
            | Self::Quote { span, .. }
            | Self::Modifier { span, .. }
            | Self::Pattern { span, .. }
            | Self::Required { span, .. }
            | Self::Depth { span }
            | Self::Length { span } => *span,
        }
    }

    /// Returns what to tell the user.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        let code = match self {
            Self::NoName { .. } | Self::Unclosed { .. } | Self::NoReplacement { .. } => codes::BAD_SUBSTITUTION,
            Self::Quote { .. } => codes::UNCLOSED_QUOTE,
            Self::Modifier { .. } => codes::UNSUPPORTED_MODIFIER,
            Self::Pattern { .. } => codes::BAD_PATTERN,
            Self::Required { .. } => codes::REQUIRED_VARIABLE,
            Self::Depth { .. } | Self::Length { .. } => codes::EXPANSION_LIMIT,
        };
        let diagnostic = Diagnostic::error(code, self.span(), self.to_string());
        match self {
            Self::Quote { quote: '\'', .. } => diagnostic.label("opened here").hint(
                "To mean the character itself, write an escape character before the `'`, outside of quotes: inside \
                 single quotes nothing is escaped.",
            ),
            Self::Quote { quote, .. } => diagnostic
                .label("opened here")
                .hint(format!("To mean the character itself, write an escape character before the `{quote}`.")),
            Self::Modifier { .. } => {
                diagnostic.hint("The modifiers are `:-` `-` `:+` `+` `:?` `?` `#` `##` `%` `%%` `/` `//`.")
            }
            Self::Pattern { .. } => {
                diagnostic.hint("In a pattern only `*`, `?`, `}`, `/` and the escape character can be escaped.")
            }
            Self::Unclosed { .. } => diagnostic.label("opened here"),
            _ => diagnostic,
        }
    }
}
