//! What patterns select, and what changes a digest.

use std::os::unix::fs::PermissionsExt as _;

use stave_oci::TreeDigest;
use stave_pattern::IgnoreFile;
use stave_tree::{Context, HashMemory, SelectError, Time, select};

use crate::support::{Scratch, layers, make};

const NOW: Time = Time { seconds: 4_000_000_000, nanoseconds: 0 };

fn context(scratch: &Scratch, ignore: &str) -> Context {
    let ignore = (!ignore.is_empty()).then(|| IgnoreFile::parse(ignore.as_bytes()).unwrap());
    Context::open(scratch.open("context"), ignore, HashMemory::empty(NOW))
}

fn digest(scratch: &Scratch, pattern: &str) -> TreeDigest {
    context(scratch, "").select(&[pattern]).unwrap().digest().unwrap()
}

/// Returns how many files are selected.
fn files(scratch: &Scratch, ignore: &str, patterns: &[&str]) -> u64 {
    context(scratch, ignore).select(patterns).unwrap().size().files
}

/// A125, A126, A129, A130, T88, T92, T94, T95.
#[test]
fn patterns_select_what_they_say() {
    let scratch = Scratch::new();
    scratch.tree("context", "foo1 = a\nfoo2 = b\n[a].txt = c\nd/x.txt = d\nd/e/y.txt = e\nreal/z = 1\nl -> real");
    let count = |pattern: &str| files(&scratch, "", &[pattern]);
    assert_eq!(count("foo*"), 2);
    assert_eq!(count("foo?"), 2);
    assert_eq!(count("/foo1"), 1);
    assert_eq!(count("../../foo1"), 1);
    assert_eq!(count("[[]a].txt"), 1);
    assert_eq!(count("missing*"), 0);
    assert_eq!(count("**/*.txt"), 1);
    assert_eq!(count("*/*/*.txt"), 1);
    assert_eq!(count("l/*"), 1);
    assert_eq!(count("."), 7);
    assert_eq!(count(""), 7);
    assert_eq!(files(&scratch, "", &["foo1", "d", "nothing*"]), 3);
    assert!(context(&scratch, "").select(&["missing*"]).unwrap().is_empty());
    for missing in ["missing", "d/missing", "foo1/x"] {
        let error = context(&scratch, "").select(&[missing]).unwrap_err();
        assert!(matches!(error, SelectError::NotFound { ref pattern } if pattern == missing), "{error}");
    }
    assert!(matches!(context(&scratch, "").select(&["[a"]), Err(SelectError::Pattern { .. })));
}

/// T181, T182, T184.
#[test]
fn ignored_files_are_not_there() {
    let scratch = Scratch::new();
    scratch.tree("context", "keep/a = 1\ndrop/b = 2\ndrop/deep/c = 3\nx.log = 4\nl -> x.log\nempty/ 755");
    assert_eq!(files(&scratch, "drop\n*.log\nl", &["."]), 1);
    assert_eq!(files(&scratch, "*\n!drop/deep", &["."]), 1);
    assert_eq!(files(&scratch, "drop\n!drop/deep/c", &["drop"]), 1);
    assert_eq!(files(&scratch, "drop", &["dr*"]), 0);
    let by = |pattern: &str, ignore: &str| match context(&scratch, ignore).select(&[pattern]) {
        Err(SelectError::Ignored { line, .. }) => line,
        other => panic!("{other:?}"),
    };
    assert_eq!(by("x.log", "# logs\n*.log"), 2);
    assert_eq!(by("l", "x.log"), 1, "a link to an ignored file");
    assert_eq!(by("drop/deep", "drop"), 1);
    assert_eq!(context(&scratch, "a\n*.log").ignored_by(b"./x.log"), Some(2));
    assert_eq!(context(&scratch, "a\n*.log").ignored_by(b"keep/a"), None);
}

