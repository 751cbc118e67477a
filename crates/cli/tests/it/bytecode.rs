//! What programs compile in a step is used in the image, also where times are not what the step saw.

use stave_testkit::fixtures::with_busybox;
use stave_testkit::{Bench, LoopbackRegistry, needs};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The system's Python and what it needs to compile something: its program, its name and its version, like `311`.
struct Python {
    program: PathBuf,
    name: String,
    tag: String,
}

impl Python {
    fn find() -> Option<Self> {
        let versions = (7..40).rev().map(|minor| (format!("python3.{minor}"), format!("3{minor}")));
        let found = versions.map(|(name, tag)| Self { program: Path::new("/usr/bin").join(&name), name, tag });
        let python = found.into_iter().find(|python| python.program.is_file() && python.library().is_dir());
        if python.is_none() {
            needs::skipped("no Python of the system (Debian's package python3-minimal)");
        }
        python
    }

    fn library(&self) -> PathBuf {
        Path::new("/usr/lib").join(&self.name)
    }

    /// Lays out a part of it below `root` that can compile and run modules.
    fn lay_out(&self, root: &Path) {
        let put = |from: &Path, to: &Path| {
            fs::create_dir_all(to.parent().expect("it has a parent")).expect("a writable bench");
            fs::copy(from, to).expect("a readable Python");
        };
        put(&self.program, &root.join("usr/bin").join(&self.name));
        let listed = Command::new("ldd").arg(&self.program).output().expect("ldd runs");
        let listed = String::from_utf8(listed.stdout).expect("text");
        for library in listed.split_whitespace().filter(|word| word.starts_with('/')) {
            put(Path::new(library), &root.join(library.trim_start_matches('/')));
        }
        let library = self.library();
        for directory in
            ["", "encodings", "importlib", "collections", "re", "concurrent", "concurrent/futures", "urllib"]
        {
            let Ok(entries) = fs::read_dir(library.join(directory)) else { continue };
            for entry in entries {
                let path = entry.expect("a readable directory").path();
                if path.extension().is_some_and(|extension| extension == "py") {
                    put(&path, &root.join(path.strip_prefix("/").expect("it is absolute")));
                }
            }
        }
    }
}

fn fill(bench: &Bench, python: &Python) {
    python.lay_out(&bench.work().join("python"));
    let name = &python.name;
    bench.file("pkg/__init__.py", "from pkg.inner import V\n").file("pkg/inner.py", "V = 'package'\n").file(
        "Dockerfile",
        format!(
            "FROM busybox AS python\nCOPY python /\nENV PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=/site:/late\n\
             FROM python AS installed\nCOPY pkg /site/pkg\nRUN {name} -m compileall -q /site\n\
             FROM python\n\
             RUN mkdir /late && echo \"V = 'one'\" > /late/changed.py && echo \"V = 'kept'\" > /late/kept.py \
             && {name} -m compileall -q /late\n\
             RUN sed -i s/one/two/ /late/changed.py\nCOPY --from=installed /site /site\n"
        ),
    );
}

fn build(registry: &LoopbackRegistry, python: &Python) -> (Bench, String) {
    let bench = Bench::new().with_registry(registry);
    fill(&bench, python);
    bench.run(["build", "-t", "made", "--iidfile", "id", "."]).success();
    let id = fs::read_to_string(bench.work().join("id")).expect("an image id");
    (bench, id)
}

#[test]
fn the_bytecode_of_a_package_is_used_in_the_image_and_that_of_a_changed_file_is_not() {
    let (Some(python), Some((_bench, registry))) = (Python::find(), with_busybox()) else { return };
    let (bench, id) = build(&registry, &python);
    let archive = bench.run(["save", "made"]).success().stdout.clone();
    // Somewhere else, where only the image is known.
    let other = Bench::new();
    other.run_with_input(["load"], archive).success();
    let imported = |module: &str| {
        let code = format!("from {module} import V; print(V)");
        let run = other.run(["run", "--rm", "made", &python.name, "-v", "-c", &code]);
        (run.success().out(), run.stderr.clone())
    };
    let used = |module: &str, path: &str| format!("{path}/__pycache__/{module}.cpython-{}.pyc matches", python.tag);
    let (out, log) = imported("pkg");
    assert_eq!(out, "package\n");
    for module in ["__init__", "inner"] {
        assert!(log.contains(&used(module, "/site/pkg")), "{module}: {log}");
    }
    let (out, log) = imported("kept");
    assert_eq!(out, "kept\n");
    assert!(log.contains(&used("kept", "/late")), "{log}");
    // As long as before, and with the same time in the image.
    let (out, log) = imported("changed");
    assert_eq!(out, "two\n", "{log}");
    assert!(!log.contains(&used("changed", "/late")), "{log}");

    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(build(&registry, &python).1, id, "later, bytecode is the same");
}

/// What is compiled in a cache that outlives the build is compiled again when a source was changed, as with every other
/// builder: steps see the times that files really have.
#[test]
fn a_step_sees_that_a_source_is_younger_than_what_was_made_of_it() {
    let Some((bench, _registry)) = with_busybox() else { return };
    let dockerfile = "FROM busybox\nCOPY source /\nRUN --mount=type=cache,target=/cache \
                      if [ ! -e /cache/made ] || [ /source -nt /cache/made ]; then cp /source /cache/made; fi; cp /cache/made /made\n";
    bench.file("Dockerfile", dockerfile);
    for content in ["first", "other"] {
        bench.file("source", content);
        bench.run(["build", "-o", "out", "."]).success();
        assert_eq!(fs::read_to_string(bench.work().join("out/made")).expect("made"), content);
        // busybox's `-nt` compares whole seconds.
        std::thread::sleep(Duration::from_millis(1100));
    }
}
