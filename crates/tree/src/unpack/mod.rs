//! Unpacking archives into directories: layers of images, `ADD` of archives, build contexts, `cp`.
//!
//! Turns a stream of tar bytes into files below an open directory, header by header, every path through [`Dir`]. It
//! trusts nothing in the archive: not its paths, links, sizes or owners. It needs no `/proc` and no second thread, so that
//! it also runs in a child that is confined to the directory.

mod decompress;
mod extract;
pub(crate) mod header;
mod pax;
pub(crate) mod reader;
mod trail;
mod union;

use std::io::{self, Read};
use std::path::PathBuf;

use crate::dir::{Dir, PathError};
use crate::layers::Layers;
pub use crate::limits::Limits;
use crate::merged::LayerFormat;

pub use decompress::decompress;
pub(crate) use decompress::is_tar_header;
pub(crate) use header::BLOCK_BYTES;

/// An archive that cannot be unpacked. What was written up to there is to be thrown away.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The stream could not be read or decompressed.
    #[error("cannot read the archive")]
    Read(#[source] io::Error),
    /// The bytes are no sound archive.
    #[error("malformed archive: {0}")]
    Malformed(#[from] Malformed),
    /// An entry is refused.
    #[error("entry `{}` {refusal}", path.display())]
    Refused {
        /// The entry, as it is named in the archive.
        path: PathBuf,
        /// Why.
        refusal: Refusal,
    },
    /// A file could not be written.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A directory could not be made.
    #[error(transparent)]
    Place(#[from] Box<crate::copy::CopyError>),
    /// There are more entries than allowed.
    #[error("more than {0} entries")]
    TooManyEntries(u64),
    /// There are more bytes than allowed.
    #[error("more than {0} bytes in files")]
    TooManyBytes(u64),
}

/// What is wrong with the bytes of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A header's checksum does not match.
    #[error("wrong header checksum")]
    Checksum,
    /// A number in a header is none, or too large.
    #[error("invalid number in a header")]
    Number,
    /// An extended header is not well-formed or belongs to no entry.
    #[error("malformed extended header")]
    ExtendedHeader,
    /// An extended header is too large.
    #[error("extended header too large")]
    ExtendedHeaderTooLarge,
    /// A name is longer than any that can be made.
    #[error("name too long")]
    NameTooLong,
    /// Two kinds of extension name the same entry.
    #[error("an entry is named by two extensions at once")]
    TwoNames,
    /// The map of a sparse file makes no sense, or is of a kind that is not known.
    #[error("malformed sparse file")]
    Sparse,
    /// Entries of this type are not known.
    #[error("unknown entry type {:?}", char::from(*.0))]
    Type(u8),
    /// A user or group id is out of range.
    #[error("user or group id {0} out of range")]
    Id(u64),
    /// The stream ends inside an entry.
    #[error("it ends in the middle of an entry")]
    Truncated,
    /// There is data after a block of zeros.
    #[error("data after the end of the archive")]
    AfterEnd,
}

/// Why an entry is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It would replace the root by something that is not a directory.
    #[error("would replace the root")]
    ReplacesRoot,
    /// It has no name.
    #[error("has a name that is too long or empty")]
    BadName,
    /// It is a whiteout of nothing, of the directory itself or of its parent, or is below one.
    #[error("is no valid whiteout")]
    BadWhiteout,
    /// It is a character device 0:0: overlayfs's note for a deleted file, which archives do not contain.
    #[error("is a character device 0:0")]
    WhiteoutDevice,
    /// It is a hard link to something that does not exist, or that cannot have a second name.
    #[error("is a hard link to something that is not a file in the archive")]
    BadHardLink,
    /// Its link target is empty or too long.
    #[error("has an invalid link target")]
    BadLinkTarget,
    /// A directory on the way to it is something else.
    #[error("is below something that is not a directory")]
    BelowNonDirectory,
}

/// What was unpacked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Entries, without those that only extend others.
    pub entries: u64,
    /// Bytes written to files.
    pub bytes: u64,
    /// Entries whose owner or group is not mapped in this user namespace; they are root's.
    pub unmapped: u64,
    /// Device nodes that could not be made in this user namespace and are left out.
    pub devices_skipped: u64,
    /// Extended attributes that an image does not keep, or that could not be set.
    pub xattrs_dropped: u64,
    /// Directories that had to be made because entries are in them, although the archive does not have them; sorted. In a
    /// layer they hide the attributes of the directories below: see [`adopt_directories`].
    pub implied: Vec<Vec<u8>>,
}

/// Unpacks the uncompressed tar of an image's layer into the empty directory `into`, as overlayfs has it: `.wh.` entries
/// become whiteouts and opaque directories.
///
/// All of `input` is read, so that a digest taken on the way is that of the whole layer.
pub fn apply_layer(input: impl Read, into: &Dir, format: LayerFormat, limits: &Limits) -> Result<Applied, UnpackError> {
    extract::Extractor::new(into, None, Some(format), None).run(input, limits)
}

/// Unpacks an uncompressed tar into a directory: a build context, `cp`. Whiteouts mean nothing here. With `owner`, all
/// belongs to that user and group instead of those that the archive says.
///
/// All of `input` is read.
pub fn extract_archive(
    input: impl Read,
    into: &Dir,
    owner: Option<(u32, u32)>,
    limits: &Limits,
) -> Result<Applied, UnpackError> {
    extract::Extractor::new(into, None, None, owner).run(input, limits)
}

/// Unpacks an uncompressed tar into the directory `dest` of the layer `into`, which is to lie on `below`: `ADD`. Links in
/// both are followed, and directories that only exist below keep their attributes.
pub(crate) fn extract_onto(
    input: impl Read,
    into: &Dir,
    below: Option<&Layers>,
    dest: &[u8],
    owner: Option<(u32, u32)>,
) -> Result<Applied, UnpackError> {
    let mut extractor = extract::Extractor::new(into, below, None, owner);
    extractor.dest = crate::dir::clean(dest);
    extractor.run(input, &Limits::default())
}

/// Tells whether `head`, the first 512 bytes or more of a stream, begins a tar archive or something compressed, as build
/// contexts on standard input are told from Dockerfiles.
#[must_use]
pub fn is_archive(head: &[u8]) -> bool {
    decompress::is_compressed(head) || head.first_chunk().is_some_and(is_tar_header)
}

/// Gives the directories `implied` of a layer ([`Applied::implied`]) the attributes that they have in the tree below the
/// layer. Where that has no such directory, they stay as they are.
pub fn adopt_directories(layer: &Dir, below: &Layers, implied: &[Vec<u8>]) -> Result<(), PathError> {
    for path in implied {
        let Some(existing) = below.directory(path)? else { continue };
        let Some(existing) = existing.top() else { continue };
        let dir = layer.open_dir_no_links(path)?;
        let places = crate::copy::Places::new(None, layer);
        places.set(&dir, path, &crate::copy::Attributes::of(existing, path)?)?;
        places.finish()?;
    }
    Ok(())
}
