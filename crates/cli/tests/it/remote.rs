//! What is on the network: `ADD` of files and repositories, contexts that are addresses, and named contexts.

use crate::callers::each_caller;
use stave_testkit::fixtures::with_busybox;
use stave_testkit::git::{self, Repository};
use stave_testkit::http::{Response, Server};
use stave_testkit::{Bench, Image, Rootfs, needs};
use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// What an image has: mode, owner, time and content of each file that is no directory.
type Files = BTreeMap<String, (u32, u64, u64, String)>;

/// Builds with these arguments and returns the files of the result.
fn built(bench: &Bench, args: &[&str]) -> Files {
    let mut all = vec!["build", "-o", "type=tar,dest=out.tar"];
    all.extend(args);
    bench.run(&all).success();
    let mut archive = tar::Archive::new(fs::File::open(bench.work().join("out.tar")).expect("it was written"));
    let mut files = BTreeMap::new();
    for entry in archive.entries().expect("a tar") {
        let mut entry = entry.expect("an entry");
        let path = entry.path().expect("a path").display().to_string();
        let header = entry.header().clone();
        if header.entry_type().is_dir() {
            continue;
        }
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut content).expect("a whole entry");
        let content = String::from_utf8_lossy(&content).into_owned();
        let (mode, owner, time) = (header.mode(), header.uid(), header.mtime());
        files.insert(path, (mode.expect("valid") & 0o7777, owner.expect("valid"), time.expect("valid"), content));
    }
    files
}

fn names(files: &Files) -> Vec<&str> {
    files.keys().map(String::as_str).collect()
}

fn content<'f>(files: &'f Files, name: &str) -> &'f str {
    &files[name].3
}

/// A server of one file, counting how often its content goes out.
fn counting(body: impl Fn() -> Response + Send + Sync + 'static) -> (Server, Arc<AtomicU32>) {
    let sent = Arc::new(AtomicU32::new(0));
    let counted = sent.clone();
    let server = Server::start(move |request| {
        let response = body();
        let tag = response.headers.iter().find(|(name, _)| name == "ETag").map(|(_, value)| value.as_str());
        if tag.is_some() && request.header("if-none-match") == tag {
            return Response::status(304);
        }
        counted.fetch_add(1, Ordering::SeqCst);
        response
    });
    (server, sent)
}

fn text(content: impl Into<Vec<u8>>) -> Response {
    Response::body(200, "text/plain", content)
}

/// A repository `r.git` in the bench, and a server of it that only has files.
fn repository(bench: &Bench) -> Repository {
    fs::create_dir_all(bench.path("served")).expect("a writable bench");
    let repository = Repository::init(&bench.path("served/r.git"));
    repository.file("Dockerfile", "FROM scratch\nCOPY . /\n").file("top", "top");
    repository.file("sub/Dockerfile", "FROM scratch\nCOPY inner /\n").file("sub/inner", "inner");
    repository.file(".dockerignore", "ignored\n").file("ignored", "x").commit("first");
    repository.git(&["update-server-info"]);
    repository
}

/// T132
#[test]
fn a_file_on_the_network_is_added_with_its_name_and_time() {
    let bench = Bench::new();
    let server = Server::start(|_| text("content").with("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT"));
    let url = server.url();
    bench
        .file("Dockerfile", format!("FROM scratch\nADD {url}/p/foo?x=1 /d/\nADD {url}/p/foo /exact\nADD {url}/ /u/\n"));
    let files = built(&bench, &["."]);
    assert_eq!(names(&files), ["d/foo", "exact", "u/__unnamed__"]);
    assert_eq!(files["d/foo"], (0o600, 0, 784_111_777, "content".to_owned()));
}

/// T125
#[test]
fn an_archive_on_the_network_is_unpacked_only_on_request() {
    let bench = Bench::new();
    let server = Server::start(|_| text(Rootfs::new().file("in", 0o644, "x").tar()));
    let url = server.url();
    bench.file("Dockerfile", format!("FROM scratch\nADD {url}/a.tar /d/\n"));
    bench.run(["build", "-o", "type=local,dest=plain", "."]).success();
    assert!(bench.work().join("plain/d/a.tar").is_file());
    bench.file("Dockerfile", format!("FROM scratch\nADD --unpack=true {url}/a.tar /d/\n"));
    assert_eq!(names(&built(&bench, &["."])), ["d/in"]);
}

