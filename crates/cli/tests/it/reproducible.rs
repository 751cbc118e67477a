//! The same inputs, the same bytes.

use stave_testkit::fixtures::with_busybox;
use stave_testkit::git::Repository;
use stave_testkit::http::{Response, Server};
use stave_testkit::registry::LoopbackRegistry;
use stave_testkit::{Bench, Rootfs, needs};
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

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

/// Builds in a bench of its own and returns the image's id. `change` may make the context and its surroundings others.
fn id_of(registry: &LoopbackRegistry, args: &[&str], change: impl FnOnce(&mut Bench)) -> String {
    let mut bench = Bench::new().with_registry(registry);
    fill(&bench);
    change(&mut bench);
    bench.run(["build", "--iidfile", "id", "-t", "made"].iter().chain(args).chain(&["."])).success();
    fs::read_to_string(bench.work().join("id")).expect("an image id")
}

/// Gives all files of a context a time.
fn touch(bench: &Bench, seconds: u64) {
    for name in ["Dockerfile", "a", "sub/b", "sub/c", "sub"] {
        set_time(&bench.work().join(name), seconds);
    }
}

fn set_time(path: &Path, seconds: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let file = fs::File::open(path).expect("it is there");
    file.set_modified(time).expect("its time can be set");
}

/// Without any option.
#[test]
fn the_same_inputs_give_the_same_image_whenever_and_wherever() {
    let Some((_bench, registry)) = with_busybox() else { return };
    let in_zone = |bench: &mut Bench| {
        bench.set("TZ", "Asia/Kathmandu");
    };
    let in_turkish = |bench: &mut Bench| {
        bench.set("LC_ALL", "tr_TR.UTF-8");
    };
    let first = id_of(&registry, &[], |_| {});
    // Times with whole seconds would be the same otherwise.
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(id_of(&registry, &[], |_| {}), first, "later, in another directory");
    assert_eq!(id_of(&registry, &[], |bench| touch(bench, 86_400)), first, "files older than the base");
    assert_eq!(id_of(&registry, &[], |bench| touch(bench, 1_700_000_000)), first, "files younger than the base");
    assert_eq!(id_of(&registry, &[], in_zone), first, "another time zone");
    assert_eq!(id_of(&registry, &[], in_turkish), first, "another language");
    for (what, shell) in [("another mask", "umask 077"), ("one processor", "exec 2>&2")] {
        let mut bench = Bench::new().with_registry(&registry);
        fill(&bench);
        bench.set("STAVE", stave_testkit::bench::stave_binary());
        let run = if what == "one processor" { "exec taskset -c 0 \"$STAVE\"" } else { "exec \"$STAVE\"" };
        let mut command = bench.other(Path::new("sh"));
        command.args(["-c", &format!("{shell}; {run} build --iidfile id .")]);
        bench.finish(command).success();
        assert_eq!(fs::read_to_string(bench.work().join("id")).expect("an image id"), first, "{what}");
    }
}

/// What an earlier build left in the store, made for another epoch, changes nothing. B010.
#[test]
fn the_image_is_the_same_from_the_cache_and_from_nothing() {
    let Some((bench, registry)) = with_busybox() else { return };
    fill(&bench);
    let build = |bench: &Bench, args: &[&str]| {
        bench.run(["build", "--iidfile", "id", "-t", "made"].iter().chain(args).chain(&["."])).success();
        fs::read_to_string(bench.work().join("id")).expect("an image id")
    };
    let plain = build(&bench, &[]);
    // An epoch after the steps ran: a file that was made before it is no older than one that is made now.
    let later = ["--source-date-epoch", "4000000000"];
    let cached = build(&bench, &later);
    assert_ne!(plain, cached);
    touch(&bench, 86_400);
    assert_eq!(build(&bench, &[]), plain);
    std::thread::sleep(Duration::from_millis(1100));
    let fresh = Bench::new().with_registry(&registry);
    fill(&fresh);
    for name in ["Dockerfile", "a", "sub/b", "sub/c", "sub"] {
        let time = fs::metadata(bench.work().join(name)).and_then(|metadata| metadata.modified()).expect("a time");
        set_time(&fresh.work().join(name), time.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs());
    }
    assert_eq!(build(&fresh, &[]), plain);
}

