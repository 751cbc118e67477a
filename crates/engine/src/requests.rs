//! What a step asked of the network: who decides about it while the step runs, and what is kept of it beside its layer.
//!
//! See `docs/decisions/0025-a-proxy-for-steps.md`.

use std::io;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};
use stave_event::RequestLine;
use stave_graph::remote::redacted_text_without_queries;
use stave_oci::BlobDigest;
use stave_proxy::{Authority, Content, Exchange, Judge, Judged, Outcome, Verdict};
use stave_store::{LayerId, WorkDir};

use crate::build::Report;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::rules::SourceRules;
use crate::veil::{Hidden, Veil};

/// The file beside a layer's files that says what the step which made it asked for.
const FILE: &str = "requests.json";
/// What the file is written by; one with another number is not understood.
const VERSION: u32 = 1;
/// Largest such file, in bytes: a step makes so many requests at most, and no address is longer than 16 KiB.
const FILE_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// All that a step asked for, in the order in which it did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Requests {
    version: u32,
    requests: Vec<Asked>,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Asked {
    method: String,
    /// Without credentials, without the values of secrets, and with `?...` for its query, which often carries a signature.
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// What the policies made of it, where they did anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    rules: Option<ByPolicies>,
    /// Why it was not made.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
    /// Why no answer came.
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<String>,
    /// Of the file that came, if it came whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<BlobDigest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    /// Whether a file did not come whole.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    cut: bool,
}

/// What the policies made of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ByPolicies {
    /// They were not asked.
    Unasked,
    /// They denied it.
    Denied,
    /// They put this address in its place, and want this checksum.
    Instead(String, Option<BlobDigest>),
}

impl ByPolicies {
    fn new(judged: &Judged, hidden: &Hidden) -> Option<Self> {
        match judged {
            Judged::AsItIs => None,
            Judged::Unasked => Some(Self::Unasked),
            Judged::Denied => Some(Self::Denied),
            Judged::Instead(verdict) => Some(Self::Instead(shown(&verdict.url, hidden), verdict.checksum)),
        }
    }

    /// Returns what the policies make of an address now; nothing if they leave it as it is.
    fn now(rules: &SourceRules, url: &str) -> Option<Self> {
        match rules.request(url) {
            Err(_) => Some(Self::Denied),
            Ok((used, None)) if used == url => None,
            Ok((used, checksum)) => Some(Self::Instead(used, checksum)),
        }
    }
}

impl Asked {
    fn new(exchange: &Exchange, hidden: &Hidden) -> Self {
        let shown = |text: &str| shown(text, hidden);
        let (digest, bytes) = match exchange.content {
            Content::Whole { digest, bytes } => (Some(digest), Some(bytes)),
            Content::Nothing | Content::Cut => (None, None),
        };
        let (mut status, mut refused, mut failed) = (None, None, None);
        match &exchange.outcome {
            Outcome::Answered(number) => status = Some(*number),
            Outcome::Refused(text) => refused = Some(shown(text)),
            Outcome::Failed(text) => failed = Some(shown(text)),
            Outcome::Unfinished => failed = Some("the step ended before there was an answer".to_owned()),
        }
        let cut = exchange.content == Content::Cut;
        let (method, url) = (exchange.method.clone(), shown(&exchange.url));
        let rules = ByPolicies::new(&exchange.judged, hidden);
        Self { method, url, status, rules, refused, failed, digest, bytes, cut }
    }

    /// Returns it as it is told.
    fn line(&self) -> RequestLine {
        RequestLine {
            method: self.method.clone(),
            url: self.url.clone(),
            status: self.status,
            refused: self.refused.clone(),
            failed: self.failed.clone(),
            digest: self.digest.map(|digest| digest.to_string()),
            cut: self.cut,
        }
    }
}

fn shown(text: &str, hidden: &Hidden) -> String {
    let (mut veil, mut seen) = (Veil::new(hidden), Vec::new());
    veil.pass(text.as_bytes(), |piece| seen.extend_from_slice(piece));
    veil.end(|piece| seen.extend_from_slice(piece));
    let text: String = String::from_utf8_lossy(&seen).chars().filter(|char| !char.is_control()).collect();
    redacted_text_without_queries(&text)
}

impl Requests {
    /// Returns the record of `exchanges`, in which nothing is that is hidden.
    pub(crate) fn new(exchanges: &[Exchange], hidden: &Hidden) -> Self {
        Self { version: VERSION, requests: exchanges.iter().map(|exchange| Asked::new(exchange, hidden)).collect() }
    }

    /// Returns the lines that the step's output ends with; nothing if it asked for nothing.
    pub(crate) fn text(&self) -> String {
        let lines = self.requests.iter().map(|asked| format!("- {}\n", asked.line()));
        if self.requests.is_empty() {
            String::new()
        } else {
            format!("network requests:\n{}", lines.collect::<String>())
        }
    }

    /// Returns the requests as they are told.
    pub(crate) fn lines(&self) -> Vec<RequestLine> {
        self.requests.iter().map(Asked::line).collect()
    }

