//! Images of the store go to places on this machine, as [`crate::ImagePlace`] names them.

use std::io::{self, Read};
use std::path::Path;

use stave_oci::{Descriptor, Reference};

use super::layout;
use super::prepared::{Prepared, PreparedBuild, unwritable};
use super::registry::Pushed;
use super::said::Said;
use super::{daemon, into};
use crate::archive::ArchiveWriter;
use crate::attest::Attached;
use crate::build::Report;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::event::TaskKind;
use crate::request::Destination;
use crate::task::Task;

/// Returns what a layout lists: the image under its name, and what is said about it.
fn entries((pushed, said): (&Pushed, &Said), name: Option<&str>) -> Vec<Descriptor> {
    let mut descriptor = pushed.descriptor();
    if let Some(name) = name {
        descriptor.annotations.insert("org.opencontainers.image.ref.name".to_owned(), name.to_owned());
    }
    std::iter::once(descriptor).chain(said.referring.iter().map(|attached| attached.descriptor.clone())).collect()
}

/// Calls `write` with every blob of the image and of what refers to it. What is in its index is pushed with it.
fn each_blob(
    engine: &Engine,
    (pushed, said): (&Pushed, &Said),
    write: &mut dyn FnMut(&Descriptor, &mut dyn Read) -> io::Result<()>,
) -> Result<(), EngineError> {
    pushed.each_blob(engine, &mut *write)?;
    for (descriptor, mut bytes) in said.referring.iter().flat_map(Attached::parts) {
        write(descriptor, &mut bytes)
            .map_err(|source| EngineError::io("write", descriptor.digest.to_string(), source))?;
    }
    Ok(())
}

/// Adds an image to the layout at `path`.
///
/// Errors: a file cannot be written; what is there is no layout.
pub(crate) fn put_in_layout(
    engine: &Engine,
    what: (&Pushed, &Said),
    (path, name): (&Path, Option<&str>),
    events: Report<'_>,
) -> Result<(), EngineError> {
    Task::during(events, TaskKind::Output, format!("write {}", path.display()), |_| {
        layout::write(path, entries(what, name), |sink| each_blob(engine, what, sink))
    })
}

/// Writes an image as an OCI archive.
///
/// Errors: the file cannot be written.
pub(crate) fn put_in_oci_archive(
    engine: &Engine,
    what: (&Pushed, &Said),
    (path, name): (&Path, Option<&str>),
    events: Report<'_>,
) -> Result<(), EngineError> {
    into(Destination::Path(path.to_owned()), events, |sink| {
        let mut writer = ArchiveWriter::new(&mut sink.out).map_err(unwritable)?;
        each_blob(engine, what, &mut |blob, bytes| writer.blob(blob.digest, blob.size, bytes))?;
        writer.finish_with(entries(what, name), &[]).map(drop).map_err(unwritable)
    })
}

/// Writes an image as Docker does. Returns its manifest.
///
/// Errors: the file cannot be written.
pub(crate) fn put_in_docker_archive(
    engine: &Engine,
    prepared: &Prepared,
    (path, names): (&Path, &[Reference]),
    events: Report<'_>,
) -> Result<Descriptor, EngineError> {
    into(Destination::Path(path.to_owned()), events, |sink| {
        let mut writer = ArchiveWriter::new(&mut sink.out).map_err(unwritable)?;
        let archived = prepared.write(engine, &mut writer, names)?;
        writer.finish(&[archived], true).map_err(unwritable)?;
        Ok(prepared.descriptor.clone())
    })
}

/// Has the daemon that listens on `socket` have an image. Returns its manifest.
///
/// Errors: the daemon cannot be reached, or does not take the image.
pub(crate) fn put_in_daemon(
    engine: &Engine,
    prepared: Prepared,
    (socket, name): (&Path, &Reference),
    events: Report<'_>,
) -> Result<Descriptor, EngineError> {
    Task::during(events, TaskKind::Push, format!("load into {}", socket.display()), |_| {
        let build = PreparedBuild::of_one(prepared);
        daemon::load(engine, &build, std::slice::from_ref(name), socket)?;
        Ok(build.descriptor)
    })
}
