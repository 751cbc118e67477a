//! Places of images that are no registry, as Buildah, Podman and skopeo name them: `push IMAGE PLACE`, `pull PLACE`. C034.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;
use stave_testkit::dockerd::Dockerd;
use stave_testkit::{Bench, LoopbackRegistry, needs};

/// A bench with an image of two small layers, `app:1`.
fn with_image() -> Bench {
    let bench = Bench::new();
    bench.file("a", "one\n").file("b", "two\n").file("Dockerfile", "FROM scratch\nCOPY a /a\nCOPY b /dir/b\n");
    bench.run(["build", "-q", "-t", "app:1", "."]).success();
    bench
}

fn id(bench: &Bench, name: &str) -> String {
    bench.run(["inspect", "-f", "{{.Id}}", name]).success().line()
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("a file")).expect("JSON")
}

/// C034: each place is written, read by skopeo where that is, and taken into another store as the same image.
#[test]
fn an_image_goes_to_every_place_and_comes_back_as_the_same_image() {
    let bench = with_image();
    let wanted = id(&bench, "app:1");
    for (place, name) in [
        ("oci:layout", None),
        ("oci:named:app:1", Some("docker.io/library/app:1")),
        ("oci-archive:oci.tar", None),
        ("oci-archive:named.tar:h.example/app:v1", Some("h.example/app:v1")),
        ("docker-archive:docker.tar:h.example/app:2", Some("h.example/app:2")),
        ("docker-archive:plain.tar", None),
        ("oci:digest:a@b", None),
        ("dir:flat", None),
    ] {
        let said = bench.run(["push", "app:1", place]).success().out();
        assert!(said.starts_with(&format!("{place}: digest: sha256:")), "{said}");
        if let Some(skopeo) = needs::program("skopeo") {
            let mut command = bench.other(&skopeo);
            command.args(["inspect", "--config", place]);
            let config: Value = serde_json::from_str(&bench.finish(command).success().out()).expect("JSON");
            assert_eq!(config["rootfs"]["diff_ids"].as_array().map(Vec::len), Some(2), "{place}: {config}");
            let mut command = bench.other(&skopeo);
            command.args(["copy", "--insecure-policy", place, "dir:copied"]);
            bench.finish(command).success();
        }
        let other = Bench::within(&bench.work());
        let absolute = absolute(&bench, place);
        let out = other.run(["pull", "-q", &absolute]).success().out();
        assert_eq!(out, format!("{}\n", name.unwrap_or(&wanted)), "{place}");
        assert_eq!(id(&other, &wanted), wanted, "{place}");
        other.run(["store", "check"]).success();
    }
}

/// A place whose path holds wherever it is read.
fn absolute(bench: &Bench, place: &str) -> String {
    let (transport, path) = place.split_once(':').expect("a transport");
    format!("{transport}:{}/{path}", bench.work().display())
}

/// C034: what skopeo writes is read.
#[test]
fn what_skopeo_writes_to_a_place_is_pulled() {
    let Some(skopeo) = needs::program("skopeo") else { return };
    let bench = with_image();
    let wanted = id(&bench, "app:1");
    bench.run(["push", "-q", "app:1", "oci:from"]).success();
    for place in ["oci:there:x/y:z", "oci-archive:there.tar", "docker-archive:docker.tar:app:3", "dir:files"] {
        let mut command = bench.other(&skopeo);
        command.args(["copy", "--insecure-policy", "oci:from", place]);
        bench.finish(command).success();
        let other = Bench::within(&bench.work());
        other.run(["pull", &absolute(&bench, place)]).success();
        assert_eq!(id(&other, &wanted), wanted, "{place}");
    }
}

