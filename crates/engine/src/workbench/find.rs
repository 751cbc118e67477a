//! From a build of the history and a place in it to the layers that were there.

use std::fmt;
use std::io::Read as _;
use std::str::FromStr;

use stave_store::{BuildError, BuildRecord, BuildState, CacheLookup, LayerId, Lease};

use self::End::{First, Last};
use super::DESCRIPTION_FILE;
use super::description::{DESCRIPTION_BYTES_MAX, Described, Description, Failed, Files, Layer};
use crate::engine::Engine;
use crate::error::EngineError;

/// A step of a build, as a person names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepName {
    /// By its place in the list of all steps, from 1.
    Listed(usize),
    /// By its stage (name or number from 0) and its number there, from 1: `build/3`.
    OfStage(String, usize),
    /// A whole stage by its name: before its first step, after its last.
    Stage(String),
    /// By a line of the Dockerfile, from 1: `:12`.
    Line(usize),
}

/// A text that names no step.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` names no step: expected a number of the list, `STAGE`, `STAGE/NUMBER`, or `:LINE` of the Dockerfile")]
pub struct StepNameError(String);

impl FromStr for StepName {
    type Err = StepNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |digits: &str| digits.parse().ok().filter(|number| *number > 0);
        let read = if let Some(line) = text.strip_prefix(':') {
            number(line).map(Self::Line)
        } else if let Some((stage, digits)) = text.rsplit_once('/') {
            number(digits).filter(|_| !stage.is_empty()).map(|number| Self::OfStage(stage.to_owned(), number))
        } else if text.starts_with(|first: char| first.is_ascii_alphabetic()) {
            let is_name = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
            text.chars().all(is_name).then(|| Self::Stage(text.to_owned()))
        } else {
            number(text).map(Self::Listed)
        };
        read.ok_or_else(|| StepNameError(text.to_owned()))
    }
}

impl fmt::Display for StepName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listed(number) => write!(formatter, "{number}"),
            Self::OfStage(stage, number) => write!(formatter, "{stage}/{number}"),
            Self::Stage(stage) => formatter.write_str(stage),
            Self::Line(line) => write!(formatter, ":{line}"),
        }
    }
}

/// Which state of a build is meant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum StateOf {
    /// That in which it failed.
    #[default]
    Failed,
    /// That before a step.
    Before(StepName),
    /// That after a step.
    After(StepName),
}

/// A step of a build, as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedStep {
    /// Its place in the list, from 1.
    pub place: usize,
    /// Its stage: a name, or `stage-N`.
    pub stage: String,
    /// Its number in the stage, from 1.
    pub number: usize,
    /// How many steps the stage has.
    pub of: usize,
    /// The first line of the instruction.
    pub line: usize,
    /// The instruction on one line.
    pub title: String,
    /// Whether it is the one that failed.
    pub failed: bool,
}

/// A state that was found: the layers of its files are pinned by the lease.
pub(super) struct Found {
    /// The build's id.
    pub(super) build: String,
    /// The step's place in the list.
    pub(super) place: usize,
    pub(super) step: Described,
    /// The files, lowest first.
    pub(super) layers: Vec<LayerId>,
    /// What the step's mounts showed, if it is the one that failed.
    pub(super) failed: Option<Failed>,
    /// What it is, for people.
    pub(super) what: &'static str,
    /// What of it could not be had, as fragments of sentences.
    pub(super) remarks: Vec<String>,
}

impl Engine {
    /// Returns the steps of a build (a beginning of its id, or the latest), as its states can be asked for.
    pub fn debug_steps(&self, build: Option<&str>) -> Result<(String, Vec<ListedStep>), EngineError> {
        let (id, description) = self.described(build, false)?;
        let failed = description.failed.as_ref().map(|failed| failed.step);
        let listed = |(index, step): (usize, Described)| ListedStep {
            place: index + 1,
            stage: step.stage,
            number: step.number,
            of: step.of,
            line: step.lines.0,
            title: step.title,
            failed: failed == Some(index),
        };
        Ok((id, description.steps.into_iter().enumerate().map(listed).collect()))
    }

