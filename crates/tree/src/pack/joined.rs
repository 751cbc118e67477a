//! Packing several layers as one.
//!
//! Turns layers that lie on each other into the archive of the one layer that makes the same files on whatever lies below.
//! They are walked side by side, so nothing is merged on the disk and no file is read that another one hides.

use std::collections::BTreeMap;
use std::io::Write;

use super::walk::Packer;
use super::{PackError, Packed};
use crate::dir::{Dir, Entry, Kind, PathError, join, shown};
use crate::limits::DEPTH_MAX;
use crate::merged::LayerFormat;
use crate::scan::is_opaque;
use crate::times::Times;

/// Writes the tar of `layers`, the lowest first, as if they were one; of each, the times are what is said with it. If nothing lies below it (`is_lowest`), it deletes
/// nothing.
pub fn pack_joined(
    layers: &[(Dir, Times)],
    format: LayerFormat,
    is_lowest: bool,
    out: &mut dyn Write,
) -> Result<Packed, PackError> {
    let Some((top, times)) = layers.last() else { return Packer::new_end(out) };
    let mut joiner = Joiner { layers, format, is_lowest, packer: Packer::new(top, Some(format), *times, out) };
    let all: Vec<usize> = (0..layers.len()).rev().collect();
    let mut stack = vec![joiner.open(Vec::new(), all)?];
    while let Some(level) = stack.last_mut() {
        let Some((name, found)) = level.children.pop_first() else {
            stack.pop();
            continue;
        };
        let path = join(&level.path, &name);
        let Some(below) = joiner.entry(level, &name, &path, &found)? else { continue };
        if stack.len() > DEPTH_MAX {
            return Err(PackError::TooDeep(shown(&path)));
        }
        // Only the directories of one level are open at a time.
        if let Some(level) = stack.last_mut() {
            level.dirs.clear();
        }
        let next = joiner.open(path, below)?;
        stack.push(next);
    }
    joiner.packer.end()
}

struct Joiner<'a> {
    layers: &'a [(Dir, Times)],
    format: LayerFormat,
    is_lowest: bool,
    packer: Packer<'a>,
}

/// What the layers have under one name: the layer's number and its entry, the highest first.
type Found = Vec<(usize, Entry)>;

/// A directory that is being written.
struct Level {
    path: Vec<u8>,
    children: BTreeMap<Vec<u8>, Found>,
    /// The directory in each layer that was opened since the last one below was left.
    dirs: BTreeMap<usize, Dir>,
}

impl Joiner<'_> {
    /// Opens the directory `path` of `layers`, the highest first.
    fn open(&self, path: Vec<u8>, layers: Vec<usize>) -> Result<Level, PathError> {
        let mut children: BTreeMap<Vec<u8>, Found> = BTreeMap::new();
        for layer in layers {
            for entry in self.layers[layer].0.open_dir_no_links(&path)?.list(b"")? {
                children.entry(entry.name.clone()).or_default().push((layer, entry));
            }
        }
        Ok(Level { path, children, dirs: BTreeMap::new() })
    }

    /// Writes what the layers have under one name together. If that is a directory, returns the layers that have a part
    /// in it.
    fn entry(
        &mut self,
        level: &mut Level,
        name: &[u8],
        path: &[u8],
        found: &Found,
    ) -> Result<Option<Vec<usize>>, PackError> {
        let [(layer, entry), ..] = found.as_slice() else { return Ok(None) };
        let metadata = &entry.metadata;
        if metadata.kind != Kind::Directory {
            if metadata.is_whiteout() && self.is_lowest {
                return Ok(None);
            }
            let dir = match level.dirs.entry(*layer) {
                std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
                std::collections::btree_map::Entry::Vacant(new) => {
                    new.insert(self.layers[*layer].0.open_dir_no_links(&level.path)?)
                }
            };
            self.packer.set_source(*layer, self.layers[*layer].1);
            self.packer.leaf(dir, name, metadata, path, path)?;
            return Ok(None);
        }
        self.packer.check_name(name, path)?;
        let (parts, hides) = self.parts(path, found)?;
        let dir = self.layers[*layer].0.open_dir_no_links(path)?;
        self.packer.set_source(*layer, self.layers[*layer].1);
        self.packer.directory_entry(&dir, metadata, path, path, hides && !self.is_lowest)?;
        Ok(Some(parts))
    }

    /// Returns the layers whose directories are seen together, and whether they hide what lies below all of them.
    fn parts(&self, path: &[u8], found: &Found) -> Result<(Vec<usize>, bool), PackError> {
        let mut parts = Vec::new();
        for (layer, entry) in found {
            if entry.metadata.kind != Kind::Directory {
                return Ok((parts, true));
            }
            parts.push(*layer);
            let dir = self.layers[*layer].0.open_dir_no_links(path)?;
            let opaque = is_opaque(&dir, self.format.opaque_xattr())
                .map_err(|source| PathError::io("read the attributes of", path, source))?;
            if opaque {
                return Ok((parts, true));
            }
        }
        Ok((parts, false))
    }
}
