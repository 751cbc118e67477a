//! Writes the result of a build out: as an image archive, as a tar of its files, or as files of a directory.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use stave_oci::{BlobDigest, Descriptor, Manifest, Reference, media_type};
use stave_store::{LayerId, Lease};
use stave_tree::pack::pack_tree;

use crate::archive::{ArchiveWriter, ArchivedImage};
use crate::build::Report;
use crate::copy_files;
use crate::engine::{Engine, open_user_dir};
use crate::error::EngineError;
use crate::finish::{ReadyImage, compression};
use crate::forms::LayerBlob;
use crate::request::{Destination, Output, OutputKind};
use crate::task::Task;

/// Writes one output. Returns its manifest, if it has one.
pub(crate) fn write(
    engine: &Engine,
    lease: &Lease,
    image: &ReadyImage,
    layers: &[LayerId],
    names: &[Reference],
    output: Output,
    events: Report<'_>,
) -> Result<Option<Descriptor>, EngineError> {
    match (output.kind, output.dest) {
        (OutputKind::Local, Destination::Path(path)) => {
            let _task = Task::start(events, format!("write {}", path.display()));
            local(engine, layers, &path)?;
            Ok(None)
        }
        (OutputKind::Local, Destination::Stream(_)) => Err(EngineError::request(
            "an output of type `local` needs a directory",
            Some("Give it with `dest=DIRECTORY`, or use `type=tar` for a stream."),
        )),
        (kind, dest) => {
            let mut sink = Sink::open(dest)?;
            let _task = Task::start(events, format!("write {}", sink.name()));
            let written = match kind {
                OutputKind::Tar | OutputKind::Local => {
                    rootfs(engine, layers, image.epoch, &mut sink.out).map(|()| None)
                }
                OutputKind::Oci | OutputKind::Docker => {
                    archive(engine, lease, image, names, kind, &mut sink.out, events).map(Some)
                }
            };
            let manifest = written.map_err(|error| sink.failure().unwrap_or(error))?;
            sink.finish()?;
            Ok(manifest)
        }
    }
}

/// Where bytes go: a stream, or a file that appears under its name when it is complete.
struct Sink {
    out: BufWriter<Watched>,
    file: Option<(PathBuf, PathBuf)>,
}

impl Sink {
    fn open(dest: Destination) -> Result<Self, EngineError> {
        let path = match dest {
            Destination::Stream(stream) => return Ok(Self { out: BufWriter::new(Watched::new(stream)), file: None }),
            Destination::Path(path) => path,
        };
        let fail = |source| EngineError::io("write", &path, source);
        // Something that is no regular file, like `/dev/null` or a pipe, must be written to and not replaced.
        let special = std::fs::metadata(&path).is_ok_and(|metadata| !metadata.is_file());
        if special {
            let file = File::options().write(true).open(&path).map_err(fail)?;
            return Ok(Self { out: BufWriter::new(Watched::new(Box::new(file))), file: None });
        }
        let mut partial = path.clone().into_os_string();
        partial.push(format!(".{}.partial", std::process::id()));
        let partial = PathBuf::from(partial);
        let file = File::create(&partial).map_err(fail)?;
        Ok(Self { out: BufWriter::new(Watched::new(Box::new(file))), file: Some((partial, path)) })
    }

    /// What went wrong with writing, as opposed to what went wrong with what was to be written.
    fn failure(&mut self) -> Option<EngineError> {
        let source = self.out.get_mut().failure.take()?;
        Some(EngineError::io("write", self.name(), source))
    }

    fn name(&self) -> String {
        self.file.as_ref().map_or_else(|| "standard output".to_owned(), |(_, path)| path.display().to_string())
    }

    fn finish(mut self) -> Result<(), EngineError> {
        let name = PathBuf::from(self.name());
        self.out.flush().map_err(|source| self.failure().unwrap_or_else(|| EngineError::io("write", name, source)))?;
        if let Some((partial, path)) = self.file.take() {
            std::fs::rename(&partial, &path).map_err(|source| EngineError::io("write", path, source))?;
        }
        Ok(())
    }
}

/// A stream that remembers what its own failure was.
struct Watched {
    inner: Box<dyn Write + Send>,
    failure: Option<io::Error>,
}

impl Watched {
    fn new(inner: Box<dyn Write + Send>) -> Self {
        Self { inner, failure: None }
    }

    fn watch<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| {
            let copy = error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error);
            if error.kind() != io::ErrorKind::Interrupted {
                self.failure = Some(error);
            }
            copy
        })
    }
}

