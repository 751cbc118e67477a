//! `imagetools`: images of registries merged, copied and shown. H041, H042.

use serde_json::{Value, json};
use stave_testkit::{Bench, LoopbackRegistry};
use std::fs;
use std::sync::{Mutex, mpsc};

/// Pushes an image for each of these platforms as `HOST/REPOSITORY:ARCH`, each with a layer of its own.
fn push_each(bench: &Bench, registry: &LoopbackRegistry, repository: &str, platforms: &[&str]) {
    for platform in platforms {
        let tag = platform.rsplit('/').next().expect("there is a last part");
        let name = format!("{}/{repository}:{tag}", registry.host());
        bench.file("Dockerfile", "FROM scratch\nCOPY a /a\n").file("a", platform);
        bench.run(["build", "-q", "--platform", platform, "-t", &name, "."]).success();
        bench.run(["push", "-q", &name]).success();
    }
    drop(registry.take_log());
}

fn json_of(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("it is JSON")
}

fn index(registry: &LoopbackRegistry, repository: &str, tag: &str) -> Value {
    json_of(&registry.manifest(repository, tag).expect("the tag is there"))
}

fn platforms(index: &Value) -> Vec<String> {
    let entries = index["manifests"].as_array().expect("it is an index");
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    entries
        .iter()
        .map(|entry| format!("{}/{}", text(&entry["platform"]["os"]), text(&entry["platform"]["architecture"])))
        .collect()
}

#[test]
fn images_of_several_platforms_become_one_index_without_moving_a_blob() {
    let registry = LoopbackRegistry::start();
    let (bench, host) = (Bench::new(), registry.host());
    push_each(&bench, &registry, "team/app", &["linux/amd64", "linux/arm64"]);
    let (amd, arm) = (format!("{host}/team/app:amd64"), format!("{host}/team/app:arm64"));
    let target = format!("{host}/team/app:1");
    let out = bench.run(["imagetools", "create", "--progress=quiet", "-t", &target, &amd, &arm]).success().line();
    let merged = index(&registry, "team/app", "1");
    assert_eq!(platforms(&merged), ["linux/amd64", "linux/arm64"]);
    assert_eq!(merged["mediaType"], "application/vnd.oci.image.index.v1+json");
    assert!(out.starts_with(&format!("{target}@sha256:")), "{out}");
    let log = registry.take_log();
    assert!(!log.iter().any(|line| line.contains("uploads")), "{log:?}");

    // The same as docker spells it, to another repository: blobs are mounted.
    let other = format!("{host}/release/app:1");
    bench.run(["buildx", "imagetools", "create", "--progress=quiet", "-t", &other, &target]).success();
    assert_eq!(
        registry.manifest("release/app", "1"),
        registry.manifest("team/app", "1"),
        "one index is copied as it is"
    );
    let log = registry.take_log();
    assert!(!log.iter().any(|line| line.starts_with("PUT") && line.contains("uploads")), "{log:?}");

    // And both platforms can be pulled from there.
    for (platform, architecture) in [("linux/amd64", "amd64"), ("linux/arm64", "arm64")] {
        let other_bench = Bench::new();
        other_bench.run(["pull", "-q", "--platform", platform, &other]).success();
        let found = other_bench.run(["inspect", "-f", "{{.Architecture}}", &other]).success().line();
        assert_eq!(found, architecture);
    }
}

