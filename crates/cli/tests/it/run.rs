//! `run`, `create`, `start`, `ps`, `rm`: containers, their streams and their codes.

use stave_testkit::fixtures::with_busybox;

#[test]
fn run_exits_with_the_commands_code_and_docker_s_own() {
    let Some((bench, _registry)) = with_busybox() else { return };
    let ok = bench.run(["run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!(ok.exit(7).out(), "out\n");
    assert!(ok.stderr.ends_with("err\n"), "{}", ok.stderr);
    bench.run(["run", "--rm", "busybox", "nothing-of-this-name"]).exit(127).complains("nothing-of-this-name");
    bench.run(["run", "--rm", "busybox", "/etc"]).exit(126);
    bench.run(["run", "--rm", "busybox", "sh", "-c", "sh -c 'kill -9 $$'; exit $?"]).exit(137);
    bench.run(["run", "--rm", "nobody/nothing"]).exit(125).complains("nobody/nothing");
    bench.run(["run", "--ip", "192.0.2.1", "busybox"]).exit(125).complains("`--ip` of `docker run` is not supported");
    assert_eq!(bench.run(["ps", "-aq"]).success().out(), "", "--rm leaves nothing");
}

#[test]
fn what_the_caller_says_replaces_what_the_image_says() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file(
        "Dockerfile",
        "FROM busybox\nENV A=image B=image\nWORKDIR /w\nENTRYPOINT [\"echo\", \"entry\"]\nCMD [\"cmd\"]\n",
    );
    bench.run(["build", "-t", "x", "."]).success();
    let out = |args: &[&str]| {
        let all: Vec<&str> = ["run", "--rm"].iter().chain(args).copied().collect();
        bench.run(all).success().line()
    };
    assert_eq!(out(&["x"]), "entry cmd");
    assert_eq!(out(&["x", "--rm", "-x"]), "entry --rm -x");
    assert_eq!(out(&["--entrypoint", "pwd", "x"]), "/w");
    assert_eq!(out(&["--entrypoint", "", "-w", "/tmp", "x", "pwd"]), "/tmp");
    bench.file("vars", "# comment\nC=file\nB=file\n");
    let script = ["--entrypoint", "sh", "x", "-c", "echo $A $B $C"];
    let mut args = vec!["-e", "B=flag", "--env-file", "vars"];
    args.extend(script);
    assert_eq!(out(&args), "image flag file");
    assert_eq!(out(&["-u", "1000:1000", "--entrypoint", "id", "x", "-u"]), "1000");
    assert_eq!(out(&["--hostname", "cask", "--entrypoint", "hostname", "x"]), "cask");
}

#[test]
fn standard_input_reaches_the_command_only_with_i() {
    let Some((bench, _registry)) = with_busybox() else { return };
    let input = || b"hello\n".to_vec();
    assert_eq!(bench.run_with_input(["run", "--rm", "-i", "busybox", "cat"], input()).success().out(), "hello\n");
    assert_eq!(bench.run_with_input(["run", "--rm", "busybox", "cat"], input()).success().out(), "");
}

/// I017: the latest is the one that was made last, however fast they follow each other; its times have fractions.
#[test]
fn the_latest_container_is_the_one_that_was_made_last() {
    let Some((bench, _registry)) = with_busybox() else { return };
    for name in ["m1", "z1", "a1", "k1"] {
        bench.run(["create", "--name", name, "busybox", "true"]).success();
    }
    let names = |args: &[&str]| bench.run(["ps", "--format", "{{.Names}}"].iter().chain(args)).success().out();
    assert_eq!(names(&["-a"]), "k1\na1\nz1\nm1\n");
    assert_eq!((names(&["-l"]), names(&["-n", "2"])), ("k1\n".to_owned(), "k1\na1\n".to_owned()));
    let created = bench.run(["inspect", "-f", "{{.Created}}", "m1", "z1", "a1", "k1"]).success().out();
    assert!(created.lines().all(|time| time.contains('.') && time.ends_with('Z')), "{created}");
    let mut sorted: Vec<&str> = created.lines().collect();
    sorted.sort_by_key(|time| time.trim_end_matches('Z').to_owned());
    assert_eq!(sorted, created.lines().collect::<Vec<_>>());
}

#[test]
fn a_container_is_created_started_listed_and_removed() {
    let Some((bench, _registry)) = with_busybox() else { return };
    let id = bench.run(["create", "--name", "job", "busybox", "sh", "-c", "echo run >> /log; cat /log; exit 3"]);
    let id = id.success().line();
    assert_eq!(id.len(), 64);
    assert_eq!(bench.run(["ps", "-q"]).success().out(), "", "ps lists what runs");
    assert_eq!(
        bench.run(["ps", "-a", "--format", "{{.Names}} {{.Status}} {{.State}}"]).success().line(),
        "job Created created"
    );
    let first = bench.run(["start", "-a", "job"]);
    assert_eq!(first.exit(3).out(), "run\n");
    assert_eq!(bench.run(["start", "-a", &id[..12]]).exit(3).out(), "run\nrun\n", "a container keeps its files");
    assert_eq!(bench.run(["start", "job"]).success().out(), "job\n", "without -a only the name is printed");
    assert_eq!(bench.run(["wait", "job"]).success().out(), "3\n");
    let out = bench.run(["ps", "-a"]).success().out();
    let heads = ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"];
    let places: Vec<_> = heads.iter().map(|head| out.find(head)).collect();
    assert!(places.is_sorted() && places.iter().all(Option::is_some), "{out}");
    assert!(out.contains("\"sh -c echo run >> /…\""), "{out}");
    assert!(out.contains("Exited (3) Less than a second ago") || out.contains("Exited (3) 1 second"), "{out}");
    assert_eq!(bench.run(["ps", "-aq", "--filter", "status=exited", "--no-trunc"]).success().line(), id);
    assert_eq!(bench.run(["ps", "-aq", "--filter", "name=nope"]).success().out(), "");
    assert_eq!(bench.run(["inspect", "-f", "{{.State.ExitCode}} {{.Name}}", "job"]).success().line(), "3 /job");
    bench.run(["rmi", "busybox"]).exit(1).complains("job");
    assert_eq!(bench.run(["rm", "-v", "job"]).success().out(), "job\n");
    bench.run(["start", "job"]).exit(1).complains("job");
}

#[test]
fn pull_says_what_it_fetched_and_when_it_had_it_already() {
    let Some((bench, registry)) = with_busybox() else { return };
    let first = bench.run(["pull", "busybox"]);
    let out = first.success().out();
    assert!(out.contains("Status: Downloaded newer image for busybox:latest\n"), "{out}");
    assert!(out.ends_with("docker.io/library/busybox:latest\n"), "{out}");
    drop(registry.take_log());
    let second = bench.run(["pull", "busybox"]);
    assert!(second.success().out().contains("Status: Image is up to date for busybox:latest\n"), "{}", second.out());
    let log = registry.take_log();
    let blobs = log.iter().filter(|line| line.contains("/blobs/")).count();
    assert!(blobs <= 1, "no layer is fetched twice: {log:?}");
    assert_eq!(bench.run(["pull", "-q", "busybox"]).success().out(), "docker.io/library/busybox:latest\n");
}
