//! `COPY` and `ADD` of files of the context, of other stages and of the Dockerfile itself: what is in the image, entry by
//! entry. The numbers are those of the feature list.

use stave_testkit::{Bench, needs};
use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};

/// Builds the Dockerfile `text` and returns what is in the image, by path: `file 644 0:0 content`, `dir 755 0:0`,
/// `link target`. Hard links are `same as PATH`.
fn image(bench: &Bench, text: &str) -> BTreeMap<String, String> {
    image_with(bench, text, &[])
}

fn image_with(bench: &Bench, text: &str, args: &[&str]) -> BTreeMap<String, String> {
    bench.file("Dockerfile", text);
    let tar = bench.path("image.tar");
    let output = format!("type=tar,dest={}", tar.display());
    bench.run(["build", "-o", &output].iter().chain(args).chain(&["."])).success();
    let mut archive = tar::Archive::new(fs::File::open(tar).expect("written"));
    let mut entries = BTreeMap::new();
    for entry in archive.entries().expect("a tar") {
        let mut entry = entry.expect("an entry");
        let path = entry.path().expect("a path").display().to_string();
        let header = entry.header();
        let link = entry.link_name().expect("a name").map(|link| link.display().to_string()).unwrap_or_default();
        let mode = header.mode().expect("a mode") & 0o7777;
        let owner = format!("{}:{}", header.uid().expect("a number"), header.gid().expect("a number"));
        let shown = match header.entry_type() {
            tar::EntryType::Directory => format!("dir {mode:o} {owner}"),
            tar::EntryType::Symlink => format!("link {link}"),
            tar::EntryType::Link => format!("same as {link}"),
            tar::EntryType::Regular => {
                let mut content = String::new();
                entry.read_to_string(&mut content).expect("text");
                format!("file {mode:o} {owner} {content}")
            }
            other => format!("{other:?}"),
        };
        entries.insert(path.trim_matches('/').to_owned(), shown);
    }
    entries.remove(".");
    entries.remove("");
    entries
}

/// The paths of what is no directory.
fn files(image: &BTreeMap<String, String>) -> Vec<&str> {
    image.iter().filter(|(_, shown)| !shown.starts_with("dir ")).map(|(path, _)| path.as_str()).collect()
}

#[track_caller]
fn check(bench: &Bench, text: &str, expected: &[&str]) {
    let image = image(bench, text);
    let shown: Vec<String> = image.iter().map(|(path, shown)| format!("{path}: {shown}")).collect();
    assert_eq!(shown, expected, "{text}");
}

/// A bench whose context has files of mode 644 and directories of mode 755.
fn context(files: &[(&str, &str)]) -> Bench {
    let bench = Bench::new();
    for (path, content) in files {
        bench.file(path, content);
        let mut path = bench.work().join(path);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("our own file");
        while path.pop() && path.starts_with(bench.work()) {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("our own directory");
        }
    }
    bench.file(".dockerignore", "Dockerfile\n.dockerignore\n");
    bench
}

/// T84, T85, T86, T87.
#[test]
fn a_destination_is_a_file_or_a_directory_by_how_it_is_written() {
    let bench = context(&[("f", "x")]);
    check(&bench, "FROM scratch\nCOPY f /sample/\n", &["sample: dir 755 0:0", "sample/f: file 644 0:0 x"]);
    check(&bench, "FROM scratch\nCOPY f /sample\n", &["sample: file 644 0:0 x"]);
    check(&bench, "FROM scratch\nWORKDIR /w\nCOPY f $unset\n", &["w: dir 755 0:0", "w/f: file 644 0:0 x"]);
    check(&bench, "FROM scratch\nWORKDIR /app\nCOPY . .\n", &["app: dir 755 0:0", "app/f: file 644 0:0 x"]);
    check(&bench, "FROM scratch\nWORKDIR /app\nCOPY [\"./\", \"\"]\n", &["app: dir 755 0:0", "app/f: file 644 0:0 x"]);
    let text = "FROM scratch\nWORKDIR /a\nWORKDIR b\nCOPY f ../x\n";
    check(&bench, text, &["a: dir 755 0:0", "a/b: dir 755 0:0", "a/x: file 644 0:0 x"]);
}

