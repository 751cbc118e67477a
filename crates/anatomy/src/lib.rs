//! Turns the entries of an image's layers, lowest first, into the [`Anatomy`] of the image: a tree of sizes in which each
//! directory and file says what each layer added to it, what a later layer replaced or deleted of that, and so how many
//! bytes are shipped for nothing.
//!
//! It knows no disk, no store and no terminal: entries are given to a [`Builder`], and what a tree is shown as is the
//! business of whoever shows it.
//!
//! A byte is counted as the layer's tar has it: an entry's header, its content, and what fills its last block. Of a file
//! with several names in one layer the content is counted once, at the first of them that is still there.
//!
//! Invariants:
//! 1. The root's bytes of a layer are those of all its entries, and each directory's are its own and those below it.
//! 2. What can be seen is what one layer would have that holds all files of the image and nothing else.
//! 3. What is shipped and cannot be seen is lost to exactly one layer, so the losses of a layer are what it ships and what
//!    can be seen of it apart.
//! 4. Nothing here recurses, whatever the depth of a tree.
//!
//! Read `entry`, `tree`, `builder`, `made` in this order.

mod builder;
mod entry;
pub mod limits;
mod made;
mod tree;

pub use builder::{AnatomyError, Builder};
pub use entry::{Entry, What};
pub use made::{Made, Source};
pub use stave_event as event;
pub use tree::{Anatomy, Kind, Layer, Loss, Lost, Node, Place, Share, Totals};
