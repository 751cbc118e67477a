//! Ignore files, from the context to the image. The numbers are those of the feature list.

use stave_testkit::Bench;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

/// The names of an image of all of the context.
fn image(bench: &Bench, args: &[&str]) -> BTreeSet<String> {
    let tar = bench.path("image.tar");
    let output = format!("type=tar,dest={}", tar.display());
    bench.run(["build", "-o", &output].iter().chain(args).chain(&["."])).success();
    let mut archive = tar::Archive::new(fs::File::open(tar).expect("written"));
    let entries = archive.entries().expect("a tar");
    let name = |entry: Result<tar::Entry<'_, fs::File>, _>| {
        let path = entry.expect("an entry").path().expect("a path").display().to_string();
        path.trim_start_matches("./").to_owned()
    };
    entries.map(name).filter(|name| !name.is_empty()).collect()
}

fn context(ignore: impl AsRef<[u8]>, files: &[&str]) -> Bench {
    let bench = Bench::new();
    bench.file("Dockerfile", "FROM scratch\nCOPY . /\n").file(".dockerignore", ignore);
    for path in files {
        bench.file(path, path);
    }
    bench
}

#[track_caller]
fn check(ignore: impl AsRef<[u8]>, files: &[&str], expected: &[&str]) {
    let bench = context(ignore, files);
    let expected: BTreeSet<String> = expected.iter().map(|&name| name.to_owned()).collect();
    assert_eq!(image(&bench, &[]), expected);
}

/// T181, A186.
#[test]
fn the_last_rule_that_matches_decides_what_is_copied() {
    let files = ["keep", "a.log", "d/b.log", "d/c", "foo/x", "foo/y/z", " #n"];
    check("*\n!keep\n", &files, &["keep"]);
    check("Dockerfile\n.dockerignore\n**/*.log\nfoo/**\n", &files, &[" #n", "d/", "d/c", "foo/", "keep"]);
    check("\u{feff}*\n#comment\n !d/c \n!Dock*\n", &files, &["Dockerfile", "d/", "d/c"]);
    check("*\n!foo\nfoo/y\n#!keep\n", &files, &["foo/", "foo/x"]);
}

/// T182: what is taken back brings the directories that it is in, as they are.
#[test]
fn what_is_taken_back_brings_its_directories() {
    let bench = context("*\n!folder1/file1\n", &["folder1/file1", "folder1/file2", "folder2/file1"]);
    fs::set_permissions(bench.work().join("folder1"), fs::Permissions::from_mode(0o711)).expect("our own directory");
    assert_eq!(image(&bench, &[]), BTreeSet::from(["folder1/".to_owned(), "folder1/file1".to_owned()]));
    let mut archive = tar::Archive::new(fs::File::open(bench.path("image.tar")).expect("written"));
    let mut modes = archive.entries().expect("a tar").map(|entry| {
        let entry = entry.expect("an entry");
        (entry.path().expect("a path").display().to_string(), entry.header().mode().expect("a mode") & 0o777)
    });
    assert!(modes.any(|(path, mode)| path.ends_with("folder1/") && mode == 0o711));
}

/// T183.
#[test]
fn wildcards_take_back_what_is_deeper() {
    let files = ["a/sub1/x", "a/sub2/y", "b/sub1.txt", "c/d/sub1/z"];
    check("*\n!*/sub1*\n", &files, &["a/", "a/sub1/", "a/sub1/x", "b/", "b/sub1.txt"]);
    check("**\n!**/sub1\n", &files, &["a/", "a/sub1/", "a/sub1/x", "c/", "c/d/", "c/d/sub1/", "c/d/sub1/z"]);
    check("*\n!a\na/*\n!a/sub2\n", &files, &["a/", "a/sub2/", "a/sub2/y"]);
}

/// T184.
#[test]
fn an_ignored_dockerfile_is_read_and_not_copied() {
    let bench = context("Dockerfile\n.dockerignore\n", &["f"]);
    assert_eq!(image(&bench, &[]), BTreeSet::from(["f".to_owned()]));
    bench.file("Dockerfile", "FROM scratch\nCOPY Dockerfile .\n");
    bench.run(["build", "."]).exit(1).complains("`Dockerfile` is excluded by line 1 of the ignore file");
}

