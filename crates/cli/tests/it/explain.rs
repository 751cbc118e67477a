//! Why steps run: one cause after the other is brought about, and the first line of the step names it, whether what is
//! known of the step was built here or imported.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use stave_testkit::fixtures::with_busybox;
use stave_testkit::{Bench, Output};

/// Three stages, of which the last reads from the first; one file of the context each, and one with all of them.
const DOCKERFILE: &str = "FROM busybox AS tool\nARG FLAVOUR=plain\nENV MODE=fast\nRUN echo $FLAVOUR $MODE > /tool\n\
                          FROM busybox AS files\nCOPY . /all/\nRUN ls /all > /list\n\
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
    }
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
