//! Go's text templates, as far as `--format` needs them: text and JSON values in, text out.
//!
//! Fields, `json`, `index`, `slice`, `len`, `join`, `split`, `upper`, `lower`, `title`, `print`, `println`, `printf`, comparisons,
//! `and`, `or`, `not`, pipelines, variables, `if`, `with`, `range`, trim markers and comments. Anything else is an error
//! that says where. Knows nothing of images or containers but which fields Docker leaves out of its JSON.
//!
//! Reference: the documentation of Go's `text/template`; Docker's "Format command and log output".

mod eval;
mod lex;
mod parse;
mod print;

use serde_json::Value;

/// A template that has been read.
#[derive(Debug)]
pub(crate) struct Template {
    nodes: Vec<Node>,
}

/// Why a template cannot be read or carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("template, character {place}: {message}")]
pub(crate) struct TemplateError {
    /// Where in the template, in characters from 1.
    place: usize,
    message: String,
}

/// A piece of a template.
#[derive(Debug)]
enum Node {
    Text(String),
    Print(Pipeline),
    If { condition: Pipeline, then: Vec<Node>, otherwise: Vec<Node> },
    With { value: Pipeline, then: Vec<Node>, otherwise: Vec<Node> },
    Range { list: Pipeline, body: Vec<Node>, otherwise: Vec<Node> },
}

/// `$k, $v := a | b c`: each command's value is the last argument of the next.
#[derive(Debug)]
struct Pipeline {
    variables: Vec<String>,
    commands: Vec<Call>,
}

/// A function and its arguments, or one value.
#[derive(Debug)]
struct Call {
    place: usize,
    words: Vec<Term>,
}

#[derive(Debug)]
struct Term {
    place: usize,
    kind: TermKind,
    /// Names that are looked up in it, one after the other.
    fields: Vec<String>,
}

#[derive(Debug)]
enum TermKind {
    Dot,
    Variable(String),
    Literal(Value),
    Function(String),
    Parens(Box<Pipeline>),
}

impl Template {
    /// Reads `text`.
    pub(crate) fn parse(text: &str) -> Result<Self, TemplateError> {
        parse::parse(text).map(|nodes| Self { nodes })
    }

    /// Carries the template out for `data`.
    pub(crate) fn render(&self, data: &Value) -> Result<String, TemplateError> {
        eval::render(&self.nodes, data)
    }
}

impl TemplateError {
    fn new(place: usize, message: impl Into<String>) -> Self {
        Self { place, message: message.into() }
    }
}

#[cfg(test)]
mod tests;
