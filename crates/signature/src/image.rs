//! Signatures of images, as registries keep them beside an image: bundles of Sigstore, and what `cosign` wrote before
//! there were bundles. Either may be by a certificate or by a plain key.
//!
//! Reference: sigstore, `cosign/specs/SIGNATURE_SPEC.md`, `cosign/specs/BUNDLE_SPEC.md`; containers,
//! `containers-signature.5` ("simple signing"); DSSE, `protocol.md`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rsa::sha2::{Digest as _, Sha256};
use serde_json::{Value, json};

use crate::compute::Key;
use crate::detached::{SignatureError, Verdict};
use crate::limits::{BUNDLE_BYTES_MAX, KEYS_BYTES_MAX, KEYS_MAX};
use crate::sigstore::{Finding, STATEMENT, SigstoreError, Statement, TrustedRoot, first_line, statement};

/// What a statement says that is a signature of an image and nothing else.
///
/// Reference: sigstore, `cosign`, `internal/ui` and `cmd/cosign/cli/sign` of version 3.
pub const SIGN: &str = "https://sigstore.dev/cosign/sign/v1";

/// What the payload says that `cosign` signs of an image.
const SIMPLE_TYPE: &str = "cosign container image signature";

/// What an armored key begins and ends with.
const KEY_BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const KEY_END: &str = "-----END PUBLIC KEY-----";

/// A signature, or a signed statement, that is kept beside an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSignature {
    /// Where it was found, for people.
    pub place: String,
    /// The SHA-256 of the manifest or index that it has to be about.
    pub sha256: [u8; 32],
    /// What was found.
    pub content: Content,
}

/// The forms of signatures of images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A bundle of Sigstore, as JSON.
    Bundle(Vec<u8>),
    /// A payload that names the image, and its signature.
    Simple(Box<Simple>),
}

/// A payload that names the image, with what stands beside it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Simple {
    /// The signed bytes.
    pub payload: Vec<u8>,
    /// The signature in base64.
    pub signature: String,
    /// The certificate in PEM.
    pub certificate: Option<String>,
    /// The certificates above it, in PEM.
    pub chain: Option<String>,
    /// The entry in the log, as JSON.
    pub log_entry: Option<String>,
}

/// What a signature of an image shows.
#[derive(Debug, Clone, PartialEq)]
pub struct SignedImage {
    /// Who signed, when, and what.
    pub signed: crate::sigstore::Signed,
    /// The name of the image as its signer wrote it, if it is in there.
    pub reference: Option<String>,
}

/// Whether a signature of an image shows who signed it.
#[derive(Debug, Clone, PartialEq)]
pub enum ImageFinding {
    /// It does.
    Signed(Box<SignedImage>),
    /// It does not, and why that is known.
    Not(String),
}

fn unread(problem: impl Into<String>) -> SigstoreError {
    SigstoreError::Bundle { problem: problem.into() }
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(u32::from(digit), 16)).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

impl ImageSignature {
    /// Says who signed this image, or a statement about it, by a certificate that `root` vouches for.
    ///
    /// # Errors
    /// If that cannot be found out.
    pub fn signed_by(&self, root: &TrustedRoot) -> Result<ImageFinding, SigstoreError> {
        let (found, reference) = match &self.content {
            Content::Bundle(bundle) => (root.verify(self.sha256, bundle)?, None),
            Content::Simple(simple) => {
                let bundle = match simple.as_bundle()? {
                    Ok(bundle) => bundle,
                    Err(why) => return Ok(ImageFinding::Not(why.to_owned())),
                };
                let reference = match simple.names(&self.sha256)? {
                    Ok(reference) => reference,
                    Err(why) => return Ok(ImageFinding::Not(why)),
                };
                (root.verify(Sha256::digest(&simple.payload).into(), bundle.to_string().as_bytes())?, reference)
            }
        };
        Ok(match found {
            Finding::Not(why) => ImageFinding::Not(why),
            Finding::Signed(mut signed) => {
                if matches!(self.content, Content::Simple(_)) {
                    signed.form = "simplesigning-v1";
                }
                ImageFinding::Signed(Box::new(SignedImage { signed: *signed, reference }))
            }
        })
    }

    /// Says whether one of `keys` signed this image.
    fn signed_with(&self, keys: &[Key]) -> Result<Verdict, SigstoreError> {
        match &self.content {
            Content::Bundle(bundle) => self.bundle_signed_with(bundle, keys),
            Content::Simple(simple) if simple.certificate.is_some() => {
                Ok(Verdict::not("it is by a certificate, and not by a plain key"))
            }
            Content::Simple(simple) => {
                if let Err(why) = simple.names(&self.sha256)? {
                    return Ok(Verdict::Not(why));
                }
                let signature = simple.signature()?;
                let signed = keys.iter().any(|key| key.signed(&simple.payload, &signature));
                Ok(if signed {
                    Verdict::Verified
                } else {
                    Verdict::not("it is by none of the keys, or over something else")
                })
            }
        }
    }

