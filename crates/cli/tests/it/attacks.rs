//! Hostile input, end to end: whatever an archive, an image, a context or a Dockerfile says, nothing outside changes and
//! nothing from outside gets in. The oracle is a tree beside it ([`Sentinel`]).

use crate::callers::{Caller, each_caller};
use stave_testkit::fixtures::with_busybox;
use stave_testkit::sentinel::SECRET;
use stave_testkit::{Bench, Image, LoopbackRegistry, Output, Rootfs, Sentinel, needs};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// A bench whose store and home are not the sentinel's neighbours only by accident: it lies in the same directory.
struct Scene {
    bench: Bench,
    registry: LoopbackRegistry,
    sentinel: Sentinel,
}

fn scene(caller: &Caller) -> Option<Scene> {
    let (bench, registry) = caller.busybox()?;
    let sentinel = caller.plant(&bench.path("sentinel"));
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
    each_caller(|caller| {
        let Some(scene) = scene(caller) else { return };
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
    });
}

#[test]
fn no_added_archive_reaches_outside() {
    each_caller(|caller| {
        let Some(scene) = scene(caller) else { return };
        let target = scene.sentinel.path().display().to_string();
        for (what, files) in breakouts(&target) {
            scene.bench.file("evil.tar", files.tar());
            scene.bench.file("Dockerfile", "FROM busybox\nADD evil.tar /\n");
            let output = scene.bench.run(["build", "-t", "made", "."]);
            assert_contained(&scene, what, &output);
            assert_no_secret(&scene.bench, what);
        }
    });
}

#[test]
fn no_context_from_standard_input_reaches_outside() {
    each_caller(|caller| {
        let Some(scene) = scene(caller) else { return };
        let target = scene.sentinel.path().display().to_string();
        for (what, mut files) in breakouts(&target) {
            files.file("Dockerfile", 0o644, "FROM scratch\nCOPY . /\n");
            let output = scene.bench.run_with_input(["build", "-t", "made", "-"], files.tar());
            assert_contained(&scene, what, &output);
        }
    });
}

#[test]
fn nothing_that_is_copied_into_a_container_reaches_outside() {
    each_caller(|caller| {
        let Some(scene) = scene(caller) else { return };
        let target = scene.sentinel.path().display().to_string();
        for (number, (what, files)) in breakouts(&target).into_iter().enumerate() {
            let name = format!("c{number}");
            scene.bench.run(["create", "--name", &name, "busybox"]).success();
            let output = scene.bench.run_with_input(["cp", "-", &format!("{name}:/")], files.tar());
            assert_contained(&scene, what, &output);
            scene.bench.run(["cp", &format!("{name}:/"), "-"]).success();
            scene.sentinel.assert_untouched();
        }
    });
}

#[test]
fn no_loaded_image_reaches_outside() {
    each_caller(|caller| {
        let Some(scene) = scene(caller) else { return };
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
    });
}

#[test]
fn links_of_a_container_lead_cp_nowhere_outside() {
    each_caller(|caller| {
        let Some(scene) = scene(caller) else { return };
        let (bench, target) = (&scene.bench, scene.sentinel.path().display().to_string());
        bench.file("Dockerfile", format!("FROM busybox\nRUN ln -s {target} /out && ln -s {target}/secret /file\n"));
        bench.run(["build", "-t", "made", "."]).success();
        bench.run(["create", "--name", "box", "made"]).success();
        bench.file("planted", "x");
        for args in
            [["cp", "planted", "box:/out/"], ["cp", "planted", "box:/file"], ["cp", "planted", "box:/out/secret"]]
        {
            assert_contained(&scene, "cp into", &bench.run(args));
        }
        for (number, source) in ["box:/out/secret", "box:/file", "box:/out/."].into_iter().enumerate() {
            let to = format!("got-{number}");
            assert_contained(&scene, "cp out of", &bench.run(["cp", "-L", source, &to]));
            let got = fs::read_to_string(bench.work().join(to)).unwrap_or_default();
            assert!(!got.contains(SECRET), "{source}");
        }
    });
}

#[test]
fn nothing_outside_the_context_is_read() {
    each_caller(|caller| {
        let Some(scene) = scene(caller) else { return };
        let (bench, target) = (&scene.bench, scene.sentinel.path());
        let work = bench.work();
        symlink(target.join("secret"), work.join("link")).expect("a link");
        symlink(target, work.join("dir")).expect("a link");
        symlink("../sentinel", work.join("up")).expect("a link");
        let copies = [
            "link /x",
            "dir/secret /x",
            "up/secret /x",
            "up /x/",
            "../sentinel/secret /x",
            "[ /x",
            "dir/* /x/",
            ". /x/",
        ];
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
    });
}

