//! `build`: what it prints, where its result goes, what it reads from standard input, how it fails.

use stave_testkit::Bench;
use stave_testkit::fixtures::with_busybox;
use std::fs;
use std::os::unix::fs::FileTypeExt as _;

/// A bench with a Dockerfile that needs no base and no process.
fn small() -> Bench {
    let bench = Bench::new();
    bench
        .file("Dockerfile", "FROM scratch AS one\nCOPY a /a\nFROM one\nCOPY b /b\nENV X=1\n")
        .file("a", "1")
        .file("b", "2");
    bench
}

fn names(tar: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(tar);
    let entries = archive.entries().expect("a tar");
    entries.map(|entry| entry.expect("an entry").path().expect("a path").display().to_string()).collect()
}

#[test]
fn progress_goes_to_standard_error_and_a_second_build_runs_nothing() {
    let bench = small();
    let first = bench.run(["build", "-t", "x", "."]);
    assert_eq!(first.success().out(), "");
    assert!(first.stderr.contains("[one 1/1] COPY a /a") && !first.stderr.contains("CACHED"), "{}", first.stderr);
    let second = bench.run(["build", "-t", "x", "."]);
    assert_eq!(second.success().stderr.matches("CACHED").count(), 2, "{}", second.stderr);
    assert!(second.stderr.contains("named docker.io/library/x:latest\n"), "{}", second.stderr);
    assert!(!second.stderr.contains('\u{1b}'), "{:?}", second.stderr);
    let third = bench.run(["build", "--no-cache", "-t", "x", "."]);
    assert!(!third.success().stderr.contains("CACHED"), "{}", third.stderr);
}

#[test]
fn quiet_prints_the_id_and_nothing_else() {
    let bench = small();
    let output = bench.run(["build", "-q", "-t", "x", "."]);
    assert_eq!(output.success().stderr, "");
    let id = output.line();
    assert_eq!(bench.run(["inspect", "-f", "{{.Id}}", "x"]).success().line(), id);
    assert_eq!(bench.run(["inspect", "-f", "{{.Id}}", &id]).success().line(), id);
    let output = bench.run(["build", "--progress", "quiet", "."]);
    assert_eq!(output.success().stderr, "");
    assert_eq!(output.line(), id);
    let output = bench.run(["build", "--progress", "none", "."]);
    assert_eq!(output.success().stderr, "");
    assert_eq!(output.out(), "");
    let archive = bench.run(["build", "--progress", "quiet", "-o", "type=tar,dest=-", "."]).success().stdout.clone();
    assert_eq!(archive.len() % 512, 0, "nothing but the archive");
}

#[test]
fn rawjson_is_one_object_a_line() {
    let bench = small();
    let output = bench.run(["build", "--progress=rawjson", "."]);
    let events: Vec<serde_json::Value> =
        output.success().stderr.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let kinds: Vec<&str> = events.iter().filter_map(|event| event["event"].as_str()).collect();
    assert_eq!(kinds[..2], ["begun", "planned"], "{kinds:?}");
    assert_eq!(kinds.last(), Some(&"ended"), "{kinds:?}");
    assert_eq!(events.last().expect("an event")["state"], "built");
    assert_eq!(kinds.iter().filter(|kind| **kind == "step-finished").count(), 2, "{kinds:?}");
}

#[test]
fn the_id_and_what_was_made_are_written_to_files() {
    let bench = small();
    bench.file("id", "old");
    bench.run(["build", "-t", "a", "-t", "b:2", "--iidfile", "id", "--metadata-file", "meta.json", "."]).success();
    let id = bench.run(["inspect", "-f", "{{.Id}}", "b:2"]).success().line();
    assert_eq!(fs::read_to_string(bench.work().join("id")).expect("written"), id);
    let meta = fs::read(bench.work().join("meta.json")).expect("written");
    let meta: serde_json::Value = serde_json::from_slice(&meta).expect("JSON");
    assert_eq!(meta["containerimage.config.digest"], id.as_str());
    assert_eq!(meta["image.name"], "docker.io/library/a:latest,docker.io/library/b:2");
    bench.file("Dockerfile", "FROM scratch\nCOPY missing /\n");
    bench.run(["build", "--iidfile", "id", "."]).exit(1);
    assert!(!bench.work().join("id").exists(), "the id of an earlier build is still there");
}

