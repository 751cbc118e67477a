//! Containers that are left running: `run -d`, `logs`, `exec`, `stop`, `kill`, `wait`, and what they are given.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use stave_testkit::fixtures::with_busybox;
use stave_testkit::http::{Response, Server};
use stave_testkit::{Bench, leaks, needs};

/// Leaves a container running with a script; returns when that has said that it is ready.
fn detached(bench: &Bench, name: &str, flags: &[&str], script: &str) -> String {
    let mut args = vec!["run", "-d", "--name", name];
    args.extend(flags);
    let script = format!("echo ready; {script}");
    args.extend(["busybox", "sh", "-c", &script]);
    let id = bench.run(args).success().line();
    assert_eq!(id.len(), 64, "{id}");
    let start = Instant::now();
    while !bench.run(["logs", name]).success().out().contains("ready") {
        assert!(start.elapsed() < Duration::from_secs(20), "{name} is not ready");
    }
    id
}

fn state(bench: &Bench, name: &str) -> String {
    bench.run(["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", name]).success().line()
}

const WAIT: &str = "trap 'echo asked; exit 5' TERM; while :; do sleep 0.02; done";

/// What an attached caller sees is what is written from then on; its input and its signals go to the container.
#[test]
fn one_attaches_to_a_container_that_runs() {
    let Some((bench, _registry)) = with_busybox() else { return };
    let script = "trap 'echo asked; exit 7' TERM; echo before; while read line; do echo \"got $line\"; test $line = end && exit 3; done";
    detached(&bench, "talk", &["-i"], script);
    let said = bench.run_with_input(["attach", "talk"], b"one\nend\n".to_vec());
    assert_eq!(said.exit(3).out(), "got one\ngot end\n");
    bench.run(["attach", "talk"]).exit(1).complains("container `talk` is not running");
    // Without input, and with a signal that goes on to the container.
    detached(&bench, "deaf", &[], "trap 'echo asked; exit 7' TERM; while :; do echo tick; sleep 0.05; done");
    let mut attached = bench.spawn(["attach", "--no-stdin", "deaf"]);
    Bench::hear(attached.stdout.as_mut().expect("a pipe"), "tick");
    let process = rustix::process::Pid::from_raw(i32::try_from(attached.id()).expect("a number")).expect("a process");
    kill_process(process, Signal::TERM).expect("it runs");
    let output = bench.wait(attached);
    assert_eq!(output.exit(7).out().lines().last(), Some("asked"), "{}", output.out());
    // One that only looks on leaves it alone.
    detached(&bench, "seen", &[], "while :; do echo tick; sleep 0.05; done");
    let mut looking = bench.spawn(["attach", "--no-stdin", "--sig-proxy=false", "seen"]);
    Bench::hear(looking.stdout.as_mut().expect("a pipe"), "tick");
    let process = rustix::process::Pid::from_raw(i32::try_from(looking.id()).expect("a number")).expect("a process");
    kill_process(process, Signal::INT).expect("it runs");
    assert_eq!(bench.wait(looking).code, 130);
    assert_eq!(state(&bench, "seen"), "running 0");
    bench.run(["rm", "-f", "seen"]).success();
    bench.run(["run", "-d", "--name", "mute", "--log-driver", "none", "busybox", "sleep", "60"]).success();
    bench.run(["attach", "mute"]).exit(2).complains("keeps no log");
    bench.run(["rm", "-f", "mute"]).success();
}

fn pause(bench: &Bench) {
    let script = "echo 0 > /n; (while :; do echo $(($(cat /n) + 1)) > /m && mv /m /n; done) & wait";
    detached(bench, "busy", &[], script);
    let count = || bench.run(["cp", "busy:/n", "-"]).success().out();
    assert_eq!(bench.run(["pause", "busy"]).success().out(), "busy\n");
    assert_eq!(state(bench, "busy"), "paused 0");
    let before = count();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(count(), before, "nothing goes on");
    assert_eq!(bench.run(["ps", "-q", "--filter", "status=paused"]).success().out().lines().count(), 1);
    assert!(bench.run(["ps"]).success().out().contains("(Paused)"));
    bench.run(["pause", "busy"]).exit(2).complains("is already paused");
    bench.run(["unpause", "busy"]).success();
    assert_eq!(state(bench, "busy"), "running 0");
    let start = Instant::now();
    while count() == before {
        assert!(start.elapsed() < Duration::from_secs(20), "it goes on");
    }
    bench.run(["unpause", "busy"]).exit(2).complains("is not paused");
    bench.run(["pause", "busy"]).success();
    bench.run(["stop", "-t", "1", "busy"]).success();
    assert!(state(bench, "busy").starts_with("exited"));
    bench.run(["pause", "busy"]).exit(1).complains("not running");
}