/// T133, A158
#[test]
fn what_did_not_change_is_not_fetched_again() {
    let bench = Bench::new();
    let version = Arc::new(AtomicU32::new(1));
    let current = version.clone();
    let (server, sent) = counting(move || {
        let version = current.load(Ordering::SeqCst);
        text(format!("version {version}")).with("ETag", format!("\"{version}\""))
    });
    bench.file("Dockerfile", format!("FROM scratch\nADD {}/f /f\n", server.url()));
    assert_eq!(content(&built(&bench, &["."]), "f"), "version 1");
    let again = bench.run(["build", "."]);
    assert!(again.success().stderr.contains("CACHED"), "{}", again.stderr);
    assert_eq!(sent.load(Ordering::SeqCst), 1);
    version.store(2, Ordering::SeqCst);
    assert_eq!(content(&built(&bench, &["."]), "f"), "version 2");
    assert_eq!(sent.load(Ordering::SeqCst), 2);
    // Without the cache the step runs again, with the content of now.
    assert_eq!(content(&built(&bench, &["--no-cache", "."]), "f"), "version 2");
    bench.run(["store", "check"]).success();
}

/// T134, T135
#[test]
fn a_file_must_have_its_checksum() {
    each_caller(|caller| {
        let bench = caller.bench();
        let (server, sent) = counting(|| text("content"));
        let digest = stave_oci::BlobDigest::of(b"content");
        let url = server.url();
        bench.file("Dockerfile", format!("FROM scratch\nENV D={digest}\nADD --checksum=$D {url}/f /\n"));
        assert_eq!(content(&built(&bench, &["."]), "f"), "content");
        bench.run(["build", "."]).success();
        assert_eq!(sent.load(Ordering::SeqCst), 1, "the second build has nothing to ask");
        let wrong = stave_oci::BlobDigest::of(b"another");
        bench.file("Dockerfile", format!("FROM scratch\nADD --checksum={wrong} {url}/f /\n"));
        let output = bench.run(["build", "."]);
        output.exit(1).complains(&format!("has the wrong checksum: expected {wrong}, got {digest}"));
        bench.run(["store", "check"]).success();
    });
}

/// T136
#[test]
fn a_file_that_is_not_there_fails_the_build_and_is_not_remembered() {
    let bench = Bench::new();
    let there = Arc::new(AtomicU32::new(0));
    let now = there.clone();
    let server = Server::start(move |_| match now.load(Ordering::SeqCst) {
        0 => Response::status(404),
        _ => text("late"),
    });
    bench.file("Dockerfile", format!("FROM scratch\nADD {}/f /\n", server.url()));
    bench.run(["build", "."]).exit(1).complains("the server answered 404");
    there.store(1, Ordering::SeqCst);
    assert_eq!(content(&built(&bench, &["."]), "f"), "late");
}

/// T137, T138
#[test]
fn a_repository_is_added_as_its_files() {
    let bench = Bench::new();
    let repository = repository(&bench);
    let server = git::files(&bench.path("served"), |_| None);
    let (url, commit) = (format!("{}/r.git", server.url()), repository.rev("HEAD"));
    bench.file("Dockerfile", format!("FROM scratch\nADD {url}#main:sub /x\n"));
    assert_eq!(names(&built(&bench, &["."])), ["x/Dockerfile", "x/inner"]);
    // Another way to say the same, and a checksum, change nothing.
    bench.file("Dockerfile", format!("FROM scratch\nADD --checksum={commit} {url}?subdir=sub&branch=main /x\n"));
    let again = bench.run(["build", "."]);
    assert!(again.success().stderr.contains("CACHED"), "{}", again.stderr);
    bench.file("Dockerfile", format!("FROM scratch\nADD --checksum=0123abcd {url}#main /x\n"));
    bench.run(["build", "."]).complains("has the wrong checksum: expected 0123abcd");
    bench.file("Dockerfile", format!("FROM scratch\nADD --checksum=xyz {url}#main /x\n"));
    bench.run(["build", "."]).complains("is not the hexadecimal name of a commit");
    bench.file("Dockerfile", format!("FROM scratch\nADD --keep-git-dir=true {url} /x\n"));
    bench.run(["build", "-o", "type=local,dest=kept", "."]).success();
    let kept = Repository::at(&bench.work().join("kept/x"));
    assert_eq!((kept.rev("HEAD"), kept.git(&["status", "--porcelain"])), (commit, String::new()));
}

