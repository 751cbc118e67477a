//! Images in registries, as they are there: merged into an index, and looked at.
//!
//! It turns names into documents and back, and knows no store: nothing is kept here, and blobs that have to move go from
//! one registry to the other.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use stave_oci::{BlobDigest, Descriptor, Document, ImageConfig, Index, Manifest, Platform, Reference, media_type};
use stave_registry::{FoundManifest, PushImage, PushProgress};

use crate::artifact::Artifact;
use crate::build::Report;
use crate::error::EngineError;
use crate::event::{Event, TaskKind};
use crate::push::Sent;
use crate::registries::Registries;
use crate::task::Task;

/// What attestations of images are called in an index, and what they say whose they are.
pub(crate) const SUBJECT_KEY: &str = "vnd.docker.reference.digest";
/// What the layer of an attestation says that it is about.
const PREDICATE_KEY: &str = "in-toto.io/predicate-type";
/// The type of such a layer.
const STATEMENT_TYPE: &str = "application/vnd.in-toto+json";
/// Largest attestation that is shown, in bytes.
const STATEMENT_BYTES_MAX: u64 = 64 << 20;

/// Something to merge.
#[derive(Debug, Clone)]
pub enum ImageSource {
    /// An image or an index by its whole name.
    Name(Reference),
    /// One by its name as it was typed: of a short one with several meanings, the first that there is.
    Typed(String),
    /// One in the repository that the result goes to.
    Digest(BlobDigest),
    /// A descriptor, perhaps with a platform and remarks of its own, of something in the repository that the result goes
    /// to.
    Described(Box<Descriptor>),
}

/// A remark on the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remark {
    /// On the index.
    Index(String, String),
    /// On what the index says of its images: of those for this platform, or of all.
    Descriptor(Option<Platform>, String, String),
}

/// What to merge, and how.
#[derive(Debug, Clone, Default)]
pub struct MergeRequest {
    /// What to merge, in this order.
    pub sources: Vec<ImageSource>,
    /// The names that the result gets.
    pub targets: Vec<Reference>,
    /// Whether what the first target names now comes before the sources.
    pub append: bool,
    /// Remarks on the result.
    pub remarks: Vec<Remark>,
    /// The platforms to take; all, if none is given.
    pub platforms: Vec<Platform>,
    /// Takes one image: the best for this platform.
    pub best_for: Option<Platform>,
    /// Whether one image alone becomes an index, too.
    pub prefer_index: bool,
}

/// What came of a merge.
#[derive(Debug, Clone)]
pub struct Merged {
    /// The index, or the one manifest.
    pub bytes: Vec<u8>,
    /// Its descriptor.
    pub descriptor: Descriptor,
    /// Where its parts are: repositories and digests.
    pub(crate) parts: Vec<(Reference, BlobDigest)>,
    /// Parts that are files here.
    pub(crate) artifacts: Vec<Artifact>,
}

/// An image or index in a registry.
#[derive(Debug, Clone)]
pub struct Examined {
    /// Its name.
    pub name: Reference,
    /// Its bytes, as they were served.
    pub bytes: Vec<u8>,
    /// Its media type, digest and size.
    pub descriptor: Descriptor,
    /// What an index lists; nothing for an image.
    pub listed: Option<Vec<Descriptor>>,
    found: FoundManifest,
}

/// Returns what is known of the images of an index: of the only one itself, else by platform. As buildx does.
fn by_platform(mut all: Map<String, Value>) -> Value {
    let only = if all.len() == 1 { all.keys().next().cloned() } else { None };
    only.and_then(|platform| all.remove(&platform)).unwrap_or(Value::Object(all))
}

