//! The same image as an established builder makes: each Dockerfile of `conformance/` is built by stave and by the `BuildKit`
//! inside dockerd, and configuration, history and every entry of every layer are compared.

use crate::docker::Dockerd;
use stave_testkit::fixtures::with_busybox;
use stave_testkit::{Bench, LoopbackRegistry};
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../conformance");

/// What an archive of `docker save` holds.
struct Saved {
    config: serde_json::Value,
    /// The entries of each layer but those of the base, by path.
    layers: Vec<BTreeMap<String, String>>,
}

/// A bench, and a dockerd that takes the same base images.
fn both() -> Option<(Bench, LoopbackRegistry, Dockerd)> {
    let (bench, registry) = with_busybox()?;
    let dockerd = Dockerd::start(&bench, Some(&registry.host()))?;
    Some((bench, registry, dockerd))
}

fn cases() -> Vec<PathBuf> {
    let listed = fs::read_dir(CASES).expect("the folder of cases");
    let mut cases: Vec<PathBuf> = listed.map(|entry| entry.expect("an entry").path()).collect();
    cases.retain(|path| path.join("Dockerfile").is_file());
    cases.sort();
    cases
}

#[test]
fn stave_makes_the_images_that_buildkit_makes() {
    let Some((bench, _registry, dockerd)) = both() else { return };
    let mut differences = Vec::new();
    for case in cases() {
        let name = case.file_name().and_then(|name| name.to_str()).expect("a case's name");
        let context = bench.work().join(name);
        copy_tree(&case, &context);
        let context = context.display().to_string();
        dockerd.docker(&bench, &["build", "-t", "theirs", "--network=host", &context]).success();
        let theirs = bench.work().join("theirs.tar").display().to_string();
        dockerd.docker(&bench, &["save", "-o", &theirs, "theirs"]).success();
        bench.run(["build", "-t", "ours", &context]).success();
        let ours = bench.work().join("ours.tar").display().to_string();
        bench.run(["save", "-o", &ours, "ours"]).success();
        let (ours, theirs) = (read(Path::new(&ours)), read(Path::new(&theirs)));
        differences.extend(compare(&ours, &theirs).into_iter().map(|line| format!("{name}: {line}")));
    }
    assert!(differences.is_empty(), "\n{}", differences.join("\n"));
}

/// Copies a case's files with the modes and times that a checkout does not keep.
fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a writable bench");
    for entry in fs::read_dir(from).expect("a case") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        let kind = entry.file_type().expect("a type");
        if kind.is_dir() {
            copy_tree(&entry.path(), &target);
        } else if kind.is_symlink() {
            let link = fs::read_link(entry.path()).expect("a link");
            std::os::unix::fs::symlink(link, target).expect("a writable bench");
        } else {
            fs::copy(entry.path(), target).expect("a writable bench");
        }
    }
}

fn compare(ours: &Saved, theirs: &Saved) -> Vec<String> {
    let mut lines = Vec::new();
    let fields = [
        "Env",
        "Cmd",
        "Entrypoint",
        "WorkingDir",
        "User",
        "Labels",
        "ExposedPorts",
        "Volumes",
        "StopSignal",
        "Shell",
        "Healthcheck",
        "OnBuild",
    ];
    for field in fields {
        let (left, right) = (&ours.config["config"][field], &theirs.config["config"][field]);
        if !is_empty(left) || !is_empty(right) {
            push_difference(&mut lines, field, &left.to_string(), &right.to_string());
        }
    }
    push_difference(&mut lines, "author", &ours.config["author"].to_string(), &theirs.config["author"].to_string());
    push_difference(&mut lines, "history", &history(&ours.config), &history(&theirs.config));
    if ours.layers.len() != theirs.layers.len() {
        lines.push(format!("{} layers, expected {}", ours.layers.len(), theirs.layers.len()));
    }
    for (number, (left, right)) in ours.layers.iter().zip(&theirs.layers).enumerate().skip(1) {
        for path in left.keys().chain(right.keys()).collect::<std::collections::BTreeSet<_>>() {
            // Debian's BuildKit leaves the directory of its mount points in every layer of a RUN.
            if path == "etc" && !left.contains_key(path) {
                continue;
            }
            let show = |layer: &BTreeMap<String, String>| match layer.get(path) {
                // A whiteout is its name; what else its entry says means nothing.
                Some(_) if path.contains(".wh.") => "whiteout".to_owned(),
                Some(shown) => shown.clone(),
                None => "absent".to_owned(),
            };
            push_difference(&mut lines, &format!("layer {number}: {path}"), &show(left), &show(right));
        }
    }
    lines
}

