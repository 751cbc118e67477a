//! Output of a packer: bytes, or the knowledge that they were written before.
//!
//! A layer that was made from an earlier one has links to the earlier one's files where nothing changed, so the archives
//! of both begin alike. What an archive begins with is known by its headers and, for files with several names, by the
//! *inodes*: layers never change, so the same inode with the same owner, mode, size and time has the same bytes and
//! attributes. At every few MiB the receiver is asked whether it has been there before; until it says no, files are not
//! even opened.
//!
//! It knows no digest of an archive: what a receiver remembers of its way is the receiver's.

use std::io::Write;

use stave_oci::Hasher;

use super::PackError;
use crate::dir::Metadata;

/// Bytes of an archive between two marks, at least. The state of a digest there is worth keeping.
const MARK_BYTES: u64 = 4 * 1024 * 1024;
/// Stands for how a packer makes headers of files. Another number where the same file would get another header.
const HEADERS: u8 = 1;

/// A place between two entries of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Digest of what stands for all entries before it. Valid as long as the layer with those
    /// files is there: its inodes have other owners later.
    pub prefix: [u8; 32],
    /// Bytes of the archive before it.
    pub bytes: u64,
}

/// A receiver of archives that remembers marks.
pub trait Resumable: Write {
    /// Goes to the mark with this prefix if it is known. Nothing was written then since the start or the last mark that it
    /// went to. Returns the bytes before the mark if it is there now.
    fn resume(&mut self, prefix: &[u8; 32]) -> Option<u64>;

    /// Takes note of having come to `mark` by writing.
    ///
    /// Errors: as those of a write.
    fn pass(&mut self, mark: &Mark) -> std::io::Result<()>;
}

/// Where an archive goes.
pub(super) enum Out<'a> {
    /// To somebody who wants all of it.
    Whole(&'a mut dyn Write),
    /// To nobody: only its length is wanted.
    Counted,
    /// To somebody who may know how it begins.
    Resumed(&'a mut dyn Resumable, Trail),
}

/// What is to be done at the end of an entry.
pub(super) enum Step {
    /// Nothing.
    On,
    /// The receiver knows the archive up to here: so many bytes.
    Resumed {
        /// Bytes before the mark.
        bytes: u64,
    },
    /// What is held is to be released, and the mark passed.
    Pass {
        /// What stands for all entries before it.
        prefix: [u8; 32],
    },
}

/// What identifies the archive so far.
#[derive(Default)]
pub(super) struct Trail {
    prefix: Hasher,
    /// Bytes since the last mark.
    since: u64,
    /// What has not been written since the last mark, as long as the receiver may know it.
    held: Vec<Held>,
    /// The receiver does not know what comes now.
    is_new: bool,
}

/// A file that may be a link into an earlier layer.
#[derive(Clone)]
pub(super) struct Linked {
    /// Where it is.
    pub(super) path: Vec<u8>,
    /// How the archive names it.
    pub(super) name: Vec<u8>,
    /// What it was when its directory was listed.
    pub(super) listed: Metadata,
    /// Its time in the archive, in seconds since 1970.
    pub(super) seconds: i64,
}

/// A part of the archive that is written only if it must be.
pub(super) enum Held {
    /// These bytes.
    Blocks(Vec<u8>),
    /// The entry of a file.
    File(Linked),
}

impl Trail {
    /// Whether what comes now is held.
    fn holds(&self) -> bool {
        !self.is_new
    }
}

impl Out<'_> {
    /// Announces an entry that is only a header. Returns whether it is held, and not to be written.
    pub(super) fn header(&mut self, blocks: &[u8]) -> bool {
        let Self::Resumed(_, trail) = self else { return false };
        trail.prefix.update(&[0]);
        trail.prefix.update(blocks);
        trail.since += blocks.len() as u64;
        if trail.holds() {
            trail.held.push(Held::Blocks(blocks.to_vec()));
        }
        trail.holds()
    }

    /// Whether files are to be announced.
    pub(super) fn is_resumed(&self) -> bool {
        matches!(self, Self::Resumed(..))
    }

    /// Announces the entry of a file, header and content. Returns whether it is held, and not to be written.
    pub(super) fn file(&mut self, file: &Linked) -> bool {
        let Self::Resumed(_, trail) = self else { return false };
        trail.prefix.update(&file.identity());
        trail.since += file.listed.size;
        // A file with one name is no link to an earlier layer's.
        trail.is_new |= file.listed.links == 1;
        if trail.holds() {
            trail.held.push(Held::File(file.clone()));
        }
        trail.holds()
    }

    /// Returns what is held and has to be written before anything else, as the receiver does not know it.
    pub(super) fn released(&mut self) -> Vec<Held> {
        match self {
            Self::Resumed(_, trail) if trail.is_new => std::mem::take(&mut trail.held),
            Self::Whole(_) | Self::Counted | Self::Resumed(..) => Vec::new(),
        }
    }

    /// Ends holding: what follows is written.
    pub(super) fn hold_no_more(&mut self) {
        if let Self::Resumed(_, trail) = self {
            trail.is_new = true;
        }
    }

    /// Comes to the end of an entry: returns whether a mark is to be made there, and how.
    pub(super) fn mark(&mut self) -> Step {
        let Self::Resumed(receiver, trail) = self else { return Step::On };
        if trail.since < MARK_BYTES {
            return Step::On;
        }
        trail.since = 0;
        let prefix = trail.prefix.clone().finish();
        if trail.holds()
            && let Some(bytes) = receiver.resume(&prefix)
        {
            trail.held.clear();
            return Step::Resumed { bytes };
        }
        trail.is_new = true;
        Step::Pass { prefix }
    }

    /// Tells the receiver that everything before `mark` is written.
    pub(super) fn pass(&mut self, mark: &Mark) -> Result<(), PackError> {
        match self {
            Self::Resumed(receiver, _) => receiver.pass(mark).map_err(PackError::Write),
            Self::Whole(_) | Self::Counted => Ok(()),
        }
    }

    /// Writes bytes of which the trail knows already.
    pub(super) fn raw(&mut self, bytes: &[u8]) -> Result<(), PackError> {
        self.writer().map_or(Ok(()), |out| out.write_all(bytes)).map_err(PackError::Write)
    }

    /// Ends the archive.
    pub(super) fn flush(&mut self) -> Result<(), PackError> {
        self.writer().map_or(Ok(()), Write::flush).map_err(PackError::Write)
    }

    fn writer(&mut self) -> Option<&mut dyn Write> {
        match self {
            Self::Whole(out) => Some(out),
            Self::Resumed(out, _) => Some(out),
            Self::Counted => None,
        }
    }
}

impl Linked {
    /// Returns what stands for the entry: where it is and all that decides its header and its content.
    fn identity(&self) -> Vec<u8> {
        let Metadata { device, inode, size, modified, mode, uid, gid, .. } = &self.listed;
        let mut identity = vec![HEADERS];
        let numbers = [*device, *inode, *size, u64::from(*mode), u64::from(*uid), u64::from(*gid)];
        identity.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        identity.extend(modified.seconds.to_le_bytes());
        identity.extend(modified.nanoseconds.to_le_bytes());
        identity.extend(self.seconds.to_le_bytes());
        identity.extend((self.name.len() as u64).to_le_bytes());
        identity.extend(&self.name);
        identity
    }
}
