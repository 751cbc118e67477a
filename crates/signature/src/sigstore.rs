//! Bundles of Sigstore: who signed a digest, by a certificate for minutes and a log that everybody can read.
//!
//! The crate `sigstore-verify` does the verifying: the certificate's chain, its entry in a certificate log, the entry of
//! the signature in a transparency log, and when all that was. What it computes with is in `compute`.
//!
//! Reference: sigstore, `protobuf-specs` (`bundle.v0.3`, `trustedroot`); `fulcio`, `docs/oid-info.md` (claims).

use std::fmt;
use std::sync::Once;

use serde_json::Value;
use sigstore_verify::bundle::Error as Shape;
use sigstore_verify::crypto::{FulcioCiClaims, install_default_provider};
use sigstore_verify::trust_root::TrustedRoot as Root;
use sigstore_verify::types::bundle::VerificationMaterialContent;
use sigstore_verify::types::{Bundle, KindVersion, Sha256Hash, SignatureContent};
use sigstore_verify::{
    CertificateError, Error, TransparencyLogError, VerificationPolicy, VerificationResult, Verifier,
};
use x509_cert::Certificate;
use x509_cert::der::{Decode as _, Encode as _};

use crate::compute::{COMPUTE, Key};
use crate::limits::{BUNDLE_BYTES_MAX, TRUSTED_ROOT_BYTES_MAX};

/// What an envelope has to hold: only of a statement is it known what it is about.
///
/// Reference: in-toto, "Envelope layer".
pub(crate) const STATEMENT: &str = "application/vnd.in-toto+json";

/// How a certificate may be signed: the algorithms of `compute`, as X.509 names them.
const CERTIFIED_BY: [&str; 6] = [
    "1.2.840.10045.4.3.2",
    "1.2.840.10045.4.3.3",
    "1.2.840.113549.1.1.11",
    "1.2.840.113549.1.1.12",
    "1.2.840.113549.1.1.13",
    "1.3.101.112",
];

/// Why it cannot be found out who signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SigstoreError {
    /// The root of trust cannot be used.
    #[error("the root of trust cannot be used: {problem}")]
    Root {
        /// What is wrong.
        problem: String,
    },
    /// It is no bundle.
    #[error("the bundle of Sigstore cannot be read: {problem}")]
    Bundle {
        /// What is wrong.
        problem: String,
    },
    /// It is a bundle of a kind that is not verified.
    #[error("the bundle of Sigstore is not verified: {problem}")]
    Unsupported {
        /// What is not verified.
        problem: String,
    },
}

/// Whom to believe: authorities that certify who somebody is, and logs.
pub struct TrustedRoot {
    root: Root,
    verifier: Verifier,
}

impl fmt::Debug for TrustedRoot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TrustedRoot").finish_non_exhaustive()
    }
}

/// Who signed, as a verified certificate says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Signer {
    /// The authority that certified it: `CN=...,O=...`.
    pub certificate_issuer: String,
    /// The address or the workflow that it certified.
    pub identity: String,
    /// Who had told the authority, an address.
    pub issuer: Option<String>,
    /// What else the certificate says, by the names that buildx has for it.
    pub claims: Vec<(&'static str, String)>,
}

/// When something was signed, as an authority says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedAt {
    /// Whether a log says it, and no authority for times.
    pub by_log: bool,
    /// The address of who says it, if the root of trust has one only.
    pub uri: Option<String>,
    /// The time, in RFC 3339.
    pub time: String,
}

/// A statement that was signed.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// Its type.
    pub predicate_type: String,
    /// What it states.
    pub predicate: Value,
}

/// What a bundle shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Signed {
    /// Who signed.
    pub signer: Signer,
    /// When, by everybody who says so. There is one at least.
    pub times: Vec<SignedAt>,
    /// What was stated; nothing if the digest itself was signed.
    pub statement: Option<Statement>,
    /// What the form of the bundle is called, as `bundle-v0.3`.
    pub form: &'static str,
}

