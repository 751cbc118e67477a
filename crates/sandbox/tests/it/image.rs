//! Images whose paths are not what they should be (security test A9).

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::json;

use crate::support::{World, each_builder};

/// Runs a step with one more layer on top, and makes sure that the outside stays as it is.
fn with_layer(world: &World, line: &str) -> crate::support::Outcome {
    let before = world.outside_as_it_is();
    let steps = json!([{ "args": ["sh", "-c", line] }]);
    let answer = world.drive(&json!({ "lowers": ["stubs", "rootfs", "evil"], "steps": steps })).unwrap();
    assert_eq!(world.outside_as_it_is(), before);
    answer.steps.into_iter().next().unwrap()
}

fn furnish(world: &World) {
    for directory in ["dev", "proc", "sys", "etc", "run"] {
        fs::create_dir_all(world.outside().join(directory)).unwrap();
    }
    for file in ["victim", "dev/ptmx", "dev/null", "etc/hosts", "etc/resolv.conf", "etc/passwd"] {
        fs::write(world.outside().join(file), "of the host\n").unwrap();
    }
}

fn replace(world: &World, path: &str) {
    let path = world.path(path);
    if path.is_dir() && !path.is_symlink() {
        fs::remove_dir_all(path).unwrap();
    } else if path.symlink_metadata().is_ok() {
        fs::remove_file(path).unwrap();
    }
}

fn fifo(path: &Path) {
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o666.into(), 0).unwrap();
}

#[test]
fn mount_points_that_are_links_or_pipes_are_an_error() {
    each_builder(|world| {
        furnish(world);
        for name in ["dev", "proc", "sys"] {
            let path = format!("evil/{name}");
            for target in [world.outside().join(name), "../../../../..".into(), "nowhere".into(), "/".into()] {
                replace(world, &path);
                symlink(&target, world.path(&path)).unwrap();
                let outcome = with_layer(world, "true");
                let expected = format!("error: `/{name}` in the image is a symbolic link, expected a directory");
                assert_eq!(outcome.exit, expected, "{}", target.display());
            }
            replace(world, &path);
            fifo(&world.path(&path));
            let outcome = with_layer(world, "true");
            assert_eq!(
                outcome.exit,
                format!("error: `/{name}` in the image is another kind of file, expected a directory")
            );
            replace(world, &path);
        }
    });
}

#[test]
fn a_device_of_the_image_is_covered() {
    each_builder(|world| {
        furnish(world);
        for name in ["null", "ptmx", "shm"] {
            replace(world, "evil/dev");
            fs::create_dir_all(world.path("evil/dev")).unwrap();
            symlink(world.outside().join("victim"), world.path(&format!("evil/dev/{name}"))).unwrap();
            let outcome = with_layer(world, "echo x > /dev/null && cat /dev/null && echo done");
            assert_eq!((outcome.exit.as_str(), outcome.stdout.as_str()), ("code 0", "done\n"), "{}", outcome.stderr);
        }
    });
}

#[test]
fn files_of_etc_are_covered_inside_the_root_or_left_out_with_a_note() {
    each_builder(|world| {
        furnish(world);
        fs::create_dir_all(world.path("evil/etc")).unwrap();
        let hosts = "evil/etc/hosts";
        // Resolved in the root: absolute and relative links to an existing file, and far too many `..`.
        world.write("rootfs/etc/real", "old");
        for target in ["/etc/real", "real", "../../../../../../etc/real"] {
            replace(world, hosts);
            symlink(target, world.path(hosts)).unwrap();
            let outcome = with_layer(world, "cat /etc/hosts; echo x > /etc/hosts || true");
            assert_eq!(outcome.stdout, "127.0.0.1 localhost buildkitsandbox\n", "{target} {}", outcome.exit);
        }
        // Nothing there in the root: the host's file of that name is not looked at.
        for target in [world.outside().join("etc/hosts"), "gone".into(), "hosts".into(), "/proc/self/fd/3".into()] {
            replace(world, hosts);
            symlink(&target, world.path(hosts)).unwrap();
            let outcome = with_layer(world, "true");
            assert_eq!(outcome.exit, "code 0", "{}", target.display());
            assert_eq!(outcome.notes, ["`/etc/hosts` of the image leads nowhere, so the step runs without it"]);
        }
        replace(world, hosts);
        fifo(&world.path(hosts));
        assert_eq!(with_layer(world, "cat /etc/hosts").stdout, "127.0.0.1 localhost buildkitsandbox\n");
        replace(world, hosts);
        fs::create_dir(world.path(hosts)).unwrap();
        let outcome = with_layer(world, "true");
        assert_eq!(outcome.exit, "error: `/etc/hosts` in the image is a directory, expected a file");
    });
}

#[test]
fn a_linked_etc_or_run_stays_inside_the_root() {
    each_builder(|world| {
        furnish(world);
        symlink(world.outside().join("etc"), world.path("evil/etc")).unwrap();
        symlink(world.outside().join("run"), world.path("evil/run")).unwrap();
        let outcome = with_layer(world, "ls /etc/ /run/ 2>/dev/null; busybox id -u; echo x > /run/x 2>/dev/null; true");
        assert_eq!((outcome.exit.as_str(), outcome.stdout.as_str()), ("code 0", "0\n"), "{}", outcome.stderr);
        assert_eq!(outcome.notes.len(), 2);
    });
}

#[test]
fn a_root_without_mount_points_is_an_error() {
    each_builder(|world| {
        let steps = json!([{ "args": ["true"] }]);
        let answer = world.drive(&json!({ "lowers": ["rootfs"], "steps": steps })).unwrap();
        assert_eq!(answer.steps[0].exit, "error: `/proc` in the image is missing, expected a directory");
    });
}

#[test]
fn mount_points_never_appear_in_the_layer_of_a_step() {
    each_builder(|world| {
        assert_eq!(world.shell("echo new > /made; cat /etc/hosts > /dev/null"), "");
        let mut names: Vec<_> =
            fs::read_dir(world.path("steps/0/upper")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["made"]);
    });
}

#[test]
fn hundreds_of_layers_are_joined_and_one_too_many_is_an_error() {
    each_builder(|world| {
        let mut lowers = vec!["stubs".to_owned(), "rootfs".to_owned()];
        for number in lowers.len()..999 {
            let name = format!("many/{number:0>40}");
            fs::create_dir_all(world.path(&name)).unwrap();
            world.write(&format!("{name}/{number}"), "");
            lowers.push(name);
        }
        let steps = json!([{ "args": ["sh", "-c", "ls / | busybox wc -l"] }]);
        let answer = world.drive(&json!({ "lowers": lowers, "steps": steps })).unwrap();
        assert_eq!(answer.steps[0].stdout, "1003\n", "{}", answer.steps[0].exit);
        lowers.push("evil".to_owned());
        let answer = world.drive(&json!({ "lowers": lowers, "steps": steps })).unwrap();
        assert_eq!(answer.steps[0].exit, "error: cannot join 1000 layers, expected at most 999");
    });
}
