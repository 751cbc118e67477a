//! A failed build as a workbench: `stave debug`, `--on-failure shell`, `--output-on-failure`, bundles.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use stave_testkit::bench::Bench;
use stave_testkit::fixtures::with_busybox;
use stave_testkit::output::Output;
use stave_testkit::wait::wait_until;
use stave_testkit::{leaks, needs};

/// A text that nothing else has.
const SECRET: &str = "hush-9b2e44-never-to-be-seen";

fn build(bench: &Bench, options: &[&str], dockerfile: impl AsRef<str>) -> Output {
    bench.file("Dockerfile", dockerfile.as_ref());
    bench.run(["build", "."].iter().chain(options))
}

/// What a shell line prints in the failed state, or in another one.
fn in_state(bench: &Bench, options: &[&str], line: &str) -> String {
    bench.run(["debug"].iter().chain(options).chain(&["--", "sh", "-c", line])).success().out()
}

/// The files below a directory that hold the secret.
fn with_secret(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pending = vec![root.to_owned()];
    while let Some(path) = pending.pop() {
        let Ok(metadata) = path.symlink_metadata() else { continue };
        if metadata.is_dir() {
            pending.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
        } else if fs::read(&path).unwrap_or_default().windows(SECRET.len()).any(|part| part == SECRET.as_bytes()) {
            found.push(path);
        }
    }
    found
}

const FAILING: &str = "FROM busybox AS base\nENV A=1 HOME=/home\nFROM base AS test\nARG B=two\nWORKDIR /src\n\
                       RUN echo before > /before\nUSER 7:8\nRUN echo $0 > /tmp/left; rm -f /d/gone; echo said; exit 42\n";

/// The state of a build that failed, entered in all the ways that need no terminal.
fn failed_state(bench: &Bench) {
    bench.file("Dockerfile", "FROM busybox\nRUN mkdir -p -m 1777 /tmp && mkdir -m 777 /d && touch /d/gone\n");
    bench.run(["build", "-t", "based", "."]).success();
    build(bench, &[], FAILING.replace("FROM busybox", "FROM based")).exit(1);
    let seen = in_state(bench, &[], "cat /tmp/left /before; ls /d; echo $A $B $HOME; pwd; id -u; id -g");
    assert_eq!(seen, "/bin/sh\nbefore\n1 two /home\n/src\n7\n8\n");
    let ran = bench.run(["debug", "--", "again"]);
    assert_eq!((ran.exit(42).out().as_str(), ran.stderr.as_str()), ("said\n", ""));
    in_state(bench, &[], "echo x > /tmp/new; rm /tmp/left");
    assert_eq!(in_state(bench, &[], "ls /tmp"), "left\n", "a session changes nothing");
    bench.run(["debug", "--", "sh", "-c", "exit 9"]).exit(9);
    bench.run(["debug", "--", "no-such-program"]).exit(127).complains("no-such-program");
    let piped = bench.run_with_input(["debug"], b"echo from stdin; cat /tmp/left; exit 3\n".to_vec());
    assert_eq!(piped.exit(3).out(), "from stdin\n/bin/sh\n");
    assert_eq!(leaks::processes(bench.token()), Vec::<String>::new());
    bench.run(["store", "check"]).success();
}

#[test]
fn a_failed_step_can_be_entered_as_it_left_everything() {
    let Some((bench, _registry)) = with_busybox() else { return };
    failed_state(&bench);
}

#[test]
fn an_ordinary_user_enters_a_failed_step_in_the_same_way() {
    let Some(user) = needs::user("ranges") else { return };
    let Some((bench, _registry)) = with_busybox() else { return };
    failed_state(&bench.as_user(&user));
}

/// A command in an image without a shell, and a shell that was asked for: the shell runs the command.
#[test]
fn a_command_is_run_by_the_shell_that_was_asked_for_or_by_staves_own() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file("a b", "content\n");
    build(&bench, &[], "FROM scratch\nCOPY [\"a b\", \"/\"]\nRUN echo hello\n").exit(1);
    let debug = |options: &[&str]| bench.run(["debug"].iter().chain(options));
    assert_eq!(debug(&["--", "cat", "/a b"]).success().out(), "content\n");
    assert_eq!(debug(&["--", "sh", "-c", "cat '/a b'"]).success().out(), "content\n");
    debug(&["--", "none"]).exit(127).complains("none");
    build(&bench, &[], "FROM busybox\nRUN exit 1\n").exit(1);
    assert_eq!(debug(&["--shell", "/bin/sh", "--", "echo", "a  b"]).success().out(), "a  b\n");
    assert!(debug(&["--shell", "stave", "--", "help"]).success().out().contains("cat"));
    debug(&["--", "ls -l"]).exit(127).complains("hint: A whole line is for a shell: `stave debug -- sh -c LINE`.");
    debug(&["-t", "--", "ls"]).exit(2).complains("standard input is no terminal, which `-t` needs\n");
}

