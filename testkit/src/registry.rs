//! A registry in the test's own process: enough of the OCI distribution protocol for pulls and pushes.
//!
//! It stores in memory, checks digests of what is pushed, and can be told to serve damaged blobs.
//! Reference: OCI distribution-spec 1.1, "Endpoints".

use crate::http::{Request, Response, Server};
use crate::image::Image;
use stave_oci::{BlobDigest, media_type};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

/// A running registry. Ends when it is dropped.
#[derive(Debug)]
pub struct LoopbackRegistry {
    server: Server,
    content: Arc<Mutex<Content>>,
}

#[derive(Debug, Default)]
struct Content {
    blobs: BTreeMap<String, Vec<u8>>,
    /// By repository and by tag or digest: media type and bytes.
    manifests: BTreeMap<(String, String), (String, Vec<u8>)>,
    uploads: BTreeMap<String, Vec<u8>>,
    log: Vec<String>,
    next_upload: u64,
}

impl Default for LoopbackRegistry {
    fn default() -> Self {
        Self::start()
    }
}

impl LoopbackRegistry {
    /// Starts an empty registry.
    #[must_use]
    pub fn start() -> Self {
        let content = Arc::new(Mutex::new(Content::default()));
        let answering = Arc::clone(&content);
        let server = Server::start(move |request| {
            let mut content = answering.lock().expect("no test thread panics while it answers");
            content.log.push(format!("{} {}", request.method, request.path));
            content.answer(request)
        });
        Self { server, content }
    }

    /// `127.0.0.1:PORT`, as it stands in references.
    #[must_use]
    pub fn host(&self) -> String {
        self.server.address().to_string()
    }

    /// Serves `image` as `repository:tag`.
    #[expect(clippy::must_use_candidate, reason = "called for its effect")]
    pub fn put(&self, repository: &str, tag: &str, image: &Image) -> &Self {
        let mut content = self.content();
        for blob in image.blobs() {
            let bytes = blob.source.read().expect("a fixture's blob is readable");
            content.blobs.insert(blob.descriptor.digest.to_string(), bytes);
        }
        content.put_manifest(repository, tag, media_type::OCI_MANIFEST, &image.manifest_bytes());
        drop(content);
        self
    }

    /// Serves these bytes as the manifest `repository:tag`, whatever they are.
    #[expect(clippy::must_use_candidate, reason = "called for its effect")]
    pub fn put_manifest(&self, repository: &str, tag: &str, media_type: &str, bytes: &[u8]) -> &Self {
        self.content().put_manifest(repository, tag, media_type, bytes);
        self
    }

    /// From now on serves `bytes` where the blob `digest` is asked for.
    #[expect(clippy::must_use_candidate, reason = "called for its effect")]
    pub fn replace_blob(&self, digest: &BlobDigest, bytes: Vec<u8>) -> &Self {
        self.content().blobs.insert(digest.to_string(), bytes);
        self
    }

    /// The manifest that was pushed or put as `repository:tag`.
    #[must_use]
    pub fn manifest(&self, repository: &str, tag: &str) -> Option<Vec<u8>> {
        self.content().manifests.get(&(repository.to_owned(), tag.to_owned())).map(|(_, bytes)| bytes.clone())
    }

    /// A blob that was pushed or put.
    #[must_use]
    pub fn blob(&self, digest: &str) -> Option<Vec<u8>> {
        self.content().blobs.get(digest).cloned()
    }

    /// What was asked for since the last call: `METHOD /path` of each request.
    #[must_use]
    pub fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.content().log)
    }

    /// Writes a `registries.conf` that sends everything of `docker.io` here.
    pub fn write_registries_conf(&self, path: &Path) {
        let host = self.host();
        let mut file = std::fs::File::create(path).expect("a writable bench");
        write!(
            file,
            "unqualified-search-registries = [\"docker.io\"]\n\n[[registry]]\nprefix = \"docker.io\"\n\
             location = \"{host}\"\ninsecure = true\n\n[[registry]]\nprefix = \"{host}\"\n\
             location = \"{host}\"\ninsecure = true\n"
        )
        .expect("a writable bench");
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().expect("no test thread panics while it answers")
    }
}

