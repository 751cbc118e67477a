//! Objects in S3, or in what speaks its protocol.
//!
//! Each request is signed in its address and not in a header: an address is not sent on to where a redirect leads.
//!
//! Reference: AWS, "Authenticating Requests: Using Query Parameters (AWS Signature Version 4)".

use std::io;
use std::time::Duration;

use jiff::Timestamp;
use stave_http::url::{Origin, Url, encode_into};
use stave_http::{Cancel, Environment, Limits, Payload, Reply, Request};
use stave_oci::digest::hex;
use stave_registry::OpenBlob;
use ureq::http::Method;

use super::Backend;
use super::keys::{KeyRing, KeySource, Keys};
use super::objects::{Condition, Object, ObjectCache, ObjectNames, ObjectStore};
use super::sign::{hmac, lines, sha256_hex};
use super::web::Web;
use crate::error::CacheError;

/// Largest object that one request can write.
///
/// Reference: AWS, "Amazon S3 multipart upload limits".
const PUT_BYTES_MAX: u64 = 5 * 1024 * 1024 * 1024;

/// How long a signed address is good, in seconds.
const SIGNED_SECONDS: u32 = 3600;

/// A bucket, and who may use it.
#[derive(Debug, Clone)]
pub struct S3Place {
    /// The bucket's name.
    pub bucket: String,
    /// Where it is.
    pub region: String,
    /// Where the service is, if it is not Amazon's.
    pub endpoint: Option<Url>,
    /// Whether the bucket is part of the path instead of the host's name.
    pub path_style: bool,
    /// The objects.
    pub names: ObjectNames,
    /// Where the keys come from.
    pub keys: KeySource,
    /// How old an object may be before an export that uses it makes it new.
    pub touch_after: Duration,
    /// How many blobs are sent at once.
    pub parallel: usize,
    /// Attempts after the first.
    pub retries_max: u32,
}

struct S3 {
    place: S3Place,
    origin: Origin,
    /// What stands in front of a key in the path.
    base: String,
    ring: KeyRing,
    web: Web,
    /// Seconds since 1970.
    now: fn() -> i64,
}

/// Returns the cache in a bucket.
///
/// # Errors
/// If the bucket and the region make no host's name.
pub fn cache(
    place: S3Place,
    now: fn() -> i64,
    environment: &Environment,
    cancel: Cancel,
) -> Result<Box<dyn Backend>, CacheError> {
    let limits = Limits { retries_max: place.retries_max, ..Limits::default() };
    let own = format!("https://s3.{}.amazonaws.com/", place.region);
    let wrong =
        |reason: stave_http::UrlError| CacheError::Place { name: place.bucket.clone(), reason: reason.to_string() };
    let endpoint = place.endpoint.clone().map_or_else(|| own.parse().map_err(wrong), Ok)?;
    let (scheme, authority) = (endpoint.origin().scheme, endpoint.origin().authority());
    let path = endpoint.path().trim_end_matches('/').to_owned();
    let (authority, base) = if place.path_style {
        (authority, format!("{path}/{}/", place.bucket))
    } else {
        (format!("{}.{authority}", place.bucket), format!("{path}/"))
    };
    let origin = Origin::of_authority(scheme, &authority).map_err(wrong)?;
    let name = format!("s3://{}/{}{}", place.bucket, place.names.prefix, place.names.names.join(";"));
    let (names, parallel) = (place.names.clone(), place.parallel);
    let reach = (environment, limits.clone(), cancel.clone());
    let ring = KeyRing::new(place.keys.clone(), place.region.clone(), now, reach);
    let web = Web::new(environment.clone(), limits, cancel);
    Ok(Box::new(ObjectCache::new(name, S3 { place, origin, base, ring, web, now }, names, parallel)))
}

impl S3 {
    /// Returns the path of an object, encoded.
    fn path(&self, key: &str) -> String {
        let mut path = self.base.clone();
        for (place, part) in key.split('/').enumerate() {
            if place > 0 {
                path.push('/');
            }
            encode_into(part, &mut path);
        }
        path
    }

