//! Where a step's own mounts go: finds each place in the root, and makes what is missing of it outside of every layer.
//!
//! The layers are looked at before the root is mounted. What they lack for a mount point becomes a layer of its own that
//! is in memory, right below the step's changes: on top of what the image has, so that a deletion in the image does not
//! hide it, and never part of what the step made. See `docs/decisions/0007-mount-points.md`.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat, fgetxattr,
    flistxattr, fsetxattr, fstat, fstatfs, mkdirat, openat, readlinkat, utimensat,
};
use rustix::io::Errno as Code;

use crate::error::During;
use crate::rootfs::{Layers, Scaffold};
use crate::step::Reporter;
use crate::volumes::Volume;
use crate::wire::{Report, StepMessage};
use crate::{Outlet, SandboxError, inside};

/// Links that are followed for one target at most, like the kernel.
const LINKS_MAX: usize = 40;
/// Bytes of an extended attribute at most.
///
/// Reference: Linux `include/uapi/linux/limits.h`, `XATTR_SIZE_MAX` and `XATTR_LIST_MAX`.
const ATTRIBUTE_BYTES_MAX: usize = 65536;

/// `PROC_SUPER_MAGIC`, `SYSFS_MAGIC`, `CGROUP2_SUPER_MAGIC`: what describes the kernel stays uncovered.
const OF_THE_KERNEL: [i64; 3] = [0x9fa0, 0x6265_6572, 0x6367_7270];

fn refuse(target: &str, reason: &str) -> SandboxError {
    SandboxError::MountTarget { target: target.to_owned(), reason: reason.to_owned() }
}

fn is_directory(status: &Stat) -> bool {
    FileType::from_raw_mode(status.st_mode) == FileType::Directory
}

/// A target with all links of the image followed.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    /// Names from the root on, without links.
    path: Vec<Vec<u8>>,
    /// How many of them the image has.
    existing: usize,
    /// Whether it is on or below an earlier mount, or in the step's `/dev`, where the image does not matter.
    covered: bool,
}

/// Follows `target` in `view`, whose links lead to other places in it only.
fn find(view: &OwnedFd, target: &str, covers: &[Vec<Vec<u8>>]) -> Result<Place, SandboxError> {
    let split = |text: &[u8]| text.split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect::<Vec<_>>();
    let mut pending: VecDeque<Vec<u8>> = split(target.as_bytes()).into();
    let mut place = Place { path: Vec::new(), existing: 0, covered: false };
    let mut links = 0;
    while let Some(name) = pending.pop_front() {
        match &name[..] {
            b"" | b"." => continue,
            b".." => {
                place.path.pop();
                place.existing = place.existing.min(place.path.len());
                continue;
            }
            _ => place.path.push(name),
        }
        if place.existing + 1 == place.path.len() {
            let path = place.path.join(&b'/');
            match inside::open_without_links(view, &*path, OFlags::PATH) {
                Err(Code::NOENT) => {}
                Err(Code::NOTDIR) => return Err(refuse(target, "a part of its path in the image is a file")),
                Err(errno) => return Err(errno).during("look at", target),
                Ok(found) => match FileType::from_raw_mode(fstat(&found).during("look at", target)?.st_mode) {
                    FileType::Symlink => {
                        links += 1;
                        if links > LINKS_MAX {
                            return Err(refuse(target, "its path in the image goes through too many symbolic links"));
                        }
                        let link = readlinkat(&found, "", Vec::new()).during("read link", target)?;
                        place.path.pop();
                        if link.to_bytes().starts_with(b"/") {
                            (place.path, place.existing) = (Vec::new(), 0);
                        }
                        split(link.to_bytes()).into_iter().rev().for_each(|name| pending.push_front(name));
                        continue;
                    }
                    _ => place.existing += 1,
                },
            }
        }
        if covers.contains(&place.path) {
            return Ok(Place { covered: true, ..place });
        }
        if place.path == [b"dev"] && pending.iter().any(|name| !matches!(&name[..], b"" | b".")) {
            return Ok(Place { covered: true, ..place });
        }
    }
    match place.path.first().map(Vec::as_slice) {
        None => Err(refuse(target, "that is the whole root")),
        Some(b"proc" | b"sys") => Err(refuse(target, "it is a part of `/proc` or `/sys`")),
        Some(b"dev") if place.path.len() == 1 => Err(refuse(target, "it is the step's `/dev`")),
        Some(_) => Ok(place),
    }
}

