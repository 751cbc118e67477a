//! Trees of files: paths confined to a root, copying, hashing, layer archives, merged views.
//!
//! Turns patterns into selections of files and their digests, selections into layer directories, archives into layer
//! directories and layer directories into archives.
//! It knows no image, no cache and no network; it has no clock and no environment: where a time is needed, it is a
//! parameter.
//!
//! Invariants:
//! 1. Nothing outside an open [`Dir`] is read or written through it, whatever a link, an archive or a pattern says.
//! 2. What is in a layer is what was digested: a file that changes while it is read is an error, never a mixture.
//! 3. The bytes of an archive depend on the tree alone: not on the machine, the number of threads or the cache.
//! 4. Every number from outside has a limit in [`limits`].
//!
//! Read `dir`, `merged`, `layers`, `select`, `copy`, `unpack`, `pack` in this order.

pub mod copy;
mod digest;
pub mod dir;
pub mod inventory;
mod layers;
pub mod limits;
pub mod memory;
pub mod merged;
pub mod normalise;
pub mod pack;
mod pool;
pub mod scan;
pub mod select;

pub mod times;
pub mod unpack;

pub use copy::{CopyError, CopyManifest, CopyReport, CopyRequest, Previous, copy_into, make_dir};
pub use dir::{Dir, Entry, Follow, Kind, Metadata, PathError, Time, Xattr};
pub use inventory::{Inventory, Listed};
pub use layers::Layers;
pub use limits::Limits;
pub use memory::HashMemory;
pub use merged::{LayerFormat, OverlayError, merged, merged_writable};
pub use normalise::{Normalised, normalise_bytecode, normalise_layer};
pub use pack::{
    Counted, EstargzWriter, Extended, GzipWriter, LayerWriter, Method, PackError, Packed, ZstdWriter, count_layer,
    layer_digest, pack_layer, pack_live_tree, pack_tree,
};
pub use scan::ScanError;
pub use select::{Context, Item, Keep, Naming, SelectError, Selection, Size, select, select_with};
pub use times::{Origin, Times};
pub use unpack::{Applied, UnpackError, adopt_directories, apply_layer, decompress, extract_archive, is_archive};
