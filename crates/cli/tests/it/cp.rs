//! `cp` from and to containers that run: as root, and as users without it.

use stave_testkit::fixtures::with_busybox;
use stave_testkit::{Bench, needs};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

/// A container whose shell does what it is told, a line at a time.
pub(crate) struct Shell<'a> {
    bench: &'a Bench,
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl<'a> Shell<'a> {
    /// Runs `image` as container `box`; returns once `stave ps` lists it.
    pub(crate) fn start(bench: &'a Bench, image: &str) -> Self {
        let mut command = bench.command(["run", "-i", "--name", "box", image, "sh"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("stave starts");
        let (stdin, stdout) = (child.stdin.take().expect("kept"), child.stdout.take().expect("kept"));
        let mut shell = Self { bench, child, stdin, stdout: BufReader::new(stdout) };
        assert_eq!(shell.says("echo ready"), "ready");
        let listed = (0..1000).any(|_| !bench.run(["ps", "-q"]).success().out().is_empty());
        assert!(listed, "the container is not listed as running");
        shell
    }

    /// Has the shell run a command, and returns the line that it prints.
    pub(crate) fn says(&mut self, command: &str) -> String {
        writeln!(self.stdin, "{command}").expect("the container reads");
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("the container writes");
        line.trim_end().to_owned()
    }

    /// The number of the shell's process.
    pub(crate) fn pid(&self) -> String {
        self.bench.run(["inspect", "-f", "{{.State.Pid}}", "box"]).success().line()
    }

    /// Ends it.
    pub(crate) fn end(mut self) {
        drop(self.stdin);
        assert!(self.child.wait().expect("waited for").success(), "the shell ends at the end of its input");
    }
}

/// What `cp` does with a container that runs, for whoever the bench belongs to.
fn copies_both_ways(bench: &Bench) {
    let mut shell = Shell::start(bench, "busybox");
    bench.run(["cp", "note", "box:/in"]).success();
    assert_eq!(shell.says("cat /in; echo"), "for the box");
    bench.run(["cp", "tree", "box:/var/"]).success();
    assert_eq!(shell.says("echo $(ls /var/tree) $(readlink /var/tree/link)"), "file link file");
    let owners =
        shell.says("mkdir -p /out/sub; echo made > /out/sub/file; ln -s sub/file /out/link; stat -c %u:%g /in");
    assert_eq!(owners, "0:0");
    bench.run(["cp", "box:/out", "got"]).success();
    assert_eq!(fs::read_to_string(bench.work().join("got/sub/file")).expect("copied"), "made\n");
    assert_eq!(fs::read_link(bench.work().join("got/link")).expect("copied").display().to_string(), "sub/file");
    bench.run(["cp", "-L", "box:/out/link", "followed"]).success();
    assert_eq!(fs::read_to_string(bench.work().join("followed")).expect("copied"), "made\n");
    let tar = bench.run(["cp", "box:/out/.", "-"]).success().stdout.clone();
    assert_eq!(shell.says("mkdir /again; echo"), "");
    bench.run_with_input(["cp", "-", "box:/again"], tar).success();
    assert_eq!(shell.says("cat /again/link"), "made");
    // The host keeps its kernel's files to itself: what is mounted in the container is not part of its files.
    for source in ["box:/proc/version", "box:/proc/self/environ", "box:/sys/kernel", "box:/dev/null"] {
        let output = bench.run(["cp", source, "none"]);
        output.exit(1).complains("does not exist");
    }
    bench.run(["cp", "note", "box:/proc/sys/kernel/hostname"]).exit(1);
    shell.end();
    bench.run(["cp", "box:/in", "after"]).success();
    assert_eq!(fs::read_to_string(bench.work().join("after")).expect("copied"), "for the box");
}

fn fill(bench: &Bench) {
    bench.file("note", "for the box").file("tree/file", "f");
    std::os::unix::fs::symlink("file", bench.work().join("tree/link")).expect("a writable bench");
}

#[test]
fn files_are_copied_from_and_to_a_running_container() {
    let Some((bench, _registry)) = with_busybox() else { return };
    fill(&bench);
    copies_both_ways(&bench);
}

#[test]
fn a_log_that_is_being_written_is_copied() {
    let Some((bench, _registry)) = with_busybox() else { return };
    let mut shell = Shell::start(&bench, "busybox");
    assert_eq!(
        shell.says("(while echo a line of the log; do :; done > /log) & until test -s /log; do :; done; echo"),
        ""
    );
    for round in 0..5 {
        bench.run(["cp", "box:/log", &format!("log-{round}")]).success();
        let log = fs::read_to_string(bench.work().join(format!("log-{round}"))).expect("copied");
        assert!(log.starts_with("a line of the log\n"));
    }
    assert_eq!(shell.says("kill %1; echo"), "");
    shell.end();
}

#[test]
fn a_user_with_ranges_copies_from_and_to_a_running_container() {
    let (Some(user), Some((bench, _registry))) = (needs::user("ranges"), with_busybox()) else { return };
    fill(&bench);
    let bench = bench.as_user(&user);
    copies_both_ways(&bench);
    bench.run(["rm", "box"]).success();
    let mut shell = Shell::start(&bench, "busybox");
    assert_eq!(shell.says("echo x > /owned; chown 5:6 /owned; echo"), "");
    bench.run(["cp", "-a", "box:/owned", "owned"]).success();
    let metadata = fs::metadata(bench.work().join("owned")).expect("copied");
    assert!(metadata.uid() >= 1_000_000_000 && metadata.gid() == metadata.uid() + 1, "{metadata:?}");
    bench.run(["cp", "-a", "owned", "box:/back"]).success();
    assert_eq!(shell.says("stat -c %u:%g /back"), "5:6");
    shell.end();
}

#[test]
fn a_user_with_one_id_copies_from_and_to_a_running_container() {
    let (Some(user), Some((bench, _registry))) = (needs::user("single"), with_busybox()) else { return };
    fill(&bench);
    copies_both_ways(&bench.as_user(&user));
}

#[test]
fn another_users_container_is_out_of_reach() {
    let (Some(ranges), Some(single)) = (needs::user("ranges"), needs::user("single")) else { return };
    let Some((bench, _registry)) = with_busybox() else { return };
    let bench = bench.as_user(&ranges);
    let shell = Shell::start(&bench, "busybox");
    let pid = shell.pid();
    assert!(fs::read_to_string(format!("/proc/{pid}/comm")).is_ok(), "the number is that of a process of the host");
    let mut command = std::process::Command::new("setpriv");
    command.args(["--reuid", &single, "--regid", &single, "--init-groups"]);
    command.arg(stave_testkit::bench::stave_binary()).arg("--root").arg(bench.store());
    let output = command.args(["cp", "box:/etc/passwd", "-"]).current_dir("/").env_clear().env("HOME", "/").output();
    let output = output.expect("stave starts");
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout.is_empty());
    shell.end();
}
