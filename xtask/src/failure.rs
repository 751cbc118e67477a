//! One error for all automation: a sentence for the person who ran it.

use std::fmt;
use std::io;
use std::path::Path;

/// Why a command of `xtask` stopped.
pub(crate) struct Failure(String);

/// What most of this crate returns.
pub(crate) type Result<T = ()> = std::result::Result<T, Failure>;

impl Failure {
    /// Makes one of a sentence.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Makes one of what was done, to what, and what the system said.
    pub(crate) fn io(action: &str, path: &Path, error: &io::Error) -> Self {
        Self(format!("cannot {action} `{}`: {error}", path.display()))
    }
}

/// Names the action and the path of a failed file operation.
pub(crate) trait At<T> {
    /// Turns an io error into a [`Failure`].
    fn at(self, action: &str, path: &Path) -> Result<T>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, action: &str, path: &Path) -> Result<T> {
        self.map_err(|error| Failure::io(action, path, &error))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// `main` returns a failure as it is shown to a person.
impl fmt::Debug for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
