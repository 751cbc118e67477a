//! Repositories that a test makes, served by `git daemon` and over plain HTTP, friendly and hostile.

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use stave_fetch::{GitAccess, GitError};
use stave_graph::GitSource;
use stave_graph::remote::{AddressPlace, parse_git};
use stave_http::Secret;
use stave_testkit::git::{self, Repository};
use stave_testkit::http::Response;
use support::Bench;

fn source(address: &str) -> GitSource {
    parse_git(address, AddressPlace::Context).expect("it is a Git address").expect("it is valid").into_source()
}

/// A repository with two commits on `main`, the first with the tag `v1`.
fn repository(bench: &Bench) -> Repository {
    let repository = bench.repository("r.git");
    repository.file("a", "1").file("sub/b", "2").file("sub/c/d", "3");
    repository.run("chmod +x sub/b");
    repository.commit("first");
    repository.git(&["tag", "-a", "-m", "tagged", "v1"]);
    repository.file("a", "later").commit("second");
    repository
}

fn read(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap_or_default()
}

/// T137
#[test]
fn a_branch_a_tag_and_a_commit_are_checked_out() {
    let bench = Bench::new();
    let repository = repository(&bench);
    let server = git::daemon(&bench.served());
    let first = repository.rev("v1^{commit}");
    for (fragment, content) in [
        ("", "later"),
        ("#main", "later"),
        ("#refs/heads/main", "later"),
        ("#v1", "1"),
        (&*format!("#{first}"), "1"),
        ("?tag=v1", "1"),
        (&*format!("?checksum={first}"), "1"),
        (&*format!("?checksum={first}&ref=main&fetch-by-commit=true"), "1"),
    ] {
        let files = bench.fetch(&source(&format!("{}/r.git{fragment}", server.url))).expect(fragment);
        assert_eq!(read(&files, "a"), content, "{fragment}");
        assert!(!files.join(".git").exists());
        let mode = |name: &str| files.join(name).metadata().expect("it is there").permissions().mode() & 0o7777;
        assert_eq!((mode("a"), mode("sub/b"), mode("sub"), mode("")), (0o644, 0o755, 0o755, 0o755));
    }
}

/// T137
#[test]
fn a_directory_of_a_repository_is_all_that_is_there() {
    let bench = Bench::new();
    repository(&bench);
    let server = git::daemon(&bench.served());
    let files = bench.fetch(&source(&format!("{}/r.git#v1:sub", server.url))).expect("it is there");
    assert_eq!(Bench::names(&files), ["b", "c", "c/d"]);
    let error = bench.fetch(&source(&format!("{}/r.git#v1:sub/x", server.url))).expect_err("it is not there");
    assert!(error.to_string().ends_with("has no directory `sub/x`: there is no `x`"), "{error}");
    let error = bench.fetch(&source(&format!("{}/r.git#v1:a", server.url))).expect_err("it is a file");
    assert!(matches!(error, GitError::Subdir { .. }), "{error}");
}

/// T137
#[test]
fn a_repository_that_is_kept_is_clean() {
    let bench = Bench::new();
    let repository = repository(&bench);
    let server = git::daemon(&bench.served());
    let files = bench.fetch(&source(&format!("{}/r.git?tag=v1&keep-git-dir=1", server.url))).expect("it is there");
    assert_eq!(Bench::git_in(&files, &["status", "--porcelain"]), "");
    assert_eq!(Bench::git_in(&files, &["rev-parse", "HEAD"]), repository.rev("v1^{commit}"));
    assert!(!files.join(".git/hooks").exists() && !files.join(".git/FETCH_HEAD").exists());
}

/// T138
#[test]
fn a_checksum_is_that_of_the_commit_or_of_the_tag() {
    let bench = Bench::new();
    let repository = repository(&bench);
    let server = git::daemon(&bench.served());
    let (commit, tag) = (repository.rev("v1^{commit}"), repository.rev("v1"));
    for checksum in [&commit, &commit[..7], &tag] {
        bench.fetch(&source(&format!("{}/r.git?tag=v1&checksum={checksum}", server.url))).expect("it is this one");
    }
    let head = repository.rev("main");
    let error = bench.fetch(&source(&format!("{}/r.git?tag=v1&checksum={head}", server.url))).expect_err("another one");
    assert!(matches!(&error, GitError::Checksum { expected, actual, .. } if *expected == head && *actual == commit));
}

