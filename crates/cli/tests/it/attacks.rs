//! Hostile input, end to end: whatever an archive, an image, a context or a Dockerfile says, nothing outside changes and
//! nothing from outside gets in. The oracle is a tree beside it ([`Sentinel`]).

use stave_testkit::fixtures::with_busybox;
use stave_testkit::sentinel::SECRET;
use stave_testkit::{Bench, Image, LoopbackRegistry, Output, Rootfs, Sentinel};
use std::fs;
use std::os::unix::fs::symlink;

/// A bench whose store and home are not the sentinel's neighbours only by accident: it lies in the same directory.
struct Scene {
    bench: Bench,
    registry: LoopbackRegistry,
    sentinel: Sentinel,
}

fn scene() -> Option<Scene> {
    let (bench, registry) = with_busybox()?;
    let sentinel = Sentinel::plant(&bench.path("sentinel"));
    Some(Scene { bench, registry, sentinel })
}

/// Archives that try to get out, by name. `target` is the absolute path of the sentinel.
#[expect(clippy::too_many_lines, reason = "a table of attacks")]
fn breakouts(target: &str) -> Vec<(&'static str, Rootfs)> {
    let up = format!("../../../../../../../..{target}");
    let made = |build: &dyn Fn(&mut Rootfs)| {
        let mut rootfs = Rootfs::new();
        build(&mut rootfs);
        rootfs
    };
    vec![
        (
            "file through a link",
            made(&|r| {
                r.symlink("esc", target).file("esc/planted", 0o644, "x");
            }),
        ),
        (
            "file through a relative link",
            made(&|r| {
                r.symlink("esc", &up).file("esc/planted", 0o644, "x");
            }),
        ),
        (
            "file through a link to the root",
            made(&|r| {
                r.symlink("esc", "/").file(&format!("esc{target}/planted"), 0o644, "x");
            }),
        ),
        (
            "name with dots",
            made(&|r| {
                r.file(&format!("{up}/planted"), 0o644, "x");
            }),
        ),
        (
            "dots in the middle",
            made(&|r| {
                r.file(&format!("a/b/{up}/planted"), 0o644, "x");
            }),
        ),
        (
            "absolute name",
            made(&|r| {
                r.file(&format!("{target}/planted"), 0o644, "x");
            }),
        ),
        (
            "hard link to a file outside",
            made(&|r| {
                r.hard_link("stolen", &format!("{target}/secret"));
            }),
        ),
        (
            "hard link with dots",
            made(&|r| {
                r.hard_link("stolen", &format!("{up}/secret"));
            }),
        ),
        (
            "write through a hard link",
            made(&|r| {
                r.hard_link("stolen", &format!("{up}/secret")).file("stolen", 0o644, "overwritten");
            }),
        ),
        (
            "directory that becomes a link",
            made(&|r| {
                r.dir("foo", 0o755).file("foo/a", 0o644, "a").symlink("foo", target).file("foo/planted", 0o644, "x");
            }),
        ),
        (
            "mode through a link",
            made(&|r| {
                r.symlink("esc", &format!("{target}/dir")).dir("esc", 0o777).owned_by(12, 34);
            }),
        ),
        (
            "hard link to a link",
            made(&|r| {
                r.symlink("l", &format!("{target}/secret")).hard_link("h", "l").file("h", 0o666, "overwritten");
            }),
        ),
        (
            "whiteout through a link",
            made(&|r| {
                r.symlink("esc", target).whiteout("esc", "secret");
            }),
        ),
        (
            "whiteout of the parent",
            made(&|r| {
                r.dir("d", 0o755).whiteout("d", ".").whiteout("d", "..");
            }),
        ),
        (
            "opaque mark through a link",
            made(&|r| {
                r.symlink("esc", target).file("esc/.wh..wh..opq", 0o644, "");
            }),
        ),
        (
            "chain of links",
            made(&|r| {
                r.symlink("a", "b").symlink("b", "c").symlink("c", target).file("a/planted", 0o644, "x");
            }),
        ),
        (
            "overlay's own whiteout",
            made(&|r| {
                r.null_device("etc/passwd");
            }),
        ),
        (
            "whiteout with a slash's worth of dots",
            made(&|r| {
                r.whiteout("..", "sentinel");
            }),
        ),
    ]
}

