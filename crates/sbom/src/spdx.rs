//! Writes SPDX 2.3 in JSON.
//!
//! Reference: SPDX specification 2.3, and its JSON schema.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use stave_oci::{BlobDigest, Hasher};

use crate::license::is_expression;
use crate::package::{Inventory, Package, Subject};
use crate::purl::purl;

/// Returns the document about an image and what was found in it.
#[must_use]
pub fn spdx(subject: &Subject, inventory: &Inventory) -> Value {
    let mut texts = BTreeMap::new();
    let root = "SPDXRef-Image";
    let mut packages = vec![json!({
        "SPDXID": root,
        "name": subject.name,
        "versionInfo": subject.digest.to_string(),
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "copyrightText": "NOASSERTION",
        "supplier": "NOASSERTION",
        "primaryPackagePurpose": "CONTAINER",
        "checksums": [{ "algorithm": "SHA256", "checksumValue": subject.digest.hex() }],
    })];
    let describes = |from: &str, kind: &str, to: &str| json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to });
    let mut relationships = vec![describes("SPDXRef-DOCUMENT", "DESCRIBES", root)];
    for (package, paths) in &inventory.packages {
        let url = purl(package, &inventory.distribution);
        let id = package_id(package, &url);
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        let mut entry = json!({
            "SPDXID": id,
            "name": package.name,
            "downloadLocation": "NOASSERTION",
            "filesAnalyzed": false,
            "sourceInfo": format!("found in {}", paths.join(", ")),
            "licenseConcluded": "NOASSERTION",
            "licenseDeclared": declared(package, &mut texts),
            "copyrightText": "NOASSERTION",
            "supplier": package.supplier.as_ref().map_or("NOASSERTION".to_owned(), |name| format!("Organization: {name}")),
            "externalRefs": [{
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": url,
            }],
        });
        if !package.version.is_empty() {
            entry["versionInfo"] = json!(package.version);
        }
        relationships.push(describes(root, "CONTAINS", &id));
        packages.push(entry);
    }
    let mut document = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": subject.name,
        "documentNamespace": format!("urn:uuid:{}", uuid("spdx", subject, inventory)),
        "creationInfo": {
            "created": subject.created,
            "creators": [format!("Tool: {}-{}", subject.tool.0, subject.tool.1)],
        },
        "packages": packages,
        "relationships": relationships,
    });
    let notes = inventory.all_notes();
    if !notes.is_empty() {
        document["comment"] = json!(notes.join("\n"));
    }
    if !texts.is_empty() {
        let text = |(id, text): (String, String)| json!({ "licenseId": id, "extractedText": text, "name": text });
        document["hasExtractedLicensingInfos"] = texts.into_iter().map(text).collect();
    }
    document
}

/// Returns the bytes of a document, as files have them.
#[must_use]
pub fn spdx_bytes(document: &Value) -> Vec<u8> {
    let mut text = format!("{document:#}");
    text.push('\n');
    text.into_bytes()
}

/// Returns the package's own statement: an expression, or the name of its text in this document.
fn declared(package: &Package, texts: &mut BTreeMap<String, String>) -> String {
    let Some(license) = &package.license else { return "NOASSERTION".to_owned() };
    if is_expression(license) {
        return license.clone();
    }
    let id = format!("LicenseRef-{}", &digest(&[license]).hex()[..16]);
    texts.insert(id.clone(), license.clone());
    id
}

fn package_id(package: &Package, url: &str) -> String {
    let name = |letter: char| if letter.is_ascii_alphanumeric() || letter == '.' { letter } else { '-' };
    let readable: String = package.name.chars().take(60).map(name).collect();
    // Two packages may have one package URL, and differ in what else they state.
    let more = format!("{package:?}");
    format!("SPDXRef-{}-{readable}-{}", package.ecosystem.purl_type(), &digest(&[url, &more]).hex()[..12])
}

fn digest(parts: &[&str]) -> BlobDigest {
    let mut hasher = Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finish()
}

/// Returns the identifier of a document, which is that of its content: of version 8, whose digits are free.
///
/// Reference: RFC 9562, section 5.8.
pub(crate) fn uuid(form: &str, subject: &Subject, inventory: &Inventory) -> String {
    let mut parts = vec![form.to_owned(), subject.digest.to_string(), subject.name.clone(), subject.created.clone()];
    parts.extend([subject.tool.0.clone(), subject.tool.1.clone()]);
    parts.extend(inventory.packages.iter().map(|(package, paths)| format!("{package:?}{paths:?}")));
    parts.extend(inventory.all_notes());
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let hex = digest(&parts).hex();
    let variant = ['8', '9', 'a', 'b'][hex.as_bytes()[16] as usize % 4];
    format!("{}-{}-8{}-{variant}{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32])
}
