//! What is done to a layer when its step has ended, so that an image of it depends on what the step did and not on when.
//!
//! Turns a finished layer's directory into one in which the times of what the step made are marked as such, and in which
//! Python's bytecode no longer holds the time of its source. It knows no clock, no epoch and no image: what is in the
//! directory afterwards is the same for all of them.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};

use rustix::fs::{AtFlags, OFlags};

use crate::copy::split;
use crate::dir::{Dir, Follow, Kind, Metadata, PathError, Time, join};
use crate::layers::{Layers, Located};
use crate::limits::DEPTH_MAX;
use crate::times::Origin;

/// Largest Python source that is hashed.
const SOURCE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What was found in a layer.
#[derive(Debug, Default)]
pub struct Normalised {
    /// Files and directories that were made or changed.
    pub made: u64,
    /// Paths of files that may be bytecode, for [`normalise_bytecode`].
    pub bytecode: Vec<Vec<u8>>,
}

/// Marks the times of all that is not older than `since`, the time of the layer's directory when it was empty, as made by
/// the step.
///
/// Errors: a directory cannot be read, or a time not be set. What nobody may change keeps its time.
pub fn normalise_layer(layer: &Dir, since: Time) -> Result<Normalised, PathError> {
    let mut changed = Normalised::default();
    let mut paths = vec![(Vec::new(), 0)];
    while let Some((path, depth)) = paths.pop() {
        let dir = layer.open_dir_no_links(&path)?;
        for child in dir.list(b"")? {
            let metadata = &child.metadata;
            if metadata.is_whiteout() {
                continue;
            }
            if metadata.modified >= since && metadata.modified.origin().is_none() {
                mark(&dir, &child.name, metadata.modified)?;
                changed.made += 1;
            }
            if metadata.kind == Kind::Directory && depth < DEPTH_MAX {
                paths.push((join(&path, &child.name), depth + 1));
            } else if metadata.kind == Kind::File && is_bytecode(&child.name) {
                changed.bytecode.push(join(&path, &child.name));
            }
        }
    }
    Ok(changed)
}

fn mark(dir: &Dir, name: &[u8], time: Time) -> Result<(), PathError> {
    use rustix::io::Errno;
    let times = time.marked(Origin::Made).timestamps();
    match rustix::fs::utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(()) | Err(Errno::PERM | Errno::ACCESS) => Ok(()),
        Err(source) => Err(PathError::io("set the time of", name, source)),
    }
}

/// Whether a file of this name may be Python's bytecode.
pub(crate) fn is_bytecode(name: &[u8]) -> bool {
    name.ends_with(b".pyc")
}

/// Makes bytecode, where it was compiled from the source that is there, recognise its source by content instead of by
/// time, as Python itself does where `SOURCE_DATE_EPOCH` is set. `whole` are the layer's files and all below it.
///
/// Python takes bytecode for that of a source if it holds the source's time and size. The time in an image is another one
/// than the step saw, so it would never be used; and if it held the image's time, it would still be used when a later
/// layer replaces the source by another one of the same length, since that has the same time.
///
/// Reference: PEP 552, "Deterministic pycs".
///
/// Errors: a file cannot be read or written. Bytecode of other kinds, or without its source, stays as it is.
pub fn normalise_bytecode(layer: &Dir, bytecode: &[Vec<u8>], whole: &Layers) -> Result<u64, PathError> {
    let mut changed = 0;
    for path in bytecode {
        changed += u64::from(normalise_one(layer, path, whole)?);
    }
    Ok(changed)
}

fn normalise_one(layer: &Dir, path: &[u8], whole: &Layers) -> Result<bool, PathError> {
    let (parent, name) = split(path);
    let dir = layer.open_dir_no_links(parent)?;
    let Some(mut file) = open_bytecode(&dir, name)? else { return Ok(false) };
    let mut bytes = [0; HEADER_BYTES];
    if file.read_exact(&mut bytes).is_err() {
        return Ok(false);
    }
    let Some(header) = Header::parse(&bytes) else { return Ok(false) };
    let Some(source) = source_of(path) else { return Ok(false) };
    let Some(text) = source_text(layer, &source, whole, &header)? else { return Ok(false) };
    let before = dir.child(name)?.map(|metadata| metadata.modified).unwrap_or_default();
    file.seek(SeekFrom::Start(0))
        .and_then(|_| file.write_all(&header.by_content(&text)))
        .map_err(|source| PathError::io("write", path, source))?;
    rustix::fs::futimens(&file, &before.timestamps())
        .map_err(|source| PathError::io("set the time of", path, source))?;
    Ok(true)
}