/// A9 (CVE-2026-41579, CVE-2026-47766): what stave itself puts into a root is put into that root or nowhere, whatever the
/// image has in its place.
#[test]
fn no_path_that_a_step_is_given_leads_outside() {
    each_caller(|caller| {
        let Some(scene) = scene(caller) else { return };
        let target = scene.sentinel.path().display().to_string();
        scene.bench.file("a", "a");
        let paths = ["dev", "proc", "sys", "etc", "run", "etc/hosts", "etc/resolv.conf", "dev/null", "dev/ptmx"];
        for (number, path) in paths.into_iter().enumerate() {
            let up = format!("{}{target}", "../".repeat(7));
            let inner = if path.contains('/') { "secret" } else { "dir" };
            let links = [format!("{target}/{inner}"), format!("{up}/{inner}"), "nowhere".to_owned()];
            for (kind, link) in links.iter().map(Some).chain([None]).enumerate() {
                let mut image = Image::of_busybox().expect("the scene has one");
                let mut files = Rootfs::new();
                match link {
                    Some(link) => files.symlink(path, link),
                    None => files.fifo(path),
                };
                image.layer(&files);
                let name = format!("evil-{number}-{kind}");
                scene.registry.put(&format!("library/{name}"), "latest", &image);
                let text = format!(
                    "FROM {name}\nRUN echo x > /dev/null; echo x >> /etc/hosts; true\nWORKDIR /run/w\nCOPY a /etc/a\n"
                );
                scene.bench.file("Dockerfile", text);
                let what = format!("{path} as {link:?}");
                let built = scene.bench.run(["build", "--output", "type=tar,dest=made.tar", "."]);
                let ran = scene.bench.run(["run", "--rm", &name, "true"]);
                // 125: a container that cannot start, as Docker says it.
                assert!((0..=3).contains(&built.code) && [0, 125].contains(&ran.code), "{what}: {built}{ran}");
                scene.sentinel.assert_untouched();
            }
            assert!(!holds(&scene.bench.work(), SECRET), "{path}: an image holds what is outside");
        }
        scene.bench.run(["store", "check"]).success();
    });
}

/// A2: an archive whose headers contradict each other is read in one way, or not at all.
#[test]
fn an_archive_that_contradicts_itself_is_read_in_one_way() {
    each_caller(|caller| {
        let Some(scene) = scene(caller) else { return };
        let hidden = Rootfs::new().file("hidden", 0o644, "x").tar();
        let hidden = &hidden[..1024];
        // Whoever believes the first size sees the file that is in the content.
        for first_size in [0, 5, 512] {
            let mut builder = tar::Builder::new(Vec::new());
            builder.append_pax_extensions([("size", b"1024".as_slice())]).expect("memory");
            let mut header = tar::Header::new_ustar();
            header.set_path("outer").expect("a short name");
            header.set_mode(0o644);
            header.set_size(first_size);
            header.set_cksum();
            let mut archive = builder.into_inner().expect("memory");
            archive.truncate(archive.len() - 1024);
            archive.extend(header.as_bytes());
            archive.extend(hidden);
            archive.extend(Rootfs::new().file("after", 0o644, "y").tar());
            scene.bench.file("evil.tar", &archive);
            scene.bench.file(
                "Dockerfile",
                "FROM busybox\nADD evil.tar /x/\nRUN test \"$(echo $(ls /x))\" = 'after outer' && test $(wc -c < /x/outer) = 1024\n",
            );
            let output = scene.bench.run(["build", "--progress=plain", "-t", "made", "."]);
            output.success();
            assert_contained(&scene, "two sizes", &output);
            let mut context = Rootfs::new().file("Dockerfile", 0o644, "FROM scratch\nCOPY hidden /\n").tar();
            context.truncate(1024);
            context.extend(&archive);
            let output = scene.bench.run_with_input(["build", "-"], context);
            output.exit(1).complains("`hidden` not found");
        }
        for what in ["broken off", "a checksum"] {
            let mut archive = Rootfs::new().file("a", 0o644, "x".repeat(600)).tar();
            if what == "a checksum" {
                archive[3] ^= 1;
            } else {
                archive.truncate(700);
            }
            let output = scene.bench.run_with_input(["build", "-t", "made", "-"], archive.clone());
            assert_ne!(output.code, 0, "{what}: {output}");
            assert_contained(&scene, what, &output);
            scene.bench.run(["create", "--name", "box", "busybox"]).success();
            let output = scene.bench.run_with_input(["cp", "-", "box:/"], archive);
            assert_ne!(output.code, 0, "{what}: {output}");
            assert_contained(&scene, what, &output);
            scene.bench.run(["rm", "box"]).success();
        }
    });
}

