//! Images that stave makes are read by the programs that people have: skopeo, umoci, buildah, dockerd.

use stave_testkit::dockerd::Dockerd;
use stave_testkit::fixtures::with_busybox;
use stave_testkit::{Bench, LoopbackRegistry, Output, needs};
use std::fs;
use std::path::Path;

/// A bench with an image `made` that prints `hello` and has a file of every kind that a layer can have.
fn with_image() -> Option<(Bench, LoopbackRegistry)> {
    let (bench, registry) = with_busybox()?;
    bench.file("a", "hello\n").file(
        "Dockerfile",
        "FROM busybox\nLABEL of=tests\nENV GREETING=hello\nWORKDIR /data\nCOPY --chmod=640 a ./a\n\
         RUN ln -s a link && ln a hard && mkfifo fifo && rm /etc/group && mkdir -p deep/er && chmod 1777 deep\n\
         USER 0:0\nCMD [\"cat\", \"/data/a\"]\n",
    );
    bench.run(["build", "-t", "made:1", "."]).success();
    Some((bench, registry))
}

/// Runs another program on the bench.
fn program(bench: &Bench, path: &Path, args: &[&str]) -> Output {
    let mut command = bench.other(path);
    command.args(args);
    bench.finish(command)
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_str(&output.out()).expect("JSON")
}

#[test]
fn skopeo_reads_both_kinds_of_archive() {
    let (Some(skopeo), Some((bench, _registry))) = (needs::program("skopeo"), with_image()) else { return };
    for kind in ["oci", "docker"] {
        let output = format!("type={kind},dest={kind}.tar");
        bench.run(["build", "-t", "made:1", "--output", &output, "."]).success();
        let source = format!("{kind}-archive:{kind}.tar");
        let said = program(&bench, &skopeo, &["inspect", "--insecure-policy", "--config", &source]);
        let config = &json(said.success())["config"];
        assert_eq!(config["WorkingDir"], "/data");
        assert_eq!(config["Labels"]["of"], "tests");
        assert_eq!(config["Cmd"], serde_json::json!(["cat", "/data/a"]));
        let copied = format!("dir:{kind}-copied");
        program(&bench, &skopeo, &["copy", "--insecure-policy", &source, &copied]).success();
    }
}

#[test]
fn skopeo_reads_what_was_pushed_and_stave_pulls_what_skopeo_pushed() {
    let (Some(skopeo), Some((bench, registry))) = (needs::program("skopeo"), with_image()) else { return };
    let name = format!("{}/team/made:1", registry.host());
    bench.run(["tag", "made:1", &name]).success();
    bench.run(["push", &name]).success();
    let source = format!("docker://{name}");
    let said = program(&bench, &skopeo, &["inspect", "--insecure-policy", "--tls-verify=false", &source]);
    assert_eq!(json(said.success())["Labels"]["of"], "tests");

    let other = format!("{}/team/copied:2", registry.host());
    let target = format!("docker://{other}");
    let insecure = ["--src-tls-verify=false", "--dest-tls-verify=false"];
    program(&bench, &skopeo, &["copy", "--insecure-policy", insecure[0], insecure[1], &source, &target]).success();
    bench.run(["pull", &other]).success();
    assert_eq!(bench.run(["run", "--rm", &other]).success().out(), "hello\n");
}

#[test]
fn umoci_unpacks_the_layers() {
    let (Some(umoci), Some(skopeo)) = (needs::program("umoci"), needs::program("skopeo")) else { return };
    let (Some(()), Some((bench, _registry))) = (needs::root(), with_image()) else { return };
    bench.run(["build", "-t", "made:1", "--output", "type=oci,dest=oci.tar", "."]).success();
    program(&bench, &skopeo, &["copy", "--insecure-policy", "oci-archive:oci.tar", "oci:layout:made"]).success();
    program(&bench, &umoci, &["unpack", "--image", "layout:made", "bundle"]).success();
    let rootfs = bench.work().join("bundle/rootfs");
    assert_eq!(fs::read_to_string(rootfs.join("data/a")).expect("unpacked"), "hello\n");
    assert_eq!(fs::read_link(rootfs.join("data/link")).expect("a link"), Path::new("a"));
    assert!(!rootfs.join("etc/group").exists(), "what a step removed is gone");
    assert!(rootfs.join("etc/passwd").exists());
    let inode = |name: &str| std::os::unix::fs::MetadataExt::ino(&fs::metadata(rootfs.join(name)).expect("unpacked"));
    assert_eq!(inode("data/a"), inode("data/hard"));
}

#[test]
fn buildah_starts_from_the_image_and_runs_it() {
    let (Some(buildah), Some(())) = (needs::program("buildah"), needs::root()) else { return };
    let Some((bench, _registry)) = with_image() else { return };
    bench.run(["build", "-t", "made:1", "--output", "type=oci,dest=oci.tar", "."]).success();
    let roots = ["--root", "storage", "--runroot", "storage-run", "--storage-driver", "vfs"];
    let buildah = |args: &[&str]| program(&bench, &buildah, &[&roots[..], args].concat());
    let container = buildah(&["from", "oci-archive:oci.tar"]).success().line();
    let ran = buildah(&["run", "--isolation", "chroot", &container, "--", "cat", "/data/link"]);
    assert_eq!(ran.success().out(), "hello\n");
}

#[test]
fn dockerd_loads_and_runs_what_stave_saves_and_stave_loads_what_docker_saves() {
    let Some((bench, _registry)) = with_image() else { return };
    let Some(dockerd) = Dockerd::start(&bench, None) else { return };
    bench.run(["save", "-o", "saved.tar", "made:1"]).success();
    dockerd.docker(&bench, &["load", "-i", "saved.tar"]).success();
    let ran = dockerd.docker(&bench, &["run", "--rm", "--network", "host", "made:1"]);
    assert_eq!(ran.success().out(), "hello\n");
    let said = dockerd.docker(&bench, &["image", "inspect", "--format", "{{.Id}}", "made:1"]);
    let own = bench.run(["inspect", "--format", "{{.Id}}", "made:1"]);
    assert_eq!(said.success().line(), own.success().line(), "the image has the same id there");

    dockerd.docker(&bench, &["tag", "made:1", "back:1"]).success();
    dockerd.docker(&bench, &["save", "-o", "back.tar", "back:1"]).success();
    bench.run(["load", "-i", "back.tar"]).success();
    assert_eq!(bench.run(["run", "--rm", "back:1"]).success().out(), "hello\n");
}
