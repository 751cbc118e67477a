//! The language from a Dockerfile to an image: what commands see, what is left of them, triggers, heredocs.

use stave_testkit::Bench;
use stave_testkit::fixtures::with_busybox;

/// Builds `dockerfile` and returns what its `CMD` prints.
fn printed(bench: &Bench, dockerfile: &str) -> String {
    bench.file("Dockerfile", dockerfile);
    bench.run(["build", "-t", "made", "."]).success();
    bench.run(["run", "--rm", "made"]).success().out()
}

fn inspected(bench: &Bench, template: &str) -> String {
    bench.run(["inspect", "-f", template, "made"]).success().line()
}

/// Heredocs in all their places.
const HEREDOCS: &str = r#"FROM busybox
ARG WHO=world
RUN <<EOF
set -e
echo "hello $WHO" > /one
false || echo more >> /one
EOF
RUN <<-SCRIPT
	#!/bin/sh -e
	echo "from $0" > /two
	SCRIPT
RUN { cat; cat <&3; } <<A 3<<'B' > /three
$WHO
A
$WHO
B
COPY <<plain <<"quoted" /files/
$WHO 'x' \$y
plain
$WHO
quoted
COPY --chmod=0600 --chown=7:8 <<alone /name
EOF is not the end
alone
CMD cat /one /two /three /files/plain /files/quoted /name; stat -c '%a %u:%g' /files/plain /name; ls /dev/pipes
"#;

/// T25 to T32: what a shell makes of heredocs is what the shell would make of them by itself.
#[test]
fn heredocs_are_scripts_and_files() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file("Dockerfile", HEREDOCS);
    bench.run(["build", "-t", "made", "."]).success();
    let output = bench.run(["run", "--rm", "made"]);
    assert_eq!(
        output.out(),
        "hello world\nmore\nfrom /dev/pipes/SCRIPT\nworld\n$WHO\nworld 'x' $y\n$WHO\nEOF is not the end\n644 0:0\n600 7:8\n"
    );
    assert!(output.stderr.contains("/dev/pipes"), "nothing is left of the script's place: {}", output.stderr);
    // Each line of a heredoc counts; the files that are written in the Dockerfile are found again.
    bench.file("Dockerfile", HEREDOCS.replace("echo more", "echo less"));
    let third = bench.run(["build", "-t", "made", "."]);
    assert!(third.success().stderr.contains("/4] RUN <<EOF") || !third.stderr.is_empty());
    assert!(bench.run(["run", "--rm", "made"]).out().starts_with("hello world\nless\n"));
}

/// T175, A029: triggers run in the child, in order, and are gone from it.
#[test]
fn triggers_of_an_image_run_in_its_child() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file(
        "Dockerfile",
        "FROM busybox\nONBUILD ARG WHO=nobody\nONBUILD COPY --from=tools /tool /tool\nONBUILD RUN <<E cat >> /log\nrun by $WHO\nE\n\
         ONBUILD CMD cat /tool /log\n",
    );
    bench.run(["build", "-t", "parent", "."]).success();
    let triggers = bench.run(["inspect", "-f", "{{json .Config.OnBuild}}", "parent"]).success().line();
    assert_eq!(
        triggers,
        r#"["ARG WHO=nobody","COPY --from=tools /tool /tool","RUN <<E cat >> /log\nrun by $WHO\nE","CMD cat /tool /log"]"#
    );
    let child = "FROM busybox AS tools\nRUN echo tool > /tool\nFROM parent\nRUN echo child >> /log\n";
    bench.file("Dockerfile", child);
    bench.run(["build", "--build-arg", "WHO=child", "-t", "made", "."]).success();
    assert_eq!(bench.run(["run", "--rm", "made"]).success().out(), "tool\nrun by child\nchild\n");
    assert_eq!(inspected(&bench, "{{json .Config.OnBuild}}"), "null");
    bench.file("Dockerfile", "FROM made\nRUN echo grandchild >> /log\n");
    bench.run(["build", "-t", "grandchild", "."]).success();
    let log = bench.run(["run", "--rm", "grandchild", "cat", "/log"]).success().out();
    assert_eq!(log, "run by child\nchild\ngrandchild\n", "triggers run once");
    // What a trigger needs and the child lacks is an image of that name, which is not there either.
    bench.file("Dockerfile", "FROM parent\n");
    bench.run(["build", "."]).exit(3).complains("tools");
}

