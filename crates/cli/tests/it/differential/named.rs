//! What a cache must see and what it must not, one thing at a time: the faults that others had, and the rows of the list of
//! features about keys.

use super::project::{Built, build};
use stave_testkit::fixtures::with_busybox;
use stave_testkit::{Bench, Image, LoopbackRegistry, Rootfs};
use std::fs::{self, FileTimes};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// A bench with an epoch, so that the images of two builds can be compared.
fn scene() -> Option<(Bench, LoopbackRegistry)> {
    let (mut bench, registry) = with_busybox()?;
    bench.set("SOURCE_DATE_EPOCH", "1000");
    Some((bench, registry))
}

fn built(bench: &Bench, args: &[&str]) -> Built {
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    let built = build(bench, &args, false);
    assert!(built.image.is_some(), "{}", built.said);
    built
}

/// Builds, edits, builds: something ran, and the image is another one.
#[track_caller]
fn assert_seen(bench: &Bench, args: &[&str], what: &str, edit: impl FnOnce()) {
    let before = built(bench, args);
    edit();
    let after = built(bench, args);
    assert!(after.ran > 0 && after.image != before.image, "{what} was not seen: {before:?}, then {after:?}");
}

/// Builds, edits, builds: nothing ran, and the image is the same.
#[track_caller]
fn assert_unseen(bench: &Bench, args: &[&str], what: &str, edit: impl FnOnce()) {
    let before = built(bench, args);
    edit();
    let after = built(bench, args);
    assert!(after.ran == 0 && after.image == before.image, "{what} was seen: {before:?}, then {after:?}");
}

/// Writes a file, as an edit.
fn write<'a>(bench: &'a Bench, path: &'a str, content: &'a str) -> impl FnOnce() + 'a {
    move || {
        bench.file(path, content);
    }
}

/// What a run of the image prints for a file.
fn printed(bench: &Bench, path: &str) -> String {
    bench.run(["run", "--rm", "made", "cat", path]).success().out()
}

fn set_modified(path: &Path, seconds: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    fs::File::open(path).and_then(|file| file.set_times(FileTimes::new().set_modified(time))).expect("a file");
}

/// Row 6 of the demands, moby/buildkit#4950, #5680: the same size and time, another content.
#[test]
fn a_file_that_changes_without_its_size_and_time_is_copied_again() {
    let Some((bench, _registry)) = scene() else { return };
    bench.file("Dockerfile", "FROM busybox\nCOPY version dir /\n").file("dir/inner", "x");
    for round in 0..20 {
        for path in ["version", "dir/inner"] {
            let text = format!("{round:04} in {path}");
            bench.file(path, &text);
            set_modified(&bench.work().join(path), 1_700_000_000);
            built(&bench, &["-t", "made"]);
            let inside = path.trim_start_matches("dir");
            assert_eq!(printed(&bench, &format!("/{}", inside.trim_start_matches('/'))), text);
        }
    }
}

/// Row 6, docker/buildx#3093: what another directory has under the same name, size and time is not this one's.
#[test]
fn two_contexts_with_alike_files_do_not_get_each_others() {
    let Some((bench, _registry)) = scene() else { return };
    for (directory, text) in [("one", "text of one"), ("two", "text of two")] {
        bench.file(&format!("{directory}/Dockerfile"), "FROM busybox\nCOPY config /config\n");
        bench.file(&format!("{directory}/config"), text);
        set_modified(&bench.work().join(directory).join("config"), 1_700_000_000);
    }
    for _ in 0..2 {
        for (directory, text) in [("one", "text of one"), ("two", "text of two")] {
            bench.run(["build", "-q", "-t", "made", directory]).success();
            assert_eq!(printed(&bench, "/config"), text);
        }
    }
}

