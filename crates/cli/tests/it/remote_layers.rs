//! Results of other machines that nobody here reads: their layers stay where they are, and what is missing of them is made.

use std::collections::BTreeMap;

use serde_json::Value;
use stave_testkit::fixtures::with_busybox;
use stave_testkit::{Bench, LoopbackRegistry, Output};

/// Two steps with random results, and a stage beside them.
const FILE: &str = "FROM busybox AS beside\nRUN head -c 300000 /dev/urandom > /beside\n\
                    FROM busybox\nRUN head -c 200000 /dev/urandom > /one\nRUN md5sum < /one > /two\n\
                    CMD md5sum < /one && cat /two\n";

/// Another machine: nothing in common with the first but the registry and the Dockerfile.
fn machine(registry: &LoopbackRegistry, dockerfile: &str) -> Bench {
    let bench = Bench::new().with_registry(registry);
    bench.file("Dockerfile", dockerfile);
    bench
}

fn build(bench: &Bench, options: &[&str]) -> Output {
    let output = bench.run([&["build", "--progress=plain"], options, &["."]].concat());
    output.success();
    output
}

fn from(place: &str) -> String {
    format!("--cache-from={place},wait=60s")
}

/// The first machine has built the file and exported all of it.
fn exported(file: &str) -> Option<(Bench, LoopbackRegistry, String)> {
    let (one, registry) = with_busybox()?;
    one.file("Dockerfile", file);
    let place = format!("type=registry,ref={}/team/cache:all", registry.host());
    build(&one, &["-t", "made", &format!("--cache-to={place},mode=max")]);
    Some((one, registry, place))
}

/// The layers of an image in the registry, lowest first.
fn layers(registry: &LoopbackRegistry, repository: &str, tag: &str) -> Vec<String> {
    let manifest: Value = serde_json::from_slice(&registry.manifest(repository, tag).expect("pushed")).expect("JSON");
    let layers = manifest["layers"].as_array().expect("an image");
    layers.iter().map(|layer| layer["digest"].as_str().expect("a digest").to_owned()).collect()
}

/// Bytes of layers that were moved since the last call; of others none is as large.
fn moved(registry: &LoopbackRegistry, layers: &[String]) -> BTreeMap<String, u64> {
    registry.take_moved().into_iter().filter(|(digest, _)| layers.contains(digest)).collect()
}

#[test]
fn a_full_hit_that_is_pushed_to_the_same_registry_moves_no_byte_of_a_layer() {
    let Some((one, registry, place)) = exported(FILE) else { return };
    let host = registry.host();
    let ways: [(&str, Vec<String>); 4] = [
        ("pushed", vec!["-t".into(), format!("{host}/team/pushed:1"), "--push".into()]),
        ("registry", vec![format!("--output=type=registry,name={host}/team/registry:1")]),
        ("image", vec![format!("--output=type=image,name={host}/team/image:1,push=true")]),
        // The repository of the cache itself, and a new cache of what is there.
        (
            "cache",
            vec![
                "-t".into(),
                format!("{host}/team/cache:1"),
                "--push".into(),
                format!("--cache-to=type=registry,ref={host}/team/second:all,mode=max"),
            ],
        ),
    ];
    for (repository, options) in ways {
        let other = machine(&registry, FILE);
        registry.take_moved();
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let output = build(&other, &[&options[..], &[&from(&place)]].concat());
        assert!(!output.stderr.contains("fetch ") && !output.stderr.contains("is not used"), "{output}");
        output.complains("is in its registry and not in the store");
        let pushed = layers(&registry, &format!("team/{repository}"), "1");
        assert_eq!(pushed.len(), 3);
        assert_eq!(moved(&registry, &pushed), BTreeMap::new(), "{repository}: {output}");
        // What was pushed is the image, and `run` fetches it.
        let name = format!("{host}/team/{repository}:1");
        assert_eq!(other.run(["run", "--rm", &name]).success().out(), one.run(["run", "--rm", "made"]).success().out());
        other.run(["store", "check"]).success();
    }
}

#[test]
fn a_name_that_was_something_else_here_does_not_stand_for_it_any_more() {
    let Some((one, registry, place)) = exported(FILE) else { return };
    let name = format!("{}/team/app:1", registry.host());
    let other = machine(&registry, "FROM busybox\nCMD echo old\n");
    build(&other, &["-t", &name]);
    other.file("Dockerfile", FILE);
    build(&other, &["-t", &name, "--push", &from(&place)]);
    assert_eq!(other.run(["run", "--rm", &name]).success().out(), one.run(["run", "--rm", "made"]).success().out());
}

