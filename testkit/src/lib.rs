//! Turns a few lines of a test into what it needs: files, images, a registry, a page, a command's outcome.
//!
//! It knows the `stave` binary only as a command line, never its crates (but for `oci`'s values), so that a test
//! through it sees what a user sees. Used by tests and by `xtask`, never by the product.
//!
//! Invariants:
//! 1. Servers listen on 127.0.0.1, on a port that the kernel chose, and end when they are dropped.
//! 2. A [`Bench`] shares nothing with another or with the machine's user: own store, own home, cleared environment.
//! 3. What a machine lacks is said in one form (`skipped: ...`, see [`needs`]), which `xtask test` counts.
//!
//! Read `bench`, `output`, `rootfs`, `image`, `registry`, `leaks`, `sentinel`, `conformance`, `interop` in this order.

pub mod bench;
pub mod conformance;
pub mod dockerd;
pub mod fixtures;
pub mod git;
pub mod http;
pub mod image;
pub mod interop;
pub mod leaks;
pub mod needs;
pub mod output;
pub mod page;
pub mod podman;
pub mod proxy;
pub mod registry;
pub mod rootfs;
pub mod sentinel;
pub mod terminal;
pub mod wait;

pub use bench::Bench;
pub use image::Image;
pub use output::Output;
pub use registry::LoopbackRegistry;
pub use rootfs::Rootfs;
pub use sentinel::Sentinel;
