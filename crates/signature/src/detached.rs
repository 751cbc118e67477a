//! A signature that stands beside what it signs: which kind it is, and whether a key made it.

use std::fmt;
use std::io::{self, Read};

use crate::limits::{KEYS_BYTES_MAX, SIGNATURE_BYTES_MAX};
use crate::sigstore::SigstoreError;
use crate::{openpgp, ssh};

/// Why it cannot be found out whether a key made a signature.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// The file of keys cannot be used.
    #[error("the keys cannot be used: {problem}")]
    Keys {
        /// What is wrong.
        problem: String,
    },
    /// It is no signature.
    #[error("the signature is none of {what}: {problem}")]
    Signature {
        /// Whose it should be.
        what: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// It is a signature of a kind that is not verified.
    #[error("the {what} signature is not verified: {problem}")]
    Unsupported {
        /// Whose it is.
        what: &'static str,
        /// What is not verified.
        problem: String,
    },
    /// It is a signature of an image, and cannot be read or verified.
    #[error("the signature {place} of the image")]
    Image {
        /// Where it is.
        place: String,
        /// What is wrong.
        #[source]
        source: SigstoreError,
    },
    /// What was signed cannot be read.
    #[error("cannot read what was signed")]
    Read(#[source] io::Error),
}

impl SignatureError {
    pub(crate) fn signature(what: &'static str, error: impl fmt::Display) -> Self {
        let text = error.to_string();
        Self::Signature { what, problem: text.lines().next().unwrap_or_default().to_owned() }
    }
}

/// Opens what was signed from its beginning; a signature may have to be tried with several keys.
pub type Open<'a> = &'a dyn Fn() -> io::Result<Box<dyn Read + 'a>>;

/// Whether a key made a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// One of the keys made it, over exactly what was given.
    Verified,
    /// None did, and why that is known.
    Not(String),
}

impl Verdict {
    pub(crate) fn not(why: impl Into<String>) -> Self {
        Self::Not(why.into())
    }
}

/// What a signature says of itself, which nobody has verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// It is one of `OpenPGP`.
    OpenPgp {
        /// Its version.
        version: u8,
        /// The last 16 digits of the key that it says it is by, in hexadecimal; nothing if it does not say.
        key_id: Option<String>,
    },
    /// It is one of SSH.
    Ssh {
        /// Its version.
        version: u32,
        /// The fingerprint of the key that it says it is by: `SHA256:...`.
        public_key: String,
    },
}

/// A signature in armor, read.
enum Armored {
    OpenPgp(Vec<openpgp::Signature>),
    Ssh(Box<ssh::Signature>),
}

impl Armored {
    fn parse(signature: &[u8]) -> Result<Self, SignatureError> {
        if signature.len() > SIGNATURE_BYTES_MAX {
            let problem = format!("it has {} bytes, and {SIGNATURE_BYTES_MAX} are the most", signature.len());
            return Err(SignatureError::Signature { what: "OpenPGP or SSH", problem });
        }
        let start = signature.trim_ascii_start();
        if start.starts_with(b"-----BEGIN SSH SIGNATURE-----") {
            return ssh::Signature::parse(start).map(Box::new).map(Self::Ssh);
        }
        if start.starts_with(b"-----BEGIN SIGNED MESSAGE-----") {
            let problem = "it is one of X.509 (S/MIME)".to_owned();
            return Err(SignatureError::Unsupported { what: "X.509", problem });
        }
        openpgp::signatures(start).map(Self::OpenPgp)
    }
}

/// Returns what a signature in armor says of itself.
///
/// # Errors
/// If it is none of `OpenPGP` or SSH.
pub fn kind_of(signature: &[u8]) -> Result<Kind, SignatureError> {
    Ok(match Armored::parse(signature)? {
        Armored::OpenPgp(signatures) => {
            let (version, key_id) = signatures.first().map(openpgp::Signature::about).unwrap_or_default();
            Kind::OpenPgp { version, key_id }
        }
        Armored::Ssh(signature) => {
            let (version, public_key) = signature.about();
            Kind::Ssh { version, public_key }
        }
    })
}

/// Says whether one of `keys` (public keys of `OpenPGP`, or keys of SSH, one in a line) made `signature` over `message`,
/// for Git.
///
/// # Errors
/// If that cannot be found out.
pub fn verify(message: &[u8], signature: &[u8], keys: &[u8]) -> Result<Verdict, SignatureError> {
    let signature = Armored::parse(signature)?;
    let open = || -> io::Result<Box<dyn Read + '_>> { Ok(Box::new(message)) };
    match (signature, Keys::parse(keys)?) {
        (Armored::OpenPgp(signatures), Keys::OpenPgp(keys)) => openpgp::verify(&signatures, &open, &keys),
        (Armored::Ssh(signature), Keys::Ssh(keys)) => signature.verify(message, &keys),
        (Armored::OpenPgp(_), Keys::Ssh(_)) => {
            Ok(Verdict::not("it is a signature of OpenPGP, and the keys are of SSH"))
        }
        (Armored::Ssh(_), Keys::OpenPgp(_)) => {
            Ok(Verdict::not("it is a signature of SSH, and the keys are of OpenPGP"))
        }
    }
}

/// Says whether one of `keys` of `OpenPGP` made `signature` (in armor or not) over what `open` opens.
///
/// # Errors
/// If that cannot be found out.
pub fn verify_openpgp(open: Open<'_>, signature: &[u8], keys: &[u8]) -> Result<Verdict, SignatureError> {
    let signatures = openpgp::signatures(signature)?;
    match Keys::parse(keys)? {
        Keys::OpenPgp(keys) => openpgp::verify(&signatures, open, &keys),
        Keys::Ssh(_) => Err(SignatureError::Keys { problem: "they are of SSH, expected OpenPGP".to_owned() }),
    }
}

enum Keys {
    OpenPgp(Vec<openpgp::Key>),
    Ssh(Vec<ssh_key::PublicKey>),
}

impl Keys {
    fn parse(bytes: &[u8]) -> Result<Self, SignatureError> {
        let wrong = |problem: String| SignatureError::Keys { problem };
        if bytes.len() > KEYS_BYTES_MAX {
            return Err(wrong(format!("there are {} bytes, and {KEYS_BYTES_MAX} are the most", bytes.len())));
        }
        let keys = match std::str::from_utf8(bytes) {
            Ok(text) if !text.contains("-----BEGIN") => Self::Ssh(ssh::keys(text)?),
            _ => Self::OpenPgp(openpgp::keys(bytes)?),
        };
        match &keys {
            Self::OpenPgp(keys) if keys.is_empty() => Err(wrong("there is none".to_owned())),
            Self::Ssh(keys) if keys.is_empty() => Err(wrong("there is none".to_owned())),
            _ => Ok(keys),
        }
    }
}