/// T88, T89, T90, T94, T95, K004, K005.
#[test]
fn wildcards_match_what_gos_do() {
    let bench = context(&[("foo1.go", "1"), ("foo2.txt", "2"), ("d/x.txt", "3"), ("d/e/y.txt", "4")]);
    let found = |sources: &str| {
        let image = image(&bench, &format!("FROM scratch\nCOPY {sources}\n"));
        files(&image).join(" ")
    };
    assert_eq!(found("foo* nothing* bar/"), "bar/foo1.go bar/foo2.txt");
    assert_eq!(found("foo*.go foo2.go"), "foo2.go");
    assert_eq!(found("missing* /x"), "", "nothing matches, and nothing is made");
    assert_eq!(found("**/*.txt /t/"), "t/x.txt", "two stars are one directory");
    assert_eq!(found("d/?.txt /"), "x.txt");
    bench.file("Dockerfile", "FROM scratch\nCOPY missing /x\n");
    bench.run(["build", "."]).exit(1).complains("missing");
    bench.file("Dockerfile", "FROM scratch\nCOPY foo1.go missing /x/\n");
    bench.run(["build", "."]).exit(1).complains("missing");
    bench.file("Dockerfile", "FROM scratch\nCOPY foo1.go foo2.txt /x\n");
    bench.run(["build", "."]).exit(2).complains("2 sources need a directory as destination");
    bench.file("[a].txt", "strange").file("ü %+.txt", "stranger");
    assert_eq!(found("[[]a].txt /x"), "x");
    assert_eq!(found("[\"ü %+.txt\", \"/a b/\"]"), "a b/ü %+.txt");
}

/// T91, T106, T110, A136.
#[test]
fn owner_and_mode_are_for_what_is_made_on_the_way_too() {
    let Some(()) = needs::root() else { return };
    let bench = context(&[("f", "x"), ("dir/sub/g", "y")]);
    let text = "FROM scratch\nCOPY f /old/\nCOPY --chown=1000 f /old/e/\nCOPY --chown=7:8 dir/ /old\n";
    check(
        &bench,
        text,
        &[
            "old: dir 755 0:0",
            "old/e: dir 755 1000:1000",
            "old/e/f: file 644 1000:1000 x",
            "old/f: file 644 0:0 x",
            "old/sub: dir 755 7:8",
            "old/sub/g: file 644 7:8 y",
        ],
    );
    let text = "FROM scratch\nARG MODE=0711\nCOPY --chmod=$MODE dir /d/\nCOPY --chmod=0 f /zero\n";
    check(&bench, text, &["d: dir 711 0:0", "d/sub: dir 711 0:0", "d/sub/g: file 711 0:0 y", "zero: file 0 0:0 x"]);
    for mode in ["64a", "10000"] {
        bench.file("Dockerfile", format!("FROM scratch\nCOPY --chmod={mode} f /\n"));
        bench.run(["build", "."]).exit(2).complains("expected an octal number between 0 and 7777");
    }
}

/// T107, T108, T109, K002, K003.
#[test]
fn owners_are_looked_up_in_the_image() {
    let Some(()) = needs::root() else { return };
    let bench = context(&[("f", "x"), ("passwd", "user:x:10:20::/:\n"), ("group", "grp:x:30:\nuser:x:99:\n")]);
    let base = "FROM scratch AS base\nCOPY passwd group /etc/\nFROM base\n";
    let owner = |flags: &str| {
        let image = image(&bench, &format!("{base}USER 1000\nCOPY {flags} f /f\n"));
        image["f"].clone()
    };
    assert_eq!(owner("--chown=user"), "file 644 10:20 x");
    assert_eq!(owner("--chown=user:grp"), "file 644 10:30 x");
    assert_eq!(owner("--chown=5:grp"), "file 644 5:30 x");
    assert_eq!(owner("--chown=5"), "file 644 5:5 x");
    assert_eq!(owner("--chown=5:6"), "file 644 5:6 x");
    assert_eq!(owner(""), "file 644 0:0 x", "USER does not count");
    bench.file("Dockerfile", format!("{base}COPY --chown=nosuch f /f\n"));
    bench.run(["build", "."]).exit(1).complains("no user `nosuch` in `/etc/passwd` of the image");
    bench.file("Dockerfile", format!("{base}COPY --chown=user:nosuch f /f\n"));
    bench.run(["build", "."]).exit(1).complains("no group `nosuch` in `/etc/group` of the image");
}

