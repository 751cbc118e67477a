//! The files that a step reads, one after the other, and the first in which two such lists differ.
//!
//! # Layout of the bytes
//!
//! `stave files 1\n`, then for each part: `0x01`, the name of its context as `bytes`, and its entries; at the end `0x00`. A number
//! is written in groups of seven bits, lowest first, the highest bit of each byte but the last set; `bytes` are a number and as
//! many bytes. An entry is `0x02`, how many bytes of its path are those of the one before it in its part, the other ones as
//! `bytes`, a byte for its type, mode, owner and group as numbers, and: of a file the first 16 bytes of the digest of its
//! content, of a link its target as `bytes`, of a device its number; then 8 bytes of the digest of its extended attributes.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use stave_event::{FileChange, Miss};

const MAGIC: &[u8] = b"stave files 1\n";

/// Most files of a list that is read: what comes from elsewhere must not fill the memory.
pub const ENTRIES_MAX: usize = 2_000_000;

/// Longest path that is read, in bytes.
const PATH_BYTES_MAX: usize = 64 * 1024;

/// All files that one step reads of contexts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Manifest {
    /// What is read, context by context.
    pub parts: Vec<Part>,
}

/// What is read of one context.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Part {
    /// The name of a named context; empty for the build context.
    pub context: String,
    /// The files, with the directories above them that count.
    pub entries: Vec<Entry>,
}

/// One file, directory or link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Relative to the root of the context, without links; empty for the root.
    pub path: Vec<u8>,
    /// What it is: `f`, `d`, `l`, `p`, `s`, `c` or `b`, as in `docs/tree-digest.md`.
    pub kind: u8,
    /// Its permissions.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// What it holds.
    pub payload: Payload,
    /// The beginning of the digest of its extended attributes.
    pub attributes: [u8; 8],
}

/// What an entry holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// Nothing, or other entries.
    None,
    /// The beginning of the digest of a file's content.
    Content([u8; 16]),
    /// The target of a link.
    Target(Vec<u8>),
    /// The number of a device.
    Device(u64),
}

/// A rule that leaves a file out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The ignore file.
    pub file: String,
    /// Its line, from 1.
    pub line: usize,
    /// What it says.
    pub pattern: String,
}

impl Manifest {
    /// Puts entries in the order in which they are compared: directories before what is in them, then by name.
    pub fn sort(&mut self) {
        for part in &mut self.parts {
            let sorted = part.entries.is_sorted_by(|one, other| order(&one.path, &other.path) == Ordering::Less);
            if !sorted {
                part.entries.sort_by(|one, other| order(&one.path, &other.path));
                part.entries.dedup_by(|one, other| one.path == other.path);
            }
        }
    }

    /// Writes the list.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let entries: usize = self.parts.iter().map(|part| part.entries.len()).sum();
        let mut out = Vec::with_capacity(64 + entries * 48);
        out.extend_from_slice(MAGIC);
        for part in &self.parts {
            out.push(1);
            put_bytes(&mut out, part.context.as_bytes());
            let mut last: &[u8] = &[];
            for entry in &part.entries {
                out.push(2);
                let shared = entry.path.iter().zip(last).take_while(|(one, other)| one == other).count();
                put(&mut out, shared as u64);
                put_bytes(&mut out, &entry.path[shared..]);
                out.push(entry.kind);
                for number in [entry.mode, entry.uid, entry.gid] {
                    put(&mut out, u64::from(number));
                }
                match &entry.payload {
                    Payload::None => {}
                    Payload::Content(digest) => out.extend_from_slice(digest),
                    Payload::Target(target) => put_bytes(&mut out, target),
                    Payload::Device(number) => put(&mut out, *number),
                }
                out.extend_from_slice(&entry.attributes);
                last = &entry.path;
            }
        }
        out.push(0);
        out
    }

    /// Reads a list; nothing if it is none.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(MAGIC)?;
        let mut manifest = Self::default();
        let mut count = 0;
        loop {
            match take_byte(&mut rest)? {
                0 => {
                    manifest.sort();
                    return rest.is_empty().then_some(manifest);
                }
                1 => {
                    let context = String::from_utf8(take_bytes(&mut rest)?.to_vec()).ok()?;
                    manifest.parts.push(Part { context, entries: Vec::new() });
                }
                2 => {
                    count += 1;
                    let part = manifest.parts.last_mut().filter(|_| count <= ENTRIES_MAX)?;
                    let entry = take_entry(&mut rest, part.entries.last())?;
                    part.entries.push(entry);
                }
                _ => return None,
            }
        }
    }

    /// Returns the first entry, in the order of paths, that is another one than in `old`; nothing if none is.
    ///
    /// `ignored` says which rule leaves out a file of a context that is still there.
    #[must_use]
    pub fn first_change(&self, old: &Self, ignored: &dyn Fn(&str, &[u8]) -> Option<Rule>) -> Option<Miss> {
        let empty = Part::default();
        for place in 0..self.parts.len().max(old.parts.len()) {
            let (new, old) = (self.parts.get(place).unwrap_or(&empty), old.parts.get(place).unwrap_or(&empty));
            let context = if new.context.is_empty() { &old.context } else { &new.context };
            if let Some((path, change)) = first_change(new, old, &|path| ignored(context, path)) {
                let context = Some(context.clone()).filter(|context| !context.is_empty());
                return Some(Miss::File { context, path: shown(&path), change });
            }
        }
        None
    }
}

