//! eStargz: gzip of which a reader can get single files, and which any other reader unpacks as ever.
//!
//! Turns a tar into members that begin where the files' bytes do, a table of contents as the tar's last entry, and a
//! footer that says where the table is. The table and a landmark are files of the layer, so it has another digest.
//!
//! Reference: stargz-snapshotter, `docs/estargz.md`.

use std::io::{self, Write};

use stave_oci::{BlobDigest, Hasher};

use super::Extended;
use super::parallel::{Codec, Pipeline};
use super::toc::{LANDMARK, PREFETCH_LANDMARK, TOC_NAME, Toc, TocEntry, footer};
use crate::limits::{EXTENDED_HEADER_BYTES_MAX, Limits};
use crate::pack::header::Entry;
use crate::unpack::BLOCK_BYTES;
use crate::unpack::header::Header;
use crate::unpack::reader::{EntryKind, TarEntry, TarReader};

/// Bytes of a file in one chunk, which is the least that can be read of it. Part of the bytes that come out.
const CHUNK_BYTES: u64 = 4 * 1024 * 1024;
/// A member without any file's bytes ends at the next entry after so many bytes: names alone may be many.
const HEADERS_BYTES_MAX: usize = 4 * 1024 * 1024;
/// What the landmark holds. Its meaning is in its name.
const LANDMARK_CONTENT: &[u8] = &[0xf];

/// Where in the tar the next byte is.
#[derive(Debug)]
enum State {
    /// In a header.
    Header,
    /// In an extended header's content, with so many bytes to come.
    Extension(u64),
    /// In a file's content.
    Content(Box<Content>),
    /// In what follows a content up to the next block.
    Padding(u64),
    /// In an entry that is left out.
    Skipped(u64),
    /// After the last entry.
    End,
}

/// A file whose content is being written.
#[derive(Debug)]
struct Content {
    name: Vec<u8>,
    size: u64,
    /// Bytes that were written.
    done: u64,
    /// The file's place in the table, and its current chunk's.
    entry: usize,
    chunk: usize,
    chunk_hasher: Hasher,
    /// The hasher of the whole, where that is more than one chunk.
    hasher: Option<Hasher>,
}

/// Compresses a tar that is written to it as eStargz, on several threads.
///
/// [`EstargzWriter::finish`] must be called: what is dropped before is not complete.
pub struct EstargzWriter<W: Write> {
    pipeline: Pipeline<W>,
    /// The member that is being filled, and how many are before it.
    member: Vec<u8>,
    members: usize,
    hasher: Hasher,
    bytes: u64,
    state: State,
    /// The headers of the next entry as they came.
    head: Vec<u8>,
    filled: usize,
    toc: Toc,
}

impl<W: Write> std::fmt::Debug for EstargzWriter<W> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("EstargzWriter").field("state", &self.state).finish_non_exhaustive()
    }
}

impl<W: Write> EstargzWriter<W> {
    /// Returns a writer of eStargz to `out` with `threads` threads (at least one). `level` is from 0 to 9.
    pub fn new(out: W, level: u8, threads: usize) -> Self {
        Self {
            pipeline: Pipeline::new(out, Codec::Gzip(level), threads).with_starts(),
            member: Vec::new(),
            members: 0,
            hasher: Hasher::new(),
            bytes: 0,
            state: State::Header,
            head: Vec::new(),
            filled: 0,
            toc: Toc { version: 1, entries: Vec::new() },
        }
    }

