//! Caches between machines: what one bench exports, another one with an empty store imports.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use stave_oci::BlobDigest;
use stave_testkit::dockerd::Dockerd;
use stave_testkit::fixtures::with_busybox;
use stave_testkit::{Bench, LoopbackRegistry, Output};

/// Two stages with random results, of which the last reads from the first.
const RANDOM: &str = "FROM busybox AS first\nRUN head -c 8 /dev/urandom | md5sum > /first\nRUN cat /first > /second\n\
                      FROM busybox\nRUN head -c 8 /dev/urandom | md5sum > /own\nCOPY --from=first /second /copied\n\
                      CMD cat /own /copied\n";

/// Another machine: nothing in common with the first but the registry and the Dockerfile.
fn machine(registry: &LoopbackRegistry, dockerfile: &str) -> Bench {
    let bench = Bench::new().with_registry(registry);
    bench.file("Dockerfile", dockerfile);
    bench
}

/// Tests are patient where the machine is busy; what a person waits for is tested by itself.
fn from(place: &str) -> String {
    format!("--cache-from={place},wait=60s")
}

fn ran(bench: &Bench, name: &str) -> String {
    bench.run(["run", "--rm", name]).success().out()
}

/// How many instructions (those that make layers) were taken from a cache.
fn cached(output: &Output) -> usize {
    let lines: Vec<&str> = output.success().stderr.lines().collect();
    let number = |line: &&str| line.strip_suffix(" CACHED").map(|number| format!("{number} ["));
    let is_step = |number: &String| {
        let title = lines.iter().find(|line| line.starts_with(number));
        title.is_some_and(|title| title.contains("] RUN") || title.contains("] COPY"))
    };
    lines.iter().filter_map(number).filter(is_step).count()
}

fn build(bench: &Bench, options: &[&str]) -> Output {
    let output = bench.run([&["build", "--progress=plain", "-t", "made"], options, &["."]].concat());
    output.success();
    output
}

/// The manifest of a cache, and its configuration.
fn documents(registry: &LoopbackRegistry, repository: &str, tag: &str) -> (Value, Value) {
    let manifest: Value = serde_json::from_slice(&registry.manifest(repository, tag).expect("exported")).expect("JSON");
    let config = manifest["config"]["digest"].as_str().expect("a configuration");
    let config = serde_json::from_slice(&registry.blob(config).expect("exported")).expect("JSON");
    (manifest, config)
}

/// T201, B021, B022
#[test]
fn everything_that_max_exports_is_cached_on_another_machine() {
    let Some((one, registry)) = with_busybox() else { return };
    one.file("Dockerfile", RANDOM);
    let place = format!("type=registry,ref={}/cache:max", registry.host());
    build(&one, &[&format!("--cache-to={place},mode=max")]);
    let other = machine(&registry, RANDOM);
    assert_eq!(cached(&build(&other, &[&from(&place)])), 4);
    assert_eq!(ran(&other, "made"), ran(&one, "made"));
    // Without the last step, the first stage alone is there too.
    let third = machine(&registry, RANDOM);
    assert_eq!(cached(&build(&third, &[&from(&place), "--target=first"])), 2);
}

/// T201
#[test]
fn min_exports_only_what_the_image_is_made_of() {
    let Some((one, registry)) = with_busybox() else { return };
    one.file("Dockerfile", RANDOM);
    let place = format!("type=registry,ref={}/cache:min", registry.host());
    build(&one, &[&format!("--cache-to={place}")]);
    let other = machine(&registry, RANDOM);
    assert_eq!(cached(&build(&other, &[&from(&place)])), 4);
    assert_eq!(ran(&other, "made"), ran(&one, "made"));
    let third = machine(&registry, RANDOM);
    assert_eq!(cached(&build(&third, &[&from(&place), "--target=first"])), 0);
}

