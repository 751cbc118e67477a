//! The forms of a layer: its tar's digest, and the blob that a manifest names.
//!
//! A tar is only made to learn its digest or to be written out; what came from a registry keeps the bytes it came in,
//! unless an output wants it otherwise. Where the digest is not known and a compressed form is wanted, one reading of the
//! files gives both.

use std::io::{self, Read, Write};
use std::sync::{Mutex, PoisonError};
use std::thread;

use stave_oci::{BlobDigest, Compression, Descriptor, DiffId, Reference, media_type};
use stave_registry::OpenBlob;
use stave_store::{BlobExpectation, LayerForm, LayerId, Lease};
use stave_tree::Times;
use stave_tree::decompress;
use stave_tree::pack::{Extended, LayerWriter, Mark, Resumable, pack_layer, pack_layer_resumed};

use crate::build::Report;
use crate::caches::RemoteLayer;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::event::TaskKind;
use crate::form::{ImageForm, LayerMethod};
use crate::measure::{MarkedMeasure, Measure};
use crate::task::{Counted, Task};

/// Level of zstd from which on one layer is compressed after the other: its tables are large.
const ZSTD_LARGE_LEVEL: u8 = 16;

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

/// A writer that fails as soon as `go_on`, which is told how many bytes come, says no.
struct While<'a, W> {
    out: W,
    go_on: &'a dyn Fn(u64) -> bool,
}

impl<W: Write> Write for While<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if (self.go_on)(bytes.len() as u64) {
            self.out.write(bytes)
        } else {
            Err(io::Error::other("it is not wanted any more"))
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl<W: Resumable> Resumable for While<'_, W> {
    fn resume(&mut self, prefix: &[u8; 32]) -> Option<u64> {
        if (self.go_on)(0) { self.out.resume(prefix) } else { None }
    }

    fn pass(&mut self, mark: &Mark) -> io::Result<()> {
        self.out.pass(mark)
    }
}

/// A layer of an image that was built.
#[derive(Clone)]
pub(crate) enum BuiltLayer {
    /// The store has its files.
    Here(PackedLayer),
    /// A cache of another machine has it, and nothing has needed its files.
    There(RemoteLayer),
}

impl BuiltLayer {
    /// Returns the digest of its tar.
    pub(crate) fn diff_id(&self) -> DiffId {
        match self {
            Self::Here(packed) => packed.diff_id,
            Self::There(remote) => remote.diff_id(),
        }
    }

    /// Returns the bytes of its tar, as far as they are known.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Here(packed) => packed.bytes,
            Self::There(remote) => remote.layer().bytes,
        }
    }

    /// Returns it, if its files are here.
    pub(crate) fn here(&self) -> Option<PackedLayer> {
        if let Self::Here(packed) = self { Some(*packed) } else { None }
    }
}

/// A layer is wanted here that nothing seemed to need.
pub(crate) fn not_here(remote: &RemoteLayer) -> EngineError {
    let message = format!("layer {} is in a cache alone, and was not fetched", remote.diff_id());
    EngineError::request(message, Some("Build again without `--cache-from`, and report this as a mistake of stave's."))
}

/// Whether a layer that came from elsewhere may stay in its compression.
pub(crate) fn fits(original: Compression, form: &ImageForm) -> bool {
    let same = original == compression(form.layers) && !matches!(form.layers, LayerMethod::Estargz(_));
    // Docker's types have no name for zstd.
    (!form.force || same) && !(form.docker_types && original == Compression::Zstd)
}

/// The blob that stands for a layer in a manifest.
pub(crate) struct LayerBlob {
    pub(crate) descriptor: Descriptor,
    /// Digest of the tar that comes out of it.
    pub(crate) diff_id: DiffId,
    from: From,
}

impl LayerBlob {
    /// Returns a blob of the store, as a manifest of it says.
    pub(crate) fn stored(descriptor: Descriptor, diff_id: DiffId) -> Self {
        Self { descriptor, diff_id, from: From::Store }
    }

    /// Returns the name in whose repository it is, if a cache in a registry has it.
    pub(crate) fn repository(&self) -> Option<&Reference> {
        if let From::There(remote, _) = &self.from { remote.repository() } else { None }
    }
}

/// Returns the blob of a layer that a cache of another machine has: as it is there.
///
/// Errors: `form` wants it otherwise, and then it has to be here.
pub(crate) fn remote_blob(lease: &Lease, remote: &RemoteLayer, form: &ImageForm) -> Result<LayerBlob, EngineError> {
    let layer = remote.layer();
    let compression = remote.compression().filter(|compression| fits(*compression, form));
    let compression = compression.ok_or_else(|| not_here(remote))?;
    let media_type = original_type(compression, &layer.media_type, form);
    let descriptor = Descriptor::new(media_type, layer.blob, layer.size);
    let from = From::There(remote.clone(), lease.clone());
    Ok(LayerBlob { descriptor, diff_id: layer.diff_id, from })
}

