//! `store usage`, `prune` and `limit`, under docker's names too, and beside builds that run.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use stave_testkit::fixtures::with_busybox;
use stave_testkit::{Bench, leaks};

fn du(path: &Path) -> u64 {
    let output = Command::new("du").args(["-s", "--block-size=1"]).arg(path).output().expect("du runs");
    let text = String::from_utf8(output.stdout).expect("text");
    text.split_whitespace().next().expect("a number").parse().expect("a number")
}

fn rows(bench: &Bench, args: &[&str]) -> Vec<serde_json::Value> {
    let out = bench.run(args).success().out();
    out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Builds an image and a step that only the cache has.
fn with_cache() -> Option<(Bench, stave_testkit::LoopbackRegistry)> {
    let (bench, registry) = with_busybox()?;
    bench.file("a", vec![b'a'; 300_000]);
    bench.file(
        "Dockerfile",
        "FROM busybox AS made\nCOPY a /a\nRUN --mount=type=cache,target=/c cp /a /c/ && cp /a /b\nFROM busybox\n\
         COPY --from=made /b /b\n",
    );
    bench.run(["build", "-t", "made", "."]).success();
    Some((bench, registry))
}

/// D028.
#[test]
fn what_is_shown_is_what_du_counts() {
    let Some((bench, _registry)) = with_cache() else { return };
    let usage = rows(&bench, &["store", "usage", "--format", "json"]);
    let total = usage.iter().find(|row| row["Kind"] == "total").expect("a total")["Bytes"].as_u64().expect("a number");
    let records = rows(&bench, &["buildx", "du", "--format", "json"]);
    let sum: u64 = records.iter().map(|row| row["Bytes"].as_u64().expect("a number")).sum();
    let real = du(&bench.store());
    for (what, counted) in [("the total", total), ("the records", sum)] {
        assert!(counted.abs_diff(real) * 100 <= real, "{what}: {counted} bytes, du says {real}");
    }
    let table = bench.run(["builder", "du"]).success().out();
    let head = table.lines().next().expect("a line");
    let heads = ["ID", "TYPE", "RECLAIMABLE", "SHARED", "SIZE", "LAST USED", "DESCRIPTION"];
    let places: Vec<_> = heads.iter().map(|word| head.find(word)).collect();
    assert!(places.is_sorted() && places.iter().all(Option::is_some), "{table}");
    for line in ["exec.cachemount", "Reclaimable:", "Total:", "RUN --mount=type=cache"] {
        assert!(table.contains(line), "{line}: {table}");
    }
    let mounts =
        rows(&bench, &["store", "usage", "--filter", "type=exec.cachemount", "--by", "record", "--format", "json"]);
    assert_eq!((mounts.len(), &mounts[0]["Reclaimable"]), (1, &true.into()));
    let none = bench.run(["store", "usage", "--filter", "description~=^NOTHING", "--format", "{{.ID}}"]);
    assert_eq!(none.success().out(), "");
    let verbose = bench.run(["buildx", "du", "--verbose", "--filter", "type=regular"]).success().out();
    assert!(verbose.contains("Parents:") && verbose.contains("Last used at:"), "{verbose}");
    bench.run(["store", "usage", "--filter", "colour=red"]).exit(2).complains("there is no filter `colour` here");
}

/// D033.
#[test]
fn docker_system_df_shows_what_docker_shows() {
    let Some((bench, _registry)) = with_cache() else { return };
    bench.run(["create", "--name", "one", "made", "true"]).success();
    let out = bench.run(["system", "df", "--format", "{{.Type}}: {{.TotalCount}} {{.Active}}"]).success().out();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], "Images: 2 1");
    assert_eq!(lines[1], "Containers: 1 0");
    assert_eq!(lines[2], "Local Volumes: 0 0");
    assert!(lines[3].starts_with("Build Cache: "), "{out}");
    assert!(bench.run(["system", "df"]).success().out().starts_with("TYPE"), "{out}");
}

