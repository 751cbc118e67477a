//! `images`, `history`, `tag`, `rmi`, `inspect`, `ps`, `save`, `load`, `store`: what lists show and names do.

use stave_testkit::Bench;
use std::fs;

/// A bench with image `me/app:1` of one file of 1,500 bytes.
fn with_image() -> Bench {
    let mut bench = Bench::new();
    bench.set("SOURCE_DATE_EPOCH", "1700000000");
    bench.file("Dockerfile", "FROM scratch\nCOPY file /file\nENV A=1\nCMD [\"/file\", \"two words\"]\n");
    bench.file("file", [b'x'; 1500]);
    bench.run(["build", "-t", "me/app:1", "."]).success();
    bench
}

#[test]
fn images_has_dockers_columns() {
    let bench = with_image();
    let out = bench.run(["images"]).success().out();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(
        lines[0].split_whitespace().collect::<Vec<_>>(),
        ["REPOSITORY", "TAG", "IMAGE", "ID", "CREATED", "SIZE"]
    );
    let words: Vec<&str> = lines[1].split_whitespace().collect();
    assert_eq!((words[0], words[1], words[2].len()), ("me/app", "1", 12), "{out}");
    assert!(lines[1].contains(" years ago ") || lines[1].contains(" months ago "), "{out}");
    assert!(words.last().is_some_and(|size| size.ends_with("kB")), "{out}");
    let id = bench.run(["images", "-q", "--no-trunc"]).success().line();
    assert_eq!(id.len(), "sha256:".len() + 64);
    assert!(id.contains(words[2]));
}

/// I022
#[test]
fn a_tree_of_images_shows_the_platforms_of_each_name() {
    let bench = with_image();
    bench.run(["build", "-t", "both:1", "--platform", "linux/amd64,linux/arm64", "."]).success();
    let out = bench.run(["images", "--tree"]).success().out();
    let first: Vec<&str> = out.lines().map(|line| line.split("   ").next().unwrap_or_default().trim()).collect();
    assert_eq!(first[0], "IMAGE");
    let at = |name: &str| first.iter().position(|line| *line == name).expect(name);
    assert_eq!(first[at("both:1") + 1..][..2], ["├─ linux/amd64", "└─ linux/arm64"], "{out}");
    assert_eq!(first[at("me/app:1") + 1], "└─ linux/amd64", "{out}");
    assert_eq!(first.len(), 6, "{out}");
    bench.run(["images", "--tree", "-q"]).exit(2).complains("--tree");
}

#[test]
fn images_are_chosen_by_name_pattern_and_by_having_none() {
    let bench = with_image();
    bench.run(["tag", "me/app:1", "other"]).success();
    let names = |args: &[&str]| {
        let mut all = vec!["images", "--format", "{{.Repository}}:{{.Tag}}"];
        all.extend(args);
        let mut names: Vec<String> = bench.run(all).success().out().lines().map(str::to_owned).collect();
        names.sort();
        names
    };
    assert_eq!(names(&[]), ["me/app:1", "other:latest"]);
    assert_eq!(names(&["me/app"]), ["me/app:1"]);
    assert_eq!(names(&["me/app:2"]), [""; 0]);
    assert_eq!(names(&["--filter", "reference=oth*"]), ["other:latest"]);
    assert_eq!(names(&["--filter", "dangling=true"]), [""; 0]);
    bench.run(["images", "--filter", "since=x"]).exit(1).complains("no such image");
    bench.run(["images", "--filter", "colour=x"]).exit(2).complains("the filter `colour` is not supported");
    bench.run(["images", "--format", "{{.Nope}}"]).exit(2).complains("there is no field `Nope`");
    // Building the name anew leaves the old image without one.
    bench.file("file", "changed");
    bench.run(["build", "-t", "me/app:1", "."]).success();
    bench.run(["rmi", "other"]).success();
    assert_eq!(names(&["--filter", "dangling=true"]), [""; 0]);
}

#[test]
fn history_says_what_made_each_layer() {
    let bench = with_image();
    let out = bench.run(["history", "me/app:1"]).success().out();
    let lines: Vec<&str> = out.lines().collect();
    assert!(
        lines[0].starts_with("IMAGE ") && lines[0].contains("CREATED BY") && lines[0].ends_with("COMMENT"),
        "{out}"
    );
    assert!(lines[1].contains("CMD [\"/file\" \"two words\"]"), "{out}");
    assert!(lines[3].starts_with("<missing>") && lines[3].contains("COPY file /file # buildkit"), "{out}");
    let human = bench.run(["history", "--human=false", "--format", "{{.CreatedAt}} {{.Size}}", "me/app:1"]);
    assert!(human.success().out().starts_with("2023-11-14T22:13:20Z 0\n"), "{}", human.out());
}

