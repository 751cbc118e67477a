//! What the machine itself needs for the work of a row, without any builder.

use super::Bench;
use super::builder::Job;
use super::scene;
use crate::failure::{At, Failure, Result};
use crate::run;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Starts a process that does nothing.
pub(super) fn spawn(_: &Bench, _: &Path) -> Result<Duration> {
    run::timed(&mut Command::new("/bin/true"))
}

/// Forty shells that each write a file, one after the other.
pub(super) fn forty_shells(bench: &Bench, _: &Path) -> Result<Duration> {
    let scratch = tempfile::tempdir_in(&bench.home).at("create", &bench.home)?;
    let start = Instant::now();
    for step in 0..40 {
        let script = format!("echo {step} > step-{step}");
        run::quiet(Command::new("/bin/sh").args(["-c", &script]).current_dir(scratch.path()))?;
    }
    Ok(start.elapsed())
}

/// `sleep 1`.
pub(super) fn one_second(_: &Bench, _: &Path) -> Result<Duration> {
    run::timed(Command::new("sleep").arg("1"))
}

/// `cp -a` of the large context's tree.
pub(super) fn copy_tree(bench: &Bench, context: &Path) -> Result<Duration> {
    let scratch = tempfile::tempdir_in(&bench.home).at("create", &bench.home)?;
    run::timed(Command::new("cp").arg("-a").arg(context.join("tree")).arg(scratch.path()))
}

/// stat of every file of the large context, in this process.
pub(super) fn stat_tree(_: &Bench, context: &Path) -> Result<Duration> {
    fn walk(dir: &Path) -> std::io::Result<u64> {
        let mut bytes = 0;
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let meta = entry.metadata()?;
            bytes += if meta.is_dir() { walk(&entry.path())? } else { meta.len() };
        }
        Ok(bytes)
    }
    let start = Instant::now();
    let bytes = walk(context).at("list", context)?;
    let taken = start.elapsed();
    if bytes > 0 { Ok(taken) } else { Err(Failure::new("the context is empty")) }
}

/// stave with a Dockerfile that has only the stage that is needed.
pub(super) fn used_stage_alone(bench: &Bench, context: &Path) -> Result<Duration> {
    let alone = scene::dockerfile(&context.with_extension("alone"), scene::USED_STAGE)?;
    let job = Job { context: &alone, no_cache: true, archive: None };
    match bench.builders.first().and_then(|stave| stave.command(job)) {
        Some(mut command) => run::timed(&mut command),
        None => Err(Failure::new("stave is the first builder")),
    }
}

/// The large base image's files, unpacked by tar.
pub(super) fn unpack_base(bench: &Bench, _: &Path) -> Result<Duration> {
    let scratch = tempfile::tempdir_in(&bench.home).at("create", &bench.home)?;
    let tar = bench.served.dir.join("golang.tar");
    run::timed(Command::new("tar").args(["--numeric-owner", "-xpf"]).arg(tar).arg("-C").arg(scratch.path()))
}

/// The commands of the multi-stage file's large stage, in a chroot with the same files. Needs root.
pub(super) fn go_build(bench: &Bench, context: &Path) -> Result<Duration> {
    let root = golang_root(bench)?;
    let work = root.join("go/src/link-counter");
    for stale in [work.clone(), root.join("root/.cache")] {
        if stale.exists() {
            fs::remove_dir_all(&stale).at("remove", &stale)?;
        }
    }
    fs::create_dir_all(&work).at("create", &work)?;
    fs::copy(context.join("app.go"), work.join("app.go")).at("copy", context)?;
    let script = "cd /go/src/link-counter && go get -d -v golang.org/x/net/html \
                  && CGO_ENABLED=0 GOOS=linux go build -o link-counter .";
    let mut command = Command::new("chroot");
    command.arg(&root).args(["/bin/sh", "-c", script]).env_clear();
    command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", "/root");
    command.env("GO111MODULE", "off").env("GOPATH", "/go:/usr/share/gocode");
    run::timed(&mut command)
}

/// The unpacked base image, once for all runs.
fn golang_root(bench: &Bench) -> Result<PathBuf> {
    let root = bench.home.join("golang-root");
    let complete = bench.home.join("golang-root.complete");
    if !complete.is_file() {
        fs::create_dir_all(&root).at("create", &root)?;
        let tar = bench.served.dir.join("golang.tar");
        run::quiet(Command::new("tar").args(["--numeric-owner", "-xpf"]).arg(tar).arg("-C").arg(&root))?;
        fs::write(&complete, "").at("write", &complete)?;
    }
    Ok(root)
}
