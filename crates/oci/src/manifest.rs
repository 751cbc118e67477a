//! Manifests and indexes: which blobs make an image, and which image is for which platform.
//!
//! Reference: OCI image-spec 1.1, `manifest.md` and `image-index.md`; Docker Image Manifest Version 2, Schema 2.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::BlobDigest;
use crate::platform::Platform;

/// Names of the formats that stave reads or writes.
pub mod media_type {
    /// OCI image manifest.
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// OCI image index.
    pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// OCI image configuration.
    pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// OCI layer, uncompressed.
    pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    /// OCI layer, gzip.
    pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// OCI layer, zstd.
    pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    /// OCI layer that is not to be distributed, uncompressed.
    pub const OCI_FOREIGN_LAYER: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar";
    /// OCI layer that is not to be distributed, gzip.
    pub const OCI_FOREIGN_LAYER_GZIP: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
    /// OCI layer that is not to be distributed, zstd.
    pub const OCI_FOREIGN_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd";
    /// Docker image manifest, schema 2.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker manifest list.
    pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker image configuration.
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    /// Docker layer, gzip.
    pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    /// Docker layer, uncompressed.
    pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
    /// Docker layer that is not to be distributed, gzip.
    pub const DOCKER_FOREIGN_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    /// Docker manifest of schema 1, which stave refuses.
    pub const DOCKER_SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+json";
    /// Signed Docker manifest of schema 1, which stave refuses.
    pub const DOCKER_SCHEMA1_SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";
}

/// How a layer's tar is compressed in a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Compression {
    /// Returns the compression that a layer's media type names, or nothing if it is no layer that stave can read.
    #[must_use]
    pub fn of_media_type(media_type: &str) -> Option<Self> {
        match media_type {
            media_type::OCI_LAYER | media_type::OCI_FOREIGN_LAYER | media_type::DOCKER_LAYER => Some(Self::None),
            media_type::OCI_LAYER_GZIP
            | media_type::OCI_FOREIGN_LAYER_GZIP
            | media_type::DOCKER_LAYER_GZIP
            | media_type::DOCKER_FOREIGN_LAYER_GZIP => Some(Self::Gzip),
            media_type::OCI_LAYER_ZSTD | media_type::OCI_FOREIGN_LAYER_ZSTD => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// A blob, as something else refers to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the blob is.
    pub media_type: String,
    /// Digest of its bytes.
    pub digest: BlobDigest,
    /// Its length in bytes.
    pub size: u64,
    /// Places other than the registry to find it at; stave never fetches from them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Free remarks.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The platform, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// What kind of artifact the manifest is, in a list of referrers.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub artifact_type: String,
}

impl Descriptor {
    /// Returns a descriptor without remarks.
    #[must_use]
    pub fn new(media_type: &str, digest: BlobDigest, size: u64) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest,
            size,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            platform: None,
            artifact_type: String::new(),
        }
    }
}

/// An image manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// Which of the two manifest formats it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// The image configuration.
    pub config: Descriptor,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
    /// Free remarks.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// A list of manifests, usually one for each platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// Which of the two index formats it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// The manifests.
    pub manifests: Vec<Descriptor>,
    /// Free remarks.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// A manifest document, read strictly.
#[expect(clippy::large_enum_variant, reason = "there is one at a time, and it is taken apart at once")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// One image.
    Manifest(Manifest),
    /// A list of images.
    Index(Index),
}

/// Why a document is no manifest that stave accepts.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The text is not JSON of the expected shape.
    #[error("manifest is not valid")]
    Json(#[from] serde_json::Error),
    /// Schema 1 has no digests of configurations; nothing supports it any more.
    #[error(
        "manifest has the format of schema 1 (Docker before 1.10), which is not supported: push the image again with a newer Docker"
    )]
    SchemaOne,
    /// `schemaVersion` is neither 1 nor 2.
    #[error("manifest has the unknown schema version {0}")]
    SchemaVersion(u64),
    /// The document could be read as a manifest and as an index (CVE-2021-41190).
    #[error("manifest is ambiguous: it has both `manifests` and `layers` or `config`")]
    Ambiguous,
    /// The same key twice: two readers could see two documents.
    #[error("manifest has the key `{0}` twice")]
    DuplicateKey(String),
    /// The type in the document is not the type that it was served as.
    #[error("manifest was served as `{served}` and says that it is `{stated}`")]
    MediaType {
        /// The `Content-Type` or the descriptor's type.
        served: String,
        /// The document's own `mediaType`.
        stated: String,
    },
    /// A type that is neither a manifest nor an index.
    #[error("`{0}` is not the type of an image manifest or index")]
    UnknownType(String),
}

