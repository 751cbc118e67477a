//! Reads the rows of one table of a SQLite file, and nothing else.
//!
//! A database of rpm in an image is anybody's file: a reader of a few pages that only follows numbers is less to trust
//! than all of SQLite. It reads what was checkpointed: a write-ahead log beside the file is for the caller to mention.
//!
//! Reference: "Database File Format" of SQLite, sections 1.3, 1.6, 2.1.

use crate::files::{Files, Opened};

/// Deepest tree of pages; SQLite's own is 20.
const DEPTH_MAX: usize = 20;

/// Why a file is not read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// A database.
pub(crate) struct Database<'a, F: Files> {
    file: &'a Opened<'a, F>,
    page_size: usize,
    usable: usize,
    /// Pages that may still be read: no sound table has a page twice, so a table that does ends.
    pages_left: u64,
}

/// What a column of a row holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Column {
    Number(i64),
    Bytes(Vec<u8>),
    Other,
}

/// A file's own failure, or the database's.
pub(crate) type Found<T, F> = Result<Result<T, Malformed>, <F as Files>::Error>;

macro_rules! need {
    ($value:expr) => {
        match $value {
            Some(value) => value,
            None => return Ok(Err(Malformed)),
        }
    };
}

macro_rules! pass {
    ($value:expr) => {
        match $value? {
            Ok(value) => value,
            Err(malformed) => return Ok(Err(malformed)),
        }
    };
}

impl<'a, F: Files> Database<'a, F> {
    /// Opens a database file.
    pub(crate) fn open(file: &'a Opened<'a, F>) -> Found<Self, F> {
        let head = need!(file.exactly(0, 100)?);
        if !head.starts_with(b"SQLite format 3\0") {
            return Ok(Err(Malformed));
        }
        let page_size = match u16::from_be_bytes([head[16], head[17]]) {
            1 => 65536,
            size if size >= 512 && size.is_power_of_two() => usize::from(size),
            _ => return Ok(Err(Malformed)),
        };
        let usable = page_size - usize::from(head[20]);
        if usable < 480 {
            return Ok(Err(Malformed));
        }
        let pages_left = file.size / page_size as u64 + 1;
        Ok(Ok(Self { file, page_size, usable, pages_left }))
    }

    /// Calls `row` for each row of the table `name`. A row longer than `limit` is malformed.
    pub(crate) fn table(&mut self, name: &str, limit: usize, row: &mut dyn FnMut(Vec<Column>)) -> Found<(), F> {
        let mut root = None;
        let mut schema = |columns: Vec<Column>| {
            if let [Column::Bytes(kind), Column::Bytes(called), _, Column::Number(page), ..] = columns.as_slice()
                && kind == b"table"
                && called == name.as_bytes()
            {
                root = u32::try_from(*page).ok();
            }
        };
        pass!(self.tree(1, DEPTH_MAX, 1024 * 1024, &mut schema));
        let root = need!(root);
        self.tree(root, DEPTH_MAX, limit, row)
    }

    fn page(&mut self, number: u32) -> Found<Vec<u8>, F> {
        self.pages_left = need!(self.pages_left.checked_sub(1));
        if number == 0 {
            return Ok(Err(Malformed));
        }
        let offset = u64::from(number - 1) * self.page_size as u64;
        Ok(self.file.exactly(offset, self.page_size)?.ok_or(Malformed))
    }

    fn tree(&mut self, number: u32, depth: usize, limit: usize, row: &mut dyn FnMut(Vec<Column>)) -> Found<(), F> {
        let page = pass!(self.page(number));
        // The first page begins with the head of the file.
        let start = if number == 1 { 100 } else { 0 };
        let cells = usize::from(be16(&page, start + 3));
        match page[start] {
            5 if depth > 0 => {
                for cell in 0..cells {
                    let at = usize::from(be16(&page, start + 12 + 2 * cell));
                    let child = be32(&page, at);
                    pass!(self.tree(child, depth - 1, limit, row));
                }
                self.tree(be32(&page, start + 8), depth - 1, limit, row)
            }
            13 => {
                for cell in 0..cells {
                    let at = usize::from(be16(&page, start + 8 + 2 * cell));
                    let payload = pass!(self.payload(&page, at, limit));
                    row(need!(record(&payload)));
                }
                Ok(Ok(()))
            }
            _ => Ok(Err(Malformed)),
        }
    }

    /// Returns the bytes of a row, which may go on in other pages.
    fn payload(&mut self, page: &[u8], at: usize, limit: usize) -> Found<Vec<u8>, F> {
        let (length, next) = need!(varint(page, at));
        let (_row_id, next) = need!(varint(page, next));
        let length = need!(usize::try_from(length).ok().filter(|length| *length <= limit));
        let most = self.usable - 35;
        if length <= most {
            return Ok(next
                .checked_add(length)
                .and_then(|end| page.get(next..end))
                .map(<[u8]>::to_vec)
                .ok_or(Malformed));
        }
        let least = (self.usable - 12) * 32 / 255 - 23;
        let here = least + (length - least) % (self.usable - 4);
        let here = if here <= most { here } else { least };
        let mut bytes = need!(page.get(next..next + here)).to_vec();
        let mut overflow = be32(page, next + here);
        while bytes.len() < length {
            let more = pass!(self.page(overflow));
            let wanted = (length - bytes.len()).min(self.usable - 4);
            bytes.extend_from_slice(&more[4..4 + wanted]);
            overflow = be32(&more, 0);
        }
        Ok(Ok(bytes))
    }
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |bytes| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

/// Returns a number of up to nine bytes, and where the next begins.
fn varint(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut value = 0_u64;
    for index in 0..9 {
        let byte = *bytes.get(at.checked_add(index)?)?;
        if index == 8 {
            return Some((value << 8 | u64::from(byte), at + 9));
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((value, at + index + 1));
        }
    }
    None
}

fn record(payload: &[u8]) -> Option<Vec<Column>> {
    let (header, mut at) = varint(payload, 0)?;
    let header = usize::try_from(header).ok().filter(|header| *header <= payload.len())?;
    let mut body = header;
    let mut columns = Vec::new();
    while at < header {
        let (kind, next) = varint(payload, at)?;
        at = next;
        let length = match kind {
            0 | 8 | 9 | 10 | 11 => 0,
            1..=4 => usize::try_from(kind).ok()?,
            5 => 6,
            6 | 7 => 8,
            kind => usize::try_from((kind - 12) / 2).ok()?,
        };
        let bytes = payload.get(body..body.checked_add(length)?)?;
        body += length;
        columns.push(match kind {
            8 => Column::Number(0),
            9 => Column::Number(1),
            1..=6 => Column::Number(signed(bytes)),
            kind if kind >= 12 => Column::Bytes(bytes.to_vec()),
            _ => Column::Other,
        });
    }
    Some(columns)
}

fn signed(bytes: &[u8]) -> i64 {
    let first = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
    bytes.iter().fold(if first { -1 } else { 0 }, |value, byte| value << 8 | i64::from(*byte))
}
