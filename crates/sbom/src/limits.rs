//! How much of an image is read. An image is anybody's: each number in it that says how long something is has a limit.

/// Entries of directories that are looked at. The largest images that are published have about a million files.
pub const ENTRIES_MAX: usize = 4_000_000;

/// How deep directories may be nested before what is below is left out.
pub const DEPTH_MAX: usize = 256;

/// Bytes of a list of installed packages: that of a Debian with 50,000 packages has about 60 MB.
pub const LIST_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// Bytes of the description of one package.
pub const DESCRIPTION_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Packages that a document lists.
pub const PACKAGES_MAX: usize = 500_000;

/// Bytes of a name or a version; a longer one is none.
pub const NAME_BYTES_MAX: usize = 512;

/// Bytes of what a program says that it was built from, uncompressed.
pub const BUILD_LIST_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Sections of a program, and segments of it, that are looked at.
pub const SECTIONS_MAX: usize = 4096;

/// Bytes at the start of a program's data that are searched where it has no table of sections.
pub const SEARCH_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of one package in a database of rpm.
pub const RPM_HEADER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Notes that a document has; more are counted.
pub const NOTES_MAX: usize = 200;

/// Files that are named as those that say that a package is there.
pub const PATHS_MAX: usize = 20;
