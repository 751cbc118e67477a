//! What a layer's tar says of each file, without making the tar.
//!
//! Turns layer directories into lists of files that can be compared: one list for each layer, and one for what all of them
//! make together. It knows no images.

use std::collections::BTreeMap;
use std::io::{self, Read as _};

use crate::copy::split;
use crate::dir::{Dir, Kind, Metadata, PathError, Xattr, join, list_xattrs};
use crate::limits::DEPTH_MAX;
use crate::merged::LayerFormat;
use crate::scan::is_opaque;
use crate::times::Times;

/// A file as a layer's tar has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// What it is; nothing where the layer deletes what is below it.
    pub kind: Option<Kind>,
    /// Permission bits.
    pub mode: u32,
    /// Owner and group.
    pub owner: (u32, u32),
    /// Bytes of a regular file.
    pub size: u64,
    /// Seconds since 1970.
    pub modified: i64,
    /// Where a link leads to.
    pub link: Option<Vec<u8>>,
    /// Of a device node: which device.
    pub device: Option<(u32, u32)>,
    /// Extended attributes.
    pub xattrs: Vec<Xattr>,
    /// For a directory: what lower layers have in it is gone.
    pub opaque: bool,
}

/// The files of a layer, or of a whole image, by their paths.
pub type Inventory = BTreeMap<Vec<u8>, Listed>;

/// Lists what the tar of `layer` says when its files have `times`.
///
/// Errors: a directory or a file cannot be read, or is nested too deep.
pub fn inventory(layer: &Dir, format: LayerFormat, times: Times) -> Result<Inventory, PathError> {
    let mut files = Inventory::new();
    let mut paths = vec![(Vec::new(), 0)];
    while let Some((path, depth)) = paths.pop() {
        let dir = layer.open_dir_no_links(&path)?;
        for child in dir.list(b"")? {
            let below = join(&path, &child.name);
            files.insert(below.clone(), listed(&dir, &child.name, &child.metadata, format, times)?);
            if child.metadata.kind == Kind::Directory && depth < DEPTH_MAX {
                paths.push((below, depth + 1));
            }
        }
    }
    Ok(files)
}

fn listed(dir: &Dir, name: &[u8], metadata: &Metadata, format: LayerFormat, times: Times) -> Result<Listed, PathError> {
    let mut listed = Listed {
        kind: Some(metadata.kind),
        mode: metadata.mode,
        owner: (metadata.uid, metadata.gid),
        size: 0,
        modified: times.of(metadata.modified),
        link: None,
        device: None,
        xattrs: Vec::new(),
        opaque: false,
    };
    if metadata.is_whiteout() {
        return Ok(Listed { kind: None, mode: 0, owner: (0, 0), modified: 0, ..listed });
    }
    let failed = |source: rustix::io::Errno| PathError::io("read the attributes of", name, source);
    match metadata.kind {
        Kind::File => {
            listed.size = metadata.size;
            listed.xattrs = list_xattrs(dir.open_file_here(name)?).map_err(failed)?;
        }
        Kind::Directory => {
            let below = dir.open_dir_no_links(name)?;
            listed.xattrs = list_xattrs(&below).map_err(failed)?;
            listed.opaque = is_opaque(&below, format.opaque_xattr()).map_err(failed)?;
        }
        Kind::Link => listed.link = Some(dir.read_link(name)?),
        Kind::CharDevice | Kind::BlockDevice => {
            listed.device = Some((rustix::fs::major(metadata.rdev), rustix::fs::minor(metadata.rdev)));
        }
        Kind::Pipe | Kind::Socket => {}
    }
    Ok(listed)
}

/// Returns what layers, lowest first, make together, each file with the index of the layer that it is in.
#[must_use]
pub fn together(layers: &[Inventory]) -> BTreeMap<Vec<u8>, (usize, &Listed)> {
    let mut all = BTreeMap::new();
    for (index, layer) in layers.iter().enumerate() {
        for (path, file) in layer {
            if file.kind != Some(Kind::Directory) || file.opaque {
                // What an earlier layer has there is gone; this layer's own files come later in the order of paths.
                remove_below(&mut all, path);
            }
            if file.kind.is_some() {
                all.insert(path.clone(), (index, file));
            } else {
                all.remove(path);
            }
        }
    }
    all
}

fn remove_below<T>(all: &mut BTreeMap<Vec<u8>, T>, path: &[u8]) {
    let (from, to) = ([path, b"/"].concat(), [path, b"0"].concat());
    let below: Vec<Vec<u8>> = all.range(from..to).map(|(path, _)| path.clone()).collect();
    for path in below {
        all.remove(&path);
    }
}

/// Returns the offset of the first byte in which two regular files differ, if they do. Where one ends before the other,
/// that is its length.
///
/// Errors: one of them cannot be read.
pub fn first_difference(left: &Dir, right: &Dir, path: &[u8]) -> Result<Option<u64>, PathError> {
    let failed = |source: io::Error| PathError::io("read", path, source);
    let open = |root: &Dir| {
        let (parent, name) = split(path);
        root.open_dir_no_links(parent)?.open_file_here(name)
    };
    let (mut left, mut right) = (open(left)?, open(right)?);
    let (mut one, mut other) = (vec![0; CHUNK_BYTES], vec![0; CHUNK_BYTES]);
    let mut offset = 0;
    loop {
        let lengths = (fill(&mut left, &mut one).map_err(failed)?, fill(&mut right, &mut other).map_err(failed)?);
        let common = lengths.0.min(lengths.1);
        if let Some(at) = (0..common).find(|&at| one[at] != other[at]) {
            return Ok(Some(offset + at as u64));
        }
        offset += common as u64;
        if lengths.0 != lengths.1 {
            return Ok(Some(offset));
        }
        if common == 0 {
            return Ok(None);
        }
    }
}

const CHUNK_BYTES: usize = 128 * 1024;

fn fill(file: &mut std::fs::File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(kind: Option<Kind>, opaque: bool) -> Listed {
        let (mode, owner, size, modified) = (0o644, (0, 0), 0, 0);
        Listed { kind, mode, owner, size, modified, link: None, device: None, xattrs: Vec::new(), opaque }
    }

    #[test]
    fn higher_layers_replace_and_delete_what_lower_ones_have() {
        let layer = |files: &[(&str, Option<Kind>, bool)]| -> Inventory {
            files.iter().map(|(path, kind, opaque)| (path.as_bytes().to_vec(), file(*kind, *opaque))).collect()
        };
        let (dir, leaf) = (Some(Kind::Directory), Some(Kind::File));
        let layers = [
            layer(&[("a", dir, false), ("a/x", leaf, false), ("a/y", leaf, false), ("a-b", leaf, false)]),
            layer(&[("a", dir, false), ("a/x", None, false), ("b", dir, false), ("b/z", leaf, false)]),
            layer(&[("b", dir, true), ("b/w", leaf, false), ("a-b", leaf, false)]),
        ];
        let all = together(&layers);
        let seen: Vec<String> =
            all.iter().map(|(path, (layer, _))| format!("{layer} {}", String::from_utf8_lossy(path))).collect();
        assert_eq!(seen, ["1 a", "2 a-b", "0 a/y", "2 b", "2 b/w"]);
    }
}
