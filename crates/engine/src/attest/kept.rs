//! Statements in the store: kept with their image, so that a later push sends them too.

use serde_json::{Value, json};
use stave_oci::{ImageId, Platform};
use stave_store::{Attestation, Lease};

use super::statement::Statement;
use crate::engine::Engine;
use crate::error::EngineError;

/// Largest document that is kept, in bytes. Reference: BuildKit's limit for a list of packages.
pub(crate) const STATEMENT_BYTES_MAX: u64 = 40 * 1024 * 1024;

impl Engine {
    /// Has the store keep what is said about an image, in place of what was said before.
    ///
    /// Errors: a statement is larger than any reader takes; the store cannot be written.
    pub(crate) fn keep_statements(
        &self,
        lease: &Lease,
        image: &ImageId,
        statements: &[Statement],
    ) -> Result<(), EngineError> {
        let before = self.store.attestations(image)?;
        if before.is_empty() && statements.is_empty() {
            return Ok(());
        }
        let mut all = Vec::new();
        for statement in statements {
            let bytes = statement.to_bytes();
            if bytes.len() as u64 > STATEMENT_BYTES_MAX {
                let message = format!("a statement of {} bytes about an image is too large", bytes.len());
                let hint = "Build without `--sbom`; at most 40 MiB can be attached.";
                return Err(EngineError::request(message, Some(hint)));
            }
            let blob = lease.put_blob(&bytes)?;
            all.push(Attestation { predicate_type: statement.predicate_type.clone(), blob });
        }
        if all != before {
            lease.set_attestations(image, &all)?;
        }
        Ok(())
    }

    /// Returns what the store knows to be said about an image.
    ///
    /// Errors: the store cannot be read.
    pub(crate) fn kept_statements(&self, image: &ImageId) -> Result<Vec<Statement>, EngineError> {
        let mut statements = Vec::new();
        for attestation in self.store.attestations(image)? {
            let bytes = self.store.read_blob(&attestation.blob, STATEMENT_BYTES_MAX)?;
            let statement = Statement::of_bytes(&bytes).ok_or_else(|| {
                let message = format!("the statement {} of the store is none", attestation.blob);
                EngineError::request(message, Some("Check the store with `stave store check`."))
            })?;
            statements.push(statement);
        }
        Ok(statements)
    }

    /// Returns what is said about an image of the store: the type of each statement, and what it says as JSON.
    ///
    /// Errors: the store does not have the image.
    pub fn attestations(&self, image: &str, platform: Option<&Platform>) -> Result<Vec<(String, Value)>, EngineError> {
        let lease = self.lease()?;
        let record = self.image_for_platform(&lease, image, platform)?;
        let statements = self.kept_statements(&record.id)?;
        Ok(statements.into_iter().map(|statement| (statement.predicate_type, statement.predicate)).collect())
    }
}

impl Statement {
    fn to_bytes(&self) -> Vec<u8> {
        let Self { predicate_type, predicate, file_name, inline } = self;
        let value = json!({
            "predicateType": predicate_type,
            "predicate": predicate,
            "fileName": file_name,
            "inline": inline,
        });
        serde_json::to_vec(&value).expect("the keys are texts")
    }

    fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let mut value: Value = serde_json::from_slice(bytes).ok()?;
        Some(Self {
            predicate_type: value["predicateType"].as_str()?.to_owned(),
            file_name: value["fileName"].as_str().map(str::to_owned),
            inline: value["inline"].as_bool()?,
            predicate: value["predicate"].take(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_read_as_it_was_written() {
        let statement = Statement {
            predicate_type: "https://example.com/p".to_owned(),
            predicate: json!({ "a": [1] }),
            file_name: Some("p.json".to_owned()),
            inline: true,
        };
        assert_eq!(Statement::of_bytes(&statement.to_bytes()), Some(statement));
        assert_eq!(Statement::of_bytes(b"{}"), None);
    }
}
