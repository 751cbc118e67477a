//! Images for several platforms: built in one go, kept under one name, pushed as an index.

use std::fs;

use serde_json::{Value, json};
use stave_oci::Platform;
use stave_testkit::bench::Bench;
use stave_testkit::fixtures::with_busybox;
use stave_testkit::image::Image;
use stave_testkit::output::Output;
use stave_testkit::registry::LoopbackRegistry;

/// An image that says that it is for `platform`. Its programs are this machine's, so that they run without emulation.
fn said_to_be_for(platform: &str) -> Image {
    let mut image = Image::of_busybox().expect("`with_busybox` has found one");
    let Platform { architecture, os, variant, .. } = platform.parse().expect("a platform");
    (image.config.architecture, image.config.os, image.config.variant) = (architecture, os, variant);
    image
}

/// A bench for which `busybox` is an index of images for this machine and for s390x.
fn with_platforms() -> Option<(Bench, LoopbackRegistry)> {
    let (bench, registry) = with_busybox()?;
    let (own, other) = (said_to_be_for(&host()), said_to_be_for(OTHER));
    registry.put_index("library/busybox", "latest", &[&own, &other]);
    Some((bench, registry))
}

fn host() -> String {
    Platform::host().to_string()
}

/// A platform that no machine of the tests has.
const OTHER: &str = "linux/s390x";

fn both() -> String {
    format!("{},{OTHER}", host())
}

fn build(bench: &Bench, options: &[&str], dockerfile: &str) -> Output {
    bench.file("Dockerfile", dockerfile);
    let both = both();
    bench.run(["build", "--platform", &both, "."].iter().chain(options))
}

/// What a shell line prints in the image `name` for a platform.
fn in_image(bench: &Bench, platform: &str, name: &str, line: &str) -> String {
    bench.run(["run", "--rm", "--platform", platform, name, "sh", "-c", line]).success().out()
}

/// A layer that the bases of two platforms have in common.
#[test]
fn what_the_bases_of_two_platforms_share_is_fetched_and_unpacked_once() {
    let Some((bench, registry)) = with_platforms() else { return };
    drop(registry.take_log());
    let dockerfile = "FROM busybox\nARG TARGETARCH\nRUN echo $TARGETARCH > /own\n";
    build(&bench, &["-t", "app", "--progress=plain"], dockerfile).success();
    let layer = said_to_be_for(&host()).layers()[0].descriptor.digest.to_string();
    let log = registry.take_log();
    let fetched = log.iter().filter(|line| line.starts_with("GET ") && line.contains(&layer)).count();
    assert_eq!(fetched, 1, "{log:#?}");
}

/// T81, H001, H004, G004: a stage on the platform of the builder runs once for all targets, also without the cache;
/// what asks for the target runs once for each.
#[test]
fn a_stage_on_the_builders_platform_runs_once_for_all_targets() {
    let Some((bench, _registry)) = with_platforms() else { return };
    let dockerfile = "FROM --platform=$BUILDPLATFORM busybox AS build\n\
         RUN head -c 16 /dev/urandom | sha256sum > /once\n\
         ARG TARGETPLATFORM TARGETARCH BUILDPLATFORM\n\
         RUN echo \"$BUILDPLATFORM makes $TARGETPLATFORM $TARGETARCH\" > /out\n\
         FROM busybox\nCOPY --from=build /once /out /\nRUN echo here > /own\n";
    let output = build(&bench, &["--no-cache", "-t", "made"], dockerfile);
    let (host, err) = (host(), &output.success().stderr);
    let own = Platform::host().architecture;
    for (line, times) in [
        (format!("[{host} build 2/3] RUN head -c 16 /dev/urandom | sha256sum > /once"), 1),
        (format!("[{host} build 3/3] RUN echo"), 1),
        (format!("[{host}->s390x build 3/3] RUN echo"), 1),
        (format!("[{host} stage-1 3/3] RUN echo here > /own"), 1),
        (format!("[{OTHER} stage-1 3/3] RUN echo here > /own"), 1),
        ("RUN head".to_owned(), 1),
    ] {
        // What the end says of the critical path is not counted.
        let begun = err.lines().filter(|shown| shown.starts_with('#') && shown.contains(&line));
        assert_eq!(begun.count(), times, "{line}\n{err}");
    }
    let seen = |platform: &str| in_image(&bench, platform, "made", "cat /once /out /own");
    let (first, second) = (seen(&host), seen(OTHER));
    assert_eq!(first.lines().next(), second.lines().next(), "it ran once");
    assert!(first.contains(&format!("{host} makes {host} {own}\nhere\n")), "{first}");
    assert!(second.contains(&format!("{host} makes {OTHER} s390x\nhere\n")), "{second}");

    let again = build(&bench, &["-t", "made"], dockerfile);
    assert_eq!(again.success().stderr.matches("CACHED").count(), 10, "nothing runs again\n{}", again.stderr);
}

