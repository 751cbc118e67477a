//! An ordinary user becomes root of a namespace.

use std::process::Command;

use serde_json::json;

use crate::support::{Builder, answer, as_builder, each_builder};

#[test]
fn root_stays_what_it_is() {
    as_builder(Builder::Root, |world| {
        let answer = world.drive(&json!({})).unwrap();
        assert_eq!((answer.map.as_str(), answer.advice), ("Inherited", None));
    });
}

#[test]
fn the_doctor_finds_what_the_builder_then_uses() {
    each_builder(|world| {
        let answer = world.drive(&json!({ "doctor": true, "steps": [{ "args": ["true"] }] })).unwrap();
        // The step ran, so nothing that a step needs may be called missing.
        assert_eq!(answer.steps[0].exit, "code 0");
        assert_eq!(answer.findings.len(), 14);
        for found in &answer.findings {
            assert!(!found.contains(": Missing: "), "{found}");
        }
        let ranges = answer.findings.iter().find(|found| found.starts_with("id ranges: ")).unwrap();
        let expected = if world.builder == Builder::Root { "not needed" } else { "has no range for user" };
        assert!(ranges.contains(expected), "{ranges}");
    });
}

#[test]
fn without_ranges_one_id_is_mapped_and_the_advice_names_the_file() {
    as_builder(Builder::Nobody, |world| {
        let answer = world.drive(&json!({})).unwrap();
        assert!(answer.map.starts_with("Single { reason: NoRange { file: "), "{}", answer.map);
        let advice = answer.advice.unwrap();
        assert!(advice.contains("Only one user id is available"), "{advice}");
        assert!(advice.contains("no-ranges"), "{advice}");
    });
}

#[test]
fn a_range_that_the_helper_does_not_grant_leaves_one_id() {
    as_builder(Builder::Nobody, |world| {
        if !std::path::Path::new("/usr/bin/newuidmap").exists() {
            return;
        }
        let uid = if rustix::process::geteuid().is_root() { 65534 } else { rustix::process::geteuid().as_raw() };
        world.write("ranges", format!("{uid}:3000000000:65536\n"));
        let file = world.path("ranges");
        let answer =
            world.drive(&json!({ "rootless": [file, file], "steps": [{ "args": ["busybox", "id", "-u"] }] })).unwrap();
        assert!(answer.map.contains("HelperFailed { name: \"newuidmap\""), "{}", answer.map);
        assert_eq!(answer.steps[0].stdout, "0\n", "{}", answer.steps[0].exit);
    });
}

#[test]
fn with_ranges_a_step_can_be_another_user() {
    as_builder(Builder::Nobody, |world| {
        if !rustix::process::geteuid().is_root() || !std::path::Path::new("/usr/bin/newuidmap").exists() {
            return;
        }
        world.write("ranges", "65534:100000:65536\n");
        let file = world.path("ranges");
        // The helpers read the system's files: this test's ones are mounted over them, for its own processes only.
        let line = "mount --bind \"$1\" /etc/subuid && mount --bind \"$1\" /etc/subgid && \
                    exec setpriv --reuid 65534 --regid 65534 --clear-groups \"$2\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", line, "sh"]).arg(&file).arg(world.driver());
        let steps = json!([
            { "args": ["busybox", "id"], "user": "app" },
            { "args": ["sh", "-c", "echo x > /mine; busybox chown 5:6 /mine; busybox stat -c '%u %g' /mine; grep Groups /proc/self/status"] },
        ]);
        let child =
            world.start_command(command, &json!({ "rootless": ["/etc/subuid", "/etc/subgid"], "steps": steps }));
        let answer = answer(child).unwrap();
        assert!(
            answer.map.starts_with("Ranges { uids: [Extent { inside: 0, outside: 65534, count: 1 }, "),
            "{}",
            answer.map
        );
        assert_eq!(answer.advice, None);
        assert_eq!(
            answer.steps[0].stdout, "uid=1000(app) gid=1001(app) groups=10(wheel),1001(app)\n",
            "{}",
            answer.steps[0].exit
        );
        assert_eq!(answer.steps[1].stdout, "5 6\nGroups:\t0 10 \n", "{}", answer.steps[1].exit);
    });
}