/// A5 (CVE-2024-1753): the link means a directory of the stage, if it has one, and what is written there is nowhere else.
#[test]
fn a_link_that_a_stage_mounts_leads_nowhere_outside() {
    each_caller(|caller| {
        let Some(scene) = scene(caller) else { return };
        let target = scene.sentinel.path().display().to_string();
        let build = |inside: &str| {
            scene.bench.file(
                "Dockerfile",
                format!(
                    "FROM busybox AS evil\nRUN ln -s {target} /esc{inside}\nFROM busybox\n\
                 RUN --mount=type=bind,from=evil,source=/esc,target=/mnt,rw \
                 rm -rf /mnt/* && touch /mnt/planted && ls /mnt > /seen\n"
                ),
            );
            let output = scene.bench.run(["build", "-t", "made", "."]);
            assert_contained(&scene, "a mount", &output);
            output
        };
        assert_ne!(build("").code, 0, "what the link means is not in the stage");
        build(&format!(" && mkdir -p {target} && echo inside > {target}/secret")).success();
        assert_eq!(scene.bench.run(["run", "--rm", "made", "cat", "/seen"]).success().out(), "planted\n");
    });
}

#[test]
fn a_step_has_no_descriptor_but_the_three() {
    each_caller(|caller| {
        let Some(scene) = scene(caller) else { return };
        // Neither pipes nor redirections nor listings: the shell has a descriptor for each of them.
        let count = "for n in 0 1 2; do test -e /proc/$$/fd/$n || exit 1; done; \
                 for n in $(seq 3 64); do test ! -e /proc/$$/fd/$n || exit 2; done";
        scene.bench.file("Dockerfile", format!("FROM busybox\nRUN {count}\n"));
        scene.bench.run(["build", "--progress=plain", "-t", "made", "."]).success();
        for number in 3..16 {
            scene.bench.file(
                "Dockerfile",
                format!("FROM busybox\nWORKDIR /proc/self/fd/{number}\nRUN ls ../../../../../..; rm -f secret known\n"),
            );
            assert_contained(&scene, "a working directory", &scene.bench.run(["build", "-t", "made", "."]));
        }
    });
}

#[test]
fn users_that_do_not_exist_are_nobody() {
    each_caller(|caller| {
        let Some(scene) = scene(caller) else { return };
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
    });
}

/// A17: whatever a container exchanges for a link while `cp` runs, `cp` stays in the container.
#[test]
fn a_container_that_exchanges_directories_for_links_leads_cp_nowhere_outside() {
    each_caller(|caller| {
        let Some(scene) = scene(caller) else { return };
        exchange_while_copying(&scene);
    });
}

fn exchange_while_copying(scene: &Scene) {
    let (bench, target) = (&scene.bench, scene.sentinel.path().display().to_string());
    bench.file("planted", "planted").file("tree/dir/known", "planted").file("tree/secret", "planted");
    let tar = Rootfs::new().file("secret", 0o644, "planted").file("dir/known", 0o644, "planted").tar();
    let mut shell = crate::cp::Shell::start(bench, "busybox");
    // What a link to the sentinel means inside is the container's own directory of that name.
    let make = format!("mkdir -p {target} /swap/real; ln -s {target} /swap/link; echo inside > {target}/secret; echo");
    assert_eq!(shell.says(&make), "");
    let swap = std::path::PathBuf::from(format!("/proc/{}/root/swap", shell.pid()));
    let mut rounds = 0;
    while_exchanging(&swap.join("real"), &swap.join("link"), || {
        for _ in 0..EXCHANGE_ROUNDS {
            for path in ["real", "link"] {
                // Each copy has a destination of its own: a link that the container hands out is the user's afterwards.
                for args in [
                    ["cp".to_owned(), "planted".to_owned(), format!("box:/swap/{path}/planted")],
                    ["cp".to_owned(), "tree/.".to_owned(), format!("box:/swap/{path}")],
                    ["cp".to_owned(), format!("box:/swap/{path}/secret"), format!("got-{rounds}")],
                    ["cp".to_owned(), format!("box:/swap/{path}/."), format!("got-all-{rounds}")],
                ] {
                    let output = bench.run(&args);
                    assert!((0..=3).contains(&output.code), "{args:?}: {output}");
                    rounds += 1;
                }
                let output = bench.run_with_input(["cp", "-", &format!("box:/swap/{path}")], tar.clone());
                assert!((0..=3).contains(&output.code), "{output}");
            }
        }
    });
    scene.sentinel.assert_untouched();
    shell.end();
    assert!(rounds >= 200);
    assert!(!holds(&bench.work(), SECRET), "what is outside was copied out");
    bench.run(["store", "check"]).success();
}

