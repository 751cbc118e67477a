//! What a program needs to be loaded.

/// Whether `head`, the first bytes of a file, begins a program of Linux that is loaded without an interpreter and so
/// without any library: a static one. Nothing if it is no program, or its headers are not in these bytes.
///
/// Reference: System V ABI, "Program Header": `PT_INTERP` is 3, `PT_DYNAMIC` 2; a static program at any address has the
/// latter only.
#[must_use]
pub fn is_static(head: &[u8]) -> Option<bool> {
    const EXECUTABLE: u64 = 2;
    const SHARED: u64 = 3;
    if !head.starts_with(b"\x7fELF") {
        return None;
    }
    let wide = head.get(4)? == &2;
    let little = head.get(5)? == &1;
    let number = |at: u64, bytes: u64| -> Option<u64> {
        let from = usize::try_from(at).ok()?;
        let field = head.get(from..from.checked_add(usize::try_from(bytes).ok()?)?)?;
        let join = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        Some(if little { field.iter().rev().fold(0, join) } else { field.iter().fold(0, join) })
    };
    let (table, size, count) = if wide {
        (number(32, 8)?, number(54, 2)?, number(56, 2)?)
    } else {
        (number(28, 4)?, number(42, 2)?, number(44, 2)?)
    };
    let kind = number(16, 2)?;
    let mut has_interpreter = false;
    for place in 0..count {
        has_interpreter |= number(table.checked_add(place * size)?, 4)? == 3;
    }
    (kind == EXECUTABLE || kind == SHARED && count > 0).then_some(!has_interpreter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elf(kinds: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        (bytes[16], bytes[32], bytes[54], bytes[56]) = (3, 64, 56, u8::try_from(kinds.len()).unwrap());
        for kind in kinds {
            let mut header = vec![0; 56];
            header[0] = *kind;
            bytes.extend(header);
        }
        bytes
    }

    #[test]
    fn a_program_without_an_interpreter_is_static() {
        assert_eq!(is_static(&elf(&[1, 2])), Some(true));
        assert_eq!(is_static(&elf(&[3, 1, 2])), Some(false));
        assert_eq!(is_static(b"#!/bin/sh\n"), None);
    }

    #[test]
    fn headers_that_are_not_there_say_nothing() {
        let whole = elf(&[3, 1]);
        for length in 0..whole.len() - 52 {
            assert_eq!(is_static(&whole[..length]), None, "{length}");
        }
    }
}
