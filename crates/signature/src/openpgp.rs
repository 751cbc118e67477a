//! Signatures of `OpenPGP`. The crate `pgp` reads packets and computes; which key may sign what is decided here.
//!
//! Reference: RFC 9580, section 5.2 (signatures), 10.1 (keys with their names and subkeys).

mod keys;

use pgp::composed::{Deserializable, DetachedSignature, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{self, KeyFlags, SignatureType, SubpacketData};
use pgp::types::{KeyDetails, PublicParams, Tag, Timestamp, VerifyingKey};
use rsa::traits::PublicKeyParts as _;

use crate::detached::{Open, SignatureError, Verdict};
use crate::limits::{RSA_BITS_MIN, SIGNATURES_MAX};

pub(crate) use keys::keys;

const ARMOR: &[u8] = b"-----BEGIN PGP ";

/// A signature that was read.
#[derive(Debug)]
pub(crate) struct Signature(packet::Signature);

/// A key with all that it carries, from every copy of it that was given.
#[derive(Debug)]
pub(crate) struct Key {
    key: SignedPublicKey,
    /// Whether it took itself back. It is not asked when, or why: a key that is lost can be dated back.
    is_revoked: bool,
}

/// Reads signatures, in armor or not: one, or those of several who signed the same.
pub(crate) fn signatures(bytes: &[u8]) -> Result<Vec<Signature>, SignatureError> {
    let wrong = |error: pgp::errors::Error| SignatureError::signature("OpenPGP", error);
    let read: Vec<_> = if bytes.starts_with(ARMOR) {
        let (all, _) = DetachedSignature::from_armor_many_buf(bytes).map_err(wrong)?;
        all.take(SIGNATURES_MAX + 1).collect()
    } else {
        DetachedSignature::from_bytes_many(bytes).map_err(wrong)?.take(SIGNATURES_MAX + 1).collect()
    };
    let problem = match read.len() {
        0 => "there is none".to_owned(),
        count if count > SIGNATURES_MAX => format!("there are more than {SIGNATURES_MAX}"),
        _ => return read.into_iter().map(|one| one.map(|one| Signature(one.signature)).map_err(wrong)).collect(),
    };
    Err(SignatureError::Signature { what: "OpenPGP", problem })
}

/// Says whether one of `keys` made one of `signatures` over what `open` opens.
pub(crate) fn verify(signatures: &[Signature], open: Open<'_>, keys: &[Key]) -> Result<Verdict, SignatureError> {
    let mut not = Verdict::not("there is no signature");
    let mut unknown = None;
    for signature in signatures {
        match signature.verify(open, keys) {
            Ok(Verdict::Verified) => return Ok(Verdict::Verified),
            Ok(other) => not = other,
            Err(error) => {
                unknown.get_or_insert(error);
            }
        }
    }
    unknown.map_or(Ok(not), Err)
}

fn unsupported(problem: impl Into<String>) -> SignatureError {
    SignatureError::Unsupported { what: "OpenPGP", problem: problem.into() }
}

impl Signature {
    /// Returns its version, and the last 16 digits of the key that it says it is by.
    pub(crate) fn about(&self) -> (u8, Option<String>) {
        let key_id = self.0.issuer_key_id().first().map(ToString::to_string);
        let fingerprint = || {
            let digits = self.0.issuer_fingerprint().first().map(|fingerprint| format!("{fingerprint:x}"))?;
            // Of version 6 on the first digits are the short name, before that the last.
            let short =
                if digits.len() > 40 { digits.get(..16) } else { digits.get(digits.len().saturating_sub(16)..) };
            short.map(str::to_owned)
        };
        (self.0.version().into(), key_id.or_else(fingerprint))
    }

    /// Returns when it was made, if it is one that can be verified.
    fn made(&self) -> Result<Timestamp, SignatureError> {
        let Some(config) = self.0.config() else {
            return Err(unsupported(format!("its version is {:?}", self.0.version())));
        };
        // One over a text is one over all bytes that read the same: the ends of its lines may be others.
        if config.typ() != SignatureType::Binary {
            return Err(unsupported(format!(
                "it is of the kind {:?}, which is not over the bytes of a file",
                config.typ()
            )));
        }
        strong(config.hash_alg)?;
        if self.0.signature_expiration_time().is_some_and(|time| time.as_secs() > 0) {
            return Err(unsupported("it is good for some time only, and no clock is looked at"));
        }
        let unknown = config.hashed_subpackets().find(|part| {
            let is_unknown = matches!(
                part.data,
                SubpacketData::Other(..) | SubpacketData::Experimental(..) | SubpacketData::Notation(..)
            );
            part.is_critical && is_unknown
        });
        if let Some(part) = unknown {
            return Err(unsupported(format!(
                "it asks not to be trusted by who does not know its part {:?}",
                part.typ()
            )));
        }
        self.0.created().ok_or_else(|| unsupported("it does not say when it was made"))
    }

    fn verify(&self, open: Open<'_>, keys: &[Key]) -> Result<Verdict, SignatureError> {
        let made = self.made()?;
        let mut not = Verdict::not(match self.about().1 {
            Some(key_id) => format!("it is by the key {key_id}, which is none of those given"),
            None => "it does not say by which key it is".to_owned(),
        });
        for key in keys {
            let subkeys = key.key.public_subkeys.iter().filter(|subkey| self.names(&subkey.key));
            if self.names(&key.key.primary_key) {
                match key.may_sign(made)? {
                    Ok(()) if self.is_by(&key.key.primary_key, open)? => return Ok(Verdict::Verified),
                    Ok(()) => not = Verdict::not("it is over something else"),
                    Err(why) => not = Verdict::Not(why),
                }
            }
            for subkey in subkeys {
                match key.subkey_may_sign(subkey, made)? {
                    Ok(()) if self.is_by(&subkey.key, open)? => return Ok(Verdict::Verified),
                    Ok(()) => not = Verdict::not("it is over something else"),
                    Err(why) => not = Verdict::Not(why),
                }
            }
        }
        Ok(not)
    }

    /// Whether it says that it is by this key, or does not say by which it is.
    fn names(&self, key: &impl KeyDetails) -> bool {
        let (ids, fingerprints) = (self.0.issuer_key_id(), self.0.issuer_fingerprint());
        ids.is_empty() && fingerprints.is_empty()
            || ids.iter().any(|id| **id == key.legacy_key_id())
            || fingerprints.iter().any(|fingerprint| **fingerprint == key.fingerprint())
    }

    fn is_by(&self, key: &impl VerifyingKey, open: Open<'_>) -> Result<bool, SignatureError> {
        let mut failure = None;
        let verified =
            self.0.verify(key, Watched { inner: open().map_err(SignatureError::Read)?, failure: &mut failure });
        match failure {
            Some(error) => Err(SignatureError::Read(error)),
            None => Ok(verified.is_ok()),
        }
    }
}

/// Remembers that reading failed, which is something else than a signature that is wrong.
struct Watched<'a, 'b> {
    inner: Box<dyn std::io::Read + 'a>,
    failure: &'b mut Option<std::io::Error>,
}

impl std::io::Read for Watched<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.inner.read(buffer).inspect_err(|error| {
            if error.kind() != std::io::ErrorKind::Interrupted {
                *self.failure = Some(std::io::Error::new(error.kind(), error.to_string()));
            }
        })
    }
}

