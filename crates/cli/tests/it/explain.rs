//! Why steps run: one cause after the other is brought about, and the first line of the step names it, whether what is
//! known of the step was built here or imported.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use stave_testkit::fixtures::with_busybox;
use stave_testkit::{Bench, Image, Output, Rootfs};

/// Three stages, of which the last reads from the first; one file of the context each, and one with all of them.
const DOCKERFILE: &str = "FROM busybox AS tool\nARG FLAVOUR=plain\nENV MODE=fast\nRUN echo $FLAVOUR $MODE > /tool\n\
                          FROM busybox AS files\nRUN mkdir /empty\nCOPY . /all/\nRUN ls /all > /list\n\
                          FROM busybox\nCOPY --from=tool /tool /tool\nCOPY --from=files /list /list\n\
                          RUN --mount=type=cache,target=/cache,sharing=shared cat /tool /list > /both\n";

/// A machine with a project on it.
struct Project {
    bench: Bench,
}

impl Project {
    fn on(bench: Bench) -> Self {
        bench.file("Dockerfile", DOCKERFILE).file(".dockerignore", "Dockerfile\n.dockerignore\n*.log\n");
        bench.file("src/a.c", "int a;").file("src/b.c", "int b;").file("run.sh", "echo run").file("notes.txt", "notes");
        symlink("a.c", bench.work().join("src/link")).expect("a link");
        fs::set_permissions(bench.work().join("run.sh"), fs::Permissions::from_mode(0o644)).expect("a mode");
        Self { bench }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.bench.work().join(name)
    }

    fn edit(&self, file: &str, old: &str, new: &str) {
        let text = fs::read_to_string(self.path(file)).expect("the file");
        assert!(text.contains(old), "{file} has no `{old}`");
        self.bench.file(file, text.replace(old, new));
    }

    fn build(&self, options: &[&str]) -> Output {
        let output = self.bench.run([&["build", "--progress=plain"], options, &["."]].concat());
        output.success();
        output
    }
}

/// The causes that a build told, step by step: `[stage N/M] INSTRUCTION` and the line.
fn causes(output: &Output) -> Vec<(String, String)> {
    let lines: Vec<&str> = output.stderr.lines().collect();
    let mut found = Vec::new();
    for line in &lines {
        let Some((number, cause)) = line.split_once(" runs because ") else { continue };
        let title = lines.iter().find_map(|line| line.strip_prefix(&format!("{number} ["))).expect("a title");
        found.push((format!("[{title}"), cause.to_owned()));
    }
    found
}

/// Changes something of a project; says which options the next build gets.
type Change = fn(&Project) -> Vec<String>;