#[test]
fn a_directory_is_a_cache_that_can_be_carried_to_another_machine() {
    let Some((one, registry)) = with_busybox() else { return };
    one.file("Dockerfile", RANDOM);
    let forced = ",compression=zstd,compression-level=9,force-compression=true";
    for options in ["", forced, ",image-manifest=false", ",oci-mediatypes=false,compression=uncompressed"] {
        let directory = one.path(&format!("carried{}", options.len()));
        let place = directory.display();
        build(&one, &[&format!("--cache-to=type=local,dest={place},mode=max,tag=mine{options}")]);
        let other = machine(&registry, RANDOM);
        let wrong = build(&other, &[&from(&format!("type=local,src={place}")), "--target=first"]);
        assert_eq!(cached(wrong.complains("is not used")), 0, "the tag is another one");
        let third = machine(&registry, RANDOM);
        assert_eq!(cached(&build(&third, &[&from(&format!("type=local,src={place},tag=mine"))])), 4, "{options}");
        assert_eq!(ran(&third, "made"), ran(&one, "made"));
    }
}

/// A name alone is a cache in a registry, as for buildx, and several are asked in turn.
#[test]
fn several_caches_are_read_and_written_and_the_first_that_knows_counts() {
    let Some((one, registry)) = with_busybox() else { return };
    one.file("Dockerfile", RANDOM);
    let [a, b] = ["a", "b"].map(|tag| format!("{}/cache:{tag}", registry.host()));
    build(&one, &["--cache-to", &a, &format!("--cache-to=type=registry,ref={b},mode=max")]);
    let other = machine(&registry, RANDOM);
    let missing = format!("{}/cache:missing", registry.host());
    let options = [
        from(&format!("type=registry,ref={missing}")),
        from(&format!("type=registry,ref={a}")),
        from(&format!("type=registry,ref={b}")),
    ];
    let output = build(&other, &[&options[0], &options[1], &options[2], "--target=first"]);
    assert_eq!(cached(output.complains("cache:missing` is not used: there is none yet")), 2);
}

/// T202
#[test]
fn a_missing_cache_and_a_failing_export_stop_no_build_that_does_not_say_so() {
    let Some((bench, registry)) = with_busybox() else { return };
    bench.file("Dockerfile", "FROM busybox\nRUN echo a > /a\n");
    let place = format!("type=registry,ref={}/cache:none", registry.host());
    build(&bench, &[&from(&place)]).complains("is not used: there is none yet");
    registry.fail(|request| {
        let writes = request.method != "GET" && request.method != "HEAD";
        (writes && request.path.contains("/cache/")).then(|| stave_testkit::http::Response::status(403))
    });
    let ignored = build(&bench, &[&format!("--cache-to={place},ignore-error=true")]);
    ignored.complains("was not written");
    bench.run(["build", &format!("--cache-to={place}"), "."]).exit(3).complains("denies access to `cache`");
    // A directory that cannot be made is as good as a registry that refuses.
    bench.file("file", "");
    let inside = bench.work().join("file/dir");
    build(&bench, &[&format!("--cache-to=type=local,dest={},ignore-error=true", inside.display())])
        .complains("was not written");
}

/// T204
#[test]
fn a_step_that_is_reached_by_two_ways_is_one_record_and_no_circle() {
    let Some((one, registry)) = with_busybox() else { return };
    let file = "FROM busybox AS base\nRUN head -c 8 /dev/urandom | md5sum > /base\nFROM base AS left\nRUN echo > /left\n\
                FROM base AS right\nRUN echo > /left\nRUN echo > /right\nFROM base\nCOPY --from=left /left /l\n\
                COPY --from=right /left /right /\nCOPY --link --from=left /base /linked\nCMD cat /base /linked\n";
    one.file("Dockerfile", file);
    let place = format!("type=registry,ref={}/cache:diamond", registry.host());
    build(&one, &[&format!("--cache-to={place},mode=max")]);
    let (_, config) = documents(&registry, "cache", "diamond");
    let records = config["records"].as_array().expect("records");
    let digests: std::collections::BTreeSet<&str> =
        records.iter().filter_map(|record| record["digest"].as_str()).collect();
    assert_eq!(digests.len(), records.len());
    for (place, record) in records.iter().enumerate() {
        for link in record["inputs"].as_array().into_iter().flatten().flat_map(|links| links.as_array().expect("links"))
        {
            assert_ne!(link["link"].as_u64(), Some(place as u64));
        }
    }
    let other = machine(&registry, file);
    let steps = cached(&build(&other, &[&from(&place)]));
    assert!(steps >= 6, "{steps}");
    assert_eq!(ran(&other, "made"), ran(&one, "made"));
}

