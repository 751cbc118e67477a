//! Packing one layer as several that are smaller.
//!
//! Turns a layer into the archives of layers that, on each other, make the same files out of the same lower ones. A file
//! is in one of them with all its names, so one that is larger than a part may be is a part of its own. What the layer
//! deletes, the first part deletes; a directory is in each part that has something below it, with what is said of it.
//!
//! The parts depend on the layer and the size alone.

use std::collections::{HashMap, HashSet};
use std::io::Write;

use super::walk::{Level, Packer};
use super::{PackError, Packed};
use crate::copy::split;
use crate::dir::{Dir, Entry, Follow, Kind, Metadata, PathError, join, shown};
use crate::limits::DEPTH_MAX;
use crate::merged::LayerFormat;
use crate::scan::is_opaque;
use crate::times::Times;
use crate::unpack::BLOCK_BYTES;

/// Packs a layer part by part.
pub struct Parts<'a> {
    layer: &'a Dir,
    format: LayerFormat,
    times: Times,
    bytes_max: u64,
    /// Says how long the entries are, without reading files.
    measure: Packer<'a>,
    /// What is still to be walked.
    stack: Vec<Level>,
    /// All names of each inode that has several, by device and number; emptied as they are written.
    names: HashMap<(u64, u64), Vec<Vec<u8>>>,
    /// What the layer deletes; emptied by the first part.
    deletions: Vec<Unit>,
    /// What came next when the part before was full.
    pending: Option<Unit>,
}

/// What cannot be divided between parts.
struct Unit {
    /// All names of one file, or the one of anything else.
    paths: Vec<Vec<u8>>,
    metadata: Metadata,
    /// Bytes of its entries and content.
    bytes: u64,
    /// Set for a directory that hides what is below it.
    hides: bool,
}

/// One part, while it is written.
struct Part<'a> {
    packer: Packer<'a>,
    /// The directories that it has.
    dirs: HashSet<Vec<u8>>,
    bytes: u64,
    is_empty: bool,
}

impl<'a> Parts<'a> {
    /// Looks through `layer`, to pack it in parts whose archives have `bytes_max` bytes at most, but for a file, with its
    /// names, that has more, and for deletions, which stay together.
    ///
    /// Errors: the layer cannot be read.
    pub fn new(layer: &'a Dir, format: LayerFormat, times: Times, bytes_max: u64) -> Result<Self, PackError> {
        let mut parts = Self {
            layer,
            format,
            times,
            bytes_max,
            measure: Packer::measuring(layer, format, times),
            stack: vec![Level::open(layer, Vec::new(), Vec::new())?],
            names: HashMap::new(),
            deletions: Vec::new(),
            pending: None,
        };
        parts.survey()?;
        Ok(parts)
    }

    /// Writes the next part to `out`. Returns nothing, and writes nothing, if there is none left.
    ///
    /// Errors: a file cannot be read, or `out` not written.
    pub fn next(&mut self, out: &mut dyn Write) -> Result<Option<Packed>, PackError> {
        let mut part = Part {
            packer: Packer::new(self.layer, Some(self.format), self.times, out),
            dirs: HashSet::new(),
            bytes: 2 * BLOCK_BYTES as u64,
            is_empty: true,
        };
        for unit in std::mem::take(&mut self.deletions) {
            let (missing, dirs_bytes) = self.missing(&part, &unit)?;
            part.bytes += dirs_bytes + unit.bytes;
            self.write(&mut part, &unit, missing)?;
        }
        loop {
            let unit = match self.pending.take() {
                Some(unit) => unit,
                None => match self.unit()? {
                    Some(unit) => unit,
                    None => break,
                },
            };
            let (missing, dirs_bytes) = self.missing(&part, &unit)?;
            // A directory that is in the part already has its entry.
            let own = if unit.is_directory() { 0 } else { unit.bytes };
            if !part.is_empty && part.bytes.saturating_add(dirs_bytes).saturating_add(own) > self.bytes_max {
                self.pending = Some(unit);
                break;
            }
            part.bytes += dirs_bytes + own;
            self.write(&mut part, &unit, missing)?;
        }
        if part.is_empty { Ok(None) } else { part.packer.end().map(Some) }
    }

    /// Finds the names of each inode that has several, and what the layer deletes.
    fn survey(&mut self) -> Result<(), PackError> {
        let mut stack = vec![Level::open(self.layer, Vec::new(), Vec::new())?];
        while let Some((path, entry)) = step(self.layer, &mut stack)? {
            let metadata = entry.metadata;
            if metadata.kind == Kind::Directory {
                let dir = self.layer.open_dir_no_links(&path)?;
                let hides = is_opaque(&dir, self.format.opaque_xattr())
                    .map_err(|source| PathError::io("read the attributes of", &path, source))?;
                if hides {
                    // The mark is an empty file in the directory, whose own entry is counted as every directory's.
                    let bytes = BLOCK_BYTES as u64;
                    self.deletions.push(Unit { paths: vec![path.clone()], metadata, bytes, hides });
                }
            } else if metadata.is_whiteout() {
                let bytes = self.measured(&path, &metadata)?;
                self.deletions.push(Unit { paths: vec![path], metadata, bytes, hides: false });
            } else if metadata.kind == Kind::File && metadata.links > 1 {
                self.names.entry((metadata.device, metadata.inode)).or_default().push(path);
            }
        }
        Ok(())
    }