/// Files in which distributions keep the certificates that programs trust.
///
/// Reference: `crypto/x509/root_linux.go` of Go, which lists where they are.
const BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// Largest file of trusted certificates that is shown with others in front, in bytes. A larger one is shown as it is.
const BUNDLE_BYTES_MAX: u64 = 4 << 20;

/// Bytes of all files that are made for the step's way out, at most.
pub(crate) fn bytes(step: &StepMessage<'_>) -> u64 {
    let each = |outlet: &Outlet| BUNDLE_BYTES_MAX + outlet.trusted.len() as u64;
    step.outlet.as_ref().as_ref().map_or(0, |outlet| BUNDLES.len() as u64 * each(outlet))
}

/// Makes a layer with what the image lacks for the targets of `volumes`, and marks those, and with its files of trusted
/// certificates as a step with this way out sees them; none if there is nothing in it.
pub(crate) fn missing(
    layers: &Layers<'_>,
    volumes: &mut [Volume<'_>],
    outlet: Option<&Outlet>,
    scaffold: &Scaffold,
    reporter: &Reporter<'_>,
) -> Result<Option<OwnedFd>, SandboxError> {
    if volumes.is_empty() && outlet.is_none() {
        return Ok(None);
    }
    let view = scaffold.view(layers, "view")?;
    let mut covers: Vec<Vec<Vec<u8>>> = Vec::new();
    let mut layer = None;
    for volume in volumes {
        if !volume.target.starts_with('/') || volume.target.split('/').any(|name| name == "..") {
            return Err(refuse(&volume.target, "it is not an absolute path"));
        }
        let place = find(&view, &volume.target, &covers)?;
        if place.covered {
            continue;
        }
        if place.existing < place.path.len() {
            volume.fresh = true;
            Stubs::in_place(&mut layer, scaffold)?.add(
                &view,
                &place,
                volume.is_directory(),
                &volume.target,
                reporter,
            )?;
        }
        covers.push(place.path);
    }
    if let Some(outlet) = outlet {
        let mut extended: Vec<String> = Vec::new();
        for bundle in BUNDLES {
            // Where the image leads nowhere, or a mount shows something else, there is no file of the image.
            let Ok(place) = find(&view, bundle, &covers) else { continue };
            let Ok(path) = String::from_utf8(place.path.join(&b'/')) else { continue };
            if place.covered || place.existing < place.path.len() || extended.contains(&path) {
                continue;
            }
            if let Some(content) = content(&view, &path)? {
                let layer = Stubs::in_place(&mut layer, scaffold)?;
                layer.extend(&view, &place, [&outlet.trusted, &content], reporter)?;
                extended.push(path);
            }
        }
        reporter.send(&Report::Extended(extended), &[])?;
    }
    layer.map(Stubs::finish).transpose()
}

/// Returns what a file has in it; nothing if it is no file, or too large.
fn content(view: &OwnedFd, path: &str) -> Result<Option<Vec<u8>>, SandboxError> {
    let found = inside::open_without_links(view, path, OFlags::PATH).during("open", path)?;
    let status = fstat(&found).during("look at", path)?;
    let is_file = FileType::from_raw_mode(status.st_mode) == FileType::RegularFile;
    if !is_file || u64::try_from(status.st_size).unwrap_or(u64::MAX) > BUNDLE_BYTES_MAX {
        return Ok(None);
    }
    let file = inside::open_without_links(view, path, OFlags::RDONLY).during("open", path)?;
    let mut bytes = Vec::new();
    File::from(file).take(BUNDLE_BYTES_MAX).read_to_end(&mut bytes).during("read", path)?;
    Ok(Some(bytes))
}

/// The layer that is made.
struct Stubs {
    tree: OwnedFd,
    /// Directories of the image that are there again, and the times that they show.
    copied: Vec<(Vec<u8>, Timestamps)>,
}

impl Stubs {
    /// Returns the layer, which is made if there is none yet.
    fn in_place<'a>(layer: &'a mut Option<Self>, scaffold: &Scaffold) -> Result<&'a mut Self, SandboxError> {
        let made = match layer.take() {
            Some(made) => made,
            None => Self { tree: scaffold.directory("stubs")?, copied: Vec::new() },
        };
        Ok(layer.insert(made))
    }

    /// Makes a file of the image again, with other content.
    fn extend(
        &mut self,
        view: &OwnedFd,
        place: &Place,
        parts: [&[u8]; 2],
        reporter: &Reporter<'_>,
    ) -> Result<(), SandboxError> {
        let path = place.path.join(&b'/');
        let target = String::from_utf8_lossy(&path).into_owned();
        self.add(view, place, false, &target, reporter)?;
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(openat(&self.tree, &*path, flags, Mode::empty()).during("open", &target)?);
        for part in parts {
            file.write_all(part).during("write", &target)?;
        }
        let from = inside::open_without_links(view, &*path, OFlags::RDONLY).during("open", &target)?;
        let status = fstat(&from).during("look at", &target)?;
        self.imitate((&from, &OwnedFd::from(file)), &status, path, &target, reporter)
    }

    fn add(
        &mut self,
        view: &OwnedFd,
        place: &Place,
        directory: bool,
        target: &str,
        reporter: &Reporter<'_>,
    ) -> Result<(), SandboxError> {
        for length in 1..=place.path.len() {
            let path = place.path[..length].join(&b'/');
            if length == place.path.len() && !directory {
                let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                openat(&self.tree, &*path, flags, Mode::from_raw_mode(0o644)).during("make", target)?;
                continue;
            }
            match mkdirat(&self.tree, &*path, Mode::from_raw_mode(0o755)) {
                Err(Code::EXIST) => {}
                other => {
                    other.during("make", target)?;
                    if length <= place.existing {
                        self.copy(view, path, target, reporter)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Makes a directory look as it does in the image: the topmost one is what a merged directory looks like.
    fn copy(
        &mut self,
        view: &OwnedFd,
        path: Vec<u8>,
        target: &str,
        reporter: &Reporter<'_>,
    ) -> Result<(), SandboxError> {
        let from =
            inside::open_without_links(view, &*path, OFlags::RDONLY | OFlags::DIRECTORY).during("open", target)?;
        let status = fstat(&from).during("look at", target)?;
        if !is_directory(&status) {
            return Err(refuse(target, "a part of its path in the image is a file"));
        }
        let to = inside::open_without_links(&self.tree, &*path, OFlags::RDONLY | OFlags::DIRECTORY)
            .during("open", target)?;
        self.imitate((&from, &to), &status, path, target, reporter)
    }

    /// Gives what was made at `path` the owner, the mode, the attributes and, at the end, the time of what is there in the
    /// image.
    fn imitate(
        &mut self,
        (from, to): (&OwnedFd, &OwnedFd),
        status: &Stat,
        path: Vec<u8>,
        target: &str,
        reporter: &Reporter<'_>,
    ) -> Result<(), SandboxError> {
        if copy_attributes(from, to).is_err() {
            let shown = String::from_utf8_lossy(&path).into_owned();
            reporter.note(format!("the step sees `/{shown}` without its extended attributes"))?;
        }
        let (uid, gid) = (Uid::from_raw(status.st_uid), Gid::from_raw(status.st_gid));
        chownat(&self.tree, &*path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).during("make", target)?;
        chmodat(&self.tree, &*path, Mode::from_raw_mode(status.st_mode & 0o7777), AtFlags::empty())
            .during("make", target)?;
        let nanoseconds = |number: u64| i64::try_from(number).unwrap_or_default();
        let time = Timespec { tv_sec: status.st_mtime, tv_nsec: nanoseconds(status.st_mtime_nsec) };
        self.copied.push((path, Timestamps { last_access: time, last_modification: time }));
        Ok(())
    }

    /// Sets the times, after everything is in its directory.
    fn finish(self) -> Result<OwnedFd, SandboxError> {
        for (path, times) in self.copied.iter().rev() {
            utimensat(&self.tree, &**path, times, AtFlags::SYMLINK_NOFOLLOW)
                .during("set the times of", "a mount point")?;
        }
        Ok(self.tree)
    }
}

fn copy_attributes(from: &OwnedFd, to: &OwnedFd) -> Result<(), Code> {
    let mut names = vec![0; ATTRIBUTE_BYTES_MAX];
    let length = match flistxattr(from, &mut names[..]) {
        Err(Code::NOTSUP) => 0,
        other => other?,
    };
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; ATTRIBUTE_BYTES_MAX];
        let length = fgetxattr(from, name, &mut value[..])?;
        fsetxattr(to, name, &value[..length], XattrFlags::empty())?;
    }
    Ok(())
}

/// Opens `target` in the mounted root, to be mounted on, and answers whether it had to be made. What is missing of it is
/// in an earlier mount, and made there.
pub(crate) fn open(root: &OwnedFd, target: &str, directory: bool) -> Result<(OwnedFd, bool), SandboxError> {
    let mut made = false;
    let place = match inside::open(root, target, OFlags::PATH) {
        Err(Code::NOENT) => {
            made = true;
            make(root, target, directory)?
        }
        Err(Code::NOTDIR) => return Err(refuse(target, "a part of its path is a file")),
        Err(Code::LOOP) => return Err(refuse(target, "its path goes through too many symbolic links")),
        other => other.during("open", target)?,
    };
    if fstatfs(&place).is_ok_and(|found| OF_THE_KERNEL.contains(&found.f_type)) {
        return Err(refuse(target, "it is a part of `/proc` or `/sys`"));
    }
    let status = fstat(&place).during("look at", target)?;
    let (found, expected) = match (is_directory(&status), directory) {
        (true, false) => ("a directory", "a file"),
        (false, true) => ("a file", "a directory"),
        _ => return Ok((place, made)),
    };
    Err(SandboxError::MountPoint { path: target.to_owned(), found: found.to_owned(), expected: expected.to_owned() })
}

fn make(root: &OwnedFd, target: &str, directory: bool) -> Result<OwnedFd, SandboxError> {
    let own_device = fstat(root).during("look at", "/")?.st_dev;
    let names: Vec<&str> = target.split('/').filter(|name| !name.is_empty()).collect();
    let mut parent = inside::open(root, "/", OFlags::PATH).during("open", "/")?;
    let mut path = String::new();
    for (index, name) in names.iter().enumerate() {
        path.push('/');
        path.push_str(name);
        parent = match inside::open(root, &*path, OFlags::PATH) {
            Err(Code::NOENT) => {
                // Whatever happens, nothing is ever made in what becomes the step's layer.
                if fstat(&parent).during("look at", &path)?.st_dev == own_device {
                    return Err(refuse(target, "its path in the image leads nowhere"));
                }
                let made = if directory || index + 1 < names.len() {
                    mkdirat(&parent, *name, Mode::from_raw_mode(0o755))
                } else {
                    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    openat(&parent, *name, flags, Mode::from_raw_mode(0o644)).map(drop)
                };
                match made {
                    Err(Code::ROFS) => {
                        return Err(refuse(target, "the read-only mount that it is in does not have it"));
                    }
                    other => other.during("make", target)?,
                }
                inside::open(root, &*path, OFlags::PATH)
            }
            other => other,
        }
        .during("open", target)?;
    }
    Ok(parent)
}
