//! What layers can hold goes through stave and comes out as it was: rows 16 to 30 of what reliability means, with and
//! without root.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;

use stave_oci::{DiffId, media_type};
use stave_testkit::fixtures::with_busybox;
use stave_testkit::image::blob;
use stave_testkit::{Bench, Image, LoopbackRegistry, needs};

/// An archive of these entries: path, kind, mode, owner, link target or content, and extended headers.
struct Tar(tar::Builder<Vec<u8>>);

impl Tar {
    fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    fn add(mut self, path: &str, kind: tar::EntryType, mode: u32, content: &str, pax: &[(&str, &[u8])]) -> Self {
        self.0.append_pax_extensions(pax.iter().copied()).expect("memory can be written");
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        let is_link = matches!(kind, tar::EntryType::Link | tar::EntryType::Symlink);
        header.set_size(if is_link { 0 } else { content.len() as u64 });
        if is_link {
            self.0.append_link(&mut header, path, content).expect("memory can be written");
        } else {
            if matches!(kind, tar::EntryType::Char | tar::EntryType::Block) {
                header.set_device_major(8).and_then(|()| header.set_device_minor(0)).expect("it has devices");
            }
            self.0.append_data(&mut header, path, content.as_bytes()).expect("memory can be written");
        }
        self
    }

    fn file(self, path: &str, content: &str) -> Self {
        self.add(path, tar::EntryType::Regular, 0o644, content, &[])
    }

    fn end(self) -> Vec<u8> {
        self.0.into_inner().expect("memory can be written")
    }
}

/// A bench whose registry has the image `made:1`, busybox with more layers.
fn served(change: impl FnOnce(&mut Image)) -> Option<(Bench, LoopbackRegistry, Image)> {
    let (bench, registry) = with_busybox()?;
    let mut image = Image::of_busybox()?;
    change(&mut image);
    registry.put("library/made", "1", &image);
    Some((bench, registry, image))
}

fn diff_ids(bench: &Bench, name: &str) -> String {
    bench.run(["inspect", "-f", "{{json .RootFS.Layers}}", name]).success().line()
}

/// The digests of an archive's blobs, by their names in it.
fn blobs(archive: &Path) -> Vec<String> {
    let mut archive = tar::Archive::new(fs::File::open(archive).expect("an archive"));
    let entries = archive.entries().expect("a tar");
    let names = entries.map(|entry| entry.expect("an entry").path().expect("a path").display().to_string());
    let mut blobs: Vec<String> = names.filter(|name| name.starts_with("blobs/sha256/") && name.len() > 20).collect();
    blobs.sort();
    blobs.dedup();
    blobs
}

/// Row 25: more layers than one mount had room for, through a pull, a step, an archive, and another store.
#[test]
fn five_hundred_layers_go_through_a_build_an_archive_and_another_store() {
    let layers = |count: usize| {
        move |image: &mut Image| {
            for number in image.layers().len()..count {
                image.layer_tar(&Tar::new().file(&format!("l/{number}"), "x").file("last", &number.to_string()).end());
            }
        }
    };
    for count in [130, 500] {
        let Some((bench, _registry, image)) = served(layers(count)) else { return };
        bench.file("Dockerfile", "FROM made:1\nRUN --mount=from=made:1,target=/m ls /l /m/l | wc -l > /seen && cat /last /m/last >> /seen\nCMD cat /seen\n");
        bench.run(["build", "-t", "out", "."]).success();
        let expected = format!("{}\n{1}{1}", 2 * (count - 1) + 3, count - 1);
        assert_eq!(bench.run(["run", "--rm", "--network", "none", "out"]).success().out(), expected);
        bench.run(["save", "-o", "out.tar", "out"]).success();
        let other = Bench::new();
        other.file("out.tar", fs::read(bench.work().join("out.tar")).expect("an archive"));
        other.run(["load", "-i", "out.tar"]).success();
        assert_eq!(diff_ids(&other, "out"), diff_ids(&bench, "out"));
        assert!(diff_ids(&bench, "out").matches("sha256:").count() == image.layers().len() + 1);
        assert_eq!(other.run(["run", "--rm", "--network", "none", "out"]).success().out(), expected);
    }
    // An image with more is refused with a number, before anything of it is fetched.
    let Some((bench, _registry, _)) = served(layers(501)) else { return };
    bench.file("Dockerfile", "FROM made:1\nRUN true\n");
    bench.run(["build", "."]).exit(3).complains("has 501 layers, and at most 500 are supported");
}