/// Who asks for the image here gets it, with its bytes.
#[test]
fn what_is_asked_for_on_this_machine_is_fetched() {
    let Some((one, registry, place)) = exported(FILE) else { return };
    let made = one.run(["run", "--rm", "made"]).success().out();
    let name = format!("{}/team/app:1", registry.host());
    for options in [
        &["-t", &name][..],
        &["-t", &name, "--push", "--load"],
        &["-t", "local", &format!("--output=type=registry,name={name}")],
        &["-t", &name, &format!("--output=type=image,name={name},push=true,store=true")],
    ] {
        let mut other = machine(&registry, FILE);
        other.set("STAVE_LOAD", "store");
        build(&other, &[options, &[&from(&place)]].concat()).complains("fetch ");
        registry.fail(|_| Some(stave_testkit::http::Response::status(503)));
        assert_eq!(other.run(["run", "--rm", options[1]]).success().out(), made, "{options:?}");
        registry.recover();
    }
    for output in ["type=oci,dest=image.tar", "type=docker,dest=image.tar", "type=tar,dest=files.tar", "files"] {
        let other = machine(&registry, FILE);
        build(&other, &["--output", output, &from(&place)]).complains("fetch ");
    }
}

/// A step that is new reads its parent: that is fetched, and the stage beside it stays where it is.
#[test]
fn a_partial_hit_fetches_what_the_step_that_runs_reads() {
    let file = format!("{FILE}COPY --from=beside /beside /kept\n");
    let Some((_one, registry, place)) = exported(&file) else { return };
    let host = registry.host();
    let push =
        |bench: &Bench, name: &str| build(bench, &["-t", &format!("{host}/team/{name}:1"), "--push", &from(&place)]);
    push(&machine(&registry, &file), "whole");
    push(&machine(&registry, &file.replace("COPY --from=beside /beside /kept", "")), "without");
    let all = layers(&registry, "team/whole", "1");
    registry.take_moved();
    // The last step is another one.
    let changed = machine(&registry, &file.replace("/beside /kept\n", "/beside /other\n"));
    push(&changed, "changed");
    let fetched = moved(&registry, &all);
    assert!(all[1..3].iter().all(|layer| fetched.contains_key(layer)), "its parent was read: {fetched:?}");
    assert!(!fetched.contains_key(&all[3]), "its earlier result was not: {fetched:?}");
    // A linked copy reads nothing of what it lies on.
    let linked = FILE.replace("FROM busybox\n", "FROM scratch AS link\nCOPY Dockerfile /x\nFROM busybox\n")
        + "COPY --link --from=link /x /linked\n";
    let other = machine(&registry, &linked);
    registry.take_moved();
    push(&other, "linked");
    let pushed = layers(&registry, "team/linked", "1");
    assert_eq!(pushed[..3], all[..3]);
    assert_eq!(moved(&registry, &all), BTreeMap::new());
}

/// Rule: a cache can only help. What turns out to be gone when the image is pushed is a miss of its step alone.
#[test]
fn a_layer_that_is_gone_when_it_is_needed_is_made_by_its_step() {
    let Some((_one, registry, place)) = exported(FILE) else { return };
    let host = registry.host();
    build(&machine(&registry, FILE), &["-t", &format!("{host}/team/app:1"), "--push", &from(&place)]);
    let all = layers(&registry, "team/app", "1");
    for repository in ["team/cache", "team/app"] {
        registry.lose_blob(repository, &all[2]);
    }
    let other = machine(&registry, FILE);
    let name = format!("{host}/elsewhere/app:1");
    let output = build(&other, &["-t", &name, "--push", &from(&place)]);
    output.complains("the build goes on without what a cache has lost");
    let again = layers(&registry, "elsewhere/app", "1");
    assert_eq!((again.len(), &again[1]), (3, &all[1]), "what is below it came from the cache");
    let lines = other.run(["run", "--rm", &name]).success().out();
    let (first, second) = lines.split_once('\n').expect("two lines");
    assert_eq!(first, second.trim_end());
    other.run(["store", "check"]).success();
}