/// The time of the commit comes first, whoever owns the repository and whatever it wants to run.
#[test]
fn the_epoch_is_the_time_of_the_commit_of_the_context() {
    let Some((bench, _registry)) = with_busybox() else { return };
    let Some(_git) = needs::program("git") else { return };
    fill(&bench);
    let created = || {
        bench.run(["build", "-t", "made", "."]).success();
        bench.run(["inspect", "-f", "{{.Created}}", "made"]).success().line()
    };
    assert_eq!(created(), "2020-01-01T00:00:00Z", "that of the youngest base");
    let repository = Repository::at(&bench.work());
    repository.git(&["init", "-q"]);
    assert_eq!(created(), "2020-01-01T00:00:00Z", "there is no commit yet");
    repository.commit("one");
    repository.run("git config core.fsmonitor 'touch ran'; git config core.pager 'touch ran'");
    assert_eq!(created(), "2023-11-14T22:13:20Z");
    bench.file("a", "another a, in no commit");
    assert_eq!(created(), "2023-11-14T22:13:20Z");
    assert!(!bench.work().join("ran").exists(), "what the repository's configuration names was run");
}

/// Base layers stay what they are, also where the base was built here and has another epoch.
#[test]
fn layers_of_a_base_are_never_written_anew() {
    let Some((bench, _registry)) = with_busybox() else { return };
    fill(&bench);
    let layers = |name: &str| {
        let text = bench.run(["inspect", "-f", "{{json .RootFS.Layers}}", name]).success().line();
        serde_json::from_str::<Vec<String>>(&text).expect("a list of digests")
    };
    bench.run(["build", "-t", "base", "--source-date-epoch", "1500000000", "."]).success();
    bench.file("Dockerfile", "FROM base\nRUN echo x > /x\n");
    bench.run(["build", "-t", "above", "--source-date-epoch", "1000000000", "."]).success();
    let (base, above) = (layers("base"), layers("above"));
    assert_eq!(above[..base.len()], base[..]);
    assert_eq!(above.len(), base.len() + 1);
    let saved = bench.run(["save", "above"]).success().stdout.clone();
    for (index, (_, bytes)) in self::layers(&saved).iter().enumerate() {
        assert_eq!(stave_oci::DiffId::of(bytes).to_string(), above[index]);
    }
    // What is made without options on it has its time.
    bench.run(["build", "-t", "above", "."]).success();
    assert_eq!(bench.run(["inspect", "-f", "{{.Created}}", "above"]).success().line(), "2017-07-14T02:40:00Z");
}

#[test]
fn real_times_are_kept_where_they_are_asked_for() {
    let Some((bench, _registry)) = with_busybox() else { return };
    fill(&bench);
    touch(&bench, 1_600_000_000);
    let before = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    let times = |args: &[&str]| {
        bench.run(["build", "-t", "made"].iter().chain(args).chain(&["."])).success();
        let saved = bench.run(["save", "made"]).success().stdout.clone();
        let files = files(&layers(&saved));
        let created = bench.run(["inspect", "-f", "{{.Created}}", "made"]).success().line();
        (created, files["bin/a"], files["out/sub/file"])
    };
    let (created, copied, made) = times(&["--timestamp", "now"]);
    assert!(created.as_str() > "2024", "{created}");
    assert_eq!(copied, 1_600_000_000);
    assert!(made >= before, "{made} is before {before}");
    assert_eq!(times(&["--timestamp", "5"]), ("1970-01-01T00:00:05Z".to_owned(), 5, 5));
    let epoch = 1_700_000_000;
    let created = "2023-11-14T22:13:20Z".to_owned();
    assert_eq!(times(&["--source-date-epoch", "1700000000"]), (created.clone(), 1_600_000_000, epoch));
    let (config, copied, made) = times(&["--source-date-epoch", "1700000000", "--rewrite-timestamp=false"]);
    assert_eq!((config, copied), (created, 1_600_000_000));
    assert!(made >= before);
    bench.run(["build", "--timestamp", "1", "--source-date-epoch", "1", "."]).exit(2);
}

