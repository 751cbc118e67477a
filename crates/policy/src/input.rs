//! What a policy in Rego is told of a source: the document `input`.
//!
//! Reference: the names of its fields are those of buildx's policies, so that one policy is good for both
//! (`docker buildx policy json-schema`).

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};
use stave_oci::{BlobDigest, ImageConfig, Platform, Reference};
use stave_signature::SignatureError;
use stave_signature::git::{Commit, ObjectError, Tag};
use stave_signature::image::{ImageFinding, ImageSignature};
use stave_signature::sigstore::TrustedRoot;

use crate::evidence::{Content, Evidence, OpenContent, told_commit, told_tag};
use crate::{provenance, signer};

/// The document `input`: one source, and what the command line says of the build.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Input {
    /// What the command line says.
    #[serde(skip_serializing_if = "Environment::is_empty")]
    pub env: Environment,
    #[serde(flatten)]
    source: Option<Asked>,
    #[serde(skip)]
    evidence: Evidence,
}

/// What the command line says of a build.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Environment {
    /// Values of `--build-arg`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub args: BTreeMap<String, String>,
    /// `--label`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The name of the Dockerfile, without its directory.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub filename: String,
    /// `--target`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub target: String,
}

/// The source, under the name of its kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Asked {
    Local(LocalInput),
    Image(Box<ImageInput>),
    Http(HttpInput),
    Git(Box<GitInput>),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct LocalInput {
    name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct ImageInput {
    r#ref: String,
    host: String,
    repo: String,
    full_repo: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
    platform: String,
    os: String,
    arch: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<String>,
    is_canonical: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    checksum: Option<String>,
    #[serde(flatten)]
    known: Option<ConfigInput>,
    #[serde(skip_serializing_if = "Option::is_none")]
    has_provenance: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provenance: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signatures: Option<Vec<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attestations: Option<Vec<Value>>,
}

/// What only the image itself says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct ConfigInput {
    #[serde(skip_serializing_if = "Option::is_none")]
    created_time: Option<String>,
    env: Vec<String>,
    labels: BTreeMap<String, String>,
    user: String,
    volumes: Vec<String>,
    working_dir: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct HttpInput {
    url: String,
    schema: String,
    host: String,
    path: String,
    query: BTreeMap<String, Vec<String>>,
    has_auth: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    checksum: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct GitInput {
    schema: String,
    host: String,
    remote: String,
    #[serde(rename = "fullURL")]
    full_url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    branch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#ref: Option<String>,
    #[serde(rename = "subDir", skip_serializing_if = "Option::is_none")]
    subdir: Option<String>,
    is_commit_ref: bool,
    #[serde(rename = "isSHA256", skip_serializing_if = "Option::is_none")]
    is_sha256: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    checksum: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    commit_checksum: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_annotated_tag: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<Value>,
}

/// A Git repository as a policy is asked about it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GitAsked<'a> {
    /// Its address without credentials.
    pub url: &'a str,
    /// The branch, tag, reference or commit.
    pub reference: Option<&'a str>,
    /// The directory in it.
    pub subdir: Option<&'a str>,
    /// What the reference is: the tag object or the commit, if it is known.
    pub checksum: Option<&'a str>,
    /// The commit, if it is known.
    pub commit: Option<&'a str>,
}

/// The kinds of sources. Of a directory all is known by its name, as it is of nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Local,
    Image,
    Http,
    Git,
}

impl Environment {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Input {
    fn of(source: Asked) -> Self {
        Self { source: Some(source), ..Self::default() }
    }

    /// Returns what is told of a directory of this machine: `context`, `dockerfile`, or its name of `--build-context`.
    #[must_use]
    pub fn local(name: &str) -> Self {
        Self::of(Asked::Local(LocalInput { name: name.to_owned() }))
    }

