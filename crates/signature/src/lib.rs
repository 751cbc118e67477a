//! Turns what was signed, its signature and a key that is trusted into yes or no.
//!
//! It knows no disk, no network and no keyring: what is trusted is what the caller gives, and nothing else is. No clock is
//! looked at, but for the entries of logs of Sigstore: one that is dated later than today is none.
//!
//! Invariants:
//! 1. `Verified` is said of nothing but a signature that one of the given keys made over exactly these bytes. A
//!    signature of `OpenPGP` over a text is not one: it is also over the text whose lines end otherwise.
//! 2. `Not` is knowledge: there is no signature, or it is none of these keys. What cannot be found out (another kind
//!    of signature, a hash that anybody can forge, a file that holds no key) is an error that names it.
//! 3. A key that a file of keys takes back anywhere is taken back; what cannot be read of such a file is an error.
//! 4. Whatever bytes are given, nothing panics, and the limits of [`limits`] hold.
//!
//! Read `limits`, `git`, `ssh`, `openpgp`, `detached`, `compute`, `sigstore`, `image` in this order.

mod compute;
mod detached;
pub mod git;
pub mod image;
pub mod limits;
mod openpgp;
pub mod sigstore;
mod ssh;

pub use detached::{Kind, Open, SignatureError, Verdict, kind_of, verify, verify_openpgp};
