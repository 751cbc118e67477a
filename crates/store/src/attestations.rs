//! What is said about images: documents that go where the image goes, and go with it.

use rusqlite::params;
use stave_oci::{BlobDigest, ImageId};

use crate::database::Durability;
use crate::error::StoreError;
use crate::lease::Lease;
use crate::store::Store;

/// Something that is said about an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attestation {
    /// What kind of thing is said.
    pub predicate_type: String,
    /// The document, as a blob.
    pub blob: BlobDigest,
}

impl Lease {
    /// Records what is said about an image of the store, in place of what was said before. The documents have to be in
    /// the store.
    pub fn set_attestations(&self, image: &ImageId, all: &[Attestation]) -> Result<(), StoreError> {
        self.store().database().write(Durability::Lazy, |rows| {
            rows.run("DELETE FROM attestations WHERE image = ?1", [image.as_bytes()])?;
            for (position, Attestation { predicate_type, blob }) in all.iter().enumerate() {
                let insert = "INSERT INTO attestations (image, position, predicate_type, blob) VALUES (?1, ?2, ?3, ?4)";
                rows.run(insert, params![image.as_bytes(), position as u64, predicate_type, blob.as_bytes()])?;
            }
            Ok(())
        })
    }
}

impl Store {
    /// Returns what is said about an image, in the order in which it was recorded.
    pub fn attestations(&self, image: &ImageId) -> Result<Vec<Attestation>, StoreError> {
        let query = "SELECT predicate_type, blob FROM attestations WHERE image = ?1 ORDER BY position";
        self.database().snapshot(|rows| {
            rows.all(query, [image.as_bytes()], |row| {
                let blob: [u8; 32] = row.get(1)?;
                Ok(Attestation { predicate_type: row.get(0)?, blob: BlobDigest::from(blob) })
            })
        })
    }
}