/// D023, D024, D026, I032.
#[test]
fn builder_prune_keeps_what_images_need_and_goes_by_filters() {
    let Some((bench, _registry)) = with_cache() else { return };
    let layers = |bench: &Bench| rows(bench, &["buildx", "du", "--filter", "type=regular", "--format", "json"]).len();
    let all = layers(&bench);
    let old = bench.run(["builder", "prune", "-f", "--filter", "until=24h"]).success().out();
    assert_eq!(old, "Total reclaimed space: 0B\n", "nothing is that old");
    let pruned = bench.run(["builder", "prune", "-f", "--verbose", "--filter", "description~=^RUN"]).success().out();
    assert!(pruned.contains("regular 3") && pruned.contains("RUN --mount=type=cache"), "{pruned}");
    assert_eq!(layers(&bench), all - 1);
    let pruned = bench.run(["buildx", "prune", "--force"]).success().out();
    assert!(pruned.starts_with("Deleted build cache objects:\n"), "{pruned}");
    let private =
        rows(&bench, &["buildx", "du", "--filter", "private", "--filter", "type=regular", "--format", "json"]);
    assert_eq!(private, Vec::<serde_json::Value>::new());
    let again = bench.run(["build", "--progress=plain", "-t", "made", "."]);
    assert!(
        again.success().stderr.contains("CACHED"),
        "the result that the image has is still known: {}",
        again.stderr
    );
    bench.run(["buildx", "prune", "-af"]).success();
    bench.run(["run", "--rm", "made", "ls", "/b"]).success();
    bench.run(["store", "check"]).success();
}

/// D025, D027.
#[test]
fn sizes_and_ages_limit_what_is_pruned() {
    let Some((bench, _registry)) = with_cache() else { return };
    let prune = |args: &[&str]| {
        let words: Vec<&str> = ["store", "prune", "--all", "--only", "cache"].iter().chain(args).copied().collect();
        bench.run(words).success().out()
    };
    assert!(prune(&["--keep-duration", "1h"]).starts_with("0 cached steps"));
    assert!(prune(&["--max-used-space", "10g"]).starts_with("0 cached steps"));
    assert!(prune(&["--max-used-space", "1", "--reserved-space", "10g"]).starts_with("0 cached steps"));
    assert!(prune(&["--keep-storage", "10g"]).starts_with("0 cached steps"));
    assert!(prune(&["--min-free-space", "1"]).starts_with("0 cached steps"));
    assert!(!prune(&["--max-used-space", "1"]).starts_with("0 cached steps"));
    bench.run(["store", "prune", "--keep-duration", "soon"]).exit(2).complains("no duration");
}

/// I031.
#[test]
fn image_prune_takes_images_without_names_or_by_label() {
    let bench = Bench::new();
    for (name, label) in [("one", "a=1"), ("two", "a=2"), ("three", "b=1")] {
        bench.file("Dockerfile", format!("FROM scratch\nLABEL {label}\nCOPY Dockerfile /\n"));
        bench.run(["build", "--timestamp=now", "-t", name, "."]).success();
    }
    bench.run(["build", "--timestamp=now", "-t", "one", "."]).success();
    let left = |bench: &Bench| {
        let out = bench.run(["images", "--format", "{{.Repository}}"]).success().out();
        let mut names: Vec<String> = out.lines().map(str::to_owned).collect();
        names.sort();
        names
    };
    assert_eq!(left(&bench), ["<none>", "one", "three", "two"]);
    bench.run(["image", "prune", "-f", "--filter", "until=24h"]).success();
    assert_eq!(left(&bench).len(), 4);
    let pruned = bench.run(["image", "prune", "-f"]).success().out();
    assert!(
        pruned.starts_with("Deleted Images:\ndeleted: sha256:") && pruned.contains("Total reclaimed space: "),
        "{pruned}"
    );
    assert_eq!(left(&bench), ["one", "three", "two"]);
    bench.run(["image", "prune", "-af", "--filter", "label=a=2"]).success();
    assert_eq!(left(&bench), ["one", "three"]);
    bench.run(["image", "prune", "-af", "--filter", "label!=b"]).success();
    assert_eq!(left(&bench), ["one", "three"], "both are one image, which has the label");
    bench.run(["image", "prune", "-a", "--filter", "type=regular"]).exit(2).complains("there is no filter `type` here");
    bench.run(["create", "--name", "stopped", "one", "true"]).success();
    bench.run(["image", "prune", "-af"]).success();
    assert_eq!(left(&bench), ["one", "three"], "a container needs it");
    assert!(bench.run(["system", "prune", "-af"]).success().out().starts_with("Deleted Containers:\n"));
    assert_eq!(left(&bench), Vec::<String>::new());
    bench.run(["store", "check"]).success();
}