#[test]
fn a_reference_that_is_not_there_is_said_so() {
    let bench = Bench::new();
    repository(&bench);
    let server = git::daemon(&bench.served());
    let error = bench.fetch(&source(&format!("{}/r.git#nothing", server.url))).expect_err("there is none");
    assert!(error.to_string().ends_with("has no branch, tag or commit `nothing`"), "{error}");
    let error = bench.fetch(&source(&format!("{}/other.git", server.url))).expect_err("there is no repository");
    assert!(error.to_string().starts_with("cannot list the references of"), "{error}");
}

#[test]
fn a_server_that_only_has_files_is_enough() {
    let bench = Bench::new();
    let repository = repository(&bench);
    repository.git(&["update-server-info"]);
    let server = git::files(&bench.served(), |_| None);
    let files = bench.fetch(&source(&format!("{}/r.git#v1", server.url()))).expect("it is there");
    assert_eq!(read(&files, "a"), "1");
}

/// T138: a commit that no reference names is fetched alone, from a server that allows it.
#[test]
fn a_forge_gives_a_commit_without_its_history() {
    let bench = Bench::new();
    let repository = repository(&bench);
    let server = git::smart(&bench.served(), |_| None);
    let first = repository.rev("v1^{commit}");
    let files = bench.fetch(&source(&format!("{}/r.git?keep-git-dir=1#{first}", server.url()))).expect("it is there");
    assert_eq!(read(&files, "a"), "1");
    let files = bench.fetch(&source(&format!("{}/r.git?keep-git-dir=1#main", server.url()))).expect("it is there");
    assert_eq!(
        (read(&files, "a").as_str(), Bench::git_in(&files, &["rev-list", "--count", "HEAD"]).as_str()),
        ("later", "1")
    );
    let unknown = "0123456789abcdef0123456789abcdef01234567";
    let error = bench.fetch(&source(&format!("{}/r.git#{unknown}", server.url()))).expect_err("there is none");
    assert!(error.to_string().starts_with("cannot fetch http://"), "{error}");
}

#[test]
fn the_times_of_files_can_be_those_of_the_commit() {
    let bench = Bench::new();
    repository(&bench);
    let server = git::daemon(&bench.served());
    let files = bench.fetch(&source(&format!("{}/r.git?mtime=commit", server.url))).expect("it is there");
    let time = |name: &str| files.join(name).metadata().expect("it is there").mtime();
    assert_eq!((time("a"), time("sub"), time("")), (1_700_000_000, 1_700_000_000, 1_700_000_000));
}