    /// Returns what an image's name tells of it.
    #[must_use]
    pub fn image(reference: &Reference, platform: &Platform) -> Self {
        let tag = if reference.digest.is_some() { None } else { reference.effective_tag().map(str::to_owned) };
        Self::of(Asked::Image(Box::new(ImageInput {
            r#ref: reference.to_string(),
            host: reference.registry.clone(),
            repo: reference.familiar_name(),
            full_repo: reference.name(),
            tag,
            platform: platform.to_string(),
            os: platform.os.clone(),
            arch: platform.architecture.clone(),
            variant: platform.variant.clone(),
            is_canonical: reference.digest.is_some(),
            checksum: reference.digest.map(|digest| digest.to_string()),
            known: None,
            has_provenance: None,
            provenance: None,
            signatures: None,
            attestations: None,
        })))
    }

    /// Adds to an image what it says itself; `digest` is what a registry has it under, if one has it.
    #[must_use]
    pub fn with_image(mut self, config: &ImageConfig, digest: Option<BlobDigest>) -> Self {
        if let Some(Asked::Image(image)) = &mut self.source {
            let run = &config.config;
            image.checksum = image.checksum.take().or_else(|| digest.map(|digest| digest.to_string()));
            image.known = Some(ConfigInput {
                created_time: config.created.clone(),
                env: run.env.clone(),
                labels: run.labels.clone(),
                user: run.user.clone(),
                volumes: run.volumes.keys().cloned().collect(),
                working_dir: run.working_dir.clone(),
            });
        }
        self
    }

    /// Adds to an image what is said of how it was built, which nobody has verified: the type of the statement and what it
    /// states; nothing if nothing is said.
    #[must_use]
    pub fn with_provenance(mut self, found: Option<(&str, &Value)>) -> Self {
        if let Some(Asked::Image(image)) = &mut self.source {
            image.has_provenance = Some(found.is_some());
            image.provenance = found.map(|(kind, predicate)| provenance::told(kind, predicate));
        }
        self
    }

    /// Adds to an image what was found beside it. Who signed it is told as `root` vouches for it; without a root only the
    /// functions that verify with keys have use for it. What shows no signer is not told, and why is for people.
    ///
    /// # Errors
    /// If it cannot be found out who signed: what is not known is not told as not being there.
    pub fn with_signatures(
        mut self,
        found: Vec<ImageSignature>,
        root: Option<&TrustedRoot>,
    ) -> Result<Self, SignatureError> {
        let Some(Asked::Image(image)) = &mut self.source else { return Ok(self) };
        if let Some(root) = root {
            let (mut signatures, mut attestations) = (Vec::new(), Vec::new());
            for one in &found {
                let shown = one.signed_by(root).map_err(|source| {
                    let place = one.place.clone();
                    SignatureError::Image { place, source }
                })?;
                match shown {
                    ImageFinding::Signed(signed) if signer::is_signature(&signed) => {
                        signatures.push(signer::told(&signed));
                    }
                    ImageFinding::Signed(signed) => attestations.push(signer::told(&signed)),
                    ImageFinding::Not(why) => {
                        self.evidence.notes.push(format!("{} shows no signer of the image: {why}", one.place));
                    }
                }
            }
            (image.signatures, image.attestations) = (Some(signatures), Some(attestations));
        }
        self.evidence.image = Some(found);
        Ok(self)
    }

    /// Whether it is an image beside which nothing was looked for.
    pub(crate) fn lacks_signatures(&self) -> bool {
        matches!(&self.source, Some(Asked::Image(_))) && self.evidence.image.is_none()
    }

    /// Whether it is an image of which it is not told who signed it.
    pub(crate) fn lacks_signers(&self) -> bool {
        matches!(&self.source, Some(Asked::Image(image)) if image.signatures.is_none())
    }

    /// Whether it is an image of which it was not said how it was built.
    pub(crate) fn lacks_provenance(&self) -> bool {
        matches!(&self.source, Some(Asked::Image(image)) if image.has_provenance.is_none())
    }