/// T92, T93, T99.
#[test]
fn nothing_outside_the_context_is_copied() {
    let bench = context(&[("f", "inside"), ("d/g", "y")]);
    fs::write(bench.path("f"), "outside").expect("a writable bench");
    symlink("../../f", bench.work().join("d/out")).expect("a writable bench");
    let text = "FROM scratch\nCOPY ../../f /\nCOPY /f /g\nCOPY d /d\n";
    check(
        &bench,
        text,
        &[
            "d: dir 755 0:0",
            "d/g: file 644 0:0 y",
            "d/out: link ../../f",
            "f: file 644 0:0 inside",
            "g: file 644 0:0 inside",
        ],
    );
    check(
        &bench,
        "FROM scratch\nCOPY [\"\", \"/x/\"]\n",
        &[
            "x: dir 755 0:0",
            "x/d: dir 755 0:0",
            "x/d/g: file 644 0:0 y",
            "x/d/out: link ../../f",
            "x/f: file 644 0:0 inside",
        ],
    );
}

/// T96, T97.
#[test]
fn only_what_is_seen_runs_a_copy_again() {
    let bench = context(&[("a1", "1"), ("a2", "2"), ("other", "x")]);
    bench.file("Dockerfile", "FROM scratch\nCOPY a* /x/\n");
    let cached = || bench.run(["build", "."]).success().stderr.contains("CACHED");
    assert!(!cached());
    assert!(cached());
    bench.file("other", "changed");
    assert!(cached(), "a file that no pattern matches");
    let file = fs::File::options().write(true).open(bench.work().join("a1")).expect("our own file");
    file.set_modified(std::time::UNIX_EPOCH).expect("our own file");
    assert!(cached(), "a time");
    fs::set_permissions(bench.work().join("a1"), fs::Permissions::from_mode(0o600)).expect("our own file");
    assert!(!cached(), "a mode");
    fs::rename(bench.work().join("a2"), bench.work().join("a3")).expect("our own file");
    assert!(!cached(), "a name");
    bench.file("a1", "changed");
    assert!(!cached(), "content");
    assert!(cached());
}

/// T98.
#[test]
fn links_that_are_named_are_followed() {
    let bench = context(&[("real/f", "x")]);
    for (target, link) in [("real/f", "file"), ("file", "twice"), ("real", "dir"), ("dir", "dirs")] {
        symlink(target, bench.work().join(link)).expect("a writable bench");
    }
    check(
        &bench,
        "FROM scratch\nCOPY twice /a\nCOPY dirs /b/\nCOPY fil* /c/\n",
        &["a: file 644 0:0 x", "b: dir 755 0:0", "b/f: file 644 0:0 x", "c: dir 755 0:0", "c/file: file 644 0:0 x"],
    );
}

