//! Where cases are laid out and built: a bench, the base image, the files that cases fetch, and the builders.

use super::case::{ABOUT, Case, Peer};
use super::files;
use super::saved::Saved;
use crate::bench::Bench;
use crate::dockerd::Dockerd;
use crate::fixtures::with_busybox;
use crate::http::Server;
use crate::output::Output;
use crate::registry::LoopbackRegistry;
use crate::{Image, needs};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};
use stave_oci::DiffId;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The time of every file of a context that did not get another one from `prepare.sh`.
const CONTEXT_TIME: i64 = 1_600_000_000;

/// A place to build cases in.
#[derive(Debug)]
pub struct Yard {
    bench: Bench,
    registry: LoopbackRegistry,
    files: Server,
    base: Vec<DiffId>,
    stave: PathBuf,
}

/// What a build came to.
#[derive(Debug)]
pub enum Outcome {
    /// An image, and what the builder said.
    Image(Box<Saved>, String),
    /// What the builder said.
    Failed(String),
}

impl Yard {
    /// A yard for the builder `stave`, or nothing after saying what this machine lacks.
    #[must_use]
    pub fn new(stave: PathBuf) -> Option<Self> {
        needs::root()?;
        needs::program("git")?;
        let (bench, registry) = with_busybox()?;
        let base = Image::of_busybox()?.config.rootfs.diff_ids;
        let files = files::serve(bench.work());
        Some(Self { bench, registry, files, base, stave })
    }

    /// The bench of all builders.
    #[must_use]
    pub fn bench(&self) -> &Bench {
        &self.bench
    }

    /// The layers of the base.
    #[must_use]
    pub fn base(&self) -> &[DiffId] {
        &self.base
    }

    /// A dockerd that takes the same base, or nothing after saying what this machine lacks.
    #[must_use]
    pub fn dockerd(&self) -> Option<Dockerd> {
        Dockerd::start(&self.bench, Some(&self.registry.host()))
    }

    /// Makes the case's context: its files with the modes and times that a checkout does not keep, then whatever
    /// `prepare.sh` makes.
    pub fn lay_out(&self, case: &Case) {
        let dir = self.bench.work().join(&case.name);
        copy_tree(&case.dir, &dir, true);
        let script = case.dir.join("prepare.sh");
        if script.is_file() {
            let mut command = self.bench.other(Path::new("/bin/sh"));
            command.arg("-e").arg(&script).current_dir(&dir).env("HTTP", self.http(case));
            for (name, value) in
                [("NAME", "Somebody"), ("EMAIL", "somebody@example.com"), ("DATE", "@1500000000 +0000")]
            {
                command.env(format!("GIT_AUTHOR_{name}"), value).env(format!("GIT_COMMITTER_{name}"), value);
            }
            self.bench.finish(command).success();
        }
        set_times(&dir);
    }

    fn http(&self, case: &Case) -> String {
        format!("{}/{}", self.files.url(), case.name)
    }

    /// Builds a case that is laid out with stave.
    #[must_use]
    pub fn stave(&self, case: &Case) -> Outcome {
        let tag = tag(case);
        let mut command = self.bench.other(&self.stave);
        // Times are compared too, and the others give those that files really have.
        command.args(["build", "--progress=plain", "--timestamp=now", "-t", &tag]);
        let built = self.finish(command, case, &case.about.stave_args);
        self.outcome(case, &built, "ours", |archive| {
            let mut command = self.bench.other(&self.stave);
            command.args(["save", "-o", archive, &tag]);
            command
        })
    }

    /// Builds a case that is laid out with the `BuildKit` inside `dockerd`.
    #[must_use]
    pub fn buildkit(&self, case: &Case, dockerd: &Dockerd) -> Outcome {
        let tag = tag(case);
        let mut command = dockerd.command(&self.bench);
        command.args(["build", "--network=host", "-t", &tag]);
        let built = self.finish(command, case, &[]);
        self.outcome(case, &built, "buildkit", |archive| {
            let mut command = dockerd.command(&self.bench);
            command.args(["save", "-o", archive, &tag]);
            command
        })
    }

    /// Builds a case that is laid out with buildah, or nothing after saying that there is none.
    #[must_use]
    pub fn buildah(&self, case: &Case) -> Option<Outcome> {
        let program = needs::find_program("buildah")?;
        let tag = tag(case);
        let mut command = self.buildah_command(&program);
        command.args(["build", "--format=docker", "--isolation=oci", "--network=host", "--identity-label=false"]);
        command.args(["--layers=false", "-t", &tag]);
        let built = self.finish(command, case, &[]);
        Some(self.outcome(case, &built, "buildah", |archive| {
            let mut command = self.buildah_command(&program);
            command.args(["push", "--quiet", &tag, &format!("docker-archive:{archive}")]);
            command
        }))
    }

