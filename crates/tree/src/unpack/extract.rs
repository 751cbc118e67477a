//! Making what the entries of an archive say.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::reader::{EntryKind, TarEntry, TarReader};
use super::trail::Trail;
use super::union::Union;
use super::{Applied, Refusal, UnpackError};
use crate::copy::{CopyError, New, Places, chown, split};
use crate::dir::{
    Dir, Follow, Kind, Metadata, PathError, Time, clean, components, join, kept_xattr, set_xattr, shown, walk,
};
use crate::layers::Layers;
use crate::limits::{LINK_BYTES_MAX, Limits, NAME_BYTES_MAX, PATH_BYTES_MAX};
use crate::merged::LayerFormat;

/// Prefix of names that delete what a lower layer has.
///
/// Reference: OCI image-spec 1.1, `layer.md`, "Whiteouts".
const WHITEOUT_PREFIX: &[u8] = b".wh.";
/// Zeros in a row that are not written: fewer are no hole that is worth a look at each byte.
const HOLE_BYTES_MIN: usize = 4096;
const OPAQUE_NAME: &[u8] = b".wh..wh..opq";

pub(super) struct Extractor<'a> {
    into: &'a Dir,
    places: Places<'a>,
    below: Option<&'a Layers>,
    /// Whiteouts mean something, and are noted like this.
    layer: Option<LayerFormat>,
    owner: Option<(u32, u32)>,
    pub(super) dest: Vec<u8>,
    /// The directory of the last entry: how it was named, where that is, and open.
    parent: Option<(Vec<u8>, Vec<u8>, Rc<Dir>)>,
    trail: Trail,
    /// Times of directories, set at the end, each for the inode that it is meant for.
    times: BTreeMap<Vec<u8>, (u64, Time)>,
    implied: BTreeSet<Vec<u8>>,
    applied: Applied,
}

impl<'a> Extractor<'a> {
    pub(super) fn new(
        into: &'a Dir,
        below: Option<&'a Layers>,
        layer: Option<LayerFormat>,
        owner: Option<(u32, u32)>,
    ) -> Self {
        Self {
            into,
            places: Places::new(below, into),
            below,
            layer,
            owner,
            dest: Vec::new(),
            parent: None,
            trail: Trail::default(),
            times: BTreeMap::new(),
            implied: BTreeSet::from([Vec::new()]),
            applied: Applied::default(),
        }
    }

    pub(super) fn run(mut self, input: impl Read, limits: &Limits) -> Result<Applied, UnpackError> {
        let mut reader = TarReader::new(input, *limits);
        while let Some(entry) = reader.next_entry()? {
            self.applied.entries += 1;
            self.entry(&mut reader, &entry)?;
        }
        self.finish()
    }

    fn entry<R: Read>(&mut self, reader: &mut TarReader<R>, entry: &TarEntry) -> Result<(), UnpackError> {
        let refused = |refusal| Err(UnpackError::Refused { path: shown(&entry.path), refusal });
        let mut path = self.dest.clone();
        for part in components(&clean(&entry.path)) {
            path = join(&path, part);
        }
        if path.len() > PATH_BYTES_MAX || components(&path).any(|part| part.len() > NAME_BYTES_MAX) {
            return refused(Refusal::BadName);
        }
        if path == self.dest {
            if entry.kind != EntryKind::Directory {
                return refused(Refusal::ReplacesRoot);
            }
            // The directory that an archive is unpacked into stays as it is. Reference: Moby, `pkg/archive`, `Unpack`.
            if self.layer.is_none() {
                return Ok(());
            }
            let root = self.into.open_dir_no_links(&path)?;
            return self.set_directory(&root, path, entry);
        }
        if let Some(format) = self.layer {
            match whiteout(&path) {
                Whiteout::No => {}
                Whiteout::Ignored => return Ok(()),
                Whiteout::Invalid => return refused(Refusal::BadWhiteout),
                Whiteout::Opaque => return self.opaque(&path, format),
                Whiteout::Of(name) => return self.white_out(&path, &name, format),
            }
        }
        self.make(reader, entry, &path)
    }

