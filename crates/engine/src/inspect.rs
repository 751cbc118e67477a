//! Turns records of images and containers into the JSON that `docker inspect` prints.

use serde_json::{Map, Value, json};
use stave_oci::{BlobDigest, Healthcheck, ImageConfig, ImageId, Reference, RunConfig};

/// What an image's description is made from.
pub(crate) struct ImageFacts<'a> {
    pub(crate) id: ImageId,
    pub(crate) names: &'a [Reference],
    pub(crate) digests: &'a [(String, BlobDigest)],
    pub(crate) size: u64,
    pub(crate) config: &'a ImageConfig,
}

/// Returns the object that describes an image.
pub(crate) fn image(facts: &ImageFacts<'_>) -> Value {
    let config = facts.config;
    let names: Vec<String> = facts.names.iter().map(familiar).collect();
    let digests: Vec<String> = facts.digests.iter().map(|(name, digest)| format!("{name}@{digest}")).collect();
    json!({
        "Id": facts.id.to_string(),
        "RepoTags": names,
        "RepoDigests": digests,
        "Parent": "",
        "Comment": config.history.last().and_then(|entry| entry.comment.clone()).unwrap_or_default(),
        "Created": config.created.clone().unwrap_or_default(),
        "DockerVersion": "",
        "Author": config.author.clone().unwrap_or_default(),
        "Config": run_config(&config.config),
        "Architecture": config.architecture,
        "Variant": config.variant.clone().unwrap_or_default(),
        "Os": config.os,
        "Size": facts.size,
        "VirtualSize": facts.size,
        "GraphDriver": { "Name": "overlay", "Data": null },
        "RootFS": { "Type": "layers", "Layers": config.rootfs.diff_ids },
        // The store does not know when a name was given.
        "Metadata": { "LastTagTime": "0001-01-01T00:00:00Z" },
    })
}

/// Returns `name:tag` as Docker prints it.
pub(crate) fn familiar(name: &Reference) -> String {
    match name.effective_tag() {
        Some(tag) => format!("{}:{tag}", name.familiar_name()),
        None => name.familiar_name(),
    }
}

/// Returns Docker's form of a run configuration: what is absent is `null`, not missing.
pub(crate) fn run_config(config: &RunConfig) -> Value {
    let mut object = Map::new();
    object.insert("User".into(), json!(config.user));
    if !config.exposed_ports.is_empty() {
        object.insert("ExposedPorts".into(), json!(config.exposed_ports));
    }
    object.insert("Env".into(), json!(config.env));
    object.insert("Cmd".into(), json!(config.cmd));
    if let Some(check) = &config.healthcheck {
        object.insert("Healthcheck".into(), healthcheck(check));
    }
    object.insert("Volumes".into(), if config.volumes.is_empty() { Value::Null } else { json!(config.volumes) });
    object.insert("WorkingDir".into(), json!(config.working_dir));
    object.insert("Entrypoint".into(), json!(config.entrypoint));
    object.insert("OnBuild".into(), if config.on_build.is_empty() { Value::Null } else { json!(config.on_build) });
    object.insert("Labels".into(), if config.labels.is_empty() { Value::Null } else { json!(config.labels) });
    if let Some(signal) = &config.stop_signal {
        object.insert("StopSignal".into(), json!(signal));
    }
    if let Some(shell) = &config.shell {
        object.insert("Shell".into(), json!(shell));
    }
    Value::Object(object)
}

fn healthcheck(check: &Healthcheck) -> Value {
    serde_json::to_value(check).expect("a health check has only text keys")
}
