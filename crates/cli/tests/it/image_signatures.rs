//! Policies that ask who signed an image: what registries keep beside it, by a root of trust and by plain keys. E018

use std::path::PathBuf;

use serde_json::{Value, json};
use stave_oci::{BlobDigest, media_type};
use stave_testkit::{Bench, LoopbackRegistry};

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const EMPTY: &[u8] = b"{}";

/// Reads a file of the signatures that were made once, by an authority and logs that exist nowhere else.
fn made(name: &str) -> Vec<u8> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../signature/test_data/sigstore");
    std::fs::read(directory.join(name)).expect("it is there")
}

fn described(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": BlobDigest::of(bytes).to_string(), "size": bytes.len() })
}

/// What is attached to a manifest: its own manifest, with its blobs in the registry.
fn attached(registry: &LoopbackRegistry, subject: &[u8], artifact_type: &str, layers: &[Value]) -> Vec<u8> {
    registry.put_blob("base", EMPTY);
    let manifest = json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "artifactType": artifact_type,
        "config": described("application/vnd.oci.empty.v1+json", EMPTY),
        "layers": layers,
        "subject": described(media_type::OCI_MANIFEST, subject),
    });
    manifest.to_string().into_bytes()
}

fn put(registry: &LoopbackRegistry, manifest: &[u8]) {
    registry.put_manifest("base", &BlobDigest::of(manifest).to_string(), media_type::OCI_MANIFEST, manifest);
}

/// Attaches a bundle, as `cosign` does from its third version on.
fn attach(registry: &LoopbackRegistry, subject: &[u8], bundle: &str) -> Vec<u8> {
    let bundle = made(bundle);
    registry.put_blob("base", &bundle);
    let manifest = attached(registry, subject, BUNDLE, &[described(BUNDLE, &bundle)]);
    put(registry, &manifest);
    manifest
}

/// A layer with a payload, as `cosign` wrote them before.
fn simple(registry: &LoopbackRegistry, name: &str) -> Value {
    let parts: Value = serde_json::from_slice(&made(name)).expect("JSON");
    let payload = parts["payload"].as_str().expect("a payload").as_bytes();
    registry.put_blob("base", payload);
    let mut layer = described("application/vnd.dev.cosign.simplesigning.v1+json", payload);
    layer["annotations"]["dev.cosignproject.cosign/signature"] = parts["signature"].clone();
    for (key, part) in [("certificate", "certificate"), ("chain", "chain"), ("bundle", "bundle")] {
        if parts[part].is_string() {
            layer["annotations"][format!("dev.sigstore.cosign/{key}")] = parts[part].clone();
        }
    }
    layer
}

/// A registry with the one image that was signed, and a Dockerfile from it.
fn with_image() -> (Bench, LoopbackRegistry) {
    let registry = LoopbackRegistry::start();
    registry.put_blob("base", &made("image.config.json"));
    registry.put_manifest("base", "1", media_type::OCI_MANIFEST, &made("image.manifest.json"));
    let bench = Bench::new().with_registry(&registry);
    bench.file("Dockerfile", format!("FROM {}/base:1\nCOPY a /\n", registry.host())).file("a", "a");
    for name in ["trusted_root.json", "p256.pub", "rsa.pub"] {
        bench.file(name, String::from_utf8(made(name)).expect("text"));
    }
    (bench, registry)
}

fn policy(rule: &str) -> String {
    format!(
        "package docker\ndefault allow := false\nallow if input.local\nallow if {{\n\t{rule}\n}}\ndecision := {{\"allow\": allow}}\n"
    )
}

const BY_EXAMPLE: &str = "some one in input.image.signatures\n\t\
    one.signer.sourceRepositoryURI == \"https://github.com/example/app\"";
const BUILD: [&str; 4] = ["build", "--policy", "trusted-root=trusted_root.json", "."];

fn asks(bench: &Bench, rule: &str) {
    bench.file("Dockerfile.rego", policy(rule));
}

