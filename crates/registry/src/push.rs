//! From an image to a registry: blobs that it lacks, several at once, and then the manifest.
//!
//! Reference: OCI distribution-spec 1.1, "Push": POST, then one PUT.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use stave_oci::{BlobDigest, Descriptor, Reference};
use ureq::http::Method;

use crate::auth::Repository;
use crate::client::{Client, OpenBlob, PushImage, PushProgress};
use crate::error::{HttpError, RedirectError, RegistryError};
use crate::failure::Failure;
use crate::limits;
use stave_http::url::{Scheme, Url};
use stave_http::{Payload, Reply, Request, Retry};

type Progress<'a> = &'a (dyn Fn(&Descriptor, PushProgress) + Sync);

impl Client {
    /// Sends an image to where `reference` names: blobs first, several at once, then the manifest.
    /// Returns the manifest's digest. What the registry has already is not sent again.
    pub fn push(
        &self,
        reference: &Reference,
        image: &PushImage,
        progress: &(dyn Fn(&Descriptor, PushProgress) + Sync),
    ) -> Result<BlobDigest, RegistryError> {
        let digest = BlobDigest::of(&image.manifest_bytes);
        if reference.digest.is_some_and(|expected| expected != digest) {
            return Err(RegistryError::PushDigest { reference: reference.to_string(), actual: digest });
        }
        let repository = self.open(&self.config.registries.place_to_push(reference)?, true)?;
        let target = reference.effective_tag().map_or_else(|| digest.to_string(), str::to_owned);
        let url = repository.url(&format!("manifests/{target}"));
        if image.manifest_bytes.len() as u64 > limits::MANIFEST_BYTES_MAX {
            let limit = limits::MANIFEST_BYTES_MAX;
            return Err(HttpError::TooLarge { what: "manifest", url: Box::new(url), limit }.into());
        }
        self.push_blobs(&repository, image, progress)?;
        let mut patience = self.patience();
        loop {
            match push_manifest(&repository, &url, image, digest) {
                Ok(()) => return Ok(digest),
                Err(failure) => failure.wait(&mut patience)?,
            }
        }
    }

    fn push_blobs(
        &self,
        repository: &Repository<'_>,
        image: &PushImage,
        progress: Progress<'_>,
    ) -> Result<(), RegistryError> {
        let mut seen = BTreeSet::new();
        let blobs: Vec<_> = image.blobs.iter().filter(|(blob, _)| seen.insert(blob.digest)).collect();
        let next = AtomicUsize::new(0);
        let stop = AtomicBool::new(false);
        let failed = Mutex::new(None);
        let work = || {
            while !stop.load(Ordering::SeqCst) {
                let Some((blob, open)) = blobs.get(next.fetch_add(1, Ordering::SeqCst)) else { return };
                let upload = Upload { repository, blob, open, progress, stop: &stop };
                let Err(error) = upload.run() else { continue };
                // The first failure stops the others, whose own failures would only be its consequence.
                if !stop.swap(true, Ordering::SeqCst) {
                    *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..self.limits.uploads_parallel_max.min(blobs.len()) {
                scope.spawn(work);
            }
            work();
        });
        failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }
}

struct Upload<'a> {
    repository: &'a Repository<'a>,
    blob: &'a Descriptor,
    open: &'a OpenBlob,
    progress: Progress<'a>,
    stop: &'a AtomicBool,
}

