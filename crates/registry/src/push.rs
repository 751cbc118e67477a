//! From an image to a registry: blobs that it lacks, several at once, and then the manifest.
//!
//! Reference: OCI distribution-spec 1.1, "Push": POST, then one PUT.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use stave_oci::{BlobDigest, Descriptor, Reference};
use ureq::http::Method;

use crate::auth::Repository;
use crate::client::{Client, OpenBlob, PushImage, PushIndex, PushProgress};
use crate::error::{HttpError, RedirectError, RegistryError};
use crate::failure::Failure;
use crate::limits;
use crate::slots::Way;
use stave_http::url::{Scheme, Url};
use stave_http::{Payload, Reply, Request, Retry};

type Progress<'a> = &'a (dyn Fn(&Descriptor, PushProgress) + Sync);

/// A manifest or an index on its way, and the name that it gets.
pub(crate) struct Named<'a> {
    target: String,
    bytes: &'a [u8],
    media_type: &'a str,
    digest: BlobDigest,
}

impl<'a> Named<'a> {
    pub(crate) fn by_digest(bytes: &'a [u8], media_type: &'a str) -> Self {
        let digest = BlobDigest::of(bytes);
        Self { target: digest.to_string(), bytes, media_type, digest }
    }

    /// The one that gets the tag of `reference`; its digest, if that has no tag.
    ///
    /// Errors: `reference` has another digest.
    pub(crate) fn as_said(reference: &Reference, bytes: &'a [u8], media_type: &'a str) -> Result<Self, RegistryError> {
        let named = Self::by_digest(bytes, media_type);
        if reference.digest.is_some_and(|expected| expected != named.digest) {
            return Err(RegistryError::PushDigest { reference: reference.to_string(), actual: named.digest });
        }
        let target = reference.effective_tag().map_or(named.target, str::to_owned);
        Ok(Self { target, ..named })
    }
}

impl Client {
    /// Sends an image to where `reference` names: blobs first, several at once, then the manifest. A reference with a
    /// digest and without a tag is pushed by its digest alone. Returns the manifest's digest.
    ///
    /// What the registry has already is not sent again, and what another of its repositories has ([`Client::remember`])
    /// is taken from there.
    pub fn push(
        &self,
        reference: &Reference,
        image: &PushImage,
        progress: &(dyn Fn(&Descriptor, PushProgress) + Sync),
    ) -> Result<BlobDigest, RegistryError> {
        let named = Named::as_said(reference, &image.manifest_bytes, &image.media_type)?;
        let repository = self.open_to_push(reference)?;
        push_parts(&repository, std::slice::from_ref(image), &[named], progress)
    }

    /// Sends an index: the blobs of all its images, then the images' manifests by their digests, then the index itself.
    /// Returns the index's digest.
    ///
    /// Images of the index that `index` does not have must be in the repository already; the registry refuses the index
    /// otherwise.
    pub fn push_index(
        &self,
        reference: &Reference,
        index: &PushIndex,
        progress: &(dyn Fn(&Descriptor, PushProgress) + Sync),
    ) -> Result<BlobDigest, RegistryError> {
        let named = Named::as_said(reference, &index.index_bytes, &index.media_type)?;
        let repository = self.open_to_push(reference)?;
        let mut seen = BTreeSet::from([named.digest]);
        let images = index.images.iter().map(|image| Named::by_digest(&image.manifest_bytes, &image.media_type));
        let mut all: Vec<Named<'_>> = images.filter(|image| seen.insert(image.digest)).collect();
        all.push(named);
        push_parts(&repository, &index.images, &all, progress)
    }

    /// Opens the repository that `reference` is pushed to.
    pub(crate) fn open_to_push(&self, reference: &Reference) -> Result<Repository<'_>, RegistryError> {
        self.open(&self.config.registries.place_to_push(reference)?, true)
    }
}