/// The environment is the step's to the last variable, and that of `again`, too.
#[test]
fn the_environment_of_a_session_is_that_of_the_step() {
    let Some((bench, _registry)) = with_busybox() else { return };
    let failed = build(
        &bench,
        &["--progress", "plain"],
        "FROM busybox\nENV E='a b'\nRUN env | sort > /env; cat /proc/self/limits | grep open; false\n",
    );
    failed.exit(1);
    assert_eq!(in_state(&bench, &[], "env | sort > /tmp-env; diff /env /tmp-env && echo same"), "same\n");
    assert_eq!(
        in_state(&bench, &[], "/.stave/again; cat /env | grep ^E="),
        "Max open files            1048576              1048576              files     \nE=a b\n".replace(
            "Max open files            1048576              1048576              files     \n",
            &in_state(&bench, &[], "grep open /proc/self/limits"),
        )
    );
}

/// The password of a proxy is nothing to keep: a session has those of the caller's configuration, and those that are given.
#[test]
fn proxies_are_of_whoever_opens_the_state() {
    let Some((bench, _registry)) = with_busybox() else { return };
    let proxy = format!("http_proxy=http://user:{SECRET}@127.0.0.1:9/");
    build(&bench, &["--build-arg", &proxy], "FROM busybox\nRUN test -z \"$http_proxy\"\n").exit(1);
    assert_eq!(with_secret(&bench.store()), Vec::<PathBuf>::new());
    let without = bench.run(["debug", "--", "sh", "-c", "echo ${#http_proxy}"]);
    assert_eq!(without.success().out(), "0\n");
    without.complains("note: the proxy `http_proxy` is not kept");
    bench.run(["debug", "-e", &proxy, "--", "again"]).exit(1);
    bench.file("../home/.docker/config.json", r#"{"proxies":{"default":{"httpProxy":"http://127.0.0.1:8/"}}}"#);
    assert_eq!(in_state(&bench, &[], "echo $http_proxy $HTTP_PROXY"), "http://127.0.0.1:8/ http://127.0.0.1:8/\n");
}

#[test]
fn the_mounts_of_a_failed_step_are_there_and_nothing_is_written_through_them() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file("ctx/f", "of the context").file("one", "a file");
    let dockerfile = "FROM busybox AS tools\nRUN echo tool > /tool\nFROM busybox\n\
         RUN --mount=type=bind,source=ctx,target=/ctx,rw --mount=type=bind,source=one,target=/one \
         --mount=type=bind,from=tools,target=/tools --mount=type=cache,target=/cache --mount=type=tmpfs,target=/mem <<END\n\
         echo changed > /ctx/f\necho cached > /cache/c\necho memory > /mem/m\nfalse\nEND\n";
    build(&bench, &[], dockerfile).exit(1);
    bench.file("ctx/f", "changed since");
    let look = "cat /ctx/f /one /tools/tool /cache/c; ls /mem; echo session | tee /ctx/f /cache/c /mem/m";
    for _ in 0..2 {
        assert_eq!(in_state(&bench, &[], look), "changed\na filetool\ncached\nsession\n");
    }
    let read_only = bench.run(["debug", "--", "sh", "-c", "echo x > /one"]);
    read_only.exit(1).complains("Read-only file system");
    let before = in_state(&bench, &["--before", ":4"], "cat /ctx/f; ls /ctx");
    assert_eq!(before, "changed\nf\n", "what its mounts showed is kept with the step");
    bench.run(["store", "check"]).success();
}

/// T158 and A20: the place of a secret is empty unless it is given again, and what it says is nowhere.
#[test]
fn a_secret_is_in_a_session_only_if_it_is_given_again() {
    let Some((mut bench, _registry)) = with_busybox() else { return };
    bench.set("TOKEN", SECRET);
    let dockerfile = "FROM busybox\nRUN --mount=type=secret,id=s,required=true,env=TOK --mount=type=secret,id=s \
                      --mount=type=ssh wc -c < /run/secrets/s; echo ${#TOK}; false\n";
    build(&bench, &["--secret", "id=s,env=TOKEN"], dockerfile).exit(1);
    let without = bench.run(["debug", "--", "sh", "-c", "wc -c < /run/secrets/s; echo ${#TOK}; echo $SSH_AUTH_SOCK"]);
    assert_eq!(without.success().out(), "0\n0\n/run/buildkit/ssh_agent.0\n");
    without.complains("note: secret `s` is not kept").complains("note: SSH agent `default` is not there");
    let given = bench.run(["debug", "--secret", "id=s,env=TOKEN", "--", "again"]);
    assert_eq!(given.exit(1).out(), format!("{0}\n{0}\n", SECRET.len()));
    bench.run(["debug", "--export", "state.tar"]).success();
    for place in [bench.store(), bench.work(), bench.path("tmp"), bench.path("home")] {
        assert_eq!(with_secret(&place), Vec::<PathBuf>::new());
    }
}

