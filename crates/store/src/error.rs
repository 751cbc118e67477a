//! Why something in the store cannot be done: one enum per family of operations.

use std::io;
use std::path::{Path, PathBuf};

use stave_oci::{BlobDigest, ImageId};

use crate::id::{BuildId, ContainerId, LayerId};

/// Failures of the store itself: the disk, the database, another version.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A system call on a file failed.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried: `create`, `rename`.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The disk, the quota or the inodes are used up.
    #[error("cannot {action} `{}`: no space left on the store's file system", path.display())]
    NoSpace {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// What is to be written would pass the limit that the store has, and nothing is left that could be given up.
    #[error(
        "the store would pass its limit of {}: it takes {}, {} more are needed, and nothing is left that no image, \
         container or running build needs", megabytes(*limit), megabytes(*used), megabytes(*needed)
    )]
    Limit {
        /// The most that it may take, in bytes.
        limit: u64,
        /// What it takes.
        used: u64,
        /// What was to be written, or has to be free before work of unknown size begins.
        needed: u64,
    },
    /// The database refused a statement.
    #[error("cannot use the store's database `{}`", path.display())]
    Database {
        /// The database file.
        path: PathBuf,
        /// What `SQLite` said.
        source: rusqlite::Error,
    },
    /// Another process has held the database's lock for too long.
    #[error("the store's database `{}` has been locked by another process for {seconds} seconds", path.display())]
    Busy {
        /// The database file.
        path: PathBuf,
        /// How long this process waited.
        seconds: u64,
    },
    /// The database file is not one, or its pages contradict each other.
    #[error(
        "the store's database `{}` is damaged ({detail}); move it and its `-wal` and `-shm` files away to start \
         with an empty index: the next `store check` removes what it no longer names", path.display()
    )]
    Damaged {
        /// The database file.
        path: PathBuf,
        /// What `SQLite` said.
        detail: String,
    },
    /// The store was made by a stave that lays it out differently.
    #[error(
        "the store at `{}` has the layout `{found}`, and this stave reads `{expected}`; use the stave that made it, \
         or another directory (`--root`, `STAVE_ROOT`)", root.display()
    )]
    Version {
        /// The store.
        root: PathBuf,
        /// What its `version` file says.
        found: String,
        /// What this program writes there.
        expected: &'static str,
    },
    /// The directory holds something else.
    #[error(
        "`{}` is not a store and not empty (it has `{entry}`): use an empty or a new directory", root.display()
    )]
    NotAStore {
        /// The directory.
        root: PathBuf,
        /// One of its entries.
        entry: String,
    },
    /// The directory belongs to another user.
    #[error("the store at `{}` belongs to user {owner}, and this process is user {user}: stores are not shared", root.display())]
    OtherUser {
        /// The directory.
        root: PathBuf,
        /// Who owns it, as seen in this user namespace.
        owner: u32,
        /// Who we are.
        user: u32,
    },
    /// The kernel gave no random bytes.
    #[error("cannot get random bytes")]
    Random(#[source] io::Error),
    /// Something stands where a directory is to be deleted, and it is a mount.
    #[error("`{}` is a mount point: nothing below it was deleted", path.display())]
    MountPoint {
        /// The path below the store.
        path: PathBuf,
    },
    /// A layer that is needed is not in the store (any more).
    #[error("layer {0} is not in the store")]
    NoLayer(LayerId),
    /// A row holds something that this program never writes.
    #[error("the store's database has a row in `{table}` that makes no sense: {detail}")]
    Row {
        /// The table.
        table: &'static str,
        /// What is wrong.
        detail: String,
    },
}

/// Bytes as people say them.
fn megabytes(bytes: u64) -> String {
    format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000)
}

/// Seconds that a process waits for another one's transaction.
pub(crate) const BUSY_SECONDS: u64 = 30;

impl StoreError {
    pub(crate) fn io(action: &'static str, path: impl AsRef<Path>, source: impl Into<io::Error>) -> Self {
        let (path, source) = (path.as_ref().to_owned(), source.into());
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace { action, path, source },
            _ => Self::Io { action, path, source },
        }
    }

    pub(crate) fn database(path: &Path, source: rusqlite::Error) -> Self {
        use rusqlite::{ErrorCode, ffi};
        let is_full = |error: &rusqlite::Error| {
            let code = error.sqlite_error().map(|error| error.extended_code);
            matches!(code, Some(ffi::SQLITE_FULL | ffi::SQLITE_IOERR_SHMSIZE))
        };
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy { path, seconds: BUSY_SECONDS },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Damaged { path, detail: source.to_string() }
            }
            // The index of the journal is a file that grows before anything is written; a full disk is what stops it.
            _ if is_full(&source) => {
                Self::NoSpace { action: "write to", path, source: io::Error::new(io::ErrorKind::StorageFull, source) }
            }
            _ => Self::Database { path, source },
        }
    }
}

