//! What pages and pictures are, for builds of all kinds.

mod builds;
mod hostile;
mod page;
mod pictures;
