//! Policies in Rego: what they are told, what they answer, and what is an error. E016, E017, E018

use std::collections::BTreeMap;
use std::sync::Arc;

use stave_oci::{BlobDigest, ImageConfig, Platform};
use stave_policy::{
    Decision, Environment, GitAsked, ImageSignature, Input, ReadFile, RegoPolicy, SignatureContent, TrustedRoot,
};

fn files(files: &[(&str, &str)]) -> ReadFile {
    let files: BTreeMap<String, String> =
        files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    Arc::new(move |name| files.get(name).map(|text| text.clone().into_bytes()).ok_or_else(|| "it is not there".into()))
}

fn policy(text: &str) -> RegoPolicy {
    RegoPolicy::parse("p.rego", text, &files(&[])).expect("a policy")
}

fn platform() -> Platform {
    "linux/amd64".parse().expect("a platform")
}

fn image(name: &str) -> Input {
    Input::image(&name.parse().expect("a name"), &platform())
}

fn problem(text: &str, input: &Input) -> String {
    policy(text).decide(input).expect_err("it has no answer").to_string()
}

/// E016
#[test]
fn the_decision_allows_or_denies_in_the_policys_own_words() {
    let policy = policy(
        r#"package docker
default allow := false
allow if input.image.repo == "alpine"
allow if input.local.name == "context"
deny_msg contains msg if {
    not allow
    msg := sprintf("%s is none of ours", [input.image.ref])
}
decision := {"allow": allow, "deny_msg": deny_msg}
"#,
    );
    let decide = |input: &Input| policy.decide(input).expect("an answer");
    let allowed = Decision { allow: true, messages: Vec::new(), pin: None, printed: Vec::new() };
    assert_eq!(decide(&image("alpine:3")), allowed);
    assert_eq!(decide(&Input::local("context")), allowed);
    let denied = decide(&image("busybox"));
    assert_eq!(denied.messages, ["docker.io/library/busybox:latest is none of ours"]);
    assert!(!denied.allow);
    assert!(!decide(&Input::local("dockerfile")).allow);
}

/// E016: what an image says itself is asked for only where the policy speaks of it.
#[test]
fn a_policy_that_asks_what_an_image_says_is_told_it() {
    let name_only = policy("package docker\ndecision := {\"allow\": input.image.host == \"h\"}\n");
    assert!(!name_only.wants_details(&image("h/a")));
    let labelled = policy(
        "package docker\nis_ours(image) if image.labels.vendor == \"us\"\ndefault allow := false\n\
         allow if is_ours(input.image)\ndecision := {\"allow\": allow}\n",
    );
    assert!(labelled.wants_details(&image("a")));
    assert!(!labelled.wants_details(&Input::local("context")));
    let mut config = ImageConfig::default();
    let known = |config: &ImageConfig| image("a").with_image(config, None);
    assert!(!labelled.wants_details(&known(&config)));
    assert!(!labelled.decide(&known(&config)).expect("an answer").allow);
    config.config.labels.insert("vendor".to_owned(), "us".to_owned());
    assert!(labelled.decide(&known(&config)).expect("an answer").allow);
}

#[test]
fn files_repositories_and_the_command_line_are_told_too() {
    let policy = policy(
        r#"package docker
default allow := false
allow if { input.http.host == "h"; input.http.query.v == ["1"]; not input.http.hasAuth }
allow if { input.git.isCommitRef; input.git.host == "g" }
allow if input.env.args.TRUST == "all"
decision := {"allow": allow}
"#,
    );
    let allows = |input: &Input| policy.decide(input).expect("an answer").allow;
    assert!(allows(&Input::http("https://h/x?v=1", false, None)));
    assert!(!allows(&Input::http("https://h/x?v=1", true, None)));
    let commit = "0a".repeat(20);
    let git = |reference| Input::git(&GitAsked { url: "https://g/a.git", reference, ..GitAsked::default() });
    assert!(allows(&git(Some(&commit))));
    assert!(!allows(&git(Some("main"))));
    let args = BTreeMap::from([("TRUST".to_owned(), "all".to_owned())]);
    assert!(allows(&git(None).within(&Environment { args, ..Environment::default() })));
}

