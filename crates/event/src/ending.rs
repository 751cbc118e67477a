//! How a build ends.

use serde::{Deserialize, Serialize};

use crate::step::StepId;

/// How a build ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Ending {
    /// It made what was asked for.
    Built {
        /// The images, one for each platform, in the order in which they were asked for.
        images: Vec<BuiltImage>,
        /// Digest of the index, if the images are several.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        index: Option<String>,
        /// Names that were given, in full.
        names: Vec<String>,
        /// Uncompressed bytes of all layers of all images.
        size: u64,
        /// Steps that ran.
        ran: u32,
        /// Steps whose results were known.
        cached: u32,
    },
    /// Something failed.
    Failed {
        /// The step that did, if it was one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<StepId>,
        /// Why, on one line.
        message: String,
    },
    /// The caller cancelled.
    Interrupted,
}

/// One image of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuiltImage {
    /// For which platform.
    pub platform: String,
    /// Digest of its configuration.
    pub image: String,
    /// Its layers, the lowest first.
    pub layers: Vec<LayerLine>,
}

/// One layer of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerLine {
    /// The step that made it; nothing for a base's, and for one that was made of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepId>,
    /// Whether it is one of the base's.
    #[serde(default)]
    pub of_base: bool,
    /// Uncompressed bytes of its tar.
    pub bytes: u64,
    /// Digest of the uncompressed tar.
    pub diff_id: String,
}
