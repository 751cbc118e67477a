//! Where a page is played: an empty directory, a store, a registry that has the images that the book uses, one that wants a
//! password, and a collector of traces.

use stave_testkit::bench::stave_binary;
use stave_testkit::fixtures::with_busybox;
use stave_testkit::http::{Response, Server};
use stave_testkit::proxy::Proxy;
use stave_testkit::terminal::typed;
use stave_testkit::{Bench, Image, LoopbackRegistry};
use std::fmt::Write as _;
use std::fs;
use std::num::NonZero;
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

/// A registry for `me` with the password `correct horse`, behind the proxy `$PROXY`.
const PRIVATE: &str = "private.example.com";

/// A collector of traces, behind the proxy `$PROXY`.
const COLLECTOR: &str = "collector.example.com:4318";

/// Of the terminal that an example gets, in columns and rows: wide and long enough for what it shows.
const TERMINAL: (u16, u16) = (200, 60);

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
    _private: LoopbackRegistry,
    _collector: Server,
    _proxy: Proxy,
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
        writeln!(text, "\n[[registry]]\nlocation = \"{PRIVATE}\"\ninsecure = true").expect("memory");
        fs::write(&conf, text).expect("a writable bench");
        let private = LoopbackRegistry::start();
        private.require_password("me", "correct horse");
        let collector = Server::start(|_| Response::body(200, "application/json", "{}"));
        let proxy =
            Proxy::start(&[(&format!("{PRIVATE}:80"), &private.host()), (COLLECTOR, &collector.address().to_string())]);
        bench.set("PROXY", proxy.url());
        let programs = bench.path("bin");
        fs::create_dir(&programs).expect("a writable bench");
        symlink(stave_binary(), programs.join("stave")).expect("a writable bench");
        let state = bench.path("state");
        fs::create_dir(&state).expect("a writable bench");
        let work = bench.path("home").join("app");
        fs::create_dir(&work).expect("a writable bench");
        fs::write(state.join("pwd"), format!("{}\n", work.display())).expect("a writable bench");
        fs::write(state.join("env"), "").expect("a writable bench");
        bench.set("STATE", state);
        bench.set(
            "PATH",
            format!(
                "{}:{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                bench.path("home/bin").display(),
                programs.display()
            ),
        );
        Some(Self { bench, _registry: registry, _private: private, _collector: collector, _proxy: proxy })
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
        (output.code, self.named(&(output.out() + &output.stderr)))
    }

    /// Runs a line in a shell on a terminal, where somebody answers each prompt. Returns its code and what the terminal
    /// shows at the end.
    pub(super) fn terminal(&self, line: &str, dialogue: &[(String, String)]) -> (i32, String) {
        let mut command: Command = self.bench.other(Path::new("/bin/sh"));
        command.args(["-c", SHELL, "sh", line]);
        let (columns, rows) = TERMINAL;
        let (status, bytes) = typed(command, columns, rows, dialogue);
        let size = |number| NonZero::new(number).expect("not 0");
        let mut terminal = vt100::Parser::new(size(rows), size(columns), 0);
        terminal.process(bytes.as_bytes());
        (status.code().unwrap_or(-1), self.named(terminal.screen().contents().trim_end()))
    }

    /// A text with names that a reader's machine has in the place of the bench's.
    fn named(&self, text: &str) -> String {
        let dirs = [("home", "/home/me"), ("store", "/var/lib/stave"), ("tmp", "/tmp")];
        dirs.iter()
            .fold(text.to_owned(), |text, (dir, name)| text.replace(&self.bench.path(dir).display().to_string(), name))
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