#[test]
fn the_state_before_and_after_any_step_can_be_entered() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file("a", "copied");
    let dockerfile = "FROM busybox AS build\nRUN echo 1 > /one\nENV STEP=2\nRUN \\\n  echo 2 > /two\nCOPY --link a /a\n\
                      FROM scratch\nCOPY --from=build /two /\n";
    build(&bench, &[], dockerfile).success();
    let list = bench.run(["debug", "--list"]).success().out();
    let lines: Vec<Vec<&str>> = list.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[3][..3], ["3", "build/3", ":4"], "{list}");
    let look = "ls /one /two /a 2>/dev/null; echo $STEP; true";
    assert_eq!(in_state(&bench, &["--before", "3"], look), "/one\n2\n");
    assert_eq!(in_state(&bench, &["--after", "build/3"], look), "/one\n/two\n2\n");
    assert_eq!(in_state(&bench, &["--before", ":2"], look), "\n");
    assert_eq!(in_state(&bench, &["--after", ":5"], look), "/one\n/two\n2\n", "any line of an instruction means it");
    assert_eq!(in_state(&bench, &["--before", ":6"], look), "/one\n/two\n2\n", "a linked copy, too");
    assert_eq!(in_state(&bench, &["--after", ":6"], look), "/a\n/one\n/two\n2\n");
    assert_eq!(in_state(&bench, &["--after", "stage-1/1"], "cat /two"), "2\n");
    assert_eq!(bench.run(["debug", "--before", "3", "--", "again"]).success().out(), "");
    bench.run(["debug", "--after", ":6", "--", "again"]).exit(1).complains("is no command");
    bench.run(["debug", "--after", "9", "--", "true"]).exit(2).complains("has no step 9").complains("--list");
    assert_eq!(in_state(&bench, &["--before", "build"], look), in_state(&bench, &["--before", "build/1"], look));
    assert_eq!(in_state(&bench, &["--after", "BUILD"], look), "/a\n/one\n/two\n2\n");
    assert_eq!(in_state(&bench, &["--after", "stage-1"], "cat /two"), "2\n");
    assert_eq!(
        bench.run(["debug", "--after", "biuld", "--", "true"]).exit(2).stderr.split_once(" has no ").expect("said").1,
        "stage `biuld`\nhint: Its stages are `build`, `stage-1`; `stave debug --list` has their steps.\n"
    );
    bench.run(["debug", "--after", "3x", "--", "true"]).exit(2).complains(
        "`3x` names no step: expected a number of the list, `STAGE`, `STAGE/NUMBER`, or `:LINE` of the Dockerfile",
    );
    bench.run(["debug", "--", "true"]).exit(2).complains("no build of the history has failed");
    bench.run(["debug", "zzzz", "--", "true"]).exit(1).complains("the history has no build `zzzz`");
    assert_eq!(
        bench.run(["debug", "ls"]).exit(1).stderr,
        "error: the history has no build `ls`\nhint: Builds are named by their ids, as `stave builds ls` lists them. If `ls` is a \
         command, it stands behind `--`: `stave debug -- ls`.\n"
    );
    bench.run(["store", "prune", "-f"]).success();
    bench
        .run(["debug", "--after", "3", "--", "true"])
        .exit(2)
        .complains("it was pruned")
        .complains("--no-cache-filter");
}

/// What was found in the cache, and what lies below it, can be entered as well.
#[test]
fn the_states_of_a_build_that_ran_nothing_can_be_entered() {
    let Some((bench, _registry)) = with_busybox() else { return };
    let dockerfile = "FROM busybox\nRUN echo 1 > /one\nRUN echo 2 > /two\n";
    build(&bench, &[], dockerfile).success();
    build(&bench, &[], dockerfile).success();
    assert_eq!(in_state(&bench, &["--after", ":2"], "ls /one /two 2>/dev/null; true"), "/one\n");
}

/// The error of a step that is no command: its files are those before it.
#[test]
fn a_copy_that_fails_leaves_the_state_before_it() {
    let Some((bench, _registry)) = with_busybox() else { return };
    build(&bench, &[], "FROM busybox\nRUN echo 1 > /one\nWORKDIR /w\nCOPY --from=busybox /no/such/file /\n").exit(1);
    assert_eq!(in_state(&bench, &[], "cat /one; pwd"), "1\n/w\n");
    bench.run(["debug", "--", "again"]).exit(1).complains("is no command");
}