#[test]
fn a_paused_container_stands_still_with_all_its_processes() {
    let Some((bench, _registry)) = with_busybox() else { return };
    pause(&bench);
}

#[test]
fn the_container_of_a_user_is_paused_too() {
    let Some(user) = needs::user("ranges") else { return };
    let Some((bench, _registry)) = with_busybox() else { return };
    pause(&bench.as_user(&user));
}

/// Whether this machine lets us limit memory, asked by trying.
fn can_limit(bench: &Bench) -> bool {
    let tried = bench.run(["run", "--rm", "--network", "none", "-m", "64m", "busybox", "true"]);
    if tried.code == 0 {
        return true;
    }
    tried.exit(125).complains("systemd-run --scope");
    needs::skipped("memory cannot be limited here");
    false
}

/// Reads how many seconds a process computed, and how many passed: the machine's time, the process's statistics, the
/// machine's time again.
fn computed_and_passed(shown: &str) -> (f64, f64) {
    let lines: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
    let [before, stat, after] = lines.as_slice() else { panic!("{shown}") };
    let number = |text: &str| text.parse::<f64>().unwrap_or_else(|_| panic!("{shown}"));
    // In proc_pid_stat(5) the 14th and 15th field are hundredths of a second in user mode and in the kernel.
    ((number(stat[13]) + number(stat[14])) / 100.0, number(after[0]) - number(before[0]))
}

/// I004: limits hold for all processes of a container together, and are gone with it.
#[test]
fn memory_processors_and_processes_of_a_container_are_limited() {
    let Some((bench, _registry)) = with_busybox() else { return };
    if !can_limit(&bench) {
        return;
    }
    let run = |flags: &[&str], script: &str| {
        let mut args = vec!["run", "--rm", "--network", "none"];
        args.extend(flags);
        args.extend(["busybox", "sh", "-c", script]);
        bench.run(args)
    };
    let hungry = "head -c 100m /dev/zero | tail -c 90m | wc -c";
    assert_eq!(run(&[], hungry).success().out(), "94371840\n");
    let killed =
        run(&["--memory", "32m"], &format!("({hungry}) || echo killed; dd if=/dev/zero of=/dev/null bs=80m count=1"));
    assert!(killed.code != 0 && !killed.out().contains("94371840"), "{killed:?}");
    assert_eq!(run(&["-m", "256m", "--memory-swap", "-1"], hungry).success().out(), "94371840\n");
    // Twenty processes do not fit where five may be.
    let many = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do sleep 1 & done; wait; echo all";
    assert_eq!(run(&[], many).success().out(), "all\n");
    let few = run(&["--pids-limit", "5"], many);
    assert!(few.code != 0 && !few.out().contains("all"), "{few:?}");
    // However busy the machine is, a twentieth of a processor computes for at most a twentieth of the time that passes.
    let busy = "n=0; while [ $n -lt 30000 ]; do n=$((n+1)); done; cat /proc/$$/stat; cat /proc/uptime";
    let slow = run(&["--cpus", "0.05"], &format!("cat /proc/uptime; {busy}")).success().out();
    let (computed, passed) = computed_and_passed(&slow);
    assert!(computed > 0.0 && computed < passed / 4.0, "{computed} s in {passed} s: {slow}");
    assert_eq!(run(&["--cpuset-cpus", "0"], "nproc").success().out(), "1\n");
    detached(&bench, "limited", &["-m", "64m", "--cpu-shares", "512"], WAIT);
    let inspected = bench.run(["inspect", "-f", "{{.HostConfig.Memory}} {{.HostConfig.CpuShares}}", "limited"]);
    assert_eq!(inspected.success().out(), "67108864 512\n");
    // What is started in it later is limited, too.
    let inside = bench.run(["exec", "limited", "sh", "-c", hungry]);
    assert!(!inside.out().contains("94371840"), "{inside:?}");
    bench.run(["rm", "-f", "limited"]).success();
    run(&["--cpuset-cpus", "999"], "true").exit(125).complains("a limit of `cpuset` cannot be set here");
    run(&["-m", "lots"], "true").exit(125).complains("lots");
    run(&["--memory-swap", "1g"], "true").exit(125).complains("--memory");
    run(&["--cpus", "none"], "true").exit(125).complains("is no number of processors");
}

