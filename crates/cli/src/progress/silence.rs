//! From events to who has been silent for long, so that nobody looks at a build that seems to hang without a word.

use std::collections::BTreeMap;
use std::time::Duration;

use stave_engine::{Event, StepId, TaskId};
use stave_history::{Record, StepState};

/// Silence of which nothing is said.
pub(super) const QUIET: Duration = Duration::from_secs(30);

/// Who may be silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Who {
    Step(StepId),
    Task(TaskId),
}

/// When each that runs was last heard of.
#[derive(Debug, Default)]
pub(super) struct Silence {
    /// With how long the silence was when it was last spoken of.
    heard: BTreeMap<Who, (Duration, Duration)>,
}

impl Silence {
    /// Takes note of an event.
    pub(super) fn take(&mut self, at: Duration, event: &Event) {
        match event {
            Event::StepStarted { step } | Event::StepOutput { step, .. } => self.hear(at, Who::Step(*step)),
            Event::TaskStarted { task, .. } | Event::TaskProgress { task, .. } => self.hear(at, Who::Task(*task)),
            Event::StepFinished { step, .. } | Event::StepFailed { step, .. } => {
                self.heard.remove(&Who::Step(*step));
            }
            Event::TaskFinished { task, .. } => {
                self.heard.remove(&Who::Task(*task));
            }
            _ => {}
        }
    }

    fn hear(&mut self, at: Duration, who: Who) {
        self.heard.insert(who, (at, Duration::ZERO));
    }

    /// Returns how long one has been silent, if that is long.
    pub(super) fn of(&self, now: Duration, who: Who) -> Option<Duration> {
        let (heard, _) = self.heard.get(&who)?;
        Some(now.saturating_sub(*heard)).filter(|silent| *silent >= QUIET)
    }

    /// Whether all that runs has been silent for long. `since` is when anything was last heard.
    pub(super) fn is_general(&self, now: Duration, since: Duration) -> bool {
        now.saturating_sub(since) >= QUIET && self.heard.keys().all(|&who| self.of(now, who).is_some())
    }

    /// Returns who has been silent for long and was not spoken of since: after 30 seconds, and each time that the silence
    /// has become twice as long.
    pub(super) fn news(&mut self, now: Duration) -> Vec<(Who, Duration)> {
        let mut news = Vec::new();
        for (who, (heard, spoken)) in &mut self.heard {
            let silent = now.saturating_sub(*heard);
            if silent >= QUIET.max(*spoken * 2) {
                *spoken = silent;
                news.push((*who, silent));
            }
        }
        news
    }
}

/// Returns the steps that wait, each with what holds it up: steps that run or could. Only those whose holders have all been
/// silent for long, if there is a holder that runs.
pub(super) fn waiting(record: &Record, silence: &Silence, now: Duration) -> Vec<(StepId, Vec<StepId>)> {
    let waits = record.steps.iter().filter(|step| step.state == StepState::Waiting).map(|step| step.line.step);
    let is_silent = |step: StepId| silence.of(now, Who::Step(step)).is_some();
    let runs = |step: StepId| record.step(step).is_some_and(|step| step.state == StepState::Running);
    waits
        .map(|step| (step, record.held_up_by(step)))
        .filter(|(_, holders)| holders.iter().all(|&holder| !runs(holder) || is_silent(holder)))
        .collect()
}

/// Returns what a step waits for, for a person: steps, or else tasks, or else its turn.
pub(super) fn holders<'a>(
    steps: &[StepId],
    tasks: impl Iterator<Item = &'a str>,
    title: impl Fn(StepId) -> String,
) -> String {
    let steps: Vec<String> = steps.iter().map(|&step| title(step)).collect();
    let tasks: Vec<&str> = tasks.collect();
    match (steps.is_empty(), tasks.is_empty()) {
        (false, _) => steps.join(", "),
        (true, false) => tasks.join(", "),
        (true, true) => "its turn".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_spoken_of_after_30_seconds_and_then_ever_more_rarely() {
        let mut silence = Silence::default();
        let step = StepId(1);
        silence.take(Duration::ZERO, &Event::StepStarted { step });
        let spoken: Vec<u64> =
            (0..300).filter(|&second| !silence.news(Duration::from_secs(second)).is_empty()).collect();
        assert_eq!(spoken, [30, 60, 120, 240]);
        assert_eq!(silence.of(Duration::from_secs(29), Who::Step(step)), None);
        assert!(silence.of(Duration::from_secs(31), Who::Step(step)).is_some());
        silence.take(Duration::from_mins(5), &Event::StepFailed { step, took: Duration::ZERO, message: None });
        assert_eq!(silence.news(Duration::from_secs(999)), []);
    }
}
