//! Turns an archive of `save` into what is compared: the configuration, the history, the entries of each layer, and the
//! tree that they make.

use serde_json::Value;
use stave_oci::{BlobDigest, DiffId};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::Path;

/// Times after this one are those of the build and not compared.
const NOW: u64 = 1_700_000_000;
/// Contents up to this length are shown, longer ones digested.
const SHOWN_MAX: usize = 300;

/// An image.
#[derive(Debug, Clone)]
pub struct Saved {
    /// The configuration's JSON.
    pub config: Value,
    /// The layers, lowest first.
    pub layers: Vec<Layer>,
}

/// The entries of a layer, by path.
#[derive(Debug, Clone)]
pub struct Layer {
    /// The digest of its tar.
    pub diff_id: DiffId,
    /// Each entry.
    pub entries: BTreeMap<String, Entry>,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// `file`, `dir`, `link`, `hard`, `fifo`, `char`, `block`.
    pub kind: &'static str,
    mode: u32,
    owner: (u64, u64),
    /// The content of a file, the target of a link, the numbers of a device.
    what: String,
    /// Seconds, or nothing for a time of the build.
    mtime: Option<u64>,
    xattrs: BTreeMap<String, String>,
}

impl Entry {
    /// `file 0644 0:0 "content" @1600000000 user.name=value`, without the time of what is not a file where `times` is not
    /// set.
    #[must_use]
    pub fn line(&self, times: bool) -> String {
        let (uid, gid) = self.owner;
        let mut line = match self.kind {
            "hard" => format!("hard {}", self.what),
            "link" => format!("link {uid}:{gid} {}", self.what),
            kind => format!("{kind} {:04o} {uid}:{gid} {}", self.mode, self.what).trim_end().to_owned(),
        };
        if let Some(mtime) = self.mtime.filter(|_| times || self.kind == "file") {
            line.push_str(" @");
            line.push_str(&mtime.to_string());
        }
        for (name, value) in &self.xattrs {
            line.extend([" ", name, "=", value]);
        }
        line
    }
}

impl Saved {
    /// Reads an archive as `docker save` writes it. `hidden` texts, such as addresses of this run, are replaced.
    #[must_use]
    pub fn read(path: &Path, hidden: &[(String, &str)]) -> Self {
        let (files, links) = members(path);
        let file = |name: &str| files.get(name).or_else(|| files.get(links.get(name)?));
        let manifest: Value = serde_json::from_slice(&files["manifest.json"]).expect("JSON");
        let text = |value: &Value| value.as_str().expect("a name").to_owned();
        let mut config = String::from_utf8_lossy(&files[&text(&manifest[0]["Config"])]).into_owned();
        for (address, name) in hidden {
            config = config.replace(address, name);
        }
        let config = serde_json::from_str(&config).expect("JSON");
        let names = manifest[0]["Layers"].as_array().map(Vec::as_slice).unwrap_or_default();
        let layers = names.iter().map(|name| Layer::read(file(&text(name)).expect("a layer that the manifest names")));
        Self { config, layers: layers.collect() }
    }

    /// The history's lines: what made each entry, and whether it made a layer.
    #[must_use]
    pub fn history(&self) -> Vec<(String, bool)> {
        let entries = self.config["history"].as_array().map(Vec::as_slice).unwrap_or_default();
        let line = |entry: &Value| {
            let text = entry["created_by"].as_str().unwrap_or_default().to_owned();
            (text, entry["empty_layer"].as_bool().unwrap_or(false))
        };
        entries.iter().map(line).collect()
    }

    /// The tree that the layers make, by path.
    #[must_use]
    pub fn tree(&self) -> BTreeMap<String, Entry> {
        let mut tree: BTreeMap<String, Entry> = BTreeMap::new();
        for layer in &self.layers {
            for path in layer.entries.keys() {
                let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
                let below = |name: &str| if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") };
                if name == ".wh..wh..opq" {
                    remove_below(&mut tree, dir);
                } else if let Some(removed) = name.strip_prefix(".wh.") {
                    tree.remove(&below(removed));
                    remove_below(&mut tree, &below(removed));
                }
            }
            for (path, entry) in &layer.entries {
                if path.rsplit('/').next().is_some_and(|name| name.starts_with(".wh.")) {
                    continue;
                }
                if entry.kind != "dir" {
                    remove_below(&mut tree, path);
                }
                tree.insert(path.clone(), entry.clone());
            }
        }
        let resolved = tree.iter().map(|(path, entry)| (path.clone(), resolved(entry, &tree))).collect();
        tree = resolved;
        tree
    }
}

