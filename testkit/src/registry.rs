//! A registry in the test's own process: enough of the OCI distribution protocol for pulls and pushes.
//!
//! It stores in memory, checks digests of what is pushed, and can be told to serve damaged blobs.
//! Reference: OCI distribution-spec 1.1, "Endpoints".

use crate::http::{Request, Response, Server};
use crate::image::Image;
use stave_oci::{BlobDigest, Descriptor, media_type};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

/// A running registry. Ends when it is dropped.
#[derive(Debug)]
pub struct LoopbackRegistry {
    server: Server,
    content: Arc<Mutex<Content>>,
    /// Answers before the registry does.
    fault: Arc<Mutex<Fault>>,
}

type Answering = Arc<dyn Fn(&Request) -> Option<Response> + Send + Sync>;

#[derive(Default)]
struct Fault(Option<Answering>);

impl fmt::Debug for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Fault").field(&self.0.is_some()).finish()
    }
}

/// How a registry wants to be authenticated to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Login {
    Basic,
    Bearer,
}

#[derive(Debug, Default)]
struct Content {
    blobs: BTreeMap<String, Vec<u8>>,
    /// Repository and digest.
    places: BTreeSet<(String, String)>,
    /// By repository and by tag or digest: media type and bytes.
    manifests: BTreeMap<(String, String), (String, Vec<u8>)>,
    uploads: BTreeMap<String, Vec<u8>>,
    log: Vec<String>,
    /// Bytes of each blob that were sent or taken, by its digest.
    moved: BTreeMap<String, u64>,
    next_upload: u64,
    /// The scheme, and `user:password` in base64.
    login: Option<(Login, String)>,
    without_referrers: bool,
    with_conditions: bool,
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
        let (content, fault) = (Arc::new(Mutex::new(Content::default())), Arc::new(Mutex::new(Fault::default())));
        let (answering, failing) = (Arc::clone(&content), Arc::clone(&fault));
        let server = Server::start(move |request| {
            let lock = || answering.lock().expect("no test thread panics while it answers");
            lock().log.push(format!("{} {}", request.method, request.path));
            let fault = failing.lock().expect("no test thread panics while it answers").0.clone();
            // A fault may take its time, in which others are answered.
            fault.and_then(|fault| fault(request)).unwrap_or_else(|| lock().answer(request))
        });
        Self { server, content, fault }
    }

    /// From now on lets `fault` answer first; where it gives nothing, the registry answers as ever.
    pub fn fail(&self, fault: impl Fn(&Request) -> Option<Response> + Send + Sync + 'static) {
        self.fault.lock().expect("no test thread panics while it answers").0 = Some(Arc::new(fault));
    }

    /// From now on answers rightly again.
    pub fn recover(&self) {
        self.fault.lock().expect("no test thread panics while it answers").0 = None;
    }

    /// From now on wants this user name and password with every request.
    pub fn require_password(&self, user: &str, password: &str) {
        self.content().login = Some((Login::Basic, base64(format!("{user}:{password}").as_bytes())));
    }

    /// From now on wants a token, which it gives itself (at `/token`) to who has this user name and password.
    pub fn require_token(&self, user: &str, password: &str) {
        self.content().login = Some((Login::Bearer, base64(format!("{user}:{password}").as_bytes())));
    }

    /// From now on does as registries did before there was the referrers API.
    pub fn forget_referrers(&self) {
        self.content().without_referrers = true;
    }

    /// From now on honours `If-Match` and `If-None-Match` for manifests, as few registries do.
    pub fn honour_conditions(&self) {
        self.content().with_conditions = true;
    }

    /// Whether a repository has a blob.
    #[must_use]
    pub fn has(&self, repository: &str, digest: &BlobDigest) -> bool {
        self.content().places.contains(&(repository.to_owned(), digest.to_string()))
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
            content.put_blob(repository, &blob.descriptor.digest.to_string(), bytes);
        }
        content.put_manifest(repository, tag, media_type::OCI_MANIFEST, &image.manifest_bytes());
        drop(content);
        self
    }

    /// Serves images as one index `repository:tag`, each for the platform of its configuration.
    #[expect(clippy::must_use_candidate, reason = "called for its effect")]
    pub fn put_index(&self, repository: &str, tag: &str, images: &[&Image]) -> &Self {
        let mut manifests = Vec::new();
        for image in images {
            let manifest = crate::image::blob(media_type::OCI_MANIFEST, image.manifest_bytes());
            self.put(repository, &manifest.descriptor.digest.to_string(), image);
            manifests.push(Descriptor { platform: Some(image.config.platform()), ..manifest.descriptor });
        }
        let index = serde_json::json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": manifests,
        });
        self.put_manifest(repository, tag, media_type::OCI_INDEX, index.to_string().as_bytes())
    }

    /// Serves these bytes as the manifest `repository:tag`, whatever they are.
    #[expect(clippy::must_use_candidate, reason = "called for its effect")]
    pub fn put_manifest(&self, repository: &str, tag: &str, media_type: &str, bytes: &[u8]) -> &Self {
        self.content().put_manifest(repository, tag, media_type, bytes);
        self
    }

    /// Serves these bytes as a blob of the repository.
    #[expect(clippy::must_use_candidate, reason = "called for its effect")]
    pub fn put_blob(&self, repository: &str, bytes: &[u8]) -> &Self {
        self.content().put_blob(repository, &BlobDigest::of(bytes).to_string(), bytes.to_vec());
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

    /// How many bytes of each blob, by its digest, were sent or taken since the last call.
    #[expect(clippy::must_use_candidate, reason = "called for its effect, too")]
    pub fn take_moved(&self) -> BTreeMap<String, u64> {
        std::mem::take(&mut self.content().moved)
    }

    /// Loses a blob of a repository, as by a collection of garbage.
    pub fn lose_blob(&self, repository: &str, digest: &str) {
        self.content().places.remove(&(repository.to_owned(), digest.to_owned()));
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

    fn put_blob(&mut self, repository: &str, digest: &str, bytes: Vec<u8>) {
        self.blobs.insert(digest.to_owned(), bytes);
        self.places.insert((repository.to_owned(), digest.to_owned()));
    }

    fn answer(&mut self, request: &Request) -> Response {
        if let Some(refusal) = self.refusal(request) {
            return refusal;
        }
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
        if let Some((repository, digest)) = path.rsplit_once("/blobs/") {
            return self.blob(request, repository, digest);
        }
        if let Some((repository, digest)) = path.rsplit_once("/referrers/") {
            return self.referrers(request, repository, digest);
        }
        match path.strip_suffix("/tags/list") {
            Some(repository) => self.tags(repository),
            None => Response::status(404),
        }
    }

    /// What is said to somebody who does not show who he is; also the answers of the token server.
    fn refusal(&self, request: &Request) -> Option<Response> {
        let (login, known) = self.login.as_ref()?;
        let shown = request.header("authorization").unwrap_or_default();
        let host = request.header("host").unwrap_or_default();
        match login {
            Login::Basic if shown == format!("Basic {known}") => None,
            Login::Basic => Some(error(401, "UNAUTHORIZED").with("WWW-Authenticate", "Basic realm=\"test\"")),
            Login::Bearer if request.path == "/token" && shown == format!("Basic {known}") => {
                let body = serde_json::json!({ "token": TOKEN, "expires_in": 300 });
                Some(Response::body(200, "application/json", body.to_string()))
            }
            Login::Bearer if request.path == "/token" => Some(error(401, "UNAUTHORIZED")),
            Login::Bearer if shown == format!("Bearer {TOKEN}") => None,
            Login::Bearer => {
                let challenge = format!("Bearer realm=\"http://{host}/token\",service=\"test\"");
                Some(error(401, "UNAUTHORIZED").with("WWW-Authenticate", challenge))
            }
        }
    }

    fn manifest(&mut self, request: &Request, repository: &str, reference: &str) -> Response {
        if request.method == "PUT" {
            return self.take_manifest(request, repository, reference);
        }
        match self.manifests.get(&(repository.to_owned(), reference.to_owned())) {
            Some((kind, bytes)) => {
                let digest = BlobDigest::of(bytes).to_string();
                let answer = Response::body(200, kind, bytes.clone());
                let answer = if self.with_conditions { answer.with("ETag", format!("\"{digest}\"")) } else { answer };
                answer.with("Docker-Content-Digest", digest)
            }
            None => error(404, "MANIFEST_UNKNOWN"),
        }
    }

    fn take_manifest(&mut self, request: &Request, repository: &str, reference: &str) -> Response {
        let Ok(document) = serde_json::from_slice::<serde_json::Value>(&request.body) else {
            return error(400, "MANIFEST_INVALID");
        };
        if reference.contains(':') && reference != BlobDigest::of(&request.body).to_string() {
            return error(400, "DIGEST_INVALID");
        }
        if self.with_conditions {
            let known = self.manifests.get(&(repository.to_owned(), reference.to_owned()));
            let etag = known.map(|(_, bytes)| format!("\"{}\"", BlobDigest::of(bytes)));
            let changed = request.header("if-match").is_some_and(|wanted| etag.as_deref() != Some(wanted));
            if changed || request.header("if-none-match").is_some() && etag.is_some() {
                return error(412, "PRECONDITION_FAILED");
            }
        }
        let listed = |name: &str| document[name].as_array().cloned().unwrap_or_default();
        let blobs = std::iter::once(document["config"].clone()).chain(listed("layers"));
        let has = |part: &serde_json::Value| {
            let key = (repository.to_owned(), part["digest"].as_str().unwrap_or_default().to_owned());
            self.places.contains(&key) || self.manifests.contains_key(&key)
        };
        if blobs.chain(listed("manifests")).any(|part| part["digest"].is_string() && !has(&part)) {
            return error(404, "MANIFEST_BLOB_UNKNOWN");
        }
        let kind = request.header("content-type").unwrap_or(media_type::OCI_MANIFEST).to_owned();
        let digest = self.put_manifest(repository, reference, &kind, &request.body);
        let location = format!("/v2/{repository}/manifests/{digest}");
        let taken = Response::status(201).with("Docker-Content-Digest", digest).with("Location", location);
        match document["subject"]["digest"].as_str() {
            Some(subject) if !self.without_referrers => taken.with("OCI-Subject", subject),
            _ => taken,
        }
    }

    /// Reference: OCI distribution-spec 1.1, "Listing Referrers".
    fn referrers(&self, request: &Request, repository: &str, digest: &str) -> Response {
        if self.without_referrers {
            return error(404, "NOT_FOUND");
        }
        let wanted = request.query_value("artifactType").map(|text| text.replace("%2F", "/").replace("%2B", "+"));
        let mut found = Vec::new();
        for ((name, reference), (kind, bytes)) in &self.manifests {
            let Ok(document) = serde_json::from_slice::<serde_json::Value>(bytes) else { continue };
            if name != repository || !reference.contains(':') || document["subject"]["digest"] != digest {
                continue;
            }
            let artifact = document["artifactType"].as_str().or(document["config"]["mediaType"].as_str());
            if wanted.as_deref().is_some_and(|wanted| artifact != Some(wanted)) {
                continue;
            }
            let mut entry = serde_json::json!({ "mediaType": kind, "digest": reference, "size": bytes.len(), "artifactType": artifact });
            if document["annotations"].is_object() {
                entry["annotations"] = document["annotations"].clone();
            }
            found.push(entry);
        }
        let index = serde_json::json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": found });
        let answer = Response::body(200, media_type::OCI_INDEX, index.to_string());
        if wanted.is_some() { answer.with("OCI-Filters-Applied", "artifactType") } else { answer }
    }

    fn blob(&mut self, request: &Request, repository: &str, digest: &str) -> Response {
        let here = self.places.contains(&(repository.to_owned(), digest.to_owned()));
        let Some(bytes) = self.blobs.get(digest).filter(|_| here) else { return error(404, "BLOB_UNKNOWN") };
        if request.method == "GET" {
            *self.moved.entry(digest.to_owned()).or_default() += bytes.len() as u64;
        }
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
        if let (Some(digest), Some(from)) = (request.query_value("mount"), request.query_value("from")) {
            let from = from.replace("%2F", "/");
            if self.places.contains(&(from, digest.clone())) {
                self.places.insert((repository.to_owned(), digest.clone()));
                let location = format!("/v2/{repository}/blobs/{digest}");
                return Response::status(201).with("Location", location).with("Docker-Content-Digest", digest);
            }
        }
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
        *self.moved.entry(digest.to_owned()).or_default() += bytes.len() as u64;
        if BlobDigest::of(&bytes).to_string() != digest {
            return error(400, "DIGEST_INVALID");
        }
        self.put_blob(repository, digest, bytes);
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

/// The token of every registry here.
const TOKEN: &str = "a-token-of-the-test-registry";

/// Reference: RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let index = (bits >> (18 - 6 * place) & 63) as usize;
            text.push(if place <= chunk.len() { char::from(ALPHABET[index]) } else { '=' });
        }
    }
    text
}