fn push_difference(lines: &mut Vec<String>, what: &str, ours: &str, theirs: &str) {
    if ours != theirs {
        lines.push(format!("{what}: {ours}, expected {theirs}"));
    }
}

/// Absent, null, and empty mean the same in a configuration.
fn is_empty(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Null => true,
        serde_json::Value::String(text) => text.is_empty(),
        serde_json::Value::Array(list) => list.is_empty(),
        serde_json::Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// What made each layer, without times.
fn history(config: &serde_json::Value) -> String {
    let entries = config["history"].as_array().map(Vec::as_slice).unwrap_or_default();
    let line = |entry: &serde_json::Value| {
        let text = wording(entry["created_by"].as_str().unwrap_or_default());
        format!("\n    {text} empty={}", entry["empty_layer"])
    };
    entries.iter().map(line).collect()
}

/// A line of the history without what BuildKit has worded differently since the version that Debian has
/// (`conformance/README.md`).
fn wording(created_by: &str) -> String {
    let (keyword, rest) = created_by.split_once(' ').unwrap_or((created_by, ""));
    match keyword {
        "EXPOSE" | "HEALTHCHECK" => keyword.to_owned(),
        "ARG" => format!("ARG {}", rest.split('=').next().unwrap_or_default()),
        "COPY" | "ADD" => {
            let words = rest.split(' ').filter(|word| !word.starts_with("--"));
            format!("{keyword} {}", words.collect::<Vec<_>>().join(" "))
        }
        "RUN" => format!("RUN {}", rest.split_once("/bin/sh -c ").map_or(rest, |(_, command)| command)),
        _ => created_by.to_owned(),
    }
}

fn read(path: &Path) -> Saved {
    let file = fs::File::open(path).expect("an archive");
    let mut files = BTreeMap::new();
    let mut links = BTreeMap::new();
    for entry in tar::Archive::new(file).entries().expect("a tar") {
        let mut entry = entry.expect("an entry");
        let name = entry.path().expect("a path").display().to_string();
        if let Some(link) = entry.link_name().expect("a link") {
            // docker save stores a layer that occurs twice once.
            let target = Path::new(&name).with_file_name("").join(link).display().to_string();
            links.insert(name, target.split("/../").last().unwrap_or_default().to_owned());
            continue;
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).expect("an entry's bytes");
        files.insert(name, bytes);
    }
    let manifest: serde_json::Value = serde_json::from_slice(&files["manifest.json"]).expect("JSON");
    let text = |value: &serde_json::Value| value.as_str().expect("a name").to_owned();
    let config = serde_json::from_slice(&files[&text(&manifest[0]["Config"])]).expect("JSON");
    let names = manifest[0]["Layers"].as_array().expect("a list").iter().map(text);
    let layers = names.map(|name| entries(&files[links.get(&name).unwrap_or(&name)])).collect();
    Saved { config, layers }
}

/// Each entry's type, mode, owner, size and link. Directories that a layer only passes through have no meaning of their
/// own in a size, and times are those of the build.
fn entries(layer: &[u8]) -> BTreeMap<String, String> {
    let mut plain = Vec::new();
    if layer.starts_with(&[0x1f, 0x8b]) {
        flate2::read::MultiGzDecoder::new(layer).read_to_end(&mut plain).expect("gzip");
    } else {
        plain.extend_from_slice(layer);
    }
    let mut listed = BTreeMap::new();
    for entry in tar::Archive::new(&plain[..]).entries().expect("a tar") {
        let entry = entry.expect("an entry");
        let header = entry.header();
        let path = entry.path().expect("a path").display().to_string();
        let path = path.trim_start_matches("./").trim_end_matches('/').to_owned();
        let link = entry.link_name().expect("a link").map(|link| link.display().to_string()).unwrap_or_default();
        let (mode, uid, gid) = (header.mode().expect("a mode"), header.uid(), header.gid());
        let owner = format!("{}:{}", uid.expect("an owner"), gid.expect("a group"));
        let shown = format!("{:?} {:o} {owner} {} {link}", header.entry_type(), mode & 0o7777, entry.size());
        listed.insert(path, shown.trim_end().to_owned());
    }
    listed
}