/// Sends the blobs of `images` and then, in their order, the manifests. Returns the digest of the last.
pub(crate) fn push_parts(
    repository: &Repository<'_>,
    images: &[PushImage],
    manifests: &[Named<'_>],
    progress: Progress<'_>,
) -> Result<BlobDigest, RegistryError> {
    for manifest in manifests {
        if manifest.bytes.len() as u64 > limits::MANIFEST_BYTES_MAX {
            let url = Box::new(repository.url(&format!("manifests/{}", manifest.target)));
            return Err(HttpError::TooLarge { what: "manifest", url, limit: limits::MANIFEST_BYTES_MAX }.into());
        }
    }
    upload_blobs(repository, images.iter().flat_map(|image| &image.blobs), progress)?;
    for manifest in manifests {
        push_manifest(repository, manifest)?;
    }
    Ok(manifests.last().expect("there is something to push").digest)
}

/// Sends what the repository lacks of these blobs, several at once.
pub(crate) fn upload_blobs<'i>(
    repository: &Repository<'_>,
    blobs: impl Iterator<Item = &'i (Descriptor, OpenBlob)>,
    progress: Progress<'_>,
) -> Result<(), RegistryError> {
    let client = repository.client;
    let mut seen = BTreeSet::new();
    let blobs: Vec<_> = blobs.filter(|(blob, _)| seen.insert(blob.digest)).collect();
    let mounts = Mounts::plan(repository, blobs.iter().map(|(blob, _)| blob.digest));
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let failed = Mutex::new(None);
    let work = || {
        while !stop.load(Ordering::SeqCst) {
            let Some((blob, open)) = blobs.get(next.fetch_add(1, Ordering::SeqCst)) else { return };
            let upload = Upload { repository, mounts: &mounts, blob, open, progress, stop: &stop };
            let Err(error) = upload.run() else { continue };
            // The first failure stops the others, whose own failures would only be its consequence.
            if !stop.swap(true, Ordering::SeqCst) {
                *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..client.limits.uploads_parallel_max.min(blobs.len()) {
            scope.spawn(work);
        }
        work();
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

/// Where else in the registry the blobs of a push are.
struct Mounts<'c> {
    /// The repository, for requests that may read from the others, too.
    repository: Repository<'c>,
    from: BTreeMap<BlobDigest, String>,
    /// Set once the registry refused: the rest is sent without asking.
    refused: AtomicBool,
}

impl<'c> Mounts<'c> {
    fn plan(repository: &Repository<'c>, blobs: impl Iterator<Item = BlobDigest>) -> Self {
        let (mut sources, mut from) = (BTreeSet::new(), BTreeMap::new());
        for digest in blobs {
            let Some(source) = repository.client.seen.elsewhere(&repository.place, digest, &sources) else { continue };
            if sources.len() < limits::MOUNT_SOURCES_MAX || sources.contains(&source) {
                sources.insert(source.clone());
                from.insert(digest, source);
            }
        }
        Self { repository: repository.reading_from(sources), from, refused: AtomicBool::new(false) }
    }
}

struct Upload<'a> {
    repository: &'a Repository<'a>,
    mounts: &'a Mounts<'a>,
    blob: &'a Descriptor,
    open: &'a OpenBlob,
    progress: Progress<'a>,
    stop: &'a AtomicBool,
}

impl Upload<'_> {
    fn run(&self) -> Result<(), RegistryError> {
        let Repository { client, place, .. } = self.repository;
        if client.seen.is_confirmed(place, self.blob.digest) {
            (self.progress)(self.blob, PushProgress::Exists);
            return Ok(());
        }
        let mut patience = self.repository.patience();
        let mut first = true;
        let progress = loop {
            match self.attempt(first) {
                Ok(progress) => break progress,
                Err(failure) => failure.wait(&mut patience)?,
            }
            first = false;
        };
        client.seen.confirm(place, self.blob.digest);
        (self.progress)(self.blob, progress);
        Ok(())
    }

    /// Asks whether the registry has the blob, and sends the whole of it if not. An earlier attempt whose
    /// confirmation was lost is found out here.
    fn attempt(&self, first: bool) -> Result<PushProgress, Failure> {
        let head = Request::new(Method::HEAD, self.repository.url(&format!("blobs/{}", self.blob.digest)));
        let reply = self.repository.send(head)?;
        match reply.status {
            200 => return Ok(if first { PushProgress::Exists } else { PushProgress::Done }),
            404 => {}
            _ => return Err(self.failure(reply)),
        }
        let url = match self.mount()? {
            Mounted::Done => return Ok(PushProgress::Mounted),
            Mounted::Upload(url) => url,
            Mounted::No => self.begin()?,
        };
        self.put(url.with_query("digest", &self.blob.digest.to_string()))?;
        Ok(PushProgress::Done)
    }

    /// Asks for an upload; returns where to.
    fn begin(&self) -> Result<Url, Failure> {
        let mut post = Request::new(Method::POST, self.repository.url("blobs/uploads/"));
        post.payload = Payload::Bytes(&[]);
        let reply = self.repository.send(post)?;
        if reply.status != 202 {
            return Err(self.failure(reply));
        }
        Ok(location(self.repository, &reply)?)
    }

    /// Has the registry take the blob from another of its repositories, if one is known to have it. A refusal of
    /// whatever kind is no failure: the blob can still be sent.
    fn mount(&self) -> Result<Mounted, Failure> {
        let Mounts { repository, from, refused } = self.mounts;
        let Some(source) = from.get(&self.blob.digest) else { return Ok(Mounted::No) };
        if refused.load(Ordering::SeqCst) {
            return Ok(Mounted::No);
        }
        let url = repository.url("blobs/uploads/");
        let mut post = Request::new(
            Method::POST,
            url.with_query("mount", &self.blob.digest.to_string()).with_query("from", source),
        );
        post.payload = Payload::Bytes(&[]);
        match repository.send(post) {
            Ok(reply) => match reply.status {
                201 => Ok(Mounted::Done),
                202 => Ok(Mounted::Upload(location(repository, &reply)?)),
                _ => {
                    refused.store(true, Ordering::SeqCst);
                    Ok(Mounted::No)
                }
            },
            Err(Failure { error: RegistryError::Denied { .. }, .. }) => {
                refused.store(true, Ordering::SeqCst);
                Ok(Mounted::No)
            }
            Err(failure) => Err(failure),
        }
    }

    fn put(&self, url: Url) -> Result<(), Failure> {
        let _slot = self.repository.slot(Way::To)?;
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
            201 | 204 => Ok(()),
            // The upload itself was lost on the other side; a new one may fare better.
            404 | 416 => Err(Failure { retry: Retry::Later, ..self.failure(reply) }),
            _ => Err(self.failure(reply)),
        }
    }

    fn failure(&self, reply: Reply) -> Failure {
        self.repository.client.http.status_failure(reply).into()
    }
}