/// What changes is one step, and the result of what is before it comes from the cache.
#[test]
fn the_steps_before_a_change_come_from_the_cache_and_the_export_loses_nothing_that_was_there() {
    let Some((one, registry)) = with_busybox() else { return };
    let file = |last: &str| {
        format!("FROM busybox\nRUN head -c 8 /dev/urandom | md5sum > /a\nRUN echo {last} > /b\nCMD cat /a /b\n")
    };
    one.file("Dockerfile", file("one"));
    let place = format!("type=registry,ref={}/cache:shared", registry.host());
    build(&one, &[&format!("--cache-to={place},mode=max")]);
    let other = machine(&registry, &file("two"));
    let output = build(&other, &[&from(&place), &format!("--cache-to={place},mode=max")]);
    assert_eq!(cached(&output), 1);
    for (text, from_whom) in [("one", &one), ("two", &other)] {
        let third = machine(&registry, &file(text));
        assert_eq!(cached(&build(&third, &[&from(&place)])), 2);
        assert_eq!(ran(&third, "made"), ran(from_whom, "made"));
    }
}

/// A parent that was made anew with the same files is as good as the one that the cache knows.
#[test]
fn a_step_on_the_same_files_is_found_by_their_content() {
    let Some((one, registry)) = with_busybox() else { return };
    let file = |first: &str| {
        format!(
            "FROM busybox\nRUN echo {first} > /dev/null; echo same > /a\nRUN head -c 8 /dev/urandom | md5sum > /b\nCMD cat /b\n"
        )
    };
    one.file("Dockerfile", file("one"));
    let place = format!("type=registry,ref={}/cache:content", registry.host());
    build(&one, &[&format!("--cache-to={place},mode=max")]);
    let other = machine(&registry, &file("two"));
    assert_eq!(cached(&build(&other, &[&from(&place)])), 1);
    assert_eq!(ran(&other, "made"), ran(&one, "made"));
}

/// A19: a blob with other bytes, a blob that is not there, a layer that is not what its record says.
#[test]
fn a_damaged_blob_is_a_miss_of_its_step_alone() {
    let Some((one, registry)) = with_busybox() else { return };
    let file = "FROM busybox\nRUN echo a > /a && head -c 8 /dev/urandom | md5sum > /x\nRUN echo b > /b\nRUN echo c > /c\nCMD cat /a /b /c\n";
    one.file("Dockerfile", file);
    let host = registry.host();
    for damage in ["flipped", "short", "gone", "other"] {
        let place = format!("type=registry,ref={host}/{damage}:cache");
        build(&one, &[&format!("--cache-to={place},mode=max,compression=uncompressed")]);
        let (mut manifest, _) = documents(&registry, damage, "cache");
        let layers = manifest["layers"].as_array_mut().expect("layers");
        // The last of them is what the steps were made from.
        let is_layer =
            |layer: &&mut Value| layer["mediaType"].as_str().is_some_and(|kind| kind.contains("image.layer"));
        let victim = layers.iter_mut().rfind(is_layer).expect("there are layers");
        let digest: BlobDigest = victim["digest"].as_str().expect("a digest").parse().expect("a digest");
        let original = registry.blob(&digest.to_string()).expect("exported");
        match damage {
            "flipped" => {
                let mut bytes = original.clone();
                bytes[700] ^= 1;
                registry.replace_blob(&digest, bytes);
            }
            "short" => {
                registry.replace_blob(&digest, original[..original.len() - 512].to_vec());
            }
            "gone" => registry.fail(move |request| {
                request.path.ends_with(&digest.to_string()).then(|| stave_testkit::http::Response::status(404))
            }),
            _ => {
                // The manifest says of a layer that it is another one.
                victim["annotations"]["containerd.io/uncompressed"] = BlobDigest::of(b"nothing").to_string().into();
                let bytes = manifest.to_string().into_bytes();
                registry.put_manifest(damage, "cache", "application/vnd.oci.image.manifest.v1+json", &bytes);
            }
        }
        let other = machine(&registry, file);
        let output = build(&other, &[&from(&place)]);
        let steps = cached(output.complains("is not used"));
        assert_eq!(steps, 2, "{damage}: {output}");
        assert_eq!(ran(&other, "made"), "a\nb\nc\n");
        other.run(["store", "check"]).success();
        registry.recover();
        registry.replace_blob(&digest, original);
    }
}

