//! Turns a description of files into the bytes of a layer tar, the same bytes for the same description.

use std::io::Cursor;
use tar::{Builder, EntryType, Header};

/// The files of a layer, in the order in which they go into its tar.
#[derive(Debug, Default, Clone)]
pub struct Rootfs {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    path: String,
    kind: EntryType,
    mode: u32,
    owner: (u64, u64),
    mtime: u64,
    link: Option<String>,
    content: Vec<u8>,
}

impl Rootfs {
    /// No files at all.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A root file system in which `sh` and the usual small tools run: `busybox`, a link for each of `applets`,
    /// `/etc/passwd`, `/etc/group`, `/tmp`, `/root`.
    #[must_use]
    pub fn of_busybox(busybox: Vec<u8>, applets: &[impl AsRef<str>]) -> Self {
        let mut rootfs = Self::new();
        for dir in ["bin", "dev", "etc", "home", "proc", "sbin", "sys", "usr", "usr/bin", "usr/sbin", "var"] {
            rootfs.dir(dir, 0o755);
        }
        rootfs.dir("root", 0o700).dir("tmp", 0o1777).file("bin/busybox", 0o755, busybox);
        for applet in applets {
            rootfs.symlink(&format!("bin/{}", applet.as_ref()), "/bin/busybox");
        }
        rootfs.file("etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n");
        rootfs.file("etc/group", 0o644, "root:x:0:\nusers:x:100:\nnobody:x:65534:\n");
        rootfs
    }

    /// Adds a directory.
    pub fn dir(&mut self, path: &str, mode: u32) -> &mut Self {
        self.entry(&format!("{path}/"), EntryType::Directory, mode, None, Vec::new());
        self
    }

    /// Adds a symbolic link to `target`.
    pub fn symlink(&mut self, path: &str, target: &str) -> &mut Self {
        self.entry(path, EntryType::Symlink, 0o777, Some(target), Vec::new());
        self
    }

    /// Adds another name of the entry `target`.
    pub fn hard_link(&mut self, path: &str, target: &str) -> &mut Self {
        self.entry(path, EntryType::Link, 0o644, Some(target), Vec::new());
        self
    }

    /// Adds a character device 0:0, overlayfs's own mark of a removed name.
    pub fn null_device(&mut self, path: &str) -> &mut Self {
        self.entry(path, EntryType::Char, 0o644, None, Vec::new());
        self
    }

    /// Adds a pipe with a name.
    pub fn fifo(&mut self, path: &str) -> &mut Self {
        self.entry(path, EntryType::Fifo, 0o666, None, Vec::new());
        self
    }

    /// Adds an OCI whiteout of `name` in `dir`: `.wh.name`.
    pub fn whiteout(&mut self, dir: &str, name: &str) -> &mut Self {
        self.entry(&format!("{dir}/.wh.{name}"), EntryType::Regular, 0o644, None, Vec::new());
        self
    }

    /// Adds a file.
    pub fn file(&mut self, path: &str, mode: u32, content: impl Into<Vec<u8>>) -> &mut Self {
        self.entry(path, EntryType::Regular, mode, None, content.into());
        self
    }

    /// Gives the entry that was added last to `uid` and `gid`.
    pub fn owned_by(&mut self, uid: u64, gid: u64) -> &mut Self {
        if let Some(last) = self.entries.last_mut() {
            last.owner = (uid, gid);
        }
        self
    }

    fn entry(&mut self, path: &str, kind: EntryType, mode: u32, link: Option<&str>, content: Vec<u8>) {
        let link = link.map(str::to_owned);
        self.entries.push(Entry { path: path.to_owned(), kind, mode, owner: (0, 0), mtime: 0, link, content });
    }

    /// The tar of these files.
    #[must_use]
    pub fn tar(&self) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for entry in &self.entries {
            let mut header = Header::new_gnu();
            header.set_entry_type(entry.kind);
            header.set_mode(entry.mode);
            header.set_uid(entry.owner.0);
            header.set_gid(entry.owner.1);
            header.set_mtime(entry.mtime);
            header.set_size(entry.content.len() as u64);
            // Written as they are: the library refuses the names that an attacker would choose.
            if entry.kind == EntryType::Char {
                header.set_device_major(0).expect("a GNU header has this field");
                header.set_device_minor(0).expect("a GNU header has this field");
            }
            let old = header.as_old_mut();
            put(&mut old.name, &entry.path);
            put(&mut old.linkname, entry.link.as_deref().unwrap_or_default());
            header.set_cksum();
            builder.append(&header, Cursor::new(&entry.content)).expect("writing to memory does not fail");
        }
        builder.into_inner().expect("writing to memory does not fail")
    }
}

fn put(field: &mut [u8; 100], text: &str) {
    assert!(text.len() <= field.len(), "a fixture's names have at most 100 bytes");
    field[..text.len()].copy_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_files_give_the_same_tar() {
        let mut rootfs = Rootfs::new();
        rootfs.dir("etc", 0o755).symlink("etc/link", "../x").file("x", 0o600, "text");
        assert_eq!(rootfs.tar(), rootfs.clone().tar());
        let bytes = rootfs.tar();
        let names: Vec<_> = tar::Archive::new(&bytes[..])
            .entries()
            .expect("a tar")
            .map(|entry| entry.expect("an entry").path().expect("a path").display().to_string())
            .collect();
        assert_eq!(names, ["etc/", "etc/link", "x"]);
    }
}