/// Refuses hashes with which somebody else could have made two texts for one signature.
fn strong(hash: HashAlgorithm) -> Result<(), SignatureError> {
    match hash {
        HashAlgorithm::Sha256
        | HashAlgorithm::Sha384
        | HashAlgorithm::Sha512
        | HashAlgorithm::Sha3_256
        | HashAlgorithm::Sha3_512 => Ok(()),
        other => Err(unsupported(format!("it was made with {other}, which is too weak"))),
    }
}

/// Refuses kinds of keys that are not verified, and keys that are too short to be trusted.
fn usable(key: &impl KeyDetails) -> Result<(), SignatureError> {
    match key.public_params() {
        PublicParams::RSA(rsa) if rsa.key.n().bits() < RSA_BITS_MIN => {
            let bits = rsa.key.n().bits();
            Err(unsupported(format!("its key of RSA has {bits} bits, expected at least {RSA_BITS_MIN}")))
        }
        PublicParams::RSA(_)
        | PublicParams::ECDSA(_)
        | PublicParams::EdDSALegacy(_)
        | PublicParams::Ed25519(_)
        | PublicParams::Ed448(_) => Ok(()),
        _ => Err(unsupported(format!("keys of the kind {:?} are not verified", key.algorithm()))),
    }
}

fn seconds(time: Timestamp) -> u64 {
    u64::from(time.as_secs())
}

/// When a key stops to be good by what this statement says; nothing if it says nothing about that.
fn end(key: &impl KeyDetails, of: &packet::Signature) -> Option<u64> {
    let time = of.key_expiration_time().map(|time| u64::from(time.as_secs())).filter(|time| *time > 0)?;
    Some(seconds(key.created_at()) + time)
}

/// Whether a key had begun and not ended, by each of `ends`, when something was signed; else why not.
fn lives(key: &impl KeyDetails, ends: &[u64], made: Timestamp) -> Result<(), String> {
    let name = key.legacy_key_id();
    if made < key.created_at() {
        return Err(format!("the key {name} is younger than the signature"));
    }
    if ends.iter().any(|end| seconds(made) >= *end) {
        return Err(format!("the key {name} had expired when the signature was made"));
    }
    Ok(())
}

/// Whether a statement about a key was itself good for some time only, and that time had passed.
fn is_past(statement: &packet::Signature, made: Timestamp) -> bool {
    let time = statement.signature_expiration_time().map_or(0, |time| u64::from(time.as_secs()));
    time > 0 && statement.created().is_none_or(|created| seconds(made) >= seconds(created) + time)
}

