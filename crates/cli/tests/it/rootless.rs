//! The same, without root: as a user with ranges of ids, and as one with a single id.

use crate::story::{app_go, counts};
use stave_testkit::fixtures::with_busybox;
use stave_testkit::{Bench, leaks, needs, page};
use std::fs;
use std::path::Path;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/link-counter");

/// Builds and runs the example as `user`.
fn story_as(kind: &str) {
    let (Some(user), Some(standins)) = (needs::user(kind), needs::standins()) else { return };
    let bench = Bench::new().with_standins(&standins);
    bench.file("app.go", app_go());
    bench.file("Dockerfile", fs::read(Path::new(EXAMPLE).join("Dockerfile")).expect("the example"));
    let bench = bench.as_user(&user);
    bench.run(["build", "-t", "link-counter", "."]).success();
    assert_eq!(counts(&bench, "link-counter"), page::counts());
    assert_eq!(leaks::work_files(&bench.store()), Vec::<String>::new());
}

#[test]
fn a_user_with_ranges_builds_and_runs_the_story() {
    story_as("ranges");
}

#[test]
fn a_user_with_one_id_builds_and_runs_the_story() {
    story_as("single");
}

#[test]
fn root_and_others_make_the_same_image() {
    let (Some(ranges), Some(single)) = (needs::user("ranges"), needs::user("single")) else { return };
    let mut ids = Vec::new();
    for user in [None, Some(ranges), Some(single)] {
        let Some((bench, _registry)) = with_busybox() else { return };
        bench.file("a", "a").file("sub/b", "b").file(
            "Dockerfile",
            "FROM busybox AS one\nWORKDIR /work\nCOPY . .\nRUN echo 1 > /1 && rm -r sub && mkdir sub\nFROM busybox\n\
             COPY --from=one /work /work\nCOPY --from=one /1 /\nRUN rm /etc/group\nCMD [\"cat\", \"/1\"]\n",
        );
        let bench = match &user {
            Some(user) => bench.as_user(user),
            None => bench,
        };
        bench.run(["build", "--iidfile", "id", "-t", "made", "."]).success();
        ids.push((user, fs::read_to_string(bench.work().join("id")).expect("an image id")));
    }
    assert_eq!(ids[0].1, ids[1].1, "root and {:?}", ids[1].0);
    assert_eq!(ids[0].1, ids[2].1, "root and {:?}", ids[2].0);
}

#[test]
fn a_user_with_ranges_gives_files_to_other_users() {
    let Some(user) = needs::user("ranges") else { return };
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file("a", "a").file(
        "Dockerfile",
        "FROM busybox\nCOPY --chown=1000:1001 a /a\nRUN chown 3:4 /etc/passwd\n\
         RUN stat -c '%u:%g' /a /etc/passwd > /owners\nUSER 1000\nCMD [\"cat\", \"/owners\"]\n",
    );
    let bench = bench.as_user(&user);
    bench.run(["build", "-t", "made", "."]).success();
    assert_eq!(bench.run(["run", "--rm", "made"]).success().out(), "1000:1001\n3:4\n");
}

#[test]
fn a_user_with_one_id_is_told_why_another_owner_is_not_possible() {
    let Some(user) = needs::user("single") else { return };
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file("Dockerfile", "FROM busybox\nUSER 1000\nRUN id\n");
    let bench = bench.as_user(&user);
    let output = bench.run(["build", "-t", "made", "."]);
    assert_ne!(output.code, 0);
    output.complains("subuid");
}