/// C034, H001: an index goes with all its images where the place has indexes, and a platform is chosen from it.
#[test]
fn images_for_several_platforms_go_together_where_there_is_an_index() {
    let bench = with_image();
    bench.run(["build", "-q", "--platform", "linux/amd64,linux/arm64", "-t", "both:1", "."]).success();
    for (place, file) in [("oci:layout:1", "layout/index.json"), ("dir:flat", "flat/manifest.json")] {
        bench.run(["push", "-q", "both:1", place]).success();
        let list = read_json(&bench.work().join(file));
        let kind = if place.starts_with("oci") { &list["manifests"][0]["mediaType"] } else { &list["mediaType"] };
        assert_eq!(kind, "application/vnd.oci.image.index.v1+json", "{place}");
        let other = Bench::within(&bench.work());
        let pulled = other.run(["pull", "-q", "--platform", "linux/arm64", &absolute(&bench, place)]).success().line();
        assert_eq!(other.run(["inspect", "-f", "{{.Architecture}}", &pulled]).success().line(), "arm64");
        other.run(["pull", "-q", "--platform", "linux/s390x", &absolute(&bench, place)]).exit(2).complains("s390x");
        let whole = other.run(["pull", "-q", &absolute(&bench, place)]).success().line();
        other.run(["tag", &whole, "whole"]).success();
        other.run(["inspect", "--platform", "linux/amd64", "whole"]).success();
    }
    // One of them alone is a plain image; an archive of Docker's holds one anyway.
    bench.run(["push", "-q", "--platform", "linux/arm64", "both:1", "dir:one"]).success();
    assert!(read_json(&bench.work().join("one/manifest.json"))["config"].is_object());
    bench.run(["push", "-q", "--platform", "linux/arm64", "both:1", "docker-archive:arm.tar:arm"]).success();
    let other = Bench::within(&bench.work());
    other.run(["pull", &absolute(&bench, "docker-archive:arm.tar")]).success();
    assert_eq!(other.run(["inspect", "-f", "{{.Architecture}}", "arm"]).success().line(), "arm64");
}

/// C034: an archive of Docker's with several images, of which one is asked for by its name or its number.
#[test]
fn one_image_of_an_archive_is_asked_for_by_name_or_number() {
    let bench = with_image();
    bench.file("a", "other\n").run(["build", "-q", "-t", "app:2", "."]).success();
    bench.run(["save", "-o", "both.tar", "app:1", "app:2"]).success();
    let archive = format!("docker-archive:{}", bench.work().join("both.tar").display());
    let pull = |which: &str| {
        let other = Bench::within(&bench.work());
        let out = other.run(["pull", "-q", &format!("{archive}{which}")]);
        (out, other.run(["images", "--format", "{{.Tag}}"]).success().out())
    };
    assert_eq!(pull(":app:2").1, "2\n");
    assert_eq!(pull(":@0").1, "1\n");
    assert_eq!(pull("").1.lines().count(), 2);
    pull(":app:3")
        .0
        .exit(2)
        .complains("has no such image")
        .complains("hint: It has 2 images: docker.io/library/app:1, docker.io/library/app:2.");
    pull(":@2").0.exit(2).complains("has no such image");
}

/// C034: a daemon's store, both ways.
#[test]
fn an_image_goes_into_a_daemon_and_comes_from_it() {
    let mut bench = with_image();
    bench.set("DOCKER_HOST", format!("unix://{}", bench.path("nobody.sock").display()));
    bench.run(["push", "app:1", "docker-daemon:there:1"]).exit(3).complains("cannot talk to the daemon");
    let Some(dockerd) = Dockerd::start(&bench, None) else { return };
    bench.set("DOCKER_HOST", dockerd.address());
    let wanted = id(&bench, "app:1");
    bench.run(["push", "app:1", "docker-daemon:there:1"]).success();
    let there = dockerd.docker(&bench, &["image", "inspect", "--format", "{{.Id}}", "there:1"]).success().line();
    assert_eq!(there, wanted);
    bench.run(["rmi", "-f", "app:1"]).success();
    let out = bench.run(["pull", "-q", "docker-daemon:there:1"]).success().line();
    assert_eq!(out, "docker.io/library/there:1");
    assert_eq!(id(&bench, "there:1"), wanted);
    bench.run(["pull", "docker-daemon:none:1"]).exit(2).complains("answers with 404");
}

