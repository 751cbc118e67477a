//! One line an event: for logs, pipes and continuous integration.
//!
//! The lines have the shape of BuildKit's where programs read them: `#N TITLE`, `#N 0.123 TEXT`, `#N DONE 0.4s`,
//! `#N CACHED`, `#N CANCELED`, `#N ERROR: WHY`. `docs/progress.md` has them all.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Duration;

use stave_engine::{Event, Remarks, StepId, Stream, TaskId};
use stave_history::Record;
use stave_history::event::{Ending, Miss, TaskEnding};

use super::lines::Lines;
use super::settings::Settings;
use super::silence::{self, Silence, Who};
use super::{Screen, amount, summary, title};
use crate::human;
use crate::render;

/// Least time between two lines about how far a task has come.
const TASK_LINE_INTERVAL: Duration = Duration::from_secs(2);
/// Most lines about what waits.
const WAITING_LINES: usize = 20;

/// A step that has a number.
struct Step {
    number: u32,
    started: Duration,
    stdout: Lines,
    stderr: Lines,
}

/// A task that runs.
struct Task {
    number: u32,
    told: Duration,
    title: String,
}

/// Prints lines; steps and tasks have numbers in the order in which they are first heard of.
pub(super) struct Plain {
    settings: Settings,
    record: Record,
    silence: Silence,
    count: u32,
    titles: BTreeMap<StepId, String>,
    steps: BTreeMap<StepId, Step>,
    tasks: BTreeMap<TaskId, Task>,
}

impl Plain {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            record: Record::default(),
            silence: Silence::default(),
            count: 0,
            titles: BTreeMap::new(),
            steps: BTreeMap::new(),
            tasks: BTreeMap::new(),
        }
    }

    fn number(&mut self) -> u32 {
        self.count += 1;
        self.count
    }

    fn title(&self, step: StepId) -> &str {
        self.titles.get(&step).map_or("step", String::as_str)
    }

    fn planned(&mut self, steps: &[stave_engine::StepLine]) {
        let shortened = |title: String| match self.settings.title_chars {
            Some(most) if title.chars().count() > most => title.chars().take(most).chain("...".chars()).collect(),
            _ => title,
        };
        self.titles = steps.iter().map(|line| (line.step, shortened(title(line)))).collect();
    }

    /// Gives the step a number and prints its title, and why it runs.
    fn begin(&mut self, at: Duration, step: StepId, out: &mut Vec<u8>) -> u32 {
        let number = self.number();
        say(out, format_args!("#{number} {}", self.title(step)));
        let state = Step { number, started: at, stdout: Lines::default(), stderr: Lines::default() };
        self.steps.insert(step, state);
        // That a step is new needs no reason.
        let miss = self.record.step(step).and_then(|step| step.miss.as_ref());
        if let Some(miss) = miss.filter(|miss| *miss.root() != Miss::First) {
            say(out, format_args!("#{number} runs because {}", render::printable(&miss.to_string())));
        }
        number
    }

    fn output(&mut self, at: Duration, step: StepId, stream: Stream, bytes: &[u8], out: &mut Vec<u8>) {
        let Some(state) = self.steps.get_mut(&step) else { return };
        let elapsed = at.saturating_sub(state.started).as_secs_f64();
        let begin = format!("#{} {elapsed:.3} ", state.number);
        let lines = match stream {
            Stream::Stdout => &mut state.stdout,
            Stream::Stderr => &mut state.stderr,
        };
        lines.each(bytes, &mut |line| {
            out.extend_from_slice(begin.as_bytes());
            out.extend_from_slice(line.as_bytes());
            out.push(b'\n');
        });
    }

    /// Says that output is missing here, and where it is.
    fn skip(&mut self, at: Duration, step: StepId, bytes: u64, out: &mut Vec<u8>) {
        let log = self.record.step(step).map(|step| self.record.directory.join(step.log_name())).unwrap_or_default();
        let Some(state) = self.steps.get_mut(&step) else { return };
        let elapsed = at.saturating_sub(state.started).as_secs_f64();
        for line in [state.stdout.skip(), state.stderr.skip()].into_iter().flatten() {
            say(out, format_args!("#{} {elapsed:.3} {line}", state.number));
        }
        let (size, log) = (human::size(bytes), render::printable(&log.display().to_string()));
        say(out, format_args!("#{} {size} of output not shown here, all of it is in {log}", state.number));
    }

    fn end(&mut self, step: StepId, took: Duration, word: &str, out: &mut Vec<u8>) {
        let Some(mut state) = self.steps.remove(&step) else { return };
        for line in [state.stdout.finish(), state.stderr.finish()].into_iter().flatten() {
            say(out, format_args!("#{} {:.3} {line}", state.number, took.as_secs_f64()));
        }
        say(out, format_args!("#{} {word}", state.number));
    }

    fn progress(&mut self, at: Duration, task: TaskId, done: u64, total: Option<u64>, out: &mut Vec<u8>) {
        let Some(state) = self.tasks.get_mut(&task) else { return };
        if at.saturating_sub(state.told) < TASK_LINE_INTERVAL {
            return;
        }
        state.told = at;
        say(out, format_args!("#{} {}", state.number, amount(done, total)));
    }

    /// Says who has been silent for long, and what waits for it.
    fn silent(&mut self, now: Duration, out: &mut Vec<u8>) {
        let news = self.silence.news(now);
        for (who, silent) in &news {
            let (number, what) = match who {
                Who::Step(step) => (self.steps.get(step).map(|step| step.number), "output"),
                Who::Task(task) => (self.tasks.get(task).map(|task| task.number), "progress"),
            };
            if let Some(number) = number {
                say(out, format_args!("#{number} no {what} for {}", human::seconds(*silent)));
            }
        }
        if news.is_empty() {
            return;
        }
        let waiting = silence::waiting(&self.record, &self.silence, now);
        let count = waiting.len();
        for (step, holders) in waiting.into_iter().take(WAITING_LINES) {
            let tasks = self.tasks.values().map(|task| task.title.as_str());
            let holder = |step: StepId| match self.steps.get(&step) {
                Some(running) => format!("#{} {}", running.number, self.title(step)),
                None => self.title(step).to_owned(),
            };
            let what = silence::holders(&holders, tasks, holder);
            say(out, format_args!("waiting: {} waits for {what}", self.title(step)));
        }
        if count > WAITING_LINES {
            say(out, format_args!("waiting: {} more steps", count - WAITING_LINES));
        }
    }
}

