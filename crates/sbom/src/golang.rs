//! Reads what a program that Go built says that it was built from.
//!
//! Reference: Go's packages `debug/buildinfo` and `runtime/debug`, which document the form.

use crate::elf::{Elf, Part};
use crate::files::{Files, Opened};
use crate::limits::{BUILD_LIST_BYTES_MAX, SEARCH_BYTES_MAX};
use crate::package::{Ecosystem, Package, stated};

const MAGIC: &[u8] = b"\xff Go buildinf:";
/// Where the texts begin, after the magic, the size of a pointer and the flags.
const TEXTS: usize = 32;
/// Marks of 16 bytes are before and after the list of modules.
const MARK: usize = 16;

/// What a program says of itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct BuildInfo {
    pub(crate) version: String,
    pub(crate) modules: String,
}

/// Reads the build information of a program; nothing if it has none.
pub(crate) fn read<F: Files>(file: &Opened<'_, F>, elf: &Elf) -> Result<Option<BuildInfo>, F::Error> {
    let Some(part) = find(file, elf)? else { return Ok(None) };
    let length = usize::try_from(part.size.min(BUILD_LIST_BYTES_MAX)).unwrap_or(0);
    let Some(bytes) = file.exactly(part.offset, length)? else { return Ok(None) };
    if !bytes.starts_with(MAGIC) || bytes.len() < TEXTS {
        return Ok(None);
    }
    if bytes[15] & 2 == 0 {
        return by_pointers(file, elf, &bytes);
    }
    let mut rest = &bytes[TEXTS..];
    let version = text(&mut rest).unwrap_or_default();
    let modules = text(&mut rest).unwrap_or_default();
    Ok(Some(info(&version, &modules)))
}

fn info(version: &[u8], modules: &[u8]) -> BuildInfo {
    let inner = modules.get(MARK..modules.len().saturating_sub(MARK)).unwrap_or_default();
    BuildInfo {
        version: String::from_utf8_lossy(version).into_owned(),
        modules: String::from_utf8_lossy(inner).into_owned(),
    }
}

/// Finds the section, or where there is no table of sections, the magic in the first data.
fn find<F: Files>(file: &Opened<'_, F>, elf: &Elf) -> Result<Option<Part>, F::Error> {
    if let Some(part) = elf.section(b".go.buildinfo") {
        return Ok(Some(part));
    }
    let Some(segment) = elf.segments.iter().find(|segment| segment.writable) else { return Ok(None) };
    let length = usize::try_from(segment.part.size).unwrap_or(usize::MAX).min(SEARCH_BYTES_MAX);
    let Some(bytes) = file.exactly(segment.part.offset, length)? else { return Ok(None) };
    let found = (0..bytes.len()).step_by(16).find(|&start| bytes[start..].starts_with(MAGIC));
    Ok(found.map(|start| Part { offset: segment.part.offset + start as u64, size: segment.part.size - start as u64 }))
}

/// Takes a text, which its length is written before, seven bits in a byte.
fn text(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let mut length: usize = 0;
    for index in 0..5 {
        let byte = *rest.get(index)?;
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let end = (index + 1).checked_add(length)?;
            let text = rest.get(index + 1..end)?.to_vec();
            *rest = &rest[end..];
            return Some(text);
        }
    }
    None
}

/// Before Go 1.18 there were two pointers to texts.
fn by_pointers<F: Files>(file: &Opened<'_, F>, elf: &Elf, bytes: &[u8]) -> Result<Option<BuildInfo>, F::Error> {
    let size = usize::from(bytes[14]);
    if size != if elf.wide { 8 } else { 4 } || (bytes[15] & 1 == 1) != elf.big_endian {
        return Ok(None);
    }
    let mut texts = [Vec::new(), Vec::new()];
    for (index, text) in texts.iter_mut().enumerate() {
        let at = MARK + index * size;
        let Some(header) = elf.offset_of(elf.number(&bytes[at..at + size])) else { continue };
        let Some(header) = file.exactly(header, 2 * size)? else { continue };
        let length = elf.number(&header[size..]);
        let Some(start) = elf.offset_of(elf.number(&header[..size])) else { continue };
        if length <= BUILD_LIST_BYTES_MAX {
            *text = file.exactly(start, usize::try_from(length).unwrap_or(0))?.unwrap_or_default();
        }
    }
    Ok(Some(info(&texts[0], &texts[1])))
}

/// Calls `found` for Go itself, the program's module and each module that it was built with.
pub(crate) fn modules(info: &BuildInfo, mut found: impl FnMut(Package)) {
    let go = info.version.split_whitespace().next().unwrap_or_default();
    if let Some(version) = go.strip_prefix("go") {
        let mut package = Package::new(Ecosystem::Golang, "stdlib", version);
        package.license = stated("BSD-3-Clause");
        found(package);
    }
    let mut module: Option<Package> = None;
    for line in info.modules.lines() {
        let mut words = line.split('\t');
        let kind = words.next().unwrap_or_default();
        if !matches!(kind, "mod" | "dep" | "=>") {
            continue;
        }
        // What replaces a module is what was built.
        if kind != "=>" {
            module.take().into_iter().for_each(&mut found);
        }
        let name = words.next().unwrap_or_default();
        module = Some(Package::new(Ecosystem::Golang, name, words.next().unwrap_or_default()));
    }
    module.into_iter().for_each(&mut found);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replacement_takes_the_place_of_a_module() {
        let modules_text =
            "path\tx/cmd\nmod\tx\t(devel)\t\ndep\ta/b\tv1.0.0\th1:x\ndep\tc\tv2.0.0\n=>\td\tv3.0.0\th1:y\n";
        let info = BuildInfo { version: "go1.22.1 X:y".into(), modules: modules_text.into() };
        let mut found = Vec::new();
        modules(&info, |package| found.push(format!("{}@{}", package.name, package.version)));
        assert_eq!(found, ["stdlib@1.22.1", "x@(devel)", "a/b@v1.0.0", "d@v3.0.0"]);
    }

    #[test]
    fn a_length_that_is_too_long_gives_nothing() {
        assert_eq!(text(&mut [5, b'a'].as_slice()), None);
        assert_eq!(text(&mut [0xff; 8].as_slice()), None);
        assert_eq!(text(&mut [1, b'a', b'b'].as_slice()), Some(vec![b'a']));
    }
}