/// B013: given several times, as a list, in other words and twice, each platform is built once.
#[test]
fn platforms_are_given_as_a_list_or_one_by_one_and_count_once() {
    let Some((bench, _registry)) = with_platforms() else { return };
    bench.file("Dockerfile", "FROM busybox\nRUN true\n");
    let own = host();
    let output = bench.run(["build", "--platform", &format!("local,{own}"), "--platform=s390x,linux/s390x", "."]);
    output.success();
    assert_eq!(output.stderr.matches("\nimage sha256:").count(), 2, "{}", output.stderr);
    let one = bench.run(["build", "--platform", "local", "--platform", &own, "--no-cache", "."]);
    one.success().complains("[stage-0 2/2] RUN true");
    assert!(!one.stderr.contains("index"), "one platform is one plain image: {}", one.stderr);
}

/// K019, G009: the id of several images is that of their index. B033, B034, B035.
#[test]
fn what_is_printed_and_written_names_the_index() {
    let Some((bench, registry)) = with_platforms() else { return };
    let dockerfile = "FROM busybox\nCOPY Dockerfile /\n";
    let quiet = build(&bench, &["-q", "-t", "made", "--iidfile", "id", "--metadata-file", "meta"], dockerfile);
    quiet.success();
    let read = |name: &str| fs::read_to_string(bench.work().join(name)).expect("it was written");
    let meta: Value = serde_json::from_str(&read("meta")).expect("JSON");
    assert_eq!(quiet.line(), read("id"));
    assert_eq!(meta["containerimage.digest"], read("id"));
    assert_eq!(meta["containerimage.descriptor"]["mediaType"], "application/vnd.oci.image.index.v1+json");
    assert_eq!(meta.get("containerimage.config.digest"), None);
    let by_id = bench.run(["inspect", "-f", "{{.Architecture}} {{.RepoTags}}", &read("id")]).success().line();
    assert_eq!(by_id, format!("{} [made:latest]", Platform::host().architecture));

    let name = format!("{}/a/b:1", registry.host());
    let pushed = build(&bench, &["-q", "--push", "-t", &name, "--iidfile", "id"], dockerfile);
    let digest = stave_oci::BlobDigest::of(&registry.manifest("a/b", "1").expect("it was pushed")).to_string();
    assert_eq!((pushed.success().line(), read("id")), (digest.clone(), digest), "what the registry has");
}

/// C030: a name of several images is pushed with all of them; each of them alone where one is asked for.
#[test]
fn an_index_is_pushed_with_all_its_images() {
    let Some((bench, registry)) = with_platforms() else { return };
    let name = format!("{}/a/b", registry.host());
    build(&bench, &["-t", &name], "FROM busybox\nARG TARGETARCH\nRUN echo $TARGETARCH > /arch\n").success();
    bench.run(["push", &name]).success();
    let bytes = registry.manifest("a/b", "latest").expect("it was pushed");
    let index: Value = serde_json::from_slice(&bytes).expect("JSON");
    let platforms: Vec<String> = index["manifests"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|entry| {
            format!(
                "{}/{}",
                entry["platform"]["os"].as_str().expect("text"),
                entry["platform"]["architecture"].as_str().expect("text")
            )
        })
        .collect();
    assert_eq!(platforms, [host(), OTHER.to_owned()]);
    for entry in index["manifests"].as_array().expect("a list") {
        let manifest = registry.manifest("a/b", entry["digest"].as_str().expect("text")).expect("the image is there");
        let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
        assert!(registry.blob(manifest["config"]["digest"].as_str().expect("text")).is_some());
    }
    let digests = bench.run(["inspect", "-f", "{{.RepoDigests}}", &name]).success().line();
    assert!(digests.contains(&stave_oci::BlobDigest::of(&bytes).to_string()), "{digests}");

    bench.run(["push", "--platform", OTHER, &name]).success();
    let one: Value = serde_json::from_slice(&registry.manifest("a/b", "latest").expect("pushed")).expect("JSON");
    assert_eq!(one["mediaType"], "application/vnd.oci.image.manifest.v1+json");

    let other = Bench::new().with_registry(&registry);
    let name = format!("{}/a/c", registry.host());
    bench.run(["tag", &format!("{}/a/b", registry.host()), &name]).success();
    bench.run(["push", "-q", &name]).success();
    assert_eq!(in_image(&other, OTHER, &name, "cat /arch"), "s390x\n");
    assert_eq!(in_image(&other, &host(), &name, "cat /arch"), format!("{}\n", Platform::host().architecture));
}

