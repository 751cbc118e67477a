//! Reads the values of a hash table of Berkeley DB, and nothing else.
//!
//! Every page of the file is looked at once, in the order of the file: which bucket a value is in does not matter to who
//! wants all of them. What is on no page that says that it is part of the table is not read.
//!
//! Reference: Berkeley DB 5.3, `src/dbinc/db_page.h`: "GENERIC METADATA PAGE HEADER", "HASH PAGE LAYOUT", "OVERFLOW PAGES".

use crate::files::{Files, Opened};
use crate::sqlite::{Found, Malformed};

/// What a file with a hash table begins with, at 12.
const MAGIC: u32 = 0x0006_1561;
/// Bytes of the first page that say what the file is.
const META_BYTES: usize = 72;
/// Bytes in front of what is on a page.
const HEAD_BYTES: usize = 26;
/// Pages of a table, in the older and the newer form, and pages with the rest of a long value.
const HASH_UNSORTED: u8 = 2;
const HASH: u8 = 13;
const OVERFLOW: u8 = 7;
/// What is on a page: bytes, or where a long value begins.
const ITEM_BYTES: u8 = 1;
const ITEM_OVERFLOW: u8 = 3;

/// The file, and in which order its numbers have their bytes.
struct Table<'a, F: Files> {
    file: &'a Opened<'a, F>,
    page_bytes: usize,
    big_endian: bool,
    pages: u64,
    /// Pages of long values that may still be read: no sound table has a page in two of them.
    overflow_left: u64,
}

/// Calls `found` with each value of at most `bytes_max` bytes.
pub(crate) fn values<F: Files>(file: &Opened<'_, F>, bytes_max: usize, found: &mut dyn FnMut(&[u8])) -> Found<(), F> {
    let Some(meta) = file.exactly(0, META_BYTES)? else { return Ok(Err(Malformed)) };
    let big_endian = match (number(&meta, 12, false), number(&meta, 12, true)) {
        (MAGIC, _) => false,
        (_, MAGIC) => true,
        _ => return Ok(Err(Malformed)),
    };
    let page_bytes = number(&meta, 20, big_endian) as usize;
    // Encrypted tables, and those whose pages have sums on them, are none of rpm's.
    if !page_bytes.is_power_of_two() || !(512..=65536).contains(&page_bytes) || meta[24] != 0 || meta[26] != 0 {
        return Ok(Err(Malformed));
    }
    let pages = file.size / page_bytes as u64;
    let mut table = Table { file, page_bytes, big_endian, pages, overflow_left: pages };
    for place in 1..pages {
        let Some(page) = table.page(place)? else { return Ok(Err(Malformed)) };
        if !matches!(page[25], HASH | HASH_UNSORTED) {
            continue;
        }
        let Some(items) = table.items(&page) else { return Ok(Err(Malformed)) };
        // Keys and values take turns.
        for item in items.chunks_exact(2).map(|pair| &page[pair[1].clone()]) {
            match item.first() {
                Some(&ITEM_BYTES) if item.len() <= bytes_max => found(&item[1..]),
                Some(&ITEM_OVERFLOW) if item.len() >= 12 => {
                    let (start, length) = (table.number(item, 4), table.number(item, 8) as usize);
                    let Some(value) = table.overflow(start, length, bytes_max)? else { return Ok(Err(Malformed)) };
                    found(&value);
                }
                _ => return Ok(Err(Malformed)),
            }
        }
    }
    Ok(Ok(()))
}

impl<F: Files> Table<'_, F> {
    fn number(&self, bytes: &[u8], at: usize) -> u32 {
        number(bytes, at, self.big_endian)
    }

    fn short(&self, bytes: &[u8], at: usize) -> usize {
        let bytes = bytes.get(at..at + 2).map_or([0; 2], |bytes| [bytes[0], bytes[1]]);
        usize::from(if self.big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    }

    fn page(&self, place: u64) -> Result<Option<Vec<u8>>, F::Error> {
        if place >= self.pages {
            return Ok(None);
        }
        self.file.exactly(place * self.page_bytes as u64, self.page_bytes)
    }

    /// Returns where the items of a page are: they fill it from its end.
    fn items(&self, page: &[u8]) -> Option<Vec<std::ops::Range<usize>>> {
        let mut end = self.page_bytes;
        let count = self.short(page, 20);
        if HEAD_BYTES + 2 * count > self.page_bytes {
            return None;
        }
        let mut items = Vec::with_capacity(count);
        for index in 0..count {
            let start = self.short(page, HEAD_BYTES + 2 * index);
            if start < HEAD_BYTES || start >= end {
                return None;
            }
            items.push(start..end);
            end = start;
        }
        Some(items)
    }

    /// Returns a value that has pages of its own.
    fn overflow(&mut self, start: u32, length: usize, bytes_max: usize) -> Result<Option<Vec<u8>>, F::Error> {
        if length > bytes_max {
            return Ok(None);
        }
        let (mut value, mut place) = (Vec::new(), start);
        while value.len() < length {
            let Some(left) = self.overflow_left.checked_sub(1) else { return Ok(None) };
            self.overflow_left = left;
            let Some(page) = self.page(u64::from(place))? else { return Ok(None) };
            let bytes = self.short(&page, 22);
            if place == 0 || page[25] != OVERFLOW || bytes == 0 {
                return Ok(None);
            }
            let Some(part) = page.get(HEAD_BYTES..HEAD_BYTES + bytes) else { return Ok(None) };
            value.extend_from_slice(part);
            place = self.number(&page, 16);
        }
        Ok((value.len() == length).then_some(value))
    }
}

fn number(bytes: &[u8], at: usize, big_endian: bool) -> u32 {
    let bytes = bytes.get(at..at + 4).map_or([0; 4], |bytes| [bytes[0], bytes[1], bytes[2], bytes[3]]);
    if big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
}
