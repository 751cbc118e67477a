//! `build --check` and `build --call`: what they print, for people and for programs, and how they exit. The pages of
//! `docs/checks`, whose examples are run. With `BLESS=1` the pages and the index are written anew.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use stave_dockerfile::check::rules::{RULES, Rule};
use stave_testkit::{Bench, Image, LoopbackRegistry};

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/checks")
}

/// A bench whose registry has an image for each of two platforms, and with this Dockerfile.
fn bench(dockerfile: &str) -> (Bench, LoopbackRegistry) {
    let registry = LoopbackRegistry::start();
    for (name, architecture) in [("example/for-arm64", "arm64"), ("example/for-this", "amd64")] {
        let mut image = Image::new();
        architecture.clone_into(&mut image.config.architecture);
        image.config.config.env.push("FROM_BASE=1".to_owned());
        registry.put(name, "latest", &image);
    }
    let bench = Bench::new().with_registry(&registry);
    bench.file("Dockerfile", dockerfile);
    (bench, registry)
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// The location of an instruction, as BuildKit gives it.
fn at(first: usize, last: usize) -> Value {
    json!({ "ranges": [{ "start": { "line": first }, "end": { "line": last } }] })
}

/// A page, cut at its fences: what is between them is an example.
struct Page {
    wrong: String,
    shown: String,
    right: String,
    ignore: Option<String>,
}

impl Page {
    fn read(text: &str) -> Self {
        let (before, after) = text.split_once("\n## Right\n").expect("a page has a right example");
        let (_, wrong) = before.split_once("\n## Wrong\n").expect("a page has a wrong example");
        let mut texts = fences(wrong, "text");
        let shown = texts.pop().expect("a page shows the message");
        Self { wrong: one(wrong), shown, right: one(after), ignore: texts.pop() }
    }
}

fn one(text: &str) -> String {
    let mut found = fences(text, "dockerfile");
    assert_eq!(found.len(), 1, "{text}");
    found.remove(0)
}

fn fences(text: &str, language: &str) -> Vec<String> {
    let start = format!("```{language}\n");
    text.split(start.as_str()).skip(1).map(|rest| rest.split("```").next().unwrap_or_default().to_owned()).collect()
}

/// Returns what is found in an example, without what frames it.
fn findings(dockerfile: &str, ignore: Option<&str>) -> String {
    let (bench, _registry) = bench(dockerfile);
    if let Some(ignore) = ignore {
        bench.file(".dockerignore", ignore);
    }
    let output = bench.run(["build", "--check", "--platform=linux/amd64", "--build-arg=TAG=latest", "."]);
    assert_eq!(output.stderr, "", "{dockerfile}");
    let text = output.out();
    let (head, rest) = text.split_once('\n').expect("a line");
    assert_eq!(output.code, i32::from(!rest.is_empty()), "{text}");
    assert!(head.starts_with("Check complete, "), "{text}");
    rest.trim_start().to_owned()
}

/// E021 to E042.
#[test]
fn every_check_has_a_page_whose_examples_are_true() {
    let bless = std::env::var_os("BLESS").is_some();
    for rule in RULES {
        let path = docs().join(rule.page).with_extension("md");
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let head = format!("# {}\n\n{}\n\n## Why\n", rule.name, rule.summary);
        assert!(text.starts_with(&head), "{} does not begin with\n{head}", path.display());
        let page = Page::read(&text);
        let found = findings(&page.wrong, page.ignore.as_deref());
        let codes: Vec<&str> = found.lines().filter(|line| line.starts_with("warning[")).collect();
        let own = format!("warning[{}]: ", rule.name);
        assert!(codes.iter().all(|code| code.starts_with(&own)) && !codes.is_empty(), "{}: {codes:?}", rule.name);
        if bless {
            let old = format!("```text\n{}```\n\n## Right", page.shown);
            fs::write(&path, text.replace(&old, &format!("```text\n{found}```\n\n## Right"))).expect("writable pages");
        } else {
            assert_eq!(page.shown, found, "`{}` is out of date: run this test with BLESS=1", path.display());
        }
        let nothing = findings(&page.right, page.ignore.as_deref());
        assert_eq!(nothing, "", "the right example of {} is not right", rule.name);
    }
}

#[test]
fn the_index_lists_every_check_and_no_other_page_is_there() {
    let row = |rule: &Rule| {
        let remark = if rule.experimental { " Made only where it is asked for." } else { "" };
        format!("| [{}]({}.md) | {}{remark} |\n", rule.name, rule.page, rule.summary)
    };
    let rows: String = RULES.iter().map(row).collect();
    let path = docs().join("README.md");
    let text = fs::read_to_string(&path).expect("the index is there");
    let start = "| check | what it asks for |\n| --- | --- |\n";
    let (before, after) = text.split_once(start).expect("the index has a table");
    let after = after.trim_start_matches(|char| char != '\n').split_once("\n\n").map_or("", |(_, after)| after);
    let expected = format!("{before}{start}{rows}\n{after}");
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &expected).expect("a writable index");
    } else {
        assert_eq!(text, expected, "the index is out of date: run this test with BLESS=1");
    }
    for entry in fs::read_dir(docs()).expect("the pages are there") {
        let name = entry.expect("an entry").file_name().display().to_string();
        let known = name == "README.md" || RULES.iter().any(|rule| name == format!("{}.md", rule.page));
        assert!(known, "`{name}` is of no check");
    }
}