/// Compares paths component by component, so that a directory comes before what is in it, and all of that before its
/// neighbours.
fn order(one: &[u8], other: &[u8]) -> Ordering {
    let key = |byte: &u8| if *byte == b'/' { 0 } else { u16::from(*byte) + 1 };
    one.iter().map(key).cmp(other.iter().map(key))
}

fn shown(path: &[u8]) -> String {
    if path.is_empty() { ".".to_owned() } else { String::from_utf8_lossy(path).into_owned() }
}

fn first_change(new: &Part, old: &Part, ignored: &dyn Fn(&[u8]) -> Option<Rule>) -> Option<(Vec<u8>, FileChange)> {
    let changes = changes(new, old);
    let mut first: Option<(Vec<u8>, FileChange)> = None;
    for change in &changes {
        let (path, what) = match change {
            Change::Other(entry, what) => (&entry.path, what.clone()),
            Change::Added(entry) => match counterpart(entry, new, &changes, old) {
                Some(gone) => return Some(first.unwrap_or((gone, FileChange::Renamed { to: shown(&entry.path) }))),
                None => (&entry.path, FileChange::Added),
            },
            Change::Removed(entry) => match (ignored(&entry.path), counterpart(entry, new, &changes, old)) {
                // The rule is the cause, and that the file with the rules is another one follows from it.
                (Some(Rule { file, line, pattern }), _) => {
                    let own = first.as_ref().is_none_or(|(path, _)| *path == file.as_bytes());
                    let ignored = (entry.path.clone(), FileChange::Ignored { file, line, pattern });
                    return if own { Some(ignored) } else { first };
                }
                (None, Some(to)) => (&entry.path, FileChange::Renamed { to: shown(&to) }),
                (None, None) => (&entry.path, FileChange::Removed),
            },
        };
        // Only an ignore file may have something after it that says more.
        let last = !path.ends_with(b".dockerignore");
        first = first.or_else(|| Some((path.clone(), what)));
        if last {
            break;
        }
    }
    first
}

enum Change<'a> {
    Added(&'a Entry),
    Removed(&'a Entry),
    /// The new entry, and what of it is another.
    Other(&'a Entry, FileChange),
}

/// Returns all entries that differ, in order. What is below a directory that was added or removed is not told.
fn changes<'a>(new: &'a Part, old: &'a Part) -> Vec<Change<'a>> {
    let (mut new, mut old) = (new.entries.iter().peekable(), old.entries.iter().peekable());
    let mut found = Vec::new();
    let mut above: Option<&[u8]> = None;
    loop {
        let turn = match (new.peek(), old.peek()) {
            (None, None) => return found,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(new), Some(old)) => order(&new.path, &old.path),
        };
        let (entry, change) = match turn {
            Ordering::Less => {
                let Some(entry) = new.next() else { return found };
                (entry, Some(Change::Added(entry)))
            }
            Ordering::Greater => {
                let Some(entry) = old.next() else { return found };
                (entry, Some(Change::Removed(entry)))
            }
            Ordering::Equal => {
                let (Some(entry), Some(before)) = (new.next(), old.next()) else { return found };
                (entry, difference(entry, before).map(|change| Change::Other(entry, change)))
            }
        };
        let Some(change) = change else { continue };
        if above.is_some_and(|above| is_below(&entry.path, above)) {
            continue;
        }
        above = matches!(change, Change::Added(_) | Change::Removed(_)).then_some(&entry.path);
        found.push(change);
    }
}

fn is_below(path: &[u8], above: &[u8]) -> bool {
    above.is_empty() || path.strip_prefix(above).is_some_and(|rest| rest.starts_with(b"/"))
}

fn difference(new: &Entry, old: &Entry) -> Option<FileChange> {
    if new.kind != old.kind {
        return Some(FileChange::Type { old: kind_name(old.kind).to_owned(), new: kind_name(new.kind).to_owned() });
    }
    match (&new.payload, &old.payload) {
        (Payload::Target(new), Payload::Target(old)) if new != old => {
            return Some(FileChange::Link { old: shown(old), new: shown(new) });
        }
        (Payload::Device(new), Payload::Device(old)) if new != old => return Some(FileChange::Device),
        (new, old) if new != old => return Some(FileChange::Content),
        _ => {}
    }
    if new.mode != old.mode {
        return Some(FileChange::Mode { old: old.mode, new: new.mode });
    }
    if (new.uid, new.gid) != (old.uid, old.gid) {
        return Some(FileChange::Owner { old: (old.uid, old.gid), new: (new.uid, new.gid) });
    }
    (new.attributes != old.attributes).then_some(FileChange::Attributes)
}

fn kind_name(kind: u8) -> &'static str {
    match kind {
        b'f' => "file",
        b'd' | b'o' => "directory",
        b'l' => "symbolic link",
        b'p' => "pipe",
        b's' => "socket",
        b'c' | b'w' => "character device",
        b'b' => "block device",
        _ => "thing of an unknown type",
    }
}