#[test]
fn a_device_as_iidfile_stays_a_device() {
    let bench = small();
    bench.run(["build", "--iidfile", "/dev/null", "--metadata-file", "/dev/null", "."]).success();
    assert!(fs::metadata("/dev/null").expect("a device").file_type().is_char_device());
}

#[test]
fn the_dockerfile_may_come_from_anywhere() {
    let bench = small();
    bench.file("sub/Other", "FROM scratch\nCOPY a /from-other\n");
    bench.run(["build", "-t", "f", ".", "-f", "sub/Other"]).success();
    let text = b"FROM scratch\nCOPY b /from-stdin\n".to_vec();
    bench.run_with_input(["build", "-t", "s", "-f", "-", "."], text).success();
    assert!(bench.run(["history", "--no-trunc", "s"]).success().out().contains("COPY b /from-stdin"));
    bench.run_with_input(["build", "-t", "no-context", "-"], b"FROM scratch\nENV A=b\n".to_vec()).success();
    assert_eq!(bench.run(["inspect", "-f", "{{json .Config.Cmd}}", "no-context"]).success().line(), "null");
    bench.run(["build", "-f", "-", "-"]).exit(2).complains("both come from standard input");
}

#[test]
fn the_context_may_be_an_archive() {
    let bench = Bench::new();
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in [
        ("Dockerfile", "FROM scratch\nCOPY dir /dir\n"),
        ("dir/file", "content"),
        ("Alt", "FROM scratch\nCOPY dir/file /alt\n"),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, content.as_bytes()).expect("in memory");
    }
    let archive = archive.into_inner().expect("in memory");
    let files = |args: &[&str]| {
        let output = bench.run_with_input(args.iter().copied().chain(["-o", "-", "-"]), archive.clone());
        names(&output.success().stdout)
    };
    assert_eq!(files(&["build"]), ["dir/", "dir/file"]);
    assert_eq!(files(&["build", "-f", "Alt"]), ["alt"]);
}

#[test]
fn outputs_are_archives_or_files() {
    let bench = small();
    bench.run(["build", "-o", "type=tar,dest=root.tar", "."]).success().complains("wrote root.tar");
    assert_eq!(names(&fs::read(bench.work().join("root.tar")).expect("written")), ["a", "b"]);
    bench.run(["build", "-o", "out", "."]).success();
    assert_eq!(fs::read_to_string(bench.work().join("out/b")).expect("written"), "2");
    bench.run(["build", "-o", "type=oci,dest=oci.tar", "-o", "type=docker,dest=docker.tar", "-t", "x", "."]).success();
    let oci = names(&fs::read(bench.work().join("oci.tar")).expect("written"));
    assert!(oci.iter().any(|name| name == "oci-layout") && oci.iter().any(|name| name == "index.json"), "{oci:?}");
    let docker = names(&fs::read(bench.work().join("docker.tar")).expect("written"));
    assert!(docker.iter().any(|name| name == "manifest.json"), "{docker:?}");
    assert_eq!(bench.run(["images", "-q"]).success().out(), "", "an output is instead of the store");
    bench.run(["build", "-o", "type=docker", "-t", "kept", "."]).success();
    assert_eq!(bench.run(["images", "--format", "{{.Repository}}"]).success().line(), "kept");
    bench.run(["build", "-q", "-o", "-", "."]).exit(2).complains("one thing only");
}