/// E018
#[test]
fn functions_read_files_and_pin_images() {
    let digest = BlobDigest::of(b"x");
    let json = format!(r#"{{"docker.io/library/alpine:3": "{digest}"}}"#);
    let read = files(&[
        ("pins.json", &json),
        ("lib/names.rego", "package lib.names\nours := {\"docker.io/library/alpine\"}\n"),
    ]);
    let text = r#"package docker
import data.lib.names
default allow := false
allow if {
    input.image.fullRepo in names.ours
    pin_image(input.image, load_json("pins.json")[input.image.ref])
}
decision := {"allow": allow}
"#;
    let policy = RegoPolicy::parse("p.rego", text, &read).expect("a policy");
    let decision = policy.decide(&image("alpine:3")).expect("an answer");
    assert_eq!((decision.allow, decision.pin), (true, Some(digest)));
    let other = policy.decide(&image("busybox")).expect("an answer");
    assert_eq!((other.allow, other.pin), (false, None));
}

#[test]
fn what_is_no_policy_is_an_error() {
    let parse =
        |text: &str, read: &ReadFile| RegoPolicy::parse("p.rego", text, read).expect_err("no policy").to_string();
    let error = parse("package docker\nallow if {\n", &files(&[]));
    assert!(error.starts_with("the policy `p.rego` is not valid Rego: "), "{error}");
    assert!(error.contains("p.rego:"), "{error}");
    assert_eq!(
        parse("package docker\nimport data.lib\n", &files(&[])),
        "the policy `p.rego` imports `data.lib`, and `lib.rego` cannot be read: it is not there"
    );
    assert_eq!(
        parse("package docker\nimport data.lib\n", &files(&[("lib.rego", "package other\n")])),
        "`lib.rego` has the package `other`, expected `lib`"
    );
}

#[test]
fn no_answer_is_an_error_and_never_a_guess() {
    let any = Input::local("context");
    assert_eq!(
        problem("package other\ndecision := {\"allow\": true}\n", &any),
        "the policy `p.rego` has the package `other`, expected `docker`"
    );
    assert_eq!(
        problem("package docker\ndecision := true\n", &any),
        "the policy `p.rego` has no `decision` for this source, expected an object with `allow`"
    );
    assert_eq!(
        problem("package docker\ndecision := {\"allow\": \"yes\"}\n", &any),
        "the policy `p.rego` has `allow: \"yes\"`, expected true or false"
    );
    let nowhere = problem("package docker\ndecision := {\"allow\": true} if load_json(\"x\")\n", &any);
    assert!(nowhere.contains("`load_json` cannot read `x`: it is not there"), "{nowhere}");
    let unverified = problem("package docker\ndecision := {\"allow\": github_attestation(input, \"k\")}\n", &any);
    assert!(
        unverified.contains("`github_attestation` is not evaluated: stave does not verify what it asks for"),
        "{unverified}"
    );
    assert_eq!(
        problem(
            "package docker\nallow if count(input.image.signatures) == 0\ndecision := {\"allow\": allow}\n",
            &image("a")
        ),
        "line 2 of the policy `p.rego` asks for `signatures` of an image, and no `trusted-root` is named to verify them \
         with"
    );
    let function = problem("package docker\ndecision := {\"allow\": no_such_function(1)}\n", &any);
    assert!(function.contains("no_such_function"), "{function}");
}

const SIGNED: &[u8] = include_bytes!("../../signature/test_data/ada.pgp.commit");
const TAG: &[u8] = include_bytes!("../../signature/test_data/ada.ssh.tag");
const UNSIGNED: &[u8] = include_bytes!("../../signature/test_data/unsigned.commit");

fn with_keys() -> ReadFile {
    files(&[
        ("ada.asc", include_str!("../../signature/test_data/ada.asc")),
        ("bob.asc", include_str!("../../signature/test_data/bob.asc")),
        ("ada.pub", include_str!("../../signature/test_data/ada.pub")),
        ("none", "not a key"),
    ])
}

fn repository(commit: &[u8], tag: Option<&[u8]>) -> Input {
    let digest = "0a".repeat(20);
    let asked =
        GitAsked { url: "https://g/a.git", commit: Some(&digest), checksum: Some(&digest), ..GitAsked::default() };
    Input::git(&asked).with_git_objects(commit, tag.map(|tag| ("0b", tag))).expect("objects")
}

/// E018: commits and tags are verified with keys that lie beside the policy.
#[test]
fn a_policy_verifies_commits_and_tags() {
    let decide = |rule: &str, input: &Input| {
        let text = format!(
            "package docker\ndefault allow := false\nallow if {{ {rule} }}\ndecision := {{\"allow\": allow}}\n"
        );
        RegoPolicy::parse("p.rego", &text, &with_keys()).expect("a policy").decide(input)
    };
    let allows = |rule: &str, input: &Input| decide(rule, input).expect("an answer").allow;
    let (signed, unsigned) = (repository(SIGNED, None), repository(UNSIGNED, None));
    let by_ada = "verify_git_signature(input.git.commit, \"ada.asc\")";
    assert!(allows(by_ada, &signed));
    assert!(!allows(by_ada, &unsigned));
    assert!(!allows("verify_git_signature(input.git.commit, \"bob.asc\")", &signed));
    let tagged = repository(UNSIGNED, Some(TAG));
    assert!(allows("verify_git_signature(input.git.tag, \"ada.pub\")", &tagged));
    assert!(allows("input.git.isAnnotatedTag; input.git.tag.tag == \"v2\"; input.git.checksum == \"0b\"", &tagged));
    assert!(allows("startswith(input.git.tag.sshSignature.pubKey, \"SHA256:\")", &tagged));
    assert!(allows("input.git.commit.author.email == \"ada@example.com\"; not input.git.isAnnotatedTag", &signed));
    assert!(allows("input.git.commit.pgpSignature.version == 4; not input.git.commit.sshSignature", &signed));
    // A key that signed something else signs nothing by being named.
    let forged = "verify_git_signature(object.union(input.git.commit, {\"message\": \"x\"}), \"ada.asc\")";
    for (rule, problem) in [
        (
            forged,
            "`verify_git_signature` got neither `input.git.commit` nor `input.git.tag` of the source that is asked about",
        ),
        (
            "verify_git_signature(input.git.commit, \"nowhere\")",
            "`verify_git_signature` cannot read `nowhere`: it is not there",
        ),
        (
            "verify_git_signature(input.git.commit, \"none\")",
            "`verify_git_signature` cannot verify the commit with `none`: the keys cannot be used: line 1: \
             expected `KIND KEY` or `NAME KIND KEY`, without options",
        ),
    ] {
        // Neither a rule nor its negation has an answer.
        for rule in [rule.to_owned(), format!("not {rule}")] {
            let error = decide(&rule, &signed).expect_err("it has no answer").to_string();
            assert!(error.contains(problem), "{error}");
        }
    }
    let why = decide("verify_git_signature(input.git.commit, \"bob.asc\")", &signed).expect("an answer").printed;
    assert!(why[0].starts_with("the commit is not verified by `bob.asc`: it is by the key "), "{why:?}");
}

/// E018: a file is verified with a signature and keys that lie beside the policy.
#[test]
fn a_policy_verifies_files() {
    let read = files(&[
        ("ada.asc", include_str!("../../signature/test_data/ada.asc")),
        ("bob.asc", include_str!("../../signature/test_data/bob.asc")),
        ("by-ada", include_str!("../../signature/test_data/ada.file.asc")),
        ("weak", include_str!("../../signature/test_data/sha1.file.asc")),
    ]);
    let file = |content: &'static str| {
        let input = Input::http("https://h/x", false, Some(BlobDigest::of(content.as_bytes())));
        input.with_content(Arc::new(move || Ok(Box::new(content.as_bytes()))))
    };
    let decide = |rule: &str, input: &Input| {
        let text =
            format!("package docker\ndefault allow := false\nallow if {rule}\ndecision := {{\"allow\": allow}}\n");
        let policy = RegoPolicy::parse("p.rego", &text, &read).expect("a policy");
        assert!(policy.wants_content(&Input::http("https://h/x", false, None)));
        assert!(!policy.wants_content(&image("a")) && !policy.wants_content(input));
        policy.decide(input)
    };
    let by = |signature: &str, key: &str| format!("verify_http_pgp_signature(input.http, \"{signature}\", \"{key}\")");
    let sound = file("what is signed\n");
    assert!(decide(&by("by-ada", "ada.asc"), &sound).expect("an answer").allow);
    let wrong = decide(&by("by-ada", "ada.asc"), &file("what is signe\n")).expect("an answer");
    assert!(!wrong.allow);
    assert_eq!(wrong.printed, ["the file is not verified by `by-ada` and `ada.asc`: it is over something else"]);
    assert!(!decide(&by("by-ada", "bob.asc"), &sound).expect("an answer").allow);
    for (signature, key, problem) in [
        (
            "weak",
            "bob.asc",
            "cannot verify `weak` with `bob.asc`: the OpenPGP signature is not verified: it was made with SHA1, which is too weak",
        ),
        ("ada.asc", "ada.asc", "cannot verify `ada.asc` with `ada.asc`: the signature is none of OpenPGP: "),
        ("nowhere", "ada.asc", "`verify_http_pgp_signature` cannot read `nowhere`: it is not there"),
    ] {
        for rule in [by(signature, key), format!("not {}", by(signature, key))] {
            let error = decide(&rule, &sound).expect_err("it has no answer").to_string();
            assert!(error.contains(problem), "{error}");
        }
    }
}