fn say(out: &mut Vec<u8>, line: std::fmt::Arguments<'_>) {
    writeln!(out, "{line}").expect("a vector takes all");
}

impl Screen for Plain {
    fn event(&mut self, at: Duration, event: &Event, out: &mut Vec<u8>) {
        self.record.take(at, event);
        self.silence.take(at, event);
        match event {
            Event::Planned { steps } => self.planned(steps),
            Event::Warnings(Remarks { name, text, diagnostics }) => {
                out.extend_from_slice(render::diagnostics(name, text, diagnostics, self.settings.style).as_bytes());
            }
            Event::Notice { message } => say(out, format_args!("note: {}", render::printable(message))),
            Event::StepStarted { step } => drop(self.begin(at, *step, out)),
            Event::StepCached { step, .. } => {
                let number = self.begin(at, *step, out);
                self.steps.remove(step);
                say(out, format_args!("#{number} CACHED"));
            }
            Event::StepOutput { step, stream, bytes } => self.output(at, *step, *stream, bytes, out),
            Event::StepOutputSkipped { step, bytes } => self.skip(at, *step, *bytes, out),
            Event::StepFinished { step, took, .. } => {
                self.end(*step, *took, &format!("DONE {}", human::seconds(*took)), out);
            }
            Event::StepFailed { step, took, message: Some(message) } => {
                let word = format!("ERROR: {} after {}", render::printable(message), human::seconds(*took));
                self.end(*step, *took, &word, out);
            }
            Event::StepFailed { step, took, message: None } => self.end(*step, *took, "CANCELED", out),
            Event::TaskStarted { task, title, .. } => {
                let (number, title) = (self.number(), render::printable(title));
                say(out, format_args!("#{number} {title}"));
                self.tasks.insert(*task, Task { number, told: at, title });
            }
            Event::TaskProgress { task, done, total } => self.progress(at, *task, *done, *total, out),
            Event::TaskFinished { task, took, ending } => {
                if let Some(Task { number, .. }) = self.tasks.remove(task) {
                    match ending {
                        TaskEnding::Done => say(out, format_args!("#{number} DONE {}", human::seconds(*took))),
                        TaskEnding::Failed { message } => {
                            say(out, format_args!("#{number} ERROR: {}", render::printable(message)));
                        }
                        TaskEnding::Cancelled => say(out, format_args!("#{number} CANCELED")),
                    }
                }
            }
            Event::Ended { ending: Ending::Built { .. } } => {
                for line in summary::lines(&self.record) {
                    say(out, format_args!("{line}"));
                }
            }
            // Findings are shown when the build has ended, and so is a failure.
            Event::Findings(_)
            | Event::Begun { .. }
            | Event::Ended { .. }
            | Event::StepMissed { .. }
            | Event::StepRequests { .. } => {}
        }
    }

