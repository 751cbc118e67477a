//! Turns what was signed, its signature and a key that is trusted into yes or no.
//!
//! It knows no disk, no network, no clock and no keyring: what is trusted is what the caller gives, and nothing else is.
//!
//! Invariants:
//! 1. `Verified` is said of nothing but a signature that one of the given keys made over exactly these bytes.
//! 2. `Not` is knowledge: there is no signature, or it is none of these keys. What cannot be found out (another kind
//!    of signature, a hash that anybody can forge, a file that holds no key) is an error that names it.
//! 3. Whatever bytes are given, nothing panics, and the limits of [`limits`] hold.
//!
//! Read `limits`, `git`, `ssh`, `openpgp`, `detached` in this order.

mod detached;
pub mod git;
pub mod limits;
mod openpgp;
mod ssh;

pub use detached::{Kind, Open, SignatureError, Verdict, kind_of, verify, verify_openpgp};
