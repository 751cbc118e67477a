//! The cache of GitHub's workflows: entries under keys, written once, found by their beginnings.
//!
//! Blobs are entries under their digests. A catalog is the latest of numbered entries, of which each number can be taken by
//! one writer only: that is how two writers notice each other.
//!
//! Reference: BuildKit, `cache/remotecache/gha`, for the keys; `actions/toolkit`, `packages/cache`, for both versions of the
//! service.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Value, json};
use stave_http::url::Url;
use stave_http::{Authorization, Cancel, Environment, Limits, Payload, Reply, Request, Secret};
use stave_oci::Descriptor;
use stave_registry::{BlobSink, OpenBlob};
use ureq::http::Method;

use super::sign::sha256_hex;
use super::web::{ANSWER_BYTES_MAX, Web};
use super::{Backend, Blob, Commit, Version, copy_into};
use crate::catalog::Catalog;
use crate::error::CacheError;
use crate::limits;

/// What BuildKit's entries have instead of a list of paths: entries of another version are not seen.
const ENTRY_VERSION: &str = "|go-actionscache-1.0";

/// How much one request of the first version of the service carries, in bytes.
const CHUNK_BYTES: u64 = 32 * 1024 * 1024;

/// What the keys of blobs begin with.
const BLOB_KEY: &str = "buildkit-blob-1-";

/// Entries of one page of the list, and how many pages are read of each branch.
const LIST_PAGE: usize = 100;
const LIST_PAGES_MAX: usize = 100;

/// Which version of the service is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// `_apis/artifactcache`.
    One,
    /// `twirp`.
    Two,
}

/// A workflow's cache.
#[derive(Debug, Clone)]
pub struct GhaPlace {
    /// Where the service is.
    pub url: Url,
    /// Which version of it.
    pub service: Service,
    /// What proves who asks, and says what may be read and written.
    pub token: Secret<String>,
    /// What tells caches of one repository apart.
    pub scope: String,
    /// How long all of an import, or an export, may take.
    pub timeout: Duration,
    /// Where all entries of the repository are listed, so that an export need not ask for each blob.
    pub listing: Option<GhaListing>,
}

/// The list of a repository's entries, which GitHub's own interface has.
#[derive(Debug, Clone)]
pub struct GhaListing {
    /// Where the interface is.
    pub api: Url,
    /// The repository, as `owner/name`.
    pub repository: String,
    /// What proves who asks there.
    pub token: Secret<String>,
}

/// A cache in GitHub's service.
struct Gha {
    name: String,
    place: GhaPlace,
    web: Web,
    ends: Instant,
    /// Hashes of the branches that may be read, and of the one that may be written.
    readable: Vec<String>,
    writable: Option<String>,
    /// The names of the branches that may be read.
    branches: Vec<String>,
    /// How often another writer had the number that comes next.
    taken: AtomicU64,
}

/// After so many times that a number was taken and nothing came of it, it is skipped: whoever took it is gone.
const TAKEN_MAX: u64 = 8;

#[derive(Deserialize)]
struct Access {
    #[serde(rename = "Scope")]
    scope: String,
    #[serde(rename = "Permission")]
    permission: u32,
}

/// Permission to write.
const WRITE: u32 = 2;

/// Returns the cache of a workflow.
///
/// # Errors
/// If the token does not say what may be read.
pub fn cache(place: GhaPlace, environment: &Environment, cancel: Cancel) -> Result<Box<dyn Backend>, CacheError> {
    let name = format!("gha:{}", place.scope);
    let refused = |reason: &str| CacheError::Place { name: name.clone(), reason: reason.to_owned() };
    let claims = place.token.expose().split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let claims: Value = claims
        .and_then(|claims| serde_json::from_slice(&claims).ok())
        .ok_or_else(|| refused("the token is none of GitHub's"))?;
    let access: Vec<Access> = claims["ac"]
        .as_str()
        .and_then(|text| serde_json::from_str(text).ok())
        .ok_or_else(|| refused("the token does not say what it may be used for"))?;
    let hash = |access: &Access| sha256_hex(access.scope.as_bytes())[..8].to_owned();
    let readable = access.iter().map(hash).collect();
    let writable = access.iter().rfind(|access| access.permission & WRITE != 0).map(hash);
    let branches = access.iter().map(|access| access.scope.clone()).collect();
    let web = Web::new(environment.clone(), Limits::default(), cancel);
    let ends = Instant::now() + place.timeout;
    Ok(Box::new(Gha { name, place, web, ends, readable, writable, branches, taken: AtomicU64::new(0) }))
}

