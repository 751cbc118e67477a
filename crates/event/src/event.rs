//! The events themselves.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ending::Ending;
use crate::miss::Miss;
use crate::remarks::Remarks;
use crate::request::RequestFacts;
use crate::step::{Origin, RequestLine, StepId, StepLine, Stream};
use crate::task::{self, TaskEnding, TaskId, TaskKind};
use crate::written;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A build begins: its Dockerfile is read.
    Begun {
        /// Its number in the history.
        build: String,
        /// The directory that is the build's own, with the logs of its steps: `N.log` for the step `N - 1`.
        directory: PathBuf,
        /// The Dockerfile's name, as the user gave it.
        name: String,
        /// The Dockerfile's text, which all spans point into.
        text: String,
        /// What was asked for.
        request: RequestFacts,
    },
    /// The steps that the target needs are known. Comes once, before any step.
    Planned {
        /// All of them, in the order of the Dockerfile.
        steps: Vec<StepLine>,
    },
    /// The Dockerfile has warnings.
    Warnings(Remarks),
    /// The checks found something in the Dockerfile; the build goes on.
    Findings(Remarks),
    /// A remark that has no place in the Dockerfile.
    Notice {
        /// A sentence fragment, lower-case.
        message: String,
    },
    /// A step has to run, and why. Comes before it starts.
    StepMissed {
        /// Which.
        step: StepId,
        /// Why.
        miss: Miss,
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
        /// How long it took when it ran, where that is known.
        #[serde(default, skip_serializing_if = "Option::is_none", with = "written::maybe_seconds")]
        saved: Option<Duration>,
        /// Where its result came from.
        origin: Origin,
        /// The key under which the store has its result, in hexadecimal digits.
        result: String,
    },
    /// A step wrote something. The bytes are the step's own: they may hold control sequences.
    StepOutput {
        /// Which.
        step: StepId,
        /// To which of its streams.
        stream: Stream,
        /// What.
        #[serde(rename = "text", with = "written::lossy")]
        bytes: Vec<u8>,
    },
    /// A step wrote more than who shows it could take in time: so much before its next output is missing, and is in the
    /// step's log. Nothing tells this but the way from who tells to who shows.
    StepOutputSkipped {
        /// Which.
        step: StepId,
        /// How many bytes.
        bytes: u64,
    },
    /// What a step asked of the network, where that is recorded, if it asked for anything. Comes before the end of a step
    /// that ran, and after it was told that one is cached.
    StepRequests {
        /// Which.
        step: StepId,
        /// All requests, in their order.
        requests: Vec<RequestLine>,
    },
    /// A step ended well.
    StepFinished {
        /// Which.
        step: StepId,
        /// How long it ran.
        #[serde(with = "written::seconds")]
        took: Duration,
        /// The key under which the store has its result, in hexadecimal digits.
        result: String,
    },
    /// A step failed, or was stopped because of something else.
    StepFailed {
        /// Which.
        step: StepId,
        /// How long it ran.
        #[serde(with = "written::seconds")]
        took: Duration,
        /// Why it failed, on one line; nothing if it was stopped.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
    /// A task starts.
    TaskStarted {
        /// Which.
        task: TaskId,
        /// Of what kind it is.
        kind: TaskKind,
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
        #[serde(with = "written::seconds")]
        took: Duration,
        /// How it ended.
        #[serde(flatten, deserialize_with = "task::ending")]
        ending: TaskEnding,
    },
    /// The build has ended. Nothing comes after it.
    Ended {
        /// How.
        #[serde(flatten)]
        ending: Ending,
    },
}