/// A build that does not fit gives up what is old, and fails in its own words if that is not enough.
#[test]
fn a_limit_holds_while_builds_run() {
    let Some((bench, _registry)) = with_busybox() else { return };
    let build = |script: &str, name: &str| {
        bench.file("Dockerfile", format!("FROM busybox\nRUN {script}\n"));
        bench.run(["build", "-t", name, "."])
    };
    let fill = |megabytes: u32, name: &str| format!("head -c {} /dev/urandom > /{name}", megabytes << 20);
    bench.run(["pull", "busybox"]).success();
    let limit = du(&bench.store()) + (48 << 20);
    bench.run(["store", "limit", &limit.to_string()]).success();
    assert_eq!(bench.run(["store", "limit"]).success().line(), limit.to_string());
    for number in 0..4 {
        build(&format!("{}; echo {number}", fill(20, "made")), "made").success();
        assert!(du(&bench.store()) <= limit, "build {number}");
        // Its result is no image's any more, so the next build may have its space.
        bench.run(["rmi", "made"]).success();
    }
    // What grows is seen before it passes the limit, on a busy machine too: what is left then takes it a second.
    let slowly = "for i in $(seq 1000); do head -c 65536 /dev/urandom >> /slow; sleep 0.05; done";
    let failed = build(&format!("{}; {slowly}", fill(40, "large")), "large");
    failed.exit(3).complains("the store would pass its limit of");
    failed.complains("hint: `stave store limit` raises it");
    assert!(du(&bench.store()) <= limit, "{} of {limit}", du(&bench.store()));
    assert_eq!(leaks::processes(bench.token()), Vec::<String>::new());
    // What comes at once is seen when it is there, and not kept.
    let failed = build(&fill(80, "large"), "large");
    failed.exit(3).complains("the store would pass its limit of");
    failed.complains("hint: `stave store limit` raises it");
    assert!(du(&bench.store()) <= limit, "{} of {limit}", du(&bench.store()));
    let mut bench = bench;
    bench.set("STAVE_STORE_LIMIT", "none");
    bench.run(["build", "-t", "large", "."]).success();
    bench.set("STAVE_STORE_LIMIT", "much");
    bench.run(["images"]).exit(2).complains("STAVE_STORE_LIMIT");
    bench.set("STAVE_STORE_LIMIT", "");
    bench.run(["store", "limit", "none"]).success();
    bench.run(["store", "check"]).success();
}

/// What is copied has a known size, and nothing of what does not fit is written; a container begins with room, and ends
/// with an error if it was faster than anybody looked. D021.
#[test]
fn a_limit_holds_for_copies_and_containers_too() {
    const MEGA: usize = 1 << 20;
    let Some((bench, registry)) = with_busybox() else { return };
    bench.run(["pull", "busybox"]).success();
    bench.file("large", vec![7; 200 * MEGA]);
    bench.file("small", vec![7; 4 * MEGA]);
    let sparse = fs::File::create(bench.work().join("sparse")).expect("created");
    sparse.set_len(300 * MEGA as u64).expect("a file system that has holes");
    let limit = du(&bench.store()) + 64 * MEGA as u64;
    bench.run(["store", "limit", &limit.to_string()]).success();
    let build = |instruction: &str| {
        bench.file("Dockerfile", format!("FROM busybox\n{instruction}\n"));
        bench.run(["build", "-t", "made", "."])
    };
    for instruction in ["COPY large /", "ADD large /"] {
        // The highest that it was is not to be seen afterwards, but what was needed is in the message.
        let failed = build(instruction);
        failed.exit(3).complains("the store would pass its limit of").complains("211.9 MB more are needed");
    }
    build("COPY small sparse /").success();
    build("COPY small sparse /\nLABEL a=b").success();
    bench.run(["create", "--name", "one", "busybox", "true"]).success();
    bench.run(["cp", "large", "one:/"]).exit(3).complains("the store would pass its limit of");
    bench.run(["cp", "small", "one:/"]).success();
    assert!(du(&bench.store()) <= limit, "{} of {limit}", du(&bench.store()));
    let fill = "head -c 100000000 /dev/zero > /fill";
    bench.run(["run", "--rm", "busybox", "sh", "-c", fill]).exit(3).complains("the store would pass its limit of");
    assert!(du(&bench.store()) <= limit, "{} of {limit}", du(&bench.store()));
    drop(registry);
    bench.run(["store", "check"]).success();
}

