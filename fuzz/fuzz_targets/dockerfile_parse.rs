//! Any text is parsed, and everything that is said about it points into it.
//!
//! Run with `cargo +nightly fuzz run dockerfile_parse -- -dict=dockerfile.dict`; `crates/dockerfile/test_data` has seeds.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stave_dockerfile::parse;

fuzz_target!(|text: &str| {
    let parsed = parse(text);
    for diagnostic in &parsed.diagnostics {
        for label in &diagnostic.labels {
            assert!(text.get(label.span.range()).is_some(), "{}: {:?}", diagnostic.message, label.span);
        }
    }
    for stage in &parsed.file.stages {
        assert!(text.get(stage.head.span.range()).is_some());
        for instruction in &stage.instructions {
            assert!(text.get(instruction.head.span.range()).is_some());
            assert!(text.get(instruction.head.line.span().range()).is_some());
        }
    }
    assert!(parsed.has_errors() || !parsed.file.stages.is_empty(), "neither a stage nor a mistake");
});