/// C034: a registry under another name than the image has here, and what was pushed says its digest in a file. C036.
#[test]
fn a_destination_in_a_registry_is_another_name_and_the_digest_goes_to_a_file() {
    let registry = LoopbackRegistry::start();
    let bench = with_image();
    let host = registry.host();
    for (destination, tag) in [(format!("{host}/team/app:2"), "2"), (format!("docker://{host}/team/app:3"), "3")] {
        let out = bench.run(["push", "--digestfile", "digest", "app:1", &destination]).success().line();
        let manifest = registry.manifest("team/app", tag).expect("it was pushed");
        let digest = stave_oci::BlobDigest::of(&manifest).to_string();
        assert_eq!(fs::read_to_string(bench.work().join("digest")).expect("it was written"), digest);
        assert!(out.starts_with(&format!("{destination}: digest: {digest} size: ")), "{out}");
    }
    // By its id, and quietly.
    let image = id(&bench, "app:1");
    assert_eq!(bench.run(["push", "-q", &image, &format!("{host}/x")]).success().out(), format!("{host}/x\n"));
    // The name stays unknown here, and a name of another image keeps what is known of that.
    bench.run(["inspect", &format!("{host}/team/app:2")]).exit(1);
    let named = format!("docker://{host}/team/app:2");
    bench.run(["pull", "-q", &named]).success();
    assert_eq!(id(&bench, &format!("{host}/team/app:2")), image);
    // kaniko's spelling, and the digest of what goes elsewhere.
    bench.run(["push", "-q", "--digest-file", "digest", "app:1", "dir:flat"]).success();
    let flat = fs::read(bench.work().join("flat/manifest.json")).expect("it was written");
    let digest = fs::read_to_string(bench.work().join("digest")).expect("it was written");
    assert_eq!(digest, stave_oci::BlobDigest::of(&flat).to_string());
    bench
        .run(["push", "-a", "--digestfile", "x", &format!("{host}/x")])
        .exit(2)
        .complains("`--all-tags` and `--digestfile` cannot be used together");
}

/// C034
#[test]
fn mistakes_about_places_are_said_with_what_can_be_done() {
    let bench = with_image();
    let complains = |args: &[&str], code: i32, text: &str| {
        bench.run(args).exit(code).complains(text);
    };
    complains(&["push", "app:1", "containers-storage:app"], 2, "is in the storage of Buildah and Podman");
    complains(&["push", "app:1", "containers-storage:app"], 2, "hint: Go by an archive: `podman save");
    complains(
        &["pull", "ostree:app"],
        2,
        "`ostree:` is no place that stave knows\nhint: Known are `docker://`, `oci:`",
    );
    complains(&["pull", "oci:"], 2, "`oci:` names nothing\nhint: Write `oci:DIRECTORY[:NAME]`.");
    complains(&["pull", "-a", "dir:x"], 2, "`--all-tags` is for registries, and `dir:x` is none");
    complains(&["push", "none:1", "dir:x"], 1, "none:1");
    assert!(!bench.work().join("x").exists(), "nothing is made for an image that is not there");
    bench.file("mine/notes", "keep me\n");
    complains(&["pull", "dir:mine"], 2, "`mine` has no image: `version` or `manifest.json` is missing in it");
    complains(&["push", "app:1", "docker-archive:x.tar:@1"], 2, "a new archive has no numbered images");
    bench.run(["push", "-q", "app:1", "oci:layout:1"]).success();
    complains(&["pull", "oci:layout:2"], 2, "the layout `layout` has no image with the tag `2`\nhint: It has: 1.");
    // What a blob holds must be what its name says.
    bench.run(["push", "-q", "app:1", "dir:flat"]).success();
    let manifest = read_json(&bench.work().join("flat/manifest.json"));
    let layer = manifest["layers"][0]["digest"].as_str().expect("a digest").trim_start_matches("sha256:").to_owned();
    let path = bench.work().join("flat").join(layer);
    let size = fs::metadata(&path).expect("a blob").len();
    fs::write(&path, vec![0; usize::try_from(size).expect("it is small")]).expect("a writable bench");
    let other = Bench::within(&bench.work());
    other.run(["pull", &absolute(&bench, "dir:flat")]).exit(3).complains("digest");
}

/// Returns what is in a directory, by the names of the files.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("a readable directory"));
    let file = |entry: fs::DirEntry| {
        let bytes = fs::read(entry.path()).unwrap_or_default();
        (entry.file_name().into_string().expect("UTF-8"), bytes)
    };
    entries.map(file).collect()
}

