//! Where the dependencies come from and under which licences: what `deny.toml` says, checked without `cargo deny`.

use crate::failure::{Failure, Result};
use crate::place::{Place, cargo};
use crate::run;
use std::fs;

/// Findings about dependencies.
pub(super) fn check(place: &Place) -> Result<Vec<String>> {
    let text = run::capture(cargo().args(["metadata", "--format-version", "1", "--locked"]).current_dir(&place.root))?;
    let metadata: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| Failure::new(format!("cargo metadata is no JSON: {error}")))?;
    let allowed = allowed(&fs::read_to_string(place.root.join("deny.toml")).unwrap_or_default());
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut findings = Vec::new();
    for package in packages {
        let (name, source) = (package["name"].as_str().unwrap_or_default(), package["source"].as_str());
        let license = package["license"].as_str().unwrap_or("none");
        match source {
            Some(source) if !source.starts_with("registry+") => {
                findings.push(format!("dependency {name} comes from {source}"));
            }
            Some(_) if !is_allowed(license, &allowed) => {
                findings.push(format!("dependency {name} has the licence {license}, see deny.toml"));
            }
            _ => {}
        }
    }
    Ok(findings)
}

/// The list `allow` of the section `[licenses]`.
fn allowed(deny: &str) -> Vec<String> {
    let list = deny.split_once("allow = [").and_then(|(_, rest)| rest.split_once(']')).map_or("", |(list, _)| list);
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Whether one side of each `OR` may be used, and all sides of each `AND`.
fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    let expression = expression.replace(" / ", " OR ").replace('/', " OR ").replace(['(', ')'], "");
    // In the expressions that exist, brackets only hold an `OR` within an `AND`.
    expression.split(" AND ").all(|part| part.split(" OR ").any(|one| allowed.iter().any(|known| known == one.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_allowed_alternative_is_enough_and_all_conjuncts_are_needed() {
        let allowed = allowed("[licenses]\nallow = [\n    \"MIT\",\n    \"ISC\",\n]\n");
        assert!(is_allowed("MIT/Apache-2.0", &allowed));
        assert!(is_allowed("(MIT OR GPL-3.0) AND ISC", &allowed));
        assert!(!is_allowed("MIT AND GPL-3.0", &allowed));
        assert!(!is_allowed("none", &allowed));
    }
}