/// B041, B042: limits hold for all steps of a build, change no key, and are gone with it.
#[test]
fn the_steps_of_a_build_are_limited() {
    let Some((bench, _registry)) = with_busybox() else { return };
    if !can_limit(&bench) {
        return;
    }
    bench.file("Dockerfile", "FROM busybox\nRUN head -c 100m /dev/zero | tail -c 90m | wc -c | grep 94371840\n");
    for flags in [["--memory", "32m"], ["-m", "32m"], ["--resource", "memory=32m"]] {
        let output = bench.run(["build", flags[0], flags[1], "."]);
        assert_ne!(output.code, 0, "{flags:?}");
    }
    bench.run(["build", "--memory=512m", "--memory-swap=-1", "-c", "512", "--cpuset-cpus", "0", "."]).success();
    // The same step, whatever its limits are.
    bench.run(["build", "--resource", "memory=32m,cpu-quota=50000", "."]).success().complains("CACHED");
    bench.run(["build", "--resource", "gold=1", "."]).exit(2).complains("no resource is named `gold`");
    bench.run(["build", "--cpuset-cpus=999", "."]).exit(2).complains("a limit of `cpuset` cannot be set here");
}

/// I016: what gives a container more than others have.
#[test]
fn a_container_gets_a_terminal_a_device_and_all_rights_only_when_told() {
    let Some((bench, _registry)) = with_busybox() else { return };
    let run = |flags: &[&str], script: &str| {
        let mut args = vec!["run", "--rm", "--network", "none"];
        args.extend(flags);
        args.extend(["busybox", "sh", "-c", script]);
        bench.run(args)
    };
    let tty = "test -t 0 && test -t 1 && echo terminal || echo none; stty size 2> /dev/null";
    assert_eq!(run(&[], tty).out().trim(), "none");
    assert_eq!(run(&["-t"], tty).out().replace('\r', ""), "terminal\n24 80\n");
    run(&["-i", "-t"], "true").exit(125).complains("standard input is no terminal");
    let device = "test -c /dev/fuse && echo there || echo none; head -c 1 /dev/fuse 2>&1 | head -c 60";
    if std::path::Path::new("/dev/fuse").exists() {
        assert_eq!(run(&[], "test -e /dev/fuse || echo none").out(), "none\n");
        assert!(run(&["--device", "/dev/fuse"], device).out().starts_with("there\n"));
        assert_eq!(run(&["--device", "/dev/fuse:/dev/other"], "test -c /dev/other && echo there").out(), "there\n");
    }
    run(&["--device", "/dev/nothing-like-it"], "true").exit(125).complains("/dev/nothing-like-it");
    let rights =
        "grep CapEff /proc/self/status | cut -f2; mount -t tmpfs none /mnt 2> /dev/null && echo mounted || echo not";
    let (plain, all) =
        (run(&[], &format!("mkdir -p /mnt; {rights}")), run(&["--privileged"], &format!("mkdir -p /mnt; {rights}")));
    assert!(plain.out().starts_with("00000000a80425fb\n") && plain.out().ends_with("not\n"), "{}", plain.out());
    assert!(all.out().ends_with("mounted\n") && all.out() > plain.out(), "{}", all.out());
}