impl Registries {
    /// Merges images and indexes into one. Nothing is sent.
    ///
    /// Errors: something is not there; nothing is for the platforms asked for.
    pub fn merge(&self, request: &MergeRequest, events: &(dyn Fn(Event) + Sync)) -> Result<Merged, EngineError> {
        let mut sources = request.sources.clone();
        if request.append {
            let target = request.targets.first().ok_or_else(no_target)?;
            sources.insert(0, ImageSource::Name(target.clone()));
        }
        let mut entries = Entries::default();
        let mut single = None;
        for source in &sources {
            let (names, described) = self.place(source, &request.targets)?;
            let (name, found) = Self::first(names, |name| {
                Task::during(events, TaskKind::Resolve, format!("resolve {name}"), |_| {
                    Ok::<_, EngineError>(self.client.manifest(name)?)
                })
            })?;
            self.add(&mut entries, &name, described, &found)?;
            single = Some((name, found));
        }
        let (name, found) = single.ok_or_else(|| EngineError::request("there is nothing to merge", None))?;
        let takes_all = request.platforms.is_empty() && request.best_for.is_none();
        let as_it_is = sources.len() == 1 && request.remarks.is_empty() && takes_all;
        if as_it_is && (matches!(found.document, Document::Index(_)) || !request.prefer_index) {
            let descriptor = Descriptor::new(&found.media_type, found.digest, found.bytes.len() as u64);
            return Ok(Merged {
                bytes: found.bytes,
                descriptor,
                parts: vec![(name, found.digest)],
                artifacts: Vec::new(),
            });
        }
        entries.keep_platforms(&request.platforms)?;
        if let Some(wanted) = &request.best_for {
            entries.keep_best(wanted)?;
        }
        entries.remark(&request.remarks)?;
        Ok(entries.into_index(&request.remarks))
    }

    /// Adds an image, or all that an index lists.
    fn add(
        &self,
        entries: &mut Entries,
        name: &Reference,
        described: Option<&Descriptor>,
        found: &FoundManifest,
    ) -> Result<(), EngineError> {
        match &found.document {
            Document::Index(index) => index.manifests.iter().for_each(|entry| entries.add(name, entry.clone())),
            Document::Manifest(manifest) => {
                let mut entry = Descriptor::new(&found.media_type, found.digest, found.bytes.len() as u64);
                if let Some(described) = described {
                    entry.platform.clone_from(&described.platform);
                    entry.annotations.clone_from(&described.annotations);
                    entry.artifact_type.clone_from(&described.artifact_type);
                }
                if entry.platform.is_none() && is_image(manifest) {
                    let config: ImageConfig =
                        serde_json::from_slice(&self.config(found, manifest)?).map_err(|source| {
                            EngineError::tree(format!("cannot use the configuration of `{name}`"), source)
                        })?;
                    entry.platform = Some(config.platform());
                }
                entries.add(name, entry);
            }
        }
        Ok(())
    }

    /// Sends a merged index to `target`, and whatever of its parts is not there yet.
    pub fn publish(&self, merged: &Merged, target: &Reference, events: Report<'_>) -> Result<(), EngineError> {
        Task::during(events, TaskKind::Push, format!("push {target}"), |task| self.send(merged, target, task))
    }

    fn send(&self, merged: &Merged, target: &Reference, task: &Task<'_>) -> Result<(), EngineError> {
        let sent = Sent::default();
        let progress = |blob: &Descriptor, progress: PushProgress| sent.tell(task, blob, progress);
        for (from, digest) in &merged.parts {
            self.client.copy(from, *digest, target, &progress)?;
        }
        for artifact in &merged.artifacts {
            let image = artifact.push_image()?;
            if artifact.has_subject() {
                self.client.push_referrer(target, &image)?;
            } else {
                self.client.push(&by_digest(target, artifact.digest), &image, &progress)?;
            }
        }
        if serde_json::from_slice::<Value>(&merged.bytes).is_ok_and(|index| index.get("subject").is_some()) {
            // Without its tag first, so that it is among the referrers of its subject.
            let (manifest_bytes, media_type) = (merged.bytes.clone(), merged.descriptor.media_type.clone());
            self.client.push_referrer(target, &PushImage { manifest_bytes, media_type, blobs: Vec::new() })?;
        }
        self.client.put_manifest(target, &merged.bytes, &merged.descriptor.media_type)?;
        Ok(())
    }

    /// Looks at an image or an index by its name as it was typed: of a short one with several meanings, the first that there
    /// is.
    ///
    /// # Errors
    /// If it is no name, or none of its meanings can be had; then why the first cannot.
    pub fn examine_typed(&self, name: &str) -> Result<Examined, EngineError> {
        Ok(Self::first(self.meanings(name)?, |meaning| self.examine(meaning))?.1)
    }

    /// Returns what `get` gives for the first of the names for which it gives something.
    fn first<T>(
        names: Vec<Reference>,
        get: impl Fn(&Reference) -> Result<T, EngineError>,
    ) -> Result<(Reference, T), EngineError> {
        let mut first_error = None;
        for name in names {
            match get(&name) {
                Ok(found) => return Ok((name, found)),
                Err(error) => drop(first_error.get_or_insert(error)),
            }
        }
        Err(first_error.unwrap_or_else(|| EngineError::request("there is nothing to look for", None)))
    }