/// E018: bundles are found by the list of referrers, and where a registry has none by its tag.
#[test]
fn a_build_uses_an_image_that_the_right_workflow_signed() {
    let (bench, registry) = with_image();
    let image = made("image.manifest.json");
    asks(&bench, BY_EXAMPLE);
    bench.run(BUILD).exit(2).complains("the policy `./Dockerfile.rego` does not allow `docker-image://");
    attach(&registry, &image, "other-workflow.json");
    bench.run(BUILD).exit(2).complains("does not allow `docker-image://");
    let signature = attach(&registry, &image, "signed.json");
    bench.run(BUILD).success();
    registry.forget_referrers();
    bench.run(BUILD).exit(2).complains("does not allow `docker-image://");
    let mut entry = described(media_type::OCI_MANIFEST, &signature);
    entry["artifactType"] = BUNDLE.into();
    let list = json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [entry] }).to_string();
    let tag = format!("sha256-{}", BlobDigest::of(&image).hex());
    registry.put_manifest("base", &tag, media_type::OCI_INDEX, list.as_bytes());
    bench.run(BUILD).success();
    bench.run(["lock", "--policy", "trusted-root=trusted_root.json", "."]).success();
}

/// E018: what nobody of the root of trust vouches for is not told, and what it was is said.
#[test]
fn a_build_does_not_use_an_image_that_nobody_vouches_for() {
    let not = "shows no signer of the image: nobody of the root of trust vouches for its certificate";
    for (bundle, why) in [
        ("other-authority.json", not),
        ("expired.json", not),
        ("other-log.json", "it is in no log of the root of trust"),
        ("other-image.json", "it is over something else"),
        ("swapped-payload.json", "it is not by the key of its certificate"),
    ] {
        let (bench, registry) = with_image();
        asks(&bench, BY_EXAMPLE);
        attach(&registry, &made("image.manifest.json"), bundle);
        bench.run(BUILD).exit(2).complains("does not allow `docker-image://").complains(why);
    }
}

/// E018, R: what is listed as attached to the image, and says itself that it is attached to another, is not.
#[test]
fn a_registry_cannot_attach_the_signature_of_another_image() {
    let (bench, registry) = with_image();
    asks(&bench, "count(input.image.signatures) > 0");
    let moved = attach(&registry, b"another manifest", "signed.json");
    registry.forget_referrers();
    let mut entry = described(media_type::OCI_MANIFEST, &moved);
    entry["artifactType"] = BUNDLE.into();
    let list = json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [entry] }).to_string();
    let tag = format!("sha256-{}", BlobDigest::of(&made("image.manifest.json")).hex());
    registry.put_manifest("base", &tag, media_type::OCI_INDEX, list.as_bytes());
    bench.run(BUILD).exit(2).complains("does not allow `docker-image://");
}

/// E018: of an index, what signs its attestations signs the image that they name. So `BuildKit`'s are signed.
#[test]
fn a_signature_of_an_indexs_attestations_is_one_of_the_image_that_they_name() {
    let (bench, registry) = with_image();
    let (image, attestation) = (made("image.manifest.json"), made("attestation.manifest.json"));
    asks(
        &bench,
        "input.image.signatures[0].signer.sourceRepositoryURI == \"https://github.com/docker/github-builder\"",
    );
    put(&registry, &image);
    put(&registry, &attestation);
    registry.put_blob("base", EMPTY);
    registry.put_manifest("base", "1", media_type::OCI_INDEX, &made("index.json"));
    let build = [&BUILD[..], &["--platform", "linux/amd64"]].concat();
    bench.run(&build).exit(2).complains("does not allow `docker-image://");
    attach(&registry, &attestation, "attestation.signed.json");
    bench.run(&build).success();
    // An index that says that the attestations of one image are those of another.
    let other = String::from_utf8(image.clone()).expect("text").replace("\"layers\":[]", "\"layers\": []");
    put(&registry, other.as_bytes());
    let (old, new) = (BlobDigest::of(&image).to_string(), BlobDigest::of(other.as_bytes()).to_string());
    let index = String::from_utf8(made("index.json")).expect("text").replace(&old, &new);
    let index = index.replacen(&format!("\"size\":{}", image.len()), &format!("\"size\":{}", other.len()), 1);
    registry.put_manifest("base", "1", media_type::OCI_INDEX, index.as_bytes());
    let build = [&build[..], &["--pull"]].concat();
    bench.run(&build).exit(2).complains("does not allow `docker-image://");
}

