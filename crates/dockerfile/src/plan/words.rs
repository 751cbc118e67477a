//! Expands the words of instructions. A mistake becomes a diagnostic, and there is no word then.

use std::cell::Cell;

use super::variables::Variables;
use crate::diagnostic::Diagnostic;
use crate::expand::{ExpandError, Expanded, expand, expand_body, expand_words};
use crate::text::Text;

/// Expands `text` to one word.
///
/// There is also no word if it depends on variables that are not known yet; then nothing is said, because the plan is
/// made again when they are.
pub(super) fn word(
    text: &Text,
    variables: &Variables,
    escape: char,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<String> {
    expanded(text, variables, escape, diagnostics).map(|expanded| expanded.text)
}

/// The same, with the variables that have no value.
pub(super) fn expanded(
    text: &Text,
    variables: &Variables,
    escape: char,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Expanded> {
    settle(variables, diagnostics, |lookup| expand(text, escape, lookup))
}

/// Expands `text` and splits it at blanks that are not quoted.
pub(super) fn words(
    text: &Text,
    variables: &Variables,
    escape: char,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Vec<String>> {
    settle(variables, diagnostics, |lookup| expand_words(text, escape, lookup)).map(|expanded| expanded.words)
}

/// Expands the body of a heredoc.
pub(super) fn body(text: &Text, variables: &Variables, diagnostics: &mut Vec<Diagnostic>) -> Option<String> {
    settle(variables, diagnostics, |lookup| expand_body(text, lookup)).map(|expanded| expanded.text)
}

fn settle<T>(
    variables: &Variables,
    diagnostics: &mut Vec<Diagnostic>,
    expand: impl FnOnce(&dyn Fn(&str) -> Option<String>) -> Result<T, ExpandError>,
) -> Option<T> {
    let undecided = Cell::new(false);
    let lookup = |name: &str| {
        let value = variables.get(name).map(str::to_owned);
        undecided.set(undecided.get() || (value.is_none() && variables.incomplete));
        value
    };
    match expand(&lookup) {
        Ok(expanded) => Some(expanded).filter(|_| !undecided.get()),
        Err(ExpandError::Required { .. } | ExpandError::Length { .. }) if undecided.get() => None,
        Err(error) => {
            diagnostics.push(error.diagnostic().maybe_hint(required_hint(&error, variables)));
            None
        }
    }
}

/// Says how a variable gets the value that `${name:?message}` asks for.
fn required_hint(error: &ExpandError, variables: &Variables) -> Option<String> {
    let ExpandError::Required { name, .. } = error else { return None };
    match variables.get(name) {
        Some(_) => None, // It is empty, which may be the doing of an `ENV`.
        None if variables.is_unset(name) => Some(format!("Give it a value: `--build-arg {name}=...`.")),
        None => {
            Some(format!("Declare it before this with `ARG {name}`, and give it a value: `--build-arg {name}=...`."))
        }
    }
}