    /// Returns where a source may be, and what is said of it.
    fn place<'s>(
        &self,
        source: &'s ImageSource,
        targets: &[Reference],
    ) -> Result<(Vec<Reference>, Option<&'s Descriptor>), EngineError> {
        let in_target = |digest| Ok::<_, EngineError>(vec![by_digest(targets.first().ok_or_else(no_target)?, digest)]);
        match source {
            ImageSource::Name(name) => Ok((vec![name.clone()], None)),
            ImageSource::Typed(text) => Ok((self.meanings(text)?, None)),
            ImageSource::Digest(digest) => Ok((in_target(*digest)?, None)),
            ImageSource::Described(described) => Ok((in_target(described.digest)?, Some(described))),
        }
    }

    /// Looks at an image or an index.
    pub fn examine(&self, name: &Reference) -> Result<Examined, EngineError> {
        let found = self.client.manifest(name)?;
        let listed = match &found.document {
            Document::Index(index) => Some(index.manifests.clone()),
            Document::Manifest(_) => None,
        };
        let descriptor = Descriptor::new(&found.media_type, found.digest, found.bytes.len() as u64);
        Ok(Examined { name: name.clone(), bytes: found.bytes.clone(), descriptor, listed, found })
    }

    /// Returns the configuration of an image; of an index of several, those of all by platform.
    pub fn configs(&self, examined: &Examined) -> Result<Value, EngineError> {
        let mut all = Map::new();
        for (platform, found) in self.images(examined)? {
            let Document::Manifest(manifest) = &found.document else { continue };
            let bytes = self.config(&found, manifest)?;
            let config: Value = serde_json::from_slice(&bytes).map_err(|source| {
                EngineError::tree(format!("cannot use the configuration of `{}`", examined.name), source)
            })?;
            match platform {
                None => return Ok(config),
                Some(platform) => all.insert(platform.to_string(), config),
            };
        }
        Ok(by_platform(all))
    }

    /// Returns what is attested of an image, `{"SLSA": ...}` and `{"SPDX": ...}`; of an index of several images, those of
    /// all by platform. Attestations in the index count, and those that are attached to the images.
    pub fn attestations(&self, examined: &Examined) -> Result<(Value, Value), EngineError> {
        let (mut provenances, mut sboms) = (Map::new(), Map::new());
        for (platform, found) in self.images(examined)? {
            let (mut provenance, mut sbom) = (Map::new(), Map::new());
            for statement in self.statements(examined, &found)? {
                let kind = statement["predicateType"].as_str().unwrap_or_default();
                if kind.starts_with(SLSA) {
                    provenance.insert("SLSA".to_owned(), statement["predicate"].clone());
                } else if kind == "https://spdx.dev/Document" {
                    sbom.insert("SPDX".to_owned(), statement["predicate"].clone());
                } else if kind.starts_with("https://cyclonedx.org/bom") {
                    sbom.insert("CycloneDX".to_owned(), statement["predicate"].clone());
                }
            }
            let (provenance, sbom) = (Value::Object(provenance), Value::Object(sbom));
            match platform {
                None => return Ok((provenance, sbom)),
                Some(platform) => {
                    provenances.insert(platform.to_string(), provenance);
                    sboms.insert(platform.to_string(), sbom);
                }
            }
        }
        Ok((by_platform(provenances), by_platform(sboms)))
    }

    /// Returns the provenance of an image, of an index that of its image for `platform`: its type and what it states.
    pub(crate) fn provenance(
        &self,
        name: &Reference,
        platform: &Platform,
    ) -> Result<Option<(String, Value)>, EngineError> {
        let examined = self.examine(name)?;
        let images = self.images(&examined)?;
        let is_meant = |own: &Option<Platform>| own.as_ref().is_none_or(|own| own.runs_on(platform));
        let Some((_, found)) = images.iter().find(|(own, _)| is_meant(own)) else { return Ok(None) };
        let statements = self.statements(&examined, found)?.into_iter();
        let mut of_kind = statements.filter_map(|statement| {
            let kind = statement["predicateType"].as_str().filter(|kind| kind.starts_with(SLSA))?.to_owned();
            Some((kind, statement["predicate"].clone()))
        });
        Ok(of_kind.next())
    }

    /// Returns the images of an index by platform, or the one image.
    pub(crate) fn images(&self, examined: &Examined) -> Result<Vec<(Option<Platform>, FoundManifest)>, EngineError> {
        let Some(listed) = &examined.listed else { return Ok(vec![(None, examined.found.clone())]) };
        let mut images = Vec::new();
        for entry in listed.iter().filter(|entry| !entry.annotations.contains_key(SUBJECT_KEY)) {
            let found = self.client.manifest(&by_digest(&examined.name, entry.digest))?;
            let Document::Manifest(manifest) = &found.document else { continue };
            let platform = match (&entry.platform, is_image(manifest)) {
                (Some(platform), _) => platform.clone(),
                (None, true) => serde_json::from_slice::<ImageConfig>(&self.config(&found, manifest)?)
                    .map_err(|source| EngineError::tree("cannot use the configuration of an image", source))?
                    .platform(),
                (None, false) => continue,
            };
            images.push((Some(platform), found));
        }
        Ok(images)
    }

    /// Returns the statements about an image: those of the index that it is in, and those that are attached to it.
    fn statements(&self, examined: &Examined, image: &FoundManifest) -> Result<Vec<Value>, EngineError> {
        let of_image = image.digest.to_string();
        let about = |entry: &&Descriptor| entry.annotations.get(SUBJECT_KEY) == Some(&of_image);
        let in_index = examined.listed.iter().flatten().filter(about).map(|entry| entry.digest);
        let attached = self.client.referrers(&examined.name, &image.digest, None)?;
        let digests: BTreeSet<BlobDigest> = in_index.chain(attached.iter().map(|entry| entry.digest)).collect();
        let mut statements = Vec::new();
        for digest in digests {
            let found = self.client.manifest(&by_digest(&examined.name, digest))?;
            let Document::Manifest(manifest) = &found.document else { continue };
            let is_statement = |layer: &&Descriptor| {
                layer.media_type == STATEMENT_TYPE || layer.annotations.contains_key(PREDICATE_KEY)
            };
            for layer in manifest.layers.iter().filter(is_statement) {
                let bytes = self.small(&found, layer, "attestation", STATEMENT_BYTES_MAX)?;
                let statement = serde_json::from_slice(&bytes)
                    .map_err(|source| EngineError::tree(format!("cannot read the attestation {digest}"), source))?;
                statements.push(statement);
            }
        }
        Ok(statements)
    }

    fn config(&self, found: &FoundManifest, manifest: &Manifest) -> Result<Vec<u8>, EngineError> {
        self.small(found, &manifest.config, "image configuration", stave_registry::limits::CONFIG_BYTES_MAX)
    }

    /// Fetches a part into memory.
    pub(crate) fn small(
        &self,
        found: &FoundManifest,
        part: &Descriptor,
        what: &str,
        limit: u64,
    ) -> Result<Vec<u8>, EngineError> {
        if part.size > limit {
            let message = format!("the {what} {} has {} bytes, and at most {limit} are read", part.digest, part.size);
            return Err(EngineError::request(message, None));
        }
        let mut bytes = Vec::new();
        self.client.fetch_part(&found.source, part, &mut bytes, &|_| ())?;
        Ok(bytes)
    }
}

