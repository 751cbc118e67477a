//! Reads as much of an executable as is needed to find a section of it.
//!
//! Reference: System V ABI, "Object Files".

use crate::files::{Files, Opened};
use crate::limits::SECTIONS_MAX;

/// An executable, and where its parts are.
pub(crate) struct Elf {
    pub(crate) wide: bool,
    pub(crate) big_endian: bool,
    sections: Vec<Section>,
    pub(crate) segments: Vec<Segment>,
}

struct Section {
    name: Vec<u8>,
    part: Part,
}

/// A range of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) offset: u64,
    pub(crate) size: u64,
}

/// A part of the file that has an address in memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment {
    pub(crate) part: Part,
    pub(crate) address: u64,
    pub(crate) writable: bool,
}

/// How numbers are written.
#[derive(Clone, Copy)]
struct Form {
    wide: bool,
    big_endian: bool,
}

impl Form {
    /// Returns the number of `length` bytes at `offset`, zero outside.
    fn number(self, bytes: &[u8], offset: usize, length: usize) -> u64 {
        let Some(bytes) = offset.checked_add(length).and_then(|end| bytes.get(offset..end)) else { return 0 };
        let add = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        if self.big_endian { bytes.iter().fold(0, add) } else { bytes.iter().rev().fold(0, add) }
    }

    /// Returns the number at one of two offsets: that of the narrow form, that of the wide one.
    fn pick(self, bytes: &[u8], narrow: (usize, usize), wide: (usize, usize)) -> u64 {
        let (offset, length) = if self.wide { wide } else { narrow };
        self.number(bytes, offset, length)
    }
}

impl Elf {
    /// Reads the tables of an executable; nothing if the file is none.
    pub(crate) fn read<F: Files>(file: &Opened<'_, F>) -> Result<Option<Self>, F::Error> {
        let head = file.files.read(file.path, 0, 64)?;
        if head.len() < 52 || !head.starts_with(b"\x7fELF") {
            return Ok(None);
        }
        let (wide, big_endian) = (head[4] == 2, head[5] == 2);
        if !matches!((head[4], head[5]), (1 | 2, 1 | 2)) || wide && head.len() < 64 {
            return Ok(None);
        }
        let form = Form { wide, big_endian };
        let segments = segments(file, form, &head)?;
        let sections = sections(file, form, &head)?;
        Ok(Some(Self { wide, big_endian, sections, segments }))
    }

    /// Returns where the section `name` is.
    pub(crate) fn section(&self, name: &[u8]) -> Option<Part> {
        self.sections.iter().find(|section| section.name == name).map(|section| section.part)
    }

    /// Returns the number in all of `bytes`, as this file writes them.
    pub(crate) fn number(&self, bytes: &[u8]) -> u64 {
        Form { wide: self.wide, big_endian: self.big_endian }.number(bytes, 0, bytes.len().min(8))
    }

    /// Returns where in the file what has the address is.
    pub(crate) fn offset_of(&self, address: u64) -> Option<u64> {
        self.segments.iter().find_map(|segment| {
            let inside = address.checked_sub(segment.address).filter(|inside| *inside < segment.part.size)?;
            segment.part.offset.checked_add(inside)
        })
    }
}

/// Reads a table: where it is, how long an entry is, how many there are.
fn table<F: Files>(
    file: &Opened<'_, F>,
    (offset, length, count): (u64, u64, u64),
    least: usize,
) -> Result<Vec<Vec<u8>>, F::Error> {
    let (length, count) = (usize::try_from(length).unwrap_or(0), usize::try_from(count).unwrap_or(0));
    if length < least || length > 1024 || count > SECTIONS_MAX {
        return Ok(Vec::new());
    }
    let bytes = file.exactly(offset, length * count)?.unwrap_or_default();
    Ok(bytes.chunks_exact(length).map(<[u8]>::to_vec).collect())
}

fn segments<F: Files>(file: &Opened<'_, F>, form: Form, head: &[u8]) -> Result<Vec<Segment>, F::Error> {
    const LOAD: u64 = 1;
    let place =
        (form.pick(head, (28, 4), (32, 8)), form.pick(head, (42, 2), (54, 2)), form.pick(head, (44, 2), (56, 2)));
    let entries = table(file, place, if form.wide { 56 } else { 32 })?;
    let segment = |entry: &Vec<u8>| {
        let part = Part { offset: form.pick(entry, (4, 4), (8, 8)), size: form.pick(entry, (16, 4), (32, 8)) };
        let flags = form.pick(entry, (24, 4), (4, 4));
        Segment { part, address: form.pick(entry, (8, 4), (16, 8)), writable: flags & 2 != 0 }
    };
    Ok(entries.iter().filter(|entry| form.number(entry, 0, 4) == LOAD).map(segment).collect())
}

fn sections<F: Files>(file: &Opened<'_, F>, form: Form, head: &[u8]) -> Result<Vec<Section>, F::Error> {
    let place =
        (form.pick(head, (32, 4), (40, 8)), form.pick(head, (46, 2), (58, 2)), form.pick(head, (48, 2), (60, 2)));
    let entries = table(file, place, if form.wide { 64 } else { 40 })?;
    let part =
        |entry: &Vec<u8>| Part { offset: form.pick(entry, (16, 4), (24, 8)), size: form.pick(entry, (20, 4), (32, 8)) };
    let names = usize::try_from(form.pick(head, (50, 2), (62, 2))).ok().and_then(|index| entries.get(index)).map(part);
    let Some(names) = names.filter(|part| part.size <= 1024 * 1024) else { return Ok(Vec::new()) };
    let length = usize::try_from(names.size).unwrap_or(0);
    let Some(texts) = file.exactly(names.offset, length)? else { return Ok(Vec::new()) };
    let name = |entry: &Vec<u8>| {
        let start = usize::try_from(form.number(entry, 0, 4)).unwrap_or(usize::MAX);
        let rest = texts.get(start..).unwrap_or_default();
        rest.iter().take(64).copied().take_while(|&byte| byte != 0).collect()
    };
    Ok(entries.iter().map(|entry| Section { name: name(entry), part: part(entry) }).collect())
}