/// Row 6, moby/buildkit#1106: files that exchange their places, with all that a listing shows the same.
#[test]
fn files_and_directories_that_change_places_are_seen() {
    let Some((bench, _registry)) = scene() else { return };
    bench.file("Dockerfile", "FROM busybox\nCOPY . /all/\n");
    bench.file("a/f", "1").file("b/f", "2").file("one", "1").file("two", "2");
    for path in ["a/f", "b/f", "one", "two", "a", "b"] {
        set_modified(&bench.work().join(path), 1_700_000_000);
    }
    for (left, right) in [("one", "two"), ("a", "b")] {
        assert_seen(&bench, &[], &format!("{left} and {right}"), || {
            let (left, right) = (bench.work().join(left), bench.work().join(right));
            let (cwd, flags) = (rustix::fs::CWD, rustix::fs::RenameFlags::EXCHANGE);
            rustix::fs::renameat_with(cwd, &left, cwd, &right, flags).expect("both are there");
        });
    }
}

/// Row 6, containers/podman#24089: the text of a heredoc is part of the step.
#[test]
fn an_edited_heredoc_is_seen_in_every_instruction_that_has_one() {
    let Some((bench, _registry)) = scene() else { return };
    for (instruction, rest) in [("COPY", "/made"), ("ADD", "/made"), ("COPY --link", "/made"), ("RUN", "")] {
        let write = |text: &str| {
            let text = if rest.is_empty() { format!("echo {text} > /made") } else { text.to_owned() };
            bench.file("Dockerfile", format!("FROM busybox\n{instruction} <<END {rest}\n{text}\nEND\n"));
        };
        write("first");
        assert_seen(&bench, &["-t", "made"], instruction, || write("other"));
        assert_eq!(printed(&bench, "/made"), "other\n");
    }
}

/// Row 6, kaniko#1688, A072: an argument that a step reads, wherever it reads it.
#[test]
fn an_argument_that_is_read_is_seen_and_one_that_is_not_is_not() {
    let Some((bench, _registry)) = scene() else { return };
    bench.file("one", "1").file("two", "2");
    let dockerfiles = [
        ("in a command", "FROM busybox\nARG A\nRUN echo $A > /made\n"),
        ("by a program", "FROM busybox\nARG A\nRUN env > /made\n"),
        ("as a source", "FROM busybox\nARG A\nCOPY $A /made\n"),
        ("as a destination", "FROM busybox\nARG A\nCOPY one /$A/\n"),
        (
            "in a stage's name",
            "ARG A\nFROM busybox AS one\nRUN echo 1 > /x\nFROM busybox AS two\nRUN echo 2 > /x\nFROM $A\n",
        ),
        ("through a variable", "FROM busybox\nARG A\nENV B=$A\nRUN echo $B > /made\n"),
        ("as a directory", "FROM busybox\nARG A\nWORKDIR /$A\nRUN pwd > /made\n"),
    ];
    for (where_read, text) in dockerfiles {
        bench.file("Dockerfile", text);
        let (one, two) = (built(&bench, &["--build-arg=A=one"]), built(&bench, &["--build-arg=A=two"]));
        assert!(two.ran > 0 && one.image != two.image, "{where_read}");
        let again = built(&bench, &["--build-arg=A=one"]);
        assert!(again.ran == 0 && again.image == one.image, "{where_read}");
    }
    let unread = [
        ("not declared in the stage", "ARG A\nFROM busybox\nRUN env > /made\n"),
        ("declared after the last step", "FROM busybox\nRUN env > /made\nARG A\n"),
        (
            "declared in a stage that is not needed",
            "FROM busybox AS x\nARG A\nRUN echo $A\nFROM busybox\nRUN env > /made\n",
        ),
        ("not seen by a copy", "FROM busybox\nARG A\nCOPY one /made\n"),
    ];
    for (why, text) in unread {
        bench.file("Dockerfile", text);
        built(&bench, &["--build-arg=A=one"]);
        assert_eq!(built(&bench, &["--build-arg=A=two"]).ran, 0, "{why}");
    }
}

/// T96: what a pattern matches, by name and content.
#[test]
fn a_renamed_file_is_seen_if_the_pattern_matches_it() {
    let Some((bench, _registry)) = scene() else { return };
    let work = bench.work();
    bench.file("Dockerfile", "FROM busybox\nCOPY *.txt /made/\n").file("a.txt", "a").file("x.md", "x");
    assert_unseen(&bench, &[], "a file that is not matched", write(&bench, "x.md", "other"));
    assert_unseen(&bench, &[], "a new file that is not matched", write(&bench, "y.md", "y"));
    assert_seen(&bench, &[], "a matched file", write(&bench, "a.txt", "other"));
    assert_seen(&bench, &[], "a new name", || fs::rename(work.join("a.txt"), work.join("b.txt")).expect("a file"));
    assert_seen(&bench, &[], "a second file", write(&bench, "c.txt", "c"));
    assert_seen(&bench, &[], "a missing file", || fs::remove_file(work.join("b.txt")).expect("a file"));
}

