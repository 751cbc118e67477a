//! What is attached to a manifest: listed by the registry, or under a tag where the registry is too old for that.
//!
//! Reference: OCI distribution-spec 1.1, "Listing Referrers", "Pushing Manifests with Subject" and "Referrers Tag Schema".

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use stave_oci::{BlobDigest, Descriptor, Document, Reference, media_type};
use ureq::http::Method;

use crate::auth::Repository;
use crate::client::{Client, PushImage};
use crate::config::registries::Place;
use crate::error::{HttpError, RegistryError};
use crate::failure::Failure;
use crate::limits;
use crate::pages;
use crate::pull::content_type;
use crate::push::{put_manifest, upload_blobs};
use stave_http::Request;
use stave_http::url::Url;

/// The shortest wait before a list that was written is read again, to see whether somebody else wrote it, too.
const SETTLE_MIN: Duration = Duration::from_millis(200);

/// The longest one.
const SETTLE_MAX: Duration = Duration::from_secs(2);

/// What an attached manifest says about itself.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attached {
    #[serde(default)]
    artifact_type: String,
    config: Option<Kind>,
    subject: Option<Subject>,
    #[serde(default)]
    annotations: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    media_type: String,
}

#[derive(Deserialize)]
struct Subject {
    digest: BlobDigest,
}

/// The list under the tag, as it was read.
struct TagList {
    /// Nothing where there is no such tag.
    index: Option<Value>,
    etag: Option<String>,
}

impl Client {
    /// Lists the manifests that are attached to `subject` in the repository that `name` is in; only those of
    /// `artifact_type`, if that is given.
    ///
    /// Mirrors are asked first; the first place that has any counts. Where the registry has no list of its own, the tag
    /// `sha256-HEX` is read. The entries' digests are what the registry says: what they lead to is verified when it is
    /// fetched ([`Client::manifest`]).
    pub fn referrers(
        &self,
        name: &Reference,
        subject: &BlobDigest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        let by_digest = Reference { digest: Some(*subject), ..name.clone() };
        for place in self.config.registries.places_to_pull(&by_digest)? {
            match self.referrers_at(&place, subject, artifact_type) {
                // A mirror that lacks what the registry has is no last word.
                Ok(found) if found.is_empty() && place.mirror => {}
                Err(error) if place.mirror && !matches!(error, RegistryError::Http(HttpError::Cancelled)) => {}
                result => return result,
            }
        }
        unreachable!("the last place is the registry itself")
    }

    fn referrers_at(
        &self,
        place: &Place,
        subject: &BlobDigest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        let repository = self.open(place, false)?;
        let mut url = repository.url(&format!("referrers/{subject}"));
        if let Some(kind) = artifact_type {
            url = url.with_query("artifactType", kind);
        }
        let mut found = Vec::new();
        let listed = pages::pages(&repository, url, "referrers", |reply, bytes| {
            let Ok(Document::Index(index)) = Document::parse(bytes, &content_type(reply)) else { return None };
            found.extend(index.manifests);
            Some(found.len())
        })?;
        if !listed {
            let index = read_list(&repository, subject)?.index;
            let entries = index.as_ref().and_then(|index| index["manifests"].as_array()).cloned();
            found = entries
                .unwrap_or_default()
                .into_iter()
                .filter_map(|entry| serde_json::from_value(entry).ok())
                .collect();
        }
        // The registry may have filtered already, or not.
        if let Some(kind) = artifact_type {
            found.retain(|entry| entry.artifact_type == kind);
        }
        Ok(found)
    }

    /// Sends a manifest that has a `subject`, with its blobs, to the repository that `name` is in, and makes sure that it
    /// is listed among that one's referrers. It gets no tag. Returns its digest.
    ///
    /// Where the registry keeps no such list, the tag `sha256-HEX` does, which everybody who attaches something writes.
    /// No request of the protocol changes it in one step: what others wrote in between is read again and kept, and the
    /// write is repeated until the entry is found there, a bounded number of times.
    pub fn push_referrer(&self, name: &Reference, artifact: &PushImage) -> Result<BlobDigest, RegistryError> {
        let digest = BlobDigest::of(&artifact.manifest_bytes);
        let attached: Attached = serde_json::from_slice(&artifact.manifest_bytes)
            .map_err(|source| RegistryError::Manifest { reference: name.to_string(), source: source.into() })?;
        let Some(subject) = &attached.subject else { return Err(RegistryError::NoSubject { digest }) };
        let repository = self.open_to_push(name)?;
        upload_blobs(&repository, artifact.blobs.iter(), &|_, _| ())?;
        let url = repository.url(&format!("manifests/{digest}"));
        let mut patience = repository.patience();
        let reply = loop {
            let document = (artifact.manifest_bytes.as_slice(), artifact.media_type.as_str());
            match put_manifest(&repository, url.clone(), document, digest, &[]) {
                Ok(reply) => break reply,
                Err(failure) => failure.wait(&mut patience)?,
            }
        };
        let listed: Option<BlobDigest> = reply.header("oci-subject").and_then(|text| text.parse().ok());
        if listed != Some(subject.digest) {
            let _turn = self.referring.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            add_to_list(&repository, &subject.digest, &entry(artifact, &attached, &digest))?;
        }
        Ok(digest)
    }
}