/// G014, B029, B030, E043.
#[test]
fn findings_fail_a_check_unless_the_status_is_ignored() {
    let (bench, _registry) = bench("FROM scratch\nCMD x\n");
    let output = bench.run(["build", "--check", "."]);
    let expected = "\
Check complete, 1 warning has been found!

warning[JSONArgsRecommended]: this `CMD` is run by a shell, which keeps signals from the program
 --> Dockerfile:2:5
  |
2 | CMD x
  |     ^
hint: Write `CMD [\"x\"]`; if a shell is meant, choose it with `SHELL`.
see: https://github.com/stave-build/stave/blob/main/docs/checks/json-args-recommended.md
";
    assert_eq!((output.exit(1).out().as_str(), output.stderr.as_str()), (expected, ""));
    assert_eq!(bench.run(["build", "--call=check,ignorestatus", "."]).success().out(), expected);
    assert_eq!(bench.run(["build", "--call", "lint", "."]).exit(1).out(), expected);
    bench.file("Dockerfile", "FROM scratch\nCMD [\"x\"]\n");
    let output = bench.run(["build", "--check", "."]);
    assert_eq!(output.success().out(), "Check complete, no warnings found.\n");
    assert_eq!(output.stderr, "");
    assert_eq!(bench.run(["images", "-q", "-a"]).success().out(), "", "a check makes no image");
}

#[test]
fn a_mistake_is_shown_beside_the_findings_and_is_bad_usage() {
    let (bench, _registry) = bench("FROM scratch AS One\nEXPOSE 80/x\n");
    let output = bench.run(["build", "--check", "."]);
    assert!(output.exit(2).out().contains("warning[StageNameCasing]"), "{}", output.out());
    output.complains("error[D111]");
    let output = bench.run(["build", "--call=check,format=json", "."]);
    let answer = parsed(&output.exit(2).out());
    assert_eq!(answer["warnings"][0]["ruleName"], "StageNameCasing");
    let message = "`80/x` is no port: `x` is none of `tcp`, `udp` and `sctp`";
    assert_eq!(answer["buildError"], json!({ "message": message, "location": at(2, 2) }));
    bench.run(["build", "--check", "--target=nothing", "."]).exit(2).complains("error[D101]");
    bench.run(["build", "--call=outline", "--target=nothing", "."]).exit(2).complains("error[D101]");
    bench.run(["build", "--check", "--call=outline", "."]).exit(2).complains("asks for something else");
    bench.run(["build", "--call=chek", "."]).exit(2).complains("no method is named `chek`");
}