/// A name that stands for several images is one line of `images`, and everything done with it knows the platform.
#[test]
fn the_store_keeps_all_platforms_under_one_name() {
    let Some((bench, _registry)) = with_platforms() else { return };
    build(&bench, &["-t", "made", "-t", "made:2"], "FROM busybox\nARG TARGETARCH\nLABEL for=$TARGETARCH\nRUN true\n")
        .success();
    let arch = Platform::host().architecture;
    let inspect = |name: &str, platform: &[&str]| {
        let args = ["inspect", "-f", "{{.Architecture}} {{.Config.Labels.for}} {{.RepoTags}}", name];
        bench.run(args.iter().chain(platform))
    };
    assert_eq!(inspect("made", &[]).success().line(), format!("{arch} {arch} [made:2 made:latest]"));
    assert_eq!(inspect("made", &["--platform", OTHER]).success().line(), "s390x s390x [made:latest]");
    inspect("made", &["--platform", "linux/riscv64"])
        .exit(2)
        .complains(&format!("`made` is not here for linux/riscv64: it is for {}, {OTHER}", host()));

    let list = |options: &[&str]| {
        bench.run(["images", "--format", "{{.Repository}}:{{.Tag}}"].iter().chain(options)).success().out()
    };
    assert_eq!(list(&["made"]), "made:2\nmade:latest\n");
    assert_eq!(list(&["-a"]).lines().count(), list(&[]).lines().count() + 3, "those for the other platform");

    bench.run(["tag", "made", "again:1"]).success();
    assert_eq!(inspect("again:1", &["--platform", OTHER]).success().line(), "s390x s390x [again:1]");
    bench.run(["save", "--platform", OTHER, "-o", "one.tar", "again:1"]).success();
    bench.run(["history", "-q", "--platform", OTHER, "made"]).success();
    for name in ["made", "made:2", "again:1"] {
        inspect(name, &["--platform", OTHER]).success();
        bench.run(["rmi", name]).success();
    }
    assert_eq!(list(&["-a", "-f", "dangling=true"]), "", "nothing of it is left");
    bench.run(["load", "-i", "one.tar"]).success().complains("an image of the archive is for linux/s390x");
    assert_eq!(inspect("again:1", &[]).success().line(), "s390x s390x [again:1]");

    build(&bench, &["-t", "made"], "FROM busybox\nRUN true\n").success();
    bench.run(["build", "-t", "made", "."]).success();
    inspect("made", &["--platform", OTHER]).exit(2).complains("image `made` is for");
    bench.run(["store", "check"]).success();
}

/// F001: a base that was built, or pulled, for several platforms is found for each without its registry.
#[test]
fn a_base_for_several_platforms_is_found_in_the_store() {
    let Some((bench, registry)) = with_platforms() else { return };
    build(&bench, &["-t", "base"], "FROM busybox\nARG TARGETARCH\nRUN echo $TARGETARCH > /arch\n").success();
    registry.fail(|_| Some(stave_testkit::http::Response::status(500)));
    build(&bench, &["-t", "made"], "FROM base\nRUN cp /arch /copy\n").success();
    assert_eq!(in_image(&bench, OTHER, "made", "cat /copy"), "s390x\n");
    build(&bench, &["-t", "more"], "FROM busybox\nRUN true\n").success();
    registry.recover();
    bench.run(["pull", "-q", "busybox"]).success();
    let arch = bench.run(["inspect", "-f", "{{.Architecture}}", "--platform", OTHER, "busybox"]).success().line();
    assert_eq!(arch, "s390x", "what was pulled for one platform does not take the name from the other");
}