    fn bundle_signed_with(&self, bundle: &[u8], keys: &[Key]) -> Result<Verdict, SigstoreError> {
        if bundle.len() > BUNDLE_BYTES_MAX {
            return Err(unread(format!("it has {} bytes, and {BUNDLE_BYTES_MAX} are the most", bundle.len())));
        }
        let bundle: Value = serde_json::from_slice(bundle).map_err(|error| unread(first_line(error)))?;
        if !bundle["verificationMaterial"].is_object() {
            return Err(unread("it does not say what it is verified with"));
        }
        if !bundle["verificationMaterial"]["publicKey"].is_object() {
            return Ok(Verdict::not("it is by a certificate, and not by a plain key"));
        }
        let bytes = |value: &Value, what: &str| {
            let text = value.as_str().ok_or_else(|| unread(format!("it has no {what}")))?;
            BASE64.decode(text).map_err(|error| unread(format!("its {what}: {error}")))
        };
        let (message, envelope) = (&bundle["messageSignature"], &bundle["dsseEnvelope"]);
        let by_one = match (message.is_object(), envelope.is_object()) {
            (true, false) => {
                if !keys.iter().all(Key::signs_digests) {
                    let problem = "a key of Ed25519 signs no digest".to_owned();
                    return Err(SigstoreError::Unsupported { problem });
                }
                let signature = bytes(&message["signature"], "signature")?;
                keys.iter().any(|key| key.signed_digest(&self.sha256, &signature))
            }
            (false, true) => {
                let payload = bytes(&envelope["payload"], "payload")?;
                if envelope["payloadType"] != STATEMENT {
                    return Err(SigstoreError::Unsupported { problem: format!("it does not sign `{STATEMENT}`") });
                }
                if let Some(why) = self.is_no_signature(&payload)? {
                    return Ok(Verdict::Not(why));
                }
                let Some([signature]) = envelope["signatures"].as_array().map(Vec::as_slice) else {
                    return Err(SigstoreError::Unsupported { problem: "it has not exactly one signature".to_owned() });
                };
                let signature = bytes(&signature["sig"], "signature")?;
                let mut signed = format!("DSSEv1 {} {STATEMENT} {} ", STATEMENT.len(), payload.len()).into_bytes();
                signed.extend(payload);
                keys.iter().any(|key| key.signed(&signed, &signature))
            }
            _ => return Err(unread("it has not exactly one of `messageSignature` and `dsseEnvelope`")),
        };
        Ok(if by_one { Verdict::Verified } else { Verdict::not("it is by none of the keys, or over something else") })
    }

    /// Why a statement does not sign this image, if it does not.
    fn is_no_signature(&self, payload: &[u8]) -> Result<Option<String>, SigstoreError> {
        let Statement { predicate_type, .. } = statement(payload)?;
        if predicate_type != SIGN {
            let kind = predicate_type.escape_debug();
            return Ok(Some(format!("it states `{kind}` of the image, and signs nothing else")));
        }
        let value: Value = serde_json::from_slice(payload).map_err(|error| unread(first_line(error)))?;
        let own = hex(&self.sha256);
        let mut subjects = value["subject"].as_array().into_iter().flatten();
        let is_own = subjects.any(|subject| subject["digest"]["sha256"] == own.as_str());
        Ok(if is_own { None } else { Some("it is over something else".to_owned()) })
    }
}

impl Simple {
    /// Returns the name of the image that the payload has, or why it does not name the one with this SHA-256.
    fn names(&self, sha256: &[u8; 32]) -> Result<Result<Option<String>, String>, SigstoreError> {
        if self.payload.len() > BUNDLE_BYTES_MAX {
            return Err(unread(format!("it has {} bytes, and {BUNDLE_BYTES_MAX} are the most", self.payload.len())));
        }
        let payload: Value = serde_json::from_slice(&self.payload)
            .map_err(|error| unread(format!("its payload: {}", first_line(error))))?;
        let critical = &payload["critical"];
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let (Some(kind), Some(digest)) = (text(&critical["type"]), text(&critical["image"]["docker-manifest-digest"]))
        else {
            return Err(unread("its payload names no image"));
        };
        if kind != SIMPLE_TYPE {
            let problem = format!("its payload is of the type `{}`, expected `{SIMPLE_TYPE}`", kind.escape_debug());
            return Err(SigstoreError::Unsupported { problem });
        }
        if digest != format!("sha256:{}", hex(sha256)) {
            return Ok(Err(format!("it is over the image {}", digest.escape_debug())));
        }
        Ok(Ok(text(&critical["identity"]["docker-reference"]).filter(|name| !name.is_empty())))
    }

    fn signature(&self) -> Result<Vec<u8>, SigstoreError> {
        BASE64.decode(self.signature.trim()).map_err(|error| unread(format!("its signature: {error}")))
    }

