//! What a policy is told of who signed an image, under buildx's names; and what Docker's own builder signs.
//!
//! Reference: buildx, `policy/types.go`; moby, `policy-helpers`, `types/name.go` for the kinds.

use serde_json::{Map, Value, json};
use stave_signature::image::{SIGN, SignedImage};

/// The authority of the public Sigstore that certifies who signs.
const PUBLIC_AUTHORITY: &str = "CN=sigstore-intermediate,O=sigstore.dev";

/// Who vouches for workflows of GitHub.
const GITHUB_ISSUER: &str = "https://token.actions.githubusercontent.com";

/// What addresses of repositories of GitHub begin with.
const GITHUB: &str = "https://github.com/";

/// Where the workflows of Docker's builder are.
const BUILDERS: [&str; 2] = [
    "https://github.com/docker/github-builder/.github/workflows/",
    "https://github.com/docker/github-builder-experimental/.github/workflows/",
];

/// The kind of what Docker's builder signs.
const BUILDER_KIND: &str = "docker-github-builder";

/// The form of a bundle that Docker's builder writes.
const BUNDLE: &str = "bundle-v0.3";

/// Whether it signs the image, and states nothing else of it.
pub(crate) fn is_signature(found: &SignedImage) -> bool {
    found.signed.statement.as_ref().is_none_or(|statement| statement.predicate_type == SIGN)
}

/// Returns what is told of a signature, or of a signed statement.
pub(crate) fn told(found: &SignedImage) -> Value {
    let signed = &found.signed;
    let mut by = Map::new();
    by.insert("certificateIssuer".to_owned(), json!(signed.signer.certificate_issuer));
    by.insert("subjectAlternativeName".to_owned(), json!(signed.signer.identity));
    if let Some(issuer) = &signed.signer.issuer {
        by.insert("issuer".to_owned(), json!(issuer));
    }
    by.extend(signed.signer.claims.iter().map(|(name, value)| ((*name).to_owned(), json!(value))));
    let times = signed.times.iter().map(|time| {
        let kind = if time.by_log { "Tlog" } else { "TimestampAuthority" };
        let uri = time.uri.as_deref().unwrap_or_default();
        json!({ "type": kind, "uri": uri, "timestamp": time.time })
    });
    let mut told = json!({ "type": signed.form, "timestamps": times.collect::<Vec<_>>(), "signer": by });
    told["kind"] = kind(&told).into();
    if let Some(reference) = &found.reference {
        told["dockerReference"] = json!(reference);
    }
    if let Some(statement) = signed.statement.as_ref().filter(|_| !is_signature(found)) {
        told["predicateType"] = json!(statement.predicate_type);
        told["predicate"] = statement.predicate.clone();
    }
    told
}

/// Returns what kind of signer it is, as buildx sorts them.
fn kind(told: &Value) -> &'static str {
    let signer = &told["signer"];
    let text = |name: &str| signer[name].as_str().unwrap_or_default();
    if text("certificateIssuer") != PUBLIC_AUTHORITY {
        return "untrusted";
    }
    let (workflow, identity, repository) =
        (text("buildSignerURI"), text("subjectAlternativeName"), text("sourceRepositoryURI"));
    let is_of_github = text("issuer") == GITHUB_ISSUER
        && text("runnerEnvironment") == "github-hosted"
        && repository.starts_with(GITHUB);
    let is_below = |prefix: &str| workflow.starts_with(prefix) && identity.starts_with(prefix);
    let is_timed = told["timestamps"].as_array().is_some_and(|times| !times.is_empty());
    if is_of_github && is_timed && told["type"] == BUNDLE && BUILDERS.into_iter().any(is_below) {
        return BUILDER_KIND;
    }
    if is_of_github && is_below(&format!("{repository}/.github/workflows/")) {
        return "self-signed-github-repo";
    }
    "self-signed"
}

/// Whether a signature, as a policy was told it, is one that Docker's builder made for this repository of GitHub.
pub(crate) fn is_by_builder(told: &Value, repository: &str) -> bool {
    kind(told) == BUILDER_KIND
        && told["kind"] == BUILDER_KIND
        && told["signer"]["sourceRepositoryURI"] == format!("{GITHUB}{repository}").as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(workflow: &str, repository: &str) -> Value {
        let mut told = json!({
            "type": "bundle-v0.3",
            "timestamps": [{ "type": "Tlog" }],
            "signer": {
                "certificateIssuer": PUBLIC_AUTHORITY,
                "subjectAlternativeName": workflow,
                "issuer": GITHUB_ISSUER,
                "buildSignerURI": workflow,
                "runnerEnvironment": "github-hosted",
                "sourceRepositoryURI": repository,
            },
        });
        told["kind"] = kind(&told).into();
        told
    }

    /// E018
    #[test]
    fn signers_are_sorted_as_buildx_sorts_them() {
        let builder = format!("{}build.yml@refs/heads/main", BUILDERS[0]);
        let built = by(&builder, "https://github.com/me/app");
        assert_eq!(built["kind"], "docker-github-builder");
        assert!(is_by_builder(&built, "me/app") && !is_by_builder(&built, "me/other"));
        let own = by("https://github.com/me/app/.github/workflows/a.yml@x", "https://github.com/me/app");
        assert_eq!(own["kind"], "self-signed-github-repo");
        let foreign = by("https://github.com/me/other/.github/workflows/a.yml@x", "https://github.com/me/app");
        assert_eq!(foreign["kind"], "self-signed");
        for (field, value) in [
            ("certificateIssuer", "CN=made,O=example.com"),
            ("issuer", "https://accounts.google.com"),
            ("runnerEnvironment", "self-hosted"),
            ("sourceRepositoryURI", "https://example.com/me/app"),
            ("subjectAlternativeName", "https://github.com/me/app/.github/workflows/a.yml"),
            ("buildSignerURI", "https://github.com/me/app/.github/workflows/a.yml"),
        ] {
            let mut changed = built.clone();
            changed["signer"][field] = value.into();
            assert_ne!(kind(&changed), BUILDER_KIND, "{field}");
            assert!(!is_by_builder(&changed, "me/app"), "{field}: what it is called is not believed");
        }
        let mut untimed = built.clone();
        untimed["timestamps"] = json!([]);
        assert!(!is_by_builder(&untimed, "me/app"));
    }
}
