//! Objects in Azure Blob Storage.
//!
//! Reference: Microsoft, "Authorize with Shared Key", and "Put Blob".

use std::io;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use stave_http::url::{Url, encode_into};
use stave_http::{Authorization, Cancel, Environment, Limits, Payload, Request, Secret};
use stave_registry::OpenBlob;
use ureq::http::Method;

use super::Backend;
use super::objects::{Condition, Object, ObjectCache, ObjectNames, ObjectStore};
use super::sign::{hmac, lines};
use super::web::Web;
use crate::error::CacheError;

/// The version of the protocol.
const VERSION: &str = "2021-08-06";

/// Largest blob that one request can write, in this version.
const PUT_BYTES_MAX: u64 = 5000 * 1024 * 1024;

/// How many blobs are sent at once.
const PARALLEL: usize = 4;

/// A container, and who may use it.
#[derive(Debug, Clone)]
pub struct AzurePlace {
    /// Where the account is.
    pub account_url: Url,
    /// The account's name.
    pub account: String,
    /// The container's name.
    pub container: String,
    /// The objects.
    pub names: ObjectNames,
    /// The account's key.
    pub key: Secret<Vec<u8>>,
}

struct Azure {
    place: AzurePlace,
    web: Web,
    /// Seconds since 1970.
    clock: fn() -> Duration,
}

/// Returns the cache in a container, which is made if it is missing.
#[must_use]
pub fn cache(
    place: AzurePlace,
    clock: fn() -> Duration,
    environment: &Environment,
    cancel: Cancel,
) -> Box<dyn Backend> {
    let name = format!("azblob://{}/{}/{}", place.account, place.container, place.names.names.join(";"));
    let names = place.names.clone();
    let web = Web::new(environment.clone(), Limits::default(), cancel);
    Box::new(ObjectCache::new(name, Azure { place, web, clock }, names, PARALLEL))
}

impl Azure {
    fn path(&self, key: &str) -> String {
        let mut path = format!("{}/{}", self.place.account_url.path().trim_end_matches('/'), self.place.container);
        for part in key.split('/').filter(|part| !part.is_empty()) {
            path.push('/');
            // A colon is encoded by nobody here, and what is signed is what is sent.
            for (place, piece) in part.split(':').enumerate() {
                if place > 0 {
                    path.push(':');
                }
                encode_into(piece, &mut path);
            }
        }
        path
    }

    /// Returns a request for an object, or with `query` for the container. `length` is that of the body.
    fn request<'r>(
        &self,
        method: Method,
        (path, query): (&str, Option<(&str, &str)>),
        length: u64,
        more: &[(&'static str, String)],
    ) -> Request<'r> {
        let now = Timestamp::from_second((self.clock)().as_secs().cast_signed()).unwrap_or(Timestamp::UNIX_EPOCH);
        let date = now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let mut headers = vec![("x-ms-date", date), ("x-ms-version", VERSION.to_owned())];
        headers.extend(more.iter().cloned());
        headers.sort_unstable();
        let one = |name: &str| headers.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value.as_str());
        let length = if length == 0 { String::new() } else { length.to_string() };
        let own = lines(headers.iter().filter(|(name, _)| name.starts_with("x-ms-")));
        let resource = format!("/{}{path}", self.place.account);
        let asked = query.map(|(name, value)| format!("\n{name}:{value}")).unwrap_or_default();
        // Verb; encoding, language, length, MD5, type, date, if-modified-since, if-match, if-none-match,
        // if-unmodified-since, range.
        let text = format!(
            "{method}\n\n\n{length}\n\n{}\n\n\n{}\n{}\n\n\n{own}{resource}{asked}",
            one("content-type"),
            one("if-match"),
            one("if-none-match")
        );
        let code = STANDARD.encode(hmac(self.place.key.expose(), text.as_bytes()));
        let origin = self.place.account_url.origin().clone();
        let value = Secret::new(format!("SharedKey {}:{code}", self.place.account));
        let mut url = Url::new(origin.clone(), path);
        if let Some((name, value)) = query {
            url = url.with_query(name, value);
        }
        Request { headers, authorization: Some(Authorization { origin, value }), ..Request::new(method, url) }
    }

    fn make_container(&self) -> Result<(), CacheError> {
        let path = self.path("");
        let query = Some(("restype", "container"));
        self.web.ask(&[201, 409], &|| self.request(Method::PUT, (&path, query), 0, &[])).map(drop)
    }
}

impl ObjectStore for Azure {
    fn get(&self, key: &str) -> Result<Option<Object>, CacheError> {
        let path = self.path(key);
        let reply = self.web.ask(&[200, 404], &|| self.request(Method::GET, (&path, None), 0, &[]))?;
        let version = reply.header("etag").map(str::to_owned);
        Ok((reply.status == 200).then_some(Object { version, body: reply.body }))
    }

    fn look(&self, key: &str) -> Result<Option<u64>, CacheError> {
        let path = self.path(key);
        let reply = self.web.ask(&[200, 404], &|| self.request(Method::HEAD, (&path, None), 0, &[]))?;
        let length = reply.header("content-length").and_then(|text| text.parse().ok());
        Ok(length.filter(|_| reply.status == 200))
    }

    fn put(&self, key: &str, size: u64, open: &OpenBlob, condition: &Condition) -> Result<bool, CacheError> {
        if size > PUT_BYTES_MAX {
            let reason = format!("`{key}` has {size} bytes, and Azure takes at most {PUT_BYTES_MAX} at once");
            return Err(CacheError::Place { name: self.place.container.clone(), reason });
        }
        let mut headers =
            vec![("x-ms-blob-type", "BlockBlob".to_owned()), ("content-type", "application/octet-stream".to_owned())];
        match condition {
            Condition::None => {}
            Condition::Absent => headers.push(("if-none-match", "*".to_owned())),
            Condition::Is(version) => headers.push(("if-match", version.clone())),
        }
        let path = self.path(key);
        let unreadable = |source: io::Error| CacheError::Blob { action: "read", digest: key.to_owned(), source };
        let put = || {
            self.web.send(&[201, 404, 409, 412], &|send| {
                let mut reader = open().map_err(unreadable)?;
                let mut request = self.request(Method::PUT, (&path, None), size, &headers);
                request.payload = Payload::Stream { reader: &mut *reader, size };
                Ok(send(request))
            })
        };
        let mut reply = put()?;
        if reply.status == 404 {
            self.make_container()?;
            reply = put()?;
        }
        match reply.status {
            201 => Ok(true),
            404 => Err(CacheError::Missing(self.place.container.clone())),
            _ => Ok(false),
        }
    }
}