    /// Returns what the address of a file tells of it. `url` has no credentials any more; `has_auth` says whether it had.
    #[must_use]
    pub fn http(url: &str, has_auth: bool, checksum: Option<BlobDigest>) -> Self {
        let (schema, rest) = url.split_once("://").unwrap_or(("", url));
        let rest = rest.split('#').next().unwrap_or_default();
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (host, path) = place.find('/').map_or((place, ""), |at| place.split_at(at));
        let mut fields: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for field in query.split('&').filter(|field| !field.is_empty()) {
            let (name, value) = field.split_once('=').unwrap_or((field, ""));
            fields.entry(name.to_owned()).or_default().push(value.to_owned());
        }
        let schema = schema.to_ascii_lowercase();
        let usual = if schema == "http" { ":80" } else { ":443" };
        let host = host.to_ascii_lowercase();
        Self::of(Asked::Http(HttpInput {
            url: url.to_owned(),
            host: host.strip_suffix(usual).map_or(host.clone(), str::to_owned),
            schema,
            path: path.to_owned(),
            query: fields,
            has_auth,
            checksum: checksum.map(|digest| digest.to_string()),
        }))
    }

    /// Adds to a file what is in it, for the functions that verify it.
    #[must_use]
    pub fn with_content(mut self, open: OpenContent) -> Self {
        self.evidence.content = Some(Content(open));
        self
    }

    /// Whether it is a file of which the content is not there.
    pub(crate) fn lacks_content(&self) -> bool {
        matches!(&self.source, Some(Asked::Http(_))) && self.evidence.content.is_none()
    }

    /// Returns what is told of a repository.
    #[must_use]
    pub fn git(asked: &GitAsked<'_>) -> Self {
        let (schema, rest) = asked.url.split_once("://").unwrap_or(("ssh", asked.url));
        let rest = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
        let (host, _) = rest.split_once(['/', ':']).unwrap_or((rest, ""));
        let is_commit = |text: &str| matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let short = |prefix: &str| asked.reference.and_then(|name| name.strip_prefix(prefix)).map(str::to_owned);
        let is_commit_ref = asked.reference.is_some_and(is_commit);
        let checksum = asked.checksum.or(asked.reference.filter(|name| is_commit(name)));
        let commit = asked.commit.or(asked.reference.filter(|name| is_commit(name)));
        Self::of(Asked::Git(Box::new(GitInput {
            schema: schema.to_ascii_lowercase(),
            host: host.to_ascii_lowercase(),
            remote: asked.url.to_owned(),
            full_url: asked.url.to_owned(),
            tag_name: short("refs/tags/"),
            branch: short("refs/heads/"),
            r#ref: asked.reference.map(str::to_owned),
            subdir: asked.subdir.map(str::to_owned),
            is_commit_ref,
            is_sha256: checksum.map(|checksum| checksum.len() == 64),
            checksum: checksum.map(str::to_owned),
            commit_checksum: commit.map(str::to_owned),
            is_annotated_tag: None,
            tag: None,
            commit: None,
        })))
    }

    /// Adds to a repository what its commit says, as `git cat-file commit` prints it, and the annotated tag that led to
    /// it: its digest, and what `git cat-file tag` prints.
    ///
    /// # Errors
    /// If they are not what Git writes.
    pub fn with_git_objects(mut self, commit: &[u8], tag: Option<(&str, &[u8])>) -> Result<Self, ObjectError> {
        if let Some(Asked::Git(git)) = &mut self.source {
            let commit = Commit::parse(commit)?;
            let tag = tag.map(|(digest, bytes)| Ok((digest, Tag::parse(bytes)?))).transpose()?;
            git.is_annotated_tag = Some(tag.is_some());
            git.commit = Some(told_commit(&commit));
            self.evidence.commit = Some(commit.signed);
            if let Some((digest, tag)) = tag {
                git.checksum = Some(digest.to_owned());
                git.tag = Some(told_tag(&tag));
                self.evidence.tag = Some(tag.signed);
            }
        }
        Ok(self)
    }

    /// Whether it is a repository of which the commit was not looked at.
    pub(crate) fn lacks_objects(&self) -> bool {
        matches!(&self.source, Some(Asked::Git(git)) if git.commit.is_none())
    }

    pub(crate) fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// Returns it with what the command line says.
    #[must_use]
    pub fn within(mut self, environment: &Environment) -> Self {
        self.env = environment.clone();
        self
    }

    pub(crate) fn kind(&self) -> Kind {
        match &self.source {
            None | Some(Asked::Local(_)) => Kind::Local,
            Some(Asked::Image(_)) => Kind::Image,
            Some(Asked::Http(_)) => Kind::Http,
            Some(Asked::Git(_)) => Kind::Git,
        }
    }

