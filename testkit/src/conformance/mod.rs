//! Turns a directory of `conformance/` into builds by stave and by its peers, and their images into differences.
//!
//! It knows builders only as command lines. What a case says of itself is in its `case.json` ([`Case`]); how it is laid
//! out as a context, in [`Yard`]; what an image is when it is compared, in [`Saved`]; which differences count, in
//! [`differences`]; what a case is expected to give, in [`Expected`].

mod case;
mod compare;
mod expected;
mod files;
mod judge;
mod saved;
mod yard;

pub use case::{Case, Peer};
pub use compare::{Difference, differences};
pub use expected::Expected;
pub use judge::{Verdict, of_peer, of_stave};
pub use saved::Saved;
pub use yard::{Outcome, Yard};