/// E043, the form of `docker buildx build --call=check,format=json`.
#[test]
fn findings_as_json_have_buildkits_form() {
    let text = "FROM scratch\nENV A=1 \\\n  B=$C\n";
    let (bench, _registry) = bench(text);
    let output = bench.run(["build", "--call=check,format=json", "."]);
    let expected = json!({
        "warnings": [{
            "ruleName": "UndefinedVar",
            "description": "Every variable is defined before it is used.",
            "url": "https://github.com/stave-build/stave/blob/main/docs/checks/undefined-var.md",
            "detail": "variable `C` is not defined",
            "location": at(2, 3),
        }],
        "sources": [{ "filename": "Dockerfile", "data": STANDARD.encode(text), "language": "Dockerfile" }],
    });
    assert_eq!(parsed(&output.exit(1).out()), expected);
    bench.file("Dockerfile", "FROM scratch\n");
    let answer = parsed(&bench.run(["build", "--call=check,format=json", "."]).success().out());
    assert_eq!(answer["warnings"], json!([]));
}

const OUTLINED: &str = "\
# VERSION is what is built
ARG VERSION=1.0 UNUSED
# base is below all
FROM scratch$NOTHING AS base
ARG VERSION
ARG TARGETARCH
# build makes it
FROM base AS build
ARG MODE
ENV LATER=$VERSION-x
ARG NAME=$LATER
RUN --mount=type=secret,id=token,required=true --mount=type=ssh \\
    --mount=type=cache,target=/c --mount=type=secret,target=/run/secrets/other x
# other stages are not needed
FROM scratch AS other
ARG OTHER
# app is the result
FROM scratch AS App
COPY --from=build /x /
";

/// G012, A030.
#[test]
fn an_outline_lists_what_the_target_takes() {
    let (bench, _registry) = bench(OUTLINED);
    let output = bench.run(["build", "--call=outline", "."]);
    let expected = "\
TARGET:      app
DESCRIPTION: is the result

BUILD ARG   VALUE     DESCRIPTION
VERSION     1.0       is what is built
MODE
NAME        1.0-x

SECRET    REQUIRED
other
token     true

SSH       REQUIRED
default

CACHE
/c
";
    let lines: String = output.success().out().lines().map(|line| line.trim_end().to_owned() + "\n").collect();
    assert_eq!(lines, expected);
    let args = ["build", "--call=outline,format=json", "--build-arg=MODE=fast", "--target=build", "."];
    let expected = json!({
        "name": "build",
        "description": "makes it",
        "args": [
            { "name": "VERSION", "description": "is what is built", "value": "1.0", "location": at(2, 2) },
            { "name": "MODE", "value": "fast", "location": at(9, 9) },
            { "name": "NAME", "value": "1.0-x", "location": at(11, 11) },
        ],
        "secrets": [
            { "name": "other", "location": at(12, 13) },
            { "name": "token", "required": true, "location": at(12, 13) },
        ],
        "ssh": [{ "name": "default", "location": at(12, 13) }],
        "cache": [{ "ID": "/c", "location": at(12, 13) }],
        "sources": [STANDARD.encode(OUTLINED)],
    });
    assert_eq!(parsed(&bench.run(args).success().out()), expected);
}

/// G013, A030.
#[test]
fn targets_are_the_stages_of_the_file() {
    let text =
        "# one is first\nFROM --platform=$BUILDPLATFORM scratch AS One\nFROM ONE\nFROM example/for-this AS last\n";
    let (bench, registry) = bench(text);
    let lines: String = bench
        .run(["build", "--call=targets", "."])
        .success()
        .out()
        .lines()
        .map(|line| line.trim_end().to_owned() + "\n")
        .collect();
    assert_eq!(lines, "TARGET           DESCRIPTION\none              is first\n-\nlast (default)\n");
    let expected = json!({
        "targets": [
            {
                "name": "one", "description": "is first", "base": "scratch", "platform": "$BUILDPLATFORM",
                "location": at(2, 2),
            },
            { "base": "ONE", "location": at(3, 3) },
            { "name": "last", "default": true, "base": "example/for-this", "location": at(4, 4) },
        ],
        "sources": [STANDARD.encode(text)],
    });
    let output = bench.run(["build", "--call=targets,format=json", "."]);
    assert_eq!(parsed(&output.success().out()), expected);
    assert_eq!(registry.take_log(), [""; 0], "nothing is fetched for it");
}

