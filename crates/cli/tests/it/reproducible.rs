//! The same inputs, the same bytes.

use stave_testkit::Bench;
use stave_testkit::fixtures::with_busybox;
use std::fs;
use std::path::Path;

const DOCKERFILE: &str = "\
FROM busybox AS made
WORKDIR /work/dir
COPY . .
RUN mkdir -p /out/sub && echo text > /out/sub/file && ln -s file /out/sub/link && ln /out/sub/file /out/hard
RUN rm sub/b && chmod 700 sub && touch /out/now
FROM busybox
ENV A=1
COPY --from=made /out /out
COPY --from=made --chmod=755 /work/dir/a /bin/a
CMD [\"cat\", \"/out/sub/file\"]
";

/// Fills a context with files whose times are those of their making.
fn fill(bench: &Bench) {
    bench.file("Dockerfile", DOCKERFILE).file("a", "a").file("sub/b", "b").file("sub/c", "c");
}

/// Builds it into an OCI archive, and returns the image's id and the archive.
fn build(bench: &Bench) -> (String, Vec<u8>) {
    bench
        .run(["build", "--iidfile", "id", "-t", "made", "--output", "type=oci,dest=made.tar", "--no-cache", "."])
        .success();
    let read = |name: &str| fs::read(bench.work().join(name)).expect("written by the build");
    (String::from_utf8(read("id")).expect("text"), read("made.tar"))
}

#[test]
fn two_builds_with_one_epoch_give_the_same_archive_byte_for_byte() {
    let Some((mut first, registry)) = with_busybox() else { return };
    first.set("SOURCE_DATE_EPOCH", "1700000000");
    fill(&first);
    let (id, archive) = build(&first);

    // Another directory, another store, other times, fewer cores.
    let mut second = Bench::new().with_registry(&registry);
    second.set("SOURCE_DATE_EPOCH", "1700000000");
    fill(&second);
    let (second_id, second_archive) = build_on_one_core(&second);
    assert_eq!(id, second_id);
    assert!(archive == second_archive, "the archives differ");
}

fn build_on_one_core(bench: &Bench) -> (String, Vec<u8>) {
    let mut command = bench.other(Path::new("taskset"));
    command.args(["-c", "0"]).arg(stave_testkit::bench::stave_binary());
    command.args(["build", "--iidfile", "id", "--output", "type=oci,dest=made.tar", "-t", "made", "."]);
    bench.finish(command).success();
    let read = |name: &str| fs::read(bench.work().join(name)).expect("written by the build");
    (String::from_utf8(read("id")).expect("text"), read("made.tar"))
}

#[test]
fn no_time_in_the_image_is_later_than_the_epoch() {
    let Some((mut bench, _registry)) = with_busybox() else { return };
    bench.set("SOURCE_DATE_EPOCH", "1600000000");
    fill(&bench);
    bench.run(["build", "-t", "made", "."]).success();
    let text = bench.run(["inspect", "made"]).success().out();
    let parsed: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(parsed[0]["Created"], "2020-09-13T12:26:40Z");
    let saved = bench.run(["save", "made"]).success().stdout.clone();
    let mut late = Vec::new();
    for (name, layer) in layers(&saved) {
        let mut archive = tar::Archive::new(&layer[..]);
        for entry in archive.entries().expect("a tar") {
            let entry = entry.expect("an entry");
            if entry.header().mtime().expect("a time") > 1_600_000_000 {
                late.push(format!("{name}: {}", entry.path().expect("a path").display()));
            }
        }
    }
    assert_eq!(late, Vec::<String>::new());
}

/// The uncompressed layers of a docker archive, by the names in its manifest.
fn layers(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut files = std::collections::BTreeMap::new();
    for entry in tar::Archive::new(archive).entries().expect("a tar") {
        let mut entry = entry.expect("an entry");
        let name = entry.path().expect("a path").display().to_string();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).expect("an entry's bytes");
        files.insert(name, bytes);
    }
    let manifest: serde_json::Value = serde_json::from_slice(&files["manifest.json"]).expect("JSON");
    let names = manifest[0]["Layers"].as_array().expect("a list").iter();
    names
        .map(|name| {
            let name = name.as_str().expect("a name").to_owned();
            let bytes = files.get(&name).expect("a layer of the archive");
            (name, unzipped(bytes))
        })
        .collect()
}

fn unzipped(bytes: &[u8]) -> Vec<u8> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return bytes.to_vec();
    }
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(bytes), &mut plain).expect("gzip");
    plain
}