    /// Writes what is left. Returns what was written to, and what the tar became.
    pub fn finish(mut self) -> io::Result<(W, Extended)> {
        let is_between = matches!(self.state, State::Header) && self.head.is_empty();
        if !is_between && !matches!(self.state, State::End) {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the layer's archive is cut off"));
        }
        if self.toc.entries.is_empty() {
            self.landmark()?;
        }
        self.next_member()?;
        self.pipeline.drain()?;
        for entry in &mut self.toc.entries {
            entry.offset = entry.member.map_or(0, |member| self.pipeline.starts()[member]);
        }
        let mut table = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut serializer = serde_json::Serializer::with_formatter(&mut table, formatter);
        serde::Serialize::serialize(&self.toc, &mut serializer).map_err(io::Error::other)?;
        let header =
            Entry { path: TOC_NAME, type_flag: b'0', mode: 0o444, size: table.len() as u64, ..Entry::default() };
        self.member.extend_from_slice(&header.blocks());
        self.member.extend_from_slice(&table);
        self.member.resize(self.member.len().next_multiple_of(BLOCK_BYTES) + 2 * BLOCK_BYTES, 0);
        self.next_member()?;
        let (mut out, _, starts) = self.pipeline.finish()?;
        out.write_all(&footer(starts.last().copied().unwrap_or_default()))?;
        out.flush()?;
        let toc = BlobDigest::of(&table);
        Ok((out, Extended { diff_id: self.hasher.finish(), bytes: self.bytes, toc }))
    }

    /// Ends the member and starts another one.
    fn next_member(&mut self) -> io::Result<()> {
        if self.member.is_empty() {
            return Ok(());
        }
        self.hasher.update(&self.member);
        self.bytes += self.member.len() as u64;
        self.member = self.pipeline.submit(std::mem::take(&mut self.member))?;
        self.members += 1;
        Ok(())
    }

    /// Writes the entry that says that nothing is to be fetched before it is asked for.
    fn landmark(&mut self) -> io::Result<()> {
        let entry = Entry {
            path: LANDMARK,
            type_flag: b'0',
            mode: 0o444,
            size: LANDMARK_CONTENT.len() as u64,
            ..Entry::default()
        };
        let mut tar = entry.blocks();
        tar.extend_from_slice(LANDMARK_CONTENT);
        tar.resize(tar.len().next_multiple_of(BLOCK_BYTES), 0);
        let head = std::mem::take(&mut self.head);
        let described = TarReader::new(&tar[..], Limits::default()).next_entry().map_err(unusable)?;
        self.member.extend_from_slice(&tar[..BLOCK_BYTES]);
        self.start(described.expect("it was just written"))?;
        self.consume(&tar[BLOCK_BYTES..])?;
        self.head = head;
        Ok(())
    }

