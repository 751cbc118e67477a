//! `stave lock` and `build --locked`: every source is what it was when the lock was made.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use stave_testkit::git::{self, Repository};
use stave_testkit::http::{Response, Server};
use stave_testkit::{Bench, Image, LoopbackRegistry, Rootfs, needs};

fn image(content: &str) -> Image {
    let mut image = Image::new();
    image.layer(Rootfs::new().file("who", 0o644, content));
    image
}

fn with_base() -> (Bench, LoopbackRegistry) {
    let registry = LoopbackRegistry::start();
    registry.put("base", "1", &image("one"));
    (Bench::new().with_registry(&registry), registry)
}

fn read(bench: &Bench, name: &str) -> String {
    std::fs::read_to_string(bench.work().join(name)).expect(name)
}

/// Whether a request of the registry's log asks for something by a name that can move.
fn is_by_tag(request: &str) -> bool {
    request.contains("/manifests/") && !request.contains("/manifests/sha256:")
}

#[test]
fn a_locked_build_uses_the_image_of_the_lock_and_asks_for_nothing_by_tag() {
    let (bench, registry) = with_base();
    bench.file("Dockerfile", format!("FROM {}/base:1\n", registry.host()));
    bench.run(["lock", "."]).success().complains("stave.lock: 1 image\n");
    let lock = read(&bench, "stave.lock");
    assert!(lock.contains("version = 1\n\n[[image]]\nname = ") && lock.contains("digest = \"sha256:"), "{lock}");
    registry.put("base", "1", &image("two"));
    drop(registry.take_log());
    bench.run(["build", "--locked", "-o", "out", "."]).success();
    assert_eq!(read(&bench, "out/who"), "one");
    let log = registry.take_log();
    assert!(!log.is_empty() && !log.iter().any(|request| is_by_tag(request)), "{log:?}");
    bench.run(["build", "--locked", "--pull", "-o", "out", "."]).success();
    assert!(!registry.take_log().iter().any(|request| is_by_tag(request)));
    assert_eq!(read(&bench, "out/who"), "one");
    bench.run(["build", "--pull", "-o", "out", "."]).success();
    assert_eq!(read(&bench, "out/who"), "two");
    bench.run(["lock", "--pull", "--lock-file", "-", "."]).success();
    assert_ne!(bench.run(["lock", "--pull", "--lock-file", "-", "."]).success().out(), lock);
    // The file may have another name, as that of `stave lock`, and a false one is none.
    bench.run(["lock", "--pull", "--lock-file", "other.lock", "."]).success();
    registry.put("base", "1", &image("three"));
    for words in [&["--lock-file", "other.lock", "--locked"][..], &["--locked=other.lock"]] {
        bench.run(["build", "-o", "out"].iter().chain(words).chain(&["."])).success();
        assert_eq!(read(&bench, "out/who"), "two", "{words:?}");
    }
    bench.run(["build", "--pull", "--locked=false", "-o", "out", "."]).success();
    assert_eq!(read(&bench, "out/who"), "three");
    bench.run(["build", "--lock-file", "other.lock", "."]).exit(2).complains("`--locked");
}

#[test]
fn a_source_that_is_not_in_the_lock_is_an_error_at_its_line() {
    let (bench, registry) = with_base();
    let host = registry.host();
    bench.file("Dockerfile", "FROM scratch\n").file("a", "a");
    bench.run(["build", "--locked", "."]).exit(2).complains("hint: `stave lock` makes it.");
    bench.run(["lock", "."]).success().complains("nothing to pin");
    bench.file("Dockerfile", format!("FROM scratch AS x\nADD {host}/f /\nFROM {host}/base:1\nCOPY --from=x / /\n"));
    drop(registry.take_log());
    let output = bench.run(["build", "--locked", "."]);
    output.exit(2).complains("error[D128]: the image `").complains("is not in the lock");
    output.complains("Dockerfile:3:6").complains("Run `stave lock`");
    assert!(registry.take_log().is_empty());
    bench.file("Dockerfile", "FROM scratch\n\nADD http://127.0.0.1:1/f /\n");
    let output = bench.run(["build", "--locked", "."]);
    output.exit(2).complains("the file http://127.0.0.1:1/f is not in the lock").complains("Dockerfile:3:");
}

