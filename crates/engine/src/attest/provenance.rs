//! How an image was built, as SLSA provenance: of version 1, or on request of version 0.2.
//!
//! Nothing secret is in it: no value of a secret, no credentials of an address, no directory of the machine.
//!
//! Reference: <https://slsa.dev/spec/v1.1/provenance>, <https://slsa.dev/spec/v0.2/provenance>; the meaning of what is
//! stave's own is in `docs/attestations.md`, "Provenance".

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use stave_dockerfile::plan::{BaseRequest, NamedContext, PlanOptions};
use stave_graph::remote::{redacted_text, without_credentials};
use stave_graph::{Network, NodeId, Op};
use stave_oci::{BlobDigest, Hasher, Platform, Reference};

use super::ProvenanceOptions;
use super::statement::{Statement, image_purl};
use crate::build::BuildTarget;
use crate::outside::Found;
use crate::request::Grants;
use crate::requests::Requests;
use crate::source::Source;

/// Stands for the meaning of the parameters: no place, a name.
const BUILD_TYPE: &str = "urn:stave:build-type:dockerfile:1";
const SLSA_1: &str = "https://slsa.dev/provenance/v1";
const SLSA_0_2: &str = "https://slsa.dev/provenance/v0.2";

/// Where a context came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The caller's machine, which nothing outside of it can name.
    Local,
    /// A commit of a repository.
    Git {
        /// Its address, with what was wanted of it.
        url: String,
        /// The commit.
        commit: String,
    },
    /// A file.
    Http {
        /// Its address.
        url: String,
        /// The digest of its content.
        digest: BlobDigest,
    },
}

/// How the build went, as far as it may be told.
pub(crate) struct Past<'a> {
    pub(crate) source: &'a Source,
    pub(crate) options: &'a PlanOptions,
    pub(crate) grants: &'a Grants,
    pub(crate) target: &'a BuildTarget<'a>,
    /// What was found on the network.
    pub(crate) found: &'a BTreeMap<NodeId, Found>,
    /// Names of the image.
    pub(crate) names: &'a [Reference],
    /// When the build began and ended, in seconds since 1970.
    pub(crate) times: (i64, i64),
}

/// Returns the statement about the image for `platform`.
pub(super) fn state(options: &ProvenanceOptions, past: &Past<'_>, platform: &Platform) -> Statement {
    let parts = Parts::new(options, past, platform);
    let (predicate_type, predicate) =
        if options.old_form { (SLSA_0_2, parts.version_0_2()) } else { (SLSA_1, parts.version_1()) };
    Statement {
        predicate_type: predicate_type.to_owned(),
        predicate,
        file_name: (!options.images_only).then(|| options.file_name.clone()),
        inline: options.inline,
    }
}

/// The parts that both forms have.
struct Parts<'a> {
    options: &'a ProvenanceOptions,
    /// Where the Dockerfile came from.
    source: Value,
    request: Value,
    build: Option<Value>,
    materials: Vec<Value>,
    hermetic: bool,
    complete: bool,
    metadata: Value,
    /// A number of this build, and its times; nothing if it is said that they do not matter.
    run: Option<(String, String, String)>,
}

impl<'a> Parts<'a> {
    fn new(options: &'a ProvenanceOptions, past: &Past<'_>, platform: &Platform) -> Self {
        let nodes = past
            .target
            .joined
            .parts
            .iter()
            .filter(|part| part.platform == *platform)
            .flat_map(|part| past.target.joined.graph.reachable(part.target()))
            .collect::<BTreeSet<_>>();
        let materials = materials(past, &nodes);
        let reads_local = past.source.origin == Origin::Local
            && nodes.iter().any(|node| {
                let operation = past.target.joined.graph.op(*node);
                operation.reads_outside() && !matches!(operation, Op::Http(_) | Op::Git(_))
            });
        let networked = |node: &NodeId| match past.target.joined.graph.op(*node) {
            Op::Exec(exec) => exec.network != Network::None,
            _ => false,
        };
        let hermetic = !nodes.iter().any(networked);
        // What came over the network is among the materials, where all that came is in a record.
        let is_recorded = |node: &NodeId| requests(past, *node).is_some_and(Requests::is_complete);
        let recorded = nodes.iter().filter(|node| networked(node)).all(is_recorded);
        let run = (!options.reproducible).then(|| {
            let time = |seconds| Timestamp::from_second(seconds).map_or(String::new(), |time| time.to_string());
            let (start, end) = (time(past.times.0), time(past.times.1));
            let mut hasher = Hasher::new();
            for text in [&past.source.text, &start, &end, &std::process::id().to_string()] {
                hasher.update(&(text.len() as u64).to_le_bytes());
                hasher.update(text.as_bytes());
            }
            let number: BlobDigest = hasher.finish();
            (number.hex()[..25].to_owned(), start, end)
        });
        let mut metadata = json!({});
        let cut: BTreeSet<&str> =
            nodes.iter().filter_map(|node| requests(past, *node)).flat_map(Requests::cut).collect();
        if !cut.is_empty() {
            metadata["incompleteRequests"] = json!(cut);
        }
        if options.max {
            metadata["source"] = json!({
                "fileName": file_name(&past.source.name),
                "text": redacted_text(&past.source.text),
            });
        }
        Self {
            options,
            source: source(past),
            request: request(options, past),
            build: options.max.then(|| steps(past, &nodes)),
            materials,
            hermetic,
            complete: !reads_local && recorded,
            metadata,
            run,
        }
    }