/// The same with a container that does not run: somebody else changes its files.
#[test]
fn links_that_appear_in_a_stopped_container_while_cp_runs_lead_nowhere_outside() {
    let Some((bench, _registry)) = with_busybox() else { return };
    let sentinel = Sentinel::plant(&bench.path("sentinel"));
    let target = sentinel.path();
    let id = bench.run(["create", "--name", "box", "busybox"]).success().line();
    let diff = bench.store().join(format!("containers/{id}/diff"));
    fs::create_dir_all(diff.join("swap/real")).expect("root's store");
    fs::write(diff.join("swap/real/secret"), "inside").expect("root's store");
    symlink(target, diff.join("swap/link")).expect("root's store");
    bench.file("planted", "planted");
    while_exchanging(&diff.join("swap/real"), &diff.join("swap/link"), || {
        for round in 0..EXCHANGE_ROUNDS {
            for path in ["real", "link"] {
                let into = bench.run(["cp", "planted", &format!("box:/swap/{path}/planted")]);
                assert!((0..=3).contains(&into.code), "{into}");
                let out = bench.run(["cp", &format!("box:/swap/{path}/secret"), &format!("got-{round}-{path}")]);
                assert!((0..=3).contains(&out.code), "{out}");
            }
        }
    });
    sentinel.assert_untouched();
    assert!(!holds(&bench.work(), SECRET), "what is outside was copied out");
}

/// Rounds of each race; each has several copies.
const EXCHANGE_ROUNDS: usize = 25;

/// Runs `work` while another thread exchanges two names all the time.
fn while_exchanging(one: &Path, other: &Path, work: impl FnOnce()) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let exchanger = scope.spawn(|| {
            let mut exchanges = 0u32;
            while !done.load(Ordering::Relaxed) {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(rustix::fs::CWD, one, rustix::fs::CWD, other, flags).expect("both exist");
                exchanges += 1;
            }
            exchanges
        });
        let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        done.store(true, Ordering::Relaxed);
        let count = exchanger.join().expect("the exchanger ends");
        if let Err(panic) = worked {
            std::panic::resume_unwind(panic);
        }
        assert!(count > 100, "only {count} exchanges");
    });
}

/// Whether a file below `dir` has `text` in it.
fn holds(dir: &Path, text: &str) -> bool {
    fs::read_dir(dir).expect("a directory").flatten().any(|entry| {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => holds(&path, text),
            Ok(kind) if kind.is_file() => {
                let bytes = fs::read(&path).expect("a file of the test");
                bytes.windows(text.len()).any(|window| window == text.as_bytes())
            }
            _ => false,
        }
    })
}

/// A17: `/var/run -> /run` is how distributions have it, and means the container's own directory.
#[test]
fn an_absolute_link_in_a_container_means_a_place_in_the_container() {
    each_caller(|caller| {
        let Some((bench, _registry)) = caller.busybox() else { return };
        bench.file("Dockerfile", "FROM busybox\nRUN mkdir /run && rm -rf /var/run && ln -s /run /var/run\n");
        bench.run(["build", "-t", "made", "."]).success();
        bench.file("note", "a note");
        bench.run(["create", "--name", "stopped", "made"]).success();
        let shell = crate::cp::Shell::start(&bench, "made");
        for name in ["stopped", "box"] {
            bench.run(["cp", "note", &format!("{name}:/var/run/note")]).success();
            bench.run(["cp", &format!("{name}:/run/note"), name]).success();
            assert_eq!(fs::read_to_string(bench.work().join(name)).expect("copied"), "a note");
        }
        shell.end();
    });
}

