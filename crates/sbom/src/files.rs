//! How the files of an image are seen.

/// What an entry of a directory is, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Its length in bytes.
        size: u64,
        /// Whether anybody may execute it.
        executable: bool,
    },
    /// Anything else; a link is among it, because what it leads to is found where it is.
    Other,
}

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// Its name, without a slash.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: FileKind,
}

/// The files of an image. Paths are relative, with `/` between names; the root is empty.
pub trait Files {
    /// Why files could not be read; it ends a scan.
    type Error;

    /// Lists a directory, in any order.
    fn list(&self, directory: &[u8]) -> Result<Vec<FileEntry>, Self::Error>;

    /// Reads at most `length` bytes of a regular file, from `offset` on; fewer where the file ends.
    fn read(&self, path: &[u8], offset: u64, length: usize) -> Result<Vec<u8>, Self::Error>;
}

/// A file that is looked into.
pub(crate) struct Opened<'a, F: Files> {
    pub(crate) files: &'a F,
    pub(crate) path: &'a [u8],
    pub(crate) size: u64,
}

impl<F: Files> Opened<'_, F> {
    /// Reads all of the file; nothing if it is longer than `limit`.
    pub(crate) fn whole(&self, limit: u64) -> Result<Option<Vec<u8>>, F::Error> {
        if self.size > limit {
            return Ok(None);
        }
        let length = usize::try_from(self.size).unwrap_or(usize::MAX);
        self.files.read(self.path, 0, length).map(Some)
    }

    /// Reads exactly `length` bytes; nothing if the file has not that many there.
    pub(crate) fn exactly(&self, offset: u64, length: usize) -> Result<Option<Vec<u8>>, F::Error> {
        let end = offset.checked_add(length as u64);
        if end.is_none_or(|end| end > self.size) {
            return Ok(None);
        }
        let bytes = self.files.read(self.path, offset, length)?;
        Ok((bytes.len() == length).then_some(bytes))
    }
}