/// H041, H043: an index goes to a layout or an archive of one, with all that it names, and nothing that is not what its
/// digest says gets there.
#[test]
fn an_index_goes_to_a_place_on_this_machine() {
    let registry = LoopbackRegistry::start();
    let (bench, host) = (Bench::new(), registry.host());
    push_each(&bench, &registry, "team/app", &["linux/amd64", "linux/arm64"]);
    let (amd, arm) = (format!("{host}/team/app:amd64"), format!("{host}/team/app:arm64"));
    let target = format!("{host}/team/app:1");
    let create =
        ["imagetools", "create", "--progress=quiet", "-t", "oci-archive:app.tar:made:1", "-t", "oci:layout", "-t"];
    bench.run(create.iter().chain(&[target.as_str(), &amd, &arm])).success();
    let digest = stave_oci::BlobDigest::of(&registry.manifest("team/app", "1").expect("it was sent")).to_string();
    let alone = ["imagetools", "create", "--progress=quiet", "-t", "oci-archive:alone.tar", &target];
    assert_eq!(bench.run(alone).success().line(), digest);
    let list = format!("{host}/team/list:1");
    bench.run(["manifest", "create", &list, &amd, &arm]).success();
    let pushed = bench.run(["manifest", "push", &list, "oci:layout:two"]).success().line();
    let listed = json_of(&fs::read(bench.work().join("layout/index.json")).expect("it was written"));
    let digests: Vec<&Value> =
        listed["manifests"].as_array().expect("a list").iter().map(|entry| &entry["digest"]).collect();
    assert_eq!(digests, [&json!(digest), &json!(pushed)]);
    for place in ["oci-archive:app.tar:made:1", "oci-archive:alone.tar", "oci:layout:two"] {
        let other = Bench::new();
        let (transport, path) = place.split_once(':').expect("a transport");
        other.run(["pull", "-q", &format!("{transport}:{}", bench.work().join(path).display())]).success();
        assert_eq!(other.run(["images", "-qa"]).success().out().lines().count(), 2, "{place}");
        other.run(["store", "check"]).success();
    }

    // A blob that is another one has no name, and an archive with it neither.
    registry.fail(|request| {
        let is_layer = request.method == "GET" && request.path.contains("/blobs/");
        is_layer.then(|| stave_testkit::http::Response::body(200, "application/octet-stream", vec![0; 300]))
    });
    for place in ["oci:other", "oci-archive:other.tar"] {
        bench.run(["imagetools", "create", "--progress=quiet", "-t", place, &target]).exit(3);
    }
    assert!(!bench.work().join("other.tar").exists() && !bench.work().join("other/index.json").exists());
}

#[test]
fn an_index_grows_by_what_is_appended_and_shrinks_to_the_platforms_asked_for() {
    let registry = LoopbackRegistry::start();
    let (bench, host) = (Bench::new(), registry.host());
    push_each(&bench, &registry, "app", &["linux/amd64", "linux/arm64", "linux/riscv64"]);
    let name = |tag: &str| format!("{host}/app:{tag}");
    let create = |args: &[&str]| {
        let mut all = vec!["imagetools", "create", "--progress=quiet"];
        all.extend(args);
        bench.run(all)
    };
    create(&["-t", &name("1"), &name("amd64"), &name("arm64")]).success();
    create(&["--append", "-t", &name("1"), &name("riscv64")]).success();
    assert_eq!(platforms(&index(&registry, "app", "1")), ["linux/amd64", "linux/arm64", "linux/riscv64"]);
    create(&["-p", "linux/riscv64,linux/amd64", "-t", &name("2"), "-t", &name("3"), &name("1")]).success();
    assert_eq!(platforms(&index(&registry, "app", "2")), ["linux/amd64", "linux/riscv64"]);
    assert_eq!(registry.manifest("app", "2"), registry.manifest("app", "3"));
    create(&["-p", "linux/s390x", "-t", &name("4"), &name("1")])
        .exit(2)
        .complains("none of the images is for linux/s390x");
    // What comes twice is there once.
    create(&["-t", &name("5"), &name("1"), &name("amd64")]).success();
    assert_eq!(platforms(&index(&registry, "app", "5")).len(), 3);
    // One image alone becomes an index, or is copied as it is.
    create(&["-t", &name("6"), &name("amd64")]).success();
    assert_eq!(platforms(&index(&registry, "app", "6")), ["linux/amd64"]);
    create(&["--prefer-index=false", "-t", &name("7"), &name("amd64")]).success();
    assert_eq!(registry.manifest("app", "7"), registry.manifest("app", "amd64"));
}

