//! What stands between a step and the network: turns the connections of a listening socket into requests that are asked
//! about, made and recorded, or into refusals that say why.
//!
//! It knows no step, no policy and no store: who judges is a [`Judge`], and what was asked is a list of [`Exchange`]s.
//!
//! Invariants:
//! 1. Nothing is asked of the network before the judge has allowed it, and nothing goes where the judge was not asked about.
//! 2. What is recorded as [`Content::Whole`] is every byte that the client was given, and the server said where it ends.
//! 3. Whatever a client sends or does not send costs a bounded amount of memory, threads and descriptors, and only it waits.
//! 4. No credential of a client is in a record, and the key of the [`Authority`] is in no file.
//!
//! Read `exchange`, `authority`, `wire`, `serve`, `request` in this order.

mod authority;
mod exchange;
pub mod limits;
mod request;
mod serve;
mod wire;

pub use authority::{Authority, AuthorityError};
pub use exchange::{Content, Exchange, Judge, Judged, Outcome, Verdict};
pub use serve::{Proxy, Settings, Spool};