/// Returns what a statement says a key is for; nothing if it does not say.
fn flags(statement: &packet::Signature) -> Option<&KeyFlags> {
    statement.config()?.hashed_subpackets().find_map(|part| match &part.data {
        SubpacketData::KeyFlags(flags) => Some(flags),
        _ => None,
    })
}

fn age(statement: &packet::Signature) -> u32 {
    statement.created().map_or(0, Timestamp::as_secs)
}

/// What a key says of itself: the latest statement about the key, and those about its names, the latest first.
///
/// Neither takes back what the other says. Of its names the latest that says something is heard, as `GnuPG` does it:
/// a name that was added later need not repeat what was said with the others.
struct About<'a> {
    direct: Option<&'a packet::Signature>,
    names: Vec<&'a packet::Signature>,
}

impl<'a> About<'a> {
    fn each(&self) -> impl Iterator<Item = &'a packet::Signature> {
        self.direct.into_iter().chain(self.names.iter().copied())
    }

    /// Returns a property as the statement about the key has it, and as those about its names have it.
    fn said<T>(&self, of: impl Fn(&'a packet::Signature) -> Option<T>) -> Vec<T> {
        let direct = self.direct.and_then(&of);
        direct.into_iter().chain(self.names.iter().find_map(|one| of(one))).collect()
    }
}

impl Key {
    /// Returns the key's own statements about itself that are true.
    ///
    /// What they are made with is not looked at: the whole file of keys is trusted, and nobody else writes to it.
    fn about_itself(&self) -> About<'_> {
        let primary = &self.key.primary_key;
        let direct = self.key.details.direct_signatures.iter();
        let direct = direct.filter(|one| one.typ() == Some(SignatureType::Key) && one.verify_key(primary).is_ok());
        let names = self.key.details.users.iter().filter_map(|user| {
            let own = user.signatures.iter();
            let own = own.filter(|one| one.verify_certification(primary, Tag::UserId, &user.id).is_ok());
            let (revoked, own): (Vec<_>, Vec<_>) =
                own.partition(|one| one.typ() == Some(SignatureType::CertRevocation));
            own.into_iter().max_by_key(|one| age(one)).filter(|_| revoked.is_empty())
        });
        let mut names: Vec<_> = names.collect();
        names.sort_by_key(|one| std::cmp::Reverse(age(one)));
        About { direct: direct.max_by_key(|one| age(one)), names }
    }

    /// Whether the key itself is good at that time; else why not.
    fn is_good(&self, made: Timestamp) -> Result<About<'_>, String> {
        let primary = &self.key.primary_key;
        let name = primary.legacy_key_id();
        if self.is_revoked {
            return Err(format!("the key {name} was revoked"));
        }
        let about = self.about_itself();
        if about.each().next().is_none() {
            return Err(format!("the key {name} says nothing of itself that is true"));
        }
        if about.each().any(|one| is_past(one, made)) {
            return Err(format!("what the key {name} says of itself had expired when the signature was made"));
        }
        lives(primary, &about.said(|one| end(primary, one)), made).map(|()| about)
    }

    fn may_sign(&self, made: Timestamp) -> Result<Result<(), String>, SignatureError> {
        usable(&self.key.primary_key)?;
        Ok(self.is_good(made).and_then(|about| {
            let name = self.key.primary_key.legacy_key_id();
            // A key that says nothing of what it is for may do what its kind can.
            let signs = about.said(flags).into_iter().all(KeyFlags::sign);
            if signs { Ok(()) } else { Err(format!("the key {name} is not for signatures")) }
        }))
    }

    fn subkey_may_sign(
        &self,
        subkey: &SignedPublicSubKey,
        made: Timestamp,
    ) -> Result<Result<(), String>, SignatureError> {
        usable(&subkey.key)?;
        Ok(self.is_good(made).and_then(|_| self.binds(subkey, made)))
    }

    /// Whether a subkey belongs to this key, and this key to it, as one that signs.
    fn binds(&self, subkey: &SignedPublicSubKey, made: Timestamp) -> Result<(), String> {
        let primary = &self.key.primary_key;
        let name = subkey.key.legacy_key_id();
        let own = subkey.signatures.iter().filter(|one| one.verify_subkey_binding(primary, &subkey.key).is_ok());
        let (revoked, bound): (Vec<_>, Vec<_>) =
            own.partition(|one| one.typ() == Some(SignatureType::SubkeyRevocation));
        if !revoked.is_empty() {
            return Err(format!("the key {name} was revoked"));
        }
        let latest = bound.into_iter().max_by_key(|one| age(one));
        let Some(binding) = latest else {
            return Err(format!("the key {name} is not bound to its main key"));
        };
        let agrees = |one: &packet::Signature| one.verify_primary_key_binding(&subkey.key, primary).is_ok();
        if !binding.key_flags().sign() || !binding.embedded_signature().is_some_and(agrees) {
            return Err(format!("the key {name} is not for signatures"));
        }
        if is_past(binding, made) {
            return Err(format!("what binds the key {name} had expired when the signature was made"));
        }
        lives(&subkey.key, end(&subkey.key, binding).as_slice(), made)
    }
}
