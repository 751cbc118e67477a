//! What must not be remembered: credentials reach a step and nothing else.

use crate::callers::each_caller;
use stave_testkit::fixtures::with_busybox;
use stave_testkit::{Bench, needs};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
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
    each_caller(|caller| {
        let Some((bench, _registry)) = caller.busybox() else { return };
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
    });
}

/// A word that is in no other file of the machine, so that nothing else is found.
fn secret_word(name: &str) -> String {
    format!("{name}-{}-{}", std::process::id(), "kj2h4g5k6jh7g8k9")
}

/// T158, A20: what a secret says is in no key, record, layer, image, log or temporary file; a step that had it is not run again
/// because it changed, and the step after has it no more.
#[test]
fn a_secret_is_nowhere_in_the_store_and_in_no_key() {
    let Some((bench, _registry)) = with_busybox() else { return };
    nothing_keeps_the_secret(bench);
}

/// The same without root.
#[test]
fn a_users_secret_is_nowhere_in_the_store_and_in_no_key() {
    let (Some(user), Some((bench, _registry))) = (needs::user("ranges"), with_busybox()) else { return };
    nothing_keeps_the_secret(bench.as_user(&user));
}

fn nothing_keeps_the_secret(mut bench: Bench) {
    let outside = tempfile::tempdir().expect("a directory");
    fs::set_permissions(outside.path(), fs::Permissions::from_mode(0o755)).expect("a directory of the test");
    let file = outside.path().join("secret");
    bench.file(
        "Dockerfile",
        "FROM busybox\nRUN --mount=type=secret,id=file,required wc -c < /run/secrets/file > /length\n\
         RUN --mount=type=secret,id=variable,env=TOKEN test -n \"$TOKEN\"\n\
         RUN --mount=type=secret,id=file,target=/etc/token,mode=0444 cp /etc/token /dev/shm/ && cat /etc/token > /dev/null\n\
         RUN test ! -e /run/secrets/file && test -z \"$TOKEN\" && test ! -e /etc/token && test ! -e /dev/shm/token\n",
    );
    let source = format!("id=file,src={}", file.display());
    let args =
        ["build", "--progress=rawjson", "-t", "made", "--secret", &source, "--secret", "id=variable,env=SECRET", "."];
    let mut words = Vec::new();
    for (round, expected) in [(1, "\"ran\":4"), (2, "\"ran\":0")] {
        let in_file = secret_word(&format!("file{round}"));
        let in_variable = secret_word(&format!("variable{round}"));
        fs::write(&file, &in_file).expect("a writable directory");
        bench.set("SECRET", &in_variable);
        let output = bench.run(args);
        output.success();
        assert!(output.stderr.lines().last().is_some_and(|line| line.contains(expected)), "{output}");
        assert!(!output.stderr.contains(&in_file) && !output.stderr.contains(&in_variable));
        words.extend([in_file, in_variable]);
    }
    bench.run(["build", "--output", "type=tar,dest=files.tar", "--secret", &source, "."]);
    bench.run(["save", "-o", "saved.tar", "made"]).success();
    bench.run(["history", "--no-trunc", "made"]).success();
    for word in &words {
        for place in [bench.store(), bench.work(), bench.path("home"), bench.path("run"), bench.path("tmp")] {
            assert_eq!(holding(&place, word), Vec::<PathBuf>::new(), "{}", place.display());
        }
    }
}

/// A20: neither while a step has a secret nor after its builder was killed is a byte of it on the disk.
#[test]
fn a_secret_is_on_no_disk_while_it_is_used_nor_after_a_kill() {
    each_caller(|caller| {
        let Some((bench, _registry)) = caller.busybox() else { return };
        let outside = tempfile::tempdir().expect("a directory");
        let (file, word) = (outside.path().join("secret"), secret_word("running"));
        fs::write(&file, &word).expect("a writable directory");
        let token = bench.token();
        bench.file(
        "Dockerfile",
        format!("FROM busybox\nRUN --mount=type=secret,id=s test -s /run/secrets/s && echo is-ready; sleep 3000; echo {token}\n"),
    );
        let source = format!("id=s,src={}", file.display());
        let mut child = bench.spawn(["build", "--progress=plain", "--secret", &source, "."]);
        let stderr = child.stderr.take().expect("kept");
        let is_ready = BufReader::new(stderr).lines().map_while(Result::ok).any(|line| line.ends_with(" is-ready"));
        assert!(is_ready, "the step does not run");
        assert_eq!(holding(&bench.store(), &word), Vec::<PathBuf>::new());
        child.kill().expect("it runs");
        drop(bench.wait(child));
        assert_eq!(holding(&bench.store(), &word), Vec::<PathBuf>::new());
        for place in ["home", "run", "tmp", "work"] {
            assert_eq!(holding(&bench.path(place), &word), Vec::<PathBuf>::new());
        }
    });
}
