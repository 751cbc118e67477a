//! What was built becomes outputs: archives, files, images of registries.
//!
//! It builds nothing and names nothing in the store. An output appears under its name when it is complete.

mod daemon;
mod dir;
mod files;
mod index;
mod layout;
mod merged;
mod place;
mod prepared;
mod registry;
mod said;
mod sink;

pub(crate) use daemon::fetch as fetch_from_daemon;
pub(crate) use dir::put_dir;
pub(crate) use index::{index_descriptor, unpacked_index};
pub(crate) use place::{put_in_daemon, put_in_docker_archive, put_in_layout, put_in_oci_archive};
pub(crate) use prepared::{Prepared, PreparedBuild, unwritable};
pub(crate) use registry::{Pushed, Sending, send};
pub(crate) use said::{Said, joined};

use std::io::{self, Read, Write};

use stave_oci::{BlobDigest, Descriptor, Reference};
use stave_store::{ImageManifest, Lease, NewImage, Tag};

use crate::archive::ArchiveWriter;
use crate::build::Report;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::event::TaskKind;
use crate::finish::{Built, BuiltImage, image_layers};
use crate::form::ImageForm;
use crate::request::{ArchiveKind, Destination, FilesKind, Naming, Output};
use crate::task::Task;
use files::Plan;
use sink::Sink;

/// What takes the blobs of an output, one after the other.
pub(crate) type BlobSink<'a> = &'a mut dyn FnMut(&Descriptor, &mut dyn Read) -> io::Result<()>;

/// An output that is complete.
pub(crate) enum Written {
    /// Files, which nothing names as a whole.
    Files,
    /// An image outside of the store.
    Image(Descriptor),
    /// An image that registries have under these names.
    Pushed(Descriptor, Vec<Reference>),
    /// Images whose manifests the store is to keep, and their names.
    Stored(Box<PreparedBuild>, Vec<Reference>, Naming),
}

impl Written {
    /// Returns what a registry or a layout names it by, if that is an image.
    pub(crate) fn into_descriptor(self) -> Option<Descriptor> {
        match self {
            Self::Files => None,
            Self::Image(descriptor) | Self::Pushed(descriptor, _) => Some(descriptor),
            Self::Stored(prepared, ..) => Some(prepared.descriptor),
        }
    }
}

/// Writes one output. Nothing in the store gets a name by it.
///
/// Errors: the output cannot be written; nothing is left of it.
pub(crate) fn write(
    engine: &Engine,
    lease: &Lease,
    built: &Built,
    output: Output,
    events: Report<'_>,
) -> Result<Written, EngineError> {
    let prepare = |form: &ImageForm| PreparedBuild::new(engine, lease, built, form, events);
    match output {
        Output::Files { kind: FilesKind::Local, dest: Destination::Path(path), split, delete, times, prefix } => {
            Task::during(events, TaskKind::Output, format!("write {}", path.display()), |_| {
                Plan::new(built, split, times, &prefix).local(engine, lease, &path, delete)?;
                Ok(Written::Files)
            })
        }
        Output::Files { kind: FilesKind::Local, dest: Destination::Stream(_), .. } => Err(EngineError::request(
            "an output of type `local` needs a directory",
            Some("Give it with `dest=DIRECTORY`, or use `type=tar` for a stream."),
        )),
        Output::Files { kind: FilesKind::Tar, dest, split, times, prefix, .. } => into(dest, events, |sink| {
            Plan::new(built, split, times, &prefix).tar(engine, lease, &mut sink.out)?;
            Ok(Written::Files)
        }),
        Output::Archive { kind: ArchiveKind::Docker, form, names, dest } => {
            only(built)?;
            let prepared = prepare(&form)?;
            into(dest, events, |sink| {
                archive(engine, &prepared, (ArchiveKind::Docker, &given(names, built)), &mut sink.out)
            })
        }
        Output::Archive { kind, form, names, dest } => {
            let prepared = prepare(&form)?.with_statements(built, &form)?;
            into(dest, events, |sink| archive(engine, &prepared, (kind, &given(names, built)), &mut sink.out))
        }
        Output::Layout { form, names, path } => {
            let prepared = prepare(&form)?.with_statements(built, &form)?;
            Task::during(events, TaskKind::Output, format!("write {}", path.display()), |_| {
                layout::write(&path, prepared.entries(&given(names, built)), |sink| prepared.each_blob(engine, sink))
            })?;
            Ok(Written::Image(prepared.descriptor))
        }
        Output::Registry { names, by_digest, insecure, form } => {
            let prepared = prepare(&form)?.with_statements(built, &form)?;
            registry::push(engine, lease, &prepared, (&names, by_digest, insecure), events)?;
            Ok(Written::Pushed(prepared.descriptor, names))
        }
        Output::Image { names, naming, form } => Ok(Written::Stored(Box::new(prepare(&form)?), names, naming)),
        Output::Load { socket, names, form } => {
            only(built)?;
            let prepared = prepare(&daemon::wanted(form, &socket)?)?;
            Task::during(events, TaskKind::Push, format!("load into {}", socket.display()), |_| {
                daemon::load(engine, &prepared, &given(names, built), &socket)
            })?;
            Ok(Written::Image(prepared.descriptor))
        }
    }
}