#[test]
fn a_dry_run_sends_nothing_and_remarks_and_metadata_are_written() {
    let registry = LoopbackRegistry::start();
    let (bench, host) = (Bench::new(), registry.host());
    push_each(&bench, &registry, "app", &["linux/amd64", "linux/arm64"]);
    let (amd, arm, target) = (format!("{host}/app:amd64"), format!("{host}/app:arm64"), format!("{host}/app:1"));
    let remarks = [
        "--annotation",
        "index:org.opencontainers.image.title=x=y",
        "--annotation",
        "manifest-descriptor[linux/arm64]:note=arm",
    ];
    let with = |args: &[&str]| {
        let mut all = vec!["imagetools", "create", "--progress=quiet"];
        all.extend(args);
        all.extend(remarks);
        all.extend([amd.as_str(), &arm]);
        bench.run(all)
    };
    let dry = json_of(with(&["--dry-run"]).success().out().as_bytes());
    assert_eq!(dry["annotations"], json!({ "org.opencontainers.image.title": "x=y" }));
    assert_eq!(
        (&dry["manifests"][0]["annotations"], &dry["manifests"][1]["annotations"]),
        (&Value::Null, &json!({ "note": "arm" }))
    );
    assert!(!registry.take_log().iter().any(|line| line.starts_with("PUT") || line.starts_with("POST")));
    with(&["-t", &target, "--metadata-file", "meta.json"]).success();
    let sent = registry.manifest("app", "1").expect("it was sent");
    assert_eq!(json_of(&sent), dry);
    let metadata = json_of(&fs::read(bench.work().join("meta.json")).expect("it was written"));
    let digest = stave_oci::BlobDigest::of(&sent).to_string();
    assert_eq!((&metadata["containerimage.digest"], &metadata["image.name"]), (&json!(digest), &json!(target)));
    assert_eq!(metadata["containerimage.descriptor"]["size"], sent.len());
    bench.run(["imagetools", "create", "-t", &target, "--annotation", "a=b", &amd]).exit(2).complains("`index:`");
    bench.run(["imagetools", "create", &amd]).exit(2).complains("Give it one with `--tag`.");
    bench.run(["imagetools", "create", "-t", &target]).exit(2).complains("there is nothing to merge");
}

#[test]
fn sources_are_read_from_files_and_by_digest() {
    let registry = LoopbackRegistry::start();
    let (bench, host) = (Bench::new(), registry.host());
    push_each(&bench, &registry, "app", &["linux/amd64", "linux/arm64"]);
    let digest =
        |tag: &str| stave_oci::BlobDigest::of(&registry.manifest("app", tag).expect("it is there")).to_string();
    let described = json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest("amd64"), "size": 1,
        "platform": { "os": "linux", "architecture": "amd64", "os.version": "7" }, "annotations": { "a": "b" },
    });
    bench.file("one.json", described.to_string()).file("two", format!("{}\n", digest("arm64")));
    let target = format!("{host}/app:1");
    bench.run(["imagetools", "create", "--progress=quiet", "-t", &target, "-f", "one.json", "-f", "two"]).success();
    let merged = index(&registry, "app", "1");
    assert_eq!(platforms(&merged), ["linux/amd64", "linux/arm64"]);
    assert_eq!(
        (&merged["manifests"][0]["annotations"], &merged["manifests"][0]["platform"]["os.version"]),
        (&json!({ "a": "b" }), &json!("7"))
    );
    assert_ne!(merged["manifests"][0]["size"], 1, "a size is what it is");
    bench.run(["imagetools", "create", "-t", &target, "-f", "none"]).exit(2).complains("cannot read `none`");
    bench.file("bad", "{");
    bench.run(["imagetools", "create", "-t", &target, "-f", "bad"]).exit(2).complains("this is no descriptor");
}

#[test]
fn images_go_to_another_registry_whole() {
    let (from, to) = (LoopbackRegistry::start(), LoopbackRegistry::start());
    let bench = Bench::new();
    push_each(&bench, &from, "app", &["linux/amd64", "linux/arm64"]);
    let (source, target) = (format!("{}/app:both", from.host()), format!("{}/mirror/app:1", to.host()));
    let tag = |name: &str| format!("{}/app:{name}", from.host());
    bench.run(["imagetools", "create", "--progress=quiet", "-t", &source, &tag("amd64"), &tag("arm64")]).success();
    bench.run(["imagetools", "create", "--progress=quiet", "-t", &target, &source]).success();
    drop(from);
    let other = Bench::new();
    for platform in ["linux/amd64", "linux/arm64"] {
        other.run(["pull", "-q", "--platform", platform, &target]).success();
    }
}