#[test]
fn inspect_prints_an_array_or_what_a_template_says() {
    let bench = with_image();
    let out = bench.run(["inspect", "me/app:1"]).success().out();
    let value: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(value[0]["RepoTags"][0], "me/app:1");
    assert!(out.starts_with("[\n    {\n        \"Id\": \"sha256:"), "{out}");
    let formatted = |format: &str| bench.run(["inspect", "-f", format, "me/app:1"]).success().line();
    assert_eq!(formatted("{{.Config.Cmd}}"), "[/file two words]");
    assert_eq!(formatted("{{json .Config.Cmd}}"), "[\"/file\",\"two words\"]");
    assert_eq!(
        formatted("{{range .Config.Env}}{{upper .}};{{end}}"),
        "PATH=/USR/LOCAL/SBIN:/USR/LOCAL/BIN:/USR/SBIN:/USR/BIN:/SBIN:/BIN;A=1;"
    );
    let missing = bench.run(["inspect", "me/app:1", "nobody"]);
    missing.exit(1).complains("no such image or container: `nobody`");
    assert!(missing.out().contains("me/app:1"), "{}", missing.out());
    bench.run(["inspect", "--type", "container", "me/app:1"]).exit(1).complains("no such container");
    bench.run(["inspect", "-f", "{{.Id", "me/app:1"]).exit(2).complains("template, character 1");
}

#[test]
fn an_image_goes_with_its_last_name() {
    let bench = with_image();
    bench.run(["tag", "me/app:1", "second"]).success();
    assert_eq!(bench.run(["rmi", "me/app:1"]).success().out(), "Untagged: me/app:1\n");
    let gone = bench.run(["rmi", "second"]);
    let out = gone.success().out();
    assert!(out.starts_with("Untagged: second:latest\nDeleted: sha256:"), "{out}");
    bench.run(["rmi", "second"]).exit(1).complains("second");
    bench.run(["rmi", "-f", "second"]).success().complains("second");
    bench.run(["tag", "second", "third"]).exit(1).complains("second");
}

#[test]
fn saved_images_load_into_another_store() {
    let bench = with_image();
    bench.run(["save", "-o", "app.tar", "me/app:1"]).success();
    let piped = bench.run(["save", "me/app:1"]).success().stdout.clone();
    let id = bench.run(["images", "-q"]).success().line();
    let other = Bench::new();
    let loaded = other.run(["load", "-i", &bench.work().join("app.tar").display().to_string()]);
    assert_eq!(loaded.success().out(), "Loaded image: me/app:1\n");
    assert_eq!(other.run(["images", "-q"]).success().line(), id);
    let third = Bench::new();
    third.run_with_input(["load", "-q"], piped).success();
    assert_eq!(third.run(["images", "-q"]).success().line(), id);
    bench.run(["save", "-o", "bad.tar", "nobody"]).exit(1).complains("nobody");
    let left: Vec<_> =
        fs::read_dir(bench.work()).expect("a bench").map(|entry| entry.expect("an entry").file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("bad")), "{left:?}");
    third.run_with_input(["load"], b"no archive".to_vec()).exit(3);
}

#[test]
fn the_store_can_be_checked_measured_and_pruned() {
    let bench = with_image();
    bench.run(["store", "check"]).success();
    let usage = bench.run(["store", "usage", "--format", "json"]).success().out();
    let rows: Vec<serde_json::Value> = usage.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((&rows[0]["Kind"], &rows[0]["Count"]), (&"images".into(), &1.into()));
    bench.run(["store", "prune"]).success();
    assert_eq!(bench.run(["images", "--format", "{{.Repository}}"]).success().line(), "me/app");
    let pruned = bench.run(["store", "prune", "--all"]);
    assert!(pruned.success().out().contains("deleted: sha256:"), "{}", pruned.out());
    assert_eq!(bench.run(["images", "-q"]).success().out(), "");
    bench.run(["store", "check"]).success();
}

#[test]
fn a_reader_that_goes_away_ends_the_command_quietly() {
    let bench = with_image();
    let mut command = bench.command(["inspect", "me/app:1"]);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = command.stdout(writer).stderr(std::process::Stdio::piped()).spawn().expect("stave starts");
    let output = output.wait_with_output().expect("waited for");
    assert_eq!((output.status.code(), output.stderr.len()), (Some(141), 0));
}
