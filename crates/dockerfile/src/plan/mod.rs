//! Turns the syntax tree into a build graph, an image configuration and a list of steps.
//!
//! It knows no registry: what it must know about base images it asks for ([`Plan::Need`]), all of it at once, and is
//! then called again with the answers. Nothing is kept between two calls. Mistakes that do not depend on the bases are
//! found before anything is asked for.
//!
//! Only stages that the target needs are planned. In the others only what no base image could make right is reported:
//! names that cannot be resolved at all, and cycles.
//!
//! Read `values` (what goes in and comes out), `stages` (what names mean), `triggers` (what bases add), `lower` (top down),
//! then the instructions: `run` and `mounts`, `copy`, `metadata`.

mod checks;
pub mod codes;
mod copy;
mod go_text;
mod lower;
mod metadata;
mod mounts;
mod ports;
mod run;
mod scans;
mod signals;
mod sources;
mod stage;
mod stages;
mod triggers;
mod values;
mod variables;
mod words;

pub use checks::survey;
pub(crate) use checks::{Needed, needed_stages};
pub use lower::PLAN_BYTES_MAX;
pub use scans::{Scans, scans};
pub use sources::{SourcePlace, StageSource, StageSources, stage_sources};
pub use stages::{STAGES_MAX, similar_stage, stage_named};
pub use values::{
    Base, BaseRequest, BuildPlan, Facts, HistoryItem, Ignored, NamedContext, Plan, PlanOptions, RunDefaults, Scope,
    StageLabel, Step, StepWorld, Survey, context_name,
};
pub(crate) use variables::{Variables, is_hidden};

use std::collections::BTreeMap;
use std::sync::Arc;

use stave_graph::Graph;

use crate::ast::{Dockerfile, InstructionKind};
use crate::diagnostic::Diagnostic;
use lower::Lowering;

/// Plans the build of a file, as far as `facts` allow, and says what is wrong with the file.
///
/// The plan is [`Plan::Invalid`] exactly if one of the diagnostics is an error, or if there is no stage at all (which
/// the parser reports).
#[must_use]
pub fn plan(file: &Dockerfile, options: &PlanOptions, facts: &Facts) -> (Plan, Vec<Diagnostic>) {
    let mut diagnostics = Vec::new();
    if file.stages.is_empty() {
        return (Plan::Invalid, diagnostics);
    }
    let predefined = variables::predefined(file, options);
    let globals = globals(file, options, predefined.clone(), &mut diagnostics);
    let Some(bases) = stages::bases(file, options, &globals, &mut diagnostics) else {
        return (Plan::Invalid, diagnostics);
    };
    let mut findings = checks::of_whole_file(file, options, &predefined, &globals);
    let (file, anchors) = triggers::apply(file, &bases, options, facts, &mut diagnostics);
    let file = &*file;
    let stages = stages::resolve(file, bases, options, &mut diagnostics);
    let lowering = lowered(file, options, facts, &stages, &globals, diagnostics);
    let Lowering { diagnostics, graph, mut origins, missing, mut steps, mut done, findings: more, .. } = lowering;
    findings.extend(more);
    let mut diagnostics: Vec<Diagnostic> = diagnostics.into_iter().map(|one| anchors.settle(one)).collect();
    for span in origins.iter_mut().chain(steps.iter_mut().map(|step| &mut step.span)) {
        *span = anchors.place(*span);
    }
    diagnostics.sort_by_key(|diagnostic| diagnostic.labels.first().map(|label| label.span));
    let target = stages.target.and_then(|target| done.remove(&target));
    let Some(target) = target.filter(|_| !diagnostics.iter().any(Diagnostic::is_error)) else {
        return (Plan::Invalid, diagnostics);
    };
    if !missing.is_empty() {
        let missing = missing.into_iter().map(|(request, span)| (request, anchors.place(span))).collect();
        return (Plan::Need(missing), diagnostics);
    }
    let mut config = target.config;
    config.config.labels.extend(options.labels.iter().cloned());
    let unused_build_args = variables::unused_build_args(file, options, &predefined);
    let plan = BuildPlan {
        graph,
        target: target.node,
        config,
        base: target.base,
        history: target.history,
        steps,
        unused_build_args,
        findings,
        origins,
    };
    (Plan::Ready(Box::new(plan)), diagnostics)
}

/// Lowers the stages that are needed.
fn lowered<'a>(
    file: &'a Dockerfile,
    options: &'a PlanOptions,
    facts: &'a Facts,
    stages: &'a stages::Stages,
    globals: &'a Variables,
    diagnostics: Vec<Diagnostic>,
) -> Lowering<'a> {
    let from_scope = Arc::new(values::Scope {
        variables: globals.entries().to_vec(),
        args: globals.names().map(str::to_owned).collect(),
    });
    let mut lowering = Lowering {
        file,
        options,
        facts,
        stages,
        globals,
        from_scope,
        diagnostics,
        findings: Vec::new(),
        graph: Graph::new(),
        origins: Vec::new(),
        missing: Vec::new(),
        steps: Vec::new(),
        done: BTreeMap::new(),
        bytes: 0,
    };
    for &index in &stages.needed {
        lowering.stage(index);
    }
    lowering
}

/// The variables of `FROM` lines: what is predefined, and the `ARG`s before the first `FROM`, from left to right.
fn globals(
    file: &Dockerfile,
    options: &PlanOptions,
    mut variables: Variables,
    diagnostics: &mut Vec<Diagnostic>,
) -> Variables {
    for instruction in &file.global_args {
        let InstructionKind::Arg(declarations) = &instruction.kind else { continue };
        for declaration in declarations {
            let name = declaration.name.as_str();
            let value = match (options.build_args.get(name), &declaration.default) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(default)) => words::word(default, &variables, file.escape, diagnostics),
                (None, None) => None,
            };
            match (value, &declaration.default) {
                (Some(value), _) => variables.set(name, &value),
                (None, None) => variables.declare(name),
                (None, Some(_)) => {} // The default is a mistake, which has been reported.
            }
        }
    }
    variables
}

#[cfg(test)]
mod tests;