#[test]
fn inspect_shows_what_the_registry_has() {
    let registry = LoopbackRegistry::start();
    let (bench, host) = (Bench::new(), registry.host());
    push_each(&bench, &registry, "app", &["linux/amd64", "linux/arm64"]);
    let name = format!("{host}/app:1");
    let (amd, arm) = (format!("{host}/app:amd64"), format!("{host}/app:arm64"));
    bench
        .run(["imagetools", "create", "-t", &name, "--annotation", "manifest-descriptor[linux/arm64]:k=v", &amd, &arm])
        .success();
    let bytes = registry.manifest("app", "1").expect("it is there");
    let digest = stave_oci::BlobDigest::of(&bytes);
    let of = |tag: &str| stave_oci::BlobDigest::of(&registry.manifest("app", tag).expect("it is there"));
    let expected = format!(
        "Name:      {name}\nMediaType: application/vnd.oci.image.index.v1+json\nDigest:    {digest}\n           \nManifests: \n  \
         Name:      {host}/app@{}\n  MediaType: application/vnd.oci.image.manifest.v1+json\n  Platform:  linux/amd64\n             \n  \
         Name:        {host}/app@{}\n  MediaType:   application/vnd.oci.image.manifest.v1+json\n  Platform:    linux/arm64\n  \
         Annotations: \n    k: v\n",
        of("amd64"),
        of("arm64")
    );
    assert_eq!(bench.run(["imagetools", "inspect", &name]).success().out(), expected);
    assert_eq!(bench.run(["imagetools", "inspect", "--raw", &name]).success().out().into_bytes(), bytes);
    let shown =
        |format: &str, name: &str| bench.run(["imagetools", "inspect", "--format", format, name]).success().line();
    assert_eq!(
        shown("{{.Name}} {{.Manifest.Digest}} {{.Manifest.MediaType}}", &amd),
        format!("{amd} {} application/vnd.oci.image.manifest.v1+json", of("amd64"))
    );
    assert_eq!(shown("{{(index .Manifest.Manifests 1).Platform.Architecture}}", &name), "arm64");
    assert_eq!(shown("{{.Image.Architecture}}", &arm), "arm64");
    assert_eq!(
        shown("{{range $p, $i := .Image}}{{$p}}={{$i.architecture}},{{end}}", &name),
        "linux/amd64=amd64,linux/arm64=arm64,"
    );
    let manifest = json_of(shown("{{json .Manifest}}", &name).as_bytes());
    assert_eq!((&manifest["digest"], &manifest["size"]), (&json!(digest), &json!(bytes.len())));
    assert_eq!(manifest["manifests"].as_array().map(Vec::len), Some(2));
    bench.run(["imagetools", "inspect", &format!("{host}/app:none")]).exit(1).complains("does not exist at");
    bench.run(["imagetools", "inspect", "--format", "{{", &name]).exit(2);
}

/// H043, I033: Docker's older way to make an index.
#[test]
fn a_manifest_list_is_made_here_annotated_and_pushed() {
    let registry = LoopbackRegistry::start();
    let (bench, host) = (Bench::new(), registry.host());
    push_each(&bench, &registry, "team/app", &["linux/amd64", "linux/arm64", "linux/riscv64"]);
    let name = |tag: &str| format!("{host}/team/app:{tag}");
    let list = format!("{host}/release/app:1");
    let out = bench.run(["manifest", "create", &list, &name("amd64"), &name("arm64")]).success().out();
    assert_eq!(out, format!("Created manifest list {list}\n"));
    bench.run(["manifest", "create", &list, &name("riscv64")]).exit(1).complains("Add to it with `--amend`");
    bench.run(["manifest", "create", "--amend", &list, &name("riscv64"), &name("amd64")]).success();
    assert!(!registry.take_log().iter().any(|line| line.starts_with("PUT")), "nothing is sent yet");
    bench.run(["manifest", "annotate", &list, &name("arm64"), "--variant", "v8", "--os-features", "a,b"]).success();
    bench.run(["manifest", "annotate", &list, &name("none"), "--arch", "x"]).exit(2).complains("does not have");
    let here = json_of(bench.run(["manifest", "inspect", &list]).success().out().as_bytes());
    assert_eq!(platforms(&here), ["linux/amd64", "linux/arm64", "linux/riscv64"]);
    assert_eq!(
        here["manifests"][1]["platform"],
        json!({ "architecture": "arm64", "os": "linux", "variant": "v8", "os.features": ["a", "b"] })
    );
    let digest = bench.run(["manifest", "push", "--purge", &list]).success().line();
    let sent = registry.manifest("release/app", "1").expect("it was sent");
    assert_eq!((json_of(&sent), stave_oci::BlobDigest::of(&sent).to_string()), (here, digest));
    bench.run(["manifest", "push", &list]).exit(1).complains("there is no manifest list");

    // What is only in the registry is shown as it is there, and with -v what it lists.
    let there = bench.run(["manifest", "inspect", &list]).success().out();
    assert!(json_of(there.as_bytes()) == json_of(&sent) && there.starts_with("{\n\t\"schemaVersion\": 2,"), "{there}");
    let verbose = json_of(bench.run(["manifest", "inspect", "-v", &list]).success().out().as_bytes());
    assert_eq!(verbose.as_array().map(Vec::len), Some(3));
    assert_eq!(verbose[0]["Descriptor"]["platform"]["architecture"], "amd64");
    assert!(
        verbose[0]["OCIManifest"]["layers"].is_array()
            && verbose[0]["Ref"].as_str().is_some_and(|name| name.contains("@sha256:"))
    );
    bench.run(["manifest", "create", &list, &name("amd64")]).success();
    bench.run(["manifest", "rm", &list]).success();
    bench.run(["manifest", "rm", &list]).exit(1).complains("there is no manifest list");
    bench.run(["manifest", "create", &list, &name("none")]).exit(1).complains("does not exist at");
}