/// Returns the path under which what was added had been, or what was removed now is: the first with all the same in it.
fn counterpart(entry: &Entry, new: &Part, changes: &[Change<'_>], old: &Part) -> Option<Vec<u8>> {
    let added = changes.iter().any(|change| matches!(change, Change::Added(one) if one.path == entry.path));
    let (own, others) = if added { (new, old) } else { (old, new) };
    let mut candidates = changes.iter().filter_map(|change| match change {
        Change::Added(other) if !added => Some(*other),
        Change::Removed(other) if added => Some(*other),
        _ => None,
    });
    let tree = below(own, entry);
    candidates.find(|other| same_tree(&tree, &below(others, other))).map(|other| other.path.clone())
}

/// The entries of a part at and below an entry, by their paths below it.
fn below<'a>(part: &'a Part, entry: &Entry) -> BTreeMap<&'a [u8], &'a Entry> {
    let start = part.entries.partition_point(|one| order(&one.path, &entry.path) == Ordering::Less);
    let inside =
        part.entries[start..].iter().take_while(|one| one.path == entry.path || is_below(&one.path, &entry.path));
    inside.map(|one| (&one.path[entry.path.len()..], one)).collect()
}

fn same_tree(one: &BTreeMap<&[u8], &Entry>, other: &BTreeMap<&[u8], &Entry>) -> bool {
    one.len() == other.len()
        && one
            .iter()
            .zip(other)
            .all(|((path, one), (other_path, other))| path == other_path && difference(one, other).is_none())
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            return out.push(low & 0x7f);
        }
        out.push(low | 0x80);
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn take_byte(rest: &mut &[u8]) -> Option<u8> {
    let (first, after) = rest.split_first()?;
    *rest = after;
    Some(*first)
}

fn take(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = take_byte(rest)?;
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

fn take_number(rest: &mut &[u8]) -> Option<u32> {
    u32::try_from(take(rest)?).ok()
}

fn take_some<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(take(rest)?).ok()?;
    take_some(rest, length)
}

fn take_entry(rest: &mut &[u8], before: Option<&Entry>) -> Option<Entry> {
    let shared = usize::try_from(take(rest)?).ok()?;
    let mut path = before.map_or(&[][..], |entry| &entry.path).get(..shared)?.to_vec();
    path.extend_from_slice(take_bytes(rest)?);
    let kind = take_byte(rest)?;
    if path.len() > PATH_BYTES_MAX {
        return None;
    }
    let (mode, uid, gid) = (take_number(rest)?, take_number(rest)?, take_number(rest)?);
    let payload = match kind {
        b'f' => Payload::Content(take_some(rest, 16)?.try_into().ok()?),
        b'l' => Payload::Target(take_bytes(rest)?.to_vec()),
        b'c' | b'b' => Payload::Device(take(rest)?),
        _ => Payload::None,
    };
    let attributes = take_some(rest, 8)?.try_into().ok()?;
    Some(Entry { path, kind, mode, uid, gid, payload, attributes })
}
