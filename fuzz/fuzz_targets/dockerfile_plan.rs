//! Any text is planned and checked, on bases with any trigger, and everything that is said about it points into it.
//!
//! Run with `cargo +nightly fuzz run dockerfile_plan -- -dict=dockerfile.dict`; `crates/dockerfile/test_data` has seeds.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stave_dockerfile::check::outline::outline;
use stave_dockerfile::check::targets::targets;
use stave_dockerfile::check::{Config, lines, settle};
use stave_dockerfile::plan::{Base, Facts, Plan, PlanOptions, plan, survey};
use stave_dockerfile::{Diagnostic, parse};
use stave_oci::{ImageConfig, ImageId, Platform};

/// Times that a plan may ask for bases: each answer brings a trigger, which may name another one.
const QUESTIONS_MAX: usize = 8;

fuzz_target!(|input: (&str, &str)| {
    let (text, trigger) = input;
    let parsed = parse(text);
    let file = &parsed.file;
    let options = PlanOptions::new("linux/amd64".parse::<Platform>().expect("a platform"));
    let mut config = ImageConfig::default();
    config.config.on_build.push(trigger.to_owned());
    let mut facts = Facts::default();
    for _ in 0..QUESTIONS_MAX {
        let (planned, diagnostics) = plan(file, &options, &facts);
        inside(text, &diagnostics);
        match planned {
            Plan::Invalid => assert!(parsed.has_errors() || diagnostics.iter().any(Diagnostic::is_error)),
            Plan::Ready(ready) => inside(text, &ready.findings),
            Plan::Need(requests) => {
                assert!(!requests.is_empty());
                for (request, _) in requests {
                    let base = Base { id: ImageId::of(request.reference.as_bytes()), config: config.clone() };
                    assert!(facts.bases.insert(request, base).is_none(), "nothing is asked for twice");
                }
                continue;
            }
        }
        break;
    }
    let survey = survey(file, &options, &facts);
    inside(text, &survey.mistakes);
    inside(text, &survey.findings);
    for finding in settle(file, &Config::of_file(&file), survey.findings) {
        let (first, last) = lines(file, text, finding.span());
        assert!(1 <= first && first <= last);
    }
    if let Ok(outline) = outline(file, &options) {
        assert!(outline.args.iter().all(|arg| text.get(arg.span.range()).is_some()));
    }
    assert_eq!(targets(file).len(), file.stages.len());
});

fn inside(text: &str, diagnostics: &[Diagnostic]) {
    for label in diagnostics.iter().flat_map(|diagnostic| &diagnostic.labels) {
        assert!(text.get(label.span.range()).is_some(), "{label:?}");
    }
}
