//! The entries of a tar archive, one after the other.
//!
//! Turns a stream of bytes into entries with all their extensions applied. Where readers are known to disagree (a size in
//! two places, a name in two extensions), there is one answer or an error, so that no entry can hide in another.

use std::io::{self, BufRead as _, BufReader, Read};

use super::header::{BLOCK_BYTES, Header, number};
use super::pax::{self, Pax};
use super::{Malformed, UnpackError};
use crate::dir::{Time, Xattr};
use crate::limits::{EXTENDED_HEADER_BYTES_MAX, LINK_BYTES_MAX, Limits, PATH_BYTES_MAX, SPARSE_REGIONS_MAX};

/// What an entry makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryKind {
    File,
    HardLink,
    Link,
    CharDevice,
    BlockDevice,
    Directory,
    Pipe,
}

/// One entry of an archive.
#[derive(Debug, Clone)]
pub(crate) struct TarEntry {
    /// As written, neither clean nor safe.
    pub(crate) path: Vec<u8>,
    pub(crate) link: Vec<u8>,
    pub(crate) kind: EntryKind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) modified: Time,
    pub(crate) device: (u32, u32),
    pub(crate) xattrs: Vec<Xattr>,
    /// Size of the file when it is extracted.
    pub(crate) size: u64,
    /// Where the archive's bytes belong in the file: all of it, or the regions of a sparse file.
    pub(crate) regions: Option<Vec<(u64, u64)>>,
}

/// Reads entries from a stream.
pub(crate) struct TarReader<R> {
    input: BufReader<R>,
    limits: Limits,
    /// Bytes of the current entry that have not been read, and zeros after it.
    content: u64,
    padding: u64,
    headers: u64,
    bytes: u64,
}

const BUFFER_BYTES: usize = 256 * 1024;

enum Flag {
    Entry(EntryKind),
    OldSparse,
    Extended,
    Global,
    LongName,
    LongLink,
    VolumeLabel,
}

fn flag(header: &Header<'_>, path: &[u8]) -> Result<Flag, Malformed> {
    Ok(match header.type_flag() {
        // The oldest format knew directories only by their names.
        b'\0' if path.ends_with(b"/") => Flag::Entry(EntryKind::Directory),
        b'0' | b'\0' | b'7' => Flag::Entry(EntryKind::File),
        b'1' => Flag::Entry(EntryKind::HardLink),
        b'2' => Flag::Entry(EntryKind::Link),
        b'3' => Flag::Entry(EntryKind::CharDevice),
        b'4' => Flag::Entry(EntryKind::BlockDevice),
        b'5' => Flag::Entry(EntryKind::Directory),
        b'6' => Flag::Entry(EntryKind::Pipe),
        b'S' if header.is_gnu() => Flag::OldSparse,
        b'x' => Flag::Extended,
        b'g' => Flag::Global,
        b'L' => Flag::LongName,
        b'K' => Flag::LongLink,
        b'V' => Flag::VolumeLabel,
        other => return Err(Malformed::Type(other)),
    })
}

impl<R: Read> TarReader<R> {
    pub(crate) fn new(input: R, limits: Limits) -> Self {
        let input = BufReader::with_capacity(BUFFER_BYTES, input);
        Self { input, limits, content: 0, padding: 0, headers: 0, bytes: 0 }
    }

    /// Returns the next entry, or nothing at the end of the archive; then all of the stream has been read.
    pub(crate) fn next_entry(&mut self) -> Result<Option<TarEntry>, UnpackError> {
        self.skip_content()?;
        let (mut pax, mut long_name, mut long_link) = (None, None, None);
        loop {
            let Some(block) = self.header_block()? else {
                if pax.is_some() || long_name.is_some() || long_link.is_some() {
                    return Err(Malformed::ExtendedHeader.into());
                }
                return Ok(None);
            };
            self.headers += 1;
            if self.headers > self.limits.entries_max {
                return Err(UnpackError::TooManyEntries(self.limits.entries_max));
            }
            let header = Header::new(&block)?;
            match flag(&header, &header.path())? {
                Flag::Extended => pax = Some(pax::parse(&self.extension(&header)?)?),
                Flag::Global => {
                    // Defaults for all entries; of those in use (comments, commit ids) none is about a file.
                    pax::parse(&self.extension(&header)?)?;
                }
                Flag::LongName => long_name = Some(self.long_text(&header, PATH_BYTES_MAX)?),
                Flag::LongLink => long_link = Some(self.long_text(&header, LINK_BYTES_MAX)?),
                Flag::VolumeLabel => {
                    self.content = header.size()?;
                    self.padding = padding(self.content);
                    self.skip_content()?;
                }
                Flag::Entry(kind) => {
                    let entry = self.entry(&header, kind, pax.unwrap_or_default(), long_name, long_link)?;
                    return Ok(Some(entry));
                }
                Flag::OldSparse => {
                    let entry = self.entry(&header, EntryKind::File, pax.unwrap_or_default(), long_name, long_link)?;
                    return self.old_sparse(&block, entry).map(Some);
                }
            }
        }
    }

