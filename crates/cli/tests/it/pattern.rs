//! The builder pattern's commands, each exactly as Docker has it: `create`, `cp`, `rm`.

use stave_testkit::fixtures::with_busybox;
use stave_testkit::{Bench, LoopbackRegistry};
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// A bench with a container `extract` of an image that has `/out`: `tool` (executable), `dir/a`, `dir/sub/b`, `link`.
fn with_container() -> Option<(Bench, LoopbackRegistry)> {
    let (bench, registry) = with_busybox()?;
    let script = "mkdir -p /out/dir/sub && echo tool > /out/tool && chmod 755 /out/tool && echo a > /out/dir/a \
                  && echo b > /out/dir/sub/b && ln -s tool /out/link";
    bench.file("Dockerfile", format!("FROM busybox\nRUN {script}\n"));
    bench.run(["build", "-t", "made", "."]).success();
    bench.run(["create", "--name", "extract", "made"]).success();
    Some((bench, registry))
}

/// Names in a tar, in its order.
fn names(tar: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(tar);
    let entries = archive.entries().expect("a tar");
    entries.map(|entry| entry.expect("an entry").path().expect("a path").display().to_string()).collect()
}

/// T212, I035: the script's steps; the mode of what is copied out survives.
#[test]
fn what_is_copied_out_goes_into_the_next_image_and_can_still_be_executed() {
    let Some((bench, _registry)) = with_container() else { return };
    bench.run(["cp", "extract:/out/tool", "./tool"]).success();
    assert_eq!(bench.run(["rm", "-f", "extract"]).success().line(), "extract");
    let mode = fs::metadata(bench.work().join("tool")).expect("copied").permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
    bench.file("Dockerfile.pack", "FROM busybox\nCOPY tool /usr/bin/tool\nRUN test -x /usr/bin/tool\n");
    bench.run(["build", "--no-cache", "-t", "packed", "-f", "Dockerfile.pack", "."]).success();
}

/// T213
#[test]
fn a_container_name_is_free_again_after_rm() {
    let Some((bench, _registry)) = with_container() else { return };
    bench.run(["create", "--name", "extract", "made"]).exit(1).complains("is already in use");
    bench.run(["rm", "-f", "extract"]).success();
    bench.run(["create", "--name", "extract", "made"]).success();
}

/// T217
#[test]
fn rm_force_of_a_missing_container_complains_and_succeeds() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.run(["rm", "-f", "missing"]).success().complains("missing");
    bench.run(["rm", "missing"]).exit(1).complains("missing");
}

/// T214
#[test]
fn cp_names_nests_and_spreads_as_docker_does() {
    let Some((bench, _registry)) = with_container() else { return };
    let read = |path: &str| fs::read_to_string(bench.work().join(path)).unwrap_or_else(|error| format!("{error}"));
    bench.run(["cp", "extract:/out/dir/a", "./newname"]).success();
    assert_eq!(read("newname"), "a\n");
    fs::create_dir(bench.work().join("there")).expect("a writable bench");
    bench.run(["cp", "extract:/out/dir", "./there"]).success();
    assert_eq!(read("there/dir/sub/b"), "b\n");
    bench.run(["cp", "extract:/out/dir/.", "./there"]).success();
    assert_eq!(read("there/sub/b"), "b\n");
    bench.run(["cp", "extract:/out/dir", "./fresh"]).success();
    assert_eq!(read("fresh/a"), "a\n");
    bench.run(["cp", "extract:/out/dir/a", "./no/such/parent"]).exit(1);
    assert!(!bench.work().join("no").exists());
}

/// T215
#[test]
fn cp_speaks_tar_both_ways() {
    let Some((bench, _registry)) = with_container() else { return };
    let out = bench.run(["cp", "extract:/out/dir", "-"]).success().stdout.clone();
    let listed = names(&out);
    assert!(listed.iter().all(|name| name.trim_start_matches("./").starts_with("dir")), "{listed:?}");
    assert!(listed.iter().any(|name| name.ends_with("dir/sub/b")), "{listed:?}");

    let mut rootfs = stave_testkit::Rootfs::new();
    rootfs.file("x", 0o640, "from a tar");
    bench.run_with_input(["cp", "-", "extract:/tmp"], rootfs.tar()).success();
    bench.run(["cp", "extract:/tmp/x", "./x"]).success();
    assert_eq!(fs::read_to_string(bench.work().join("x")).expect("copied"), "from a tar");
}

/// T216
#[test]
fn cp_copies_a_link_itself_unless_told_to_follow() {
    let Some((bench, _registry)) = with_container() else { return };
    bench.run(["cp", "extract:/out/link", "./link"]).success();
    let link = bench.work().join("link");
    assert_eq!(fs::read_link(&link).expect("a link"), std::path::Path::new("tool"));
    bench.run(["cp", "-L", "extract:/out/link", "./followed"]).success();
    assert_eq!(fs::read_to_string(bench.work().join("followed")).expect("a file"), "tool\n");
}
