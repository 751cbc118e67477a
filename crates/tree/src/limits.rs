//! Every number that comes from outside has a limit, and all of them are in this table.
//!
//! A value over its limit is an error that names the limit; nothing is ever cut to fit.

/// Longest path of an entry in an archive, in bytes. Deep trees of long names are legal: 300 directories with names of
/// 200 bytes make 60,000.
pub const PATH_BYTES_MAX: usize = 64 * 1024;

/// Longest single name, in bytes, as Linux has it (`NAME_MAX`).
pub const NAME_BYTES_MAX: usize = 255;

/// Longest target of a symbolic link, in bytes, as Linux has it (`PATH_MAX` without the final zero).
pub const LINK_BYTES_MAX: usize = 4095;

/// Symbolic links followed on the way to one file before it counts as a loop, as Linux has it.
pub const LINKS_FOLLOWED_MAX: u32 = 40;

/// Deepest directory that a walk descends into. Recursion uses one stack frame for each.
pub const DEPTH_MAX: usize = 2048;

/// Largest extended header (PAX records, GNU long name) in an archive, in bytes. It is held in memory.
pub const EXTENDED_HEADER_BYTES_MAX: u64 = 1024 * 1024;

/// Longest value of one extended attribute, in bytes, as Linux has it (`XATTR_SIZE_MAX`).
pub const XATTR_BYTES_MAX: usize = 64 * 1024;

/// Longest list of the names of a file's extended attributes, in bytes, as Linux has it (`XATTR_LIST_MAX`).
pub const XATTR_LIST_BYTES_MAX: usize = 64 * 1024;

/// Largest ignore file or similar text read from a context, in bytes.
pub const TEXT_BYTES_MAX: u64 = 10 * 1024 * 1024;

/// Largest description of devices (CDI), in bytes. Those of a machine with many graphics cards have some 100 KiB.
pub const DEVICE_FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Most descriptions of devices that are read from one directory.
pub const DEVICE_FILES_MAX: usize = 1024;

/// Largest window that a zstd stream may ask for, as a power of two (128 MiB, what the `zstd` command accepts without
/// being told).
pub const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// Memory that the xz decoder may take, in bytes. `xz -9` needs 65 MiB.
pub const XZ_MEMORY_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Largest user or group id in an archive. 4294967295 means "leave as it is" to `chown` and is no id.
pub const ID_MAX: u64 = 4_294_967_294;

/// Most layers that one overlay takes, as Linux has it (`OVL_MAX_STACK`).
pub const OVERLAY_LAYERS_MAX: usize = 500;

/// Most regions of data in one sparse file of an archive.
pub const SPARSE_REGIONS_MAX: usize = 1024 * 1024;

/// What one archive may hold. The caller chooses; the default suits base images and build contexts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most entries in one archive.
    pub entries_max: u64,
    /// Most bytes of files in one archive, after decompression.
    pub bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries_max: 20_000_000, bytes_max: 1024 * 1024 * 1024 * 1024 }
    }
}
