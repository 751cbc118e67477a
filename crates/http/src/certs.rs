//! Whom to trust: the system's certificate authorities, and those of a folder for single hosts (`certs.d`).
//!
//! Reference: containers-certs.d(5).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

use crate::environment::{Environment, read_optional};

/// Where distributions keep the bundle of certificate authorities, below the system's configuration.
const BUNDLES: &[&str] =
    &["ssl/certs/ca-certificates.crt", "pki/tls/certs/ca-bundle.crt", "ssl/ca-bundle.pem", "ssl/cert.pem"];

/// Why certificates could not be read.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file could not be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// How it failed.
        source: io::Error,
    },
    /// A file is no PEM.
    #[error("`{}` is not a file of certificates or keys in the PEM format", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
    },
    /// A client's certificate without its key, or the other way round.
    #[error("`{}` has no matching `{missing}` file", path.display())]
    Unpaired {
        /// The file.
        path: PathBuf,
        /// What is missing: `.key` or `.cert`.
        missing: &'static str,
    },
    /// The key is of an unknown kind or not the certificate's.
    #[error("the key in `{}` does not belong to its certificate", path.display())]
    Key {
        /// The key's file.
        path: PathBuf,
    },
}

/// Returns how to speak TLS with `authority`, a host and its port.
///
/// The certificate authorities are the system's and those of its folder in one of `folders`; where the system has none, Mozilla's as
/// they were when stave was built.
pub(crate) fn tls_for(
    environment: &Environment,
    folders: &[PathBuf],
    authority: &str,
    insecure: bool,
) -> Result<TlsConfig, CertificateError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = TlsConfig::builder().unversioned_rustls_crypto_provider(provider).disable_verification(insecure);
    // Where nothing is verified, nobody has to be trusted.
    let mut roots = if insecure { Vec::new() } else { system_roots(environment)? };
    let mut client = None;
    if let Some(folder) = folders.iter().map(|folder| folder.join(authority)).find(|folder| folder.is_dir()) {
        roots.extend(authorities(&folder)?);
        client = client_certificate(&folder)?;
    }
    let roots = if roots.is_empty() { RootCerts::WebPki } else { RootCerts::new_with_certs(&roots) };
    Ok(builder.root_certs(roots).client_cert(client).build())
}

fn system_roots(environment: &Environment) -> Result<Vec<Certificate<'static>>, CertificateError> {
    if environment.ssl_cert_file.is_some() || environment.ssl_cert_dir.is_some() {
        let mut roots = environment.ssl_cert_file.as_deref().map_or(Ok(Vec::new()), certificates)?;
        let folders = environment.ssl_cert_dir.as_deref().unwrap_or_default();
        for folder in std::env::split_paths(folders).filter(|folder| !folder.as_os_str().is_empty()) {
            for path in list(&folder)? {
                // A folder of this kind holds links by hash next to other things.
                roots.extend(certificates(&path).unwrap_or_default());
            }
        }
        return Ok(roots);
    }
    let bundles = BUNDLES.iter().map(|name| environment.etc().join(name));
    bundles.into_iter().find(|path| path.is_file()).map_or(Ok(Vec::new()), |path| certificates(&path))
}

fn authorities(folder: &Path) -> Result<Vec<Certificate<'static>>, CertificateError> {
    let mut roots = Vec::new();
    for path in list(folder)?.iter().filter(|path| path.extension().is_some_and(|extension| extension == "crt")) {
        roots.extend(certificates(path)?);
    }
    Ok(roots)
}

fn client_certificate(folder: &Path) -> Result<Option<ClientCert>, CertificateError> {
    let files = list(folder)?;
    let with = |extension: &str| files.iter().find(|path| path.extension().is_some_and(|found| found == extension));
    let path = match (with("cert"), with("key")) {
        (Some(path), _) => path,
        (None, Some(key)) => return Err(CertificateError::Unpaired { path: key.clone(), missing: ".cert" }),
        (None, None) => return Ok(None),
    };
    let key_path = path.with_extension("key");
    if !key_path.is_file() {
        return Err(CertificateError::Unpaired { path: path.clone(), missing: ".key" });
    }
    let chain = certificates(path)?;
    let key = PrivateKey::from_pem(&read(&key_path)?).map_err(|_| CertificateError::Pem { path: key_path.clone() })?;
    check_pair(&chain, &key).ok_or(CertificateError::Key { path: key_path })?;
    Ok(Some(ClientCert::new_with_certs(&chain, key)))
}

/// Checks what the TLS library would otherwise panic on.
fn check_pair(chain: &[Certificate<'static>], key: &PrivateKey<'static>) -> Option<()> {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let chain = chain.iter().map(|certificate| CertificateDer::from(certificate.der().to_vec())).collect();
    let key = PrivateKeyDer::try_from(key.der().to_vec()).ok()?;
    rustls::sign::CertifiedKey::from_der(chain, key, &rustls::crypto::ring::default_provider()).ok().map(drop)
}

fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, CertificateError> {
    let bytes = read(path)?;
    let mut found = Vec::new();
    for item in parse_pem(&bytes) {
        match item {
            Ok(PemItem::Certificate(certificate)) => found.push(certificate.to_owned()),
            Ok(_) => {}
            Err(_) => return Err(CertificateError::Pem { path: path.to_owned() }),
        }
    }
    if found.is_empty() { Err(CertificateError::Pem { path: path.to_owned() }) } else { Ok(found) }
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    let failed = |source| CertificateError::Read { path: path.to_owned(), source };
    read_optional(path).map_err(failed)?.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))
}

fn list(folder: &Path) -> Result<Vec<PathBuf>, CertificateError> {
    let failed = |source| CertificateError::Read { path: folder.to_owned(), source };
    let entries = std::fs::read_dir(folder).map_err(failed)?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>().map_err(failed)?;
    paths.sort();
    Ok(paths)
}