/// E018: an index may have a signed image that runs on the platform, and another one that is used.
#[test]
fn the_signature_of_another_image_of_the_index_is_none_of_the_one_that_is_used() {
    let (bench, registry) = with_image();
    let image = made("image.manifest.json");
    asks(&bench, "count(input.image.signatures) > 0");
    put(&registry, &image);
    attach(&registry, &image, "signed.json");
    // One of the same configuration has the same files only if it has the same layers.
    let same = String::from_utf8(image.clone()).expect("text").replace("\"layers\":[]", "\"layers\": []").into_bytes();
    put(&registry, &same);
    let config = String::from_utf8(made("image.config.json")).expect("text").replace("signed", "another");
    registry.put_blob("base", config.as_bytes());
    let manifest: Value = serde_json::from_slice(&image).expect("JSON");
    let kind = manifest["config"]["mediaType"].as_str().expect("a type");
    let other = json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": described(kind, config.as_bytes()),
        "layers": [],
    });
    let other = other.to_string().into_bytes();
    put(&registry, &other);
    let index = |other: &[u8], variants: [&str; 2]| {
        let entries = [image.as_slice(), other].into_iter().zip(variants).map(|(manifest, variant)| {
            let mut entry = described(media_type::OCI_MANIFEST, manifest);
            entry["platform"] = json!({ "os": "linux", "architecture": "arm", "variant": variant });
            entry
        });
        json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": entries.collect::<Vec<_>>() })
    };
    let build = [&BUILD[..], &["--platform", "linux/arm/v7", "--pull"]].concat();
    registry.put_manifest("base", "1", media_type::OCI_INDEX, index(&same, ["v6", "v7"]).to_string().as_bytes());
    bench.run(&build).exit(2).complains("does not allow `docker-image://");
    registry.put_manifest("base", "1", media_type::OCI_INDEX, index(&other, ["v6", "v7"]).to_string().as_bytes());
    bench.run(&build).exit(2).complains("does not allow `docker-image://");
    registry.put_manifest("base", "1", media_type::OCI_INDEX, index(&other, ["v7", "v6"]).to_string().as_bytes());
    bench.run(&build).success();
}

/// E018: the tag under which `cosign` kept signatures before there were referrers.
#[test]
fn signatures_of_the_older_form_are_found_by_their_tag() {
    let (bench, registry) = with_image();
    let image = made("image.manifest.json");
    let by_key = "verify_image_signature(input.image, \"p256.pub\")";
    asks(&bench, by_key);
    bench.run(["build", "."]).exit(2).complains("the image is not verified by `p256.pub`: it has no signature");
    let layers = [simple(&registry, "p256.simple.json"), simple(&registry, "simple.json")];
    let manifest = attached(&registry, &image, "", &layers);
    let tag = format!("sha256-{}.sig", BlobDigest::of(&image).hex());
    registry.put_manifest("base", &tag, media_type::OCI_MANIFEST, &manifest);
    bench.run(["build", "."]).success();
    asks(&bench, &by_key.replace("p256", "rsa"));
    bench.run(["build", "."]).exit(2).complains("the image is not verified by `rsa.pub`: sha256:");
    asks(&bench, "input.image.signatures[0].type == \"simplesigning-v1\"");
    bench.run(BUILD).success();
    asks(&bench, "input.image.signatures[0].dockerReference == \"example.com/base\"");
    bench.run(BUILD).success();
    let other = [simple(&registry, "p256.simple.other-image.json")];
    let manifest = attached(&registry, &image, "", &other);
    registry.put_manifest("base", &tag, media_type::OCI_MANIFEST, &manifest);
    asks(&bench, by_key);
    bench.run(["build", "."]).exit(2).complains("it is over the image sha256:");
}