    /// Returns the files that came whole, with their digests.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, BlobDigest)> {
        self.requests.iter().filter_map(|asked| Some((asked.url.as_str(), asked.digest?)))
    }

    /// Returns the files that did not come whole.
    pub(crate) fn cut(&self) -> impl Iterator<Item = &str> {
        self.requests.iter().filter(|asked| asked.cut).map(|asked| asked.url.as_str())
    }

    /// Whether all that came is in the record with a digest: nothing was cut, and what may have brought something is none
    /// of the methods that only send.
    pub(crate) fn is_complete(&self) -> bool {
        let brought = |asked: &&Asked| asked.status.is_some_and(|status| (200..300).contains(&status));
        self.requests.iter().filter(brought).all(|asked| asked.digest.is_some() || asked.method == "HEAD")
    }

    /// Whether the policies would say the same of all that was asked for now.
    fn is_judged_alike(&self, rules: &SourceRules) -> bool {
        let was_asked = |asked: &&Asked| asked.rules != Some(ByPolicies::Unasked);
        let alike = |asked: &Asked| asked.rules == ByPolicies::now(rules, &asked.url);
        self.requests.iter().filter(was_asked).all(alike)
    }

    /// Writes it beside the files of a layer that is going to be published.
    pub(crate) fn write(&self, engine: &Engine, work: &WorkDir) -> Result<(), EngineError> {
        let bytes = serde_json::to_vec(self)
            .map_err(|error| EngineError::io("write", work.path().join(FILE), io::Error::other(error)))?;
        let directory = engine.store_dir(&work.rel_path())?;
        directory
            .replace_file(FILE.as_bytes(), &bytes, 0o600)
            .map_err(|error| EngineError::tree("cannot keep what a step asked of the network", error))
    }

    /// Reads what lies beside a layer's files; nothing if there is nothing that is understood.
    pub(crate) fn read(engine: &Engine, layer: LayerId) -> Option<Self> {
        let files = engine.store.layer_rel_path(layer);
        let directory = engine.store_dir(files.strip_suffix("/diff")?).ok()?;
        let bytes = directory.read_file(FILE.as_bytes(), FILE_BYTES_MAX).ok()?;
        serde_json::from_slice(&bytes).ok().filter(|found: &Self| found.version == VERSION)
    }
}

/// Who decides about the requests of a build's steps, and whom these trust.
pub(crate) struct Recorder {
    rules: Arc<SourceRules>,
    authority: OnceLock<Arc<Authority>>,
}

impl Recorder {
    pub(crate) fn new(rules: &SourceRules) -> Self {
        Self { rules: Arc::new(rules.clone()), authority: OnceLock::new() }
    }

    /// Returns the authority of the build, which is made when a step first needs it.
    pub(crate) fn authority(&self) -> Result<Arc<Authority>, EngineError> {
        if let Some(made) = self.authority.get() {
            return Ok(Arc::clone(made));
        }
        let made = Authority::new().map_err(|error| EngineError::tree("cannot record requests", error))?;
        // Of two that were made at once, one is used.
        Ok(Arc::clone(self.authority.get_or_init(|| Arc::new(made))))
    }

    pub(crate) fn judge(&self) -> Arc<dyn Judge> {
        Arc::new(ByRules(Arc::clone(&self.rules)))
    }

    /// Tells what the policies printed.
    pub(crate) fn tell(&self, events: Report<'_>) {
        self.rules.log.tell(events);
    }

    /// Returns the record of a layer, if there is one and the policies would say now what they said of it then.
    pub(crate) fn usable(&self, engine: &Engine, layer: LayerId) -> Option<Requests> {
        Requests::read(engine, layer).filter(|requests| requests.is_judged_alike(&self.rules))
    }
}

/// The policies of a build.
struct ByRules(Arc<SourceRules>);

impl Judge for ByRules {
    fn judge(&self, _method: &str, url: &str) -> Result<Verdict, String> {
        let (url, checksum) = self.0.request(url).map_err(|objection| objection.text())?;
        Ok(Verdict { url, checksum })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(url: &str, outcome: Outcome, content: Content) -> Exchange {
        let judged = if matches!(outcome, Outcome::Refused(_)) { Judged::Denied } else { Judged::AsItIs };
        Exchange { method: "GET".to_owned(), url: url.to_owned(), judged, outcome, content }
    }

    #[test]
    fn a_record_has_no_secret_and_no_query_and_is_read_as_it_was_written() {
        let mut hidden = Hidden::default();
        hidden.add(b"hush-5d1c77");
        let whole = Content::Whole { digest: BlobDigest::of(b"x"), bytes: 1 };
        let requests = Requests::new(
            &[
                exchange("https://a/hush-5d1c77/f?sig=1", Outcome::Answered(200), whole),
                exchange("https://a/cut", Outcome::Answered(200), Content::Cut),
                exchange("https://b/", Outcome::Refused("no `https://b/?sig=1`".to_owned()), Content::Nothing),
                exchange("https://c/", Outcome::Unfinished, Content::Nothing),
            ],
            &hidden,
        );
        assert_eq!(
            requests.text(),
            "network requests:\n\
             - GET https://a/****/f?... -> 200\n\
             - GET https://a/cut -> 200 (incomplete)\n\
             - GET https://b/ -> refused: no `https://b/?...`\n\
             - GET https://c/ -> failed: the step ended before there was an answer\n"
        );
        assert_eq!(requests.files().collect::<Vec<_>>(), [("https://a/****/f?...", BlobDigest::of(b"x"))]);
        assert_eq!(requests.cut().collect::<Vec<_>>(), ["https://a/cut"]);
        assert!(!requests.is_complete());
        // Without rules, what was denied would be allowed.
        assert!(!requests.is_judged_alike(&SourceRules::default()));
        let allowed = Requests { requests: requests.requests[..2].to_vec(), ..requests.clone() };
        assert!(allowed.is_judged_alike(&SourceRules::default()));
        let text = serde_json::to_string(&requests).expect("it is JSON");
        assert_eq!(serde_json::from_str::<Requests>(&text).expect("it is read"), requests);
        assert_eq!(Requests::new(&[], &hidden).text(), "");
    }
}
