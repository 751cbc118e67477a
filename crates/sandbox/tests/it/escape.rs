//! Ways to the builder: descriptors, the working directory, its executable (security test A10).

use std::fs;

use serde_json::json;

use crate::support::each_builder;

#[test]
fn a_working_directory_leads_nowhere_outside() {
    each_builder(|world| {
        let before = world.outside_as_it_is();
        let mut hostile: Vec<String> = (0..30).map(|number| format!("/proc/self/fd/{number}/../../../..")).collect();
        hostile.extend(["/proc/self/root/x", "/proc/1/cwd", "/proc/self/exe"].map(str::to_owned));
        let steps: Vec<_> = hostile.iter().map(|cwd| json!({ "args": ["pwd"], "cwd": cwd })).collect();
        for (outcome, cwd) in world.steps(&json!(steps)).iter().zip(&hostile) {
            let refused = ["error: cannot enter working directory", "error: cannot make working directory"];
            assert!(refused.iter().any(|start| outcome.exit.starts_with(start)), "{cwd}: {}", outcome.exit);
        }
        let outcome = world.step(&json!({ "args": ["pwd"], "cwd": "/../../../../x/./y//z" }));
        assert!(outcome.stdout.ends_with("/z\n"), "{} {}", outcome.exit, outcome.stdout);
        assert_eq!(world.outside_as_it_is(), before);
    });
}

#[test]
fn a_missing_working_directory_belongs_to_the_step() {
    each_builder(|world| {
        std::os::unix::fs::symlink("/real", world.path("rootfs/linked")).unwrap();
        fs::create_dir(world.path("rootfs/real")).unwrap();
        let outcome =
            world.step(&json!({ "args": ["sh", "-c", "pwd; busybox stat -c '%a %u %g' ."], "cwd": "/linked/a/b" }));
        assert_eq!(outcome.stdout, "/real/a/b\n755 0 0\n", "{}", outcome.exit);
        if world.builder == crate::support::Builder::Root {
            let step =
                json!({ "args": ["sh", "-c", "busybox stat -c '%a %u %g' . .."], "cwd": "/linked/c/d", "user": "app" });
            assert_eq!(world.step(&step).stdout, "755 1000 1001\n755 1000 1001\n");
        }
    });
}

#[test]
fn the_builders_executable_is_out_of_reach() {
    each_builder(|world| {
        let before = fs::read(world.driver()).unwrap();
        world.program("rootfs/bin/interpreted", "#!/proc/self/exe\n");
        world.program("rootfs/bin/nested", "#!/bin/interpreted\n");
        std::os::unix::fs::symlink("/proc/self/exe", world.path("rootfs/bin/linked")).unwrap();
        let outcomes = world.steps(&json!([
            { "args": ["/proc/self/exe"] },
            { "args": ["/proc/1/exe"] },
            { "args": ["linked"] },
            { "args": ["interpreted", "x"] },
            { "args": ["nested", "x"] },
            { "args": ["sh", "-c", "busybox readlink /proc/1/exe; echo > /proc/1/exe; for f in /proc/1/map_files/* /proc/1/fd/*; do busybox readlink $f; done; true"] },
        ]));
        let exits: Vec<&str> = outcomes.iter().map(|outcome| outcome.exit.as_str()).collect();
        let loops = "Too many levels of symbolic links (os error 40)";
        assert_eq!(
            exits,
            [
                format!("error: cannot run `/proc/self/exe`: {loops}"),
                format!("error: cannot run `/proc/1/exe`: {loops}"),
                "error: `linked` is not in any directory of PATH".to_owned(),
                "code 127".to_owned(),
                "code 127".to_owned(),
                "code 0".to_owned(),
            ]
        );
        let seen = &outcomes[5].stdout;
        assert!(seen.starts_with("/bin/busybox\n"), "{seen}");
        assert!(!seen.contains("driver"), "{seen}");
        assert_eq!(fs::read(world.driver()).unwrap(), before);
    });
}

#[test]
fn the_first_program_has_three_descriptors_and_the_springboard_is_gone() {
    each_builder(|world| {
        let outcome = world.step(&json!({ "args": ["ls", "/proc/self/fd"] }));
        // The fourth is the directory that `ls` itself reads.
        assert_eq!(outcome.stdout, "0\n1\n2\n3\n");
        let text = world.shell("cat /proc/self/maps /proc/1/maps; ls -l /proc/1/fd/");
        assert!(!text.contains("stave"), "{text}");
    });
}