/// Whether a bundle shows who signed.
#[derive(Debug, Clone, PartialEq)]
pub enum Finding {
    /// It does.
    Signed(Box<Signed>),
    /// It does not, and why that is known.
    Not(String),
}

/// What went wrong below, in one line.
pub(crate) fn first_line(error: impl fmt::Display) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

fn too_large(length: usize, most: usize) -> String {
    format!("it has {length} bytes, and {most} are the most")
}

impl TrustedRoot {
    /// Reads a `trusted_root.json`.
    ///
    /// # Errors
    /// If it is none, has a key that is not verified, or no authority or no log: with nobody to believe nothing could
    /// be verified.
    pub fn parse(json: &[u8]) -> Result<Self, SigstoreError> {
        static INSTALL: Once = Once::new();
        INSTALL.call_once(|| match install_default_provider(&COMPUTE) {
            // Another one can only have been installed by this function.
            Ok(()) | Err(_) => {}
        });
        let wrong = |problem: String| SigstoreError::Root { problem };
        if json.len() > TRUSTED_ROOT_BYTES_MAX {
            return Err(wrong(too_large(json.len(), TRUSTED_ROOT_BYTES_MAX)));
        }
        let text = std::str::from_utf8(json).map_err(|error| wrong(error.to_string()))?;
        let root = Root::from_json(text).map_err(|error| wrong(first_line(error)))?;
        if root.certificate_authorities.is_empty() || root.tlogs.is_empty() || root.ctlogs.is_empty() {
            return Err(wrong("it names no authority, no log of signatures or no log of certificates".to_owned()));
        }
        for log in &root.tlogs {
            let key = Key::from_spki(log.public_key.raw_bytes.as_bytes());
            key.map_err(|error| wrong(format!("the log `{}`: {error}", log.base_url)))?;
        }
        for log in &root.ctlogs {
            let key = log.public_key.raw_bytes.as_bytes();
            // Some are keys of RSA without the words in front that say so.
            let read = Key::from_spki(key).or_else(|error| Key::from_pkcs1(key).ok_or(error));
            read.map_err(|error| wrong(format!("the log `{}`: {error}", log.base_url)))?;
        }
        let authorities = root.certificate_authorities.iter().map(|authority| (&authority.uri, &authority.cert_chain));
        for (uri, certificate) in
            authorities.flat_map(|(uri, chain)| chain.certificates.iter().map(move |one| (uri, one)))
        {
            let read = Certificate::from_der(certificate.raw_bytes.as_bytes());
            let read = read.map_err(|error| wrong(format!("the authority `{uri}`: {error}")))?;
            usable(&read).map_err(|error| wrong(format!("the authority `{uri}`: {error}")))?;
        }
        let verifier = Verifier::new(&root).map_err(|error| wrong(first_line(error)))?;
        Ok(Self { root, verifier })
    }

    /// Says who signed what has this SHA-256, or a statement about it: the certificate comes from an authority of this
    /// root, is in a log of certificates, was good when it signed, and the signature is in a log of signatures.
    ///
    /// # Errors
    /// If that cannot be found out.
    pub fn verify(&self, sha256: [u8; 32], bundle: &[u8]) -> Result<Finding, SigstoreError> {
        let bundle = parse(bundle)?;
        let unsupported = |problem: String| SigstoreError::Unsupported { problem };
        if let SignatureContent::DsseEnvelope(envelope) = &bundle.content
            && envelope.payload_type != STATEMENT
        {
            let kind = envelope.payload_type.escape_debug();
            return Err(unsupported(format!("it signs `{kind}`, expected `{STATEMENT}`")));
        }
        if let VerificationMaterialContent::PublicKey(_) = &bundle.verification_material.content {
            return Ok(Finding::Not("it is by a plain key, and not by a certificate".to_owned()));
        }
        let Some(certificate) = bundle.signing_certificate() else {
            return Err(SigstoreError::Bundle { problem: "it has no certificate".to_owned() });
        };
        let certificate = Certificate::from_der(certificate.as_bytes())
            .map_err(|error| SigstoreError::Bundle { problem: format!("its certificate: {error}") })?;
        usable(&certificate).map_err(|problem| unsupported(format!("its certificate: {problem}")))?;
        // Whose signature is wanted, the policy says.
        let any = VerificationPolicy::any_identity();
        match self.verifier.verify(Sha256Hash::new(sha256), &bundle, &any) {
            Ok(found) => self.signed(&bundle, &certificate, &found).map(Box::new).map(Finding::Signed),
            Err(error) => not(&error).map(Finding::Not),
        }
    }

