//! Policies in Rego: beside the Dockerfile, named by options, and by themselves. E016, E017, E018

use stave_testkit::git::{self, Repository};
use stave_testkit::http::{Response, Server};
use stave_testkit::{Bench, Image, LoopbackRegistry, Rootfs};

fn policy(rules: &str) -> String {
    format!(
        "package docker\ndefault allow := false\n{rules}\ndeny_msg contains sprintf(\"not ours: %v\", [input]) if not allow\n\
         decision := {{\"allow\": allow, \"deny_msg\": deny_msg}}\n"
    )
}

fn with_base() -> (Bench, LoopbackRegistry) {
    let registry = LoopbackRegistry::start();
    let mut image = Image::new();
    image.layer(Rootfs::new().file("who", 0o644, "base"));
    registry.put("base", "1", &image);
    let bench = Bench::new().with_registry(&registry);
    bench.file("Dockerfile", format!("FROM scratch AS x\n\nFROM {}/base:1\nCOPY --from=x / /\n", registry.host()));
    (bench, registry)
}

/// E016
#[test]
fn the_policy_beside_the_dockerfile_is_asked_about_every_source() {
    let (bench, registry) = with_base();
    bench.file("Dockerfile.rego", policy("allow if input.local\n"));
    let output = bench.run(["build", "."]);
    output.exit(2).complains("error[D127]: the policy `./Dockerfile.rego` does not allow `docker-image://");
    output.complains("Dockerfile:3:6");
    output.complains("not ours: ");
    assert!(registry.take_log().is_empty(), "a denied image is not asked for");
    bench.file("Dockerfile.rego", policy("allow if input.image.tag == \"1\"\n"));
    bench.run(["build", "."]).exit(2).complains("does not allow `local://context`");
    bench.file("Dockerfile.rego", policy("allow if input.local\nallow if input.image.tag == \"1\"\n"));
    bench.run(["build", "."]).success();
}

/// E016: the fields of `--policy`.
#[test]
fn options_add_policies_leave_them_out_or_need_one() {
    let (bench, _registry) = with_base();
    bench.run(["build", "--policy", "strict=true", "."]).exit(2).complains("`--policy strict=true` needs a policy");
    bench.file("all.rego", policy("allow if input\n"));
    bench.file("none.rego", policy(""));
    bench.run(["build", "--policy", "filename=all.rego,strict=true", "."]).success();
    bench
        .run(["build", "--policy", "filename=all.rego", "--policy", "filename=none.rego", "."])
        .exit(2)
        .complains("`none.rego`");
    bench.run(["build", "--policy", "filename=none.rego", "--policy", "reset=true,filename=all.rego", "."]).success();
    bench.file("Dockerfile.rego", policy(""));
    bench.run(["build", "--policy", "filename=all.rego", "."]).exit(2).complains("`./Dockerfile.rego`");
    bench.run(["build", "--policy", "reset=true,filename=all.rego", "."]).success();
    bench.run(["build", "--policy", "disabled=true", "."]).success();
    bench.run(["lock", "."]).exit(2).complains("`./Dockerfile.rego`");
    bench.run(["lock", "--policy", "disabled=true", "."]).success();
    for (value, problem) in [
        ("filename=", "`filename` is empty"),
        ("disabled=true,strict=true", "`disabled=true` goes with no other field"),
        ("color=red", "unknown field `color`: expected filename, strict, disabled, reset, trusted-root or log-level"),
        ("log-level=loud", "`log-level=loud`: expected panic, fatal, error, warn, info, debug or trace"),
        ("filename=nowhere.rego", "cannot read the policy `nowhere.rego`"),
    ] {
        bench.run(["build", "--policy", value, "."]).exit(2).complains(problem);
    }
}

