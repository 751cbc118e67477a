//! How steps start and end, one by one and all at once.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::process::Child;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::support::{Builder, World, as_builder, each_builder};

#[test]
fn exit_codes_are_a_shells() {
    each_builder(|world| {
        world.program("rootfs/bin/no-interpreter", "#!/bin/missing\n");
        world.program("rootfs/bin/no-format", "\u{7}neither a script nor a program\n");
        world.write("rootfs/bin/no-permission", "");
        let outcomes = world.steps(&json!([
            { "args": ["true"] },
            { "args": ["sh", "-c", "exit 3"] },
            { "args": ["sh", "-c", "sh -c 'kill -9 $$'; exit $?"] },
            { "args": ["nosuch"] },
            { "args": ["/bin/nosuch"] },
            { "args": ["no-permission"] },
            { "args": ["no-format"] },
            { "args": ["no-interpreter"] },
            { "args": ["/etc"] },
            { "args": [] },
            { "args": ["sh", "-c", "echo ready; sleep 1000"], "signal": 9 },
            { "args": ["sh", "-c", "trap 'exit 7' TERM; echo ready; while :; do sleep 1000 & wait; done"], "signal": 15 },
        ]));
        let seen: Vec<_> = outcomes.iter().map(|outcome| (outcome.exit.as_str(), outcome.exit_code)).collect();
        assert_eq!(
            seen,
            [
                ("code 0", Some(0)),
                ("code 3", Some(3)),
                ("code 137", Some(137)),
                ("error: `nosuch` is not in any directory of PATH", Some(127)),
                ("error: cannot run `/bin/nosuch`: No such file or directory (os error 2)", Some(127)),
                ("error: cannot run `no-permission`: Permission denied (os error 13)", Some(126)),
                ("error: cannot run `/bin/no-format`: Exec format error (os error 8)", Some(126)),
                ("error: `/bin/no-interpreter` needs an interpreter that the image does not have", Some(127)),
                ("error: cannot run `/etc`: Permission denied (os error 13)", Some(126)),
                ("error: the step has no command", None),
                ("signal 9", Some(137)),
                ("code 7", Some(7)),
            ]
        );
    });
}

#[test]
fn long_arguments_arrive_and_too_long_ones_are_an_error() {
    each_builder(|world| {
        let line = format!("echo ${{#LONG}} # {}", "x".repeat(100_000));
        let long = format!("LONG={}", "y".repeat(100_000));
        let outcomes = world.steps(&json!([
            { "args": ["sh", "-c", line], "env": [long] },
            { "args": ["sh", "-c", format!("true {}", "x".repeat(200_000))] },
            { "args": ["true", "a\0b"] },
        ]));
        assert_eq!(outcomes[0].stdout, "100000\n", "{}", outcomes[0].exit);
        assert_eq!(outcomes[1].exit, "error: cannot run `/bin/sh`: Argument list too long (os error 7)");
        assert_eq!(outcomes[1].exit_code, Some(126));
        assert_eq!(outcomes[2].exit, "error: `a\\0b` has a zero byte");
    });
}

#[test]
fn two_hundred_steps_leave_no_descriptor_open() {
    each_builder(|world| {
        let steps = json!([{ "args": ["true"] }, { "args": ["nosuch"] }]);
        let answer = world.drive(&json!({ "steps": steps, "repeat": 100 })).unwrap();
        assert_eq!(answer.steps.len(), 200);
        assert!(answer.steps.iter().step_by(2).all(|outcome| outcome.exit == "code 0"), "{:?}", answer.steps);
        assert_eq!(answer.descriptors_after, answer.descriptors_before);
        assert_eq!(answer.zygote_descriptors_after, answer.zygote_descriptors_before);
        assert!(answer.zygote_descriptors_before > 3);
    });
}

#[test]
fn eight_threads_start_steps_at_once() {
    each_builder(|world| {
        let steps: Vec<_> =
            (0..48).map(|number| json!({ "args": ["sh", "-c", format!("echo {number} > /me; cat /me")] })).collect();
        let answer = world.drive(&json!({ "steps": steps, "threads": 8 })).unwrap();
        let printed: Vec<String> = answer.steps.iter().map(|outcome| outcome.stdout.trim().to_owned()).collect();
        let expected: Vec<String> = (0..48).map(|number| number.to_string()).collect();
        assert_eq!(printed, expected);
    });
}

