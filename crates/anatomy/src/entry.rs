//! What a layer says of one path.

/// One entry of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its path, without a slash at either end. It need not be text.
    pub path: &'a [u8],
    /// What it is.
    pub what: What<'a>,
    /// Bytes that it takes in the layer's tar, content included.
    pub bytes: u64,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What<'a> {
    /// A directory.
    Directory {
        /// Set if what lower layers have in it is gone: how many of the entry's bytes say so.
        hides: Option<u64>,
    },
    /// A regular file.
    File {
        /// How many of the entry's bytes are its content.
        content: u64,
    },
    /// Another name of a file of the same layer.
    HardLink {
        /// The first name of that file.
        of: &'a [u8],
    },
    /// A symbolic link.
    Link,
    /// A device, a pipe.
    Other,
    /// What lower layers have at this path is gone.
    Whiteout,
}
