//! The story that stave exists for, with the story's own files, byte for byte.

use stave_testkit::{Bench, needs, page};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Where the story's five files are, or nothing after saying so. They are not part of this repository.
fn story() -> Option<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/story");
    if dir.join("Dockerfile.multi").is_file() {
        return Some(dir);
    }
    needs::skipped("the folder shared/story with the story's own files is not there");
    None
}

/// The program that the story compiles: ours, the story has only the files around it.
pub(crate) fn app_go() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/link-counter/app.go");
    fs::read(path).expect("the example's program")
}

/// Puts a file of the story into the bench under another name.
fn put(bench: &Bench, story: &Path, file: &str, name: &str) {
    bench.file(name, fs::read(story.join(file)).expect("a file of the story"));
}

/// What `run` prints for a page on loopback.
pub(crate) fn counts(bench: &Bench, image: &str) -> String {
    let server = page::serve();
    let url = format!("url={}/", server.url());
    bench.run(["run", "--rm", "--network", "host", "-e", &url, image]).success().line()
}

/// All paths of an image, without times.
pub(crate) fn files(bench: &Bench, image: &str) -> Vec<String> {
    let container = bench.run(["create", image]).success().line();
    let copied = bench.run(["cp", &format!("{container}:/"), "-"]).success().stdout.clone();
    bench.run(["rm", "-f", &container]).success();
    let mut archive = tar::Archive::new(&copied[..]);
    let entries = archive.entries().expect("a tar").map(|entry| {
        let entry = entry.expect("an entry");
        let header = entry.header();
        let (mode, uid, gid) = (header.mode().ok(), header.uid().ok(), header.gid().ok());
        let link = entry.link_name().ok().flatten().map(|name| name.display().to_string());
        let path = entry.path().expect("a path").display().to_string();
        format!("{path} {:?} {mode:?} {uid:?}:{gid:?} {} {link:?}", header.entry_type(), entry.size())
    });
    let mut lines: Vec<String> = entries.collect();
    lines.sort();
    lines
}

/// A field of `inspect`.
pub(crate) fn inspect(bench: &Bench, image: &str, field: &str) -> serde_json::Value {
    let text = bench.run(["inspect", image]).success().out();
    let parsed: serde_json::Value = serde_json::from_str(&text).expect("inspect prints JSON");
    parsed[0][field].clone()
}

/// T212: the files and the script of the story, byte for byte.
#[test]
fn the_storys_script_and_its_multi_stage_files_make_the_same_image() {
    let (Some(standins), Some(story)) = (needs::standins(), story()) else { return };
    let bench = Bench::new().with_standins(&standins);
    bench.file("app.go", app_go());
    let image = "avmaksimov/href-counter";

    put(&bench, &story, "Dockerfile.multi", "Dockerfile");
    bench.run(["build", "-t", &format!("{image}:latest"), "."]).success();
    assert_eq!(counts(&bench, image), page::counts());

    put(&bench, &story, "Dockerfile.named", "Dockerfile");
    bench.run(["build", "-t", &format!("{image}:named"), "."]).success();
    assert_eq!(counts(&bench, &format!("{image}:named")), page::counts());

    for file in ["Dockerfile", "Dockerfile.build", "build.sh"] {
        put(&bench, &story, file, file);
    }
    let bin = bench.path("bin");
    fs::create_dir(&bin).expect("a writable bench");
    symlink(stave_testkit::bench::stave_binary(), bin.join("docker")).expect("a link");
    let mut script = bench.other(Path::new("/bin/sh"));
    script.arg("build.sh").env("PATH", format!("{}:/usr/bin:/bin", bin.display()));
    bench.finish(script).success();
    let old = "alexellis2/href-counter:latest";
    assert_eq!(counts(&bench, old), page::counts());
    assert!(!bench.work().join("app").exists(), "the script removes the program that it copied out");

    let names: Vec<String> = files(&bench, image);
    assert_eq!(names, files(&bench, old));
    assert_eq!(names, files(&bench, &format!("{image}:named")));
    assert_eq!(inspect(&bench, image, "Config"), inspect(&bench, old, "Config"));
    assert!(!names.iter().any(|name| name.contains("go/src") || name.contains("usr/lib/go")), "{names:?}");

    let built = inspect(&bench, "alexellis2/href-counter:build", "Size").as_u64().expect("a size");
    let small = inspect(&bench, image, "Size").as_u64().expect("a size");
    assert!(built > 700_000_000, "the image that compiles has {built} bytes");
    assert!(small < 15_000_000, "the final image has {small} bytes");
}

#[test]
fn the_example_tells_the_same_story_in_its_own_files() {
    let Some(standins) = needs::standins() else { return };
    let bench = Bench::new().with_standins(&standins);
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/link-counter");
    for name in ["Dockerfile", "app.go"] {
        bench.file(name, fs::read(example.join(name)).expect("a file of the example"));
    }
    bench.run(["build", "-t", "link-counter", "."]).success();
    assert_eq!(counts(&bench, "link-counter"), page::counts());
    let second = bench.run(["build", "-t", "link-counter", "."]);
    second.success();
    let mut after_title = second.stderr.lines().skip_while(|line| !line.ends_with("go build -o link-counter ."));
    assert!(after_title.nth(1).is_some_and(|line| line.ends_with("CACHED")), "{second}");
}
