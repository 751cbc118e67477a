//! Reads what apk has installed: `lib/apk/db/installed`.
//!
//! Reference: Alpine's wiki, "Apk spec", "Installed database V2".

use crate::package::{Ecosystem, Package, stated};

/// Calls `found` for each package of the text.
pub(crate) fn read(text: &str, mut found: impl FnMut(Package)) {
    let mut package: Option<Package> = None;
    for line in text.lines() {
        let Some((key, value)) = line.split_once(':') else {
            if line.trim().is_empty() {
                package.take().into_iter().for_each(&mut found);
            }
            continue;
        };
        if key == "P" {
            package.take().into_iter().for_each(&mut found);
            package = Some(Package::new(Ecosystem::Apk, value, ""));
            continue;
        }
        let Some(package) = &mut package else { continue };
        match key {
            "V" => package.version = crate::package::clean(value),
            "A" => package.architecture = stated(value),
            "L" => package.license = stated(value),
            "o" => package.source = stated(value).filter(|origin| *origin != package.name),
            "m" => package.supplier = stated(value),
            _ => {}
        }
    }
    package.into_iter().for_each(&mut found);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_entry_is_a_package() {
        let text = "C:Q1\nP:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\no:musl\nF:lib\n\nC:Q2\nP:libcurl\nV:8\no:curl\n";
        let mut found = Vec::new();
        read(text, |package| found.push(package));
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].license.as_deref(), Some("MIT"));
        assert_eq!((found[0].source.as_deref(), found[1].source.as_deref()), (None, Some("curl")));
    }
}
