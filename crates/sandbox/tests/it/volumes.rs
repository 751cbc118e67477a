//! What a step asks to have mounted (security tests A5, A7 to A9; cases T146, T151, T153, T155, T156).

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Builder, Outcome, World, as_builder, each_builder};

/// A shell line with mounts.
fn with(line: &str, mounts: &Value) -> Value {
    json!({ "args": ["sh", "-c", line], "mounts": mounts })
}

fn tmpfs(target: &str) -> Value {
    json!({ "target": target, "source": { "Tmpfs": { "bytes": null } } })
}

fn file(target: &str, content: &str, mode: u32) -> Value {
    let file = json!({ "content": content.as_bytes(), "mode": mode, "uid": 0, "gid": 0 });
    json!({ "target": target, "source": { "File": file } })
}

fn directory(target: &str, path: &str, writable: bool) -> Value {
    let directory = json!({ "directory": "cache", "path": path, "writable": writable });
    json!({ "target": target, "source": { "Directory": directory } })
}

fn layers(target: &str, lowers: &[&str], path: &str) -> Value {
    json!({ "target": target, "source": { "Layers": { "lowers": lowers, "scratch": null, "path": path } } })
}

fn throw_away(world: &World, target: &str, lowers: &[&str], path: &str) -> Value {
    for name in ["scratch/upper", "scratch/work"] {
        fs::create_dir_all(world.path(name)).unwrap();
    }
    let scratch = json!({ "upper": "scratch/upper", "work": "scratch/work" });
    json!({ "target": target, "source": { "Layers": { "lowers": lowers, "scratch": scratch, "path": path } } })
}

