//! Every number that bounds what a cache may make stave do, and what stave puts into one.

use std::time::Duration;

/// Largest configuration of a cache that is read, in bytes.
pub const CONFIG_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Most layers of a cache that is read.
pub const LAYERS_READ_MAX: usize = 20_000;

/// Most records of a cache that is read.
pub const RECORDS_READ_MAX: usize = 50_000;

/// Most layers that lie on each other. No image has more.
pub const CHAIN_MAX: usize = 500;

/// Most layers that stave leaves in a cache: a manifest of so many is well below what registries take (4 MB).
pub const LAYERS_KEPT_MAX: usize = 4_000;

/// How many exports say in a cache what their steps were made from.
pub const PARCELS_KEPT_MAX: usize = 4;

/// How long a result stays in a cache that is exported to without being part of any export.
pub const KEPT_UNUSED: Duration = Duration::from_hours(30 * 24);

/// How often an export that others interfere with begins again.
pub const ATTEMPTS_MAX: u32 = 20;

/// Most bytes of blobs that an export leaves in a directory, where nobody says.
pub const LOCAL_BYTES_MAX: u64 = 10 * 1024 * 1024 * 1024;

/// How long a build that needs something waits for a cache to say what it has, in all, where nobody says.
pub const IMPORT_WAIT: Duration = Duration::from_millis(100);

/// How long all of an import from, or an export to, GitHub's cache may take, where nobody says.
pub const GHA_TIMEOUT: Duration = Duration::from_mins(10);

/// How long an export to a registry waits for the beginning of an answer.
pub const EXPORT_ANSWER_WAIT: Duration = Duration::from_secs(20);

/// How often it asks again.
pub const EXPORT_RETRIES_MAX: u32 = 2;

/// How old an object may be before an export that uses it makes it new, where nobody says.
pub const TOUCH_AFTER: Duration = Duration::from_hours(24);

/// Wait before an export that others interfered with begins again; it doubles a few times.
pub const CONFLICT_WAIT: Duration = Duration::from_millis(25);