/// T83, H005: what all platforms share is told once; what one of them lacks is a mistake at the words that name it.
#[test]
fn mistakes_and_warnings_are_told_once() {
    let Some((bench, registry)) = with_platforms() else { return };
    let unknown = build(&bench, &[], "FROM busybox\nCOPY --from=nothing /a /\nRUNN x\n");
    assert_eq!(unknown.exit(2).stderr.matches("RUNN").count(), 2, "the message and its line: {}", unknown.stderr);
    let warned = build(&bench, &["--debug"], "FROM busybox as x\nENV A b\n");
    assert_eq!(warned.success().stderr.matches("LegacyKeyValueFormat").count(), 1, "{}", warned.stderr);

    registry.put("library/single", "latest", &said_to_be_for(OTHER));
    let single = build(&bench, &[], "FROM single\nCOPY Dockerfile /\n");
    assert_eq!(single.success().stderr.matches("InvalidBaseImagePlatform").count(), 1, "{}", single.stderr);
    single.complains(&format!("is for `{OTHER}`, expected `{}`", host()));

    registry.put_index("library/few", "latest", &[&said_to_be_for(&host()), &said_to_be_for("linux/riscv64")]);
    let few = build(&bench, &[], "FROM busybox\nFROM few\nRUN true\n");
    few.exit(3).complains("Dockerfile:2:6").complains(OTHER).complains("linux/riscv64");
    assert_eq!(few.stderr.matches("error").count(), 1, "{}", few.stderr);
}

/// An archive of several images comes back as they are, under one name.
#[test]
fn an_archive_of_several_platforms_is_loaded_with_all_of_them() {
    let Some((bench, _registry)) = with_platforms() else { return };
    build(
        &bench,
        &["-o", "type=oci,dest=all.tar,name=made"],
        "FROM busybox\nARG TARGETARCH\nRUN echo $TARGETARCH > /a\n",
    )
    .success();
    let other = Bench::new();
    let archive = bench.work().join("all.tar").display().to_string();
    let loaded = other.run(["load", "-i", &archive]);
    assert_eq!(loaded.success().line(), "Loaded image: made:latest");
    assert_eq!(in_image(&other, OTHER, "made", "cat /a"), "s390x\n");
    assert_eq!(in_image(&other, &host(), "made", "cat /a"), format!("{}\n", Platform::host().architecture));
}

/// What an archive has under a name.
fn in_archive(bench: &Bench, archive: &str, name: &str) -> Value {
    let file = fs::File::open(bench.work().join(archive)).expect("it was written");
    let mut archive = tar::Archive::new(file);
    let found = archive.entries().expect("a tar").map(|entry| entry.expect("an entry"));
    let mut entry = found
        .into_iter()
        .find(|entry| entry.path().is_ok_and(|path| path.as_os_str() == name))
        .unwrap_or_else(|| panic!("the archive has `{name}`"));
    serde_json::from_reader(&mut entry).expect("it is JSON")
}

