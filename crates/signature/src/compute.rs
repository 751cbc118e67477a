//! What Sigstore's signatures are computed with: the crates that `pgp` and `ssh-key` compute with, too.

use ed25519_dalek::VerifyingKey as Ed25519Key;
use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use p256::pkcs8::DecodePublicKey as _;
use rsa::RsaPublicKey;
use rsa::pkcs1::DecodeRsaPublicKey as _;
use rsa::sha2::{Digest, Sha256, Sha384, Sha512};
use rsa::traits::PublicKeyParts as _;
use sigstore_verify::crypto::{CryptoProvider, Error, HashContext, KeyAlgorithm, SigningScheme};
use sigstore_verify::types::{DerPublicKey, HashAlgorithm};

use crate::limits::RSA_BITS_MIN;

/// Computes digests and verifies; it makes no keys and signs nothing.
#[derive(Debug)]
pub(crate) struct Compute;

/// The only one.
pub(crate) static COMPUTE: Compute = Compute;

struct Hash<D>(D);

impl<D: Digest + Send> HashContext for Hash<D> {
    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn finalize(self: Box<Self>) -> Vec<u8> {
        self.0.finalize().to_vec()
    }
}

fn wrong(scheme: SigningScheme) -> Error {
    Error::Verification(format!("{} signature invalid", scheme.name()))
}

fn unsupported(scheme: SigningScheme) -> Error {
    Error::UnsupportedAlgorithm(format!("{} is not verified", scheme.name()))
}

impl CryptoProvider for Compute {
    fn hash(&self, algorithm: HashAlgorithm) -> Result<Box<dyn HashContext>, Error> {
        Ok(match algorithm {
            HashAlgorithm::Sha2256 => Box::new(Hash(Sha256::new())),
            HashAlgorithm::Sha2384 => Box::new(Hash(Sha384::new())),
            HashAlgorithm::Sha2512 => Box::new(Hash(Sha512::new())),
            _ => return Err(Error::UnsupportedAlgorithm(format!("cannot compute {algorithm} digests"))),
        })
    }

    fn verify_raw(&self, scheme: SigningScheme, key: &[u8], data: &[u8], signature: &[u8]) -> Result<(), Error> {
        if scheme == SigningScheme::Ed25519 {
            let key = <[u8; 32]>::try_from(key).ok().and_then(|key| Ed25519Key::from_bytes(&key).ok());
            let signature = ed25519_dalek::Signature::from_slice(signature).map_err(|_| wrong(scheme))?;
            let key = key.ok_or_else(|| wrong(scheme))?;
            return key.verify_strict(data, &signature).map_err(|_| wrong(scheme));
        }
        let digest = match scheme.hash_algorithm() {
            Some(HashAlgorithm::Sha2256) => Sha256::digest(data).to_vec(),
            Some(HashAlgorithm::Sha2384) => Sha384::digest(data).to_vec(),
            Some(HashAlgorithm::Sha2512) => Sha512::digest(data).to_vec(),
            _ => return Err(unsupported(scheme)),
        };
        self.verify_prehashed(scheme, key, &digest, signature)
    }

    fn verify_prehashed(
        &self,
        scheme: SigningScheme,
        key: &[u8],
        digest: &[u8],
        signature: &[u8],
    ) -> Result<(), Error> {
        let is_right = match scheme {
            SigningScheme::EcdsaP256Sha256 | SigningScheme::EcdsaP256Sha384 => {
                let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(key).map_err(|_| wrong(scheme))?;
                let signature = p256::ecdsa::Signature::from_der(signature).map_err(|_| wrong(scheme))?;
                key.verify_prehash(digest, &signature).is_ok()
            }
            SigningScheme::EcdsaP384Sha256 | SigningScheme::EcdsaP384Sha384 => {
                let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(key).map_err(|_| wrong(scheme))?;
                let signature = p384::ecdsa::Signature::from_der(signature).map_err(|_| wrong(scheme))?;
                key.verify_prehash(digest, &signature).is_ok()
            }
            SigningScheme::RsaPkcs1Sha256 => pkcs1::<Sha256>(key, digest, signature),
            SigningScheme::RsaPkcs1Sha384 => pkcs1::<Sha384>(key, digest, signature),
            SigningScheme::RsaPkcs1Sha512 => pkcs1::<Sha512>(key, digest, signature),
            _ => return Err(unsupported(scheme)),
        };
        if is_right { Ok(()) } else { Err(wrong(scheme)) }
    }
}

