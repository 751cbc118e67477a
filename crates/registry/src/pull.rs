//! From a reference to a manifest: mirrors, indexes, platforms, and every check on the way.

use stave_oci::manifest::ManifestError;
use stave_oci::{BlobDigest, Compression, Descriptor, Document, Index, Manifest, Platform, Reference, media_type};
use ureq::http::Method;

use crate::auth::Repository;
use crate::blob;
use crate::client::{Client, FoundManifest, Resolved, Source};
use crate::config::registries::Place;
use crate::error::{HttpError, RegistryError, SizeSeen};
use crate::failure::Failure;
use crate::limits;
use stave_http::{Reply, Request};

/// What may come as a manifest.
const ACCEPT: &str = concat!(
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, ",
    "application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json"
);

/// A manifest or an index whose digest was checked.
pub(crate) struct Fetched {
    pub(crate) document: Document,
    pub(crate) bytes: Vec<u8>,
    pub(crate) media_type: String,
    pub(crate) digest: BlobDigest,
}

impl Client {
    /// Finds the image that `reference` names, for `platform`: at its mirrors in turn, then at its registry.
    pub fn resolve(&self, reference: &Reference, platform: &Platform) -> Result<Resolved, RegistryError> {
        self.first_place(reference, |place| self.resolve_at(place, reference, platform)).map(
            |(mut resolved, source)| {
                resolved.source = source;
                resolved
            },
        )
    }

    /// Finds the manifest or index that `reference` names, as it is: at its mirrors in turn, then at its registry.
    pub fn manifest(&self, reference: &Reference) -> Result<FoundManifest, RegistryError> {
        let fetch = |place: &Place| self.named(&self.open(place, false)?, reference);
        let (Fetched { document, bytes, media_type, digest }, source) = self.first_place(reference, fetch)?;
        Ok(FoundManifest { document, bytes, media_type, digest, source })
    }

    /// Returns what `get` gets from the first place that has it: the mirrors of `reference` in turn, then its registry.
    fn first_place<T>(
        &self,
        reference: &Reference,
        get: impl Fn(&Place) -> Result<T, RegistryError>,
    ) -> Result<(T, Source), RegistryError> {
        let places = self.config.registries.places_to_pull(reference)?;
        let (mut failures, mut without) = (Vec::new(), Vec::new());
        for (index, place) in places.iter().enumerate() {
            let error = match get(place) {
                Ok(found) => return Ok((found, Source { places: places[index..].to_vec() })),
                Err(error) => error,
            };
            if matches!(error, RegistryError::Http(HttpError::Cancelled)) {
                return Err(error);
            }
            if place.mirror {
                without.extend(error.absence().map(|_| place.host.clone()));
                failures.push(format!("{}: {}", place.host, with_causes(&error)));
                continue;
            }
            if failures.is_empty() {
                return Err(error);
            }
            let without = (without.len() == failures.len()).then(|| without.join(" nor "));
            let (reference, failures) = (reference.to_string(), failures.join("; "));
            return Err(RegistryError::Mirrors { reference, failures, without, source: Box::new(error) });
        }
        unreachable!("the last place is the registry itself")
    }

    pub(crate) fn named(&self, repository: &Repository<'_>, reference: &Reference) -> Result<Fetched, RegistryError> {
        let name = reference.to_string();
        let fetched = match (reference.digest, reference.effective_tag()) {
            (Some(digest), _) => fetch(repository, &name, &digest.to_string(), Some(digest))?,
            (None, tag) => fetch(repository, &name, tag.expect("a name without a digest has a tag"), None)?,
        };
        if let Document::Manifest(manifest) = &fetched.document {
            for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
                self.seen.tell(&repository.place, blob.digest);
            }
        }
        Ok(fetched)
    }

    fn resolve_at(&self, place: &Place, reference: &Reference, wanted: &Platform) -> Result<Resolved, RegistryError> {
        let repository = self.open(place, false)?;
        let name = reference.to_string();
        let mut fetched = self.named(&repository, reference)?;
        let mut index_digest = None;
        for _ in 0..limits::INDEX_DEPTH_MAX {
            let Document::Index(index) = &fetched.document else { break };
            index_digest.get_or_insert(fetched.digest);
            let chosen = choose(index, wanted, &name)?;
            let next = fetch(&repository, &name, &chosen.digest.to_string(), Some(chosen.digest))?;
            check_descriptor(chosen, &next, &repository, &name)?;
            fetched = next;
        }
        let Fetched { document, bytes, media_type, digest } = fetched;
        let Document::Manifest(manifest) = document else {
            return Err(RegistryError::IndexDepth { reference: name });
        };
        check_parts(&manifest, &name)?;
        for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
            self.seen.tell(place, blob.digest);
        }
        let config_bytes = small_blob(&repository, &manifest.config)?;
        let source = Source { places: vec![place.clone()] };
        Ok(Resolved { manifest, manifest_bytes: bytes, media_type, digest, index_digest, config_bytes, source })
    }

    /// Opens a repository, trying again where that may help.
    pub(crate) fn open(&self, place: &Place, push: bool) -> Result<Repository<'_>, RegistryError> {
        let patience = self.patience();
        let mut patience = if place.mirror { patience.none() } else { patience };
        loop {
            match Repository::open(self, place, push) {
                Ok(repository) => return Ok(repository),
                Err(failure) => failure.wait(&mut patience)?,
            }
        }
    }
}

