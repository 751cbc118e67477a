//! Logging in and out: credentials are tried at the registry before they are kept, and found again by everything else.

use stave_oci::reference::DEFAULT_REGISTRY;

use crate::client::Client;
use crate::config::credentials::{self, Credential, canonical};
use crate::config::logins::{self, Kept};
use crate::config::registries::Place;
use crate::error::{HttpError, RegistryError};
use stave_http::Secret;

/// What came of logging in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedIn {
    /// Where the credentials are now.
    pub kept: Kept,
    /// The file or variable with other credentials for the same registry that is read before that place.
    pub hidden_by: Option<String>,
}

/// What came of logging out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedOut {
    /// Whether there was anything to forget.
    pub known: bool,
    /// The file or variable that still has credentials for the registry.
    pub left_in: Option<String>,
}

/// Returns the name of the registry that a user means by `text`: nothing at all, a host, or an address with scheme and
/// path as older versions of Docker wrote them.
#[must_use]
pub fn registry_name(text: &str) -> String {
    let bare = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
    match canonical(bare.split('/').next().unwrap_or_default()) {
        "" => DEFAULT_REGISTRY.to_owned(),
        host => host.to_owned(),
    }
}

impl Client {
    /// Tries a user's name and password at `registry` (a host, see [`registry_name`]) and keeps them if it accepts them.
    ///
    /// Errors: it does not; or they cannot be kept.
    pub fn log_in(&self, registry: &str, username: &str, password: Secret<String>) -> Result<LoggedIn, RegistryError> {
        let credential = Credential::Password { username: username.to_owned(), password };
        let keep = self.prove(registry, &credential)?;
        let unkept = |source| self.unreadable(registry, source);
        let kept = logins::keep(&self.config.environment, &self.cancel, registry, &keep).map_err(unkept)?;
        let found = credentials::locate(&self.config.environment, &self.cancel, registry, "").map_err(unkept)?;
        let hidden_by = found.filter(|(credential, _)| *credential != keep).map(|(_, source)| source);
        Ok(LoggedIn { kept, hidden_by })
    }

    /// Tries the credentials that are kept for `registry`. False if there are none.
    ///
    /// Errors: it does not accept them; or they cannot be read.
    pub fn log_in_again(&self, registry: &str) -> Result<bool, RegistryError> {
        let found = credentials::find(&self.config.environment, &self.cancel, registry, "")
            .map_err(|source| self.unreadable(registry, source))?;
        found.map_or(Ok(false), |credential| self.prove(registry, &credential).map(|_| true))
    }

    /// Returns what is to be kept of credentials that `registry` accepts.
    fn prove(&self, registry: &str, credential: &Credential) -> Result<Credential, RegistryError> {
        let place = Place {
            host: registry.to_owned(),
            repository: String::new(),
            insecure: self.config.registries.is_insecure(registry),
            mirror: false,
        };
        let repository = self.open(&place, false)?.with_credential(credential);
        let mut patience = repository.patience();
        loop {
            match repository.log_in(credential) {
                Ok(keep) => return Ok(keep),
                Err(failure) => failure.wait(&mut patience).map_err(|error| match error {
                    RegistryError::Denied { origin, message, .. } => RegistryError::Login { origin, message },
                    other => other,
                })?,
            }
        }
    }

    /// Forgets the credentials for `registry` that [`Client::log_in`] keeps. The registry is not asked.
    pub fn log_out(&self, registry: &str) -> Result<LoggedOut, RegistryError> {
        let (environment, cancel) = (&self.config.environment, &self.cancel);
        let failed = |source| self.unreadable(registry, source);
        let known = logins::forget(environment, cancel, registry).map_err(failed)?;
        let left = credentials::locate(environment, cancel, registry, "").map_err(failed)?;
        Ok(LoggedOut { known, left_in: left.map(|(_, source)| source) })
    }

    /// Returns the name under which the user is logged in to `registry`, if that is known.
    pub fn user_of(&self, registry: &str) -> Result<Option<String>, RegistryError> {
        let found = credentials::find(&self.config.environment, &self.cancel, registry, "")
            .map_err(|source| self.unreadable(registry, source))?;
        Ok(found.and_then(|credential| match credential {
            Credential::Password { username, .. } => Some(username),
            Credential::Identity(_) | Credential::Registry(_) => None,
        }))
    }

    fn unreadable(&self, registry: &str, source: credentials::CredentialError) -> RegistryError {
        match source {
            _ if self.cancel.is_cancelled() => HttpError::Cancelled.into(),
            source => RegistryError::Credentials { registry: registry.to_owned(), source },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_are_named_in_many_ways() {
        for text in ["", "docker.io", "https://index.docker.io/v1/", "index.docker.io", "registry-1.docker.io"] {
            assert_eq!(registry_name(text), "docker.io", "{text}");
        }
        assert_eq!(registry_name("https://a.io:5000/v2/"), "a.io:5000");
        assert_eq!(registry_name("http://localhost:5000"), "localhost:5000");
        assert_eq!(registry_name("a.io"), "a.io");
    }
}
