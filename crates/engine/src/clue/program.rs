//! A program that the kernel does not run: for which machine it is, or what should interpret it.

/// A program that is for another machine, or is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// Its path, as it was called; may be empty.
    pub program: String,
    /// For what it is.
    pub is_for: Option<String>,
    /// Whether it is a text without a first line that names an interpreter.
    pub is_text: bool,
    /// For what the step is.
    pub platform: String,
}

/// Says what a program is that begins with these bytes.
pub(super) fn find(bytes: &[u8], program: &str, platform: &str) -> Foreign {
    let is_text = !bytes.is_empty() && !bytes.starts_with(b"\x7fELF") && !bytes[..bytes.len().min(512)].contains(&0);
    Foreign {
        program: program.to_owned(),
        is_for: machine(bytes).map(str::to_owned),
        is_text,
        platform: platform.to_owned(),
    }
}

/// What interprets a program that begins with these bytes: the word behind `#!`, or the loader of a linked one.
pub(super) fn interpreter(bytes: &[u8]) -> Option<String> {
    if let Some(rest) = bytes.strip_prefix(b"#!") {
        let line = rest.split(|&byte| byte == b'\n').next()?;
        let text = String::from_utf8_lossy(line).into_owned();
        // A carriage return is part of the name for the kernel, and must be seen.
        let word = text.trim_start_matches([' ', '\t']).split([' ', '\t']).next()?.to_owned();
        return (!word.is_empty()).then_some(word);
    }
    // The loader's path is among the first bytes of the file.
    let text = String::from_utf8_lossy(bytes).into_owned();
    text.split('\0').find(|word| word.starts_with('/') && word.contains("/ld-")).map(str::to_owned)
}

/// For which platform an executable is.
///
/// Reference: System V ABI, "ELF Header"; the registry of `e_machine`.
fn machine(bytes: &[u8]) -> Option<&'static str> {
    if bytes.starts_with(b"MZ") {
        return Some("windows");
    }
    if [b"\xcf\xfa\xed\xfe".as_slice(), b"\xca\xfe\xba\xbe"].iter().any(|magic| bytes.starts_with(magic)) {
        return Some("darwin");
    }
    if !bytes.starts_with(b"\x7fELF") {
        return None;
    }
    let field = [*bytes.get(18)?, *bytes.get(19)?];
    let number = if bytes.get(5) == Some(&2) { u16::from_be_bytes(field) } else { u16::from_le_bytes(field) };
    let is_little = bytes.get(5) == Some(&1);
    let is_wide = bytes.get(4) == Some(&2);
    Some(match number {
        3 => "linux/386",
        8 => {
            if is_little {
                "linux/mipsle"
            } else {
                "linux/mips"
            }
        }
        21 => {
            if is_little {
                "linux/ppc64le"
            } else {
                "linux/ppc64"
            }
        }
        22 => "linux/s390x",
        40 => "linux/arm",
        62 => "linux/amd64",
        183 => "linux/arm64",
        243 if is_wide => "linux/riscv64",
        258 => "linux/loong64",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executables_say_for_what_they_are() {
        let elf = |machine: u8| {
            let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
            bytes.resize(18, 0);
            bytes.extend([machine, 0]);
            bytes
        };
        assert_eq!(machine(&elf(62)), Some("linux/amd64"));
        assert_eq!(machine(&elf(183)), Some("linux/arm64"));
        assert_eq!(machine(b"\x7fELF"), None);
        assert_eq!(machine(b"echo hello"), None);
    }
}