/// T197
#[test]
fn with_an_epoch_images_of_different_times_are_the_same_and_without_files_only_their_configurations() {
    let Some((_bench, registry)) = with_busybox() else { return };
    let args = ["--source-date-epoch", "0"];
    let first = id_of(&registry, &args, |_| {});
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(id_of(&registry, &args, |bench| touch(bench, 5_000_000)), first);
    let parts = |seconds: u64| {
        let bench = Bench::new().with_registry(&registry);
        fill(&bench);
        touch(&bench, seconds);
        bench.run(["build", "-t", "x", "--source-date-epoch=0", "--rewrite-timestamp=false", "."]).success();
        let text = bench.run(["inspect", "x"]).success().out();
        let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let history = bench.run(["history", "--no-trunc", "--format", "{{.CreatedAt}} {{.CreatedBy}}", "x"]);
        (value[0]["Created"].clone(), history.out(), value[0]["RootFS"]["Layers"].clone())
    };
    let (one, other) = (parts(1_600_000_000), parts(1_600_000_001));
    assert_eq!((&one.0, &one.1), (&other.0, &other.1));
    assert_ne!(one.2, other.2, "files have the times that they really have");
}

/// T199
#[test]
fn an_output_has_an_epoch_of_its_own_and_takes_back_the_inherited_one() {
    let Some((mut bench, _registry)) = with_busybox() else { return };
    bench.set("SOURCE_DATE_EPOCH", "1500000000");
    fill(&bench);
    let created = |fields: &str| {
        bench.run(["build", "-t", "x", "-o", &format!("type=image{fields}"), "."]).success();
        let saved = bench.run(["save", "x"]).success().stdout.clone();
        let made = files(&layers(&saved))["out/sub/file"];
        (bench.run(["inspect", "-f", "{{.Created}}", "x"]).success().line(), made)
    };
    assert_eq!(created(""), ("2017-07-14T02:40:00Z".to_owned(), 1_500_000_000));
    assert_eq!(created(",source-date-epoch=5"), ("1970-01-01T00:00:05Z".to_owned(), 5));
    assert_eq!(created(",source-date-epoch="), ("2020-01-01T00:00:00Z".to_owned(), 1_577_836_800), "that of the base");
    let (config, made) = created(",rewrite-timestamp=false");
    assert_eq!(config, "2017-07-14T02:40:00Z");
    assert!(made > 1_700_000_000, "{made}");
    let both = ["build", "-o", "type=oci,dest=a.tar,source-date-epoch=5", "-o", "type=docker,dest=b.tar", "."];
    bench.run(both).exit(2).complains("do not agree on its `source-date-epoch`");
}