/// An image with a program and nothing else, whose step fails.
fn without_shell(bench: &Bench) {
    let busybox = needs::busybox().expect("the fixture has one");
    fs::copy(busybox, bench.work().join("program")).expect("it can be copied");
    let dockerfile = "FROM scratch\nCOPY --chmod=755 program /bin/cat\nWORKDIR /w\nRUN [\"/bin/cat\", \"/no/such\"]\n";
    build(bench, &[], dockerfile).exit(1);
}

#[test]
fn an_image_without_a_shell_gets_a_static_one() {
    let Some((bench, _registry)) = with_busybox() else { return };
    without_shell(&bench);
    let script = "pwd; ls -l / | wc -l\necho \"$PATH\" > f && cat f; ls /bin/*; find / -name cat -type f\n\
                  /.stave/again; echo $?; no-such; echo $?\nexit 5\n";
    let ran = bench.run_with_input(["debug"], script.as_bytes().to_vec());
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert!(ran.exit(5).out().starts_with("/w\n"), "{}", ran.out());
    assert!(ran.out().ends_with(&format!("\n{path}\n/bin/cat\n/bin/cat\n1\n127\n")), "{}", ran.out());
    ran.complains("can't open '/no/such'").complains("there is no program `no-such`");
    build(&bench, &[], "FROM scratch\nCOPY program /p\nRUN echo no shell\n").exit(1);
    assert_eq!(bench.run_with_input(["debug"], b"ls /; again\n".to_vec()).exit(127).out(), "dev\netc\np\nproc\nsys\n");
    build(&bench, &[], "FROM busybox\nRUN false\n").exit(1);
    assert_eq!(
        bench.run_with_input(["debug", "--shell", "stave"], b"help\n".to_vec()).success().out().lines().next(),
        Some("A small shell: words, quotes, $VARIABLES, * and ?, pipes, < > >> 2>, && || ;")
    );
    assert_eq!(leaks::processes(bench.token()), Vec::<String>::new());
}

#[test]
fn an_ordinary_user_gets_a_static_shell_too() {
    for kind in ["ranges", "single"] {
        let Some(user) = needs::user(kind) else { return };
        let Some((bench, _registry)) = with_busybox() else { return };
        let bench = bench.as_user(&user);
        without_shell(&bench);
        let ran = bench.run_with_input(["debug"], b"pwd; ls /bin; echo x > /bin/new; ls /bin\n".to_vec());
        assert_eq!(ran.success().out(), "/w\ncat\ncat\nnew\n", "{kind}");
    }
}

/// docker/cli#2577: files of a step that fails come out, and the build ends as it did.
#[test]
fn files_of_a_failed_step_are_copied_out_and_the_exit_code_is_kept() {
    let Some((bench, _registry)) = with_busybox() else { return };
    let dockerfile = "FROM busybox AS test\nRUN mkdir -p /reports/sub && echo r > /reports/sub/r && ln -s /etc/passwd /reports/l && \
                      ln -s ../../../../../../../outside /reports/esc && echo one > /one; mkdir -p /dev/shm/x; exit 3\n";
    let options = [
        "--output-on-failure",
        "test:/reports=out/new/reports",
        "--output-on-failure",
        ":/one=out/single",
        "--output-on-failure",
        "0:/none=out/none",
        "--output-on-failure",
        "other:/one=out/other",
        "--output-on-failure",
        ":/dev/shm/x=out/shm",
    ];
    for _ in 0..2 {
        let failed = build(&bench, &options, dockerfile);
        failed.exit(1).complains("took /reports of the failed step to out/new/reports");
        failed.complains("took nothing to out/none: the failed step left no `/none`");
        failed.complains("took nothing to out/other: the step that failed is of stage `test`");
        failed.complains("took nothing to out/shm");
        failed.complains("exit status 3");
    }
    let out = bench.work().join("out");
    assert_eq!(fs::read_to_string(out.join("new/reports/sub/r")).expect("it is there"), "r\n");
    assert_eq!(fs::read_to_string(out.join("single")).expect("it is there"), "one\n");
    assert_eq!(fs::read_link(out.join("new/reports/l")).expect("a link stays one"), Path::new("/etc/passwd"));
    assert!(!out.join("none").exists() && !out.join("other").exists());
    bench.run(["build", "--output-on-failure", "/x", "."]).exit(2).complains("expected `STAGE:/path=DEST`");
    build(&bench, &options[..2], "FROM busybox\nRUN true\n").success();
    let failed =
        build(&bench, &["--output-on-failure", ":/a/b=out/b"], "FROM busybox\nRUN ln -s /proc/1/root/etc /a; false\n");
    failed.exit(1).complains("took nothing to out/b");
}