#[test]
fn a_failed_step_shows_where_why_and_the_last_lines() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file("Dockerfile", "FROM busybox AS tools\nRUN echo first; echo last words >&2; exit 7\n");
    let output = bench.run(["build", "."]);
    output.exit(1).complains("error: [tools] RUN echo first; echo last words >&2; exit 7 failed: exit status 7");
    output.complains(" --> Dockerfile:2:1").complains("  | first\n").complains("  | last words\n");
    let log = output.stderr.split("full log: ").nth(1).and_then(|rest| rest.lines().next());
    let log = fs::read_to_string(log.expect("the log is named")).expect("the log is there");
    assert!(log.contains("first\n") && log.contains("last words\n"), "{log}");
    bench.file("Dockerfile", "FROM busybox\nRUN sh -c 'kill -9 $$'; exit $?\n");
    bench.run(["build", "."]).exit(1).complains("exit status 137").complains("hint: 137 means");
    bench.file("Dockerfile", "FROM busybox\nRUN nothing-of-this-name\n");
    bench.run(["build", "."]).exit(1).complains("`nothing-of-this-name` is not in the image");
}

#[test]
fn all_mistakes_of_a_file_are_shown_in_one_run_and_nothing_is_built() {
    let bench = Bench::new();
    bench.file("sub/Dockerfile", "FROM scratch AS build\nCOPPY a /\nCOPY --from=biuld a /\nEXPOSE\n").file("a", "1");
    let output = bench.run(["build", "-t", "x", "-f", "sub/Dockerfile", "."]);
    output.exit(2).complains(" --> sub/Dockerfile:2:1").complains("COPPY").complains("^^^^^").complains("hint: ");
    output.complains(" --> sub/Dockerfile:4:");
    assert_eq!(bench.run(["images", "-q"]).success().out(), "");
    bench.file("Dockerfile", "FROM scratch AS build\nCOPY --from=builder a /\n");
    let output = bench.run(["build", "."]);
    output.exit(2).complains("error[D012]: no stage is named `builder`").complains(" --> Dockerfile:2:13");
    output.complains("`build`");
}

#[test]
fn what_was_asked_and_is_not_there_is_a_mistake_of_the_caller() {
    let bench = small();
    bench.run(["build", "nowhere"]).exit(2).complains("nowhere");
    bench.run(["build", "-f", "Nofile", "."]).exit(2).complains("Nofile");
    bench.run(["build", "--target", "noo", "."]).exit(2).complains("noo");
    bench.run(["build", "--platform", "amd64/linux/v1/x", "."]).exit(2).complains("is not a platform");
    bench.run(["build", "-t", "UPPER", "."]).exit(2).complains("UPPER");
    bench.run(["build", "--secret", "id=x", "."]).exit(2).complains("cannot read the secret `x`");
    let mut bench = bench;
    bench.set("SOURCE_DATE_EPOCH", "soon");
    bench.run(["build", "."]).exit(2).complains("SOURCE_DATE_EPOCH");
}

#[test]
fn arguments_and_labels_reach_the_image() {
    let mut bench = Bench::new();
    bench
        .file("Dockerfile", "FROM scratch\nARG A\nARG B=default\nARG C\nLABEL a=$A b=$B c=$C\nCOPY f /\n")
        .file("f", "");
    bench.set("A", "from the environment");
    let args = ["build", "-t", "x", "--build-arg", "A", "--build-arg", "C=given", "--label", "d=last", "."];
    bench.run(args).success();
    let labels = bench.run(["inspect", "-f", "{{json .Config.Labels}}", "x"]).success().line();
    let labels: serde_json::Value = serde_json::from_str(&labels).expect("JSON");
    let expected = serde_json::json!({ "a": "from the environment", "b": "default", "c": "given", "d": "last" });
    assert_eq!(labels, expected);
    bench.run(["build", "--build-arg", "NOBODY=1", "."]).success().complains("`NOBODY` is not declared");
}