/// E016: what a policy prints is shown while it is asked, as much of it as is wanted.
#[test]
fn what_a_policy_prints_is_shown_at_the_level_that_is_asked_for() {
    let (bench, registry) = with_base();
    let prints = policy(
        "allow if { input.local; print(\"directory\", input.local.name) }\nallow if { print(\"tag\", input.image.tag) }\n",
    );
    bench.file("Dockerfile.rego", prints);
    let build = |level: &str| {
        let output = bench.run(["build", "--policy", level, "."]);
        output.success();
        output
    };
    let shown = build("log-level=info");
    shown.complains("policy `./Dockerfile.rego` prints ").complains("directory context").complains("tag 1");
    assert!(!shown.stderr.contains("is told of"), "{}", shown.stderr);
    assert!(bench.run(["build", "."]).success().stderr.contains("tag 1"), "`info` is the default");
    let quiet = build("log-level=warn");
    assert!(!quiet.stderr.contains("prints"), "{}", quiet.stderr);
    let image = format!("`docker-image://{}/base:1`", registry.host());
    build("log-level=debug")
        .complains(&format!("policy `./Dockerfile.rego` is told of {image}: {{\"env\":"))
        .complains("tag 1")
        .complains(&format!("policy `./Dockerfile.rego` allows {image}"));
    // What is denied was asked about, too; `stave lock` asks as a build does.
    bench.file("Dockerfile.rego", policy("allow if { input.local; print(\"seen\", input.local.name); false }\n"));
    bench.run(["build", "."]).exit(2).complains("seen context");
    bench.run(["lock", "."]).exit(2).complains("seen context");
}

/// E016, A081: a check asks about what it looks up, which is the bases, and about what it reads.
#[test]
fn a_check_asks_policies_about_what_it_reads() {
    let (bench, registry) = with_base();
    bench.file("Dockerfile.rego", policy("allow if { input.local; print(\"seen\", input.local.name) }\n"));
    let denied = bench.run(["build", "--check", "."]);
    denied
        .exit(2)
        .complains("seen dockerfile")
        .complains("error[D127]: the policy `./Dockerfile.rego` does not allow `docker-image://");
    denied.complains("Dockerfile:3:6");
    assert!(registry.take_log().is_empty(), "a denied image is not asked for");
    bench.run(["build", "--check", "--policy", "disabled=true", "."]).success();
    bench.file("Dockerfile.rego", policy("allow if input.local\nallow if input.image.labels.none\n"));
    bench.run(["build", "--check", "."]).exit(2).complains("does not allow `docker-image://");
    bench.file("Dockerfile.rego", policy("allow if input.local\nallow if input.image.tag == \"1\"\n"));
    bench.run(["build", "--check", "."]).success();
    bench.file("Dockerfile.rego", policy("allow if input.image\n"));
    for call in ["check", "outline", "targets"] {
        bench.run(["build", "--call", call, "."]).exit(2).complains("does not allow `local://context`");
    }
    let rules = r#"{"rules":[{"action":"DENY","selector":{"identifier":"docker-image://*"}}]}"#;
    bench.file("deny.json", rules).file("Dockerfile.rego", policy("allow if input\n"));
    bench.run(["build", "--check", "--source-policy-file", "deny.json", "."]).exit(2).complains("D127");
}

/// E016, E018: an image is looked up where the policy asks what it says, and may be pinned.
#[test]
fn a_policy_reads_labels_and_pins_a_digest() {
    let (bench, registry) = with_base();
    let labelled =
        |label: &str| policy(&format!("allow if input.local\nallow if input.image.labels.kind == \"{label}\"\n"));
    let mut image = Image::new();
    image.layer(Rootfs::new().file("who", 0o644, "labelled"));
    image.config.config.labels.insert("kind".to_owned(), "good".to_owned());
    registry.put("base", "1", &image);
    bench.file("Dockerfile.rego", labelled("bad"));
    bench.run(["build", "."]).exit(2).complains("does not allow `docker-image://");
    bench.file("Dockerfile.rego", labelled("good"));
    bench.run(["build", "."]).success();
    let old = stave_oci::BlobDigest::of(&image.manifest_bytes());
    let mut image = Image::new();
    image.layer(Rootfs::new().file("who", 0o644, "newer"));
    registry.put("base", "1", &image);
    bench.file(
        "Dockerfile.rego",
        policy(&format!("allow if input.local\nallow if pin_image(input.image, \"{old}\")\n")),
    );
    bench.run(["build", "--pull", "-o", "out", "."]).success();
    assert_eq!(std::fs::read_to_string(bench.work().join("out/who")).expect("made"), "labelled");
}

