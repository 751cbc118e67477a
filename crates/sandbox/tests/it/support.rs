//! A world for steps: layers made of busybox, a driver process, and files outside that must stay as they are.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde::Deserialize;
use serde_json::{Value, json};
use stave_testkit::needs::{self, skipped};

/// Who runs the builder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Builder {
    /// Root of the machine.
    Root,
    /// A user with nothing, who becomes root of a user namespace with one id.
    Nobody,
}

const NOBODY: u32 = 65534;

/// What came of one step.
#[derive(Debug, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) exit: String,
    pub(crate) exit_code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) notes: Vec<String>,
}

/// What the driver answered.
#[derive(Debug, Deserialize)]
pub(crate) struct Answer {
    pub(crate) map: String,
    pub(crate) advice: Option<String>,
    pub(crate) steps: Vec<Outcome>,
    pub(crate) jobs: Vec<String>,
    pub(crate) descriptors_before: usize,
    pub(crate) descriptors_after: usize,
    pub(crate) zygote_descriptors_before: usize,
    pub(crate) zygote_descriptors_after: usize,
    pub(crate) remounted: Option<String>,
    pub(crate) findings: Vec<String>,
}

pub(crate) struct World {
    directory: tempfile::TempDir,
    pub(crate) builder: Builder,
    driver: PathBuf,
}

/// Copies an executable by a process of its own. If this process did, another test's fork could hold the file open for
/// writing for a moment, and nothing that is open for writing can be executed.
fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg(from).arg(to).status().unwrap().success());
}

/// Runs `test` as each kind of builder that this machine has.
pub(crate) fn each_builder(test: impl Fn(&World)) {
    for builder in [Builder::Root, Builder::Nobody] {
        as_builder(builder, &test);
    }
}

/// Runs `test` as one kind of builder, if this machine has it.
pub(crate) fn as_builder(builder: Builder, test: impl Fn(&World)) {
    let is_root = rustix::process::geteuid().is_root();
    let Some(busybox) = needs::busybox() else { return skipped("there is no static busybox (Debian: busybox-static)") };
    if builder == Builder::Root && !is_root {
        return skipped("this part runs as root only");
    }
    let world = World::new(builder, &busybox);
    let check = world.drive(&json!({}));
    match check {
        Ok(_) => test(&world),
        Err(why) if builder == Builder::Nobody || why.contains("a namespace") || why.contains("a launcher") => {
            skipped(&format!("{builder:?} cannot have namespaces here: {}", why.lines().last().unwrap_or_default()));
        }
        Err(why) => panic!("the driver fails: {why}"),
    }
}

impl World {
    fn new(builder: Builder, busybox: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let driver = directory.path().join("driver");
        copy(Path::new(env!("CARGO_BIN_EXE_stave-sandbox-driver")), &driver);
        let world = Self { directory, builder, driver };
        for path in [
            "stubs/proc",
            "stubs/sys",
            "stubs/dev",
            "stubs/etc",
            "rootfs/etc",
            "rootfs/bin",
            "rootfs/root",
            "job",
            "evil",
        ] {
            fs::create_dir_all(world.path(path)).unwrap();
        }
        fs::create_dir_all(world.outside()).unwrap();
        world.write("stubs/etc/hosts", "");
        world.write("stubs/etc/resolv.conf", "");
        world.write("rootfs/etc/passwd", "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n");
        world.write("rootfs/etc/group", "root:x:0:\nwheel:x:10:root,app\napp:x:1001:\n");
        copy(busybox, &world.path("rootfs/bin/busybox"));
        for applet in [
            "sh", "true", "cat", "ls", "id", "env", "sleep", "ps", "grep", "hostname", "pwd", "stat", "ifconfig",
            "mount",
        ] {
            symlink("busybox", world.path(&format!("rootfs/bin/{applet}"))).unwrap();
        }
        world
    }

    /// The builder's store.
    fn base(&self) -> PathBuf {
        self.directory.path().join("base")
    }

