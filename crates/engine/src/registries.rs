//! What is done at registries alone, without a store: logging in and out, and in [`crate::imagetools`] merging and looking.

use std::sync::Arc;

use stave_oci::Reference;
use stave_registry::{Client, Config, Environment, Limits, LoggedIn, LoggedOut, Secret};

use crate::cancel::Cancel;
use crate::error::EngineError;

/// The registries that the caller's configuration leads to.
pub struct Registries {
    pub(crate) client: Arc<Client>,
}

impl Registries {
    /// Reads the configuration that `environment` leads to. Everything that is done ends when `cancel` says so.
    ///
    /// Errors: the configuration cannot be used.
    pub fn open(environment: &Environment, cancel: &Cancel) -> Result<Self, EngineError> {
        Self::with_insecure(environment, cancel, &[])
    }

    /// The same, with these registries allowed to lack TLS or a good certificate.
    pub fn with_insecure(environment: &Environment, cancel: &Cancel, hosts: &[String]) -> Result<Self, EngineError> {
        let mut config = Config::load(environment)?;
        for host in hosts {
            config.allow_insecure(host);
        }
        Ok(Self { client: Arc::new(Client::new(config, Limits::default()).with_cancel(cancel.transfers())) })
    }

    /// Tries a name and a password at a registry and keeps them if it accepts them.
    pub fn log_in(&self, registry: &str, username: &str, password: String) -> Result<LoggedIn, EngineError> {
        Ok(self.client.log_in(registry, username, Secret::new(password))?)
    }

    /// Tries what is kept for a registry. False if nothing is.
    ///
    /// # Errors
    /// If the registry does not accept it, or it cannot be read.
    pub fn log_in_again(&self, registry: &str) -> Result<bool, EngineError> {
        Ok(self.client.log_in_again(registry)?)
    }

    /// Returns what a name means: of a short one, the images of the registries that are searched, the first first.
    ///
    /// # Errors
    /// If it is no name.
    pub fn meanings(&self, name: &str) -> Result<Vec<Reference>, EngineError> {
        self.client.config().meanings(name).map_err(crate::base::unusable_name)
    }

    /// Forgets the name and the password for a registry.
    pub fn log_out(&self, registry: &str) -> Result<LoggedOut, EngineError> {
        Ok(self.client.log_out(registry)?)
    }

    /// Returns the name under which the user is logged in to a registry, if that is known.
    pub fn user_of(&self, registry: &str) -> Result<Option<String>, EngineError> {
        Ok(self.client.user_of(registry)?)
    }
}
