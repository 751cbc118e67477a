//! Where the text of a Dockerfile comes from: several files, and files for the C preprocessor. The numbers are those of the
//! feature list.

use std::fs;
use std::os::unix::fs::symlink;

use stave_testkit::{Bench, needs};

/// The labels of an image made with these arguments.
fn labels(bench: &Bench, args: &[&str]) -> String {
    bench.run(["build", "-t", "made"].iter().chain(args).chain(&["."])).success();
    bench.run(["inspect", "-f", "{{json .Config.Labels}}", "made"]).success().line()
}

/// A201.
#[test]
fn several_files_are_one() {
    let bench = Bench::new();
    bench.file("one", "# escape=`\nARG V=1\nFROM scratch AS first\nLABEL a=`\n").file("f", "x");
    bench.file("two", "\u{feff}# escape=`\nLABEL b=2\nFROM first\nLABEL v=3\nCOPY f /\n");
    assert_eq!(labels(&bench, &["-f", "one", "-f", "two"]), r#"{"a":"","b":"2","v":"3"}"#);
    assert_eq!(labels(&bench, &["-f", "one"]), r#"{"a":""}"#);
    // The place of a mistake is counted through both.
    bench.file("wrong", "# escape=`\nCOPPY f /\n");
    let failed = bench.run(["build", "-f", "one", "-f", "wrong", "."]);
    failed.exit(2).complains("--> one + wrong:6:1");
    let text = "FROM scratch\nLABEL c=4\n";
    bench
        .run_with_input(["build", "-t", "made", "-f", "-", "-f", "two", "."], text.into())
        .exit(2)
        .complains("`-` and `two` have different escape characters");
    bench.file("other", "LABEL d=5\n");
    bench.run_with_input(["build", "-t", "made", "-f", "-", "-f", "other", "."], text.into()).success();
    assert_eq!(bench.run(["inspect", "-f", "{{json .Config.Labels}}", "made"]).line(), r#"{"c":"4","d":"5"}"#);
    let twice = bench.run_with_input(["build", "-f", "-", "-f", "-", "."], text.into());
    twice.exit(2).complains("two Dockerfiles cannot both come from standard input");
    bench.run(["build", "-f", "one", "-f", "none", "."]).exit(2).complains("cannot read the Dockerfile `none`");
    bench.run(["build", "-f", "none", "-f", "two", "."]).exit(2).complains("cannot read the Dockerfile `none`");
}

/// A201, B004: a command line that Docker takes gives the image that it gives there, which is that of the last file.
#[test]
fn of_several_files_the_last_is_built_if_it_can_be_by_itself() {
    let bench = Bench::new();
    bench.file("one", "FROM scratch AS base\nLABEL a=1\nCOPY f /one\n").file("f", "x").file("two.dockerignore", "");
    bench
        .file("one.dockerignore", "f\n")
        .file("two", "ARG V=2\nFROM scratch AS build\nARG V\nLABEL b=$V\nCOPY f /two\n");
    assert_eq!(labels(&bench, &["-f", "one", "-f", "two"]), r#"{"b":"2"}"#);
    let built = bench.run(["build", "-f", "one", "-f", "two", "."]);
    built
        .success()
        .complains("of several `-f` the last is built, as Docker does: `two`, which needs none of the others");
    // What is not built need not be there.
    bench.run(["build", "-f", "none", "-f", "two", "."]).success();
    bench.file("five", "FROM base\nCOPY f /\n");
    let unread = "cannot read the Dockerfile `none`";
    for args in [["-f", "five"].as_slice(), &["-f", "two", "--target", "base"], &["-f", "one", "-f", "five"]] {
        // Else the image `base` of a registry would come in place of the stage.
        bench.run(["build", "-f", "none"].iter().chain(args).chain(&["."])).exit(2).complains(unread);
    }
    bench.run(["build", "-f", "one", "-f", "two", "--target=none", "."]).exit(2).complains("none");
    bench.file("one.dockerignore", "").file("three", "FROM base\nLABEL c=3\n").file("four", "LABEL d=4\n");
    assert_eq!(labels(&bench, &["-f", "one", "-f", "three"]), r#"{"a":"1","c":"3"}"#);
    let joined = bench.run(["build", "-f", "one", "-f", "three", "."]);
    let why =
        "several `-f` are joined, as Buildah does: of `three`, the last, only an earlier one has the stage `base`";
    joined.success().complains(why);
    let joined = bench.run(["build", "-f", "one", "-f", "four", "."]);
    joined.success().complains("of `four`, the last, it does not begin with `FROM`");
    assert_eq!(labels(&bench, &["-f", "one", "-f", "two", "--target", "BASE"]), r#"{"a":"1"}"#);
}

/// Whether this machine has the C preprocessor.
fn has_cpp() -> bool {
    needs::program("cpp").is_some()
}

/// A200.
#[test]
fn a_file_for_the_preprocessor_is_preprocessed() {
    if !has_cpp() {
        return;
    }
    let bench = Bench::new();
    bench.file(
        "Containerfile.in",
        "# a comment\nFROM scratch\n#include \"parts/labels.in\"\n#ifdef MORE\nLABEL more=MORE\n#endif\nCOPY f /\n",
    );
    bench
        .file("parts/labels.in", "LABEL included=\"it's\"\n#include \"deeper\"\n")
        .file("parts/deeper", "LABEL deep=1\n")
        .file("f", "x");
    assert_eq!(labels(&bench, &["-f", "Containerfile.in"]), r#"{"deep":"1","included":"it's"}"#);
    let all = ["-f", "Containerfile.in", "--cpp-flag=-DMORE=2", "--cpp-flag", "-DX"];
    assert_eq!(labels(&bench, &all), r#"{"deep":"1","included":"it's","more":"2"}"#);
    let built = bench.run(["build", "-f", "Containerfile.in", "."]);
    built.success().complains("dropped as no directive of its own: #a");
    // Any other name is a Dockerfile as it is.
    bench.file("Dockerfile", "#include \"parts/labels.in\"\nFROM scratch\nCOPY f /\n");
    assert_eq!(labels(&bench, &[]), "null");
    let built = bench.run(["build", "--cpp-flag=-DX", "."]);
    built.success().complains("`--cpp-flag` changes nothing, for no Dockerfile has a name that ends in `.in`");
}

/// A200: what is not in the context is not shown, whatever leads to it.
#[test]
fn the_preprocessor_shows_no_file_outside_of_the_context() {
    if !has_cpp() {
        return;
    }
    let bench = Bench::new();
    let outside = bench.path("outside");
    fs::write(&outside, "LABEL secret=1\n").expect("a writable bench");
    symlink(&outside, bench.work().join("link")).expect("a writable bench");
    let way = outside.display().to_string();
    for include in
        [format!("#include \"{way}\""), "#include \"link\"".to_owned(), format!("#define X \"{way}\"\n#include X")]
    {
        bench.file("a.in", format!("FROM scratch\n{include}\n"));
        let failed = bench.run(["build", "-f", "a.in", "."]);
        failed.exit(2).complains("which is not in the context");
        assert!(!failed.stderr.contains("secret"), "{}", failed.stderr);
    }
    bench.file("a.in", "FROM scratch\n#include \"none\"\n");
    bench.run(["build", "-f", "a.in", "."]).exit(2).complains("`cpp` cannot preprocess `a.in`: <stdin>:");
    bench.file("a.in", "FROM scratch\n#include \"a.in\"\n");
    bench.run(["build", "-f", "a.in", "."]).exit(2).complains("`cpp` cannot preprocess `a.in`");
}

/// A200.
#[test]
fn without_a_preprocessor_the_error_says_what_is_missing() {
    let mut bench = Bench::new();
    bench.file("a.in", "FROM scratch\n");
    let empty = bench.work();
    bench.set("PATH", empty);
    bench
        .run(["build", "-f", "a.in", "."])
        .exit(2)
        .complains("`a.in` needs the C preprocessor, and there is no program `cpp`");
}
