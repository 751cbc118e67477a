//! Provenance and lists of packages: what they say, and how they go with the image without changing it.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;
use stave_oci::BlobDigest;
use stave_testkit::fixtures::with_busybox;
use stave_testkit::http::{Response, Server};
use stave_testkit::{Bench, Image, LoopbackRegistry, Rootfs};

const STATUS: &str = "Package: curl\nStatus: install ok installed\nVersion: 7.88.1-10\nArchitecture: amd64\n";

/// A bench whose Dockerfile makes an image with one package of Debian.
fn debian() -> (Bench, LoopbackRegistry) {
    let registry = LoopbackRegistry::start();
    let mut base = Image::new();
    base.layer(Rootfs::new().file("etc/os-release", 0o644, "ID=debian\nVERSION_ID=12\n").file(
        "var/lib/dpkg/status",
        0o644,
        STATUS,
    ));
    registry.put("base", "1", &base);
    let bench = Bench::new().with_registry(&registry);
    bench.file("Dockerfile", format!("FROM {}/base:1\nARG WORD=none\nCOPY a /a\n", registry.host())).file("a", "a");
    (bench, registry)
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("it is JSON")
}

/// The blobs and the list of an OCI archive.
struct Layout(BTreeMap<String, Vec<u8>>);

impl Layout {
    fn read(path: &std::path::Path) -> Self {
        let mut archive = tar::Archive::new(fs::File::open(path).expect("it was written"));
        let mut files = BTreeMap::new();
        for entry in archive.entries().expect("a tar") {
            let mut entry = entry.expect("an entry");
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut content).expect("a whole entry");
            files.insert(entry.path().expect("a path").display().to_string(), content);
        }
        Self(files)
    }

    fn list(&self) -> Vec<Value> {
        json(&self.0["index.json"])["manifests"].as_array().expect("a list").clone()
    }

    fn blob(&self, descriptor: &Value) -> Value {
        let digest = descriptor["digest"].as_str().expect("a digest").trim_start_matches("sha256:").to_owned();
        let bytes = &self.0[&format!("blobs/sha256/{digest}")];
        assert_eq!(BlobDigest::of(bytes).hex(), digest);
        assert_eq!(descriptor["size"].as_u64(), Some(bytes.len() as u64));
        json(bytes)
    }
}

fn built(bench: &Bench, args: &[&str]) -> Layout {
    let mut all = vec!["build", "-o", "type=oci,dest=out.tar"];
    all.extend(args);
    all.push(".");
    bench.run(&all).success();
    Layout::read(&bench.work().join("out.tar"))
}

/// What is attached to the only image of a layout, by the type of what is said.
fn attached(layout: &Layout) -> BTreeMap<String, Value> {
    let list = layout.list();
    let image = &list[0];
    let mut all = BTreeMap::new();
    for descriptor in &list[1..] {
        assert_eq!(descriptor["artifactType"], "application/vnd.in-toto+json");
        let manifest = layout.blob(descriptor);
        assert_eq!(manifest["subject"]["digest"], image["digest"]);
        let statement = layout.blob(&manifest["layers"][0]);
        let kind = statement["predicateType"].as_str().expect("a type").to_owned();
        assert_eq!(manifest["annotations"]["in-toto.io/predicate-type"], kind.as_str());
        assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
        let digest = image["digest"].as_str().expect("a digest").trim_start_matches("sha256:");
        assert_eq!(statement["subject"][0]["digest"]["sha256"], digest);
        all.insert(kind, statement["predicate"].clone());
    }
    all
}

const SLSA: &str = "https://slsa.dev/provenance/v1";
const SPDX: &str = "https://spdx.dev/Document";