/// T176: triggers of a stage run once in each child of it.
#[test]
fn triggers_of_a_stage_run_in_each_child() {
    let Some((bench, _registry)) = with_busybox() else { return };
    let text = "FROM busybox AS base\nONBUILD RUN echo $(cat /name) >> /log\nRUN echo base > /name\n\
                FROM base AS one\nFROM base AS two\nRUN echo two >> /log\n\
                FROM busybox\nCOPY --from=one /log /one\nCOPY --from=two /log /two\nCMD cat /one /two\n";
    assert_eq!(printed(&bench, text), "base\nbase\ntwo\n");
}

/// T141, T143: a step that changes nothing has a layer, and the image's entrypoint does not matter to it.
#[test]
fn a_step_without_changes_has_a_layer() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file("Dockerfile", "FROM busybox\nENTRYPOINT [\"/bin/false\"]\nRUN true\nRUN [\"/bin/true\"]\n");
    bench.run(["build", "-t", "made", "."]).success();
    let history = bench.run(["history", "--no-trunc", "--format", "{{.CreatedBy}}", "made"]).success().out();
    let lines: Vec<&str> = history.lines().take(3).collect();
    assert_eq!(lines, ["RUN /bin/true # buildkit", "RUN /bin/sh -c true # buildkit", "ENTRYPOINT [\"/bin/false\"]"]);
    let layers = |image: &str| {
        let line = bench.run(["inspect", "-f", "{{json .RootFS.Layers}}", image]).success().line();
        line.matches("sha256:").count()
    };
    assert_eq!(layers("made"), layers("busybox") + 2);
}

/// T144: the host name, and who may choose it.
#[test]
fn the_host_name_is_the_same_everywhere() {
    let Some((bench, _registry)) = with_busybox() else { return };
    let text = "ARG BUILDKIT_SANDBOX_HOSTNAME=global\nFROM busybox\nRUN hostname > /name\nCMD cat /name\n";
    assert_eq!(printed(&bench, text), "buildkitsandbox\n");
    bench.run(["build", "--build-arg", "BUILDKIT_SANDBOX_HOSTNAME=mine", "-t", "made", "."]).success();
    assert_eq!(bench.run(["run", "--rm", "made"]).success().out(), "mine\n");
}

/// T145: `/etc/hosts` and `/etc/resolv.conf` are the builder's while a step runs, and nothing of them is kept.
#[test]
fn files_of_the_network_are_not_in_the_layer() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file(
        "Dockerfile",
        "FROM busybox\nRUN test -s /etc/hosts && test -e /etc/resolv.conf && (echo x >> /etc/hosts || true)\n\
         RUN mkdir /found && touch /found/list && ls -s /etc > /found/list\nFROM scratch\nCOPY --from=0 /etc/ /etc/\n",
    );
    bench.run(["build", "-o", "out", "."]).success();
    let size =
        |name: &str| std::fs::metadata(bench.work().join("out/etc").join(name)).map_or(0, |metadata| metadata.len());
    assert_eq!((size("hosts"), size("resolv.conf")), (0, 0));
}

/// T160: no network but the loopback device.
#[test]
fn a_step_without_a_network_has_a_loopback_device() {
    let Some((bench, _registry)) = with_busybox() else { return };
    let text = "FROM busybox\nRUN --network=none ls /sys/class/net > /net; cat /proc/net/dev | grep -c : >> /net\nCMD cat /net\n";
    assert_eq!(printed(&bench, text), "lo\n1\n");
}

/// T163: users by name and number, and the groups that they are in.
#[test]
fn users_have_their_groups() {
    let Some((bench, _registry)) = with_busybox() else { return };
    let files = "FROM busybox\n\
        RUN printf 'root:x:0:0::/:/bin/sh\\nann:x:1042:50::/home/ann:/bin/sh\\n' > /etc/passwd\n\
        RUN printf 'root:x:0:\\nstaff:x:50:\\nwheel:x:10:root,ann\\nextra:x:60:ann\\n' > /etc/group\n";
    let mut text = format!("{files}RUN mkdir -p /tmp && touch /tmp/log && chmod 666 /tmp/log\n");
    for user in ["root", "ann", "1042", "ann:extra", "1042:60", "7", "7:8", "0:staff"] {
        text.push_str("USER ");
        text.push_str(user);
        text.push_str("\nRUN echo \"$(id -u) $(id -G)\" >> /tmp/log\n");
    }
    text.push_str("CMD cat /tmp/log\n");
    assert_eq!(printed(&bench, &text), "0 0 10\n1042 50 10 60\n1042 50 10 60\n1042 60\n1042 60\n7 0\n7 8\n0 50\n");
    bench.file("Dockerfile", format!("{files}USER nobody-here\nRUN true\n"));
    bench.run(["build", "."]).exit(1).complains("nobody-here");
}

