//! A failed request to a registry, and whether it is worth repeating.

use stave_http::{HttpError, Patience, Retry, Wait};

use crate::error::RegistryError;

/// A failed request.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: RegistryError,
    pub(crate) retry: Retry,
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        Self { error, retry: Retry::Never }
    }
}

impl From<HttpError> for Failure {
    fn from(error: HttpError) -> Self {
        Self::from(RegistryError::from(error))
    }
}

impl From<stave_http::Failure> for Failure {
    fn from(stave_http::Failure { error, retry }: stave_http::Failure) -> Self {
        Self { error: error.into(), retry }
    }
}

impl Failure {
    /// Waits before the next attempt, or returns the error if there should be none.
    pub(crate) fn wait(self, patience: &mut Patience<'_>) -> Result<(), RegistryError> {
        match patience.wait(self.retry) {
            Wait::Again => Ok(()),
            Wait::GiveUp => Err(self.error),
            Wait::Cancelled => Err(HttpError::Cancelled.into()),
        }
    }
}
