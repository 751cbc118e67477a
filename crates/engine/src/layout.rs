//! Bases from an OCI image layout on this machine: found by tag or digest, and taken into the store.
//!
//! Nothing in a layout is believed: its files are opened inside it, and what they hold must have the digests by which
//! they are found.
//!
//! Reference: OCI image-spec 1.1, `image-layout.md`; `docker buildx build --build-context`, `oci-layout://`.

use stave_oci::{BlobDigest, Descriptor, ImageId, Index, Platform, media_type};
use stave_store::Lease;
use stave_tree::Dir;
use stave_tree::limits::TEXT_BYTES_MAX;

use crate::archive::blob_path;
use crate::base::KnownBase;
use crate::build::Report;
use crate::engine::{Engine, open_user_dir};
use crate::error::EngineError;
use crate::event::TaskKind;
use crate::request::LayoutSource;
use crate::save::{image_for, read};
use crate::task::Task;

/// The annotation with the tag of an image.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";

impl Engine {
    /// Finds the image that `layout` names, for `platform`, and has the store have it.
    pub(crate) fn layout_base(
        &self,
        lease: &Lease,
        layout: &LayoutSource,
        platform: &Platform,
        events: Report<'_>,
    ) -> Result<KnownBase, EngineError> {
        Task::during(events, TaskKind::Fetch, format!("load {layout}"), |_| {
            let root = open_user_dir(&layout.path)?;
            let found = image_for(&root, &choose(&root, layout)?, platform)?;
            let id: ImageId = self.load_one(lease, &root, found, events)?.id;
            let config = self.image_config(&id)?;
            if !config.os.is_empty() && !config.platform().runs_on(platform) {
                let (found, wanted) = (config.platform().to_string(), platform.to_string());
                return Err(EngineError::Platform { image: layout.to_string(), found, wanted });
            }
            Ok(KnownBase::in_store(id, config))
        })
    }
}

/// Returns what leads to the image: what has the tag (`latest` if none is given, or the only one) and the digest.
pub(crate) fn choose(root: &Dir, layout: &LayoutSource) -> Result<Descriptor, EngineError> {
    let bytes = read(root, b"index.json")?;
    let mut index: Index = serde_json::from_slice(&bytes)
        .map_err(|source| EngineError::tree(format!("cannot use `index.json` of `{layout}`"), source))?;
    // What refers to an image is none.
    index.manifests.retain(|entry| entry.artifact_type.is_empty());
    let tag_of = |entry: &&Descriptor| entry.annotations.get(REF_NAME).cloned();
    let missing = |what: &str| {
        let tags: Vec<String> = index.manifests.iter().filter_map(|entry| tag_of(&entry)).collect();
        let hint = match tags.as_slice() {
            [] => "Its images have no tags: name one by its digest, as `@sha256:...`.".to_owned(),
            tags => format!("It has: {}.", tags.join(", ")),
        };
        EngineError::request(format!("the layout `{}` has no {what}", layout.path.display()), Some(&hint))
    };
    let tagged = |tag: &str| index.manifests.iter().find(|entry| tag_of(entry).as_deref() == Some(tag));
    match (&layout.digest, layout.tag.as_deref()) {
        (Some(digest), _) => match index.manifests.iter().find(|entry| entry.digest == *digest) {
            Some(entry) => Ok(entry.clone()),
            None => by_digest(root, digest)?.ok_or_else(|| missing(&format!("image {digest}"))),
        },
        (None, Some(tag)) => tagged(tag).cloned().ok_or_else(|| missing(&format!("image with the tag `{tag}`"))),
        (None, None) => match (tagged("latest"), index.manifests.as_slice()) {
            (Some(entry), _) | (None, [entry]) => Ok(entry.clone()),
            (None, _) => Err(missing("image with the tag `latest`, and not exactly one image")),
        },
    }
}

/// Returns a descriptor of the manifest or index `digest`, which the layout has without listing it.
fn by_digest(root: &Dir, digest: &BlobDigest) -> Result<Option<Descriptor>, EngineError> {
    let path = blob_path(digest);
    let unreadable = |error| EngineError::tree(format!("cannot read `{path}` of the layout"), error);
    if !root.exists(path.as_bytes()).map_err(unreadable)? {
        return Ok(None);
    }
    let bytes = root.read_file(path.as_bytes(), TEXT_BYTES_MAX).map_err(unreadable)?;
    let value: serde_json::Value = serde_json::from_slice(&bytes)
        .map_err(|source| EngineError::tree(format!("cannot use `{path}` of the layout"), source))?;
    let kind = if value.get("manifests").is_some() { media_type::OCI_INDEX } else { media_type::OCI_MANIFEST };
    let kind = value.get("mediaType").and_then(serde_json::Value::as_str).unwrap_or(kind);
    Ok(Some(Descriptor::new(kind, *digest, bytes.len() as u64)))
}
