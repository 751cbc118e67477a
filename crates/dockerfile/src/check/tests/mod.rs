//! The checks on whole files.

mod rules;

use std::fmt::Write as _;

use stave_oci::{ImageConfig, ImageId, Platform};
use stave_pattern::IgnoreFile;

use super::{Config, lines, settle};
use crate::Diagnostic;
use crate::plan::{Base, Facts, Ignored, PlanOptions, Survey, survey};

/// Images that bases name: `shell` has a shell, `arm` is for another platform, `env` has variables, `triggers` has triggers, and no `absent` is
/// had. All others are empty.
fn image(name: &str) -> Option<ImageConfig> {
    let mut config = ImageConfig { architecture: "amd64".to_owned(), os: "linux".to_owned(), ..ImageConfig::default() };
    match name {
        "absent" => return None,
        "shell" => config.config.shell = Some(vec!["/bin/bash".to_owned(), "-c".to_owned()]),
        "arm" => "arm64".clone_into(&mut config.architecture),
        "triggers" => {
            let triggers = ["ENV a b", "ARG A=$NOTHING", "WORKDIR /x", "CMD x", "CMD y"];
            config.config.on_build = triggers.map(str::to_owned).to_vec();
        }
        "env" => config.config.env = vec!["HOME=/root".to_owned()],
        _ => {}
    }
    Some(config)
}

fn options() -> PlanOptions {
    PlanOptions::new("linux/amd64".parse::<Platform>().expect("a platform"))
}

fn surveyed(text: &str, options: &PlanOptions, ignore: &str) -> Survey {
    let file = crate::parse(text).file;
    let rules = IgnoreFile::parse(ignore.as_bytes()).expect("an ignore file");
    let ignored = (!ignore.is_empty()).then(|| Ignored { name: ".dockerignore".to_owned(), rules });
    let mut facts = Facts { ignored, ..Facts::default() };
    loop {
        let survey = survey(&file, options, &facts);
        if survey.missing.is_empty() {
            return survey;
        }
        for (request, _) in survey.missing {
            match image(&request.reference) {
                Some(config) => {
                    let base = Base { id: ImageId::of(request.reference.as_bytes()), config };
                    facts.bases.insert(request, base);
                }
                None => drop(facts.absent.insert(request)),
            }
        }
    }
}

fn found_with(text: &str, options: &PlanOptions, ignore: &str) -> String {
    let parsed = crate::parse(text);
    let Survey { mistakes, findings, .. } = surveyed(text, options, ignore);
    assert_eq!(mistakes, [], "{text}");
    let all = parsed.diagnostics.into_iter().chain(findings).collect();
    let config = match options.build_args.get(super::BUILD_ARG) {
        Some(given) => Config::parse(given).expect("good options"),
        None => Config::of_file(&parsed.file),
    };
    render(text, &settle(&parsed.file, &config, all))
}