/// T97, A143: content, modes, links and attributes count, times do not.
#[test]
fn modes_links_and_attributes_are_seen_and_times_are_not() {
    let Some((bench, _registry)) = scene() else { return };
    let at = |name: &str| bench.work().join("dir").join(name);
    bench.file("Dockerfile", "FROM busybox\nCOPY dir /made\n").file("dir/f", "f").file("dir/g", "f");
    symlink("f", at("link")).expect("a writable bench");
    for path in ["f", "g", ""] {
        assert_unseen(&bench, &[], "a time", || set_modified(&at(path), 1_800_000_000));
    }
    let mode = |name: &str, mode| fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).expect("a file");
    assert_seen(&bench, &[], "a mode", || mode("f", 0o600));
    assert_seen(&bench, &[], "the mode of a directory below", || {
        fs::create_dir(at("sub")).expect("a writable bench");
        mode("sub", 0o700);
    });
    assert_seen(&bench, &[], "a bit", || mode("f", 0o4755));
    assert_seen(&bench, &[], "a link's target", || {
        fs::remove_file(at("link")).and_then(|()| symlink("g", at("link"))).expect("a writable bench");
    });
    assert_seen(&bench, &[], "an empty directory", || fs::create_dir(at("empty")).expect("a writable bench"));
    assert_seen(&bench, &[], "a file that becomes a directory", || {
        fs::remove_file(at("g")).and_then(|()| fs::create_dir(at("g"))).expect("a writable bench");
    });
    let flags = rustix::fs::XattrFlags::empty();
    if rustix::fs::setxattr(at("f"), "user.stave-test", b"one", flags).is_ok() {
        assert_seen(&bench, &[], "an attribute", || {
            rustix::fs::setxattr(at("f"), "user.stave-test", b"two", flags).expect("as before");
        });
    }
}

/// A name, a comment, an order, a continuation: how it is written is not what it is.
#[test]
fn what_does_not_change_a_step_runs_nothing() {
    let Some((bench, _registry)) = scene() else { return };
    let same = [
        "FROM busybox AS one\nRUN echo 1 > /1\nFROM busybox AS two\nRUN echo 2 > /2\nFROM busybox\nCOPY --from=one /1 /\nCOPY --from=two /2 /\n",
        "# a comment\n\nfrom busybox as two\nrun echo 2 > /2\nfrom busybox as one\nRUN echo 1 > /1\nFROM busybox\nCOPY --from=one /1 /\nCOPY --from=two /2 /\n",
        "FROM busybox\nRUN echo 1 > \\\n# inside\n/1\nFROM busybox AS renamed\nRUN echo 2 > /2\nFROM busybox\nCOPY --from=0 /1 /\nCOPY --from=renamed /2 /\n",
        "FROM busybox AS unneeded\nRUN exit 1\nFROM busybox AS one\nRUN echo 1 > /1\nFROM busybox AS two\nRUN echo 2 > /2\nFROM busybox\nCOPY --from=one /1 /\nCOPY --from=two /2 /\n",
    ];
    bench.file("Dockerfile", same[0]);
    built(&bench, &[]);
    for text in &same[1..] {
        bench.file("Dockerfile", text);
        assert_eq!(built(&bench, &[]).ran, 0, "{text}");
    }
}

/// A step's result counts, not how it came about: what is built on equal files is not built again.
#[test]
fn a_stage_that_gives_the_same_files_again_ends_the_running() {
    let Some((bench, _registry)) = scene() else { return };
    let write = |script: &str| {
        bench.file(
            "Dockerfile",
            format!(
                "FROM busybox AS one\nRUN {script}\nFROM busybox\nCOPY --from=one /made /\nRUN cat /made > /copy\n"
            ),
        );
    };
    write("echo text > /made");
    let first = built(&bench, &[]);
    write("echo te''xt > /made");
    let second = built(&bench, &[]);
    assert_eq!(second.ran, 1, "the edited step ran and nothing else: {second:?}");
    assert!(first.ran > 1);
    write("echo other > /made");
    assert!(built(&bench, &[]).ran > 1);
}