/// T100, T101, T102, T112, T113.
#[test]
fn links_of_the_image_are_followed_inside_it_but_not_by_a_link() {
    let bench = context(&[("f", "x"), ("tree/run/keep", ""), ("tree/etc/keep", ""), ("d/e/g", "y")]);
    fs::create_dir(bench.work().join("tree/var")).expect("a writable bench");
    symlink("/run", bench.work().join("tree/var/run")).expect("a writable bench");
    symlink("../../../../etc", bench.work().join("tree/out")).expect("a writable bench");
    let base = "FROM scratch AS base\nCOPY tree /\nFROM base\n";
    let made = image(&bench, &format!("{base}COPY f /var/run/x/\nCOPY f /out/y\n"));
    assert_eq!(made["run/x/f"], "file 644 0:0 x");
    assert_eq!(made["etc/y"], "file 644 0:0 x");
    assert_eq!((&*made["var/run"], &*made["out"]), ("link /run", "link ../../../../etc"));
    let linked = image(&bench, &format!("{base}COPY --link f /var/run/x/\n"));
    assert_eq!(linked["var/run"], "dir 755 0:0", "the layer's own directory takes the link's place");
    assert_eq!(linked["var/run/x/f"], "file 644 0:0 x");
    assert!(linked.contains_key("run/keep") && !linked.contains_key("run/x"));
    for dest in [".", "\"\""] {
        let [plain, linked] = ["", "--link "].map(|flag| {
            image(&bench, &format!("FROM scratch\nWORKDIR /w\nCOPY {flag}[\"f\", {}]\n", dest.replace('.', "\".\"")))
        });
        assert_eq!(plain, linked);
    }
    bench.file("Dockerfile", format!("{base}COPY f /etc\nCOPY d /etc/f\n"));
    bench.run(["build", "."]).exit(1).complains("cannot copy to non-directory");
    bench.file(
        "Dockerfile",
        format!("{base}COPY d /x/\nCOPY f /x/y/\nCOPY --from=base /etc/keep /x/e\nCOPY d/e/g /x/e/g\n"),
    );
    bench.run(["build", "."]).success();
    bench.file("named/e", "not a directory");
    bench.file("Dockerfile", format!("{base}COPY d /x/\nCOPY named /x/\n"));
    bench.run(["build", "."]).exit(1).complains("cannot replace directory");
}

/// T103, T104, T105.
#[test]
fn sockets_become_files_and_hard_links_stay() {
    let bench = context(&[("d/a", "x")]);
    fs::hard_link(bench.work().join("d/a"), bench.work().join("d/b")).expect("a writable bench");
    fs::set_permissions(bench.work().join("d/a"), fs::Permissions::from_mode(0o6755)).expect("our own file");
    let _socket = std::os::unix::net::UnixListener::bind(bench.work().join("d/socket")).expect("a short path");
    fs::set_permissions(bench.work().join("d/socket"), fs::Permissions::from_mode(0o644)).expect("our own file");
    check(
        &bench,
        "FROM scratch AS a\nCOPY d /d\nFROM scratch\nCOPY --from=a /d /e\n",
        &["e: dir 755 0:0", "e/a: file 6755 0:0 x", "e/b: same as e/a", "e/socket: file 644 0:0 "],
    );
}

/// T111, T115: each entry is changed from the mode that it has.
#[test]
fn symbolic_modes_change_each_entry() {
    let bench = context(&[("d/plain", "1"), ("d/program", "2"), ("d/sub/private", "3")]);
    let mode = |path: &str, mode: u32| {
        fs::set_permissions(bench.work().join(path), fs::Permissions::from_mode(mode)).expect("our own file");
    };
    mode("d/program", 0o755);
    mode("d/sub/private", 0o600);
    mode("d/sub", 0o700);
    mode("d/plain", 0o666);
    let modes = |flags: &str| {
        let image = image(&bench, &format!("FROM scratch\nCOPY {flags} d /d/\n"));
        ["d", "d/plain", "d/program", "d/sub", "d/sub/private"]
            .map(|path| image[path].split(' ').nth(1).map(str::to_owned).expect("a mode"))
            .join(" ")
    };
    assert_eq!(modes("--chmod=u=rwX,go=rX"), "755 644 755 755 644");
    assert_eq!(modes("--chmod=a+X"), "755 666 755 711 600");
    assert_eq!(modes("--chmod=go-w"), "755 644 755 700 600");
    assert_eq!(modes("--chmod=go="), "700 600 700 700 600");
    assert_eq!(modes("--link --chmod=a+X"), "755 666 755 711 600");
    assert_eq!(modes("--chmod=u=rwX,go=rX --exclude=none"), "755 644 755 755 644");
}