/// Lines that are hard to end: a session of its own, deaf to signals, with children that left it.
const STUBBORN: &str = "trap '' TERM INT HUP; (busybox setsid sleep 54321 &) ; busybox setsid sh -c 'trap \"\" TERM; sleep 54321' & sleep 54321";

fn processes_with(text: &str) -> BTreeSet<String> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter(|entry| {
            std::fs::read(entry.path().join("cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains(text))
        })
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

#[test]
fn every_process_of_every_step_ends_with_a_killed_builder() {
    each_builder(|world| builder_is_killed(world, false));
}

#[test]
fn every_process_of_every_step_ends_even_if_the_launcher_cannot_help() {
    each_builder(|world| builder_is_killed(world, true));
}

/// The only child of a driver.
fn zygote(driver: &Child) -> Pid {
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", driver.id())).unwrap();
    Pid::from_raw(children.trim().parse().unwrap()).unwrap()
}

fn builder_is_killed(world: &World, launcher_is_stopped: bool) {
    world.program("rootfs/bin/leave", "#!/bin/sh\nexec busybox setsid sleep \"$1\"\n");
    // A number that only the processes of this test have in their command line.
    let mark =
        format!("9{}", world.outside().metadata().map(|status| std::os::unix::fs::MetadataExt::ino(&status)).unwrap());
    let line = STUBBORN.replace("54321", &mark);
    let mut child = world.start(&json!({ "hold": true, "steps": [
        { "args": ["sh", "-c", line] },
        { "args": ["sleep", mark] },
        { "args": ["leave", mark], "no_network": true },
    ]}));
    let mut first = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut first).unwrap();
    assert_eq!(first, "running\n");
    assert!(processes_with(&mark).len() >= 3, "{:?}", processes_with(&mark));
    if launcher_is_stopped {
        kill_process(zygote(&child), Signal::STOP).unwrap();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // The builder's standard error is open in every process of the steps: its end is the end of all of them.
    let mut rest = String::new();
    child.stderr.take().unwrap().read_to_string(&mut rest).unwrap();
    assert_eq!(processes_with(&mark), BTreeSet::new(), "{rest}");
}

#[test]
fn the_builder_learns_that_its_launcher_is_gone() {
    each_builder(|world| {
        let mut child = world.start(&json!({ "hold": true, "steps": [{ "args": ["sleep", "1000"] }] }));
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, "running\n");
        kill_process(zygote(&child), Signal::KILL).unwrap();
        line.clear();
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, "the step launcher ended unexpectedly\n");
        assert!(child.wait().unwrap().success());
    });
}

#[test]
fn a_step_with_a_terminal_controls_it() {
    each_builder(|world| {
        let line = "busybox tty; busybox stty size; read word; echo got $word; echo $TERM > /dev/tty";
        let outcome = world.step(&json!({ "args": ["sh", "-c", line], "terminal": true }));
        assert_eq!(outcome.exit, "code 0");
        for part in ["/dev/pts/0\r\n", "33 77\r\n"] {
            assert!(outcome.stdout.contains(part), "{:?}", outcome.stdout);
        }
        assert!(outcome.stdout.ends_with("got typed\r\nxterm\r\n"), "{:?}", outcome.stdout);
    });
}

#[test]
fn the_mounts_of_a_step_are_gone_when_the_wait_returns() {
    as_builder(Builder::Root, |world| {
        for _ in 0..20 {
            let line = "echo x > /made; (busybox setsid sleep 1000 < /made &); true";
            let answer = world.drive(&json!({ "remount": true, "steps": [{ "args": ["sh", "-c", line] }] })).unwrap();
            assert_eq!(answer.steps[0].exit, "code 0");
            assert_eq!(answer.remounted.as_deref(), Some("ok"));
            std::fs::remove_dir_all(world.path("steps")).unwrap();
        }
    });
}
