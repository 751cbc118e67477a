//! Where a page is played: an empty directory, a store, a registry that has the images that the book uses.

use stave_testkit::bench::stave_binary;
use stave_testkit::fixtures::with_busybox;
use stave_testkit::{Bench, Image, LoopbackRegistry};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

/// The images of Docker Hub that the book's examples start from. All are the same small one with a shell.
const IMAGES: [(&str, &str); 6] = [
    ("library/alpine", "3"),
    ("library/alpine", "3.20"),
    ("library/debian", "12"),
    ("library/golang", "1"),
    ("library/golang", "latest"),
    ("library/python", "3"),
];

/// What the examples name registries.
const REGISTRIES: [&str; 3] = ["registry.example", "registry.example.com", "example.com"];

/// Runs a command in the state that the one before left, and keeps the state that it leaves.
const SHELL: &str = r#"
cd "$(cat "$STATE/pwd")"
. "$STATE/env"
eval "$1"
code=$?
pwd > "$STATE/pwd"
export -p > "$STATE/env"
exit $code
"#;

pub(super) struct Scene {
    bench: Bench,
    _registry: LoopbackRegistry,
}

impl Scene {
    /// Nothing, after saying so, on a machine that lacks what it takes.
    pub(super) fn new() -> Option<Self> {
        let (mut bench, registry) = with_busybox()?;
        let image = Image::of_busybox()?;
        for (name, tag) in IMAGES {
            registry.put(name, tag, &image);
        }
        let conf = bench.path("registries.conf");
        let mut text = fs::read_to_string(&conf).expect("the bench has it");
        for name in REGISTRIES {
            let host = registry.host();
            writeln!(text, "\n[[registry]]\nprefix = \"{name}\"\nlocation = \"{host}\"\ninsecure = true")
                .expect("memory");
        }
        fs::write(&conf, text).expect("a writable bench");
        let programs = bench.path("bin");
        fs::create_dir(&programs).expect("a writable bench");
        for name in ["stave", "docker"] {
            symlink(stave_binary(), programs.join(name)).expect("a writable bench");
        }
        let state = bench.path("state");
        fs::create_dir(&state).expect("a writable bench");
        let work = bench.path("home").join("app");
        fs::create_dir(&work).expect("a writable bench");
        fs::write(state.join("pwd"), format!("{}\n", work.display())).expect("a writable bench");
        fs::write(state.join("env"), "").expect("a writable bench");
        bench.set("STATE", state);
        bench.set(
            "PATH",
            format!("{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", programs.display()),
        );
        Some(Self { bench, _registry: registry })
    }

    /// Writes a file where the last command left the shell; one whose text begins with `#!` is a program.
    pub(super) fn write(&self, path: &str, content: &str) {
        let dir = fs::read_to_string(self.bench.path("state").join("pwd")).expect("the scene has it");
        let path = Path::new(dir.trim_end()).join(path);
        fs::create_dir_all(path.parent().expect("a file is in a directory")).expect("a writable bench");
        fs::write(&path, content).expect("a writable bench");
        if content.starts_with("#!") {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("the bench's own file");
        }
    }

    /// Runs a line in a shell. Returns its code and what a terminal would show.
    pub(super) fn command(&self, line: &str) -> (i32, String) {
        let mut command: Command = self.bench.other(Path::new("/bin/sh"));
        // One pipe for both streams, so that they keep their order.
        command.args(["-c", &format!("exec 2>&1\n{SHELL}"), "sh", line]);
        let output = self.bench.finish(command);
        let text = output.out() + &output.stderr;
        let dirs = [("home", "/home/me"), ("store", "/var/lib/stave"), ("tmp", "/tmp")];
        let text =
            dirs.iter().fold(text, |text, (dir, name)| text.replace(&self.bench.path(dir).display().to_string(), name));
        (output.code, text)
    }

    /// Has stave read a Dockerfile, or a part of one, that no command builds.
    pub(super) fn read_dockerfile(&self, text: &str) -> Result<(), String> {
        let is_whole = text.lines().any(|line| line.starts_with("FROM "));
        let whole = if is_whole { text.to_owned() } else { format!("FROM scratch\n{text}") };
        let output = self.bench.run_with_input(["build", "--check", "-f", "-", "."], whole.into_bytes());
        // Findings of checks are what some examples are about; mistakes are none.
        if output.code > 1 || output.stderr.contains("error[") { Err(output.stderr) } else { Ok(()) }
    }
}
