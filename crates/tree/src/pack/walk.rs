//! Walking a tree in the order of an archive and writing its entries.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _, Write};
use std::os::fd::AsFd as _;
use std::time::Instant;

use super::ahead::Ahead;
use super::header::Entry;
use super::resume::{Held, Linked, Mark, Out, Resumable, Step, Trail};
use super::{Counted, PackError, Packed};
use crate::copy::split;
use crate::dir::{Dir, Entry as DirEntry, Follow, Kind, Metadata, PathError, Xattr, join, list_xattrs, shown};
use crate::limits::DEPTH_MAX;
use crate::merged::LayerFormat;
use crate::scan::is_opaque;
use crate::times::Times;
use crate::unpack::BLOCK_BYTES;

const BUFFER_BYTES: usize = 256 * 1024;

/// Writes the archive of one tree.
pub(super) struct Packer<'a> {
    root: &'a Dir,
    /// Set for a layer: whiteouts and opaque directories mean something.
    layer: Option<LayerFormat>,
    times: Times,
    /// Set for files that somebody may be writing: what changes meanwhile is packed as it happens to be.
    live: bool,
    out: Out<'a>,
    /// Bytes of the archive so far.
    bytes: u64,
    /// Set where other entries follow these.
    unfinished: bool,
    buffer: Vec<u8>,
    /// The first name of each inode that has several.
    names: HashMap<(usize, u64, u64), Vec<u8>>,
    /// Which of several layers the files come from: the same inode in two layers is two files.
    source: usize,
    entries: u64,
    ahead: Ahead,
    /// A file was read that shows the disk to be slow; the rest of its directory is to be read ahead.
    turned_slow: bool,
    /// Is told of each entry.
    told: Option<&'a mut dyn FnMut(&Counted<'_>)>,
}

/// A directory that is being written.
pub(super) struct Level {
    pub(super) path: Vec<u8>,
    name: Vec<u8>,
    pub(super) children: std::vec::IntoIter<DirEntry>,
    /// Open while its files are read; closed while its directories are.
    pub(super) dir: Option<Dir>,
}

impl Level {
    pub(super) fn open(root: &Dir, path: Vec<u8>, name: Vec<u8>) -> Result<Self, PathError> {
        let dir = root.open_dir_no_links(&path)?;
        Ok(Self { path, name, children: dir.list(b"")?.into_iter(), dir: Some(dir) })
    }

    fn read_ahead(&mut self, root: &Dir) -> Result<(), PathError> {
        self.dir(root)?;
        if let Some(dir) = &self.dir {
            Ahead::start(dir, self.children.as_slice());
        }
        Ok(())
    }

    fn dir(&mut self, root: &Dir) -> Result<&Dir, PathError> {
        let dir = match self.dir.take() {
            Some(dir) => dir,
            None => root.open_dir_no_links(&self.path)?,
        };
        Ok(self.dir.insert(dir))
    }
}

impl<'a> Packer<'a> {
    pub(super) fn new(root: &'a Dir, layer: Option<LayerFormat>, times: Times, out: &'a mut dyn Write) -> Self {
        Self::to(root, layer, times, Out::Whole(out))
    }

    /// The same for the archive of a layer, for a receiver that may know how it begins.
    pub(super) fn resumed(root: &'a Dir, layer: LayerFormat, times: Times, out: &'a mut dyn Resumable) -> Self {
        Self::to(root, Some(layer), times, Out::Resumed(out, Trail::default()))
    }

    /// The same for nobody: entries are only counted, and of files no content is read.
    pub(super) fn measuring(root: &'a Dir, layer: LayerFormat, times: Times) -> Self {
        Self::to(root, Some(layer), times, Out::Counted)
    }

    /// Returns the bytes of the archive so far.
    pub(super) fn written(&self) -> u64 {
        self.bytes
    }

    fn to(root: &'a Dir, layer: Option<LayerFormat>, times: Times, out: Out<'a>) -> Self {
        Self {
            root,
            layer,
            times,
            live: false,
            unfinished: false,
            out,
            bytes: 0,
            buffer: vec![0; BUFFER_BYTES],
            names: HashMap::new(),
            source: 0,
            entries: 0,
            ahead: Ahead::default(),
            turned_slow: false,
            told: None,
        }
    }