/// C034: what no image has there is the user's, whatever its name looks like.
#[test]
fn a_directory_with_anything_else_than_an_image_stays_as_it_is() {
    let bench = with_image();
    let hint = "hint: Give a directory that is empty, missing, or was written as `dir:` before.";
    let document = format!("{}.pdf", "0123456789abcdef".repeat(4));
    let refuses = |dir: &str, message: &str| {
        let before = files(&bench.work().join(dir));
        bench.run(["push", "app:1", &format!("dir:{dir}")]).exit(2).complains(message).complains(hint);
        assert_eq!(files(&bench.work().join(dir)), before, "{dir}");
    };
    // Nothing says that it is such a directory.
    for name in ["manifest.yaml", "version.txt", "manifest/a", &document, &document[..64], "version", "manifest.json"] {
        let dir = format!("plain-{}", name.replace('/', "-"));
        bench.file(&format!("{dir}/{name}"), "Directory of mine\n");
        let shown = name.trim_end_matches("/a");
        refuses(&dir, &format!("`{dir}` was not written as `dir:`, and is not empty: it has `{shown}`"));
    }
    // It is one, and somebody has put something beside the image.
    bench.run(["push", "-q", "app:1", "dir:flat"]).success();
    for name in ["manifest.yaml", "signature-1/a", "version.txt", "x.1.partial", &document] {
        bench.file(&format!("flat/{name}"), "keep me\n");
    }
    refuses("flat", "`flat` has more than an image: `");
    refuses("flat", "`, `manifest.yaml`, `signature-1` and 2 more");
}

/// C034: the next image takes the place of the last one, of which nothing is left.
#[test]
fn an_image_in_a_directory_is_replaced_by_the_next_one() {
    let bench = with_image();
    bench.run(["push", "-q", "app:1", "dir:flat"]).success();
    bench.file("flat/signature-1", "of the first").file("flat/version.1.partial", "Direc");
    bench.file("a", "other\n").run(["build", "-q", "-t", "app:2", "."]).success();
    bench.run(["push", "-q", "app:2", "dir:flat"]).success();
    let flat = bench.work().join("flat");
    let manifest = read_json(&flat.join("manifest.json"));
    let blobs = manifest["layers"].as_array().into_iter().flatten().chain([&manifest["config"]]);
    let digests = blobs.map(|blob| blob["digest"].as_str().expect("a digest").trim_start_matches("sha256:").to_owned());
    let names: BTreeSet<String> = digests.chain(["manifest.json".to_owned(), "version".to_owned()]).collect();
    assert_eq!(files(&flat).into_keys().collect::<BTreeSet<_>>(), names);
    let other = Bench::within(&bench.work());
    let pulled = other.run(["pull", "-q", &absolute(&bench, "dir:flat")]).success().line();
    assert_eq!(pulled, id(&bench, "app:2"));
}

/// C034: the digest and the size of a configuration are those that the manifest says, wherever it comes from. F012, T195
#[test]
fn a_configuration_that_is_not_what_the_manifest_says_is_refused() {
    let bench = with_image();
    bench.run(["push", "-q", "app:1", "oci:layout:1"]).success();
    bench.run(["push", "-q", "app:1", "dir:flat"]).success();
    let work = bench.work();
    let manifest = fs::read_to_string(work.join("flat/manifest.json")).expect("it was written");
    let config: Value = serde_json::from_str::<Value>(&manifest).expect("JSON")["config"].take();
    let digest = config["digest"].as_str().expect("a digest");
    let hex = digest.trim_start_matches("sha256:");
    for path in [work.join("layout/blobs/sha256").join(hex), work.join("flat").join(hex)] {
        let text = fs::read_to_string(&path).expect("a configuration");
        fs::write(&path, text.replacen("\"config\":{", "\"config\":{\"User\":\"9\",", 1)).expect("a writable bench");
    }
    let mut archive = tar::Builder::new(fs::File::create(work.join("layout.tar")).expect("a writable bench"));
    archive.append_dir_all("", work.join("layout")).expect("a readable layout");
    archive.finish().expect("a writable bench");
    let listed = read_json(&work.join("layout/index.json"))["manifests"][0]["digest"].take();
    let context = format!("base=oci-layout://{}/layout@{}", work.display(), listed.as_str().expect("a digest"));
    bench.file("Dockerfile", "FROM base\nCOPY a /c\n");
    let message = format!("blob digest mismatch in the archive: expected {digest}, got sha256:");
    for args in [
        ["pull", &absolute(&bench, "oci:layout:1")].as_slice(),
        &["pull", &absolute(&bench, "oci-archive:layout.tar:1")],
        &["pull", &absolute(&bench, "dir:flat")],
        &["load", "-i", &work.join("layout.tar").display().to_string()],
        &["build", "--build-context", &context, &work.display().to_string()],
    ] {
        let other = Bench::within(&work);
        other.run(args).exit(2).complains(&message);
        assert_eq!(other.run(["images", "-aq"]).success().out(), "", "{args:?}");
    }
    // The manifest of a `dir:` is what nothing else says.
    bench.run(["push", "-q", "app:1", "dir:flat"]).success();
    let size = config["size"].as_u64().expect("a size");
    let wrong = manifest.replacen(&format!("\"size\":{size}"), &format!("\"size\":{}", size + 1), 1);
    fs::write(work.join("flat/manifest.json"), wrong).expect("a writable bench");
    let message =
        format!("blob size mismatch in the archive: expected {} bytes for {digest}, got {size} bytes", size + 1);
    Bench::within(&work).run(["pull", &absolute(&bench, "dir:flat")]).exit(2).complains(&message);
}