    fn version_1(self) -> Value {
        let mut internal = json!({ "builderPlatform": Platform::host().to_string() });
        if let Some(build) = self.build {
            internal["buildConfig"] = build;
        }
        let mut metadata = json!({});
        if let Some((number, start, end)) = &self.run {
            metadata = json!({ "invocationId": number, "startedOn": start, "finishedOn": end });
        }
        metadata["stave_hermetic"] = json!(self.hermetic);
        metadata["stave_reproducible"] = json!(self.options.reproducible);
        metadata["stave_completeness"] = json!({ "request": self.options.max, "resolvedDependencies": self.complete });
        metadata["stave_metadata"] = self.metadata;
        json!({
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": { "configSource": self.source, "request": self.request },
                "internalParameters": internal,
                "resolvedDependencies": self.materials,
            },
            "runDetails": { "builder": { "id": self.options.builder_id }, "metadata": metadata },
        })
    }

    fn version_0_2(self) -> Value {
        let mut source = self.source;
        if let Some(path) = source.as_object_mut().and_then(|source| source.remove("path")) {
            source["entryPoint"] = path;
        }
        let mut metadata = json!({
            "completeness": { "parameters": self.options.max, "environment": true, "materials": self.complete },
            "reproducible": self.options.reproducible,
            "stave_metadata": self.metadata,
        });
        if let Some((number, start, end)) = &self.run {
            metadata["buildInvocationID"] = json!(number);
            metadata["buildStartedOn"] = json!(start);
            metadata["buildFinishedOn"] = json!(end);
        }
        let mut predicate = json!({
            "builder": { "id": self.options.builder_id },
            "buildType": BUILD_TYPE,
            "invocation": {
                "configSource": source,
                "parameters": self.request,
                "environment": { "platform": Platform::host().to_string() },
            },
            "metadata": metadata,
            "materials": self.materials,
        });
        if let Some(build) = self.build {
            predicate["buildConfig"] = build;
        }
        predicate
    }
}