fn open_bytecode(dir: &Dir, name: &[u8]) -> Result<Option<File>, PathError> {
    use rustix::io::Errno;
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(dir, name, flags, rustix::fs::Mode::empty()) {
        Ok(fd) => {
            let stat = rustix::fs::fstat(&fd).map_err(|source| PathError::io("examine", name, source))?;
            Ok((Metadata::from_stat(&stat).kind == Kind::File).then(|| File::from(fd)))
        }
        Err(Errno::NOENT | Errno::LOOP | Errno::NXIO | Errno::PERM | Errno::ACCESS | Errno::ISDIR) => Ok(None),
        Err(source) => Err(PathError::io("open", name, source)),
    }
}

/// Returns the path of the source that a file of bytecode is for.
///
/// Reference: PEP 3147, "PYC Repository Directories"; PEP 488.
fn source_of(path: &[u8]) -> Option<Vec<u8>> {
    let (parent, name) = split(path);
    let (above, last) = split(parent);
    let (directory, stem) = if last == b"__pycache__" {
        (above, name.split(|&byte| byte == b'.').next()?)
    } else {
        (parent, name.strip_suffix(b".pyc")?)
    };
    (!stem.is_empty()).then(|| join(directory, &[stem, b".py"].concat()))
}

/// Returns the source's text, if it is the one that the bytecode was compiled from as far as Python can tell.
fn source_text(layer: &Dir, path: &[u8], whole: &Layers, header: &Header) -> Result<Option<Vec<u8>>, PathError> {
    let fits = |metadata: &Metadata| metadata.kind == Kind::File && header.is_of(metadata);
    // Most lie beside their bytecode.
    if let Ok(metadata) = layer.metadata(path, Follow::No)
        && metadata.kind == Kind::File
    {
        return if fits(&metadata) { layer.read_file(path, SOURCE_BYTES_MAX).map(Some) } else { Ok(None) };
    }
    match whole.locate(path) {
        Ok(Located::Leaf { layer, path }) => {
            let metadata = layer.metadata(&path, Follow::No)?;
            if fits(&metadata) { layer.read_file(&path, SOURCE_BYTES_MAX).map(Some) } else { Ok(None) }
        }
        // The last is a loop of links, or a name below a file: there is no source.
        Ok(Located::Missing | Located::Directory { .. }) | Err(_) => Ok(None),
    }
}

const HEADER_BYTES: usize = 16;
/// The first number of Python 3.7, since which a header has flags.
const FLAGS_SINCE: u16 = 3390;
/// The first number of Python 3.11, since which sources are hashed with fewer rounds.
const FEWER_ROUNDS_SINCE: u16 = 3450;
/// The flags of bytecode that knows its source by content, and is compared with it whenever it is used.
const CHECKED_HASH: u32 = 0b11;

/// The header of bytecode that knows its source by time and size.
#[derive(Debug, PartialEq, Eq)]
struct Header {
    magic: [u8; 4],
    seconds: u32,
    size: u32,
}

impl Header {
    /// Reads the header, if it is of a Python that knows other kinds as well.
    fn parse(bytes: &[u8; HEADER_BYTES]) -> Option<Self> {
        let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let magic = [bytes[0], bytes[1], bytes[2], bytes[3]];
        let header = Self { magic, seconds: number(8), size: number(12) };
        (magic[2..] == *b"\r\n" && header.version() >= FLAGS_SINCE && number(4) == 0).then_some(header)
    }

    fn version(&self) -> u16 {
        u16::from_le_bytes([self.magic[0], self.magic[1]])
    }

    /// Whether this is what Python writes for a source with this size and time, of which it keeps 32 bits each.
    fn is_of(&self, source: &Metadata) -> bool {
        let low = |number: u64| number & u64::from(u32::MAX);
        low(source.modified.seconds.cast_unsigned()) == u64::from(self.seconds)
            && low(source.size) == u64::from(self.size)
    }

    /// Returns the header of the same bytecode for a source with this text.
    fn by_content(&self, text: &[u8]) -> [u8; HEADER_BYTES] {
        let rounds = if self.version() < FEWER_ROUNDS_SINCE { (2, 4) } else { (1, 3) };
        let hash = siphash(u64::from(u32::from_le_bytes(self.magic)), rounds, text);
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&self.magic);
        bytes[4..8].copy_from_slice(&CHECKED_HASH.to_le_bytes());
        bytes[8..].copy_from_slice(&hash.to_le_bytes());
        bytes
    }
}