/// T139
#[test]
fn a_mistake_in_the_address_of_a_repository_is_shown_where_it_is() {
    let bench = Bench::new();
    bench.file("Dockerfile", "FROM scratch\nADD https://h.example/r.git?what=1 /x\n");
    let output = bench.run(["build", "."]);
    output.exit(2).complains("unknown query `what`");
    assert!(output.stderr.contains("Dockerfile:2"), "{}", output.stderr);
    bench.run(["build", "https://h.example/r.git#a..b"]).exit(2).complains("reference `a..b` of the Git address");
}

/// T191, A082
#[test]
fn a_context_is_a_directory_of_a_repository() {
    let bench = Bench::new();
    repository(&bench);
    let server = git::files(&bench.path("served"), |_| None);
    let url = format!("{}/r.git", server.url());
    // A191: the ignore file of a repository leaves nothing out, as in BuildKit.
    let all = [".dockerignore", "Dockerfile", "ignored", "sub/Dockerfile", "sub/inner", "top"];
    assert_eq!(names(&built(&bench, &[&url])), all);
    assert_eq!(names(&built(&bench, &[&format!("{url}#main:sub")])), ["inner"]);
    let kept = built(&bench, &["--build-arg", "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1", &url]);
    assert!(kept.contains_key(".git/HEAD"), "{:?}", names(&kept));
    let output = bench.run(["build", "-f", "sub/Dockerfile", &format!("{url}#:sub/..")]);
    output.exit(1).complains("`inner` not found");
}

/// T190
#[test]
fn a_context_on_the_network_is_an_archive_or_a_dockerfile() {
    let bench = Bench::new();
    let mut files = Rootfs::new();
    files.file("Dockerfile", 0o644, "FROM scratch\nCOPY a /a\n").file("a", 0o644, "1");
    files.file("other", 0o644, "FROM scratch\nCOPY a /other\n");
    files.file("other.dockerignore", 0o644, "a\n");
    let tar = files.tar();
    let server = Server::start(move |request| match request.path.as_str() {
        "/context" => text(tar.clone()),
        _ => text("FROM scratch\nENV A=b\nCOPY missing /\n"),
    });
    let archive = format!("{}/context", server.url());
    assert_eq!(names(&built(&bench, &[&archive])), ["a"]);
    // A191: nor does one in an archive.
    assert_eq!(names(&built(&bench, &["-f", "other", &archive])), ["other"]);
    let output = bench.run(["build", &format!("{}/any.tar.gz?sig=hunter2", server.url())]);
    output.complains("missing");
    assert!(output.stderr.contains("/any.tar.gz:3") && !output.stderr.contains("hunter2"), "{}", output.stderr);
    let output = bench.run(["build", "-f", "other", &format!("{}/x", server.url())]);
    output.exit(2).complains("/x is a Dockerfile, and `other` another one");
}

/// F019
#[test]
fn a_dockerfile_may_be_on_the_network() {
    let bench = Bench::new();
    bench.file("a", "1").file("b", "2").file(".dockerignore", "b\n");
    let server = Server::start(|_| text("FROM scratch\nCOPY . /\n"));
    assert_eq!(names(&built(&bench, &["-f", &format!("{}/Dockerfile", server.url()), "."])), [".dockerignore", "a"]);
}

