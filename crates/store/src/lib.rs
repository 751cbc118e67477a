//! The store: blobs, layers, images, containers and cache records on one disk, shared by many processes.
//!
//! It turns work in private directories into things that all processes see, completely or not at all, and keeps
//! them until they are pruned. It does not know what a Dockerfile, a step or a registry is, reads no clock and no
//! environment, and never looks into a layer except to measure and delete it.
//!
//! Invariants:
//! 1. What a row names exists and is complete. Whatever a killed process leaves is named by a row of `pending`
//!    or lies in its own `tmp/<owner>`, and the next process that opens the store removes it.
//! 2. What a living lease has pinned is not removed.
//! 3. What was not on the disk when the machine stopped is not in the store when it is back.
//! 4. Nothing is written beyond the size limit, if there is one: room is made first, or the write fails.
//! 5. Nothing is deleted in place: it is renamed into `trash` first, and no mount is ever crossed.
//!
//! `docs/store-layout.md` describes every file and table. Read `record`, `layout`, `store`, `lease`, `layers`,
//! `blobs`, `images`, `indexes`, `cache`, `caches`, `volumes`, `containers`, `builds`, `history`, `settle`, `forget`, `recover`, `usage`, `records`, `prune`,
//! `limit`, `check` in this order.

mod attestations;
mod blobs;
mod builds;
mod cache;
mod caches;
mod check;
mod containers;
mod database;
mod error;
mod forget;
mod history;
mod id;
mod images;
mod indexes;
mod layers;
pub mod layout;
mod lease;
mod limit;
mod name;
mod prune;
mod record;
mod records;
mod recover;
mod reserve;
mod settle;
mod store;
mod stubs;
mod trash;
mod usage;
mod volumes;

pub use attestations::Attestation;
pub use blobs::{BlobExpectation, BlobWriter};
pub use caches::{CacheAccess, CacheAnswer, CacheMount, CacheName};
pub use check::{CheckOptions, CheckReport, PackedDigest, Problem};
pub use error::{BlobError, BuildError, ContainerError, ImageError, StoreError, VolumeError};
pub use history::HistoryLimit;
pub use id::{BuildId, ContainerId, LayerId};
pub use images::CONFIG_BYTES_MAX;
pub use lease::{Lease, WorkDir};
pub use limit::{OnFull, SizeLimit};
pub use prune::{PruneOptions, Pruned};
pub use record::{
    BuildRecord, BuildState, CacheLookup, CacheRecord, ContainerRecord, ContainerState, Eviction, ImageLayer,
    ImageManifest, ImageRecord, IndexRecord, LayerForm, Lost, NewContainer, NewImage, NewIndex, RemovedImage, Tag,
    TarMark,
};
pub use records::{DiskRecord, RecordKind};
pub use store::{Clock, Failpoint, Store, StoreOptions};
pub use usage::{Amount, Usage};
pub use volumes::VolumeRecord;
