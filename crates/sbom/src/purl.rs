//! Writes the package URL of a package: one name for it that all tools know.
//!
//! Reference: the purl specification (ECMA-427), and its descriptions of the types.

use std::fmt::Write as _;

use crate::package::{Ecosystem, Package};
use crate::release::Distribution;

/// Returns the package URL of `package` in an image of this distribution.
#[must_use]
pub fn purl(package: &Package, distribution: &Distribution) -> String {
    let mut url = format!("pkg:{}/", package.ecosystem.purl_type());
    let name = match package.ecosystem {
        Ecosystem::Pypi => package.name.to_lowercase().replace('_', "-"),
        Ecosystem::Golang | Ecosystem::Deb | Ecosystem::Apk | Ecosystem::Npm => package.name.to_lowercase(),
        Ecosystem::Rpm | Ecosystem::Cargo => package.name.clone(),
    };
    if package.ecosystem.is_of_distribution() && !distribution.id.is_empty() {
        push(&mut url, &distribution.id);
        url.push('/');
    }
    let segments = name.split('/').filter(|segment| !segment.is_empty());
    for (index, segment) in segments.enumerate() {
        if index > 0 {
            url.push('/');
        }
        push(&mut url, segment);
    }
    // In a package URL the epoch of rpm is a qualifier.
    let (epoch, version) = match (package.ecosystem, package.version.split_once(':')) {
        (Ecosystem::Rpm, Some((epoch, version))) => (Some(epoch), version),
        _ => (None, package.version.as_str()),
    };
    if !version.is_empty() {
        url.push('@');
        push(&mut url, version);
    }
    let distro = distribution.qualifier().filter(|_| package.ecosystem.is_of_distribution());
    let qualifiers = [("arch", package.architecture.as_deref()), ("distro", distro.as_deref()), ("epoch", epoch)];
    let mut separator = '?';
    for (key, value) in qualifiers {
        let Some(value) = value else { continue };
        url.push(separator);
        url.push_str(key);
        url.push('=');
        push(&mut url, value);
        separator = '&';
    }
    url
}

/// Adds a text, with all but a few letters escaped.
fn push(url: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b".-_~:".contains(&byte) {
            url.push(char::from(byte));
        } else if write!(url, "%{byte:02X}").is_err() {
            // Writing into a text does not fail.
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_has_its_own_form() {
        let debian = Distribution { id: "debian".into(), version: Some("12".into()), name: None };
        let of = |ecosystem, name: &str, version: &str| purl(&Package::new(ecosystem, name, version), &debian);
        let mut curl = Package::new(Ecosystem::Deb, "curl", "1:7.88+x-1");
        curl.architecture = Some("amd64".into());
        assert_eq!(purl(&curl, &debian), "pkg:deb/debian/curl@1:7.88%2Bx-1?arch=amd64&distro=debian-12");
        assert_eq!(of(Ecosystem::Rpm, "Perl", "4:5-1"), "pkg:rpm/debian/Perl@5-1?distro=debian-12&epoch=4");
        assert_eq!(of(Ecosystem::Golang, "github.com/A/b", "v1"), "pkg:golang/github.com/a/b@v1");
        assert_eq!(of(Ecosystem::Npm, "@s/a", "1.0"), "pkg:npm/%40s/a@1.0");
        assert_eq!(of(Ecosystem::Pypi, "My_Pkg", "1"), "pkg:pypi/my-pkg@1");
        assert_eq!(purl(&Package::new(Ecosystem::Apk, "a", ""), &Distribution::default()), "pkg:apk/a");
    }
}