/// T189, A15, CVE-2026-44517: an archive that breaks off is no Dockerfile, and nothing outside changes.
#[test]
fn a_broken_context_reaches_nothing_outside() {
    each_caller(|caller| {
        let bench = caller.bench();
        let sentinel = caller.plant(&bench.path("sentinel"));
        let target = sentinel.path().display().to_string();
        let mut files = Rootfs::new();
        files.symlink("Dockerfile", &format!("{target}/planted")).symlink("d", &target).file("d/planted", 0o644, "x");
        files.file("../../planted", 0o644, "x");
        let mut tar = files.tar();
        tar.truncate(tar.len() - 1024);
        tar.extend([b'x'; 700]);
        let asked = AtomicU32::new(0);
        let server = Server::start(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
            0 => text(tar.clone()),
            _ => text("FROM scratch\n"),
        });
        let output = bench.run(["build", &format!("{}/c", server.url())]);
        assert_ne!(output.code, 0, "{output}");
        sentinel.assert_untouched();
    });
}

/// T193, T194
#[test]
fn a_named_directory_replaces_a_stage_and_has_an_ignore_file_of_its_own() {
    let bench = Bench::new();
    bench.file("two/f", "named").file("two/left-out", "x").file("two/.dockerignore", "left-out\n.dockerignore\n");
    bench.file("one/g", "first").file(".dockerignore", "*\n!own\n").file("own", "own");
    bench.file(
        "Dockerfile",
        "FROM never-pulled AS base\nRUN never\nFROM scratch\nCOPY --from=base . /base/\nCOPY --from=a g /\nCOPY own /\n",
    );
    let args = ["--build-context", "base=two", "--build-context", "a=./one", "."];
    let files = built(&bench, &args);
    assert_eq!(names(&files), ["base/f", "g", "own"]);
    // What the named context has is part of the key.
    let mut all = vec!["build"];
    all.extend(args);
    assert_eq!(bench.run(&all).success().stderr.matches("CACHED").count(), 4);
    bench.file("two/f", "changed!");
    assert_eq!(content(&built(&bench, &args), "base/f"), "changed!");
    bench.run(["build", "--build-context", "base=nowhere", "."]).exit(2).complains("`nowhere`");
    bench.run(["build", "--build-context", "base", "."]).exit(2).complains("expected `NAME=VALUE`");
}

/// T192
#[test]
fn a_named_image_takes_the_place_of_another() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file(
        "Dockerfile",
        "FROM nothing AS x\nFROM scratch\nCOPY --from=nothing /bin/busybox /b\nCOPY --from=x /bin/busybox /c\n",
    );
    bench
        .run(["build", "--build-context", "nothing=docker-image://busybox", "-o", "type=local,dest=out", "."])
        .success();
    let size = |name: &str| fs::metadata(bench.work().join(name)).expect("it was copied").len();
    assert_eq!(size("out/b"), size("out/c"));
    bench.file("Dockerfile", "FROM nothing\nCOPY Dockerfile /\n");
    let files = built(&bench, &["--build-context", "nothing=docker-image://scratch", "."]);
    assert_eq!(names(&files), ["Dockerfile"]);
}

/// T195
#[test]
fn a_named_layout_is_an_image_of_this_machine() {
    let bench = Bench::new();
    let mut image = Image::new();
    image.layer(Rootfs::new().file("from-layout", 0o644, "x"));
    let layout = bench.work().join("layout");
    image.write_layout(&layout, "v1").expect("a writable bench");
    let digest = stave_oci::BlobDigest::of(&image.manifest_bytes());
    bench.file("Dockerfile", "FROM base\n").file("Containerfile", "FROM scratch\nCOPY --from=base from-layout /y\n");
    let with = |suffix: &str| format!("base=oci-layout://layout{suffix}");
    for suffix in [String::new(), ":v1".to_owned(), format!("@{digest}"), format!(":v1@{digest}")] {
        let files = built(&bench, &["--build-context", &with(&suffix), "."]);
        assert_eq!(names(&files), ["from-layout"], "{suffix}");
    }
    let files = built(&bench, &["--build-context", &with(""), "-f", "Containerfile", "."]);
    assert_eq!(names(&files), ["y"]);
    let output = bench.run(["build", "--build-context", &with(":v2"), "."]);
    output.complains("has no image with the tag `v2`");
    let missing = stave_oci::BlobDigest::of(b"missing");
    bench.run(["build", "--build-context", &with(&format!("@{missing}")), "."]).complains("has no image sha256:");
    // Only the caller names a layout.
    bench.file("Dockerfile", format!("FROM oci-layout://{}\n", layout.display()));
    bench.run(["build", "."]).exit(2);
}