impl Document {
    /// Reads a manifest or an index that was served as `served` (empty where nothing said so).
    ///
    /// Errors: [`ManifestError`]; among them every ambiguity between the two formats.
    pub fn parse(bytes: &[u8], served: &str) -> Result<Self, ManifestError> {
        let served = served.split(';').next().unwrap_or_default().trim();
        if [media_type::DOCKER_SCHEMA1, media_type::DOCKER_SCHEMA1_SIGNED].contains(&served) {
            return Err(ManifestError::SchemaOne);
        }
        let object: UniqueKeys = serde_json::from_slice(bytes)?;
        if let Some(key) = object.duplicate {
            return Err(ManifestError::DuplicateKey(key));
        }
        let object = object.map;
        match object.get("schemaVersion").and_then(serde_json::Value::as_u64) {
            Some(2) => {}
            Some(1) => return Err(ManifestError::SchemaOne),
            other => return Err(ManifestError::SchemaVersion(other.unwrap_or_default())),
        }
        let is_index = object.contains_key("manifests");
        if is_index && (object.contains_key("layers") || object.contains_key("config")) {
            return Err(ManifestError::Ambiguous);
        }
        let stated = object.get("mediaType").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
        let generic = ["", "application/json", "text/plain", "application/octet-stream"];
        if !stated.is_empty() && !generic.contains(&served) && served != stated {
            return Err(ManifestError::MediaType { served: served.to_owned(), stated });
        }
        let actual = if stated.is_empty() { served } else { &stated };
        let expected: &[&str] = if is_index {
            &[media_type::OCI_INDEX, media_type::DOCKER_LIST]
        } else {
            &[media_type::OCI_MANIFEST, media_type::DOCKER_MANIFEST]
        };
        if !generic.contains(&actual) && !expected.contains(&actual) {
            return Err(ManifestError::UnknownType(actual.to_owned()));
        }
        if is_index {
            Ok(Self::Index(serde_json::from_slice(bytes)?))
        } else {
            Ok(Self::Manifest(serde_json::from_slice(bytes)?))
        }
    }
}

/// The keys of a JSON object, and the first that came twice.
struct UniqueKeys {
    map: BTreeMap<String, serde_json::Value>,
    duplicate: Option<String>,
}

impl UniqueKeys {
    fn add(&mut self, key: String, value: serde_json::Value) {
        if self.map.insert(key.clone(), value).is_some() {
            self.duplicate.get_or_insert(key);
        }
    }
}

impl<'de> Deserialize<'de> for UniqueKeys {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = UniqueKeys;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a manifest object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut access: A) -> Result<UniqueKeys, A::Error> {
                let mut keys = UniqueKeys { map: BTreeMap::new(), duplicate: None };
                while let Some((key, value)) = access.next_entry()? {
                    keys.add(key, value);
                }
                Ok(keys)
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest() -> String {
        BlobDigest::of(b"").to_string()
    }

    fn manifest(extra: &str) -> String {
        let config = format!(r#"{{"mediaType":"{}","digest":"{}","size":2}}"#, media_type::OCI_CONFIG, digest());
        format!(r#"{{"schemaVersion":2,"config":{config},"layers":[]{extra}}}"#)
    }

    fn error(text: &str, served: &str) -> String {
        Document::parse(text.as_bytes(), served).expect_err("the document is refused").to_string()
    }

    #[test]
    fn a_plain_manifest_is_read() {
        let document = Document::parse(manifest("").as_bytes(), media_type::OCI_MANIFEST).expect("it is valid");
        assert!(matches!(document, Document::Manifest(manifest) if manifest.layers.is_empty()));
    }

    #[test]
    fn ambiguous_documents_are_refused() {
        assert!(error(&manifest(r#","manifests":[]"#), "").contains("ambiguous"));
        assert!(error(&manifest(r#","layers":[]"#), "").contains("`layers` twice"));
        let stated = format!(r#","mediaType":"{}""#, media_type::DOCKER_MANIFEST);
        assert!(error(&manifest(&stated), media_type::OCI_MANIFEST).contains("was served as"));
        assert!(error(&manifest(r#","mediaType":"x/y""#), "").contains("not the type"));
    }

    #[test]
    fn schema_one_is_refused_by_name() {
        assert!(error(r#"{"schemaVersion":1,"name":"x"}"#, "").contains("schema 1"));
        assert!(error("{}", media_type::DOCKER_SCHEMA1_SIGNED).contains("schema 1"));
        assert!(error("{}", "").contains("schema version 0"));
    }

    #[test]
    fn a_digest_that_is_a_path_is_refused() {
        let text = manifest("").replace(&digest(), "sha256:../../etc/passwd");
        assert!(Document::parse(text.as_bytes(), "").is_err());
    }

    #[test]
    fn a_negative_size_is_refused() {
        assert!(Document::parse(manifest("").replace(r#""size":2"#, r#""size":-2"#).as_bytes(), "").is_err());
    }
}