/// A120 and A20: a bundle tells no secret, neither one that was given as one nor one that is only called so.
#[test]
fn a_bundle_has_no_secrets() {
    let Some((mut bench, registry)) = with_busybox() else { return };
    bench.set("TOKEN", SECRET);
    let dockerfile = "FROM busybox\nARG NPM_TOKEN\nARG PLAIN\nRUN --mount=type=secret,id=s,env=TOK --mount=type=secret,id=s \
                      cp /run/secrets/s /dev/shm/s && test -n \"$TOK$NPM_TOKEN\" && touch /used && false\n";
    let token = format!("NPM_TOKEN={SECRET}");
    build(&bench, &["--secret", "id=s,env=TOKEN", "--build-arg", &token, "--build-arg", "PLAIN=seen"], dockerfile)
        .exit(1);
    assert_eq!(in_state(&bench, &[], "ls /used; echo ${#NPM_TOKEN}"), format!("/used\n{}\n", SECRET.len()));
    bench.run(["debug", "--export", "state.tar"]).success().complains("the value of `NPM_TOKEN` is not in the bundle");
    assert_eq!(with_secret(&bench.work()), Vec::<PathBuf>::new());
    let other = Bench::new().with_registry(&registry);
    let bundle = bench.work().join("state.tar").display().to_string();
    let look = [
        "debug",
        "--bundle",
        &bundle,
        "-e",
        "ADDED=1",
        "--",
        "sh",
        "-c",
        "ls /used; echo $NPM_TOKEN $PLAIN $TOK $ADDED",
    ];
    assert_eq!(other.run(look).success().out(), "/used\nseen 1\n");
    assert_eq!(with_secret(&other.store()), Vec::<PathBuf>::new());
    let again = other.run(["debug", "--bundle", &bundle, "-e", "NPM_TOKEN=x", "--", "sh", "-c", "echo $NPM_TOKEN"]);
    assert_eq!(again.success().out(), "x\n");
}

