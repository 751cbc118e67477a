//! An image as plain files in a directory, as skopeo's `dir:` has it: `version`, `manifest.json`, and a file for each blob
//! and each manifest of an index, named by its digest.
//!
//! Only a directory that is known to be one of these is written to, and nothing of an earlier image goes before the new
//! one is complete.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use stave_oci::{Descriptor, media_type};

use super::layout::put;
use super::registry::Pushed;
use crate::build::Report;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::event::TaskKind;
use crate::task::Task;

/// The file by which such a directory is known.
const VERSION: &str = "version";
/// The manifest or the index of the image.
const MANIFEST: &str = "manifest.json";
/// What `version` has, whatever the number that follows.
const VERSION_START: &[u8] = b"Directory Transport Version:";
/// What `version` has here.
const VERSION_TEXT: &[u8] = b"Directory Transport Version: 1.1\n";

/// What is named `.manifest.json` there.
const MANIFEST_TYPES: [&str; 4] =
    [media_type::OCI_MANIFEST, media_type::OCI_INDEX, media_type::DOCKER_MANIFEST, media_type::DOCKER_LIST];

/// How many of the names that are in the way an error tells.
const TOLD_NAMES_MAX: usize = 3;

/// Writes the manifest and the blobs of an image as files into the directory `path`, which may be missing, empty, or what
/// was written so before. The image that was there goes when the new one is complete.
///
/// Errors: a file cannot be written; something else is in the directory, which then stays as it is.
pub(crate) fn put_dir(engine: &Engine, pushed: &Pushed, path: &Path, events: Report<'_>) -> Result<(), EngineError> {
    let title = format!("write {}", path.display());
    Task::during(events, TaskKind::Output, title, |_| write_dir(engine, pushed, path))
}

fn write_dir(engine: &Engine, pushed: &Pushed, path: &Path) -> Result<(), EngineError> {
    let fail = |source| EngineError::io("write", path, source);
    fs::create_dir_all(path).map_err(|source| EngineError::io("create", path, source))?;
    // Of two that write here, each would remove what the other has written.
    let lock = File::open(path).map_err(fail)?;
    flock(&lock, FlockOperation::LockExclusive).map_err(|source| fail(source.into()))?;
    let old = files_of_image(path)?;
    // It is the first, so that what is left of a write that failed is known as such a directory.
    put(&path.join(VERSION), &mut &*VERSION_TEXT).map_err(fail)?;
    let mut new = BTreeSet::from([VERSION.to_owned()]);
    let whole = pushed.descriptor();
    // The manifest or the index comes after all that it names.
    pushed.each_blob(engine, &mut |blob, bytes| {
        let name = file_name(blob, &whole);
        put(&path.join(&name), bytes)?;
        new.insert(name);
        Ok(())
    })?;
    for name in old.difference(&new) {
        let file = path.join(name);
        fs::remove_file(&file).map_err(|source| EngineError::io("remove", file, source))?;
    }
    Ok(())
}

/// Returns the name of the file that has a blob, of the image that `whole` names.
fn file_name(blob: &Descriptor, whole: &Descriptor) -> String {
    match MANIFEST_TYPES.contains(&blob.media_type.as_str()) {
        true if blob.digest == whole.digest => MANIFEST.to_owned(),
        true => format!("{}.{MANIFEST}", blob.digest.hex()),
        false => blob.digest.hex(),
    }
}

/// Returns the names of all that is in the directory, which are files of an image.
///
/// Errors: it has something else.
fn files_of_image(path: &Path) -> Result<BTreeSet<String>, EngineError> {
    let fail = |source| EngineError::io("read", path, source);
    let (mut files, mut others) = (BTreeSet::new(), BTreeSet::new());
    for entry in fs::read_dir(path).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let name = entry.file_name();
        match name.to_str().filter(|name| is_ours(name)) {
            Some(name) if entry.file_type().map_err(fail)?.is_file() => files.insert(name.to_owned()),
            _ => others.insert(name.display().to_string()),
        };
    }
    if files.is_empty() && others.is_empty() {
        return Ok(files);
    }
    let shown = path.display();
    let message = if !files.contains(VERSION) || !is_version(&path.join(VERSION)).map_err(fail)? {
        others.append(&mut files);
        format!("`{shown}` was not written as `dir:`, and is not empty: it has {}", some_of(&others))
    } else if others.is_empty() {
        return Ok(files);
    } else {
        format!("`{shown}` has more than an image: {}", some_of(&others))
    };
    let hint = "Give a directory that is empty, missing, or was written as `dir:` before.";
    Err(EngineError::request(message, Some(hint)))
}

/// Whether the file `version` says that the directory has an image.
fn is_version(path: &Path) -> io::Result<bool> {
    let mut start = Vec::new();
    File::open(path)?.take(VERSION_START.len() as u64).read_to_end(&mut start)?;
    Ok(start == VERSION_START)
}

/// Whether a file of an image has this name: of this one, of skopeo's, or of one whose write was cut off.
fn is_ours(name: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let partial = name.strip_suffix(".partial").and_then(|name| name.rsplit_once('.'));
    let name = partial.filter(|(_, process)| is_number(process)).map_or(name, |(name, _)| name);
    let is_digest = |text: &str| {
        let is_hex = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        text.len() == 64 && text.bytes().all(is_hex)
    };
    let of_index = name.strip_suffix(MANIFEST).and_then(|name| name.strip_suffix('.'));
    name == VERSION
        || name == MANIFEST
        || is_digest(of_index.unwrap_or(name))
        || name.strip_prefix("signature-").is_some_and(is_number)
}

/// Returns the first of the names, and how many others there are.
fn some_of(names: &BTreeSet<String>) -> String {
    let told: Vec<String> = names.iter().take(TOLD_NAMES_MAX).map(|name| format!("`{name}`")).collect();
    match names.len().saturating_sub(TOLD_NAMES_MAX) {
        0 => told.join(", "),
        more => format!("{} and {more} more", told.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::is_ours;

    /// C034
    #[test]
    fn only_the_names_that_images_have_are_taken_for_files_of_an_image() {
        let digest = "0123456789abcdef".repeat(4);
        let of_index = format!("{digest}.manifest.json");
        let partial = format!("{digest}.4711.partial");
        for name in ["version", "manifest.json", "manifest.json.1.partial", "signature-1", &digest, &of_index, &partial]
        {
            assert!(is_ours(name), "{name}");
        }
        let document = format!("{digest}.pdf");
        let upper = digest.to_uppercase();
        let longer = format!("{digest}0");
        for name in [
            "version.txt",
            "manifest",
            "manifest.yaml",
            "signature",
            "signature-a",
            "x.1.partial",
            ".manifest.json",
            "",
        ] {
            assert!(!is_ours(name), "{name}");
        }
        for name in [document, upper, longer, format!("{digest}.partial")] {
            assert!(!is_ours(&name), "{name}");
        }
    }
}