/// E018: what is not known decides nothing, whatever a policy makes of it.
#[test]
fn who_signed_is_never_guessed() {
    let (bench, registry) = with_image();
    let image = made("image.manifest.json");
    asks(&bench, "not input.image.signatures");
    bench.run(["build", "."]).exit(2).complains(
        "line 5 of the policy `./Dockerfile.rego` asks for `signatures` of an image, and no `trusted-root` is named to \
         verify them with",
    );
    asks(&bench, "count(input.image.signatures) == 0");
    bench.run(BUILD).success();
    registry.put_blob("base", b"{ broken");
    let broken = attached(&registry, &image, BUNDLE, &[described(BUNDLE, b"{ broken")]);
    put(&registry, &broken);
    bench.run(BUILD).exit(2).complains(&format!(
        "it is not known who signed `docker-image://{}/base:1`: the signature {} of the image: the bundle of Sigstore cannot \
         be read: ",
        registry.host(),
        BlobDigest::of(b"{ broken")
    ));
    bench.file("Dockerfile", "FROM scratch\nCOPY a /\n");
    bench.run(["build", "--policy", "disabled=true", "-t", "mine:1", "."]).success();
    bench.file("Dockerfile", "FROM mine:1\nCOPY a /\n");
    let local = bench.run(BUILD);
    local.complains("it is not known who signed `docker.io/library/mine:1`: no registry has it");
    assert_ne!(local.code, 0);
}

/// E018: options that name no root of trust.
#[test]
fn a_root_of_trust_that_cannot_be_used_is_an_error() {
    let (bench, _registry) = with_image();
    asks(&bench, BY_EXAMPLE);
    bench.file("empty.json", "{}");
    for (value, problem) in [
        ("trusted-root=", "`trusted-root` is empty"),
        ("trusted-root=nowhere.json", "cannot read the root of trust `nowhere.json`: "),
        ("trusted-root=empty.json", "the root of trust cannot be used: "),
        ("disabled=true,trusted-root=trusted_root.json", "`disabled=true` goes with no other field"),
    ] {
        bench.run(["build", "--policy", value, "."]).exit(2).complains(problem);
    }
}

/// E017, E018: `policy eval` tells and asks the same.
#[test]
fn a_policy_is_asked_by_itself_who_signed() {
    let (bench, registry) = with_image();
    let base = format!("{}/base:1", registry.host());
    attach(&registry, &made("image.manifest.json"), "signed.json");
    attach(&registry, &made("image.manifest.json"), "attested.json");
    asks(&bench, BY_EXAMPLE);
    bench.run(["policy", "eval", &base]).exit(2).complains("no `trusted-root` is named to verify them with");
    bench.run(["policy", "eval", "--trusted-root", "trusted_root.json", &base]).success();
    let print = ["policy", "eval", "--print", "--fields", "image.signatures,image.attestations", &base];
    bench.run(print).exit(2).complains("who signed an image is only known with a root of trust");
    let output = bench.run([&print[..], &["--trusted-root", "trusted_root.json"]].concat());
    let told: Value = serde_json::from_slice(&output.success().stdout).expect("JSON");
    assert_eq!(told["image"]["signatures"][0]["signer"]["runnerEnvironment"], "github-hosted");
    assert_eq!(told["image"]["attestations"][0]["predicateType"], "https://slsa.dev/provenance/v1");
    let schema = bench.run(["policy", "json-schema"]).success().out();
    assert!(schema.contains("\"signatures\"") && schema.contains("\"attestations\""), "{schema}");
    asks(&bench, "verify_image_signature(input.image, \"p256.pub\")");
    let output = bench.run(["policy", "eval", &base]);
    output.exit(1).complains("the image is not verified by `p256.pub`: sha256:");
    output.complains("it is by a certificate, and not by a plain key");
}