/// I027, I028: an image for several platforms is saved with all of them and with what is said about them, and loaded so:
/// from another store, the same archive is written again.
#[test]
fn a_saved_image_has_all_its_platforms_and_comes_back_as_it_was() {
    let Some((bench, registry)) = with_platforms() else { return };
    let dockerfile = "FROM busybox\nARG TARGETARCH\nRUN echo $TARGETARCH > /a\n";
    build(&bench, &["-t", "made", "--provenance=inline=true", "--sbom"], dockerfile).success();
    bench.run(["save", "-o", "all.tar", "made"]).success();
    let listed = in_archive(&bench, "all.tar", "index.json")["manifests"].clone();
    let listed = listed.as_array().expect("a list").clone();
    assert_eq!(listed.len(), 3, "the index, and two lists of packages that refer to its images: {listed:?}");
    assert_eq!(listed[0]["mediaType"], "application/vnd.oci.image.index.v1+json");
    let digest = listed[0]["digest"].as_str().expect("a digest");
    let index = in_archive(&bench, "all.tar", &format!("blobs/sha256/{}", &digest["sha256:".len()..]));
    let platforms: Vec<&Value> =
        index["manifests"].as_array().expect("a list").iter().map(|entry| &entry["platform"]["os"]).collect();
    assert_eq!(platforms, ["linux", "linux", "unknown", "unknown"]);
    let for_docker = in_archive(&bench, "all.tar", "manifest.json");
    let own = bench.run(["inspect", "-f", "{{.Id}}", "made"]).success().line();
    assert_eq!(
        for_docker[0]["Config"],
        format!("blobs/sha256/{}", &own["sha256:".len()..]),
        "docker takes this machine's"
    );
    assert_eq!((for_docker.as_array().map(Vec::len), &for_docker[0]["RepoTags"]), (Some(1), &json!(["made:latest"])));

    let archive = bench.work().join("all.tar");
    let archive = archive.to_str().expect("a text");
    let other = Bench::new();
    assert_eq!(other.run(["load", "-i", archive]).success().out(), "Loaded image: made:latest\n");
    assert_eq!(in_image(&other, OTHER, "made", "cat /a"), "s390x\n");
    other.run(["save", "-o", "again.tar", "made"]).success();
    let read = |path: &std::path::Path| fs::read(path).expect("it was written");
    assert!(read(&other.work().join("again.tar")) == read(archive.as_ref()), "byte for byte");
    other.run(["store", "check"]).success();

    let one = Bench::new();
    one.run(["load", "--platform", OTHER, "-i", archive]).success();
    assert_eq!(one.run(["inspect", "-f", "{{.Architecture}}", "made"]).success().line(), "s390x");
    one.run(["load", "--platform", "linux/riscv64", "-i", archive]).exit(2).complains("has no image for linux/riscv64");

    // What came from a registry goes on as it came.
    bench.run(["pull", "-q", "--platform", OTHER, "busybox"]).success();
    bench.run(["save", "-o", "base.tar", "busybox"]).success();
    let third = Bench::new();
    third.run(["load", "-i", bench.work().join("base.tar").to_str().expect("a text")]).success();
    third.run(["save", "-o", "base.tar", "busybox"]).success();
    let index = |bench: &Bench| in_archive(bench, "base.tar", "index.json");
    assert_eq!(index(&third), index(&bench));
    drop(registry);
}

/// C007: two platforms without a name are one index, not two images.
#[test]
fn an_index_without_a_name_stays_one() {
    let Some((bench, _registry)) = with_platforms() else { return };
    let dockerfile = "FROM busybox\nARG TARGETARCH\nRUN echo $TARGETARCH > /a\n";
    build(&bench, &["-o", "type=oci,dest=all.tar"], dockerfile).success();
    let index = in_archive(&bench, "all.tar", "index.json")["manifests"][0]["digest"].clone();
    let index = index.as_str().expect("a digest");
    let archive = bench.work().join("all.tar").display().to_string();
    for take in [["load", "-i", &archive].as_slice(), &["pull", &format!("oci-archive:{archive}")]] {
        let other = Bench::new();
        let said = other.run(take).success().line();
        assert_eq!(said.trim_start_matches("Loaded image ID: "), index);
        assert_eq!(other.run(["images", "-q"]).success().out().lines().count(), 1);
        assert_eq!(other.run(["images", "-qa"]).success().out().lines().count(), 2);
        assert_eq!(in_image(&other, OTHER, index, "cat /a"), "s390x\n");
        other.run(["save", "-o", "again.tar", index]).success();
        let again = in_archive(&other, "again.tar", "index.json");
        assert_eq!(
            (again["manifests"].as_array().map(Vec::len), &again["manifests"][0]["digest"]),
            (Some(1), &json!(index))
        );
        other.run(["tag", index, "named"]).success();
        assert_eq!(in_image(&other, OTHER, "named", "cat /a"), "s390x\n");
        other.run(["rmi", "named"]).success();
    }
}

/// A build for several platforms fails when one does, and says for which.
#[test]
fn a_failed_step_says_its_platform() {
    let Some((bench, _registry)) = with_platforms() else { return };
    let output =
        build(&bench, &["-t", "made"], "FROM busybox AS base\nARG TARGETARCH\nRUN test $TARGETARCH != s390x\n");
    output.exit(1).complains(&format!("error: [{OTHER} base] RUN test $TARGETARCH != s390x failed: exit status 1"));
    bench.run(["inspect", "made"]).exit(1);
}

