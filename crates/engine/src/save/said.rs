//! What an archive says about its images: statements that are listed beside them.
//!
//! A statement becomes one of the store's only if it has the digest and the size that its manifest says, and is about an
//! image of the archive.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;
use stave_oci::{BlobDigest, Descriptor};
use stave_tree::Dir;

use super::{Found, checked, read_most};
use crate::archive::blob_path;
use crate::attest::{PREDICATE_TYPE, STATEMENT_BYTES_MAX, STATEMENT_TYPE, Statement};
use crate::error::EngineError;

/// Most statements about one image. BuildKit makes two, and one more for each further stage that is scanned.
const STATEMENTS_MAX: usize = 128;
/// Most bytes of all that is said: it is in memory until it is stored.
const TOLD_BYTES_MAX: u64 = 128 << 20;

/// What is read of a manifest whose layers are statements.
#[derive(Deserialize)]
struct Telling {
    #[serde(default)]
    subject: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

/// Gives the images of an archive what the manifests of `list` say about them: those that refer to one, and those that
/// stand beside one in an index, as BuildKit writes them. What the archive does not have was saved in part, and is left out.
///
/// Errors: a statement is not what its digest says, or none; there are too many.
pub(super) fn tell(root: &Dir, list: &[Descriptor], mut images: Vec<&mut Found>) -> Result<(), EngineError> {
    let (mut seen, mut left) = (BTreeSet::new(), TOLD_BYTES_MAX);
    for entry in list {
        let beside =
            entry.annotations.get("vnd.docker.reference.type").is_some_and(|kind| kind == "attestation-manifest");
        if !(beside || entry.artifact_type == STATEMENT_TYPE) || !seen.insert(entry.digest) || !has(root, entry)? {
            continue;
        }
        let bytes = blob(root, entry, &mut left)?;
        let telling: Telling = serde_json::from_slice(&bytes).map_err(unusable)?;
        let about: Option<BlobDigest> = if beside {
            entry.annotations.get("vnd.docker.reference.digest").and_then(|digest| digest.parse().ok())
        } else {
            telling.subject.map(|subject| subject.digest)
        };
        let is_about =
            |image: &&mut Found| about.is_some() && image.manifest.as_ref().map(|found| found.0.digest) == about;
        let Some(image) = images.iter_mut().find(|image| is_about(image)) else { continue };
        for layer in telling.layers.iter().filter(|layer| layer.media_type == STATEMENT_TYPE) {
            if !has(root, layer)? {
                continue;
            }
            if image.statements.len() == STATEMENTS_MAX {
                let message = format!("an image of the archive has more than {STATEMENTS_MAX} statements about it");
                return Err(EngineError::request(message, None));
            }
            image.statements.push(statement(&blob(root, layer, &mut left)?, layer, beside)?);
        }
    }
    Ok(())
}

fn statement(bytes: &[u8], layer: &Descriptor, inline: bool) -> Result<Statement, EngineError> {
    let mut value: Value = serde_json::from_slice(bytes).map_err(unusable)?;
    let kind = value.get("predicateType").and_then(Value::as_str);
    let kind = kind.or_else(|| layer.annotations.get(PREDICATE_TYPE).map(String::as_str));
    let Some(predicate_type) = kind.map(str::to_owned) else {
        let message = format!("the statement {} of the archive does not say of which kind it is", layer.digest);
        return Err(EngineError::request(message, None));
    };
    let predicate = value.get_mut("predicate").map(Value::take).unwrap_or_default();
    Ok(Statement { predicate_type, predicate, file_name: None, inline })
}

fn has(root: &Dir, blob: &Descriptor) -> Result<bool, EngineError> {
    root.exists(blob_path(&blob.digest).as_bytes()).map_err(|error| EngineError::tree("cannot read the archive", error))
}

/// Reads a blob, which takes its bytes off what is `left` for all.
fn blob(root: &Dir, blob: &Descriptor, left: &mut u64) -> Result<Vec<u8>, EngineError> {
    *left = left.checked_sub(blob.size).ok_or_else(|| {
        let message = format!("what the archive says about its images has more than {TOLD_BYTES_MAX} bytes");
        EngineError::request(message, None)
    })?;
    let bytes = read_most(root, blob_path(&blob.digest).as_bytes(), blob.size.min(STATEMENT_BYTES_MAX))?;
    checked(bytes, (blob.digest, blob.size))
}

fn unusable(source: serde_json::Error) -> EngineError {
    EngineError::tree("cannot use a statement of the archive", source)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A layout's blobs, as they are named.
    struct Blobs(tempfile::TempDir);

    impl Blobs {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("there is a temporary directory");
            std::fs::create_dir_all(folder.path().join("blobs/sha256")).expect("it is made");
            Self(folder)
        }

        fn put(&self, kind: &str, bytes: &[u8]) -> Descriptor {
            let descriptor = Descriptor::new(kind, BlobDigest::of(bytes), bytes.len() as u64);
            std::fs::write(self.0.path().join(blob_path(&descriptor.digest)), bytes).expect("it is written");
            descriptor
        }

        /// An entry of an index with these statements about the manifest `about`.
        fn entry(&self, about: &Descriptor, statements: &[Descriptor]) -> Descriptor {
            let manifest = serde_json::json!({ "schemaVersion": 2, "layers": statements });
            let mut entry = self.put("m", manifest.to_string().as_bytes());
            let kind = ("vnd.docker.reference.type".to_owned(), "attestation-manifest".to_owned());
            let subject = ("vnd.docker.reference.digest".to_owned(), about.digest.to_string());
            entry.annotations.extend([kind, subject]);
            entry
        }

        fn tell(&self, list: &[Descriptor], image: &Descriptor) -> Result<Vec<Statement>, String> {
            let root = crate::engine::open_user_dir(self.0.path()).expect("it is there");
            let mut found = Found {
                config: (Vec::new(), None),
                layers: Vec::new(),
                names: Vec::new(),
                manifest: Some(Box::new((image.clone(), Vec::new()))),
                statements: Vec::new(),
            };
            tell(&root, list, vec![&mut found]).map_err(|error| error.to_string())?;
            Ok(found.statements)
        }
    }