#[test]
fn submodules_are_fetched_unless_nobody_wants_them() {
    let bench = Bench::new();
    let inner = bench.repository("inner.git");
    inner.file("x", "inner").commit("inner");
    let outer = repository(&bench);
    let server = git::daemon(&bench.served());
    outer.git(&["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "../inner.git", "deep/inner"]);
    outer.commit("with a submodule");
    let files = bench.fetch(&source(&format!("{}/r.git", server.url))).expect("it is there");
    assert_eq!(read(&files, "deep/inner/x"), "inner");
    assert!(!files.join("deep/inner/.git").exists());
    let files = bench.fetch(&source(&format!("{}/r.git?submodules=false", server.url))).expect("it is there");
    assert_eq!(Bench::names(&files.join("deep")), ["inner"]);
}

/// A14, CVE-2022-39253: a submodule that is a path of this machine.
#[test]
fn a_submodule_is_never_a_file_of_this_machine() {
    let bench = Bench::new();
    let secret = bench.repository("secret.git");
    secret.file("password", "sentinel").commit("secret");
    let outer = repository(&bench);
    let server = git::daemon(&bench.served());
    for url in [format!("file://{}", secret.path().display()), secret.path().display().to_string()] {
        outer.git(&["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "--force", &url, "inner"]);
        outer.commit("with a submodule");
        let error = bench.fetch(&source(&format!("{}/r.git", server.url))).expect_err("that is refused");
        assert!(error.to_string().contains("transport 'file' not allowed"), "{error}");
        outer.git(&["rm", "-q", "-f", "inner"]);
        outer.run("rm -rf .git/modules");
    }
}

/// A14: nothing of the repository runs: no hook, no filter, no `core.fsmonitor`.
#[test]
fn nothing_that_a_repository_names_is_run() {
    let bench = Bench::new();
    let marker = bench.path("marker");
    let outer = repository(&bench);
    outer.file(".gitattributes", "a filter=evil diff=evil\n");
    let server = git::daemon(&bench.served());
    outer.commit("attributes");
    // What the user has configured is no more in force than what the repository says.
    bench.home(&format!(
        "[filter \"evil\"]\n\tsmudge = touch {0}\n\tclean = touch {0}\n[core]\n\tfsmonitor = touch {0}\n\thooksPath = {1}\n",
        marker.display(),
        bench.hooks(&marker).display()
    ));
    bench.fetch(&source(&format!("{}/r.git?keep-git-dir=true", server.url))).expect("it is there");
    assert!(!marker.exists());
}

/// A14, CVE-2026-33748 and CVE-2026-44517: a part of the directory is a link.
#[test]
fn a_link_in_the_way_to_the_directory_is_not_followed() {
    let bench = Bench::new();
    let outer = repository(&bench);
    symlink("/", outer.path().join("proj")).expect("the link can be made");
    symlink("sub", outer.path().join("near")).expect("the link can be made");
    outer.commit("links");
    let server = git::daemon(&bench.served());
    for subdir in ["proj", "proj/etc", "near", "near/c"] {
        let error = bench.fetch(&source(&format!("{}/r.git#main:{subdir}", server.url))).expect_err("a link");
        assert!(error.to_string().contains("is a symbolic link"), "{error}");
    }
}

/// A14, GHSA-hw3h-2gp9-cxpv: the name of the server's `HEAD` is an option.
#[test]
fn what_the_server_calls_its_head_is_never_an_argument() {
    let bench = Bench::new();
    let (outer, marker) = (repository(&bench), bench.path("marker"));
    let evil = format!("refs/heads/--upload-pack=touch${{IFS}}{};", marker.display());
    let head = outer.rev("main");
    fs::write(outer.path().join(".git/packed-refs"), format!("{head} {evil}\n")).expect("it can be written");
    fs::write(outer.path().join(".git/HEAD"), format!("ref: {evil}\n")).expect("it can be written");
    outer.run("rm -rf .git/refs/heads && mkdir .git/refs/heads");
    let server = git::daemon(&bench.served());
    // Whether it works is up to `git`; what matters is what is run.
    match bench.fetch(&source(&format!("{}/r.git", server.url))) {
        Ok(files) => assert_eq!(read(&files, "a"), "later"),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    assert!(!marker.exists());
}

/// A14: what is between the arguments that others choose and the options of `git`.
#[test]
fn whatever_others_choose_stands_behind_two_dashes() {
    let mut bench = Bench::new();
    let log = bench.fake_git();
    let error = bench.fetch(&source("https://user:hunter2@example.invalid/r.git#main:x")).expect_err("it is no git");
    let calls = fs::read_to_string(log).expect("it was called");
    assert!(calls.contains("ls-remote -q -- https://example.invalid/r.git refs/heads/main"), "{calls}");
    assert!(!format!("{calls}{error}{error:?}").contains("hunter2"), "{calls}{error:?}");
}

/// T140, A14, A20: the token is a header for its own host; it is in no file of the result.
#[test]
fn a_token_opens_a_private_repository_and_stays_out_of_it() {
    let bench = Bench::new();
    let repository = repository(&bench);
    repository.git(&["update-server-info"]);
    let server = git::files(&bench.served(), |request| {
        let known = request.header("authorization") == Some("basic aHVudGVyMg==");
        (!known).then(|| stave_testkit::http::Response::status(401).with("www-authenticate", "Basic realm=\"x\""))
    });
    let private = source(&format!("{}/r.git?keep-git-dir=1&tag=v1", server.url()));
    let error = bench.fetch(&private).expect_err("nobody is let in without");
    assert!(error.hint().is_some_and(|hint| hint.contains("GIT_AUTH_TOKEN")), "{error}");
    let access =
        GitAccess { authorization: Some(Secret::new("basic aHVudGVyMg==".to_owned())), ..GitAccess::default() };
    let files = bench.fetch_with(&private, access.clone()).expect("the token opens it");
    assert_eq!(read(&files, "a"), "1");
    assert!(!bench.mentions("aHVudGVyMg=="), "the token is in a file");

    // Another host that is redirected to does not get it.
    let other = stave_testkit::http::Server::start({
        let target = format!("{}/r.git/info/refs?service=git-upload-pack", server.url());
        move |_| stave_testkit::http::Response::status(302).with("location", target.clone())
    });
    let error = bench.fetch_with(&source(&format!("{}/r.git", other.url())), access).expect_err("no redirect");
    assert!(matches!(error, GitError::Failed { .. }), "{error}");
}

/// T140: what opens a repository opens its submodules on the same host.
#[test]
fn a_token_opens_the_submodules_of_its_host() {
    let bench = Bench::new();
    let inner = bench.repository("inner.git");
    inner.file("x", "inner").commit("inner").git(&["update-server-info"]);
    let outer = repository(&bench);
    outer.git(&["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "../inner.git", "inner"]);
    outer.commit("with a submodule").git(&["update-server-info"]);
    let server = git::files(&bench.served(), |request| {
        let known = request.header("authorization") == Some("basic aHVudGVyMg==");
        (!known).then(|| stave_testkit::http::Response::status(401).with("www-authenticate", "Basic realm=\"x\""))
    });
    let access =
        GitAccess { authorization: Some(Secret::new("basic aHVudGVyMg==".to_owned())), ..GitAccess::default() };
    let files = bench.fetch_with(&source(&format!("{}/r.git", server.url())), access).expect("the token opens both");
    assert_eq!(read(&files, "inner/x"), "inner");
    assert!(!bench.mentions("aHVudGVyMg=="), "the token is in a file");
}

#[test]
fn without_git_the_error_says_what_to_install() {
    let mut bench = Bench::new();
    bench.search_path = Some("/nonexistent".into());
    let error = bench.fetch(&source("https://me:pw@example.invalid/r.git")).expect_err("there is none");
    assert_eq!(
        error.to_string(),
        "there is no program `git` in the search path, and only it can read the Git repository \
         https://xxxxx:xxxxx@example.invalid/r.git"
    );
    assert!(error.hint().is_some_and(|hint| hint.contains("apt install git")));
}

#[test]
fn an_old_git_is_refused() {
    let mut bench = Bench::new();
    bench.search_path = Some(bench.program("git", "echo git version 2.30.1"));
    let error = bench.fetch(&source("https://example.invalid/r.git")).expect_err("it is old");
    assert_eq!(error.to_string(), "`git` is too old: git version 2.30.1, and at least 2.32 is needed");
}

#[test]
fn a_server_that_says_nothing_is_left_when_somebody_asks_for_an_end() {
    let bench = Bench::new();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = format!("git://{}/r.git", silent.local_addr().expect("it is bound"));
    let cancel = bench.cancel.clone();
    let ender = std::thread::spawn(move || {
        let connection = silent.accept().expect("git connects");
        cancel.cancel();
        connection
    });
    let error = bench.fetch(&source(&address)).expect_err("it was cancelled");
    assert!(matches!(error, GitError::Cancelled), "{error}");
    drop(ender.join());
}

#[test]
fn a_server_that_says_nothing_is_left_after_a_while() {
    let mut bench = Bench::new();
    bench.limits.git_time_max = std::time::Duration::from_millis(300);
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = format!("git://{}/r.git", silent.local_addr().expect("it is bound"));
    let error = bench.fetch(&source(&address)).expect_err("nothing comes");
    assert!(matches!(error, GitError::TimedOut { .. }), "{error}");
}

/// E018: what policies are told of a commit is the commit that is used, and the tag that leads to it.
#[test]
fn the_objects_of_a_reference_are_the_commit_and_its_tag() {
    let bench = Bench::new();
    let repository = repository(&bench);
    repository.git(&["tag", "light", "v1^{commit}"]);
    let first = repository.rev("v1^{commit}");
    let raw = |kind: &str, name: &str| format!("{}\n", repository.git(&["cat-file", kind, name]));
    let daemon = git::daemon(&bench.served());
    repository.git(&["update-server-info"]);
    let files = git::files(&bench.served(), |_| None);
    for url in [daemon.url.clone(), files.url()] {
        let objects = |fragment: &str| bench.objects(&source(&format!("{url}/r.git{fragment}")));
        let tagged = objects("#v1").expect("a tag");
        let tag = tagged.tag.expect("it is annotated");
        assert_eq!(tag.digest, repository.rev("v1"));
        assert_eq!(String::from_utf8_lossy(&tag.bytes), raw("tag", "v1"));
        assert_eq!(String::from_utf8_lossy(&tagged.commit), raw("commit", "v1^{commit}"));
        for fragment in ["#light", "#main", ""] {
            assert_eq!(objects(fragment).expect(fragment).tag, None, "{fragment}");
        }
        // Pinned to a commit, as a lock does, the tag is still the one that was named.
        let pinned =
            GitSource { checksum: Some(first.clone()), fetch_by_commit: true, ..source(&format!("{url}/r.git#v1")) };
        assert!(bench.objects(&pinned).expect("it is where it was").tag.is_some());
        let moved = GitSource { checksum: Some(repository.rev("main")), ..pinned };
        let error = bench.objects(&moved).expect_err("the tag is elsewhere").to_string();
        assert!(error.contains("`v1` of the Git repository") && error.contains(&first), "{error}");
    }
}

/// E018: a branch goes on, and a pull request's is deleted; the commit that a lock pins stays what it was.
#[test]
fn the_objects_of_a_pinned_branch_are_had_wherever_it_is_by_now() {
    let bench = Bench::new();
    let repository = repository(&bench);
    let first = repository.rev("v1^{commit}");
    let server = git::daemon(&bench.served());
    let pinned = |reference: &str| {
        let source = source(&format!("{}/r.git#{reference}", server.url));
        GitSource { checksum: Some(first.clone()), fetch_by_commit: true, ..source }
    };
    for reference in ["main", "refs/heads/main", "gone", "refs/heads/gone"] {
        let objects = bench.objects(&pinned(reference)).expect(reference);
        let commit = String::from_utf8_lossy(&objects.commit);
        assert!(commit.ends_with("\n\nfirst\n") && objects.tag.is_none(), "{reference}: {commit}");
    }
    let error = bench.objects(&pinned("refs/tags/gone")).expect_err("the tag is nowhere");
    assert!(matches!(&error, GitError::NoReference { reference, .. } if reference == "refs/tags/gone"), "{error}");
}

/// A signed tag that a server says leads to another commit than it does.
#[test]
fn a_tag_that_does_not_lead_where_its_server_says_is_an_error() {
    let bench = Bench::new();
    let repository = repository(&bench);
    repository.git(&["update-server-info"]);
    let (tag, commit) = (repository.rev("v1"), repository.rev("main"));
    let listing = format!("{commit}\trefs/heads/main\n{tag}\trefs/tags/v1\n{commit}\trefs/tags/v1^{{}}\n");
    let server = git::files(&bench.served(), move |request| {
        request.path.ends_with("/info/refs").then(|| Response::body(200, "text/plain", listing.clone()))
    });
    let error = bench.objects(&source(&format!("{}/r.git#v1", server.url()))).expect_err("it lies");
    assert!(matches!(&error, GitError::OtherTag { tag: told, .. } if *told == tag), "{error}");
}
