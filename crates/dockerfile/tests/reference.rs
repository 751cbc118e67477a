//! The tables of `docs/dockerfile.md` are those of the parser, and its examples are Dockerfiles.

#![expect(clippy::disallowed_methods, reason = "a test may read files")]

use std::fs;
use std::path::PathBuf;

use stave_dockerfile::{parse, reference};

fn page() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/dockerfile.md"))
}

#[test]
fn the_tables_of_the_page_are_the_parsers() {
    let text = fs::read_to_string(page()).expect("the page is there");
    let mut current = text.clone();
    for (name, table) in reference::tables() {
        let (begin, end) = (format!("<!-- generated: {name} -->\n"), "<!-- end -->");
        let start = current.find(&begin).unwrap_or_else(|| panic!("the page has no place for {name}")) + begin.len();
        let len = current[start..].find(end).expect("every place has an end");
        current.replace_range(start..start + len, &table);
    }
    if current != text && std::env::var_os("BLESS").is_some() {
        fs::write(page(), &current).expect("the page can be written");
        return;
    }
    assert!(current == text, "docs/dockerfile.md is not up to date: run this test with BLESS=1");
}

#[test]
fn the_examples_of_the_page_parse() {
    let text = fs::read_to_string(page()).expect("the page is there");
    let examples: Vec<&str> =
        text.split("```dockerfile\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default()).collect();
    assert!(examples.len() >= 4, "the page shows the language");
    for example in examples {
        let whole = if example.starts_with("FROM") || example.contains("\nFROM") {
            example.to_owned()
        } else {
            format!("FROM scratch\n{example}")
        };
        let diagnostics = parse(&whole).diagnostics;
        assert!(diagnostics.is_empty(), "{example}\n{diagnostics:?}");
    }
}
