//! A catalog as the documents that a registry or a layout keeps: an image manifest, an index, or an image that carries
//! the records in its own configuration.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use stave_oci::{BlobDigest, Compression, Descriptor, DiffId, Platform, media_type};

use crate::catalog::{Catalog, FormatError};
use crate::format::{CONFIG_TYPE, CREATED_AT, CacheConfig, INLINE_FIELD, LayerEntry, RecordEntry, UNCOMPRESSED};

/// Which documents name the layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// An image manifest, which every registry takes; else an index, as before BuildKit 0.21.
    pub image_manifest: bool,
    /// Types of OCI; else Docker's.
    pub oci_types: bool,
}

impl Default for Form {
    fn default() -> Self {
        Self { image_manifest: true, oci_types: true }
    }
}

/// A catalog as documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The configuration, a blob of its own.
    pub config: Vec<u8>,
    /// What names it.
    pub config_descriptor: Descriptor,
    /// The manifest or index.
    pub manifest: Vec<u8>,
    /// Its media type.
    pub media_type: String,
}

/// What a document is, and what has to be fetched next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// A cache: its configuration has to be fetched, and [`Catalog::read`] with these layers.
    Cache {
        /// The configuration.
        config: Descriptor,
        /// All layers.
        layers: Vec<Descriptor>,
    },
    /// An image, which may carry a cache: its configuration has to be fetched, and [`read_inline`] with these layers.
    Image {
        /// The configuration.
        config: Descriptor,
        /// The layers.
        layers: Vec<Descriptor>,
    },
    /// Images, each of which may carry a cache; those for the platform come first.
    Images(Vec<Descriptor>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    #[serde(default)]
    manifests: Vec<Descriptor>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

/// Writes a catalog's documents.
#[must_use]
pub fn write(catalog: &Catalog, form: Form) -> Written {
    let config = serde_json::to_vec(&catalog.to_config(false)).expect("a cache's configuration has only text keys");
    let config_descriptor = Descriptor::new(CONFIG_TYPE, BlobDigest::of(&config), config.len() as u64);
    let parcels = catalog.latest_parcels(usize::MAX).into_iter().filter(|parcel| parcel.inline.is_none());
    let parcels = parcels.map(|parcel| crate::parcel::descriptor(&parcel));
    let layers: Vec<Descriptor> = catalog
        .layers()
        .into_iter()
        .map(|layer| {
            let mut descriptor = layer.descriptor();
            descriptor.media_type = layer_type(&descriptor.media_type, form.oci_types);
            descriptor
        })
        .chain(parcels)
        .collect();
    let media_type = match (form.image_manifest, form.oci_types) {
        (true, true) => media_type::OCI_MANIFEST,
        (true, false) => media_type::DOCKER_MANIFEST,
        (false, true) => media_type::OCI_INDEX,
        (false, false) => media_type::DOCKER_LIST,
    };
    let manifest = if form.image_manifest {
        serde_json::json!({
            "schemaVersion": 2, "mediaType": media_type, "config": config_descriptor, "layers": layers,
        })
    } else {
        let all: Vec<&Descriptor> = layers.iter().chain([&config_descriptor]).collect();
        serde_json::json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": all })
    };
    let manifest = manifest.to_string().into_bytes();
    Written { config, config_descriptor, manifest, media_type: media_type.to_owned() }
}

/// Returns the name of a layer's type in the wanted family. Docker has none for zstd.
fn layer_type(name: &str, oci: bool) -> String {
    match (Compression::of_media_type(name), oci) {
        (Some(Compression::Gzip), true) => media_type::OCI_LAYER_GZIP,
        (Some(Compression::Gzip), false) => media_type::DOCKER_LAYER_GZIP,
        (Some(Compression::None), true) => media_type::OCI_LAYER,
        (Some(Compression::None), false) => media_type::DOCKER_LAYER,
        (Some(Compression::Zstd), _) => media_type::OCI_LAYER_ZSTD,
        (None, _) => name,
    }
    .to_owned()
}

/// Says what a manifest or an index is.
///
/// # Errors
/// If it is neither, or has nothing in it.
pub fn parse(bytes: &[u8], platform: &Platform) -> Result<Document, FormatError> {
    let fields: Fields = serde_json::from_slice(bytes)?;
    if let Some(config) = fields.config {
        let layers = fields.layers;
        if config.media_type == CONFIG_TYPE {
            return Ok(Document::Cache { config, layers });
        }
        if [media_type::OCI_CONFIG, media_type::DOCKER_CONFIG].contains(&config.media_type.as_str()) {
            return Ok(Document::Image { config, layers });
        }
        let what = config.media_type.chars().filter(|character| !character.is_control()).take(100).collect::<String>();
        return Err(FormatError::NoCache(format!(
            "it is neither a cache nor an image: its configuration is a `{what}`"
        )));
    }
    let (configs, layers): (Vec<_>, Vec<_>) =
        fields.manifests.into_iter().partition(|descriptor| descriptor.media_type == CONFIG_TYPE);
    if let Some(config) = configs.into_iter().next() {
        return Ok(Document::Cache { config, layers });
    }
    let mut images: Vec<Descriptor> = layers
        .into_iter()
        .filter(|descriptor| {
            [media_type::OCI_MANIFEST, media_type::DOCKER_MANIFEST].contains(&descriptor.media_type.as_str())
                && descriptor.platform.as_ref().is_none_or(|platform| platform.os != "unknown")
        })
        .collect();
    if images.is_empty() {
        return Err(FormatError::NoCache("it has neither a cache's configuration nor images".to_owned()));
    }
    let runs = |descriptor: &Descriptor| descriptor.platform.as_ref().is_some_and(|own| own.runs_on(platform));
    images.sort_by_key(|descriptor| !runs(descriptor));
    Ok(Document::Images(images))
}

#[derive(Deserialize)]
struct ImageFields {
    #[serde(default, rename = "moby.buildkit.cache.v0")]
    cache: Option<String>,
    #[serde(default)]
    rootfs: RootFs,
    #[serde(default)]
    history: Option<Vec<HistoryFields>>,
}

#[derive(Default, Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Option<Vec<DiffId>>,
}

