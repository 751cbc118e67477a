//! Snapshots: lists of layers, opened and seen as one tree.

use std::collections::HashSet;
use std::sync::Arc;

use stave_oci::TreeDigest;
use stave_store::LayerId;
use stave_tree::{Dir, Layers, layer_digest, merged};

use crate::engine::Engine;
use crate::error::EngineError;

/// The result of a node: a file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// The layers, lowest first.
    pub(crate) layers: Arc<[LayerId]>,
}

impl Snapshot {
    /// Returns this snapshot with one more layer on top.
    pub(crate) fn with(&self, layer: LayerId) -> Self {
        Self { layers: self.layers.iter().copied().chain([layer]).collect() }
    }
}

/// Returns the layers that are stacked to see `layers` as one tree. Of one that is there twice, as empty ones are in many
/// images, the higher has all that the lower has, and overlayfs takes no directory twice.
pub(crate) fn stacked(layers: &[LayerId]) -> Vec<LayerId> {
    let mut known = HashSet::new();
    let mut stacked: Vec<LayerId> = layers.iter().rev().copied().filter(|layer| known.insert(*layer)).collect();
    stacked.reverse();
    stacked
}

impl Engine {
    /// Returns a read-only view of `layers` as one tree. It is attached nowhere and vanishes when it is dropped.
    pub(crate) fn view(&self, layers: &[LayerId]) -> Result<Dir, EngineError> {
        let opened = self.open_layers(&stacked(layers))?;
        let lowest_first: Vec<&Dir> = opened.iter().collect();
        merged(&lowest_first, self.format()).map_err(|source| EngineError::tree("cannot join layers", source))
    }

    /// Returns `layers` as one tree that can be asked about single paths without a mount.
    pub(crate) fn layers(&self, layers: &[LayerId]) -> Result<Layers, EngineError> {
        Ok(Layers::new(self.open_layers(layers)?, self.format()))
    }

    pub(crate) fn open_layers(&self, layers: &[LayerId]) -> Result<Vec<Dir>, EngineError> {
        layers.iter().map(|layer| self.store_dir(&self.store.layer_rel_path(*layer))).collect()
    }

    /// Returns the digest of what a layer contains. It is computed once and remembered.
    pub(crate) fn layer_content(&self, layer: LayerId) -> Result<TreeDigest, EngineError> {
        if let Some(digest) = self.store.layer_tree_digest(layer)? {
            return Ok(digest);
        }
        let directory = self.store_dir(&self.store.layer_rel_path(layer))?;
        let digest = layer_digest(&directory, self.format())
            .map_err(|source| EngineError::tree(format!("cannot digest layer {layer}"), source))?;
        self.store.set_layer_tree_digest(layer, &digest)?;
        Ok(digest)
    }

    /// Whether two snapshots have the same content, layer by layer.
    pub(crate) fn same_content(&self, one: &[LayerId], other: &[LayerId]) -> Result<bool, EngineError> {
        if one.len() != other.len() {
            return Ok(false);
        }
        for (one, other) in one.iter().zip(other).filter(|(one, other)| one != other) {
            if self.layer_content(*one)? != self.layer_content(*other)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
