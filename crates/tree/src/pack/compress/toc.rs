//! The table of contents of an eStargz blob, and its footer.
//!
//! Reference: stargz-snapshotter, `docs/estargz.md`, "TOC" and "Footer".

use std::collections::BTreeMap;

use serde::Serialize;

use crate::unpack::reader::{EntryKind, TarEntry};

/// The name of the table in the tar.
pub(super) const TOC_NAME: &[u8] = b"stargz.index.json";
/// The first entry of a blob of which nothing is to be fetched before it is asked for.
pub(super) const LANDMARK: &[u8] = b".no.prefetch.landmark";
/// The first entry of a blob that says what to fetch first. stave writes none.
pub(super) const PREFETCH_LANDMARK: &[u8] = b".prefetch.landmark";

/// The table.
#[derive(Serialize)]
pub(super) struct Toc {
    pub(super) version: u32,
    pub(super) entries: Vec<TocEntry>,
}

/// One entry of the tar, or one more chunk of a file.
#[derive(Serialize, Default, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct TocEntry {
    name: String,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "is_zero")]
    size: u64,
    #[serde(rename = "modtime", skip_serializing_if = "String::is_empty")]
    modified: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    link_name: String,
    #[serde(skip_serializing_if = "is_zero")]
    mode: u64,
    #[serde(skip_serializing_if = "is_zero")]
    uid: u64,
    #[serde(skip_serializing_if = "is_zero")]
    gid: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) offset: u64,
    #[serde(skip_serializing_if = "is_zero")]
    dev_major: u64,
    #[serde(skip_serializing_if = "is_zero")]
    dev_minor: u64,
    #[serde(rename = "NumLink")]
    links: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    xattrs: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) digest: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) chunk_offset: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) chunk_size: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) chunk_digest: String,
    /// The member that holds the chunk; [`Self::offset`] is where that begins.
    #[serde(skip)]
    pub(super) member: Option<usize>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl TocEntry {
    /// Describes an entry of a tar.
    pub(super) fn new(entry: &TarEntry) -> Self {
        let kind = match entry.kind {
            EntryKind::File => "reg",
            EntryKind::HardLink => "hardlink",
            EntryKind::Link => "symlink",
            EntryKind::CharDevice => "char",
            EntryKind::BlockDevice => "block",
            EntryKind::Directory => "dir",
            EntryKind::Pipe => "fifo",
        };
        let is_link = matches!(entry.kind, EntryKind::HardLink | EntryKind::Link);
        let xattrs = entry.xattrs.iter().map(|xattr| (text(&xattr.name), base64(&xattr.value)));
        Self {
            name: text(&entry.path),
            kind,
            size: entry.size,
            modified: rfc3339(entry.modified.seconds),
            link_name: if is_link { text(&entry.link) } else { String::new() },
            mode: u64::from(entry.mode),
            uid: u64::from(entry.uid),
            gid: u64::from(entry.gid),
            dev_major: u64::from(entry.device.0),
            dev_minor: u64::from(entry.device.1),
            xattrs: xattrs.collect(),
            ..Self::default()
        }
    }

    /// Describes a further chunk of the file `name`.
    pub(super) fn chunk(name: &[u8]) -> Self {
        Self { name: text(name), kind: "chunk", ..Self::default() }
    }
}

/// JSON has no other bytes than text; what is none is replaced, as every writer of this format does.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let mut bits = [0; 3];
        bits[..group.len()].copy_from_slice(group);
        let bits = u32::from_be_bytes([0, bits[0], bits[1], bits[2]]);
        for index in 0..4 {
            let digit = usize::try_from(bits >> (18 - 6 * index) & 63).expect("six bits");
            text.push(if index <= group.len() { char::from(DIGITS[digit]) } else { '=' });
        }
    }
    text
}

/// Returns a time as RFC 3339 has it, in UTC; nothing where the year has more than four digits.
fn rfc3339(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days are counted from the first of March of the year 0, so that a leap day is the last of a year.
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    if !(0..=9999).contains(&year) {
        return String::new();
    }
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Returns the last bytes of a blob: an empty gzip member whose extra field says where the table's member begins.
pub(super) fn footer(toc_offset: u64) -> Vec<u8> {
    let field = format!("{toc_offset:016x}STARGZ");
    let mut footer = vec![0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff];
    footer.extend_from_slice(&26_u16.to_le_bytes());
    footer.extend_from_slice(b"SG");
    footer.extend_from_slice(&22_u16.to_le_bytes());
    footer.extend_from_slice(field.as_bytes());
    // One stored block without bytes, their checksum and their number.
    footer.extend_from_slice(&[1, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]);
    footer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_827_696, "2000-02-29T12:34:56Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (253_402_300_800, ""),
        ] {
            assert_eq!(rfc3339(seconds), expected);
        }
    }

    #[test]
    fn bytes_are_written_in_base64() {
        for (bytes, expected) in
            [(&b""[..], ""), (b"f", "Zg=="), (b"fo", "Zm8="), (b"foo", "Zm9v"), (&[255; 4], "/////w==")]
        {
            assert_eq!(base64(bytes), expected);
        }
    }

    #[test]
    fn the_footer_has_the_one_length_that_readers_look_for() {
        assert_eq!(footer(0x1234).len(), 51);
        assert!(footer(0x1234).windows(22).any(|window| window == b"0000000000001234STARGZ"));
    }
}
