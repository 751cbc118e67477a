//! What an image is made of: its merged files are shown to the scanner.

use stave_oci::{BlobDigest, Platform};
use stave_sbom::{CycloneVersion, FileEntry, FileKind, Files, Subject};
use stave_store::LayerId;
use stave_tree::{Dir, Kind};

use super::provenance::Past;
use super::statement::{Statement, image_purl};
use super::{SbomForm, SbomOptions};
use crate::build::Report;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::event::TaskKind;
use crate::finish::{ReadyImage, ScannedFiles};
use crate::task::Task;

pub(super) const SPDX: &str = "https://spdx.dev/Document";
const CYCLONE: &str = "https://cyclonedx.org/bom";

/// The merged files of an image.
struct View<'a> {
    engine: &'a Engine,
    root: Dir,
}

impl Files for View<'_> {
    type Error = EngineError;

    fn list(&self, directory: &[u8]) -> Result<Vec<FileEntry>, EngineError> {
        self.engine.go_on()?;
        let entries = self.root.list(directory).map_err(unreadable)?;
        let entry = |entry: stave_tree::Entry| {
            let kind = match entry.metadata.kind {
                Kind::Directory => FileKind::Directory,
                Kind::File => {
                    FileKind::File { size: entry.metadata.size, executable: entry.metadata.mode & 0o111 != 0 }
                }
                _ => FileKind::Other,
            };
            FileEntry { name: entry.name, kind }
        };
        Ok(entries.into_iter().map(entry).collect())
    }

    fn read(&self, path: &[u8], offset: u64, length: usize) -> Result<Vec<u8>, EngineError> {
        use std::os::unix::fs::FileExt as _;
        let file = self.root.open_file(path).map_err(unreadable)?;
        let mut bytes = vec![0; length];
        let mut filled = 0;
        while filled < length {
            let read = file.read_at(&mut bytes[filled..], offset + filled as u64);
            match read.map_err(|source| EngineError::tree("cannot read the image's files", source))? {
                0 => break,
                count => filled += count,
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }
}

pub(super) fn unreadable(source: stave_tree::PathError) -> EngineError {
    EngineError::tree("cannot read the image's files", source)
}

/// Returns the statements about what the image for `platform` is made of, and what else is searched.
pub(super) fn state(
    engine: &Engine,
    options: &SbomOptions,
    (past, platform, image, extras): (&Past<'_>, &Platform, &ReadyImage, &[&ScannedFiles]),
    events: Report<'_>,
) -> Result<Vec<Statement>, EngineError> {
    Task::during(events, TaskKind::Other, "list packages".to_owned(), |_| {
        let about = (past, platform, image);
        let mut statements = vec![list(engine, options, about, (&image.layer_ids()?, None))?];
        for extra in extras {
            statements.push(list(engine, options, about, (&extra.layers, Some(&extra.name)))?);
        }
        Ok(statements)
    })
}

/// Returns the list of the packages in `layers`: those of the image, or what is called `name`.
fn list(
    engine: &Engine,
    options: &SbomOptions,
    (past, platform, image): (&Past<'_>, &Platform, &ReadyImage),
    (layers, name): (&[LayerId], Option<&str>),
) -> Result<Statement, EngineError> {
    let view = View { engine, root: engine.view(layers)? };
    let inventory = stave_sbom::scan(&view)?;
    let whole = past.names.first().map_or_else(|| "image".to_owned(), |name| image_purl(name, platform));
    let subject = Subject {
        name: name.map_or(whole, str::to_owned),
        // The manifest's digest depends on where the image goes, the configuration's does not.
        digest: BlobDigest::from(image.composed.id),
        created: image.composed.config.created.clone().unwrap_or_else(|| "1970-01-01T00:00:00Z".to_owned()),
        tool: ("stave".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
    };
    let (predicate_type, predicate, file_name) = match options.form {
        SbomForm::Spdx => (SPDX, stave_sbom::spdx(&subject, &inventory), "sbom.spdx.json"),
        SbomForm::Cyclone15 => {
            (CYCLONE, stave_sbom::cyclonedx(&subject, &inventory, CycloneVersion::V1_5), "sbom.cdx.json")
        }
        SbomForm::Cyclone16 => {
            (CYCLONE, stave_sbom::cyclonedx(&subject, &inventory, CycloneVersion::V1_6), "sbom.cdx.json")
        }
    };
    Ok(Statement {
        predicate_type: predicate_type.to_owned(),
        predicate,
        file_name: Some(
            name.map_or(file_name.to_owned(), |name| file_name.replacen("sbom", &format!("sbom-{name}"), 1)),
        ),
        inline: options.inline,
    })
}