    fn signed(
        &self,
        bundle: &Bundle,
        certificate: &Certificate,
        found: &VerificationResult,
    ) -> Result<Signed, SigstoreError> {
        let all = found.certificate_verified() && found.sct_verified() && found.tlog_verified();
        let (true, Some(identity)) = (all, found.identity()) else {
            let problem = "its certificate names nobody, or not everything of it was verified".to_owned();
            return Err(SigstoreError::Unsupported { problem });
        };
        let statement = match &bundle.content {
            SignatureContent::DsseEnvelope(envelope) => Some(statement(envelope.payload.as_bytes())?),
            _ => None,
        };
        let signer = Signer {
            certificate_issuer: certificate.tbs_certificate.issuer.to_string(),
            identity: identity.as_str().to_owned(),
            issuer: found.issuer().map(str::to_owned),
            claims: found.certificate().map(|about| claims(&about.ci_claims)).unwrap_or_default(),
        };
        Ok(Signed { signer, times: self.times(bundle, found), statement, form: form(bundle) })
    }

    /// Returns who says when it was signed. Those for times come first, then logs, as they were verified.
    fn times(&self, bundle: &Bundle, found: &VerificationResult) -> Vec<SignedAt> {
        let material = &bundle.verification_material;
        let stamps = material.timestamp_verification_data.rfc3161_timestamps.len();
        let authority = match self.root.timestamp_authorities.as_slice() {
            [one] => one.uri.clone(),
            _ => None,
        };
        let log = |time: &jiff::Timestamp| {
            let dated = |kind: &KindVersion| *kind != KindVersion::HashedRekordV002;
            let mut entries = material.tlog_entries.iter();
            let entry =
                entries.find(|entry| dated(&entry.kind_version) && entry.integrated_time.as_ref() == Some(time))?;
            self.root.tlogs.iter().find(|log| log.log_id == entry.log_id).map(|log| log.base_url.clone())
        };
        let said = found.verified_timestamps().iter().enumerate();
        said.map(|(index, time)| {
            let by_log = index >= stamps;
            SignedAt { by_log, uri: if by_log { log(time) } else { authority.clone() }, time: time.to_string() }
        })
        .collect()
    }
}

/// Reads a bundle.
fn parse(bytes: &[u8]) -> Result<Bundle, SigstoreError> {
    let unread = |problem: String| SigstoreError::Bundle { problem };
    if bytes.len() > BUNDLE_BYTES_MAX {
        return Err(unread(too_large(bytes.len(), BUNDLE_BYTES_MAX)));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| unread(error.to_string()))?;
    Bundle::from_json(text).map_err(|error| unread(first_line(error)))
}

fn form(bundle: &Bundle) -> &'static str {
    use sigstore_verify::types::MediaType;
    match bundle.media_type {
        MediaType::Bundle0_1 => "bundle-v0.1",
        MediaType::Bundle0_2 => "bundle-v0.2",
        MediaType::Bundle0_3 => "bundle-v0.3",
        _ => "bundle",
    }
}