    const SAID: &[u8] = br#"{"predicateType":"https://example.com/p","predicate":{"a":1}}"#;

    #[test]
    fn an_image_gets_what_is_said_about_it_and_nothing_else() {
        let blobs = Blobs::new();
        let (image, other) = (blobs.put("m", b"image"), blobs.put("m", b"other"));
        let statement = blobs.put(STATEMENT_TYPE, SAID);
        let absent = Descriptor::new(STATEMENT_TYPE, BlobDigest::of(b"absent"), 6);
        let signed = blobs.put("application/vnd.dsse.envelope.v1+json", b"not read");
        let own = blobs.entry(&image, &[statement.clone(), absent, signed]);
        let told = blobs
            .tell(&[blobs.entry(&other, std::slice::from_ref(&statement)), own.clone(), own], &image)
            .expect("it is sound");
        assert_eq!(told.len(), 1, "an entry that is listed twice counts once");
        assert_eq!((told[0].predicate_type.as_str(), told[0].inline), ("https://example.com/p", true));
        assert_eq!(told[0].predicate, serde_json::json!({ "a": 1 }));
    }

    #[test]
    fn what_is_not_what_it_says_or_is_too_much_is_an_error() {
        let blobs = Blobs::new();
        let image = blobs.put("m", b"image");
        let error = |statements: &[Descriptor]| {
            blobs.tell(&[blobs.entry(&image, statements)], &image).expect_err("it is not sound")
        };
        let sound = blobs.put(STATEMENT_TYPE, SAID);
        let huge = Descriptor { size: TOLD_BYTES_MAX, ..sound.clone() };
        assert_eq!(error(&[huge]), "what the archive says about its images has more than 134217728 bytes");
        let longer = Descriptor { size: sound.size + 1, ..sound.clone() };
        assert!(error(&[longer]).starts_with("blob size mismatch in the archive: expected"));
        let many = vec![sound.clone(); STATEMENTS_MAX + 1];
        assert_eq!(error(&many), "an image of the archive has more than 128 statements about it");
        let nothing = blobs.put(STATEMENT_TYPE, b"{}");
        assert!(error(&[nothing]).ends_with("of the archive does not say of which kind it is"));
        std::fs::write(blobs.0.path().join(blob_path(&sound.digest)), b"x").expect("it is written");
        assert!(error(&[sound]).starts_with("blob digest mismatch in the archive: expected"));
    }
}