/// An entry that was found.
struct Entry {
    key: String,
    url: Url,
}

impl Gha {
    fn index_key(&self, branch: &str) -> String {
        format!("index-{}-1-{branch}", self.place.scope)
    }

    fn blob_key(blob: &Descriptor) -> String {
        format!("{BLOB_KEY}{}", blob.digest)
    }

    fn version() -> String {
        sha256_hex(ENTRY_VERSION.as_bytes())
    }

    fn address(&self, tail: &str) -> Result<Url, CacheError> {
        let base = self.place.url.path().trim_end_matches('/');
        let path = match self.place.service {
            Service::One => format!("{base}/_apis/artifactcache/{tail}"),
            Service::Two => format!("{base}/twirp/github.actions.results.api.v1.CacheService/{tail}"),
        };
        self.location(&path)
    }

    fn location(&self, text: &str) -> Result<Url, CacheError> {
        let wrong = |reason: stave_http::UrlError| CacheError::Answer {
            url: Box::new(self.place.url.clone()),
            reason: reason.to_string(),
        };
        self.place.url.join(text).map_err(wrong)
    }

    fn request<'r>(&self, method: Method, url: Url) -> Request<'r> {
        let origin = self.place.url.origin().clone();
        let value = Secret::new(format!("Bearer {}", self.place.token.expose()));
        let headers = vec![("accept", "application/json;api-version=6.0-preview.1".to_owned())];
        Request { headers, authorization: Some(Authorization { origin, value }), ..Request::new(method, url) }
    }

    fn in_time(&self) -> Result<(), CacheError> {
        if Instant::now() < self.ends {
            return Ok(());
        }
        let reason = format!("it took longer than {} s", self.place.timeout.as_secs());
        Err(CacheError::Place { name: self.name.clone(), reason })
    }

    /// Sends a value and reads one.
    fn post(&self, tail: &str, body: &Value, welcome: &[u16]) -> Result<(u16, Value), CacheError> {
        self.in_time()?;
        let (url, bytes) = (self.address(tail)?, body.to_string().into_bytes());
        let mut reply = self.web.send(welcome, &|send| {
            let mut request = self.request(Method::POST, url.clone());
            request.headers.push(("content-type", "application/json".to_owned()));
            request.payload = Payload::Bytes(&bytes);
            Ok(send(request))
        })?;
        self.value(&mut reply)
    }

    fn value(&self, reply: &mut Reply) -> Result<(u16, Value), CacheError> {
        let bytes = self.web.read_all(reply, ANSWER_BYTES_MAX)?;
        if bytes.is_empty() || reply.status >= 400 {
            return Ok((reply.status, Value::Null));
        }
        let value = serde_json::from_slice(&bytes).map_err(|_| CacheError::Answer {
            url: Box::new(reply.url.clone()),
            reason: "its answer is not valid".to_owned(),
        })?;
        Ok((reply.status, value))
    }

    /// Finds the latest entry whose key is, or with `begins` begins with, `key`.
    fn find(&self, key: &str, begins: bool) -> Result<Option<Entry>, CacheError> {
        let answer = match self.place.service {
            Service::One => {
                self.in_time()?;
                let url = self.address("cache")?.with_query("keys", key).with_query("version", &Self::version());
                let mut reply = self.web.ask(&[200, 204, 404], &|| self.request(Method::GET, url.clone()))?;
                self.value(&mut reply)?.1
            }
            Service::Two => {
                let body = json!({ "key": key, "restore_keys": [key], "version": Self::version() });
                self.post("GetCacheEntryDownloadURL", &body, &[200, 404])?.1
            }
        };
        let (own, place) = match self.place.service {
            Service::One => ("cacheKey", "archiveLocation"),
            Service::Two => ("matched_key", "signed_download_url"),
        };
        let (Some(found), Some(url)) = (answer[own].as_str(), answer[place].as_str()) else { return Ok(None) };
        let fits = if begins { found.starts_with(key) } else { found == key };
        if !fits || url.is_empty() {
            return Ok(None);
        }
        Ok(Some(Entry { key: found.to_owned(), url: self.location(url)? }))
    }

