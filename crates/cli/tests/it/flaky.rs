//! Registries that stumble or lie, as a user sees them: what is survived, what is said, and that Ctrl-C always ends it.
//! What is asked and believed in detail is in the tests of the `registry` crate.

use rustix::process::{Pid, Signal, kill_process};
use stave_testkit::http::{Request, Response};
use stave_testkit::{Bench, Image, LoopbackRegistry, Rootfs, leaks};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// So many bytes that hardly compress.
fn noise(size: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    })
    .take(size)
    .collect()
}

/// An image with a layer of this many bytes that hardly compress.
fn image(size: usize) -> Image {
    let mut image = Image::new();
    image.layer(Rootfs::new().file("noise", 0o644, noise(size)));
    image
}

/// What a registry does to a request for the layer.
struct Fault {
    name: &'static str,
    answer: fn(&[u8]) -> Response,
}

fn whole(layer: &[u8]) -> Response {
    Response::body(200, "application/octet-stream", layer)
}

/// F5: 5xx, 429, stall, RST, truncated, bad 206.
const FAULTS: &[Fault] = &[
    Fault { name: "500", answer: |_| Response::status(500) },
    Fault { name: "503", answer: |_| Response::status(503) },
    Fault { name: "429", answer: |_| Response::status(429).with("Retry-After", "1") },
    Fault { name: "reset", answer: |layer| Response { reset_after: Some(layer.len() / 2), ..whole(layer) } },
    Fault { name: "truncated", answer: |layer| Response { cut_after: Some(layer.len() / 2), ..whole(layer) } },
    Fault { name: "silent", answer: |layer| Response { silent: true, ..whole(layer) } },
];

/// F5.
#[test]
fn a_pull_survives_what_passes() {
    let image = image(300_000);
    let layer = image.layers()[0].clone();
    let bytes = layer.source.read().expect("in memory");
    for Fault { name, answer } in FAULTS {
        let registry = LoopbackRegistry::start();
        registry.put("app", "1", &image);
        let (path, bytes, count) =
            (format!("/v2/app/blobs/{}", layer.descriptor.digest), bytes.clone(), AtomicUsize::new(0));
        registry.fail(move |request| {
            let first = request.path == path && count.fetch_add(1, Ordering::SeqCst) == 0;
            first.then(|| answer(&bytes))
        });
        let bench = Bench::new();
        let out = bench.run(["pull", &format!("{}/app:1", registry.host())]);
        assert_eq!(out.code, 0, "{name}: {out}");
        bench.run(["store", "check"]).success();
    }
}

/// F5: a part that is not the missing one is not believed, and the whole is fetched anew.
#[test]
fn a_wrong_part_of_a_layer_is_thrown_away() {
    let image = image(300_000);
    let layer = image.layers()[0].clone();
    let bytes = layer.source.read().expect("in memory");
    let registry = LoopbackRegistry::start();
    registry.put("app", "1", &image);
    let (path, ranges) =
        (format!("/v2/app/blobs/{}", layer.descriptor.digest), std::sync::Arc::new(Mutex::new(Vec::new())));
    let seen = ranges.clone();
    registry.fail(move |request| {
        if request.path != path {
            return None;
        }
        let mut seen = seen.lock().expect("no test thread panics");
        seen.push(request.header("range").map(str::to_owned));
        match seen.len() {
            1 => Some(Response { cut_after: Some(100_000), ..whole(&bytes) }),
            2 => {
                let range = format!("bytes 0-{}/{}", bytes.len() - 1, bytes.len());
                Some(Response::body(206, "x/y", bytes.clone()).with("Content-Range", range))
            }
            _ => None,
        }
    });
    let bench = Bench::new();
    bench.run(["pull", &format!("{}/app:1", registry.host())]).success();
    let ranges = ranges.lock().expect("no test thread panics");
    assert_eq!(*ranges, [None, Some("bytes=100000-".to_owned()), None]);
}