/// Row 20: who cannot make device nodes has them in what is written again, bytes for bytes, and says what is missing.
#[test]
fn device_nodes_survive_a_user_who_cannot_make_them() {
    use tar::EntryType::{Block, Char};
    for kind in ["ranges", "single"] {
        let Some(user) = needs::user(kind) else { return };
        let nodes =
            Tar::new().add("dev/sda", Block, 0o660, "", &[]).add("x", Char, 0o666, "", &[]).file("f", "f").end();
        let Some((bench, _registry, image)) = served(|image| {
            image.layer_tar(&nodes);
        }) else {
            return;
        };
        let bench = bench.as_user(&user);
        bench.file("Dockerfile", "FROM made:1\nRUN test ! -e /x && test ! -b /dev/sda && cat /f > /seen\n");
        let built = bench.run(["build", "-t", "out", "-o", "type=oci,dest=out.tar", "-o", "type=image", "."]);
        built.success().complains("2 device nodes of layer");
        let own: Vec<String> =
            image.layers().iter().map(|layer| format!("blobs/sha256/{}", layer.descriptor.digest.hex())).collect();
        let written = blobs(&bench.work().join("out.tar"));
        assert!(own.iter().all(|blob| written.contains(blob)), "{own:?} in {written:?}");
        // The same by way of an archive, into a store that has nothing.
        bench.run(["save", "-o", "saved.tar", "made:1"]).success();
        let other = Bench::new();
        other.file("saved.tar", fs::read(bench.work().join("saved.tar")).expect("an archive"));
        let other = other.as_user(&user);
        other.run(["load", "-i", "saved.tar"]).success();
        other.run(["save", "-o", "again.tar", "made:1"]).success();
        assert_eq!(blobs(&other.work().join("again.tar")), blobs(&bench.work().join("saved.tar")));
        assert_eq!(diff_ids(&other, "made:1"), diff_ids(&bench, "made:1"));
    }
}

/// Rows 19 and 28: capabilities, and modes with all bits, are the same in layers of root and of others.
#[test]
fn capabilities_and_modes_are_the_same_with_and_without_root() {
    let (Some(ranges), Some(single)) = (needs::user("ranges"), needs::user("single")) else { return };
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let file = tar::EntryType::Regular;
    let files = Tar::new()
        .add("d/capable", file, 0o755, "x", &[("SCHILY.xattr.security.capability", &capability)])
        .add("d/hard", tar::EntryType::Link, 0o755, "d/capable", &[("SCHILY.xattr.security.capability", &capability)])
        .add("d/note", file, 0o6755, "x", &[("SCHILY.xattr.user.note", b"n")])
        .end();
    let mut seen = Vec::new();
    for user in [None, Some(ranges), Some(single)] {
        let Some((bench, _registry, _)) = served(|image| {
            image.layer_tar(&files);
        }) else {
            return;
        };
        let bench = if let Some(user) = &user { bench.as_user(user) } else { bench };
        bench.file(
            "Dockerfile",
            "FROM made:1\nCOPY --from=made:1 /d /copied\nRUN cp /bin/true /t && chmod 7777 /t && mkdir -m 1777 /s && mkdir -m 2755 /g && \
             chmod 4711 /copied/capable\nRUN stat -c '%a %n' /t /s /g /d/note /copied/note /copied/capable /copied/hard > /seen\nCMD cat /seen\n",
        );
        bench.run(["build", "-t", "out", "."]).success();
        let said = bench.run(["run", "--rm", "--network", "none", "out"]).success().out();
        assert_eq!(
            said,
            "7777 /t\n1777 /s\n2755 /g\n6755 /d/note\n6755 /copied/note\n4711 /copied/capable\n755 /copied/hard\n"
        );
        seen.push((user, diff_ids(&bench, "out")));
    }
    assert_eq!(seen[0].1, seen[1].1, "root and {:?}", seen[1].0);
    assert_eq!(seen[0].1, seen[2].1, "root and {:?}", seen[2].0);
}

/// Row 17: a hole is a hole in every store, and a small layer.
#[test]
fn a_large_hole_takes_no_space_anywhere() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file("Dockerfile", "FROM busybox\nRUN truncate -s 300M /lastlog && echo end >> /lastlog\n");
    bench.run(["build", "-t", "out", "-o", "type=oci,dest=out.tar", "-o", "type=image", "."]).success();
    let archive = bench.work().join("out.tar");
    assert!(fs::metadata(&archive).expect("an archive").len() < 4 << 20);
    let other = Bench::new();
    other.file("out.tar", fs::read(&archive).expect("an archive"));
    other.run(["load", "-i", "out.tar"]).success();
    other.run(["create", "--name", "cc", "out"]).success();
    for bench in [&bench, &other] {
        let taken = used_bytes(&bench.store());
        assert!(taken < 60 << 20, "{taken} bytes");
    }
    other.run(["cp", "cc:/lastlog", "lastlog"]).success();
    let file = fs::read(other.work().join("lastlog")).expect("a file");
    assert_eq!(file.len(), (300 << 20) + 4);
    assert!(file.ends_with(b"\0end\n") && file[..300 << 20].iter().all(|byte| *byte == 0));
    assert_eq!(diff_ids(&other, "out"), diff_ids(&bench, "out"));
}