impl Content {
    fn put_manifest(&mut self, repository: &str, tag: &str, media_type: &str, bytes: &[u8]) -> String {
        let digest = BlobDigest::of(bytes).to_string();
        for reference in [tag, &digest] {
            let key = (repository.to_owned(), reference.to_owned());
            self.manifests.insert(key, (media_type.to_owned(), bytes.to_vec()));
        }
        digest
    }

    fn answer(&mut self, request: &Request) -> Response {
        let Some(path) = request.path.strip_prefix("/v2/") else { return Response::status(404) };
        if path.is_empty() {
            return Response::body(200, "application/json", "{}");
        }
        if let Some((repository, reference)) = path.rsplit_once("/manifests/") {
            return self.manifest(request, repository, reference);
        }
        if let Some((repository, upload)) = path.rsplit_once("/blobs/uploads/") {
            return self.upload(request, repository, upload);
        }
        if let Some((_, digest)) = path.rsplit_once("/blobs/") {
            return self.blob(request, digest);
        }
        match path.strip_suffix("/tags/list") {
            Some(repository) => self.tags(repository),
            None => Response::status(404),
        }
    }

    fn manifest(&mut self, request: &Request, repository: &str, reference: &str) -> Response {
        if request.method == "PUT" {
            let kind = request.header("content-type").unwrap_or(media_type::OCI_MANIFEST).to_owned();
            let digest = self.put_manifest(repository, reference, &kind, &request.body);
            let location = format!("/v2/{repository}/manifests/{digest}");
            return Response::status(201).with("Docker-Content-Digest", digest).with("Location", location);
        }
        match self.manifests.get(&(repository.to_owned(), reference.to_owned())) {
            Some((kind, bytes)) => {
                let digest = BlobDigest::of(bytes).to_string();
                Response::body(200, kind, bytes.clone()).with("Docker-Content-Digest", digest)
            }
            None => error(404, "MANIFEST_UNKNOWN"),
        }
    }

    fn blob(&self, request: &Request, digest: &str) -> Response {
        let Some(bytes) = self.blobs.get(digest) else { return error(404, "BLOB_UNKNOWN") };
        let binary = "application/octet-stream";
        let start = request.header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
        match start.and_then(|start| start.parse::<usize>().ok()).filter(|start| *start < bytes.len()) {
            Some(start) => {
                let range = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
                Response::body(206, binary, &bytes[start..]).with("Content-Range", range)
            }
            None => Response::body(200, binary, bytes.clone()).with("Accept-Ranges", "bytes"),
        }
    }

    fn upload(&mut self, request: &Request, repository: &str, upload: &str) -> Response {
        let upload = match request.method.as_str() {
            "POST" => {
                self.next_upload += 1;
                let upload = self.next_upload.to_string();
                self.uploads.insert(upload.clone(), Vec::new());
                upload
            }
            _ => upload.to_owned(),
        };
        let Some(received) = self.uploads.get_mut(&upload) else { return error(404, "BLOB_UPLOAD_UNKNOWN") };
        received.extend_from_slice(&request.body);
        let length = received.len();
        if let Some(digest) = request.query_value("digest") {
            return self.finish_upload(repository, &upload, &digest);
        }
        let location = format!("/v2/{repository}/blobs/uploads/{upload}");
        Response::status(202).with("Location", location).with("Range", format!("0-{}", length.saturating_sub(1)))
    }

    fn finish_upload(&mut self, repository: &str, upload: &str, digest: &str) -> Response {
        let bytes = self.uploads.remove(upload).unwrap_or_default();
        if BlobDigest::of(&bytes).to_string() != digest {
            return error(400, "DIGEST_INVALID");
        }
        self.blobs.insert(digest.to_owned(), bytes);
        let location = format!("/v2/{repository}/blobs/{digest}");
        Response::status(201).with("Location", location).with("Docker-Content-Digest", digest)
    }

    fn tags(&self, repository: &str) -> Response {
        let tags: Vec<&str> = self
            .manifests
            .keys()
            .filter(|(name, tag)| name == repository && !tag.contains(':'))
            .map(|(_, tag)| tag.as_str())
            .collect();
        let body = serde_json::json!({ "name": repository, "tags": tags });
        Response::body(200, "application/json", body.to_string())
    }
}

fn error(status: u16, code: &str) -> Response {
    let body = serde_json::json!({ "errors": [{ "code": code, "message": code }] });
    Response::body(status, "application/json", body.to_string())
}
