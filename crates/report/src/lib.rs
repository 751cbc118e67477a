//! Turns the record of a build into a page that explains it, and into pictures of its stages and steps.
//!
//! Logs and layers are given as data. This crate knows no disk, no clock, no engine and no terminal.
//!
//! Invariants:
//! 1. What comes from a build reaches a page, a picture or a graph only as escaped text, and without control characters.
//! 2. A page asks for nothing: its style and its script are in it, and its policy forbids everything else.
//! 3. A page stays below [`PAGE_BYTES_MAX`], whatever was built; what is left out is counted there.
//! 4. The same record gives the same bytes.
//!
//! Read `text`, `diagram`, `layout`, then `page` from its `mod.rs`. `assets` has the style and the script.

mod diagram;
mod dot;
mod layout;
mod log;
mod measure;
mod mermaid;
mod page;
mod stages;
mod svg;
mod text;

pub use diagram::{Detail, Diagram, Edge, EdgeKind, Node, NodeKind};
pub use dot::dot;
pub use log::{LogExcerpt, LogShare, share_logs};
pub use mermaid::mermaid;
pub use page::{ImageLayers, PAGE_BYTES_MAX, Page};
pub use stages::Mark;
pub use svg::svg;
