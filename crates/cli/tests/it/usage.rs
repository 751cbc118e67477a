//! The command line itself: help, mistakes, codes, other names, completions.

use stave_testkit::Bench;

#[test]
fn a_mistake_on_the_command_line_exits_with_2_and_a_hint() {
    let bench = Bench::new();
    bench
        .run(["biuld", "."])
        .exit(2)
        .complains("error: stave has no command `biuld`\nhint: A similar command is `build`.\n");
    bench.run(["build"]).exit(2).complains("error: `stave build` needs `CONTEXT`\nhint: `stave build .` builds");
    bench.run(["tag", "a"]).exit(2).complains("error: `stave tag` needs ").complains("hint: See `stave tag --help`");
    bench.run(["build", "a", "b"]).exit(2).complains("`b` is one argument too many for `stave build`");
    bench.run(["compose", "a"]).exit(2).complains("`docker compose` is not supported");
    bench.run(["cp", "a", "b"]).exit(2).complains("neither of the two is in a container");
    bench.run(["cp", "a:/x", "b:/x"]).exit(2).complains("copying between two containers is not supported");
    assert!(!bench.store().exists(), "a mistake makes no store");
}

/// What a person types who has read nothing: each message is whole, and leads on.
#[test]
fn the_first_mistakes_with_the_commands_about_builds_are_answered() {
    let bench = Bench::new();
    let table: &[(&[&str], i32, &str)] = &[
        (
            &["builds", "foo"],
            2,
            "error: `stave builds` has no command `foo`\nhint: See `stave builds --help` for the commands that there are.\n",
        ),
        (
            &["builds", "limit", "--count", "x"],
            2,
            "error: `--count x`: expected a whole number\nhint: See `stave builds limit --help` for what there is.\n",
        ),
        (
            &["builds", "limit", "--count", "5000000000"],
            2,
            "error: `--count 5000000000`: 5000000000 is not in 0..=4294967295\nhint: See `stave builds limit --help` for what there is.\n",
        ),
        (
            &["debug", "--after"],
            2,
            "error: `--after` needs a value\nhint: See `stave debug --help` for what there is.\n",
        ),
        (
            &["explain", "--format", "xml"],
            2,
            "error: `--format xml`: expected one of `text`, `json`\nhint: See `stave explain --help` for what there is.\n",
        ),
    ];
    for (args, code, expected) in table {
        assert_eq!(bench.run(*args).exit(*code).stderr, *expected, "{args:?}");
    }
    let empty = "error: the history has no build\nhint: It has one as soon as `stave build` has begun with one.\n";
    let about_the_latest: [&[&str]; 10] = [
        &["explain"],
        &["report"],
        &["graph"],
        &["advise"],
        &["builds", "show"],
        &["builds", "logs"],
        &["builds", "trace"],
        &["debug"],
        &["debug", "--list"],
        &["debug", "--before", "1"],
    ];
    for args in about_the_latest {
        assert_eq!(bench.run(args).exit(1).stderr, empty, "{args:?}");
    }
    let none =
        "error: the history has no build `nothing`\nhint: See `stave builds ls` for the builds that there are.\n";
    let about_one: [&[&str]; 7] = [
        &["explain", "nothing"],
        &["report", "nothing"],
        &["graph", "nothing"],
        &["builds", "show", "nothing"],
        &["builds", "logs", "nothing"],
        &["builds", "trace", "nothing"],
        &["builds", "rm", "nothing"],
    ];
    for args in about_one {
        assert_eq!(bench.run(args).exit(1).stderr, none, "{args:?}");
    }
}

#[test]
fn help_and_version_need_no_store_and_go_to_standard_output() {
    let bench = Bench::new();
    for args in
        [&["--help"][..], &["help", "build"], &["build", "--help"], &["image", "--help"], &["--version"], &["version"]]
    {
        let output = bench.run(args);
        assert!(!output.success().stdout.is_empty() && output.stderr.is_empty(), "{args:?}");
    }
    assert!(!bench.store().exists());
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(bench.run(["--version"]).line(), format!("stave version {version}"));
    assert_eq!(bench.run(["version", "--format", "{{.Version}}"]).success().line(), version);
}

#[test]
fn every_shell_gets_completions() {
    let bench = Bench::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = bench.run(["completions", shell]).success().out();
        assert!(script.contains("--build-arg") || script.contains("build-arg"), "{shell}");
    }
    bench.run(["completions", "tcsh"]).exit(2).complains("tcsh");
}

#[test]
fn dockers_two_word_commands_are_the_same_commands() {
    let bench = Bench::new();
    bench.file("Dockerfile", "FROM scratch\nCOPY a /\n").file("a", "");
    bench.run(["buildx", "build", "-t", "x", "."]).success();
    assert_eq!(bench.run(["image", "ls", "--format", "{{.Repository}}"]).success().line(), "x");
    bench.run(["image", "inspect", "x"]).success();
    bench.run(["container", "inspect", "x"]).exit(1).complains("no such container");
    assert_eq!(bench.run(["container", "ls", "-aq"]).success().out(), "");
    bench.run(["image", "rm", "x"]).success();
}

#[test]
fn a_link_named_docker_does_the_same() {
    let bench = Bench::new();
    let docker = bench.path("docker");
    std::os::unix::fs::symlink(stave_testkit::bench::stave_binary(), &docker).expect("a writable bench");
    bench.file("Dockerfile", "FROM scratch\nCOPY a /\n").file("a", "");
    let mut build = bench.other(&docker);
    build.args(["build", "--rm=true", "--pull=false", "-t", "x", "."]);
    bench.finish(build).success();
    let mut list = bench.other(&docker);
    list.args(["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    assert_eq!(bench.finish(list).success().line(), "x:latest");
}

#[test]
fn the_store_is_where_the_caller_says() {
    let bench = Bench::new();
    let root = bench.path("elsewhere");
    bench.run(["--root", &root.display().to_string(), "images"]).success();
    assert!(root.is_dir() && !bench.store().exists());
    bench.run(["images", "--root", "relative"]).success();
    assert!(bench.work().join("relative").is_dir());
}

#[test]
fn doctor_says_what_there_is_and_leaves_nothing() {
    let bench = Bench::new();
    let output = bench.run(["doctor", "--format", "{{.Name}}={{.State}}"]);
    assert!(output.out().contains("overlay="), "{}", output.out());
    assert!(!bench.store().exists());
}