    /// Returns a bundle of the first form that shows the same, or why it shows nobody.
    fn as_bundle(&self) -> Result<Result<Value, &'static str>, SigstoreError> {
        let Some(certificate) = &self.certificate else {
            return Ok(Err("it is by a plain key, and not by a certificate"));
        };
        let Some(entry) = &self.log_entry else { return Ok(Err("it is in no log")) };
        let chain =
            certificates(certificate)?.into_iter().chain(certificates(self.chain.as_deref().unwrap_or_default())?);
        // What is no more than a root says nothing, and is not asked: only the root of trust is.
        let chain: Vec<Value> = chain.map(|one| json!({ "rawBytes": one })).collect();
        let entry: Value = serde_json::from_str(entry)
            .map_err(|error| unread(format!("its entry of a log: {}", first_line(error))))?;
        let (payload, incomplete) = (&entry["Payload"], || unread("its entry of a log is not complete"));
        let body = payload["body"].as_str().ok_or_else(incomplete)?;
        let read = BASE64.decode(body).ok().and_then(|body| serde_json::from_slice::<Value>(&body).ok());
        let read = read.ok_or_else(incomplete)?;
        let log_id = payload["logID"].as_str().and_then(unhex).ok_or_else(incomplete)?;
        let number = |name: &str| payload[name].as_i64().map(|number| number.to_string()).ok_or_else(incomplete);
        Ok(Ok(json!({
            "mediaType": "application/vnd.dev.sigstore.bundle+json;version=0.1",
            "verificationMaterial": {
                "x509CertificateChain": { "certificates": chain },
                "tlogEntries": [{
                    "logIndex": number("logIndex")?,
                    "logId": { "keyId": BASE64.encode(log_id) },
                    "kindVersion": { "kind": read["kind"], "version": read["apiVersion"] },
                    "integratedTime": number("integratedTime")?,
                    "inclusionPromise": { "signedEntryTimestamp": entry["SignedEntryTimestamp"] },
                    "canonicalizedBody": body,
                }],
            },
            "messageSignature": {
                "messageDigest": { "algorithm": "SHA2_256", "digest": BASE64.encode(Sha256::digest(&self.payload)) },
                "signature": BASE64.encode(self.signature()?),
            },
        })))
    }
}

/// Returns what is armored as certificates, in base64.
fn certificates(pem: &str) -> Result<Vec<String>, SigstoreError> {
    let mut found = Vec::new();
    for block in pem.split("-----BEGIN CERTIFICATE-----").skip(1) {
        let Some((body, _)) = block.split_once("-----END CERTIFICATE-----") else {
            return Err(unread("its certificate has no end"));
        };
        found.push(body.split_ascii_whitespace().collect());
    }
    Ok(found)
}

/// Reads public keys, each armored as `PUBLIC KEY`.
fn keys(bytes: &[u8]) -> Result<Vec<Key>, SignatureError> {
    let wrong = |problem: String| SignatureError::Keys { problem };
    if bytes.len() > KEYS_BYTES_MAX {
        return Err(wrong(format!("there are {} bytes, and {KEYS_BYTES_MAX} are the most", bytes.len())));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| wrong(error.to_string()))?;
    let mut keys = Vec::new();
    for block in text.split("-----BEGIN ").skip(1) {
        let block = format!("-----BEGIN {block}");
        let body = block.strip_prefix(KEY_BEGIN).and_then(|rest| rest.split_once(KEY_END));
        let Some((body, _)) = body else {
            let line = block.lines().next().unwrap_or_default().escape_debug();
            return Err(wrong(format!("they have the line `{line}`, expected `{KEY_BEGIN}` and `{KEY_END}`")));
        };
        if keys.len() == KEYS_MAX {
            return Err(wrong(format!("there are more than {KEYS_MAX}")));
        }
        let body: String = body.split_ascii_whitespace().collect();
        let der = BASE64.decode(body).map_err(|error| wrong(error.to_string()))?;
        keys.push(Key::from_spki(&der).map_err(wrong)?);
    }
    if keys.is_empty() {
        return Err(wrong(format!("there is no `{KEY_BEGIN}`")));
    }
    Ok(keys)
}

/// Says whether one of `keys`, public keys in PEM, made one of these signatures of one image. No log and no certificate
/// is asked.
///
/// # Errors
/// If that cannot be found out.
pub fn verify_image(signatures: &[ImageSignature], keys: &[u8]) -> Result<Verdict, SignatureError> {
    let keys = self::keys(keys)?;
    let mut not = Verdict::not("it has no signature");
    let mut unknown = None;
    for signature in signatures {
        match signature.signed_with(&keys) {
            Ok(Verdict::Verified) => return Ok(Verdict::Verified),
            Ok(Verdict::Not(why)) => not = Verdict::Not(format!("{}: {why}", signature.place)),
            Err(error) => {
                unknown.get_or_insert((signature, error));
            }
        }
    }
    match unknown {
        None => Ok(not),
        Some((signature, source)) => Err(SignatureError::Image { place: signature.place.clone(), source }),
    }
}