/// C034, H001: an image that is not for the platform is refused before it takes the name of another.
#[test]
fn an_image_for_another_platform_takes_no_name() {
    let bench = with_image();
    bench.run(["save", "-o", "app.tar", "app:1"]).success();
    bench.run(["build", "-q", "-o", "type=oci,tar=false,dest=layout,name=app:1", "."]).success();
    let other = with_image();
    other.file("a", "mine\n").run(["build", "-q", "-t", "app:1", "."]).success();
    let mine = id(&other, "app:1");
    for place in ["docker-archive:app.tar", "oci:layout:1"] {
        let refused = other.run(["pull", "--platform", "linux/s390x", &absolute(&bench, place)]);
        refused.exit(2).complains("s390x");
        assert_eq!(id(&other, "app:1"), mine, "{place}");
    }
}

/// C034: a tag of a layout names one image, whoever wrote the one before.
#[test]
fn an_image_takes_the_tag_of_what_a_build_wrote_into_a_layout() {
    let bench = with_image();
    let build = |name: &str| {
        bench.run(["build", "-q", "-o", &format!("type=oci,tar=false,dest=layout,name={name}"), "."]).success();
    };
    let tags = || {
        let list = read_json(&bench.work().join("layout/index.json"));
        let entries = list["manifests"].as_array().expect("a list").clone();
        let tag = |entry: &Value| entry["annotations"]["org.opencontainers.image.ref.name"].as_str().map(str::to_owned);
        entries.iter().map(tag).collect::<Option<Vec<_>>>().expect("each has a tag")
    };
    build("app:v1");
    build("app:v2");
    bench.file("a", "other\n").run(["build", "-q", "-t", "app:2", "."]).success();
    bench.run(["push", "-q", "app:2", "oci:layout:v1"]).success();
    assert_eq!(tags(), ["v2", "v1"]);
    let wanted = id(&bench, "app:2");
    let other = Bench::within(&bench.work());
    let name = other.run(["pull", "-q", &absolute(&bench, "oci:layout:v1")]).success().line();
    assert_eq!(id(&other, &name), wanted);
    // And the other way. Two with different names may have one tag.
    bench.file("a", "third\n");
    build("app:v1");
    assert_eq!(tags(), ["v2", "v1"]);
    build("tool:v1");
    assert_eq!(tags(), ["v2", "v1", "v1"]);
}

/// C034, H001: an index without images says so, with or without a platform.
#[test]
fn an_index_in_a_directory_without_its_images_is_refused() {
    let bench = with_image();
    bench.run(["build", "-q", "--platform", "linux/amd64,linux/arm64", "-t", "both:1", "."]).success();
    bench.run(["push", "-q", "both:1", "dir:flat"]).success();
    for name in files(&bench.work().join("flat")).into_keys().filter(|name| name.ends_with(".manifest.json")) {
        fs::remove_file(bench.work().join("flat").join(name)).expect("a writable bench");
    }
    bench
        .run(["pull", "dir:flat"])
        .exit(2)
        .complains("the index in `flat` has no image whose manifest is there")
        .complains("hint: Copy it with its images, as `skopeo copy --all` does.");
    bench
        .run(["pull", "--platform", "linux/arm64", "dir:flat"])
        .exit(2)
        .complains("the index in `flat` has no image for linux/arm64");
}
