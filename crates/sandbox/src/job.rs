//! Confined jobs: our own code on hostile input, in a process that has little to lose.

use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::{pread, pwrite};
use rustix::process::{DumpableBehavior, set_dumpable_behavior, umask};

use crate::error::During;
use crate::kit::Kit;
use crate::launcher::{ANSWER_BYTES_MAX, Job, JobInput};
use crate::rootfs::{attach, clone_mount, pivot, quiet};
use crate::step::own_mounts;
use crate::wire::{self, Report};
use crate::{Exit, SandboxError, privileges, sys};

/// Before the answer: 1 for an answer or 2 for a panic, and the length, as two little-endian numbers of 8 bytes.
pub(crate) const HEADER_BYTES: u64 = 16;
const ANSWERED: u64 = 1;
const PANICKED: u64 = 2;

/// `LANDLOCK_ACCESS_FS_*`: everything of version 2, and what of it a job keeps: all but executing.
const LANDLOCK_HANDLED: u64 = (1 << 14) - 1;
const LANDLOCK_ALLOWED: u64 = LANDLOCK_HANDLED & !1;
/// The version that can allow links and renames between directories; without that nothing can be unpacked.
const LANDLOCK_VERSION_MIN: i64 = 2;
/// The version that knows TCP.
const LANDLOCK_VERSION_NET: i64 = 4;

static LAST_PANIC: Mutex<String> = Mutex::new(String::new());

/// Keeps what a panic says, instead of printing it to nobody.
pub(crate) fn remember_panics() {
    std::panic::set_hook(Box::new(|info| {
        if let Ok(mut last) = LAST_PANIC.lock() {
            *last = info.to_string();
        }
    }));
}

/// What the last panic of this process said.
pub(crate) fn last_panic() -> String {
    LAST_PANIC.lock().map_or_else(|_| "a panic while panicking".to_owned(), |last| last.clone())
}

/// Confines this process, then runs the job. Returns only if confining failed.
pub(crate) fn run(
    kit: &Kit,
    job: &Job,
    reports: &OwnedFd,
    payload: OwnedFd,
    files: Vec<OwnedFd>,
) -> Result<Infallible, SandboxError> {
    let request = wire::unpack(payload).during("read", "the request")?;
    let mut files = files.into_iter();
    let (Some(answer), Some(root)) = (files.next(), files.next()) else {
        return Err(SandboxError::Protocol { detail: "a job without a directory".to_owned() });
    };
    confine(kit, &root)?;
    let files =
        [openat(CWD, "/", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).during("open", "/")?]
            .into_iter()
            .chain(files)
            .collect();
    // The builder's descriptor of the directory is on its mounts, from which one could walk up: it must not stay.
    drop(root);
    wire::send(reports, &Report::Ready(job.name.to_owned()), &[]).during("send", "a report")?;
    sys::close(reports);
    let (kind, bytes) = match catch_unwind(AssertUnwindSafe(|| (job.run)(JobInput { request, files }))) {
        Ok(bytes) => (ANSWERED, bytes),
        Err(_) => (PANICKED, last_panic().into_bytes()),
    };
    sys::exit_now(i32::from(write_answer(&answer, kind, &bytes).is_err()))
}

/// The job's root becomes the directory, its mounts its own, its rights few.
fn confine(kit: &Kit, root: &OwnedFd) -> Result<(), SandboxError> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).during("hide", "the process")?;
    rustix::process::fchdir(root).during("enter", "the job's directory")?;
    own_mounts()?;
    let here = openat(CWD, ".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .during("open", "the job's directory")?;
    let tree = clone_mount(&here, "").during("clone", "the job's directory")?;
    sys::mount_setattr(&tree, quiet().bits().into(), false).during("quiet", "the job's directory")?;
    attach(&tree, here).during("mount", "the job's directory")?;
    pivot(&tree)?;
    drop(tree);
    umask(Mode::empty());
    privileges::hold(privileges::JOB)?;
    sys::load_filter(&kit.job_filter).during("load", "the system call filter")?;
    landlock()
}

fn landlock() -> Result<(), SandboxError> {
    let version = sys::landlock_version();
    if version < LANDLOCK_VERSION_MIN {
        // The root, the filter and the namespaces hold without it.
        return Ok(());
    }
    let root =
        openat(CWD, "/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).during("open", "/")?;
    sys::landlock(root.as_fd(), LANDLOCK_HANDLED, LANDLOCK_ALLOWED, version >= LANDLOCK_VERSION_NET)
        .during("restrict", "the job's files")
}

fn write_answer(file: &OwnedFd, kind: u64, bytes: &[u8]) -> Result<(), rustix::io::Errno> {
    let length = bytes.len() as u64;
    let mut at = HEADER_BYTES;
    let mut rest = if length > ANSWER_BYTES_MAX { &[] } else { bytes };
    while !rest.is_empty() {
        let written = pwrite(file, rest, at)?;
        rest = rest.get(written..).unwrap_or_default();
        at += written as u64;
    }
    let header = [kind.to_le_bytes(), length.to_le_bytes()].concat();
    pwrite(file, &header, 0).map(drop)
}

/// The builder's side: what the job left in its file.
pub(crate) fn answer(name: &str, exit: Exit, file: &OwnedFd) -> Result<Vec<u8>, SandboxError> {
    let died = || SandboxError::JobDied { name: name.to_owned(), status: exit.shell_code() };
    if exit != Exit::Code(0) {
        return Err(died());
    }
    let mut header = [0; 16];
    pread(file, &mut header, 0).map_err(|_| died())?;
    let number =
        |at: usize| header.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
    let (kind, length) = (number(0), number(8));
    if length > ANSWER_BYTES_MAX {
        return Err(SandboxError::JobAnswerTooLong { name: name.to_owned(), bytes: length, limit: ANSWER_BYTES_MAX });
    }
    let mut bytes = vec![0; usize::try_from(length).map_err(|_| died())?];
    let mut read = 0;
    while let Some(rest) = bytes.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match pread(file, rest, HEADER_BYTES + read as u64) {
            Ok(count) if count > 0 => read += count,
            _ => return Err(died()),
        }
    }
    match kind {
        ANSWERED => Ok(bytes),
        PANICKED => Err(SandboxError::JobPanicked {
            name: name.to_owned(),
            message: String::from_utf8_lossy(&bytes).into_owned(),
        }),
        _ => Err(died()),
    }
}