    /// The same with somebody who is told of each entry.
    pub(super) fn telling(self, told: &'a mut dyn FnMut(&Counted<'_>)) -> Self {
        Self { told: Some(told), ..self }
    }

    /// Tells of the entry at `path`, which begins after so many bytes of the archive.
    fn tell(&mut self, before: u64, path: &[u8], metadata: &Metadata, mark: u64) {
        let Some(told) = &mut self.told else { return };
        let inode = (self.source, metadata.device, metadata.inode);
        let first = self.names.get(&inode).filter(|first| metadata.links > 1 && *first != path).map(Vec::as_slice);
        let kind = if self.layer.is_some() && metadata.is_whiteout() { None } else { Some(metadata.kind) };
        let is_content = kind == Some(Kind::File) && first.is_none();
        let content = if is_content { metadata.size.next_multiple_of(BLOCK_BYTES as u64) } else { 0 };
        // A socket has no entry.
        if self.bytes > before {
            let bytes = self.bytes - before;
            let deletion = if kind.is_none() { bytes } else { mark };
            told(&Counted { path, kind, bytes, content, deletion, first });
        }
    }

    /// The same for files that somebody may be writing.
    pub(super) fn live(self) -> Self {
        Self { live: true, ..self }
    }

    /// Writes an archive without entries.
    pub(super) fn new_end(out: &mut dyn Write) -> Result<Packed, PackError> {
        out.write_all(&[0; 2 * BLOCK_BYTES]).map_err(PackError::Write)?;
        Ok(Packed { bytes: 2 * BLOCK_BYTES as u64, entries: 0 })
    }

    /// Says that the files that follow come from the layer with this number, and what becomes of their times.
    pub(super) fn set_source(&mut self, source: usize, times: Times) {
        (self.source, self.times) = (source, times);
    }

    /// The same without the end of the archive.
    pub(super) fn unfinished(self) -> Self {
        Self { unfinished: true, ..self }
    }

    /// Writes what is in the directory `path`, named as being in `name`.
    pub(super) fn contents(mut self, path: &[u8], name: &[u8]) -> Result<Packed, PackError> {
        self.directory(path, name)?;
        self.end()
    }

    /// Writes the one file or directory at `path` as `name`.
    pub(super) fn single(mut self, path: &[u8], name: &[u8]) -> Result<Packed, PackError> {
        let metadata = self.root.metadata(path, Follow::No)?;
        if metadata.kind == Kind::Directory {
            let dir = self.root.open_dir_no_links(path)?;
            let hides = self.hides(&dir, path)?;
            self.directory_entry(&dir, &metadata, path, name, hides)?;
            drop(dir);
            self.directory(path, name)?;
        } else {
            let (parent, last) = split(path);
            let parent = self.root.open_dir_no_links(parent)?;
            self.leaf(&parent, last, &metadata, path, name)?;
        }
        self.end()
    }

    pub(super) fn end(mut self) -> Result<Packed, PackError> {
        self.out.hold_no_more();
        self.release()?;
        if !self.unfinished {
            self.emit(&[0; 2 * BLOCK_BYTES])?;
        }
        self.out.flush()?;
        Ok(Packed { bytes: self.bytes, entries: self.entries })
    }

    /// Writes what was held for a receiver who turned out not to know it.
    fn release(&mut self) -> Result<(), PackError> {
        for held in self.out.released() {
            match held {
                Held::Blocks(blocks) => self.emit(&blocks)?,
                Held::File(Linked { path, name, listed, .. }) => {
                    let (parent, last) = split(&path);
                    let parent = self.root.open_dir_no_links(parent)?;
                    self.file_now(&parent, last, &listed, &path, &name)?;
                }
            }
        }
        Ok(())
    }

    /// Comes to a mark, where one is worth while.
    fn mark(&mut self) -> Result<(), PackError> {
        match self.out.mark() {
            Step::On => Ok(()),
            Step::Resumed { bytes } => {
                self.bytes = bytes;
                Ok(())
            }
            Step::Pass { prefix } => {
                self.release()?;
                self.out.pass(&Mark { prefix, bytes: self.bytes })
            }
        }
    }

    /// Writes all below the directory `path`. Only one directory is open at a time, however deep the tree is.
    fn directory(&mut self, path: &[u8], name: &[u8]) -> Result<(), PackError> {
        let mut stack = vec![Level::open(self.root, path.to_vec(), name.to_vec())?];
        while let Some(level) = stack.last_mut() {
            let Some(child) = level.children.next() else {
                stack.pop();
                continue;
            };
            let (path, name) = (join(&level.path, &child.name), join(&level.name, &child.name));
            let dir = level.dir(self.root)?;
            if self.live && dir.child(&child.name)?.is_none() {
                continue;
            }
            let before = self.bytes;
            if child.metadata.kind != Kind::Directory {
                self.leaf(dir, &child.name, &child.metadata, &path, &name)?;
                self.tell(before, &path, &child.metadata, 0);
                self.mark()?;
                if std::mem::take(&mut self.turned_slow) {
                    level.read_ahead(self.root)?;
                }
                continue;
            }
            self.check_name(&child.name, &path)?;
            let below = dir.open_dir_no_links(&child.name)?;
            let hides = self.hides(&below, &path)?;
            self.directory_entry(&below, &child.metadata, &path, &name, false)?;
            let without = self.bytes;
            if hides {
                self.opaque(&name)?;
            }
            self.tell(before, &path, &child.metadata, self.bytes - without);
            level.dir = None;
            if stack.len() > DEPTH_MAX {
                return Err(PackError::TooDeep(shown(&path)));
            }
            let mut next = Level::open(self.root, path, name)?;
            if self.ahead.is_needed() {
                next.read_ahead(self.root)?;
            }
            stack.push(next);
        }
        Ok(())
    }

    pub(super) fn check_name(&self, name: &[u8], path: &[u8]) -> Result<(), PackError> {
        if self.layer.is_some() && name.starts_with(b".wh.") {
            return Err(PackError::ReservedName(shown(path)));
        }
        Ok(())
    }

    /// Writes a directory's own entry, and that it hides what is below it if it does (`hides`).
    pub(super) fn directory_entry(
        &mut self,
        dir: &Dir,
        metadata: &Metadata,
        path: &[u8],
        name: &[u8],
        hides: bool,
    ) -> Result<(), PackError> {
        let failed = |source: rustix::io::Errno| PathError::io("read the attributes of", path, source);
        let xattrs = representable(list_xattrs(dir).map_err(failed)?, path)?;
        let name = [name, b"/"].concat();
        let entry = Entry { path: &name, type_flag: b'5', xattrs: &xattrs, ..self.entry(metadata) };
        let blocks = entry.blocks();
        self.write(&blocks)?;
        if hides { self.opaque(&name[..name.len() - 1]) } else { Ok(()) }
    }

    /// Writes that the directory `name` hides what is below it.
    fn opaque(&mut self, name: &[u8]) -> Result<(), PackError> {
        self.whiteout(&join(name, b".wh..wh..opq"))
    }

    /// Whether a directory of a layer hides what is below it.
    fn hides(&self, dir: &Dir, path: &[u8]) -> Result<bool, PathError> {
        let failed = |source: rustix::io::Errno| PathError::io("read the attributes of", path, source);
        self.layer.map_or(Ok(false), |format| is_opaque(dir, format.opaque_xattr()).map_err(failed))
    }

    /// Writes what is no directory: `last` in `dir`, which is `path` of the tree, as `name`.
    pub(super) fn leaf(
        &mut self,
        dir: &Dir,
        last: &[u8],
        metadata: &Metadata,
        path: &[u8],
        name: &[u8],
    ) -> Result<(), PackError> {
        if self.layer.is_some() && metadata.is_whiteout() {
            let (parent, last) = split(name);
            return self.whiteout(&join(parent, &[b".wh.", last].concat()));
        }
        self.check_name(last, path)?;
        if metadata.links > 1 && metadata.kind == Kind::File {
            let inode = (self.source, metadata.device, metadata.inode);
            if let Some(first) = self.names.get(&inode) {
                // Whoever reads this sets the file's owner once more, and so takes its capabilities away.
                let file = dir.open_file_here(last)?;
                let xattrs = list_xattrs(file.as_fd())
                    .map_err(|source| PathError::io("read the attributes of", path, source))?;
                let xattrs = representable(xattrs, path)?;
                let entry = Entry { path: name, link: first, type_flag: b'1', xattrs: &xattrs, ..self.entry(metadata) };
                let blocks = entry.blocks();
                return self.write(&blocks);
            }
            self.names.insert(inode, name.to_vec());
        }
        let type_flag = match metadata.kind {
            Kind::File => return self.file(dir, last, metadata, path, name),
            Kind::Link => {
                let target = rustix::fs::readlinkat(dir, last, Vec::new())
                    .map_err(|source| PathError::io("read link", path, source))?
                    .into_bytes();
                let entry = Entry { path: name, link: &target, type_flag: b'2', mode: 0o777, ..self.entry(metadata) };
                let blocks = entry.blocks();
                return self.write(&blocks);
            }
            // It means nothing without the process behind it.
            Kind::Socket | Kind::Directory => return Ok(()),
            Kind::Pipe => b'6',
            Kind::CharDevice => b'3',
            Kind::BlockDevice => b'4',
        };
        let device = match metadata.kind {
            Kind::Pipe => (0, 0),
            _ => (rustix::fs::major(metadata.rdev), rustix::fs::minor(metadata.rdev)),
        };
        let entry = Entry { path: name, type_flag, device, ..self.entry(metadata) };
        let blocks = entry.blocks();
        self.write(&blocks)
    }

    /// Returns an entry with what all kinds take from the metadata.
    fn entry(&self, metadata: &Metadata) -> Entry<'static> {
        Entry {
            mode: metadata.mode,
            uid: metadata.uid,
            gid: metadata.gid,
            seconds: self.times.of(metadata.modified),
            ..Entry::default()
        }
    }

    /// Writes an entry that is only a header.
    fn write(&mut self, blocks: &[u8]) -> Result<(), PackError> {
        self.entries += 1;
        if self.out.header(blocks) { Ok(()) } else { self.emit(blocks) }
    }

    fn emit(&mut self, bytes: &[u8]) -> Result<(), PackError> {
        self.bytes += bytes.len() as u64;
        self.out.raw(bytes)
    }

    fn whiteout(&mut self, name: &[u8]) -> Result<(), PackError> {
        let blocks = Entry { path: name, type_flag: b'0', ..Entry::default() }.blocks();
        self.write(&blocks)
    }

    fn file(&mut self, dir: &Dir, last: &[u8], listed: &Metadata, path: &[u8], name: &[u8]) -> Result<(), PackError> {
        self.entries += 1;
        if self.out.is_resumed() {
            let seconds = self.entry(listed).seconds;
            let linked = Linked { path: path.to_vec(), name: name.to_vec(), listed: *listed, seconds };
            if self.out.file(&linked) {
                return Ok(());
            }
            self.release()?;
        }
        self.file_now(dir, last, listed, path, name)
    }

    /// Writes the header and the content of a file, which has to stay what it was.
    fn file_now(
        &mut self,
        dir: &Dir,
        last: &[u8],
        listed: &Metadata,
        path: &[u8],
        name: &[u8],
    ) -> Result<(), PackError> {
        let started = Instant::now();
        let mut file = dir.open_file_here(last)?;
        let examined = |file: &File| match rustix::fs::fstat(file) {
            Ok(stat) => Ok(Metadata::from_stat(&stat)),
            Err(source) => Err(PathError::io("examine", path, source)),
        };
        let before = examined(&file)?;
        if !self.live && !before.has_content_of(listed) {
            return Err(PackError::Changed(shown(path)));
        }
        let xattrs =
            list_xattrs(file.as_fd()).map_err(|source| PathError::io("read the attributes of", path, source))?;
        let xattrs = representable(xattrs, path)?;
        let entry = Entry { path: name, type_flag: b'0', size: before.size, xattrs: &xattrs, ..self.entry(&before) };
        let blocks = entry.blocks();
        self.emit(&blocks)?;
        self.content(&mut file, before.size, path)?;
        // Where nothing of a file is read, reading ahead would only take the disk from others.
        if !matches!(self.out, Out::Counted) {
            self.turned_slow |= self.ahead.read(before.size, started.elapsed());
        }
        if !self.live && !examined(&file)?.has_content_of(&before) {
            return Err(PackError::Changed(shown(path)));
        }
        Ok(())
    }

    fn content(&mut self, file: &mut File, size: u64, path: &[u8]) -> Result<(), PackError> {
        let mut left = size;
        if matches!(self.out, Out::Counted) {
            self.bytes += std::mem::take(&mut left);
        }
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            match file.read(&mut self.buffer[..wanted]) {
                // It has become shorter; its size is in the archive already.
                Ok(0) if self.live => {
                    self.buffer[..wanted].fill(0);
                    self.bytes += wanted as u64;
                    self.out.raw(&self.buffer[..wanted])?;
                    left -= wanted as u64;
                }
                Ok(0) => return Err(PackError::Changed(shown(path))),
                Ok(length) => {
                    self.bytes += length as u64;
                    self.out.raw(&self.buffer[..length])?;
                    left -= length as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(PathError::io("read", path, error).into()),
            }
        }
        let padding = usize::try_from(size.wrapping_neg() % BLOCK_BYTES as u64).expect("less than a block");
        self.emit(&[0; BLOCK_BYTES][..padding])
    }
}

/// Returns the attributes if an archive can hold their names.
fn representable(xattrs: Vec<Xattr>, path: &[u8]) -> Result<Vec<Xattr>, PackError> {
    if xattrs.iter().any(|xattr| xattr.name.contains(&b'=')) {
        return Err(PackError::XattrName(shown(path)));
    }
    Ok(xattrs)
}