/// A path of the machine is nobody's business: only the name of the file is told.
fn file_name(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

fn source(past: &Past<'_>) -> Value {
    match &past.source.origin {
        Origin::Local => json!({ "path": file_name(&past.source.name) }),
        Origin::Git { url, commit } => {
            json!({ "uri": without_credentials(url), "digest": commit_digest(commit), "path": &past.source.name })
        }
        Origin::Http { url, digest } => {
            json!({ "uri": without_credentials(url), "digest": { "sha256": digest.hex() }, "path": &past.source.name })
        }
    }
}

fn commit_digest(commit: &str) -> Value {
    let algorithm = if commit.len() == 64 { "sha256" } else { "sha1" };
    json!({ algorithm: commit })
}

fn request(options: &ProvenanceOptions, past: &Past<'_>) -> Value {
    let mut args = Map::new();
    if let Some(target) = &past.options.target {
        args.insert("target".to_owned(), json!(target));
    }
    if options.max {
        for (name, value) in &past.options.build_args {
            args.insert(format!("build-arg:{name}"), json!(redacted_text(value)));
        }
        for (name, value) in &past.options.labels {
            args.insert(format!("label:{name}"), json!(redacted_text(value)));
        }
    }
    let named = past.source.named.contexts.iter().filter(|(_, context)| matches!(context, NamedContext::Local(_)));
    let mut locals: Vec<&str> = named.map(|(name, _)| name.as_str()).collect();
    if past.source.origin == Origin::Local {
        locals.extend(["context", "dockerfile"]);
    }
    locals.sort_unstable();
    let locals: Vec<Value> = locals.into_iter().map(|name| json!({ "name": name })).collect();
    let mut request = json!({ "frontend": "dockerfile.v0", "args": args, "locals": locals });
    if options.max {
        let id = |id: &String| json!({ "id": id });
        request["secrets"] = past.grants.secrets.keys().map(id).collect();
        request["ssh"] = past.grants.ssh.keys().map(id).collect();
    }
    request
}

/// Returns all that was read of other places, each once, sorted by its name.
fn materials(past: &Past<'_>, nodes: &BTreeSet<NodeId>) -> Vec<Value> {
    let mut all: BTreeMap<String, Value> = BTreeMap::new();
    let mut asked: BTreeSet<(&str, BlobDigest)> = BTreeSet::new();
    let images: BTreeSet<_> = nodes
        .iter()
        .filter_map(|node| match past.target.joined.graph.op(*node) {
            Op::Image(image) => Some(image.id),
            _ => None,
        })
        .collect();
    for (BaseRequest { reference, platform }, base) in past.target.bases.all() {
        if !images.contains(&base.id) {
            continue;
        }
        let uri = reference.parse::<Reference>().map_or_else(
            // What is no name is a layout of this machine, whose directory is not told.
            |_| "pkg:oci/layout".to_owned(),
            |name| image_purl(&name, platform),
        );
        let digest = base.digest().map_or_else(|| base.id.hex(), |digest| digest.hex());
        all.insert(uri, json!({ "sha256": digest }));
    }
    for node in nodes {
        match (past.target.joined.graph.op(*node), past.found.get(node)) {
            (Op::Http(http), found) => {
                let digest = match found {
                    Some(Found::File(file)) => Some(file.digest),
                    _ => http.checksum,
                };
                if let Some(digest) = digest {
                    all.insert(without_credentials(&http.url), json!({ "sha256": digest.hex() }));
                }
            }
            (Op::Git(git), Some(Found::Commit(resolved))) => {
                let reference = git.source.reference.as_ref().map_or(String::new(), |name| format!("#{name}"));
                let uri = format!("{}{reference}", without_credentials(&git.source.url));
                all.insert(uri, commit_digest(&resolved.commit));
            }
            _ => asked.extend(requests(past, *node).into_iter().flat_map(Requests::files)),
        }
    }
    match &past.source.origin {
        Origin::Local => {}
        Origin::Git { url, commit } => drop(all.insert(without_credentials(url), commit_digest(commit))),
        Origin::Http { url, digest } => drop(all.insert(without_credentials(url), json!({ "sha256": digest.hex() }))),
    }
    // One address may have given several files; what has the name and the digest of another material is that.
    let named = |(uri, digest): &(&str, BlobDigest)| all.get(*uri) != Some(&json!({ "sha256": digest.hex() }));
    asked.retain(named);
    let asked = asked.into_iter().map(|(uri, digest)| json!({ "uri": uri, "digest": { "sha256": digest.hex() } }));
    let mut materials: Vec<Value> =
        all.iter().map(|(uri, digest)| json!({ "uri": uri, "digest": digest })).chain(asked).collect();
    materials.sort_by_cached_key(|material| (material["uri"].to_string(), material["digest"].to_string()));
    materials
}

/// Returns what a step asked of the network, if that is recorded.
fn requests<'a>(past: &'a Past<'_>, node: NodeId) -> Option<&'a Requests> {
    match past.found.get(&node) {
        Some(Found::Requests(requests)) => Some(requests),
        _ => None,
    }
}

/// Returns the steps, with what each needs.
fn steps(past: &Past<'_>, nodes: &BTreeSet<NodeId>) -> Value {
    let numbers: BTreeMap<NodeId, usize> = nodes.iter().copied().zip(0..).collect();
    let titles = past.target.joined.steps_by_node();
    let step = |(node, number): (&NodeId, &usize)| {
        let operation = past.target.joined.graph.op(*node);
        let inputs: Vec<String> =
            operation.inputs().filter_map(|input| numbers.get(&input)).map(|number| format!("step{number}")).collect();
        let kind = match operation {
            Op::Scratch => "scratch",
            Op::Image(_) => "image",
            Op::Http(_) => "http",
            Op::Git(_) => "git",
            Op::Exec(_) => "exec",
            Op::Copy(_) => "copy",
            Op::MakeDir(_) => "mkdir",
            Op::Merge(_) => "merge",
            Op::After(_) => "after",
        };
        let written: Vec<Value> = titles
            .get(node)
            .into_iter()
            .flatten()
            .map(|&index| json!(redacted_text(&past.target.joined.steps[index].planned().title)))
            .collect();
        json!({ "id": format!("step{number}"), "kind": kind, "instructions": written, "inputs": inputs })
    };
    json!({ "steps": numbers.iter().map(step).collect::<Vec<_>>() })
}