/// After whatever happened: the tree is as it was, the store is sound, and the command did not crash.
#[track_caller]
fn assert_contained(scene: &Scene, what: &str, output: &Output) {
    assert!((0..=3).contains(&output.code), "{what}: {output}");
    assert!(!output.stderr.contains("internal error"), "{what}: {output}");
    scene.sentinel.assert_untouched();
    scene.bench.run(["store", "check"]).success();
}

/// The image `made`, if there is one, has nothing of the sentinel in it.
#[track_caller]
fn assert_no_secret(bench: &Bench, what: &str) {
    let saved = bench.run(["build", "-t", "made", "--output", "type=tar,dest=made.tar", "."]);
    if saved.code == 0 {
        let bytes = fs::read(bench.work().join("made.tar")).expect("the output");
        let found = bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
        assert!(!found, "{what}: the image holds what is outside");
    }
}

#[test]
fn no_base_layer_reaches_outside() {
    let Some(scene) = scene() else { return };
    let target = scene.sentinel.path().display().to_string();
    scene.bench.file("a", "a");
    for (number, (what, files)) in breakouts(&target).into_iter().enumerate() {
        let mut image = Image::of_busybox().expect("the scene has one");
        image.layer(&files);
        scene.registry.put(&format!("library/evil{number}"), "latest", &image);
        scene.bench.file("Dockerfile", format!("FROM evil{number}\nCOPY a /esc/a\nRUN true\n"));
        let output = scene.bench.run(["build", "-t", "made", "."]);
        assert_contained(&scene, what, &output);
        assert_no_secret(&scene.bench, what);
    }
}

#[test]
fn no_added_archive_reaches_outside() {
    let Some(scene) = scene() else { return };
    let target = scene.sentinel.path().display().to_string();
    for (what, files) in breakouts(&target) {
        scene.bench.file("evil.tar", files.tar());
        scene.bench.file("Dockerfile", "FROM busybox\nADD evil.tar /\n");
        let output = scene.bench.run(["build", "-t", "made", "."]);
        assert_contained(&scene, what, &output);
        assert_no_secret(&scene.bench, what);
    }
}

#[test]
fn no_context_from_standard_input_reaches_outside() {
    let Some(scene) = scene() else { return };
    let target = scene.sentinel.path().display().to_string();
    for (what, mut files) in breakouts(&target) {
        files.file("Dockerfile", 0o644, "FROM scratch\nCOPY . /\n");
        let output = scene.bench.run_with_input(["build", "-t", "made", "-"], files.tar());
        assert_contained(&scene, what, &output);
    }
}

#[test]
fn nothing_that_is_copied_into_a_container_reaches_outside() {
    let Some(scene) = scene() else { return };
    let target = scene.sentinel.path().display().to_string();
    for (number, (what, files)) in breakouts(&target).into_iter().enumerate() {
        let name = format!("c{number}");
        scene.bench.run(["create", "--name", &name, "busybox"]).success();
        let output = scene.bench.run_with_input(["cp", "-", &format!("{name}:/")], files.tar());
        assert_contained(&scene, what, &output);
        scene.bench.run(["cp", &format!("{name}:/"), "-"]).success();
        scene.sentinel.assert_untouched();
    }
}

#[test]
fn no_loaded_image_reaches_outside() {
    let Some(scene) = scene() else { return };
    let target = scene.sentinel.path().display().to_string();
    for (number, (what, files)) in breakouts(&target).into_iter().enumerate() {
        let mut image = Image::new();
        image.layer(&files);
        let layout = scene.bench.path(&format!("layout-{number}"));
        image.write_layout(&layout, "evil:latest").expect("a writable bench");
        let mut builder = tar::Builder::new(Vec::new());
        builder.append_dir_all(".", &layout).expect("a layout");
        let output = scene.bench.run_with_input(["load"], builder.into_inner().expect("memory"));
        assert_contained(&scene, what, &output);
    }
}

#[test]
fn links_of_a_container_lead_cp_nowhere_outside() {
    let Some(scene) = scene() else { return };
    let (bench, target) = (&scene.bench, scene.sentinel.path().display().to_string());
    bench.file("Dockerfile", format!("FROM busybox\nRUN ln -s {target} /out && ln -s {target}/secret /file\n"));
    bench.run(["build", "-t", "made", "."]).success();
    bench.run(["create", "--name", "box", "made"]).success();
    bench.file("planted", "x");
    for args in [["cp", "planted", "box:/out/"], ["cp", "planted", "box:/file"], ["cp", "planted", "box:/out/secret"]] {
        assert_contained(&scene, "cp into", &bench.run(args));
    }
    for (number, source) in ["box:/out/secret", "box:/file", "box:/out/."].into_iter().enumerate() {
        let to = format!("got-{number}");
        assert_contained(&scene, "cp out of", &bench.run(["cp", "-L", source, &to]));
        let got = fs::read_to_string(bench.work().join(to)).unwrap_or_default();
        assert!(!got.contains(SECRET), "{source}");
    }
}