/// E016: a file whose digest a policy was told is that file, whatever the server sends afterwards.
#[test]
fn a_policy_that_asks_for_the_checksum_of_a_file_pins_it() {
    let bench = Bench::new();
    let server = Server::start(|_| Response::body(200, "text/plain", "content"));
    bench.file("Dockerfile", format!("FROM scratch\nADD {}/a /\n", server.url()));
    let sum = stave_oci::BlobDigest::of(b"content");
    bench
        .file("Dockerfile.rego", policy(&format!("allow if input.local\nallow if input.http.checksum == \"{sum}\"\n")));
    bench.run(["build", "-o", "out", "."]).success();
    bench.file("Dockerfile.rego", policy("allow if input.local\nallow if input.http.checksum == \"sha256:0\"\n"));
    let output = bench.run(["build", "-o", "out", "."]);
    output.exit(2).complains("Dockerfile:2:");
    output.complains("does not allow `http://");
}

/// E018: how an image was built, as its registry has it.
#[test]
fn a_policy_is_told_the_provenance_of_an_image() {
    let (bench, registry) = with_base();
    let name = format!("{}/made:1", registry.host());
    bench.file("made.Dockerfile", format!("FROM {}/base:1\nARG A\nLABEL a=$A\n", registry.host()));
    let made = ["build", "-f", "made.Dockerfile", "-t", &name, "--push", "--build-arg", "A=b"];
    let provenance = "--provenance=mode=max,builder-id=https://example.com/ci";
    bench.run(made.iter().chain(&[provenance, "."])).success();
    let other = Bench::new().with_registry(&registry);
    other.file("Dockerfile", format!("FROM {name}\n"));
    let by = |builder: &str| {
        policy(&format!(
            "allow if input.local\nallow if {{\n input.image.hasProvenance\n\
             input.image.provenance.builderID == \"{builder}\"\n input.image.provenance.buildArgs.A == \"b\"\n}}\n"
        ))
    };
    other.file("Dockerfile.rego", by("https://example.com/ci"));
    for _ in 0..2 {
        // In its registry, and then in the store.
        other.run(["build", "-t", "app", "."]).success();
    }
    other.file("Dockerfile.rego", by("https://example.com/else"));
    other.run(["build", "."]).exit(2).complains("does not allow `docker-image://");
    other.file("Dockerfile", format!("FROM {}/base:1\n", registry.host()));
    other.file("Dockerfile.rego", policy("allow if input.local\nallow if not input.image.hasProvenance\n"));
    other.run(["build", "."]).success();
}

/// Copies a file of the signatures that `GnuPG` and OpenSSH made beside the Dockerfile.
fn with_signature(bench: &Bench, name: &str) {
    let bytes = std::fs::read_to_string(signatures().join(name)).expect("it is there");
    bench.file(name, bytes);
}

fn signatures() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../signature/test_data")
}

