//! Every number that bounds what an address may make stave do. Those of every HTTP exchange are in `stave_http::limits`.

use std::time::Duration;

/// Bytes of what `git` prints that are read: the names of a repository with a hundred thousand references.
pub const GIT_OUTPUT_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// How much of what `git` says about a failure is kept, in bytes.
pub const GIT_WORDS_BYTES_MAX: usize = 16 * 1024;

/// Longest header that a secret may be, in bytes.
pub const HEADER_BYTES_MAX: usize = 16 * 1024;

/// How patient and how greedy fetching is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest file that is fetched, in bytes. A longer one is an error, never cut.
    pub file_bytes_max: u64,
    /// How long one command of `git` may run. A large repository over a slow line takes long; one that moves no bytes is
    /// ended much sooner where the transport can tell.
    pub git_time_max: Duration,
    /// The limits of each exchange.
    pub http: stave_http::Limits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            file_bytes_max: 64 * 1024 * 1024 * 1024,
            git_time_max: Duration::from_hours(2),
            http: stave_http::Limits::default(),
        }
    }
}
