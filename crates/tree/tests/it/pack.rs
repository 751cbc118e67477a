//! Archives that layers become.

use std::process::Command;

use stave_tree::pack::Parts;
use stave_tree::{
    Dir, GzipWriter, Limits, PackError, Times, apply_layer, count_layer, decompress, extract_archive, layer_digest,
    merged, pack_layer, pack_tree,
};

use crate::archive::tar;
use crate::support::{Scratch, assert_tree, format, in_user_namespace, is_root, opaque_xattr, show};

fn pack(layer: &Dir) -> Vec<u8> {
    let mut archive = Vec::new();
    let packed = pack_layer(layer, format(), stave_tree::Times::Real, &mut archive).unwrap();
    assert_eq!(packed.bytes, archive.len() as u64);
    archive
}

fn names(archive: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().unwrap();
    entries.map(|entry| entry.unwrap().path_bytes().escape_ascii().to_string()).collect()
}

#[test]
fn a_layer_is_the_same_after_packing_and_applying() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let long = "n".repeat(200);
    // Beyond what the octal field holds, where this namespace has such ids.
    let big = if in_user_namespace() { 60_000 } else { 3_000_000 };
    let layer = scratch.tree(
        "layer",
        &format!(
            "a/ 1777 5:6\na/f 6755 {big}:{big} = text\na/g == a/f\n{long}/{long} 600 = long\nl -> {}\np 600 pipe\ngone whiteout\nd/gone whiteout\nopaque/ 700\nopaque/new = 1",
            "t".repeat(300)
        ),
    );
    let set = |path: &str, name: &str, value: &[u8]| {
        rustix::fs::setxattr(scratch.path("layer").join(path), name, value, rustix::fs::XattrFlags::empty()).unwrap();
    };
    set("opaque", opaque_xattr(), b"y");
    set("a", &opaque_xattr().replace("opaque", "origin"), b"x");
    set("a/f", "user.note", b"a=\nb\0c");
    set("a/f", "security.capability", &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    for (path, seconds) in [("a/f", -86_400_i64), ("opaque", 10_000_000_000), (&format!("{long}/{long}"), 1)] {
        let time = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: 0 };
        let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
        let path = scratch.path("layer").join(path);
        rustix::fs::utimensat(rustix::fs::CWD, &path, &times, rustix::fs::AtFlags::empty()).unwrap();
    }
    let archive = pack(&layer);
    assert!(!archive.windows(8).any(|window| window == b"overlay."), "no notes of overlayfs");
    // Each name of a file says all of it, as whoever reads the second sets its owner anew.
    let needle = b"SCHILY.xattr.security.capability=";
    assert_eq!(archive.windows(needle.len()).filter(|window| window == needle).count(), 2);
    let again = scratch.tree("again", "");
    apply_layer(&archive[..], &again, format(), &Limits::default()).unwrap();
    assert_eq!(show(&again), show(&layer));
    assert_eq!(layer_digest(&again, format()).unwrap(), layer_digest(&layer, format()).unwrap());
    assert!(pack(&again) == archive, "packing is the inverse of applying");
    let at = |name: &str| again.metadata(name.as_bytes(), stave_tree::Follow::No).unwrap();
    assert_eq!((at("a/f").modified.seconds, at("opaque").modified.seconds), (-86_400, 10_000_000_000));
}

#[test]
fn entries_are_sorted_and_whiteouts_are_in_their_places() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let layer = scratch.tree("layer", "b/x = 1\nb.c = 2\nb/a/z = 3\na whiteout\ns socket");
    rustix::fs::setxattr(scratch.path("layer/b"), opaque_xattr(), b"y", rustix::fs::XattrFlags::empty()).unwrap();
    assert_eq!(names(&pack(&layer)), [".wh.a", "b/", "b/.wh..wh..opq", "b/a/", "b/a/z", "b/x", "b.c"]);
}

#[test]
fn entries_are_counted_as_they_are_packed() {
    let scratch = Scratch::new();
    let long = "n".repeat(200);
    let spec = format!("a/\na/f = {}\na/g == a/f\nb -> a\nempty =\n{long} = long\np pipe", "x".repeat(700));
    let layer = scratch.tree("layer", &spec);
    let (mut seen, mut bytes) = (Vec::new(), 0);
    let packed = count_layer(&layer, format(), Times::Real, &mut |entry| {
        bytes += entry.bytes;
        let first = entry.first.map(|first| first.escape_ascii().to_string()).unwrap_or_default();
        seen.push(format!("{} {} {first}", entry.path.escape_ascii(), entry.content));
    });
    assert_eq!(packed.unwrap().bytes, pack(&layer).len() as u64);
    assert_eq!(bytes + 1024, pack(&layer).len() as u64, "but for the end of the archive");
    let expected = ["a 0 ", "a/f 1024 ", "a/g 0 a/f", "b 0 ", "empty 0 ", &format!("{long} 512 "), "p 0 "];
    assert_eq!(seen, expected);
}