/// F3: builds, prunes and exports on one store, with one process that is stopped and one that is killed.
#[test]
fn nothing_that_is_in_use_is_ever_collected() {
    const BUILDS: usize = 16;
    let Some((bench, _registry)) = with_busybox() else { return };
    for number in 0..BUILDS {
        bench.file(
            &format!("Dockerfile.{number}"),
            format!(
                "FROM busybox AS one\nRUN echo {number} > /one\nRUN cat /one > /two\nFROM busybox\n\
                 RUN --mount=type=cache,target=/c echo {number} >> /c/log\nCOPY --from=one /one /two /\nRUN cat /one /two\n"
            ),
        );
    }
    bench.run(["build", "-f", "Dockerfile.0", "-t", "kept", "."]).success();
    let victim = |bench: &Bench| {
        bench.file("Dockerfile.victim", "FROM busybox\nRUN echo victim > /v\nRUN sleep 2\nRUN cat /v\n");
        bench.spawn(["build", "--no-cache", "-f", "Dockerfile.victim", "-t", "victim", "."])
    };
    let (mut killed, stopped) = (victim(&bench), victim(&bench));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(700));
            kill_process(Pid::from_child(&stopped), Signal::STOP).expect("it runs");
            killed.kill().expect("it runs");
        });
        let prunes = scope.spawn(|| {
            let mut count = 0;
            while !done.load(Ordering::SeqCst) {
                bench.run(["store", "prune", "-f"]).success();
                bench.run(["buildx", "prune", "-af", "--max-used-space", "1m"]).success();
                count += 1;
            }
            count
        });
        let exports = scope.spawn(|| {
            let mut number = 0;
            while !done.load(Ordering::SeqCst) {
                bench.run(["save", "-o", &format!("saved-{}", number % 2), "kept"]).success();
                number += 1;
            }
            number
        });
        let builds: Vec<_> = (0..BUILDS)
            .map(|number| {
                let (file, tag) = (format!("Dockerfile.{number}"), format!("built-{number}"));
                bench.spawn(["build", "--no-cache", "-f", &file, "-t", &tag, "."])
            })
            .collect();
        let outputs: Vec<_> = builds.into_iter().map(|build| bench.wait(build)).collect();
        done.store(true, Ordering::SeqCst);
        assert!(prunes.join().expect("every prune succeeds") > 0);
        assert!(exports.join().expect("every export succeeds") > 0);
        for output in outputs {
            output.success();
        }
    });
    bench.wait(killed).exit(137);
    kill_process(Pid::from_child(&stopped), Signal::CONT).expect("it is there");
    bench.wait(stopped).success();
    for number in [0, BUILDS - 1] {
        let seen = bench.run(["run", "--rm", &format!("built-{number}"), "cat", "/one", "/two"]).success().out();
        assert_eq!(seen, format!("{number}\n{number}\n"));
    }
    bench.run(["run", "--rm", "victim", "cat", "/v"]).success();
    assert!(fs::metadata(bench.work().join("saved-0")).expect("an archive").len() > 0);
    bench.run(["store", "check"]).success();
    assert_eq!(leaks::work_files(&bench.store()), Vec::<String>::new());
}

/// I022, I025, I017: lists and descriptions by more than names.
#[test]
fn lists_are_filtered_by_labels_times_and_order() {
    let bench = Bench::new();
    for (name, epoch) in [("old", "1000000000"), ("middle", "1200000000"), ("new", "1400000000")] {
        bench.file("Dockerfile", format!("FROM scratch\nLABEL kind={name} all=1\nCOPY Dockerfile /\n"));
        let mut build = bench.command(["build", "-t", name, "."]);
        build.env("SOURCE_DATE_EPOCH", epoch);
        bench.finish(build).success();
    }
    let listed = |filters: &[&str]| {
        let mut args = vec!["images", "--format", "{{.Repository}}"];
        for filter in filters {
            args.extend(["-f", filter]);
        }
        bench.run(args).success().out().lines().map(str::to_owned).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(listed(&["label=all"]), "new middle old");
    assert_eq!(listed(&["label=kind=middle"]), "middle");
    assert_eq!(listed(&["before=middle"]), "old");
    assert_eq!(listed(&["since=middle"]), "new");
    assert_eq!(listed(&["until=2010-01-01", "label=all"]), "middle old");
    for name in ["first", "second", "third"] {
        bench.run(["create", "--name", name, "-l", "a=1", "-l", name, "new", "true"]).success();
    }
    let listed = |flags: &[&str]| {
        let mut args = vec!["ps", "--format", "{{.Names}}"];
        args.extend(flags);
        let mut names: Vec<String> = bench.run(args).success().out().lines().map(str::to_owned).collect();
        names.sort();
        names.join(" ")
    };
    assert_eq!(listed(&[]), "", "none runs");
    assert_eq!(listed(&["-a", "-f", "label=a=1", "-f", "label=second"]), "second");
    assert_eq!(listed(&["-f", "status=created"]), "first second third");
    assert_eq!(listed(&["-n", "2"]).split(' ').count(), 2);
    assert_eq!(listed(&["-l"]).split(' ').count(), 1);
    assert_eq!(listed(&["-a", "-f", "exited=0"]), "");
    let size = bench.run(["ps", "-a", "-s", "--format", "{{.Names}} {{.Size}}"]).success().out();
    assert!(size.contains("first 0B (virtual "), "{size}");
    bench.file("big", vec![1; 5000]);
    bench.run(["cp", "big", "first:/big"]).success();
    assert_eq!(bench.run(["inspect", "-s", "-f", "{{.SizeRw}}", "first"]).success().line(), "5000");
}
