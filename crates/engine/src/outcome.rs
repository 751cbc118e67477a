//! What a build ended with.

use std::path::PathBuf;
use std::time::Duration;

use stave_dockerfile::{Diagnostic, Span};
use stave_explain::Miss;
use stave_oci::{Descriptor, ImageId, Platform};

use crate::clue::{Clue, Reach};
use crate::compare::Comparison;
use crate::error::EngineError;
use crate::event::{LayerLine, StepId, StepLine};
use crate::memory::MemoryKill;

/// A build that succeeded.
#[derive(Debug, Clone)]
pub struct BuildOutcome {
    /// The image, the first of several. It is in the store if it was to be kept.
    pub image: ImageId,
    /// The image for each platform, in the order in which they were asked for.
    pub images: Vec<(Platform, ImageId)>,
    /// The index by which the store knows the images, if the result is one.
    pub index: Option<Descriptor>,
    /// Whether the store has what was built.
    pub is_kept: bool,
    /// The manifest or the index, where an output has one.
    pub manifest: Option<Descriptor>,
    /// Uncompressed bytes of all layers of all images.
    pub size: u64,
    /// Names that were given, in full.
    pub names: Vec<String>,
    /// The layers of each image, the lowest first.
    pub layers: Vec<Vec<LayerLine>>,
    /// How many steps ran, and how many were known already.
    pub steps_run: u32,
    /// Steps whose results were known.
    pub steps_cached: u32,
}

impl BuildOutcome {
    /// Returns what names the result: the image's id, or the digest of the index where an output has
    /// one, or the store.
    ///
    /// Reference: K019 of the feature list: what buildx writes into `--iidfile`.
    #[must_use]
    pub fn id(&self) -> String {
        match (&self.index, &self.manifest) {
            (None, _) => self.image.to_string(),
            (Some(_), Some(pushed)) => pushed.digest.to_string(),
            (Some(index), None) => index.digest.to_string(),
        }
    }
}

/// A build that did not succeed.
#[derive(Debug)]
pub enum BuildFailure {
    /// The Dockerfile, or what was asked of it, is wrong. Nothing was run.
    Dockerfile {
        /// The file's name, as the user gave it.
        name: String,
        /// The file's text, which the spans point into.
        text: String,
        /// At least one error, and the warnings.
        diagnostics: Vec<Diagnostic>,
    },
    /// Built a second time, the image was another one. Nothing was kept of either.
    NotReproducible(Box<Comparison>),
    /// An image that the Dockerfile names cannot be had.
    Base(Box<BaseFailure>),
    /// A step failed.
    Step(Box<StepFailure>),
    /// Something outside the Dockerfile failed, possibly on behalf of a line in it.
    Environment(Box<EngineError>),
    /// The caller cancelled.
    Interrupted,
}

/// Why an image that the Dockerfile names cannot be had.
#[derive(Debug)]
pub struct BaseFailure {
    /// The file's name, as the user gave it.
    pub name: String,
    /// The file's text, which `span` points into.
    pub text: String,
    /// The words that name the image.
    pub span: Span,
    /// The image.
    pub image: String,
    /// What was perhaps meant.
    pub near: Option<NearName>,
    /// What could not be reached, if that is why.
    pub reach: Option<Reach>,
    /// Why not.
    pub error: EngineError,
}

/// A name that is nearly that of an image which cannot be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NearName {
    /// A stage of the same file.
    Stage(String),
    /// The stage of that very name, which begins below, in this line of the file.
    LaterStage(usize),
    /// An image of the store.
    Image(String),
    /// The very image, which the store has for this platform only.
    OtherPlatform(String),
}

/// How a step failed.
#[derive(Debug)]
pub struct StepFailure {
    /// Which step it is; nothing for what no step is.
    pub step: Option<StepId>,
    /// The id of the build in the history.
    pub build: String,
    /// The file's name, as the user gave it.
    pub name: String,
    /// The file's text, which `span` points into.
    pub text: String,
    /// The instruction.
    pub span: Span,
    /// For which platform it is, where the build is for several.
    pub platform: Option<String>,
    /// The stage's name, or `stage-N`.
    pub stage: String,
    /// The instruction on one line.
    pub title: String,
    /// Why it failed.
    pub cause: StepCause,
    /// The last lines of its output, oldest first.
    pub last_lines: Vec<String>,
    /// The whole output, if the step had any.
    pub log: Option<PathBuf>,
    /// How long it ran.
    pub took: Duration,
    /// Whether memory ran out for it.
    pub killed: Option<MemoryKill>,
    /// What explains the failure.
    pub clue: Option<Clue>,
    /// What became of the other steps.
    pub tally: Tally,
}

/// What became of a build's other steps when one failed, each in the order of the Dockerfile.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// They ran, and well.
    pub done: Vec<StepLine>,
    /// Their results were known.
    pub cached: Vec<StepLine>,
    /// They ran, and were ended because of the failure.
    pub cancelled: Vec<StepLine>,
    /// They never started.
    pub unstarted: Vec<StepLine>,
}

/// Why a step failed.
#[derive(Debug)]
pub enum StepCause {
    /// Its command ended with this status.
    Exit(i32),
    /// Its command was ended by this signal.
    Signal(i32),
    /// It would have to run, and the caller wanted only what is known.
    Missed(Box<Miss>),
    /// It could not be carried out at all: `COPY` of a missing file, an unknown user, no such shell.
    Refused(EngineError),
}