#[test]
fn times_newer_than_the_epoch_are_the_epoch() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let layer = scratch.tree("layer", "f = x\nold = y");
    let old = std::fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH + std::time::Duration::new(5, 999));
    std::fs::File::open(scratch.path("layer/old")).unwrap().set_times(old).unwrap();
    let mut archive = Vec::new();
    pack_layer(&layer, format(), stave_tree::Times::Clamped(1000), &mut archive).unwrap();
    let mut reader = tar::Archive::new(&archive[..]);
    let times: Vec<u64> = reader.entries().unwrap().map(|entry| entry.unwrap().header().mtime().unwrap()).collect();
    assert_eq!(times, [1000, 5]);
}

#[test]
fn names_that_would_delete_something_cannot_be_packed() {
    let scratch = Scratch::new();
    let layer = scratch.tree("layer", "d/.wh.x = 1");
    let error = pack_layer(&layer, format(), stave_tree::Times::Real, &mut Vec::new()).unwrap_err();
    assert!(matches!(error, PackError::ReservedName(_)), "{error}");
}

#[test]
fn links_are_packed_and_not_read_through() {
    let scratch = Scratch::new();
    let outside = scratch.path("outside");
    std::fs::write(&outside, "sentinel").unwrap();
    let layer = scratch.tree("layer", &format!("l -> {}\nd -> ..", outside.display()));
    let archive = pack(&layer);
    assert!(!archive.windows(8).any(|window| window == b"sentinel"));
    assert_eq!(names(&archive), ["d", "l"]);
}

#[test]
fn a_tree_is_packed_under_a_name_or_by_its_contents() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let base = scratch.tree("base", "d/f = 1\nd/sub/g = 2\ngone = 3\nlink -> d");
    let layer = scratch.tree("layer", "gone whiteout\nd/new = 4");
    let view = merged(&[&base, &layer], format()).unwrap();
    let pack = |path: &str, name: &str| {
        let mut archive = Vec::new();
        pack_tree(&view, path.as_bytes(), name.as_bytes(), stave_tree::Times::Real, &mut archive).unwrap();
        archive
    };
    assert_eq!(names(&pack("", "")), ["d/", "d/f", "d/new", "d/sub/", "d/sub/g", "link"]);
    assert_eq!(names(&pack("/link/sub", "x")), ["x/", "x/g"]);
    assert_eq!(names(&pack("d/f", "g")), ["g"]);
    assert_eq!(names(&pack("link", "l")), ["l"]);
    let out = scratch.tree("out", "");
    extract_archive(&pack("/d/", "copy")[..], &out, None, &Limits::default()).unwrap();
    assert_tree(&out, "copy/ 755\ncopy/f 644 = 1\ncopy/new 644 = 4\ncopy/sub/ 755\ncopy/sub/g 644 = 2");
}

/// Changes the files of a tree as soon as the first entry is written.
struct Meddler<'a> {
    archive: Vec<u8>,
    meddle: Option<&'a dyn Fn()>,
}

impl std::io::Write for Meddler<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if let Some(meddle) = self.meddle.take() {
            meddle();
        }
        self.archive.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_file_that_grows_shrinks_or_goes_does_not_spoil_the_archive_of_a_live_tree() {
    let write = |path: std::path::PathBuf, length: usize| std::fs::write(path, "x".repeat(length)).unwrap();
    let scratch = Scratch::new();
    let tree = scratch.tree("live", "a = 1");
    let at = |name: &str| scratch.path("live").join(name);
    let fill = || {
        for (name, length) in [("grows", 10), ("gone", 10), ("shrinks", 700)] {
            write(at(name), length);
        }
    };
    let meddle = || {
        write(at("grows"), 2000);
        write(at("shrinks"), 3);
        std::fs::remove_file(at("gone")).unwrap();
    };
    fill();
    let mut out = Meddler { archive: Vec::new(), meddle: Some(&meddle) };
    stave_tree::pack_live_tree(&tree, b"", b"", &mut out).unwrap();
    assert_eq!(names(&out.archive), ["a", "grows", "shrinks"]);

    // One that changes while it is read has the size that it had first.
    std::fs::remove_file(at("a")).unwrap();
    for length in [0, 3, 2000] {
        fill();
        std::fs::remove_file(at("gone")).unwrap();
        std::fs::remove_file(at("grows")).unwrap();
        let meddle = || write(at("shrinks"), length);
        let mut out = Meddler { archive: Vec::new(), meddle: Some(&meddle) };
        stave_tree::pack_live_tree(&tree, b"", b"", &mut out).unwrap();
        let mut archive = tar::Archive::new(&out.archive[..]);
        let sizes: Vec<u64> = archive.entries().unwrap().map(|entry| entry.unwrap().size()).collect();
        assert_eq!(sizes, [700], "now {length} bytes");
    }
}