/// I017: the life of a container that nobody is attached to.
fn life(bench: &Bench) {
    let id = detached(bench, "job", &[], WAIT);
    assert_eq!(state(bench, "job"), "running 0");
    let out = bench.run(["ps", "--format", "{{.Names}} {{.State}}"]).success().out();
    assert_eq!(out, "job running\n");
    assert!(bench.run(["top", "job"]).success().out().contains("sh -c"), "{}", bench.run(["top", "job"]).out());
    let inside =
        bench.run(["exec", "-e", "A=b", "-w", "/tmp", "job", "sh", "-c", "echo $A; pwd; echo err >&2; exit 4"]);
    assert_eq!(inside.exit(4).out(), "b\n/tmp\n");
    assert_eq!(inside.stderr, "err\n");
    let own = bench.run(["exec", "job", "sh", "-c", "echo file > /made; cat /proc/1/cmdline | tr '\\0' ' '; hostname"]);
    let out = own.success().out();
    assert!(out.contains("echo ready") && out.contains(&id[..12]), "it is the container's own world: {out}");
    assert_eq!(
        bench.run_with_input(["exec", "-i", "job", "cat", "-", "/made"], b"in\n".to_vec()).success().out(),
        "in\nfile\n"
    );
    bench.run(["exec", "job", "nothing-of-this-name"]).exit(127).complains("nothing-of-this-name");
    bench.run(["exec", "job", "/etc"]).exit(126);
    assert_eq!(bench.run(["exec", "-d", "job", "sh", "-c", "echo later > /later"]).success().out(), "");
    let waiting = bench.spawn(["wait", "job"]);
    let following = bench.spawn(["logs", "-f", "job"]);
    bench.run(["rm", "job"]).exit(1).complains("running");
    assert_eq!(bench.run(["stop", "job"]).success().out(), "job\n");
    assert_eq!(bench.wait(waiting).success().out(), "5\n");
    assert_eq!(bench.wait(following).success().out(), "ready\nasked\n");
    assert_eq!(state(bench, "job"), "exited 5");
    bench.run(["exec", "job", "true"]).exit(1).complains("container `job` is not running");
    bench.run(["kill", "job"]).exit(1).complains("not running");
    assert_eq!(bench.run(["stop", "job"]).success().out(), "job\n", "what does not run is as it should be");
    assert_eq!(bench.run(["start", "job"]).success().out(), "job\n");
    assert_eq!(
        bench.run(["exec", "job", "cat", "/made", "/later"]).success().out(),
        "file\nlater\n",
        "it keeps its files"
    );
    assert_eq!(bench.run(["kill", "job"]).success().out(), "job\n");
    assert_eq!(bench.run(["wait", "job"]).success().out(), "137\n");
    assert_eq!(bench.run(["rm", "job"]).success().out(), "job\n");
    bench.run(["logs", "job"]).exit(1).complains("no such container");
    assert_eq!(leaks::processes(bench.token()), Vec::<String>::new());
    bench.run(["store", "check"]).success();
}

#[test]
fn a_container_lives_without_its_caller() {
    let Some((bench, _registry)) = with_busybox() else { return };
    life(&bench);
}

#[test]
fn a_container_of_an_ordinary_user_lives_in_the_same_way() {
    let Some(user) = needs::user("ranges") else { return };
    let Some((bench, _registry)) = with_busybox() else { return };
    let bench = bench.as_user(&user);
    life(&bench);
    detached(&bench, "other", &["-u", "1:1"], "while :; do sleep 0.02; done");
    assert_eq!(bench.run(["exec", "other", "id", "-u"]).success().line(), "1");
    bench.run(["rm", "-f", "other"]).success();
    assert_eq!(leaks::processes(bench.token()), Vec::<String>::new());
}