    fn open(&self, entry: &Entry) -> Result<Reply, CacheError> {
        self.in_time()?;
        // The address says by itself who may use it.
        self.web.ask(&[200], &|| Request::new(Method::GET, entry.url.clone()))
    }

    /// Writes an entry; says no if there is one already.
    fn put(&self, key: &str, size: u64, open: &OpenBlob) -> Result<bool, CacheError> {
        let reserve = json!({ "key": key, "version": Self::version() });
        match self.place.service {
            Service::One => {
                let (status, answer) = self.post("caches", &reserve, &[200, 201, 400, 409])?;
                let Some(id) = answer["cacheID"].as_u64().filter(|_| status < 400) else { return Ok(false) };
                self.send_chunks(id, key, size, open)?;
                self.post(&format!("caches/{id}"), &json!({ "size": size }), &[200, 201, 204])?;
            }
            Service::Two => {
                let (status, answer) = self.post("CreateCacheEntry", &reserve, &[200, 409])?;
                let url = answer["signed_upload_url"].as_str().filter(|_| status == 200 && answer["ok"] == true);
                let Some(url) = url else { return Ok(false) };
                self.send_whole(&self.location(url)?, key, size, open)?;
                let done = json!({ "key": key, "size_bytes": size, "version": Self::version() });
                let (_, answer) = self.post("FinalizeCacheEntryUpload", &done, &[200])?;
                if answer["ok"] != true {
                    let (url, reason) = (Box::new(self.place.url.clone()), format!("it did not take `{key}`"));
                    return Err(CacheError::Answer { url, reason });
                }
            }
        }
        Ok(true)
    }

    fn send_whole(&self, url: &Url, key: &str, size: u64, open: &OpenBlob) -> Result<(), CacheError> {
        let unreadable = |source| CacheError::Blob { action: "read", digest: key.to_owned(), source };
        let sent = self.web.send(&[201], &|send| {
            let mut reader = open().map_err(unreadable)?;
            let mut request = Request::new(Method::PUT, url.clone());
            request.headers.push(("x-ms-blob-type", "BlockBlob".to_owned()));
            request.payload = Payload::Stream { reader: &mut *reader, size };
            Ok(send(request))
        });
        sent.map(drop)
    }

    fn send_chunks(&self, id: u64, key: &str, size: u64, open: &OpenBlob) -> Result<(), CacheError> {
        let unreadable = |source| CacheError::Blob { action: "read", digest: key.to_owned(), source };
        let url = self.address(&format!("caches/{id}"))?;
        let mut start = 0;
        while start < size {
            self.in_time()?;
            let end = size.min(start + CHUNK_BYTES);
            let sent = self.web.send(&[200, 201, 204], &|send| {
                let mut reader = open().map_err(unreadable)?;
                io::copy(&mut io::Read::take(&mut reader, start), &mut io::sink()).map_err(unreadable)?;
                let mut request = self.request(Method::PATCH, url.clone());
                request.headers.push(("content-type", "application/octet-stream".to_owned()));
                request.headers.push(("content-range", format!("bytes {start}-{}/*", end - 1)));
                request.payload = Payload::Stream { reader: &mut *reader, size: end - start };
                Ok(send(request))
            });
            sent?;
            start = end;
        }
        Ok(())
    }

    /// Returns the keys of all blobs that may be read.
    ///
    /// Reference: GitHub's REST API, "List GitHub Actions caches for a repository".
    fn listed(&self, listing: &GhaListing) -> Result<BTreeSet<String>, CacheError> {
        let mut keys = BTreeSet::new();
        let wrong = |reason: stave_http::UrlError| CacheError::Answer {
            url: Box::new(listing.api.clone()),
            reason: reason.to_string(),
        };
        let base = listing.api.path().trim_end_matches('/');
        let all = listing.api.join(&format!("{base}/repos/{}/actions/caches", listing.repository)).map_err(wrong)?;
        for branch in &self.branches {
            for page in 1..=LIST_PAGES_MAX {
                self.in_time()?;
                let url = all
                    .clone()
                    .with_query("key", BLOB_KEY)
                    .with_query("ref", branch)
                    .with_query("per_page", &LIST_PAGE.to_string())
                    .with_query("page", &page.to_string());
                let mut reply = self.web.ask(&[200], &|| {
                    let value = Secret::new(format!("Bearer {}", listing.token.expose()));
                    let origin = listing.api.origin().clone();
                    let headers = vec![("accept", "application/vnd.github+json".to_owned())];
                    let request = Request::new(Method::GET, url.clone());
                    Request { headers, authorization: Some(Authorization { origin, value }), ..request }
                })?;
                let (_, answer) = self.value(&mut reply)?;
                let entries = answer["actions_caches"].as_array().map(Vec::as_slice).unwrap_or_default();
                let version = Self::version();
                let own = entries.iter().filter(|entry| entry["version"] == version.as_str());
                keys.extend(own.filter_map(|entry| entry["key"].as_str()).map(str::to_owned));
                if entries.len() < LIST_PAGE {
                    break;
                }
            }
        }
        Ok(keys)
    }