/// E018: a commit and a tag are verified with keys that lie beside the policy, in the repository as it was fetched.
#[test]
fn a_policy_verifies_what_was_signed_in_a_repository() {
    let bench = Bench::new();
    std::fs::create_dir(bench.path("served")).expect("a folder");
    let repository = Repository::init(&bench.path("served/r.git"));
    repository.file("a", "1\n").commit("not signed");
    let add = |kind: &str, name: &str| {
        let file = signatures().join(name);
        repository.git(&["hash-object", "-t", kind, "-w", "--", &file.display().to_string()])
    };
    repository.git(&["update-ref", "refs/heads/signed", &add("commit", "ada.pgp.commit")]);
    add("commit", "unsigned.commit");
    repository.git(&["update-ref", "refs/tags/v2", &add("tag", "ada.ssh.tag")]);
    for name in ["ada.asc", "bob.asc", "ada.pub"] {
        with_signature(&bench, name);
    }
    let server = git::smart(&bench.path("served"), |_| None);
    let build = |reference: &str, rule: &str| {
        bench.file("Dockerfile", format!("FROM scratch\nADD {}/r.git#{reference} /\n", server.url()));
        bench.file("Dockerfile.rego", policy(&format!("allow if input.local\nallow if {rule}\n")));
        bench.run(["build", "-o", "out", "."])
    };
    let by = |object: &str, key: &str| format!("verify_git_signature(input.git.{object}, \"{key}\")");
    build("signed", &by("commit", "ada.asc")).success();
    assert_eq!(std::fs::read_to_string(bench.work().join("out/a")).expect("made"), "1\n");
    build("v2", &by("tag", "ada.pub")).success();
    for (reference, object, key) in [
        ("signed", "commit", "bob.asc"),
        ("main", "commit", "ada.asc"),
        ("v2", "commit", "ada.asc"),
        ("main", "tag", "ada.pub"),
    ] {
        build(reference, &by(object, key)).exit(2).complains("Dockerfile.rego` does not allow `git://");
    }
    build("signed", &by("commit", "nobody.asc")).exit(2).complains("`verify_git_signature` cannot read `nobody.asc`");
    build("signed", &format!("not {}", by("commit", "nobody.asc"))).exit(2).complains("cannot read `nobody.asc`");
    // The same of a context: what the policy was told is what is built.
    let dockerfile = Server::start(|_| Response::body(200, "text/plain", "FROM scratch\nCOPY a /b\n"));
    let context = |reference: &str| {
        bench.file("p.rego", policy(&format!("allow if input.http\nallow if {}\n", by("commit", "ada.asc"))));
        let address = format!("{}/r.git#{reference}", server.url());
        let file = format!("{}/Dockerfile", dockerfile.url());
        bench.run(["build", "--policy", "filename=p.rego", "-f", &file, "-o", "out", &address])
    };
    context("main").exit(2).complains("the policy `p.rego` does not allow `git://");
    context("signed").success();
    assert_eq!(std::fs::read_to_string(bench.work().join("out/b")).expect("made"), "1\n");
    let source = format!("{}/r.git#signed", server.url());
    bench.file("Dockerfile.rego", policy(&format!("allow if {}\n", by("commit", "bob.asc"))));
    let output = bench.run(["policy", "eval", &source]);
    output.exit(1).complains("the commit is not verified by `bob.asc`: it is by the key ");
    let output = bench.run(["policy", "eval", "--print", "--fields", "git.commit", &source]);
    let input: serde_json::Value = serde_json::from_slice(&output.success().stdout).expect("JSON");
    assert_eq!(input["git"]["commit"]["author"]["when"], "2024-06-01T14:00:00+02:00");
    assert_eq!(input["git"]["isAnnotatedTag"], false);
}

/// E018: a file is verified as it was fetched, also where an earlier build fetched it.
#[test]
fn a_policy_verifies_a_file_that_was_signed() {
    let bench = Bench::new();
    for name in ["ada.asc", "bob.asc", "ada.file.asc"] {
        with_signature(&bench, name);
    }
    let sound = Server::start(|_| Response::body(200, "text/plain", "what is signed\n"));
    let other = Server::start(|_| Response::body(200, "text/plain", "what is not\n"));
    let build = |server: &Server, key: &str| {
        bench.file("Dockerfile", format!("FROM scratch\nADD {}/a /\n", server.url()));
        let by = format!("verify_http_pgp_signature(input.http, \"ada.file.asc\", \"{key}\")");
        bench.file("Dockerfile.rego", policy(&format!("allow if input.local\nallow if {by}\n")));
        bench.run(["build", "-o", "out", "."])
    };
    for _ in 0..2 {
        build(&sound, "ada.asc").success();
    }
    assert_eq!(std::fs::read_to_string(bench.work().join("out/a")).expect("made"), "what is signed\n");
    build(&sound, "bob.asc").exit(2).complains("does not allow `http://");
    build(&other, "ada.asc").exit(2).complains("does not allow `http://");
    let output = bench.run(["policy", "eval", &format!("{}/a", other.url())]);
    output.exit(1).complains("the file is not verified by `ada.file.asc` and `ada.asc`: it is over something else");
}

