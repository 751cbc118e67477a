//! What has to be written down: module docs, the documents that the repository promises, a page for each error code.

use super::Source;
use crate::place::Place;

/// Documents that have to be there.
const DOCUMENTS: &[&str] = &[
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "LICENSE",
    "docs/cache-key.md",
    "docs/store-layout.md",
    "docs/performance.md",
    "docs/glossary.md",
];

/// Lists what is missing.
pub(super) fn check(place: &Place, sources: &[Source]) -> Vec<String> {
    let mut findings: Vec<String> = DOCUMENTS
        .iter()
        .filter(|document| !place.root.join(document).is_file())
        .map(|document| format!("the document {document} is missing"))
        .collect();
    let undocumented = sources.iter().filter(|source| must_be_described(source) && !begins_with_docs(&source.text));
    findings.extend(undocumented.map(|source| format!("{} does not say at its top what it is", source.path.display())));
    findings
}

/// Files of tests are described by what they test: their names, and the file that lists them.
fn must_be_described(source: &Source) -> bool {
    source.is_rust() && !source.path.ends_with("tests.rs") && source.path.iter().any(|part| part == "src")
}

fn begins_with_docs(text: &str) -> bool {
    text.trim_start().starts_with("//!")
}