#[test]
fn a_command_that_ignores_the_signal_is_killed_when_its_time_is_over() {
    let Some((bench, _registry)) = with_busybox() else { return };
    detached(&bench, "deaf", &[], "trap 'echo no' TERM USR1; while :; do sleep 0.02; done");
    let start = Instant::now();
    bench.run(["stop", "-t", "1", "deaf"]).success();
    assert!((1..9).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    assert_eq!(state(&bench, "deaf"), "exited 137");
    detached(&bench, "own", &["--stop-signal", "USR1"], "trap 'exit 9' USR1; while :; do sleep 0.02; done");
    bench.run(["stop", "own"]).success();
    assert_eq!(state(&bench, "own"), "exited 9");
    bench.run(["restart", "own"]).success();
    assert_eq!(state(&bench, "own"), "running 0");
    bench.run(["kill", "-s", "USR1", "own"]).success();
    assert_eq!(bench.run(["wait", "own"]).success().out(), "9\n");
    bench.run(["kill", "-s", "NOTHING", "own"]).exit(2).complains("`NOTHING` is no signal");
}

#[test]
fn a_container_that_is_removed_or_removes_itself_leaves_nothing() {
    let Some((bench, _registry)) = with_busybox() else { return };
    detached(&bench, "self", &["--rm"], WAIT);
    bench.run(["stop", "self"]).success();
    let start = Instant::now();
    while bench.run(["ps", "-aq"]).success().out() != "" {
        assert!(start.elapsed() < Duration::from_secs(10), "--rm removes it");
    }
    detached(&bench, "forced", &[], WAIT);
    assert_eq!(bench.run(["rm", "-f", "forced"]).success().out(), "forced\n");
    assert_eq!(bench.run(["ps", "-aq"]).success().out(), "");
    assert_eq!(leaks::processes(bench.token()), Vec::<String>::new());
    bench
        .run(["run", "-d", "--name", "bad", "busybox", "nothing-of-this-name"])
        .exit(127)
        .complains("nothing-of-this-name");
    assert_eq!(state(&bench, "bad"), "exited 127");
    bench.run(["store", "check"]).success();
}

#[test]
fn a_container_ends_with_its_holder_and_the_next_command_knows() {
    let Some((bench, _registry)) = with_busybox() else { return };
    detached(&bench, "held", &[], WAIT);
    let holder = leaks::processes(bench.token()).into_iter().find(|line| line.contains("supervise"));
    let holder = holder.expect("a process holds the container");
    let pid = holder.split_whitespace().next().and_then(|pid| pid.trim_end_matches(':').parse().ok());
    let pid = pid.and_then(rustix::process::Pid::from_raw).unwrap_or_else(|| panic!("a number in {holder}"));
    kill_process(pid, Signal::KILL).expect("it runs");
    let start = Instant::now();
    while state(&bench, "held") != "exited 137" {
        assert!(start.elapsed() < Duration::from_secs(10), "{}", state(&bench, "held"));
    }
    assert_eq!(leaks::processes(bench.token()), Vec::<String>::new());
    assert_eq!(bench.run(["wait", "held"]).success().out(), "137\n");
    assert_eq!(bench.run(["start", "held"]).success().out(), "held\n", "it can be started again");
    bench.run(["rm", "-f", "held"]).success();
    bench.run(["store", "check"]).success();
}

#[test]
fn a_log_has_lines_times_and_ends() {
    let Some((bench, _registry)) = with_busybox() else { return };
    let script = "for i in 1 2 3; do echo out$i; echo err$i >&2; done; printf end";
    bench.run(["run", "--name", "said", "busybox", "sh", "-c", script]).success();
    let all = bench.run(["logs", "said"]);
    assert_eq!((all.success().out().as_str(), all.stderr.as_str()), ("out1\nout2\nout3\nend", "err1\nerr2\nerr3\n"));
    let last = bench.run(["logs", "-n", "0", "said"]);
    assert_eq!((last.success().out().as_str(), last.stderr.as_str()), ("", ""));
    let timed = bench.run(["logs", "-t", "said"]).success().out();
    assert!(timed.lines().all(|line| line.as_bytes()[4] == b'-' && line.contains("Z ")), "{timed}");
    assert_eq!(bench.run(["logs", "--until", "1h", "said"]).success().out(), "");
    assert!(bench.run(["logs", "--since", "1h", "said"]).success().out().starts_with("out1\n"));
    bench.run(["run", "--name", "mute", "--log-driver", "none", "busybox", "echo", "x"]).success();
    bench.run(["logs", "mute"]).exit(2).complains("keeps no log");
}

/// I004: what a container is given beside its image.
#[test]
fn mounts_limits_and_rights_are_what_the_caller_says() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file("dir/f", "of the host\n");
    let run = |flags: &[&str], script: &str| {
        let mut args = vec!["run", "--rm"];
        args.extend(flags);
        args.extend(["busybox", "sh", "-c", script]);
        bench.run(args)
    };
    assert_eq!(run(&["-v", "./dir:/d"], "cat /d/f; echo new > /d/new").success().out(), "of the host\n");
    assert_eq!(fs::read_to_string(bench.work().join("dir/new")).expect("written"), "new\n");
    run(&["-v", "./dir:/d:ro"], "echo x > /d/x").exit(1).complains("Read-only");
    let dir = bench.work().join("dir").display().to_string();
    let mount = format!("type=bind,source={dir},target=/d,readonly");
    run(&["--mount", &mount], "cat /d/f; echo x > /d/x").exit(1);
    run(&["--mount", "type=bind,source=/nowhere/at/all,target=/d"], "true")
        .exit(125)
        .complains("there is no `/nowhere");
    assert_eq!(run(&["--tmpfs", "/t:size=1m"], "df -k /t | tail -1 | awk '{print $2}'").success().line(), "1024");
    run(&["--read-only", "--tmpfs", "/t"], "echo x > /t/x && ! echo x > /x").success();
    assert_eq!(run(&["--add-host", "cask:192.0.2.9"], "grep cask /etc/hosts").success().out(), "192.0.2.9\tcask\n");
    assert_eq!(
        run(&["--dns", "192.0.2.1", "--dns-search", "a.b"], "cat /etc/resolv.conf").success().out(),
        "nameserver 192.0.2.1\nsearch a.b\n"
    );
    assert_eq!(run(&["--ulimit", "nofile=123:456"], "ulimit -n; ulimit -Hn").success().out(), "123\n456\n");
    assert_eq!(run(&["--shm-size", "2m"], "df -k /dev/shm | tail -1 | awk '{print $2}'").success().line(), "2048");
    let bounds = "grep CapBnd /proc/self/status | cut -f2";
    assert_eq!(run(&[], bounds).success().line(), "00000000a80425fb");
    assert_eq!(run(&["--cap-drop", "ALL"], bounds).success().line(), "0000000000000000");
    assert_eq!(run(&["--cap-drop", "chown", "--cap-add", "NET_ADMIN"], bounds).success().line(), "00000000a80435fa");
    run(&["--cap-add", "SYS_ADMIN"], "true").exit(125).complains("--privileged");
    run(&["-p", "80:80"], "true").exit(125).complains("leave `-p` out");
    run(&["-p", "80:80", "--network", "host"], "true").success().complains("`-p 80:80` changes nothing");
    run(&["--restart", "always"], "true").exit(125).complains("--restart");
    run(&["--init"], "true").exit(125).complains("`--init` of `docker run` is not supported");
    run(&["--cidfile", "id"], "true").success();
    assert_eq!(fs::read_to_string(bench.work().join("id")).expect("an id").len(), 64);
    run(&["--cidfile", "id"], "true").exit(125).complains("is there already");
    bench.file("labels", "a=1\n# no\nb=2\n");
    bench
        .run(["create", "--name", "made", "--label-file", "labels", "-l", "b=3", "-v", "/v", "busybox", "true"])
        .success();
    let labels = bench.run(["inspect", "-f", "{{.Config.Labels.a}} {{.Config.Labels.b}}", "made"]).success().line();
    assert_eq!(labels, "1 3");
    bench.run(["rename", "made", "renamed"]).success();
    bench.run(["rename", "renamed", "a b"]).exit(1).complains("is not a container name");
    assert_eq!(bench.run(["ps", "-a", "--format", "{{.Names}}"]).success().out(), "renamed\n");
}

