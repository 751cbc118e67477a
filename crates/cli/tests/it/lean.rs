//! What is there already is not sent again: to a registry, to a service of Podman.

use std::time::{Duration, Instant};

use stave_testkit::fixtures::with_busybox;
use stave_testkit::http::{Response, Server};
use stave_testkit::podman::PodmanService;
use stave_testkit::{Bench, LoopbackRegistry};

const BIG: &str = "FROM busybox\nRUN head -c 3000000 /dev/urandom > /big\n";

#[test]
fn podman_is_sent_only_the_layers_that_it_lacks() {
    let Some((mut bench, _registry)) = with_busybox() else { return };
    let Some(podman) = PodmanService::start(&bench) else { return };
    bench.set("CONTAINER_HOST", podman.address());
    bench.file("Dockerfile", BIG);
    bench.run(["build", "-t", "made:1", "--load", "."]).success();
    let whole = podman.take_sent();
    assert!(whole > 3_000_000, "{whole}");
    bench.file("Dockerfile", format!("{BIG}RUN echo small > /small\n"));
    bench.run(["build", "-t", "made:2", "--load", "."]).success();
    let lean = podman.take_sent();
    assert!(lean < 200_000, "{lean} bytes for a small layer, {whole} for the whole image");
    // In another order, layers have the same tars.
    bench.file("big", vec![b'x'; 1 << 20]).file("small", "small\n");
    bench.file("Dockerfile", "FROM scratch\nCOPY --link big /big\nCOPY --link small /small\n");
    bench.run(["build", "-t", "made:3", "--load", "."]).success();
    let whole = podman.take_sent();
    bench.file("Dockerfile", "FROM scratch\nCOPY --link small /small\nCOPY --link big /big\n");
    bench.run(["build", "-t", "made:4", "--load", "."]).success();
    let lean = podman.take_sent();
    assert!(whole > 1 << 20 && lean < 100_000, "{whole} {lean}");
    let id = |name: &str| podman.podman(&bench, &["image", "inspect", "--format", "{{.Id}}", name]).success().line();
    for name in ["made:1", "made:2", "made:3", "made:4"] {
        let ours = bench.run(["inspect", "-f", "{{.Id}}", name]).success().line();
        assert_eq!(ours.strip_prefix("sha256:"), Some(id(name).as_str()), "{name}");
    }
    // Its files are those of the image.
    let mounted = podman.podman(&bench, &["image", "mount", "made:2"]).success().line();
    assert_eq!(std::fs::read_to_string(format!("{mounted}/small")).expect("it is there"), "small\n");
    assert_eq!(std::fs::metadata(format!("{mounted}/big")).expect("it is there").len(), 3_000_000);
    podman.podman(&bench, &["image", "umount", "made:2"]).success();
    // What is there only gets its name.
    bench.file("Dockerfile", format!("{BIG}RUN echo small > /small\n"));
    bench.run(["build", "-t", "other:5", "--load", "."]).success();
    assert!(podman.take_sent() < 5_000);
    assert_eq!(id("other:5"), id("made:2"));
}

fn pushed(bench: &Bench, registry: &LoopbackRegistry, file: &str) -> Vec<String> {
    bench.file("Dockerfile", file);
    registry.take_log().clear();
    bench.run(["build", "-t", &format!("{}/app:1", registry.host()), "--push", "."]).success();
    registry.take_log().into_iter().filter(|line| line.contains("/v2/app/")).collect()
}

/// The speed row: one HEAD for each layer, and the layer that is new.
#[test]
fn a_push_with_one_new_layer_costs_one_question_for_each_layer_and_that_layer() {
    let Some((bench, registry)) = with_busybox() else { return };
    let steps = (0..9).map(|number| format!("RUN echo {number} > /{number}\n")).collect::<Vec<_>>().concat();
    pushed(&bench, &registry, &format!("FROM busybox\n{steps}"));
    let asked = pushed(&bench, &registry, &format!("FROM busybox\n{steps}RUN echo new > /new\n"));
    let count =
        |method: &str, part: &str| asked.iter().filter(|line| line.starts_with(method) && line.contains(part)).count();
    // Ten layers that are there, the new one, and the configuration.
    assert_eq!(count("HEAD", "/blobs/"), 12, "{asked:#?}");
    assert_eq!((count("POST", "/blobs/uploads/"), count("PUT", "/blobs/uploads/")), (2, 2), "{asked:#?}");
    assert_eq!((count("HEAD", "/manifests/"), count("PUT", "/manifests/")), (1, 1), "{asked:#?}");
    assert_eq!(asked.len(), 18, "{asked:#?}");
    // Nothing new: nothing is sent.
    let again = pushed(&bench, &registry, &format!("FROM busybox\n{steps}RUN echo new > /new\n"));
    assert!(again.iter().all(|line| line.starts_with("HEAD")), "{again:#?}");
}

/// Whether a file that begins as zstd's frames do, and has at least this many bytes, is somewhere below a directory.
fn has_compressed(dir: &std::path::Path, bytes: u64) -> bool {
    let Ok(entries) = std::fs::read_dir(dir) else { return false };
    entries.flatten().any(|entry| {
        let Ok(kind) = entry.metadata() else { return false };
        if kind.is_dir() {
            return has_compressed(&entry.path(), bytes);
        }
        let is_zstd =
            || std::fs::read(entry.path()).is_ok_and(|content| content.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]));
        kind.is_file() && kind.len() >= bytes && is_zstd()
    })
}

/// The layer of a step is compressed while the step after it runs: that step ends only when the compressed layer is there.
#[test]
fn a_layer_is_compressed_while_the_next_step_runs() {
    let Some((bench, _registry)) = with_busybox() else { return };
    let store = bench.store();
    let server = Server::start(move |_| {
        let start = Instant::now();
        while !has_compressed(&store, 3_000_000) {
            if start.elapsed() > Duration::from_mins(2) {
                return Response::status(404);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Response::body(200, "text/plain", "compressed")
    });
    bench.file(
        "Dockerfile",
        format!(
            "FROM busybox\nRUN head -c 3000000 /dev/urandom > /noise\nRUN wget -q -O /said {}/wait\n",
            server.url()
        ),
    );
    bench.run(["build", "-o", "type=oci,dest=image.tar,compression=zstd", "."]).success();
}
