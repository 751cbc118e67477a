//! Snapshots: lists of layers, opened and seen as one tree.

use std::collections::HashSet;
use std::sync::Arc;

use stave_oci::TreeDigest;
use stave_store::LayerId;
use stave_tree::{Dir, Layers, layer_digest, merged};

use crate::caches::RemoteLayer;
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

/// A layer, here or elsewhere.
#[derive(Debug, Clone)]
pub(crate) enum SnapshotLayer {
    /// The store has its files.
    Here(LayerId),
    /// A cache of another machine has it.
    There(RemoteLayer),
}

impl SnapshotLayer {
    /// Returns where it is, if not here.
    pub(crate) fn remote(&self) -> Option<&RemoteLayer> {
        match self {
            Self::Here(_) => None,
            Self::There(remote) => Some(remote),
        }
    }
}

/// The result of a node, of which not all files need be here.
#[derive(Debug, Clone)]
pub(crate) struct KnownSnapshot {
    /// The layers, lowest first.
    pub(crate) layers: Arc<[SnapshotLayer]>,
}

impl KnownSnapshot {
    /// Returns the result with the files of both, those of `upper` on top.
    pub(crate) fn joined(lower: &Self, upper: &Self) -> Self {
        Self { layers: lower.layers.iter().chain(upper.layers.iter()).cloned().collect() }
    }

    /// Returns the snapshot, if all of it is here.
    pub(crate) fn here(&self) -> Option<Snapshot> {
        let here = |layer: &SnapshotLayer| match layer {
            SnapshotLayer::Here(layer) => Some(*layer),
            SnapshotLayer::There(_) => None,
        };
        self.layers.iter().map(here).collect::<Option<_>>().map(|layers| Snapshot { layers })
    }

    /// Returns the layers that are elsewhere.
    pub(crate) fn remote(&self) -> impl Iterator<Item = &RemoteLayer> {
        self.layers.iter().filter_map(SnapshotLayer::remote)
    }
}

impl From<Snapshot> for KnownSnapshot {
    fn from(snapshot: Snapshot) -> Self {
        Self { layers: snapshot.layers.iter().copied().map(SnapshotLayer::Here).collect() }
    }
}

impl FromIterator<RemoteLayer> for KnownSnapshot {
    fn from_iter<I: IntoIterator<Item = RemoteLayer>>(layers: I) -> Self {
        Self { layers: layers.into_iter().map(SnapshotLayer::There).collect() }
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
