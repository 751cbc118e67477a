//! Git repositories, read with the user's `git`: a reference becomes a commit, a commit a tree of files.
//!
//! `git` is started without a shell, in an environment of its own: no configuration but ours, no hooks, no filters, no
//! helpers, and no transports but `https`, `http`, `ssh` and `git`. Whatever a server or a repository says is checked
//! before it is an argument, and stands behind `--` then.

mod access;
mod checkout;
mod command;
mod head;
mod objects;
mod resolve;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

pub use access::{GitAccess, authorization};
pub use command::Git;
pub use head::head_time;
pub use objects::{Objects, TagObject};
pub use resolve::Resolved;

/// The oldest `git` that is used: it can be told to read no configuration but ours.
pub const VERSION_MIN: (u32, u32) = (2, 32);

/// Why a repository could not be read. Addresses in it have no credentials.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// Somebody asked for an end.
    #[error("reading the Git repository was cancelled")]
    Cancelled,
    /// There is no `git`.
    #[error("there is no program `git` in the search path, and only it can read the Git repository {url}")]
    Missing {
        /// The repository.
        url: String,
    },
    /// The `git` that is there is too old.
    #[error("`git` is too old: {found}, and at least {}.{} is needed", VERSION_MIN.0, VERSION_MIN.1)]
    TooOld {
        /// What it says of itself.
        found: String,
    },
    /// A file that belongs to the work cannot be read or written.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// The verb.
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// `git` said no.
    #[error("cannot {action} {url}: {words}")]
    Failed {
        /// What was tried.
        action: &'static str,
        /// The repository.
        url: String,
        /// What `git` said, made fit for a message.
        words: String,
    },
    /// It took too long.
    #[error("cannot {action} {url}: it took longer than {} s", .limit.as_secs())]
    TimedOut {
        /// What was tried.
        action: &'static str,
        /// The repository.
        url: String,
        /// The limit.
        limit: Duration,
    },
    /// The repository has no such branch, tag or commit.
    #[error("the Git repository {url} has no branch, tag or commit `{reference}`")]
    NoReference {
        /// The repository.
        url: String,
        /// What was looked for.
        reference: String,
    },
    /// What the server lists is no list of references.
    #[error("the server of the Git repository {url} lists references that are none")]
    Listing {
        /// The repository.
        url: String,
    },
    /// The reference names another commit than the one that was asked for.
    #[error("`{reference}` of the Git repository {url} has the wrong checksum: expected {expected}, got {actual}")]
    Checksum {
        /// The repository.
        url: String,
        /// The reference.
        reference: String,
        /// The beginning of the commit that was asked for.
        expected: String,
        /// The commit.
        actual: String,
    },
    /// The reference names another commit than the one that is used.
    #[error("`{reference}` of the Git repository {url} names {actual} now, and {expected} is used")]
    Moved {
        /// The repository.
        url: String,
        /// The reference.
        reference: String,
        /// The commit that is used.
        expected: String,
        /// The commit that it names.
        actual: String,
    },
    /// The tag that was fetched names something else than the server said.
    #[error("the tag {tag} of the Git repository {url} does not name the commit {commit}, as its server says")]
    OtherTag {
        /// The repository.
        url: String,
        /// The digest of the tag.
        tag: String,
        /// The commit that the server says that it names.
        commit: String,
    },
    /// The directory is not there, or is no directory.
    #[error("the Git repository {url} has no directory `{subdir}`: {reason}")]
    Subdir {
        /// The repository.
        url: String,
        /// The directory.
        subdir: String,
        /// What is wrong with it.
        reason: String,
    },
    /// What is to prove who asks cannot be sent.
    #[error("the secret `{name}` cannot be sent to a server: it is empty, too long or has control characters")]
    Secret {
        /// Its name.
        name: String,
    },
}

impl GitError {
    /// Returns advice on what to do, as a whole sentence, where there is one.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Missing { .. } | Self::TooOld { .. } => {
                Some("Install Git with the package manager (`apt install git`, `dnf install git`, `apk add git`...).")
            }
            Self::Failed { words, .. } if words.contains("Host key verification failed") => {
                Some("Connect with `ssh` once, so that the key of the host gets into `~/.ssh/known_hosts`.")
            }
            Self::Failed { words, .. } if words.contains("Permission denied (publickey") => {
                Some("Give the agent with the key: `--ssh default`, with `SSH_AUTH_SOCK` set.")
            }
            Self::Failed { words, .. }
                if words.contains("could not read Username") || words.contains("terminal prompts") =>
            {
                Some("If the repository exists, it is private: give a token with `--secret id=GIT_AUTH_TOKEN`.")
            }
            _ => None,
        }
    }

    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io { action, path: path.into(), source }
    }
}
