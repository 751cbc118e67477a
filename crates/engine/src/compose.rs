//! Turns a plan and the layers that it led to into an image configuration.
//!
//! It knows no store and no clock: the times of the steps come with the layers.

use jiff::Timestamp;
use stave_cache::format::INLINE_FIELD;
use stave_dockerfile::plan::BuildPlan;
use stave_oci::{DiffId, History, ImageConfig, ImageId};

/// A layer of the image that is made, as far as its configuration speaks of it.
#[derive(Debug, Clone)]
pub(crate) struct LayerFacts {
    /// Digest of its tar.
    pub(crate) diff_id: DiffId,
}

/// An image configuration with its bytes.
#[derive(Debug, Clone)]
pub(crate) struct Composed {
    /// The document's digest.
    pub(crate) id: ImageId,
    /// The document.
    pub(crate) bytes: Vec<u8>,
    /// The same as a value.
    pub(crate) config: ImageConfig,
}

/// Returns the configuration of the image that `plan` describes.
///
/// `base` is the configuration of the image that the target's chain starts from; `layers` are all layers, lowest first;
/// `times` has one entry for each item of the plan's history, the time at which it was made.
///
/// Reference: OCI image-spec 1.1, `config.md`: as many history entries that are not empty as layers.
pub(crate) fn compose(
    plan: &BuildPlan,
    base: Option<&ImageConfig>,
    layers: &[LayerFacts],
    times: &[Timestamp],
) -> Composed {
    let mut config = plan.config.clone();
    // What a base carries is about the base's steps.
    config.other.remove(INLINE_FIELD);
    config.history = base.map(|base| base.history.clone()).unwrap_or_default();
    for (item, time) in plan.history.iter().zip(times) {
        config.history.push(History {
            created: Some(time.to_string()),
            created_by: Some(item.created_by.clone()),
            author: item.author.clone(),
            comment: item.comment.clone(),
            empty_layer: item.node.is_none(),
        });
    }
    config.created = match times.last() {
        Some(time) => Some(time.to_string()),
        None => base.and_then(|base| base.created.clone()),
    };
    config.rootfs.diff_ids = layers.iter().map(|layer| layer.diff_id).collect();
    Composed::new(config)
}

impl Composed {
    /// Returns `config` with its bytes and digest.
    pub(crate) fn new(config: ImageConfig) -> Self {
        let bytes = serde_json::to_vec(&config).expect("a configuration has only text keys");
        Self { id: ImageId::of(&bytes), bytes, config }
    }
}