    fn make<R: Read>(&mut self, reader: &mut TarReader<R>, entry: &TarEntry, path: &[u8]) -> Result<(), UnpackError> {
        let refused = |refusal| Err(UnpackError::Refused { path: shown(&entry.path), refusal });
        let (parent, name) = split(path);
        let (parent_path, parent) = self.parent(parent, &entry.path)?;
        let target = join(&parent_path, name);
        match entry.kind {
            EntryKind::Directory => self.directory(&parent, name, target, entry),
            EntryKind::File => self.file(reader, &parent, name, &target, entry),
            EntryKind::HardLink => self.hard_link(&parent, name, &target, entry),
            EntryKind::Link => {
                if entry.link.is_empty() || entry.link.len() > LINK_BYTES_MAX || entry.link.contains(&0) {
                    return refused(Refusal::BadLinkTarget);
                }
                self.made(&parent, name, &target, || rustix::fs::symlinkat(&entry.link[..], &parent, name))?;
                self.set_by_name(&parent, name, &target, entry)
            }
            EntryKind::CharDevice if entry.device == (0, 0) => refused(Refusal::WhiteoutDevice),
            EntryKind::CharDevice | EntryKind::BlockDevice | EntryKind::Pipe => {
                self.special(&parent, name, &target, entry)
            }
        }
    }

    /// Returns the directory for an entry and where it is, made if it does not exist. Links on the way are followed inside
    /// the root.
    fn parent(&mut self, path: &[u8], entry: &[u8]) -> Result<(Vec<u8>, Rc<Dir>), UnpackError> {
        if let Some((named, resolved, dir)) = &self.parent
            && named == path
        {
            return Ok((resolved.clone(), Rc::clone(dir)));
        }
        let (resolved, dir) = match self.trail.follow(self.into, path)? {
            Some(dir) => (path.to_vec(), dir),
            None => self.resolved_parent(path, entry)?,
        };
        self.parent = Some((path.to_vec(), resolved.clone(), Rc::clone(&dir)));
        Ok((resolved, dir))
    }

    /// As [`Self::parent`], for directories that do not exist yet or are behind links.
    fn resolved_parent(&mut self, path: &[u8], entry: &[u8]) -> Result<(Vec<u8>, Rc<Dir>), UnpackError> {
        let union = Union::new(self.into, self.below).map_err(|source| PathError::io("open", b"", source))?;
        let walked = walk(&union, path, Follow::Yes).map_err(|source| match source {
            Errno::NOTDIR => UnpackError::Refused { path: shown(entry), refusal: Refusal::BelowNonDirectory },
            source => PathError::io("resolve", path, source).into(),
        })?;
        if walked.directory_depth < walked.existing {
            return Err(UnpackError::Refused { path: shown(entry), refusal: Refusal::BelowNonDirectory });
        }
        let mut at = Vec::new();
        for name in &walked.names {
            at = join(&at, name);
            self.ensure(&at)?;
        }
        let dir = self.into.open_dir_no_links(&at)?;
        Ok((at, Rc::new(dir)))
    }

    /// Makes one directory that entries are in but that is no entry itself.
    fn ensure(&mut self, path: &[u8]) -> Result<(), UnpackError> {
        let (parent, name) = split(path);
        let parent = self.into.open_dir_no_links(parent)?;
        let hidden = match parent.child(name)? {
            Some(found) if found.kind == Kind::Directory => return Ok(()),
            Some(found) if found.is_whiteout() => {
                parent.remove_file(name)?;
                true
            }
            _ => false,
        };
        let owner = Some(self.owner.unwrap_or((0, 0)));
        let new = New { takes_set_gid: self.layer.is_none(), ..New::plain(owner) };
        let exists_below = self.places.directory(path, new).map_err(|error| match error {
            CopyError::Path(error) => UnpackError::Path(error),
            other => UnpackError::Place(Box::new(other)),
        })?;
        if let (true, Some(format)) = (hidden, self.layer) {
            set_opaque(&parent.open_dir_no_links(name)?, path, format)?;
        }
        if !exists_below {
            self.implied.insert(path.to_vec());
        }
        Ok(())
    }

