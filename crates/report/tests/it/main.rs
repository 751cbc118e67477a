//! What pages and pictures are, for builds of all kinds.

mod browser;
mod builds;
mod hostile;
mod page;
mod pictures;