    fn consume(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let taken = self.step(bytes)?;
            bytes = &bytes[taken..];
        }
        Ok(())
    }

    /// Takes some of `bytes`, which are not empty, and returns how many.
    fn step(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let at_most = |left: u64| usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        match &mut self.state {
            State::Header => {
                let taken = bytes.len().min(BLOCK_BYTES - self.filled);
                self.head.extend_from_slice(&bytes[..taken]);
                self.filled += taken;
                if self.filled == BLOCK_BYTES {
                    self.filled = 0;
                    self.header()?;
                }
                Ok(taken)
            }
            State::Extension(left) => {
                let taken = at_most(*left);
                self.head.extend_from_slice(&bytes[..taken]);
                *left -= taken as u64;
                if *left == 0 {
                    self.state = State::Header;
                }
                Ok(taken)
            }
            State::Content(_) => self.content(bytes),
            State::Padding(left) => {
                let taken = at_most(*left);
                self.member.extend_from_slice(&bytes[..taken]);
                *left -= taken as u64;
                if *left == 0 {
                    self.state = State::Header;
                }
                Ok(taken)
            }
            State::Skipped(left) => {
                let taken = at_most(*left);
                *left -= taken as u64;
                if *left == 0 {
                    self.state = State::Header;
                }
                Ok(taken)
            }
            State::End => Ok(bytes.len()),
        }
    }

    /// Looks at the block that ends what is in `head`.
    fn header(&mut self) -> io::Result<()> {
        let start = self.head.len() - BLOCK_BYTES;
        let block: &[u8; BLOCK_BYTES] = self.head[start..].try_into().expect("it is a block");
        if block.iter().all(|&byte| byte == 0) {
            if start > 0 {
                return Err(malformed("an extended header belongs to no entry"));
            }
            self.head.clear();
            self.state = State::End;
            return Ok(());
        }
        let header = Header::new(block).map_err(unusable)?;
        if matches!(header.type_flag(), b'x' | b'g' | b'L' | b'K' | b'V') {
            let size = header.size().map_err(unusable)?;
            if size > EXTENDED_HEADER_BYTES_MAX {
                return Err(malformed("an extended header is too large"));
            }
            if size > 0 {
                self.state = State::Extension(size.next_multiple_of(BLOCK_BYTES as u64));
            }
            return Ok(());
        }
        if self.toc.entries.is_empty() {
            self.landmark()?;
            self.state = State::Header;
        }
        let head = std::mem::take(&mut self.head);
        let entry = TarReader::new(&head[..], Limits::default()).next_entry().map_err(unusable)?;
        let entry = entry.ok_or_else(|| malformed("a header describes no entry"))?;
        if entry.regions.is_some() {
            return Err(malformed("it has a file in one of the sparse formats, which eStargz cannot hold"));
        }
        // What an earlier conversion added says nothing about the new one.
        let name = entry.path.strip_prefix(b"./").unwrap_or(&entry.path);
        if [TOC_NAME, LANDMARK, PREFETCH_LANDMARK].contains(&name) {
            let size = entry.size.next_multiple_of(BLOCK_BYTES as u64);
            self.state = if size > 0 { State::Skipped(size) } else { State::Header };
            return Ok(());
        }
        if self.member.len() > HEADERS_BYTES_MAX {
            self.next_member()?;
        }
        self.member.extend_from_slice(&head);
        self.start(entry)
    }

    /// Notes an entry whose headers are written.
    fn start(&mut self, entry: TarEntry) -> io::Result<()> {
        let index = self.toc.entries.len();
        self.toc.entries.push(TocEntry::new(&entry));
        if entry.kind != EntryKind::File {
            self.state = State::Header;
            return Ok(());
        }
        if entry.size == 0 {
            self.toc.entries[index].digest = BlobDigest::of(b"").to_string();
            self.state = State::Header;
            return Ok(());
        }
        self.next_member()?;
        self.describe_chunk(index, 0, entry.size);
        self.state = State::Content(Box::new(Content {
            name: entry.path,
            size: entry.size,
            done: 0,
            entry: index,
            chunk: index,
            chunk_hasher: Hasher::new(),
            hasher: (entry.size > CHUNK_BYTES).then(Hasher::new),
        }));
        Ok(())
    }

    /// Notes where the chunk at `offset` of a file of `size` bytes is: at the start of the member that comes now.
    fn describe_chunk(&mut self, index: usize, offset: u64, size: u64) {
        let entry = &mut self.toc.entries[index];
        entry.member = Some(self.members);
        entry.chunk_offset = offset;
        // The last one reaches to the end of the file.
        entry.chunk_size = if size - offset > CHUNK_BYTES { CHUNK_BYTES } else { 0 };
    }

    /// Takes bytes of the current file.
    fn content(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let State::Content(content) = &mut self.state else { return Ok(0) };
        let to_chunk_end = (CHUNK_BYTES - content.done % CHUNK_BYTES).min(content.size - content.done);
        let taken = usize::try_from(to_chunk_end).unwrap_or(usize::MAX).min(bytes.len());
        let bytes = &bytes[..taken];
        self.member.extend_from_slice(bytes);
        content.chunk_hasher.update(bytes);
        if let Some(hasher) = &mut content.hasher {
            hasher.update(bytes);
        }
        content.done += taken as u64;
        let is_end = content.done == content.size;
        if !is_end && !content.done.is_multiple_of(CHUNK_BYTES) {
            return Ok(taken);
        }
        let digest = std::mem::take(&mut content.chunk_hasher).finish::<BlobDigest>().to_string();
        self.toc.entries[content.chunk].chunk_digest.clone_from(&digest);
        if is_end {
            let whole = content.hasher.take().map_or(digest, |hasher| hasher.finish::<BlobDigest>().to_string());
            self.toc.entries[content.entry].digest = whole;
            let padding = content.size.wrapping_neg() % BLOCK_BYTES as u64;
            self.state = if padding > 0 { State::Padding(padding) } else { State::Header };
            return Ok(taken);
        }
        let index = self.toc.entries.len();
        content.chunk = index;
        let (offset, size) = (content.done, content.size);
        let next = TocEntry::chunk(&content.name);
        self.toc.entries.push(next);
        self.next_member()?;
        self.describe_chunk(index, offset, size);
        Ok(taken)
    }
}

