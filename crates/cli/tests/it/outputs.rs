//! Outputs: in which form a result goes where, several from one build, and nothing of one that fails.

use std::fs;
use std::path::Path;

use serde_json::Value;
use stave_testkit::dockerd::Dockerd;
use stave_testkit::fixtures::with_busybox;
use stave_testkit::{Bench, LoopbackRegistry, needs};

/// A bench with a build of two small layers from nothing.
fn small() -> Bench {
    let bench = Bench::new();
    bench.file("a", "one\n").file("b", "two\n").file("Dockerfile", "FROM scratch\nCOPY a /a\nCOPY b /dir/b\n");
    bench
}

/// Builds with an output of type `oci` that is a directory, and returns the list of images there.
fn layout(bench: &Bench, name: &str, fields: &str) -> Vec<Value> {
    bench.run(["build", "-o", &format!("type=oci,tar=false,dest={name}{fields}"), "."]).success();
    listed(bench, name)
}

fn listed(bench: &Bench, name: &str) -> Vec<Value> {
    let list = read_json(&bench.work().join(name).join("index.json"));
    list["manifests"].as_array().expect("a list").clone()
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("a file")).expect("JSON")
}

/// Reads what a descriptor of a layout names.
fn blob(bench: &Bench, layout: &str, descriptor: &Value) -> Value {
    let digest = descriptor["digest"].as_str().expect("a digest").replace(':', "/");
    read_json(&bench.work().join(layout).join("blobs").join(digest))
}

fn layer_types(manifest: &Value) -> Vec<String> {
    let layers = manifest["layers"].as_array().expect("layers");
    layers.iter().map(|layer| layer["mediaType"].as_str().expect("a type").to_owned()).collect()
}

#[test]
fn a_layout_keeps_the_images_that_it_has() {
    let bench = small();
    let first = layout(&bench, "out", ",name=a:1");
    assert_eq!(first.len(), 1);
    assert_eq!(first[0]["annotations"]["org.opencontainers.image.ref.name"], "1");
    assert_eq!(first[0]["annotations"]["io.containerd.image.name"], "docker.io/library/a:1");
    bench.file("a", "other\n");
    bench.run(["build", "-t", "b:2", "-o", "type=oci,tar=false,dest=out,\"name=*,c\"", "."]).success();
    let names: Vec<Value> =
        listed(&bench, "out").iter().map(|entry| entry["annotations"]["io.containerd.image.name"].clone()).collect();
    assert_eq!(names, ["docker.io/library/a:1", "docker.io/library/b:2", "docker.io/library/c:latest"]);
    // The same name again replaces what had it.
    let again = layout(&bench, "out", ",name=a:1");
    assert_eq!(again.len(), 3);
    assert_eq!(again.iter().filter(|entry| entry["digest"] == again[0]["digest"]).count(), 3);
    assert!(again[0]["annotations"]["org.opencontainers.image.created"].is_string());
    bench.file("other/index.json", "{}");
    bench.run(["build", "-o", "type=oci,tar=false,dest=other", "."]).exit(2).complains("no list of an image layout");
}

/// T208
#[test]
fn layers_have_the_compression_that_is_asked_for_and_those_of_the_base_only_if_forced() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file("Dockerfile", "FROM busybox\nRUN echo new > /new\n");
    let types = |name: &str, fields: &str| {
        let entries = layout(&bench, name, fields);
        layer_types(&blob(&bench, name, &entries[0]))
    };
    let oci = |suffix: &str| format!("application/vnd.oci.image.layer.v1.tar{suffix}");
    assert_eq!(types("gzip", ""), [oci("+gzip"), oci("+gzip")]);
    assert_eq!(types("zstd", ",compression=zstd"), [oci("+gzip"), oci("+zstd")]);
    assert_eq!(types("plain", ",compression=uncompressed,force-compression=true"), [oci(""), oci("")]);
    assert_eq!(
        types("forced", ",compression=zstd,compression-level=9,force-compression=true"),
        [oci("+zstd"), oci("+zstd")]
    );
    let docker = types("docker", ",oci-mediatypes=false");
    assert_eq!(docker, ["application/vnd.docker.image.rootfs.diff.tar.gzip"; 2]);
    let manifest = |name: &str| blob(&bench, name, &listed(&bench, name)[0]);
    assert_eq!(manifest("docker")["mediaType"], "application/vnd.docker.distribution.manifest.v2+json");
    assert_eq!(manifest("docker")["config"]["mediaType"], "application/vnd.docker.container.image.v1+json");
    // Whatever the compression, it is the same image.
    for name in ["zstd", "plain", "forced", "docker"] {
        assert_eq!(manifest(name)["config"]["digest"], manifest("gzip")["config"]["digest"], "{name}");
    }
    assert_ne!(manifest("forced")["layers"][0]["digest"], manifest("gzip")["layers"][0]["digest"]);
    let error = bench.run(["build", "-o", "type=oci,dest=x,compression=zstd,oci-mediatypes=false", "."]);
    error.exit(2).complains("`compression=zstd` needs OCI's types");
}