    fn buildah_command(&self, program: &Path) -> Command {
        let mut command = self.bench.other(program);
        command.arg("--root").arg(self.bench.path("buildah")).arg("--runroot").arg(self.bench.path("buildah-run"));
        // crun refuses hosts with version 1 cgroups beside version 2 ones; runc takes both.
        command.arg("--storage-driver=overlay").env("BUILDAH_RUNTIME", "runc");
        command
    }

    /// Completes a build's command line with what the case says, and runs it.
    fn finish(&self, mut command: Command, case: &Case, more: &[String]) -> Output {
        let dir = self.bench.work().join(&case.name);
        let (http, files, registry) = (self.http(case), self.files.url(), self.registry.host());
        let filled = |text: &str| {
            let text = text.replace("{dir}", &dir.display().to_string());
            text.replace("{http}", &http).replace("{files}", &files).replace("{registry}", &registry)
        };
        command.envs(case.about.env.iter().map(|(name, value)| (name, filled(value))));
        command.args(case.about.args.iter().chain(more).map(|argument| filled(argument)));
        if let Some(file) = &case.about.file {
            command.arg("-f").arg(filled(file));
        }
        match case.about.context.as_deref().unwrap_or(".") {
            "-" => command.arg("-"),
            context if context.contains("{http}") => command.arg(filled(context)),
            context => command.arg(dir.join(context).components().as_path()),
        };
        command.current_dir(&dir);
        if let Some(stdin) = &case.about.stdin {
            command.stdin(fs::File::open(dir.join(stdin)).expect("a case's standard input"));
        } else {
            command.stdin(Stdio::null());
        }
        self.bench.finish(command)
    }

    fn outcome(&self, case: &Case, built: &Output, who: &str, save: impl Fn(&str) -> Command) -> Outcome {
        let hidden = [(self.http(case), "[http]"), (self.files.url(), "[files]"), (self.registry.host(), "[registry]")];
        let said = built.stderr.clone() + &built.out();
        let said = hidden.iter().fold(said, |said, (address, name)| said.replace(address, name));
        if built.code != 0 {
            return Outcome::Failed(said);
        }
        let archive = self.bench.path("tmp").join(format!("{}-{who}.tar", case.name));
        let written = self.bench.finish(save(&archive.display().to_string()));
        if written.code != 0 {
            return Outcome::Failed(format!("builds it, and cannot save it:\n{}", written.stderr));
        }
        let saved = Saved::read(&archive, &hidden);
        fs::remove_file(&archive).expect("a bench's own file");
        Outcome::Image(Box::new(saved), said)
    }

    /// The version of a peer, or nothing where it is not installed.
    #[must_use]
    pub fn version(peer: Peer) -> Option<String> {
        let (program, name) = match peer {
            Peer::BuildKit => ("dockerd", "BuildKit in Docker"),
            Peer::Buildah => ("buildah", "buildah"),
        };
        let output = Command::new(needs::find_program(program)?).arg("--version").output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let words = text.split([' ', ',', '+']).find(|word| word.starts_with(|first: char| first.is_ascii_digit()));
        Some(format!("{name} {}", words.unwrap_or("of an unknown version")))
    }
}

impl Drop for Yard {
    /// Undoes the mounts that buildah leaves below the bench, which could otherwise not be removed.
    fn drop(&mut self) {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let bench = self.bench.path("").display().to_string();
        let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        let mut points: Vec<&str> = points.filter(|point| point.starts_with(&bench)).collect();
        points.sort_unstable();
        for point in points.iter().rev() {
            Command::new("umount").arg(point).stderr(Stdio::null()).status().ok();
        }
    }
}

fn tag(case: &Case) -> String {
    format!("case-{}:latest", case.name)
}

fn copy_tree(from: &Path, to: &Path, top: bool) {
    fs::create_dir_all(to).expect("a writable bench");
    set_mode(to, 0o755);
    for entry in fs::read_dir(from).expect("a case") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        let kind = entry.file_type().expect("a type");
        if top && ABOUT.iter().any(|about| entry.file_name() == *about) {
            continue;
        }
        if kind.is_dir() {
            copy_tree(&entry.path(), &target, false);
        } else if kind.is_symlink() {
            let link = fs::read_link(entry.path()).expect("a link");
            std::os::unix::fs::symlink(link, target).expect("a writable bench");
        } else {
            fs::copy(entry.path(), &target).expect("a writable bench");
            let executable = entry.metadata().expect("a case's file").mode() & 0o100 != 0;
            set_mode(&target, if executable { 0o755 } else { 0o644 });
        }
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a bench's own file");
}

/// Gives everything that got the time of the lay-out the same fixed time.
fn set_times(path: &Path) {
    let found = fs::symlink_metadata(path).expect("a bench's own file");
    if found.is_dir() {
        for entry in fs::read_dir(path).expect("a bench's own directory") {
            set_times(&entry.expect("an entry").path());
        }
    }
    if found.mtime() >= CONTEXT_TIME {
        let time = Timespec { tv_sec: CONTEXT_TIME, tv_nsec: 0 };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).expect("a bench's own file");
    }
}