/// What the types of provenance begin with.
pub(crate) const SLSA: &str = "https://slsa.dev/provenance/";

fn no_target() -> EngineError {
    EngineError::request("the result has no name", Some("Give it one with `--tag`."))
}

pub(crate) fn by_digest(name: &Reference, digest: BlobDigest) -> Reference {
    Reference { tag: None, digest: Some(digest), ..name.clone() }
}

fn is_image(manifest: &Manifest) -> bool {
    [media_type::OCI_CONFIG, media_type::DOCKER_CONFIG].contains(&manifest.config.media_type.as_str())
}

/// The entries of an index in the making, each once.
#[derive(Default)]
struct Entries {
    all: Vec<Descriptor>,
    homes: BTreeMap<BlobDigest, Reference>,
}

impl Entries {
    fn add(&mut self, from: &Reference, entry: Descriptor) {
        self.homes.entry(entry.digest).or_insert_with(|| from.clone());
        match self.all.iter_mut().find(|known| known.digest == entry.digest) {
            Some(known) => {
                known.annotations.extend(entry.annotations);
                known.platform = entry.platform.or(known.platform.take());
            }
            None => self.all.push(entry),
        }
    }

    /// Drops what is for other platforms, with its attestations.
    fn keep_platforms(&mut self, platforms: &[Platform]) -> Result<(), EngineError> {
        if platforms.is_empty() {
            return Ok(());
        }
        for wanted in platforms {
            let fits = |entry: &Descriptor| entry.platform.as_ref().is_some_and(|platform| platform.runs_on(wanted));
            if !self.all.iter().any(fits) {
                return Err(EngineError::request(format!("none of the images is for {wanted}"), None));
            }
        }
        let fits = |entry: &Descriptor| {
            let platform = entry.platform.as_ref();
            platform.is_some_and(|platform| platforms.iter().any(|wanted| platform.runs_on(wanted)))
        };
        let kept = self.all.iter().filter(|entry| fits(entry)).map(|entry| entry.digest.to_string()).collect();
        self.keep(&kept);
        Ok(())
    }