/// A tag that means another image, once it is asked for again.
#[test]
fn an_image_that_changed_behind_its_tag_is_seen_with_pull() {
    let Some((bench, registry)) = scene() else { return };
    let put = |text: &str| {
        let mut image = Image::of_busybox().expect("the scene has one");
        image.layer(Rootfs::new().file("base", 0o644, text));
        registry.put("library/moving", "latest", &image);
    };
    put("first");
    bench.file("Dockerfile", "FROM moving\nRUN cat /base > /made\n");
    assert_seen(&bench, &["-t", "made", "--pull"], "the image behind the tag", || put("second"));
    assert_eq!(printed(&bench, "/made"), "second");
    bench.file("Dockerfile", "FROM busybox\nCOPY --from=moving /base /made\n");
    assert_seen(&bench, &["-t", "made", "--pull"], "the image that is copied from", || put("third"));
    assert_eq!(printed(&bench, "/made"), "third");
}

/// What is ignored is not there for any key, and the ignore file is only what it says.
#[test]
fn ignored_files_are_not_seen_and_a_pattern_that_matters_is() {
    let Some((bench, _registry)) = scene() else { return };
    bench.file("Dockerfile", "FROM busybox\nCOPY . /made/\n").file("keep", "1").file("a.log", "log");
    bench.file(".dockerignore", "*.log\nDockerfile\n.dockerignore\n");
    assert_unseen(&bench, &[], "an ignored file", write(&bench, "a.log", "other"));
    assert_unseen(&bench, &[], "another ignored file", write(&bench, "b.log", "other"));
    assert_unseen(&bench, &[], "a comment in the ignore file", || {
        bench.file(".dockerignore", "# why\n*.log\n\nDockerfile\n.dockerignore\n");
    });
    assert_seen(&bench, &[], "a pattern", write(&bench, ".dockerignore", "Dockerfile\n.dockerignore\n"));
    assert_seen(&bench, &[], "a file of a pattern's exception", || {
        bench.file(".dockerignore", "*\n!b.log\n");
    });
}

/// T114: what `COPY --link` makes depends on its source only, and is not made again on another base.
#[test]
fn a_linked_copy_is_not_made_again_on_another_base() {
    let Some((bench, _registry)) = scene() else { return };
    bench.file("dir/f", "f");
    let mut layers = Vec::new();
    for (round, base) in ["echo 1 > /1", "echo 2 > /2 && mkdir /made"].into_iter().enumerate() {
        bench.file("Dockerfile", format!("FROM busybox\nRUN {base}\nCOPY --link dir /made/\n"));
        let ran = built(&bench, &["-t", "made"]).ran;
        // The command, and the first time the copy; what joins the two is made of both.
        assert!(round == 0 || ran <= 2, "{ran} steps ran");
        layers.push(bench.run(["inspect", "-f", "{{index .RootFS.Layers 2}}", "made"]).success().line());
    }
    assert_eq!(layers[0], layers[1]);
    assert_seen(&bench, &[], "the source of a linked copy", write(&bench, "dir/f", "other"));
}

/// T197, T200: when it is built does not matter, nor when the files were written.
#[test]
fn a_build_at_another_time_gives_the_same_image() {
    let Some((bench, _registry)) = scene() else { return };
    bench
        .file("dir/f", "f")
        .file("Dockerfile", "FROM busybox\nWORKDIR /new/dir\nCOPY dir .\nRUN touch now && mkdir later\n");
    let first = built(&bench, &[]);
    set_modified(&bench.work().join("dir/f"), 1_900_000_000);
    let again = build(&bench, &["--no-cache".to_owned()], false);
    assert!(again.ran > 0 && again.image == first.image, "{first:?}, then {again:?}");
}