/// Row 16: the size of a file of more than 8 GiB is said in an extended header. The writer stops the packer after that.
#[test]
fn sizes_over_8_gib_are_written() {
    struct Head(Vec<u8>);
    impl std::io::Write for Head {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            if self.0.len() > 4096 {
                return Err(std::io::ErrorKind::StorageFull.into());
            }
            self.0.extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let scratch = Scratch::new();
    let layer = scratch.tree("layer", "");
    std::fs::File::create(scratch.path("layer/big")).unwrap().set_len(9 << 30).unwrap();
    let mut head = Head(Vec::new());
    let error = pack_layer(&layer, format(), stave_tree::Times::Real, &mut head).unwrap_err();
    assert!(matches!(error, PackError::Write(_)), "{error}");
    assert!(head.0.windows(15).any(|window| window == b"size=9663676416"));
}

/// The peers' reader agrees with ours, names and content.
#[test]
fn gnu_tar_reads_what_is_written() {
    let version = Command::new("tar").arg("--version").output();
    if !is_root() || !version.is_ok_and(|output| output.stdout.starts_with(b"tar (GNU tar)")) {
        eprintln!("skipped: needs root and GNU tar");
        return;
    }
    let scratch = Scratch::new();
    let long = "n".repeat(200);
    // Beyond what the octal field holds, where this namespace has such ids.
    let big = if in_user_namespace() { 60_000 } else { 3_000_000 };
    let spec =
        format!("a/ 711 5:6\na/f 6755 {big}:4 = text\na/g == a/f\n{long}/{long} = long\nl -> {long}\np 600 pipe");
    let layer = scratch.tree("layer", &spec);
    let mut gzip = GzipWriter::new(Vec::new(), 6, 2);
    pack_layer(&layer, format(), stave_tree::Times::Real, &mut gzip).unwrap();
    std::fs::write(scratch.path("layer.tar.gz"), gzip.finish().unwrap()).unwrap();
    let out = scratch.tree("out", "");
    let status =
        Command::new("tar").arg("-xpzf").arg(scratch.path("layer.tar.gz")).arg("-C").arg(scratch.path("out")).status();
    assert!(status.unwrap().success());
    assert_eq!(show(&out), show(&layer));
    let again = scratch.tree("again", "");
    let file = std::fs::File::open(scratch.path("layer.tar.gz")).unwrap();
    apply_layer(decompress(file).unwrap(), &again, format(), &Limits::default()).unwrap();
    assert_eq!(show(&again), show(&layer));
}

#[test]
fn a_digest_of_a_layer_sees_deletions() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let digest = |name: &str, spec: &str| layer_digest(&scratch.tree(name, spec), format()).unwrap();
    let plain = digest("a", "d/f = 1");
    assert_eq!(digest("b", "d/f = 1"), plain);
    assert_ne!(digest("c", "d/f = 1\ngone whiteout"), plain);
    assert_ne!(digest("d", "d/f = 1\nd/g = 1"), plain);
    rustix::fs::setxattr(scratch.path("b/d"), opaque_xattr(), b"y", rustix::fs::XattrFlags::empty()).unwrap();
    assert_ne!(layer_digest(&scratch.open("b"), format()).unwrap(), plain);
    let archive = tar("d d\nf d/f = 1");
    let applied = scratch.tree("applied", "");
    apply_layer(&archive[..], &applied, format(), &Limits::default()).unwrap();
    assert_eq!(layer_digest(&applied, format()).unwrap(), plain);
}