/// T111. Left out is `=rw,+X`, for which GNU's `X` looks at the mode after `=rw`, and BSD's and BuildKit's at the first.
#[test]
fn symbolic_modes_do_what_chmod_does() {
    let Some(chmod) = needs::program("chmod") else { return };
    let bench = context(&[]);
    let modes = [0o600, 0o640, 0o666, 0o755, 0o711, 0o4750];
    for mode in modes {
        for name in [format!("d/f{mode:o}"), format!("d/d{mode:o}/f")] {
            bench.file(&name, "");
        }
        for name in [format!("d/f{mode:o}"), format!("d/d{mode:o}")] {
            fs::set_permissions(bench.work().join(name), fs::Permissions::from_mode(mode)).expect("our own file");
        }
    }
    for text in ["u=rwX,go=rX", "a+X", "go-w", "g=u", "o=g-w", "a=rX,u+w", "ug+rw,o-rwx", "u-x,g+s", "a-X", "go="] {
        let image = image(&bench, &format!("FROM scratch\nCOPY --chmod={text} d /d/\n"));
        for mode in modes {
            for kind in ["f", "d"] {
                let name = format!("{kind}{mode:o}");
                let copied = image[&format!("d/{name}")].split(' ').nth(1).expect("a mode").to_owned();
                let other = bench.path("other");
                if kind == "d" { fs::create_dir(&other) } else { fs::write(&other, "") }.expect("a writable bench");
                fs::set_permissions(&other, fs::Permissions::from_mode(mode)).expect("our own file");
                // The mask has no part in it, as in BuildKit.
                let mut command = std::process::Command::new("sh");
                command.args(["-c", "umask 0; exec \"$@\"", "sh"]).arg(&chmod).arg(text).arg(&other);
                assert!(command.status().expect("chmod starts").success(), "{text}");
                // What happens to set-id bits that are not named differs between systems.
                let expected = fs::metadata(&other).expect("it is there").permissions().mode() & 0o777;
                let copied = u32::from_str_radix(&copied, 8).expect("octal") & 0o777;
                assert_eq!(format!("{copied:o}"), format!("{expected:o}"), "{text} of {name}");
                if kind == "d" { fs::remove_dir(&other) } else { fs::remove_file(&other) }.expect("our own file");
            }
        }
    }
}

/// T114.
#[test]
fn a_link_is_made_once_for_every_base() {
    let bench = context(&[("f", "x"), ("g", "y")]);
    let layer = |base: &str| {
        bench.file("Dockerfile", format!("FROM scratch\nCOPY {base} /{base}\nCOPY --link f /a/b/\n"));
        let output = bench.run(["build", "-t", base, "."]);
        let cached = output.success().stderr.contains("CACHED");
        let layers = bench.run(["inspect", "-f", "{{json .RootFS.Layers}}", base]).success().line();
        let layers: Vec<String> = serde_json::from_str(&layers).expect("JSON");
        (layers.last().cloned(), cached)
    };
    let (first, cached) = layer("f");
    assert!(!cached);
    assert_eq!(layer("g"), (first, true));
}

/// T116, A142.
#[test]
fn what_is_excluded_is_relative_to_the_source() {
    let bench = context(&[
        ("dir/a.md", "1"),
        ("dir/keep.md", "2"),
        ("dir/b.txt", "3"),
        ("dir/sub/c.md", "4"),
        ("dir/sub/d.txt", "5"),
        ("e.md", "6"),
    ]);
    let found = |copy: &str| {
        let image = image(&bench, &format!("FROM scratch AS s\nCOPY . /\nFROM scratch\n{copy}\n"));
        files(&image).join(" ")
    };
    assert_eq!(found("COPY --exclude=*.md --exclude=!keep.md dir/ /x/"), "x/b.txt x/keep.md x/sub/c.md x/sub/d.txt");
    assert_eq!(found("COPY --exclude=**/*.md dir/ /x/"), "x/b.txt x/sub/d.txt");
    assert_eq!(found("COPY --exclude=sub --exclude=!sub/d.txt dir /x/"), "x/a.md x/b.txt x/keep.md x/sub/d.txt");
    assert_eq!(found("COPY --exclude=dir/*.md . /x/"), "x/dir/b.txt x/dir/sub/c.md x/dir/sub/d.txt x/e.md");
    assert_eq!(found("COPY --from=s --exclude=**/*.txt --exclude=sub /dir /x/"), "x/a.md x/keep.md");
    assert_eq!(found("ADD --exclude=*.md --exclude=sub dir /x/"), "x/b.txt");
    assert_eq!(found("COPY --exclude=*.md e.md /x/"), "x/e.md", "what is named itself is copied");
    let empty = image(&bench, "FROM scratch\nCOPY --exclude=* dir /x\n");
    assert_eq!(empty.into_iter().collect::<Vec<_>>(), [("x".to_owned(), "dir 755 0:0".to_owned())]);
    bench.file("Dockerfile", "FROM scratch\nCOPY --exclude=[ dir /x/\n");
    bench.run(["build", "."]).complains("--exclude=[");
    bench.file("Dockerfile", "FROM scratch\nCOPY --exclude=*.md dir/ /x/\n");
    bench.run(["build", "."]).success();
    bench.file("dir/a.md", "changed");
    assert!(bench.run(["build", "."]).success().stderr.contains("CACHED"), "an excluded file is in no key");
}

