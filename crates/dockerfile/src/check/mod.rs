//! The checks: what is allowed in a Dockerfile and is still seldom meant.
//!
//! They turn the syntax tree, and what the plan knows about variables and bases at each instruction, into findings:
//! diagnostics whose code is the name of a check. Nothing of a build depends on them. They know neither where their
//! pages are shown nor what a finding does to an exit code.
//!
//! Names and conditions are BuildKit's (`frontend/dockerfile/linter`), so that `# check=skip=` means the same.
//!
//! Read `rules`, `config`, then the checks: `file` (words alone), `from` (with the arguments before the first `FROM`),
//! `instruction` (with all that the plan knows there); then `outline` and `targets`, which list instead of judging.

mod config;
mod file;
mod from;
mod instruction;
pub mod outline;
pub mod rules;
pub mod targets;
mod words;

pub use config::Config;
pub(crate) use config::{Mistake, comment_value, read};
pub(crate) use from::from_lines;
pub use instruction::is_secret_name;
pub(crate) use instruction::{View, base_platform, instruction, is_written, repeated};

use crate::ast::{Dockerfile, Head};
use crate::diagnostic::{Diagnostic, Severity};
use crate::span::Span;

/// The build argument that replaces what a file says about its checks.
pub const BUILD_ARG: &str = "BUILDKIT_DOCKERFILE_CHECK";

/// Most findings of one kind of pass over a file; nobody reads more.
const FINDINGS_MAX: usize = 500;

/// Returns the findings that need nothing but the file.
#[must_use]
pub fn of_file(file: &Dockerfile) -> Vec<Diagnostic> {
    file::check(file)
}

/// Leaves out the findings that the file does not want, and makes errors of those that shall end the build. Mistakes
/// stay what they are. `config` is the file's own, or what replaces it.
#[must_use]
pub fn settle(file: &Dockerfile, config: &Config, diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let own: Vec<(Span, Config)> =
        heads(file).filter_map(|head| Some((extent(head), Config::of_comments(head)?))).collect();
    let own_at = |span: Span| {
        let near = own.partition_point(|(instruction, _)| instruction.start <= span.start).checked_sub(1)?;
        own.get(near).filter(|(instruction, _)| span.start <= instruction.end).map(|(_, own)| own)
    };
    let mut settled: Vec<Diagnostic> = diagnostics
        .into_iter()
        .filter_map(|mut diagnostic| {
            let Some(rule) = rules::find(diagnostic.code) else { return Some(diagnostic) };
            let own = own_at(diagnostic.span());
            if config.is_error() || own.is_some_and(Config::is_error) {
                diagnostic.severity = Severity::Error;
            }
            config.wants(own, rule).then_some(diagnostic)
        })
        .collect();
    settled.sort_by_key(|diagnostic| (diagnostic.span(), diagnostic.code));
    settled.dedup();
    settled
}

/// Returns the lines of the instruction that `span` is in, from 1: the first and the last.
#[must_use]
pub fn lines(file: &Dockerfile, text: &str, span: Span) -> (usize, usize) {
    let around = |head: &&Head| extent(head).start <= span.start && span.end <= head.span.end;
    let whole = heads(file).find(around).map_or(span, |head| head.span);
    let last = whole.end.max(whole.start + 1) - 1;
    (crate::span::position(text, whole.start).line, crate::span::position(text, last).line)
}

/// Returns where an instruction stands, with the comments above it.
fn extent(head: &Head) -> Span {
    head.comments.iter().fold(head.span, |whole, comment| whole.to(comment.span()))
}

/// All instructions in the order of the file.
fn heads(file: &Dockerfile) -> impl Iterator<Item = &Head> {
    let globals = file.global_args.iter().map(|instruction| &instruction.head);
    let stages = file.stages.iter().flat_map(|stage| {
        std::iter::once(&stage.head).chain(stage.instructions.iter().map(|instruction| &instruction.head))
    });
    globals.chain(stages)
}

/// Adds a finding, unless there are very many.
fn push(findings: &mut Vec<Diagnostic>, finding: Diagnostic) {
    if findings.len() < FINDINGS_MAX {
        findings.push(finding);
    }
}

#[cfg(test)]
mod tests;
