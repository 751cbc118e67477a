//! One 512-byte header of a tar archive.
//!
//! Reference: POSIX.1-2017, `pax`, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format".

use super::Malformed;

/// Size of a header and unit of all content.
pub(crate) const BLOCK_BYTES: usize = 512;

/// A header block whose checksum is right.
pub(crate) struct Header<'a> {
    block: &'a [u8; BLOCK_BYTES],
}

impl<'a> Header<'a> {
    /// Returns the header in `block` if its checksum is right.
    pub(crate) fn new(block: &'a [u8; BLOCK_BYTES]) -> Result<Self, Malformed> {
        let header = Self { block };
        let stored = header.octal(148..156)?;
        let (mut unsigned, mut signed) = (0_i64, 0_i64);
        for (index, &byte) in block.iter().enumerate() {
            let byte = if (148..156).contains(&index) { b' ' } else { byte };
            unsigned += i64::from(byte);
            signed += i64::from(byte.cast_signed());
        }
        // Old archivers summed signed bytes.
        if stored == unsigned || stored == signed { Ok(header) } else { Err(Malformed::Checksum) }
    }

    pub(crate) fn type_flag(&self) -> u8 {
        self.block[156]
    }

    pub(super) fn mode(&self) -> Result<u32, Malformed> {
        let mode = self.number(100..108)?;
        Ok(u32::try_from(mode & 0o7777).expect("12 bits fit"))
    }

    pub(super) fn uid(&self) -> Result<u64, Malformed> {
        self.unsigned(108..116)
    }

    pub(super) fn gid(&self) -> Result<u64, Malformed> {
        self.unsigned(116..124)
    }

    pub(crate) fn size(&self) -> Result<u64, Malformed> {
        self.unsigned(124..136)
    }

    pub(super) fn mtime(&self) -> Result<i64, Malformed> {
        self.number(136..148)
    }

    pub(super) fn device(&self) -> Result<(u32, u32), Malformed> {
        if !self.is_ustar() && !self.is_gnu() {
            return Ok((0, 0));
        }
        let part =
            |range| -> Result<u32, Malformed> { u32::try_from(self.unsigned(range)?).map_err(|_| Malformed::Number) };
        Ok((part(329..337)?, part(337..345)?))
    }

    /// The name with the prefix that the POSIX format splits off long ones.
    pub(super) fn path(&self) -> Vec<u8> {
        let name = text(&self.block[..100]);
        let prefix = if self.is_ustar() { text(&self.block[345..500]) } else { b"" };
        if prefix.is_empty() { name.to_vec() } else { [prefix, name].join(&b'/') }
    }

    pub(super) fn link(&self) -> Vec<u8> {
        text(&self.block[157..257]).to_vec()
    }

    fn is_ustar(&self) -> bool {
        &self.block[257..263] == b"ustar\0"
    }

    pub(super) fn is_gnu(&self) -> bool {
        &self.block[257..265] == b"ustar  \0"
    }

    fn unsigned(&self, range: std::ops::Range<usize>) -> Result<u64, Malformed> {
        u64::try_from(self.number(range)?).map_err(|_| Malformed::Number)
    }

    fn octal(&self, range: std::ops::Range<usize>) -> Result<i64, Malformed> {
        octal(&self.block[range])
    }

    fn number(&self, range: std::ops::Range<usize>) -> Result<i64, Malformed> {
        number(&self.block[range])
    }
}

/// Returns the bytes before the first zero.
fn text(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// Reads a number field: octal digits, or GNU's big-endian binary if the first bit is set.
pub(super) fn number(field: &[u8]) -> Result<i64, Malformed> {
    match field.first() {
        Some(first) if first & 0x80 != 0 => {
            let negative = first & 0x40 != 0;
            let mut value: i128 = if negative { -1 } else { 0 };
            for (index, &byte) in field.iter().enumerate() {
                let byte = if index == 0 && !negative { byte & 0x7f } else { byte };
                value = value.checked_mul(256).ok_or(Malformed::Number)? | i128::from(byte);
            }
            i64::try_from(value).map_err(|_| Malformed::Number)
        }
        _ => octal(field),
    }
}

fn octal(field: &[u8]) -> Result<i64, Malformed> {
    let is_padding = |byte: &u8| *byte == b' ' || *byte == 0;
    let digits = field.trim_ascii_start();
    let end = digits.iter().position(is_padding).unwrap_or(digits.len());
    let (digits, rest) = digits.split_at(end);
    if !rest.iter().all(is_padding) {
        return Err(Malformed::Number);
    }
    let mut value: i64 = 0;
    for &digit in digits {
        if !(b'0'..=b'7').contains(&digit) {
            return Err(Malformed::Number);
        }
        value = value.checked_mul(8).ok_or(Malformed::Number)? + i64::from(digit - b'0');
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_binary() {
        assert_eq!(number(b"0000644\0").ok(), Some(0o644));
        assert_eq!(number(b"   644 \0").ok(), Some(0o644));
        assert_eq!(number(b"\0\0\0\0").ok(), Some(0));
        assert_eq!(number(b"77777777777").ok(), Some(0o77_777_777_777));
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0]).ok(), Some(0x2_0000_0000));
        assert_eq!(number(&[0xff; 12]).ok(), Some(-1));
        for bad in [&b"00006x4\0"[..], b"64 4\0", b"-644\0", b"8", &[0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]] {
            assert!(number(bad).is_err(), "{bad:?}");
        }
    }
}
