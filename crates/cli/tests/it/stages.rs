//! Stages: by number and by name, needed or not, one after the other or at the same time.

use stave_testkit::fixtures::with_busybox;
use stave_testkit::http::{Response, Server};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

#[test]
fn stages_are_found_by_number_and_by_name_in_any_case() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file(
        "Dockerfile",
        "FROM busybox AS First\nRUN echo 1 > /one\nFROM FIRST AS second\nRUN echo 2 > /two\n\
         FROM busybox\nCOPY --from=first /one /\nCOPY --from=1 /two /\nCOPY --from=SECOND /two /three\n\
         CMD cat /one /two /three\n",
    );
    bench.run(["build", "-t", "made", "."]).success();
    assert_eq!(bench.run(["run", "--rm", "made"]).success().out(), "1\n2\n2\n");
}

#[test]
fn the_target_is_chosen_by_name_or_number() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file("Dockerfile", "FROM busybox AS one\nCMD echo one\nFROM busybox AS two\nCMD echo two\n");
    for (target, expected) in [("one", "one\n"), ("ONE", "one\n"), ("1", "two\n"), ("two", "two\n")] {
        bench.run(["build", "--target", target, "-t", "made", "."]).success();
        assert_eq!(bench.run(["run", "--rm", "made"]).success().out(), expected, "target {target}");
    }
    bench.run(["build", "--target", "three", "."]).exit(2).complains("three");
}

#[test]
fn stages_that_the_target_does_not_need_are_not_run_and_their_bases_not_fetched() {
    let Some((bench, registry)) = with_busybox() else { return };
    bench.file(
        "Dockerfile",
        "FROM nowhere/unreachable AS base\nRUN false\nFROM busybox AS slow\nRUN false\n\
         FROM busybox\nRUN echo done > /done\n",
    );
    bench.run(["build", "-t", "made", "."]).success();
    let asked = registry.take_log();
    assert!(!asked.iter().any(|line| line.contains("unreachable")), "{asked:?}");
}

#[test]
fn moving_stages_breaks_nothing_that_goes_by_name() {
    let Some((bench, _registry)) = with_busybox() else { return };
    let (a, b) = ("FROM busybox AS a\nRUN echo a > /a\n", "FROM busybox AS b\nRUN echo b > /b\n");
    let last = "FROM busybox\nCOPY --from=a /a /\nCOPY --from=b /b /\nCMD cat /a /b\n";
    for text in [format!("{a}{b}{last}"), format!("{b}{a}{last}")] {
        bench.file("Dockerfile", text);
        bench.run(["build", "-t", "made", "."]).success();
        assert_eq!(bench.run(["run", "--rm", "made"]).success().out(), "a\nb\n");
    }
}

/// Answers nobody before `guests` have asked.
fn meeting(guests: usize) -> Server {
    let arrived = Arc::new((Mutex::new(0), Condvar::new()));
    Server::start(move |_| {
        let (count, changed) = &*arrived;
        let mut here = count.lock().expect("no guest panics");
        *here += 1;
        changed.notify_all();
        let waited = changed.wait_timeout_while(here, Duration::from_secs(30), |here| *here < guests);
        let missing = waited.is_ok_and(|(_, timeout)| timeout.timed_out());
        Response::status(if missing { 408 } else { 200 })
    })
}

#[test]
fn independent_stages_run_at_the_same_time() {
    let Some((bench, _registry)) = with_busybox() else { return };
    let server = meeting(2);
    let url = server.url();
    // Each stage waits until the other one runs, too.
    bench.file(
        "Dockerfile",
        format!(
            "FROM busybox AS a\nRUN wget -q -O /a {url}/a\nFROM busybox AS b\nRUN wget -q -O /b {url}/b\n\
             FROM scratch\nCOPY --from=a /a /\nCOPY --from=b /b /\n"
        ),
    );
    bench.run(["build", "."]).success();
}

#[test]
fn a_file_comes_out_of_an_image_that_is_no_stage() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file("Dockerfile", "FROM scratch\nCOPY --from=busybox:latest /etc/passwd /passwd\n");
    bench.run(["build", "-t", "made", "--output", "type=local,dest=out", "."]).success();
    let copied = std::fs::read_to_string(bench.work().join("out/passwd")).expect("the file");
    assert!(copied.starts_with("root:"));
}

/// A054: the order is there where nothing is copied, and what is waited for is built although nobody reads it.
#[test]
fn a_stage_waits_for_another_one_of_which_it_reads_nothing() {
    let Some((bench, _registry)) = with_busybox() else { return };
    let cache = "RUN --mount=type=cache,target=/c";
    let file = |word: &str, last: &str| {
        format!("FROM busybox AS fill\n{cache} echo {word} > /c/word\nFROM --after=fill busybox\n{cache} {last}\n")
    };
    bench.file("Dockerfile", file("one", "cat /c/word > /seen"));
    bench.run(["build", "-t", "made", "."]).success();
    assert_eq!(bench.run(["run", "--rm", "made", "cat", "/seen"]).success().out(), "one\n");
    // The same again is known, target and all.
    assert!(!bench.run(["build", "-t", "made", "."]).success().stderr.contains("/c/word DONE"));
    // What is waited for runs when it has changed, before what waits.
    bench.file("Dockerfile", file("two", "cat /c/word > /now"));
    bench.run(["build", "-t", "made", "."]).success();
    assert_eq!(bench.run(["run", "--rm", "made", "cat", "/now"]).success().out(), "two\n");
    // A stage without an instruction of its own waits, too, and fails with what it waits for.
    bench.file(
        "Dockerfile",
        "FROM busybox AS test\nRUN echo tested && false\nFROM --after=test scratch\nCOPY Dockerfile /\n",
    );
    bench.run(["build", "."]).exit(1).complains("tested");
    bench.file("Dockerfile", "FROM busybox AS test\nRUN echo tested\nFROM --after=test busybox\n");
    let built = bench.run(["build", "-t", "made", "."]);
    assert!(built.success().stderr.contains("tested"), "{}", built.stderr);
    assert_eq!(bench.run(["inspect", "-f", "{{len .RootFS.Layers}}", "made"]).success().line(), "1");
}
