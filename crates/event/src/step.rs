//! The steps of a build.

use std::fmt;

use serde::{Deserialize, Serialize};
use stave_dockerfile::Span;

use crate::written;

/// A step of the build, in the order of the Dockerfile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepId(pub u32);

/// One request that a step made to the network, as it can be shown: without credentials, and without its query.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestLine {
    /// `GET`, `POST` and so on; `CONNECT` where a connection came to nothing before there was a request.
    pub method: String,
    /// The address.
    pub url: String,
    /// What the server answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why it was not made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// Why no answer came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// The digest of the file that came, if it came whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Whether a file did not come whole.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

impl fmt::Display for RequestLine {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {} -> ", self.method, self.url)?;
        match (self.status, &self.refused, &self.failed) {
            (Some(status), ..) => write!(out, "{status}")?,
            (None, Some(text), _) => write!(out, "refused: {text}")?,
            (None, None, text) => write!(out, "failed: {}", text.as_deref().unwrap_or_default())?,
        }
        if self.cut { out.write_str(" (incomplete)") } else { Ok(()) }
    }
}

/// A step as a person reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepLine {
    /// Which step it is.
    pub step: StepId,
    /// For which platform it is, where the build is for several: `linux/arm64`, or `linux/amd64->arm64` for what is
    /// made on one platform for another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// The stage's name, or `stage-N` for one without a name.
    pub stage: String,
    /// Place of the step in its stage, from 1.
    pub number: u32,
    /// Number of steps in its stage.
    pub of: u32,
    /// The instruction on one line.
    pub title: String,
    /// Where it is written.
    #[serde(with = "written::span")]
    pub span: Span,
    /// The steps whose results it reads, its parent first, each once.
    #[serde(default)]
    pub inputs: Vec<StepId>,
    /// The images whose files it reads itself, as the Dockerfile names them.
    #[serde(default)]
    pub bases: Vec<String>,
}

/// Where a step's output came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Where a result that was known came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// An earlier build on this machine.
    Local,
    /// A cache of other machines, in this build.
    Imported,
}

impl StepLine {
    /// Whether it is the base of a stage (`FROM`), which has no work of its own and is counted nowhere.
    #[must_use]
    pub fn is_base(&self) -> bool {
        self.title.split_whitespace().next().is_some_and(|word| word.eq_ignore_ascii_case("FROM"))
    }
}
