//! In what two images differ, and whether a build gives the same image twice.

use stave_testkit::Bench;
use stave_testkit::fixtures::with_busybox;

/// Two images, `one` and `other`, that differ in as many ways as a Dockerfile allows.
fn two_images() -> Option<(Bench, stave_testkit::LoopbackRegistry)> {
    let (bench, registry) = with_busybox()?;
    bench.file("d/same", "same").file("d/text", "0123456789").file("d/gone", "x");
    bench.file(
        "Dockerfile",
        "FROM busybox\nENV A=1 B=2\nCOPY d /d\nRUN ln -s same /d/link && mkdir -p /d/sub && chmod 700 /d/sub\n\
         RUN rm /etc/group\nLABEL l=1\n",
    );
    bench.run(["build", "-t", "one", "."]).success();
    bench.file("d/text", "01234x6789");
    std::fs::remove_file(bench.work().join("d/gone")).expect("it is there");
    bench.file("d/new", "new");
    bench.file(
        "Dockerfile",
        "FROM busybox\nENV A=1 B=3\nCOPY d /d\nRUN ln -s text /d/link && mkdir -p /d/sub && chmod 755 /d/sub\n\
         RUN rm /etc/group\nLABEL l=1 m=2\n",
    );
    bench.run(["build", "-t", "other", "--source-date-epoch=1577836801", "."]).success();
    Some((bench, registry))
}

#[test]
fn the_first_and_all_other_differences_of_two_images_are_named() {
    let Some((bench, _registry)) = two_images() else { return };
    let output = bench.run(["diff", "one", "other"]);
    output.exit(1);
    let text = output.out();
    let shown: Vec<&str> = text.lines().collect();
    assert!(shown[0].starts_with("one sha256:") && shown[0].ends_with(" differ"), "{text}");
    assert_eq!(
        shown[1],
        "first: layer 2 (COPY d /d # buildkit), /d: modified 2020-01-01T00:00:00Z | 2020-01-01T00:00:01Z"
    );
    for line in [
        "configuration:",
        "  config.Env[2]: \"B=2\" | \"B=3\"",
        "  config.Labels.m: nothing | \"2\"",
        "  created: \"2020-01-01T00:00:00Z\" | \"2020-01-01T00:00:01Z\"",
        "layer 2 (COPY d /d # buildkit):",
        "  /d/gone: only in the first (file 0644 0:0 1 bytes)",
        "  /d/new: only in the second (file 0644 0:0 3 bytes)",
        "  /d/same: modified 2020-01-01T00:00:00Z | 2020-01-01T00:00:01Z",
        "  /d/text: modified 2020-01-01T00:00:00Z | 2020-01-01T00:00:01Z, content from byte 5",
        "  /d/link: modified 2020-01-01T00:00:00Z | 2020-01-01T00:00:01Z, target same | text",
        "  /d/sub: mode 0700 | 0755, modified 2020-01-01T00:00:00Z | 2020-01-01T00:00:01Z",
    ] {
        assert!(shown.contains(&line), "{line:?} is not in\n{text}");
    }
    let whole = text.split_once("files of the whole image that differ: ").expect("they are listed").1;
    assert!(whole.contains("  /d/gone: only in the first"), "{text}");
    assert!(!whole.contains("/bin/sh"), "what is the same is not listed: {text}");
}

#[test]
fn differences_are_json_for_programs() {
    let Some((bench, _registry)) = two_images() else { return };
    let text = bench.run(["diff", "--format", "json", "one", "other"]).exit(1).out();
    let found: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(found["equal"], false);
    assert_eq!(found["images"][1]["name"], "other");
    assert!(found["first"].as_str().expect("a text").starts_with("layer 2 "), "{text}");
    let file = |path: &str| {
        let files = found["layers"][0]["files"].as_array().expect("a list");
        files.iter().find(|file| file["path"] == path).cloned().unwrap_or_default()
    };
    assert_eq!(file("/d/text")["content"]["offset"], 5);
    assert_eq!(file("/d/new")["only"], 1);
    let env = found["config"].as_array().expect("a list").iter().find(|field| field["path"] == "config.Env[2]");
    assert_eq!(env.expect("it differs")["values"], serde_json::json!(["B=2", "B=3"]));
}

#[test]
fn equal_images_are_said_to_be_equal_wherever_they_are() {
    let Some((bench, _registry)) = two_images() else { return };
    let output = bench.run(["diff", "one", "one"]);
    assert!(output.success().out().contains("are the same image sha256:"), "{output}");
    bench.run(["save", "-o", "one.tar", "one"]).success();
    bench.run(["diff", "one", "one.tar"]).success();
    bench.run(["diff", "-q", "one.tar", "other"]).exit(1);
    assert_eq!(bench.run(["diff", "-q", "one.tar", "other"]).out(), "");
    std::fs::create_dir(bench.work().join("layout")).expect("a writable bench");
    bench.run(["build", "-o", "type=oci,dest=one.oci", "--source-date-epoch=1577836801", "."]).success();
    let mut tar = std::process::Command::new("tar");
    tar.args(["-xf", "../one.oci"]).current_dir(bench.work().join("layout"));
    assert!(tar.status().expect("tar runs").success());
    bench.run(["diff", "layout", "other"]).success();
    bench.run(["diff", "one", "nothing-like-it"]).exit(2);
    bench.run(["diff", "one"]).exit(1).complains("one");
}

#[test]
fn a_build_is_verified_by_building_it_twice() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file("a", "a").file("Dockerfile", "FROM busybox\nCOPY a /\nRUN date +%s%N | wc -c > /made\nWORKDIR /w\n");
    bench.run(["build", "--verify", "-t", "steady", "."]).success();
    bench.run(["build", "--verify", "-t", "steady", "."]).success();
    bench.file("Dockerfile", "FROM busybox\nRUN head -c 9 /dev/urandom > /random\nRUN echo same > /same\n");
    let output = bench.run(["build", "--verify", "-t", "random", "-o", "type=oci,dest=out.tar", "."]);
    output.exit(1).complains("built twice, the image is not the same");
    output.complains("/random: content from byte 0");
    output.complains("RUN head -c 9 /dev/urandom > /random");
    assert!(!output.stderr.contains("/same:"), "{output}");
    assert!(!bench.work().join("out.tar").exists());
    bench.run(["inspect", "random"]).exit(1);
    // A failing step fails as always.
    bench.file("Dockerfile", "FROM busybox\nRUN false\n");
    bench.run(["build", "--verify", "."]).exit(1).complains("exit status 1");
}
