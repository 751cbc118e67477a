//! Reads the description of an installed package of Node.js: `node_modules/**/package.json`.
//!
//! Reference: npm's documentation, "package.json".

use serde_json::Value;

use crate::package::{Ecosystem, Package, stated};

/// Whether the file at `path` describes a package that is installed: a project's own description is not one.
pub(crate) fn is_description(path: &[u8]) -> bool {
    let names: Vec<&[u8]> = path.split(|&byte| byte == b'/').collect();
    match names.as_slice() {
        [.., modules, scope, _, file] if scope.starts_with(b"@") => *modules == b"node_modules" && is_file(file),
        [.., modules, _, file] => *modules == b"node_modules" && is_file(file),
        _ => false,
    }
}

fn is_file(name: &[u8]) -> bool {
    name == b"package.json"
}

/// Returns the package that the text describes; nothing if it is no description.
pub(crate) fn read(bytes: &[u8]) -> Option<Package> {
    let value: Value = serde_json::from_slice(bytes).ok()?;
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    let mut package = Package::new(Ecosystem::Npm, text("name")?, text("version").unwrap_or_default());
    package.license = match value.get("license").or_else(|| value.get("licenses")) {
        Some(Value::String(license)) => stated(license),
        Some(Value::Object(license)) => license.get("type").and_then(Value::as_str).and_then(stated),
        Some(Value::Array(licenses)) => {
            let name = |license: &Value| license.get("type").unwrap_or(license).as_str().map(str::to_owned);
            let names: Vec<String> = licenses.iter().filter_map(name).collect();
            stated(&names.join(" OR "))
        }
        _ => None,
    };
    let author = value.get("author");
    package.supplier = author.and_then(|author| author.get("name").unwrap_or(author).as_str()).and_then(stated);
    Some(package)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_is_one_only_in_a_directory_of_modules() {
        assert!(is_description(b"app/node_modules/a/package.json"));
        assert!(is_description(b"app/node_modules/@s/a/package.json"));
        assert!(is_description(b"node_modules/a/node_modules/b/package.json"));
        assert!(!is_description(b"app/package.json"));
        assert!(!is_description(b"node_modules/a/lib/package.json"));
    }

    #[test]
    fn a_licence_is_written_in_three_ways() {
        let license = |text: &str| read(text.as_bytes()).and_then(|package| package.license);
        assert_eq!(license(r#"{"name":"a","version":"1","license":"MIT"}"#).as_deref(), Some("MIT"));
        assert_eq!(license(r#"{"name":"a","license":{"type":"ISC"}}"#).as_deref(), Some("ISC"));
        assert_eq!(license(r#"{"name":"a","licenses":[{"type":"MIT"},"ISC"]}"#).as_deref(), Some("MIT OR ISC"));
        assert_eq!(read(b"[]"), None);
    }
}