fn found(name: &str, bundle: &[u8]) -> ImageSignature {
    let manifest = include_bytes!("../../signature/test_data/sigstore/image.manifest.json");
    let sha256 = *BlobDigest::of(manifest).as_bytes();
    ImageSignature { place: name.to_owned(), sha256, content: SignatureContent::Bundle(bundle.to_vec()) }
}

macro_rules! bundle {
    ($name:literal) => {
        found($name, include_bytes!(concat!("../../signature/test_data/sigstore/", $name)))
    };
}

fn trusted_root() -> TrustedRoot {
    let root = include_bytes!("../../signature/test_data/sigstore/trusted_root.json");
    TrustedRoot::parse(root).expect("a root of trust")
}

fn deciding(rule: &str) -> String {
    format!("package docker\ndefault allow := false\nallow if {rule}\ndecision := {{\"allow\": allow}}\n")
}

/// E018: who signed an image is told as a root of trust vouches for it, and what it does not vouch for is not told.
#[test]
fn a_policy_is_told_who_signed_an_image() {
    let all = vec![
        bundle!("signed.json"),
        bundle!("attested.json"),
        bundle!("other-authority.json"),
        bundle!("expired.json"),
    ];
    let signed = image("example.com/base").with_signatures(all, Some(&trusted_root())).expect("it can be found out");
    let told = signed.json();
    let [signature] = told["image"]["signatures"].as_array().expect("signatures").as_slice() else { panic!("{told}") };
    assert_eq!(signature["signer"]["sourceRepositoryURI"], "https://github.com/example/app");
    assert_eq!(signature["signer"]["certificateIssuer"], "CN=made,O=example.com");
    assert_eq!((&signature["type"], &signature["kind"]), (&"bundle-v0.3".into(), &"untrusted".into()));
    assert_eq!(
        signature["timestamps"][0],
        serde_json::json!({ "type": "Tlog", "uri": "https://rekor.example.com", "timestamp": "2024-06-01T12:00:05Z" })
    );
    let attested = &told["image"]["attestations"][0];
    assert_eq!(attested["predicateType"], "https://slsa.dev/provenance/v1");
    assert_eq!(attested["predicate"]["runDetails"]["builder"]["id"], "b");
    let rule =
        "some one in input.image.signatures; one.signer.sourceRepositoryURI == \"https://github.com/example/app\"";
    let decision = policy(&deciding(&format!("{{ {rule} }}"))).decide(&signed).expect("a decision");
    assert!(decision.allow);
    let [authority, expired] = decision.printed.as_slice() else { panic!("{:?}", decision.printed) };
    let not = "shows no signer of the image: nobody of the root of trust vouches for its certificate";
    assert!(authority.starts_with(&format!("other-authority.json {not}")), "{authority}");
    assert!(expired.starts_with(&format!("expired.json {not}")), "{expired}");
    let mallory = rule.replace("example/app", "mallory/app");
    assert!(!policy(&deciding(&format!("{{ {mallory} }}"))).decide(&signed).expect("a decision").allow);
}

