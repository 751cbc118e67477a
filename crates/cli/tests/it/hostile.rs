//! Repositories and servers that attack (A14 and A15), end to end and for each caller: nothing that they say is run, is an
//! option, leads out of what they sent, or is kept where it is not what was asked for.

use crate::callers::{Caller, each_caller};
use stave_testkit::git::{self, Repository};
use stave_testkit::http::{Response, Server};
use stave_testkit::sentinel::SECRET;
use stave_testkit::{Bench, Output, Rootfs, Sentinel, needs};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

/// A bench with a tree beside it, a directory of repositories, and the name of a file that nobody may make.
struct Scene {
    bench: Bench,
    sentinel: Sentinel,
    served: PathBuf,
    marker: PathBuf,
}

fn scene(caller: &Caller) -> Scene {
    let bench = caller.bench();
    let sentinel = caller.plant(&bench.path("sentinel"));
    let served = bench.path("served");
    fs::create_dir(&served).expect("a writable bench");
    // Where the caller may write, so that a program that were run could leave its mark.
    let marker = bench.path("tmp/executed");
    Scene { bench, sentinel, served, marker }
}

impl Scene {
    /// A repository `NAME.git` with a file and a Dockerfile, not committed.
    fn repository(&self, name: &str) -> Repository {
        let repository = Repository::init(&self.served.join(format!("{name}.git")));
        repository.file("a", "text").file("Dockerfile", "FROM scratch\nCOPY . /\n");
        repository
    }

    /// Builds `address` as a context and as the source of an `ADD`.
    fn both(&self, address: &str) -> [Output; 2] {
        self.bench.file("Dockerfile", format!("FROM scratch\nADD {address} /x/\n"));
        let args = ["build", "--progress=plain", "--output", "type=tar,dest=out.tar"];
        [address, "."].map(|context| {
            let output = self.bench.run(args.iter().chain(&[context]));
            self.check(address, &output);
            output
        })
    }

    /// After whatever happened: nothing was run, nothing outside changed or was read, and the store is sound.
    #[track_caller]
    fn check(&self, what: &str, output: &Output) {
        assert!((0..=3).contains(&output.code), "{what}: {output}");
        assert!(!output.stderr.contains("internal error"), "{what}: {output}");
        assert!(!self.marker.exists(), "{what}: something was run");
        self.sentinel.assert_untouched();
        for place in [self.bench.store(), self.bench.work(), self.bench.path("home")] {
            assert!(!has(&place, SECRET), "{what}: what is outside was read");
        }
        self.bench.run(["store", "check"]).success();
    }
}

/// Whether a file below `dir` has `text` in it.
fn has(dir: &Path, text: &str) -> bool {
    if !dir.exists() {
        return false;
    }
    Command::new("grep").args(["-rqaF", text]).arg(dir).status().expect("grep runs").success()
}

/// A14, CVE-2019-13139, GHSA-hw3h-2gp9-cxpv: neither who writes the address nor the server that answers chooses an option.
#[test]
fn no_word_of_an_address_or_a_server_is_an_option_of_git() {
    each_caller(|caller| {
        let scene = scene(caller);
        let touch = format!("--upload-pack=touch${{IFS}}{}", scene.marker.display());
        let plain = scene.repository("plain");
        plain.commit("first");
        let evil = scene.repository("evil");
        evil.commit("first");
        let (head, name) = (evil.rev("main"), format!("refs/heads/{touch}"));
        fs::write(evil.path().join(".git/packed-refs"), format!("{head} {name}\n")).expect("it can be written");
        fs::write(evil.path().join(".git/HEAD"), format!("ref: {name}\n")).expect("it can be written");
        evil.run("rm -rf .git/refs/heads && mkdir .git/refs/heads");
        let server = git::daemon(&scene.served);
        for output in scene.both(&format!("{}/plain.git", server.url)) {
            output.success();
        }
        for address in [
            format!("{}/plain.git#{touch}", server.url),
            format!("{}/plain.git#{touch};:", server.url),
            format!("{}/plain.git#main:{touch}", server.url),
            format!("{}/plain.git?branch={touch}", server.url),
            format!("git@host.invalid:r.git#{touch}"),
            format!("ssh://-oProxyCommand=touch${{IFS}}{}/r.git", scene.marker.display()),
            format!("ssh://-oProxyCommand=touch${{IFS}}{}@host.invalid/r.git", scene.marker.display()),
            format!("-oProxyCommand=touch${{IFS}}{}@host.invalid:r.git", scene.marker.display()),
        ] {
            for output in scene.both(&address) {
                assert_ne!(output.code, 0, "{address}: {output}");
            }
        }
        // Whether this one works is up to `git`; what matters is what is run.
        scene.both(&format!("{}/evil.git", server.url));
    });
}