#[derive(Deserialize)]
struct HistoryFields {
    #[serde(default)]
    created: Option<String>,
    #[serde(default)]
    empty_layer: bool,
}

/// Reads the cache that an image carries in its configuration; nothing if it carries none.
///
/// # Errors
/// If what it carries is no cache.
pub fn read_inline(config: &[u8], layers: &[Descriptor]) -> Result<Option<Catalog>, FormatError> {
    let fields: ImageFields = serde_json::from_slice(config)?;
    let Some(text) = fields.cache.filter(|text| !text.is_empty()) else { return Ok(None) };
    let records: Vec<RecordEntry> = serde_json::from_slice(&STANDARD.decode(text)?)?;
    let created: Vec<Option<String>> = fields
        .history
        .unwrap_or_default()
        .into_iter()
        .filter(|entry| !entry.empty_layer)
        .map(|entry| entry.created)
        .collect();
    let diff_ids = fields.rootfs.diff_ids.unwrap_or_default();
    let mut stated = Vec::new();
    for (place, (layer, diff_id)) in layers.iter().zip(&diff_ids).enumerate() {
        let mut layer = layer.clone();
        layer.annotations = BTreeMap::from([(UNCOMPRESSED.to_owned(), diff_id.to_string())]);
        if let Some(created) = created.get(place).cloned().flatten() {
            layer.annotations.insert(CREATED_AT.to_owned(), created);
        }
        stated.push(layer);
    }
    let entries = stated.iter().enumerate().map(|(place, layer)| LayerEntry {
        blob: layer.digest,
        parent: i64::try_from(place).expect("an image has few layers") - 1,
        annotations: None,
        stave: None,
    });
    let config = CacheConfig { layers: entries.collect(), records };
    Catalog::read(&config, &stated).map(Some)
}

/// Returns the field of an image's configuration, and its value, that carry the catalog's records of the image with these
/// layers; nothing if it has none of them.
#[must_use]
pub fn write_inline(catalog: &Catalog, image: &[BlobDigest]) -> Option<(&'static str, String)> {
    let records = catalog.to_inline(image)?;
    let text = serde_json::to_vec(&records).expect("records have only text keys");
    Some((INLINE_FIELD, STANDARD.encode(text)))
}
