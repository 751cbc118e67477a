//! Finds what is kept beside an image to say who signed it. Nothing is verified here.
//!
//! Reference: sigstore, `cosign/specs/BUNDLE_SPEC.md` (referrers) and `SIGNATURE_SPEC.md` (tags); BuildKit,
//! `docs/attestations/attestation-storage.md` for attestations in an index, which are what is signed there.

use stave_oci::{BlobDigest, Descriptor, Document, Manifest, Reference};
use stave_policy::{BUNDLE_BYTES_MAX, IMAGE_SIGNATURES_MAX, ImageSignature, SignatureContent, SimpleSignature};
use stave_registry::{FoundManifest, RegistryError};

use crate::base::KnownBase;
use crate::error::EngineError;
use crate::imagetools::{SUBJECT_KEY, by_digest};
use crate::registries::Registries;

/// What the types of bundles begin with, of whatever version.
const BUNDLE_TYPE: &str = "application/vnd.dev.sigstore.bundle";

/// The type of a payload that names an image.
const SIMPLE_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

/// The type of a referrer with such payloads.
const SIMPLE_ARTIFACT: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";

/// What an entry of an index is, in the words of BuildKit.
const ENTRY_KIND: &str = "vnd.docker.reference.type";

/// What `cosign` writes beside a payload, on the layer that has it.
const SIGNATURE_KEY: &str = "dev.cosignproject.cosign/signature";
const CERTIFICATE_KEY: &str = "dev.sigstore.cosign/certificate";
const CHAIN_KEY: &str = "dev.sigstore.cosign/chain";
const LOG_KEY: &str = "dev.sigstore.cosign/bundle";

/// What was found so far.
struct Found<'a> {
    registries: &'a Registries,
    name: &'a Reference,
    all: Vec<ImageSignature>,
}

impl Registries {
    /// Returns what is kept beside the image `name`, which has a digest, and that says who signed it: the index, the image
    /// in it that is used, or the attestations of that, which name it.
    ///
    /// An index may have several images for a platform. Only the one that `used` is counts, whatever the others are.
    pub(crate) fn signatures(&self, name: &Reference, used: &KnownBase) -> Result<Vec<ImageSignature>, EngineError> {
        let examined = self.examine(name)?;
        let mut subjects = vec![examined.descriptor.digest];
        let images = if examined.listed.is_some() { self.images(&examined)? } else { Vec::new() };
        let is_used = |found: &FoundManifest| matches!(&found.document, Document::Manifest(one) if used.is_image(&found.digest, &one.config.digest));
        for (_, image) in images.iter().filter(|(_, found)| is_used(found)) {
            subjects.push(image.digest);
            let of_image = image.digest.to_string();
            let is_about = |entry: &&Descriptor| {
                entry.annotations.get(SUBJECT_KEY) == Some(&of_image)
                    && entry.annotations.get(ENTRY_KIND).is_some_and(|kind| kind == "attestation-manifest")
            };
            for entry in examined.listed.iter().flatten().filter(is_about) {
                let found = self.client.manifest(&by_digest(name, entry.digest))?;
                // What an index says of an entry is signed by nobody; what the entry says of itself is.
                if subject(&found)? == Some(image.digest) {
                    subjects.push(entry.digest);
                }
            }
        }
        let mut found = Found { registries: self, name, all: Vec::new() };
        subjects.dedup();
        for digest in subjects {
            found.add_referrers(digest)?;
            found.add_tag(digest)?;
        }
        Ok(found.all)
    }
}

impl Found<'_> {
    fn add_referrers(&mut self, of: BlobDigest) -> Result<(), EngineError> {
        let client = &self.registries.client;
        let is_one = |entry: &&Descriptor| {
            entry.artifact_type.starts_with(BUNDLE_TYPE) || entry.artifact_type == SIMPLE_ARTIFACT
        };
        for entry in client.referrers(self.name, &of, None)?.iter().filter(is_one) {
            let found = client.manifest(&by_digest(self.name, entry.digest))?;
            let Document::Manifest(manifest) = &found.document else { continue };
            // The list is what the registry says; what is attached says itself to what.
            if subject(&found)? == Some(of) {
                self.add(of, &found, manifest)?;
            }
        }
        Ok(())
    }

    /// Adds what the tag has under which `cosign` kept signatures before there were referrers.
    fn add_tag(&mut self, of: BlobDigest) -> Result<(), EngineError> {
        let tag = Some(format!("sha256-{}.sig", of.hex()));
        let found = match self.registries.client.manifest(&Reference { tag, digest: None, ..self.name.clone() }) {
            Ok(found) => found,
            Err(RegistryError::NotFound { .. }) => return Ok(()),
            Err(error) if error.absence().is_some() => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let Document::Manifest(manifest) = &found.document else { return Ok(()) };
        self.add(of, &found, manifest)
    }

    fn add(&mut self, of: BlobDigest, found: &FoundManifest, manifest: &Manifest) -> Result<(), EngineError> {
        for layer in &manifest.layers {
            let is_bundle = layer.media_type.starts_with(BUNDLE_TYPE);
            if !is_bundle && layer.media_type != SIMPLE_TYPE {
                continue;
            }
            if self.all.len() == IMAGE_SIGNATURES_MAX {
                let message = format!("the image `{}` has more than {IMAGE_SIGNATURES_MAX} signatures", self.name);
                return Err(EngineError::request(message, None));
            }
            let bytes = self.registries.small(found, layer, "signature", BUNDLE_BYTES_MAX as u64)?;
            let text = |key: &str| layer.annotations.get(key).cloned();
            let content = if is_bundle {
                SignatureContent::Bundle(bytes)
            } else {
                SignatureContent::Simple(Box::new(SimpleSignature {
                    payload: bytes,
                    signature: text(SIGNATURE_KEY).unwrap_or_default(),
                    certificate: text(CERTIFICATE_KEY).filter(|text| !text.is_empty()),
                    chain: text(CHAIN_KEY),
                    log_entry: text(LOG_KEY),
                }))
            };
            self.all.push(ImageSignature { place: layer.digest.to_string(), sha256: *of.as_bytes(), content });
        }
        Ok(())
    }
}

/// Returns to what a manifest says that it is attached.
fn subject(found: &FoundManifest) -> Result<Option<BlobDigest>, EngineError> {
    let value: serde_json::Value = serde_json::from_slice(&found.bytes)
        .map_err(|source| EngineError::tree(format!("cannot read the manifest {}", found.digest), source))?;
    Ok(value["subject"]["digest"].as_str().and_then(|digest| digest.parse().ok()))
}
