//! Several processes on one store.

use stave_testkit::fixtures::with_busybox;
use stave_testkit::leaks;
use std::fs;

#[test]
fn builds_at_the_same_time_on_one_store_all_succeed() {
    let Some((mut bench, _registry)) = with_busybox() else { return };
    bench.set("SOURCE_DATE_EPOCH", "1700000000");
    bench.file("a", "a");
    bench.file("same", "FROM busybox\nRUN echo same > /same\nCOPY a /a\nRUN cat /a > /b\n");
    for name in ["left", "right"] {
        bench.file(name, format!("FROM busybox\nRUN echo {name} > /{name}\nCOPY a /a\nRUN cat /a > /b\n"));
    }
    let started: Vec<_> = ["same", "left", "same", "right"]
        .iter()
        .enumerate()
        .map(|(number, file)| {
            let iid = format!("id-{number}");
            let child = bench.spawn(["build", "-f", file, "-t", file, "--iidfile", &iid, "."]);
            (iid, child)
        })
        .collect();
    let ids: Vec<String> = started
        .into_iter()
        .map(|(iid, child)| {
            bench.wait(child).success();
            fs::read_to_string(bench.work().join(iid)).expect("an image id")
        })
        .collect();
    assert_eq!(ids[0], ids[2], "the same build gives the same image");
    assert_ne!(ids[1], ids[3]);
    bench.run(["store", "check"]).success();
    assert_eq!(leaks::work_files(&bench.store()), Vec::<String>::new());
}

#[test]
fn pruning_while_builds_run_takes_nothing_from_them() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file("Dockerfile", "FROM busybox\nRUN echo 1 > /1\nRUN echo 2 > /2\nRUN echo 3 > /3\nRUN cat /1 /2 /3\n");
    for _ in 0..5 {
        let builds = [(), ()].map(|()| bench.spawn(["build", "--no-cache", "-t", "made", "."]));
        bench.run(["store", "prune", "--force"]).success();
        bench.run(["store", "prune", "--all", "--force"]).success();
        for build in builds {
            bench.wait(build).success();
        }
    }
    bench.run(["store", "check"]).success();
}