impl Write for Watched {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let result = self.inner.write(bytes);
        self.watch(result)
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.inner.flush();
        self.watch(result)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Some((partial, _)) = &self.file {
            // The output failed; what is left of it is of no use to anybody.
            drop(std::fs::remove_file(partial));
        }
    }
}

/// Writes the merged files of `layers` as a tar.
fn rootfs(engine: &Engine, layers: &[LayerId], epoch: Option<i64>, out: &mut dyn Write) -> Result<(), EngineError> {
    let view = engine.view(layers)?;
    pack_tree(&view, b"", b"", epoch, out).map_err(|source| EngineError::tree("cannot write the files", source))?;
    Ok(())
}

/// Copies the merged files of `layers` into a directory of the user, which is made if it is missing.
fn local(engine: &Engine, layers: &[LayerId], path: &Path) -> Result<(), EngineError> {
    std::fs::create_dir_all(path).map_err(|source| EngineError::io("create", path, source))?;
    let (view, into) = (engine.view(layers)?, open_user_dir(path)?);
    copy_files::copy_contents(engine, &view, &into)
}

fn archive(
    engine: &Engine,
    lease: &Lease,
    image: &ReadyImage,
    names: &[Reference],
    kind: OutputKind,
    out: &mut dyn Write,
    events: Report<'_>,
) -> Result<Descriptor, EngineError> {
    let prepared = Prepared::new(engine, lease, image, compression(kind), events)?;
    let mut writer = ArchiveWriter::new(out).map_err(unwritable)?;
    let archived = prepared.write(engine, &mut writer, names)?;
    let manifest = archived.manifest.clone();
    writer.finish(&[archived], kind == OutputKind::Docker).map_err(unwritable)?;
    Ok(manifest)
}

pub(crate) fn unwritable(source: io::Error) -> EngineError {
    EngineError::io("write", "the archive", source)
}

/// An image with a manifest, ready to be written anywhere.
pub(crate) struct Prepared {
    pub(crate) manifest: Vec<u8>,
    pub(crate) manifest_type: String,
    pub(crate) config: Vec<u8>,
    pub(crate) config_descriptor: Descriptor,
    pub(crate) layers: Vec<LayerBlob>,
    epoch: Option<i64>,
}

impl Prepared {
    /// Makes the manifest of an image, and all blobs that have to be compressed for it.
    pub(crate) fn new(
        engine: &Engine,
        lease: &Lease,
        image: &ReadyImage,
        compression: stave_oci::Compression,
        events: Report<'_>,
    ) -> Result<Self, EngineError> {
        let layers = image
            .layers
            .iter()
            .map(|layer| engine.layer_blob(lease, *layer, image.epoch, compression, events))
            .collect::<Result<Vec<_>, _>>()?;
        let config = image.composed.bytes.clone();
        let config_descriptor = Descriptor::new(media_type::OCI_CONFIG, image.composed.id.into(), config.len() as u64);
        let manifest = Manifest {
            schema_version: 2,
            media_type: media_type::OCI_MANIFEST.to_owned(),
            config: config_descriptor.clone(),
            layers: layers.iter().map(|layer| layer.descriptor.clone()).collect(),
            annotations: std::collections::BTreeMap::new(),
        };
        let manifest = serde_json::to_vec(&manifest).expect("a manifest has only text keys");
        let manifest_type = media_type::OCI_MANIFEST.to_owned();
        Ok(Self { manifest, manifest_type, config, config_descriptor, layers, epoch: image.epoch })
    }

    /// Returns the manifest's descriptor.
    pub(crate) fn descriptor(&self) -> Descriptor {
        Descriptor::new(&self.manifest_type, BlobDigest::of(&self.manifest), self.manifest.len() as u64)
    }

    /// Writes the blobs into an archive.
    pub(crate) fn write<W: Write>(
        &self,
        engine: &Engine,
        writer: &mut ArchiveWriter<W>,
        names: &[Reference],
    ) -> Result<ArchivedImage, EngineError> {
        for layer in &self.layers {
            engine.go_on()?;
            let Descriptor { digest, size, .. } = layer.descriptor;
            if !writer.has(&digest) {
                engine.with_blob(layer, self.epoch, |bytes| writer.blob(digest, size, bytes))?;
            }
        }
        let manifest = self.descriptor();
        for (descriptor, bytes) in [(&self.config_descriptor, &self.config), (&manifest, &self.manifest)] {
            writer.blob(descriptor.digest, descriptor.size, &mut bytes.as_slice()).map_err(unwritable)?;
        }
        Ok(ArchivedImage {
            config: self.config_descriptor.digest,
            layers: self.layers.iter().map(|layer| layer.descriptor.digest).collect(),
            manifest,
            names: names.to_vec(),
        })
    }
}
