//! Who a step is (security test A13).

use std::fs::{self, File};
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::support::{Builder, Outcome, World, as_builder, each_builder};

fn id_of(world: &World, user: &str) -> String {
    ids_of(world, &[user]).remove(0)
}

/// What each user text makes of a step: its ids, or the error.
fn ids_of(world: &World, users: &[&str]) -> Vec<String> {
    let line = "busybox id -u; busybox id -g; grep Groups /proc/self/status";
    let steps: Vec<Value> = users.iter().map(|user| json!({ "args": ["sh", "-c", line], "user": user })).collect();
    let shown = |outcome: Outcome| match outcome.exit.as_str() {
        "code 0" => outcome.stdout.replace(['\n', '\t'], " "),
        _ => outcome.exit,
    };
    world.steps(&json!(steps)).into_iter().map(shown).collect()
}

#[test]
fn texts_that_are_no_users_are_refused_and_never_become_root() {
    each_builder(|world| {
        let cases = [
            ("4294967296", "`4294967296` is not an id, expected 0 to 4294967294"),
            ("4294967295", "`4294967295` is not an id, expected 0 to 4294967294"),
            ("-1", "`-1` is not an id, expected 0 to 4294967294"),
            ("0:-1", "`-1` is not an id, expected 0 to 4294967294"),
            ("a:b:c", "`a:b:c` is not of the form `user` or `user:group`"),
            ("nobody-here", "no user `nobody-here` in `/etc/passwd` of the image"),
            ("root:nothing", "no group `nothing` in `/etc/group` of the image"),
        ];
        for ((text, why), seen) in cases.into_iter().zip(ids_of(world, &cases.map(|case| case.0))) {
            assert_eq!(seen, format!("error: cannot use `{text}` as the user: {why}"));
        }
    });
}

#[test]
fn numbers_names_and_groups_mean_what_docker_says() {
    as_builder(Builder::Root, |world| {
        world.write(
            "rootfs/etc/passwd",
            "1000:x:0:0::/:/bin/sh\nroot:x:0:0::/root:/bin/sh\napp:x:1000:1001::/:/bin/sh\n",
        );
        let cases = [
            ("", "0 0 Groups: 0  "),
            ("0", "0 0 Groups: 0  "),
            ("root", "0 0 Groups: 0 10  "),
            ("1000", "1000 1001 Groups: 10 1001  "),
            ("app", "1000 1001 Groups: 10 1001  "),
            ("app:wheel", "1000 10 Groups: 10  "),
            ("1000:1000", "1000 1000 Groups: 1000  "),
            ("1000:", "1000 1001 Groups: 10 1001  "),
            (":5", "0 5 Groups: 5  "),
            ("2147483648:0", "2147483648 0 Groups: 0  "),
            ("4294967294", "4294967294 0 Groups: 0  "),
        ];
        for ((text, expected), seen) in cases.into_iter().zip(ids_of(world, &cases.map(|case| case.0))) {
            assert_eq!(seen, expected, "{text}");
        }
    });
}

#[test]
fn an_id_that_is_not_mapped_is_an_error() {
    as_builder(Builder::Nobody, |world| {
        assert_eq!(id_of(world, "app"), "error: user 1000 is not among the ids that this user may use");
        assert_eq!(id_of(world, "0:10"), "error: group 10 is not among the ids that this user may use");
    });
}

#[test]
fn a_hostile_passwd_is_an_error_and_costs_nothing() {
    each_builder(|world| {
        fs::write(world.outside().join("secret"), "root:x:7:7::/:/bin/sh\n").unwrap();
        let passwd = world.path("rootfs/etc/passwd");
        let refused = |why: &str| {
            assert_eq!(id_of(world, "root"), format!("error: cannot use `/etc/passwd` of the image: {why}"));
        };
        fs::remove_file(&passwd).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &passwd, rustix::fs::FileType::Fifo, 0o666.into(), 0).unwrap();
        refused("it is not a regular file");
        fs::remove_file(&passwd).unwrap();
        File::create(&passwd).unwrap().set_len(5 << 30).unwrap();
        refused("it is longer than 10485760 bytes");
        fs::remove_file(&passwd).unwrap();
        fs::create_dir(&passwd).unwrap();
        refused("it is not a regular file");
        fs::remove_dir(&passwd).unwrap();
        symlink("/dev/zero", &passwd).unwrap();
        refused("it is not a regular file");
        fs::remove_file(&passwd).unwrap();
        symlink("/proc/self/fd/0", &passwd).unwrap();
        refused("it cannot be opened: Too many levels of symbolic links (os error 40)");
        // A link to a file of the host, which does not exist in the image: the image has no users.
        fs::remove_file(&passwd).unwrap();
        symlink(world.outside().join("secret"), &passwd).unwrap();
        assert_eq!(
            id_of(world, "root"),
            "error: cannot use `root` as the user: no user `root` in `/etc/passwd` of the image"
        );
        let root: Value = json!({ "args": ["busybox", "id", "-u"] });
        assert_eq!(world.step(&root).stdout, "0\n");
    });
}
