//! Every number that bounds what a registry may make stave do.
//!
//! Sizes are hard: a longer answer is an error, never cut. Those of every HTTP exchange are in `stave_http::limits`.

use std::time::Duration;

pub use stave_http::Limits;

/// Largest manifest or index accepted, in bytes.
///
/// Reference: OCI distribution-spec 1.1, "Pushing Manifests": at least 4 megabytes.
pub const MANIFEST_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Largest image configuration accepted, in bytes. Docker's limit for a manifest, and no configuration comes near.
pub const CONFIG_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Largest answer of a token server, in bytes. Real ones are under 10 KiB.
pub const TOKEN_BYTES_MAX: u64 = 1024 * 1024;

/// Longest `WWW-Authenticate` header that is read, in bytes.
pub const CHALLENGE_BYTES_MAX: usize = 8 * 1024;

/// How deep an index may point to an index.
pub const INDEX_DEPTH_MAX: u32 = 2;

/// Largest output of a credential helper, in bytes.
pub const HELPER_BYTES_MAX: u64 = 1024 * 1024;

/// How long a credential helper may run. It may be asking the user for a password.
pub const HELPER_TIME_MAX: Duration = Duration::from_mins(2);

/// Layers of one image. No runtime mounts more.
pub const LAYERS_MAX: usize = 500;

/// Other repositories of a registry that one push takes blobs from, at most. Each is a scope of the token.
pub const MOUNT_SOURCES_MAX: usize = 8;

/// Pages of one list (tags, referrers) that are read, at most.
pub const PAGES_MAX: usize = 1000;

/// Entries of one list (tags, referrers) that are read, at most.
pub const LISTED_MAX: usize = 100_000;

/// How often a list of referrers that others change at the same time is written, at most.
pub const REFERRER_WRITES_MAX: u32 = 10;