/// E018: what is not known is not told as not being there.
#[test]
fn a_policy_never_decides_by_not_knowing_who_signed() {
    for rule in ["not input.image.signatures", "count(input.image.attestations) == 0"] {
        let asking = policy(&deciding(rule));
        assert!(asking.wants_signatures(&image("a")) && asking.wants_details(&image("a")));
        assert!(!asking.wants_signatures(&Input::local("context")));
        let rootless = image("a").with_signatures(Vec::new(), None).expect("nothing is asked");
        assert!(!asking.wants_signatures(&rootless));
        let problem = asking.decide(&rootless).expect_err("nobody is trusted").to_string();
        assert!(problem.contains("no `trusted-root` is named"), "{problem}");
    }
    let unreadable = image("a").with_signatures(vec![found("x", b"{")], Some(&trusted_root()));
    assert_eq!(unreadable.expect_err("it is no bundle").to_string(), "the signature x of the image");
    assert_eq!(
        problem(&deciding("input.image.signatures[0].isDHI"), &image("a")),
        "line 3 of the policy `p.rego` asks for `isDHI` of an image, which stave does not verify"
    );
}

/// E018: an image is verified with plain keys that lie beside the policy, without any root of trust.
#[test]
fn a_policy_verifies_images_with_plain_keys() {
    let keys = files(&[
        ("p256.pub", include_str!("../../signature/test_data/sigstore/p256.pub")),
        ("rsa.pub", include_str!("../../signature/test_data/sigstore/rsa.pub")),
        ("none", "not a key"),
    ]);
    let asking = |path: &str| {
        let text = deciding(&format!("verify_image_signature(input.image, \"{path}\")"));
        RegoPolicy::parse("p.rego", &text, &keys).expect("a policy")
    };
    let policy = asking("p256.pub");
    assert!(policy.wants_signatures(&image("a")));
    let unfetched = policy.decide(&image("a")).expect_err("nothing was looked for").to_string();
    assert!(unfetched.contains("`verify_image_signature` did not get `input.image` of the source"), "{unfetched}");
    let signed = image("a").with_signatures(vec![bundle!("p256.bundle.json")], None).expect("nothing is asked");
    assert!(policy.decide(&signed).expect("a decision").allow);
    let by_other = asking("rsa.pub").decide(&signed).expect("a decision");
    assert!(!by_other.allow);
    assert_eq!(
        by_other.printed,
        ["the image is not verified by `rsa.pub`: p256.bundle.json: it is by none of the keys, or over something else"]
    );
    let keyless = asking("none").decide(&signed).expect_err("it is no key").to_string();
    let problem =
        "cannot verify the image with `none`: the keys cannot be used: there is no `-----BEGIN PUBLIC KEY-----`";
    assert!(keyless.contains(problem), "{keyless}");
}