    /// Removes what is at `name` so that something else can be there; says whether it was a whiteout.
    fn clear(&mut self, parent: &Dir, name: &[u8], target: &[u8]) -> Result<bool, UnpackError> {
        let was_whiteout = parent.child(name)?.is_some_and(|found| found.is_whiteout());
        parent.remove_tree(name)?;
        self.trail.forget(target);
        let below = join(target, b"");
        self.implied.retain(|path| path != target && !path.starts_with(&with_slash(&below)));
        Ok(was_whiteout)
    }

    /// Creates something that is not a directory, in place of whatever is there.
    fn made(
        &mut self,
        parent: &Dir,
        name: &[u8],
        target: &[u8],
        create: impl Fn() -> Result<(), Errno>,
    ) -> Result<(), UnpackError> {
        let created = match create() {
            Err(Errno::EXIST) => {
                self.clear(parent, name, target)?;
                create()
            }
            result => result,
        };
        created.map_err(|source| PathError::io("create", target, source).into())
    }

    fn directory(&mut self, parent: &Dir, name: &[u8], target: Vec<u8>, entry: &TarEntry) -> Result<(), UnpackError> {
        let mut was_whiteout = false;
        match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                if parent.child(name)?.is_none_or(|found| found.kind != Kind::Directory) {
                    was_whiteout = self.clear(parent, name, &target)?;
                    rustix::fs::mkdirat(parent, name, Mode::RWXU)
                        .map_err(|source| PathError::io("create directory", &target, source))?;
                }
            }
            Err(source) => return Err(PathError::io("create directory", &target, source).into()),
        }
        // What comes next in most archives is in it.
        let dir = match self.trail.follow(self.into, &target)? {
            Some(dir) => dir,
            None => Rc::new(parent.open_dir_no_links(name)?),
        };
        if let (true, Some(format)) = (was_whiteout, self.layer) {
            set_opaque(&dir, &target, format)?;
        }
        self.set_directory(&dir, target, entry)
    }

    fn set_directory(&mut self, dir: &Dir, target: Vec<u8>, entry: &TarEntry) -> Result<(), UnpackError> {
        let found = dir.own_metadata()?;
        self.set_open(dir, &found, &target, entry)?;
        self.implied.remove(&target);
        self.times.insert(target, (found.inode, entry.modified));
        Ok(())
    }

    fn file<R: Read>(
        &mut self,
        reader: &mut TarReader<R>,
        parent: &Dir,
        name: &[u8],
        target: &[u8],
        entry: &TarEntry,
    ) -> Result<(), UnpackError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // What makes a program run as another user comes when its content and its owner are there.
        let mode = Mode::from_raw_mode(entry.mode & 0o777);
        let create = || rustix::fs::openat(parent, name, flags, mode);
        let created = match create() {
            Err(Errno::EXIST) => {
                self.clear(parent, name, target)?;
                create()
            }
            result => result,
        };
        let file: OwnedFd = created.map_err(|source| PathError::io("create", target, source))?;
        write_content(reader, &file, target, entry)?;
        self.applied.bytes +=
            entry.regions.as_ref().map_or(entry.size, |regions| regions.iter().map(|part| part.1).sum());
        let stat = rustix::fs::fstat(&file).map_err(|source| PathError::io("examine", target, source))?;
        self.set_open(&file, &Metadata::from_stat(&stat), target, entry)?;
        rustix::fs::futimens(&file, &entry.modified.timestamps())
            .map_err(|source| PathError::io("set the time of", target, source).into())
    }

    /// Gives a file of the archive (or of the tree below) a second name, and what the entry says of it.
    fn hard_link(&mut self, parent: &Dir, name: &[u8], target: &[u8], entry: &TarEntry) -> Result<(), UnpackError> {
        let refused = || UnpackError::Refused { path: shown(&entry.path), refusal: Refusal::BadHardLink };
        let mut link = self.dest.clone();
        for part in components(&clean(&entry.link)) {
            link = join(&link, part);
        }
        if link == self.dest {
            return Err(refused());
        }
        let union = Union::new(self.into, self.below).map_err(|source| PathError::io("open", b"", source))?;
        let walked = walk(&union, &link, Follow::No)
            .map_err(|source| PathError::io("resolve the link target", &link, source))?;
        if walked.existing < walked.names.len() || walked.directory_depth == walked.names.len() {
            return Err(refused());
        }
        let linked = clean(&walked.path());
        if linked == target {
            return Ok(());
        }
        if let Some(text) = &walked.link {
            // A link to a symbolic link is made as a second symbolic link with the same target.
            self.made(parent, name, target, || rustix::fs::symlinkat(&text[..], parent, name))?;
            return self.set_by_name(parent, name, target, entry);
        }
        let (linked_parent, linked_name) = split(&linked);
        let in_layer = match self.into.open_dir_no_links(linked_parent) {
            Ok(dir) => dir.child(linked_name)?.map(|found| (dir, found)),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error.into()),
        };
        match in_layer {
            Some((dir, Metadata { kind: Kind::File, .. })) => self
                .made(parent, name, target, || rustix::fs::linkat(&dir, linked_name, parent, name, AtFlags::empty()))?,
            None if self.copy_up(parent, name, target, &linked)? => {}
            Some(_) | None => return Err(refused()),
        }
        self.set_linked(parent, name, target, entry)
    }

    /// Sets what the entry of a second name says of the file: the last word counts, as with Docker.
    ///
    /// Reference: Moby, `go-archive`, `createTarFile`.
    fn set_linked(&mut self, parent: &Dir, name: &[u8], target: &[u8], entry: &TarEntry) -> Result<(), UnpackError> {
        let failed = |source: Errno| PathError::io("set the attributes of", target, source);
        let file = parent.open_file_here(name)?;
        let metadata = Metadata::from_stat(&rustix::fs::fstat(&file).map_err(failed)?);
        let (uid, gid) = self.ids(entry);
        // A file that gets an owner, be it the one that it has, loses its capabilities; many archives name them only once.
        // Ids that are not mapped here were counted with the first name.
        if (metadata.uid, metadata.gid) != (uid, gid) {
            chown(&file, uid, gid).map_err(failed)?;
        }
        rustix::fs::fchmod(&file, Mode::from_raw_mode(entry.mode)).map_err(failed)?;
        self.set_xattrs(&file, target, entry)?;
        rustix::fs::futimens(&file, &entry.modified.timestamps())
            .map_err(|source| PathError::io("set the time of", target, source).into())
    }

    /// Copies a regular file of the tree below into the layer, for a hard link to it.
    fn copy_up(&mut self, parent: &Dir, name: &[u8], target: &[u8], linked: &[u8]) -> Result<bool, UnpackError> {
        let Some(below) = self.below else { return Ok(false) };
        let (linked_parent, linked_name) = split(linked);
        let Some(directory) = below.directory(linked_parent)? else { return Ok(false) };
        let Ok(mut source) = directory.open_file(linked_name) else { return Ok(false) };
        let failed = |source: Errno| PathError::io("copy", target, source);
        let metadata = Metadata::from_stat(&rustix::fs::fstat(&source).map_err(failed)?);
        let xattrs = crate::dir::list_xattrs(&source).map_err(failed)?;
        self.clear(parent, name, target)?;
        let mut copy = parent.create_file(name, 0o600)?;
        std::io::copy(&mut source, &mut copy).map_err(|source| PathError::io("copy", target, source))?;
        if !chown(&copy, metadata.uid, metadata.gid).map_err(failed)? {
            self.applied.unmapped += 1;
        }
        rustix::fs::fchmod(&copy, Mode::from_raw_mode(metadata.mode)).map_err(failed)?;
        for xattr in &xattrs {
            crate::copy::set_best_effort(&copy, xattr).map_err(failed)?;
        }
        rustix::fs::futimens(&copy, &metadata.modified.timestamps()).map_err(failed)?;
        Ok(true)
    }

    fn special(&mut self, parent: &Dir, name: &[u8], target: &[u8], entry: &TarEntry) -> Result<(), UnpackError> {
        let (file_type, is_device) = match entry.kind {
            EntryKind::CharDevice => (FileType::CharacterDevice, true),
            EntryKind::BlockDevice => (FileType::BlockDevice, true),
            _ => (FileType::Fifo, false),
        };
        let device = rustix::fs::makedev(entry.device.0, entry.device.1);
        let mode = Mode::from_raw_mode(entry.mode);
        let create = || rustix::fs::mknodat(parent, name, file_type, mode, device);
        match self.made(parent, name, target, create) {
            Err(UnpackError::Path(PathError::Io { source, .. }))
                if is_device && source.raw_os_error() == Some(Errno::PERM.raw_os_error()) =>
            {
                self.applied.devices_skipped += 1;
                return Ok(());
            }
            result => result?,
        }
        self.set_by_name(parent, name, target, entry)?;
        let failed = |source: Errno| PathError::io("set the attributes of", target, source);
        // The node was made just now, so that there is no link to be followed.
        rustix::fs::chmodat(parent, name, mode, AtFlags::empty()).map_err(failed)?;
        rustix::fs::utimensat(parent, name, &entry.modified.timestamps(), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|source| failed(source).into())
    }

    fn ids(&self, entry: &TarEntry) -> (u32, u32) {
        self.owner.unwrap_or((entry.uid, entry.gid))
    }

    /// Sets owner, mode and attributes of an open file or directory that is as `found` until then. What it has already is
    /// not set again: most files are made with the right mode, for the user who makes them.
    fn set_open(
        &mut self,
        file: impl std::os::fd::AsFd,
        found: &Metadata,
        target: &[u8],
        entry: &TarEntry,
    ) -> Result<(), UnpackError> {
        let failed = |source: Errno| PathError::io("set the attributes of", target, source);
        let (uid, gid) = self.ids(entry);
        let same_owner = (found.uid, found.gid) == (uid, gid);
        if !same_owner && !chown(file.as_fd(), uid, gid).map_err(failed)? {
            self.applied.unmapped += 1;
        }
        // A new owner takes bits of the mode away.
        if !same_owner || found.mode != entry.mode {
            rustix::fs::fchmod(file.as_fd(), Mode::from_raw_mode(entry.mode)).map_err(failed)?;
        }
        self.set_xattrs(file, target, entry)
    }

    /// Sets the extended attributes of an open file or directory.
    fn set_xattrs(&mut self, file: impl std::os::fd::AsFd, target: &[u8], entry: &TarEntry) -> Result<(), UnpackError> {
        let failed = |source: Errno| PathError::io("set the attributes of", target, source);
        for xattr in &entry.xattrs {
            if !kept_xattr(&xattr.name) {
                self.applied.xattrs_dropped += 1;
                continue;
            }
            match set_xattr(file.as_fd(), &xattr.name, &xattr.value) {
                Ok(()) => {}
                Err(Errno::OPNOTSUPP | Errno::PERM | Errno::INVAL) => self.applied.xattrs_dropped += 1,
                Err(source) => return Err(failed(source).into()),
            }
        }
        Ok(())
    }

    /// Sets owner and time of what cannot be opened; a link is not followed.
    fn set_by_name(&mut self, parent: &Dir, name: &[u8], target: &[u8], entry: &TarEntry) -> Result<(), UnpackError> {
        let failed = |source: Errno| PathError::io("set the attributes of", target, source);
        let (uid, gid) = self.ids(entry);
        let (owner, group) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
        match rustix::fs::chownat(parent, name, Some(owner), Some(group), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(()) => {}
            Err(Errno::INVAL) => self.applied.unmapped += 1,
            Err(source) => return Err(failed(source).into()),
        }
        rustix::fs::utimensat(parent, name, &entry.modified.timestamps(), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|source| failed(source).into())
    }

    /// Hides what lower layers have in a directory, whatever this layer has in it.
    fn opaque(&mut self, path: &[u8], format: LayerFormat) -> Result<(), UnpackError> {
        let (parent_path, parent) = self.parent(split(path).0, path)?;
        if !parent_path.is_empty() {
            set_opaque(&parent, &parent_path, format)?;
        }
        Ok(())
    }

    /// Hides what lower layers have at `name`. What this layer has there stays.
    fn white_out(&mut self, path: &[u8], name: &[u8], format: LayerFormat) -> Result<(), UnpackError> {
        let (parent_path, parent) = self.parent(split(path).0, path)?;
        let target = join(&parent_path, name);
        match parent.child(name)? {
            None => rustix::fs::mknodat(&parent, name, FileType::CharacterDevice, Mode::empty(), 0)
                .map_err(|source| PathError::io("create whiteout", &target, source))?,
            Some(found) if found.kind == Kind::Directory => {
                set_opaque(&parent.open_dir_no_links(name)?, &target, format)?;
            }
            Some(_) => {}
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Applied, UnpackError> {
        self.places.finish()?;
        for (path, (inode, time)) in &self.times {
            let Ok(dir) = self.into.open_dir_no_links(path) else { continue };
            if dir.own_metadata()?.inode == *inode {
                rustix::fs::utimensat(&dir, c".", &time.timestamps(), AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(|source| PathError::io("set the time of", path, source))?;
            }
        }
        self.applied.unmapped += self.places.unmapped.load(std::sync::atomic::Ordering::Relaxed);
        self.applied.implied = self.implied.into_iter().collect();
        Ok(self.applied)
    }
}

fn set_opaque(dir: &Dir, target: &[u8], format: LayerFormat) -> Result<(), PathError> {
    set_xattr(dir, format.opaque_xattr(), b"y").map_err(|source| PathError::io("make opaque", target, source))
}

fn with_slash(path: &[u8]) -> Vec<u8> {
    let mut path = path.to_vec();
    if !path.ends_with(b"/") {
        path.push(b'/');
    }
    path
}

/// Writes an entry's content to where it belongs in the file.
fn write_content<R: Read>(
    reader: &mut TarReader<R>,
    file: &OwnedFd,
    target: &[u8],
    entry: &TarEntry,
) -> Result<(), UnpackError> {
    let whole = [(0, entry.size)];
    let mut regions = entry.regions.as_deref().unwrap_or(&whole).iter().copied();
    let (mut offset, mut left) = regions.next().unwrap_or((0, 0));
    // Archives spell out the holes that files have; on the disk they become holes again.
    let mut has_hole = entry.regions.is_some();
    reader.read_content(|mut bytes| {
        while !bytes.is_empty() {
            while left == 0 {
                (offset, left) = regions.next().ok_or(super::Malformed::Sparse)?;
            }
            let length = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let written = if length >= HOLE_BYTES_MIN && bytes[..length].iter().all(|byte| *byte == 0) {
                has_hole = true;
                length
            } else {
                rustix::io::pwrite(file, &bytes[..length], offset)
                    .map_err(|source| PathError::io("write", target, source))?
            };
            offset += written as u64;
            left -= written as u64;
            bytes = &bytes[written..];
        }
        Ok(())
    })?;
    if has_hole {
        rustix::fs::ftruncate(file, entry.size).map_err(|source| PathError::io("write", target, source))?;
    }
    Ok(())
}

/// What a path means in a layer.
enum Whiteout {
    No,
    /// A note of another storage driver, about nothing that is in the image.
    Ignored,
    Invalid,
    Opaque,
    Of(Vec<u8>),
}

fn whiteout(path: &[u8]) -> Whiteout {
    let (parent, name) = split(path);
    if components(parent).any(|part| part.starts_with(b".wh..wh.")) {
        return Whiteout::Ignored;
    }
    if components(parent).any(|part| part.starts_with(WHITEOUT_PREFIX)) {
        return Whiteout::Invalid;
    }
    match name.strip_prefix(WHITEOUT_PREFIX) {
        None => Whiteout::No,
        Some(_) if name == OPAQUE_NAME => Whiteout::Opaque,
        Some(b"" | b"." | b"..") => Whiteout::Invalid,
        Some(of) if of.starts_with(WHITEOUT_PREFIX) => Whiteout::Ignored,
        Some(of) => Whiteout::Of(of.to_vec()),
    }
}