/// What is brought about, and the line that names it.
const CAUSES: &[(&str, Change, &str)] = &[
    (
        "content",
        |project| {
            project.bench.file("src/b.c", "int c;");
            vec![]
        },
        "`src/b.c` has other content",
    ),
    (
        "mode",
        |project| {
            fs::set_permissions(project.path("run.sh"), fs::Permissions::from_mode(0o755)).expect("a mode");
            vec![]
        },
        "`run.sh` has the mode 0755, and had 0644",
    ),
    (
        "type",
        |project| {
            fs::remove_file(project.path("notes.txt")).expect("a file");
            fs::create_dir(project.path("notes.txt")).expect("a directory");
            vec![]
        },
        "`notes.txt` is a directory, and was a file",
    ),
    (
        "name",
        |project| {
            fs::rename(project.path("notes.txt"), project.path("zettel.txt")).expect("a file");
            vec![]
        },
        "`notes.txt` is called `zettel.txt` now",
    ),
    (
        "name of a directory",
        |project| {
            fs::rename(project.path("src"), project.path("lib")).expect("a directory");
            vec![]
        },
        "`src` is called `lib` now",
    ),
    (
        "link",
        |project| {
            fs::remove_file(project.path("src/link")).expect("a link");
            symlink("b.c", project.path("src/link")).expect("a link");
            vec![]
        },
        "`src/link` points to `b.c`, and did to `a.c`",
    ),
    (
        "added",
        |project| {
            project.bench.file("src/c.c", "int c;");
            vec![]
        },
        "`src/c.c` was added",
    ),
    (
        "removed",
        |project| {
            fs::remove_file(project.path("src/b.c")).expect("a file");
            vec![]
        },
        "`src/b.c` was removed",
    ),
    (
        "ignored",
        |project| {
            project.edit(".dockerignore", "*.log", "*.log\nsrc/b*");
            vec![]
        },
        "`src/b.c` is ignored now, by `src/b*` in line 4 of `.dockerignore`",
    ),
    ("arg", |_| vec!["--build-arg=FLAVOUR=sweet".to_owned()], "ARG FLAVOUR is `sweet`, and was `plain`"),
    (
        "env",
        |project| {
            project.edit("Dockerfile", "MODE=fast", "MODE=slow");
            vec![]
        },
        "ENV MODE is `slow`, and was `fast`",
    ),
    (
        "text",
        |project| {
            project.edit("Dockerfile", "RUN ls /all", "RUN ls -l /all");
            vec![]
        },
        "the instruction was `RUN ls /all > /list`",
    ),
    (
        "new line",
        |project| {
            project.edit("Dockerfile", "RUN ls /all", "RUN true\nRUN ls /all");
            vec![]
        },
        "the instruction is new",
    ),
    (
        "mount option",
        |project| {
            project.edit("Dockerfile", "sharing=shared", "sharing=locked");
            vec![]
        },
        "sharing of the mount `/cache` is `locked`, and was `shared`",
    ),
    (
        "removed instruction",
        |project| {
            project.edit("Dockerfile", "RUN mkdir /empty\n", "");
            vec![]
        },
        "`RUN mkdir /empty` before it is gone",
    ),
    (
        "user",
        |project| {
            project.edit("Dockerfile", "RUN ls /all", "USER root\nRUN ls /all");
            vec![]
        },
        "USER is `root`, and was not set",
    ),
    (
        "owner",
        |project| {
            project.edit("Dockerfile", "COPY . /all", "COPY --chown=1:2 . /all");
            vec![]
        },
        "--chown is `1:2`, and was not set",
    ),
];

/// Builds, changes something, builds again: the first step that runs names the cause, and what depends on it names that step.
#[test]
fn each_cause_is_named_by_the_first_line_of_the_step() {
    let Some((first, registry)) = with_busybox() else { return };
    drop(first);
    for (what, change, expected) in CAUSES {
        let project = Project::on(Bench::new().with_registry(&registry));
        project.build(&[]);
        let options = change(&project);
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let output = project.build(&options);
        let causes = causes(&output);
        assert_eq!(causes.first().map(|(_, cause)| cause.as_str()), Some(*expected), "{what}: {}", output.stderr);
        // What runs because of that step says so, and why that one did.
        for (step, cause) in &causes[1..] {
            let is_below = cause.starts_with('[') && cause.ends_with(&format!(" changed: {expected}"));
            assert!(is_below || cause == expected, "{what}: {step}: {cause}");
        }
    }
}

