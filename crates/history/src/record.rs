//! Everything that is known of one build.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use stave_event::{
    Ending, Event, Miss, Origin, Remarks, RequestFacts, RequestLine, StepId, StepLine, TaskEnding, TaskId, TaskKind,
    json,
};

/// Everything that is known of one build, while it runs or afterwards. All times are since its begin.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Record {
    /// Its number in the history; empty before it begins.
    pub id: String,
    /// The directory that is the build's own, with the logs of its steps.
    pub directory: PathBuf,
    /// The Dockerfile's name, as the user gave it.
    pub name: String,
    /// The Dockerfile's text, which all spans point into.
    pub text: String,
    /// What was asked for.
    pub request: RequestFacts,
    /// The steps, in the order of the Dockerfile; the place of each is its [`StepId`].
    pub steps: Vec<StepRecord>,
    /// What else took time, in the order in which it began.
    pub tasks: Vec<TaskRecord>,
    /// Warnings about the Dockerfile.
    pub warnings: Vec<Remarks>,
    /// What the checks found.
    pub findings: Vec<Remarks>,
    /// Remarks that have no place in the Dockerfile.
    pub notices: Vec<String>,
    /// How it ended, if it has.
    pub ending: Option<Ending>,
    /// When the last event was told.
    pub took: Duration,
}

/// Everything that is known of one step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepRecord {
    /// The step as a person reads it.
    pub line: StepLine,
    /// What has become of it.
    pub state: StepState,
    /// When it began to run.
    pub started: Option<Duration>,
    /// How long it ran.
    pub took: Option<Duration>,
    /// How long it took when it ran, if it need not run now.
    pub saved: Option<Duration>,
    /// Why it had to run.
    pub miss: Option<Miss>,
    /// Where its result came from, if it was known.
    pub origin: Option<Origin>,
    /// The key under which the store has its result, in hexadecimal digits.
    pub result: Option<String>,
    /// What it asked of the network, where that is recorded.
    pub requests: Vec<RequestLine>,
}

/// What has become of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepState {
    /// It has not begun.
    Waiting,
    /// It runs.
    Running,
    /// It need not run.
    Cached,
    /// It ran.
    Done,
    /// It failed.
    Failed,
    /// It ran when the build ended because of something else.
    Cancelled,
}

/// Something that took time and is no step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TaskRecord {
    /// Which.
    pub task: TaskId,
    /// Of what kind it is.
    pub kind: TaskKind,
    /// What it does.
    pub title: String,
    /// When it began.
    pub started: Duration,
    /// How long it took, if it has ended.
    pub took: Option<Duration>,
    /// How it ended, if it has.
    pub ending: Option<TaskEnding>,
    /// Bytes done.
    pub done: u64,
    /// Bytes in all, where that is known.
    pub total: Option<u64>,
}

/// What one stage adds to an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StageBytes {
    /// The stage's name; nothing for the base, and for layers that no step made by itself.
    pub stage: Option<String>,
    /// Whether these are the base's layers.
    pub of_base: bool,
    /// Uncompressed bytes of its layers.
    pub bytes: u64,
    /// How many layers.
    pub layers: usize,
}

impl StepRecord {
    fn new(line: StepLine) -> Self {
        Self {
            line,
            state: StepState::Waiting,
            started: None,
            took: None,
            saved: None,
            miss: None,
            origin: None,
            result: None,
            requests: Vec::new(),
        }
    }

    /// Whether it is the base of a stage, which has no work of its own.
    #[must_use]
    pub fn is_base(&self) -> bool {
        self.line.is_base()
    }

    /// Returns the name of the file in the build's directory that has its output, if it wrote any.
    #[must_use]
    pub fn log_name(&self) -> String {
        format!("{}.log", self.line.step.0.saturating_add(1))
    }
}

