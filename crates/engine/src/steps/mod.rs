//! What each kind of operation does: a snapshot and an operation become a layer.
//!
//! Nothing here knows the solver, the cache or who watches.

pub(crate) mod cache_mount;
pub(crate) mod copy;
pub(crate) mod devices;
pub(crate) mod exec;
pub(crate) mod git;
pub(crate) mod group;
pub(crate) mod http;
pub(crate) mod make_dir;
pub(crate) mod mounts;
mod normalise;
mod recorded;
pub(crate) mod secret;
pub(crate) mod ssh;

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};

use stave_oci::user;
use stave_store::{LayerId, WorkDir};
use stave_tree::{Layers, PathError, Selection};

use crate::engine::Engine;
use crate::error::EngineError;

/// What an operation reads beside its parent.
pub(crate) struct Sources<'a> {
    /// What is selected from contexts, in the order of the operation: for a copy a selection for each run of sources that
    /// are in a context, for a command one for each mount from a context.
    pub(crate) contexts: Vec<Selection>,
    /// The layers of each source or mount that is another snapshot, in the order of the operation.
    pub(crate) trees: Vec<&'a [LayerId]>,
}

/// Bytes of an image's `/etc/passwd` or `/etc/group` that are read: what BuildKit allows.
const USER_FILE_BYTES_MAX: u64 = 10 * 1024 * 1024;

/// Returns the ids of an owner as written in `--chown` or `USER`, by the names that `image` knows.
///
/// A name that the image does not know is an error (K002 of the feature list): a guess would be root.
pub(crate) fn owner(image: &Layers, text: &str) -> Result<(u32, u32), EngineError> {
    let passwd = user_file(image, b"etc/passwd")?;
    let group = user_file(image, b"etc/group")?;
    user::owner(text, &passwd, &group).map_err(|source| EngineError::tree(format!("cannot use owner `{text}`"), source))
}

fn user_file(image: &Layers, path: &[u8]) -> Result<Vec<u8>, EngineError> {
    match image.read_file(path, USER_FILE_BYTES_MAX) {
        Ok(bytes) => Ok(bytes),
        Err(error) if error.is_not_found() => Ok(Vec::new()),
        Err(error) => Err(unreadable(path, error)),
    }
}

fn unreadable(path: &[u8], error: PathError) -> EngineError {
    EngineError::tree(format!("cannot read `/{}` of the image", String::from_utf8_lossy(path)), error)
}

/// Gives the root directory of a new layer what its parent's root has: an overlay shows the topmost one's.
pub(crate) fn like_parent(engine: &Engine, parent: &[LayerId], work: &WorkDir) -> Result<(), EngineError> {
    let Some(top) = parent.last() else { return Ok(()) };
    let (from, to) = (engine.store.root().join(engine.store.layer_rel_path(*top)), work.path().join("diff"));
    let metadata = std::fs::metadata(&from).map_err(|source| EngineError::io("examine", &from, source))?;
    let own = std::fs::metadata(&to).map_err(|source| EngineError::io("examine", &to, source))?;
    if (metadata.uid(), metadata.gid()) != (own.uid(), own.gid()) {
        chown(&to, Some(metadata.uid()), Some(metadata.gid()))
            .map_err(|source| EngineError::io("change the owner of", &to, source))?;
    }
    if metadata.mode() != own.mode() {
        std::fs::set_permissions(&to, Permissions::from_mode(metadata.mode() & 0o7777))
            .map_err(|source| EngineError::io("change the mode of", &to, source))?;
    }
    Ok(())
}
