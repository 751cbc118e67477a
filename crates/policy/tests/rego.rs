//! Policies in Rego: what they are told, what they answer, and what is an error. E016, E017, E018

use std::collections::BTreeMap;
use std::sync::Arc;

use stave_oci::{BlobDigest, ImageConfig, Platform};
use stave_policy::{Decision, Environment, GitAsked, Input, ReadFile, RegoPolicy};

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
        "line 2 of the policy `p.rego` asks for `signatures` of an image, which stave does not verify"
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