/// F5: the confirmation of an upload is lost, and a token ends in between; nothing is sent twice.
#[test]
fn a_push_survives_what_passes() {
    let registry = LoopbackRegistry::start();
    registry.require_token("me", "secret");
    let (bench, host) = (Bench::new(), registry.host());
    bench.run_with_input(["login", "-u", "me", "--password-stdin", &host], b"secret".to_vec()).success();
    bench.file("Dockerfile", "FROM scratch\nCOPY a /a\n").file("a", vec![7; 100_000]);
    let name = format!("{host}/app:1");
    bench.run(["build", "-q", "-t", &name, "."]).success();
    let count = AtomicUsize::new(0);
    registry.fail(move |request| {
        let upload = request.method == "PUT" && request.path.contains("/uploads/");
        match count.fetch_add(usize::from(upload), Ordering::SeqCst) {
            0 if upload => Some(Response { silent: true, ..Response::status(201) }),
            1 if upload => Some(Response::status(401).with(
                "WWW-Authenticate",
                format!(
                    "Bearer realm=\"http://{}/token\",service=\"test\"",
                    request.header("host").unwrap_or_default()
                ),
            )),
            _ => None,
        }
    });
    bench.run(["push", &name]).success();
    assert!(registry.manifest("app", "1").is_some());
}

