//! Trees written down as text, for tests that one can read.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use stave_tree::{Dir, LayerFormat, Layers};

/// Tells whether the test runs in a user namespace that does not have all ids.
pub(crate) fn in_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap();
    map.split_whitespace().last() != Some("4294967295")
}

/// How layers note things where the test runs.
pub(crate) fn format() -> LayerFormat {
    LayerFormat { userxattr: in_user_namespace() }
}

/// The attribute that marks a directory opaque where the test runs.
pub(crate) fn opaque_xattr() -> &'static str {
    if in_user_namespace() { "user.overlay.opaque" } else { "trusted.overlay.opaque" }
}

/// Says why a test does nothing here, if it cannot run.
pub(crate) fn is_root() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap();
    let ids: u64 = map.split_whitespace().skip(2).step_by(3).filter_map(|count| count.parse::<u64>().ok()).sum();
    let root = rustix::process::geteuid().is_root() && ids >= 65_536;
    if !root {
        eprintln!("skipped: needs root, or a user namespace in which it is root and has 65,536 ids");
    }
    root
}

/// Returns the tree that `layers`, lowest first, make together.
pub(crate) fn layers(layers: &[&Dir]) -> Layers {
    Layers::new(layers.iter().map(|layer| layer.try_clone().unwrap()).collect(), format())
}

/// A directory that vanishes with the test.
pub(crate) struct Scratch {
    temporary: tempfile::TempDir,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        Self { temporary: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.temporary.path().join(name)
    }

    /// Makes the directory `name` with what `spec` says in it and opens it.
    pub(crate) fn tree(&self, name: &str, spec: &str) -> Dir {
        let path = self.path(name);
        std::fs::create_dir_all(&path).unwrap();
        make(&path, spec);
        Dir::open_ambient(&path).unwrap()
    }

    pub(crate) fn open(&self, name: &str) -> Dir {
        Dir::open_ambient(&self.path(name)).unwrap()
    }
}

/// Makes what each line says: `path/` a directory, `path = text` a file, `path -> target` a link, `path == other` a hard
/// link, `path socket`, `path pipe`, `path whiteout`; after a path may come a mode in octal and an owner as `uid:gid`.
pub(crate) fn make(root: &Path, spec: &str) {
    for line in spec.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split(' ').collect();
        let path = root.join(words[0]);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).unwrap();
        }
        let rest = &words[1..];
        let mut attributes = rest;
        match rest.iter().position(|word| ["=", "->", "==", "socket", "pipe", "whiteout"].contains(word)) {
            None => std::fs::create_dir_all(&path).unwrap(),
            Some(index) => {
                attributes = &rest[..index];
                let value = rest[index + 1..].join(" ");
                match rest[index] {
                    "=" => std::fs::write(&path, value).unwrap(),
                    "->" => symlink(value, &path).unwrap(),
                    "==" => std::fs::hard_link(root.join(value), &path).unwrap(),
                    "socket" => drop(std::os::unix::net::UnixListener::bind(&path).unwrap()),
                    kind => {
                        let file_type = match kind {
                            "pipe" => rustix::fs::FileType::Fifo,
                            _ => rustix::fs::FileType::CharacterDevice,
                        };
                        let mode = rustix::fs::Mode::from_raw_mode(0o644);
                        rustix::fs::mknodat(rustix::fs::CWD, &path, file_type, mode, 0).unwrap();
                    }
                }
            }
        }
        for attribute in attributes {
            if let Some((uid, gid)) = attribute.split_once(':') {
                std::os::unix::fs::lchown(&path, Some(uid.parse().unwrap()), Some(gid.parse().unwrap())).unwrap();
            }
        }
        for attribute in attributes.iter().filter(|attribute| !attribute.contains(':')) {
            let mode = u32::from_str_radix(attribute, 8).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
    }
}

/// Writes down a tree: one line for each entry, sorted, the root left out.
pub(crate) fn show(dir: &Dir) -> String {
    let mut lines = Vec::new();
    show_into(dir, "", &mut lines);
    lines.join("\n")
}

fn show_into(dir: &Dir, path: &str, lines: &mut Vec<String>) {
    for entry in dir.list(path.as_bytes()).unwrap() {
        let name = format!("{path}{}", entry.name.escape_ascii());
        let raw = [path.as_bytes(), &entry.name].concat();
        let metadata = entry.metadata;
        let is_link = metadata.kind == stave_tree::Kind::Link;
        let slash = if metadata.kind == stave_tree::Kind::Directory { "/" } else { "" };
        let mode = if is_link || metadata.is_whiteout() { String::new() } else { format!(" {:o}", metadata.mode) };
        let owner = match (metadata.uid, metadata.gid) {
            (0, 0) => String::new(),
            (uid, gid) => format!(" {uid}:{gid}"),
        };
        let content = match metadata.kind {
            stave_tree::Kind::File => format!(" = {}", dir.read_file(&raw, 1 << 30).unwrap().escape_ascii()),
            stave_tree::Kind::Link => format!(" -> {}", dir.read_link(&raw).unwrap().escape_ascii()),
            stave_tree::Kind::Pipe => " pipe".to_owned(),
            stave_tree::Kind::Socket => " socket".to_owned(),
            stave_tree::Kind::CharDevice if metadata.is_whiteout() => " whiteout".to_owned(),
            stave_tree::Kind::CharDevice => " device".to_owned(),
            stave_tree::Kind::BlockDevice => " block device".to_owned(),
            stave_tree::Kind::Directory => String::new(),
        };
        let line = format!("{name}{slash}{mode}{owner}{content}");
        lines.push(line);
        if metadata.kind == stave_tree::Kind::Directory {
            show_into(dir, &format!("{name}/"), lines);
        }
    }
}

/// Compares what [`show`] says with an indented text.
#[track_caller]
pub(crate) fn assert_tree(dir: &Dir, expected: &str) {
    let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(show(dir), expected.join("\n"));
}

/// Everything about a directory of the host that an attack could change.
pub(crate) fn fingerprint(path: &Path) -> Vec<String> {
    let mut all = Vec::new();
    let metadata = std::fs::symlink_metadata(path).unwrap();
    let xattrs = {
        let mut names = [0_u8; 4096];
        let length = rustix::fs::llistxattr(path, &mut names).unwrap_or(0);
        names[..length].escape_ascii().to_string()
    };
    let content = if metadata.is_file() { std::fs::read(path).unwrap() } else { Vec::new() };
    all.push(format!(
        "{} ino {} mode {:o} owner {}:{} links {} mtime {}.{} xattrs {xattrs} = {}",
        path.as_os_str().as_bytes().escape_ascii(),
        metadata.ino(),
        metadata.mode(),
        metadata.uid(),
        metadata.gid(),
        metadata.nlink(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        content.escape_ascii()
    ));
    if metadata.is_dir() {
        let mut names: Vec<PathBuf> = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        all.extend(names.iter().flat_map(|path| fingerprint(path)));
    }
    all
}
