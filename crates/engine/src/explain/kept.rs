//! What is kept of the latest builds of one thing: a directory of the store, which may be deleted at any time.
//!
//! `builds` is a line of text with a stamp, and then a line of JSON for each build, the latest first; `<digest>.files` are the
//! files that a step of one of them read; `key` keys the digests of what is secret. See `docs/decisions/0014-explained-misses.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use stave_explain::{Ingredients, Manifest, Read};
use stave_tree::Dir;

use crate::engine::Engine;

const BUILDS: &[u8] = b"builds";
const KEY: &[u8] = b"key";
const MAGIC: &str = "stave steps 1";

/// Builds of one thing that are kept: of different targets or platforms.
const BUILDS_MAX: usize = 8;
/// Most bytes of them.
const BUILDS_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Most bytes of a list of files that is kept. A tree of half a million files has one of about this size.
pub(super) const FILES_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Most things of which anything is kept.
const THINGS_MAX: usize = 256;

/// The directory of one thing.
pub(super) struct Kept {
    context: Dir,
    name: Vec<u8>,
}

impl Kept {
    /// Returns the place for the thing with this name: 32 hexadecimal digits.
    pub(super) fn open(engine: &Engine, name: &str) -> Option<Self> {
        let context = engine.store_dir(engine.store.context_rel_path()).ok()?;
        Some(Self { context, name: format!("{name}.steps").into_bytes() })
    }

    fn dir(&self) -> Option<Dir> {
        self.context.open_dir_no_links(&self.name).ok()
    }

    /// Whether the latest build is the one with this stamp.
    pub(super) fn is_latest(&self, stamp: &str) -> bool {
        let path = [&self.name, &b"/"[..], BUILDS].concat();
        let Ok(file) = self.context.open_file(&path) else { return false };
        let wanted = first_line(stamp);
        let mut start = vec![0; wanted.len()];
        std::io::Read::read_exact(&mut { file }, &mut start).is_ok() && start == wanted.as_bytes()
    }

    /// Returns the builds that are kept, the latest first.
    pub(super) fn builds(&self) -> Vec<Arc<Ingredients>> {
        let read = |dir: Dir| dir.read_file(BUILDS, BUILDS_BYTES_MAX as u64 * 2).ok();
        let bytes = self.dir().and_then(read).unwrap_or_default();
        let mut lines = bytes.split(|byte| *byte == b'\n');
        if lines.next().is_none_or(|line| !line.starts_with(MAGIC.as_bytes())) {
            return Vec::new();
        }
        lines.filter_map(Ingredients::read).map(Arc::new).collect()
    }

    /// Returns the files with this digest.
    pub(super) fn files(&self, digest: &str) -> Option<Manifest> {
        let bytes = self.dir()?.read_file(&files_name(digest)?, FILES_BYTES_MAX as u64).ok()?;
        Manifest::read(&bytes)
    }

    /// Returns what keys the digests of secrets here, made if there is nothing yet.
    pub(super) fn key(&self) -> Option<Vec<u8>> {
        let dir = self.made()?;
        match dir.read_file(KEY, 64) {
            Ok(key) if key.len() == 32 => Some(key),
            _ => {
                let mut key = vec![0; 32];
                let filled = rustix::rand::getrandom(&mut key[..], rustix::rand::GetRandomFlags::empty()).ok()?;
                (filled == key.len()).then_some(())?;
                dir.replace_file(KEY, &key, 0o600).ok()?;
                Some(key)
            }
        }
    }

    fn made(&self) -> Option<Dir> {
        if let Some(dir) = self.dir() {
            return Some(dir);
        }
        self.make_room();
        self.context.create_dir(&self.name, 0o700).ok()?;
        self.dir()
    }

    /// Removes what was kept of the things that were built the longest ago.
    fn make_room(&self) {
        let Ok(entries) = self.context.list(b"") else { return };
        let mut things: Vec<_> = entries.into_iter().filter(|entry| entry.name.ends_with(b".steps")).collect();
        things.sort_by_key(|entry| std::cmp::Reverse(entry.metadata.modified.seconds));
        for old in things.iter().skip(THINGS_MAX - 1) {
            drop(self.context.remove_tree(&old.name));
        }
    }