/// T198
#[test]
fn an_epoch_may_be_that_of_a_context_or_of_a_stage() {
    let Some((bench, _registry)) = with_busybox() else { return };
    let dated = Server::start(|request| {
        let tar = Rootfs::new().file("Dockerfile", 0o644, "FROM scratch\nCOPY Dockerfile /\nWORKDIR /made\n").tar();
        let response = Response::body(200, "application/x-tar", tar);
        if request.path.starts_with("/dated") {
            response.with("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT")
        } else {
            response
        }
    });
    let url = dated.url();
    fill(&bench);
    let build = |args: &[&str]| {
        let output = bench.run(["build", "-t", "x"].iter().chain(args));
        output.success();
        bench.run(["inspect", "-f", "{{.Created}}", "x"]).success().line()
    };
    let from = ["--source-date-epoch", "context"];
    let with = |rest: &[&str]| build(&[&from[..], rest].concat());
    assert_eq!(with(&["."]), "2020-01-01T00:00:00Z", "a directory has no time");
    assert_eq!(with(&[&format!("{url}/dated.tar")]), "1994-11-06T08:49:37Z");
    // C006: files are written with it, too.
    let tar = ["build", "-o", "type=tar,dest=dated.tar,source-date-epoch=context", &format!("{url}/dated.tar")];
    bench.run(tar).success();
    let dated_files = files(&[(String::new(), fs::read(bench.work().join("dated.tar")).expect("it was written"))]);
    assert_eq!(dated_files["made/"], 784_111_777, "{dated_files:?}");
    let youngest = |archive: Vec<u8>| {
        let arguments = ["build", "-t", "x", "--source-date-epoch", "context", "-"];
        bench.run_with_input(arguments, archive).success();
        bench.run(["inspect", "-f", "{{.Created}}", "x"]).success().line()
    };
    let mut archive = tar::Builder::new(Vec::new());
    for (name, text, seconds) in [("Dockerfile", "FROM scratch\nCOPY f /\n", 100), ("f", "f", 86_400), ("g", "g", 7)] {
        let mut header = tar::Header::new_ustar();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(seconds);
        archive.append_data(&mut header, name, text.as_bytes()).expect("writing to memory does not fail");
    }
    let archive = archive.into_inner().expect("writing to memory does not fail");
    assert_eq!(youngest(archive), "1970-01-02T00:00:00Z", "that of the youngest file of an archive");

    if needs::program("git").is_some() {
        fs::create_dir(bench.path("served")).expect("a writable bench");
        let repository = Repository::init(&bench.path("served/r.git"));
        repository.file("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n").commit("first");
        let daemon = stave_testkit::git::daemon(&bench.path("served"));
        let address = format!("{}/r.git", daemon.url);
        assert_eq!(with(&[&address]), "2023-11-14T22:13:20Z");
        assert_eq!(build(&[&address]), "2023-11-14T22:13:20Z", "also without the variable");
        let named = ["--build-context", &format!("source={address}"), "--source-date-epoch", "source", "."];
        assert_eq!(build(&named), "2023-11-14T22:13:20Z");
    }
    let named = ["--build-context", &format!("file={url}/dated"), "--build-arg", "SOURCE_DATE_EPOCH=file", "."];
    assert_eq!(build(&named), "1994-11-06T08:49:37Z");
    let stages = format!(
        "FROM scratch AS Fetched\nADD {url}/dated /f\nFROM busybox AS more\nADD {url}/dated /f\n\
         FROM busybox\nARG SOURCE_DATE_EPOCH\nRUN echo $SOURCE_DATE_EPOCH > /seen\nCMD [\"cat\", \"/seen\"]\n"
    );
    bench.file("Dockerfile", stages);
    assert_eq!(build(&["--source-date-epoch", "fetched", "."]), "1994-11-06T08:49:37Z");
    assert_eq!(bench.run(["run", "--rm", "x"]).success().line(), "784111777");
    let wrong = |name: &str| bench.run(["build", "--source-date-epoch", name, "."]);
    wrong("more").exit(2).complains("`more`, which does more or less than fetch one thing");
    wrong("nothing").exit(2).complains("`nothing`, which is no number and names neither a context nor a stage");
    wrong("12x 3").exit(2);
}

/// T200
#[test]
fn a_directory_of_workdir_has_the_epoch() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file("Dockerfile", "FROM busybox\nWORKDIR /new/dir\n");
    let mut ids = Vec::new();
    for _ in 0..2 {
        bench.run(["build", "-t", "x", "--no-cache", "--iidfile=id", "--source-date-epoch=1500000000", "."]).success();
        ids.push(fs::read_to_string(bench.work().join("id")).expect("an image id"));
        let saved = bench.run(["save", "x"]).success().stdout.clone();
        let files = files(&layers(&saved)[1..]);
        assert_eq!(
            files,
            [("new/", 1_500_000_000), ("new/dir/", 1_500_000_000)].map(|(n, t)| (n.to_owned(), t)).into()
        );
        std::thread::sleep(Duration::from_millis(1100));
    }
    assert_eq!(ids[0], ids[1]);
}

/// The times of the files in layers; of a file in several, that in the highest.
fn files(layers: &[(String, Vec<u8>)]) -> std::collections::BTreeMap<String, u64> {
    let mut files = std::collections::BTreeMap::new();
    for (_, layer) in layers {
        for entry in tar::Archive::new(&layer[..]).entries().expect("a tar") {
            let entry = entry.expect("an entry");
            let name = entry.path().expect("a path").display().to_string();
            files.insert(name, entry.header().mtime().expect("a time"));
        }
    }
    files
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