impl<W: Write> Write for EstargzWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.consume(bytes)?;
        Ok(bytes.len())
    }

    /// Does nothing: members end where files begin.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn unusable(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn malformed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::unpack::decompress;

    /// A tar with a directory, a small file, one of three chunks, an empty one, a link and names that need more.
    fn tar() -> Vec<u8> {
        let mut tar = Vec::new();
        let mut add = |path: &[u8], type_flag: u8, link: &[u8], content: &[u8]| {
            let size = content.len() as u64;
            let entry = Entry { path, type_flag, link, mode: 0o644, size, seconds: 7, ..Entry::default() };
            tar.extend_from_slice(&entry.blocks());
            tar.extend_from_slice(content);
            tar.resize(tar.len().next_multiple_of(BLOCK_BYTES), 0);
        };
        let big: Vec<u8> = (0..9_000_000_u32).map(|index| index.to_le_bytes()[1] ^ index.to_le_bytes()[0]).collect();
        add(b"d/", b'5', b"", b"");
        add(b"d/small", b'0', b"", b"text");
        add(b"d/big", b'0', b"", &big);
        add(b"d/empty", b'0', b"", b"");
        add(b"d/link", b'2', b"small", b"");
        add(&[&[b'n'; 250][..], b"\xff"].concat(), b'0', b"", &[1; 512]);
        add(b"d/hard", b'1', b"d/small", b"");
        tar.resize(tar.len() + 2 * BLOCK_BYTES, 0);
        tar
    }

    fn estargz(tar: &[u8], threads: usize, step: usize) -> (Vec<u8>, Extended) {
        let mut writer = EstargzWriter::new(Vec::new(), 6, threads);
        tar.chunks(step).for_each(|part| writer.write_all(part).unwrap());
        writer.finish().unwrap()
    }

    fn plain(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        decompress(bytes).unwrap().read_to_end(&mut out).unwrap();
        out
    }

    /// Reads the table as a reader of the format does: from the end.
    fn table(blob: &[u8]) -> serde_json::Value {
        let offset = std::str::from_utf8(&blob[blob.len() - 51 + 16..][..16]).unwrap();
        let offset = usize::from_str_radix(offset, 16).unwrap();
        let tar = plain(&blob[offset..blob.len() - 51]);
        let mut reader = TarReader::new(&tar[..], Limits::default());
        let entry = reader.next_entry().unwrap().unwrap();
        assert_eq!(entry.path, TOC_NAME);
        let mut json = Vec::new();
        reader
            .read_content(|part| {
                json.extend_from_slice(part);
                Ok(())
            })
            .unwrap();
        serde_json::from_slice(&json).unwrap()
    }

    #[test]
    fn any_reader_finds_the_same_entries_and_two_more() {
        let tar = tar();
        let (blob, extended) = estargz(&tar, 2, 10_007);
        let unpacked = plain(&blob);
        assert_eq!(extended.diff_id, stave_oci::DiffId::of(&unpacked));
        assert_eq!(extended.bytes, unpacked.len() as u64);
        // Between the landmark and the table is what was written.
        let entries = &tar[..tar.len() - 2 * BLOCK_BYTES];
        assert!(unpacked[2 * BLOCK_BYTES..].starts_with(entries));
        let mut reader = TarReader::new(&unpacked[..], Limits::default());
        let mut names = Vec::new();
        while let Some(entry) = reader.next_entry().unwrap() {
            names.push(entry.path);
        }
        assert_eq!((names.len(), &names[0][..], &names[8][..]), (9, LANDMARK, TOC_NAME));
    }

    #[test]
    fn each_chunk_is_where_the_table_says_and_has_the_digest_that_it_says() {
        let (blob, _) = estargz(&tar(), 2, usize::MAX);
        let table = table(&blob);
        let mut chunks = 0;
        let mut size = 0;
        for entry in table["entries"].as_array().unwrap() {
            size = entry["size"].as_u64().unwrap_or(size);
            let Some(offset) = entry["offset"].as_u64() else { continue };
            let in_file = entry["chunkOffset"].as_u64().unwrap_or(0);
            let length = entry["chunkSize"].as_u64().unwrap_or(size - in_file);
            let content = plain(&blob[usize::try_from(offset).unwrap()..]);
            let chunk = &content[..usize::try_from(length).unwrap()];
            assert_eq!(entry["chunkDigest"], BlobDigest::of(chunk).to_string(), "{entry}");
            chunks += 1;
        }
        // The landmark, the small one, three of the big one, and the one with the long name.
        assert_eq!(chunks, 6);
        let kinds: Vec<_> = table["entries"].as_array().unwrap().iter().map(|entry| &entry["type"]).collect();
        assert_eq!(kinds, ["reg", "dir", "reg", "reg", "chunk", "chunk", "reg", "symlink", "reg", "hardlink"]);
        assert_eq!(table["entries"][1]["modtime"], "1970-01-01T00:00:07Z");
    }

    #[test]
    fn bytes_do_not_depend_on_threads_or_writes() {
        let tar = tar();
        let first = estargz(&tar, 1, tar.len());
        for (threads, step) in [(2, 511), (64, 100_000)] {
            assert!(estargz(&tar, threads, step) == first, "{threads} threads");
        }
    }

    #[test]
    fn every_level_gives_one_result_for_1_2_and_64_threads() {
        let tar = tar();
        let at = |level, threads, step| {
            let mut writer = EstargzWriter::new(Vec::new(), level, threads);
            tar.chunks(step).for_each(|part| writer.write_all(part).unwrap());
            writer.finish().unwrap()
        };
        let mut all = Vec::new();
        for level in 0..=9 {
            let first = at(level, 1, tar.len());
            assert!(at(level, 2, 70_001) == first, "level {level}");
            assert!(at(level, 64, 1 << 16) == first, "level {level}");
            // The level changes nothing that is said of the files, but where they are.
            assert_eq!(plain(&first.0).len() as u64, first.1.bytes, "level {level}");
            all.push(first.0.len());
        }
        assert!(all[9] < all[1] && all[1] < all[0], "{all:?}");
    }

    #[test]
    fn converting_twice_is_converting_once() {
        let (blob, extended) = estargz(&tar(), 2, 1 << 20);
        assert_eq!(estargz(&plain(&blob), 2, 1 << 20), (blob, extended));
    }

    #[test]
    fn an_empty_layer_has_a_landmark_and_a_table() {
        for tar in [vec![], vec![0; 1024], vec![0; 10240]] {
            let (blob, _) = estargz(&tar, 2, 512);
            assert_eq!(table(&blob)["entries"].as_array().unwrap().len(), 1);
        }
    }

    #[test]
    fn what_is_cut_off_or_no_archive_is_an_error() {
        let tar = tar();
        for length in [100, 512 + 512 + 1, 4_000_000] {
            let mut writer = EstargzWriter::new(Vec::new(), 1, 1);
            writer.write_all(&tar[..length]).unwrap();
            assert_eq!(writer.finish().map(drop).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        }
        let mut writer = EstargzWriter::new(Vec::new(), 1, 1);
        assert!(writer.write_all(&[b'x'; 1024]).is_err());
    }
}