/// T164: what a step leaves running ends with it.
#[test]
fn what_runs_in_the_background_ends_with_its_step() {
    let Some((bench, _registry)) = with_busybox() else { return };
    let text = "FROM busybox\nRUN (while true; do echo late >> /late; sleep 0.01; done) & sleep 0.05; echo started > /log\n\
                RUN cp /late /copy\nRUN sleep 0.2\nCMD cat /log; cmp /late /copy && echo same\n";
    assert_eq!(printed(&bench, text), "started\nsame\n");
}

/// T165: the exit code of a command that is not there, the command, and where it is written.
#[test]
fn a_command_that_is_not_there_fails_like_in_a_shell() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file("Dockerfile", "FROM busybox\n\nRUN nosuchcmd --flag\n");
    let output = bench.run(["build", "."]);
    output.exit(1).complains("127").complains("nosuchcmd --flag").complains("Dockerfile:3");
}

/// T173: a volume is a directory like any other while the image is built (K012).
#[test]
fn what_is_written_to_a_volume_is_kept() {
    let Some((bench, _registry)) = with_busybox() else { return };
    let text = "FROM busybox\nRUN mkdir /v && echo a > /v/f\nVOLUME /v\nRUN chown 5:6 /v /v/f && echo b >> /v/f\n\
                CMD stat -c '%u:%g' /v /v/f; cat /v/f\n";
    assert_eq!(printed(&bench, text), "5:6\n5:6\na\nb\n");
}

