//! Objects that one request cannot write: sent in parts, which become an object at once or not at all.
//!
//! Reference: AWS, "Uploading and copying objects using multipart upload".

use std::io::{self, Read};

use stave_http::{Payload, Request};
use stave_registry::OpenBlob;
use ureq::http::Method;

use super::{Condition, S3, conditions};
use crate::backend::web::ANSWER_BYTES_MAX;
use crate::error::CacheError;

/// A blob that is read in parts: a part that has to be sent again is read anew from the beginning.
struct Parts<'a> {
    key: &'a str,
    open: &'a OpenBlob,
    /// Where the reader is, while nothing has failed.
    reader: Option<(u64, Box<dyn Read + Send>)>,
}

impl Parts<'_> {
    fn unreadable(&self, source: io::Error) -> CacheError {
        CacheError::Blob { action: "read", digest: self.key.to_owned(), source }
    }

    /// Returns a reader that is at `offset`.
    fn at(&mut self, offset: u64) -> Result<Box<dyn Read + Send>, CacheError> {
        if let Some((_, reader)) = self.reader.take_if(|(place, _)| *place == offset) {
            return Ok(reader);
        }
        let mut reader = (self.open)().map_err(|source| self.unreadable(source))?;
        let passed = io::copy(&mut Read::take(&mut reader, offset), &mut io::sink());
        match passed {
            Ok(passed) if passed == offset => Ok(reader),
            Ok(_) => Err(self.unreadable(io::ErrorKind::UnexpectedEof.into())),
            Err(source) => Err(self.unreadable(source)),
        }
    }
}

/// Returns what stands in an element of an answer in XML.
fn element<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let from = text.find(&format!("<{name}>"))? + name.len() + 2;
    let length = text[from..].find(&format!("</{name}>"))?;
    Some(&text[from..from + length])
}

fn unescaped(text: &str) -> String {
    text.replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

impl S3 {
    /// Writes an object of `size` bytes in parts of `part` bytes, of which the last may have fewer. Returns whether it was
    /// written: with a condition that does not hold, it is not.
    ///
    /// Errors: a part could not be read or sent. Nothing is left of the others then, as far as the service can be reached.
    pub(super) fn put_parts(
        &self,
        key: &str,
        (size, part): (u64, u64),
        open: &OpenBlob,
        condition: &Condition,
    ) -> Result<bool, CacheError> {
        let upload = self.begin(key)?;
        let sent = self.send_parts(key, &upload, (size, part), open);
        let done = sent.and_then(|tags| self.complete(key, &upload, &tags, condition));
        if !matches!(done, Ok(true)) {
            // What is left of it costs money until a rule of the bucket removes it; the error above says more than this one.
            let keys = self.ring.keys()?;
            let query = [("uploadId", upload.as_str())];
            let abort = || self.request_with(&keys, (Method::DELETE, key, &query), Vec::new());
            let _left = self.web.ask(&[200, 204, 404], &abort);
        }
        done
    }

    /// Returns the name of a new upload.
    fn begin(&self, key: &str) -> Result<String, CacheError> {
        let keys = self.ring.keys()?;
        let headers = vec![("content-type", "application/octet-stream".to_owned())];
        let request = || self.request_with(&keys, (Method::POST, key, &[("uploads", "")]), headers.clone());
        let mut reply = self.web.ask(&[200], &request)?;
        let bytes = self.web.read_all(&mut reply, ANSWER_BYTES_MAX)?;
        let text = String::from_utf8_lossy(&bytes);
        let upload = element(&text, "UploadId").map(unescaped).filter(|id| !id.is_empty());
        upload.ok_or_else(|| CacheError::Answer {
            url: Box::new(reply.url),
            reason: "it began an upload in parts and gave it no name".to_owned(),
        })
    }

    /// Sends all parts, and returns by what the service knows each.
    fn send_parts(
        &self,
        key: &str,
        upload: &str,
        (size, part): (u64, u64),
        open: &OpenBlob,
    ) -> Result<Vec<String>, CacheError> {
        let parts = std::cell::RefCell::new(Parts { key, open, reader: None });
        let mut tags = Vec::new();
        let mut offset = 0;
        while offset < size {
            let (number, length) = ((tags.len() + 1).to_string(), part.min(size - offset));
            let query = [("partNumber", number.as_str()), ("uploadId", upload)];
            let keys = self.ring.keys()?;
            let reply = self.web.send(&[200], &|send| {
                let mut reader = parts.borrow_mut().at(offset)?;
                let mut request: Request<'_> = self.request_with(&keys, (Method::PUT, key, &query), Vec::new());
                let mut piece = Read::take(&mut reader, length);
                request.payload = Payload::Stream { reader: &mut piece, size: length };
                let sent = send(request);
                if sent.is_ok() {
                    parts.borrow_mut().reader = Some((offset + length, reader));
                }
                Ok(sent)
            })?;
            let tag = reply.header("etag").map(str::to_owned);
            tags.push(tag.ok_or_else(|| CacheError::Answer {
                url: Box::new(reply.url),
                reason: format!("it took part {number} and gave it no `ETag`"),
            })?);
            offset += length;
        }
        Ok(tags)
    }

    /// Makes an object of the parts. The service may say only in its answer that it could not.
    fn complete(&self, key: &str, upload: &str, tags: &[String], condition: &Condition) -> Result<bool, CacheError> {
        let part = |(index, tag): (usize, &String)| {
            let tag = tag.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
            format!("<Part><PartNumber>{}</PartNumber><ETag>{tag}</ETag></Part>", index + 1)
        };
        let parts: Vec<String> = tags.iter().enumerate().map(part).collect();
        let body = format!("<CompleteMultipartUpload>{}</CompleteMultipartUpload>", parts.concat());
        let mut headers = vec![("content-type", "application/xml".to_owned())];
        headers.extend(conditions(condition));
        let keys = self.ring.keys()?;
        let query = [("uploadId", upload)];
        let mut reply = self.web.send(&[200, 409, 412], &|send| {
            let mut request = self.request_with(&keys, (Method::POST, key, &query), headers.clone());
            request.payload = Payload::Bytes(body.as_bytes());
            Ok(send(request))
        })?;
        if reply.status != 200 {
            return Ok(false);
        }
        let bytes = self.web.read_all(&mut reply, ANSWER_BYTES_MAX)?;
        let text = String::from_utf8_lossy(&bytes);
        if text.contains("<CompleteMultipartUploadResult") {
            return Ok(true);
        }
        let why = element(&text, "Message").map_or_else(|| "it did not say why".to_owned(), unescaped);
        Err(CacheError::Answer { url: Box::new(reply.url), reason: format!("the parts became no object: {why}") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_of_an_answer_is_found() {
        let text = "<?xml version=\"1.0\"?>\n<R xmlns=\"x\"><Key>a</Key><UploadId>a&amp;b</UploadId></R>";
        assert_eq!(element(text, "UploadId").map(unescaped), Some("a&b".to_owned()));
        assert_eq!(element(text, "Bucket"), None);
        assert_eq!(element("<UploadId>a", "UploadId"), None);
    }
}
