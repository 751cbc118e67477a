//! What happens during a build, a pull or a push, as typed values.
//!
//! Terminal, JSON and history are readers of one stream of these; nothing in the engine knows them.

use std::time::Duration;

use stave_dockerfile::Diagnostic;

/// A step of the build, in the order of the Dockerfile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StepId(pub u32);

/// Something else that takes time: a pull, reading the context, writing an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId(pub u32);

/// A step as a person reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepLine {
    /// Which step it is.
    pub step: StepId,
    /// For which platform it is, where the build is for several: `linux/arm64`, or `linux/amd64->arm64` for what is
    /// made on one platform for another one.
    pub platform: Option<String>,
    /// The stage's name, or `stage-N` for one without a name.
    pub stage: String,
    /// Place of the step in its stage, from 1.
    pub number: u32,
    /// Number of steps in its stage.
    pub of: u32,
    /// The instruction on one line.
    pub title: String,
}

/// Where a step's output came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One thing that happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// The steps that the target needs are known. Comes once, before any step.
    Planned {
        /// All of them, in the order of the Dockerfile.
        steps: Vec<StepLine>,
    },
    /// The Dockerfile has warnings. `name` is what the user calls the file, `text` its content.
    Warnings {
        /// The file's name, as the user gave it.
        name: String,
        /// The file's text, which the spans point into.
        text: String,
        /// The warnings.
        diagnostics: Vec<Diagnostic>,
    },
    /// The checks found something in the Dockerfile; the build goes on.
    Findings {
        /// The file's name, as the user gave it.
        name: String,
        /// The file's text, which the spans point into.
        text: String,
        /// What was found, in the order of the file.
        findings: Vec<Diagnostic>,
    },
    /// A remark that has no place in the Dockerfile.
    Notice {
        /// A sentence fragment, lower-case.
        message: String,
    },
    /// A step starts.
    StepStarted {
        /// Which.
        step: StepId,
    },
    /// A step need not run, because its result is known.
    StepCached {
        /// Which.
        step: StepId,
    },
    /// A step wrote something. The bytes are the step's own: they may hold control sequences.
    StepOutput {
        /// Which.
        step: StepId,
        /// To which of its streams.
        stream: Stream,
        /// What.
        bytes: Vec<u8>,
    },
    /// A step ended well.
    StepFinished {
        /// Which.
        step: StepId,
        /// How long it ran.
        took: Duration,
    },
    /// A step failed; the build's result says how.
    StepFailed {
        /// Which.
        step: StepId,
        /// How long it ran.
        took: Duration,
    },
    /// A task starts.
    TaskStarted {
        /// Which.
        task: TaskId,
        /// What it does, for a person: `pull docker.io/library/alpine:latest`.
        title: String,
    },
    /// A task has come this far.
    TaskProgress {
        /// Which.
        task: TaskId,
        /// Bytes done.
        done: u64,
        /// Bytes in all, where that is known.
        total: Option<u64>,
    },
    /// A task ended, well or not.
    TaskFinished {
        /// Which.
        task: TaskId,
        /// How long it took.
        took: Duration,
    },
}