/// H044: what Buildah has beside Docker's commands.
#[test]
fn entries_are_added_remarked_on_and_removed_and_the_list_goes_under_another_name() {
    let registry = LoopbackRegistry::start();
    let (bench, host) = (Bench::new(), registry.host());
    push_each(&bench, &registry, "team/app", &["linux/amd64", "linux/arm64", "linux/riscv64"]);
    let name = |tag: &str| format!("{host}/team/app:{tag}");
    let both = name("both");
    bench.run(["imagetools", "create", "--progress=quiet", "-t", &both, &name("amd64"), &name("arm64")]).success();
    let list = format!("{host}/release/app:1");
    let run = |args: &[&str]| bench.run(["manifest"].iter().chain(args));
    let here = || json_of(run(&["inspect", &list]).success().out().as_bytes());
    run(&["exists", &list]).exit(1);
    run(&["add", &list, &both]).exit(1).complains("there is no manifest list").complains("`stave manifest create`");
    run(&["create", &list]).success();
    run(&["exists", &list]).success();
    assert_eq!(here()["manifests"], json!([]));

    // Of an index, what is for this machine, or for the platform that is given, or all.
    let own = stave_oci::Platform::host().architecture;
    let added = run(&["add", &list, &both]).success().line();
    assert_eq!(platforms(&here()), [format!("linux/{own}")]);
    run(&["remove", &list, &added]).success();
    run(&["add", "--arch", "arm64", "--annotation", "note=arm", &list, &format!("docker://{both}")]).success();
    assert_eq!(
        (platforms(&here()), &here()["manifests"][0]["annotations"]["note"]),
        (vec!["linux/arm64".to_owned()], &json!("arm"))
    );
    run(&["add", "--arch", "s390x", &list, &both]).exit(2).complains("none of the images is for linux/s390x");
    run(&["add", "--all", &list, &both]).success();
    assert_eq!(platforms(&here()).len(), 2);
    run(&["add", "--variant", "v9", &list, &name("riscv64")]).success();
    assert_eq!(here()["manifests"][2]["platform"]["variant"], "v9");

    // Remarks on one, on the list, and an image that it refers to.
    run(&["annotate", &list, &added, "--annotation", "a=b"]).success();
    run(&["annotate", "--index", &list, "--annotation", "whole=yes", "--subject", &name("riscv64")]).success();
    run(&["annotate", &list, "--annotation", "a=b"]).exit(2).complains("IMAGE|DIGEST");
    run(&["annotate", "--index", &list, "--annotation", "x"]).exit(2).complains("expected NAME=VALUE");
    assert_eq!(
        (&here()["annotations"], &here()["mediaType"]),
        (&json!({ "whole": "yes" }), &json!("application/vnd.oci.image.index.v1+json"))
    );

    // What came with an index is named by its own digest, too.
    let child = format!("{host}/team/app@{added}");
    run(&["annotate", &list, &child, "--annotation", "by=digest"]).success();
    assert!(here()["manifests"].as_array().expect("a list").iter().any(|entry| entry["annotations"]["by"] == "digest"));
    run(&["remove", &list, &child]).success();
    run(&["remove", &list, &child]).exit(2).complains(&format!("does not have `{child}`"));
    run(&["add", "--all", &list, &both]).success();

    let removed = run(&["remove", &list, &name("riscv64")]).success().line();
    run(&["remove", &list, &removed]).exit(2).complains("does not have `sha256:");
    assert_eq!(platforms(&here()).len(), 2);

    let other = format!("docker://{host}/team/app:2");
    let pushed = run(&["push", "--all", "--rm", "--digestfile", "digest", &list, &other]).success().line();
    let sent = registry.manifest("team/app", "2").expect("it was sent");
    assert_eq!((stave_oci::BlobDigest::of(&sent).to_string(), pushed.clone()), (pushed.clone(), pushed.clone()));
    assert_eq!(fs::read_to_string(bench.work().join("digest")).expect("it was written"), pushed);
    assert_eq!(
        json_of(&sent)["subject"]["digest"],
        json!(stave_oci::BlobDigest::of(&registry.manifest("team/app", "riscv64").expect("it is there")))
    );
    run(&["exists", &list]).exit(1);

    run(&["create", &list]).success();
    run(&["push", &list, "dir:x"])
        .exit(2)
        .complains("an index from registries goes to a registry, a layout (`oci:`) or an archive of one");
    run(&["push", "--add-compression", "zstd", &list]).exit(2).complains("images are sent as they are; build with");
}

