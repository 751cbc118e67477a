//! Checks of `FROM` lines: the arguments that they use, and the platforms that they ask for.

use std::collections::BTreeSet;

use stave_oci::{Platform, Reference};

use super::words::{Missing, Word, missing, word};
use super::{push, rules};
use crate::ast::{Dockerfile, FlagName, InstructionKind, Stage};
use crate::diagnostic::Diagnostic;
use crate::expand::{Expanded, Undefined};
use crate::plan::Variables;
use crate::suggest::nearest;
use crate::text::Text;

/// The variable whose value is the platform of the result.
const TARGET_PLATFORM: &str = "TARGETPLATFORM";

/// Checks all `FROM` lines. `globals` are their variables, `defaults` what these would be without build arguments,
/// `predefined` those that need no declaration.
pub(crate) fn from_lines(
    file: &Dockerfile,
    predefined: &Variables,
    globals: &Variables,
    defaults: &Variables,
) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    let declared = declared(file, predefined);
    let mut stages = BTreeSet::new();
    for stage in &file.stages {
        if let Some(flag) = stage.head.flag(FlagName::Platform)
            && let Some(word) = word(&flag.value, file.escape, globals)
        {
            redundant_platform(&flag.value, &word, globals, &mut findings);
            constant_platform(stage, &flag.value, &word, &mut findings);
            undefined_args(word.expanded, &declared, &mut findings);
        }
        if let Some(word) = word(&stage.base, file.escape, globals) {
            stage_casing(stage, &word, &stages, &mut findings);
            undefined_args(word.expanded, &declared, &mut findings);
        }
        invalid_default(file, stage, defaults, &stages, &mut findings);
        stages.extend(stage.name.as_ref().map(|name| name.name.clone()));
    }
    findings
}

/// The names that a `FROM` may use, with or without a value.
fn declared<'a>(file: &'a Dockerfile, predefined: &'a Variables) -> BTreeSet<&'a str> {
    let own = file.global_args.iter().flat_map(|instruction| match &instruction.kind {
        InstructionKind::Arg(declarations) => declarations.as_slice(),
        _ => &[],
    });
    own.map(|declaration| declaration.name.as_str()).chain(predefined.names()).collect()
}

/// `UndefinedArgInFrom`.
fn undefined_args(expanded: Expanded, declared: &BTreeSet<&str>, findings: &mut Vec<Diagnostic>) {
    for Missing { variable: Undefined { name, span }, .. } in missing(expanded) {
        if declared.contains(name.as_str()) {
            continue;
        }
        let near = nearest(&name, declared.iter().copied());
        let hint = near.map_or_else(
            || format!("Declare it before the first `FROM`: `ARG {name}=...`."),
            |near| format!("An argument with a similar name is `{near}`."),
        );
        let message = format!("`{name}` is not declared before the first `FROM`");
        push(findings, Diagnostic::warning(rules::UNDEFINED_ARG_IN_FROM, span, message).hint(hint));
    }
}

/// `StageNameCasing` of a base that means a stage: only some builders find it so.
fn stage_casing(stage: &Stage, word: &Word, stages: &BTreeSet<String>, findings: &mut Vec<Diagnostic>) {
    let written = word.expanded.text.as_str();
    let lower = written.to_lowercase();
    if written != lower && stages.contains(&lower) {
        let message = format!("stage name `{written}` is not in lower case");
        let finding = Diagnostic::warning(rules::STAGE_NAME_CASING, stage.base.span(), message)
            .label("other builders look for an image of this name");
        push(findings, finding.hint(format!("Write `{lower}`.")));
    }
}

/// `InvalidDefaultArgInFrom`. What names no variable is wrong with every argument, and the plan says so.
fn invalid_default(
    file: &Dockerfile,
    stage: &Stage,
    defaults: &Variables,
    stages: &BTreeSet<String>,
    findings: &mut Vec<Diagnostic>,
) {
    let Some(Word { expanded, asked }) = word(&stage.base, file.escape, defaults) else { return };
    let name = expanded.text;
    if asked.is_empty() || stages.contains(&name.to_lowercase()) || name.parse::<Reference>().is_ok() {
        return;
    }
    let shown = if name.is_empty() { "nothing".to_owned() } else { format!("`{name}`, which is no image name") };
    let message = format!("without build arguments this is {shown}");
    let finding = Diagnostic::warning(rules::INVALID_DEFAULT_ARG_IN_FROM, stage.base.span(), message)
        .hint(format!("Give `{}` a default in its `ARG`.", asked[0]));
    push(findings, finding);
}

/// `RedundantTargetPlatform`.
fn redundant_platform(text: &Text, word: &Word, globals: &Variables, findings: &mut Vec<Diagnostic>) {
    let only_target = word.asked == [TARGET_PLATFORM] && word.expanded.undefined.is_empty();
    if only_target && globals.get(TARGET_PLATFORM) == Some(word.expanded.text.as_str()) {
        let message = format!("`${TARGET_PLATFORM}` is the platform without this flag too");
        let finding = Diagnostic::warning(rules::REDUNDANT_TARGET_PLATFORM, text.span(), message);
        push(findings, finding.hint("Leave `--platform` out."));
    }
}

/// `FromPlatformFlagConstDisallowed`.
fn constant_platform(stage: &Stage, text: &Text, word: &Word, findings: &mut Vec<Diagnostic>) {
    let Ok(platform) = word.expanded.text.parse::<Platform>() else { return };
    let name = stage.name.as_ref().map_or("", |name| name.name.as_str());
    let told = name.contains(&platform.os) || name.contains(&platform.architecture);
    if word.asked.is_empty() && !told {
        let message = format!("the platform is always `{}`, whatever is built", word.expanded.text);
        let finding =
            Diagnostic::warning(rules::FROM_PLATFORM_FLAG_CONST_DISALLOWED, text.span(), message).hint(format!(
                "Write `$BUILDPLATFORM` or leave the flag out; if it is meant, name the stage so: `AS ...-{}`.",
                platform.architecture
            ));
        push(findings, finding);
    }
}