    /// Whether all is known that can be.
    pub(crate) fn is_complete(&self) -> bool {
        match &self.source {
            Some(Asked::Image(image)) => image.known.is_some(),
            Some(Asked::Http(http)) => http.checksum.is_some(),
            Some(Asked::Git(git)) => git.commit_checksum.is_some(),
            Some(Asked::Local(_)) | None => true,
        }
    }

    /// Returns the JSON of it.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::to_value(self).expect("texts and numbers are JSON")
    }

    /// Returns the JSON schema of all inputs, of draft 2020-12.
    #[must_use]
    pub fn schema() -> Value {
        let object = |fields: &[(&str, &str, &str)]| {
            let properties: Map<String, Value> = fields
                .iter()
                .map(|(name, kind, about)| {
                    let mut property = shape(kind);
                    property.insert("description".to_owned(), Value::from(*about));
                    ((*name).to_owned(), Value::Object(property))
                })
                .collect();
            json!({ "type": "object", "additionalProperties": false, "properties": properties })
        };
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": "input of a source policy",
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "env": object(ENV),
                "local": object(LOCAL),
                "image": object(IMAGE),
                "http": object(HTTP),
                "git": object(GIT),
            }
        })
    }
}

fn shape(kind: &str) -> Map<String, Value> {
    let shape = match kind {
        "texts" => json!({ "type": "array", "items": { "type": "string" } }),
        "objects" => json!({ "type": "array", "items": { "type": "object" } }),
        "map" => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
        "map of texts" => {
            json!({ "type": "object", "additionalProperties": { "type": "array", "items": { "type": "string" } } })
        }
        simple => json!({ "type": simple }),
    };
    let Value::Object(shape) = shape else { return Map::new() };
    shape
}

