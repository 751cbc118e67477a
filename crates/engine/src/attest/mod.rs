//! What is said about an image beside the image: how it was built, and what it is made of.
//!
//! Turns a finished build into statements, and statements into manifests that refer to an image. No byte of the image
//! depends on it: it knows images only as digests.
//!
//! Read `statement` (what is said, and how it is attached), `provenance`, `inventory`, `scanner` in this order.

mod inventory;
mod kept;
mod provenance;
mod scanner;
mod statement;

use std::collections::BTreeMap;

use stave_oci::Platform;
use stave_store::Lease;

pub(crate) use kept::STATEMENT_BYTES_MAX;
pub(crate) use provenance::{Origin, Past};
pub(crate) use statement::{Attached, PREDICATE_TYPE, STATEMENT_TYPE, Statement, in_index, referrers, subjects};

use crate::build::Report;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::finish::{ReadyImage, ScannedFiles};

/// What is to be said about what is built.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attestations {
    /// How it was built.
    pub provenance: Option<ProvenanceOptions>,
    /// What it is made of.
    pub sbom: Option<SbomOptions>,
}

/// What provenance says, and in which form.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "one for each switch that people give")]
pub struct ProvenanceOptions {
    /// Whether it has the values of arguments, the names of secrets, the Dockerfile and the steps.
    pub max: bool,
    /// Who says that he built it.
    pub builder_id: String,
    /// What its file is called where files are written.
    pub file_name: String,
    /// Whether the caller says that the same sources give the same image; then no time and no number of the build is
    /// in it.
    pub reproducible: bool,
    /// Whether it is left out where files are written.
    pub images_only: bool,
    /// Whether it has the form of SLSA 0.2 instead of 1.
    pub old_form: bool,
    /// Whether it is part of the image's index instead of referring to the image.
    pub inline: bool,
}

/// What a list of packages is made with, and in which form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SbomOptions {
    /// In which form.
    pub form: SbomForm,
    /// The image that makes it; without one, the scanner that is built in.
    pub generator: Option<String>,
    /// What that image is told beside: names in upper case, and values.
    pub parameters: BTreeMap<String, String>,
    /// Whether it is part of the image's index instead of referring to the image.
    pub inline: bool,
}

/// The form of a list of packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SbomForm {
    /// SPDX 2.3.
    Spdx,
    /// `CycloneDX` 1.5.
    Cyclone15,
    /// `CycloneDX` 1.6.
    Cyclone16,
}

impl Attestations {
    /// Whether nothing is to be said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Makes all statements about one image. `extras` are searched for packages beside it.
///
/// Errors: the image's files cannot be read.
pub(crate) fn state(
    (engine, lease): (&Engine, &Lease),
    wanted: &Attestations,
    past: &Past<'_>,
    (platform, image, extras): (&Platform, &ReadyImage, &[&ScannedFiles]),
    events: Report<'_>,
) -> Result<Vec<Statement>, EngineError> {
    let mut statements = Vec::new();
    if let Some(options) = &wanted.provenance {
        statements.push(provenance::state(options, past, platform));
    }
    if let Some(options) = &wanted.sbom {
        match &options.generator {
            Some(generator) => {
                statements.extend(scanner::state((engine, lease), (options, generator), (image, extras), events)?);
            }
            None => statements.extend(inventory::state(engine, options, (past, platform, image, extras), events)?),
        }
    }
    Ok(statements)
}