#[test]
fn a_file_that_has_changed_since_is_an_error_that_says_to_lock_again() {
    let bench = Bench::new();
    let version = Arc::new(AtomicU32::new(1));
    let current = version.clone();
    let server = Server::start(move |_| {
        Response::body(200, "text/plain", format!("version {}", current.load(Ordering::SeqCst)))
    });
    bench.file("Dockerfile", format!("FROM scratch\nADD {}/f /f\n", server.url()));
    bench.run(["lock", "."]).success().complains("1 file");
    bench.run(["build", "--locked", "-o", "out", "."]).success();
    version.store(2, Ordering::SeqCst);
    let fresh = Bench::new();
    for name in ["Dockerfile", "stave.lock"] {
        fresh.file(name, read(&bench, name));
    }
    let output = fresh.run(["build", "--locked", "."]);
    output.exit(1).complains("Dockerfile:2:").complains("run `stave lock`");
    assert!(fresh.run(["lock", "."]).success().stderr.contains("1 file"));
    fresh.run(["build", "--locked", "-o", "out", "."]).success();
    assert_eq!(read(&fresh, "out/f"), "version 2");
}

#[test]
fn a_repository_stays_at_the_commit_of_the_lock() {
    if needs::program("git").is_none() {
        return;
    }
    let bench = Bench::new();
    std::fs::create_dir_all(bench.path("served")).expect("a writable bench");
    let repository = Repository::init(&bench.path("served/r.git"));
    repository.file("who", "one").commit("first");
    repository.git(&["update-server-info"]);
    let first = repository.rev("HEAD");
    let server = git::smart(&bench.path("served"), |_| None);
    bench.file("Dockerfile", format!("FROM scratch\nADD {}/r.git /r/\n", server.url()));
    bench.run(["lock", "."]).success().complains("1 repository");
    assert!(read(&bench, "stave.lock").contains(&format!("commit = \"{first}\"")));
    repository.file("who", "two").commit("second");
    repository.git(&["update-server-info"]);
    bench.run(["build", "--locked", "-o", "out", "."]).success();
    assert_eq!(read(&bench, "out/r/who"), "one");
    bench.run(["build", "-o", "out", "."]).success();
    assert_eq!(read(&bench, "out/r/who"), "two");
}

#[test]
fn all_stages_are_locked_unless_a_target_is_given_and_what_is_pinned_needs_no_entry() {
    let (bench, registry) = with_base();
    let host = registry.host();
    registry.put("tools", "1", &image("tools"));
    bench.file("Dockerfile", format!("FROM {host}/tools:1 AS tools\nFROM {host}/base:1 AS base\n"));
    bench.run(["lock", "."]).success().complains("2 images");
    bench.run(["build", "--locked", "--target", "tools", "-o", "out", "."]).success();
    bench.run(["lock", "--target", "base", "."]).success().complains("1 image");
    let digest = stave_oci::BlobDigest::of(&image("tools").manifest_bytes());
    bench.file("Dockerfile", format!("FROM {host}/tools@{digest}\n"));
    bench.run(["lock", "."]).success().complains("nothing to pin");
    bench.run(["build", "--locked", "-o", "out", "."]).success();
    assert_eq!(read(&bench, "out/who"), "tools");
}

#[test]
fn an_image_that_was_built_here_is_locked_by_its_id() {
    let bench = Bench::new();
    bench.file("base/Dockerfile", "FROM scratch\nCOPY Dockerfile /who\n").file("Dockerfile", "FROM mine/base\n");
    bench.run(["build", "-t", "mine/base", "base"]).success();
    bench.run(["lock", "."]).success();
    assert!(read(&bench, "stave.lock").contains("\nid = \"sha256:"));
    bench.run(["build", "--locked", "-o", "out", "."]).success();
    let first = read(&bench, "out/who");
    bench.file("base/Dockerfile", "FROM scratch\nCOPY Dockerfile /who\n#\n");
    bench.run(["build", "-t", "mine/base", "base"]).success();
    bench.run(["build", "--locked", "-o", "out", "."]).success();
    assert_eq!(read(&bench, "out/who"), first);
}