    /// A path in the store.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.base().join(path)
    }

    /// The directory that no step may change.
    pub(crate) fn outside(&self) -> PathBuf {
        self.directory.path().join("outside")
    }

    pub(crate) fn driver(&self) -> &Path {
        &self.driver
    }

    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(path), content).unwrap();
    }

    /// Puts an executable into the image.
    pub(crate) fn program(&self, path: &str, content: impl AsRef<[u8]>) {
        let draft = self.directory.path().join("draft");
        fs::write(&draft, content).unwrap();
        fs::set_permissions(&draft, fs::Permissions::from_mode(0o755)).unwrap();
        copy(&draft, &self.path(path));
    }

    fn scenario(&self, scenario: &Value) -> Value {
        let mut whole = json!({ "base": self.base(), "lowers": ["stubs", "rootfs"], "rootless": null });
        if self.builder == Builder::Nobody {
            let nowhere = self.path("no-ranges");
            whole["rootless"] = json!([nowhere, nowhere]);
        }
        for (key, value) in scenario.as_object().unwrap() {
            whole[key] = value.clone();
        }
        whole
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.driver);
        command.env_clear().env("SECRET_OF_THE_BUILDER", "1").current_dir("/");
        if self.builder == Builder::Nobody && rustix::process::geteuid().is_root() {
            give(&self.base());
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    /// Starts the driver with a scenario.
    pub(crate) fn start(&self, scenario: &Value) -> Child {
        self.start_command(self.command(), scenario)
    }

    pub(crate) fn start_command(&self, mut command: Command, scenario: &Value) -> Child {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the driver starts");
        let text = self.scenario(scenario).to_string();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        child
    }

    /// Runs a scenario; the error is what the driver said when it gave up.
    pub(crate) fn drive(&self, scenario: &Value) -> Result<Answer, String> {
        answer(self.start(scenario))
    }

    /// Runs steps that all can be set up or fail to be, in order.
    pub(crate) fn steps(&self, steps: &Value) -> Vec<Outcome> {
        self.drive(&json!({ "steps": steps })).expect("the driver runs").steps
    }

    /// Runs one step.
    pub(crate) fn step(&self, step: &Value) -> Outcome {
        self.steps(&json!([step])).remove(0)
    }

    /// Runs a shell line; answers what it printed.
    pub(crate) fn shell(&self, line: &str) -> String {
        let outcome = self.step(&json!({ "args": ["sh", "-c", line] }));
        format!("{}{}", outcome.stdout, outcome.stderr)
    }

    /// What the outside looks like: names, numbers, modes, owners, times, content.
    pub(crate) fn outside_as_it_is(&self) -> Vec<String> {
        let mut seen = Vec::new();
        let mut pending = vec![self.outside()];
        while let Some(path) = pending.pop() {
            let status = fs::symlink_metadata(&path).unwrap();
            let content = if status.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
            seen.push(format!(
                "{} {} {:o} {} {} {} {content:?}",
                path.display(),
                status.ino(),
                status.mode(),
                status.uid(),
                status.mtime_nsec(),
                status.nlink()
            ));
            if status.is_dir() {
                pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
        }
        seen.sort();
        seen
    }
}

pub(crate) fn answer(child: Child) -> Result<Answer, String> {
    let output = child.wait_with_output().expect("the driver ends");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(serde_json::from_slice(&output.stdout).expect("the driver answers"))
}

/// Gives a tree to the user with nothing.
fn give(path: &Path) {
    let status = fs::symlink_metadata(path).unwrap();
    if status.uid() == NOBODY {
        return if status.is_dir() { give_entries(path) } else { Default::default() };
    }
    std::os::unix::fs::lchown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    if status.is_dir() {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        give_entries(path);
    }
}

fn give_entries(path: &Path) {
    for entry in fs::read_dir(path).unwrap() {
        give(&entry.unwrap().path());
    }
}

/// A program that makes one system call and exits with its error number, or 0. With `compat` it is an i386 call.
pub(crate) fn one_call(number: u32, arguments: [u32; 3], compat: bool) -> Vec<u8> {
    let mut code = Vec::new();
    let registers: [u8; 3] = if compat { [0xbb, 0xb9, 0xba] } else { [0xbf, 0xbe, 0xba] };
    for (register, argument) in registers.into_iter().zip(arguments) {
        code.push(register);
        code.extend(argument.to_le_bytes());
    }
    code.push(0xb8);
    code.extend(number.to_le_bytes());
    code.extend(if compat { [0xcd, 0x80] } else { [0x0f, 0x05] });
    // Negate an error, forget a result, exit_group.
    code.extend([
        0x85, 0xc0, 0x79, 0x04, 0xf7, 0xd8, 0xeb, 0x02, 0x31, 0xc0, 0x89, 0xc7, 0xb8, 0xe7, 0, 0, 0, 0x0f, 0x05,
    ]);
    executable(&code)
}

/// A program that connects to a socket and prints what it is told.
pub(crate) fn caller(path: &str) -> Vec<u8> {
    let mut address = vec![1, 0];
    address.extend(path.bytes());
    address.push(0);
    let length = u8::try_from(address.len()).unwrap();
    let mut code = vec![0xeb, length];
    code.extend(&address);
    // socket(AF_UNIX, SOCK_STREAM, 0)
    code.extend([0xbf, 1, 0, 0, 0, 0xbe, 1, 0, 0, 0, 0x31, 0xd2, 0xb8, 41, 0, 0, 0, 0x0f, 0x05, 0x89, 0xc7]);
    // connect(it, address, length)
    code.push(0xbe);
    code.extend((ADDRESS + 0x7a).to_le_bytes());
    code.extend([0xba, length, 0, 0, 0, 0xb8, 42, 0, 0, 0, 0x0f, 0x05]);
    // read(it, stack, 64), write(1, stack, what came), exit_group(0)
    code.extend([0x48, 0x8d, 0x74, 0x24, 0xc0, 0xba, 64, 0, 0, 0, 0x31, 0xc0, 0x0f, 0x05]);
    code.extend([0x89, 0xc2, 0xbf, 1, 0, 0, 0, 0xb8, 1, 0, 0, 0, 0x0f, 0x05]);
    code.extend([0x31, 0xff, 0xb8, 0xe7, 0, 0, 0, 0x0f, 0x05]);
    executable(&code)
}

/// Where a program is loaded; its code starts 0x78 bytes further.
const ADDRESS: u32 = 0x40_0000;

fn executable(code: &[u8]) -> Vec<u8> {
    let mut image = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 62, 0, 1, 0, 0, 0];
    for value in [0x40_0078u64, 64, 0] {
        image.extend(value.to_le_bytes());
    }
    image.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0]);
    let length = 0x78 + code.len() as u64;
    for value in [0, 0x40_0000, 0x40_0000, length, length, 0x1000] {
        image.extend(value.to_le_bytes());
    }
    image.extend(code);
    image
}