    fn catalog(&self, branch: &str) -> Result<Option<(Catalog, String)>, CacheError> {
        let Some(entry) = self.find(&format!("{}#", self.index_key(branch)), true)? else { return Ok(None) };
        let mut reply = self.open(&entry)?;
        let bytes = self.web.read_all(&mut reply, limits::CONFIG_BYTES_MAX)?;
        let format = |source| CacheError::Format { place: self.name.clone(), source };
        let config = serde_json::from_slice(&bytes).map_err(|source| format(source.into()))?;
        Ok(Some((Catalog::read(&config, &[]).map_err(format)?, entry.key)))
    }
}

impl Backend for Gha {
    fn name(&self) -> &str {
        &self.name
    }

    fn load(&self) -> Result<(Catalog, Version), CacheError> {
        let mut all: Option<Catalog> = None;
        let mut version = Version::default();
        for branch in &self.readable {
            if let Some((catalog, key)) = self.catalog(branch)? {
                if self.writable.as_ref() == Some(branch) {
                    version = Version(Some(key));
                }
                all.get_or_insert_default().merge(&catalog);
            }
        }
        all.map(|all| (all, version)).ok_or_else(|| CacheError::Missing(self.name.clone()))
    }

    fn fetch(
        &self,
        blob: &Descriptor,
        sink: &mut dyn BlobSink,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<(), CacheError> {
        let entry = self.find(&Self::blob_key(blob), false)?;
        let entry =
            entry.ok_or_else(|| CacheError::NoBlob { digest: blob.digest.to_string(), place: self.name.clone() })?;
        let mut reply = self.open(&entry)?;
        copy_into(&mut *reply.body, &blob.digest, sink, progress)
    }

    fn has(&self, blob: &Descriptor) -> Result<bool, CacheError> {
        Ok(self.find(&Self::blob_key(blob), false)?.is_some())
    }

    fn send(&self, blobs: Vec<Blob>) -> Result<(), CacheError> {
        let listed = self.place.listing.as_ref().map(|listing| self.listed(listing)).transpose()?;
        for blob in blobs {
            let has = match &listed {
                Some(listed) => listed.contains(&Self::blob_key(&blob.descriptor)),
                None => self.has(&blob.descriptor)?,
            };
            // An entry that somebody else is writing at the same time has the same bytes.
            if !has {
                self.put(&Self::blob_key(&blob.descriptor), blob.descriptor.size, &blob.open)?;
            }
        }
        Ok(())
    }

    fn commit(&self, catalog: &Catalog, version: &Version) -> Result<Commit, CacheError> {
        let Some(branch) = &self.writable else {
            let reason = "the token may not write: a pull request of a fork can only read caches".to_owned();
            return Err(CacheError::Place { name: self.name.clone(), reason });
        };
        let key = self.index_key(branch);
        let last =
            version.0.as_deref().and_then(|last| last.strip_prefix(&key)?.strip_prefix('#')?.parse::<u64>().ok());
        let text = serde_json::to_vec(&catalog.to_config(true)).expect("a cache's configuration has only text keys");
        let size = text.len() as u64;
        let open: OpenBlob = Box::new(move || Ok(Box::new(io::Cursor::new(text.clone()))));
        let number = last.unwrap_or_default() + 1 + self.taken.fetch_add(1, Ordering::Relaxed) / TAKEN_MAX;
        Ok(if self.put(&format!("{key}#{number}"), size, &open)? { Commit::Done } else { Commit::Conflict })
    }
}
