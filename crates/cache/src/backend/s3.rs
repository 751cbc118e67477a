//! Objects in S3, or in what speaks its protocol.
//!
//! Each request is signed in its address and not in a header: an address is not sent on to where a redirect leads.
//!
//! Reference: AWS, "Authenticating Requests: Using Query Parameters (AWS Signature Version 4)".

mod parts;

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

/// Bytes of each part of an object that one request cannot write; there may be 10,000.
const PART_BYTES: u64 = 1024 * 1024 * 1024;

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
    clock: fn() -> Duration,
    /// Largest object that is written by one request, and bytes of each part of a larger one.
    sizes: (u64, u64),
}

/// Returns the cache in a bucket.
///
/// # Errors
/// If the bucket and the region make no host's name.
pub fn cache(
    place: S3Place,
    clock: fn() -> Duration,
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
    // A bucket cannot stand in front of an address.
    let (authority, base) = if place.path_style || endpoint.origin().address().is_some() {
        (authority, format!("{path}/{}/", place.bucket))
    } else {
        (format!("{}.{authority}", place.bucket), format!("{path}/"))
    };
    let origin = Origin::of_authority(scheme, &authority).map_err(wrong)?;
    let name = format!("s3://{}/{}{}", place.bucket, place.names.prefix, place.names.names.join(";"));
    let (names, parallel) = (place.names.clone(), place.parallel);
    let reach = (environment, limits.clone(), cancel.clone());
    let ring = KeyRing::new(place.keys.clone(), place.region.clone(), clock, reach);
    let web = Web::new(environment.clone(), limits, cancel);
    Ok(Box::new(ObjectCache::new(
        name,
        S3 { place, origin, base, ring, web, clock, sizes: (PUT_BYTES_MAX, PART_BYTES) },
        names,
        parallel,
    )))
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
    /// `query` is what else stands in the address, in order and behind `X-Amz`.
    fn signed_for(
        &self,
        (keys, seconds): (&Keys, u32),
        (method, key, query): (&Method, &str, &[(&str, &str)]),
        headers: &[(&'static str, String)],
    ) -> Url {
        let now = Timestamp::from_second((self.clock)().as_secs().cast_signed()).unwrap_or(Timestamp::UNIX_EPOCH);
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
        for (name, value) in query {
            url = url.with_query(name, value);
        }
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
        self.request_with(keys, (method, key, &[]), headers)
    }

    fn request_with<'r>(
        &self,
        keys: &Keys,
        (method, key, query): (Method, &str, &[(&str, &str)]),
        headers: Vec<(&'static str, String)>,
    ) -> Request<'r> {
        let url = self.signed_for((keys, SIGNED_SECONDS), (&method, key, query), &headers);
        Request { headers, ..Request::new(method, url) }
    }

    /// Has an object that is used and old be as good as new, for whoever removes old ones.
    fn touch(&self, key: &str, reply: &Reply) -> Result<(), CacheError> {
        let modified = reply.header("last-modified").and_then(|text| jiff::fmt::rfc2822::parse(text).ok());
        let age =
            modified.map_or(0, |modified| (self.clock)().as_secs().cast_signed() - modified.timestamp().as_second());
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
        let (at_once_max, part) = self.sizes;
        if size > at_once_max {
            return self.put_parts(key, (size, part), open, condition);
        }
        let mut headers = vec![("content-type", "application/octet-stream".to_owned())];
        headers.extend(conditions(condition));
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

/// Returns the headers that say when an object is to be written.
fn conditions(condition: &Condition) -> Option<(&'static str, String)> {
    match condition {
        Condition::None => None,
        Condition::Absent => Some(("if-none-match", "*".to_owned())),
        Condition::Is(version) => Some(("if-match", version.clone())),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use stave_http::Secret;
    use stave_testkit::http::{Response, Server};

    use super::*;

    fn s3(keys: &Keys, address: &str, path_style: bool) -> S3 {
        let place = S3Place {
            bucket: "examplebucket".into(),
            region: "us-east-1".into(),
            endpoint: Some(format!("{address}/").parse().expect("an address")),
            path_style,
            names: ObjectNames {
                prefix: String::new(),
                blobs: String::new(),
                manifests: String::new(),
                names: Vec::new(),
            },
            keys: KeySource::Given(keys.clone()),
            touch_after: Duration::ZERO,
            parallel: 1,
            retries_max: 1,
        };
        let url: Url = address.parse().expect("an address");
        let (scheme, authority) = (url.origin().scheme, url.origin().authority());
        let (host, base) =
            if path_style { (authority, "/examplebucket/") } else { (format!("examplebucket.{authority}"), "/") };
        let origin = Origin::of_authority(scheme, &host).expect("a host");
        let limits = Limits { retries_max: 1, ..Limits::default() };
        let web = Web::new(Environment::default(), limits, Cancel::new());
        let reach = (&Environment::default(), Limits::default(), Cancel::new());
        let ring = KeyRing::new(place.keys.clone(), place.region.clone(), || Duration::ZERO, reach);
        S3 { place, origin, base: base.into(), ring, web, clock: || Duration::from_hours(380_376), sizes: (4, 3) }
    }

    fn keys() -> Keys {
        Keys {
            id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret: Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into()),
            token: None,
        }
    }

    /// The example of the specification: the same key, bucket, object and time have the same signature.
    #[test]
    fn addresses_are_signed_as_the_specification_shows() {
        let keys = keys();
        let s3 = s3(&keys, "https://s3.amazonaws.com", false);
        let url = s3.signed_for((&keys, 86400), (&Method::GET, "test.txt", &[]), &[]).full();
        let expected = "X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
        assert!(url.ends_with(expected), "{url}");
    }

    /// What a service was asked, without signatures, and what it was sent.
    type Asked = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

    /// A service that takes parts; the second is refused once, and `complete` is what it answers at the end.
    fn service(complete: &'static str) -> (Server, Asked) {
        let asked = Asked::default();
        let log = Arc::clone(&asked);
        let server = Server::start(move |request| {
            let query = request.query.rsplit_once("X-Amz-SignedHeaders=host").map_or("", |(_, rest)| rest);
            let query = query.split("&X-Amz-Signature").next().unwrap_or_default().trim_start_matches('&');
            let what = format!("{} {query}", request.method);
            let mut log = log.lock().expect("no test failed");
            let is_first = !log.iter().any(|(before, _)| *before == what);
            log.push((what.clone(), request.body.clone()));
            match (request.method.as_str(), query) {
                ("POST", "uploads=") => Response::body(200, "text/xml", "<R><UploadId>u&amp;1</UploadId></R>"),
                ("PUT", part) if part.starts_with("partNumber=2") && is_first => Response::status(503),
                ("PUT", part) => Response::status(200).with("etag", format!("\"{}\"", &part[11..12])),
                ("POST", _) => Response::body(200, "text/xml", complete),
                _ => Response::status(204),
            }
        });
        (server, asked)
    }

    fn put(server: &Server, bytes: &'static [u8]) -> Result<bool, CacheError> {
        let open: OpenBlob = Box::new(move || -> io::Result<Box<dyn io::Read + Send>> { Ok(Box::new(bytes)) });
        let size = u64::try_from(bytes.len()).expect("a few");
        s3(&keys(), &server.url(), true).put("blob", size, &open, &Condition::None)
    }

    #[test]
    fn what_one_request_cannot_write_is_sent_in_parts() {
        let (server, asked) = service("<CompleteMultipartUploadResult/>");
        assert!(put(&server, b"abcdefgh").expect("it is written"));
        let asked = asked.lock().expect("no test failed");
        let shown: Vec<(&str, &str)> =
            asked.iter().map(|(what, body)| (what.as_str(), std::str::from_utf8(body).expect("text"))).collect();
        let whole = "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>&quot;1&quot;</ETag></Part>\
                     <Part><PartNumber>2</PartNumber><ETag>&quot;2&quot;</ETag></Part>\
                     <Part><PartNumber>3</PartNumber><ETag>&quot;3&quot;</ETag></Part></CompleteMultipartUpload>";
        let expected = [
            ("POST uploads=", ""),
            ("PUT partNumber=1&uploadId=u%261", "abc"),
            ("PUT partNumber=2&uploadId=u%261", "def"),
            ("PUT partNumber=2&uploadId=u%261", "def"),
            ("PUT partNumber=3&uploadId=u%261", "gh"),
            ("POST uploadId=u%261", whole),
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn parts_that_become_no_object_are_an_error_and_removed() {
        let (server, asked) = service("<Error><Message>no room</Message></Error>");
        let error = put(&server, b"abcdefgh").expect_err("it says so in its answer").to_string();
        assert!(error.ends_with("the parts became no object: no room"), "{error}");
        let asked = asked.lock().expect("no test failed");
        assert_eq!(asked.last().map(|(what, _)| what.as_str()), Some("DELETE uploadId=u%261"));
    }
}
