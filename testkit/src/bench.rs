//! A place of its own for each test, in which `stave` runs as a user would run it.

use crate::output::Output;
use crate::registry::LoopbackRegistry;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;

/// Own store, own home, own working directory, and an environment of which nothing is inherited.
#[derive(Debug)]
pub struct Bench {
    dir: TempDir,
    env: Vec<(OsString, OsString)>,
    user: Option<String>,
    token: String,
}

static COUNT: AtomicU32 = AtomicU32::new(0);

impl Default for Bench {
    fn default() -> Self {
        Self::new()
    }
}

impl Bench {
    /// Makes an empty bench.
    #[must_use]
    pub fn new() -> Self {
        Self::within(&std::env::temp_dir())
    }

    /// Makes an empty bench below `parent`, e.g. on a file system made for the test.
    #[must_use]
    pub fn within(parent: &Path) -> Self {
        let made = tempfile::Builder::new().prefix("stave-bench-").tempdir_in(parent);
        let dir = made.expect("a writable temporary directory");
        for name in ["work", "home", "run", "tmp"] {
            fs::create_dir(dir.path().join(name)).expect("a writable bench");
        }
        set_mode(&dir.path().join("run"), 0o700);
        let token = format!("bench-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mut bench = Self { dir, env: Vec::new(), user: None, token };
        bench.set_base_environment();
        bench
    }

    fn set_base_environment(&mut self) {
        let root = self.dir.path().to_owned();
        self.set("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        self.set("HOME", root.join("home"));
        self.set("XDG_RUNTIME_DIR", root.join("run"));
        self.set("TMPDIR", root.join("tmp"));
        self.set("STAVE_ROOT", root.join("store"));
        self.set("COLUMNS", "100");
        self.set("LC_ALL", "C.UTF-8");
        self.set("STAVE_BENCH", self.token.clone());
        let conf = root.join("registries.conf");
        fs::write(&conf, "").expect("a writable bench");
        self.set("CONTAINERS_REGISTRIES_CONF", conf);
    }

    /// Gives the commands of this bench a variable.
    pub fn set(&mut self, name: &str, value: impl Into<OsString>) -> &mut Self {
        self.env.retain(|(known, _)| known != OsStr::new(name));
        self.env.push((name.into(), value.into()));
        self
    }

    /// Sends everything of `docker.io` to `registry`.
    #[must_use]
    pub fn with_registry(self, registry: &LoopbackRegistry) -> Self {
        registry.write_registries_conf(&self.path("registries.conf"));
        self
    }

    /// Sends everything of `docker.io` where the `registries.conf` in `standins` says.
    #[must_use]
    pub fn with_standins(self, standins: &Path) -> Self {
        fs::copy(standins.join("registries.conf"), self.path("registries.conf")).expect("stand-ins are served");
        self
    }

    /// Runs the commands as `user`, to whom the bench then belongs. Only root can.
    #[must_use]
    pub fn as_user(mut self, user: &str) -> Self {
        set_mode(self.dir.path(), 0o755);
        let status = Command::new("chown").args(["-R", &format!("{user}:")]).arg(self.dir.path()).status();
        assert!(status.is_ok_and(|status| status.success()), "cannot give the bench to {user}");
        self.user = Some(user.to_owned());
        self
    }

    /// The working directory, in which [`Bench::file`] puts files.
    #[must_use]
    pub fn work(&self) -> PathBuf {
        self.path("work")
    }

    /// The store's root.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.path("store")
    }

    /// A path of the bench.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A text that is in the environment of every command of this bench, and that a test puts into the commands of
    /// its steps, so that [`crate::leaks::processes`] finds them.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Writes a file below the working directory, with the directories above it.
    pub fn file(&self, path: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.work().join(path);
        fs::create_dir_all(path.parent().expect("a file is in a directory")).expect("a writable bench");
        fs::write(&path, content).expect("a writable bench");
        self
    }

    /// Writes a program below the working directory.
    pub fn program(&self, path: &str, content: impl AsRef<[u8]>) -> &Self {
        self.file(path, content);
        set_mode(&self.work().join(path), 0o755);
        self
    }

    /// The command `stave ARGS`, to change and start.
    pub fn command(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = self.other(&stave_binary());
        command.args(args);
        command
    }

    /// Another program, in the same environment and as the same user.
    #[must_use]
    pub fn other(&self, program: &Path) -> Command {
        let mut command = match &self.user {
            None => Command::new(program),
            Some(user) => {
                let mut command = Command::new("setpriv");
                command.args(["--reuid", user, "--regid", user, "--init-groups"]).arg(program);
                command
            }
        };
        command.env_clear().envs(self.env.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.work()).stdin(Stdio::null());
        command
    }

    /// Runs `stave ARGS` to its end.
    pub fn run(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
        self.finish(self.command(args))
    }

    /// Runs `stave ARGS` with these bytes as its standard input.
    pub fn run_with_input(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>, input: Vec<u8>) -> Output {
        let mut command = self.command(args);
        command.stdin(Stdio::piped());
        let text = format!("{command:?}");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("stave starts");
        let mut stdin = child.stdin.take().expect("asked for");
        // A command that does not read all of its input is a finding of the test, not of this thread.
        let writer = std::thread::spawn(move || std::io::Write::write_all(&mut stdin, &input).ok());
        let output = child.wait_with_output().expect("waited for");
        writer.join().expect("the writer does not panic");
        Output::new(text, output.status, output.stdout, &output.stderr, self.dirs())
    }

    /// Starts `stave ARGS` with both streams kept.
    pub fn spawn(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Child {
        self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("stave starts")
    }

    /// Runs a command of this bench to its end.
    #[must_use]
    pub fn finish(&self, mut command: Command) -> Output {
        let text = format!("{command:?}");
        let output = command.output().unwrap_or_else(|error| panic!("cannot start {text}: {error}"));
        Output::new(text, output.status, output.stdout, &output.stderr, self.dirs())
    }

    /// Reads one of the outputs of what [`Bench::spawn`] started until it has said something, and returns all of that; what
    /// comes after it is left for [`Bench::wait`]. Fails if it ends without.
    #[track_caller]
    pub fn hear(output: &mut impl Read, expected: &str) -> String {
        let mut heard = Vec::new();
        let mut byte = [0];
        while !heard.ends_with(expected.as_bytes()) {
            match output.read(&mut byte) {
                Ok(1..) => heard.extend(byte),
                ended => panic!("no `{expected}` in `{}`: {ended:?}", String::from_utf8_lossy(&heard)),
            }
        }
        String::from_utf8_lossy(&heard).into_owned()
    }

    /// Waits for what [`Bench::spawn`] started.
    #[must_use]
    pub fn wait(&self, child: Child) -> Output {
        let output = child.wait_with_output().expect("waited for");
        Output::new("stave (spawned)".to_owned(), output.status, output.stdout, &output.stderr, self.dirs())
    }

    fn dirs(&self) -> Vec<PathBuf> {
        vec![self.dir.path().to_owned()]
    }
}

/// The binary under test: `STAVE_BIN`, else the one that cargo built beside the test.
#[must_use]
pub fn stave_binary() -> PathBuf {
    if let Some(path) = std::env::var_os("STAVE_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().expect("a test has a path");
    let profile = test.parent().and_then(Path::parent).expect("tests are in target/PROFILE/deps");
    profile.join("stave")
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a bench's own file");
}