#[test]
fn nothing_outside_the_context_is_read() {
    let Some(scene) = scene() else { return };
    let (bench, target) = (&scene.bench, scene.sentinel.path());
    let work = bench.work();
    symlink(target.join("secret"), work.join("link")).expect("a link");
    symlink(target, work.join("dir")).expect("a link");
    symlink("../sentinel", work.join("up")).expect("a link");
    let copies =
        ["link /x", "dir/secret /x", "up/secret /x", "up /x/", "../sentinel/secret /x", "[ /x", "dir/* /x/", ". /x/"];
    for copy in copies {
        bench.file("Dockerfile", format!("FROM scratch\nCOPY {copy}\n"));
        assert_contained(&scene, copy, &bench.run(["build", "-t", "made", "."]));
        assert_no_secret(bench, copy);
    }
    bench.file("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    symlink(target.join("secret"), work.join(".dockerignore")).expect("a link");
    let output = bench.run(["build", "-t", "made", "."]);
    assert_contained(&scene, "an ignore file that is a link", &output);
    assert!(!output.stderr.contains(SECRET));
}

#[test]
fn a_mount_from_a_stage_is_refused_and_touches_nothing() {
    let Some(scene) = scene() else { return };
    let target = scene.sentinel.path().display().to_string();
    scene.bench.file(
        "Dockerfile",
        format!(
            "FROM busybox AS evil\nRUN ln -s {target} /esc\nFROM busybox\n\
             RUN --mount=type=bind,from=evil,source=/esc,target=/mnt,rw rm -rf /mnt/*\n"
        ),
    );
    let output = scene.bench.run(["build", "-t", "made", "."]);
    output.exit(2).complains("--mount");
    assert_contained(&scene, "a mount", &output);
}

#[test]
fn a_step_has_no_descriptor_but_the_three() {
    let Some(scene) = scene() else { return };
    let count = "ls /proc/$$/fd | tr '\\n' ' ' > /fds; cat /fds; test \"$(cat /fds)\" = \"0 1 2 \"";
    scene.bench.file("Dockerfile", format!("FROM busybox\nRUN {count}\n"));
    scene.bench.run(["build", "--progress=plain", "-t", "made", "."]).success();
    for number in 3..16 {
        scene.bench.file(
            "Dockerfile",
            format!("FROM busybox\nWORKDIR /proc/self/fd/{number}\nRUN ls ../../../../../..; rm -f secret known\n"),
        );
        assert_contained(&scene, "a working directory", &scene.bench.run(["build", "-t", "made", "."]));
    }
}

#[test]
fn users_that_do_not_exist_are_nobody() {
    let Some(scene) = scene() else { return };
    for user in ["4294967296", "-1", "a:b:c", "4294967295", "no-such-user", "0:no-such-group"] {
        scene.bench.file("Dockerfile", format!("FROM busybox\nUSER {user}\nRUN id\n"));
        let output = scene.bench.run(["build", "-t", "made", "."]);
        assert_ne!(output.code, 0, "USER {user}: {output}");
        assert_contained(&scene, user, &output);
    }
    let passwds = [
        "rm /etc/passwd && mkfifo /etc/passwd",
        "ln -sf /dev/zero /etc/passwd",
        "ln -sf /proc/self/environ /etc/passwd",
        "rm /etc/passwd && mkdir /etc/passwd",
        "echo '1000:x:0:0::/:/bin/sh' > /etc/passwd",
    ];
    for passwd in passwds {
        // A number is a number, whatever a password file says.
        scene.bench.file("Dockerfile", format!("FROM busybox\nRUN {passwd}\nUSER nobody\nRUN id\n"));
        assert_contained(&scene, passwd, &scene.bench.run(["build", "-t", "made", "."]));
    }
    scene.bench.file(
        "Dockerfile",
        "FROM busybox\nRUN echo '1000:x:0:0::/:/bin/sh' > /etc/passwd\nUSER 1000\nRUN test \"$(id -u)\" = 1000\n",
    );
    scene.bench.run(["build", "-t", "made", "."]).success();
}