impl Record {
    /// Returns the record that lines of JSON say, as [`json::line`] writes them. Lines that say nothing are passed over.
    #[must_use]
    pub fn of_lines<'a>(lines: impl IntoIterator<Item = &'a str>) -> Self {
        let mut record = Self::default();
        for (at, event) in lines.into_iter().filter_map(json::read) {
            record.take(at, &event);
        }
        record
    }

    /// Takes note of an event.
    pub fn take(&mut self, at: Duration, event: &Event) {
        self.took = self.took.max(at);
        match event {
            Event::Begun { build, directory, name, text, request } => {
                (self.id, self.directory) = (build.clone(), directory.clone());
                (self.name, self.text) = (name.clone(), text.clone());
                self.request = request.clone();
            }
            Event::Planned { steps } => self.steps = steps.iter().cloned().map(StepRecord::new).collect(),
            Event::Warnings(remarks) => self.warnings.push(remarks.clone()),
            Event::Findings(remarks) => self.findings.push(remarks.clone()),
            Event::Notice { message } => self.notices.push(message.clone()),
            Event::StepMissed { step, miss } => self.change(*step, |step| step.miss = Some(miss.clone())),
            Event::StepStarted { step } => {
                self.change(*step, |step| (step.state, step.started) = (StepState::Running, Some(at)));
            }
            Event::StepCached { step, saved, origin, result } => self.change(*step, |step| {
                (step.state, step.saved, step.origin) = (StepState::Cached, *saved, Some(*origin));
                step.result = Some(result.clone());
            }),
            Event::StepOutput { .. } | Event::StepOutputSkipped { .. } => {}
            Event::StepRequests { step, requests } => self.change(*step, |step| step.requests.clone_from(requests)),
            Event::StepFinished { step, took, result } => self.change(*step, |step| {
                (step.state, step.took, step.result) = (StepState::Done, Some(*took), Some(result.clone()));
            }),
            Event::StepFailed { step, took, .. } => {
                self.change(*step, |step| (step.state, step.took) = (StepState::Failed, Some(*took)));
            }
            Event::TaskStarted { task, kind, title } => {
                let (task, kind, title) = (*task, *kind, title.clone());
                let (started, took, ending) = (at, None, None);
                self.tasks.push(TaskRecord { task, kind, title, started, took, ending, done: 0, total: None });
            }
            Event::TaskProgress { task, done, total } => {
                self.change_task(*task, |task| (task.done, task.total) = (*done, *total));
            }
            Event::TaskFinished { task, took, ending } => self.change_task(*task, |task| {
                (task.took, task.ending) = (Some(*took), Some(ending.clone()));
            }),
            Event::Ended { ending } => self.end(at, ending),
        }
    }

    fn end(&mut self, at: Duration, ending: &Ending) {
        self.ending = Some(ending.clone());
        let failed = if let Ending::Failed { step, .. } = ending { *step } else { None };
        for step in &mut self.steps {
            if step.state == StepState::Running || step.state == StepState::Failed && failed != Some(step.line.step) {
                step.state = StepState::Cancelled;
                step.took = step.took.or(step.started.map(|started| at.saturating_sub(started)));
            }
        }
    }

    fn change(&mut self, step: StepId, change: impl FnOnce(&mut StepRecord)) {
        if let Some(step) = self.steps.get_mut(step.0 as usize) {
            change(step);
        }
    }

    fn change_task(&mut self, id: TaskId, change: impl FnOnce(&mut TaskRecord)) {
        // The latest are the likeliest.
        if let Some(task) = self.tasks.iter_mut().rev().find(|task| task.task == id) {
            change(task);
        }
    }

    /// Returns a step of it.
    #[must_use]
    pub fn step(&self, step: StepId) -> Option<&StepRecord> {
        self.steps.get(step.0 as usize)
    }

    /// Returns how many steps are in this state. Bases are not counted.
    #[must_use]
    pub fn count(&self, state: StepState) -> usize {
        self.steps.iter().filter(|step| step.state == state && !step.is_base()).count()
    }

    /// Returns how many steps there are, bases not counted.
    #[must_use]
    pub fn count_all(&self) -> usize {
        self.steps.iter().filter(|step| !step.is_base()).count()
    }

    /// Returns the time that steps which need not run took when they ran, as far as it is known.
    #[must_use]
    pub fn saved(&self) -> Duration {
        self.steps.iter().filter_map(|step| step.saved).sum()
    }

    /// Returns what a step that has not begun waits for: its inputs that have no result yet, in the order in which it reads
    /// them.
    #[must_use]
    pub fn waits_for(&self, step: StepId) -> Vec<StepId> {
        let Some(step) = self.step(step).filter(|step| step.state == StepState::Waiting) else { return Vec::new() };
        let unsettled = |input: &StepId| {
            self.step(*input).is_some_and(|input| !matches!(input.state, StepState::Cached | StepState::Done))
        };
        step.line.inputs.iter().copied().filter(unsettled).collect()
    }

    /// Returns what holds up a step that has not begun: the steps at the bottom of all that it waits for, which run or
    /// could begin, in the order of the Dockerfile.
    #[must_use]
    pub fn held_up_by(&self, step: StepId) -> Vec<StepId> {
        let (mut seen, mut open) = (BTreeSet::new(), self.waits_for(step));
        let mut bottom = BTreeSet::new();
        while let Some(input) = open.pop() {
            if seen.insert(input) {
                let below = self.waits_for(input);
                if below.is_empty() {
                    bottom.insert(input);
                }
                open.extend(below);
            }
        }
        bottom.into_iter().collect()
    }

    /// Returns what each stage adds to the first image, its base first, then stages from the lowest layer up.
    #[must_use]
    pub fn stage_bytes(&self) -> Vec<StageBytes> {
        let Some(Ending::Built { images, .. }) = &self.ending else { return Vec::new() };
        let mut stages: Vec<StageBytes> = Vec::new();
        let mut places: BTreeMap<(bool, Option<String>), usize> = BTreeMap::new();
        for layer in images.first().map(|image| image.layers.as_slice()).unwrap_or_default() {
            let stage = layer.step.and_then(|step| self.step(step)).map(|step| step.line.stage.clone());
            let of_base = layer.of_base;
            let place = *places.entry((of_base, stage.clone())).or_insert(stages.len());
            if place == stages.len() {
                stages.push(StageBytes { stage, of_base, bytes: 0, layers: 0 });
            }
            stages[place].bytes += layer.bytes;
            stages[place].layers += 1;
        }
        stages
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use stave_dockerfile::Span;
    use stave_event::{BuiltImage, LayerLine};

    use super::*;

    /// A step of stage `stage` that reads `inputs`.
    pub(crate) fn line(step: u32, stage: &str, inputs: &[u32]) -> StepLine {
        StepLine {
            step: StepId(step),
            platform: None,
            stage: stage.to_owned(),
            number: step + 1,
            of: 4,
            title: format!("RUN {step}"),
            span: Span::new(0, 0),
            inputs: inputs.iter().copied().map(StepId).collect(),
            bases: Vec::new(),
        }
    }

    pub(crate) fn record(events: &[(u64, Event)]) -> Record {
        let mut record = Record::default();
        for (millis, event) in events {
            record.take(Duration::from_millis(*millis), event);
        }
        record
    }

    pub(crate) fn finished(step: u32, millis: u64) -> Event {
        Event::StepFinished { step: StepId(step), took: Duration::from_millis(millis), result: "aa".to_owned() }
    }

    fn cached(step: u32, saved: u64) -> Event {
        let saved = Some(Duration::from_millis(saved));
        Event::StepCached { step: StepId(step), saved, origin: Origin::Local, result: "bb".to_owned() }
    }

    #[test]
    fn a_record_says_what_became_of_every_step() {
        let steps = vec![line(0, "a", &[]), line(1, "a", &[0]), line(2, "b", &[]), line(3, "b", &[1, 2])];
        let mut events = vec![
            (0, Event::Planned { steps }),
            (5, cached(0, 700)),
            (10, Event::StepStarted { step: StepId(1) }),
            (20, Event::StepStarted { step: StepId(2) }),
            (110, finished(1, 100)),
        ];
        let running = record(&events);
        assert_eq!(running.waits_for(StepId(3)), [StepId(2)]);
        assert_eq!(running.held_up_by(StepId(3)), [StepId(2)]);
        assert_eq!(running.saved(), Duration::from_millis(700));
        let ending = Ending::Failed { step: None, message: "no space".to_owned() };
        events.push((120, Event::Ended { ending }));
        let ended = record(&events);
        let states: Vec<StepState> = ended.steps.iter().map(|step| step.state).collect();
        assert_eq!(states, [StepState::Cached, StepState::Done, StepState::Cancelled, StepState::Waiting]);
        assert_eq!((ended.steps[2].took, ended.took), (Some(Duration::from_millis(100)), Duration::from_millis(120)));
    }

    #[test]
    fn a_waiting_step_is_held_up_by_what_runs_below_it() {
        let steps = vec![line(0, "a", &[]), line(1, "a", &[0]), line(2, "b", &[]), line(3, "c", &[1, 2])];
        let events = [(0, Event::Planned { steps }), (1, Event::StepStarted { step: StepId(0) })];
        let running = record(&events);
        assert_eq!(running.waits_for(StepId(3)), [StepId(1), StepId(2)]);
        assert_eq!(running.held_up_by(StepId(3)), [StepId(0), StepId(2)]);
        assert_eq!(running.held_up_by(StepId(0)), []);
    }

    #[test]
    fn events_that_contradict_each_other_are_no_failure() {
        let events = [
            (1, finished(9, 1)),
            (2, Event::TaskFinished { task: TaskId(3), took: Duration::ZERO, ending: TaskEnding::Done }),
            (3, Event::StepStarted { step: StepId(0) }),
            (0, Event::Planned { steps: vec![line(7, "a", &[7, 9])] }),
        ];
        let record = record(&events);
        assert_eq!(record.steps.len(), 1);
        assert!(record.critical_path().steps.is_empty());
        assert!(record.waits_for(StepId(0)).contains(&StepId(7)) || record.waits_for(StepId(0)).is_empty());
    }

    #[test]
    fn a_record_says_how_every_task_ended() {
        let ends = [TaskEnding::Done, TaskEnding::Failed { message: "no space".to_owned() }, TaskEnding::Cancelled];
        let mut events = Vec::new();
        for (task, ending) in (0..).map(TaskId).zip(&ends) {
            events.push((0, Event::TaskStarted { task, kind: TaskKind::Fetch, title: String::new() }));
            let took = Duration::from_millis(1);
            events.push((1, Event::TaskFinished { task, took, ending: ending.clone() }));
        }
        events.push((2, Event::TaskStarted { task: TaskId(9), kind: TaskKind::Fetch, title: String::new() }));
        let record = record(&events);
        let told: Vec<_> = record.tasks.into_iter().map(|task| task.ending).collect();
        assert_eq!(told, ends.into_iter().map(Some).chain([None]).collect::<Vec<_>>());
    }

    #[test]
    fn layers_are_counted_for_the_stages_of_their_steps() {
        let layer = |step: Option<u32>, bytes| LayerLine {
            step: step.map(StepId),
            of_base: step.is_none(),
            bytes,
            diff_id: String::new(),
        };
        let layers = vec![layer(None, 5), layer(Some(0), 10), layer(Some(1), 20), layer(Some(0), 40)];
        let images = vec![BuiltImage { platform: String::new(), image: String::new(), layers }];
        let ending = Ending::Built { images, index: None, names: Vec::new(), size: 75, ran: 2, cached: 0 };
        let steps = vec![line(0, "a", &[]), line(1, "b", &[0])];
        let record = record(&[(0, Event::Planned { steps }), (1, Event::Ended { ending })]);
        let stages: Vec<_> =
            record.stage_bytes().into_iter().map(|one| (one.stage.unwrap_or_default(), one.bytes)).collect();
        assert_eq!(stages, [(String::new(), 5), ("a".to_owned(), 50), ("b".to_owned(), 20)]);
    }

    #[test]
    fn lines_of_a_build_that_was_killed_are_a_record() {
        let text = [
            json::line(Duration::ZERO, &Event::Planned { steps: vec![line(0, "a", &[])] }),
            json::line(Duration::from_secs(1), &Event::StepStarted { step: StepId(0) }),
        ]
        .join("\n");
        let record = Record::of_lines(text[..text.len() - 1].lines());
        assert_eq!((record.steps.len(), record.steps[0].state), (1, StepState::Waiting));
        let whole = Record::of_lines(text.lines());
        assert_eq!((whole.steps[0].state, whole.ending), (StepState::Running, None));
    }
}
