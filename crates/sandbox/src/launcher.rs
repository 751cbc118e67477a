//! The builder's side: starts the zygote, asks it for steps and jobs, waits for them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::{Exit, SandboxError, StepIo, StepSpec};

/// Longest answer of a confined job, in bytes.
pub const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A function that may run confined: see [`Launcher::confined`].
#[derive(Debug, Clone, Copy)]
pub struct Job {
    /// Its name, unique in the table.
    pub name: &'static str,
    /// The function. It runs in a process of its own; what it returns is the answer.
    pub run: fn(JobInput) -> Vec<u8>,
}

/// What a confined job is given.
#[derive(Debug)]
pub struct JobInput {
    /// The caller's bytes.
    pub request: Vec<u8>,
    /// The caller's descriptors. The first is the directory that has become the job's `/`.
    pub files: Vec<OwnedFd>,
}

/// The way to the zygote, a small single-threaded process that makes the processes of steps and jobs.
///
/// Shared by threads. Dropping it ends the zygote and whatever still runs.
#[derive(Debug)]
pub struct Launcher {
    channel: OwnedFd,
}

impl Launcher {
    /// Forks the zygote.
    ///
    /// The caller must be the main thread and the only one. It lives as long as the process, or all steps end with it.
    pub fn start(jobs: &'static [Job]) -> Result<Self, SandboxError> {
        let _ = jobs;
        Err(SandboxError::LauncherGone)
    }

    /// Starts a step; returns once its program runs.
    pub fn spawn(&self, spec: &StepSpec, io: StepIo) -> Result<Running, SandboxError> {
        drop((self.channel.as_fd(), spec, io));
        Err(SandboxError::LauncherGone)
    }

    /// Runs a job of the table given to [`Launcher::start`] in a process that has `files[0]` (a directory) as its
    /// root, no network, few capabilities, and ends with the builder.
    pub fn confined(&self, job: &str, request: &[u8], files: &[BorrowedFd<'_>]) -> Result<ConfinedRun, SandboxError> {
        let _ = (job, request, files);
        Err(SandboxError::LauncherGone)
    }
}

/// A step whose program runs. Dropping it kills the step.
#[derive(Debug)]
pub struct Running {
    pidfd: OwnedFd,
    terminal: Option<OwnedFd>,
}

impl Running {
    /// A descriptor of the process.
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// The other end of the step's terminal, once, where it was started with [`StepIo::Terminal`].
    pub fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.terminal.take()
    }

    /// Waits for the end. All processes of the step have ended and its mounts are gone when this returns.
    pub fn wait(&self) -> Result<Exit, SandboxError> {
        Err(SandboxError::LauncherGone)
    }

    /// Kills all processes of the step. It is no error if there are none any more.
    pub fn kill(&self) {}

    /// Sends a signal to the step's first process. It is no error if it has ended.
    pub fn forward(&self, signal: i32) -> Result<(), SandboxError> {
        let _ = signal;
        Ok(())
    }
}

/// A job that runs. Dropping it kills the job.
#[derive(Debug)]
pub struct ConfinedRun {}

impl ConfinedRun {
    /// Waits for the job's answer.
    pub fn wait(self) -> Result<Vec<u8>, SandboxError> {
        Err(SandboxError::LauncherGone)
    }

    /// Kills the job; [`ConfinedRun::wait`] then returns [`SandboxError::JobDied`].
    pub fn kill(&self) {}
}