/// A19: what another platform made is no result for this one.
#[test]
fn a_result_for_another_platform_is_not_found() {
    let Some((one, registry)) = with_busybox() else { return };
    let place = format!("type=registry,ref={}/cache:platform", registry.host());
    one.file("Dockerfile", "FROM busybox\nARG TARGETARCH\nRUN echo $TARGETARCH > /arch\nCMD cat /arch\n");
    build(&one, &[&format!("--cache-to={place}")]);
    // As if it had been exported by a machine of another kind: the base has other layers there, and so other keys.
    let mut image = stave_testkit::Image::of_busybox().expect("it was there before");
    image.layer_tar(&[0; 1024]);
    registry.put("library/busybox", "latest", &image);
    let other = machine(&registry, "FROM busybox\nARG TARGETARCH\nRUN echo $TARGETARCH > /arch\nCMD cat /arch\n");
    assert_eq!(cached(&build(&other, &[&from(&place)])), 0);
}

/// A server that takes connections and says nothing.
fn silent() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a free port")
}

/// Nobody waits for a cache that says nothing: not at all where all is known here, and 100 ms where something is not.
#[test]
fn a_registry_that_never_answers_costs_nothing_that_a_person_notices() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file("Dockerfile", "FROM busybox\nRUN echo a > /a\nRUN echo b > /b\n");
    let server = silent();
    let option = format!("--cache-from={}/cache:x", server.local_addr().expect("an address"));
    build(&bench, &[]);
    // A machine that is busy is slow now and then: what counts is the best of as many as it takes.
    let timed = |options: &[&str]| {
        let start = Instant::now();
        (build(&bench, options), start.elapsed())
    };
    let soon = |bound: Duration, pair: &mut dyn FnMut(usize) -> (Duration, Duration)| {
        let (mut without, mut with) = (Duration::MAX, Duration::MAX);
        for number in 0..60 {
            let (alone, together) = pair(number);
            (without, with) = (without.min(alone), with.min(together));
            if number > 2 && with < without + bound {
                return;
            }
        }
        panic!("{without:?} alone, {with:?} with the cache");
    };
    soon(Duration::from_millis(100), &mut |_| {
        let without = timed(&[]).1;
        let (output, with) = timed(&[&option]);
        assert!(!output.stderr.contains("is not waited for"), "nothing was needed of it: {output}");
        (without, with)
    });
    // What is not known here is waited for once, not once a step.
    soon(Duration::from_millis(200), &mut |number| {
        let fresh = |text: &str| {
            let steps = format!("FROM busybox\nRUN echo {text}{number} > /a\nRUN echo b > /b\nRUN true\n");
            bench.file("Dockerfile", steps);
        };
        fresh("one");
        let without = timed(&[]).1;
        fresh("two");
        let (output, with) = timed(&[&option]);
        output.complains("is not waited for: it did not say within 100 ms what it has");
        (without, with)
    });
}

