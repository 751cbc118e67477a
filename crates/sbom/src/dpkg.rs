//! Reads what dpkg has installed: `var/lib/dpkg/status`, and the files of `status.d` that images without dpkg have.
//!
//! Reference: deb822(5), dpkg(1), "Package states"; `status.d` is the custom of distroless images.

use crate::package::{Ecosystem, Package, stated};

/// Calls `found` for each installed package of the text.
pub(crate) fn read(text: &str, mut found: impl FnMut(Package)) {
    let mut entry = Entry::default();
    for line in text.lines() {
        if line.trim().is_empty() {
            std::mem::take(&mut entry).finish(&mut found);
            continue;
        }
        // A line that goes on says more of a field that is of no interest.
        if line.starts_with([' ', '\t']) {
            continue;
        }
        let Some((key, value)) = line.split_once(':') else { continue };
        entry.set(key, value.trim());
    }
    entry.finish(&mut found);
}

#[derive(Default)]
struct Entry<'a> {
    name: &'a str,
    version: &'a str,
    status: Option<&'a str>,
    architecture: &'a str,
    source: &'a str,
    maintainer: &'a str,
}

impl<'a> Entry<'a> {
    fn set(&mut self, key: &str, value: &'a str) {
        match key.to_ascii_lowercase().as_str() {
            "package" => self.name = value,
            "version" => self.version = value,
            "status" => self.status = Some(value),
            "architecture" => self.architecture = value,
            "source" => self.source = value,
            "maintainer" => self.maintainer = value,
            _ => {}
        }
    }

    fn finish(self, found: &mut impl FnMut(Package)) {
        // In `status.d` nothing says that a package is installed: its file is there.
        let installed = self.status.is_none_or(|status| status.split_whitespace().last() == Some("installed"));
        if self.name.is_empty() || !installed {
            return;
        }
        let mut package = Package::new(Ecosystem::Deb, self.name, self.version);
        package.architecture = stated(self.architecture);
        package.source = stated(self.source);
        package.supplier = stated(self.maintainer);
        found(package);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_installed_is_found() {
        let text = "Package: curl\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1:7.8-1\n\
                    Source: curl-src (7.8)\nDescription: x\n Package: no\n\n\
                    Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\nPackage: tzdata\nVersion: 2024a";
        let mut found = Vec::new();
        read(text, |package| found.push(package));
        let names: Vec<_> = found.iter().map(|package| (package.name.as_str(), package.version.as_str())).collect();
        assert_eq!(names, [("curl", "1:7.8-1"), ("tzdata", "2024a")]);
        assert_eq!(found[0].source.as_deref(), Some("curl-src (7.8)"));
    }
}
