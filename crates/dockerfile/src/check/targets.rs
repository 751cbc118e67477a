//! The stages of a file, as `--call=targets` lists them.

use crate::ast::{Dockerfile, FlagName};
use crate::span::Span;
use crate::text::Text;

/// A stage that can be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name in lower case, if it has one.
    pub name: Option<String>,
    /// What the comment above it says about it.
    pub description: Option<String>,
    /// Whether it is the one that is built without `--target`.
    pub default: bool,
    /// What it starts from, as it was written.
    pub base: String,
    /// Its platform, as it was written.
    pub platform: Option<String>,
    /// All of its `FROM`.
    pub span: Span,
}

/// Lists the stages of a file.
#[must_use]
pub fn targets(file: &Dockerfile) -> Vec<Target> {
    let count = file.stages.len();
    let target = |(index, stage): (usize, &crate::ast::Stage)| {
        let name = stage.name.as_ref().map(|name| name.name.clone());
        Target {
            description: name.as_ref().and_then(|name| description(&stage.head.comments, name)),
            name,
            default: index + 1 == count,
            base: stage.base.as_str().to_owned(),
            platform: stage.head.flag(FlagName::Platform).map(|flag| flag.value.as_str().to_owned()),
            span: stage.head.span,
        }
    };
    file.stages.iter().enumerate().map(target).collect()
}

/// Returns what the comments above a definition say about `name`: the rest of the first line that begins with it.
pub(super) fn description(comments: &[Text], name: &str) -> Option<String> {
    let rest = |comment: &Text| comment.as_str().strip_prefix(name)?.strip_prefix(' ').map(str::to_owned);
    comments.iter().find_map(rest)
}