    fn draw(&mut self, now: Duration, out: &mut Vec<u8>) {
        self.silent(now, out);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use stave_dockerfile::Span;
    use stave_engine::{Origin, StepLine, TaskKind};

    use super::super::settings::tests::settings;
    use super::*;

    /// A small build: a pull, a cached step, one with output that fails.
    pub(in crate::progress) fn example() -> Vec<(u64, Event)> {
        let line = |step, number, title: &str| StepLine {
            step: StepId(step),
            platform: None,
            stage: "builder".to_owned(),
            number,
            of: 3,
            title: title.to_owned(),
            span: Span::default(),
            inputs: Vec::new(),
            bases: Vec::new(),
        };
        let (one, two) = (StepId(1), StepId(2));
        let took = Duration::from_millis(400);
        let output = |stream, bytes: &[u8]| Event::StepOutput { step: two, stream, bytes: bytes.to_vec() };
        vec![
            (
                0,
                Event::TaskStarted {
                    task: TaskId(7),
                    kind: TaskKind::Fetch,
                    title: "pull docker.io/library/golang:1.7.3".to_owned(),
                },
            ),
            (1000, Event::TaskProgress { task: TaskId(7), done: 5_000_000, total: Some(20_000_000) }),
            (2500, Event::TaskProgress { task: TaskId(7), done: 12_000_000, total: Some(20_000_000) }),
            (3000, Event::TaskFinished { task: TaskId(7), took: Duration::from_secs(3), ending: TaskEnding::Done }),
            (
                3000,
                Event::Planned {
                    steps: vec![line(0, 1, "FROM golang"), line(1, 2, "WORKDIR /a"), line(2, 3, "RUN  make \\\n all")],
                },
            ),
            (3000, Event::Notice { message: "build argument `x` is not declared by any `ARG`".to_owned() }),
            (3000, Event::StepCached { step: one, saved: None, origin: Origin::Local, result: String::new() }),
            (3100, Event::StepStarted { step: two }),
            (3200, output(Stream::Stdout, b"\x1b[32mcompiling\x1b[0m\nlin")),
            (3300, output(Stream::Stderr, b"warn\n")),
            (3400, output(Stream::Stdout, b"king")),
            (3500, Event::StepFailed { step: two, took, message: Some("exit status 2".to_owned()) }),
        ]
    }

    #[test]
    fn every_event_is_a_line() {
        let (mut screen, mut out) = (Plain::new(settings(&[])), Vec::new());
        for (millis, event) in example() {
            screen.event(Duration::from_millis(millis), &event, &mut out);
        }
        let expected = "\
#1 pull docker.io/library/golang:1.7.3
#1 12MB / 20MB
#1 DONE 3.0s
note: build argument `x` is not declared by any `ARG`
#2 [builder 2/3] WORKDIR /a
#2 CACHED
#3 [builder 3/3] RUN make \\ all
#3 0.100 compiling
#3 0.200 warn
#3 0.400 linking
#3 ERROR: exit status 2 after 0.4s
";
        assert_eq!(String::from_utf8(out).expect("text"), expected);
    }

    /// A task that failed or was stopped does not say that it is done.
    #[test]
    fn a_task_says_how_it_ended() {
        let (mut screen, mut out) = (Plain::new(settings(&[])), Vec::new());
        let message = "docker.io: no such host\u{1b}[2J".to_owned();
        for (task, ending) in [(1, TaskEnding::Failed { message }), (2, TaskEnding::Cancelled)] {
            let task = TaskId(task);
            let (kind, title) = (TaskKind::Resolve, "resolve a".to_owned());
            screen.event(Duration::ZERO, &Event::TaskStarted { task, kind, title }, &mut out);
            let took = Duration::from_secs(2);
            screen.event(took, &Event::TaskFinished { task, took, ending }, &mut out);
        }
        let expected = "\
#1 resolve a
#1 ERROR: docker.io: no such host\\u{1b}[2J
#2 resolve a
#2 CANCELED
";
        assert_eq!(String::from_utf8(out).expect("text"), expected);
    }

    /// Demand 21: a build that seems to hang says where.
    #[test]
    fn after_30_seconds_of_silence_it_is_said_who_is_silent_and_who_waits() {
        let (mut screen, mut out) = (Plain::new(settings(&[])), Vec::new());
        let events = example();
        for (_, event) in events.iter().filter(|(_, event)| !matches!(event, Event::StepFailed { .. })) {
            let event = match event {
                Event::Planned { steps } => {
                    let mut steps = steps.clone();
                    steps[0].inputs = vec![StepId(2)];
                    Event::Planned { steps }
                }
                event => event.clone(),
            };
            screen.event(Duration::ZERO, &event, &mut out);
        }
        let mut at = |seconds| {
            out.clear();
            screen.draw(Duration::from_secs(seconds), &mut out);
            String::from_utf8(out.clone()).expect("text")
        };
        assert_eq!(at(29), "");
        let waiting = "waiting: [builder 1/3] FROM golang waits for #3 [builder 3/3] RUN make \\ all\n";
        assert_eq!(at(30), format!("#3 no output for 30.0s\n{waiting}"));
        assert_eq!(at(31), "");
        assert_eq!(at(60), format!("#3 no output for 60.0s\n{waiting}"));
    }

    #[test]
    fn what_was_not_shown_is_counted_and_its_place_is_said() {
        let (mut screen, mut out) = (Plain::new(settings(&[("PROGRESS_NO_TRUNC", "0")])), Vec::new());
        let begun = Event::Begun {
            build: "b1".to_owned(),
            directory: "logs/b1".into(),
            name: String::new(),
            text: String::new(),
            request: stave_history::event::RequestFacts::default(),
        };
        let (step, stream) = (StepId(0), Stream::Stdout);
        let mut line = example().into_iter().find_map(|(_, event)| match event {
            Event::Planned { steps } => steps.into_iter().next(),
            _ => None,
        });
        line.as_mut().expect("a plan").title = format!("RUN {}", "x".repeat(100));
        for event in [
            begun,
            Event::Planned { steps: line.into_iter().collect() },
            Event::StepStarted { step },
            Event::StepOutput { step, stream, bytes: b"one\nhalf \x1b]0;".to_vec() },
            Event::StepOutputSkipped { step, bytes: 4_460_000 },
            Event::StepOutput { step, stream, bytes: b"last\n".to_vec() },
        ] {
            screen.event(Duration::ZERO, &event, &mut out);
        }
        let title = format!("[builder 1/3] RUN {}...", "x".repeat(54));
        let expected = format!(
            "#1 {title}\n#1 0.000 one\n#1 0.000 half \n\
             #1 4.46MB of output not shown here, all of it is in logs/b1/1.log\n#1 0.000 last\n"
        );
        assert_eq!(String::from_utf8(out).expect("text"), expected);
    }
}