#[test]
fn a_policy_reads_nothing_outside_its_directory() {
    let bench = Bench::new();
    bench.file("secret.json", "true").file("app/Dockerfile", "FROM scratch\nCOPY a /\n").file("app/a", "a");
    std::os::unix::fs::symlink("../secret.json", bench.work().join("app/link.json")).expect("a link");
    for path in ["../secret.json", "link.json", "/etc/passwd"] {
        bench.file("app/Dockerfile.rego", policy(&format!("allow if load_json(\"{path}\")\n")));
        bench.run(["build", "app"]).exit(2).complains("`load_json` cannot read");
    }
    bench.file("app/inside.json", "true").file("app/Dockerfile.rego", policy("allow if load_json(\"inside.json\")\n"));
    bench.run(["build", "app"]).success();
}

/// E017: `policy eval`
#[test]
fn a_policy_is_asked_about_one_source() {
    let (bench, registry) = with_base();
    let base = format!("{}/base:1", registry.host());
    bench.file(
        "Dockerfile.rego",
        policy("allow if input.image.tag == \"1\"\nallow if { print(\"seen\", input.http.host); false }\n"),
    );
    bench.run(["policy", "eval", &base]).success();
    let output = bench.run(["policy", "eval", "https://example.com/x"]);
    output.exit(1).complains("the policy `Dockerfile.rego` does not allow `https://example.com/x`: not ours");
    output.complains("seen example.com");
    let output = bench.run(["policy", "eval", "--print", "--platform", "linux/arm64", "alpine:3"]);
    let input: serde_json::Value = serde_json::from_slice(&output.success().stdout).expect("JSON");
    assert_eq!(input["image"]["ref"], "docker.io/library/alpine:3");
    assert_eq!(input["image"]["platform"], "linux/arm64");
    assert!(input["image"].get("labels").is_none());
    let output = bench.run(["policy", "eval", "--print", "--fields", "image.labels", &base]);
    let input: serde_json::Value = serde_json::from_slice(&output.success().stdout).expect("JSON");
    assert!(input["image"]["labels"].is_object() && input["image"]["checksum"].is_string(), "{input}");
    let output = bench.run(["policy", "eval", "--print", "--fields", "image.colour", &base]);
    output.exit(2).complains("a policy is told of no field `image.colour`");
    bench.run(["policy", "eval", "-f", "other.Dockerfile", &base]).exit(2).complains("`other.Dockerfile.rego`");
}

/// E017: `policy test` and `policy json-schema`
#[test]
fn a_policy_is_tested_and_described() {
    let bench = Bench::new();
    bench.run(["policy", "test", "."]).exit(2).complains("`.` has no file whose name ends in `_test.rego`");
    bench.file("Dockerfile.rego", policy("allow if input.image.tag == \"1\"\n"));
    bench.file(
        "Dockerfile_test.rego",
        "package docker\ntest_one if allow with input as {\"image\": {\"tag\": \"1\"}}\n\
         test_two if allow with input as {\"image\": {\"tag\": \"2\"}}\n",
    );
    let output = bench.run(["policy", "test", "."]);
    assert_eq!(String::from_utf8_lossy(&output.exit(1).stdout), "test_one: passed\ntest_two: failed: it is not true\n");
    output.complains("1 of 2 tests failed");
    let output = bench.run(["policy", "test", "--run", "one"]);
    assert_eq!(String::from_utf8_lossy(&output.success().stdout), "test_one: passed\n");
    bench.run(["policy", "test", "--run", "three"]).exit(2).complains("has no rule `test_three...`");
    let schema: serde_json::Value =
        serde_json::from_slice(&bench.run(["policy", "json-schema"]).success().stdout).expect("JSON");
    assert_eq!(schema["properties"]["image"]["properties"]["isCanonical"]["type"], "boolean");
}