/// What came of asking for a mount.
enum Mounted {
    /// The repository has the blob now.
    Done,
    /// The registry wants it sent here after all.
    Upload(Url),
    /// There was no use in asking.
    No,
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

/// Sends a manifest, unless the registry has it under this name already.
fn push_manifest(repository: &Repository<'_>, manifest: &Named<'_>) -> Result<(), RegistryError> {
    let mut patience = repository.patience();
    loop {
        match try_push_manifest(repository, manifest) {
            Ok(()) => return Ok(()),
            Err(failure) => failure.wait(&mut patience)?,
        }
    }
}

fn try_push_manifest(repository: &Repository<'_>, manifest: &Named<'_>) -> Result<(), Failure> {
    let (client, url) = (repository.client, repository.url(&format!("manifests/{}", manifest.target)));
    let mut head = Request::new(Method::HEAD, url.clone());
    head.headers.push(("accept", manifest.media_type.to_owned()));
    let reply = repository.send(head)?;
    match reply.status {
        200 if stated_digest(&reply) == Some(manifest.digest) => return Ok(()),
        200 | 404 => {}
        _ => return Err(client.http.status_failure(reply).into()),
    }
    put_manifest(repository, url, (manifest.bytes, manifest.media_type), manifest.digest, &[]).map(drop)
}

/// The digest that a registry says the manifest has.
pub(crate) fn stated_digest(reply: &Reply) -> Option<BlobDigest> {
    reply.header("docker-content-digest")?.parse().ok()
}

/// Sends a manifest to `url`, with further headers.
pub(crate) fn put_manifest(
    repository: &Repository<'_>,
    url: Url,
    (bytes, media_type): (&[u8], &str),
    digest: BlobDigest,
    headers: &[(&'static str, String)],
) -> Result<Reply, Failure> {
    let mut put = Request::new(Method::PUT, url);
    put.headers.push(("content-type", media_type.to_owned()));
    put.headers.extend_from_slice(headers);
    put.payload = Payload::Bytes(bytes);
    let reply = repository.send(put)?;
    if !matches!(reply.status, 201 | 204) {
        return Err(repository.client.http.status_failure(reply).into());
    }
    match stated_digest(&reply) {
        Some(actual) if actual != digest => {
            let (url, expected) = (Box::new(reply.url), digest);
            Err(RegistryError::Digest { what: "manifest", url, expected, actual }.into())
        }
        _ => Ok(reply),
    }
}
