//! What a policy is told of how an image was built: SLSA provenance of either version, under buildx's names.
//!
//! Nobody has verified who says it.
//!
//! Reference: <https://slsa.dev/spec/v1.1/provenance>, <https://slsa.dev/spec/v0.2/provenance>; BuildKit,
//! `docs/attestations/slsa-definitions.md`, for what stands in `metadata`.

use serde_json::{Map, Value};

/// What the names of arguments that are build arguments begin with.
const BUILD_ARG: &str = "build-arg:";

/// Returns what is told of a statement's `predicate`; `kind` is its type.
pub(crate) fn told(kind: &str, predicate: &Value) -> Value {
    let mut told = Map::new();
    let mut set = |name: &str, value: &Value| {
        if !value.is_null() {
            told.insert(name.to_owned(), value.clone());
        }
    };
    set("predicateType", &Value::from(kind));
    let old = !predicate["buildDefinition"].is_object();
    let (definition, run) = (&predicate["buildDefinition"], &predicate["runDetails"]);
    let metadata = if old { &predicate["metadata"] } else { &run["metadata"] };
    let (source, path, arguments) = if old {
        let invocation = &predicate["invocation"];
        (&invocation["configSource"], "entryPoint", &invocation["parameters"]["args"])
    } else {
        let external = &definition["externalParameters"];
        (&external["configSource"], "path", &external["request"]["args"])
    };
    set("buildType", if old { &predicate["buildType"] } else { &definition["buildType"] });
    set("builderID", if old { &predicate["builder"]["id"] } else { &run["builder"]["id"] });
    set("invocationID", &metadata[if old { "buildInvocationID" } else { "invocationId" }]);
    set("startedOn", &metadata[if old { "buildStartedOn" } else { "startedOn" }]);
    set("finishedOn", &metadata[if old { "buildFinishedOn" } else { "finishedOn" }]);
    let of = |fields: &[(&str, &Value)]| {
        let present = fields.iter().filter(|(_, value)| !value.is_null());
        Value::Object(present.map(|(name, value)| ((*name).to_owned(), (*value).clone())).collect())
    };
    if source.is_object() {
        set("configSource", &of(&[("uri", &source["uri"]), ("digest", &source["digest"]), ("path", &source[path])]));
    }
    if let Some(all) = arguments.as_object() {
        let own =
            all.iter().filter_map(|(name, value)| Some((name.strip_prefix(BUILD_ARG)?.to_owned(), value.clone())));
        set("buildArgs", &Value::Object(own.collect()));
        set("rawArgs", arguments);
    }
    let flag = |name: &str| {
        let builders = ["buildkit", "stave"].map(|builder| &metadata[format!("{builder}_{name}")]);
        builders.into_iter().find(|value| !value.is_null()).unwrap_or(&Value::Null)
    };
    set("reproducible", if old { &metadata["reproducible"] } else { flag("reproducible") });
    set("hermetic", if old { &metadata["https://mobyproject.org/buildkit@v1#hermetic"] } else { flag("hermetic") });
    let complete = if old { &metadata["completeness"] } else { flag("completeness") };
    if complete.is_object() {
        let (parameters, materials) =
            if old { ("parameters", "materials") } else { ("request", "resolvedDependencies") };
        let fields = [
            ("parameters", &complete[parameters]),
            ("environment", &complete["environment"]),
            ("materials", &complete[materials]),
        ];
        set("completeness", &of(&fields));
    }
    Value::Object(told)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// E018
    #[test]
    fn both_versions_are_told_in_the_same_words() {
        let new = json!({
            "buildDefinition": {
                "buildType": "t",
                "externalParameters": {
                    "configSource": { "uri": "u", "path": "Dockerfile" },
                    "request": { "args": { "target": "x", "build-arg:A": "b" } },
                },
            },
            "runDetails": {
                "builder": { "id": "me" },
                "metadata": { "invocationId": "1", "stave_hermetic": true, "stave_completeness": { "request": true } },
            },
        });
        let old = json!({
            "buildType": "t", "builder": { "id": "me" },
            "invocation": {
                "configSource": { "uri": "u", "entryPoint": "Dockerfile" },
                "parameters": { "args": { "target": "x", "build-arg:A": "b" } },
            },
            "metadata": {
                "buildInvocationID": "1", "https://mobyproject.org/buildkit@v1#hermetic": true,
                "completeness": { "parameters": true },
            },
        });
        let expected = json!({
            "predicateType": "k", "buildType": "t", "builderID": "me", "invocationID": "1",
            "configSource": { "uri": "u", "path": "Dockerfile" },
            "buildArgs": { "A": "b" }, "rawArgs": { "target": "x", "build-arg:A": "b" },
            "hermetic": true, "completeness": { "parameters": true },
        });
        assert_eq!(told("k", &new), expected);
        assert_eq!(told("k", &old), expected);
        assert_eq!(told("k", &json!("no provenance")), json!({ "predicateType": "k" }));
    }
}