/// Records in the store what an output that is complete says of the images that are there.
///
/// Errors: the store cannot be written; an image would be another one than what was built.
pub(crate) fn record(engine: &Engine, lease: &Lease, built: &Built, written: &Written) -> Result<(), EngineError> {
    match written {
        Written::Files | Written::Image(_) => Ok(()),
        Written::Pushed(descriptor, names) => {
            names.iter().try_for_each(|name| registry::note_digest(engine, built, name, descriptor.digest))
        }
        Written::Stored(prepared, names, naming) => {
            let names = naming.all(names, prepared.descriptor.digest);
            for (prepared, built) in prepared.images.iter().zip(&built.images) {
                keep_manifest(engine, lease, (prepared, built), &names)?;
            }
            Ok(())
        }
    }
}

/// Has the store keep the manifest that a later push sends.
fn keep_manifest(
    engine: &Engine,
    lease: &Lease,
    (prepared, built): (&Prepared, &BuiltImage),
    names: &[Reference],
) -> Result<(), EngineError> {
    let ready = &built.image;
    if prepared.config_descriptor.digest.as_bytes() != ready.composed.id.as_bytes() {
        let hint = "Push it or write an archive, or join layers with `--squash`.";
        return Err(EngineError::request(
            "the store cannot keep an image whose layers are others than the build's",
            Some(hint),
        ));
    }
    drop(prepared.push_image(engine, lease)?);
    let digest = lease.put_blob(&prepared.manifest)?;
    let source = names.first().map(Reference::name).unwrap_or_default();
    let image = NewImage {
        config: &ready.composed.bytes,
        created: ready.composed.config.created.as_deref().and_then(crate::base::seconds),
        size: ready.size(),
        layers: image_layers(ready)?,
        manifest: Some(ImageManifest { digest, media_type: prepared.descriptor.media_type.clone(), source }),
    };
    let tags: Vec<Tag> = names.iter().map(|name| Tag::new(name, None)).collect();
    lease.put_image(&image, &tags)?;
    Ok(())
}

impl Naming {
    /// Returns `names` and those that end with `digest`.
    fn all(&self, names: &[Reference], digest: BlobDigest) -> Vec<Reference> {
        let with_digest = |name: &Reference| Reference { tag: None, digest: Some(digest), ..name.clone() };
        let canonical = names.iter().filter(|_| self.canonical).map(with_digest);
        names.iter().cloned().chain(canonical).chain(self.dangling.iter().map(with_digest)).collect()
    }
}

/// Returns an output's own names, or the build's.
fn given(names: Option<Vec<Reference>>, built: &Built) -> Vec<Reference> {
    names.unwrap_or_else(|| built.names.clone())
}

/// Opens the destination, has it written, and gives it its name.
fn into<T>(
    dest: Destination,
    events: Report<'_>,
    write: impl FnOnce(&mut Sink) -> Result<T, EngineError>,
) -> Result<T, EngineError> {
    let mut sink = Sink::open(dest)?;
    Task::during(events, TaskKind::Output, format!("write {}", sink.name()), |_| {
        let written = write(&mut sink).map_err(|error| sink.failure().unwrap_or(error))?;
        sink.finish()?;
        Ok(written)
    })
}

/// Refuses an index where an output holds one image.
fn only(built: &Built) -> Result<(), EngineError> {
    if !built.is_index() {
        return Ok(());
    }
    if built.images.len() == 1 {
        let message = "this output holds one image, and `BUILDKIT_MULTI_PLATFORM` asks for an index of images";
        return Err(EngineError::request(message, Some("Write `type=oci`, or leave that build argument out.")));
    }
    let platforms: Vec<String> = built.images.iter().map(|image| image.platform.to_string()).collect();
    let message = format!("this output holds one platform, and the build has {}", platforms.join(", "));
    Err(EngineError::request(message, Some("Write `type=oci`, or build each platform by itself with `--platform`.")))
}

fn archive(
    engine: &Engine,
    prepared: &PreparedBuild,
    (kind, names): (ArchiveKind, &[Reference]),
    out: &mut dyn Write,
) -> Result<Written, EngineError> {
    let mut writer = ArchiveWriter::new(out).map_err(unwritable)?;
    let mut archived = Vec::new();
    for image in &prepared.images {
        archived.push(image.write(engine, &mut writer, names)?);
    }
    prepared.write_rest(&mut writer)?;
    let for_docker = if kind == ArchiveKind::Docker { archived.as_slice() } else { &[] };
    writer.finish_with(prepared.entries(names), for_docker).map_err(unwritable)?;
    Ok(Written::Image(prepared.descriptor.clone()))
}
