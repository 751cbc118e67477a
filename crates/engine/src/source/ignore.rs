//! What is left out of a context: the file that the caller names, else the Dockerfile's own, else the context's.

use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use stave_dockerfile::plan::Ignored;
use stave_pattern::IgnoreFile;
use stave_tree::Dir;
use stave_tree::limits::TEXT_BYTES_MAX;

use super::{Opened, read_inside};
use crate::error::EngineError;

/// The names of ignore files, those that come first first: `.containerignore` is Buildah's, which BuildKit does not know, so
/// that it counts only where BuildKit finds nothing.
const NAMES: [&str; 2] = [".dockerignore", ".containerignore"];

/// Where `<Dockerfile>.dockerignore` would be.
pub(super) enum IgnoreBeside {
    /// Beside this file of this machine.
    Host(PathBuf),
    /// Beside this file of the context.
    Inside(Vec<u8>),
}

/// Returns an ignore file of the context. A directory of that name is none.
fn read_rules(root: &Dir, path: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
    if root.open_dir(path).is_ok() { Ok(None) } else { read_inside(root, path) }
}

/// Reads the Dockerfile's own ignore file, else the context's. Only directories of the user have one: an archive or a
/// repository is taken as it is (A191 of the feature list, as in BuildKit).
///
/// Reference: Docker's documentation of build contexts, "Filename and location"; buildah-build(1), `--ignorefile`.
pub(super) fn read_ignore(opened: &Opened, beside: Option<&IgnoreBeside>) -> Result<Option<Ignored>, EngineError> {
    if opened.path.is_none() {
        return Ok(None);
    }
    for name in NAMES {
        if let Some((name, bytes)) = read_own(opened, beside, name)? {
            return rules(name, &bytes).map(Some);
        }
    }
    for name in NAMES {
        if let Some(bytes) = read_rules(&opened.root, name.as_bytes())? {
            return rules(name.to_owned(), &bytes).map(Some);
        }
    }
    Ok(None)
}

fn read_own(
    opened: &Opened,
    beside: Option<&IgnoreBeside>,
    ending: &str,
) -> Result<Option<(String, Vec<u8>)>, EngineError> {
    match beside {
        Some(IgnoreBeside::Host(path)) => {
            let mut path = path.clone().into_os_string();
            path.push(ending);
            let path = PathBuf::from(path);
            match std::fs::read(&path) {
                Ok(bytes) => Ok(Some((path.display().to_string(), bytes))),
                // As in BuildKit, a directory of that name is no ignore file.
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::IsADirectory) => Ok(None),
                Err(source) => Err(EngineError::io("read", path, source)),
            }
        }
        Some(IgnoreBeside::Inside(path)) => {
            let path = [path, ending.as_bytes()].concat();
            let name = String::from_utf8_lossy(&path).into_owned();
            Ok(read_rules(&opened.root, &path)?.map(|bytes| (name, bytes)))
        }
        None => Ok(None),
    }
}

/// Reads the ignore file that the caller names.
pub(super) fn given_rules(opened: &Opened, path: &Path) -> Result<Ignored, EngineError> {
    let name = path.display().to_string();
    if opened.path.is_none() {
        let message = format!("the ignore file `{name}` is for a context that is a directory, and this one is none");
        return Err(EngineError::request(message, Some("Leave out what is not wanted where the archive is made.")));
    }
    let failed = |source| EngineError::io("read the ignore file", path, source);
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(failed)?.take(TEXT_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > TEXT_BYTES_MAX {
        let message = format!("`{name}` has more than {TEXT_BYTES_MAX} bytes, the most that an ignore file may have");
        return Err(EngineError::request(message, None));
    }
    rules(name, &bytes)
}

fn rules(name: String, bytes: &[u8]) -> Result<Ignored, EngineError> {
    let rules = IgnoreFile::parse(bytes)
        .map_err(|error| EngineError::request(format!("cannot use `{name}`: {error}"), None))?;
    Ok(Ignored { name, rules })
}