/// A14, CVE-2026-33748, CVE-2026-44517, CVE-2022-39253: links, dots and submodules do not lead to files of this machine.
#[test]
fn no_path_of_a_repository_leads_to_files_of_this_machine() {
    each_caller(|caller| {
        let scene = scene(caller);
        let target = scene.sentinel.path();
        let links = scene.repository("links");
        symlink("/", links.path().join("root")).expect("a link");
        symlink(target, links.path().join("there")).expect("a link");
        links.commit("links");
        let secret = scene.repository("secret");
        secret.file("password", SECRET).commit("secret");
        let server = git::daemon(&scene.served);
        for part in ["root/etc", "there", "there/dir", "../../sentinel", "a/../../sentinel", ".git", "/../.."] {
            let address = format!("{}/links.git#main:{part}", server.url);
            for output in scene.both(&address) {
                assert_ne!(output.code, 0, "{address}: {output}");
            }
        }
        for (number, url) in
            [format!("file://{}", secret.path().display()), secret.path().display().to_string()].into_iter().enumerate()
        {
            let outer = scene.repository(&format!("outer{number}"));
            outer.git(&["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "--force", &url, "inner"]);
            outer.commit("with a submodule");
            // The copy is this test's own doing; what is built must not have another.
            fs::remove_dir_all(outer.path().join("inner")).expect("the test's own");
            fs::remove_dir_all(outer.path().join(".git/modules")).expect("the test's own");
            for output in scene.both(&format!("{}/outer{number}.git", server.url)) {
                assert_ne!(output.code, 0, "{url}: {output}");
                output.complains("transport 'file' not allowed");
            }
        }
    });
}

/// A14: hooks, filters and watchers, of the repository, of its server and of the caller's own configuration.
#[test]
fn nothing_that_a_repository_or_its_reader_has_configured_is_run() {
    each_caller(|caller| {
        let scene = scene(caller);
        let hook = format!("#!/bin/sh\ntouch {}\n", scene.marker.display());
        for name in ["post-checkout", "reference-transaction", "post-merge", "pre-commit"] {
            scene.bench.program(&format!("../hooks/{name}"), &hook);
        }
        let repository = scene.repository("r");
        repository.file(".gitattributes", "a filter=evil diff=evil\n").file(".gitconfig", "").commit("first");
        let config = format!(
            "[filter \"evil\"]\n\tsmudge = touch {0}\n\tclean = touch {0}\n\tprocess = touch {0}\n\
             [core]\n\tfsmonitor = touch {0}\n\thooksPath = {1}\n\tsshCommand = touch {0}\n[init]\n\ttemplateDir = {1}\n",
            scene.marker.display(),
            scene.bench.path("hooks").display()
        );
        scene.bench.file("../home/.gitconfig", &config);
        repository.file(".git/config.evil", &config);
        let server = git::daemon(&scene.served);
        for output in scene.both(&format!("{}/r.git?keep-git-dir=true", server.url)) {
            output.success();
        }
    });
}

/// A15: whatever a server calls a file, it has a safe name where the Dockerfile wants it.
#[test]
fn a_file_has_a_safe_name_whatever_its_server_calls_it() {
    each_caller(|caller| {
        let scene = scene(caller);
        let target = scene.sentinel.path().join("planted").display().to_string();
        let names =
            ["../planted", "..", ".", "a\tb", "/etc/planted", "..%2f..%2fplanted", "a/../../planted", target.as_str()];
        for name in names {
            let disposition = format!("attachment; filename=\"{name}\"");
            let server = Server::start(move |_| {
                Response::body(200, "text/plain", "content").with("Content-Disposition", disposition.clone())
            });
            for path in ["/", "/..", "/%2e%2e", "/a%2fb", "/..%2f..%2fplanted", "/a%00b", "/a%0ab", "/x"] {
                let address = format!("{}{path}", server.url());
                scene.bench.file("Dockerfile", format!("FROM scratch\nADD {address} /x/\n"));
                let output = scene.bench.run(["build", "--output", "type=tar,dest=out.tar", "."]);
                scene.check(&format!("{name} at {path}"), &output);
                if output.code != 0 {
                    continue;
                }
                let mut archive =
                    tar::Archive::new(fs::File::open(scene.bench.work().join("out.tar")).expect("it is there"));
                for entry in archive.entries().expect("a tar") {
                    let found = entry.expect("an entry").path().expect("a path").display().to_string();
                    let rest = found.trim_end_matches('/').strip_prefix('x').unwrap_or("elsewhere");
                    let is_safe = rest.is_empty() || rest.starts_with('/') && !rest[1..].contains(['/', '\0', '\n']);
                    assert!(is_safe && !rest.contains(".."), "{name} at {path}: {found}");
                }
            }
        }
    });
}

/// A15 and A20: who answers for another host does not see who the caller is.
#[test]
fn a_redirect_takes_no_credentials_along() {
    each_caller(|caller| {
        let scene = scene(caller);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&seen);
        let other = Server::start(move |request| {
            heard.lock().expect("no panic").push(format!("{request:?}"));
            Response::body(200, "text/plain", "FROM scratch\nCOPY . /\n")
        });
        let to = other.url();
        let first = Server::start(move |request| {
            let known = request.header("authorization").is_some_and(|value| value.ends_with("bWU6aHVudGVyMg=="));
            if known { Response::status(302).with("Location", format!("{to}/f")) } else { Response::status(401) }
        });
        let address = format!("{}/f", first.url().replace("http://", "http://me:hunter2@"));
        for output in scene.both(&address) {
            output.success();
            assert!(!output.stderr.contains("hunter2") && !output.stderr.contains("aHVudGVyMg"), "{output}");
        }
        let seen = seen.lock().expect("no panic");
        assert!(!seen.is_empty(), "it was asked");
        for request in seen.iter() {
            let request = request.to_lowercase();
            assert!(!request.contains("authorization") && !request.contains("hunter2"), "{request}");
        }
        assert!(!has(&scene.bench.store(), "hunter2") && !has(&scene.bench.store(), "aHVudGVyMg"));
    });
}

/// A15: what has another checksum is not kept, not even for those who ask for that one.
#[test]
fn a_file_with_another_checksum_leaves_nothing_behind() {
    each_caller(|caller| {
        let scene = scene(caller);
        let sent = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&sent);
        let server = Server::start(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            Response::body(200, "text/plain", "not-the-one-that-was-asked-for")
        });
        let wrong = stave_oci::BlobDigest::of(b"another");
        scene.bench.file("Dockerfile", format!("FROM scratch\nADD --checksum={wrong} {}/f /f\n", server.url()));
        for _ in 0..2 {
            let output = scene.bench.run(["build", "."]);
            output.exit(1).complains("has the wrong checksum");
            scene.check("a checksum", &output);
        }
        assert_eq!(sent.load(Ordering::SeqCst), 2, "the second time it is asked again");
        assert!(!has(&scene.bench.store(), "not-the-one-that-was-asked-for"));
    });
}