/// How an attached manifest is listed.
fn entry(artifact: &PushImage, attached: &Attached, digest: &BlobDigest) -> Value {
    let mut entry = json!({
        "mediaType": artifact.media_type,
        "digest": digest.to_string(),
        "size": artifact.manifest_bytes.len(),
    });
    let config = attached.config.as_ref().map_or("", |config| config.media_type.as_str());
    let kind = if attached.artifact_type.is_empty() { config } else { &attached.artifact_type };
    if !kind.is_empty() {
        entry["artifactType"] = kind.into();
    }
    if attached.annotations.as_object().is_some_and(|annotations| !annotations.is_empty()) {
        entry["annotations"] = attached.annotations.clone();
    }
    entry
}

fn list_url(repository: &Repository<'_>, subject: &BlobDigest) -> Url {
    repository.url(&format!("manifests/sha256-{}", subject.hex()))
}

/// Reads the list under the tag.
///
/// Errors: the tag names something else.
fn read_list(repository: &Repository<'_>, subject: &BlobDigest) -> Result<TagList, RegistryError> {
    let mut patience = repository.patience_to_find();
    loop {
        match try_read_list(repository, subject) {
            Ok(list) => return Ok(list),
            Err(failure) => failure.wait(&mut patience)?,
        }
    }
}

fn try_read_list(repository: &Repository<'_>, subject: &BlobDigest) -> Result<TagList, Failure> {
    let http = &repository.client.http;
    let mut request = Request::new(Method::GET, list_url(repository, subject));
    request.headers.push(("accept", media_type::OCI_INDEX.to_owned()));
    let mut reply = repository.send(request)?;
    match reply.status {
        200 => {}
        404 => return Ok(TagList { index: None, etag: None }),
        _ => return Err(http.status_failure(reply).into()),
    }
    let bytes = http.read_all("list of referrers", &mut reply, limits::MANIFEST_BYTES_MAX)?;
    let reference = || format!("{}:sha256-{}", repository.place.repository, subject.hex());
    match Document::parse(&bytes, &content_type(&reply)) {
        Ok(Document::Index(_)) => {}
        Ok(Document::Manifest(_)) => return Err(RegistryError::ReferrersTag { reference: reference() }.into()),
        Err(source) => return Err(RegistryError::Manifest { reference: reference(), source }.into()),
    }
    // As a value, so that what others wrote into it stays, whatever it means.
    let index = serde_json::from_slice(&bytes)
        .map_err(|source| RegistryError::Manifest { reference: reference(), source: source.into() })?;
    Ok(TagList { index: Some(index), etag: reply.header("etag").map(str::to_owned) })
}

/// Adds an entry to the list under the tag, unless it is there, and sees to it that it stays.
fn add_to_list(repository: &Repository<'_>, subject: &BlobDigest, entry: &Value) -> Result<(), RegistryError> {
    let clock = &repository.client.clock;
    for _ in 0..limits::REFERRER_WRITES_MAX {
        let began = clock.now();
        let TagList { index, etag } = read_list(repository, subject)?;
        if index.as_ref().is_some_and(|index| lists(index, entry)) {
            return Ok(());
        }
        let is_new = index.is_none();
        let mut index =
            index.unwrap_or_else(|| json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [] }));
        index["manifests"].as_array_mut().expect("it was read as an index").push(entry.clone());
        // Registries that know conditions refuse a write over somebody else's; the others take no notice.
        let condition = match etag {
            Some(etag) => vec![("if-match", etag)],
            None if is_new => vec![("if-none-match", "*".to_owned())],
            None => Vec::new(),
        };
        write_list(repository, subject, &index, &condition)?;
        // Whoever read before this write will have written when about as much time has passed again.
        let window = (clock.now().saturating_sub(began) * 2).clamp(SETTLE_MIN, SETTLE_MAX);
        clock.sleep(window + window * clock.chance() / 100, &repository.client.cancel);
    }
    let reference = format!("{}:sha256-{}", repository.place.repository, subject.hex());
    let index = read_list(repository, subject)?.index;
    if index.is_some_and(|index| lists(&index, entry)) {
        return Ok(());
    }
    Err(RegistryError::ReferrersBusy { reference, tries: limits::REFERRER_WRITES_MAX })
}

fn lists(index: &Value, entry: &Value) -> bool {
    index["manifests"].as_array().is_some_and(|all| all.iter().any(|one| one["digest"] == entry["digest"]))
}

fn write_list(
    repository: &Repository<'_>,
    subject: &BlobDigest,
    index: &Value,
    condition: &[(&'static str, String)],
) -> Result<(), RegistryError> {
    let (bytes, url) = (index.to_string().into_bytes(), list_url(repository, subject));
    if bytes.len() as u64 > limits::MANIFEST_BYTES_MAX {
        let limit = limits::MANIFEST_BYTES_MAX;
        return Err(HttpError::TooLarge { what: "list of referrers", url: Box::new(url), limit }.into());
    }
    let mut patience = repository.patience();
    loop {
        let document = (bytes.as_slice(), media_type::OCI_INDEX);
        match put_manifest(repository, url.clone(), document, BlobDigest::of(&bytes), condition) {
            Ok(_) => return Ok(()),
            // Somebody else was quicker: the list is read again.
            Err(Failure { error: RegistryError::Http(HttpError::Status { status: 409 | 412, .. }), .. }) => {
                return Ok(());
            }
            Err(failure) => failure.wait(&mut patience)?,
        }
    }
}
