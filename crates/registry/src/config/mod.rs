//! What the user has configured about registries, found where other tools keep it.
//!
//! Nothing is read from the process's environment: [`Environment`] brings it in.

pub mod certs;
pub mod credentials;
pub mod registries;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use stave_oci::Reference;
use stave_oci::reference::ReferenceError;

use crate::limits;
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
    /// `PATH`, where credential helpers are.
    pub path: Option<OsString>,
    /// `SSL_CERT_FILE`: the certificates to trust, instead of the system's.
    pub ssl_cert_file: Option<PathBuf>,
    /// `SSL_CERT_DIR`: folders with certificates to trust, joined by `:`.
    pub ssl_cert_dir: Option<OsString>,
    /// `HTTPS_PROXY` or `https_proxy`, else `ALL_PROXY`.
    pub https_proxy: Option<String>,
    /// `HTTP_PROXY` or `http_proxy`, else `ALL_PROXY`.
    pub http_proxy: Option<String>,
    /// `NO_PROXY` or `no_proxy`.
    pub no_proxy: Option<String>,
    /// Where the system's configuration is: `/etc`, where nothing is set.
    pub etc: Option<PathBuf>,
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
            path: get("PATH"),
            ssl_cert_file: path("SSL_CERT_FILE"),
            ssl_cert_dir: get("SSL_CERT_DIR"),
            https_proxy: text(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
            http_proxy: text(&["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]),
            no_proxy: text(&["no_proxy", "NO_PROXY"]),
            etc: None,
        }
    }

    fn config_home(&self) -> Option<PathBuf> {
        self.xdg_config_home.clone().or_else(|| Some(self.home.as_ref()?.join(".config")))
    }

    pub(crate) fn etc(&self) -> &Path {
        self.etc.as_deref().unwrap_or(Path::new("/etc"))
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

    /// Returns what was read and ignored: one sentence for each setting that stave does not know.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.registries.warnings
    }
}

/// Reads a small file; nothing, if there is no such file.
pub(crate) fn read_optional(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(limits::CONFIG_FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limits::CONFIG_FILE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the file is larger than 4 MiB"));
    }
    Ok(Some(bytes))
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
            "HTTPS_PROXY" => Some("http://secure:1".into()),
            _ => None,
        });
        assert_eq!(environment.config_home(), Some("/HOME/.config".into()));
        assert_eq!(environment.http_proxy.as_deref(), Some("http://all:1"));
        assert_eq!(environment.https_proxy.as_deref(), Some("http://secure:1"));
        assert_eq!(environment.no_proxy, None);
    }

    #[test]
    fn a_file_that_a_variable_names_has_to_exist() {
        let environment = Environment { registries_conf: Some("/nonexistent/x.conf".into()), ..Environment::default() };
        let error = Config::load(&environment).expect_err("there is no such file");
        assert_eq!(error.to_string(), "cannot read `/nonexistent/x.conf`");
    }
}