/// T120: what a later copy replaces is the later one's, whichever of the two changes.
#[test]
fn of_two_copies_to_one_place_each_is_seen() {
    let Some((bench, _registry)) = scene() else { return };
    bench.file("one/f", "1").file("one/only", "1").file("two/f", "2");
    bench.file("Dockerfile", "FROM busybox\nCOPY one /made\nCOPY two /made\n");
    assert_seen(&bench, &["-t", "made"], "the second", write(&bench, "two/f", "3"));
    assert_eq!(printed(&bench, "/made/f"), "3");
    assert_seen(&bench, &["-t", "made"], "the first", write(&bench, "one/only", "4"));
    assert_eq!(printed(&bench, "/made/only") + &printed(&bench, "/made/f"), "43");
}

/// Row 6, what buildah 1.44 mended: a step that mounts a stage, or files of the context, sees what is there now.
#[test]
fn what_a_step_mounts_is_seen_as_far_as_it_is_mounted() {
    let Some((bench, _registry)) = scene() else { return };
    let from_stage = |text: &str| {
        bench.file(
            "Dockerfile",
            format!("FROM busybox AS one\nRUN echo {text} > /f\nFROM busybox\nRUN --mount=type=bind,from=one,target=/m cat /m/f > /made\n"),
        );
    };
    from_stage("first");
    assert_seen(&bench, &["-t", "made"], "another stage", || from_stage("other"));
    assert_eq!(printed(&bench, "/made"), "other\n");

    bench.file("dir/f", "f").file("beside", "b");
    bench.file("Dockerfile", "FROM busybox\nRUN --mount=type=bind,source=dir,target=/m cat /m/f > /made\n");
    assert_seen(&bench, &["-t", "made"], "a mounted file", write(&bench, "dir/f", "g"));
    assert_eq!(printed(&bench, "/made"), "g");
    write(&bench, "dir/g", "")();
    assert_eq!(built(&bench, &[]).ran, 1, "a new file that is mounted was not seen");
    assert_unseen(&bench, &[], "a file beside it", write(&bench, "beside", "c"));
    assert_unseen(&bench, &[], "a time", || set_modified(&bench.work().join("dir/f"), 1_800_000_000));
    fs::set_permissions(bench.work().join("dir/f"), fs::Permissions::from_mode(0o600)).expect("a file of the test");
    assert_eq!(built(&bench, &[]).ran, 1, "a mode of a mounted file was not seen");
}

/// T147: what is in a cache is different each time, and no reason to run anything.
#[test]
fn the_content_of_a_cache_mount_is_not_seen() {
    let Some((bench, _registry)) = scene() else { return };
    let cached = "RUN --mount=type=cache,target=/c echo x >> /c/log && wc -l < /c/log > /made\n";
    bench.file("Dockerfile", format!("FROM busybox\n{cached}"));
    let first = built(&bench, &["-t", "made"]);
    bench.file("Dockerfile", format!("FROM busybox\nRUN --mount=type=cache,target=/c echo y >> /c/log\n{cached}"));
    built(&bench, &["-t", "made"]);
    assert_eq!(printed(&bench, "/made"), "3\n", "both steps wrote to the same cache");
    bench.file("Dockerfile", format!("FROM busybox\n{cached}"));
    let again = built(&bench, &["-t", "made"]);
    assert!(again.ran == 0 && again.image == first.image, "{first:?}, then {again:?}");
}

/// A directory that is named on the command line is read as the context is.
#[test]
fn what_is_copied_from_another_context_is_seen_and_the_rest_of_it_is_not() {
    let Some((bench, _registry)) = scene() else { return };
    bench.file("extra/f", "f").file("extra/g", "g").file("other/f", "f");
    bench.file("Dockerfile", "FROM busybox\nCOPY --from=extra f /made\n");
    let args = ["-t", "made", "--build-context", "extra=extra"];
    assert_unseen(&bench, &args, "a file that is not copied", write(&bench, "extra/g", "h"));
    assert_seen(&bench, &args, "a file that is copied", write(&bench, "extra/f", "e"));
    assert_eq!(printed(&bench, "/made"), "e");
    let elsewhere = built(&bench, &["-t", "made", "--build-context", "extra=other"]);
    assert_eq!(printed(&bench, "/made"), "f");
    bench.file("other/f", "e");
    let same = built(&bench, &["-t", "made", "--build-context", "extra=other"]);
    assert!(elsewhere.ran > 0 || same.ran == 0, "the content decides, not the place");
}