/// Where a layer's blob comes from.
enum From {
    /// It is in the store.
    Store,
    /// It is the tar itself, packed anew.
    Pack(PackedLayer),
    /// It is the tar itself, which is compressed in another blob.
    Decompress(BlobDigest),
    /// It is in a cache of another machine.
    There(RemoteLayer, Lease),
}

/// What a blob of the store is as a layer.
struct MadeForm {
    digest: BlobDigest,
    size: u64,
    extended: Option<Extended>,
}

impl Engine {
    /// Returns what the tars of `layers` are, packing those that never were, on all processors. The lowest are those of a
    /// base, whose tars are `base` and stay what they are. If `wanted` is given, the layers that are packed are compressed
    /// so on the way.
    pub(crate) fn packed(
        &self,
        lease: &Lease,
        (base, layers): (&[DiffId], &[LayerId]),
        times: Times,
        wanted: Option<LayerMethod>,
        told: &(dyn Fn(u64) + Sync),
    ) -> Result<Vec<PackedLayer>, EngineError> {
        let go_on = |bytes| {
            told(bytes);
            true
        };
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
                    None => self.packed_layer_while(lease, layers[index], times, wanted, &go_on)?,
                };
                done.lock().unwrap_or_else(PoisonError::into_inner)[index] = Some(packed);
            }
        };
        let unknown = layers.iter().filter(|layer| matches!(self.known_tar(**layer, times), Ok(None))).count();
        let needs_memory = matches!(wanted, Some(LayerMethod::Zstd(ZSTD_LARGE_LEVEL..)));
        if unknown < 2 || needs_memory {
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

    /// Returns what the tar of `layer` is. Fails as soon as `go_on` says no.
    pub(crate) fn packed_layer_while(
        &self,
        lease: &Lease,
        layer: LayerId,
        times: Times,
        wanted: Option<LayerMethod>,
        go_on: &dyn Fn(u64) -> bool,
    ) -> Result<PackedLayer, EngineError> {
        if let Some(known) = self.known_tar(layer, times)? {
            return Ok(known);
        }
        if let Some(method) = wanted.filter(|method| *method != LayerMethod::Plain) {
            let (diff_id, bytes, _) =
                self.make_form(lease, method, None, |out| self.pack(layer, times, &mut While { out, go_on }))?;
            self.store.set_layer_tar(layer, &times.text(), &diff_id, bytes, &[])?;
            return Ok(PackedLayer { layer, diff_id, bytes, times });
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

    /// Returns the blob of a layer: the one it came in, unless `form` wants it otherwise, else one that is made as it wants
    /// and is kept.
    pub(crate) fn layer_blob(
        &self,
        lease: &Lease,
        packed: PackedLayer,
        form: &ImageForm,
        events: Report<'_>,
    ) -> Result<LayerBlob, EngineError> {
        let forms = lease.layer_forms(&packed.diff_id)?;
        let wanted = form.layers;
        let fits = |original: &&LayerForm| fits(original.compression, form);
        let originals = || forms.iter().filter(|known| known.parameters == crate::base::ORIGINAL);
        if let Some(original) = originals().find(fits) {
            let media_type = original_type(original.compression, &original.media_type, form);
            let descriptor = Descriptor::new(media_type, original.digest, original.size);
            return Ok(LayerBlob { descriptor, diff_id: packed.diff_id, from: From::Store });
        }
        let source = originals().next().map(|original| original.digest);
        if wanted == LayerMethod::Plain {
            // A tar's own digest is the layer's, by definition.
            let digest = BlobDigest::from(*packed.diff_id.as_bytes());
            let descriptor = Descriptor::new(layer_type(Compression::None, form.docker_types), digest, packed.bytes);
            let from = source.map_or(From::Pack(packed), From::Decompress);
            return Ok(LayerBlob { descriptor, diff_id: packed.diff_id, from });
        }
        let made = match forms.iter().find_map(|known| made_form(known, wanted)) {
            Some(made) => made,
            None => self.compress(lease, packed, source, wanted, events)?,
        };
        let media_type = layer_type(compression(wanted), form.docker_types);
        let mut descriptor = Descriptor::new(media_type, made.digest, made.size);
        let mut diff_id = packed.diff_id;
        if let Some(extended) = made.extended {
            diff_id = extended.diff_id;
            // By these, snapshotters know that they need not fetch the whole.
            let annotations = [(TOC_DIGEST, extended.toc.to_string()), (TOC_BYTES, extended.bytes.to_string())];
            descriptor.annotations.extend(annotations.map(|(key, value)| (key.to_owned(), value)));
        }
        Ok(LayerBlob { descriptor, diff_id, from: From::Store })
    }

    /// Returns a layer's blob as a registry takes it.
    pub(crate) fn pushed(&self, blob: &LayerBlob) -> (Descriptor, OpenBlob) {
        match &blob.from {
            From::There(remote, lease) => (blob.descriptor.clone(), remote.blob(lease)),
            From::Store | From::Pack(_) | From::Decompress(_) => self.stored(blob.descriptor.clone()),
        }
    }

    /// Compresses a layer: the tar in the blob `source`, if there is one, else its files packed anew.
    fn compress(
        &self,
        lease: &Lease,
        packed: PackedLayer,
        source: Option<BlobDigest>,
        method: LayerMethod,
        events: Report<'_>,
    ) -> Result<MadeForm, EngineError> {
        let title = format!("compress {}", crate::base::short(&packed.diff_id));
        Task::during(events, TaskKind::Compress, title, |task| {
            let (_, _, made) = self.make_form(lease, method, Some(packed), |out| {
                let mut out = Counted::new(out, task, Some(packed.bytes));
                match source {
                    None => self.pack(packed.layer, packed.times, &mut out),
                    Some(digest) => self.copy_tar(&digest, &mut out),
                }
            })?;
            Ok(made)
        })
    }

    /// Writes the tar that a blob of the store compresses.
    fn copy_tar(&self, digest: &BlobDigest, out: &mut dyn Write) -> Result<(), EngineError> {
        let unreadable = |source| EngineError::tree(format!("cannot read blob {digest}"), source);
        let mut tar = decompress(self.store.open_blob(digest)?).map_err(unreadable)?;
        let mut buffer = vec![0; 256 * 1024];
        loop {
            self.go_on()?;
            let count = tar.read(&mut buffer).map_err(|source| EngineError::io("read", digest.to_string(), source))?;
            if count == 0 {
                return Ok(());
            }
            out.write_all(&buffer[..count])
                .map_err(|source| EngineError::io("compress", digest.to_string(), source))?;
        }
    }

    /// Has `pack` write a tar, stores what it is compressed as and records that. Returns the tar's digest and length.
    ///
    /// Errors: the tar is not the one that was `expected`.
    fn make_form(
        &self,
        lease: &Lease,
        method: LayerMethod,
        expected: Option<PackedLayer>,
        pack: impl FnOnce(&mut dyn Write) -> Result<(), EngineError>,
    ) -> Result<(DiffId, u64, MadeForm), EngineError> {
        let mut writer = lease.blob_writer(BlobExpectation::none())?;
        let mut out = LayerWriter::new(&mut writer, method, self.settings.cpus);
        let mut measured = Tee { measure: Measure::default(), out: &mut out };
        pack(&mut measured)?;
        let (diff_id, bytes) = measured.measure.finish();
        let (_, extended) = out.finish().map_err(|source| EngineError::io("compress", diff_id.to_string(), source))?;
        if let Some(PackedLayer { layer, diff_id: wanted, .. }) = expected.filter(|packed| packed.diff_id != diff_id) {
            let message = format!("layer {layer} changed on the disk: expected {wanted}, got {diff_id}");
            return Err(EngineError::request(message, Some("Run `stave store check` to find what else is damaged.")));
        }
        let (digest, size) = writer.commit()?;
        lease.set_layer_form(&LayerForm {
            diff_id,
            compression: compression(method),
            parameters: parameters(method, extended.as_ref()),
            digest,
            size,
            media_type: layer_type(compression(method), false).to_owned(),
        })?;
        Ok((diff_id, bytes, MadeForm { digest, size, extended }))
    }

    /// Calls `read` with the bytes of a layer's blob.
    pub(crate) fn with_blob(
        &self,
        blob: &LayerBlob,
        read: impl FnOnce(&mut dyn Read) -> io::Result<()>,
    ) -> Result<(), EngineError> {
        let name = blob.descriptor.digest.to_string();
        let failed = |source| EngineError::io("write out blob", &name, source);
        match &blob.from {
            From::Store => read(&mut self.store.open_blob(&blob.descriptor.digest)?).map_err(failed),
            From::There(remote, lease) => remote.blob(lease)().and_then(|mut bytes| read(&mut bytes)).map_err(failed),
            From::Decompress(digest) => {
                let unreadable = |source| EngineError::tree(format!("cannot read blob {digest}"), source);
                read(&mut decompress(self.store.open_blob(digest)?).map_err(unreadable)?).map_err(failed)
            }
            &From::Pack(PackedLayer { layer, times, .. }) => {
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

    /// Has a layer's blob be a file of the store, where it is a tar that else is packed whenever it is read.
    ///
    /// Errors: it cannot be read or stored.
    pub(crate) fn keep_blob(&self, lease: &Lease, blob: &LayerBlob) -> Result<(), EngineError> {
        let Descriptor { digest, size, .. } = blob.descriptor;
        if matches!(blob.from, From::Store | From::There(..)) || lease.blob(&digest)?.is_some() {
            return Ok(());
        }
        let mut writer = lease.blob_writer(BlobExpectation::exactly(digest, size))?;
        self.with_blob(blob, |bytes| io::copy(bytes, &mut writer).map(drop))?;
        writer.commit()?;
        Ok(())
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

/// Annotations of a layer with a table of contents: the table's digest, and the bytes of all that it unpacks to.
const TOC_DIGEST: &str = "containerd.io/snapshot/stargz/toc.digest";
const TOC_BYTES: &str = "io.containers.estargz.uncompressed-size";

/// Returns what readers call the compression that `method` is.
pub(crate) fn compression(method: LayerMethod) -> Compression {
    match method {
        LayerMethod::Plain => Compression::None,
        LayerMethod::Gzip(_) | LayerMethod::Estargz(_) => Compression::Gzip,
        LayerMethod::Zstd(_) => Compression::Zstd,
    }
}

/// Returns what, beside the compression, decides the bytes of a form that stave makes; and what else the blob is, where it
/// is more than the layer.
fn parameters(method: LayerMethod, extended: Option<&Extended>) -> String {
    let decides = method.parameters();
    extended.map_or(decides.clone(), |Extended { diff_id, bytes, toc }| format!("{decides}; {diff_id} {bytes} {toc}"))
}

/// Returns what a known form is, if it is one that `method` makes.
fn made_form(form: &LayerForm, method: LayerMethod) -> Option<MadeForm> {
    let rest = form.parameters.strip_prefix(&method.parameters())?;
    if form.compression != compression(method) {
        return None;
    }
    let extended = match (method, rest.strip_prefix("; ")) {
        (LayerMethod::Estargz(_), Some(rest)) => {
            let mut words = rest.split(' ');
            let diff_id = words.next()?.parse().ok()?;
            let bytes = words.next()?.parse().ok()?;
            Some(Extended { diff_id, bytes, toc: words.next()?.parse().ok()? })
        }
        (LayerMethod::Estargz(_), None) => return None,
        _ if rest.is_empty() => None,
        _ => return None,
    };
    Some(MadeForm { digest: form.digest, size: form.size, extended })
}

/// Returns the name of a layer in this compression.
fn layer_type(compression: Compression, docker: bool) -> &'static str {
    match (compression, docker) {
        (Compression::None, false) => media_type::OCI_LAYER,
        (Compression::Gzip, false) => media_type::OCI_LAYER_GZIP,
        (Compression::None, true) => media_type::DOCKER_LAYER,
        (Compression::Gzip, true) => media_type::DOCKER_LAYER_GZIP,
        // Docker has no name for it; such layers are compressed anew.
        (Compression::Zstd, _) => media_type::OCI_LAYER_ZSTD,
    }
}

/// Returns the name of a layer whose blob stays as it came, with the type `media_type`.
fn original_type(compression: Compression, media_type: &str, form: &ImageForm) -> &'static str {
    let name = if is_foreign(media_type) && form.keep_foreign { foreign_type } else { layer_type };
    name(compression, form.docker_types)
}

/// Whether a layer's type says that it is not to be distributed.
fn is_foreign(media_type: &str) -> bool {
    media_type.contains(".nondistributable.") || media_type.contains(".foreign.")
}

/// Returns the name of a layer in this compression that is not to be distributed.
fn foreign_type(compression: Compression, docker: bool) -> &'static str {
    match (compression, docker) {
        (Compression::None, false) => media_type::OCI_FOREIGN_LAYER,
        (Compression::Gzip, false) => media_type::OCI_FOREIGN_LAYER_GZIP,
        (Compression::Zstd, _) => media_type::OCI_FOREIGN_LAYER_ZSTD,
        (Compression::None | Compression::Gzip, true) => media_type::DOCKER_FOREIGN_LAYER_GZIP,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_with_a_table_is_known_again() {
        let method = LayerMethod::Estargz(6);
        let extended = Extended { diff_id: DiffId::of(b"d"), bytes: 7, toc: BlobDigest::of(b"t") };
        let form = LayerForm {
            diff_id: DiffId::of(b"x"),
            compression: Compression::Gzip,
            parameters: parameters(method, Some(&extended)),
            digest: BlobDigest::of(b"b"),
            size: 3,
            media_type: String::new(),
        };
        let made = made_form(&form, method).expect("it is what the method makes");
        assert_eq!((made.extended, made.size), (Some(extended), 3));
        for other in [LayerMethod::Estargz(60), LayerMethod::Gzip(6), LayerMethod::Zstd(6), LayerMethod::Estargz(5)] {
            assert!(made_form(&form, other).is_none(), "{other:?}");
        }
    }
}