/// T117, T118, T119, A146, A147, A148.
#[test]
fn parents_are_kept_from_the_pivot_on() {
    let bench = context(&[
        ("a/b/1.txt", "1"),
        ("a/b/2.md", "2"),
        ("a/b/c/d/3.txt", "3"),
        ("x/y.txt", "4"),
        ("x/z.go", "5"),
        ("test/a/b/c/f", "6"),
        ("test/a/b2/c/g", "7"),
    ]);
    fs::set_permissions(bench.work().join("a/b"), fs::Permissions::from_mode(0o700)).expect("our own directory");
    let made = |copy: &str| image(&bench, &format!("FROM scratch AS s\nCOPY . /\nFROM scratch\n{copy}\n"));
    let found = |copy: &str| files(&made(copy)).join(" ");
    assert_eq!(found("COPY --parents a/b/*.txt x/y.txt /d/"), "d/a/b/1.txt d/x/y.txt");
    assert_eq!(made("COPY --parents a/b/*.txt /d/")["d/a/b"], "dir 700 0:0", "as the source has it");
    assert_eq!(found("COPY --parents /test/a/./b/./c /out/"), "out/b/c/f");
    assert_eq!(found("COPY --parents test/a/./*/c /out/"), "out/b/c/f out/b2/c/g");
    assert_eq!(found("COPY --parents test/a/b*/./c/* /out/"), "out/c/f out/c/g");
    assert_eq!(found("COPY --parents **/*.go /d/"), "d/x/z.go");
    assert_eq!(found("COPY --parents **/*.txt /d/"), "d/a/b/1.txt d/a/b/c/d/3.txt d/x/y.txt");
    assert_eq!(found("COPY --parents --exclude=**/c a/**/*.txt /d/"), "d/a/b/1.txt");
    assert_eq!(found("COPY --parents a/b/c /d"), "d/a/b/c/d/3.txt");
    assert_eq!(found("COPY --from=s --parents /a/b/c/d/. /out/"), "out/a/b/c/d/3.txt");
    assert_eq!(found("COPY --from=s --parents ./test/a/./b* /out/"), "out/b/c/f out/b2/c/g");
    assert_eq!(found("COPY --link --parents x/y.txt /out/"), "out/x/y.txt");
    let empty = made("COPY --parents nothing*/x /d/");
    assert_eq!(empty.into_iter().collect::<Vec<_>>(), [("d".to_owned(), "dir 755 0:0".to_owned())]);
    for missing in ["missing", "a/b/missing", "missing/./x", "a/./missing"] {
        bench.file("Dockerfile", format!("FROM scratch\nCOPY --parents {missing} /d/\n"));
        bench.run(["build", "."]).exit(1).complains("not found");
    }
    bench.file("Dockerfile", "FROM scratch\nCOPY --parents x/y.txt /d/\n");
    bench.run(["build", "."]).success();
    bench.file("a/b/1.txt", "changed");
    assert!(bench.run(["build", "."]).success().stderr.contains("CACHED"), "what is not named is in no key");
}