fn render(text: &str, diagnostics: &[Diagnostic]) -> String {
    let mut out = String::new();
    for diagnostic in diagnostics {
        let severity = if diagnostic.is_error() { "error" } else { "warning" };
        writeln!(out, "{severity}[{}]: {}", diagnostic.code, diagnostic.message).expect("memory");
        for label in &diagnostic.labels {
            let line = crate::span::position(text, label.span.start).line;
            let (mark, words) = (if label.primary { '!' } else { '-' }, &text[label.span.range()]);
            writeln!(out, "  {mark} line {line}: `{words}` {}", label.text).expect("memory");
        }
        for hint in &diagnostic.hints {
            writeln!(out, "  hint: {hint}").expect("memory");
        }
    }
    out.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

#[track_caller]
fn check(text: &str, expected: &str) {
    let text = text.trim_start_matches('\n');
    assert_eq!(found_with(text, &options(), ""), expected.trim(), "{text}");
}

#[track_caller]
fn check_ignoring(text: &str, ignore: &str, expected: &str) {
    assert_eq!(found_with(text, &options(), ignore), expected.trim(), "{text}");
}

#[track_caller]
fn nothing(text: &str) {
    check(text, "");
}

fn with_build_args(args: &[(&str, &str)]) -> PlanOptions {
    let build_args = args.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    PlanOptions { build_args, ..options() }
}

/// E037.
#[test]
fn defaults_name_images() {
    let given = with_build_args(&[("BASE", "a"), ("TAG", "1")]);
    assert_eq!(
        found_with("ARG BASE\nARG TAG\nFROM $BASE\nFROM a:$TAG\nFROM $BASE/b\n", &given, ""),
        "
warning[InvalidDefaultArgInFrom]: without build arguments this is nothing
  ! line 3: `$BASE`
  hint: Give `BASE` a default in its `ARG`.
warning[InvalidDefaultArgInFrom]: without build arguments this is `a:`, which is no image name
  ! line 4: `a:$TAG`
  hint: Give `TAG` a default in its `ARG`.
warning[InvalidDefaultArgInFrom]: without build arguments this is `/b`, which is no image name
  ! line 5: `$BASE/b`
  hint: Give `BASE` a default in its `ARG`."
            .trim()
    );
    let good =
        "ARG BASE=a\nARG TAG=1\nARG STAGE=One\nFROM $BASE AS one\nFROM a:${TAG}\nFROM $STAGE\nFROM a:${NOTHING:-x}\n";
    assert!(!found_with(good, &given, "").contains("InvalidDefaultArgInFrom"));
}

/// E031, T50, T60.
#[test]
fn a_variable_that_only_from_knows_is_to_be_declared() {
    check(
        "ARG TAG=1\nFROM a:$TAG\nENV A=$TAG B=$TARGETARCH\nARG TAG TARGETARCH\nENV A=$TAG B=$TARGETARCH\n",
        "
warning[UndefinedVar]: variable `TAG` is not defined
  ! line 3: `TAG` nothing is put here
  hint: Only `FROM` knows it so far; declare it in this stage with `ARG TAG`.
warning[UndefinedVar]: variable `TARGETARCH` is not defined
  ! line 3: `TARGETARCH` nothing is put here
  hint: Only `FROM` knows it so far; declare it in this stage with `ARG TARGETARCH`.",
    );
}

/// A file cannot fill the memory with what it says about its checks.
#[test]
fn many_comments_about_checks_cost_no_more_than_their_text() {
    let names: Vec<String> = (0..2_000).map(|number| format!("N{number}")).collect();
    let text = format!("# check=skip={}\nFROM a\n{}", names.join(","), "# check=skip=x\nENV A=$B\n".repeat(2_000));
    let parsed = crate::parse(&text);
    let findings = surveyed(&text, &options(), "").findings;
    assert_eq!(settle(&parsed.file, &Config::of_file(&parsed.file), findings).len(), super::FINDINGS_MAX);
}

/// E039, A192.
#[test]
fn what_is_copied_is_not_ignored() {
    let text = "FROM a AS one\nFROM a\nCOPY a.log /b/../target/x /\nADD *.log /\nCOPY --from=one a.log /\nCOPY src/ /\nADD https://example.com/a.log /\n";
    let ignore = "# of builds\ntarget\n*.log\n";
    check_ignoring(
        text,
        ignore,
        "
warning[CopyIgnoredFile]: `COPY` finds nothing at `a.log`: line 3 of `.dockerignore` leaves it out
  ! line 3: `a.log`
  hint: Change the ignore file, or do not copy it.
warning[CopyIgnoredFile]: `COPY` finds nothing at `/b/../target/x`: line 2 of `.dockerignore` leaves it out
  ! line 3: `/b/../target/x`
  hint: Change the ignore file, or do not copy it.
warning[CopyIgnoredFile]: `ADD` finds nothing at `*.log`: line 3 of `.dockerignore` leaves it out
  ! line 4: `*.log`
  hint: Change the ignore file, or do not copy it.",
    );
    check_ignoring(text, &format!("{ignore}!a.log\n"), "");
    check_ignoring("FROM a\nCOPY . /\nCOPY targets /\n", ignore, "");
}

/// What a base brings is not the user's to change, but it defines variables.
#[test]
fn triggers_of_a_base_are_not_checked() {
    check("FROM triggers\nENV B=$A\nWORKDIR y\nCMD [\"x\"]\n", "");
}

/// A015.
#[test]
fn a_comment_above_an_instruction_counts_for_it_alone() {
    check(
        "FROM a\n# check=skip=UndefinedVar\nENV A=$B \\\n\n C=d\n# check=skip=all\nENV B=$C\nENV C=$D\n",
        "
warning[NoEmptyContinuation]: empty line inside a continued instruction
  ! line 4: ``
  - line 3: `ENV` the instruction starts here
  hint: Remove the line; other builders will refuse it one day.
warning[UndefinedVar]: variable `D` is not defined
  ! line 8: `D` nothing is put here
  hint: Define it first with `ARG D` or `ENV D=...`.",
    );
}

/// A015: also for what is found in the comments themselves.
#[test]
fn a_comment_can_ask_for_a_check_of_the_comments_around_it() {
    check(
        "# the a\n\n# check=experimental=all\n# the b\nARG A=1\n# the c\nARG B=1\nFROM a\n",
        "
warning[InvalidDefinitionDescription]: the comment does not describe the argument below it
  ! line 4: `the b` expected `A ...`
  hint: Write `# A ` and a description, or put an empty line below the comment.",
    );
    let text = "FROM a\n# x\n# y\nCMD [\"x\"]\n";
    assert_eq!(lines(&crate::parse(text).file, text, crate::Span::new(9, 10)), (4, 4));
}

#[test]
fn a_mistake_in_such_a_comment_is_a_warning() {
    check(
        "FROM a\n# check=skip=UndefinedVra;eror=1\nENV A=b\n",
        "
warning[D008]: there is no check `UndefinedVra`
  ! line 2: `UndefinedVra`
  hint: A similar one is `UndefinedVar`.
warning[D008]: expected `skip`, `error` or `experimental` as check option, got `eror`
  ! line 2: `eror=1`
  hint: A similar option is `error`.",
    );
}

/// A014, A086.
#[test]
fn the_file_or_a_build_argument_says_which_checks_are_made() {
    let text = "# check=skip=UndefinedVar;error=true\nFROM a\nENV A=$B PASSWORD=x\n";
    let secret = "[SecretsUsedInArgOrEnv]: `PASSWORD` looks like a secret, and `ENV` keeps it in the image";
    let found = found_with(text, &options(), "");
    assert!(found.starts_with(&format!("error{secret}")) && !found.contains("UndefinedVar"), "{found}");
    let found = found_with(text, &with_build_args(&[(super::BUILD_ARG, "skip=ReservedStageName")]), "");
    assert!(found.contains(&format!("warning{secret}")) && found.contains("UndefinedVar"), "{found}");
    assert_eq!(found_with(text, &with_build_args(&[(super::BUILD_ARG, "skip=all")]), ""), "");
}

/// E043.
#[test]
fn only_what_the_target_needs_is_checked_where_there_is_one() {
    let text = "FROM a AS one\nENV A=$B\nFROM a AS two\nENV A=$C\nFROM a AS Three\nCOPY --from=one a b\nENV A=$D\n";
    let found = |target: Option<&str>| {
        let target = target.map(str::to_owned);
        found_with(text, &PlanOptions { target, ..options() }, "").lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let undefined = |lines: &[String]| lines.iter().filter(|line| line.contains("[UndefinedVar]")).count();
    assert_eq!(undefined(&found(None)), 3);
    assert_eq!(undefined(&found(Some("three"))), 2);
    assert_eq!(undefined(&found(Some("two"))), 1);
    assert!(found(Some("two")).iter().any(|line| line.contains("[StageNameCasing]")));
}

#[test]
fn very_many_findings_are_not_all_kept() {
    let text = format!("FROM a\n{}", "ENV A=$B$C$D\n".repeat(5_000));
    assert_eq!(surveyed(&text, &options(), "").findings.len(), super::FINDINGS_MAX);
}

#[test]
fn lines_are_those_of_the_whole_instruction() {
    let text = "FROM a\nENV A=b \\\n  C=$D\nRUN <<X\none\nX\n";
    let survey = surveyed("FROM a\nENV A=b \\\n  C=$D\n", &options(), "");
    let file = crate::parse(text).file;
    assert_eq!(lines(&file, text, survey.findings[0].span()), (2, 3));
    assert_eq!(lines(&file, text, crate::Span::new(29, 30)), (4, 6));
}
