//! Every text of `test_data/{ok,err}` parses to the tree and the diagnostics that stand beside it.
//!
//! `BLESS=1` writes what is found instead of comparing it. Texts in `ok` have no errors (warnings are shown), texts in
//! `err` have at least one.

#![expect(clippy::disallowed_methods, reason = "a test reads its corpus from the disk")]

mod dump;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use stave_dockerfile::{Diagnostic, Severity, parse, span};

#[test]
fn texts_without_mistakes_parse_to_their_trees() {
    run("ok");
}

#[test]
fn texts_with_mistakes_parse_to_their_diagnostics() {
    run("err");
}

fn run(kind: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("test_data").join(kind);
    let bless = std::env::var_os("BLESS").is_some_and(|value| value == "1");
    let cases = cases(&root);
    assert!(!cases.is_empty(), "no cases in {}", root.display());
    let mut failures = String::new();
    for case in cases {
        let text = fs::read_to_string(case.join("Dockerfile")).expect("a case has a text");
        let parsed = parse(&text);
        let name = case.file_name().expect("a case has a name").to_string_lossy().into_owned();
        assert_eq!(parsed.has_errors(), kind == "err", "{name}: {:?}", parsed.diagnostics);
        let mut diagnostics = String::new();
        for diagnostic in &parsed.diagnostics {
            render(&text, diagnostic, &mut diagnostics);
        }
        for (file, found) in [("ast", dump::file(&parsed.file)), ("stderr", diagnostics)] {
            check(&case.join(file), &found, bless, &mut failures);
        }
    }
    assert!(failures.is_empty(), "run with BLESS=1 if this is right:\n{failures}");
}

/// Compares `found` with the file; an empty text has no file.
fn check(path: &Path, found: &str, bless: bool, failures: &mut String) {
    let expected = fs::read_to_string(path).unwrap_or_default();
    if expected == found {
        return;
    }
    if !bless {
        writeln!(failures, "{}\n--- expected\n{expected}--- found\n{found}", path.display()).expect("memory");
    } else if found.is_empty() {
        fs::remove_file(path).expect("the old text can be removed");
    } else {
        fs::write(path, found).expect("the new text can be written");
    }
}

fn cases(root: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(root).expect("the corpus is there");
    let mut cases: Vec<PathBuf> = entries.map(|entry| entry.expect("the corpus can be read").path()).collect();
    cases.sort();
    cases
}

/// Writes a diagnostic with the words that it points at: enough to see that every span is right.
fn render(text: &str, diagnostic: &Diagnostic, out: &mut String) {
    let severity = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    writeln!(out, "{severity}[{}]: {}", diagnostic.code, diagnostic.message).expect("memory");
    for label in &diagnostic.labels {
        let at = span::position(text, label.span.start);
        let words = &text[label.span.range()];
        let short = if words.len() > 200 {
            format!("{:?}... {} bytes", &words[..20], words.len())
        } else {
            format!("{words:?}")
        };
        let arrow = if label.primary { "-->" } else { " ::" };
        writeln!(out, " {arrow} {}:{} {short} {}", at.line, at.column, label.text).expect("memory");
    }
    for hint in &diagnostic.hints {
        writeln!(out, "hint: {hint}").expect("memory");
    }
}