/// Returns the `SipHash` of `bytes` with the key `key`, whose other half is zero.
///
/// Reference: Aumasson and Bernstein, "`SipHash`: a fast short-input PRF", section 2.
fn siphash(key: u64, (compressing, finishing): (u32, u32), bytes: &[u8]) -> u64 {
    let mut state =
        [0x736f_6d65_7073_6575 ^ key, 0x646f_7261_6e64_6f6d, 0x6c79_6765_6e65_7261 ^ key, 0x7465_6462_7974_6573_u64];
    let mut blocks = bytes.chunks_exact(8);
    let mut take = |word: u64| {
        state[3] ^= word;
        (0..compressing).for_each(|_| round(&mut state));
        state[0] ^= word;
    };
    for block in &mut blocks {
        let mut word = [0; 8];
        word.copy_from_slice(block);
        take(u64::from_le_bytes(word));
    }
    let rest = blocks.remainder();
    let mut word = [0; 8];
    word[..rest.len()].copy_from_slice(rest);
    word[7] = bytes.len().to_le_bytes()[0];
    take(u64::from_le_bytes(word));
    state[2] ^= 0xff;
    (0..finishing).for_each(|_| round(&mut state));
    state[0] ^ state[1] ^ state[2] ^ state[3]
}

fn round([a, b, c, d]: &mut [u64; 4]) {
    *a = a.wrapping_add(*b);
    *b = b.rotate_left(13) ^ *a;
    *a = a.rotate_left(32);
    *c = c.wrapping_add(*d);
    *d = d.rotate_left(16) ^ *c;
    *a = a.wrapping_add(*d);
    *d = d.rotate_left(21) ^ *a;
    *c = c.wrapping_add(*b);
    *b = b.rotate_left(17) ^ *c;
    *c = c.rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `_imp.source_hash` of Python 3.11 says of the first bytes of this text.
    #[test]
    fn a_source_is_hashed_as_python_hashes_it() {
        let text = b"import os\n\n\ndef here():\n    return os.getcwd()\n";
        for (length, expected) in [
            (0, 0x737f_e8d5_d59c_8d73),
            (1, 0x7ab9_59f9_d928_170f),
            (7, 0x5e14_0105_a431_8c9e),
            (8, 0x3200_d4fa_1ee2_49fa),
            (9, 0x46e7_23d1_c686_c3bd),
            (text.len(), 0xd5a6_5640_716a_8925),
        ] {
            assert_eq!(siphash(168_627_623, (1, 3), &text[..length]), expected, "{length} bytes");
        }
    }

    #[test]
    fn older_versions_of_python_hash_with_more_rounds() {
        #[allow(deprecated, reason = "it is the algorithm that Python 3.7 to 3.10 uses")]
        let expected = |key: u64, bytes: &[u8]| {
            let mut hasher = std::hash::SipHasher::new_with_keys(key, 0);
            std::hash::Hasher::write(&mut hasher, bytes);
            std::hash::Hasher::finish(&hasher)
        };
        for length in 0..40 {
            let bytes: Vec<u8> = (0..length).collect();
            assert_eq!(siphash(0x0a0d_0d61, (2, 4), &bytes), expected(0x0a0d_0d61, &bytes), "{length} bytes");
        }
    }

    #[test]
    fn bytecode_is_for_the_source_that_python_finds_for_it() {
        for (path, source) in [
            ("a/__pycache__/m.cpython-313.pyc", Some("a/m.py")),
            ("a/__pycache__/m.cpython-313.opt-1.pyc", Some("a/m.py")),
            ("__pycache__/m.cpython-39.pyc", Some("m.py")),
            ("a/m.pyc", Some("a/m.py")),
            ("m.pyc", Some("m.py")),
            (".pyc", None),
            ("__pycache__/.pyc", None),
        ] {
            assert_eq!(source_of(path.as_bytes()), source.map(|source| source.as_bytes().to_vec()), "{path}");
        }
    }

    #[test]
    fn other_kinds_of_bytecode_are_left_alone() {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&[0xf3, 0x0d, b'\r', b'\n']);
        assert!(Header::parse(&bytes).is_some());
        bytes[4] = 1;
        assert!(Header::parse(&bytes).is_none(), "it knows its source by content already");
        bytes[4] = 0;
        bytes[..2].copy_from_slice(&3379_u16.to_le_bytes());
        assert!(Header::parse(&bytes).is_none(), "Python 3.6 knows one kind only");
        bytes[..4].copy_from_slice(b"\x7fELF");
        assert!(Header::parse(&bytes).is_none());
    }
}