/// Fetches a blob that is small enough to be kept in memory.
fn small_blob(repository: &Repository<'_>, blob: &Descriptor) -> Result<Vec<u8>, RegistryError> {
    if blob.size > limits::CONFIG_BYTES_MAX {
        let (url, limit) = (Box::new(repository.url(&format!("blobs/{}", blob.digest))), limits::CONFIG_BYTES_MAX);
        return Err(HttpError::TooLarge { what: "image configuration", url, limit }.into());
    }
    let mut bytes = Vec::new();
    blob::fetch_from(repository, blob, &mut bytes, &|_| ())?;
    Ok(bytes)
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    text
}

/// Fetches a manifest or an index and checks it against `expected`, if the name has a digest in it.
pub(crate) fn fetch(
    repository: &Repository<'_>,
    name: &str,
    tag_or_digest: &str,
    expected: Option<BlobDigest>,
) -> Result<Fetched, RegistryError> {
    let mut patience = repository.patience_to_find();
    loop {
        match try_fetch(repository, name, tag_or_digest, expected) {
            Ok(fetched) => return Ok(fetched),
            Err(failure) => failure.wait(&mut patience)?,
        }
    }
}

fn try_fetch(
    repository: &Repository<'_>,
    name: &str,
    tag_or_digest: &str,
    expected: Option<BlobDigest>,
) -> Result<Fetched, Failure> {
    let http = &repository.client.http;
    let mut request = Request::new(Method::GET, repository.url(&format!("manifests/{tag_or_digest}")));
    request.headers.push(("accept", ACCEPT.to_owned()));
    let mut reply = repository.send(request)?;
    match reply.status {
        200 => {}
        404 => {
            let (reference, origin) = (name.to_owned(), Box::new(repository.origin.clone()));
            return Err(RegistryError::NotFound { reference, origin, message: http.message(&mut reply) }.into());
        }
        _ => return Err(http.status_failure(reply).into()),
    }
    let bytes = http.read_all("manifest", &mut reply, limits::MANIFEST_BYTES_MAX)?;
    let digest = BlobDigest::of(&bytes);
    // What the registry says that it sent counts too: a proxy may have changed the bytes under a tag.
    let stated = reply.header("docker-content-digest").and_then(|text| text.parse().ok());
    for expected in [expected, stated].into_iter().flatten() {
        if expected != digest {
            let (url, actual) = (Box::new(reply.url), digest);
            return Err(RegistryError::Digest { what: "manifest", url, expected, actual }.into());
        }
    }
    let served = content_type(&reply);
    let unusable = |source| RegistryError::Manifest { reference: name.to_owned(), source };
    let document = Document::parse(&bytes, &served).map_err(unusable)?;
    let stated = match &document {
        Document::Manifest(manifest) => &manifest.media_type,
        Document::Index(index) => &index.media_type,
    };
    let media_type = match (stated.as_str(), served.as_str()) {
        ("", "" | "application/json" | "text/plain" | "application/octet-stream") => match &document {
            Document::Manifest(_) => media_type::OCI_MANIFEST.to_owned(),
            Document::Index(_) => media_type::OCI_INDEX.to_owned(),
        },
        ("", served) => served.to_owned(),
        (stated, _) => stated.to_owned(),
    };
    Ok(Fetched { document, bytes, media_type, digest })
}

pub(crate) fn content_type(reply: &Reply) -> String {
    let value = reply.header("content-type").unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_owned()
}

/// Checks a manifest against the descriptor that led to it.
fn check_descriptor(
    chosen: &Descriptor,
    fetched: &Fetched,
    repository: &Repository<'_>,
    name: &str,
) -> Result<(), RegistryError> {
    if fetched.bytes.len() as u64 != chosen.size {
        return Err(RegistryError::Size {
            what: "manifest",
            digest: chosen.digest,
            url: Box::new(repository.url(&format!("manifests/{}", chosen.digest))),
            expected: chosen.size,
            actual: SizeSeen::Exactly(fetched.bytes.len() as u64),
        });
    }
    if !chosen.media_type.is_empty() && chosen.media_type != fetched.media_type {
        let source = ManifestError::MediaType { served: chosen.media_type.clone(), stated: fetched.media_type.clone() };
        return Err(RegistryError::Manifest { reference: name.to_owned(), source });
    }
    Ok(())
}