/// What a hard link leads to, as an entry of its own.
fn resolved(entry: &Entry, tree: &BTreeMap<String, Entry>) -> Entry {
    let mut found = entry;
    for _ in 0..4 {
        match tree.get(&found.what).filter(|_| found.kind == "hard") {
            Some(next) => found = next,
            None => break,
        }
    }
    found.clone()
}

fn remove_below(tree: &mut BTreeMap<String, Entry>, dir: &str) {
    let prefix = if dir.is_empty() { String::new() } else { format!("{dir}/") };
    let below: BTreeSet<String> = tree.keys().filter(|path| path.starts_with(&prefix)).cloned().collect();
    tree.retain(|path, _| !below.contains(path));
}

type Members = (BTreeMap<String, Vec<u8>>, BTreeMap<String, String>);

/// The files of an archive, and its links with what they lead to.
fn members(path: &Path) -> Members {
    let file = fs::File::open(path).expect("an archive");
    let (mut files, mut links) = (BTreeMap::new(), BTreeMap::new());
    for entry in tar::Archive::new(file).entries().expect("a tar") {
        let mut entry = entry.expect("an entry");
        let name = entry.path().expect("a path").display().to_string();
        if let Some(link) = entry.link_name().expect("a link") {
            // A layer that occurs twice is stored once.
            let target = Path::new(&name).with_file_name("").join(link).display().to_string();
            links.insert(name, target.split("/../").last().unwrap_or_default().to_owned());
            continue;
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).expect("an entry's bytes");
        files.insert(name, bytes);
    }
    (files, links)
}

impl Layer {
    fn read(bytes: &[u8]) -> Self {
        let mut plain = Vec::new();
        if bytes.starts_with(&[0x1f, 0x8b]) {
            flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut plain).expect("gzip");
        } else {
            plain.extend_from_slice(bytes);
        }
        let mut entries = BTreeMap::new();
        for entry in tar::Archive::new(&plain[..]).entries().expect("a tar") {
            let mut entry = entry.expect("an entry");
            let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let path = clean(&path);
            let read = read_entry(&mut entry);
            entries.insert(path, read);
        }
        Self { diff_id: DiffId::of(&plain), entries }
    }
}

fn clean(path: &str) -> String {
    path.trim_start_matches("./").trim_matches('/').to_owned()
}

fn read_entry(entry: &mut tar::Entry<'_, &[u8]>) -> Entry {
    let mut xattrs = BTreeMap::new();
    if let Ok(Some(extensions)) = entry.pax_extensions() {
        for extension in extensions.flatten() {
            if let Some(name) = extension.key().ok().and_then(|key| key.strip_prefix("SCHILY.xattr.")) {
                let value = extension.value_bytes().escape_ascii().to_string();
                xattrs.insert(name.to_owned(), value);
            }
        }
    }
    let mut content = Vec::new();
    entry.read_to_end(&mut content).expect("an entry's bytes");
    let header = entry.header();
    let link = || String::from_utf8_lossy(&entry.link_name_bytes().unwrap_or_default()).into_owned();
    let device = || {
        let number = |read: std::io::Result<Option<u32>>| read.ok().flatten().unwrap_or(0);
        format!("{},{}", number(header.device_major()), number(header.device_minor()))
    };
    let (kind, what) = match header.entry_type() {
        tar::EntryType::Directory => ("dir", String::new()),
        tar::EntryType::Symlink => ("link", link()),
        tar::EntryType::Link => ("hard", clean(&link())),
        tar::EntryType::Fifo => ("fifo", String::new()),
        tar::EntryType::Char => ("char", device()),
        tar::EntryType::Block => ("block", device()),
        _ => ("file", shown(&content)),
    };
    let number = |read: std::io::Result<u64>| read.expect("a number");
    Entry {
        kind,
        mode: header.mode().expect("a mode") & 0o7777,
        owner: (number(header.uid()), number(header.gid())),
        what,
        mtime: Some(number(header.mtime())).filter(|mtime| *mtime < NOW),
        xattrs,
    }
}

fn shown(content: &[u8]) -> String {
    match std::str::from_utf8(content) {
        Ok(text) if text.len() <= SHOWN_MAX => format!("{text:?}"),
        _ => format!("{} bytes {}", content.len(), BlobDigest::of(content)),
    }
}