/// Reads what an envelope holds.
pub(crate) fn statement(payload: &[u8]) -> Result<Statement, SigstoreError> {
    let unread = |problem: String| SigstoreError::Bundle { problem };
    let mut value: Value = serde_json::from_slice(payload).map_err(|error| unread(first_line(error)))?;
    let kind = value["_type"].as_str().unwrap_or_default();
    if !kind.starts_with("https://in-toto.io/Statement/") {
        return Err(unread(format!(
            "it states something as `{}`, which is no statement of in-toto",
            kind.escape_debug()
        )));
    }
    let Some(predicate_type) = value["predicateType"].as_str().map(str::to_owned) else {
        return Err(unread("its statement has no type".to_owned()));
    };
    Ok(Statement { predicate_type, predicate: value["predicate"].take() })
}

/// Refuses certificates that could not be told from wrong ones.
fn usable(certificate: &Certificate) -> Result<(), String> {
    let by = certificate.signature_algorithm.oid.to_string();
    if !CERTIFIED_BY.contains(&by.as_str()) {
        return Err(format!("it is signed by the algorithm {by}, which is not verified"));
    }
    let key = certificate.tbs_certificate.subject_public_key_info.to_der().map_err(|error| error.to_string())?;
    Key::from_spki(&key).map(|_| ())
}

/// Returns why a bundle shows nothing, where that is known; else it is an error.
fn not(error: &Error) -> Result<String, SigstoreError> {
    let problem = first_line(error);
    let why = match error {
        Error::ArtifactMismatch(_) => return Ok("it is over something else".to_owned()),
        Error::SignatureInvalid(_) => "it is not by the key of its certificate",
        Error::Certificate(
            CertificateError::ChainInvalid(_)
            | CertificateError::NoValidAuthority { .. }
            | CertificateError::NotYetValid { .. }
            | CertificateError::Expired { .. }
            | CertificateError::Sct(_),
        )
        | Error::TransparencyLog(TransparencyLogError::IntegratedTime(_)) => {
            "nobody of the root of trust vouches for its certificate at the time of the signature"
        }
        Error::TransparencyLog(TransparencyLogError::EntryMismatch(_)) => {
            "its entry in the log is about something else"
        }
        Error::TransparencyLog(
            TransparencyLogError::UnknownLog { .. }
            | TransparencyLogError::InclusionProof(_)
            | TransparencyLogError::Checkpoint(_)
            | TransparencyLogError::InclusionPromise(_),
        )
        | Error::Bundle(
            Shape::MissingInclusionProof(_) | Shape::MissingInclusionPromise(_) | Shape::MissingSigningTimeEvidence,
        ) => "it is in no log of the root of trust",
        Error::Timestamp(_) => "nobody of the root of trust says when it was signed",
        Error::Types(_) | Error::Bundle(_) | Error::InvalidBundle(_) => return Err(SigstoreError::Bundle { problem }),
        _ => return Err(SigstoreError::Unsupported { problem }),
    };
    Ok(format!("{why} ({problem})"))
}

fn claims(of: &FulcioCiClaims) -> Vec<(&'static str, String)> {
    let all = [
        ("buildSignerURI", &of.build_signer_uri),
        ("buildSignerDigest", &of.build_signer_digest),
        ("runnerEnvironment", &of.runner_environment),
        ("sourceRepositoryURI", &of.source_repository_uri),
        ("sourceRepositoryDigest", &of.source_repository_digest),
        ("sourceRepositoryRef", &of.source_repository_ref),
        ("sourceRepositoryIdentifier", &of.source_repository_identifier),
        ("sourceRepositoryOwnerURI", &of.source_repository_owner_uri),
        ("sourceRepositoryOwnerIdentifier", &of.source_repository_owner_identifier),
        ("buildConfigURI", &of.build_config_uri),
        ("buildConfigDigest", &of.build_config_digest),
        ("buildTrigger", &of.build_trigger),
        ("runInvocationURI", &of.run_invocation_uri),
        ("sourceRepositoryVisibilityAtSigning", &of.source_repository_visibility_at_signing),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect()
}