    /// Drops all but the best image for `wanted`, with its attestations: a processor runs what was made for those before it,
    /// and one who asks for one image gets one.
    fn keep_best(&mut self, wanted: &Platform) -> Result<(), EngineError> {
        let images = self.all.iter().filter(|entry| !entry.annotations.contains_key(SUBJECT_KEY));
        let offered = images.filter_map(|entry| Some((entry.platform.clone()?, entry.digest.to_string())));
        let best = wanted.best_of(offered);
        let best = best.ok_or_else(|| EngineError::request(format!("none of the images is for {wanted}"), None))?;
        self.keep(&BTreeSet::from([best]));
        Ok(())
    }

    /// Keeps the images of these digests, with their attestations.
    fn keep(&mut self, digests: &BTreeSet<String>) {
        let is_of = |entry: &Descriptor| {
            digests.contains(entry.annotations.get(SUBJECT_KEY).unwrap_or(&entry.digest.to_string()))
        };
        self.all.retain(is_of);
    }

    fn remark(&mut self, remarks: &[Remark]) -> Result<(), EngineError> {
        for remark in remarks {
            let Remark::Descriptor(platform, key, value) = remark else { continue };
            let mut any = false;
            for entry in &mut self.all {
                let fits = match (platform, &entry.platform) {
                    (None, _) => true,
                    (Some(wanted), Some(platform)) => platform.runs_on(wanted),
                    (Some(_), None) => false,
                };
                if fits {
                    entry.annotations.insert(key.clone(), value.clone());
                    any = true;
                }
            }
            if let (Some(wanted), false) = (platform, any) {
                return Err(EngineError::request(format!("none of the images is for {wanted}"), None));
            }
        }
        Ok(())
    }

    fn into_index(self, remarks: &[Remark]) -> Merged {
        let annotations: BTreeMap<String, String> = remarks
            .iter()
            .filter_map(|remark| match remark {
                Remark::Index(key, value) => Some((key.clone(), value.clone())),
                Remark::Descriptor(..) => None,
            })
            .collect();
        // Docker's list has no place for remarks.
        let docker = annotations.is_empty()
            && self
                .all
                .iter()
                .all(|entry| entry.media_type == media_type::DOCKER_MANIFEST && entry.annotations.is_empty());
        let kind = if docker { media_type::DOCKER_LIST } else { media_type::OCI_INDEX };
        let parts = self.all.iter().map(|entry| (self.homes[&entry.digest].clone(), entry.digest)).collect();
        let index = Index { schema_version: 2, media_type: kind.to_owned(), manifests: self.all, annotations };
        let bytes = serde_json::to_vec_pretty(&index).expect("an index has only text keys");
        let descriptor = Descriptor::new(kind, BlobDigest::of(&bytes), bytes.len() as u64);
        Merged { bytes, descriptor, parts, artifacts: Vec::new() }
    }
}

/// Returns what templates know as `.Manifest`: the document of an index with its digest and size, or an image's descriptor.
#[must_use]
pub fn manifest_value(examined: &Examined) -> Value {
    let Descriptor { media_type, digest, size, .. } = &examined.descriptor;
    let mut value = json!({ "schemaVersion": 2, "mediaType": media_type, "digest": digest, "size": size });
    if let Some(listed) = &examined.listed {
        value["manifests"] = json!(listed);
        if let Document::Index(index) = &examined.found.document
            && !index.annotations.is_empty()
        {
            value["annotations"] = json!(index.annotations);
        }
    }
    value
}