/// Returns the manifest of an index that is best for `wanted`; of equal ones the first.
fn choose<'i>(index: &'i Index, wanted: &Platform, name: &str) -> Result<&'i Descriptor, RegistryError> {
    let offered = index.manifests.iter().filter_map(|entry| Some((entry.platform.clone()?, entry)));
    if let Some(found) = wanted.best_of(offered) {
        return Ok(found);
    }
    // An index of one manifest that says nothing of platforms leaves no choice.
    if let [only] = index.manifests.as_slice()
        && only.platform.is_none()
    {
        return Ok(only);
    }
    let mut available: Vec<Platform> = index.manifests.iter().filter_map(|entry| entry.platform.clone()).collect();
    // Attestations stand in an index as manifests for no platform.
    available.retain(|platform| platform.os != "unknown");
    available.dedup();
    Err(RegistryError::NoPlatform { reference: name.to_owned(), wanted: Box::new(wanted.clone()), available })
}

/// Refuses images that could be fetched and not be used.
fn check_parts(manifest: &Manifest, name: &str) -> Result<(), RegistryError> {
    let (reference, layers) = (name.to_owned(), manifest.layers.len());
    if layers > limits::LAYERS_MAX {
        return Err(RegistryError::Layers { reference, layers, limit: limits::LAYERS_MAX });
    }
    if ![media_type::OCI_CONFIG, media_type::DOCKER_CONFIG].contains(&manifest.config.media_type.as_str()) {
        return Err(RegistryError::MediaType { reference, media_type: shown(&manifest.config.media_type) });
    }
    for layer in &manifest.layers {
        check_layer(layer)?;
        if Compression::of_media_type(&layer.media_type).is_none() {
            return Err(RegistryError::MediaType { reference, media_type: shown(&layer.media_type) });
        }
    }
    Ok(())
}

/// Refuses a layer that lives elsewhere: no credential and no request of ours goes where a manifest says.
pub(crate) fn check_layer(layer: &Descriptor) -> Result<(), RegistryError> {
    let foreign = ["nondistributable", "foreign"].iter().any(|word| layer.media_type.contains(word));
    if foreign || !layer.urls.is_empty() {
        return Err(RegistryError::ForeignLayer { digest: layer.digest });
    }
    Ok(())
}

fn shown(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(platform: Option<&str>) -> Descriptor {
        let digest = BlobDigest::of(platform.unwrap_or_default().as_bytes());
        let mut descriptor = Descriptor::new(media_type::OCI_MANIFEST, digest, 1);
        descriptor.platform = platform.map(|text| text.parse().expect("the platform is valid"));
        descriptor
    }

    fn index(platforms: &[Option<&str>]) -> Index {
        let manifests = platforms.iter().map(|platform| entry(*platform)).collect();
        Index {
            schema_version: 2,
            media_type: String::new(),
            manifests,
            annotations: std::collections::BTreeMap::default(),
        }
    }

    fn chosen(platforms: &[Option<&str>], wanted: &str) -> Result<Option<String>, String> {
        let wanted = wanted.parse().expect("the platform is valid");
        choose(&index(platforms), &wanted, "x")
            .map(|found| found.platform.as_ref().map(Platform::to_string))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_first_manifest_that_runs_is_chosen() {
        let all = [Some("unknown/unknown"), Some("linux/arm64/v8"), Some("linux/amd64"), Some("linux/amd64/v3")];
        assert_eq!(chosen(&all, "linux/amd64"), Ok(Some("linux/amd64".into())));
        assert_eq!(chosen(&all, "linux/arm64"), Ok(Some("linux/arm64".into())));
        assert_eq!(chosen(&[None], "linux/amd64"), Ok(None));
    }

    #[test]
    fn the_error_lists_what_there_is() {
        let all = [Some("linux/arm64"), Some("windows/amd64"), Some("unknown/unknown")];
        let error = chosen(&all, "linux/amd64").expect_err("nothing fits");
        assert_eq!(error, "image `x` has nothing for linux/amd64: it is made for linux/arm64, windows/amd64");
        let error = chosen(&[], "linux/amd64").expect_err("nothing fits");
        assert_eq!(error, "image `x` has nothing for linux/amd64: it is made for no platform at all");
    }
}