/// T179: the path of an image from nothing, and of one that has its own.
#[test]
fn an_image_has_a_path() {
    let bench = Bench::new();
    bench.file("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    bench.run(["build", "-t", "made", "."]).success();
    let env = "{{json .Config.Env}}";
    assert_eq!(inspected(&bench, env), r#"["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]"#);
    bench.file("Dockerfile", "FROM scratch AS one\nCOPY Dockerfile /\nENV PATH=/mine\nFROM one\nLABEL a=b\n");
    bench.run(["build", "-t", "made", "."]).success();
    assert_eq!(inspected(&bench, env), r#"["PATH=/mine"]"#);
}

/// T78: what a stage does not give away is in no layer of the image.
#[test]
fn nothing_but_what_is_copied_comes_from_a_stage() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file(
        "Dockerfile",
        "FROM busybox AS a\nRUN echo out > /out && echo junk-of-the-stage > /junk\nFROM scratch\nCOPY --from=a /out /out\n",
    );
    bench.run(["build", "-t", "made", "."]).success();
    assert_eq!(inspected(&bench, "{{json .RootFS.Layers}}").matches("sha256:").count(), 1);
    bench.run(["build", "-o", "type=tar,dest=files.tar", "."]).success();
    let tar = std::fs::read(bench.work().join("files.tar")).expect("it was written");
    let mut archive = tar::Archive::new(&*tar);
    let entries = archive.entries().expect("a tar");
    let names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").path().expect("a path").display().to_string()).collect();
    assert_eq!(names, ["out"]);
}

/// T80: files and directories from another stage, onto what is there and what is not.
#[test]
fn copies_from_a_stage_end_where_they_should() {
    let Some((bench, _registry)) = with_busybox() else { return };
    let base = "FROM busybox AS a\nRUN mkdir -p /d/sub && echo f > /d/f && echo s > /d/sub/s\n\
                FROM busybox\nRUN mkdir /t /t/dir && echo old > /t/file\n";
    for (copy, expected) in [
        ("/d/f /t/file", "dir file=f"),
        ("/d/f /t/dir", "dir dir/f=f file=old"),
        ("/d/f /t/dir/", "dir dir/f=f file=old"),
        ("/d/f /t/new", "dir file=old new=f"),
        ("/d/f /t/new/", "dir file=old new new/f=f"),
        ("/d /t/dir", "dir dir/f=f dir/sub dir/sub/s=s file=old"),
        ("/d/ /t/dir/", "dir dir/f=f dir/sub dir/sub/s=s file=old"),
        ("/d /t/new", "dir file=old new new/f=f new/sub new/sub/s=s"),
        ("/d/sub /d/f /t/new/", "dir file=old new new/f=f new/s=s"),
        ("/d/* /t/new/", "dir file=old new new/f=f new/s=s"),
        ("/d/sub/. /t", "dir file=old s=s"),
        ("/d/sub /t/", "dir file=old s=s"),
    ] {
        let list = "CMD cd /t; for p in $(find . -mindepth 1 | sort); do if test -f $p; then echo $p=$(cat $p); else echo $p; fi; done\n";
        let found = printed(&bench, &format!("{base}COPY --from=a {copy}\n{list}"));
        let found = found.replace("./", "").trim().replace('\n', " ");
        assert_eq!(found, expected, "COPY {copy}");
    }
    bench.file("Dockerfile", format!("{base}COPY --from=a /d /t/file\n"));
    bench.run(["build", "."]).exit(1).complains("/t/file");
}

/// T74: names of stages are not made of variables.
#[test]
fn a_variable_in_from_says_how_to_go_round_it() {
    let bench = Bench::new();
    bench.file("Dockerfile", "FROM scratch\nARG X\nRUN --mount=from=$X,target=/m c\nCOPY --from=$X a b\n");
    let output = bench.run(["build", "."]);
    output.exit(2).complains("variables are not expanded").complains("FROM $X AS");
}

/// T43.
#[test]
fn an_empty_build_argument_is_replaced_by_a_default() {
    let bench = Bench::new();
    bench.file("Dockerfile", "FROM scratch\nARG my_arg\nENV A=${my_arg:-def} B=${my_arg-def}\nLABEL x=y\n");
    bench.run(["build", "--build-arg", "my_arg=", "-t", "made", "."]).success();
    assert_eq!(
        inspected(&bench, "{{json .Config.Env}}"),
        r#"["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin","A=def","B="]"#
    );
}

/// T152: what is nearly a flag, a type or an option is named.
#[test]
fn misspelt_mounts_get_suggestions() {
    let bench = Bench::new();
    bench.file(
        "Dockerfile",
        "FROM scratch\nRUN --mont=type=bind,target=/m x\nRUN --mount=type=bin,target=/m x\nRUN --mount=type=bind,targt=/m x\n",
    );
    let output = bench.run(["build", "."]);
    output.exit(2).complains("`--mount`").complains("`bind`").complains("`target`");
}

/// T180: one image with two names is exported under both.
#[test]
fn an_image_with_two_names_is_exported_under_both() {
    let bench = Bench::new();
    bench.file("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    bench.run(["build", "-t", "one:1", "-t", "two:2", "-o", "type=oci,dest=image.tar", "."]).success();
    let tar = std::fs::read(bench.work().join("image.tar")).expect("it was written");
    let mut archive = tar::Archive::new(&*tar);
    let index = archive.entries().expect("a tar").map(|entry| entry.expect("an entry")).find_map(|mut entry| {
        let is_index = entry.path().is_ok_and(|path| path.ends_with("index.json"));
        let mut text = String::new();
        is_index.then(|| std::io::Read::read_to_string(&mut entry, &mut text).map(|_| text).expect("text"))
    });
    let index: serde_json::Value = serde_json::from_str(&index.expect("a layout has an index")).expect("JSON");
    let manifests = index["manifests"].as_array().expect("a list");
    let names: Vec<_> = manifests.iter().map(|one| &one["annotations"]["io.containerd.image.name"]).collect();
    let tags: Vec<_> = manifests.iter().map(|one| &one["annotations"]["org.opencontainers.image.ref.name"]).collect();
    assert_eq!(names, ["docker.io/library/one:1", "docker.io/library/two:2"]);
    assert_eq!(tags, ["1", "2"]);
    assert_eq!(manifests[0]["digest"], manifests[1]["digest"]);
}

/// T83: an index without this machine's platform says which ones it has.
#[test]
fn an_image_for_other_platforms_only_says_for_which() {
    let Some((bench, registry)) = with_busybox() else { return };
    let digest = "0123456789abcdef".repeat(4);
    let manifest = |os: &str, architecture: &str| {
        serde_json::json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": format!("sha256:{digest}"),
            "size": 100,
            "platform": {"os": os, "architecture": architecture},
        })
    };
    let kind = "application/vnd.oci.image.index.v1+json";
    let index = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": kind,
        "manifests": [manifest("windows", "amd64"), manifest("linux", "s390x")],
    });
    registry.put_manifest("library/other", "latest", kind, index.to_string().as_bytes());
    bench.file("Dockerfile", "FROM other\nRUN true\n");
    let output = bench.run(["build", "."]);
    output.exit(3).complains("linux/amd64").complains("windows/amd64").complains("linux/s390x");
}