#[test]
fn a_failed_state_opens_on_another_machine() {
    let Some((bench, registry)) = with_busybox() else { return };
    bench.file("ctx/f", "of the context");
    let dockerfile = "FROM busybox AS test\nWORKDIR /src\nENV A=1\nRUN --mount=type=bind,source=ctx,target=/ctx,rw --mount=type=cache,target=/c \
                      echo x > /c/x; echo changed > /ctx/g; echo left > /left; rm /bin/ls; echo said; exit 4\n";
    build(&bench, &["--build-arg", "http_proxy=http://user:pass@192.0.2.1:1"], dockerfile).exit(1);
    let exported = bench.run(["debug", "--export", "state.tar"]);
    exported.success().complains("wrote state.tar").complains("caches of the step is not in the bundle");
    bench.run(["debug", "--export", "state.tar"]).exit(2).complains("state.tar");
    let bundle = bench.work().join("state.tar").display().to_string();
    let other = Bench::new().with_registry(&registry);
    let look = "cat /left /ctx/f /ctx/g; pwd; echo $A $http_proxy; ls /c 2>&1; echo /c/*";
    let seen = other.run(["debug", "--bundle", &bundle, "--", "sh", "-c", look]);
    assert_eq!(seen.success().out(), "left\nof the contextchanged\n/src\n1\n/c/*\n");
    seen.complains("note: cache");
    assert_eq!(other.run(["debug", "--bundle", &bundle, "--", "again"]).exit(4).out(), "said\n");
    other.run(["store", "prune", "-f"]).success();
    other.run(["store", "check"]).success();
    if let Some(user) = needs::user("ranges") {
        let other = Bench::new().as_user(&user);
        let copy = other.work().join("copy.tar").display().to_string();
        fs::copy(&bundle, &copy).expect("it can be copied");
        fs::set_permissions(&copy, std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("it is ours");
        assert_eq!(
            other.run(["debug", "--bundle", &copy, "--", "cat", "/left", "/ctx/g"]).success().out(),
            "left\nchanged\n"
        );
    }
    let bytes = fs::read(&bundle).expect("it is there");
    assert!(!bytes.windows(9).any(|part| part == b"user:pass"));
    let mut archive = tar::Archive::new(&bytes[..]);
    let names: Vec<String> = archive
        .entries()
        .expect("it is a tar")
        .map(|entry| entry.expect("it is a tar").path().expect("a name").display().to_string())
        .collect();
    assert_eq!(
        (names.first().map(String::as_str), names.last().map(String::as_str)),
        (Some("stave-workbench.json"), Some("step.log"))
    );
}

/// What is in a bundle is from anywhere.
#[test]
fn a_hostile_bundle_is_refused_and_does_no_harm() {
    let Some((bench, _registry)) = with_busybox() else { return };
    build(&bench, &[], "FROM busybox\nRUN --security=insecure true\nRUN false\n").exit(1).complains("not allowed");
    build(&bench, &["--allow", "security.insecure"], "FROM busybox\nRUN --security=insecure id; false\n").exit(1);
    bench.run(["debug", "--", "true"]).exit(2).complains("--allow security.insecure");
    bench.run(["debug", "--allow", "security.insecure", "--", "true"]).success();
    bench.run(["debug", "--export", "insecure.tar"]).success();
    bench.run(["debug", "--bundle", "insecure.tar", "--", "true"]).exit(2).complains("--allow security.insecure");
    build(&bench, &[], "FROM busybox\nRUN echo x > /x; false\n").exit(1);
    bench.run(["debug", "--export", "good.tar"]).success();
    let parts = members(&bench.work().join("good.tar"));
    let head = String::from_utf8(parts[0].1.clone()).expect("it is text");
    let changed = |from: &str, to: &str| {
        assert!(head.contains(from), "{head}");
        let mut parts = parts.clone();
        parts[0].1 = head.replacen(from, to, 1).into_bytes();
        parts
    };
    let mut swapped = parts.clone();
    swapped[2].1.clone_from(&parts[1].1);
    let digest = head.split("\"sha256:").nth(1).and_then(|rest| rest.get(..64)).expect("a digest");
    let mut lying = changed(digest, &"0".repeat(64));
    lying[1].0 = "layers/0.tar.zst".to_owned();
    let mut link = parts.clone();
    link[1].0 = "../../../../escaped".to_owned();
    for (what, parts, code, said) in [
        ("nothing", Vec::new(), 2, "is no bundle"),
        ("no description", parts[1..].to_vec(), 2, "is no bundle"),
        ("no layer", parts[..1].to_vec(), 2, "is no bundle"),
        ("another layer", swapped, 3, "digest mismatch"),
        ("a wrong digest", lying, 3, "digest mismatch"),
        ("a name that leads outside", link, 2, "is no bundle"),
        ("layers that are not there", changed("\"parent\":[\"0\"", "\"parent\":[\"77\""), 2, "does not have"),
        ("a layer of the store", changed("\"parent\":[\"0\"", "\"parent\":[\"../../etc\""), 2, "does not have"),
        ("a step that is not there", changed("\"step\":0", "\"step\":5"), 2, "does not have"),
        ("a later version", changed("\"version\":1", "\"version\":2"), 2, "version 2"),
    ] {
        let other = Bench::new();
        let path = other.work().join("hostile.tar");
        write_members(&path, &parts);
        other.run(["debug", "--bundle", "hostile.tar", "--", "true"]).exit(code).complains(said);
        other.run(["store", "check"]).success();
        assert!(!other.path("escaped").exists() && !other.work().join("escaped").exists(), "{what}");
    }
    bench.file("text", "no archive at all");
    bench.run(["debug", "--bundle", "text", "--", "true"]).exit(2).complains(
        "error: `text` is no bundle: failed to read entire block\n\
         hint: `stave debug --export FILE` writes one, on the machine where the build failed.\n",
    );
    let exists =
        "error: `text` exists, and a bundle overwrites nothing\nhint: Name another file, or remove it first.\n";
    bench.run(["debug", "--export", "text"]).exit(2).complains(exists);
    let mut cut = parts.clone();
    let half = cut[1].1.len() / 2;
    cut[1].1.truncate(half);
    let other = Bench::new();
    write_members(&other.work().join("cut.tar"), &cut);
    other.run(["debug", "--bundle", "cut.tar", "--", "true"]).exit(3).complains(
        "error: the bundle `cut.tar` is damaged: cannot unpack a layer of the bundle: incomplete frame\n\
         hint: Copy it again, or export it again with `stave debug --export FILE` on the machine where the build failed.\n",
    );
    bench.run(["debug", "--bundle", "missing", "--", "true"]).exit(2).complains("missing");
}

fn members(path: &Path) -> Vec<(String, Vec<u8>)> {
    let bytes = fs::read(path).expect("it is there");
    let mut archive = tar::Archive::new(&bytes[..]);
    let entries = archive.entries().expect("it is a tar");
    entries
        .map(|entry| {
            let mut entry = entry.expect("it is a tar");
            let name = entry.path().expect("a name").display().to_string();
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut bytes).expect("it is whole");
            (name, bytes)
        })
        .collect()
}