/// What can be going on at a registry when the user has had enough.
struct Wait {
    name: &'static str,
    command: &'static str,
    /// Which request it begins with.
    at: At,
    /// The answer to a request, if it is the one; `Blob` is the layer if the request is for that.
    answer: fn(&Request, Option<Blob<'_>>) -> Option<Response>,
}

/// Requests.
#[derive(Clone, Copy)]
enum At {
    Layer,
    Manifest,
    Upload,
    Post,
    Token,
}

/// The layer that is asked for.
type Blob<'a> = &'a [u8];

fn is_upload(request: &Request) -> bool {
    request.method == "PUT" && request.path.contains("/uploads/")
}

fn body() -> Response {
    Response::body(200, "application/octet-stream", vec![1; 1000])
}

fn challenge(request: &Request) -> Response {
    let realm = format!("Bearer realm=\"http://{}/token\"", request.header("host").unwrap_or_default());
    Response::status(401).with("WWW-Authenticate", realm)
}

const WAITS: &[Wait] = &[
    Wait { name: "500", command: "pull", at: At::Layer, answer: |_, blob| blob.map(|_| Response::status(500)) },
    Wait {
        name: "429 with a long wait",
        command: "pull",
        at: At::Layer,
        answer: |_, blob| blob.map(|_| Response::status(429).with("Retry-After", "60")),
    },
    Wait {
        name: "stall of a body",
        command: "pull",
        at: At::Layer,
        answer: |_, blob| blob.map(|blob| Response { stall_after: Some(100), ..whole(blob) }),
    },
    Wait {
        name: "stall before an answer",
        command: "pull",
        at: At::Layer,
        answer: |_, blob| {
            blob.map(|_| {
                // Longer than the client may take to end.
                std::thread::sleep(Duration::from_secs(20));
                Response::status(500)
            })
        },
    },
    Wait {
        name: "resets",
        command: "pull",
        at: At::Layer,
        answer: |_, blob| blob.map(|blob| Response { reset_after: Some(100), ..whole(blob) }),
    },
    Wait {
        name: "truncated bodies",
        command: "pull",
        at: At::Layer,
        answer: |_, blob| blob.map(|blob| Response { cut_after: Some(100), ..whole(blob) }),
    },
    Wait {
        name: "bad 206",
        command: "pull",
        at: At::Layer,
        answer: |request, blob| {
            let part = || Response::body(206, "x/y", vec![1; 10]).with("Content-Range", "bytes 0-9/10");
            blob.map(|blob| match request.header("range") {
                Some(_) => part(),
                None => Response { cut_after: Some(100), ..whole(blob) },
            })
        },
    },
    Wait {
        name: "a manifest that does not come",
        command: "pull",
        at: At::Manifest,
        answer: |request, _| request.path.contains("/manifests/").then(|| Response { stall_after: Some(1), ..body() }),
    },
    Wait {
        name: "lost 201",
        command: "push",
        at: At::Upload,
        answer: |request, _| is_upload(request).then(|| Response { silent: true, ..Response::status(201) }),
    },
    Wait {
        name: "an upload that is not confirmed",
        command: "push",
        at: At::Upload,
        answer: |request, _| is_upload(request).then(|| Response { stall_after: Some(0), ..body() }),
    },
    Wait {
        name: "503 for an upload",
        command: "push",
        at: At::Post,
        answer: |request, _| (request.method == "POST").then(|| Response::status(503)),
    },
    Wait {
        name: "a token server that does not answer",
        command: "push",
        at: At::Token,
        answer: |request, _| match request.path.as_str() {
            "/v2/" => None,
            "/token" => Some(Response { stall_after: Some(1), ..body() }),
            _ => Some(challenge(request)),
        },
    },
    Wait {
        name: "a token that always ends",
        command: "push",
        at: At::Upload,
        answer: |request, _| match request.path.as_str() {
            "/v2/" => None,
            "/token" => Some(Response::body(200, "application/json", r#"{"token":"t"}"#)),
            _ if is_upload(request) || request.header("authorization").is_none() => Some(challenge(request)),
            _ => None,
        },
    },
    Wait {
        name: "a build's base that stalls",
        command: "build",
        at: At::Layer,
        answer: |_, blob| blob.map(|blob| Response { stall_after: Some(100), ..whole(blob) }),
    },
];

/// F5: Ctrl-C during each of them ends stave in less than 10 s with 130, and nothing is left.
#[test]
fn ctrl_c_ends_every_wait_for_a_registry() {
    let image = image(300_000);
    let layer = image.layers()[0].clone();
    let bytes = layer.source.read().expect("in memory");
    for wait in WAITS {
        let registry = LoopbackRegistry::start();
        registry.put("app", "1", &image);
        let (bench, name) = (Bench::new(), format!("{}/app:1", registry.host()));
        bench.file("Dockerfile", "FROM scratch\nCOPY a /a\n").file("a", vec![7; 100_000]);
        if wait.command == "push" {
            bench.run(["build", "-q", "-t", &name, "."]).success();
        }
        bench.file("Dockerfile", format!("FROM {name}\nCOPY a /a\n"));
        let (sender, receiver) = mpsc::channel();
        let (answer, at) = (wait.answer, wait.at);
        let (path, bytes) = (format!("/v2/app/blobs/{}", layer.descriptor.digest), bytes.clone());
        registry.fail(move |request| {
            let blob = (request.method == "GET" && request.path == path).then_some(bytes.as_slice());
            let here = match at {
                At::Layer => blob.is_some(),
                At::Manifest => request.path.contains("/manifests/"),
                At::Upload => is_upload(request),
                At::Post => request.method == "POST",
                At::Token => request.path == "/token",
            };
            // Told before the answer, which may take its time.
            if here {
                sender.send(()).ok();
            }
            answer(request, blob)
        });
        let child = match wait.command {
            "build" => bench.spawn(["build", "."]),
            command => bench.spawn([command, &name]),
        };
        receiver.recv_timeout(Duration::from_secs(30)).unwrap_or_else(|_| panic!("{}: nobody asks", wait.name));
        let start = Instant::now();
        kill_process(Pid::from_child(&child), Signal::INT).unwrap_or_else(|error| panic!("{}: {error}", wait.name));
        let out = bench.wait(child);
        let took = start.elapsed();
        assert_eq!(out.code, 130, "{}: {out}", wait.name);
        assert!(took < Duration::from_secs(10), "{}: {took:?}", wait.name);
        assert!(out.stderr.contains("interrupted"), "{}: {out}", wait.name);
        assert_eq!(leaks::processes(bench.token()), Vec::<String>::new(), "{}", wait.name);
        assert_eq!(leaks::work_files(&bench.store()), Vec::<String>::new(), "{}", wait.name);
        bench.run(["store", "check"]).success();
    }
}

/// What a registry says of `app:1` that is not so.
struct Lie {
    name: &'static str,
    answer: fn(&Request, &Truth) -> Option<Response>,
    /// What the user reads, with `HOST`, and the digests of the image, its layer and its configuration as `IMAGE`,
    /// `LAYER` and `CONFIG`.
    says: &'static str,
}

/// What is so.
struct Truth {
    manifest: String,
    layer_digest: String,
    layer: Vec<u8>,
}

fn manifest(request: &Request, kind: &str, body: String) -> Option<Response> {
    request.path.ends_with("/manifests/1").then(|| Response::body(200, kind, body))
}

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";

const LIES: &[Lie] = &[
    Lie {
        name: "flipped byte",
        answer: |request, truth| {
            let mut bytes = truth.layer.clone();
            bytes[100] ^= 1;
            request.path.ends_with(&truth.layer_digest).then(|| whole(&bytes))
        },
        says: "error: blob from http://HOST/v2/app/blobs/LAYER has the wrong digest: expected LAYER, got OTHER\n",
    },
    Lie {
        name: "short blob",
        answer: |request, truth| {
            request.path.ends_with(&truth.layer_digest).then(|| whole(&truth.layer[..truth.layer.len() - 1]))
        },
        says: "error: blob LAYER from http://HOST/v2/app/blobs/LAYER has the wrong size: expected SIZE bytes, got SHORT\n",
    },
    Lie {
        name: "long blob",
        answer: |request, truth| {
            let bytes = [truth.layer.as_slice(), b"x"].concat();
            request.path.ends_with(&truth.layer_digest).then(|| whole(&bytes))
        },
        says: "error: blob LAYER from http://HOST/v2/app/blobs/LAYER has the wrong size: expected SIZE bytes, got LONG\n",
    },
    Lie {
        name: "foreign urls",
        answer: |request, truth| {
            let urls = ",\"urls\":[\"http://evil.test/x\"]}]";
            manifest(request, OCI, truth.manifest.replacen("}]", urls, 1))
        },
        says: "error: layer LAYER is to be fetched from elsewhere (`urls`), which is not supported\n",
    },
    Lie {
        name: "manifest and index",
        answer: |request, truth| manifest(request, OCI, truth.manifest.replacen('{', "{\"manifests\":[],", 1)),
        says: "error: cannot use the manifest of `HOST/app:1`: manifest is ambiguous: it has both `manifests` and `layers` or `config`\n",
    },
    Lie {
        name: "duplicate keys",
        answer: |request, truth| manifest(request, OCI, truth.manifest.replacen('{', "{\"schemaVersion\":2,", 1)),
        says: "error: cannot use the manifest of `HOST/app:1`: manifest has the key `schemaVersion` twice\n",
    },
    Lie {
        name: "other media type",
        answer: |request, truth| {
            manifest(request, "application/vnd.docker.distribution.manifest.v2+json", truth.manifest.clone())
        },
        says: "error: cannot use the manifest of `HOST/app:1`: manifest was served as `application/vnd.docker.distribution.manifest.v2+json` and says that it is `application/vnd.oci.image.manifest.v1+json`\n",
    },
    Lie {
        name: "bad digest",
        answer: |request, truth| {
            manifest(request, OCI, truth.manifest.replace(&truth.layer_digest, "sha256:../../etc/passwd"))
        },
        says: "error: cannot use the manifest of `HOST/app:1`: manifest is not valid: digest `sha256:../../etc/passwd` is not `sha256:` and 64 lower-case hexadecimal digits at line 1 column COLUMN\n",
    },
    Lie {
        name: "oversize",
        answer: |request, truth| {
            let padding = "x".repeat(5 << 20);
            manifest(request, OCI, truth.manifest.replacen('{', &format!("{{\"x\":\"{padding}\","), 1))
        },
        says: "error: manifest at http://HOST/v2/app/manifests/1 has more than the 4194304 bytes that are allowed\n",
    },
    Lie {
        name: "another token server",
        answer: |request, _| {
            (request.path != "/v2/")
                .then(|| Response::status(401).with("WWW-Authenticate", "Bearer realm=\"http://evil.test/token\""))
        },
        says: "error: http://HOST asks for tokens from http://evil.test/token, which is another host, and over this connection that may be anybody's word: the configured credentials are not sent there\n",
    },
    Lie {
        name: "a refusal",
        answer: |request, _| {
            let body = r#"{"errors":[{"code":"DENIED","message":"not \u001b[2Jyours"}]}"#;
            (request.path != "/v2/").then(|| Response::body(403, "application/json", body))
        },
        says: "error: http://HOST denies access to `app`, or there is no such repository, with the configured credentials: DENIED: not  [2Jyours\nhint: Log in as somebody who may with `stave login HOST`, or check the image's name.\n",
    },
    Lie {
        name: "nothing",
        answer: |request, _| {
            let body = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
            (request.path != "/v2/").then(|| Response::body(404, "application/json", body))
        },
        says: "error: image `HOST/app:1` does not exist at http://HOST: MANIFEST_UNKNOWN: manifest unknown\n",
    },
    Lie {
        name: "another platform",
        answer: |request, truth| {
            let entry = format!(
                "{{\"mediaType\":\"{OCI}\",\"digest\":\"{}\",\"size\":1,\"platform\":{{\"os\":\"plan9\",\"architecture\":\"386\"}}}}",
                truth.layer_digest
            );
            let index = format!("{{\"schemaVersion\":2,\"manifests\":[{entry}]}}");
            manifest(request, "application/vnd.oci.image.index.v1+json", index)
        },
        says: "error: image `HOST/app:1` has nothing for linux/amd64: it is made for plan9/386\n",
    },
];

/// A18, A19: what a user reads when a registry lies. Nothing of it is kept, and the truth is taken afterwards.
#[test]
fn what_a_registry_does_wrong_is_said_and_not_kept() {
    let image = image(3000);
    let layer = image.layers()[0].clone();
    let bytes = layer.source.read().expect("in memory");
    let layer_digest = layer.descriptor.digest.to_string();
    for Lie { name, answer, says } in LIES {
        let registry = LoopbackRegistry::start();
        registry.put("app", "1", &image);
        let truth = Truth {
            manifest: String::from_utf8(image.manifest_bytes()).expect("a manifest is text"),
            layer_digest: layer_digest.clone(),
            layer: bytes.clone(),
        };
        registry.fail(move |request| answer(request, &truth));
        let (mut bench, host) = (Bench::new(), registry.host());
        bench.set("DOCKER_AUTH_CONFIG", format!(r#"{{"auths":{{"{host}":{{"auth":"bWU6c2VjcmV0"}}}}}}"#));
        let out = bench.run(["pull", "-q", "--platform", "linux/amd64", &format!("{host}/app:1")]);
        // That there is no such image is an answer.
        let code = if out.stderr.contains("does not exist at") { 1 } else { 3 };
        let mut shown = out.exit(code).stderr.clone();
        for (from, to) in [(host.as_str(), "HOST"), (&layer_digest, "LAYER")] {
            shown = shown.replace(from, to);
        }
        if let Some(at) = shown.find("got sha256:") {
            shown.replace_range(at + 4..at + 4 + "sha256:".len() + 64, "OTHER");
        }
        if let Some(at) = shown.find("column ") {
            shown.replace_range(at + 7..shown.trim_end().len(), "COLUMN");
        }
        let size = bytes.len();
        for (number, word) in [(size, "SIZE"), (size - 1, "SHORT"), (size + 1, "LONG")] {
            shown = shown.replace(&format!("expected {number} "), &format!("expected {word} "));
            shown = shown.replace(&format!("got {number}\n"), &format!("got {word}\n"));
        }
        assert_eq!(shown, *says, "{name}");
        assert!(!shown.contains("secret") && !shown.contains("bWU6"), "{name}");
        bench.run(["store", "check"]).success();
        registry.recover();
        bench.run(["pull", "-q", "--platform", "linux/amd64", &format!("{host}/app:1")]).success();
    }
}

/// A19: the files of a layer are not those that the configuration says.
#[test]
fn a_layer_with_other_files_than_the_configuration_says_is_not_kept() {
    let mut image = image(3000);
    image.config.rootfs.diff_ids[0] = stave_oci::DiffId::of(b"others");
    let registry = LoopbackRegistry::start();
    registry.put("app", "1", &image);
    let (bench, name) = (Bench::new(), format!("{}/app:1", registry.host()));
    bench.run(["pull", &name]).exit(3).complains("layer digest mismatch: expected sha256:");
    bench.file("Dockerfile", format!("FROM {name}\nCOPY Dockerfile /\n"));
    assert_ne!(bench.run(["build", "."]).code, 0);
    bench.run(["store", "check"]).success();
    assert_eq!(bench.run(["images", "-q"]).success().out(), "");
}

/// A19: a digest in a name counts wherever it is asked for, and a tag beside it changes nothing.
#[test]
fn a_digest_in_a_name_is_what_is_pulled() {
    let registry = LoopbackRegistry::start();
    let (one, two) = (image(10), image(20));
    registry.put("one", "1", &one).put("two", "1", &two);
    let bench = Bench::new();
    let digest = stave_oci::BlobDigest::of(&one.manifest_bytes());
    bench.run(["pull", &format!("{}/two:1@{digest}", registry.host())]).exit(1).complains("does not exist at");
    // A registry that gives another manifest for the digest is found out.
    let other = two.manifest_bytes();
    registry.fail(move |request| request.path.contains("/manifests/").then(|| Response::body(200, OCI, other.clone())));
    let out = bench.run(["pull", &format!("{}/one:1@{digest}", registry.host())]);
    out.exit(3).complains("has the wrong digest: expected sha256:");
    registry.recover();
    bench.run(["pull", &format!("{}/one:1@{digest}", registry.host())]).success();
}

/// Files of a layer are there before its last byte has come; nothing of a pull that is given up stays.
#[test]
fn a_layer_is_unpacked_while_it_comes() {
    let mut image = Image::new();
    let mut files = Rootfs::new();
    for number in 0..64 {
        files.file(&format!("file-{number:02}"), 0o644, noise(100_000));
    }
    image.layer(&files);
    let layer = image.layers()[0].clone();
    let bytes = layer.source.read().expect("in memory");
    let registry = LoopbackRegistry::start();
    registry.put("app", "1", &image);
    let path = format!("/v2/app/blobs/{}", layer.descriptor.digest);
    registry.fail(move |request| {
        (request.path == path).then(|| Response { stall_after: Some(bytes.len() / 2), ..whole(&bytes) })
    });
    let bench = Bench::new().with_registry(&registry);
    let child = bench.spawn(["pull", &format!("{}/app:1", registry.host())]);
    let unpacked = || find(&bench.store().join("tmp"), "file-00");
    let start = Instant::now();
    while !unpacked() {
        assert!(start.elapsed() < Duration::from_secs(30), "nothing is unpacked while the rest does not come");
        std::thread::sleep(Duration::from_millis(20));
    }
    kill_process(Pid::from_child(&child), Signal::INT).expect("it runs");
    bench.wait(child).exit(130);
    assert!(!unpacked(), "what was unpacked is gone");
    bench.run(["store", "check"]).success();
}

/// Whether a file of this name is somewhere below a directory.
fn find(dir: &std::path::Path, name: &str) -> bool {
    let Ok(entries) = std::fs::read_dir(dir) else { return false };
    entries.flatten().any(|entry| {
        entry.file_name() == name || (entry.file_type().is_ok_and(|kind| kind.is_dir()) && find(&entry.path(), name))
    })
}
