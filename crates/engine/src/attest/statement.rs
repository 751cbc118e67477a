//! A statement, and the manifests with which it refers to an image.
//!
//! Reference: in-toto attestation framework, "Statement" v1; OCI image-spec 1.1, `manifest.md`, "Guidelines for Artifact
//! Usage"; BuildKit, `docs/attestations/attestation-storage.md` for the form in an index.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use stave_oci::{BlobDigest, Descriptor, Platform, Reference, media_type};

/// The type of a statement.
pub(crate) const STATEMENT_TYPE: &str = "application/vnd.in-toto+json";
/// The remark that says what a statement is about.
pub(crate) const PREDICATE_TYPE: &str = "in-toto.io/predicate-type";

/// Something that is said about an image.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Statement {
    /// What kind of thing is said: an address that stands for its form.
    pub(crate) predicate_type: String,
    /// What is said.
    pub(crate) predicate: Value,
    /// What its file is called where files are written; nothing if it is not written there.
    pub(crate) file_name: Option<String>,
    /// Whether it is part of the image's index.
    pub(crate) inline: bool,
}

/// A manifest that goes with an image, and its parts.
#[derive(Debug, Clone)]
pub(crate) struct Attached {
    /// How an index lists it.
    pub(crate) descriptor: Descriptor,
    /// The manifest.
    pub(crate) manifest: Vec<u8>,
    /// What it names.
    pub(crate) blobs: Vec<(Descriptor, Vec<u8>)>,
}

impl Statement {
    /// Returns the statement about what has this digest.
    pub(crate) fn about(&self, digest: &BlobDigest, names: &[String]) -> Vec<u8> {
        let subject = |name: &str| json!({ "name": name, "digest": { "sha256": digest.hex() } });
        let subjects: Vec<Value> =
            if names.is_empty() { vec![subject("_")] } else { names.iter().map(|name| subject(name)).collect() };
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": subjects,
            "predicateType": self.predicate_type,
            "predicate": self.predicate,
        });
        serde_json::to_vec(&statement).expect("the keys are texts")
    }

    fn blob(&self, digest: &BlobDigest, names: &[String]) -> (Descriptor, Vec<u8>) {
        let bytes = self.about(digest, names);
        let mut descriptor = Descriptor::new(STATEMENT_TYPE, BlobDigest::of(&bytes), bytes.len() as u64);
        descriptor.annotations.insert(PREDICATE_TYPE.to_owned(), self.predicate_type.clone());
        (descriptor, bytes)
    }
}

/// Returns the names of an image as subjects of statements have them.
pub(crate) fn subjects(names: &[Reference], platform: &Platform) -> Vec<String> {
    names.iter().map(|name| image_purl(name, platform)).collect()
}

/// Returns the package URL of an image: `pkg:docker/alpine@3.17?platform=linux%2Famd64`.
pub(crate) fn image_purl(name: &Reference, platform: &Platform) -> String {
    let version = name.effective_tag().map(str::to_owned).or(name.digest.map(|digest| digest.to_string()));
    let version = version.map_or(String::new(), |version| format!("@{}", version.replace(':', "%3A")));
    format!(
        "pkg:docker/{}{version}?platform={}",
        name.familiar_name().replace(':', "%3A"),
        platform.to_string().replace('/', "%2F")
    )
}

/// Returns a manifest for each statement that refers to the image `subject`.
pub(crate) fn referrers(
    statements: &[Statement],
    subject: &Descriptor,
    (names, platform): (&[Reference], &Platform),
) -> Vec<Attached> {
    const EMPTY: &[u8] = b"{}";
    let subject = Descriptor::new(&subject.media_type, subject.digest, subject.size);
    let one = |statement: &Statement| {
        let layer = statement.blob(&subject.digest, &subjects(names, platform));
        let config = Descriptor::new("application/vnd.oci.empty.v1+json", BlobDigest::of(EMPTY), EMPTY.len() as u64);
        let annotations = BTreeMap::from([(PREDICATE_TYPE.to_owned(), statement.predicate_type.clone())]);
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_MANIFEST,
            "artifactType": STATEMENT_TYPE,
            "config": config,
            "layers": [layer.0],
            "subject": subject,
            "annotations": annotations,
        });
        let manifest = serde_json::to_vec(&manifest).expect("the keys are texts");
        let digest = BlobDigest::of(&manifest);
        let mut descriptor = Descriptor::new(media_type::OCI_MANIFEST, digest, manifest.len() as u64);
        STATEMENT_TYPE.clone_into(&mut descriptor.artifact_type);
        descriptor.annotations = annotations;
        Attached { descriptor, manifest, blobs: vec![(config, EMPTY.to_vec()), layer] }
    };
    statements.iter().filter(|statement| !statement.inline).map(one).collect()
}

