//! The crate as its users see it: real directories, real overlays.

mod adversarial;
mod archive;
mod copy;
mod pack;
mod select;
mod support;
mod unpack;
