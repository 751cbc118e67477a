//! `report` and `graph`, from a real build to the file. What a page is, is tested where it is made (`stave-report`).

use std::fs;

use stave_testkit::fixtures::with_busybox;
use stave_testkit::{Bench, LoopbackRegistry};

/// Two stages, of which the second ships a file that it deletes again.
const DOCKERFILE: &str = "FROM busybox as tool\nRUN echo '</script><b>'; echo tool > /tool\n\
                          FROM busybox\nRUN head -c 300000 /dev/zero > /scratch\nRUN rm /scratch\n\
                          COPY --from=tool /tool /bin/tool\n";

fn project(dockerfile: &str) -> Option<(Bench, LoopbackRegistry)> {
    let (bench, registry) = with_busybox()?;
    bench.file("Dockerfile", dockerfile);
    Some((bench, registry))
}

fn page(bench: &Bench) -> String {
    bench.run(["report", "-o", "report.html"]).success();
    fs::read_to_string(bench.work().join("report.html")).expect("a page")
}

#[track_caller]
fn has(page: &str, parts: &[&str]) {
    for part in parts {
        assert!(page.contains(part), "`{part}` is not in the page:\n{page}");
    }
}

#[test]
fn a_page_is_made_of_the_record_the_logs_and_the_layers_of_a_build() {
    let Some((bench, _registry)) = project(DOCKERFILE) else { return };
    bench.run(["build", "-q", "-t", "me/app", "."]).success();
    let page = page(&bench);
    has(
        &page,
        &[
            "me/app:latest",
            "it is carried out for the first time",
            "&lt;/script&gt;&lt;b&gt;",
            "<code>/scratch</code>",
            "deleted by layer 3",
            "the stage tool",
            " busybox <mark class=\"warning\">as</mark> tool",
            "<title>tool, ",
        ],
    );
    assert!(!page.contains("</script><b>"), "nothing of a log is a part of the page");
    let piped = bench.run(["report"]).success().out();
    assert_eq!(piped, page, "the same build gives the same page");
}

#[test]
fn a_failed_build_has_a_page_with_the_end_of_its_log() {
    let dockerfile = "FROM busybox\nRUN yes line | head -n 100000; echo the-last-words; exit 3\n";
    let Some((bench, _registry)) = project(dockerfile) else { return };
    bench.run(["build", "-q", "."]).exit(1);
    let page = page(&bench);
    has(&page, &["Failed", "the-last-words", "are left out here: stave builds logs "]);
    assert!(page.len() < 400_000, "{}", page.len());
}

#[test]
fn layers_that_are_gone_are_said_to_be_gone() {
    let Some((bench, _registry)) = project(DOCKERFILE) else { return };
    bench.run(["build", "-q", "-t", "me/app", "."]).success();
    bench.run(["rmi", "me/app"]).success();
    bench.run(["store", "prune", "--all", "--force"]).success();
    has(
        &page(&bench),
        &[
            "not all of its layers are in the store: they were removed since, or stayed in the registry or cache that has them; building it again with",
        ],
    );
}

#[test]
fn a_build_that_is_not_there_is_named_and_nothing_is_written() {
    let bench = Bench::new();
    let output = bench.run(["report", "-o", "report.html"]);
    output.exit(1);
    assert!(!bench.work().join("report.html").exists(), "{output}");
}

#[test]
fn a_graph_is_written_in_the_language_that_its_file_says() {
    let Some((bench, _registry)) = project(DOCKERFILE) else { return };
    bench.run(["build", "-q", "."]).success();
    let read = |name: &str| fs::read_to_string(bench.work().join(name)).expect("a graph");
    bench.run(["graph", "-o", "a.svg"]).success();
    assert!(read("a.svg").contains("<svg "));
    bench.run(["graph", "-o", "a.gv", "--steps"]).success();
    assert!(read("a.gv").starts_with("digraph build {") && read("a.gv").contains("RUN rm /scratch"));
    let mermaid = bench.run(["graph"]).success().out();
    let edges: Vec<&str> = mermaid.lines().filter(|line| line.contains("->")).collect();
    assert_eq!(edges, ["  n0 --> n1", "  n0 --> n2", "  n1 -.-> n2"], "{mermaid}");
    let wrong = bench.run(["graph", "-o", "a.png"]);
    wrong.exit(2);
    assert!(wrong.stderr.contains("the name `a.png` does not say which format is meant"), "{wrong}");
}

/// The build knows what a variable stood for.
#[test]
fn the_base_that_a_variable_named_is_drawn_by_its_name() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file("Dockerfile", "ARG BASE\nFROM ${BASE} AS x\nRUN touch /a\nFROM $BASE\nCOPY --from=x /a /a\n");
    bench.run(["build", "-q", "--build-arg", "BASE=busybox:latest", "."]).success();
    for options in [&["graph", "--format", "dot"][..], &["graph", "--format", "dot", "--steps"]] {
        let graph = bench.run(options).success().out();
        let sources: Vec<&str> = graph.lines().filter(|line| line.contains("style=\"dashed\"")).collect();
        assert!(sources.len() == 1 && sources[0].contains("busybox:latest"), "{graph}");
    }
}

#[test]
fn the_stages_of_a_file_are_drawn_without_building_it() {
    let bench = Bench::new();
    bench.file("a.Dockerfile", "ARG BASE=one\nFROM $BASE AS x\nFROM scratch AS y\nCOPY --from=x /a /a\n");
    let args = ["graph", "--file", "a.Dockerfile", "--build-arg", "BASE=two", "--format", "dot"];
    let graph = bench.run(args).success().out();
    assert!(graph.contains("n0 [label=\"two\", style=\"dashed\"];"), "{graph}");
    assert!(!bench.store().exists(), "no store is needed");
    bench.file("b.Dockerfile", "FROM a\nCOPY --from=1 /x /x\n");
    let wrong = bench.run(["graph", "--file", "b.Dockerfile"]);
    wrong.exit(2);
    assert!(wrong.stderr.contains("there is no stage 1") && wrong.stderr.contains("b.Dockerfile:2:"), "{wrong}");
}
