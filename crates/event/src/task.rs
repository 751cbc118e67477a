//! What takes time during a build and is no step of it.

use serde::{Deserialize, Deserializer, Serialize};

/// Something that takes time: a pull, reading the context, writing an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskId(pub u32);

/// What a task spends its time with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskKind {
    /// Asking a registry or a repository what a name means.
    Resolve,
    /// Bytes that come from elsewhere.
    Fetch,
    /// Files of an archive that get their place.
    Unpack,
    /// Bytes that go elsewhere.
    Push,
    /// The digests of what was made.
    Digest,
    /// A layer that is compressed.
    Compress,
    /// An output that is written.
    Output,
    /// A cache of other machines that is read or written.
    Cache,
    /// Something else.
    Other,
}

/// How a task ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum TaskEnding {
    /// It did what it was to do.
    #[default]
    Done,
    /// It failed. What needs it may go on without it.
    Failed {
        /// Why, on one line.
        message: String,
    },
    /// It was stopped because of something else.
    Cancelled,
}

/// Reads how a task ended; versions that did not tell it told only that it had ended.
pub(crate) fn ending<'de, D: Deserializer<'de>>(from: D) -> Result<TaskEnding, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}
