//! Turns bytes of the OCI and Docker image formats into values and back.
//!
//! It knows no disk, no network, no clock and no environment.
//!
//! Invariants:
//! 1. A digest is a value of the type of what was digested; a text that is no digest never becomes one.
//! 2. Whatever a configuration said that stave does not know is written back unchanged.
//! 3. The same value always gives the same bytes: maps are ordered.
//!
//! Read `digest`, `platform`, `config`, `manifest`, `reference` in this order.

pub mod config;
pub mod digest;
pub mod manifest;
pub mod mode;
pub mod platform;
pub mod reference;
pub mod user;

pub use config::{Empty, Healthcheck, History, ImageConfig, RootFs, RunConfig};
pub use digest::{BlobDigest, DiffId, Hasher, ImageId, TreeDigest};
pub use manifest::{Compression, Descriptor, Document, Index, Manifest, media_type};
pub use mode::ModeChange;
pub use platform::Platform;
pub use reference::Reference;