/// H044: a processor runs what was made for those before it, and still one image is taken, with what is attested of it.
#[test]
fn one_image_of_an_index_is_added_for_a_variant() {
    let registry = LoopbackRegistry::start();
    let (bench, host) = (Bench::new(), registry.host());
    push_each(&bench, &registry, "team/app", &["linux/arm/v5", "linux/arm/v6", "linux/arm/v7"]);
    let name = |tag: &str| format!("{host}/team/app:{tag}");
    let (all, list) = (name("all"), name("list"));
    let create = ["imagetools", "create", "--progress=quiet", "-t", &all, &name("v5"), &name("v6"), &name("v7")];
    bench.run(create).success();
    // What is attested of an image is an image of an index for no platform.
    let mut attested = index(&registry, "team/app", "all");
    let of = |place: usize| attested["manifests"][place].clone();
    let attestations: Vec<Value> = [5, 6, 7]
        .into_iter()
        .zip([of(0), of(1), of(2)])
        .map(|(number, image)| {
            let manifest = json!({
                "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": json_of(&registry.manifest("team/app", "v5").expect("it is there"))["config"],
                "layers": [], "annotations": { "about": number.to_string() },
            });
            let (bytes, kind) = (manifest.to_string(), "application/vnd.oci.image.manifest.v1+json");
            registry.put_manifest("team/app", &format!("about-v{number}"), kind, bytes.as_bytes());
            json!({
                "mediaType": kind, "size": bytes.len(), "digest": stave_oci::BlobDigest::of(bytes.as_bytes()),
                "platform": { "architecture": "unknown", "os": "unknown" },
                "annotations": {
                    "vnd.docker.reference.digest": image["digest"],
                    "vnd.docker.reference.type": "attestation-manifest",
                },
            })
        })
        .collect();
    attested["manifests"].as_array_mut().expect("a list").extend(attestations.clone());
    let kind = attested["mediaType"].as_str().expect("a text");
    registry.put_manifest("team/app", "all", kind, attested.to_string().as_bytes());

    let run = |args: &[&str]| bench.run(["manifest"].iter().chain(args));
    let here = || json_of(run(&["inspect", &list]).success().out().as_bytes())["manifests"].clone();
    run(&["create", &list]).success();
    let added = run(&["add", "--arch", "arm", "--variant", "v7", &list, &all]).success().out();
    assert_eq!(added.lines().collect::<Vec<_>>(), [attested["manifests"][2]["digest"].as_str().expect("a text")]);
    assert_eq!(here(), json!([attested["manifests"][2], attestations[2]]));
    // Of what is there, the latest that it runs.
    run(&["rm", &list]).success();
    run(&["create", &list]).success();
    let both = name("both");
    bench.run(["imagetools", "create", "--progress=quiet", "-t", &both, &name("v5"), &name("v6")]).success();
    run(&["add", "--arch", "arm", "--variant", "v7", &list, &both]).success();
    assert_eq!(here()[0]["digest"], attested["manifests"][1]["digest"]);
    assert_eq!(here().as_array().map(Vec::len), Some(1));
}

