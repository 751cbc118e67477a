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
