//! Writes `CycloneDX` in JSON.
//!
//! Reference: `CycloneDX` 1.5 and 1.6 (ECMA-424), JSON.

use serde_json::{Value, json};

use crate::license::is_expression;
use crate::package::{Inventory, Subject};
use crate::purl::purl;
use crate::spdx::uuid;

/// Which version of the format is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CycloneVersion {
    /// 1.5, of 2023.
    V1_5,
    /// 1.6, of 2024.
    V1_6,
}

impl CycloneVersion {
    fn text(self) -> &'static str {
        match self {
            Self::V1_5 => "1.5",
            Self::V1_6 => "1.6",
        }
    }
}

/// Returns the document about an image and what was found in it.
#[must_use]
pub fn cyclonedx(subject: &Subject, inventory: &Inventory, version: CycloneVersion) -> Value {
    let mut components = Vec::new();
    if !inventory.distribution.id.is_empty() {
        let distribution = &inventory.distribution;
        let mut component = json!({ "type": "operating-system", "bom-ref": "os", "name": distribution.id });
        if let Some(version) = &distribution.version {
            component["version"] = json!(version);
        }
        if let Some(name) = &distribution.name {
            component["description"] = json!(name);
        }
        components.push(component);
    }
    for (number, (package, paths)) in inventory.packages.iter().enumerate() {
        let url = purl(package, &inventory.distribution);
        let mut component = json!({
            "type": "library",
            "bom-ref": format!("{url}#{number}"),
            "name": package.name,
            "version": package.version,
            "purl": url,
            "properties": paths.iter().map(|path| json!({ "name": "stave:path", "value": path })).collect::<Vec<_>>(),
        });
        if let Some(supplier) = &package.supplier {
            component["supplier"] = json!({ "name": supplier });
        }
        match &package.license {
            Some(license) if is_expression(license) => component["licenses"] = json!([{ "expression": license }]),
            Some(license) => component["licenses"] = json!([{ "license": { "name": license } }]),
            None => {}
        }
        components.push(component);
    }
    let image = json!({
        "type": "container",
        "bom-ref": "image",
        "name": subject.name,
        "version": subject.digest.to_string(),
        "hashes": [{ "alg": "SHA-256", "content": subject.digest.hex() }],
    });
    let notes: Vec<Value> =
        inventory.all_notes().into_iter().map(|note| json!({ "name": "stave:note", "value": note })).collect();
    let mut metadata = json!({
        "timestamp": subject.created,
        "tools": { "components": [{ "type": "application", "name": subject.tool.0, "version": subject.tool.1 }] },
        "component": image,
    });
    if !notes.is_empty() {
        metadata["properties"] = json!(notes);
    }
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": version.text(),
        "serialNumber": format!("urn:uuid:{}", uuid(version.text(), subject, inventory)),
        "version": 1,
        "metadata": metadata,
        "components": components,
    })
}