/// A084: one platform is written out as several are, if a build argument says so.
#[test]
fn one_platform_makes_an_index_if_it_is_told_to() {
    let bench = Bench::new();
    let name = host().replace('/', "_");
    bench.file("Dockerfile", "FROM scratch\nCOPY f /\n").file("f", "x");
    let build = |more: &[&str]| {
        bench.run(["build", "--build-arg", "BUILDKIT_MULTI_PLATFORM=1"].iter().chain(more).chain(&["."]))
    };
    build(&["-o", "files"]).success();
    assert_eq!(fs::read_to_string(bench.work().join(format!("files/{name}/f"))).expect("it was written"), "x");
    build(&["-o", "type=local,dest=flat,platform-split=false"]).success();
    assert_eq!(fs::read_to_string(bench.work().join("flat/f")).expect("it was written"), "x");
    build(&["-o", "type=tar,dest=files.tar"]).success();
    let listed = std::process::Command::new("tar").arg("-tf").arg(bench.work().join("files.tar")).output();
    let listed = String::from_utf8(listed.expect("tar is there").stdout).expect("names are text");
    assert_eq!(listed, format!("{name}/\n{name}/f\n"));
    let layout =
        build(&["-t", "made", "--iidfile", "id", "--metadata-file", "meta", "-o", "type=oci,tar=false,dest=layout"]);
    layout.success().complains("\nindex sha256:");
    let read = |path: &str| -> Value {
        serde_json::from_str(&fs::read_to_string(bench.work().join(path)).expect("it was written")).expect("JSON")
    };
    let listed = &read("layout/index.json")["manifests"][0];
    assert_eq!(listed["mediaType"], "application/vnd.oci.image.index.v1+json");
    let digest = listed["digest"].as_str().expect("a digest").replace(':', "/");
    let index = read(&format!("layout/blobs/{digest}"));
    let platforms: Vec<String> = index["manifests"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|entry| format!("{}/{}", entry["platform"]["os"], entry["platform"]["architecture"]).replace('"', ""))
        .collect();
    assert_eq!(platforms, [Platform::host().to_string()]);
    assert_eq!(read("meta")["containerimage.digest"], listed["digest"]);
    // In the store it has the one image.
    bench.run(["build", "-t", "made", "--build-arg", "BUILDKIT_MULTI_PLATFORM=true", "."]).success();
    assert_eq!(bench.run(["inspect", "-f", "{{.RepoTags}}", "made"]).success().line(), "[made:latest]");
    bench.run(["build", "-t", "made", "--build-arg", "BUILDKIT_MULTI_PLATFORM=0", "."]).success();
    bench.run(["store", "check"]).success();
    // What is pushed afterwards is an index, too.
    let registry = LoopbackRegistry::start();
    let pushed = format!("{}/made:1", registry.host());
    build(&["-t", &pushed]).success().complains("\nindex sha256:");
    bench.run(["push", "-q", &pushed]).success();
    let sent: Value = serde_json::from_slice(&registry.manifest("made", "1").expect("it is there")).expect("JSON");
    let directly = format!("{}/made:2", registry.host());
    build(&["-o", &format!("type=registry,name={directly}")]).success();
    let direct: Value = serde_json::from_slice(&registry.manifest("made", "2").expect("it is there")).expect("JSON");
    assert_eq!((&sent["mediaType"], &sent), (&json!("application/vnd.oci.image.index.v1+json"), &direct));
    let docker = build(&["-o", "type=docker,dest=docker.tar"]);
    docker.complains("this output holds one image, and `BUILDKIT_MULTI_PLATFORM` asks for an index of images");
    assert!(!bench.work().join("docker.tar").exists());
    let several = ["build", "--build-arg", "BUILDKIT_MULTI_PLATFORM=false", "--platform=linux/s390x,linux/arm64", "."];
    bench
        .run(several)
        .exit(2)
        .complains("`BUILDKIT_MULTI_PLATFORM` is `false`, and the build is for linux/s390x, linux/arm64");
    let unclear = bench.run(["build", "--build-arg", "BUILDKIT_MULTI_PLATFORM=maybe", "."]);
    unclear.exit(2).complains("`BUILDKIT_MULTI_PLATFORM` is `maybe`, expected `true` or `false`");
}