/// What is no change of a file or an instruction.
#[test]
fn a_cause_outside_of_the_project_is_named_as_well() {
    let Some((bench, registry)) = with_busybox() else { return };
    let project = Project::on(bench);
    let place = "type=registry,ref=127.0.0.1:1/no/cache,wait=60s";
    let unusable = first_cause(&project.build(&["--cache-from", place]));
    assert!(unusable.starts_with("the cache `127.0.0.1:1/no/cache:latest` could not be used: "), "{unusable}");
    assert_eq!(
        first_cause(&project.build(&["--build-arg", "FLAVOUR=sweet"])),
        "ARG FLAVOUR is `sweet`, and was `plain`"
    );
    project.build(&[]);
    assert_eq!(first_cause(&project.build(&["--no-cache"])), "--no-cache was given");
    for name in ["files", "stage-2", "2"] {
        let cause = first_cause(&project.build(&["--no-cache-filter", name]));
        let stage = if name == "files" { name } else { "stage-2" };
        assert_eq!(cause, format!("--no-cache-filter names its stage `{stage}`"));
    }
    project.bench.run(["store", "prune", "--all"]).success();
    assert_eq!(first_cause(&project.build(&[])), "its result is gone: it was pruned");
    project.edit("Dockerfile", "RUN echo $FLAVOUR", "SHELL [\"/bin/sh\", \"-e\", \"-c\"]\nRUN echo $FLAVOUR");
    let shell = "SHELL is `[\"/bin/sh\", \"-e\", \"-c\"]`, and was `[\"/bin/sh\", \"-c\"]`";
    assert_eq!(first_cause(&project.build(&[])), shell);
    let mut image = Image::of_busybox().expect("there was one before");
    image.layer(Rootfs::new().file("new", 0o644, "x"));
    registry.put("library/busybox", "latest", &image);
    let cause = first_cause(&project.build(&["--pull"]));
    assert!(cause.starts_with("the base image `busybox` is sha256:"), "{cause}");
    project.edit("Dockerfile", "ARG FLAVOUR=plain", "ARG FLAVOUR=plain\nARG API_TOKEN=hush1");
    project.build(&[]);
    let output = project.build(&["--build-arg", "API_TOKEN=hush2"]);
    assert_eq!(first_cause(&output), "ARG API_TOKEN has another value, which is not shown");
    let explained = project.bench.run(["explain", "--format", "json"]).success().out();
    assert!(!output.stderr.contains("hush") && !explained.contains("hush"), "{explained}");
}

/// A result that is gone is no cause of a step whose own input is another.
#[test]
fn what_a_user_changed_is_named_although_the_cache_was_pruned() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file("Dockerfile", "FROM busybox\nWORKDIR /work\nCOPY src .\nRUN ls > list\n").file("src/a", "1");
    let build = || {
        let output = bench.run(["build", "--progress=plain", "."]);
        output.success();
        causes(&output)
    };
    build();
    bench.run(["store", "prune", "--only", "cache", "--all"]).success();
    bench.file("src/a", "2");
    let told = build();
    let cause = |words: &str| {
        let found = told.iter().find(|(title, _)| title.ends_with(words));
        found.map_or_else(|| panic!("{words} is not in {told:?}"), |(_, cause)| cause.clone())
    };
    assert_eq!(cause("WORKDIR /work"), "its result is gone: it was pruned");
    assert_eq!(cause("COPY src ."), "`src/a` has other content");
    assert_eq!(cause("RUN ls > list"), "[stage-0 3/4] COPY src . changed: `src/a` has other content");
}

/// A step that failed and one that was never reached have different reasons.
#[test]
fn a_step_that_failed_is_told_from_one_that_never_ran() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file("Dockerfile", "FROM busybox\nRUN --mount=type=secret,id=s cat /run/secrets/s\nRUN true\n");
    bench.file("s", "x");
    assert_ne!(bench.run(["build", "--progress=plain", "."]).code, 0);
    let output = bench.run(["build", "--progress=plain", "--secret", "id=s,src=s", "."]);
    output.success();
    let told: Vec<String> = causes(&output).into_iter().map(|(_, cause)| cause).collect();
    let failed = "nothing has changed, but it failed the last time";
    let below = format!("[stage-0 2/3] RUN --mount=type=secret,id=s cat /run/secrets/s had to run: {failed}");
    assert_eq!(told, [failed, &below]);
}

/// A context as an archive, with a file `data` of this owner.
fn archive(dockerfile: &str, owner: u64) -> Vec<u8> {
    let mut files = tar::Builder::new(Vec::new());
    for (name, text, owner) in [("Dockerfile", dockerfile, 0), ("data", "x", owner)] {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        header.set_uid(owner);
        header.set_gid(owner + 1);
        files.append_data(&mut header, name, text.as_bytes()).expect("a file of an archive in memory");
    }
    files.into_inner().expect("an archive in memory")
}