/// A143, T96, T97.
#[test]
fn a_digest_sees_content_names_modes_and_links_but_no_times() {
    let scratch = Scratch::new();
    scratch.tree("context", "d/a 644 = 1\nd/b 644 = 2\nd/l -> a\nother = x");
    let path = |name: &str| scratch.path("context").join(name);
    let first = digest(&scratch, "d");
    let past = std::fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(5));
    for name in ["d", "d/a"] {
        std::fs::File::open(path(name)).unwrap().set_times(past).unwrap();
    }
    std::fs::write(path("other"), "changed").unwrap();
    assert_eq!(digest(&scratch, "d"), first, "times and other files do not count");
    std::fs::set_permissions(path("d/a"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let second = digest(&scratch, "d");
    assert_ne!(second, first, "mode");
    std::fs::write(path("d/a"), "3").unwrap();
    let third = digest(&scratch, "d");
    assert_ne!(third, second, "content");
    std::fs::rename(path("d/b"), path("d/c")).unwrap();
    let fourth = digest(&scratch, "d");
    assert_ne!(fourth, third, "name");
    std::fs::remove_file(path("d/l")).unwrap();
    make(&path(""), "d/l -> c");
    let fifth = digest(&scratch, "d");
    assert_ne!(fifth, fourth, "link target");
    rustix::fs::setxattr(path("d/c"), "user.x", b"1", rustix::fs::XattrFlags::empty()).unwrap();
    let sixth = digest(&scratch, "d");
    assert_ne!(sixth, fifth, "attribute");
    std::fs::remove_file(path("d/c")).unwrap();
    std::fs::hard_link(path("d/a"), path("d/c")).unwrap();
    let hard = digest(&scratch, "d");
    std::fs::remove_file(path("d/c")).unwrap();
    std::fs::copy(path("d/a"), path("d/c")).unwrap();
    assert_ne!(digest(&scratch, "d"), hard, "two names of one file are not two files");
}

#[test]
fn the_same_files_have_the_same_digest_through_a_tree() {
    let scratch = Scratch::new();
    let tree = scratch.tree("context", "d/a 644 = 1\nd/sub/b 600 = 2");
    if rustix::process::geteuid().is_root() {
        assert_eq!(select(&layers(&[&tree]), &["d"]).unwrap().digest().unwrap(), digest(&scratch, "d"));
    }
    assert_ne!(digest(&scratch, "d"), digest(&scratch, "d/*"));
}

#[test]
fn digests_are_remembered_and_never_stale() {
    let scratch = Scratch::new();
    scratch.tree("context", "d/a = 1\nd/b = 2");
    let memory_dir = scratch.tree("memory", "");
    let now = Time { seconds: i64::MAX / 2, nanoseconds: 0 };
    let with_memory = |now| {
        let context = Context::open(scratch.open("context"), None, HashMemory::load(&memory_dir, b"m", now));
        let digest = context.select(&["d"]).unwrap().digest().unwrap();
        (digest, context.memory().save(&memory_dir, b"m").unwrap())
    };
    let (first, wrote) = with_memory(now);
    assert!(wrote);
    assert_eq!(with_memory(now), (first, false), "all was known");
    // Same size, and the time of the content put back: only the time of the last change of any kind tells.
    let path = scratch.path("context/d/a");
    let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
    std::fs::write(&path, "9").unwrap();
    std::fs::File::open(&path).unwrap().set_times(std::fs::FileTimes::new().set_modified(modified)).unwrap();
    let (second, wrote) = with_memory(now);
    assert_ne!(second, first);
    assert!(wrote);
    assert_eq!(second, digest(&scratch, "d"));
}

#[test]
fn deep_and_wide_trees_are_walked() {
    let scratch = Scratch::new();
    scratch.tree("context", "");
    for index in 0..3000 {
        std::fs::write(scratch.path("context").join(format!("f{index}")), index.to_string()).unwrap();
    }
    let dir = scratch.open("context");
    let mut deep = dir.try_clone().unwrap();
    let name = [b'n'; 200];
    for _ in 0..300 {
        deep.create_dir(&name, 0o755).unwrap();
        deep = deep.open_dir_no_links(&name).unwrap();
    }
    deep.replace_file(b"end", b"x", 0o644).unwrap();
    let selection = context(&scratch, "").select(&["."]).unwrap();
    assert_eq!(selection.size().files, 3001);
    assert_eq!(selection.digest().unwrap(), context(&scratch, "").select(&["."]).unwrap().digest().unwrap());
    dir.remove_tree(&name).unwrap();
}

/// A16: nothing outside the context is read, whatever a pattern or a link says.
#[test]
fn nothing_outside_the_context_is_reached() {
    let scratch = Scratch::new();
    make(&scratch.path(""), "secret = sentinel\nsecrets/x = sentinel");
    scratch.tree(
        "context",
        "up -> ../secret\nabsolute -> /secret\ndir -> ../secrets\nloop -> loop\na -> b\nb -> a\nproc -> /proc/self/environ",
    );
    let all = [
        "../secret",
        "/../secret",
        "up",
        "absolute",
        "dir/x",
        "dir/../secret",
        "loop",
        "a",
        "loop/x",
        "proc",
        "../secrets/x",
        "a/../../secret",
        "dir",
    ];
    for pattern in all {
        let result = context(&scratch, "").select(&[pattern]);
        assert!(result.is_err(), "{pattern} selected {result:?}");
    }
    for pattern in ["../*", "dir/*", "../secrets/*", "*/../../secret*"] {
        match context(&scratch, "").select(&[pattern]) {
            Err(_) => {}
            Ok(selection) => assert!(selection.size().bytes == 0, "{pattern}"),
        }
    }
    assert_eq!(files(&scratch, "", &["."]), 7, "links are taken as they are");
}

/// Found by `layers_are_what_overlayfs_makes_of_them`.
#[test]
fn a_link_that_ends_in_a_slash_leads_to_directories_only() {
    let scratch = Scratch::new();
    let tree = scratch.tree("tree", "d/ 755\nd/f = x\nf = x\nto-file -> /f/\nto-dir -> /d/");
    let layers = layers(&[&tree]);
    assert!(layers.read_file(b"to-file", 10).is_err(), "the kernel says that it is no directory");
    assert_eq!(layers.read_file(b"to-dir/f", 10).expect("it is a directory"), b"x");
}
