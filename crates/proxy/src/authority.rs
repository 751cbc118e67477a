//! A certificate authority of one build: its key is in memory only, and only the steps of the build trust it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::limits;

/// Characters of a line in the PEM format.
///
/// Reference: RFC 7468, section 2.
const PEM_COLUMNS: usize = 64;

/// Why a certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The host has a name that no certificate can have, or there is no randomness.
    #[error("cannot make a certificate for `{host}`")]
    Certificate {
        /// The host, or what the certificate is for.
        host: String,
        /// How it failed.
        source: rcgen::Error,
    },
    /// The TLS library does not take it.
    #[error("cannot use the certificate for `{host}`")]
    Unusable {
        /// The host.
        host: String,
        /// How it failed.
        source: rustls::Error,
    },
}

/// The authority. Clones of the `Arc` that holds it share its certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// One key for all servers: who has this process's memory has the authority's, too.
    server_key: KeyPair,
    pem: String,
    servers: Mutex<BTreeMap<String, Arc<ServerConfig>>>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Authority")
    }
}

impl Authority {
    /// Makes a new authority with a new key.
    ///
    /// # Errors
    /// If the machine has no randomness.
    pub fn new() -> Result<Self, AuthorityError> {
        let failed = |source| AuthorityError::Certificate { host: "the proxy of the build".to_owned(), source };
        let mut params = CertificateParams::new(Vec::new()).map_err(failed)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "stave: the proxy of this build");
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.self_signed(&key).map_err(failed)?;
        Ok(Self {
            pem: pem(certificate.der()),
            issuer: Issuer::new(params, key),
            server_key: KeyPair::generate().map_err(failed)?,
            servers: Mutex::default(),
        })
    }

    /// Returns its certificate in the PEM format, for files of trusted certificates. It ends with a line feed.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Returns how to be the server `host`, a name or an address without brackets.
    pub(crate) fn server(&self, host: &str) -> Result<Arc<ServerConfig>, AuthorityError> {
        let servers = || self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = servers().get(host) {
            return Ok(Arc::clone(known));
        }
        let made = Arc::new(self.make(host)?);
        let mut servers = servers();
        if servers.len() >= limits::CERTIFICATES_MAX {
            servers.clear();
        }
        servers.insert(host.to_owned(), Arc::clone(&made));
        Ok(made)
    }

    fn make(&self, host: &str) -> Result<ServerConfig, AuthorityError> {
        let failed = |source| AuthorityError::Certificate { host: host.to_owned(), source };
        let mut params = CertificateParams::new(vec![host.to_owned()]).map_err(failed)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        // The name of a host may be longer than the 64 characters of a common name.
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "stave: for a step of this build");
        let certificate = params.signed_by(&self.server_key, &self.issuer).map_err(failed)?;
        let chain = vec![CertificateDer::from(certificate.der().to_vec())];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.server_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let unusable = |source| AuthorityError::Unusable { host: host.to_owned(), source };
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.map_err(unusable)?.with_no_client_auth().with_single_cert(chain, key);
        let mut config = config.map_err(unusable)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut out = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(PEM_COLUMNS) {
        out.push_str(&String::from_utf8_lossy(line));
        out.push('\n');
    }
    out.push_str("-----END CERTIFICATE-----\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_authority_is_another_and_makes_servers_with_names_and_addresses() {
        let (one, other) = (Authority::new().expect("randomness"), Authority::new().expect("randomness"));
        assert_ne!(one.pem(), other.pem());
        assert!(one.pem().starts_with("-----BEGIN CERTIFICATE-----\n") && one.pem().ends_with("CERTIFICATE-----\n"));
        for host in ["a.example", "127.0.0.1", "::1", &"a.".repeat(100)] {
            let server = one.server(host).expect("a certificate");
            assert!(Arc::ptr_eq(&server, &one.server(host).expect("a certificate")));
        }
        assert_eq!(format!("{one:?}"), "Authority");
    }
}
