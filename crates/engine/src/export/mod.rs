//! What was built becomes outputs: archives, files, images of registries.
//!
//! It builds nothing and names nothing in the store. An output appears under its name when it is complete.

mod files;
mod index;
mod prepared;
mod registry;
mod sink;

pub(crate) use index::{index_bytes, index_descriptor, unpacked_index};
pub(crate) use prepared::{Prepared, unwritable};
pub(crate) use registry::{Pushed, send};

use stave_oci::Descriptor;
use stave_store::Lease;

use crate::archive::ArchiveWriter;
use crate::build::Report;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::finish::{Built, BuiltImage};
use crate::request::{ArchiveKind, Destination, FilesKind, ImageForm, Output};
use crate::task::Task;
use sink::Sink;

/// Writes one output. Returns what a registry or a layout names it by, if that is an image.
///
/// Errors: the output cannot be written; nothing is left of it.
pub(crate) fn write(
    engine: &Engine,
    lease: &Lease,
    built: &Built,
    output: Output,
    events: Report<'_>,
) -> Result<Option<Descriptor>, EngineError> {
    match output {
        Output::Files { kind: FilesKind::Local, dest: Destination::Path(path) } => {
            let _task = Task::start(events, format!("write {}", path.display()));
            let image = &only(built)?.image;
            files::local(engine, &image.layer_ids(), image.files, &path)?;
            Ok(None)
        }
        Output::Files { kind: FilesKind::Local, dest: Destination::Stream(_) } => Err(EngineError::request(
            "an output of type `local` needs a directory",
            Some("Give it with `dest=DIRECTORY`, or use `type=tar` for a stream."),
        )),
        Output::Files { kind: FilesKind::Tar, dest } => into(dest, events, |sink| {
            let image = &only(built)?.image;
            files::rootfs(engine, &image.layer_ids(), image.files, &mut sink.out).map(|()| None)
        }),
        Output::Archive { kind, form, dest } => {
            into(dest, events, |sink| archive(engine, lease, built, (kind, form), sink, events).map(Some))
        }
        Output::Registry { names, form } => registry::push(engine, lease, built, (&names, form), events).map(Some),
    }
}

/// Opens the destination, has it written, and gives it its name.
fn into<T>(
    dest: Destination,
    events: Report<'_>,
    write: impl FnOnce(&mut Sink) -> Result<T, EngineError>,
) -> Result<T, EngineError> {
    let mut sink = Sink::open(dest)?;
    let _task = Task::start(events, format!("write {}", sink.name()));
    let written = write(&mut sink).map_err(|error| sink.failure().unwrap_or(error))?;
    sink.finish()?;
    Ok(written)
}

/// Returns the image of a build for one platform.
fn only(built: &Built) -> Result<&BuiltImage, EngineError> {
    match built.images.as_slice() {
        [image] => Ok(image),
        images => {
            let platforms: Vec<String> = images.iter().map(|image| image.platform.to_string()).collect();
            let message = format!("this output holds one platform, and the build has {}", platforms.join(", "));
            Err(EngineError::request(message, Some("Build each platform by itself with `--platform`.")))
        }
    }
}

fn archive(
    engine: &Engine,
    lease: &Lease,
    built: &Built,
    (kind, form): (ArchiveKind, ImageForm),
    sink: &mut Sink,
    events: Report<'_>,
) -> Result<Descriptor, EngineError> {
    let prepared = Prepared::new(engine, lease, &only(built)?.image, form, events)?;
    let mut writer = ArchiveWriter::new(&mut sink.out).map_err(unwritable)?;
    let archived = prepared.write(engine, &mut writer, &built.names)?;
    let manifest = archived.manifest.clone();
    writer.finish(&[archived], kind == ArchiveKind::Docker).map_err(unwritable)?;
    Ok(manifest)
}
