//! BuildKit's cache configuration as JSON says it: nothing here is checked beyond its shape.
//!
//! Reference: BuildKit, `cache/remotecache/v1`: `application/vnd.buildkit.cacheconfig.v0`. The fields named `stave` are
//! additions, which BuildKit does not read.

use serde::{Deserialize, Serialize};
use stave_oci::{BlobDigest, DiffId};

/// The type of the configuration in a manifest.
pub const CONFIG_TYPE: &str = "application/vnd.buildkit.cacheconfig.v0";

/// The field of an image's configuration that has the records of an inline cache, in base64.
pub const INLINE_FIELD: &str = "moby.buildkit.cache.v0";

/// Annotation of a layer's descriptor: the digest of its tar.
pub const UNCOMPRESSED: &str = "containerd.io/uncompressed";

/// Annotation of a layer's descriptor: when it was made.
pub const CREATED_AT: &str = "buildkit/createdat";

/// The whole document.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheConfig {
    /// All layers; others name them by their place in this list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<LayerEntry>,
    /// All records; others name them by their place in this list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<RecordEntry>,
}

/// A layer on another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerEntry {
    /// Digest of its blob.
    pub blob: BlobDigest,
    /// The layer below; -1 for none. BuildKit leaves a 0 out.
    #[serde(default)]
    pub parent: i64,
    /// What a manifest would say of the blob, where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<LayerFacts>,
    /// What stave knows besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stave: Option<LayerNote>,
}

/// What is said of a layer's blob.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LayerFacts {
    /// Its media type.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// Digest of its tar.
    #[serde(default, rename = "diffID", skip_serializing_if = "Option::is_none")]
    pub diff_id: Option<DiffId>,
    /// Its length in bytes.
    #[serde(default)]
    pub size: u64,
    /// When it was made, as RFC 3339 text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub created_at: String,
}

/// What stave knows of a layer besides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerNote {
    /// Bytes of its tar.
    #[serde(default)]
    pub bytes: u64,
}

/// What is known of one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordEntry {
    /// Its results, each a layer with all below it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<ResultEntry>,
    /// Its results whose layers lie on others than the list says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chains: Vec<ChainEntry>,
    /// What it is.
    pub digest: BlobDigest,
    /// For each of its inputs the records that it may be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<Vec<InputEntry>>,
    /// What stave knows besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stave: Option<RecordNote>,
}

/// A result: a layer with all below it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultEntry {
    /// Place of the highest layer.
    #[serde(default)]
    pub layer: i64,
    /// When it was made, as RFC 3339 text.
    #[serde(default, rename = "createdAt", skip_serializing_if = "String::is_empty")]
    pub created_at: String,
}

/// A result: these layers, lowest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainEntry {
    /// Places of the layers.
    pub layers: Vec<i64>,
    /// When it was made, as RFC 3339 text.
    #[serde(default, rename = "createdAt", skip_serializing_if = "String::is_empty")]
    pub created_at: String,
}

/// A record that makes an input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputEntry {
    /// What of it is read.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub selector: String,
    /// Place of the record.
    #[serde(default)]
    pub link: i64,
}

/// What stave knows of a record besides: it is there on its own records and on no others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordNote {
    /// Identity of the instruction.
    #[serde(default)]
    pub op: String,
    /// The instruction, for people.
    #[serde(default)]
    pub title: String,
    /// When a build last exported it, in seconds since 1970.
    #[serde(default)]
    pub used: i64,
    /// What says how the steps of the build that exported it last were made.
    #[serde(default, rename = "madeOf", skip_serializing_if = "Option::is_none")]
    pub made_of: Option<ParcelEntry>,
}

/// A blob that says how the steps of a build were made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParcelEntry {
    /// Digest of its bytes.
    pub blob: BlobDigest,
    /// Its length.
    pub size: u64,
    /// The bytes in base64, where there is no other place for them: in an image's configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inline: Option<String>,
}
