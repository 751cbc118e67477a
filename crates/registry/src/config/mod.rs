//! What the user has configured about registries, found where other tools keep it.
//!
//! Nothing is read from the process's environment: [`Environment`] brings it in.

pub mod credentials;
mod helper;
pub mod logins;
pub mod registries;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

pub(crate) use stave_http::read_optional;
use stave_oci::Reference;
use stave_oci::reference::ReferenceError;

pub use registries::ConfigError;

/// The parts of the process's environment that say where configuration is.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// `HOME`.
    pub home: Option<PathBuf>,
    /// `XDG_CONFIG_HOME`; `~/.config` where it is not set.
    pub xdg_config_home: Option<PathBuf>,
    /// `XDG_RUNTIME_DIR`.
    pub xdg_runtime_dir: Option<PathBuf>,
    /// `DOCKER_CONFIG`: the folder with Docker's `config.json`.
    pub docker_config: Option<PathBuf>,
    /// `DOCKER_AUTH_CONFIG`: the text of a `config.json`.
    pub docker_auth_config: Option<String>,
    /// `REGISTRY_AUTH_FILE`: an `auth.json`.
    pub registry_auth_file: Option<PathBuf>,
    /// `CONTAINERS_REGISTRIES_CONF`: a `registries.conf`.
    pub registries_conf: Option<PathBuf>,
    /// `BUILD_REGISTRY_SOURCES`: JSON with registries that are allowed, blocked or insecure, as Buildah reads it.
    pub registry_sources: Option<String>,
    /// `PATH`, where credential helpers are.
    pub path: Option<OsString>,
    /// How servers are reached.
    pub http: stave_http::Environment,
}

impl Environment {
    /// Returns what the variables say that `lookup` knows. Empty variables count as not set.
    #[must_use]
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<OsString>) -> Self {
        let get = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let path = |name: &str| get(name).map(PathBuf::from);
        let text = |names: &[&str]| names.iter().find_map(|name| get(name)?.into_string().ok());
        Self {
            home: path("HOME"),
            xdg_config_home: path("XDG_CONFIG_HOME"),
            xdg_runtime_dir: path("XDG_RUNTIME_DIR"),
            docker_config: path("DOCKER_CONFIG"),
            docker_auth_config: text(&["DOCKER_AUTH_CONFIG"]),
            registry_auth_file: path("REGISTRY_AUTH_FILE"),
            registries_conf: path("CONTAINERS_REGISTRIES_CONF"),
            registry_sources: text(&["BUILD_REGISTRY_SOURCES"]),
            path: get("PATH"),
            http: stave_http::Environment::from_lookup(&lookup),
        }
    }

    fn config_home(&self) -> Option<PathBuf> {
        self.xdg_config_home.clone().or_else(|| Some(self.home.as_ref()?.join(".config")))
    }

    pub(crate) fn etc(&self) -> &Path {
        self.http.etc()
    }

    /// Returns the folders with certificates for single registries.
    ///
    /// Reference: containers-certs.d(5).
    pub(crate) fn certificates(&self) -> Vec<PathBuf> {
        let folders = ["containers/certs.d", "docker/certs.d"];
        let user = self.config_home().into_iter().flat_map(|home| folders.map(|folder| home.join(folder)));
        user.chain(folders.map(|folder| self.etc().join(folder))).collect()
    }
}

/// Everything that is configured: registries and mirrors, and where credentials and certificates are.
#[derive(Debug, Clone, Default)]
pub struct Config {
    pub(crate) registries: registries::Registries,
    pub(crate) environment: Environment,
}

impl Config {
    /// Reads the configuration that `environment` leads to. Files that do not exist are no error, except one that a
    /// variable names.
    ///
    /// Credentials and certificates are read when they are needed, so that a broken file of theirs breaks only
    /// what needs it.
    pub fn load(environment: &Environment) -> Result<Self, ConfigError> {
        let registries = registries::Registries::load(environment)?;
        Ok(Self { registries, environment: environment.clone() })
    }

    /// Returns what `text`, an image's name as the user wrote it, may mean: one name, or several to try in turn.
    ///
    /// A short name (one without a registry) is looked up in `[aliases]`, then joined to each of
    /// `unqualified-search-registries`; where neither is configured it is Docker's.
    pub fn meanings(&self, text: &str) -> Result<Vec<Reference>, ReferenceError> {
        self.registries.meanings(text)
    }

    /// Has the certificate of `host` (perhaps with a port) not count, and TLS be no must there.
    pub fn allow_insecure(&mut self, host: &str) {
        self.registries.allow_insecure(host);
    }

    /// Returns what was read and ignored: one sentence for each setting that stave does not know.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.registries.warnings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_found_by_their_usual_names() {
        let environment = Environment::from_lookup(|name| match name {
            "HOME" | "XDG_RUNTIME_DIR" => Some(format!("/{name}").into()),
            "XDG_CONFIG_HOME" => Some(OsString::new()),
            "ALL_PROXY" => Some("http://all:1".into()),
            _ => None,
        });
        assert_eq!(environment.config_home(), Some("/HOME/.config".into()));
        assert_eq!(environment.http.http_proxy.as_deref(), Some("http://all:1"));
    }

    #[test]
    fn a_file_that_a_variable_names_has_to_exist() {
        let environment = Environment { registries_conf: Some("/nonexistent/x.conf".into()), ..Environment::default() };
        let error = Config::load(&environment).expect_err("there is no such file");
        assert_eq!(error.to_string(), "cannot read `/nonexistent/x.conf`");
    }
}
