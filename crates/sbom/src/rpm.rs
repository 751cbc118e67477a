//! Reads what rpm has installed, from its databases of SQLite, of its own form (`Packages.db`) and of Berkeley DB (`Packages`).
//!
//! Reference: rpm's documentation, "RPM V4 Package format", "Header Structure"; `lib/backend/ndb/rpmpkg.c` describes the
//! second form.

use crate::berkeley;
use crate::files::{Files, Opened};
use crate::limits::RPM_HEADER_BYTES_MAX;
use crate::package::{Ecosystem, Package, stated};
use crate::sqlite::{Column, Database, Malformed};

const NAME: u32 = 1000;
const VERSION: u32 = 1001;
const RELEASE: u32 = 1002;
const EPOCH: u32 = 1003;
const VENDOR: u32 = 1011;
const LICENSE: u32 = 1014;
const ARCHITECTURE: u32 = 1022;
const SOURCE: u32 = 1044;

/// Calls `found` for each package of a database of SQLite.
pub(crate) fn read_sqlite<F: Files>(
    file: &Opened<'_, F>,
    found: &mut dyn FnMut(Package),
) -> Result<Result<(), Malformed>, F::Error> {
    let mut database = match Database::open(file)? {
        Ok(database) => database,
        Err(malformed) => return Ok(Err(malformed)),
    };
    let mut row = |columns: Vec<Column>| {
        if let Some(Column::Bytes(blob)) = columns.get(1) {
            header(blob).into_iter().for_each(&mut *found);
        }
    };
    database.table("Packages", RPM_HEADER_BYTES_MAX, &mut row)
}

/// Calls `found` for each package of `Packages.db`.
pub(crate) fn read_ndb<F: Files>(
    file: &Opened<'_, F>,
    found: &mut dyn FnMut(Package),
) -> Result<Result<(), Malformed>, F::Error> {
    const PAGE: usize = 4096;
    const SLOT: usize = 16;
    /// The head takes the place of the first two slots.
    const HEAD: usize = 2 * SLOT;
    let Some(head) = file.exactly(0, HEAD)? else { return Ok(Err(Malformed)) };
    if !head.starts_with(b"RpmP") || le32(&head, 4) != 0 {
        return Ok(Err(Malformed));
    }
    let pages = usize::try_from(le32(&head, 12)).unwrap_or(usize::MAX);
    let Some(slots) = file.exactly(0, pages.min(64 * 1024) * PAGE)? else { return Ok(Err(Malformed)) };
    // No two packages share bytes, so together they have at most as many as the file.
    let mut left = file.size;
    for slot in slots.get(HEAD..).unwrap_or_default().chunks_exact(SLOT) {
        let (index, block) = (le32(slot, 4), le32(slot, 8));
        if !slot.starts_with(b"Slot") || index == 0 || block == 0 {
            continue;
        }
        let offset = u64::from(block) * 16;
        let Some(blob) = file.exactly(offset, 16)? else { return Ok(Err(Malformed)) };
        let length = usize::try_from(le32(&blob, 12)).unwrap_or(usize::MAX);
        let rest = left.checked_sub(length as u64 + 16);
        let Some(rest) = rest.filter(|_| blob.starts_with(b"BlbS") && length <= RPM_HEADER_BYTES_MAX) else {
            return Ok(Err(Malformed));
        };
        left = rest;
        let Some(bytes) = file.exactly(offset + 16, length)? else { return Ok(Err(Malformed)) };
        header(&bytes).into_iter().for_each(&mut *found);
    }
    Ok(Ok(()))
}

/// Calls `found` for each package of `Packages`, as rpm wrote it until 2021.
pub(crate) fn read_berkeley<F: Files>(
    file: &Opened<'_, F>,
    found: &mut dyn FnMut(Package),
) -> Result<Result<(), Malformed>, F::Error> {
    // One value is no header: the number of the next package.
    berkeley::values(file, RPM_HEADER_BYTES_MAX, &mut |value| header(value).into_iter().for_each(&mut *found))
}

fn le32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

/// Returns the package that a header describes; nothing if it is none, or the key of a signature.
fn header(blob: &[u8]) -> Option<Package> {
    const ENTRY: usize = 16;
    let entries = usize::try_from(be32(blob, 0)?).ok()?;
    let data = entries.checked_mul(ENTRY)?.checked_add(8)?;
    let (index, data) = (blob.get(8..data)?, blob.get(data..)?);
    let find = |tag: u32| {
        index.chunks_exact(ENTRY).find(|entry| be32(entry, 0) == Some(tag)).and_then(|entry| {
            let start = usize::try_from(be32(entry, 8)?).ok()?;
            Some((be32(entry, 4)?, data.get(start..)?))
        })
    };
    let text = |tag: u32| {
        // Types 6, 8 and 9 are texts that end with a zero.
        let (_, bytes) = find(tag).filter(|(kind, _)| matches!(kind, 6 | 8 | 9))?;
        let end = bytes.iter().position(|&byte| byte == 0)?;
        Some(String::from_utf8_lossy(&bytes[..end]).into_owned())
    };
    let name = text(NAME)?;
    if name == "gpg-pubkey" {
        return None;
    }
    let epoch = find(EPOCH).filter(|(kind, _)| *kind == 4).and_then(|(_, bytes)| be32(bytes, 0));
    let epoch = epoch.filter(|epoch| *epoch > 0).map_or(String::new(), |epoch| format!("{epoch}:"));
    let version = format!("{epoch}{}-{}", text(VERSION)?, text(RELEASE)?);
    let mut package = Package::new(Ecosystem::Rpm, &name, &version);
    package.architecture = text(ARCHITECTURE).as_deref().and_then(stated);
    package.license = text(LICENSE).as_deref().and_then(stated);
    package.source = text(SOURCE).as_deref().and_then(stated);
    package.supplier = text(VENDOR).as_deref().and_then(stated);
    Some(package)
}
