//! Caches between machines: turns what stave knows of steps into the cache manifests that BuildKit writes and reads, and
//! keeps them, with the layers, in registries, directories and services.
//!
//! It does not know what a step is, how a layer is made, or where it is unpacked; it knows no environment and no clock but
//! those that are given to it. `catalog`, `document` and `format` know no place either.
//!
//! Invariants:
//! 1. A document from elsewhere is checked once, and from then on names nothing that is not there.
//! 2. What others have put into a cache is kept by an export, within the limits that say how much and how long.
//! 3. No blob is handed on as more than bytes: who takes it checks it.
//!
//! Read `format`, `catalog`, `document`, `options`, `backend`, `parcel` in this order.

pub mod backend;
pub mod catalog;
pub mod document;
pub mod error;
pub mod format;
pub mod limits;
pub mod options;
pub mod parcel;

pub use backend::{Backend, Blob, publish};
pub use catalog::{Catalog, Layer, NewRecord};
pub use error::CacheError;
pub use options::{ExportSpec, ImportSpec, LayerKind, Mode, Place};