/// T120, T121.
#[test]
fn what_is_copied_later_replaces_what_was_there() {
    let Some(()) = needs::root() else { return };
    let bench = context(&[("one/f", "1"), ("two/f", "2"), ("two/g", "3")]);
    fs::set_permissions(bench.work().join("two/g"), fs::Permissions::from_mode(0o4755)).expect("our own file");
    check(
        &bench,
        "FROM scratch\nCOPY one two /x/\nCOPY two /x/\n",
        &["x: dir 755 0:0", "x/f: file 644 0:0 2", "x/g: file 4755 0:0 3"],
    );
    let text = "FROM scratch AS s\nCOPY two /x/\nFROM scratch\nCOPY --from=s --chown=5:6 /x/g /g\n";
    check(&bench, text, &["g: file 4755 5:6 3"]);
}

/// They are root's, with mode 0644, and have their name where the destination is a directory.
#[test]
fn files_written_in_the_dockerfile_are_copied() {
    let bench = context(&[("f", "x")]);
    check(
        &bench,
        "FROM scratch\nCOPY <<one <<two f /d/\n1\none\n2\ntwo\nCOPY --chmod=+x <<E /script\n#!/bin/sh\nE\n",
        &[
            "d: dir 755 0:0",
            "d/f: file 644 0:0 x",
            "d/one: file 644 0:0 1\n",
            "d/two: file 644 0:0 2\n",
            "script: file 755 0:0 #!/bin/sh\n",
        ],
    );
}

/// Returns a tar with a file in it that belongs to 3:4, in a directory of its own.
fn tar_of(name: &str) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Directory);
    header.set_mode(0o750);
    header.set_uid(3);
    header.set_gid(4);
    header.set_size(0);
    builder.append_data(&mut header.clone(), format!("{name}.d/"), &b""[..]).expect("memory");
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(0o640);
    header.set_size(1);
    builder.append_data(&mut header, format!("{name}.d/f"), &b"x"[..]).expect("memory");
    builder.into_inner().expect("memory")
}

/// T122, T123, T124, T126, T127, T131.
#[test]
fn archives_of_the_context_are_unpacked_by_add_only() {
    let Some(()) = needs::root() else { return };
    let bench = context(&[("not.tar.gz", "no archive"), ("f", "x")]);
    bench.file("a.tar", tar_of("a")).file("b.tar", tar_of("b")).file("plain-name", tar_of("c"));
    bench.file("dir/a.tar", tar_of("a"));
    let found = |line: &str| {
        let image = image(&bench, &format!("FROM scratch\n{line}\n"));
        files(&image).join(" ")
    };
    check(
        &bench,
        "FROM scratch\nADD a.tar /d/\n",
        &["d: dir 755 0:0", "d/a.d: dir 750 3:4", "d/a.d/f: file 640 3:4 x"],
    );
    check(
        &bench,
        "FROM scratch\nADD --chown=1:2 a.tar /d/\n",
        &["d: dir 755 1:2", "d/a.d: dir 750 1:2", "d/a.d/f: file 640 1:2 x"],
    );
    assert_eq!(found("ADD plain-name /d/"), "d/c.d/f", "the bytes decide, not the name");
    assert_eq!(found("ADD not.tar.gz f /d/"), "d/f d/not.tar.gz");
    assert_eq!(found("ADD *.tar /d/"), "d/a.d/f d/b.d/f");
    assert_eq!(found("ADD --unpack=true a.tar /d/"), "d/a.d/f");
    for (line, size) in
        [("COPY a.tar /d/", "d/a.tar"), ("ADD --unpack=false a.tar /d/", "d/a.tar"), ("ADD dir /d/", "d/a.tar")]
    {
        bench.file("Dockerfile", format!("FROM scratch\n{line}\n"));
        bench.run(["build", "-o", "out", "."]).success();
        assert_eq!(fs::read(bench.work().join("out").join(size)).expect("copied whole"), tar_of("a"), "{line}");
        fs::remove_dir_all(bench.work().join("out")).expect("our own directory");
    }
}
