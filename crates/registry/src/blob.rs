//! Blobs: streamed, counted, hashed, and resumed where they broke off.

use std::io::{self, Read as _};

use stave_oci::digest::Hasher;
use stave_oci::{BlobDigest, Descriptor};
use ureq::http::Method;

use crate::auth::Repository;
use crate::client::{BlobSink, Client, Resolved, Source};
use crate::error::{HttpError, RegistryError, SizeSeen};
use crate::failure::Failure;
use crate::pull;
use crate::range;
use crate::slots::Way;
use stave_http::url::Url;
use stave_http::{Reply, Request, Retry};

/// How much is read at once, in bytes.
const CHUNK: usize = 256 * 1024;

impl BlobSink for Vec<u8> {
    fn restart(&mut self) -> io::Result<()> {
        self.clear();
        Ok(())
    }
}

impl Client {
    /// Fetches one blob of an image into `sink`. When it returns without error, exactly the blob is in the sink;
    /// otherwise the sink was told to restart or failed itself. `progress` gets the bytes that the sink has.
    pub fn fetch_blob(
        &self,
        image: &Resolved,
        blob: &Descriptor,
        sink: &mut dyn BlobSink,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<(), RegistryError> {
        pull::check_layer(blob)?;
        self.fetch_part(&image.source, blob, sink, progress)
    }

    /// Fetches a blob of whatever was found at `source`, as [`Client::fetch_blob`] does for an image's.
    pub fn fetch_part(
        &self,
        source: &Source,
        blob: &Descriptor,
        sink: &mut dyn BlobSink,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<(), RegistryError> {
        let mut places = source.places.iter().peekable();
        while let Some(place) = places.next() {
            let fetched = self.open(place, false).and_then(|repository| fetch_from(&repository, blob, sink, progress));
            match fetched {
                Ok(()) => return Ok(()),
                // A mirror that has the manifest may lack a layer.
                Err(error) if error.is_final() || places.peek().is_none() => return Err(error),
                Err(_) => {}
            }
        }
        unreachable!("an image was found somewhere")
    }
}

/// Fetches a blob from one place.
pub(crate) fn fetch_from(
    repository: &Repository<'_>,
    blob: &Descriptor,
    sink: &mut dyn BlobSink,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<(), RegistryError> {
    let mut transfer = Transfer::new(repository, blob, sink, progress);
    let fetched = transfer.run();
    if fetched.is_err() && transfer.written {
        transfer.restart()?;
    }
    fetched
}

impl RegistryError {
    /// Whether no other place can do better.
    fn is_final(&self) -> bool {
        matches!(self, Self::Http(HttpError::Cancelled) | Self::Sink { .. } | Self::ForeignLayer { .. })
    }
}

struct Transfer<'a, 'c> {
    repository: &'a Repository<'c>,
    blob: &'a Descriptor,
    sink: &'a mut dyn BlobSink,
    progress: &'a (dyn Fn(u64) + Sync),
    /// Bytes in the sink, from the blob's start.
    offset: u64,
    hasher: Hasher,
    /// Whether the sink has or had any bytes since it was last empty.
    written: bool,
    /// Whether the bytes in the sink came in several pieces.
    pieced: bool,
    /// Whether to give up resuming, since the server's parts cannot be trusted.
    whole: bool,
}

impl<'a, 'c> Transfer<'a, 'c> {
    fn new(
        repository: &'a Repository<'c>,
        blob: &'a Descriptor,
        sink: &'a mut dyn BlobSink,
        progress: &'a (dyn Fn(u64) + Sync),
    ) -> Self {
        let hasher = Hasher::new();
        Self { repository, blob, sink, progress, offset: 0, hasher, written: false, pieced: false, whole: false }
    }

    fn run(&mut self) -> Result<(), RegistryError> {
        let mut patience = self.repository.patience();
        let mut resumptions = 0;
        loop {
            let before = self.offset;
            let Err(mut failure) = self.attempt() else { return Ok(()) };
            if self.offset > before {
                patience.reset();
            }
            resumptions += 1;
            if resumptions > self.repository.client.limits.resumptions_max {
                failure.retry = Retry::Never;
            }
            failure.wait(&mut patience)?;
        }
    }

    /// One request, for the rest of the blob or all of it.
    fn attempt(&mut self) -> Result<(), Failure> {
        if self.offset > 0 && self.whole {
            self.restart()?;
        }
        let _slot = self.repository.slot(Way::From)?;
        let mut request = Request::new(Method::GET, self.repository.url(&format!("blobs/{}", self.blob.digest)));
        if self.offset > 0 {
            request.headers.push(("range", format!("bytes={}-", self.offset)));
        }
        let mut reply = self.repository.send(request)?;
        match reply.status {
            200 if self.offset > 0 => self.restart()?,
            200 => {}
            206 if self.offset > 0 => self.check_range(&reply)?,
            416 if self.offset > 0 => return Err(self.untrusted(&reply.url, "it says that there is no such part")),
            _ => return Err(self.repository.client.http.status_failure(reply).into()),
        }
        self.check_length(&reply)?;
        self.pieced |= self.offset > 0;
        self.copy(&mut reply)?;
        self.check_digest(&reply.url)
    }

    /// Accepts a part only if it is exactly the missing one.
    fn check_range(&mut self, reply: &Reply) -> Result<(), Failure> {
        let value = reply.header("content-range").unwrap_or_default();
        let fits = range::parse(value).is_some_and(|range| {
            range.first == self.offset
                && range.last < self.blob.size
                && range.total.is_none_or(|total| total == self.blob.size)
        });
        if fits {
            return Ok(());
        }
        let value: String = value.chars().take(100).collect();
        let reason = format!("asked for {}-{}, got `{value}`", self.offset, self.blob.size.saturating_sub(1));
        Err(self.untrusted(&reply.url, &reason))
    }

    /// From now on the blob is only fetched whole.
    fn untrusted(&mut self, url: &Url, reason: &str) -> Failure {
        self.whole = true;
        let (url, digest, reason) = (Box::new(url.clone()), self.blob.digest, reason.to_owned());
        Failure { error: RegistryError::Range { url, digest, reason }, retry: Retry::Later }
    }

    /// Refuses a body of the wrong size before any of it is read.
    fn check_length(&self, reply: &Reply) -> Result<(), Failure> {
        let length: Option<u64> = reply.header("content-length").and_then(|value| value.parse().ok());
        let Some(length) = length else { return Ok(()) };
        let rest = self.blob.size - self.offset;
        // A part may be less than was asked for; the whole may not.
        if length > rest || (reply.status == 200 && length < rest) {
            return Err(self.wrong_size(&reply.url, SizeSeen::Exactly(self.offset + length)).into());
        }
        Ok(())
    }

    fn wrong_size(&self, url: &Url, actual: SizeSeen) -> RegistryError {
        let (digest, expected) = (self.blob.digest, self.blob.size);
        RegistryError::Size { what: "blob", digest, url: Box::new(url.clone()), expected, actual }
    }

    fn copy(&mut self, reply: &mut Reply) -> Result<(), Failure> {
        let client = self.repository.client;
        let mut buffer = vec![0; CHUNK];
        loop {
            if client.cancel.is_cancelled() {
                return Err(HttpError::Cancelled.into());
            }
            let count = match reply.body.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(client.http.read_failure(&reply.url, error).into()),
            };
            if self.offset + count as u64 > self.blob.size {
                return Err(self.wrong_size(&reply.url, SizeSeen::MoreThan(self.blob.size)).into());
            }
            self.written = true;
            let written = self.sink.write_all(&buffer[..count]);
            written.map_err(|source| RegistryError::Sink { digest: self.blob.digest, source })?;
            self.hasher.update(&buffer[..count]);
            self.offset += count as u64;
            (self.progress)(self.offset);
        }
        if self.offset < self.blob.size {
            // The body ended without an error, so nothing but the size says that something is missing.
            let error = self.wrong_size(&reply.url, SizeSeen::Exactly(self.offset));
            return Err(Failure { error, retry: Retry::Later });
        }
        Ok(())
    }

    fn check_digest(&mut self, url: &Url) -> Result<(), Failure> {
        let actual: BlobDigest = self.hasher.clone().finish();
        let expected = self.blob.digest;
        if actual == expected {
            return self.sink.flush().map_err(|source| RegistryError::Sink { digest: expected, source }.into());
        }
        // Pieces of different bytes may have been joined: the whole gets one chance.
        let retry = if self.pieced && !self.whole { Retry::Later } else { Retry::Never };
        self.whole = true;
        Err(Failure {
            error: RegistryError::Digest { what: "blob", url: Box::new(url.clone()), expected, actual },
            retry,
        })
    }

    /// Empties the sink.
    fn restart(&mut self) -> Result<(), RegistryError> {
        self.sink.restart().map_err(|source| RegistryError::Sink { digest: self.blob.digest, source })?;
        (self.offset, self.hasher, self.written, self.pieced) = (0, Hasher::new(), false, false);
        (self.progress)(0);
        Ok(())
    }
}