/// Why a blob cannot be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// Its bytes do not have the digest that was promised.
    #[error("blob digest mismatch: expected {expected}, got {actual}")]
    DigestMismatch {
        /// Promised.
        expected: BlobDigest,
        /// Computed.
        actual: BlobDigest,
    },
    /// It ended early or late.
    #[error("blob size mismatch: expected {expected} bytes, got {actual}")]
    SizeMismatch {
        /// Promised.
        expected: u64,
        /// Counted.
        actual: u64,
    },
    /// It is longer than promised or allowed.
    #[error("blob has more than the {limit} bytes that were promised or are allowed")]
    TooLong {
        /// The promised size, or the limit.
        limit: u64,
    },
    /// There is no such blob.
    #[error("blob {0} is not in the store")]
    Missing(BlobDigest),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why an image cannot be found, stored or removed.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// Nothing has that name or id.
    #[error("no such image: `{0}`")]
    NotFound(String),
    /// Several ids begin so.
    #[error("`{prefix}` is the beginning of {} image ids: {}", matches.len(), list(matches))]
    Ambiguous {
        /// What was asked for.
        prefix: String,
        /// All that begin so.
        matches: Vec<ImageId>,
    },
    /// An id with several tags is removed only with force.
    #[error("image {id} has {} names ({}): remove them one by one, or use force", names.len(), names.join(", "))]
    SeveralNames {
        /// The image.
        id: ImageId,
        /// Its names.
        names: Vec<String>,
    },
    /// A container that does not run was made from it.
    #[error("image {id} is used by the stopped container `{container}`: remove that first, or use force")]
    UsedByStopped {
        /// The image.
        id: ImageId,
        /// The container's name.
        container: String,
    },
    /// A container that runs was made from it; force does not help.
    #[error("image {id} is used by the running container `{container}`")]
    UsedByRunning {
        /// The image.
        id: ImageId,
        /// The container's name.
        container: String,
    },
    /// The configuration cannot be stored or read.
    #[error("cannot use the configuration of image {id}")]
    Config {
        /// The image.
        id: ImageId,
        /// Why.
        source: BlobError,
    },
    /// A layer of the image is neither a directory nor a blob.
    #[error("a layer of image {0} is not in the store, neither unpacked nor as a blob")]
    LayerMissing(ImageId),
    /// Something that the image needs is not in the store.
    #[error("image {id} needs blob {blob}, which is not in the store")]
    BlobMissing {
        /// The image.
        id: ImageId,
        /// What is missing.
        blob: BlobDigest,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a container cannot be made, found or removed.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// Nothing has that name or id.
    #[error("no such container: `{0}`")]
    NotFound(String),
    /// Several ids begin so.
    #[error("`{prefix}` is the beginning of {} container ids: {}", matches.len(), list(matches))]
    Ambiguous {
        /// What was asked for.
        prefix: String,
        /// All that begin so.
        matches: Vec<ContainerId>,
    },
    /// Another container has the name.
    #[error("the container name `{name}` is already in use by container {}: remove or rename that one", id.short())]
    NameTaken {
        /// The name.
        name: String,
        /// Who has it.
        id: ContainerId,
    },
    /// The name breaks the grammar.
    #[error("`{0}` is not a container name: expected a letter or digit, then at least one of `a-zA-Z0-9_.-`")]
    BadName(String),
    /// It does not run.
    #[error("container `{0}` is not running")]
    NotRunning(String),
    /// It runs.
    #[error("container `{0}` is running: stop it first, or use force")]
    Running(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a build of the history cannot be found or removed.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// There is none.
    #[error("the history has no build")]
    Empty,
    /// No id begins so.
    #[error("the history has no build `{0}`")]
    NotFound(String),
    /// Several ids begin so.
    #[error("`{prefix}` is the beginning of {} build ids: {}", matches.len(), list(matches))]
    Ambiguous {
        /// What was asked for.
        prefix: String,
        /// All that begin so, the latest first.
        matches: Vec<BuildId>,
    },
    /// It runs.
    #[error("build {0} is running")]
    Running(BuildId),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a volume cannot be made, found or removed.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// Nothing has that name.
    #[error("no such volume: `{0}`")]
    NotFound(String),
    /// The name breaks the grammar.
    #[error("`{0}` is not a volume name: expected a letter or digit, then at least one of `a-zA-Z0-9_.-`")]
    Name(String),
    /// A container has it.
    #[error("volume `{name}` is used by container `{container}`: remove that first")]
    InUse {
        /// The volume.
        name: String,
        /// Who has it.
        container: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn list<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