    /// Returns what comes next and is no deletion.
    fn unit(&mut self) -> Result<Option<Unit>, PackError> {
        while let Some((path, entry)) = step(self.layer, &mut self.stack)? {
            let metadata = entry.metadata;
            // It means nothing without the process behind it.
            if metadata.is_whiteout() || metadata.kind == Kind::Socket {
                continue;
            }
            if metadata.kind == Kind::Directory {
                return Ok(Some(Unit { paths: vec![path], metadata, bytes: 0, hides: false }));
            }
            let paths = if metadata.kind == Kind::File && metadata.links > 1 {
                let names = self.names.entry((metadata.device, metadata.inode)).or_default();
                // Its other names were written with the first.
                if names.is_empty() {
                    continue;
                }
                std::mem::take(names)
            } else {
                vec![path]
            };
            let mut bytes = 0;
            for path in &paths {
                bytes += self.measured(path, &metadata)?;
            }
            return Ok(Some(Unit { paths, metadata, bytes, hides: false }));
        }
        Ok(None)
    }

    /// Returns the bytes of the entry and content of what is at `path` and no directory. Of a file with several names, the
    /// second to be asked for is a link.
    fn measured(&mut self, path: &[u8], metadata: &Metadata) -> Result<u64, PackError> {
        let (parent, name) = split(path);
        let parent = self.layer.open_dir_no_links(parent)?;
        let before = self.measure.written();
        self.measure.leaf(&parent, name, metadata, path, path)?;
        Ok(self.measure.written() - before)
    }

    /// Returns the directories that `part` lacks for this unit, the highest first, and the bytes of their entries.
    fn missing(&mut self, part: &Part<'_>, unit: &Unit) -> Result<(Vec<Vec<u8>>, u64), PackError> {
        let mut missing: Vec<Vec<u8>> = Vec::new();
        let mut bytes = 0;
        for path in &unit.paths {
            let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(index, _)| index);
            let ends = ends.chain(unit.is_directory().then_some(path.len()));
            for dir in ends.map(|end| &path[..end]) {
                if part.dirs.contains(dir) || missing.iter().any(|known| known == dir) {
                    continue;
                }
                let before = self.measure.written();
                directory(&mut self.measure, self.layer, dir, false)?;
                bytes += self.measure.written() - before;
                missing.push(dir.to_vec());
            }
        }
        Ok((missing, bytes))
    }

    fn write(&self, part: &mut Part<'_>, unit: &Unit, missing: Vec<Vec<u8>>) -> Result<(), PackError> {
        part.is_empty = false;
        for dir in missing {
            let hides = unit.hides && unit.paths.contains(&dir);
            directory(&mut part.packer, self.layer, &dir, hides)?;
            part.dirs.insert(dir);
        }
        if unit.is_directory() {
            return Ok(());
        }
        for path in &unit.paths {
            let (parent, name) = split(path);
            let parent = self.layer.open_dir_no_links(parent)?;
            part.packer.leaf(&parent, name, &unit.metadata, path, path)?;
        }
        Ok(())
    }
}

impl Unit {
    fn is_directory(&self) -> bool {
        self.metadata.kind == Kind::Directory
    }
}

/// Writes the entry of the directory at `path`.
fn directory(packer: &mut Packer<'_>, layer: &Dir, path: &[u8], hides: bool) -> Result<(), PackError> {
    packer.check_name(split(path).1, path)?;
    let dir = layer.open_dir_no_links(path)?;
    packer.directory_entry(&dir, &layer.metadata(path, Follow::No)?, path, path, hides)
}

/// Returns the next entry of a walk in the order of an archive, and its path.
fn step(layer: &Dir, stack: &mut Vec<Level>) -> Result<Option<(Vec<u8>, Entry)>, PackError> {
    while let Some(level) = stack.last_mut() {
        let Some(entry) = level.children.next() else {
            stack.pop();
            continue;
        };
        level.dir = None;
        let path = join(&level.path, &entry.name);
        if entry.metadata.kind == Kind::Directory {
            if stack.len() > DEPTH_MAX {
                return Err(PackError::TooDeep(shown(&path)));
            }
            stack.push(Level::open(layer, path.clone(), path.clone())?);
        }
        return Ok(Some((path, entry)));
    }
    Ok(None)
}
