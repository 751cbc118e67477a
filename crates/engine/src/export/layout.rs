//! Images go into an OCI image layout on this machine, beside those that it has.
//!
//! A blob appears under its name when it is complete, and the list names the image when all blobs are there; so whoever
//! reads the layout meanwhile finds what it lists.
//!
//! Reference: OCI image-spec 1.1, `image-layout.md`.

use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};
use stave_oci::{Descriptor, media_type};

use super::BlobSink;
use crate::archive::blob_path;
use crate::error::EngineError;

const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
/// The annotation with the whole name of an image.
const IMAGE_NAME: &str = "io.containerd.image.name";
/// The annotation with the tag of an image, by which a layout is asked for it.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Adds what `entries` list to the layout at `path`, which is made if it is missing. `blobs` calls what it is given with
/// every blob, a manifest after what it names.
///
/// Errors: a file cannot be written; what is there is no layout.
pub(super) fn write(
    path: &Path,
    entries: Vec<Descriptor>,
    blobs: impl FnOnce(BlobSink<'_>) -> Result<(), EngineError>,
) -> Result<(), EngineError> {
    let fail = |path: &Path, source| EngineError::io("write", path, source);
    let folder = path.join("blobs/sha256");
    fs::create_dir_all(&folder).map_err(|source| EngineError::io("create", &folder, source))?;
    // Two builds that write to one layout add to its list one after the other.
    let lock = File::open(path).map_err(|source| fail(path, source))?;
    flock(&lock, FlockOperation::LockExclusive).map_err(|source| fail(path, source.into()))?;
    let mut list = read_list(path)?;
    blobs(&mut |descriptor, bytes| put_blob(path, descriptor, bytes))?;
    put(&path.join("oci-layout"), &mut &LAYOUT[..]).map_err(|source| fail(path, source))?;
    let listed = list["manifests"].as_array_mut().expect("it was read as a list");
    for entry in entries {
        listed.retain(|old| !is_same(old, &entry));
        listed.push(serde_json::to_value(&entry).expect("a descriptor has only text keys"));
    }
    let bytes = serde_json::to_vec(&list).expect("the keys are texts");
    let list = path.join("index.json");
    put(&list, &mut bytes.as_slice()).map_err(|source| fail(&list, source))
}

/// Reads the list of a layout as it is, so that what others wrote into it stays.
fn read_list(path: &Path) -> Result<Value, EngineError> {
    let list = path.join("index.json");
    let empty = json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [] });
    let bytes = match fs::read(&list) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(empty),
        Err(source) => return Err(EngineError::io("read", list, source)),
    };
    let value: Value = serde_json::from_slice(&bytes)
        .map_err(|source| EngineError::tree(format!("cannot use `{}`", list.display()), source))?;
    if value.get("manifests").is_some_and(Value::is_array) {
        return Ok(value);
    }
    let hint = "Give a directory that is empty, missing, or a layout.";
    Err(EngineError::request(format!("`{}` is no list of an image layout", list.display()), Some(hint)))
}

/// Whether an entry of the list goes when `new` comes: it has the same tag, and no other whole name; or neither has a name,
/// and they have the same digest.
fn is_same(old: &Value, new: &Descriptor) -> bool {
    let old_name =
        |key: &str| old.get("annotations").and_then(|annotations| annotations.get(key)).and_then(Value::as_str);
    let new_name = |key: &str| new.annotations.get(key).map(String::as_str);
    let same_tag = old_name(REF_NAME) == new_name(REF_NAME);
    match (old_name(IMAGE_NAME), new_name(IMAGE_NAME)) {
        (Some(old_name), Some(new_name)) => same_tag && old_name == new_name,
        _ if new_name(REF_NAME).is_some() => same_tag,
        (None, None) => same_tag && old.get("digest").and_then(Value::as_str) == Some(&new.digest.to_string()),
        _ => false,
    }
}

fn put_blob(path: &Path, descriptor: &Descriptor, bytes: &mut dyn Read) -> io::Result<()> {
    let blob = path.join(blob_path(&descriptor.digest));
    match fs::metadata(&blob) {
        Ok(there) if there.len() == descriptor.size => Ok(()),
        _ => put(&blob, bytes),
    }
}

/// Writes a file that appears under its name when it is complete.
pub(super) fn put(path: &Path, bytes: &mut dyn Read) -> io::Result<()> {
    let mut partial = path.to_path_buf().into_os_string();
    partial.push(format!(".{}.partial", std::process::id()));
    let partial = PathBuf::from(partial);
    let written = File::create(&partial).and_then(|mut file| {
        io::copy(bytes, &mut file)?;
        file.flush()
    });
    let named = written.and_then(|()| fs::rename(&partial, path));
    if named.is_err() {
        // It is of no use to anybody, and the cause is told.
        drop(fs::remove_file(&partial));
    }
    named
}
