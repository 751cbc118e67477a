//! Which crate may use which. A new arrow is a line in this table, to be seen in a review.

use crate::failure::{Failure, Result};
use crate::place::cargo_metadata;

/// Crate, what it may use, and what only its tests may use.
const EDGES: &[(&str, &[&str], &[&str])] = &[
    ("oci", &[], &[]),
    ("pattern", &[], &[]),
    ("graph", &["oci"], &[]),
    ("dockerfile", &["oci", "graph", "pattern"], &[]),
    ("solve", &["graph"], &["oci"]),
    ("tree", &["oci", "pattern"], &[]),
    ("store", &["oci", "tree"], &[]),
    ("sandbox", &["oci"], &["testkit"]),
    ("http", &[], &[]),
    ("fetch", &["graph", "http", "oci"], &["testkit"]),
    ("registry", &["http", "oci"], &["testkit"]),
    ("proxy", &["http", "oci"], &[]),
    ("signature", &[], &[]),
    ("policy", &["oci", "signature"], &[]),
    ("cache", &["http", "oci", "registry"], &["testkit"]),
    ("sbom", &["oci"], &[]),
    ("event", &["dockerfile"], &[]),
    ("history", &["dockerfile", "event"], &[]),
    ("explain", &["event"], &[]),
    ("anatomy", &["event"], &["dockerfile"]),
    ("advice", &["anatomy", "dockerfile", "event", "history"], &[]),
    ("report", &["anatomy", "dockerfile", "history"], &["testkit"]),
    (
        "engine",
        &[
            "anatomy",
            "cache",
            "dockerfile",
            "event",
            "explain",
            "fetch",
            "graph",
            "http",
            "oci",
            "pattern",
            "policy",
            "proxy",
            "registry",
            "sandbox",
            "sbom",
            "solve",
            "store",
            "tree",
        ],
        &["testkit"],
    ),
    ("trace", &["history", "http"], &["dockerfile"]),
    ("cli", &["advice", "anatomy", "dockerfile", "engine", "history", "oci", "report", "trace"], &["testkit"]),
    ("shell", &[], &[]),
    ("testkit", &["oci"], &[]),
    ("xtask", &["oci", "testkit"], &[]),
];

/// Compares the table with what cargo knows.
pub(super) fn check() -> Result<Vec<String>> {
    let metadata = cargo_metadata()?;
    let packages = metadata["packages"].as_array().ok_or_else(|| Failure::new("cargo metadata lists no packages"))?;
    let mut findings = Vec::new();
    for package in packages {
        let name = short(package["name"].as_str().unwrap_or_default());
        match EDGES.iter().find(|(known, _, _)| *known == name) {
            None => findings.push(format!("crate `{name}` is not in the table of xtask/src/tidy/edges.rs")),
            Some((_, normal, tests)) => findings.extend(compare(name, normal, tests, package)),
        }
    }
    Ok(findings)
}

fn compare(name: &str, normal: &[&str], tests: &[&str], package: &serde_json::Value) -> Vec<String> {
    let mut findings = Vec::new();
    let dependencies = package["dependencies"].as_array().map(Vec::as_slice).unwrap_or_default();
    for dependency in dependencies.iter().filter(|dependency| dependency["path"].is_string()) {
        let used = short(dependency["name"].as_str().unwrap_or_default());
        let dev = dependency["kind"] == "dev";
        if !(normal.contains(&used) || dev && tests.contains(&used)) {
            let kind = if dev { "the tests of " } else { "" };
            findings.push(format!("{kind}`{name}` may not use `{used}` (the table is xtask/src/tidy/edges.rs)"));
        }
    }
    findings
}

/// A package's name without the project's prefix.
fn short(name: &str) -> &str {
    name.strip_prefix("stave-").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrow_that_the_table_lacks_is_a_finding() {
        let package = serde_json::json!({ "dependencies": [
            { "name": "stave-oci", "path": "/x", "kind": null },
            { "name": "stave-engine", "path": "/y", "kind": "dev" },
            { "name": "serde", "kind": null },
        ] });
        let findings = compare("store", &["oci", "tree"], &[], &package);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].contains("may not use `engine`"));
    }
}