/// H044: who adds to a list adds to what is there then, and not to what was there when its image was looked for.
#[test]
fn two_who_add_to_one_list_at_once_lose_nothing() {
    let registry = LoopbackRegistry::start();
    let (bench, host) = (Bench::new(), registry.host());
    push_each(&bench, &registry, "app", &["linux/amd64", "linux/arm64"]);
    let (list, first, second) = (format!("{host}/app:1"), format!("{host}/app:amd64"), format!("{host}/app:arm64"));
    bench.run(["manifest", "create", &list]).success();
    // The first has seen the list when it asks for its image, and gets it when the second is done.
    let (asks, asked) = mpsc::channel();
    let (release, held) = mpsc::channel::<()>();
    let (asks, held) = (Mutex::new(asks), Mutex::new(held));
    registry.fail(move |request| {
        if request.path.ends_with("/manifests/amd64") {
            asks.lock().expect("no panic").send(()).unwrap_or_default();
            held.lock().expect("no panic").recv().unwrap_or_default();
        }
        None
    });
    let child = bench.spawn(["manifest", "add", &list, &first]);
    asked.recv().expect("it asks for its image");
    bench.run(["manifest", "add", &list, &second]).success();
    drop(release);
    bench.wait(child).success();
    let here = json_of(bench.run(["manifest", "inspect", &list]).success().out().as_bytes());
    assert_eq!(platforms(&here), ["linux/arm64", "linux/amd64"]);
}

/// H044: `--insecure` is for all that a push speaks to: where the images of the list are, too.
#[test]
fn an_insecure_push_takes_images_from_where_they_are() {
    let (registry, other) = (LoopbackRegistry::start(), LoopbackRegistry::start());
    let bench = Bench::new();
    push_each(&bench, &other, "app", &["linux/amd64"]);
    // The loopback addresses need no TLS. This one leads to them, and is none of them.
    let elsewhere = other.host().replace("127.0.0.1", "0.0.0.0");
    let (list, image) = (format!("{}/app:1", registry.host()), format!("{elsewhere}/app:amd64"));
    bench.run(["manifest", "create", "--insecure", &list, &image]).success();
    bench.run(["manifest", "push", "--insecure", &list]).success();
    assert_eq!(platforms(&index(&registry, "app", "1")), ["linux/amd64"]);
}

/// H044: files become an artifact in a list, which is sent with it and refers to an image if it is told so.
#[test]
fn files_are_added_to_a_list_as_an_artifact() {
    let registry = LoopbackRegistry::start();
    let (bench, host) = (Bench::new(), registry.host());
    push_each(&bench, &registry, "app", &["linux/amd64"]);
    let image = format!("{host}/app:amd64");
    let list = format!("{host}/app:1");
    let run = |args: &[&str]| bench.run(["manifest"].iter().chain(args));
    run(&["create", &list, &image]).success();
    bench.file("notes/sbom.spdx", "packages\n").file("config.json", "{\"a\":1}");
    let added = run(&[
        "add",
        "--artifact",
        "--artifact-type",
        "text/spdx",
        "--artifact-layer-type",
        "text/plain",
        "--artifact-subject",
        &image,
        "--annotation",
        "note=x",
        &list,
        "notes/sbom.spdx",
    ]);
    let digest = added.success().line();
    let plain = run(&[
        "add",
        "--artifact",
        "--artifact-config",
        "config.json",
        "--artifact-config-type",
        "text/json",
        "--artifact-exclude-titles",
        &list,
        "notes/sbom.spdx",
    ]);
    let plain = plain.success().line();
    let verbose = json_of(run(&["inspect", "-v", &list]).success().out().as_bytes());
    assert_eq!(verbose[1]["OCIManifest"]["artifactType"], "text/spdx");

    bench.file("notes/sbom.spdx", "others\n");
    run(&["push", &list]).exit(2).complains("sbom.spdx` has changed since it was added to the manifest list");
    assert!(registry.manifest("app", "1").is_none());
    bench.file("notes/sbom.spdx", "packages\n");
    run(&["push", &list]).success();
    let sent = index(&registry, "app", "1");
    assert_eq!(
        (&sent["manifests"][1]["digest"], &sent["manifests"][1]["artifactType"]),
        (&json!(digest), &json!("text/spdx"))
    );
    let artifact = index(&registry, "app", &digest);
    assert_eq!(artifact["layers"][0]["annotations"], json!({ "org.opencontainers.image.title": "sbom.spdx" }));
    assert_eq!(
        (&artifact["layers"][0]["mediaType"], &artifact["annotations"]),
        (&json!("text/plain"), &json!({ "note": "x" }))
    );
    assert_eq!(
        artifact["subject"]["digest"],
        json!(stave_oci::BlobDigest::of(&registry.manifest("app", "amd64").expect("it is there")))
    );
    assert_eq!(artifact["config"]["mediaType"], "application/vnd.oci.empty.v1+json");
    let plain = index(&registry, "app", &plain);
    assert_eq!((&plain["config"]["mediaType"], plain["layers"][0].get("annotations")), (&json!("text/json"), None));
    // Who pulls the list gets the image.
    let other = Bench::new();
    other.run(["pull", "-q", &list]).success();

    run(&["add", "--artifact-type", "x", &list, &image]).exit(2).complains("--artifact");
    run(&["add", "--artifact", &list, "none"]).exit(2).complains("none`: No such file or directory");
}

