//! Writing headers: POSIX `ustar`, with an extended header before it for what does not fit.
//!
//! Reference: POSIX.1-2017, `pax`, "ustar Interchange Format" and "pax Extended Header".

use std::collections::BTreeMap;

use crate::dir::Xattr;
use crate::unpack::BLOCK_BYTES;

/// Largest numbers that the octal fields hold.
const SIZE_MAX: u64 = 0o77_777_777_777;
const ID_MAX: u32 = 0o7_777_777;

/// What an entry says.
#[derive(Debug, Default)]
pub(super) struct Entry<'a> {
    /// Directories end in `/`.
    pub(super) path: &'a [u8],
    pub(super) link: &'a [u8],
    pub(super) type_flag: u8,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) size: u64,
    pub(super) seconds: i64,
    pub(super) device: (u32, u32),
    pub(super) xattrs: &'a [Xattr],
}

impl Entry<'_> {
    /// Returns the header's blocks. Names of extended attributes have no `=` in them.
    pub(super) fn blocks(&self) -> Vec<u8> {
        let mut records: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        let split = split_path(self.path);
        let mut long = |key: &str, value: &[u8]| {
            records.insert(key.as_bytes().to_vec(), value.to_vec());
        };
        if split.is_none() {
            long("path", self.path);
        }
        if self.link.len() > 100 {
            long("linkpath", self.link);
        }
        if self.size > SIZE_MAX {
            long("size", self.size.to_string().as_bytes());
        }
        if self.uid > ID_MAX {
            long("uid", self.uid.to_string().as_bytes());
        }
        if self.gid > ID_MAX {
            long("gid", self.gid.to_string().as_bytes());
        }
        let seconds = u64::try_from(self.seconds).ok().filter(|seconds| *seconds <= SIZE_MAX);
        if seconds.is_none() {
            long("mtime", self.seconds.to_string().as_bytes());
        }
        for xattr in self.xattrs {
            let key = [b"SCHILY.xattr.", &xattr.name[..]].concat();
            records.insert(key, xattr.value.clone());
        }
        // Names that are no text are said to be none, as POSIX wants it.
        if ["path", "linkpath"]
            .iter()
            .filter_map(|key| records.get(key.as_bytes()))
            .any(|name| std::str::from_utf8(name).is_err())
        {
            records.insert(b"hdrcharset".to_vec(), b"BINARY".to_vec());
        }
        let mut blocks = Vec::with_capacity(BLOCK_BYTES);
        if !records.is_empty() {
            extended_header(&mut blocks, &records);
        }
        let (prefix, name) = split.unwrap_or((b"", &self.path[..self.path.len().min(100)]));
        let mut block = [0; BLOCK_BYTES];
        put(&mut block, 0, name);
        put(&mut block, 345, prefix);
        put(&mut block, 157, &self.link[..self.link.len().min(100)]);
        block[156] = self.type_flag;
        octal(&mut block, 100, 8, u64::from(self.mode));
        octal(&mut block, 108, 8, u64::from(if self.uid > ID_MAX { 0 } else { self.uid }));
        octal(&mut block, 116, 8, u64::from(if self.gid > ID_MAX { 0 } else { self.gid }));
        octal(&mut block, 124, 12, if self.size > SIZE_MAX { 0 } else { self.size });
        octal(&mut block, 136, 12, seconds.unwrap_or(0));
        octal(&mut block, 329, 8, u64::from(self.device.0));
        octal(&mut block, 337, 8, u64::from(self.device.1));
        seal(&mut block);
        blocks.extend_from_slice(&block);
        blocks
    }
}

/// Returns how the path goes into the fields for prefix and name, if it does.
fn split_path(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.len() <= 100 {
        return Some((b"", path));
    }
    // The name must not be empty, so that a final `/` is no place to split.
    let last = path.len() - 1;
    let slash = (1..last.min(156)).rev().find(|&index| path[index] == b'/')?;
    let (prefix, name) = (&path[..slash], &path[slash + 1..]);
    (name.len() <= 100).then_some((prefix, name))
}

fn extended_header(blocks: &mut Vec<u8>, records: &BTreeMap<Vec<u8>, Vec<u8>>) {
    let mut body = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + decimal_digits(rest);
        length = rest + decimal_digits(length);
        body.extend_from_slice(length.to_string().as_bytes());
        body.push(b' ');
        body.extend_from_slice(key);
        body.push(b'=');
        body.extend_from_slice(value);
        body.push(b'\n');
    }
    let mut block = [0; BLOCK_BYTES];
    put(&mut block, 0, b"././@PaxHeader");
    block[156] = b'x';
    octal(&mut block, 100, 8, 0o644);
    for (start, width) in [(108, 8), (116, 8), (136, 12)] {
        octal(&mut block, start, width, 0);
    }
    octal(&mut block, 124, 12, body.len() as u64);
    seal(&mut block);
    blocks.extend_from_slice(&block);
    blocks.extend_from_slice(&body);
    blocks.resize(blocks.len().next_multiple_of(BLOCK_BYTES), 0);
}

fn decimal_digits(number: usize) -> usize {
    number.to_string().len()
}

fn put(block: &mut [u8; BLOCK_BYTES], start: usize, value: &[u8]) {
    block[start..start + value.len()].copy_from_slice(value);
}

fn octal(block: &mut [u8; BLOCK_BYTES], start: usize, width: usize, value: u64) {
    put(block, start, format!("{value:0digits$o}", digits = width - 1).as_bytes());
}

/// Writes the magic and the checksum.
fn seal(block: &mut [u8; BLOCK_BYTES]) {
    put(block, 257, b"ustar\x0000");
    put(block, 148, b"        ");
    let sum: u64 = block.iter().map(|&byte| u64::from(byte)).sum();
    put(block, 148, format!("{sum:06o}\0 ").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_paths_are_split_where_they_can_be() {
        let name = [b'n'; 90];
        let directory = [b'd'; 60];
        let path = [&directory[..], b"/", &name[..]].concat();
        assert_eq!(split_path(&path), Some((&directory[..], &name[..])));
        assert_eq!(split_path(&[b'x'; 101]), None);
        let slash_at_the_end = [&[b'x'; 101][..], b"/"].concat();
        assert_eq!(split_path(&slash_at_the_end), None);
        assert_eq!(split_path(&[&[b'd'; 160][..], b"/n"].concat()), None);
    }

    #[test]
    fn the_length_of_a_record_counts_itself() {
        for length in 80..120 {
            let value = vec![b'v'; length];
            let mut blocks = Vec::new();
            extended_header(&mut blocks, &BTreeMap::from([(b"path".to_vec(), value)]));
            let body = &blocks[BLOCK_BYTES..];
            let space = body.iter().position(|&byte| byte == b' ').unwrap();
            let said: usize = std::str::from_utf8(&body[..space]).unwrap().parse().unwrap();
            assert_eq!(body[said - 1], b'\n');
            assert!(body[said..].iter().all(|&byte| byte == 0));
        }
    }
}