#[test]
fn layers_of_estargz_are_read_by_those_who_know_only_gzip() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file("Dockerfile", "FROM busybox\nRUN echo new > /new\nCMD cat /new\n");
    let entries = layout(&bench, "out", ",compression=estargz,force-compression=true,name=made:1");
    let manifest = blob(&bench, "out", &entries[0]);
    for layer in manifest["layers"].as_array().expect("layers") {
        assert!(layer["annotations"]["containerd.io/snapshot/stargz/toc.digest"].is_string(), "{layer}");
    }
    // The table is a file of the layer, so the configuration names other tars; they are what the blobs hold.
    bench.file("from/Dockerfile", "FROM made\nRUN test -s /stargz.index.json && cat /new > /seen\nCMD cat /seen\n");
    let context = "made=oci-layout://out:1";
    bench.run(["build", "-t", "again", "--build-context", context, "from"]).success();
    assert_eq!(bench.run(["run", "--rm", "again"]).success().out(), "new\n");
    if let Some(skopeo) = needs::program("skopeo") {
        let mut command = bench.other(&skopeo);
        command.args(["copy", "--insecure-policy", "--dest-decompress", "oci:out:1", "dir:copied"]);
        bench.finish(command).success();
    }
}

/// T209, B018
#[test]
fn annotations_are_on_every_level_that_the_image_has() {
    let bench = small();
    let args = ["build", "--annotation", "o=all", "-o"];
    let fields = "type=oci,tar=false,dest=one,annotation.k=v,annotation-manifest[linux/s390x].k=no,annotation-manifest-descriptor.d=e";
    let built = bench.run(args.iter().chain(&[fields, "."]));
    built.success().complains("note: the annotation `k` is for linux/s390x, which is not built\n");
    let entry = &listed(&bench, "one")[0];
    assert_eq!(entry["annotations"]["d"], "e");
    assert_eq!(blob(&bench, "one", entry)["annotations"], serde_json::json!({ "k": "v", "o": "all" }));
    for fields in
        ["type=oci,dest=no.tar,annotation-index.k=v", "type=registry,name=h.example/x,annotation-index-descriptor.k=v"]
    {
        bench.run(["build", "-o", fields, "."]).exit(2).complains("is for an index");
    }
    assert!(!bench.work().join("no.tar").exists());
    let two = "type=oci,tar=false,dest=two,annotation-index.i=1,annotation-index-descriptor.l=2,annotation[linux/arm64].k=arm";
    bench.run(["build", "--platform", "linux/amd64,linux/arm64", "-o", two, "."]).success();
    let entry = &listed(&bench, "two")[0];
    assert_eq!(entry["annotations"]["l"], "2");
    let index = blob(&bench, "two", entry);
    assert_eq!(index["annotations"]["i"], "1");
    let platforms: Vec<&Value> =
        index["manifests"].as_array().expect("a list").iter().map(|one| &one["platform"]["architecture"]).collect();
    assert_eq!(platforms, ["amd64", "arm64"]);
    assert_eq!(blob(&bench, "two", &index["manifests"][1])["annotations"]["k"], "arm");
    assert!(blob(&bench, "two", &index["manifests"][0]).get("annotations").is_none());
}