/// What is attested is found in an index, as BuildKit puts it there, and attached to an image.
#[test]
fn inspect_shows_provenance_and_sbom() {
    let registry = LoopbackRegistry::start();
    let (bench, host) = (Bench::new(), registry.host());
    push_each(&bench, &registry, "app", &["linux/amd64"]);
    let image = registry.manifest("app", "amd64").expect("it is there");
    let image_digest = stave_oci::BlobDigest::of(&image);
    let attest = |kind: &str, predicate: Value, subject: bool| {
        let statement =
            json!({ "_type": "https://in-toto.io/Statement/v1", "predicateType": kind, "predicate": predicate });
        let (statement, config) = (statement.to_string().into_bytes(), b"{}".to_vec());
        let blob = |bytes: &[u8]| {
            let digest = stave_oci::BlobDigest::of(bytes);
            registry.put_blob("app", bytes);
            json!({ "mediaType": "application/vnd.in-toto+json", "digest": digest, "size": bytes.len() })
        };
        let mut manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": blob(&config), "layers": [blob(&statement)],
        });
        if subject {
            manifest["subject"] = json!({ "mediaType": "x/y", "digest": image_digest, "size": image.len() });
        }
        let bytes = manifest.to_string().into_bytes();
        registry.put_manifest(
            "app",
            &stave_oci::BlobDigest::of(&bytes).to_string(),
            "application/vnd.oci.image.manifest.v1+json",
            &bytes,
        );
        json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": stave_oci::BlobDigest::of(&bytes), "size": bytes.len(),
            "platform": { "os": "unknown", "architecture": "unknown" },
            "annotations": { "vnd.docker.reference.digest": image_digest, "vnd.docker.reference.type": "attestation-manifest" },
        })
    };
    let in_index = attest("https://slsa.dev/provenance/v1", json!({ "builder": "b" }), false);
    attest("https://spdx.dev/Document", json!({ "name": "n" }), true);
    let merged = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [
            { "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": image_digest, "size": image.len(),
              "platform": { "os": "linux", "architecture": "amd64" } },
            in_index,
        ],
    });
    registry.put_manifest("app", "1", "application/vnd.oci.image.index.v1+json", merged.to_string().as_bytes());
    let name = format!("{host}/app:1");
    let shown =
        |format: &str, name: &str| bench.run(["imagetools", "inspect", "--format", format, name]).success().line();
    assert_eq!(
        shown("{{json .Provenance}} {{json .SBOM}}", &name),
        r#"{"SLSA":{"builder":"b"}} {"SPDX":{"name":"n"}}"#,
        "as in buildx, an index of one image is that image"
    );
    assert_eq!(shown("{{json .Provenance.SLSA}}", &name), r#"{"builder":"b"}"#);
    let whole = json_of(shown("{{json .}}", &name).as_bytes());
    let keys: Vec<&str> = whole.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(keys, ["name", "manifest", "image"]);
    bench
        .run(["imagetools", "inspect", "--format", "{{.Nope}}", &name])
        .exit(2)
        .complains("there is no field `Nope` here, only Provenance, SBOM, image, manifest, name");
    assert_eq!(shown("{{json .SBOM.SPDX}}", &format!("{host}/app:amd64")), r#"{"name":"n"}"#);
    // Attestations go with the platforms that are taken.
    let target = format!("{host}/app:2");
    bench.run(["imagetools", "create", "--progress=quiet", "-p", "linux/amd64", "-t", &target, &name]).success();
    assert_eq!(index(&registry, "app", "2")["manifests"].as_array().map(Vec::len), Some(2));
}
