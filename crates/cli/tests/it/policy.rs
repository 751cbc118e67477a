//! Source policies: rules of a file decide which sources a build may use.

use stave_testkit::http::{Response, Server};
use stave_testkit::{Bench, Image, LoopbackRegistry, Rootfs};

/// A registry with `base:1` and `other:1`, whose file `/who` says which it is, and a bench that finds it.
fn with_bases() -> (Bench, LoopbackRegistry) {
    let registry = LoopbackRegistry::start();
    for name in ["base", "other"] {
        let mut image = Image::new();
        image.layer(Rootfs::new().file("who", 0o644, name));
        registry.put(name, "1", &image);
    }
    let bench = Bench::new().with_registry(&registry);
    (bench, registry)
}

fn rule(action: &str, identifier: &str, more: &str) -> String {
    format!(r#"{{"action":"{action}","selector":{{"identifier":"{identifier}"}}{more}}}"#)
}

fn policy(bench: &Bench, rules: &[String]) {
    bench.file("policy.json", format!(r#"{{"rules":[{}]}}"#, rules.join(",")));
}

const BUILD: [&str; 6] = ["build", "--source-policy-file", "policy.json", "-o", "out", "."];

/// E013, E014
#[test]
fn a_denied_image_is_an_error_that_names_the_rule_and_the_line() {
    let (bench, registry) = with_bases();
    let host = registry.host();
    bench.file("Dockerfile", format!("FROM scratch AS x\n\nFROM {host}/base:1\nCOPY --from=x / /\n"));
    let deny = rule("DENY", &format!("docker-image://{host}/*"), "");
    policy(&bench, std::slice::from_ref(&deny));
    let output = bench.run(BUILD);
    output.exit(2).complains("error[D127]: rule 1 of the source policy `policy.json` denies `docker-image://");
    output.complains("Dockerfile:3:6");
    assert!(registry.take_log().is_empty(), "a denied image is not asked for");
    policy(&bench, &[deny, rule("ALLOW", &format!("docker-image://{host}/base:*"), "")]);
    bench.run(BUILD).success();
}

/// E013, E015
#[test]
fn an_image_is_converted_to_another_one_by_what_a_wildcard_stands_for() {
    let (bench, registry) = with_bases();
    let host = registry.host();
    bench.file("Dockerfile", format!("FROM {host}/base:1\n"));
    let updates = format!(r#","updates":{{"identifier":"docker-image://{host}/other:$1"}}"#);
    policy(&bench, &[rule("CONVERT", &format!("docker-image://{host}/base:*"), &updates)]);
    bench.run(BUILD).success();
    assert_eq!(std::fs::read_to_string(bench.work().join("out/who")).expect("made"), "other");
    let updates = r#","updates":{"identifier":"https://example.com/x"}"#;
    policy(&bench, &[rule("CONVERT", "docker-image://*", updates)]);
    bench.run(BUILD).exit(2).complains("which is no image");
}

/// E013: `http.checksum` pins a file of `ADD`.
#[test]
fn a_file_of_add_is_denied_moved_or_pinned() {
    let bench = Bench::new();
    let server = Server::start(|request| Response::body(200, "text/plain", format!("content of {}", request.path)));
    let url = server.url();
    bench.file("Dockerfile", format!("FROM scratch\nADD {url}/a /\n"));
    policy(&bench, &[rule("DENY", "http://*", "")]);
    let output = bench.run(BUILD);
    output.exit(2).complains("denies `http://");
    output.complains("Dockerfile:2:");
    let moved = format!(r#","updates":{{"identifier":"{url}/b"}}"#);
    policy(&bench, &[rule("CONVERT", &format!("{url}/a"), &moved)]);
    bench.run(BUILD).success();
    assert_eq!(std::fs::read_to_string(bench.work().join("out/a")).expect("it keeps its name"), "content of /b");
    let wrong = "0".repeat(64);
    let pinned = format!(r#","updates":{{"attrs":{{"http.checksum":"sha256:{wrong}"}}}}"#);
    policy(&bench, &[rule("CONVERT", &format!("{url}/*"), &pinned)]);
    bench.run(BUILD).exit(1).complains(&wrong);
}

#[test]
fn the_context_and_files_of_the_machine_can_be_denied_too() {
    let bench = Bench::new();
    bench.file("Dockerfile", "FROM scratch\nCOPY a /\n").file("a", "a").file("other/b", "b");
    for (source, args) in [("context", &[][..]), ("dockerfile", &[]), ("more", &["--build-context", "more=other"])] {
        policy(&bench, &[rule("DENY", &format!("local://{source}"), "")]);
        let output = bench.run(BUILD.iter().chain(args));
        output.exit(2).complains(&format!("denies `local://{source}`"));
    }
    bench.run(BUILD).success();
}

/// E014, E056 of the feature list of buildx: the variable.
#[test]
fn a_variable_names_a_policy_and_a_policy_that_is_none_is_an_error() {
    let (mut bench, registry) = with_bases();
    bench.file("Dockerfile", format!("FROM {}/base:1\n", registry.host()));
    policy(&bench, &[rule("DENY", "docker-image://*", "")]);
    let path = bench.work().join("policy.json");
    bench.set("EXPERIMENTAL_BUILDKIT_SOURCE_POLICY", path);
    bench.run(["build", "."]).exit(2).complains("error[D127]");
    bench.file("policy.json", r#"{"rules":[{"action":"FORBID","selector":{"identifier":"*"}}]}"#);
    bench.run(["build", "."]).exit(2).complains("FORBID");
}