/// T196
#[test]
fn a_context_for_another_platform_is_not_used() {
    let bench = Bench::new();
    bench.file("here/f", "here").file("other/f", "other").file("Dockerfile", "FROM scratch\nCOPY --from=n f /\n");
    let files = built(&bench, &["--build-context", "n=here", "--build-context", "n::plan9/mips=other", "."]);
    assert_eq!(content(&files, "f"), "here");
}

/// F013, F014
#[test]
fn a_named_context_is_on_the_network_or_a_stage() {
    let bench = Bench::new();
    repository(&bench);
    let server = git::files(&bench.path("served"), |request| {
        (request.path == "/t.tar").then(|| text(Rootfs::new().file("in-tar", 0o644, "x").tar()))
    });
    bench.file("own", "own").file(
        "Dockerfile",
        "FROM scratch AS one\nCOPY own /own\nFROM scratch\nCOPY --from=r sub/inner /\nCOPY --from=t /in-tar /\nCOPY --from=s own /\n",
    );
    let (r, t) = (format!("r={}/r.git", server.url()), format!("t={}/t.tar", server.url()));
    let args = ["--build-context", &r, "--build-context", &t, "--build-context", "s=target:one", "."];
    assert_eq!(names(&built(&bench, &args)), ["in-tar", "inner", "own"]);
}

/// A14, A20: credentials of an address are in no output and in no file of the store.
#[test]
fn the_credentials_of_an_address_are_nowhere() {
    each_caller(|caller| {
        let bench = caller.bench();
        repository(&bench);
        let server = git::files(&bench.path("served"), |request| {
            let known = request.header("authorization").is_some_and(|value| value.ends_with("bWU6aHVudGVyMg=="));
            (!known).then(|| Response::status(401).with("www-authenticate", "Basic realm=\"x\""))
        });
        let with = |path: &str| format!("{}{path}", server.url().replace("http://", "http://me:hunter2@"));
        bench.file("Dockerfile", format!("FROM scratch\nADD {} /r\nADD {} /f\n", with("/r.git"), with("/r.git/HEAD")));
        let output = bench.run(["build", "-t", "x", "."]);
        let shown = format!("{}{}", output.success().stderr, output.out());
        assert!(!shown.contains("hunter2") && !shown.contains("aHVudGVyMg"), "{shown}");
        let output = bench.run(["build", "--progress=rawjson", &with("/other.git")]);
        assert!(!output.stderr.contains("hunter2"), "{}", output.stderr);
        // Mistakes and failures quote the file, and name the address.
        for line in [
            format!("COPY {} /f", with("/f")),
            format!("ADD --lnk {} /f", with("/f")),
            format!("ADD {} /f", with("/none")),
        ] {
            bench.file("Dockerfile", format!("FROM scratch\n{line}\n"));
            for progress in ["plain", "rawjson"] {
                let output = bench.run(["build", &format!("--progress={progress}"), "."]);
                assert!(output.code != 0 && !output.stderr.contains("hunter2"), "{}", output.stderr);
            }
        }
        let status = std::process::Command::new("grep")
            .args(["-rqaE", "hunter2|aHVudGVyMg"])
            .arg(bench.store())
            .status()
            .expect("grep runs");
        assert!(!status.success(), "the password is in the store");
    });
}

