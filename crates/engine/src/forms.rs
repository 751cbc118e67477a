//! The forms of a layer: its tar's digest, and the blob that a manifest names.
//!
//! A tar is only made to learn its digest or to be written out; what came from a registry keeps the bytes it came in.

use std::io::{self, Read, Write};
use std::sync::{Mutex, PoisonError};
use std::thread;

use stave_oci::{BlobDigest, Compression, Descriptor, DiffId, media_type};
use stave_store::{BlobExpectation, LayerForm, LayerId, Lease};
use stave_tree::Times;
use stave_tree::pack::{GzipWriter, Mark, Resumable, pack_layer, pack_layer_resumed};

use crate::build::Report;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::measure::{MarkedMeasure, Measure};
use crate::task::Task;

/// Level of the gzip forms that stave makes. Part of the bytes, so part of the form's parameters.
const GZIP_LEVEL: u32 = 6;

/// A layer of an image: where its files are and what its tar is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PackedLayer {
    pub(crate) layer: LayerId,
    pub(crate) diff_id: DiffId,
    /// Bytes of the tar.
    pub(crate) bytes: u64,
    /// What the times in it are.
    pub(crate) times: Times,
}

/// A writer that fails as soon as `go_on` says no.
struct While<'a, W> {
    out: W,
    go_on: &'a dyn Fn() -> bool,
}

impl<W: Write> Write for While<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if (self.go_on)() { self.out.write(bytes) } else { Err(io::Error::other("it is not wanted any more")) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl<W: Resumable> Resumable for While<'_, W> {
    fn resume(&mut self, prefix: &[u8; 32]) -> Option<u64> {
        if (self.go_on)() { self.out.resume(prefix) } else { None }
    }

    fn pass(&mut self, mark: &Mark) -> io::Result<()> {
        self.out.pass(mark)
    }
}

/// The blob that stands for a layer in a manifest.
pub(crate) struct LayerBlob {
    pub(crate) descriptor: Descriptor,
    from: From,
}

/// Where a layer's blob comes from.
enum From {
    /// It is in the store.
    Store,
    /// It is the tar itself, packed anew.
    Pack(PackedLayer),
}

impl Engine {
    /// Returns what the tars of `layers` are, packing those that never were, on all processors. The lowest are those of a
    /// base, whose tars are `base` and stay what they are.
    pub(crate) fn packed(
        &self,
        base: &[DiffId],
        layers: &[LayerId],
        times: Times,
    ) -> Result<Vec<PackedLayer>, EngineError> {
        let next = Mutex::new(0..layers.len());
        let done = Mutex::new(vec![None; layers.len()]);
        let work = || -> Result<(), EngineError> {
            loop {
                let Some(index) = next.lock().unwrap_or_else(PoisonError::into_inner).next() else { return Ok(()) };
                self.go_on()?;
                let own = match base.get(index) {
                    Some(diff_id) => self.tar_of(layers[index], diff_id)?,
                    None => None,
                };
                let packed = match own {
                    Some(packed) => packed,
                    None => self.packed_layer_while(layers[index], times, &|| true)?,
                };
                done.lock().unwrap_or_else(PoisonError::into_inner)[index] = Some(packed);
            }
        };
        let unknown = layers.iter().filter(|layer| matches!(self.known_tar(**layer, times), Ok(None))).count();
        if unknown < 2 {
            work()?;
        } else {
            let threads = unknown.min(self.settings.cpus.max(1));
            thread::scope(|scope| {
                let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
                workers.into_iter().try_for_each(|worker| worker.join().expect("a packer does not panic"))
            })?;
        }
        let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(done.into_iter().flatten().collect())
    }

    /// Returns how a layer gives the tar `diff_id`, if that is known.
    pub(crate) fn tar_of(&self, layer: LayerId, diff_id: &DiffId) -> Result<Option<PackedLayer>, EngineError> {
        if self.store.layer_source(layer)?.as_ref() == Some(diff_id) {
            return self.known_tar(layer, Times::Real);
        }
        let mut packed = self.store.layers_that_pack_to(diff_id)?.into_iter().filter(|(id, _)| *id == layer);
        match packed.find_map(|(_, text)| Times::from_text(&text)) {
            Some(times) => self.known_tar(layer, times),
            None => Ok(None),
        }
    }

    fn known_tar(&self, layer: LayerId, times: Times) -> Result<Option<PackedLayer>, EngineError> {
        if let Some(diff_id) = self.store.layer_source(layer)? {
            let bytes = self.store.layer_source_bytes(layer)?.unwrap_or_default();
            // What was unpacked from it gives it again only as it is.
            return Ok(Some(PackedLayer { layer, diff_id, bytes, times: Times::Real }));
        }
        let tar = self.store.layer_tar(layer, &times.text())?;
        Ok(tar.map(|(diff_id, bytes)| PackedLayer { layer, diff_id, bytes, times }))
    }

    /// Returns what the tar of `layer` is, packing it if it never was. Fails as soon as `go_on` says no.
    pub(crate) fn packed_layer_while(
        &self,
        layer: LayerId,
        times: Times,
        go_on: &dyn Fn() -> bool,
    ) -> Result<PackedLayer, EngineError> {
        if let Some(known) = self.known_tar(layer, times)? {
            return Ok(known);
        }
        // What cannot be looked up is hashed.
        let known = |prefix: &[u8; 32]| self.store.tar_mark(prefix).ok().flatten();
        let mut out = While { out: MarkedMeasure::new(&known), go_on };
        let directory = self.store_dir(&self.store.layer_rel_path(layer))?;
        pack_layer_resumed(&directory, self.format(), times, &mut out)
            .map_err(|source| EngineError::tree(format!("cannot pack layer {layer}"), source))?;
        let (diff_id, bytes, marks) = out.out.finish();
        self.store.set_layer_tar(layer, &times.text(), &diff_id, bytes, &marks)?;
        Ok(PackedLayer { layer, diff_id, bytes, times })
    }