/// The parts of a layer make the same files as the layer, whatever lies below, and none is larger than it may be but for
/// one file with all its names.
#[test]
fn the_parts_of_a_layer_make_what_the_layer_makes() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let base = scratch.tree("base", "kept = 0\nd/old = 0\nreplaced/in = 0\ngone = 0\nz/opaque/below = 0\nz/gone = 0");
    let text = "x".repeat(3000);
    let layer = scratch.tree(
        "layer",
        &format!(
            "d/ 711\nd/a 600 = {text}\nd/b = {text}\nd/deep/ 1777 5:6\nd/deep/c = {text}\nd/deep/l -> ../b\nempty/ 700\n\
             gone whiteout\nreplaced = {text}\nz/ 750\nz/gone whiteout\nz/opaque/ 700\nz/opaque/new = {text}\nz/hard == d/a\n\
             z/large = {}\nz/p pipe",
            "y".repeat(20_000)
        ),
    );
    let xattr = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(scratch.path("layer/z/opaque"), opaque_xattr(), b"y", xattr).unwrap();
    rustix::fs::setxattr(scratch.path("layer/d/deep"), "user.note", b"n", xattr).unwrap();
    for (path, seconds) in [("layer/d/deep", -5_i64), ("layer/d", 7), ("layer/z/opaque", 9_000_000_000), ("layer/z", 8)]
    {
        let time = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: 0 };
        let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(rustix::fs::CWD, scratch.path(path), &times, rustix::fs::AtFlags::empty()).unwrap();
    }
    let parts = |bytes_max: u64| {
        let mut parts = Parts::new(&layer, format(), Times::Real, bytes_max).unwrap();
        let mut archives = Vec::new();
        loop {
            let mut archive = Vec::new();
            let Some(packed) = parts.next(&mut archive).unwrap() else { break archives };
            assert_eq!(packed.bytes, archive.len() as u64);
            archives.push(archive);
        }
    };
    let seen = show(&merged(&[&base, &layer], format()).unwrap());
    for (bytes_max, count) in [(1, 14), (12_000, 5), (1 << 30, 1)] {
        let archives = parts(bytes_max);
        assert_eq!(archives.len(), count, "{bytes_max}");
        assert_eq!(archives, parts(bytes_max), "the same parts each time");
        for (index, archive) in archives.iter().enumerate() {
            let names = names(archive);
            assert_eq!(names.iter().any(|name| name.contains(".wh.")), index == 0, "{names:?}");
            assert_eq!(names.contains(&"d/a".to_owned()), names.contains(&"z/hard".to_owned()), "{names:?}");
            let large = names.contains(&"z/large".to_owned());
            assert!(archive.len() as u64 <= bytes_max.max(9000) || large, "{bytes_max}: {names:?}");
        }
        let applied: Vec<Dir> = archives
            .iter()
            .enumerate()
            .map(|(index, archive)| {
                let part = scratch.tree(&format!("part{bytes_max}-{index}"), "");
                apply_layer(&archive[..], &part, format(), &Limits::default()).unwrap();
                // What the store packs of it has the length that was counted on.
                assert_eq!(pack(&part).len(), archive.len());
                part
            })
            .collect();
        let all: Vec<&Dir> = std::iter::once(&base).chain(&applied).collect();
        assert_eq!(show(&merged(&all, format()).unwrap()), seen, "{bytes_max}");
    }
    let nothing = scratch.tree("nothing", "");
    assert!(Parts::new(&nothing, format(), Times::Real, 1).unwrap().next(&mut Vec::new()).unwrap().is_none());
}

/// Layers packed as one make the same files as the layers on each other, whatever lies below.
#[test]
fn joined_layers_make_what_the_layers_make() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let base = scratch.tree("base", "kept = 0\nd/old = 0\nreplaced/in = 0\ngone = 0\nopaque/below = 0");
    let first =
        scratch.tree("first", "d/a 600 = 1\nd/hard == d/a\nreplaced = file\ntemporary/f = 1\nsame = 1\nopaque/ 700");
    let set = |path: &str| {
        rustix::fs::setxattr(scratch.path(path), opaque_xattr(), b"y", rustix::fs::XattrFlags::empty()).unwrap();
    };
    set("first/opaque");
    let second = scratch.tree(
        "second",
        "d/ 711\nd/a = 2\ntemporary whiteout\ngone whiteout\nsame = 2\nopaque/new = 2\nreplaced/ 755\nreplaced/new = 2",
    );
    let join = |layers: &[&Dir], is_lowest: bool| {
        let layers: Vec<_> = layers.iter().map(|layer| (layer.try_clone().unwrap(), Times::Real)).collect();
        let mut archive = Vec::new();
        stave_tree::pack::pack_joined(&layers, format(), is_lowest, &mut archive).unwrap();
        archive
    };
    let apply = |name: &str, archive: &[u8]| {
        let layer = scratch.tree(name, "");
        apply_layer(archive, &layer, format(), &Limits::default()).unwrap();
        layer
    };
    let seen = show(&merged(&[&base, &first, &second], format()).unwrap());
    let joined = apply("joined", &join(&[&first, &second], false));
    assert_eq!(show(&merged(&[&base, &joined], format()).unwrap()), seen);
    let all = join(&[&base, &first, &second], true);
    assert!(!names(&all).iter().any(|name| name.contains(".wh.")), "{:?}", names(&all));
    assert_eq!(show(&apply("all", &all)), seen);
    assert_eq!(join(&[&first, &second], false), join(&[&first, &second], false));
    assert_eq!(pack(&first), join(&[&first], false), "one layer is packed as ever");
}