/// A17: what is compressed is decompressed by stave itself.
#[test]
fn no_program_of_the_hosts_path_unpacks_anything() {
    each_caller(|caller| {
        let Some((mut bench, _registry)) = caller.busybox() else { return };
        let marker = bench.path("executed");
        for name in ["xz", "unxz", "gzip", "gunzip", "pigz", "unpigz", "igzip", "bzip2", "zstd", "tar", "sh", "git"] {
            bench.program(&format!("bin/{name}"), format!("#!/bin/sh\necho {name} >> {}\n", marker.display()));
        }
        let path = format!("{}:/usr/bin:/bin", bench.work().join("bin").display());
        bench.set("PATH", path);
        let tar = Rootfs::new().file("from-archive", 0o644, "text").tar();
        for (program, name) in [("xz", "a.tar.xz"), ("gzip", "a.tar.gz"), ("bzip2", "a.tar.bz2"), ("zstd", "a.tar.zst")]
        {
            let Some(program) = needs::program(program) else { continue };
            let packed = filtered(&program, &tar);
            bench.file(name, &packed);
            bench.file("Dockerfile", format!("FROM busybox\nADD {name} /\nRUN test -f /from-archive\n"));
            bench.run(["build", "-t", "made", "."]).success();
            bench.run(["create", "--name", name, "busybox"]).success();
            bench.run_with_input(["cp", "-", &format!("{name}:/")], packed.clone()).success();
            bench.run(["cp", &format!("{name}:/from-archive"), "got"]).success();
            let context = Rootfs::new().file("Dockerfile", 0o644, "FROM scratch\nCOPY Dockerfile /\n").tar();
            bench.run_with_input(["build", "-"], filtered(&program, &context)).success();
            let saved = bench.run(["save", "made"]).success().stdout.clone();
            bench.run_with_input(["load"], filtered(&program, &saved)).success();
        }
        assert!(!marker.exists(), "executed: {}", fs::read_to_string(&marker).unwrap_or_default());
    });
}

/// What `program` makes of `bytes`.
fn filtered(program: &Path, bytes: &[u8]) -> Vec<u8> {
    let mut command = std::process::Command::new(program);
    let piped = std::process::Stdio::piped;
    let mut child = command.arg("-c").stdin(piped()).stdout(piped()).spawn().expect("it is there");
    let mut stdin = child.stdin.take().expect("asked for");
    let bytes = bytes.to_vec();
    let writer = std::thread::spawn(move || std::io::Write::write_all(&mut stdin, &bytes).expect("it reads"));
    let output = child.wait_with_output().expect("waited for");
    writer.join().expect("the writer does not panic");
    output.stdout
}

/// A17: users are looked up in the image's files, by stave itself: no library of the image is loaded, whether it is named in
/// `nsswitch.conf` or is the C library's own.
#[test]
fn no_library_of_an_image_is_loaded_when_users_are_looked_up() {
    let (Some(compiler), Some((bench, registry))) = (needs::program("cc"), with_busybox()) else { return };
    let marker = bench.path("loaded");
    bench.file(
        "trap.c",
        format!(
            "#include <fcntl.h>\n__attribute__((constructor)) static void loaded(void) {{\n\
             creat(\"{}\", 0666);\ncreat(\"/loaded\", 0666);\n}}\n",
            marker.display()
        ),
    );
    let mut compile = bench.other(&compiler);
    compile.args(["-shared", "-fPIC", "-o", "trap.so", "trap.c"]);
    bench.finish(compile).success();
    let trap = fs::read(bench.work().join("trap.so")).expect("compiled");
    let mut image = Image::of_busybox().expect("the bench has one");
    let mut files = Rootfs::new();
    files.dir("lib", 0o755).dir("lib64", 0o755).file(
        "etc/nsswitch.conf",
        0o644,
        "passwd: trap files\ngroup: trap files\n",
    );
    files.file("etc/passwd", 0o644, "root:x:0:0::/:/bin/sh\nalice:x:7:8::/:/bin/sh\n");
    files.file("etc/group", 0o644, "root:x:0:\nstaff:x:9:alice\n");
    files.file("etc/ld.so.preload", 0o644, "/lib/libnss_trap.so.2\n");
    for directory in ["lib", "lib64", "usr/lib", "lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"] {
        for name in ["libnss_trap.so.2", "libnss_files.so.2", "libnss_dns.so.2"] {
            files.file(&format!("{directory}/{name}"), 0o755, trap.clone());
        }
    }
    image.layer(&files);
    registry.put("library/trap", "latest", &image);
    bench.file("a", "a").file(
        "Dockerfile",
        "FROM trap\nCOPY --chown=alice:staff a /a\nUSER alice:staff\nWORKDIR /home\n\
         RUN test \"$(busybox stat -c %u:%g /a)\" = 7:9 && test ! -e /loaded\n",
    );
    bench.run(["build", "--progress=plain", "-t", "made", "."]).success();
    bench.run(["create", "--name", "stopped", "made"]).success();
    let shell = crate::cp::Shell::start(&bench, "made");
    for name in ["stopped", "box"] {
        bench.run(["cp", "-a", "a", &format!("{name}:/b")]).success();
        bench.run(["cp", &format!("{name}:/b"), "got"]).success();
        bench.run(["cp", &format!("{name}:/loaded"), "trace"]).exit(1).complains("does not exist");
    }
    shell.end();
    assert!(!marker.exists(), "a library of the image was loaded outside");
}