/// The bytes that a directory takes on the disk.
fn used_bytes(path: &Path) -> u64 {
    let Ok(metadata) = path.symlink_metadata() else { return 0 };
    let own = metadata.blocks() * 512;
    let Ok(entries) = fs::read_dir(path).map(|entries| entries.filter_map(Result::ok)) else { return own };
    if metadata.is_dir() { own + entries.map(|entry| used_bytes(&entry.path())).sum::<u64>() } else { own }
}

/// Row 18: names of one file, one removed by a step and one written to.
#[test]
fn hard_links_are_one_file_until_a_step_changes_one() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file(
        "Dockerfile",
        "FROM busybox\nRUN mkdir /d && echo one > /d/a && ln /d/a /d/b && ln /d/a /d/c && stat -c '%h %n' /d/a /d/b /d/c > /seen\n\
         RUN rm /d/a && echo two >> /d/b\nRUN cat /d/b >> /seen; cat /d/c >> /seen; ls /d >> /seen\nCMD cat /seen\n",
    );
    bench.run(["build", "-t", "out", "-o", "type=tar,dest=files.tar", "-o", "type=image", "."]).success();
    let said = "3 /d/a\n3 /d/b\n3 /d/c\none\ntwo\none\nb\nc\n";
    assert_eq!(bench.run(["run", "--rm", "--network", "none", "out"]).success().out(), said);
    bench.run(["save", "-o", "out.tar", "out"]).success();
    let other = Bench::new();
    other.file("out.tar", fs::read(bench.work().join("out.tar")).expect("an archive"));
    other.run(["load", "-i", "out.tar"]).success();
    assert_eq!(other.run(["run", "--rm", "--network", "none", "out"]).success().out(), said);
}

/// What a name can be in a layer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Is {
    Absent,
    File,
    Link,
    Directory,
}

/// Row 23: files, directories, links and nothing follow each other in three layers, in every order, and what is seen is
/// what layers applied one by one make.
#[test]
fn what_replaces_what_in_three_layers_is_what_the_layers_say() {
    use tar::EntryType::{Directory, Symlink};
    let kinds = [('n', Is::Absent), ('f', Is::File), ('l', Is::Link), ('d', Is::Directory)];
    let (mut layers, mut seen) = ((Tar::new(), Tar::new(), Tar::new()), BTreeMap::<String, String>::new());
    for names in 0..kinds.len().pow(3) {
        let [first, second, third] = [names / 16, names / 4 % 4, names % 4].map(|index| kinds[index]);
        let name = format!("m/{}{}{}", first.0, second.0, third.0);
        let mut was_there = false;
        for (number, (_, is)) in [first, second, third].into_iter().enumerate() {
            let layer = match number {
                0 => &mut layers.0,
                1 => &mut layers.1,
                _ => &mut layers.2,
            };
            let tar = std::mem::replace(layer, Tar::new());
            let below = format!("{name}/");
            if is != Is::Directory {
                seen.retain(|path, _| *path != name && !path.starts_with(&below));
            }
            *layer = match is {
                Is::Absent if was_there => tar.file(&name.replace("m/", "m/.wh."), ""),
                Is::Absent => tar,
                Is::File => {
                    seen.insert(name.clone(), format!("file {number}"));
                    tar.file(&name, &format!("file {number}"))
                }
                Is::Link => {
                    seen.insert(name.clone(), format!("to {number}"));
                    tar.add(&name, Symlink, 0o777, &format!("to {number}"), &[])
                }
                Is::Directory => {
                    seen.insert(name.clone(), "directory".to_owned());
                    seen.insert(format!("{name}/{number}"), format!("file {number}"));
                    tar.add(&name, Directory, 0o755, "", &[])
                        .file(&format!("{name}/{number}"), &format!("file {number}"))
                }
            };
            was_there = is != Is::Absent;
        }
    }
    let (first, second, third) = (layers.0.end(), layers.1.end(), layers.2.end());
    let made = served(|image| {
        image.layer_tar(&first).layer_tar(&second).layer_tar(&third);
    });
    let Some((bench, _registry, _)) = made else { return };
    bench.file("Dockerfile", "FROM made:1\nCMD for p in $(find /m -mindepth 1 | sort); do if test -L $p; then echo \"$p $(readlink $p)\"; elif test -d $p; then echo \"$p directory\"; else echo \"$p $(cat $p)\"; fi; done\n");
    let lines: Vec<String> = seen.iter().map(|(path, text)| format!("/{path} {text}\n")).collect();
    let expected = lines.concat();
    assert!(expected.lines().count() > 60);
    for option in ["--squash=false", "--squash-all"] {
        bench.run(["build", option, "-t", "out", "."]).success();
        let output = bench.run(["run", "--rm", "--network", "none", "out"]);
        assert_eq!(output.success().out(), expected, "{option}");
    }
}