/// The same for a registry that does not have the layers: what it lacks is fetched and sent.
#[test]
fn another_registry_is_sent_what_it_lacks() {
    let Some((one, registry, place)) = exported(FILE) else { return };
    let other_registry = LoopbackRegistry::start();
    let other = machine(&registry, FILE);
    let name = format!("{}/app:1", other_registry.host());
    build(&other, &["-t", &name, "--push", &from(&place)]);
    let pushed = layers(&other_registry, "app", "1");
    assert_eq!(moved(&other_registry, &pushed).len(), 3);
    assert_eq!(other.run(["run", "--rm", &name]).success().out(), one.run(["run", "--rm", "made"]).success().out());
}

/// An image that carries its own cache is the same again, whether its layers were fetched or not.
#[test]
fn an_image_that_carries_its_cache_is_the_same_image_from_its_cache() {
    let Some((one, registry)) = with_busybox() else { return };
    one.file("Dockerfile", FILE);
    let name = format!("{}/team/inline:1", registry.host());
    let options = ["-t", &name, "--push", "--cache-to=type=inline"];
    build(&one, &options);
    let first = registry.manifest("team/inline", "1").expect("pushed");
    let all = layers(&registry, "team/inline", "1");
    let other = machine(&registry, FILE);
    registry.take_moved();
    build(&other, &[&options[..], &[&from(&format!("type=registry,ref={name}"))]].concat());
    assert_eq!(moved(&registry, &all), BTreeMap::new());
    let second = registry.manifest("team/inline", "1").expect("pushed");
    assert_eq!(String::from_utf8_lossy(&first), String::from_utf8_lossy(&second));
}

/// A base of which no step reads a file: it goes from its repository to that of the image, and nothing of it comes here.
#[test]
fn the_base_of_linked_copies_that_is_pushed_to_its_registry_moves_no_byte_of_a_layer() {
    let Some((_one, registry)) = with_busybox() else { return };
    let host = registry.host();
    let base = layers(&registry, "library/busybox", "latest");
    for (repository, file) in [
        ("linked", "FROM busybox\nCOPY --link a /new/a\nENV A=b\n"),
        ("from", "FROM scratch AS made\nCOPY a /a\nFROM busybox\nCOPY --link --from=made /a /new/a\n"),
        ("named", "FROM busybox\nENV A=b\nCMD echo named\n"),
    ] {
        let other = machine(&registry, file);
        other.file("a", "content");
        let name = format!("{host}/team/{repository}:1");
        registry.take_moved();
        let output = build(&other, &["-t", &name, "--push"]);
        assert!(!output.stderr.contains("fetch ") && !output.stderr.contains("unpack "), "{output}");
        let pushed = layers(&registry, &format!("team/{repository}"), "1");
        assert_eq!(pushed[..base.len()], base, "{output}");
        assert_eq!(moved(&registry, &base), BTreeMap::new(), "{repository}: {output}");
        // The image is whole, for whoever pulls it.
        other.run(["run", "--rm", &name, "sh", "-c", "test \"$A\" = b -o -f /new/a"]).success();
        other.run(["store", "check"]).success();
        // The same once more, with the base here.
        build(&other, &["-t", &name, "--push"]);
        assert_eq!(layers(&registry, &format!("team/{repository}"), "1"), pushed, "the same image either way");
    }
}

#[test]
fn a_base_that_something_reads_is_fetched() {
    let Some((_one, registry)) = with_busybox() else { return };
    let host = registry.host();
    let name = format!("{host}/team/app:1");
    let linked = "FROM busybox\nCOPY --link a /new/a\n";
    for (file, options) in [
        (linked, &["-t", "local"][..]),
        (linked, &["-t", &name, "--push", "--output=files"]),
        (linked, &["-t", &name, "--push", "--output=type=image,store=true"]),
        (linked, &["-t", &name, "--push", "--sbom"]),
        (linked, &["-t", &name, "--push", "--squash-all"]),
        (linked, &["-t", &name, "--push", "--compression-format=zstd", "--force-compression"]),
        ("FROM busybox\nCOPY --link a /new/a\nRUN cat /new/a\n", &["-t", &name, "--push"]),
        ("FROM busybox AS below\nFROM scratch\nCOPY --from=below /bin/sh /\n", &["-t", &name, "--push"]),
    ] {
        let mut other = machine(&registry, file);
        other.set("STAVE_LOAD", "store").file("a", "content");
        build(&other, options).complains("fetch ");
    }
}