/// T205
#[test]
fn files_of_several_platforms_are_in_directories_of_their_own() {
    let bench = small();
    bench.file("Dockerfile", "FROM scratch\nARG TARGETARCH\nCOPY a /same\nCOPY a /only-$TARGETARCH\n");
    let both = ["build", "--platform", "linux/amd64,linux/arm/v7", "-o"];
    bench.run(both.iter().chain(&["out", "."])).success();
    for path in ["linux_amd64/only-amd64", "linux_arm_v7/only-arm", "linux_arm_v7/same"] {
        assert_eq!(fs::read_to_string(bench.work().join("out").join(path)).expect(path), "one\n");
    }
    bench.run(both.iter().chain(&["type=tar,dest=out.tar", "."])).success();
    let mut list = bench.other(Path::new("tar"));
    list.args(["-tf", "out.tar"]);
    let names = bench.finish(list).success().out();
    assert!(names.contains("linux_amd64/only-amd64\n") && names.contains("linux_arm_v7/same\n"), "{names}");
    let merged = "type=local,dest=merged,platform-split=false";
    bench.run(both.iter().chain(&[merged, "."])).exit(2).complains("both have `/same`");
    bench.file("Dockerfile", "FROM scratch\nARG TARGETARCH\nCOPY a /only-$TARGETARCH\n");
    bench.run(both.iter().chain(&[merged, "."])).success();
    let names: Vec<_> = ["only-amd64", "only-arm"].map(|name| bench.work().join("merged").join(name)).into();
    assert!(names.iter().all(|path| path.exists()));
    bench.run(["build", "-o", "type=local,dest=split,platform-split=true", "."]).success();
    assert!(fs::read_dir(bench.work().join("split")).expect("a directory").count() == 1);
}

/// T206
#[test]
fn other_files_are_removed_only_where_that_is_allowed() {
    let bench = small();
    bench.file("out/stale", "old").file("out/dir/stale", "old").file("out/a", "old");
    let delete = "type=local,dest=out,mode=delete";
    bench.run(["build", "-o", delete, "."]).exit(2).complains("--allow buildx.local.delete");
    assert!(bench.work().join("out/stale").exists());
    bench.run(["build", "-o", "out", "."]).success();
    assert!(bench.work().join("out/stale").exists(), "what is there is kept");
    bench.run(["build", "--allow", "buildx.local.delete", "-o", delete, "."]).success();
    assert!(!bench.work().join("out/stale").exists() && !bench.work().join("out/dir/stale").exists());
    assert_eq!(fs::read_to_string(bench.work().join("out/a")).expect("written"), "one\n");
}

/// T207
#[test]
fn a_tar_on_standard_output_has_the_owners() {
    let bench = small();
    bench.file("Dockerfile", "FROM scratch\nCOPY --chown=12:34 a /a\n");
    let tar = bench.command(["build", "-o", "-", "."]).output().expect("stave runs");
    assert!(tar.status.success());
    fs::write(bench.work().join("out.tar"), tar.stdout).expect("a writable bench");
    let mut list = bench.other(Path::new("tar"));
    list.args(["--numeric-owner", "-tvf", "out.tar"]);
    let said = bench.finish(list).success().out();
    assert!(said.contains("12/34") && said.contains(" a\n"), "{said}");
    bench.run(["build", "-o", "-", "-o", "type=oci", "."]).exit(2).complains("one thing only");
}

/// T211
#[test]
fn an_output_that_fails_leaves_no_name_and_no_partial_file() {
    let bench = small();
    let outputs = ["-o", "type=oci,dest=good.tar", "-o", "type=tar,dest=missing/bad.tar", "-o", "type=image"];
    bench.run(["build", "-t", "made"].iter().chain(&outputs).chain(&["."])).exit(2).complains("missing/bad.tar");
    assert!(!bench.run(["images"]).success().out().contains("made"));
    let left: Vec<_> =
        fs::read_dir(bench.work()).expect("a directory").map(|entry| entry.expect("an entry").file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("partial")), "{left:?}");
}

/// B014
#[test]
fn several_outputs_come_from_one_build() {
    let registry = LoopbackRegistry::start();
    let bench = small().with_registry(&registry);
    let push = format!("type=registry,compression=zstd,\"name={0}/x:1,{0}/y:2\"", registry.host());
    let outputs = ["-o", "out", "-o", "type=oci,dest=a.tar", "-o", "type=docker,dest=b.tar", "-o", &push];
    bench.run(["build"].iter().chain(&outputs).chain(&["."])).success();
    assert!(["out/dir/b", "a.tar", "b.tar"].iter().all(|name| bench.work().join(name).exists()));
    let manifest: Value = serde_json::from_slice(&registry.manifest("x", "1").expect("pushed")).expect("JSON");
    assert!(layer_types(&manifest).iter().all(|name| name.ends_with("+zstd")));
    assert_eq!(registry.manifest("x", "1"), registry.manifest("y", "2"));
    // Nothing new: nothing is sent.
    drop(registry.take_log());
    bench.run(["build", "-o", &push, "."]).success();
    assert!(!registry.take_log().iter().any(|line| line.starts_with("POST") || line.starts_with("PUT")));
}