/// A15: an archive that is much larger than it looks ends where the store's limit is, and leaves nothing.
#[test]
fn an_archive_that_grows_without_end_stops_at_the_limit() {
    let Some(gzip) = needs::program("gzip") else { return };
    let mut files = Rootfs::new();
    files.file("Dockerfile", 0o644, "FROM scratch\nCOPY . /\n").file("big", 0o644, vec![b'x'; 24 << 20]);
    let bomb = packed(&gzip, &files.tar());
    assert!(bomb.len() < 1 << 20, "{} bytes", bomb.len());
    each_caller(|caller| {
        let scene = scene(caller);
        let body = bomb.clone();
        let server = Server::start(move |_| Response::body(200, "application/gzip", body.clone()));
        let url = format!("{}/bomb.tar.gz", server.url());
        scene.bench.run(["images"]).success();
        scene.bench.run(["store", "limit", "12000000"]).success();
        scene.bench.file("bomb.tar.gz", &bomb);
        for (context, dockerfile) in [
            (url.as_str(), String::new()),
            (".", format!("FROM scratch\nADD --unpack=true {url} /x/\n")),
            (".", "FROM scratch\nADD bomb.tar.gz /x/\n".to_owned()),
        ] {
            scene.bench.file("Dockerfile", dockerfile);
            for _ in 0..2 {
                let output = scene.bench.run(["build", "-t", "made", context]);
                output.exit(3).complains("the store would pass its limit of");
                scene.check(context, &output);
            }
        }
        assert!(stave_testkit::leaks::work_files(&scene.bench.store()).is_empty());
    });
}

fn packed(gzip: &Path, bytes: &[u8]) -> Vec<u8> {
    let mut child =
        Command::new(gzip).arg("-9").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it is there");
    let mut stdin = child.stdin.take().expect("asked for");
    let bytes = bytes.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&bytes).expect("it reads"));
    let output = child.wait_with_output().expect("waited for");
    writer.join().expect("no panic");
    output.stdout
}