#[test]
fn a_base_goes_to_another_registry_by_way_of_this_machine() {
    let Some((_one, registry)) = with_busybox() else { return };
    let second = LoopbackRegistry::start();
    let bench = Bench::new().with_registry(&registry);
    bench.file("Dockerfile", "FROM busybox\nCOPY --link a /new/a\n").file("a", "content");
    build(
        &bench,
        &["--output", &format!("type=image,name={}/team/app:1,push=true,registry.insecure=true", second.host())],
    );
    let base = layers(&registry, "library/busybox", "latest");
    assert_eq!(layers(&second, "team/app", "1")[..base.len()], base);
}

/// What was relied on and is not there ends the build with the registry's answer, not with a mistake of ours.
#[test]
fn a_base_whose_layer_is_gone_is_an_error_that_names_it() {
    let Some((_one, registry)) = with_busybox() else { return };
    let base = layers(&registry, "library/busybox", "latest");
    registry.lose_blob("library/busybox", &base[0]);
    let bench = machine(&registry, "FROM busybox\nCOPY --link a /new/a\n");
    bench.file("a", "content");
    let name = format!("{}/team/app:1", registry.host());
    let output = bench.run(["build", "--progress=plain", "-t", &name, "--push", "."]);
    output.exit(3).complains(&base[0][..19]);
    assert!(registry.manifest("team/app", "1").is_none(), "nothing is named that is not whole");
}

/// What is told of a build whose layers stayed where the cache has them: nothing of their files, and how to get them.
#[test]
fn a_build_whose_layers_stayed_remote_is_reported_and_advised_on_without_them() {
    let file = FILE.replace("> /two\n", "> /two && rm /one\n");
    let Some((_one, registry, place)) = exported(&file) else { return };
    let name = format!("{}/team/app:1", registry.host());
    let other = machine(&registry, &file);
    build(&other, &["-t", &name, "--push", &from(&place)]);
    registry.take_moved();
    let absent = "not all of its layers are in the store: they were removed since, or stayed in the registry or cache that has \
                  them; building it again with `--load` brings them here";
    let advice = other.run(["advise"]);
    assert_eq!(
        (advice.success().out().as_str(), advice.stderr.as_str()),
        (
            "No change of Dockerfile that is known here would save much.\n",
            format!("note: nothing is said about the image's bytes: {absent}\n").as_str()
        )
    );
    other.run(["report", "-o", "remote.html"]).success();
    let page = std::fs::read_to_string(other.work().join("remote.html")).expect("it was written");
    assert!(page.contains("not all of its layers are in the store"), "{page}");
    let shown = other.run(["builds", "show"]).success().out();
    assert!(shown.contains("2 cached") && shown.contains("&& rm /one"), "{shown}");
    assert_eq!(registry.take_moved(), BTreeMap::new(), "nothing is fetched to be looked at");
    // With its layers here all of it is known: what each step added, and what is shipped for nothing.
    build(&other, &["-t", &name, "--load", &from(&place)]);
    let all = other.run(["advise", "--format=json"]).success().out();
    let document: Value = serde_json::from_str(&all).expect("one object");
    assert!(document["wasted_bytes"].as_u64().is_some_and(|bytes| bytes >= 200_000), "{document:#}");
    assert_eq!(document["advice"][0]["code"], "deleted-in-later-layer", "{document:#}");
    other.run(["report", "-o", "here.html"]).success();
    let page = std::fs::read_to_string(other.work().join("here.html")).expect("it was written");
    assert!(!page.contains("not all of its layers") && page.contains("deleted by "), "{page}");
}

/// The same of a base that stayed in its registry.
#[test]
fn a_build_whose_base_stayed_away_is_reported_and_advised_on_without_it() {
    let Some((_one, registry)) = with_busybox() else { return };
    let bench = machine(&registry, "FROM busybox\nCOPY --link a /new/a\n");
    bench.file("a", "content");
    let name = format!("{}/team/app:1", registry.host());
    build(&bench, &["-t", &name, "--push"]);
    registry.take_moved();
    bench.run(["advise"]).success().complains("stayed in the registry or cache that has them");
    bench.run(["report", "-o", "away.html"]).success();
    let page = std::fs::read_to_string(bench.work().join("away.html")).expect("it was written");
    assert!(page.contains("stayed in the registry or cache that has them"), "{page}");
    let explained = bench.run(["explain"]).success().out();
    assert!(explained.contains("COPY --link a /new/a: ran"), "{explained}");
    assert_eq!(registry.take_moved(), BTreeMap::new(), "nothing is fetched to be looked at");
}
