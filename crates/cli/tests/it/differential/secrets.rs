//! What must not be remembered: credentials reach a step and nothing else.

use stave_testkit::fixtures::with_busybox;
use std::fs;
use std::path::{Path, PathBuf};

/// The files below `dir`, whatever they are, that have `text` in them.
fn holding(dir: &Path, text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().expect("a file of the store"));
        if kind.is_dir() {
            found.extend(holding(&path, text));
        } else if kind.is_file() {
            let bytes = fs::read(&path).expect("root's store");
            if bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
                found.push(path);
            }
        }
    }
    found
}

/// A proxy says how to reach something, not what to build. With its password it is in no
/// key, record, image or log, and another one runs nothing.
#[test]
fn the_password_of_a_proxy_is_nowhere_in_the_store_and_in_no_key() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file("a", "a").file("Dockerfile", "FROM busybox\nRUN test -n \"$HTTPS_PROXY\"\nCOPY a /\nRUN cat /a\n");
    let build = |password: &str| {
        let proxy = format!("HTTPS_PROXY=http://user:{password}@127.0.0.1:9/");
        let args = ["build", "--progress=rawjson", "-t", "made", "--build-arg", &proxy, "."];
        let output = bench.run(args);
        output.success();
        assert!(!output.stderr.contains(password) && !output.out().contains(password));
        output.stderr.lines().last().expect("the last event").to_owned()
    };
    assert!(build("first-secret-word").contains("\"ran\":3"));
    assert!(build("other-secret-word").contains("\"ran\":0"), "another proxy builds nothing else");
    bench.run(["save", "-o", "saved.tar", "made"]).success();
    for word in ["first-secret-word", "other-secret-word"] {
        assert_eq!(holding(&bench.store(), word), Vec::<PathBuf>::new());
        assert_eq!(holding(&bench.work(), word), Vec::<PathBuf>::new());
    }
}
