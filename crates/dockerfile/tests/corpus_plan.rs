//! Every text of `test_data/ok` is planned to the graph, the steps and the history that stand beside it in `graph`, or
//! to the diagnostics that say why it is not. Every image exists and has one layer.
//!
//! `BLESS=1` writes what is found instead of comparing it.

#![expect(clippy::disallowed_methods, reason = "the test reads and blesses a corpus; the crate itself does not")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use stave_dockerfile::plan::{Base, BuildPlan, Facts, Plan, PlanOptions, plan};
use stave_dockerfile::{Diagnostic, parse, span};
use stave_oci::{DiffId, ImageConfig, ImageId, RootFs};

/// Longer texts test limits of the parser; three copies of them in a snapshot would say nothing.
const TEXT_BYTES_MAX: usize = 16 * 1024;

#[test]
fn texts_without_mistakes_are_planned_to_their_graphs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("test_data/ok");
    let bless = std::env::var_os("BLESS").is_some_and(|value| value == "1");
    let mut failures = String::new();
    let mut cases: Vec<_> =
        fs::read_dir(root).expect("the corpus is there").map(|entry| entry.expect("it can be read").path()).collect();
    cases.sort();
    for case in cases {
        let text = fs::read_to_string(case.join("Dockerfile")).expect("a case has a text");
        if text.len() > TEXT_BYTES_MAX {
            continue;
        }
        let found = describe(&text);
        let path = case.join("graph");
        if fs::read_to_string(&path).unwrap_or_default() == found {
            continue;
        }
        if bless {
            fs::write(&path, &found).expect("the new text can be written");
        } else {
            writeln!(failures, "{}\n--- found\n{found}", path.display()).expect("memory");
        }
    }
    assert!(failures.is_empty(), "run with BLESS=1 if this is right:\n{failures}");
}

fn describe(text: &str) -> String {
    let options = PlanOptions::new("linux/amd64".parse().expect("a platform"));
    let parsed = parse(text);
    let mut facts = Facts::default();
    let mut out = String::new();
    loop {
        let (planned, diagnostics) = plan(&parsed.file, &options, &facts);
        match planned {
            Plan::Need(requests) => {
                for (request, span) in requests {
                    let words = &text[span.range()];
                    writeln!(out, "needs {} ({}) for `{words}`", request.reference, request.platform).expect("memory");
                    let rootfs =
                        RootFs { diff_ids: vec![DiffId::of(request.reference.as_bytes())], ..RootFs::default() };
                    let id = ImageId::of(request.reference.as_bytes());
                    facts.bases.insert(request, Base { id, config: ImageConfig { rootfs, ..ImageConfig::default() } });
                }
                continue;
            }
            Plan::Ready(plan) => describe_plan(&plan, &mut out),
            Plan::Invalid => {}
        }
        for diagnostic in &diagnostics {
            describe_diagnostic(text, diagnostic, &mut out);
        }
        return out;
    }
}

fn describe_plan(plan: &BuildPlan, out: &mut String) {
    out.push_str(&plan.graph.to_string());
    for step in &plan.steps {
        let stage = step.stage.name.clone().unwrap_or_else(|| step.stage.index.to_string());
        writeln!(out, "step {} [{stage} {}/{}] {}", step.node, step.number, step.of, step.title).expect("memory");
    }
    for item in &plan.history {
        let layer = item.node.map_or_else(|| "-".to_owned(), |node| node.to_string());
        writeln!(out, "history {layer} {}", item.created_by).expect("memory");
    }
}

fn describe_diagnostic(text: &str, diagnostic: &Diagnostic, out: &mut String) {
    writeln!(out, "{:?} {}: {}", diagnostic.severity, diagnostic.code, diagnostic.message).expect("memory");
    for label in &diagnostic.labels {
        let at = span::position(text, label.span.start);
        let words = &text[label.span.range()];
        writeln!(out, "  {}:{} `{words}` {}", at.line, at.column, label.text).expect("memory");
    }
    for hint in &diagnostic.hints {
        writeln!(out, "  hint: {hint}").expect("memory");
    }
}
