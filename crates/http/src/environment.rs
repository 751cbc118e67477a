//! What a client takes from its surroundings: proxies, and where certificates and the addresses of hosts are found.
//!
//! Nothing is read from the process's environment: [`Environment`] brings it in.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::limits;

/// The parts of the process's environment that say how to reach others.
#[derive(Debug, Clone, Default)]
pub struct Environment {
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
        let text = |names: &[&str]| names.iter().find_map(|name| get(name)?.into_string().ok());
        Self {
            ssl_cert_file: get("SSL_CERT_FILE").map(PathBuf::from),
            ssl_cert_dir: get("SSL_CERT_DIR"),
            https_proxy: text(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
            http_proxy: text(&["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]),
            no_proxy: text(&["no_proxy", "NO_PROXY"]),
            etc: None,
        }
    }

    /// Returns where the system's configuration is.
    #[must_use]
    pub fn etc(&self) -> &Path {
        self.etc.as_deref().unwrap_or(Path::new("/etc"))
    }
}

/// Reads a small file; nothing, if there is no such file.
///
/// # Errors
/// If it cannot be read or is larger than [`limits::CONFIG_FILE_BYTES_MAX`].
pub fn read_optional(path: &Path) -> io::Result<Option<Vec<u8>>> {
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
    fn proxies_are_found_by_their_usual_names() {
        let environment = Environment::from_lookup(|name| match name {
            "ALL_PROXY" => Some("http://all:1".into()),
            "HTTPS_PROXY" => Some("http://secure:1".into()),
            "NO_PROXY" => Some(OsString::new()),
            _ => None,
        });
        assert_eq!(environment.http_proxy.as_deref(), Some("http://all:1"));
        assert_eq!(environment.https_proxy.as_deref(), Some("http://secure:1"));
        assert_eq!(environment.no_proxy, None);
    }
}
