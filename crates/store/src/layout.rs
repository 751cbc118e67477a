//! Where everything lies below the store's root. Paths are relative to it and made of our own names only.

use stave_oci::BlobDigest;

use crate::id::{BuildId, ContainerId, LayerId};

/// What the `version` file says, followed by a newline.
pub const VERSION: &str = "stave store 3";

/// The `version` file.
pub(crate) const VERSION_FILE: &str = "version";
/// The database.
pub(crate) const DATABASE: &str = "stave.db";
/// Work in progress, one directory and one lock for each owner.
pub(crate) const TMP: &str = "tmp";
/// What is to be deleted.
pub(crate) const TRASH: &str = "trash";
/// Layers.
pub(crate) const LAYERS: &str = "layers";
/// Blobs.
pub(crate) const BLOBS: &str = "blobs/sha256";
/// Containers.
pub(crate) const CONTAINERS: &str = "containers";
/// Cache mounts.
pub(crate) const CACHES: &str = "caches";
/// Volumes of containers.
pub(crate) const VOLUMES: &str = "volumes";
/// Logs of builds.
pub(crate) const LOGS: &str = "logs";
/// What is remembered about build contexts.
pub(crate) const CONTEXT: &str = "context";
/// How the names of those memories of a context end that explain why its steps run.
pub(crate) const EXPLANATIONS: &str = ".steps";
/// The constant lowest layer.
pub(crate) const STUBS: &str = "stubs";
/// Space that is given up so that a full disk can be cleared.
pub(crate) const RESERVE: &str = "reserve";
/// The directories that every store has.
pub(crate) const DIRECTORIES: [&str; 9] = [TMP, TRASH, LAYERS, "blobs", BLOBS, CONTAINERS, CACHES, LOGS, CONTEXT];
/// Every name that may stand in the root.
pub(crate) const ROOT_NAMES: [&str; 15] = [
    VERSION_FILE,
    RESERVE,
    DATABASE,
    "stave.db-wal",
    "stave.db-shm",
    "stave.db-journal",
    TMP,
    TRASH,
    LAYERS,
    "blobs",
    CONTAINERS,
    CACHES,
    VOLUMES,
    LOGS,
    CONTEXT,
];

/// Whether a name in the root is of a file of the index.
pub(crate) fn is_index(name: &str) -> bool {
    name.starts_with(DATABASE) || name == RESERVE || name == VERSION_FILE
}

/// A layer's own directory: `layers/<id>`. Beside `diff` there is room for what describes it.
#[must_use]
pub fn layer_dir(id: LayerId) -> String {
    format!("{LAYERS}/{id}")
}

/// A layer's files in overlayfs' upper format: `layers/<id>/diff`.
#[must_use]
pub fn layer_diff(id: LayerId) -> String {
    format!("{LAYERS}/{id}/diff")
}

/// A blob's directory: `blobs/sha256/<2>`.
pub(crate) fn blob_parent(digest: &BlobDigest) -> String {
    format!("{BLOBS}/{:02x}", digest.as_bytes()[0])
}

/// A blob's file: `blobs/sha256/<2>/<62>`.
#[must_use]
pub fn blob_file(digest: &BlobDigest) -> String {
    format!("{}/{}", blob_parent(digest), &digest.hex()[2..])
}

/// A container's directory: `containers/<id>`, with `diff` and `work` in it.
#[must_use]
pub fn container_dir(id: &ContainerId) -> String {
    format!("{CONTAINERS}/{id}")
}

/// The directory of a build's logs: `logs/<id>`.
#[must_use]
pub fn build_logs(id: &BuildId) -> String {
    format!("{LOGS}/{id}")
}

/// An owner's private directory: `tmp/<owner>`.
pub(crate) fn owner_dir(owner: &str) -> String {
    format!("{TMP}/{owner}")
}

/// An owner's lock: `tmp/<owner>.lock`.
pub(crate) fn owner_lock(owner: &str) -> String {
    format!("{TMP}/{owner}.lock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_short_and_relative() {
        let digest = BlobDigest::of(b"");
        let hex = digest.hex();
        assert_eq!(blob_file(&digest), format!("blobs/sha256/e3/{}", &hex[2..]));
        let layer = LayerId::from_hex("00000000000000ff").expect("it is an id");
        assert_eq!(layer_diff(layer), "layers/00000000000000ff/diff");
    }
}