impl Upload<'_> {
    fn run(&self) -> Result<(), RegistryError> {
        let mut patience = self.repository.patience();
        let mut first = true;
        loop {
            match self.attempt(first) {
                Ok(()) => return Ok(()),
                Err(failure) => failure.wait(&mut patience)?,
            }
            first = false;
        }
    }

    /// Asks whether the registry has the blob, and sends the whole of it if not. An earlier attempt whose
    /// confirmation was lost is found out here.
    fn attempt(&self, first: bool) -> Result<(), Failure> {
        let head = Request::new(Method::HEAD, self.repository.url(&format!("blobs/{}", self.blob.digest)));
        let reply = self.repository.send(head)?;
        match reply.status {
            200 => {
                (self.progress)(self.blob, if first { PushProgress::Exists } else { PushProgress::Done });
                return Ok(());
            }
            404 => {}
            _ => return Err(self.failure(reply)),
        }
        let mut post = Request::new(Method::POST, self.repository.url("blobs/uploads/"));
        post.payload = Payload::Bytes(&[]);
        let reply = self.repository.send(post)?;
        if reply.status != 202 {
            return Err(self.failure(reply));
        }
        let url = location(self.repository, &reply)?;
        self.put(url.with_query("digest", &self.blob.digest.to_string()))
    }

    fn put(&self, url: Url) -> Result<(), Failure> {
        let unreadable = |source| RegistryError::Source { digest: self.blob.digest, source };
        let inner = (self.open)().map_err(unreadable)?;
        let mut source = Source { upload: self, inner, sent: 0, error: None };
        let mut put = Request::new(Method::PUT, url);
        put.headers.push(("content-type", "application/octet-stream".to_owned()));
        put.payload = Payload::Stream { reader: &mut source, size: self.blob.size };
        let sent = self.repository.send(put);
        if let Some(error) = source.error {
            let cancelled = self.stop.load(Ordering::SeqCst) || self.repository.client.cancel.is_cancelled();
            return Err(if cancelled { HttpError::Cancelled.into() } else { unreadable(error) }.into());
        }
        let reply = sent?;
        match reply.status {
            201 | 204 => {
                (self.progress)(self.blob, PushProgress::Done);
                Ok(())
            }
            // The upload itself was lost on the other side; a new one may fare better.
            404 | 416 => Err(Failure { retry: Retry::Later, ..self.failure(reply) }),
            _ => Err(self.failure(reply)),
        }
    }

    fn failure(&self, reply: Reply) -> Failure {
        self.repository.client.http.status_failure(reply).into()
    }
}

/// Returns where to send the blob. It may be another host, which then sees no credentials; it may not be one
/// without encryption if the registry has it.
fn location(repository: &Repository<'_>, reply: &Reply) -> Result<Url, RegistryError> {
    let refused = |source| HttpError::Redirect { url: Box::new(reply.url.clone()), source };
    let header = reply.header("location");
    let header =
        header.ok_or_else(|| RegistryError::MissingHeader { url: Box::new(reply.url.clone()), header: "Location" })?;
    let url = reply.url.join(header).map_err(|error| refused(error.into()))?;
    if repository.origin.scheme == Scheme::Https && url.origin().scheme == Scheme::Http {
        return Err(refused(RedirectError::Downgrade(Box::new(url))).into());
    }
    Ok(url)
}

/// The bytes of a blob on their way, counted; exactly as many as the descriptor says, or an error.
struct Source<'a> {
    upload: &'a Upload<'a>,
    inner: Box<dyn Read + Send>,
    sent: u64,
    /// Why reading failed, since the HTTP library's own error would not say whose fault it was.
    error: Option<io::Error>,
}

impl Source<'_> {
    fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Upload { repository, blob, stop, .. } = self.upload;
        if stop.load(Ordering::SeqCst) || repository.client.cancel.is_cancelled() {
            return Err(io::Error::other("the transfer was cancelled"));
        }
        let rest = usize::try_from(blob.size - self.sent).unwrap_or(usize::MAX);
        let length = buffer.len().min(rest);
        let count = loop {
            match self.inner.read(&mut buffer[..length]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        if count == 0 && rest > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it is shorter than its descriptor says"));
        }
        Ok(count)
    }
}

impl Read for Source<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.try_read(buffer) {
            Ok(count) => {
                self.sent += count as u64;
                if count > 0 {
                    (self.upload.progress)(self.upload.blob, PushProgress::Sent(self.sent));
                }
                Ok(count)
            }
            Err(error) => {
                let kind = error.kind();
                self.error = Some(error);
                Err(kind.into())
            }
        }
    }
}

/// Sends the manifest, unless the registry has it under this name already.
fn push_manifest(repository: &Repository<'_>, url: &Url, image: &PushImage, digest: BlobDigest) -> Result<(), Failure> {
    let client = repository.client;
    let mut head = Request::new(Method::HEAD, url.clone());
    head.headers.push(("accept", image.media_type.clone()));
    let reply = repository.send(head)?;
    let stated = |reply: &Reply| reply.header("docker-content-digest").and_then(|text| text.parse::<BlobDigest>().ok());
    match reply.status {
        200 if stated(&reply) == Some(digest) => return Ok(()),
        200 | 404 => {}
        _ => return Err(client.http.status_failure(reply).into()),
    }
    let mut put = Request::new(Method::PUT, url.clone());
    put.headers.push(("content-type", image.media_type.clone()));
    put.payload = Payload::Bytes(&image.manifest_bytes);
    let reply = repository.send(put)?;
    if !matches!(reply.status, 201 | 204) {
        return Err(client.http.status_failure(reply).into());
    }
    match stated(&reply) {
        Some(actual) if actual != digest => {
            let (url, expected) = (Box::new(reply.url), digest);
            Err(RegistryError::Digest { what: "manifest", url, expected, actual }.into())
        }
        _ => Ok(()),
    }
}