#[test]
fn an_image_is_pushed_by_its_digest_alone_and_named_by_it_in_the_store() {
    let registry = LoopbackRegistry::start();
    let bench = small().with_registry(&registry);
    let name = format!("{}/x", registry.host());
    let output = format!("type=registry,name={name},push-by-digest=true,name-canonical=true");
    bench.run(["build", "--metadata-file", "meta", "-o", &output, "."]).success();
    assert!(registry.manifest("x", "latest").is_none());
    let digest = read_json(&bench.work().join("meta"))["containerimage.digest"].as_str().expect("a digest").to_owned();
    bench.run(["inspect", &format!("{name}@{digest}")]).success();
    bench.run(["rmi", "-f", &name]).success();
    bench.run(["pull", &format!("{name}@{digest}")]).success();
}

/// B045
#[test]
fn joined_layers_hold_the_same_files_and_leave_the_cache_alone() {
    let Some((bench, _registry)) = with_busybox() else { return };
    let file = "FROM busybox\nRUN mkdir -p /d/e && echo 1 > /d/e/f && ln /d/e/f /d/hard && echo x > /gone\n\
                RUN rm /gone /etc/group && rm -r /d/e && mkdir /d/e && echo 2 > /d/e/g && chmod 1777 /d\nRUN echo 3 > /h\n\
                CMD find / -xdev ! -path '/proc*' ! -path '/sys*' ! -path '/dev*' ! -path '/etc*' | sort; stat -c %a /d /d/hard; cat /d/e/g; ls /etc\n";
    bench.file("Dockerfile", file);
    bench.run(["build", "-t", "plain", "."]).success();
    let said = bench.run(["run", "--rm", "--network", "none", "plain"]).success().out();
    let layers = |name: &str| {
        let out = bench.run(["inspect", "-f", "{{len .RootFS.Layers}}", name]).success().line();
        out.parse::<usize>().expect("a number")
    };
    let base = layers("busybox");
    assert_eq!(layers("plain"), base + 3);
    for (option, expected) in [("--squash", base + 1), ("--squash-all", 1), ("--squash=false", base + 3)] {
        let output = bench.run(["build", "--progress", "plain", option, "-t", "joined", "."]);
        output.success().complains("CACHED");
        assert_eq!(layers("joined"), expected, "{option}");
        assert_eq!(bench.run(["run", "--rm", "--network", "none", "joined"]).success().out(), said, "{option}");
    }
    let entries = layout(&bench, "out", ",layer-max-size=1g");
    assert_eq!(layer_types(&blob(&bench, "out", &entries[0])).len(), base + 1);
    bench.run(["store", "check"]).success();
}

/// Every part of a layer is a layer that anybody applies, and the image is the same with them.
#[test]
fn a_layer_that_is_larger_than_the_size_is_divided() {
    let Some((bench, _registry)) = with_busybox() else { return };
    let file = "FROM busybox\nRUN echo below > /gone && mkdir /d && echo old > /d/old\n\
                RUN rm -r /gone /d && mkdir -p /d/e && for i in 1 2 3 4 5; do head -c 400000 /dev/zero | tr '\\0' $i > /d/e/$i; done && \
                ln /d/e/1 /d/hard && ln -s e/2 /d/link && chmod 1777 /d/e && touch -d '1969-01-02 00:00:00' /d/e\n\
                CMD find / -xdev ! -path '/proc*' ! -path '/sys*' ! -path '/dev*' ! -path '/etc*' | sort; stat -c '%a %Y' /d/e; stat -c '%a %h' /d/hard; md5sum /d/e/*\n";
    bench.file("Dockerfile", file);
    let run = |name: &str| bench.run(["run", "--rm", "--network", "none", name]).success().out();
    bench.run(["build", "-t", "plain", "."]).success();
    let said = run("plain");
    assert!(said.contains("/d/hard") && !said.contains("/d/old") && !said.contains("/gone"), "{said}");
    let entries = layout(&bench, "out", ",layer-max-size=1m,name=parts:1");
    let manifest = blob(&bench, "out", &entries[0]);
    let layers = manifest["layers"].as_array().expect("layers");
    assert_eq!(layers.len(), 5, "the base, a small layer, and three parts of a large one");
    let config = blob(&bench, "out", &manifest["config"]);
    let history = config["history"].as_array().expect("a history");
    assert_eq!(history.iter().filter(|entry| entry["empty_layer"] != true).count(), 5);
    let comments: Vec<&str> = history.iter().filter_map(|entry| entry["comment"].as_str()).collect();
    let parts: Vec<_> = comments.iter().filter_map(|comment| comment.split_once(", ")).map(|(_, part)| part).collect();
    assert_eq!(parts, ["part 1 of 3", "part 2 of 3", "part 3 of 3"], "{comments:?}");
    // Again, from other work: the same bytes.
    bench.run(["store", "prune", "--all", "--force"]).success();
    bench.run(["build", "-o", "type=oci,tar=false,dest=again,layer-max-size=1m,name=parts:1", "."]).success();
    assert_eq!(listed(&bench, "again")[0]["digest"], entries[0]["digest"]);
    bench.run(["build", "-o", "type=docker,dest=parts.tar,layer-max-size=1m,name=parts:1", "."]).success();
    bench.run(["load", "-i", "parts.tar"]).success();
    assert_eq!(run("parts:1"), said);
    bench.run(["store", "check"]).success();
}

