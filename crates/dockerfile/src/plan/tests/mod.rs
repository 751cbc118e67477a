//! What the plan makes of whole files. Names of cases (T65, A070) are those of the reference.

mod diagnostics;
mod files;
mod language;
mod metadata;
mod recorded;
mod stages;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use stave_oci::{DiffId, ImageConfig, ImageId, Platform, RootFs};

use super::{Base, BaseRequest, BuildPlan, Facts, Plan, PlanOptions, plan};
use crate::Diagnostic;

fn options() -> PlanOptions {
    PlanOptions::new("linux/amd64".parse::<Platform>().expect("a platform"))
}

fn with_args(args: &[(&str, &str)]) -> PlanOptions {
    let build_args = args.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect::<BTreeMap<_, _>>();
    PlanOptions { build_args, ..options() }
}

fn with_target(target: &str) -> PlanOptions {
    PlanOptions { target: Some(target.to_owned()), ..options() }
}

/// An image with one layer of its own.
fn image(name: &str) -> ImageConfig {
    ImageConfig {
        architecture: "amd64".to_owned(),
        os: "linux".to_owned(),
        rootfs: RootFs { diff_ids: vec![DiffId::of(name.as_bytes())], ..RootFs::default() },
        ..ImageConfig::default()
    }
}

/// Plans `text`; every image exists, and looks as `images` says.
fn outcome(text: &str, options: &PlanOptions, images: &dyn Fn(&str) -> ImageConfig) -> (Plan, Vec<Diagnostic>) {
    let parsed = crate::parse(text);
    let mut facts = Facts::default();
    loop {
        let (planned, mut found) = plan(&parsed.file, options, &facts);
        let Plan::Need(requests) = planned else {
            found.splice(0..0, parsed.diagnostics);
            return (planned, found);
        };
        assert!(!requests.is_empty(), "a plan that needs something says what");
        for (BaseRequest { reference, platform }, _) in requests {
            let config = images(&reference);
            let base = Base { id: ImageId::of(reference.as_bytes()), config };
            let old = facts.bases.insert(BaseRequest { reference, platform }, base);
            assert_eq!(old, None, "nothing is asked for twice");
        }
    }
}

fn ready_with(text: &str, options: &PlanOptions, images: &dyn Fn(&str) -> ImageConfig) -> BuildPlan {
    match outcome(text, options, images) {
        (Plan::Ready(plan), diagnostics) if !diagnostics.iter().any(Diagnostic::is_error) => *plan,
        (_, diagnostics) => panic!("there are mistakes:\n{}", render(text, &diagnostics)),
    }
}

fn ready(text: &str) -> BuildPlan {
    ready_with(text, &options(), &image)
}

/// The images that are asked for first.
fn needs(text: &str, options: &PlanOptions) -> Vec<String> {
    let parsed = crate::parse(text);
    match plan(&parsed.file, options, &Facts::default()) {
        (Plan::Need(requests), _) => requests.into_iter().map(|(request, _)| request.reference).collect(),
        (Plan::Ready(_), _) => Vec::new(),
        (Plan::Invalid, diagnostics) => panic!("there are mistakes:\n{}", render(text, &diagnostics)),
    }
}

/// Diagnostics with the words that they point at: `!` at the mistake, `-` at what else matters.
fn render(text: &str, diagnostics: &[Diagnostic]) -> String {
    let mut out = String::new();
    for diagnostic in diagnostics {
        let severity = if diagnostic.is_error() { "error" } else { "warning" };
        writeln!(out, "{severity}[{}]: {}", diagnostic.code, diagnostic.message).expect("a String takes every text");
        for label in &diagnostic.labels {
            let line = crate::span::position(text, label.span.start).line;
            let (mark, words) = (if label.primary { '!' } else { '-' }, &text[label.span.range()]);
            writeln!(out, "  {mark} line {line}: `{words}` {}", label.text).expect("a String takes every text");
        }
        for hint in &diagnostic.hints {
            writeln!(out, "  hint: {hint}").expect("a String takes every text");
        }
    }
    out.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

fn history(plan: &BuildPlan) -> Vec<&str> {
    plan.history.iter().map(|item| item.created_by.as_str()).collect()
}

fn titles(plan: &BuildPlan) -> Vec<String> {
    let title = |step: &super::Step| {
        let stage = step.stage.name.clone().unwrap_or_else(|| step.stage.index.to_string());
        format!("[{stage} {}/{}] {}", step.number, step.of, step.title)
    };
    plan.steps.iter().map(title).collect()
}

fn env_of_last_run(plan: &BuildPlan) -> Vec<String> {
    let mut execs = plan.graph.reachable(plan.target).into_iter().filter_map(|node| match plan.graph.op(node) {
        stave_graph::Op::Exec(exec) => Some(exec.env.clone()),
        _ => None,
    });
    let mut env = execs.next_back().expect("there is a RUN");
    env.retain(|entry| !entry.starts_with("PATH="));
    env
}
