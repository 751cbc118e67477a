//! Every number that comes from outside has a limit, and all of them are in this table.

/// Most entries of all layers of an image together. Each takes about 150 bytes of memory; the largest images that people
/// use have about 500,000.
pub const ENTRIES_MAX: usize = 8_000_000;
