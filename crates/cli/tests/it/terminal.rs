//! What differs when there is a terminal, and signals to what runs.

use rustix::process::{Pid, Signal, kill_process};
use stave_testkit::Bench;
use stave_testkit::fixtures::with_busybox;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// A terminal of 60 columns: its two ends.
fn terminal() -> (File, File) {
    stave_testkit::terminal::terminal(60, 20)
}

/// Runs a command whose standard error is a terminal; returns its code and what the terminal got.
fn on_terminal(command: Command) -> (Option<i32>, String) {
    let (status, text) = stave_testkit::terminal::on_terminal(command, 60, 20);
    (status.code(), text)
}

fn small() -> Bench {
    let bench = Bench::new();
    bench.file("Dockerfile", "FROM scratch\nCOPY a /a\n").file("a", "1");
    bench
}

#[test]
fn on_a_terminal_progress_is_drawn_in_colour_and_within_its_width() {
    let bench = small();
    let (code, text) = on_terminal(bench.command(["build", "."]));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("\u{1b}[32m => [stage-0 1/1] COPY a /a"), "{text:?}");
    assert!(text.contains("\u{1b}[?25h") && !text.ends_with("\u{1b}[?25l"), "the cursor is there: {text:?}");
    let (_, plain) = on_terminal(bench.command(["--no-color", "build", "."]));
    assert!(plain.contains(" => CACHED [stage-0 1/1] COPY a /a") && !plain.contains("\u{1b}[3"), "{plain:?}");
    let mut bench = bench;
    bench.set("NO_COLOR", "1");
    let (_, plain) = on_terminal(bench.command(["build", "."]));
    assert!(!plain.contains("\u{1b}[3"), "{plain:?}");
    for line in plain.lines().filter(|line| line.contains("COPY")) {
        assert!(line.trim_end().chars().count() <= 60 + "\u{1b}[2A\r\u{1b}[J".len(), "{line:?}");
    }
}

#[test]
fn mistakes_are_coloured_on_a_terminal_only() {
    let bench = small();
    bench.file("Dockerfile", "FROM scratch\nCOPPY a /\n");
    let (code, text) = on_terminal(bench.command(["build", "."]));
    assert_eq!(code, Some(2));
    assert!(text.contains("\u{1b}["), "{text:?}");
    assert!(!bench.run(["build", "."]).exit(2).stderr.contains('\u{1b}'));
    let piped = bench.run(["build", "--progress=tty", "."]);
    assert!(!piped.exit(2).stderr.contains('\u{1b}'), "tty without a terminal is plain");
}

#[test]
fn an_archive_is_never_written_to_a_terminal() {
    let bench = small();
    for args in [&["build", "-o", "-", "."][..], &["save", "x"], &["cp", "c:/a", "-"]] {
        let (_ours, theirs) = terminal();
        let mut command = bench.command(args);
        command.stdout(theirs).stderr(Stdio::piped());
        let output = command.spawn().expect("stave starts").wait_with_output().expect("waited for");
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains("standard output is a terminal"), "{args:?}: {text}");
    }
    let (_ours, theirs) = terminal();
    let mut command = bench.command(["build", "-"]);
    command.stdin(theirs).stderr(Stdio::piped());
    let output = command.spawn().expect("stave starts").wait_with_output().expect("waited for");
    assert_eq!(output.status.code(), Some(2));
}

/// Starts `run` with a script that says when it is ready.
fn running(bench: &Bench, script: &str) -> (std::process::Child, BufReader<std::process::ChildStdout>) {
    let mut child = bench.spawn(["run", "--rm", "--name", "job", "busybox", "sh", "-c", script]);
    let mut out = BufReader::new(child.stdout.take().expect("asked for"));
    let mut line = String::new();
    out.read_line(&mut line).expect("readable");
    assert_eq!(line, "ready\n");
    (child, out)
}

#[test]
fn a_signal_to_run_goes_to_the_command_which_may_end_in_order() {
    let Some((bench, _registry)) = with_busybox() else { return };
    let script = "trap 'echo asked; exit 5' TERM; echo ready; while :; do sleep 0.05; done";
    let (child, mut out) = running(&bench, script);
    kill_process(Pid::from_child(&child), Signal::TERM).expect("it runs");
    let mut line = String::new();
    out.read_line(&mut line).expect("readable");
    assert_eq!(line, "asked\n");
    bench.wait(child).exit(5);
    assert_eq!(bench.run(["ps", "-aq"]).success().out(), "", "--rm holds after a signal, too");
}

#[test]
fn a_second_signal_ends_a_command_that_ignores_the_first() {
    let Some((bench, _registry)) = with_busybox() else { return };
    let script = "trap 'echo ignored' TERM; echo ready; while :; do sleep 0.05; done";
    let (child, mut out) = running(&bench, script);
    kill_process(Pid::from_child(&child), Signal::TERM).expect("it runs");
    let mut line = String::new();
    out.read_line(&mut line).expect("readable");
    assert_eq!(line, "ignored\n");
    kill_process(Pid::from_child(&child), Signal::TERM).expect("it runs");
    bench.wait(child).exit(143);
    assert_eq!(bench.run(["ps", "-aq"]).success().out(), "");
}