/// Writes a tar whose names nobody has looked at.
fn write_members(path: &Path, members: &[(String, Vec<u8>)]) {
    let mut builder = tar::Builder::new(fs::File::create(path).expect("it can be made"));
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append(&header, &bytes[..]).expect("it can be written");
    }
    builder.finish().expect("it can be written");
}

#[test]
fn a_failed_state_is_kept_in_the_account_of_the_store_and_goes_with_a_prune() {
    let Some((bench, _registry)) = with_busybox() else { return };
    build(&bench, &[], "FROM busybox\nRUN dd if=/dev/zero of=/big bs=1M count=8 2>/dev/null; false\n").exit(1);
    assert_eq!(in_state(&bench, &[], "wc -c < /big"), "8388608\n");
    let pruned = bench.run(["store", "prune", "-f"]).success().out();
    assert!(pruned.contains("MB"), "{pruned}");
    bench.run(["debug", "--", "true"]).exit(2).complains("no longer in the store");
    bench.run(["store", "check"]).success();
}

/// Of several that fail at once, and of those that are ended because of it, one state is kept: that of the failure shown.
#[test]
fn of_steps_that_run_at_once_the_first_that_fails_is_kept() {
    let Some((bench, _registry)) = with_busybox() else { return };
    let dockerfile = "FROM busybox AS slow\nRUN echo slow > /slow; sleep 60\nFROM busybox AS quick\nRUN echo quick > /quick; sleep 0.2; exit 6\n\
                      FROM busybox\nCOPY --from=slow /slow /\nCOPY --from=quick /quick /\n";
    build(&bench, &[], dockerfile).exit(1);
    assert_eq!(in_state(&bench, &[], "ls /slow /quick 2>/dev/null; true"), "/quick\n");
    assert!(
        bench
            .run(["debug", "--list"])
            .success()
            .out()
            .lines()
            .any(|line| line.contains("failed") && line.contains("quick/"))
    );
}

/// Runs a command on a terminal of its own. Types each text when the one before it was seen; returns the code and all
/// that the terminal showed.
fn typed(command: Command, dialogue: &[(&str, &str)]) -> (Option<i32>, String) {
    let (status, text) = stave_testkit::terminal::typed(command, 130, 40, dialogue);
    (status.code(), text)
}

#[test]
fn a_failed_build_opens_a_shell_on_its_terminal_and_ends_as_it_failed() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file(
        "Dockerfile",
        "FROM busybox AS test\nWORKDIR /src\nENV E=of-the-step ENV=own\nRUN echo left > /left; echo ran $E; exit 42\n",
    );
    bench.run(["build", "--on-failure", "shell", "."]).exit(2).complains("needs a terminal").complains("stave debug");
    let dialogue = [
        ("[test 3/3] /src # ", "cat /left; echo $((40 + 2)) $E; env | grep -c STAVE; echo $ENV.\n"),
        ("left\r\n42 of-the-step\r\n0\r\nown.\r\n", "again\n"),
        ("ran of-the-step\r\n", "echo code $?\n"),
        ("code 42\r\n", "exit 7\n"),
    ];
    let (code, text) = typed(bench.command(["build", "--on-failure", "shell", "."]), &dialogue);
    assert_eq!(code, Some(1), "the code of the failure: {text}");
    let place = |what: &str| text.find(what).unwrap_or_else(|| panic!("no `{what}` in {text}"));
    assert!(place("Dockerfile:4") < place("`again` runs the step's command again"), "{text}");
    place("directory /src, user root");
    let (code, _) = typed(bench.command(["debug"]), &[("/src # ", "exit 7\n")]);
    assert_eq!(code, Some(7), "the code of the shell");
    assert_eq!(leaks::processes(bench.token()), Vec::<String>::new());
}

/// Copies a program of this machine with its libraries to their places below a directory.
fn with_libraries(program: &Path, root: &Path) {
    let listed = Command::new("ldd").arg(program).output().expect("ldd runs");
    let text = String::from_utf8(listed.stdout).expect("text");
    let paths = text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from);
    for path in paths.chain([program.to_owned()]) {
        let target = root.join(path.strip_prefix("/").expect("absolute"));
        fs::create_dir_all(target.parent().expect("it is below the root")).expect("it can be made");
        fs::copy(&path, &target).expect("it can be copied");
    }
}