#[test]
fn a_cache_that_nobody_serves_is_a_note() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file("Dockerfile", "FROM busybox\nRUN echo a > /a\n");
    let address = silent().local_addr().expect("an address");
    build(&bench, &[&from(&format!("type=registry,ref={address}/cache:x"))]).complains("is not used");
    build(&bench, &["--no-cache", "--cache-from=nowhere.invalid/x", "--cache-ttl=0s"]);
    // To export, it is an error that says what it is about, or a note.
    let to = format!("--cache-to=type=registry,ref={address}/cache:x");
    let failed = bench.run(["build", &to, "."]);
    failed.exit(3).complains(&format!("the cache cannot be exported to {address}/cache:x: "));
    failed.complains("hint: With `ignore-error=true` in `--cache-to`");
    build(&bench, &[&format!("{to},ignore-error=true")]).complains("was not written");
    let server = silent();
    let to = format!("--cache-to=type=registry,ref={}/cache:x", server.local_addr().expect("an address"));
    let limited = format!("{to},ignore-error=true,timeout=100ms");
    build(&bench, &[&limited]).complains("it took longer than its `timeout` of 0.1 s");
    bench.run(["build", &format!("{to},timeout=100ms"), "."]).exit(3).complains("than its `timeout` of 0.1 s");
}

/// D001, A083
#[test]
fn an_image_carries_the_cache_of_its_own_steps() {
    let Some((one, registry)) = with_busybox() else { return };
    one.file("Dockerfile", RANDOM);
    let name = format!("{}/team/app:1", registry.host());
    let push = |bench: &Bench, options: &[&str]| {
        bench.run([&["build", "--progress=plain", "-t", &name, "--push"], options, &["."]].concat()).success();
    };
    push(&one, &["--cache-to=type=inline"]);
    let first: Value = serde_json::from_slice(&registry.manifest("team/app", "1").expect("pushed")).expect("JSON");
    let other = machine(&registry, RANDOM);
    assert_eq!(cached(&build(&other, &[&from(&format!("type=registry,ref={name}"))])), 4);
    assert_eq!(ran(&other, "made"), ran(&one, &name));
    // The same build makes the same image again, also if an argument asks for it, and one without carries nothing.
    for option in ["--cache-to=type=inline", "--build-arg=BUILDKIT_INLINE_CACHE=1"] {
        push(&one, &[option]);
        let second: Value = serde_json::from_slice(&registry.manifest("team/app", "1").expect("pushed")).expect("JSON");
        assert_eq!(first, second, "{option}");
    }
    push(&one, &["--build-arg=BUILDKIT_INLINE_CACHE=0"]);
    let plain: Value = serde_json::from_slice(&registry.manifest("team/app", "1").expect("pushed")).expect("JSON");
    assert_ne!(first, plain);
    push(&one, &["--cache-to=type=inline"]);
    one.file("child/Dockerfile", format!("FROM {name}\nRUN true\n"));
    one.run(["build", "-t", "child", "child"]).success();
    let config = |name: &str| one.run(["save", "-o", "saved.tar", name]).success().out();
    config("child");
    let saved = fs::read(one.work().join("saved.tar")).expect("saved");
    let text = String::from_utf8_lossy(&saved);
    assert!(!text.contains("moby.buildkit.cache.v0"), "the base's records are not the child's");
}

/// Whoever writes last, nothing is lost.
#[test]
fn machines_that_export_to_one_name_at_once_lose_nothing() {
    let Some((first, registry)) = with_busybox() else { return };
    let file = |number: usize| {
        format!("FROM busybox\nRUN echo {number} && head -c 8 /dev/urandom | md5sum > /a\nCMD cat /a\n")
    };
    let directory = first.path("shared-directory");
    let places = [
        format!("type=registry,ref={}/cache:race", registry.host()),
        format!("type=local,{{}}={}", directory.display()),
    ];
    for place in places {
        let machines: Vec<Bench> = (0..4).map(|number| machine(&registry, &file(number))).collect();
        for bench in &machines {
            build(bench, &[]);
        }
        let to = format!("--cache-to={}", place.replace("{}", "dest"));
        let running: Vec<_> =
            machines.iter().map(|bench| (bench, bench.spawn(["build", "-t", "made", &to, "."]))).collect();
        for (bench, child) in running {
            bench.wait(child).success();
        }
        for (number, bench) in machines.iter().enumerate() {
            let other = machine(&registry, &file(number));
            let output = build(&other, &[&from(&place.replace("{}", "src"))]);
            assert_eq!(cached(&output), 1, "{place} {number}: {output}");
            assert_eq!(ran(&other, "made"), ran(bench, "made"));
        }
    }
}