    /// Keeps a build as the latest, with the lists of files that it needs and that are not here yet.
    pub(super) fn keep(&self, stamp: &str, build: &Ingredients, manifest: &dyn Fn(&str) -> Option<Arc<Manifest>>) {
        let Some(dir) = self.made() else { return };
        let mut kept = vec![Arc::new(build.clone())];
        let other = |one: &Arc<Ingredients>| one.platforms != build.platforms || one.target != build.target;
        kept.extend(self.builds().into_iter().filter(other).take(BUILDS_MAX - 1));
        let mut text = first_line(stamp).into_bytes();
        let mut named = BTreeSet::new();
        for one in kept {
            let line = one.write();
            if text.len() + line.len() > BUILDS_BYTES_MAX {
                break;
            }
            text.extend_from_slice(&line);
            text.push(b'\n');
            named.extend(digests(&one));
        }
        for digest in digests(build) {
            let Some(name) = files_name(&digest) else { continue };
            if dir.exists(&name).is_ok_and(|exists| exists) {
                continue;
            }
            if let Some(files) = manifest(&digest) {
                let bytes = files.write();
                if bytes.len() <= FILES_BYTES_MAX {
                    drop(dir.replace_file(&name, &bytes, 0o600));
                }
            }
        }
        drop(dir.replace_file(BUILDS, &text, 0o600));
        let wanted: BTreeSet<Vec<u8>> = named.iter().filter_map(|digest| files_name(digest)).collect();
        for entry in dir.list(b"").unwrap_or_default() {
            if entry.name.ends_with(b".files") && !wanted.contains(&entry.name) {
                drop(dir.remove_file(&entry.name));
            }
        }
    }
}

/// Returns the digests of all lists of files that a build names.
pub(super) fn digests(build: &Ingredients) -> BTreeSet<String> {
    let reads = build.steps.iter().flat_map(|step| &step.reads);
    reads.filter_map(|read| if let Read::Files { digest } = read { Some(digest.clone()) } else { None }).collect()
}

fn first_line(stamp: &str) -> String {
    format!("{MAGIC} {stamp}\n")
}

/// The name of a list of files; nothing for what is no digest, which a document from elsewhere may have.
fn files_name(digest: &str) -> Option<Vec<u8>> {
    let is_digest = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_digest.then(|| format!("{digest}.files").into_bytes())
}

/// What another machine may know of a build: the document, and after it the lists of files, as far as they fit.
///
/// # Layout
///
/// `stave ingredients 1\n`, length of the JSON as `u64` (little-endian), JSON; then for each list its digest as 64 hexadecimal
/// digits, its length as `u64`, its bytes. The whole is compressed with zstd.
pub(super) struct Parcel {
    pub(super) build: Arc<Ingredients>,
    pub(super) files: BTreeMap<String, Arc<Manifest>>,
}

const PARCEL: &[u8] = b"stave ingredients 1\n";

impl Parcel {
    /// Writes a parcel whose lists of files have at most `files_max` bytes.
    pub(super) fn write(build: &Ingredients, files: &[(String, Arc<Manifest>)], files_max: usize) -> Vec<u8> {
        let mut out = PARCEL.to_vec();
        let json = build.for_others().write();
        out.extend_from_slice(&(json.len() as u64).to_le_bytes());
        out.extend_from_slice(&json);
        let mut rest = files_max;
        for (digest, manifest) in files {
            let bytes = manifest.write();
            if digest.len() == 64 && bytes.len() <= rest {
                rest -= bytes.len();
                out.extend_from_slice(digest.as_bytes());
                out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
                out.extend_from_slice(&bytes);
            }
        }
        out
    }

    /// Reads a parcel; nothing if it is none.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(PARCEL)?;
        let build = Arc::new(Ingredients::read(sized(&mut rest)?)?);
        let mut files = BTreeMap::new();
        while !rest.is_empty() {
            let (digest, after) = rest.split_at_checked(64)?;
            rest = after;
            let manifest = Manifest::read(sized(&mut rest)?)?;
            files.insert(String::from_utf8(digest.to_vec()).ok()?, Arc::new(manifest));
        }
        Some(Self { build, files })
    }
}

fn sized<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<8>()?;
    let (taken, after) = after.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    *rest = after;
    Some(taken)
}