/// G015.
#[test]
fn the_methods_can_be_asked_for() {
    let bench = Bench::new();
    let answer = parsed(&bench.run(["build", "--call=subrequests.describe,format=json", "."]).success().out());
    let names: Vec<&str> =
        answer.as_array().expect("a list").iter().filter_map(|method| method["name"].as_str()).collect();
    assert_eq!(names, ["frontend.outline", "frontend.targets", "frontend.lint", "frontend.subrequests.describe"]);
}

#[test]
fn of_a_base_only_the_configuration_is_fetched_and_one_that_is_not_there_is_done_without() {
    let text = "FROM example/for-this\nENV A=$FROM_BASE B=$NOWHERE\nFROM example/gone\nENV A=$FROM_BASE\nCMD x\n";
    let (bench, registry) = bench(text);
    let output = bench.run(["build", "--check", "--platform=linux/amd64", "."]);
    let found = output.exit(1).out();
    assert!(found.contains("1 warning") && found.contains("variable `NOWHERE` is not defined"), "{found}");
    output.complains("note: image `example/gone` cannot be had, so what depends on it is not checked: ");
    let log = registry.take_log();
    assert_eq!(log.iter().filter(|line| line.contains("/blobs/")).count(), 1, "{log:?}");
}

/// A stage is checked for each platform, and a finding is told once.
#[test]
fn every_platform_is_checked_and_what_is_found_for_several_is_told_once() {
    let text = "ARG TARGETARCH\nFROM example/for-$TARGETARCH\nENV A=$FROM_BASE B=$NOWHERE C=$ONLY_ONE\nCMD [\"x\"]\n";
    let (bench, registry) = bench(text);
    for architecture in ["arm64", "amd64"] {
        let mut image = Image::new();
        architecture.clone_into(&mut image.config.architecture);
        let own: &[&str] = if architecture == "amd64" { &["FROM_BASE=1", "ONLY_ONE=1"] } else { &["FROM_BASE=1"] };
        image.config.config.env.extend(own.iter().map(|text| (*text).to_owned()));
        registry.put(&format!("example/for-{architecture}"), "latest", &image);
    }
    let check = |platforms: &str| {
        let output = bench.run(["build", "--call=check,format=json", "--platform", platforms, "."]);
        let answer = parsed(&output.exit(1).out());
        let details = answer["warnings"].as_array().expect("a list").iter();
        details.map(|warning| warning["detail"].as_str().expect("text").to_owned()).collect::<Vec<_>>()
    };
    let (nowhere, only) = ("variable `NOWHERE` is not defined", "variable `ONLY_ONE` is not defined");
    assert_eq!(check("linux/amd64"), [nowhere]);
    assert_eq!(check("linux/amd64,linux/arm64"), [nowhere, only]);
    assert_eq!(check("linux/arm64,linux/amd64"), [nowhere, only]);
}

/// G008: an ordinary build shows findings after its end, and they change nothing.
#[test]
fn a_build_shows_its_findings_at_its_end() {
    let (bench, _registry) = bench("FROM scratch\nCOPY f /\nENV A=$B\nCMD x\n");
    bench.file("f", "");
    let output = bench.run(["build", "."]);
    let summary = "\
2 warnings found (use --debug to expand):
 - UndefinedVar: variable `B` is not defined (Dockerfile:3)
 - JSONArgsRecommended: this `CMD` is run by a shell, which keeps signals from the program (Dockerfile:4)
image sha256:";
    output.success().complains(summary);
    let expanded = bench.run(["--debug", "build", "."]);
    expanded.success().complains("warning[UndefinedVar]: variable `B` is not defined\n --> Dockerfile:3:8\n");
    assert_eq!(bench.run(["build", "-q", "."]).success().stderr, "");
    let events = bench.run(["build", "--progress=rawjson", "."]).success().stderr.clone();
    let findings = events.lines().map(parsed).find(|event| event["event"] == "findings").expect("an event");
    assert_eq!(findings["diagnostics"][0]["code"], "UndefinedVar");
}