    pub(crate) fn pack(&self, layer: LayerId, times: Times, out: &mut dyn Write) -> Result<(), EngineError> {
        let directory = self.store_dir(&self.store.layer_rel_path(layer))?;
        pack_layer(&directory, self.format(), times, out)
            .map_err(|source| EngineError::tree(format!("cannot pack layer {layer}"), source))?;
        Ok(())
    }

    /// Returns the blob of a layer: the one it came in, else one compressed as `wanted`, which is kept.
    pub(crate) fn layer_blob(
        &self,
        lease: &Lease,
        packed: PackedLayer,
        wanted: Compression,
        events: Report<'_>,
    ) -> Result<LayerBlob, EngineError> {
        let forms = lease.layer_forms(&packed.diff_id)?;
        let original = forms.iter().find(|form| form.parameters == crate::base::ORIGINAL);
        let made = forms.iter().find(|form| form.compression == wanted && form.parameters == parameters(wanted));
        if let Some(form) = original.or(made) {
            let descriptor = Descriptor::new(oci_type(form.compression), form.digest, form.size);
            return Ok(LayerBlob { descriptor, from: From::Store });
        }
        if wanted == Compression::None {
            // A tar's own digest is the layer's, by definition.
            let digest = BlobDigest::from(*packed.diff_id.as_bytes());
            let descriptor = Descriptor::new(media_type::OCI_LAYER, digest, packed.bytes);
            return Ok(LayerBlob { descriptor, from: From::Pack(packed) });
        }
        let form = self.compress(lease, packed, events)?;
        Ok(LayerBlob { descriptor: Descriptor::new(&form.media_type, form.digest, form.size), from: From::Store })
    }

    fn compress(&self, lease: &Lease, packed: PackedLayer, events: Report<'_>) -> Result<LayerForm, EngineError> {
        let _task = Task::start(events, format!("compress {}", crate::base::short(&packed.diff_id)));
        let failed = |source| EngineError::io("compress", packed.diff_id.to_string(), source);
        let mut writer = lease.blob_writer(BlobExpectation::none())?;
        let mut gzip = GzipWriter::new(&mut writer, GZIP_LEVEL, self.settings.cpus);
        let mut measured = Tee { measure: Measure::default(), out: &mut gzip };
        self.pack(packed.layer, packed.times, &mut measured)?;
        let (diff_id, _) = measured.measure.finish();
        gzip.finish().map_err(failed)?;
        if diff_id != packed.diff_id {
            let message =
                format!("layer {} changed on the disk: expected {}, got {diff_id}", packed.layer, packed.diff_id);
            return Err(EngineError::request(message, Some("Run `stave store check` to find what else is damaged.")));
        }
        let (digest, size) = writer.commit()?;
        let form = LayerForm {
            diff_id,
            compression: Compression::Gzip,
            parameters: parameters(Compression::Gzip),
            digest,
            size,
            media_type: media_type::OCI_LAYER_GZIP.to_owned(),
        };
        lease.set_layer_form(&form)?;
        Ok(form)
    }

    /// Calls `read` with the bytes of a layer's blob.
    pub(crate) fn with_blob(
        &self,
        blob: &LayerBlob,
        read: impl FnOnce(&mut dyn Read) -> io::Result<()>,
    ) -> Result<(), EngineError> {
        let name = blob.descriptor.digest.to_string();
        let failed = |source| EngineError::io("write out blob", &name, source);
        match blob.from {
            From::Store => read(&mut self.store.open_blob(&blob.descriptor.digest)?).map_err(failed),
            From::Pack(PackedLayer { layer, times, .. }) => {
                let (mut reader, mut writer) = io::pipe().map_err(failed)?;
                thread::scope(|scope| {
                    let sender = scope.spawn(move || {
                        let packed = self.pack(layer, times, &mut writer);
                        drop(writer);
                        packed
                    });
                    let written = read(&mut reader);
                    drop(reader);
                    let packed = sender.join().expect("the packer does not panic");
                    // A reader that fails breaks the packer's pipe, so its error is the cause.
                    written.map_err(failed).and(packed)
                })
            }
        }
    }
}

/// Writes to a sink and measures what went there.
struct Tee<'a, W: Write> {
    measure: Measure,
    out: &'a mut W,
}

impl<W: Write> Write for Tee<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write_all(bytes)?;
        self.measure.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Returns what, beside the compression, decides the bytes of a form that stave makes.
fn parameters(compression: Compression) -> String {
    match compression {
        Compression::Gzip => format!("libdeflate 1 MiB members, level {GZIP_LEVEL}"),
        Compression::None | Compression::Zstd => String::new(),
    }
}

/// Returns the OCI name of a layer in this compression.
fn oci_type(compression: Compression) -> &'static str {
    match compression {
        Compression::None => media_type::OCI_LAYER,
        Compression::Gzip => media_type::OCI_LAYER_GZIP,
        Compression::Zstd => media_type::OCI_LAYER_ZSTD,
    }
}
