//! Checks of words alone: casing, names of stages, comments, old instructions.

use std::collections::BTreeMap;

use super::{comment_value, push, rules};
use crate::ast::{Dockerfile, Instruction, InstructionKind, Stage};
use crate::diagnostic::Diagnostic;
use crate::text::Text;

/// Names that mean something else where a stage may be named.
const RESERVED: [&str; 2] = ["context", "scratch"];

/// The label that took the place of `MAINTAINER`. Reference: OCI image-spec, "Annotations".
const AUTHORS: &str = "org.opencontainers.image.authors";

pub(super) fn check(file: &Dockerfile) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    keywords(file, &mut findings);
    stage_names(file, &mut findings);
    for instruction in &file.global_args {
        described_args(instruction, &mut findings);
    }
    for stage in &file.stages {
        from(stage, &mut findings);
        for instruction in &stage.instructions {
            described_args(instruction, &mut findings);
            if let InstructionKind::Maintainer(author) = &instruction.kind {
                push(&mut findings, maintainer(instruction, author));
            }
        }
    }
    findings
}

/// Whether a word has letters of both cases.
fn is_mixed(word: &str) -> bool {
    word != word.to_lowercase() && word != word.to_uppercase()
}

/// `ConsistentInstructionCasing`: most keywords decide. The `ARG`s before the first `FROM` are not counted.
fn keywords(file: &Dockerfile, findings: &mut Vec<Diagnostic>) {
    let all = || {
        file.stages.iter().flat_map(|stage| {
            std::iter::once(&stage.head.keyword)
                .chain(stage.instructions.iter().map(|instruction| &instruction.head.keyword))
        })
    };
    let clear = || all().map(Text::as_str).filter(|keyword| !is_mixed(keyword));
    let lower = clear().filter(|keyword| **keyword == keyword.to_lowercase()).count();
    let lower_wins = lower > clear().count() - lower;
    for keyword in all() {
        let written = keyword.as_str();
        let (right, name) =
            if lower_wins { (written.to_lowercase(), "lower") } else { (written.to_uppercase(), "upper") };
        if written != right {
            let message = format!("`{written}` is not in {name} case like most instructions of this file");
            let finding = Diagnostic::warning(rules::CONSISTENT_INSTRUCTION_CASING, keyword.span(), message);
            push(findings, finding.hint(format!("Write `{right}`.")));
        }
    }
}

/// `ReservedStageName`, `DuplicateStageName`.
fn stage_names(file: &Dockerfile, findings: &mut Vec<Diagnostic>) {
    let mut known: BTreeMap<&str, &Text> = BTreeMap::new();
    for name in file.stages.iter().filter_map(|stage| stage.name.as_ref()) {
        let span = name.written.span();
        if RESERVED.contains(&name.name.as_str()) {
            let message = format!("a stage is named `{}`, which means something else", name.name);
            let finding = Diagnostic::warning(rules::RESERVED_STAGE_NAME, span, message);
            push(
                findings,
                finding.hint("Give it another name; `scratch` is the empty image, `context` the build context."),
            );
        }
        if let Some(earlier) = known.insert(&name.name, &name.written) {
            let message = format!("two stages are named `{}`", name.name);
            let finding = Diagnostic::warning(rules::DUPLICATE_STAGE_NAME, span, message)
                .label("meant by all that follows")
                .also(earlier.span(), "named so before")
                .hint("Give each a name of its own.");
            push(findings, finding);
        }
    }
}

/// What can be said about a `FROM` without knowing a variable.
fn from(stage: &Stage, findings: &mut Vec<Diagnostic>) {
    let Some(name) = &stage.name else { return };
    let written = name.written.as_str();
    if written != name.name {
        let message = format!("stage name `{written}` is not in lower case");
        let finding = Diagnostic::warning(rules::STAGE_NAME_CASING, name.written.span(), message);
        push(findings, finding.hint(format!("Write `{}`.", name.name)));
    }
    let (keyword, between) = (stage.head.keyword.as_str(), as_keyword(stage));
    // A `From` is another check's affair, and gives `AS` no case to follow.
    if let Some(between) = between.filter(|_| !is_mixed(keyword)) {
        let right = if keyword == keyword.to_lowercase() { "as" } else { "AS" };
        if between.as_str() != right {
            let message = format!("`{}` is not in the case of `{keyword}`", between.as_str());
            let finding = Diagnostic::warning(rules::FROM_AS_CASING, between.span(), message)
                .also(stage.head.keyword.span(), "")
                .hint(format!("Write `{right}`."));
            push(findings, finding);
        }
    }
    described(stage.head.comments.last(), "stage", &[&name.name], findings);
}

/// Returns the `AS` of a named stage: the word before the name, which is the last.
fn as_keyword(stage: &Stage) -> Option<Text> {
    let line = &stage.head.line;
    let before = line.as_str().trim_end().rsplit_once(char::is_whitespace)?.0.trim_end();
    let start = before.rfind(char::is_whitespace)? + 1;
    Some(line.slice(start..before.len())).filter(|word| word.as_str().eq_ignore_ascii_case("as"))
}

fn described_args(instruction: &Instruction, findings: &mut Vec<Diagnostic>) {
    let InstructionKind::Arg(declarations) = &instruction.kind else { return };
    let names: Vec<&str> = declarations.iter().map(|declaration| declaration.name.as_str()).collect();
    described(instruction.head.comments.last(), "argument", &names, findings);
}

/// `InvalidDefinitionDescription`: the last comment above a definition begins with what is defined.
fn described(comment: Option<&Text>, what: &str, names: &[&str], findings: &mut Vec<Diagnostic>) {
    let Some(comment) = comment.filter(|comment| comment_value(comment).is_none()) else { return };
    let first = comment.as_str().split(' ').next().unwrap_or_default();
    if names.is_empty() || names.contains(&first) {
        return;
    }
    let shown = if let [name] = names { name } else { "NAME" };
    let message = format!("the comment does not describe the {what} below it");
    let finding = Diagnostic::warning(rules::INVALID_DEFINITION_DESCRIPTION, comment.span(), message)
        .label(format!("expected `{shown} ...`"))
        .hint(format!("Write `# {shown} ` and a description, or put an empty line below the comment."));
    push(findings, finding);
}

fn maintainer(instruction: &Instruction, author: &Text) -> Diagnostic {
    let author = author.as_str().replace('\\', "\\\\").replace('"', "\\\"");
    Diagnostic::warning(rules::MAINTAINER_DEPRECATED, instruction.head.keyword.span(), "`MAINTAINER` is deprecated")
        .hint(format!("Write `LABEL {AUTHORS}=\"{author}\"`."))
}