/// T210: nothing is attached unless it is asked for, and what is attached leaves the image as it is.
#[test]
fn one_platform_makes_one_plain_manifest_whatever_is_said_about_it() {
    let (bench, _registry) = debian();
    let plain = built(&bench, &[]);
    assert_eq!(plain.list().len(), 1);
    let with = built(&bench, &["--provenance", "--sbom"]);
    let list = with.list();
    assert_eq!((list.len(), &list[0]["digest"]), (3, &plain.list()[0]["digest"]));
    assert_eq!(list[0]["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    assert_eq!(attached(&with).keys().collect::<Vec<_>>(), [SLSA, SPDX]);
    assert_eq!(built(&bench, &["--provenance=false", "--attest", "type=sbom,disabled=true"]).list().len(), 1);
}

#[test]
fn an_archive_with_statements_is_loaded_and_used_as_one_without() {
    let (bench, _registry) = debian();
    for inline in ["", ",inline=true"] {
        let layout = built(&bench, &["-t", "app", &format!("--provenance=mode=max{inline}")]);
        assert!(layout.0.len() > 5);
        assert!(bench.run(["load", "-i", "out.tar"]).success().out().contains("app:latest"));
        bench
            .run(["build", "-o", "type=oci,dest=layout,tar=false", &format!("--provenance=mode=max{inline}"), "."])
            .success();
        bench.file("next/Dockerfile", "FROM scratch\nCOPY --from=base /a /b\n");
        bench.run(["build", "--build-context", "base=oci-layout://layout", "-o", "next-out", "next"]).success();
        assert!(bench.work().join("next-out/b").is_file());
        fs::remove_dir_all(bench.work().join("layout")).expect("it was written");
    }
}

/// T210, E010: BuildKit's form, on request. B026.
#[test]
fn on_request_the_image_and_what_is_said_about_it_are_in_one_index() {
    let (bench, _registry) = debian();
    let plain = built(&bench, &[]);
    let with = built(&bench, &["--provenance=inline=true", "--sbom=inline=true"]);
    let list = with.list();
    assert_eq!(list.len(), 1);
    assert_eq!(list[0]["mediaType"], "application/vnd.oci.image.index.v1+json");
    let index = with.blob(&list[0]);
    let manifests = index["manifests"].as_array().expect("a list");
    assert_eq!(manifests[0]["digest"], plain.list()[0]["digest"]);
    assert_eq!(manifests[1]["platform"]["os"], "unknown");
    assert_eq!(manifests[1]["annotations"]["vnd.docker.reference.type"], "attestation-manifest");
    assert_eq!(manifests[1]["annotations"]["vnd.docker.reference.digest"], manifests[0]["digest"]);
    assert_eq!(with.blob(&manifests[1])["layers"].as_array().map(Vec::len), Some(2));
}

#[test]
fn statements_are_pushed_as_referrers_and_kept_for_a_later_push() {
    let (bench, registry) = debian();
    let (first, second) = (format!("{}/app:1", registry.host()), format!("{}/other:1", registry.host()));
    bench.run(["build", "-t", &first, "--push", "."]).success();
    let plain = registry.manifest("app", "1").expect("it was pushed");
    bench.run(["build", "-t", &first, "--push", "--provenance=min", "--sbom", "."]).success();
    assert_eq!(registry.manifest("app", "1").expect("it was pushed"), plain);
    let shown = bench.run(["imagetools", "inspect", &first, "--format", "{{json .SBOM}}"]).success().out();
    assert!(shown.contains("pkg:deb/debian/curl@7.88.1-10"), "{shown}");
    let shown = bench.run(["imagetools", "inspect", &first, "--format", "{{json .Provenance}}"]).success().out();
    assert!(shown.contains("urn:stave:build-type"), "{shown}");
    assert_eq!(bench.run(["attestations", &first]).success().out(), format!("{SLSA}\n{SPDX}\n"));
    bench.run(["tag", &first, &second]).success();
    bench.run(["push", &second]).success();
    let shown = bench.run(["imagetools", "inspect", &second, "--format", "{{json .SBOM}}"]).success().out();
    assert!(shown.contains("pkg:deb/debian/curl@7.88.1-10"), "{shown}");
    bench.run(["build", "-t", &first, "."]).success();
    assert_eq!(bench.run(["attestations", &first]).success().out(), "", "the last build says nothing");
    bench.run(["attestations", &first, "--type", "sbom"]).exit(1).complains("Build it with");
    bench.run(["store", "check"]).success();
}

/// E011, E012, C005
#[test]
fn files_have_what_is_said_about_them_beside_them() {
    let (bench, _registry) = debian();
    let build = |args: &[&str]| {
        drop(fs::remove_dir_all(bench.work().join("out")));
        bench.run(["build"].iter().chain(args).chain(&["."])).success();
    };
    let exists = |name: &str| bench.work().join("out").join(name).exists();
    build(&["-o", "out", "--provenance", "--sbom=format=cyclonedx"]);
    assert!(exists("a") && exists("provenance.json") && exists("sbom.cdx.json"));
    let statement = json(&fs::read(bench.work().join("out/provenance.json")).expect("written"));
    assert_eq!(statement["predicateType"], SLSA);
    build(&["-o", "out", "--provenance=filename=how.json"]);
    assert!(exists("how.json") && !exists("provenance.json"));
    build(&["-o", "out", "--provenance=inline-only=true"]);
    assert!(exists("a") && !exists("provenance.json"));
    build(&["-o", "type=local,dest=out,attestation-prefix=said-", "--provenance"]);
    assert!(exists("said-provenance.json"));
    build(&["-o", "type=tar,dest=out.tar", "--sbom"]);
    assert!(Layout::read(&bench.work().join("out.tar")).0.contains_key("sbom.spdx.json"));
}

/// E006, E007, E009, B028
#[test]
fn provenance_says_what_was_used_and_in_its_small_form_no_values() {
    let (bench, registry) = debian();
    let server = Server::start(|_| Response::body(200, "text/plain", "content"));
    let url = server.url().replace("http://", "http://me:hunter2@");
    bench.file("Dockerfile", format!("FROM {}/base:1\nARG WORD\nADD {url}/f /f\nCOPY a /a\n", registry.host()));
    let args = |mode| ["--build-arg", "WORD=value", "--secret", "id=token,src=a", "--provenance", mode];
    let said = |mode: &'static str| {
        let layout = built(&bench, &[&args(mode)[..4], &[&format!("--provenance=mode={mode}")]].concat());
        attached(&layout).remove(SLSA).expect("it is there")
    };
    let (min, max) = (said("min"), said("max"));
    let materials = min["buildDefinition"]["resolvedDependencies"].as_array().expect("a list");
    let uris: Vec<&str> = materials.iter().map(|material| material["uri"].as_str().expect("a text")).collect();
    assert!(
        uris.iter().any(|uri| uri.starts_with("pkg:docker/127.0.0.1%3A") && uri.contains("/base@1?platform=")),
        "{uris:?}"
    );
    let file = materials.iter().find(|material| material["uri"].as_str().is_some_and(|uri| uri.ends_with("/f")));
    let file = file.expect("the file is among them");
    assert_eq!(file["digest"]["sha256"], BlobDigest::of(b"content").hex());
    assert_eq!(min["buildDefinition"]["externalParameters"]["request"]["locals"][0]["name"], "context");
    assert_eq!(min["runDetails"]["metadata"]["stave_completeness"]["resolvedDependencies"], false);
    let (min, max_text) = (min.to_string(), max.to_string());
    assert!(!min.contains("value") && !min.contains("token") && !min.contains("COPY"), "{min}");
    assert_eq!(max["buildDefinition"]["externalParameters"]["request"]["args"]["build-arg:WORD"], "value");
    assert_eq!(max["buildDefinition"]["externalParameters"]["request"]["secrets"][0]["id"], "token");
    assert!(
        max_text.contains("COPY a /a") && max["runDetails"]["metadata"]["stave_metadata"]["source"]["text"].is_string()
    );
    let work = bench.work().display().to_string();
    for text in [min, max_text] {
        assert!(!text.contains("hunter2") && !text.contains(&work), "{text}");
    }
}

/// E007
#[test]
fn what_is_said_to_be_reproducible_is_the_same_again() {
    let (bench, _registry) = debian();
    let said = |args: &[&str]| attached(&built(&bench, args));
    let args = ["--provenance=reproducible=true,builder-id=https://example.com/ci", "--sbom"];
    let first = said(&args);
    assert_eq!(first, said(&[args[0], args[1], "--no-cache"]));
    assert_eq!(first[SLSA]["runDetails"]["builder"]["id"], "https://example.com/ci");
    assert!(first[SLSA]["runDetails"]["metadata"]["startedOn"].is_null());
    let old = said(&["--attest", "type=provenance,version=v0.2,mode=min"]);
    let old = &old["https://slsa.dev/provenance/v0.2"];
    assert_eq!(old["invocation"]["configSource"]["entryPoint"], "Dockerfile");
    assert!(old["metadata"]["buildStartedOn"].is_string());
}

/// E001, E003
#[test]
fn a_list_of_packages_has_those_of_the_base_and_of_the_build() {
    let (bench, registry) = debian();
    bench
        .file("Dockerfile", format!("FROM {}/base:1\nCOPY package.json /app/node_modules/left-pad/\n", registry.host()))
        .file("package.json", r#"{"name":"left-pad","version":"1.3.0","license":"WTFPL"}"#);
    let document = attached(&built(&bench, &["--sbom"])).remove(SPDX).expect("it is there");
    assert_eq!(document["spdxVersion"], "SPDX-2.3");
    let text = document.to_string();
    assert!(text.contains("pkg:deb/debian/curl@7.88.1-10?arch=amd64&distro=debian-12"), "{text}");
    assert!(text.contains("pkg:npm/left-pad@1.3.0") && text.contains("\"WTFPL\""), "{text}");
}

/// The files of an output that say something, by their names.
fn documents(bench: &Bench, directory: &str) -> BTreeMap<String, String> {
    let entries = fs::read_dir(bench.work().join(directory)).expect("it was written");
    let read = |entry: fs::DirEntry| {
        let text = fs::read_to_string(entry.path()).expect("a file");
        (entry.file_name().to_string_lossy().into_owned(), text)
    };
    let entries = entries.map(|entry| entry.expect("an entry"));
    entries.filter(|entry| entry.path().extension().is_some_and(|end| end == "json")).map(read).collect()
}

/// E003, A087: what the result has lost is searched as well, whether its steps run or are known.
#[test]
fn stages_and_the_context_are_searched_if_the_file_or_the_caller_says_so() {
    let (bench, registry) = debian();
    let base = format!("{}/base:1", registry.host());
    let file = format!(
        "FROM {base} AS build\nCOPY --link made.json /m/node_modules/made/package.json\nFROM scratch AS idle\n\
         COPY made.json /node_modules/idle/package.json\nFROM scratch\nCOPY --from=build /m/node_modules/made/package.json /x\n"
    );
    let context = r#"{"name":"of-the-context","version":"3.0.0"}"#;
    bench.file("Dockerfile", &file).file("made.json", r#"{"name":"made","version":"2.0.0"}"#);
    bench.file("node_modules/c/package.json", context).file("node_modules/d/package.json", "{}");
    bench.file(".dockerignore", "node_modules/d\n");
    bench.run(["build", "--sbom", "-o", "plain", "."]).success();
    assert_eq!(documents(&bench, "plain").into_keys().collect::<Vec<_>>(), ["sbom.spdx.json"]);
    let args = [
        "--build-arg",
        "BUILDKIT_SBOM_SCAN_STAGE=true",
        "--build-arg",
        "BUILDKIT_SBOM_SCAN_CONTEXT=true",
        "--sbom",
        ".",
    ];
    bench.run([&["build", "-o", "all"], &args[..]].concat()).success();
    let all = documents(&bench, "all");
    let names: Vec<&str> = all.keys().map(String::as_str).collect();
    assert_eq!(names, ["sbom-build.spdx.json", "sbom-context.spdx.json", "sbom.spdx.json"]);
    let stage = &all["sbom-build.spdx.json"];
    assert!(stage.contains("pkg:npm/made@2.0.0") && stage.contains("pkg:deb/debian/curl"), "{stage}");
    assert!(all["sbom-context.spdx.json"].contains("pkg:npm/of-the-context@3.0.0"), "{all:?}");
    assert!(!all["sbom-context.spdx.json"].contains("node_modules/d"), "what is ignored is not searched");
    assert!(!all["sbom.spdx.json"].contains("pkg:"), "nothing of it is in the image");
    // In the file, for one stage; and the image is the same.
    bench.file("Dockerfile", file.replace("AS build\n", "AS build\nARG BUILDKIT_SBOM_SCAN_STAGE=true\n"));
    bench.run(["build", "--sbom=format=cyclonedx", "-o", "one", "."]).success();
    assert_eq!(documents(&bench, "one").into_keys().collect::<Vec<_>>(), ["sbom-build.cdx.json", "sbom.cdx.json"]);
    let id = |args: &[&str]| bench.run([&["build", "-q"], args].concat()).success().out();
    assert_eq!(id(&args), id(&["."]));
}

/// E002
#[test]
fn a_scanner_of_another_sees_the_stages_that_are_to_be_searched() {
    let Some((bench, _registry)) = with_busybox() else { return };
    let json = r#"{\\\"files\\\":\\\"$n\\\"}"#;
    let script = format!(
        "cd $BUILDKIT_SCAN_SOURCE_EXTRAS; n=$(find . -type f | sort | tr '\\n' ' '); \
         echo \\\"{json}\\\" > $BUILDKIT_SCAN_DESTINATION/sbom.spdx.json"
    );
    bench.file("scanner/Dockerfile", format!("FROM busybox\nCMD [\"sh\", \"-c\", \"{script}\"]\n"));
    bench.run(["build", "-t", "scanner", "scanner"]).success();
    let file =
        "FROM scratch AS One\nARG BUILDKIT_SBOM_SCAN_STAGE=true\nCOPY a /first\nFROM scratch\nCOPY --from=One / /\n";
    bench.file("Dockerfile", file).file("a", "a");
    let said = attached(&built(&bench, &["--sbom=generator=scanner"]));
    assert_eq!(said[SPDX]["files"], "./sbom-One/first ");
}

/// E002
#[test]
fn a_scanner_of_another_is_run_on_the_result_and_sees_nothing_else() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file(
        "scanner/Dockerfile",
        "FROM busybox\n\
         CMD [\"sh\", \"-c\", \"n=$(ls $BUILDKIT_SCAN_SOURCE | tr '\\n' ' '); touch $BUILDKIT_SCAN_SOURCE/x 2>/dev/null && exit 9; \
         echo \\\"{\\\\\\\"predicateType\\\\\\\":\\\\\\\"https://spdx.dev/Document\\\\\\\",\\\\\\\"predicate\\\\\\\":{\\\\\\\"files\\\\\\\":\\\\\\\"$n$BUILDKIT_SCAN_DEPTH\\\\\\\"}}\\\" \
         > $BUILDKIT_SCAN_DESTINATION/x.spdx.json\"]\n",
    );
    bench.run(["build", "-t", "scanner", "scanner"]).success();
    bench.file("Dockerfile", "FROM scratch\nCOPY a /only\n").file("a", "a");
    let said = attached(&built(&bench, &["--sbom=generator=scanner,depth=7"]));
    assert_eq!(said[SPDX]["files"], "only 7");
    bench.file("scanner/Dockerfile", "FROM busybox\nCMD [\"sh\", \"-c\", \"echo broken; exit 3\"]\n");
    bench.run(["build", "-t", "scanner", "scanner"]).success();
    let output = bench.run(["build", "--sbom=generator=scanner", "."]);
    output.exit(2).complains("the scanner `scanner` ended with 3: broken");
}

#[test]
fn what_cannot_be_attested_is_said_by_its_name() {
    let (bench, _registry) = debian();
    for (args, said) in [
        (["--attest", "type=quality"], "`quality`"),
        (["--attest", "mode=min"], "type=provenance"),
        (["--provenance=mode=big", "."], "`mode=big`"),
        (["--provenance=filename=../x", "."], "without `/`"),
        (["--sbom=format=csv", "."], "`format=csv`"),
        (["--sbom=depth=1", "."], "`depth`"),
    ] {
        bench.run(["build"].iter().chain(&args).chain(&["."])).exit(2).complains(said);
    }
}
