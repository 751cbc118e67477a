//! Every number that bounds what a server may make stave do.
//!
//! Sizes are hard: a longer answer is an error, never cut. Durations are measured on a clock that never jumps.

use std::time::Duration;

/// How much of a failed request's body is read for its message, in bytes.
pub const ERROR_BYTES_MAX: u64 = 16 * 1024;

/// How many characters of a server's own words stand in one of our errors.
pub const MESSAGE_CHARS_MAX: usize = 300;

/// Largest response header, in bytes.
pub const HEADER_BYTES_MAX: usize = 64 * 1024;

/// Redirects that one request follows.
pub const REDIRECTS_MAX: u32 = 10;

/// Largest configuration file of the user's that is read, in bytes.
pub const CONFIG_FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Name servers that are asked, at most. More in `resolv.conf` are ignored, as everywhere.
pub const DNS_SERVERS_MAX: usize = 3;

/// Domains in which short names are looked for, at most.
pub const DNS_SEARCH_MAX: usize = 6;

/// Links of a chain of aliases that are followed, at most.
pub const DNS_ALIASES_MAX: usize = 16;

/// How long an address is used without asking again.
pub const DNS_REMEMBERED: Duration = Duration::from_mins(1);

/// How patient and how greedy a client is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Time for a name to resolve and a connection (with TLS) to open.
    pub connect_timeout: Duration,
    /// Time from the end of a request to the end of the response's header. Not the whole transfer.
    pub first_byte_timeout: Duration,
    /// Time in which at least one byte must move, in either direction.
    pub idle_timeout: Duration,
    /// Time from the end of an upload to its confirmation: the server may have to move the blob first.
    pub commit_timeout: Duration,
    /// Attempts after the first. A transfer that moves bytes again starts counting anew.
    pub retries_max: u32,
    /// Attempts after the first where no connection can be made.
    pub connect_retries_max: u32,
    /// Resumptions of one blob, however much each of them moved.
    pub resumptions_max: u32,
    /// Wait before the first repetition; each later wait doubles.
    pub backoff_first: Duration,
    /// No wait of our own choosing is longer.
    pub backoff_max: Duration,
    /// No `Retry-After` is obeyed for longer.
    pub retry_after_max: Duration,
    /// Blobs that one push sends at the same time.
    pub uploads_parallel_max: usize,
    /// Bodies of blobs that move from one server at the same time, whatever they belong to; as many may move to it.
    pub transfers_per_server_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(15),
            first_byte_timeout: Duration::from_mins(1),
            idle_timeout: Duration::from_mins(1),
            commit_timeout: Duration::from_mins(5),
            retries_max: 5,
            connect_retries_max: 2,
            resumptions_max: 50,
            backoff_first: Duration::from_millis(500),
            backoff_max: Duration::from_secs(15),
            retry_after_max: Duration::from_mins(1),
            uploads_parallel_max: 4,
            transfers_per_server_max: 4,
        }
    }
}
