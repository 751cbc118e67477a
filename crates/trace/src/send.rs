//! One request that takes a trace to a collector.

use std::io::{self, Write as _};

use flate2::Compression;
use flate2::write::GzEncoder;
use stave_http::{Cancel, Environment, Failure, Http, HttpError, Limits, Payload, Request, Setup, clean};
use ureq::http::Method;

use crate::json::json;
use crate::protobuf::protobuf;
use crate::settings::{Protocol, Settings};
use crate::span::Trace;

/// Largest answer of a collector that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// Why a trace did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The exchange failed, or the collector refused.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The collector took a part.
    #[error("the collector refused {spans} of the spans{message}")]
    Partial {
        /// How many it refused.
        spans: u64,
        /// What it says, after `: `, if it says anything.
        message: String,
    },
}

/// Sends a trace, once. Whoever calls it ends it by `cancel` when it takes too long.
///
/// # Errors
/// If the collector cannot be reached, refuses it, or takes only a part of it.
pub fn send(trace: &Trace, settings: &Settings, environment: Environment, cancel: Cancel) -> Result<(), SendError> {
    let (media_type, body) = match settings.protocol {
        Protocol::Protobuf => ("application/x-protobuf", protobuf(trace)),
        Protocol::Json => ("application/json", json(trace).into_bytes()),
    };
    let mut headers = vec![("content-type", media_type.to_owned())];
    let body = if settings.gzip {
        headers.push(("content-encoding", "gzip".to_owned()));
        compressed(&body).unwrap_or(body)
    } else {
        body
    };
    let environment = Environment {
        ssl_cert_file: settings.certificate.clone().or(environment.ssl_cert_file.clone()),
        ..environment
    };
    let patience = settings.timeout;
    let limits = Limits { connect_timeout: patience, first_byte_timeout: patience, ..Limits::default() };
    let http = Http::new(Setup::new(environment), limits, cancel);
    let mut reply = http
        .send(Request {
            headers,
            secrets: settings.headers.clone(),
            payload: Payload::Bytes(&body),
            ..Request::new(Method::POST, settings.endpoint.clone())
        })
        .map_err(refused)?;
    if !(200..300).contains(&reply.status) {
        return Err(refused(http.status_failure(reply)));
    }
    if reply.header("content-type").is_some_and(|kind| kind.starts_with("application/json")) {
        let bytes = http.read_all("answer of the collector", &mut reply, ANSWER_BYTES_MAX).map_err(refused)?;
        partial(&bytes)?;
    }
    Ok(())
}

fn refused(failure: Failure) -> SendError {
    failure.error.into()
}

fn compressed(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// Reads whether everything was taken. An answer that is nothing of the kind says that it was.
fn partial(answer: &[u8]) -> Result<(), SendError> {
    let answer: serde_json::Value = serde_json::from_slice(answer).unwrap_or_default();
    let rejected = &answer["partialSuccess"]["rejectedSpans"];
    let spans = rejected.as_u64().or_else(|| rejected.as_str()?.parse().ok()).unwrap_or(0);
    if spans == 0 {
        return Ok(());
    }
    let said = answer["partialSuccess"]["errorMessage"].as_str().map(clean).unwrap_or_default();
    let message = if said.is_empty() { said } else { format!(": {said}") };
    Err(SendError::Partial { spans, message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_that_takes_a_part_says_what_it_refused() {
        let said = |answer: &str| partial(answer.as_bytes()).map_err(|error| error.to_string());
        for whole in ["", "{}", "[1]", r#"{"partialSuccess":{}}"#, r#"{"partialSuccess":{"rejectedSpans":"0"}}"#] {
            assert_eq!(said(whole), Ok(()), "{whole}");
        }
        assert_eq!(
            said(r#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"too \u001b[2Jmany"}}"#),
            Err("the collector refused 3 of the spans: too  [2Jmany".to_owned())
        );
        assert_eq!(
            said(r#"{"partialSuccess":{"rejectedSpans":1}}"#),
            Err("the collector refused 1 of the spans".to_owned())
        );
    }
}