fn bytes_in(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory.join("blobs/sha256")).expect("a layout");
    entries.map(|entry| entry.expect("an entry").metadata().expect("a file").len()).sum()
}

#[test]
fn a_directory_keeps_to_its_size_and_is_emptied_on_request() {
    let Some((bench, _registry)) = with_busybox() else { return };
    let directory: PathBuf = bench.path("cache");
    let to = format!("--cache-to=type=local,dest={},compression=uncompressed", directory.display());
    let make = |number: usize, options: &str| {
        bench.file("Dockerfile", format!("FROM busybox\nRUN head -c 2000000 /dev/urandom > /{number}\n"));
        build(&bench, &[&format!("{to}{options}")]);
        bytes_in(&directory)
    };
    let one = make(0, "");
    let three = {
        make(1, "");
        make(2, "")
    };
    assert!(three > one + 3_900_000, "{one} {three}");
    let limit = one + 2_100_000;
    let kept = make(3, &format!(",max-size={limit}"));
    assert!(kept <= limit + 20_000 && kept > one + 1_900_000, "{one} {kept} {limit}");
    // What does not fit at all is not left behind either: a note says so.
    for number in 10..13 {
        let left = make(number, ",max-size=1m");
        assert!(left < 1 << 20, "{left}");
    }
    build(&bench, &[&format!("{to},max-size=1m")]).complains("`max-size`");
    let alone = make(4, ",reset=true");
    assert!(alone.abs_diff(one) < 20_000, "{one} {alone}");
    let indexed: Value =
        serde_json::from_slice(&fs::read(directory.join("index.json")).expect("a layout")).expect("JSON");
    assert_eq!(indexed["manifests"].as_array().map(Vec::len), Some(1));
}

/// What a cache is given has no secret in it, and nothing of a cache mount.
#[test]
fn secrets_and_cache_mounts_stay_on_the_machine() {
    let Some((mut bench, _registry)) = with_busybox() else { return };
    bench.set("TOKEN", "sentinel-of-the-secret");
    bench.file(
        "Dockerfile",
        "FROM busybox\nRUN --mount=type=secret,id=t,env=T --mount=type=cache,target=/c test -n \"$T\" && \
         echo sentinel-of-the-cache-mount | tr a-z a-z > /c/x && echo ok > /ok\n",
    );
    let directory = bench.path("cache");
    let to = format!("--cache-to=type=local,dest={},mode=max,compression=uncompressed", directory.display());
    build(&bench, &["--secret=id=t,env=TOKEN", &to]);
    for entry in fs::read_dir(directory.join("blobs/sha256")).expect("a layout") {
        let bytes = fs::read(entry.expect("an entry").path()).expect("a blob");
        let config = bytes.starts_with(b"{");
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("sentinel-of-the-secret"));
        // The instruction itself is told, what it wrote is not.
        assert!(config || !text.contains("sentinel-of-the-cache-mount"));
    }
}

#[test]
fn what_a_cache_option_says_wrongly_is_refused_by_its_name() {
    let bench = Bench::new();
    bench.file("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    for (option, complaint) in [
        ("--cache-from=type=nope", "no cache type is named `nope`"),
        ("--cache-from=type=registry", "`type=registry` needs `ref=`"),
        ("--cache-from=type=inline", "by the image's name"),
        ("--cache-to=type=inline,mode=max", "cannot be `mode=max`"),
        ("--cache-to=type=registry,ref=x,nope=1", "has no field `nope`"),
        ("--cache-to=type=local,dest=x,compression-level=10", "no number from 0 to 9"),
        ("--cache-ttl=soon", "`soon` is no time"),
    ] {
        bench.run(["build", option, "."]).exit(2).complains(complaint);
    }
    bench.run(["build", "--cache-from=", "--cache-to=", "."]).success();
}