/// T140, T191, A165: a private repository is opened by a secret, in a context and in a step.
#[test]
fn a_token_opens_a_private_repository() {
    each_caller(|caller| {
        let mut bench = caller.bench();
        repository(&bench);
        bench.set("TOKEN", "hunter2");
        let server = git::files(&bench.path("served"), |request| {
            let known = request.header("authorization") == Some("basic eC1hY2Nlc3MtdG9rZW46aHVudGVyMg==");
            (!known).then(|| Response::status(401).with("www-authenticate", "Basic realm=\"x\""))
        });
        let url = format!("{}/r.git", server.url());
        bench.file("Dockerfile", format!("FROM scratch\nADD {url}#main:sub /x\n"));
        let output = bench.run(["build", "."]);
        output.exit(3).complains("hint: If the repository exists, it is private: give a token");
        for secret in
            ["id=GIT_AUTH_TOKEN,env=TOKEN".to_owned(), format!("id=GIT_AUTH_TOKEN.{},env=TOKEN", server.address())]
        {
            let files = built(&bench, &["--no-cache", "--secret", &secret, "."]);
            assert_eq!(names(&files), ["x/Dockerfile", "x/inner"]);
            assert_eq!(names(&built(&bench, &["--secret", &secret, &format!("{url}#:sub")])), ["inner"]);
        }
        let found = std::process::Command::new("grep").args(["-rqa", "hunter2"]).arg(bench.store()).status();
        assert!(!found.expect("grep runs").success(), "the token is in the store");
    });
}

/// T140, T191: over SSH with the caller's agent, which a Dockerfile does not get without being granted it.
#[test]
fn a_repository_is_read_over_ssh_with_the_agent_that_is_granted() {
    each_caller(|caller| {
        let mut bench = Bench::new();
        repository(&bench);
        // It says how it was called, and has the "host" do what a real one would do after letting in who has the agent.
        bench.program(
        "../ssh/ssh",
        "#!/bin/sh\necho \"$@\" >> $(dirname $0)/calls\n[ -n \"$SSH_AUTH_SOCK\" ] || { echo 'Permission denied (publickey).' >&2; exit 255; }\n\
         for last; do :; done\nexec sh -c \"$last\"\n",
    );
        let folder = bench.path("ssh");
        bench.set("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", folder.display()));
        let _agent = std::os::unix::net::UnixListener::bind(bench.path("agent")).expect("a writable bench");
        let mut bench = caller.takes(bench);
        let url = format!("ssh://git@host.example{}/r.git", bench.path("served").display());
        bench.run(["build", &url]).exit(3).complains("Permission denied").complains("hint: Give the agent");
        bench.set("SSH_AUTH_SOCK", bench.path("agent"));
        assert_eq!(names(&built(&bench, &[&format!("{url}#main:sub")])), ["inner"]);
        let scp = format!("git@host.example:{}/r.git", bench.path("served").display());
        assert_eq!(names(&built(&bench, &[&format!("{scp}#main:sub")])), ["inner"]);
        bench.file("Dockerfile", format!("FROM scratch\nADD {url}#main:sub /x\n"));
        bench.run(["build", "."]).exit(3).complains("Permission denied");
        assert_eq!(names(&built(&bench, &["--ssh", "default", "."])), ["x/Dockerfile", "x/inner"]);
        let calls = fs::read_to_string(folder.join("calls")).expect("it was called");
        for option in [
            "-F /dev/null",
            "StrictHostKeyChecking=yes",
            "BatchMode=yes",
            "IdentityFile=none",
            "/home/.ssh/known_hosts",
        ] {
            assert!(calls.lines().all(|call| call.contains(option)), "{option}: {calls}");
        }
    });
}

/// The same, without root.
#[test]
fn a_user_adds_files_and_repositories_too() {
    for kind in ["ranges", "single"] {
        let Some(user) = needs::user(kind) else { continue };
        let bench = Bench::new();
        repository(&bench);
        let server = git::files(&bench.path("served"), |request| (request.path == "/f").then(|| text("content")));
        let url = server.url();
        bench.file(
            "Dockerfile",
            format!("FROM scratch\nADD {url}/r.git#main:sub /x\nADD {url}/f /\nCOPY --from=n a /\n"),
        );
        bench.file("named/a", "1");
        let bench = bench.as_user(&user);
        let files = built(&bench, &["--build-context", "n=named", "."]);
        assert_eq!(names(&files), ["a", "f", "x/Dockerfile", "x/inner"]);
        assert_eq!((files["f"].0, files["x/inner"].0), (0o600, 0o644));
        assert_eq!(names(&built(&bench, &[&format!("{url}/r.git#:sub")])), ["inner"]);
    }
}