/// E018: what Docker's builder signs, by buildx's words. What a signature calls itself is not believed.
#[test]
fn a_policy_asks_for_what_dockers_builder_signed() {
    let rule = "docker_github_builder(input.image, \"example/app\")";
    let asking = policy(&deciding(rule));
    assert!(asking.wants_signatures(&image("a")) && asking.wants_provenance(&image("a")));
    let problem = asking.decide(&image("a")).expect_err("nobody is trusted").to_string();
    assert!(problem.contains("asks for `docker_github_builder` of an image, and no `trusted-root`"), "{problem}");
    let signed = image("a").with_signatures(vec![bundle!("signed.json")], Some(&trusted_root())).expect("it is known");
    let problem = asking.decide(&signed).expect_err("provenance was not looked for").to_string();
    assert!(problem.contains("needs an image of which `hasProvenance` and `signatures` are told"), "{problem}");
    let signed = signed.with_provenance(Some(("https://slsa.dev/provenance/v1", &serde_json::Value::Null)));
    assert!(!asking.decide(&signed).expect("a decision").allow, "another authority");
    let tests = "package docker\n\
        signer := {\"certificateIssuer\": \"CN=sigstore-intermediate,O=sigstore.dev\", \
        \"issuer\": \"https://token.actions.githubusercontent.com\", \"runnerEnvironment\": \"github-hosted\", \
        \"sourceRepositoryURI\": \"https://github.com/example/app\", \"sourceRepositoryRef\": \"refs/tags/v1\", \
        \"buildSignerURI\": workflow, \"subjectAlternativeName\": workflow}\n\
        workflow := \"https://github.com/docker/github-builder/.github/workflows/build.yml@refs/heads/main\"\n\
        sig := {\"kind\": \"docker-github-builder\", \"type\": \"bundle-v0.3\", \"timestamps\": [1], \"signer\": signer}\n\
        img := {\"hasProvenance\": true, \"signatures\": [sig]}\n\
        test_one if docker_github_builder_signature(sig, \"example/app\")\n\
        test_two if docker_github_builder_tag(img, \"example/app\", \"v1\")\n\
        test_three if not docker_github_builder_tag(img, \"example/app\", \"v2\")\n\
        test_four if allow with input as {\"image\": img}\n";
    let outcomes = asking.test("p_test.rego", tests, "").expect("tests");
    assert!(outcomes.len() == 4 && outcomes.iter().all(|outcome| outcome.passed), "{outcomes:?}");
}