    /// Finds a build that has ended, by its name; or the latest, or the latest that failed where `failed` says so.
    fn find_build(&self, given: Option<&str>, failed: bool) -> Result<BuildRecord, EngineError> {
        if given.is_some() {
            let build = self.store.find_build(given)?;
            return if build.state == BuildState::Running {
                Err(BuildError::Running(build.id).into())
            } else {
                Ok(build)
            };
        }
        let mut builds = self.store.builds(u32::MAX)?.into_iter().filter(|build| build.state != BuildState::Running);
        // Of one that ended before its steps, for a mistake in the Dockerfile, there is nothing to see.
        let has_states = |build: &BuildRecord| self.store.root().join(self.description_of(build)).exists();
        let is_meant = |build: &BuildRecord| !failed || build.state == BuildState::Failed;
        if let Some(found) = builds.find(|build| is_meant(build) && has_states(build)) {
            return Ok(found);
        }
        // Where there is no build at all, this says so.
        self.store.find_build(None)?;
        Err(if failed {
            let hint =
                "The state of any other step is opened with `--before STEP` or `--after STEP`; `--list` has the steps.";
            EngineError::request("no build of the history has failed", Some(hint))
        } else {
            let hint = "One ends before its steps where its Dockerfile has a mistake. See `stave builds ls`.";
            EngineError::request("no build of the history has come to its steps", Some(hint))
        })
    }

    fn description_of(&self, build: &BuildRecord) -> String {
        format!("{}/{DESCRIPTION_FILE}", self.store.build_logs_rel_path(&build.id))
    }

    /// Returns a build's id, and what is written down of it.
    pub(super) fn described(&self, given: Option<&str>, failed: bool) -> Result<(String, Description), EngineError> {
        let build = self.find_build(given, failed)?;
        self.description(&build)?.ok_or_else(|| {
            let hint = "It ended before its steps, or an earlier stave made it. Build again.";
            EngineError::request(format!("no state of build {} is known", build.id), Some(hint))
        })
    }

    /// Returns the layers of the files after each of these steps of a build, counted from 0, as far as the store has them.
    pub(crate) fn layers_after(
        &self,
        lease: &Lease,
        build: &str,
        steps: &[usize],
    ) -> Result<Vec<Option<Vec<LayerId>>>, EngineError> {
        let (_, description) = self.described(Some(build), false)?;
        let layers = |step: &usize| self.layers_of(lease, &description.steps.get(*step)?.after).ok();
        Ok(steps.iter().map(layers).collect())
    }

