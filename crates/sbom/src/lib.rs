//! Turns the files of an image into the list of the packages that they were installed from, and that list into SPDX and
//! `CycloneDX` documents.
//!
//! It knows no disk: it sees the image through [`Files`]. It knows no registry of packages either: what a document says
//! of a package is what the image itself says of it.
//!
//! Invariants:
//! 1. The same files give the same bytes: everything is sorted, there is no clock and no random number.
//! 2. Nothing in an image makes a reader panic or use more than [`limits`] allow. What cannot be read is a note in the
//!    document, never left out without a word.
//! 3. A package is in the list once, whatever number of files say that it is there.
//!
//! Read `files`, `package`, `scan`, then one of the readers (`dpkg` is the simplest), `purl`, `license`, `spdx`,
//! `cyclonedx` in this order.

mod apk;
mod berkeley;
mod cargo;
mod cyclonedx;
mod dpkg;
mod elf;
mod files;
mod golang;
mod license;
pub mod limits;
mod npm;
mod package;
mod purl;
mod python;
mod release;
mod rpm;
mod scan;
mod spdx;
mod sqlite;

pub use cyclonedx::{CycloneVersion, cyclonedx};
pub use files::{FileEntry, FileKind, Files};
pub use package::{Ecosystem, Inventory, Package, Subject};
pub use purl::purl;
pub use release::Distribution;
pub use scan::scan;
pub use spdx::{spdx, spdx_bytes};
