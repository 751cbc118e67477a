//! The epoch of an image: the time of all that its build made.
//!
//! Turns what the caller asks for, the time of the context's commit and a plan into the times that files, the
//! configuration and its history get. It is the same on every day and every machine unless the caller wants otherwise.
//! It knows neither clocks nor files.

use stave_dockerfile::plan::BuildPlan;
use stave_graph::Op;
use stave_tree::Times;

use crate::base::Bases;
use crate::request::{EpochRequest, EpochSource};

/// The times that an image gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Epoch {
    /// What becomes of the times of its files.
    pub(crate) files: Times,
    /// When it and all that is new in its history was made, in seconds since 1970; none for the times when its layers
    /// really were.
    pub(crate) created: Option<i64>,
}

impl Epoch {
    /// Returns the epoch of the image that `plan` describes. `commit` is when the commit was made that the context is.
    pub(crate) fn of(request: &EpochRequest, commit: Option<i64>, plan: &BuildPlan, bases: &Bases) -> Self {
        let (files, created) = match request.source {
            EpochSource::Clock => (Times::Real, None),
            EpochSource::Seconds(seconds) => (Times::Clamped(seconds), Some(seconds)),
            EpochSource::Exactly(seconds) => (Times::All(seconds), Some(seconds)),
            // What a name stands for is found out before anything is planned.
            EpochSource::Inputs | EpochSource::Named(_) => match commit.or_else(|| newest(plan, bases)) {
                Some(epoch) => (Times::Fixed(epoch), Some(epoch)),
                None => (Times::New(FROM_NOTHING), Some(FROM_NOTHING)),
            },
        };
        Self { files: if request.rewrite_files { files } else { Times::Real }, created }
    }
}

/// The epoch of what has neither a commit nor a base: the beginning of 1970. It says nothing of when the files of an
/// archive were made that becomes such an image, so that these keep their times.
const FROM_NOTHING: i64 = 0;

/// Returns when the youngest of all images was made that the plan reads, as far as they say so. Some say that they were
/// made before there were computers, and mean that they do not say.
fn newest(plan: &BuildPlan, bases: &Bases) -> Option<i64> {
    let images = plan.graph.reachable(plan.target).into_iter().filter_map(|node| match plan.graph.op(node) {
        Op::Image(image) => Some(image.id),
        _ => None,
    });
    images.filter_map(|id| bases.created_by_id(id)).filter(|seconds| *seconds >= 0).max()
}