/// T185, A187.
#[test]
fn the_dockerfiles_own_ignore_file_is_the_only_one() {
    let bench = context("a\n", &["a", "b"]);
    bench.file("Dockerfile.foo", "FROM scratch\nCOPY a b /\n").file("Dockerfile.foo.dockerignore", "x\n");
    let both = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
    assert_eq!(image(&bench, &["-f", "Dockerfile.foo"]), both);
    bench.file("Dockerfile.foo.dockerignore", "b\n");
    bench.run(["build", "-f", "Dockerfile.foo", "."]).exit(1).complains("`b` is excluded by line 1");
}

/// T186, A190.
#[test]
fn a_rule_that_means_nothing_is_an_error_with_its_line() {
    let bench = context("a\n!\n", &["f"]);
    bench.run(["build", "."]).exit(2).complains("line 2: pattern `!` is an illegal exclusion pattern");
    bench.file(".dockerignore", "[a\n");
    bench.run(["build", "."]).exit(2).complains("line 1: pattern `[a`");
}

/// T187.
#[test]
fn a_dockerfile_may_be_in_lower_case_or_a_link_inside_the_context() {
    let bench = Bench::new();
    bench.file("dockerfile", "FROM scratch\nCOPY f /lower\n").file("f", "x");
    assert_eq!(image(&bench, &[]), BTreeSet::from(["lower".to_owned()]));
    bench.file("real/Dockerfile", "FROM scratch\nCOPY f /linked\n");
    symlink("/real/Dockerfile", bench.work().join("Dockerfile")).expect("a writable bench");
    assert_eq!(image(&bench, &[]), BTreeSet::from(["linked".to_owned()]));
}

/// A188, A187: where Docker finds nothing, Buildah's name counts; a Dockerfile's own file comes before the context's.
#[test]
fn buildahs_ignore_file_counts_where_there_is_none_of_dockers() {
    let bench = context("a\n", &["a", "b", "c", "d"]);
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let hidden = "Dockerfile*\n.*ignore\n";
    bench.file("Dockerfile.foo", "FROM scratch\nCOPY . /\n");
    bench.file(".dockerignore", format!("{hidden}a\n")).file(".containerignore", format!("{hidden}b\n"));
    assert_eq!(image(&bench, &[]), names(&["b", "c", "d"]));
    fs::remove_file(bench.work().join(".dockerignore")).expect("it is there");
    assert_eq!(image(&bench, &[]), names(&["a", "c", "d"]));
    bench.file("Dockerfile.foo.containerignore", format!("{hidden}c\n"));
    assert_eq!(image(&bench, &["-f", "Dockerfile.foo"]), names(&["a", "b", "d"]));
    bench.file("Dockerfile.foo.dockerignore", format!("{hidden}d\n"));
    assert_eq!(image(&bench, &["-f", "Dockerfile.foo"]), names(&["a", "b", "c"]));
    bench.file("own", format!("{hidden}own\na\nb\n"));
    assert_eq!(image(&bench, &["-f", "Dockerfile.foo", "--ignorefile", "own"]), names(&["c", "d"]));
}

/// A188.
#[test]
fn an_ignore_file_that_cannot_be_used_is_an_error() {
    let bench = context("", &["a"]);
    bench.run(["build", "--ignorefile", "none", "."]).exit(2).complains("cannot read the ignore file `none`");
    bench.file("wrong", "a\n[\n");
    bench.run(["build", "--ignorefile", "wrong", "."]).exit(2).complains("cannot use `wrong`: line 2: pattern `[`");
    bench
        .run_with_input(["build", "--ignorefile", "a", "-"], b"FROM scratch\n".to_vec())
        .exit(2)
        .complains("the ignore file `a` is for a context that is a directory, and this one is none");
}

/// A196: Docker's names come before Buildah's.
#[test]
fn a_containerfile_is_read_where_there_is_no_dockerfile() {
    let bench = Bench::new();
    bench.file("Containerfile", "FROM scratch\nCOPY f /container\n").file("f", "x");
    assert_eq!(image(&bench, &[]), BTreeSet::from(["container".to_owned()]));
    bench.file("dockerfile", "FROM scratch\nCOPY f /docker\n");
    assert_eq!(image(&bench, &[]), BTreeSet::from(["docker".to_owned()]));
}