    /// Returns the next bytes of the current entry's content, empty at its end, and forgets them.
    pub(crate) fn read_content(
        &mut self,
        mut take: impl FnMut(&[u8]) -> Result<(), UnpackError>,
    ) -> Result<(), UnpackError> {
        while self.content > 0 {
            let wanted = self.content;
            let available = self.input.fill_buf().map_err(UnpackError::Read)?;
            if available.is_empty() {
                return Err(Malformed::Truncated.into());
            }
            let length = usize::try_from(wanted).unwrap_or(usize::MAX).min(available.len());
            take(&available[..length])?;
            self.input.consume(length);
            self.content -= length as u64;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        header: &Header<'_>,
        kind: EntryKind,
        pax: Pax,
        long_name: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
    ) -> Result<TarEntry, UnpackError> {
        if (pax.path.is_some() && long_name.is_some()) || (pax.link.is_some() && long_link.is_some()) {
            return Err(Malformed::TwoNames.into());
        }
        let path = pax.sparse.name.clone().or(pax.path).or(long_name).unwrap_or_else(|| header.path());
        let link = pax.link.or(long_link).unwrap_or_else(|| header.link());
        let id = |number: u64| pax::id(number).map(|id| u32::try_from(id).expect("the limit is below 2^32"));
        // The extended header's size is the one that counts, also over one in the header that is not zero.
        let size = match pax.size {
            Some(size) => size,
            None => header.size()?,
        };
        let content = if kind == EntryKind::File { size } else { 0 };
        self.start_content(content)?;
        let mut entry = TarEntry {
            path,
            link,
            kind,
            mode: header.mode()?,
            uid: id(pax.uid.map_or_else(|| header.uid(), Ok)?)?,
            gid: id(pax.gid.map_or_else(|| header.gid(), Ok)?)?,
            modified: pax.mtime.map_or_else(|| header.mtime().map(whole_seconds), Ok)?,
            device: if matches!(kind, EntryKind::CharDevice | EntryKind::BlockDevice) {
                header.device()?
            } else {
                (0, 0)
            },
            xattrs: pax.xattrs,
            size: content,
            regions: None,
        };
        if pax.sparse.is_present() {
            if kind != EntryKind::File {
                return Err(Malformed::Sparse.into());
            }
            let (mut regions, real_size) = (pax.sparse.map, pax.sparse.real_size.ok_or(Malformed::Sparse)?);
            match (pax.sparse.major.unwrap_or(0), pax.sparse.minor.unwrap_or(0)) {
                (0, 0 | 1) => {}
                (1, 0) => regions = self.sparse_map_in_content()?,
                _ => return Err(Malformed::Sparse.into()),
            }
            self.set_regions(&mut entry, regions, real_size)?;
        }
        Ok(entry)
    }

    fn start_content(&mut self, size: u64) -> Result<(), UnpackError> {
        self.content = size;
        self.padding = padding(size);
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > self.limits.bytes_max {
            return Err(UnpackError::TooManyBytes(self.limits.bytes_max));
        }
        Ok(())
    }

    fn set_regions(&self, entry: &mut TarEntry, regions: Vec<(u64, u64)>, real_size: u64) -> Result<(), UnpackError> {
        let (mut end, mut stored) = (0_u64, 0_u64);
        for &(offset, length) in &regions {
            if offset < end {
                return Err(Malformed::Sparse.into());
            }
            end = offset.checked_add(length).ok_or(Malformed::Sparse)?;
            stored += length;
        }
        if end > real_size || stored != self.content || real_size > self.limits.bytes_max {
            return Err(Malformed::Sparse.into());
        }
        entry.size = real_size;
        entry.regions = Some(regions);
        Ok(())
    }

    /// Reads the map of a sparse file in format 1.0: decimal lines at the start of its content, filled up to a block.
    fn sparse_map_in_content(&mut self) -> Result<Vec<(u64, u64)>, UnpackError> {
        let mut numbers: Vec<u64> = Vec::new();
        let (mut current, mut digits) = (0_u64, 0);
        let mut wanted = 1;
        while numbers.len() < wanted {
            let block = self.content_block()?;
            for &byte in &block {
                match byte {
                    b'0'..=b'9' if digits < 19 => {
                        current = current * 10 + u64::from(byte - b'0');
                        digits += 1;
                    }
                    b'\n' if digits > 0 => {
                        numbers.push(std::mem::take(&mut current));
                        digits = 0;
                    }
                    _ => return Err(Malformed::Sparse.into()),
                }
                if let [count] = numbers[..] {
                    let count = usize::try_from(count).ok().filter(|count| *count <= SPARSE_REGIONS_MAX);
                    wanted = 1 + 2 * count.ok_or(Malformed::Sparse)?;
                }
                if numbers.len() >= wanted {
                    break;
                }
            }
        }
        Ok(numbers[1..].chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
    }

    fn content_block(&mut self) -> Result<[u8; BLOCK_BYTES], UnpackError> {
        if self.content < BLOCK_BYTES as u64 {
            return Err(Malformed::Sparse.into());
        }
        let mut block = [0; BLOCK_BYTES];
        self.read_exact(&mut block)?;
        self.content -= BLOCK_BYTES as u64;
        Ok(block)
    }

    /// Reads the map of GNU's old sparse format: four regions in the header, more in blocks that follow it.
    fn old_sparse(&mut self, header: &[u8; BLOCK_BYTES], mut entry: TarEntry) -> Result<TarEntry, UnpackError> {
        let mut regions = Vec::new();
        let mut take = |table: &[u8]| -> Result<(), Malformed> {
            for pair in table.chunks_exact(24) {
                if pair[0] == 0 || pair[12] == 0 {
                    return Ok(());
                }
                let part = |field: &[u8]| u64::try_from(number(field)?).map_err(|_| Malformed::Sparse);
                regions.push((part(&pair[..12])?, part(&pair[12..])?));
                if regions.len() > SPARSE_REGIONS_MAX {
                    return Err(Malformed::Sparse);
                }
            }
            Ok(())
        };
        take(&header[386..482])?;
        let mut more = header[482] != 0;
        while more {
            let mut block = [0; BLOCK_BYTES];
            self.read_exact(&mut block)?;
            take(&block[..504])?;
            more = block[504] != 0;
        }
        let real_size = u64::try_from(number(&header[483..495])?).map_err(|_| Malformed::Sparse)?;
        self.set_regions(&mut entry, regions, real_size)?;
        Ok(entry)
    }

    fn extension(&mut self, header: &Header<'_>) -> Result<Vec<u8>, UnpackError> {
        let size = header.size()?;
        if size > EXTENDED_HEADER_BYTES_MAX {
            return Err(Malformed::ExtendedHeaderTooLarge.into());
        }
        self.start_content(size)?;
        let mut bytes = Vec::new();
        self.read_content(|part| {
            bytes.extend_from_slice(part);
            Ok(())
        })?;
        self.skip_content()?;
        Ok(bytes)
    }

    fn long_text(&mut self, header: &Header<'_>, limit: usize) -> Result<Vec<u8>, UnpackError> {
        let mut text = self.extension(header)?;
        text.truncate(text.iter().position(|&byte| byte == 0).unwrap_or(text.len()));
        if text.len() > limit { Err(Malformed::NameTooLong.into()) } else { Ok(text) }
    }

    /// Returns the next header block, or nothing at the end: two blocks of zeros, or the end of the stream.
    fn header_block(&mut self) -> Result<Option<[u8; BLOCK_BYTES]>, UnpackError> {
        let Some(block) = self.block()? else { return Ok(None) };
        if block.iter().any(|&byte| byte != 0) {
            return Ok(Some(block));
        }
        match self.block()? {
            Some(block) if block.iter().any(|&byte| byte != 0) => Err(Malformed::AfterEnd.into()),
            _ => {
                self.drain()?;
                Ok(None)
            }
        }
    }

    fn block(&mut self) -> Result<Option<[u8; BLOCK_BYTES]>, UnpackError> {
        let mut block = [0; BLOCK_BYTES];
        let mut filled = 0;
        while filled < BLOCK_BYTES {
            match self.input.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(Malformed::Truncated.into()),
                Ok(length) => filled += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(UnpackError::Read(error)),
            }
        }
        Ok(Some(block))
    }

    fn read_exact(&mut self, block: &mut [u8; BLOCK_BYTES]) -> Result<(), UnpackError> {
        *block = self.block()?.ok_or(Malformed::Truncated)?;
        Ok(())
    }

    fn skip_content(&mut self) -> Result<(), UnpackError> {
        self.read_content(|_| Ok(()))?;
        let padding = std::mem::take(&mut self.padding);
        // Some writers (`umoci insert`) end the stream after the last byte of the last file. Nothing is missing.
        if padding > 0 && self.input.fill_buf().map_err(UnpackError::Read)?.is_empty() {
            return Ok(());
        }
        self.content = padding;
        self.read_content(|_| Ok(()))
    }

    /// Reads what follows the end, so that whoever hashes the stream has seen all of it.
    fn drain(&mut self) -> Result<(), UnpackError> {
        let mut left = self.limits.bytes_max;
        loop {
            let available = self.input.fill_buf().map_err(UnpackError::Read)?.len();
            if available == 0 {
                return Ok(());
            }
            left = left.checked_sub(available as u64).ok_or(UnpackError::TooManyBytes(self.limits.bytes_max))?;
            self.input.consume(available);
        }
    }
}

fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK_BYTES as u64
}

fn whole_seconds(seconds: i64) -> Time {
    Time { seconds, nanoseconds: 0 }
}
