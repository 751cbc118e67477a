//! From one repository to another: manifests with all that they name, without a store in between.
//!
//! What the target has is not sent, what another repository of its registry has is taken from there, and the rest goes
//! through as it comes.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use stave_oci::{BlobDigest, Descriptor, Document, Reference};
use ureq::http::Method;

use crate::auth::Repository;
use crate::client::{BlobSink, Client, FoundManifest, OpenBlob, PushImage, PushProgress};
use crate::error::RegistryError;
use crate::limits;
use crate::pull::check_layer;
use crate::push::{Named, push_parts, stated_digest};
use stave_http::Request;

type Progress<'a> = &'a (dyn Fn(&Descriptor, PushProgress) + Sync);

/// Pieces of a blob that wait to be sent, at most; each has at most 256 KiB.
const PIECES_MAX: usize = 8;

impl Client {
    /// Copies the manifest or index `digest` from the repository of `from` to that of `to`, with all that it names: the
    /// images of an index, blobs, but for layers that are to be fetched from elsewhere. It gets no tag.
    ///
    /// Errors: something is not there, or not what its digest says; the target refuses.
    pub fn copy(
        self: &Arc<Self>,
        from: &Reference,
        digest: BlobDigest,
        to: &Reference,
        progress: &(dyn Fn(&Descriptor, PushProgress) + Sync),
    ) -> Result<(), RegistryError> {
        if from.name() == to.name() {
            return Ok(());
        }
        let target = self.open_to_push(to)?;
        self.copy_to(&target, from, digest, 0, progress)
    }

    fn copy_to(
        self: &Arc<Self>,
        target: &Repository<'_>,
        from: &Reference,
        digest: BlobDigest,
        depth: u32,
        progress: Progress<'_>,
    ) -> Result<(), RegistryError> {
        if has_manifest(target, digest)? {
            return Ok(());
        }
        let name = Reference { tag: None, digest: Some(digest), ..from.clone() };
        let found = self.manifest(&name)?;
        let image = match &found.document {
            Document::Index(_) if depth >= limits::INDEX_DEPTH_MAX => {
                return Err(RegistryError::IndexDepth { reference: name.to_string() });
            }
            Document::Index(index) => {
                for entry in &index.manifests {
                    self.copy_to(target, from, entry.digest, depth + 1, progress)?;
                }
                None
            }
            Document::Manifest(manifest) => {
                let parts = std::iter::once(&manifest.config).chain(&manifest.layers);
                // What is to be fetched from elsewhere is in no registry.
                let blobs: Vec<&Descriptor> = parts.filter(|blob| check_layer(blob).is_ok()).collect();
                self.remember(from, blobs.iter().map(|blob| blob.digest));
                Some(PushImage {
                    manifest_bytes: found.bytes.clone(),
                    media_type: found.media_type.clone(),
                    blobs: blobs.into_iter().map(|blob| (blob.clone(), self.coming(&found, blob))).collect(),
                })
            }
        };
        push_parts(target, image.as_slice(), &[Named::by_digest(&found.bytes, &found.media_type)], progress)?;
        Ok(())
    }

    /// Finds the manifest or index `digest` in the repository of `from`, and all that it names, for a place that is no
    /// registry: the images of an index first, each once, an index without blobs. Blobs come when they are opened, and whoever
    /// reads them checks their digests, too. Layers that are to be fetched from elsewhere are left out.
    ///
    /// Errors: something is not there, or not what its digest says.
    pub fn opened(self: &Arc<Self>, from: &Reference, digest: BlobDigest) -> Result<Vec<PushImage>, RegistryError> {
        let (mut all, mut seen) = (Vec::new(), BTreeSet::new());
        self.open_all(from, (digest, 0), &mut seen, &mut all)?;
        Ok(all)
    }