    /// Returns the signed address of an object, for one request with these headers, which have to be in order.
    fn signed(&self, keys: &Keys, method: &Method, key: &str, headers: &[(&'static str, String)]) -> Url {
        self.signed_for((keys, SIGNED_SECONDS), method, key, headers)
    }

    fn signed_for(
        &self,
        (keys, seconds): (&Keys, u32),
        method: &Method,
        key: &str,
        headers: &[(&'static str, String)],
    ) -> Url {
        let now = Timestamp::from_second((self.now)()).unwrap_or(Timestamp::UNIX_EPOCH);
        let (day, time) = (now.strftime("%Y%m%d").to_string(), now.strftime("%Y%m%dT%H%M%SZ").to_string());
        let scope = format!("{day}/{}/s3/aws4_request", self.place.region);
        let mut signed = vec![("host", self.origin.authority())];
        signed.extend(headers.iter().filter(|(name, _)| name.starts_with("x-amz-")).cloned());
        let names: Vec<&str> = signed.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let mut url = Url::new(self.origin.clone(), &self.path(key))
            .with_query("X-Amz-Algorithm", "AWS4-HMAC-SHA256")
            .with_query("X-Amz-Credential", &format!("{}/{scope}", keys.id))
            .with_query("X-Amz-Date", &time)
            .with_query("X-Amz-Expires", &seconds.to_string());
        if let Some(token) = &keys.token {
            url = url.with_query("X-Amz-Security-Token", token.expose());
        }
        url = url.with_query("X-Amz-SignedHeaders", &names);
        let full = url.full();
        let query = full.split_once('?').map_or("", |(_, query)| query);
        let headers = lines(signed.iter());
        let canonical = format!("{method}\n{}\n{query}\n{headers}\n{names}\nUNSIGNED-PAYLOAD", self.path(key));
        let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", sha256_hex(canonical.as_bytes()));
        let mut code = hmac(format!("AWS4{}", keys.secret.expose()).as_bytes(), day.as_bytes());
        for part in [self.place.region.as_str(), "s3", "aws4_request", &text] {
            code = hmac(&code, part.as_bytes());
        }
        url.with_query("X-Amz-Signature", &hex(&code))
    }

    fn request<'r>(&self, keys: &Keys, method: Method, key: &str, headers: Vec<(&'static str, String)>) -> Request<'r> {
        let url = self.signed(keys, &method, key, &headers);
        Request { headers, ..Request::new(method, url) }
    }

    /// Has an object that is used and old be as good as new, for whoever removes old ones.
    fn touch(&self, key: &str, reply: &Reply) -> Result<(), CacheError> {
        let modified = reply.header("last-modified").and_then(|text| jiff::fmt::rfc2822::parse(text).ok());
        let age = modified.map_or(0, |modified| (self.now)() - modified.timestamp().as_second());
        if u64::try_from(age).unwrap_or(0) < self.place.touch_after.as_secs() {
            return Ok(());
        }
        let mut source = format!("/{}/", self.place.bucket);
        encode_into(key, &mut source);
        let headers = vec![("x-amz-copy-source", source), ("x-amz-metadata-directive", "REPLACE".to_owned())];
        let keys = self.ring.keys()?;
        self.web.ask(&[200], &|| self.request(&keys, Method::PUT, key, headers.clone())).map(drop)
    }
}

impl ObjectStore for S3 {
    fn get(&self, key: &str) -> Result<Option<Object>, CacheError> {
        let keys = self.ring.keys()?;
        let reply = self.web.ask(&[200, 404], &|| self.request(&keys, Method::GET, key, Vec::new()))?;
        let version = reply.header("etag").map(str::to_owned);
        Ok((reply.status == 200).then_some(Object { version, body: reply.body }))
    }

    fn look(&self, key: &str) -> Result<Option<u64>, CacheError> {
        let keys = self.ring.keys()?;
        let reply = self.web.ask(&[200, 404], &|| self.request(&keys, Method::HEAD, key, Vec::new()))?;
        if reply.status != 200 {
            return Ok(None);
        }
        self.touch(key, &reply)?;
        Ok(reply.header("content-length").and_then(|text| text.parse().ok()))
    }

    fn put(&self, key: &str, size: u64, open: &OpenBlob, condition: &Condition) -> Result<bool, CacheError> {
        if size > PUT_BYTES_MAX {
            let reason = format!("`{key}` has {size} bytes, and S3 takes at most {PUT_BYTES_MAX} at once");
            return Err(CacheError::Place { name: self.place.bucket.clone(), reason });
        }
        let mut headers = vec![("content-type", "application/octet-stream".to_owned())];
        match condition {
            Condition::None => {}
            Condition::Absent => headers.push(("if-none-match", "*".to_owned())),
            Condition::Is(version) => headers.push(("if-match", version.clone())),
        }
        let unreadable = |source: io::Error| CacheError::Blob { action: "read", digest: key.to_owned(), source };
        let keys = self.ring.keys()?;
        let reply = self.web.send(&[200, 201, 204, 409, 412], &|send| {
            let mut reader = open().map_err(unreadable)?;
            let mut request = self.request(&keys, Method::PUT, key, headers.clone());
            request.payload = Payload::Stream { reader: &mut *reader, size };
            Ok(send(request))
        })?;
        Ok(![409, 412].contains(&reply.status))
    }
}

#[cfg(test)]
mod tests {
    use stave_http::Secret;

    use super::*;

    /// The example of the specification: the same key, bucket, object and time have the same signature.
    #[test]
    fn addresses_are_signed_as_the_specification_shows() {
        let keys = Keys {
            id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret: Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into()),
            token: None,
        };
        let place = S3Place {
            bucket: "examplebucket".into(),
            region: "us-east-1".into(),
            endpoint: Some("https://s3.amazonaws.com/".parse().expect("an address")),
            path_style: false,
            names: ObjectNames {
                prefix: String::new(),
                blobs: String::new(),
                manifests: String::new(),
                names: Vec::new(),
            },
            keys: KeySource::Given(keys.clone()),
            touch_after: Duration::ZERO,
            parallel: 1,
            retries_max: 0,
        };
        let origin = Origin::of_authority(stave_http::Scheme::Https, "examplebucket.s3.amazonaws.com").expect("a host");
        let web = Web::new(Environment::default(), Limits::default(), Cancel::new());
        let reach = (&Environment::default(), Limits::default(), Cancel::new());
        let ring = KeyRing::new(place.keys.clone(), place.region.clone(), || 0, reach);
        let s3 = S3 { place, origin, base: "/".into(), ring, web, now: || 1_369_353_600 };
        let url = s3.signed_for((&keys, 86400), &Method::GET, "test.txt", &[]).full();
        let expected = "X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
        assert!(url.ends_with(expected), "{url}");
    }
}