/// Returns one manifest for all statements that are part of the index of the image `subject`; nothing if there are none.
pub(crate) fn in_index(
    statements: &[Statement],
    subject: &Descriptor,
    (names, platform): (&[Reference], &Platform),
) -> Option<Attached> {
    let subject_names = subjects(names, platform);
    let inline = statements.iter().filter(|statement| statement.inline);
    let layers: Vec<_> = inline.map(|statement| statement.blob(&subject.digest, &subject_names)).collect();
    if layers.is_empty() {
        return None;
    }
    let diff_ids: Vec<String> = layers.iter().map(|(descriptor, _)| descriptor.digest.to_string()).collect();
    let config = json!({
        "architecture": "unknown",
        "os": "unknown",
        "config": {},
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let config = serde_json::to_vec(&config).expect("the keys are texts");
    let config_descriptor = Descriptor::new(media_type::OCI_CONFIG, BlobDigest::of(&config), config.len() as u64);
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_MANIFEST,
        "config": config_descriptor,
        "layers": layers.iter().map(|(descriptor, _)| descriptor).collect::<Vec<_>>(),
    });
    let manifest = serde_json::to_vec(&manifest).expect("the keys are texts");
    let mut descriptor = Descriptor::new(media_type::OCI_MANIFEST, BlobDigest::of(&manifest), manifest.len() as u64);
    descriptor.annotations.insert("vnd.docker.reference.type".to_owned(), "attestation-manifest".to_owned());
    descriptor.annotations.insert("vnd.docker.reference.digest".to_owned(), subject.digest.to_string());
    let unknown = "unknown".to_owned();
    descriptor.platform =
        Some(Platform { architecture: unknown.clone(), os: unknown, os_version: None, variant: None });
    let blobs = std::iter::once((config_descriptor, config)).chain(layers).collect();
    Some(Attached { descriptor, manifest, blobs })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(inline: bool) -> Statement {
        let predicate_type = "https://example.com/p".to_owned();
        Statement { predicate_type, predicate: json!({ "a": 1 }), file_name: None, inline }
    }

    fn image() -> (Descriptor, Vec<Reference>, Platform) {
        let name = "alpine:3.17".parse().expect("a name");
        let descriptor = Descriptor::new(media_type::OCI_MANIFEST, BlobDigest::of(b"image"), 5);
        (descriptor, vec![name], "linux/amd64".parse().expect("a platform"))
    }

    #[test]
    fn a_referrer_says_what_it_is_about_and_of_which_kind_it_is() {
        let (subject, names, platform) = image();
        let all = referrers(&[statement(false), statement(true)], &subject, (&names, &platform));
        let [attached] = all.as_slice() else { panic!("one is not inline") };
        let manifest: Value = serde_json::from_slice(&attached.manifest).expect("JSON");
        assert_eq!(manifest["subject"]["digest"], subject.digest.to_string());
        assert_eq!(manifest["artifactType"], STATEMENT_TYPE);
        assert_eq!(manifest["annotations"][PREDICATE_TYPE], "https://example.com/p");
        let said: Value = serde_json::from_slice(&attached.blobs[1].1).expect("JSON");
        assert_eq!(said["subject"][0]["name"], "pkg:docker/alpine@3.17?platform=linux%2Famd64");
        assert_eq!(said["subject"][0]["digest"]["sha256"], subject.digest.hex());
    }

    /// E010
    #[test]
    fn in_an_index_all_statements_are_one_manifest_for_no_platform() {
        let (subject, names, platform) = image();
        let attached = in_index(&[statement(true), statement(true)], &subject, (&names, &platform));
        let attached = attached.expect("both are inline");
        assert_eq!(attached.descriptor.platform.expect("it has one").to_string(), "unknown/unknown");
        assert_eq!(attached.descriptor.annotations["vnd.docker.reference.digest"], subject.digest.to_string());
        assert_eq!(attached.blobs.len(), 3);
        assert!(in_index(&[statement(false)], &subject, (&names, &platform)).is_none());
    }
}