    fn open_all(
        self: &Arc<Self>,
        from: &Reference,
        (digest, depth): (BlobDigest, u32),
        seen: &mut BTreeSet<BlobDigest>,
        all: &mut Vec<PushImage>,
    ) -> Result<(), RegistryError> {
        if !seen.insert(digest) {
            return Ok(());
        }
        let name = Reference { tag: None, digest: Some(digest), ..from.clone() };
        let found = self.manifest(&name)?;
        let blobs = match &found.document {
            Document::Index(_) if depth >= limits::INDEX_DEPTH_MAX => {
                return Err(RegistryError::IndexDepth { reference: name.to_string() });
            }
            Document::Index(index) => {
                for entry in &index.manifests {
                    self.open_all(from, (entry.digest, depth + 1), seen, all)?;
                }
                Vec::new()
            }
            Document::Manifest(manifest) => {
                let parts = std::iter::once(&manifest.config).chain(&manifest.layers);
                let parts = parts.filter(|blob| check_layer(blob).is_ok());
                parts.map(|blob| (blob.clone(), self.coming(&found, blob))).collect()
            }
        };
        all.push(PushImage { manifest_bytes: found.bytes, media_type: found.media_type, blobs });
        Ok(())
    }

    /// Sends a manifest or an index, all parts of which the repository has, under the name `reference`.
    pub fn put_manifest(
        &self,
        reference: &Reference,
        bytes: &[u8],
        media_type: &str,
    ) -> Result<BlobDigest, RegistryError> {
        let named = Named::as_said(reference, bytes, media_type)?;
        push_parts(&self.open_to_push(reference)?, &[], &[named], &|_, _| ())
    }

    /// Opens a blob of what was found: its bytes come while they are read.
    fn coming(self: &Arc<Self>, found: &FoundManifest, blob: &Descriptor) -> OpenBlob {
        let (client, source, blob) = (self.clone(), found.source.clone(), blob.clone());
        Box::new(move || {
            let (sender, pieces) = sync_channel(PIECES_MAX);
            let (client, source, blob) = (client.clone(), source.clone(), blob.clone());
            std::thread::Builder::new().name("copy".to_owned()).spawn(move || {
                let mut sink = Pieces { sender: sender.clone(), sent: 0, skip: 0 };
                let Err(error) = client.fetch_part(&source, &blob, &mut sink, &|_| ()) else { return };
                // If nobody waits for the rest, nobody misses it.
                drop(sender.send(Err(io::Error::other(error))));
            })?;
            Ok(Box::new(Coming { pieces, current: Vec::new(), at: 0 }) as Box<dyn Read + Send>)
        })
    }
}

/// Whether the repository has a manifest.
fn has_manifest(repository: &Repository<'_>, digest: BlobDigest) -> Result<bool, RegistryError> {
    let mut patience = repository.patience();
    loop {
        let mut head = Request::new(Method::HEAD, repository.url(&format!("manifests/{digest}")));
        head.headers.push(("accept", "*/*".to_owned()));
        let failure = match repository.send(head) {
            Ok(reply) if reply.status == 200 => return Ok(stated_digest(&reply).is_none_or(|stated| stated == digest)),
            Ok(reply) if reply.status == 404 => return Ok(false),
            Ok(reply) => repository.client.http.status_failure(reply).into(),
            Err(failure) => failure,
        };
        failure.wait(&mut patience)?;
    }
}

/// Where a blob comes in.
struct Pieces {
    sender: SyncSender<io::Result<Vec<u8>>>,
    /// Bytes that were handed on.
    sent: usize,
    /// Bytes that are handed on already of what comes again. Whoever gets the blob checks its digest, too.
    skip: usize,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        if skipped < bytes.len() {
            self.sent += bytes.len() - skipped;
            let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
            self.sender.send(Ok(bytes[skipped..].to_vec())).map_err(gone)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl BlobSink for Pieces {
    fn restart(&mut self) -> io::Result<()> {
        self.skip = self.sent;
        Ok(())
    }
}

/// Where a blob goes on.
struct Coming {
    pieces: Receiver<io::Result<Vec<u8>>>,
    current: Vec<u8>,
    at: usize,
}

impl Read for Coming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.current.len() {
            match self.pieces.recv() {
                Ok(piece) => (self.current, self.at) = (piece?, 0),
                Err(_) => return Ok(0),
            }
        }
        let count = (&self.current[self.at..]).read(buffer)?;
        self.at += count;
        Ok(count)
    }
}