/// Docker's other spellings are the same commands.
#[test]
fn container_verbs_are_the_plain_commands() {
    let Some((bench, _registry)) = with_busybox() else { return };
    detached(&bench, "job", &[], WAIT);
    bench.run(["container", "exec", "job", "true"]).success();
    assert!(bench.run(["container", "logs", "job"]).success().out().starts_with("ready\n"));
    bench.run(["container", "stop", "-t", "5", "job"]).success();
    assert_eq!(bench.run(["container", "wait", "job"]).success().out(), "5\n");
    assert!(bench.run(["container", "prune", "-f"]).success().out().starts_with("Deleted Containers:\n"));
}

/// I019, I018: what a container has changed, and the image of it.
#[test]
fn what_a_container_has_changed_is_listed_and_becomes_an_image() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file(
        "Dockerfile",
        "FROM busybox\nRUN mkdir /d && echo 1 > /d/old && echo 2 > /d/gone\nVOLUME /vol /vol/sub /data\nENV A=1\n",
    );
    bench.run(["build", "-t", "base", "."]).success();
    let script = "echo new > /d/new; echo 3 > /d/old; rm /d/gone; mkdir -p /e; echo x > /vol/x && echo y > /vol/sub/y && ls /data";
    bench.run(["run", "--name", "job", "base", "sh", "-c", script]).success();
    assert_eq!(bench.run(["container", "diff", "job"]).success().out(), "C /d\nD /d/gone\nA /d/new\nC /d/old\nA /e\n");
    let commit =
        ["commit", "-a", "me", "-m", "as it is", "-c", "CMD [\"cat\", \"/d/new\"]", "-c", "ENV B=2", "job", "made:1"];
    let id = bench.run(commit).success().line();
    assert!(id.starts_with("sha256:"), "{id}");
    assert_eq!(bench.run(["run", "--rm", "made:1"]).success().out(), "new\n");
    let seen = bench.run(["run", "--rm", "made:1", "sh", "-c", "cat /d/old; echo $A $B; ls /d /vol"]).success().out();
    assert_eq!(seen, "3\n1 2\n/d:\nnew\nold\n\n/vol:\nsub\n", "a volume's content is no part of it");
    let said =
        bench.run(["inspect", "-f", "{{.Author}} {{.Comment}} {{len .RootFS.Layers}}", "made:1"]).success().line();
    assert_eq!(said, "me as it is 3");
    bench
        .run(["commit", "-c", "RUN true", "job"])
        .exit(2)
        .complains("`RUN true` is no instruction that `--change` takes");
    bench.run(["commit", "-c", "USER", "job"]).exit(2).complains("--change");
    bench.run(["commit", "nobody"]).exit(1).complains("no such container");
    detached(&bench, "running", &[], WAIT);
    bench.run(["commit", "running", "made:2"]).exit(2).complains("--pause=false");
    bench.run(["commit", "--pause=false", "running", "made:2"]).success();
    bench.run(["rm", "-f", "running"]).success();
    // An image made from one that was built can be built upon.
    bench.file("Dockerfile", "FROM made:1\nRUN cat /d/new > /copy\n");
    bench.run(["build", "-t", "upon", "."]).success();
    assert_eq!(bench.run(["run", "--rm", "upon", "cat", "/copy"]).success().out(), "new\n");
    bench.run(["store", "check"]).success();
}

