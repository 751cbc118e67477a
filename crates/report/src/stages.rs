//! The stages of a build, as its steps say them.

use std::time::Duration;

use stave_history::event::StepId;
use stave_history::{Record, StepRecord, StepState};

/// Steps of one stage for one platform, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StageSteps {
    /// Its name with its platform, where the build is for several.
    pub(crate) name: String,
    /// Places of its steps in the record.
    pub(crate) steps: std::ops::Range<usize>,
}

/// Returns the stages in the order of the file. A stage of which a part is for several platforms and another one for a
/// single one is two.
pub(crate) fn stages(record: &Record) -> Vec<StageSteps> {
    let mut stages: Vec<StageSteps> = Vec::new();
    for (place, step) in record.steps.iter().enumerate() {
        let goes_on = place.checked_sub(1).map(|before| &record.steps[before].line).is_some_and(|before| {
            (&before.stage, &before.platform) == (&step.line.stage, &step.line.platform)
                && before.number < step.line.number
        });
        match stages.last_mut().filter(|_| goes_on) {
            Some(stage) => stage.steps.end = place + 1,
            None => stages.push(StageSteps { name: stage_name(step), steps: place..place + 1 }),
        }
    }
    stages
}

fn stage_name(step: &StepRecord) -> String {
    match &step.line.platform {
        Some(platform) => format!("{} ({platform})", step.line.stage),
        None => step.line.stage.clone(),
    }
}

/// Returns a step as a person knows it: `[build 2/5]`.
pub(crate) fn place_name(step: &StepRecord) -> String {
    let line = &step.line;
    let platform = line.platform.as_ref().map(|platform| format!("{platform} ")).unwrap_or_default();
    format!("[{platform}{} {}/{}]", line.stage, line.number, line.of)
}

/// What became of a stage, or of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Nothing is known of it: it was not built.
    Plain,
    /// It has not begun, or the build ended before.
    NotRun,
    /// Its results were known.
    Known,
    /// It ran, or a part of it.
    Ran,
    /// It failed.
    Failed,
    /// It still runs.
    Running,
    /// It was cancelled because of something else.
    Cancelled,
}

impl Mark {
    pub(crate) fn of(state: StepState) -> Self {
        match state {
            StepState::Waiting => Self::NotRun,
            StepState::Cached => Self::Known,
            StepState::Done => Self::Ran,
            StepState::Failed => Self::Failed,
            StepState::Running => Self::Running,
            StepState::Cancelled => Self::Cancelled,
        }
    }

    /// Returns what became of many together.
    pub(crate) fn of_all(marks: &[Self]) -> Self {
        let has = |wanted| marks.contains(&wanted);
        let order = [Self::Failed, Self::Cancelled, Self::Running, Self::Ran, Self::Known];
        order.into_iter().find(|&mark| has(mark)).unwrap_or(Self::NotRun)
    }

    /// Returns the word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::NotRun => "not run",
            Self::Known => "known",
            Self::Ran => "ran",
            Self::Failed => "failed",
            Self::Running => "running",
            Self::Cancelled => "cancelled",
        }
    }

    /// Returns the name of its class in pages.
    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::NotRun => "not-run",
            Self::Known => "known",
            Self::Ran => "ran",
            Self::Failed => "failed",
            Self::Running => "running",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Returns what became of the steps of a stage, and how long those that ran took together.
pub(crate) fn outcome(record: &Record, stage: &StageSteps) -> (Mark, Duration) {
    let steps = &record.steps[stage.steps.clone()];
    // The base has no work of its own, so it says nothing, unless there is nothing else.
    let only_bases = steps.iter().all(StepRecord::is_base);
    let counted = steps.iter().filter(|step| only_bases || !step.is_base());
    let marks: Vec<Mark> = counted.map(|step| Mark::of(step.state)).collect();
    let mark = Mark::of_all(&marks);
    (mark, steps.iter().filter_map(|step| step.took).sum())
}

/// Whether this step is one of the record's.
pub(crate) fn place_of(record: &Record, step: StepId) -> Option<usize> {
    Some(step.0 as usize).filter(|&place| place < record.steps.len())
}

/// Something that a step reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Read<'a> {
    /// The result of another step, by its place in the record.
    Step(usize),
    /// An image.
    Image(&'a str),
}

/// Returns what a step of a stage reads, each with whether the step goes on from it. Equal steps of several stages are one
/// result, which the record gives to the first of them; a step of a stage goes on from the one before it in the stage all
/// the same.
pub(crate) fn reads<'a>(record: &'a Record, all: &[StageSteps], stage: usize, place: usize) -> Vec<(Read<'a>, bool)> {
    let (step, own) = (&record.steps[place], &all[stage].steps);
    if step.is_base() {
        let name = base_name(step);
        let named = |earlier: &&StageSteps| {
            let line = &record.steps[earlier.steps.start].line;
            line.stage.eq_ignore_ascii_case(name) && (line.platform.is_none() || line.platform == step.line.platform)
        };
        let from = all[..stage].iter().rev().find(named).map(|earlier| Read::Step(earlier.steps.end - 1));
        return vec![(from.unwrap_or(Read::Image(name)), true)];
    }
    let mut reads = Vec::new();
    let inputs = step.line.inputs.iter().filter_map(|&input| place_of(record, input));
    let has_parent = step.line.number > 1 || place > own.start || goes_on_from_a_stage(step);
    // A linked copy lies on the step before it without reading it: what it reads are files only.
    let is_linked = is_copy_with(step, "--link");
    if is_linked && place > own.start {
        reads.push((Read::Step(place - 1), true));
    }
    for (at, input) in inputs.enumerate() {
        let is_parent = at == 0 && has_parent && !is_linked;
        if is_parent && place > own.start {
            reads.push((Read::Step(place - 1), true));
        } else if record.steps[input].is_base() && record.steps[input].line.inputs.is_empty() && !own.contains(&input) {
            reads.push((Read::Image(base_name(&record.steps[input])), is_parent));
        } else {
            reads.push((Read::Step(input), is_parent));
        }
    }
    reads.extend(step.line.bases.iter().map(|base| (Read::Image(base), false)));
    reads
}

/// Whether what stands first in a stage without a step for its `FROM` goes on from another stage, or starts from nothing.
/// The record has no more of it than what the step reads: what copies files of a stage onto nothing reads that stage alone.
fn goes_on_from_a_stage(step: &StepRecord) -> bool {
    let is_copy_from = is_copy_with(step, "--from");
    let others = step.line.inputs.len() + step.line.bases.len();
    others > usize::from(is_copy_from)
}

/// Whether it is a `COPY` or `ADD` with this flag.
fn is_copy_with(step: &StepRecord, flag: &str) -> bool {
    let mut words = step.line.title.split_whitespace();
    let copies = words.next().is_some_and(|word| ["COPY", "ADD"].iter().any(|name| word.eq_ignore_ascii_case(name)));
    let is_flag = |word: &str| word.strip_prefix(flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('='));
    copies && words.take_while(|word| word.starts_with("--")).any(is_flag)
}

/// The image or the stage that a `FROM` names: as the build has read it, or else its word.
fn base_name(step: &StepRecord) -> &str {
    let word = || step.line.title.split_whitespace().skip(1).find(|word| !word.starts_with("--"));
    step.line.bases.first().map(String::as_str).or_else(word).unwrap_or_default()
}