    /// Reads what is written down of a build, if anything is.
    fn description(&self, build: &BuildRecord) -> Result<Option<(String, Description)>, EngineError> {
        let what = format!("build {}", build.id);
        let path = self.store.root().join(self.description_of(build));
        let mut bytes = Vec::new();
        match std::fs::File::open(&path).and_then(|file| file.take(DESCRIPTION_BYTES_MAX).read_to_end(&mut bytes)) {
            Ok(_) => Ok(Some((build.id.to_string(), Description::parse(&bytes, &what)?))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(EngineError::io("read", path, error)),
        }
    }

    /// Finds a state of a build, whose layers the lease pins.
    pub(super) fn find_state(&self, lease: &Lease, build: Option<&str>, state: &StateOf) -> Result<Found, EngineError> {
        let (id, mut description) = self.described(build, *state == StateOf::Failed)?;
        let (failed, is_interrupted) = (description.failed.take(), description.interrupted);
        let (index, name) = match (state, &failed) {
            (StateOf::Failed, None) => {
                let hint = "For the state before or after one of its steps, use `--before STEP` or `--after STEP`.";
                return Err(EngineError::request(format!("build {id} failed in none of its steps"), Some(hint)));
            }
            (StateOf::Failed, Some(failed)) => (failed.step, None),
            (StateOf::Before(name), _) => (index(&description.steps, name, First, &id)?, Some(name)),
            (StateOf::After(name), _) => (index(&description.steps, name, Last, &id)?, Some(name)),
        };
        let step = description.steps.swap_remove(index);
        let at_failure = failed.as_ref().map(|failed| failed.step).filter(|_| step.unreached);
        let gone = |gone: Gone, side: &str| match (gone, at_failure) {
            (Gone::Unneeded, Some(at)) => unreached(&id, (name, &step), side, at + 1),
            (Gone::Unneeded, None) if is_interrupted => stopped(&id, (name, &step), side),
            (gone, _) => gone.error(name, &step, side),
        };
        let failed = failed.filter(|failed| failed.step == index);
        let (layers, what) = match (state, &failed) {
            (StateOf::Failed | StateOf::After(_), Some(failed)) => {
                let parent = kept_layers(lease, &id, failed)?;
                (parent.into_iter().chain(failed.changes.iter().filter_map(known)).collect(), "as it failed")
            }
            (StateOf::Before(_), Some(failed)) => (kept_layers(lease, &id, failed)?, "before it ran"),
            (StateOf::Before(_), None) => {
                let layers = self.layers_of(lease, &step.before).map_err(|why| gone(why, "before"))?;
                (layers, "before it ran")
            }
            (StateOf::After(_) | StateOf::Failed, None) => {
                let layers = self.layers_of(lease, &step.after).map_err(|why| gone(why, "after"))?;
                (layers, "after it")
            }
        };
        Ok(Found { build: id, place: index + 1, step, layers, failed, what, remarks: Vec::new() })
    }

    /// Returns the layers of files, which the lease pins.
    pub(super) fn layers_of(&self, lease: &Lease, files: &Files) -> Result<Vec<LayerId>, Gone> {
        let key = match files {
            Files::Nothing => return Ok(Vec::new()),
            Files::Unknown => return Err(Gone::Unneeded),
            Files::Image(id) => {
                let id = id.parse().map_err(|_| Gone::Pruned)?;
                return match self.unpacked_layers(lease, id, &|_| {}) {
                    Ok(layers) => Ok(layers),
                    Err(EngineError::Image(_)) => Err(Gone::Image(id.to_string())),
                    Err(error) => Err(Gone::Failed(error)),
                };
            }
            Files::Result(key) => bytes(key).ok_or(Gone::Pruned)?,
        };
        match lease.lookup(&key).map_err(|error| Gone::Failed(error.into()))? {
            CacheLookup::Hit(record) => Ok(record.snapshot),
            CacheLookup::Evicted { .. } => Err(Gone::Pruned),
            // Below what was known, nothing is looked up, and what was there may never have been made here.
            CacheLookup::Miss => Err(Gone::Unneeded),
        }
    }
}

/// Returns the layers below those of the failed step itself, when all that is kept of it is still there.
fn kept_layers(lease: &Lease, build: &str, failed: &Failed) -> Result<Vec<LayerId>, EngineError> {
    let gone = || {
        let hint = "A prune, a full store or a restart of this machine has taken it. Build again.";
        EngineError::request(format!("the failed state of build {build} is no longer in the store"), Some(hint))
    };
    let all: Option<Vec<LayerId>> = failed.layers().map(known).collect();
    lease.pin_layers(&all.ok_or_else(gone)?).map_err(|_| gone())?;
    failed.parent.iter().map(|layer| known(layer).ok_or_else(gone)).collect()
}

/// Returns that there is no such state because the build failed in the step `at`, counted from 1, before it came to this one.
fn unreached(build: &str, (name, step): (Option<&StepName>, &Described), side: &str, at: usize) -> EngineError {
    let name = name.map(StepName::to_string).unwrap_or_default();
    let what = format!("there is no state {side} step {name} (`{}`)", step.title);
    let hint = format!("`stave debug {build}` opens step {at} as it failed.");
    EngineError::request(format!("{what}: build {build} failed in step {at}, before it came to this one"), Some(&hint))
}

/// Returns that there is no such state because the build was interrupted before.
fn stopped(build: &str, (name, step): (Option<&StepName>, &Described), side: &str) -> EngineError {
    let name = name.map(StepName::to_string).unwrap_or_default();
    let hint = "Build again, or open the state of an earlier step.";
    let what = format!("there is no state {side} step {name} (`{}`)", step.title);
    EngineError::request(format!("{what}: build {build} was interrupted before it was made"), Some(hint))
}

/// Why files are not there.
pub(super) enum Gone {
    /// They were never needed on this machine.
    Unneeded,
    /// They were given up.
    Pruned,
    /// They are of an image that the store does not have.
    Image(String),
    /// They could not be looked for.
    Failed(EngineError),
}

impl Gone {
    fn error(self, name: Option<&StepName>, step: &Described, side: &str) -> EngineError {
        let (why, hint) = match self {
            Self::Failed(error) => return error,
            Self::Unneeded => (
                "it was never made here: what came after it was known already",
                format!("Build with `--no-cache-filter {}` to make it.", step.stage),
            ),
            Self::Pruned => ("it was pruned", format!("Build again, with `--no-cache-filter {}`.", step.stage)),
            Self::Image(id) => {
                let hint = format!("Pull it again, or build again: it is image {id}.");
                ("its image is no longer in the store", hint)
            }
        };
        let name = name.map(StepName::to_string).unwrap_or_default();
        EngineError::request(
            format!("the state {side} step {name} (`{}`) is not there: {why}", step.title),
            Some(&hint),
        )
    }