/// Every path below a directory, sorted.
fn tree(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut pending = vec![root.to_owned()];
    while let Some(path) = pending.pop() {
        for entry in fs::read_dir(path).unwrap() {
            let entry = entry.unwrap();
            found.push(entry.path().strip_prefix(root).unwrap().to_string_lossy().into_owned());
            if entry.file_type().unwrap().is_dir() {
                pending.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

/// Runs one step, makes sure that nothing outside changes, and answers what became of it and what is in its layer.
fn run(world: &World, lowers: &[&str], step: &Value) -> (Outcome, Vec<String>) {
    let before = world.outside_as_it_is();
    let answer = world.drive(&json!({ "lowers": lowers, "steps": [step] })).unwrap();
    assert_eq!(world.outside_as_it_is(), before);
    (answer.steps.into_iter().next().unwrap(), tree(&world.path("steps/0/upper")))
}

const PLAIN: &[&str] = &["stubs", "rootfs"];

fn ok(outcome: &Outcome) -> &str {
    assert_eq!(outcome.exit, "code 0", "{} {:?}", outcome.stderr, outcome.notes);
    &outcome.stdout
}

/// T155: a mount point that the image lacks is nowhere in the layer, also where the step writes beside it.
#[test]
fn mount_points_that_the_image_lacks_never_appear_in_the_layer_of_a_step() {
    each_builder(|world| {
        let mounts = json!([
            tmpfs("/new/deep/place"),
            file("/etc/new.conf", "of the step\n", 0o444),
            tmpfs("/etc/new.d"),
            file("/run/secrets/token", "hidden", 0o400),
        ]);
        let line = "ls /new/deep /etc /run/secrets; cat /etc/new.conf; echo x > /new/deep/place/inside";
        let (outcome, layer) = run(world, PLAIN, &with(line, &mounts));
        assert!(ok(&outcome).ends_with("of the step\n"));
        assert!(layer.is_empty(), "{layer:?}");
        let line = "echo x > /new/deep/kept; echo x > /etc/kept; echo x > /run/secrets/kept";
        let (outcome, layer) = run(world, PLAIN, &with(line, &mounts));
        ok(&outcome);
        let kept = ["etc", "etc/kept", "new", "new/deep", "new/deep/kept", "run", "run/secrets", "run/secrets/kept"];
        assert_eq!(layer, kept);
    });
}

/// A directory that is there for the image shows what it is in the image, and the layer gets that when the step changes it.
#[test]
fn a_directory_above_a_new_mount_point_stays_as_the_image_has_it() {
    as_builder(Builder::Root, |world| {
        let etc = world.path("rootfs/etc");
        std::os::unix::fs::chown(&etc, Some(7), Some(8)).unwrap();
        fs::set_permissions(&etc, fs::Permissions::from_mode(0o2751)).unwrap();
        rustix::fs::setxattr(&etc, "user.kept", b"yes", rustix::fs::XattrFlags::empty()).unwrap();
        fs::File::open(&etc)
            .unwrap()
            .set_times(fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH + std::time::Duration::new(1234, 5)))
            .unwrap();
        let line = "busybox stat -c '%a %u %g %Y' /etc; cat /etc/passwd > /dev/null; busybox chmod 2750 /etc";
        let (outcome, layer) = run(world, PLAIN, &with(line, &json!([tmpfs("/etc/a/b")])));
        assert_eq!(ok(&outcome), "2751 7 8 1234\n");
        assert_eq!(layer, ["etc"]);
        let made = world.path("steps/0/upper/etc");
        let status = made.metadata().unwrap();
        assert_eq!((status.mode() & 0o7777, status.uid(), status.gid(), status.mtime()), (0o2750, 7, 8, 1234));
        let mut value = [0; 8];
        let length = rustix::fs::getxattr(&made, "user.kept", &mut value[..]).unwrap();
        assert_eq!(&value[..length], b"yes");
    });
}

/// What a layer of the image has deleted can be a mount point again, and what was below it stays deleted.
#[test]
fn a_deleted_directory_of_the_image_can_be_mounted_on() {
    as_builder(Builder::Root, |world| {
        fs::create_dir_all(world.path("rootfs/opt/gone/old")).unwrap();
        fs::create_dir_all(world.path("evil/opt")).unwrap();
        let character = rustix::fs::FileType::CharacterDevice;
        rustix::fs::mknodat(rustix::fs::CWD, world.path("evil/opt/gone"), character, 0.into(), 0).unwrap();
        let (outcome, layer) =
            run(world, &["stubs", "rootfs", "evil"], &with("ls /opt /opt/gone", &json!([tmpfs("/opt/gone/new")])));
        assert_eq!(ok(&outcome), "/opt:\ngone\n\n/opt/gone:\nnew\n");
        assert!(layer.is_empty(), "{layer:?}");
    });
}

/// A8 (CVE-2024-23652) and A9: links of the image stay inside the root, and nothing is cleaned up that could lead out of it.
#[test]
fn links_on_the_way_to_a_target_stay_inside_the_root() {
    each_builder(|world| {
        fs::write(world.outside().join("victim"), "").unwrap();
        for (number, link) in
            [world.outside().display().to_string(), "../../../..".into(), "/nowhere".into()].iter().enumerate()
        {
            symlink(link, world.path(&format!("evil/link{number}"))).unwrap();
        }
        symlink("loop", world.path("evil/loop")).unwrap();
        symlink("/proc", world.path("evil/kernel")).unwrap();
        let all = &["stubs", "rootfs", "evil"];
        for target in ["/link0/victim", "/link1/x", "/link2/y", "/link0"] {
            let (outcome, layer) = run(world, all, &with(&format!("ls -d {target}/."), &json!([tmpfs(target)])));
            assert_eq!(ok(&outcome), format!("{target}/.\n"));
            assert!(layer.is_empty(), "{target}: {layer:?}");
        }
        let line = "busybox mv /p /q; busybox ln -s /link0 /p; true";
        let (outcome, _) = run(world, all, &with(line, &json!([tmpfs("/p/victim")])));
        ok(&outcome);
        for (target, why) in [
            ("/loop/x", "its path in the image goes through too many symbolic links"),
            ("/kernel/new", "it is a part of `/proc` or `/sys`"),
            ("/kernel/self", "it is a part of `/proc` or `/sys`"),
            ("/proc", "it is a part of `/proc` or `/sys`"),
            ("/sys/kernel", "it is a part of `/proc` or `/sys`"),
            ("/dev", "it is the step's `/dev`"),
            ("/", "that is the whole root"),
            ("/link1", "that is the whole root"),
            ("/../x", "it is not an absolute path"),
            ("x", "it is not an absolute path"),
            ("/etc/passwd/x", "a part of its path in the image is a file"),
        ] {
            let (outcome, _) = run(world, all, &with("true", &json!([tmpfs(target)])));
            assert_eq!(outcome.exit, format!("error: cannot mount on `{target}`: {why}"));
        }
        let (outcome, _) = run(world, all, &with("true", &json!([file("/etc", "", 0o444)])));
        assert_eq!(outcome.exit, "error: `/etc` in the image is a directory, expected a file");
        let (outcome, _) = run(world, all, &with("true", &json!([tmpfs("/etc/passwd")])));
        assert_eq!(outcome.exit, "error: `/etc/passwd` in the image is a file, expected a directory");
    });
}

/// T146 and A5 (CVE-2024-1753): a bind of layers shows them and no more, and what is written to it is in neither.
#[test]
fn a_bind_of_layers_is_read_only_or_written_elsewhere() {
    each_builder(|world| {
        for layer in ["one", "two"] {
            fs::create_dir_all(world.path(&format!("{layer}/sub"))).unwrap();
            world.write(&format!("{layer}/sub/{layer}"), layer);
        }
        symlink("/", world.path("two/rootdir")).unwrap();
        symlink(world.outside(), world.path("two/out")).unwrap();
        let line = "cat /in/one /in/two; echo x > /in/new; echo x > /in/one";
        let (outcome, layer) = run(world, PLAIN, &with(line, &json!([layers("/in", &["one", "two"], "sub")])));
        assert_eq!(outcome.stdout, "onetwo");
        assert_eq!(outcome.stderr.matches("Read-only file system").count(), 2, "{}", outcome.stderr);
        assert!(layer.is_empty(), "{layer:?}");
        for lowers in [&["one", "two"][..], &["two"]] {
            let bind = throw_away(world, "/in", lowers, "rootdir");
            let line = "ls /in; echo x > /in/BREAKOUT; echo x > /in/sub/two; cat /in/sub/two";
            let (outcome, layer) = run(world, PLAIN, &with(line, &json!([bind])));
            assert_eq!(ok(&outcome), "out\nrootdir\nsub\nx\n");
            assert!(layer.is_empty(), "{layer:?}");
            assert_eq!(fs::read_to_string(world.path("two/sub/two")).unwrap(), "two");
            assert!(world.path("scratch/upper/BREAKOUT").exists() && !Path::new("/BREAKOUT").exists());
            fs::remove_dir_all(world.path("scratch")).unwrap();
        }
        for path in ["out", "none", "sub/one/x"] {
            let (outcome, _) = run(world, PLAIN, &with("true", &json!([layers("/in", &["one", "two"], path)])));
            let start = format!("error: cannot open `{path}` for the mount on `/in`: ");
            assert!(outcome.exit.starts_with(&start), "{}", outcome.exit);
        }
        // One file, one layer, and no layer at all.
        let mounts = json!([layers("/f", &["one"], "sub/one"), layers("/d", &["one"], ""), layers("/e", &[], ".")]);
        let (outcome, _) = run(world, PLAIN, &with("cat /f; ls /d /e", &mounts));
        assert_eq!(ok(&outcome), "one/d:\nsub\n\n/e:\n");
    });
}

/// A7 (CVE-2024-9675): a path inside a shared directory, which steps may have made a link, stays inside that.
#[test]
fn a_part_of_a_shared_directory_never_leads_out_of_it() {
    each_builder(|world| {
        fs::create_dir_all(world.path("cache/sub")).unwrap();
        fs::create_dir_all(world.outside().join("sub")).unwrap();
        fs::write(world.outside().join("sub/marker"), "of the host").unwrap();
        symlink(world.outside().join("sub"), world.path("cache/out")).unwrap();
        symlink("/../../sub", world.path("cache/in")).unwrap();
        for path in ["out", "out/marker", "../outside/sub"] {
            let (outcome, _) = run(world, PLAIN, &with("ls /c", &json!([directory("/c", path, true)])));
            let start = format!("error: cannot open `{path}` for the mount on `/c`: ");
            assert!(outcome.exit.starts_with(&start), "{path}: {} {}", outcome.exit, outcome.stdout);
        }
        let (outcome, layer) = run(world, PLAIN, &with("echo x > /c/made", &json!([directory("/c", "in", true)])));
        ok(&outcome);
        assert!(layer.is_empty() && world.path("cache/sub/made").exists());
        let (outcome, _) = run(world, PLAIN, &with("echo x > /c/other", &json!([directory("/c", "", false)])));
        assert!(outcome.stderr.contains("Read-only file system"), "{}", outcome.stderr);
    });
}

/// A device that a step makes where other steps and the host could find it is nothing but a name.
#[test]
fn devices_in_a_mount_cannot_be_opened() {
    as_builder(Builder::Root, |world| {
        fs::create_dir_all(world.path("cache")).unwrap();
        let mounts = json!([directory("/c", "", true), tmpfs("/t"), throw_away(world, "/b", &["rootfs"], "")]);
        let line = "for at in /c /t /b; do busybox mknod $at/null c 1 3 && cat $at/null; done";
        let (outcome, _) = run(world, PLAIN, &with(line, &mounts));
        assert_eq!(outcome.stderr.matches("Permission denied").count(), 3, "{}", outcome.stderr);
    });
}

/// What the caller names on the host is shown: a node can be used, a directory can be written if that was said.
#[test]
fn files_and_devices_of_the_host_are_shown_as_the_caller_says() {
    each_builder(|world| {
        fs::create_dir_all(world.path("host")).unwrap();
        world.write("host/f", "of the host\n");
        let host = |target: &str, writable: bool| {
            let source = json!({ "path": world.path("host"), "writable": writable });
            json!({ "target": target, "source": { "Host": source } })
        };
        let device = |path: &str| json!({ "target": "/dev/own/node", "source": { "Device": { "path": path } } });
        let line =
            "cat /opt/r/f; echo x > /opt/r/f; echo x > /w/made; cat /dev/own/node; busybox stat -c %t:%T /dev/own/node";
        let mounts = json!([device("/dev/null"), host("/opt/r", false), host("/w", true)]);
        let (outcome, layer) = run(world, PLAIN, &with(line, &mounts));
        assert_eq!(outcome.stdout, "of the host\n1:3\n", "{}", outcome.stderr);
        assert_eq!(outcome.stderr.matches("Read-only file system").count(), 1, "{}", outcome.stderr);
        assert!(layer.is_empty() && world.path("host/made").exists(), "{layer:?}");
        let (outcome, _) = run(world, PLAIN, &with("true", &json!([device("/etc/passwd")])));
        assert_eq!(
            outcome.exit,
            "error: cannot mount on `/dev/own/node`: `/etc/passwd` of this machine is not a device"
        );
        let (outcome, _) = run(world, PLAIN, &with("true", &json!([device("/dev/none")])));
        assert!(
            outcome.exit.starts_with("error: cannot open `/dev/none` for the mount on `/dev/own/node`: "),
            "{}",
            outcome.exit
        );
    });
}

/// T151: a file system in memory has the size that was asked for and, on a directory of the image, its mode.
#[test]
fn a_tmpfs_has_its_size_and_mode() {
    each_builder(|world| {
        fs::create_dir(world.path("rootfs/own")).unwrap();
        fs::set_permissions(world.path("rootfs/own"), fs::Permissions::from_mode(0o700)).unwrap();
        let small = json!({ "target": "/small", "source": { "Tmpfs": { "bytes": 1 << 20 } } });
        let line = "busybox dd if=/dev/zero of=/small/x bs=1024 count=2048; busybox stat -c %a /small /own /tmp/new";
        let (outcome, layer) = run(world, PLAIN, &with(line, &json!([small, tmpfs("/own"), tmpfs("/tmp/new")])));
        assert!(outcome.stderr.contains("No space left on device"), "{}", outcome.stderr);
        assert_eq!(outcome.stdout, "1777\n700\n1777\n");
        assert!(layer.is_empty(), "{layer:?}");
        let (outcome, _) = run(
            world,
            PLAIN,
            &with("busybox stat -f -c %b-%S /dev/shm", &json!([{ "target": "/dev/shm", "source": small["source"] }])),
        );
        assert_eq!(ok(&outcome), "256-4096\n");
    });
}

/// T156 and A20: a file of the step's own is in memory, has its mode, cannot be written, and is executable only if its mode says so.
#[test]
fn a_file_in_memory_has_its_mode_and_is_gone_with_the_step() {
    each_builder(|world| {
        let secret = "only-for-this-step";
        let mounts = json!([
            file("/run/secrets/token", secret, 0o400),
            file("/dev/pipes/EOF", "#!/bin/sh\necho ran\n", 0o755),
            file("/plain", "#!/bin/sh\n", 0o644),
        ]);
        let line = "cat /run/secrets/token; busybox stat -c ' %a %u' /run/secrets/token; /dev/pipes/EOF; echo x > /run/secrets/token; \
                    grep -E ' (/run/secrets/token|/dev/pipes/EOF) ' /proc/self/mountinfo | busybox cut -d' ' -f5,6";
        let (outcome, layer) = run(world, PLAIN, &with(line, &mounts));
        assert_eq!(
            outcome.stdout,
            format!(
                "{secret} 400 0\nran\n/run/secrets/token ro,nosuid,nodev,noexec,relatime\n/dev/pipes/EOF ro,nosuid,nodev,relatime\n"
            )
        );
        assert!(outcome.stderr.contains("Read-only file system"), "{}", outcome.stderr);
        assert!(layer.is_empty(), "{layer:?}");
        let everything = tree(&world.path("."));
        assert!(!everything.iter().any(|path| path.contains("token") || path.contains("pipes")), "{everything:?}");
        let (outcome, _) = run(world, PLAIN, &with("ls /run /dev/pipes", &json!([])));
        assert_eq!(outcome.stdout, "");
        if world.builder == Builder::Nobody {
            let other =
                json!([{ "target": "/f", "source": { "File": { "content": [], "mode": 0o400, "uid": 7, "gid": 0 } } }]);
            let (outcome, _) = run(world, PLAIN, &with("true", &other));
            assert_eq!(outcome.exit, "error: owner of a mount 7 is not among the ids that this user may use");
        }
    });
}

#[test]
fn a_mount_may_be_inside_another_one() {
    each_builder(|world| {
        fs::create_dir_all(world.path("cache/there")).unwrap();
        fs::create_dir_all(world.path("one/there")).unwrap();
        let mounts = json!([
            tmpfs("/t"),
            tmpfs("/t/a/b"),
            file("/t/a/f", "in\n", 0o444),
            directory("/c", "", true),
            tmpfs("/c/made"),
            tmpfs("/c/there"),
            layers("/in", &["one"], ""),
            tmpfs("/in/there"),
            tmpfs("/in/there/deep"),
        ]);
        let (outcome, layer) = run(world, PLAIN, &with("cat /t/a/f; ls /t/a /c /in/there", &mounts));
        assert_eq!(ok(&outcome), "in\n/c:\nmade\nthere\n\n/in/there:\ndeep\n\n/t/a:\nb\nf\n");
        assert!(layer.is_empty(), "{layer:?}");
        let (outcome, _) = run(world, PLAIN, &with("true", &json!([layers("/in", &["one"], ""), tmpfs("/in/new")])));
        assert_eq!(
            outcome.exit,
            "error: cannot mount on `/in/new`: the read-only mount that it is in does not have it"
        );
    });
}

/// T159: a socket is there with its mode, and the builder is at its other end.
#[test]
fn the_builder_answers_at_a_socket() {
    each_builder(|world| {
        let socket = json!({ "target": "/run/buildkit/ssh_agent.0", "source": { "Socket": { "mode": 0o600, "uid": 0, "gid": 0 } } });
        let (outcome, layer) = run(
            world,
            PLAIN,
            &with(
                "[ -S $S ] && busybox stat -c %a $S".replace("$S", "/run/buildkit/ssh_agent.0").as_str(),
                &json!([socket]),
            ),
        );
        assert_eq!(ok(&outcome), "600\n");
        assert!(layer.is_empty(), "{layer:?}");
        world.program("rootfs/bin/call", crate::support::caller("/run/buildkit/ssh_agent.0"));
        let step = json!({ "args": ["/bin/call"], "mounts": [socket], "greet": "hello\n" });
        let (outcome, _) = run(world, PLAIN, &step);
        assert_eq!(ok(&outcome), "hello\n");
    });
}

/// T161: without a sandbox a step may do what its builder may, and no more.
#[test]
fn an_insecure_step_has_the_rights_of_the_builder() {
    each_builder(|world| {
        let line = "grep -E '^(Cap...|Seccomp):' /proc/self/status; busybox mount -t tmpfs none /root && echo mounted; \
                    grep -c -E ' /proc/(sys|kcore|irq) ' /proc/self/mountinfo";
        let full = if world.builder == Builder::Root {
            let own = fs::read_to_string("/proc/self/status").unwrap();
            own.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).unwrap().to_owned()
        } else {
            // Whoever makes a user namespace has all of them in it.
            let last: u32 = fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap().trim().parse().unwrap();
            format!("{:016x}", (1_u64 << (last + 1)) - 1)
        };
        for user in ["", "app"] {
            if world.builder == Builder::Nobody && !user.is_empty() {
                continue;
            }
            let step = json!({ "args": ["sh", "-c", line], "security": "Insecure", "user": user });
            let (outcome, _) = run(world, PLAIN, &step);
            let held = format!(
                "CapInh:\t{full}\nCapPrm:\t{full}\nCapEff:\t{full}\nCapBnd:\t{full}\nCapAmb:\t{full}\nSeccomp:\t0\n"
            );
            assert_eq!(outcome.stdout, format!("{held}mounted\n0\n"), "{user} {}", outcome.stderr);
        }
        // The next step is one like any other.
        let (outcome, _) = run(world, PLAIN, &with("grep ^CapBnd /proc/self/status", &json!([])));
        assert_eq!(ok(&outcome), "CapBnd:\t00000000a80425fb\n");
    });
}

/// T162: limits hold for the step; what the builder itself may not have is an error that names it.
#[test]
fn limits_hold_or_are_an_error() {
    each_builder(|world| {
        let limits = json!([{ "name": "nofile", "soft": 62, "hard": 106 }, { "name": "core", "soft": 0, "hard": 0 }]);
        let step = json!({ "args": ["sh", "-c", "ulimit -n; ulimit -H -n; ulimit -c"], "limits": limits });
        let (outcome, _) = run(world, PLAIN, &step);
        assert_eq!(ok(&outcome), "62\n106\n0\n");
        let limits = json!([{ "name": "nofile", "soft": null, "hard": null }]);
        let (outcome, _) = run(world, PLAIN, &json!({ "args": ["true"], "limits": limits }));
        let start = "error: cannot set limit `nofile` to unlimited:unlimited: the builder's own is ";
        assert!(outcome.exit.starts_with(start), "{}", outcome.exit);
        let limits = json!([{ "name": "dreams", "soft": 1, "hard": 1 }]);
        let (outcome, _) = run(world, PLAIN, &json!({ "args": ["true"], "limits": limits }));
        assert_eq!(outcome.exit, "error: no resource limit is named `dreams`");
    });
}