/// B015
#[test]
fn a_daemon_is_sent_only_what_it_lacks() {
    let Some((mut bench, _registry)) = with_busybox() else { return };
    let Some(dockerd) = Dockerd::start(&bench, None) else { return };
    bench.set("DOCKER_HOST", dockerd.address());
    bench.file("Dockerfile", "FROM busybox\nRUN head -c 3000000 /dev/urandom > /big\nCMD echo hello\n");
    bench.run(["build", "-t", "made:1", "--load", "."]).success();
    let ran = dockerd.docker(&bench, &["run", "--rm", "--network", "host", "made:1"]);
    assert_eq!(ran.success().out(), "hello\n");
    // One small layer on what is there: the archive has only that, and the daemon takes it.
    bench.file(
        "Dockerfile",
        "FROM busybox\nRUN head -c 3000000 /dev/urandom > /big\nRUN echo small > /small\nCMD cat /small\n",
    );
    bench.run(["build", "-t", "made:2", "-o", "type=docker", "."]).success();
    let ran = dockerd.docker(&bench, &["run", "--rm", "--network", "host", "made:2"]);
    assert_eq!(ran.success().out(), "small\n");
    // An image that is there only gets its name.
    bench.run(["build", "-t", "other:3", "--load", "."]).success();
    let id = |name: &str| dockerd.docker(&bench, &["image", "inspect", "--format", "{{.Id}}", name]).success().line();
    assert_eq!(id("other:3"), id("made:2"));
    assert_eq!(bench.run(["inspect", "-f", "{{.Id}}", "made:2"]).success().line(), id("made:2"));
    bench.set("DOCKER_HOST", "tcp://127.0.0.1:1");
    bench.run(["build", "--load", "."]).exit(2).complains("through a socket of this machine");
    bench.set("DOCKER_HOST", format!("unix://{}", bench.path("nobody.sock").display()));
    bench.run(["build", "-t", "kept", "--load", "."]).exit(3).complains("cannot talk to the daemon");
    bench.run(["inspect", "kept"]).success();
}

/// A layer that is larger than what the builder may take passes through it in pieces.
#[test]
fn a_large_layer_is_written_with_little_memory() {
    let bench = small();
    let big = fs::File::create(bench.work().join("big")).expect("a writable bench");
    big.set_len(192 << 20).expect("a sparse file");
    bench.file("Dockerfile", "FROM scratch\nCOPY big /big\n");
    for compression in ["gzip", "zstd"] {
        let output = format!("type=oci,dest={compression}.tar,compression={compression}");
        let mut child = bench.spawn(["build", "-o", &output, "."]);
        let mut peak_kib = 0;
        while child.try_wait().expect("waited for").is_none() {
            peak_kib = peak_kib.max(peak_of(child.id()));
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        bench.wait(child).success();
        assert!(peak_kib > 0 && peak_kib < 150 << 10, "{compression}: {peak_kib} KiB");
        assert!(fs::metadata(bench.work().join(format!("{compression}.tar"))).expect("written").len() < 8 << 20);
    }
}

/// The most memory that a process has had so far, in KiB; 0 once it has ended.
fn peak_of(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}