type Fields = [(&'static str, &'static str, &'static str)];

const ENV: &Fields = &[
    ("args", "map", "values of --build-arg"),
    ("labels", "map", "values of --label"),
    ("filename", "string", "name of the Dockerfile, without its directory"),
    ("target", "string", "value of --target"),
];

const LOCAL: &Fields = &[("name", "string", "`context`, `dockerfile`, or the name of a --build-context")];

const IMAGE: &Fields = &[
    ("ref", "string", "name in full, with tag and digest"),
    ("host", "string", "registry"),
    ("repo", "string", "repository as Docker prints it"),
    ("fullRepo", "string", "repository with its registry"),
    ("tag", "string", "tag; not there if there is a digest"),
    ("platform", "string", "platform that is built for"),
    ("os", "string", "its operating system"),
    ("arch", "string", "its architecture"),
    ("variant", "string", "its variant"),
    ("isCanonical", "boolean", "whether the name has a digest"),
    ("checksum", "string", "digest of the image's manifest or index"),
    ("createdTime", "string", "when the image was made, RFC 3339"),
    ("env", "texts", "variables as NAME=value"),
    ("labels", "map", "labels of the image"),
    ("user", "string", "its user"),
    ("volumes", "texts", "its volumes"),
    ("workingDir", "string", "its working directory"),
    ("hasProvenance", "boolean", "whether it is said how the image was built; nobody has verified who says so"),
    ("provenance", "object", "how it was built: SLSA provenance in a few fields"),
    (
        "signatures",
        "objects",
        "who signed it, as a root of trust vouches: kind, type, timestamps, dockerReference, signer",
    ),
    (
        "attestations",
        "objects",
        "who stated what of it, as a root of trust vouches: the same, predicateType, predicate",
    ),
];

const HTTP: &Fields = &[
    ("url", "string", "address, without credentials"),
    ("schema", "string", "`http` or `https`"),
    ("host", "string", "host, with its port if that is not the usual one"),
    ("path", "string", "path"),
    ("query", "map of texts", "fields of the query"),
    ("hasAuth", "boolean", "whether the address has credentials"),
    ("checksum", "string", "digest of the file"),
];

const GIT: &Fields = &[
    ("schema", "string", "`https`, `ssh` and so on"),
    ("host", "string", "host"),
    ("remote", "string", "address of the repository, without credentials"),
    ("fullURL", "string", "the same"),
    ("tagName", "string", "tag, if the reference is `refs/tags/TAG`"),
    ("branch", "string", "branch, if the reference is `refs/heads/BRANCH`"),
    ("ref", "string", "reference as it was written"),
    ("subDir", "string", "directory in the repository"),
    ("isCommitRef", "boolean", "whether the reference is a commit"),
    ("isSHA256", "boolean", "whether its digests are SHA-256"),
    ("checksum", "string", "the annotated tag, the commit, or what the Dockerfile says that the reference must be"),
    ("commitChecksum", "string", "the commit"),
    ("isAnnotatedTag", "boolean", "whether the reference is a tag that is an object of its own"),
    ("tag", "object", "that tag: object, type, tag, tagger, message, pgpSignature, sshSignature"),
    ("commit", "object", "the commit: tree, parents, author, committer, message, pgpSignature, sshSignature"),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// E017: every field that an input can have is in the schema.
    #[test]
    fn the_schema_has_every_field() {
        let reference = format!("alpine:3@{}", BlobDigest::of(b"x")).parse::<Reference>().expect("a name");
        let platform: Platform = "linux/arm/v7".parse().expect("a platform");
        let config = ImageConfig { created: Some("2024-01-01T00:00:00Z".to_owned()), ..ImageConfig::default() };
        let image = Input::image(&reference, &platform).with_image(&config, None);
        let image = image.with_provenance(Some(("https://slsa.dev/provenance/v1", &Value::Null)));
        let root = include_bytes!("../../signature/test_data/sigstore/trusted_root.json");
        let root = TrustedRoot::parse(root).expect("a root of trust");
        let image = image.with_signatures(Vec::new(), Some(&root)).expect("there is nothing to find out");
        let tagged = Input::image(&"alpine".parse().expect("a name"), &platform);
        let commit = "a".repeat(40);
        let git = |reference| {
            let (url, checksum) = ("https://h/a.git", Some(&*commit));
            Input::git(&GitAsked { url, reference, subdir: Some("d"), checksum, commit: checksum })
        };
        let tagged_git = git(Some("refs/tags/v1"))
            .with_git_objects(b"tree 1\n\nm\n", Some(("2", b"object 1\ntype commit\ntag v1\n\nm\n")));
        let environment = Environment {
            args: BTreeMap::from([("A".to_owned(), "b".to_owned())]),
            labels: BTreeMap::from([("l".to_owned(), "m".to_owned())]),
            filename: "Dockerfile".to_owned(),
            target: "t".to_owned(),
        };
        let all = [
            image.within(&environment),
            tagged,
            tagged_git.expect("they are objects"),
            git(Some("refs/heads/main")),
            Input::http("https://h/p?a=b", true, Some(BlobDigest::of(b"x"))),
            Input::local("context"),
        ];
        let mut seen = std::collections::BTreeSet::new();
        for input in &all {
            for (kind, fields) in input.json().as_object().expect("an object") {
                seen.extend(fields.as_object().expect("an object").keys().map(|field| format!("{kind}.{field}")));
            }
        }
        let schema = Input::schema();
        let kinds = schema["properties"].as_object().expect("an object");
        let stated: std::collections::BTreeSet<String> = kinds
            .iter()
            .flat_map(|(kind, of)| {
                of["properties"].as_object().expect("an object").keys().map(move |field| format!("{kind}.{field}"))
            })
            .collect();
        assert_eq!(seen, stated);
    }

    #[test]
    fn an_address_is_taken_apart() {
        let json = Input::http("https://H:443/a/b?x=1&x=2&y", false, None).json();
        let expected = serde_json::json!({ "http": {
            "url": "https://H:443/a/b?x=1&x=2&y", "schema": "https", "host": "h", "path": "/a/b",
            "query": { "x": ["1", "2"], "y": [""] }, "hasAuth": false
        } });
        assert_eq!(json, expected);
        let git = Input::git(&GitAsked { url: "git@h:a/b.git", reference: Some("v1"), ..GitAsked::default() }).json();
        assert_eq!((&git["git"]["host"], &git["git"]["schema"]), (&"h".into(), &"ssh".into()));
    }
}
