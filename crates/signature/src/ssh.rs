//! Signatures of SSH keys, as `ssh-keygen -Y sign` and Git make them.
//!
//! Reference: OpenSSH, `PROTOCOL.sshsig`; ssh-keygen(1), "ALLOWED SIGNERS".

use ssh_key::public::KeyData;
use ssh_key::{Algorithm, EcdsaCurve, HashAlg, PublicKey, SshSig};

use crate::detached::{SignatureError, Verdict};
use crate::limits::{KEYS_MAX, RSA_BITS_MIN};

/// What a signature of Git is for. One that was made for something else, say a login, is none of Git's.
pub(crate) const NAMESPACE: &str = "git";

/// A signature that was read.
#[derive(Debug)]
pub(crate) struct Signature(SshSig);

impl Signature {
    pub(crate) fn parse(armored: &[u8]) -> Result<Self, SignatureError> {
        // What Git keeps in a header has lost the end of its last line.
        let mut text = armored.trim_ascii().to_vec();
        text.push(b'\n');
        SshSig::from_pem(&text).map(Self).map_err(|error| SignatureError::signature("SSH", error))
    }

    /// Returns its version, and what the key that it says it is by is called: `SHA256:...`.
    pub(crate) fn about(&self) -> (u32, String) {
        (self.0.version(), self.0.public_key().fingerprint(HashAlg::Sha256).to_string())
    }

    /// Whether one of `keys` made it over `message`, for Git.
    pub(crate) fn verify(&self, message: &[u8], keys: &[PublicKey]) -> Result<Verdict, SignatureError> {
        let Some(key) = keys.iter().find(|key| key.key_data() == self.0.public_key()) else {
            return Ok(Verdict::not(format!("it is by the key {}, which is none of those given", self.about().1)));
        };
        usable(key, &self.0.algorithm())?;
        if self.0.namespace() != NAMESPACE {
            let namespace = self.0.namespace().escape_debug();
            return Ok(Verdict::not(format!("it was made for `{namespace}`, and not for `{NAMESPACE}`")));
        }
        let verified = key.verify(NAMESPACE, message, &self.0).is_ok();
        Ok(if verified { Verdict::Verified } else { Verdict::not("it is over something else") })
    }
}

/// Refuses what this crate cannot verify, and keys that are too short to be trusted.
fn usable(key: &PublicKey, algorithm: &Algorithm) -> Result<(), SignatureError> {
    let wrong = |problem: String| Err(SignatureError::Unsupported { what: "SSH", problem });
    match key.key_data() {
        KeyData::Rsa(key) => {
            let bits = key.n.as_positive_bytes().map_or(0, bits);
            if bits < RSA_BITS_MIN {
                return wrong(format!("its key of RSA has {bits} bits, expected at least {RSA_BITS_MIN}"));
            }
            match algorithm {
                Algorithm::Rsa { hash: Some(HashAlg::Sha256 | HashAlg::Sha512) } => Ok(()),
                _ => wrong("it was made with SHA-1, which can be forged".to_owned()),
            }
        }
        KeyData::Ecdsa(key) if key.curve() == EcdsaCurve::NistP521 => {
            wrong("keys on the curve P-521 are not verified".to_owned())
        }
        KeyData::Ecdsa(_) | KeyData::Ed25519(_) | KeyData::SkEd25519(_) | KeyData::SkEcdsaSha2NistP256(_) => Ok(()),
        _ => wrong(format!("keys of the kind `{}` are not verified", key.algorithm())),
    }
}

/// Returns how many bits a number has, its highest byte first.
fn bits(number: &[u8]) -> usize {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let number = number.get(zeros..).unwrap_or_default();
    number.first().map_or(0, |first| number.len() * 8 - first.leading_zeros() as usize)
}

/// Options without a value that a line may have in front of a key.
///
/// Reference: sshd(8), "`AUTHORIZED_KEYS` FILE FORMAT"; ssh-keygen(1), "ALLOWED SIGNERS".
const OPTIONS: &[&str] = &[
    "agent-forwarding",
    "cert-authority",
    "no-agent-forwarding",
    "no-port-forwarding",
    "no-pty",
    "no-touch-required",
    "no-user-rc",
    "no-x11-forwarding",
    "port-forwarding",
    "pty",
    "restrict",
    "user-rc",
    "verify-required",
    "x11-forwarding",
];

/// Whether a word in front of a key has options, or is a mark (`@revoked`), and is not just a name.
fn has_options(word: &str) -> bool {
    let is_option = |part: &str| OPTIONS.iter().any(|option| option.eq_ignore_ascii_case(part));
    word.starts_with('@') || word.contains(['=', '"']) || word.split(',').any(is_option)
}

/// Reads keys as `.pub` files, `authorized_keys` and lists of allowed signers have them, one in a line.
///
/// # Errors
/// If a line is none of these, or has options: one that is not heeded would allow what it was written to forbid.
pub(crate) fn keys(text: &str) -> Result<Vec<PublicKey>, SignatureError> {
    let mut keys = Vec::new();
    let lines = text.lines().map(str::trim).enumerate();
    for (index, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        let wrong = |problem: String| SignatureError::Keys { problem: format!("line {}: {problem}", index + 1) };
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        // In front of the key's kind there may be who it belongs to, and nothing else.
        let at = words.iter().take(2).position(|word| word.parse::<Algorithm>().is_ok_and(|kind| is_known(&kind)));
        let is_plain = at != Some(1) || !has_options(words[0]);
        let (Some(at), true, true) = (at, words.len() > at.unwrap_or_default() + 1, is_plain) else {
            return Err(wrong("expected `KIND KEY` or `NAME KIND KEY`, without options".to_owned()));
        };
        if keys.len() == KEYS_MAX {
            return Err(SignatureError::Keys { problem: format!("it has more than {KEYS_MAX} keys") });
        }
        let key = PublicKey::from_openssh(&format!("{} {}", words[at], words[at + 1]));
        keys.push(key.map_err(|error| wrong(format!("it is no key of SSH: {error}")))?);
    }
    Ok(keys)
}

fn is_known(kind: &Algorithm) -> bool {
    !matches!(kind, Algorithm::Other(_))
}