    /// Returns why a mount shows nothing.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Unneeded => "what it showed was never made here".to_owned(),
            Self::Pruned => "what it showed was pruned".to_owned(),
            Self::Image(id) => format!("image {id} is no longer in the store"),
            Self::Failed(error) => error.to_string(),
        }
    }
}

fn known(layer: &Layer) -> Option<LayerId> {
    LayerId::from_hex(&layer.0)
}

/// Returns the bytes of 64 hexadecimal digits.
fn bytes(digits: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if digits.len() != 64 || !digits.is_ascii() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// Which step of a stage is meant by the stage's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The first, before which it begins.
    First,
    /// The last, after which it has ended.
    Last,
}

/// Returns the place of the step that a name means.
fn index(steps: &[Described], name: &StepName, end: End, build: &str) -> Result<usize, EngineError> {
    let is_meant = |(index, step): &(usize, &Described)| match name {
        StepName::Listed(number) => index + 1 == *number,
        StepName::OfStage(stage, number) => {
            let is_stage = step.stage.eq_ignore_ascii_case(stage) || stage.parse() == Ok(step.stage_index);
            is_stage && step.number == *number
        }
        StepName::Stage(stage) => {
            let number = if end == First { 1 } else { step.of };
            step.stage.eq_ignore_ascii_case(stage) && step.number == number
        }
        StepName::Line(line) => (step.lines.0..=step.lines.1).contains(line),
    };
    let found: Vec<usize> = steps.iter().enumerate().filter(is_meant).map(|(index, _)| index).collect();
    let hint = "See `stave debug --list` for the steps and their numbers.";
    match found[..] {
        [one] => Ok(one),
        [] if matches!(name, StepName::Stage(_)) => {
            let mut stages: Vec<String> = steps.iter().map(|step| format!("`{}`", step.stage)).collect();
            stages.dedup();
            let hint = format!("Its stages are {}; `stave debug --list` has their steps.", stages.join(", "));
            Err(EngineError::request(format!("build {build} has no stage `{name}`"), Some(&hint)))
        }
        [] => Err(EngineError::request(format!("build {build} has no step {name}"), Some(hint))),
        _ => {
            let numbers: Vec<String> = found.iter().map(|index| (index + 1).to_string()).collect();
            let message = format!("{name} means several steps of build {build}: {}", numbers.join(", "));
            Err(EngineError::request(message, Some(hint)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_named_by_its_place_its_stage_or_its_line() {
        let read = |text: &str| text.parse::<StepName>().ok();
        assert_eq!(read("3"), Some(StepName::Listed(3)));
        assert_eq!(read("build/2"), Some(StepName::OfStage("build".into(), 2)));
        assert_eq!(read(":12"), Some(StepName::Line(12)));
        assert_eq!(read("stage-1"), Some(StepName::Stage("stage-1".into())));
        for wrong in ["", "0", "3x", ":", ":0", "/1", "build/", "build/x", "a b", "-a"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