/// Files of a context that comes as an archive have the owners that it says, and these count.
#[test]
fn another_owner_of_a_file_in_an_archive_is_named() {
    let Some((bench, _registry)) = with_busybox() else { return };
    let archive = |owner| archive("FROM busybox\nCOPY data /data\n", owner);
    let build = |owner| bench.run_with_input(["build", "--progress=plain", "-t", "made", "-"], archive(owner));
    build(1000).success();
    let output = build(1001);
    output.success();
    assert_eq!(first_cause(&output), "`data` belongs to 1001:1002, and did to 1000:1001");
}

/// The same file for another platform than the build before.
#[test]
fn another_platform_is_named() {
    let Some((bench, registry)) = with_busybox() else { return };
    let own = Image::of_busybox().expect("there was one before");
    let mut other = Image::of_busybox().expect("there was one before");
    other.layer(Rootfs::new().file("other", 0o644, "x"));
    other.config.architecture = "s390x".to_owned();
    registry.put_index("library/busybox", "latest", &[&own, &other]);
    bench.file("Dockerfile", "FROM busybox\nRUN echo here > /here\n");
    let build = |platform: &str| {
        let output = bench.run(["build", "--progress=plain", "--platform", platform, "."]);
        output.success();
        output
    };
    let host = stave_oci::Platform::host().to_string();
    build(&host);
    let cause = first_cause(&build("linux/s390x"));
    assert_eq!(cause, format!("it is for linux/s390x, and was for {host}"));
}

/// What another version of stave made is what the store says of it.
#[test]
fn results_of_another_version_are_told_by_both_versions() {
    let Some((bench, _registry)) = with_busybox() else { return };
    let project = Project::on(bench);
    project.build(&[]);
    let context = project.bench.store().join("context");
    let kept = fs::read_dir(context).expect("it is there").flatten().map(|entry| entry.path().join("builds"));
    for path in kept.filter(|path| path.exists()) {
        let text = fs::read_to_string(&path).expect("it is text");
        let old = text.replace("\"schema\":", "\"schema\":9").replace("\"builder\":\"", "\"builder\":\"0.0.1-");
        fs::write(&path, old).expect("it is written");
    }
    // Keys of another version are not found.
    fs::remove_file(project.bench.store().join("stave.db")).expect("it is there");
    for end in ["-wal", "-shm"] {
        drop(fs::remove_file(project.bench.store().join(format!("stave.db{end}"))));
    }
    let cause = first_cause(&project.build(&[]));
    assert!(cause.starts_with("stave 0.0.1-") && cause.contains(" made what is known, and this is "), "{cause}");
}

/// The cause that the first step told that ran.
fn first_cause(output: &Output) -> String {
    let first = causes(output).into_iter().next();
    first.map_or_else(|| panic!("nothing ran: {}", output.stderr), |(_, cause)| cause)
}

/// The same on another machine, which has nothing but the cache that the first one has written.
#[test]
fn each_cause_is_named_where_the_results_were_imported() {
    let Some((first, registry)) = with_busybox() else { return };
    let place = format!("type=registry,ref={}/cache:explain", registry.host());
    let origin = Project::on(first);
    origin.build(&[&format!("--cache-to={place},mode=max")]);
    for (what, change, expected) in CAUSES {
        let project = Project::on(Bench::new().with_registry(&registry));
        let options = change(&project);
        let import = format!("--cache-from={place},wait=60s");
        let options: Vec<&str> = options.iter().map(String::as_str).chain([import.as_str()]).collect();
        let output = project.build(&options);
        let causes = causes(&output);
        assert_eq!(causes.first().map(|(_, cause)| cause.as_str()), Some(*expected), "{what}: {}", output.stderr);
    }
}

