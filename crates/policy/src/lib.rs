//! Decides which sources a build may use: turns a source as the Dockerfile names it into the source that is used
//! instead, or into a refusal.
//!
//! It knows no registry, no file and no Dockerfile: a source is an identifier (`docker-image://...`, `https://...`) with
//! attributes. Files that a policy in Rego names are read by a function that the caller gives.
//!
//! Invariants:
//! 1. An evaluation ends: rules that change a source again and again are an error after [`ROUNDS_MAX`] rounds.
//! 2. A policy or a lock with anything in it that is not known is an error: a rule that is skipped allows what it was
//!    written to forbid.
//! 3. What a lock is written as is what it is read as, in one order whatever order it was made in.
//!
//! 4. A policy in Rego is never answered with a guess: what it asks for is known, is fetched first, or is an error.
//!
//! Read `source`, `policy`, `pattern`, `input`, `evidence`, `provenance`, `signer`, `rego`, `functions`, `words`, `lock` in this order.

mod evidence;
mod functions;
mod input;
mod lock;
mod pattern;
mod policy;
mod provenance;
mod rego;
mod signer;
mod source;
mod words;

pub use evidence::OpenContent;
pub use input::{Environment, GitAsked, Input};
pub use lock::{FileEntry, GitEntry, ImageEntry, ImagePin, Lock, LockError};
pub use policy::{Policy, PolicyError, ROUNDS_MAX, Refusal, evaluate};
pub use rego::{Decision, ReadFile, RegoError, RegoPolicy, TestOutcome};
pub use source::Source;
pub use stave_signature::SignatureError;
pub use stave_signature::git::ObjectError;
pub use stave_signature::image::{Content as SignatureContent, ImageSignature, Simple as SimpleSignature};
pub use stave_signature::limits::{BUNDLE_BYTES_MAX, IMAGE_SIGNATURES_MAX, TRUSTED_ROOT_BYTES_MAX};
pub use stave_signature::sigstore::{SigstoreError, TrustedRoot};