/// I020, I021.
#[test]
fn the_files_of_a_container_are_exported_and_imported_again() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.run(["create", "--name", "job", "-v", "/vol", "busybox", "sh"]).success();
    bench.file("f", "of the host");
    bench.run(["cp", "f", "job:/f"]).success();
    bench.run(["export", "-o", "all.tar", "job"]).success();
    let id =
        bench.run(["import", "-c", "CMD [\"cat\", \"/f\"]", "-m", "imported", "all.tar", "again"]).success().line();
    assert!(id.starts_with("sha256:"), "{id}");
    assert_eq!(bench.run(["run", "--rm", "again"]).success().out(), "of the host");
    assert_eq!(bench.run(["history", "--format", "{{.Comment}}", "again"]).success().line(), "imported");
    let mut archive = tar::Archive::new(fs::File::open(bench.work().join("all.tar")).expect("an archive"));
    let names: Vec<String> = archive
        .entries()
        .expect("entries")
        .map(|entry| entry.expect("an entry").path().expect("a path").display().to_string())
        .collect();
    assert!(names.iter().any(|name| name.trim_start_matches("./") == "f"), "{names:?}");
    assert!(!names.iter().any(|name| name.contains("proc/self")), "nothing that is mounted: {names:?}");
    let bytes = fs::read(bench.work().join("all.tar")).expect("an archive");
    bench.run_with_input(["import", "--platform", "linux/arm64", "-", "other"], bytes).success();
    assert_eq!(bench.run(["inspect", "-f", "{{.Architecture}}", "other"]).success().line(), "arm64");
    bench.run_with_input(["import", "-"], b"no archive at all".to_vec()).exit(3);
    let archive = fs::read(bench.work().join("all.tar")).expect("an archive");
    let server = Server::start(move |request| match request.path.as_str() {
        "/all.tar" => Response::body(200, "application/x-tar", archive.clone()),
        _ => Response::status(404),
    });
    let url = format!("{}/all.tar", server.url());
    bench.run(["import", "-c", "CMD [\"cat\", \"/f\"]", &url, "fetched"]).success();
    assert_eq!(bench.run(["run", "--rm", "fetched"]).success().out(), "of the host");
    let remark = bench.run(["history", "--format", "{{.Comment}}", "fetched"]).success().line();
    assert_eq!(remark, format!("Imported from {url}"));
    bench.run(["import", &format!("{}/none.tar", server.url())]).exit(1).complains("404");
    detached(&bench, "running", &[], WAIT);
    bench.run(["exec", "running", "sh", "-c", "echo live > /live"]).success();
    bench.run(["export", "-o", "live.tar", "running"]).success();
    bench.run(["rm", "-f", "running"]).success();
    bench.run(["import", "live.tar", "live"]).success();
    assert_eq!(bench.run(["run", "--rm", "live", "cat", "/live"]).success().out(), "live\n");
    assert_eq!(bench.run(["info", "--format", "{{.Containers}} {{.Images}}"]).success().line(), "1 5");
    bench.run(["store", "check"]).success();
}