#[test]
fn in_bash_the_command_is_the_latest_of_the_history() {
    let Some(bash) = needs::program("bash") else { return };
    let Some((bench, _registry)) = with_busybox() else { return };
    with_libraries(&bash, &bench.work().join("root"));
    let dockerfile = "FROM busybox\nCOPY root /\nWORKDIR /src\nENV PS1=mine\nRUN echo 'it''s said'; exit 42\n";
    build(&bench, &[], dockerfile).exit(1);
    let dialogue = [
        ("/src # ", "\u{1b}[A\n"),
        ("its said\r\n", "again; echo code $?\n"),
        ("its said\r\ncode 42\r\n", "echo $BASH_VERSION $ENV.\n"),
        ("5.", "exit\n"),
    ];
    let mut command = bench.command(["debug"]);
    command.env("TERM", "xterm");
    let (_, text) = typed(command, &dialogue);
    assert!(text.contains("[stage-0 4/4] /src # "), "{text}");
}

#[test]
fn the_static_shell_works_on_a_terminal_and_survives_ctrl_c() {
    let Some((bench, _registry)) = with_busybox() else { return };
    without_shell(&bench);
    let dialogue = [
        ("/w # ", "help\n"),
        ("Of the shell:", ""),
        ("/w # ", "grep x\n"),
        ("grep x\r\n", "axb\n"),
        ("axb\r\naxb\r\n", "\u{3}"),
        ("/w # ", "echo $? > code; cat code\n"),
        ("130", "again\n"),
        ("can't open '/no/such'", "cd /bin\n"),
        ("/bin # ", "\u{4}"),
    ];
    let (code, text) = typed(bench.command(["debug"]), &dialogue);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("The image has no shell; this is a small one of stave's"), "{text}");
}

/// A step to which the build never came is told from one whose result is gone.
#[test]
fn a_state_that_was_never_made_because_the_build_failed_before_says_so() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file("Dockerfile", "FROM busybox\nRUN touch /one\nRUN exit 7\nRUN touch /three\nRUN touch /four\n");
    bench.run(["build", "-q", "."]).exit(1);
    for (side, step) in [("after", "4"), ("after", "5"), ("before", "5")] {
        let output = bench.run(["debug", &format!("--{side}"), step, "--", "true"]);
        let id = bench.run(["builds", "ls", "-q", "--no-trunc"]).success().out();
        let (title, id) = (if step == "4" { "RUN touch /three" } else { "RUN touch /four" }, id.trim());
        let said = format!(
            "error: there is no state {side} step {step} (`{title}`): build {id} failed in step 3, before it came to this one\n\
             hint: `stave debug {id}` opens step 3 as it failed.\n"
        );
        assert!(output.code != 0 && output.stderr.ends_with(&said), "{said}{output}");
    }
    bench.run(["debug", "--after", "2", "--", "ls", "/one"]).success();
}

/// Of a build that was interrupted, the states that it came to can be entered, and of others it says that it did not.
#[test]
fn states_of_an_interrupted_build_are_those_that_it_came_to() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file("Dockerfile", "FROM busybox\nRUN touch /one\nRUN echo begun; sleep 1000\nRUN touch /three\n");
    let mut build = bench.spawn(["build", "-q", "."]);
    wait_until("the step", || {
        String::from_utf8_lossy(&bench.run(["builds", "logs", "^0", "3"]).stdout).contains("begun")
    });
    kill_process(Pid::from_child(&build), Signal::INT).expect("it runs");
    assert_eq!(build.wait().expect("it ends").code(), Some(130));
    let listed = bench.run(["debug", "--list"]).success().out();
    assert!(listed.contains("RUN touch /three"), "{listed}");
    bench.run(["debug", "--before", "3", "--", "ls", "/one"]).success();
    for (side, step) in [("after", "3"), ("before", "4")] {
        let output = bench.run(["debug", &format!("--{side}"), step, "--", "true"]);
        assert!(output.code != 0, "{output}");
        output.complains("was interrupted before it was made\nhint: Build again, or open");
    }
}

/// Without an id the latest failed build is meant, and where another build came after it that is said.
#[test]
fn a_state_of_an_earlier_build_is_told_as_such() {
    let Some((bench, _registry)) = with_busybox() else { return };
    build(&bench, &[], "FROM busybox\nRUN exit 7\n").exit(1);
    assert_eq!(bench.run(["debug", "--", "true"]).success().stderr, "");
    build(&bench, &["-t", "later"], "FROM busybox\nRUN true\n").success();
    let ids = bench.run(["builds", "ls", "-q", "--no-trunc"]).success().out();
    let [latest, failed] = ids.lines().collect::<Vec<_>>()[..] else { panic!("{ids}") };
    let said = bench.run(["debug", "--", "true"]).success().stderr.clone();
    let begins = format!("note: this is build {failed} (`work/Dockerfile`), begun ");
    let ends = format!("; build {latest} (`later:latest`) came after it\n");
    assert!(said.starts_with(&begins) && said.ends_with(&ends), "{said}");
    assert_eq!(bench.run(["debug", failed, "--", "true"]).success().stderr, "", "whoever names it knows");
}
