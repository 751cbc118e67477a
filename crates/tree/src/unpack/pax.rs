//! Extended headers: `length key=value\n` records that replace fields of the next header.
//!
//! Reference: POSIX.1-2017, `pax`, "pax Extended Header".

use super::Malformed;
use crate::dir::{Time, Xattr};
use crate::limits::{ID_MAX, SPARSE_REGIONS_MAX, XATTR_BYTES_MAX};

/// What extended headers said about the next entry.
#[derive(Debug, Default)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<Time>,
    pub(super) xattrs: Vec<Xattr>,
    pub(super) sparse: PaxSparse,
}

/// GNU's three ways to describe a sparse file in extended headers.
#[derive(Debug, Default)]
pub(super) struct PaxSparse {
    pub(super) major: Option<u64>,
    pub(super) minor: Option<u64>,
    pub(super) name: Option<Vec<u8>>,
    pub(super) real_size: Option<u64>,
    pub(super) map: Vec<(u64, u64)>,
    pending_offset: Option<u64>,
}

impl PaxSparse {
    /// Tells whether the next entry is a sparse file.
    pub(super) fn is_present(&self) -> bool {
        self.major.is_some() || self.real_size.is_some() || !self.map.is_empty()
    }
}

/// Reads all records. A record that is not exactly right makes the archive malformed: a reader that guesses would see
/// other entries than the next reader.
pub(super) fn parse(mut bytes: &[u8]) -> Result<Pax, Malformed> {
    let mut pax = Pax::default();
    while !bytes.is_empty() {
        let (key, value, rest) = record(bytes).ok_or(Malformed::ExtendedHeader)?;
        apply(&mut pax, key, value)?;
        bytes = rest;
    }
    Ok(pax)
}

fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().take(20).position(|&byte| byte == b' ')?;
    let length = usize::try_from(decimal(&bytes[..space])?).ok()?;
    if length <= space + 1 {
        return None;
    }
    let (record, rest) = bytes.split_at_checked(length)?;
    let body = record[space + 1..].strip_suffix(b"\n")?;
    let equals = body.iter().position(|&byte| byte == b'=')?;
    let key = &body[..equals];
    if key.is_empty() || key.contains(&0) {
        return None;
    }
    Some((key, &body[equals + 1..], rest))
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn apply(pax: &mut Pax, key: &[u8], value: &[u8]) -> Result<(), Malformed> {
    let text = || if value.contains(&0) { Err(Malformed::ExtendedHeader) } else { Ok(value.to_vec()) };
    let number = || decimal(value).ok_or(Malformed::ExtendedHeader);
    // An empty value takes back what an earlier record said.
    let given = !value.is_empty();
    match key {
        b"path" => pax.path = given.then(text).transpose()?,
        b"linkpath" => pax.link = given.then(text).transpose()?,
        b"size" => pax.size = given.then(number).transpose()?,
        b"uid" => pax.uid = given.then(number).transpose()?.map(id).transpose()?,
        b"gid" => pax.gid = given.then(number).transpose()?.map(id).transpose()?,
        b"mtime" => pax.mtime = given.then(|| time(value).ok_or(Malformed::ExtendedHeader)).transpose()?,
        b"GNU.sparse.major" => pax.sparse.major = Some(number()?),
        b"GNU.sparse.minor" => pax.sparse.minor = Some(number()?),
        b"GNU.sparse.name" => pax.sparse.name = Some(text()?),
        b"GNU.sparse.realsize" | b"GNU.sparse.size" => pax.sparse.real_size = Some(number()?),
        b"GNU.sparse.map" => pax.sparse.map = map(value)?,
        b"GNU.sparse.offset" => pax.sparse.pending_offset = Some(number()?),
        b"GNU.sparse.numbytes" => {
            let offset = pax.sparse.pending_offset.take().ok_or(Malformed::Sparse)?;
            pax.sparse.map.push((offset, number()?));
        }
        _ => {
            if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                xattr(pax, name, value)?;
            }
        }
    }
    if pax.sparse.map.len() > SPARSE_REGIONS_MAX { Err(Malformed::Sparse) } else { Ok(()) }
}

fn xattr(pax: &mut Pax, name: &[u8], value: &[u8]) -> Result<(), Malformed> {
    if name.is_empty() || name.len() > 255 || value.len() > XATTR_BYTES_MAX {
        return Err(Malformed::ExtendedHeader);
    }
    pax.xattrs.retain(|xattr| xattr.name != name);
    pax.xattrs.push(Xattr { name: name.to_vec(), value: value.to_vec() });
    Ok(())
}

/// Returns a user or group id if it is one.
pub(super) fn id(number: u64) -> Result<u64, Malformed> {
    if number > ID_MAX { Err(Malformed::Id(number)) } else { Ok(number) }
}

fn map(value: &[u8]) -> Result<Vec<(u64, u64)>, Malformed> {
    let numbers: Option<Vec<u64>> = value.split(|&byte| byte == b',').map(decimal).collect();
    let numbers = numbers.ok_or(Malformed::Sparse)?;
    if numbers.len() % 2 != 0 {
        return Err(Malformed::Sparse);
    }
    Ok(numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
}

/// Reads seconds since 1970 with an optional sign and fraction.
fn time(value: &[u8]) -> Option<Time> {
    let text = std::str::from_utf8(value).ok()?;
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds = i64::try_from(decimal(whole.as_bytes())?).ok()?;
    let mut nanoseconds = 0;
    for index in 0..9 {
        let digit = fraction.as_bytes().get(index).map_or(0, |digit| u32::from(digit - b'0'));
        nanoseconds = nanoseconds * 10 + digit;
    }
    Some(match (negative, nanoseconds) {
        (false, _) => Time { seconds, nanoseconds },
        (true, 0) => Time { seconds: -seconds, nanoseconds: 0 },
        (true, _) => Time { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_record_of_a_key_counts_and_an_empty_one_takes_it_back() {
        let pax = parse(b"11 path=ab\n12 path=abc\n11 size=42\n8 size=\n").ok().unwrap();
        assert_eq!((pax.path, pax.size), (Some(b"abc".to_vec()), None));
    }

    #[test]
    fn malformed_records_are_errors() {
        let bad: [&[u8]; 12] = [
            b"11 path=ab",
            b"12 path=ab\n",
            b"10 path=ab\n",
            b"path=ab\n",
            b"0 path=ab\n",
            b"-1 path=ab\n",
            b"99999999999999999999 path=ab\n",
            b"6 =ab\n\n",
            b"12 path=a\0b\n",
            b"11 size=-1\n",
            b"12 size=0x4\n",
            b"18446744073709551615 a=b\n",
        ];
        for bytes in bad {
            assert!(parse(bytes).is_err(), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn times_have_signs_and_fractions() {
        assert_eq!(time(b"1.5"), Some(Time { seconds: 1, nanoseconds: 500_000_000 }));
        assert_eq!(time(b"-1.25"), Some(Time { seconds: -2, nanoseconds: 750_000_000 }));
        assert_eq!(time(b"-3"), Some(Time { seconds: -3, nanoseconds: 0 }));
        assert_eq!(time(b"7.1234567891"), Some(Time { seconds: 7, nanoseconds: 123_456_789 }));
        assert_eq!(time(b"1e5"), None);
        assert_eq!(time(b""), None);
    }
}