/// T203: what a filtered stage made on another machine is not used, and what others made is.
#[test]
fn a_stage_that_is_filtered_runs_again_whatever_the_cache_has() {
    let Some((one, registry)) = with_busybox() else { return };
    one.file("Dockerfile", RANDOM.replace("FROM busybox\n", "FROM busybox AS Last\n"));
    let place = format!("type=registry,ref={}/cache:filter", registry.host());
    build(&one, &[&format!("--cache-to={place},mode=max")]);
    let other = machine(&registry, &RANDOM.replace("FROM busybox\n", "FROM busybox AS Last\n"));
    assert_eq!(cached(&build(&other, &[&from(&place), "--no-cache-filter=LAST"])), 2);
    let (ours, theirs) = (ran(&one, "made"), ran(&other, "made"));
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert_ne!(lines(&ours)[0], lines(&theirs)[0]);
    assert_eq!(lines(&ours)[1], lines(&theirs)[1]);
}

/// What BuildKit writes is read, and what stave writes BuildKit reads, without an error on either side; and an export keeps what
/// BuildKit has put there.
#[test]
fn buildkit_and_stave_read_what_the_other_wrote() {
    let Some((bench, registry)) = with_busybox() else { return };
    let Some(dockerd) = Dockerd::start(&bench, None) else { return };
    let host = registry.host();
    bench.file("Dockerfile", format!("FROM {host}/library/busybox\nRUN echo a > /a\nRUN echo b > /b\n"));
    let theirs = format!("{host}/their/app:1");
    let docker = |args: &[&str]| {
        dockerd.docker(&bench, &[&["build", "--progress=plain", "--network=host"], args, &["."]].concat())
    };
    docker(&["--build-arg=BUILDKIT_INLINE_CACHE=1", "-t", &theirs]).success();
    dockerd.docker(&bench, &["push", &theirs]).success();
    let pushed = registry.manifest("their/app", "1").expect("pushed");
    let pushed: Value = serde_json::from_slice(&pushed).expect("JSON");
    let config = registry.blob(pushed["config"]["digest"].as_str().expect("a digest")).expect("pushed");
    assert!(String::from_utf8_lossy(&config).contains("moby.buildkit.cache.v0"), "BuildKit has exported something");
    let read = build(&bench, &[&from(&format!("type=registry,ref={theirs}"))]);
    assert!(!read.stderr.contains("is not used"), "{read}");

    for (tag, fields) in [("index", ",image-manifest=false"), ("docker", ",image-manifest=false,oci-mediatypes=false")]
    {
        let ours = format!("{host}/ours/cache:{tag}");
        build(&bench, &[&format!("--cache-to=type=registry,ref={ours},mode=max{fields}")]);
        let said = docker(&["--no-cache=false", "--cache-from", &ours, "-t", "other"]);
        said.success().complains("importing cache manifest");
        assert!(!said.stderr.contains("ERROR"), "{said}");
    }
    let carrying = format!("{host}/ours/app:1");
    bench.run(["build", "-t", &carrying, "--push", "--cache-to=type=inline", "."]).success();
    let said = docker(&["--cache-from", &carrying, "-t", "other"]);
    assert!(!said.success().stderr.contains("ERROR"), "{said}");

    // Merged into one cache, what BuildKit wrote is what it was.
    build(&bench, &[&format!("--cache-to=type=registry,ref={theirs},mode=max")]);
    let (_, merged) = documents(&registry, "their/app", "1");
    let records = merged["records"].as_array().expect("records");
    let (own, others): (Vec<&Value>, Vec<&Value>) = records.iter().partition(|record| !record["stave"].is_null());
    assert!(own.len() >= 2 && others.len() >= 2, "{merged}");
}
