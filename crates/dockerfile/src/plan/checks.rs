//! Gives the checks what the plan knows, and makes the plan of all stages that they need when nothing is built.

use std::collections::{BTreeMap, BTreeSet};

use super::lower::Lowering;
use super::stage::Stage;
use super::stages::{self, Base, Place};
use super::variables::{self, Variables};
use super::{Facts, PlanOptions, Survey, globals, lowered, triggers};
use crate::ast::{Dockerfile, Instruction, InstructionKind};
use crate::check::{self, View};
use crate::diagnostic::Diagnostic;

impl Lowering<'_> {
    /// Checks an instruction before it is lowered. Those that a base brings stand nowhere in the text, and are not the
    /// user's to change.
    pub(super) fn check_instruction(&mut self, stage: &Stage, at: (usize, usize), instruction: &Instruction) {
        if !check::is_written(instruction) {
            return;
        }
        let view = View {
            escape: self.file.escape,
            variables: &stage.variables,
            globals: self.globals,
            args: &stage.args,
            build_args: &self.options.build_args,
            has_shell: stage.config.config.shell.as_ref().is_some_and(|shell| !shell.is_empty()),
            has_workdir: matches!(instruction.kind, InstructionKind::Workdir(_)) && self.has_workdir(at),
            ignored: self.facts.ignored.as_ref(),
        };
        check::instruction(&view, instruction, &mut self.findings);
    }

    /// Whether a `WORKDIR` stands before this instruction, in its stage or in those that it starts from.
    fn has_workdir(&self, (stage, instruction): (usize, usize)) -> bool {
        let workdir = |instruction: &Instruction| matches!(instruction.kind, InstructionKind::Workdir(_));
        let mut before = &self.file.stages[stage].instructions[..instruction];
        let mut stage = stage;
        loop {
            if before.iter().any(workdir) {
                return true;
            }
            let Some(Base { place: Place::Stage(earlier), .. }) = &self.stages.bases[stage] else { return false };
            stage = *earlier;
            before = &self.file.stages[stage].instructions;
        }
    }
}

/// Returns the findings that need no stage.
pub(super) fn of_whole_file(
    file: &Dockerfile,
    options: &PlanOptions,
    predefined: &Variables,
    global: &Variables,
) -> Vec<Diagnostic> {
    let without = PlanOptions { build_args: BTreeMap::new(), ..options.clone() };
    let defaults = globals(file, &without, variables::predefined(file, &without), &mut Vec::new());
    let mut findings = check::of_file(file);
    findings.extend(check::from_lines(file, predefined, global, &defaults));
    findings
}

/// Checks a file without planning a build: all its stages, or those that the target of `options` needs.
///
/// Findings that depend on a base image which is neither known nor absent are not made yet; those that depend on an
/// absent one are never made.
#[must_use]
pub fn survey(file: &Dockerfile, options: &PlanOptions, facts: &Facts) -> Survey {
    let mut mistakes = Vec::new();
    if file.stages.is_empty() {
        return Survey { missing: Vec::new(), mistakes, findings: check::of_file(file) };
    }
    let predefined = variables::predefined(file, options);
    let globals = globals(file, options, predefined.clone(), &mut mistakes);
    let mut findings = of_whole_file(file, options, &predefined, &globals);
    let Some(bases) = stages::bases(file, options, &globals, &mut mistakes) else {
        return Survey { missing: Vec::new(), mistakes, findings };
    };
    let (file, anchors) = triggers::apply(file, &bases, options, facts, &mut mistakes);
    let mut stages = stages::resolve(&file, bases, options, &mut mistakes);
    if options.target.is_none() {
        stages.needed = (0..file.stages.len()).collect();
    }
    let Lowering { missing, diagnostics, findings: more, .. } =
        lowered(&file, options, facts, &stages, &globals, mistakes);
    findings.extend(more);
    let missing = missing.into_iter().map(|(request, span)| (request, anchors.place(span))).collect();
    let mut mistakes: Vec<Diagnostic> = diagnostics.into_iter().map(|one| anchors.settle(one)).collect();
    mistakes.sort_by_key(Diagnostic::span);
    Survey { missing, mistakes, findings }
}

/// The stages that a target needs, and what their `FROM` lines see.
pub(crate) struct Needed {
    pub(crate) globals: Variables,
    /// For each stage that starts from a stage, which one.
    pub(crate) parents: BTreeMap<usize, usize>,
    pub(crate) stages: BTreeSet<usize>,
    pub(crate) target: usize,
}

/// Finds the stages that the target of `options` needs.
pub(crate) fn needed_stages(file: &Dockerfile, options: &PlanOptions) -> Result<Needed, Vec<Diagnostic>> {
    let mut mistakes = Vec::new();
    if file.stages.is_empty() {
        return Err(mistakes);
    }
    let predefined = variables::predefined(file, options);
    let globals = globals(file, options, predefined, &mut mistakes);
    let Some(bases) = stages::bases(file, options, &globals, &mut mistakes) else { return Err(mistakes) };
    let stages = stages::resolve(file, bases, options, &mut mistakes);
    for &index in &stages.needed {
        let Some(Base { place: Place::Image(reference), unset, .. }) = &stages.bases[index] else { continue };
        let span = file.stages[index].base.span();
        stages::is_image(file, options, reference, span, index, unset.as_deref(), &mut mistakes);
    }
    let Some(target) = stages.target.filter(|_| !mistakes.iter().any(Diagnostic::is_error)) else {
        return Err(mistakes);
    };
    let parent = |(index, base): (usize, &Option<Base>)| match base.as_ref()?.place {
        Place::Stage(earlier) => Some((index, earlier)),
        _ => None,
    };
    let parents = stages.bases.iter().enumerate().filter_map(parent).collect();
    Ok(Needed { globals, parents, stages: stages.needed, target })
}