/// What does not lie in the project's files, on a machine that has nothing but a cache of another one.
#[test]
fn causes_outside_of_the_project_are_named_where_the_results_were_imported() {
    let Some((first, registry)) = with_busybox() else { return };
    let own = Image::of_busybox().expect("there was one before");
    let mut other = Image::of_busybox().expect("there was one before");
    other.layer(Rootfs::new().file("other", 0o644, "x"));
    let mut foreign = other.clone();
    foreign.config.architecture = "s390x".to_owned();
    registry.put_index("library/busybox", "latest", &[&own, &foreign]);
    let dockerfile = "FROM busybox\nARG API_TOKEN=hush1\nRUN echo made > /made\nCOPY data /data\n";
    let archive = |owner| archive(dockerfile, owner);
    let place = format!("type=registry,ref={}/cache:outside", registry.host());
    let export = format!("--cache-to={place},mode=max");
    first.run_with_input(["build", &export, "-"], archive(1000)).success();
    let import = format!("--cache-from={place},wait=60s");
    let elsewhere = |options: &[&str], owner| {
        let bench = Bench::new().with_registry(&registry);
        let output =
            bench.run_with_input([&["build", "--progress=plain", &import], options, &["-"]].concat(), archive(owner));
        output.success();
        first_cause(&output)
    };
    assert_eq!(elsewhere(&[], 1001), "`data` belongs to 1001:1002, and did to 1000:1001");
    let hidden = elsewhere(&["--build-arg", "API_TOKEN=hush2"], 1000);
    assert_eq!(hidden, "ARG API_TOKEN has another value, which is not shown");
    let host = stave_oci::Platform::host().to_string();
    let platform = elsewhere(&["--platform", "linux/s390x"], 1000);
    assert_eq!(platform, format!("it is for linux/s390x, and was for {host}"));
    assert_eq!(elsewhere(&["--no-cache"], 1000), "--no-cache was given");
    registry.put_index("library/busybox", "latest", &[&other]);
    let base = elsewhere(&[], 1000);
    assert!(base.starts_with("the base image `busybox` is sha256:") && base.contains(", and was sha256:"), "{base}");
}

/// A build that is not to explain itself looks for nothing and keeps nothing; the one after it is compared with the one before.
#[test]
fn a_build_that_is_not_to_explain_itself_names_no_cause() {
    let Some((bench, _registry)) = with_busybox() else { return };
    let project = Project::on(bench);
    project.build(&[]);
    project.bench.file("notes.txt", "other notes");
    assert_eq!(causes(&project.build(&["--explain=none"])), []);
    project.bench.file("src/a.c", "int b;");
    let output = project.build(&[]);
    let (_, cause) = causes(&output).into_iter().next().expect("a step ran");
    assert!(cause.starts_with('`') && cause.ends_with("has other content"), "{cause}");
    let contradiction = project.bench.run(["build", "--explain=none", "--fail-on-miss", "."]);
    contradiction.exit(2).complains("`--explain=none` does not look");
}

/// A build that failed before it had steps is not one that had nothing to do.
#[test]
fn a_build_without_steps_says_why_there_is_nothing_to_explain() {
    let bench = Bench::new();
    bench.file("Dockerfile", "FROM scratch\nRUNN true\n");
    bench.run(["build", "."]).exit(2);
    let output = bench.run(["explain"]);
    let expected = "no step to explain: the build ended before it had any: unknown instruction `RUNN`\n";
    assert_eq!(output.success().out(), expected);
}

/// What a cache says of a build is more than what it has results of.
#[test]
fn a_step_that_an_imported_cache_leaves_out_is_not_called_new() {
    let Some((first, registry)) = with_busybox() else { return };
    drop(first);
    let origin = Project::on(Bench::new().with_registry(&registry));
    let place = format!("type=registry,ref={}/cache/least", registry.host());
    origin.build(&[&format!("--cache-to={place},mode=min")]);
    let project = Project::on(Bench::new().with_registry(&registry));
    project.edit("Dockerfile", "/tool /tool\n", "/tool /tool\nCOPY --from=tool /tool /again\n");
    let told = causes(&project.build(&[&format!("--cache-from={place},wait=60s")]));
    let cause = |words: &str| told.iter().find(|(title, _)| title.contains(words)).map(|(_, cause)| cause.as_str());
    let name = format!("{}/cache/least:latest", registry.host());
    let left_out = format!("nothing has changed, but the cache `{name}` has no result of it, as with `mode=min`");
    assert_eq!(cause("RUN echo $FLAVOUR"), Some(left_out.as_str()), "{told:?}");
    assert_eq!(cause("/again"), Some("the instruction is new"), "{told:?}");
}
