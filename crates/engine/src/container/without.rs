//! An archive without what is in some directories: the volumes of a container are not part of its image.

use std::io::{self, Write};

/// Bytes of a block of an archive.
const BLOCK: usize = 512;

/// Passes an archive on, entry by entry.
pub(super) struct Without<W> {
    out: W,
    /// Paths without slashes at their ends; what is below them is left out.
    left_out: Vec<Vec<u8>>,
    block: Vec<u8>,
    /// Extended headers that belong to the next entry, as they came.
    headers: Vec<u8>,
    path: Option<Vec<u8>>,
    size: Option<u64>,
    state: State,
}

#[derive(Clone, Copy)]
enum State {
    /// A header comes.
    Header,
    /// So many bytes of an extended header come.
    Extended(u64),
    /// So many bytes of a file come.
    Body { left: u64, kept: bool },
}

impl<W: Write> Without<W> {
    pub(super) fn new(out: W, left_out: &[String]) -> Self {
        let clean = |path: &String| path.trim_matches('/').as_bytes().to_vec();
        Self {
            out,
            left_out: left_out.iter().map(clean).filter(|path| !path.is_empty()).collect(),
            block: Vec::new(),
            headers: Vec::new(),
            path: None,
            size: None,
            state: State::Header,
        }
    }

    pub(super) fn into_inner(self) -> W {
        self.out
    }

    fn take_block(&mut self) -> io::Result<()> {
        let block = std::mem::take(&mut self.block);
        match self.state {
            State::Header => self.header(&block),
            State::Extended(left) => {
                let count = usize::try_from(left).map_or(BLOCK, |left| left.min(BLOCK));
                self.headers.extend_from_slice(&block);
                let left = left - count as u64;
                self.state = if left == 0 { State::Header } else { State::Extended(left) };
                if left == 0 {
                    self.read_extended();
                }
                Ok(())
            }
            State::Body { left, kept } => {
                if kept {
                    self.out.write_all(&block)?;
                }
                let left = left.saturating_sub(BLOCK as u64);
                self.state = if left == 0 { State::Header } else { State::Body { left, kept } };
                Ok(())
            }
        }
    }

    fn header(&mut self, block: &[u8]) -> io::Result<()> {
        if block.iter().all(|&byte| byte == 0) {
            return self.out.write_all(block);
        }
        let size = number(&block[124..136]);
        if matches!(block[156], b'x' | b'g' | b'L' | b'K') {
            self.headers.extend_from_slice(block);
            self.state = if size == 0 { State::Header } else { State::Extended(size) };
            return Ok(());
        }
        let path = self.path.take().unwrap_or_else(|| name(block));
        let size = self.size.take().unwrap_or(size);
        let kept = !self.is_left_out(&path);
        let headers = std::mem::take(&mut self.headers);
        if kept {
            self.out.write_all(&headers)?;
            self.out.write_all(block)?;
        }
        if size > 0 {
            self.state = State::Body { left: size, kept };
        }
        Ok(())
    }

    fn is_left_out(&self, path: &[u8]) -> bool {
        let path = path.strip_prefix(b"./").unwrap_or(path);
        let path = path.strip_suffix(b"/").unwrap_or(path);
        self.left_out
            .iter()
            .any(|left_out| path.strip_prefix(left_out.as_slice()).is_some_and(|rest| rest.starts_with(b"/")))
    }

    /// Looks for a path and a size in the extended header that has just ended.
    ///
    /// Reference: POSIX, `pax`, "pax Extended Header": records are `LENGTH KEY=VALUE\n`.
    fn read_extended(&mut self) {
        let Some(start) = last_header(&self.headers) else { return };
        let (head, body) = self.headers[start..].split_at(BLOCK);
        let size = usize::try_from(number(&head[124..136])).unwrap_or(0);
        let body = &body[..size.min(body.len())];
        match head[156] {
            b'L' => self.path = Some(body.split(|&byte| byte == 0).next().unwrap_or_default().to_vec()),
            b'x' => {
                let mut rest = body;
                while let Some(space) = rest.iter().position(|&byte| byte == b' ') {
                    let length = std::str::from_utf8(&rest[..space]).ok().and_then(|text| text.parse::<usize>().ok());
                    let Some(length) = length.filter(|length| (space + 1..=rest.len()).contains(length)) else {
                        return;
                    };
                    let record = rest[space + 1..length].strip_suffix(b"\n").unwrap_or_default();
                    if let Some(path) = record.strip_prefix(b"path=") {
                        self.path = Some(path.to_vec());
                    } else if let Some(size) = record.strip_prefix(b"size=") {
                        self.size = std::str::from_utf8(size).ok().and_then(|text| text.parse().ok());
                    }
                    rest = &rest[length..];
                }
            }
            _ => {}
        }
    }
}

/// Returns where the last of several extended headers begins.
fn last_header(headers: &[u8]) -> Option<usize> {
    let (mut start, mut last) = (0, None);
    while let Some(head) = headers.get(start..start + BLOCK) {
        last = Some(start);
        start += BLOCK + usize::try_from(number(&head[124..136])).ok()?.next_multiple_of(BLOCK);
    }
    last
}

fn name(block: &[u8]) -> Vec<u8> {
    let until_zero = |bytes: &[u8]| bytes.split(|&byte| byte == 0).next().unwrap_or_default().to_vec();
    let (name, prefix) = (until_zero(&block[..100]), until_zero(&block[345..500]));
    if &block[257..262] == b"ustar" && !prefix.is_empty() { [prefix, name].join(&b'/') } else { name }
}

/// Reads a number of a header: octal digits, or, with the first bit set, bytes.
fn number(field: &[u8]) -> u64 {
    if field[0] & 0x80 != 0 {
        return field[4..].iter().fold(0, |number, &byte| number << 8 | u64::from(byte));
    }
    let digits = field.iter().filter(|byte| (b'0'..=b'7').contains(byte));
    digits.fold(0, |number, &digit| number << 3 | u64::from(digit - b'0'))
}

impl<W: Write> Write for Without<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.left_out.is_empty() {
            return self.out.write(bytes);
        }
        let count = bytes.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..count]);
        if self.block.len() == BLOCK {
            self.take_block()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