/// G008, G009.
#[test]
fn findings_are_in_the_metadata_where_that_is_asked_for() {
    let text = "FROM scratch\nCOPY f /\nENV A=1 \\\n  B=$C\n";
    let (mut bench, _registry) = bench(text);
    bench.file("f", "");
    let metadata = |bench: &Bench| {
        bench.run(["build", "--metadata-file=meta", "."]).success();
        parsed(&fs::read_to_string(bench.work().join("meta")).expect("it was written"))
    };
    assert_eq!(metadata(&bench).get("buildx.build.warnings"), None);
    bench.set("BUILDX_METADATA_WARNINGS", "1");
    let expected = json!([{
        "level": 1,
        "short": STANDARD.encode("UndefinedVar: variable `C` is not defined (line 4)"),
        "detail": [STANDARD.encode("Every variable is defined before it is used.")],
        "url": "https://github.com/stave-build/stave/blob/main/docs/checks/undefined-var.md",
        "sourceInfo": { "filename": "Dockerfile", "data": STANDARD.encode(text), "language": "Dockerfile" },
        "range": [{ "start": { "line": 3 }, "end": { "line": 4 } }],
    }]);
    assert_eq!(metadata(&bench)["buildx.build.warnings"], expected);
}

/// A014, A086.
#[test]
fn findings_end_the_build_where_the_file_says_so() {
    let (bench, _registry) = bench("# check=error=true\nFROM scratch\nCOPY gone /\nCMD x\n");
    let output = bench.run(["build", "--iidfile", "id", "."]);
    output.exit(2).complains("error[JSONArgsRecommended]").complains(" --> Dockerfile:4:5");
    assert!(!output.stderr.contains("gone\n"), "a step ran: {}", output.stderr);
    bench.run(["build", "--check", "."]).exit(1);
    bench.file("Dockerfile", "FROM scratch\nCMD x\n");
    let given = |value: &str| bench.run(["build", "--build-arg", &format!("BUILDKIT_DOCKERFILE_CHECK={value}"), "."]);
    given("error=true").exit(2).complains("error[JSONArgsRecommended]");
    assert!(!given("skip=all").success().stderr.contains("warning"));
    given("skip=JSONArgsRecommended;error=1").success();
    given("eror=1").exit(2).complains("build argument `BUILDKIT_DOCKERFILE_CHECK`: expected `skip`, `error`");
}

/// A015.
#[test]
fn a_comment_above_an_instruction_skips_checks_for_it() {
    let (bench, _registry) = bench("FROM scratch\n# check=skip=JSONArgsRecommended\nCMD x\nENTRYPOINT y\n");
    let output = bench.run(["build", "--check", "."]);
    assert!(output.exit(1).out().contains("1 warning has been found"), "{}", output.out());
    assert!(output.out().contains(":4:12"), "{}", output.out());
}

/// H005, E034.
#[test]
fn an_image_for_another_platform_is_built_on_with_a_warning() {
    let (bench, _registry) = bench("FROM example/for-arm64\nCOPY f /\n");
    bench.file("f", "");
    let output = bench.run(["build", "-t", "x", "."]);
    let expected = " - InvalidBaseImagePlatform: image `example/for-arm64` is for `linux/arm64`, expected `linux/amd64` (Dockerfile:1)";
    output.success().complains(expected);
    assert_eq!(bench.run(["inspect", "-f", "{{.Architecture}}", "x"]).success().line(), "arm64");
}

/// K004: a pattern that matches nothing copies nothing, and that is said.
#[test]
fn a_pattern_without_a_file_is_told_and_no_mistake() {
    let (bench, _registry) = bench("FROM scratch\nCOPY *.none /none/\nCOPY f* *.none /some/\n");
    bench.file("f", "");
    let output = bench.run(["build", "."]);
    output.success().complains("no file matches what is copied to `/none`");
    assert_eq!(output.stderr.matches("no file matches").count(), 1, "{}", output.stderr);
}