/// Row 24: a layer with nothing in it, in each form in which registries have it.
#[test]
fn layers_without_anything_are_layers() {
    let end = vec![0; 1024];
    let empty = |image: &mut Image| {
        let gzip_of_nothing = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0].to_vec();
        image.layer_tar(&end);
        image.layer_blob(DiffId::of(b""), blob(media_type::OCI_LAYER_GZIP, gzip_of_nothing));
        image.layer_blob(DiffId::of(&end), blob(media_type::OCI_LAYER, end.clone()));
        image.layer_blob(DiffId::of(b""), blob(media_type::OCI_LAYER, Vec::new()));
    };
    let Some((bench, _registry, _)) = served(empty) else { return };
    bench.file("Dockerfile", "FROM made:1\nRUN echo here > /here\nCMD cat /here\n");
    bench.run(["build", "-t", "out", "."]).success();
    assert_eq!(bench.run(["run", "--rm", "--network", "none", "out"]).success().out(), "here\n");
    bench.run(["save", "-o", "out.tar", "out"]).success();
    let other = Bench::new();
    other.file("out.tar", fs::read(bench.work().join("out.tar")).expect("an archive"));
    other.run(["load", "-i", "out.tar"]).success();
    assert_eq!(diff_ids(&other, "out"), diff_ids(&bench, "out"));
    assert_eq!(diff_ids(&other, "out").matches("sha256:").count(), 6);
}

/// Row 26: a store in memory, whose file system knows fewer attributes.
#[test]
fn a_store_in_memory_builds_the_same_image() {
    let memory = Path::new("/dev/shm");
    if !memory.is_dir() {
        needs::skipped("no /dev/shm");
        return;
    }
    let Some((bench, _registry)) = with_busybox() else { return };
    let store = tempfile::tempdir_in(memory).expect("a directory in memory");
    bench.file(
        "Dockerfile",
        "FROM busybox\nRUN mkdir /d && rm /etc/group && chmod 4755 /bin/busybox\nCOPY Dockerfile /d/\n",
    );
    bench.run(["build", "-t", "out", "."]).success();
    let root = store.path().join("store").display().to_string();
    bench.run(["--root", &root, "build", "-t", "out", "."]).success();
    let there = bench.run(["--root", &root, "inspect", "-f", "{{json .RootFS.Layers}}", "out"]).success().line();
    assert_eq!(there, diff_ids(&bench, "out"));
}

/// Row 30: links that lead round in circles are links like others until something has to go through them.
#[test]
fn links_in_circles_are_copied_and_never_followed_for_ever() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file("d/f", "f").file("Dockerfile", "FROM busybox\nCOPY . /x\nRUN for l in /x/a /x/b /x/d/self; do readlink $l; done > /seen; cat /x/a/c 2>> /seen || true\nCMD cat /seen\n");
    let work = bench.work();
    for (target, link) in [("b", "a"), ("a", "b"), ("..", "d/self")] {
        symlink(target, work.join(link)).expect("a link");
    }
    bench.run(["build", "-t", "out", "."]).success();
    let said = bench.run(["run", "--rm", "--network", "none", "out"]).success().out();
    assert!(said.starts_with("b\na\n..\n") && said.contains("Too many levels of symbolic links"), "{said}");
    bench.run(["create", "--name", "cc", "out"]).success();
    bench.run(["cp", "cc:/x", "copied"]).success();
    assert_eq!(fs::read_link(work.join("copied/a")).expect("a link"), Path::new("b"));
    bench.run(["cp", "-L", "cc:/x/a", "through"]).exit(3).complains("Too many levels of symbolic links");
    bench.run(["cp", "copied", "cc:/again"]).success();
    for line in ["COPY a/c /y", "COPY --from=0 /x/a/c /y", "ADD a/c /y"] {
        bench.file("Dockerfile", format!("FROM out\nFROM busybox\n{line}\n"));
        let code = bench.run(["build", "."]).code;
        assert!(code == 1 || code == 2, "{line}: {code}");
    }
    // What is written through a circle of the image fails too.
    bench.file("Dockerfile", "FROM out\nCOPY d/f /x/a/c\n");
    let code = bench.run(["build", "."]).code;
    assert!(code == 1 || code == 2, "{code}");
}
