//! Reads the description of an installed package of Python: `*.dist-info/METADATA`, `*.egg-info/PKG-INFO`, `*.egg-info`.
//!
//! Reference: the Python packaging guide, "Core metadata specifications".

use crate::package::{Ecosystem, Package, stated};

/// Whether the file at `path` describes an installed package.
pub(crate) fn is_description(path: &[u8]) -> bool {
    let mut names = path.rsplit(|&byte| byte == b'/');
    let file = names.next().unwrap_or_default();
    let directory = names.next().unwrap_or_default();
    (file == b"METADATA" && directory.ends_with(b".dist-info"))
        || (file == b"PKG-INFO" && directory.ends_with(b".egg-info"))
        || file.ends_with(b".egg-info")
}

/// Returns the package that the text describes; nothing if it is no description.
pub(crate) fn read(text: &str) -> Option<Package> {
    let (mut name, mut version, mut license, mut expression, mut author) = ("", "", "", "", "");
    for line in text.lines() {
        // What follows is the description for people.
        if line.is_empty() {
            break;
        }
        let Some((key, value)) = line.split_once(':').filter(|_| !line.starts_with([' ', '\t'])) else { continue };
        let value = value.trim();
        match key.to_ascii_lowercase().as_str() {
            "name" => name = value,
            "version" => version = value,
            "license" => license = value,
            "license-expression" => expression = value,
            "author" => author = value,
            _ => {}
        }
    }
    if name.is_empty() {
        return None;
    }
    let mut package = Package::new(Ecosystem::Pypi, name, version);
    package.license = stated(if expression.is_empty() { license } else { expression }).filter(|text| text != "UNKNOWN");
    package.supplier = stated(author).filter(|text| text != "UNKNOWN");
    Some(package)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_for_people_is_not_read() {
        let text = "Metadata-Version: 2.1\nName: Flask\nVersion: 3.0.0\nLicense: UNKNOWN\n\nName: other\n";
        let package = read(text).expect("it is a description");
        assert_eq!((package.name.as_str(), package.version.as_str(), package.license), ("Flask", "3.0.0", None));
        assert_eq!(read("\nName: x"), None);
        assert!(is_description(b"usr/lib/python3/a-1.dist-info/METADATA") && !is_description(b"METADATA"));
        assert!(is_description(b"x/a.egg-info") && is_description(b"x/a.egg-info/PKG-INFO"));
    }
}