fn pkcs1<D: Digest + rsa::pkcs8::AssociatedOid>(key: &[u8], digest: &[u8], signature: &[u8]) -> bool {
    let (Ok(key), Ok(signature)) = (RsaPublicKey::from_pkcs1_der(key), rsa::pkcs1v15::Signature::try_from(signature))
    else {
        return false;
    };
    rsa::pkcs1v15::VerifyingKey::<D>::new(key).verify_prehash(digest, &signature).is_ok()
}

/// A public key that is trusted for itself.
#[derive(Debug)]
pub(crate) enum Key {
    P256(p256::ecdsa::VerifyingKey),
    P384(p384::ecdsa::VerifyingKey),
    Ed25519(Ed25519Key),
    Rsa(RsaPublicKey),
}

impl Key {
    /// Reads a `SubjectPublicKeyInfo` (RFC 5280), or says why it is none that is trusted.
    pub(crate) fn from_spki(der: &[u8]) -> Result<Self, String> {
        let kind = KeyAlgorithm::from_spki(&DerPublicKey::new(der.to_vec())).map_err(|error| error.to_string())?;
        let broken = |error: p256::pkcs8::spki::Error| error.to_string();
        match kind {
            KeyAlgorithm::EcdsaP256 => {
                p256::ecdsa::VerifyingKey::from_public_key_der(der).map(Self::P256).map_err(broken)
            }
            KeyAlgorithm::EcdsaP384 => {
                p384::ecdsa::VerifyingKey::from_public_key_der(der).map(Self::P384).map_err(broken)
            }
            KeyAlgorithm::Ed25519 => Ed25519Key::from_public_key_der(der).map(Self::Ed25519).map_err(broken),
            KeyAlgorithm::Rsa => RsaPublicKey::from_public_key_der(der).map_err(broken).and_then(Self::rsa),
            _ => Err("keys of its kind are not verified".to_owned()),
        }
    }

    /// Reads an `RSAPublicKey` (RFC 8017), if it is one that is trusted.
    pub(crate) fn from_pkcs1(der: &[u8]) -> Option<Self> {
        RsaPublicKey::from_pkcs1_der(der).ok().and_then(|key| Self::rsa(key).ok())
    }

    fn rsa(key: RsaPublicKey) -> Result<Self, String> {
        match key.n().bits() {
            bits if bits < RSA_BITS_MIN => {
                Err(format!("the key of RSA has {bits} bits, expected at least {RSA_BITS_MIN}"))
            }
            _ => Ok(Self::Rsa(key)),
        }
    }

    /// Whether it made `signature` over `message`.
    pub(crate) fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Ed25519(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(message, &signature).is_ok()),
            // Of a key on this curve `cosign` takes one or the other.
            Self::P384(_) if self.signed_digest(&Sha384::digest(message), signature) => true,
            _ => self.signed_digest(&Sha256::digest(message), signature),
        }
    }

    /// Whether it signs digests, and not only whole messages.
    pub(crate) fn signs_digests(&self) -> bool {
        !matches!(self, Self::Ed25519(_))
    }

    /// Whether it made `signature` over what has this digest: SHA-256, or SHA-384 with a key of that size.
    pub(crate) fn signed_digest(&self, digest: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::P256(key) => p256::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify_prehash(digest, &signature).is_ok()),
            Self::P384(key) => p384::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify_prehash(digest, &signature).is_ok()),
            Self::Rsa(key) => rsa::pkcs1v15::Signature::try_from(signature).is_ok_and(|signature| {
                rsa::pkcs1v15::VerifyingKey::<Sha256>::new(key.clone()).verify_prehash(digest, &signature).is_ok()
            }),
            Self::Ed25519(_) => false,
        }
    }
}