/// E018: what a commit says is asked for only where the policy speaks of it.
#[test]
fn a_policy_that_asks_what_a_commit_says_is_told_it() {
    let known = Input::git(&GitAsked { url: "https://g/a.git", commit: Some("0a"), ..GitAsked::default() });
    let wants = |rule: &str| {
        policy(&format!("package docker\nallow if {rule}\ndecision := {{\"allow\": allow}}\n")).wants_details(&known)
    };
    assert!(wants("input.git.commit.message == \"x\""));
    assert!(wants("input.git.tag"));
    assert!(!wants("input.image.tag == \"1\""));
    assert!(!wants("input.git.tagName == \"v1\""));
}

/// E017: `policy test`
#[test]
fn tests_of_a_policy_are_evaluated_one_by_one() {
    let policy = policy(
        "package docker\ndefault allow := false\nallow if input.image.tag == \"1\"\ndecision := {\"allow\": allow}\n",
    );
    let text = r#"package docker
test_one_is_allowed if allow with input as {"image": {"tag": "1"}}
test_two_is_allowed if allow with input as {"image": {"tag": "2"}}
test_fails if load_json("nowhere")
"#;
    let outcomes = policy.test("p_test.rego", text, "").expect("a file of tests");
    let passed: Vec<(&str, bool)> = outcomes.iter().map(|test| (&*test.name, test.passed)).collect();
    assert_eq!(passed, [("test_one_is_allowed", true), ("test_two_is_allowed", false), ("test_fails", false)]);
    assert!(outcomes[2].error.as_ref().is_some_and(|error| error.contains("it is not there")), "{outcomes:?}");
    assert_eq!(policy.test("p_test.rego", text, "two").expect("a file of tests").len(), 1);
}
