//! One line an event: for logs, pipes and continuous integration.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use stave_engine::{Event, Remarks, StepId, Stream, TaskId};

use super::lines::Lines;
use super::{Screen, title};
use crate::human;
use crate::render::{self, Style};

/// Least time between two lines about how far a task has come.
const TASK_LINE_INTERVAL: Duration = Duration::from_secs(2);

/// A step that has a number.
struct Step {
    number: u32,
    started: Instant,
    stdout: Lines,
    stderr: Lines,
}

/// A task that runs.
struct Task {
    number: u32,
    told: Instant,
}

/// Prints lines; steps and tasks have numbers in the order in which they are first heard of.
pub(super) struct Plain {
    style: Style,
    count: u32,
    titles: BTreeMap<StepId, String>,
    misses: BTreeMap<StepId, String>,
    steps: BTreeMap<StepId, Step>,
    tasks: BTreeMap<TaskId, Task>,
}

impl Plain {
    pub(super) fn new(style: Style) -> Self {
        Self {
            style,
            count: 0,
            titles: BTreeMap::new(),
            misses: BTreeMap::new(),
            steps: BTreeMap::new(),
            tasks: BTreeMap::new(),
        }
    }

    fn number(&mut self) -> u32 {
        self.count += 1;
        self.count
    }

    /// Gives the step a number and prints its title.
    fn begin(&mut self, at: Instant, step: StepId, out: &mut dyn Write) -> io::Result<u32> {
        let number = self.number();
        writeln!(out, "#{number} {}", self.titles.get(&step).map_or("step", String::as_str))?;
        let state = Step { number, started: at, stdout: Lines::default(), stderr: Lines::default() };
        self.steps.insert(step, state);
        match self.misses.remove(&step) {
            Some(why) => writeln!(out, "#{number} runs because {why}").map(|()| number),
            None => Ok(number),
        }
    }

    fn output(
        &mut self,
        at: Instant,
        step: StepId,
        stream: Stream,
        bytes: &[u8],
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let Some(state) = self.steps.get_mut(&step) else { return Ok(()) };
        let lines = match stream {
            Stream::Stdout => state.stdout.push(bytes),
            Stream::Stderr => state.stderr.push(bytes),
        };
        let elapsed = at.saturating_duration_since(state.started).as_secs_f64();
        lines.iter().try_for_each(|line| writeln!(out, "#{} {elapsed:.3} {line}", state.number))
    }

    fn end(&mut self, step: StepId, word: &str, took: Duration, out: &mut dyn Write) -> io::Result<()> {
        let Some(mut state) = self.steps.remove(&step) else { return Ok(()) };
        for line in [state.stdout.finish(), state.stderr.finish()].into_iter().flatten() {
            writeln!(out, "#{} {:.3} {line}", state.number, took.as_secs_f64())?;
        }
        writeln!(out, "#{} {word} {}", state.number, human::seconds(took))
    }

    fn progress(
        &mut self,
        at: Instant,
        task: TaskId,
        done: u64,
        total: Option<u64>,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let Some(state) = self.tasks.get_mut(&task) else { return Ok(()) };
        if at.saturating_duration_since(state.told) < TASK_LINE_INTERVAL {
            return Ok(());
        }
        state.told = at;
        writeln!(out, "#{} {}", state.number, amount(done, total))
    }
}

/// Returns `12MB / 224MB`.
pub(super) fn amount(done: u64, total: Option<u64>) -> String {
    match total {
        Some(total) => format!("{} / {}", human::size(done), human::size(total)),
        None => human::size(done),
    }
}

impl Screen for Plain {
    fn event(&mut self, at: Instant, event: &Event, out: &mut dyn Write) -> io::Result<()> {
        match event {
            Event::Planned { steps } => {
                self.titles = steps.iter().map(|line| (line.step, title(line))).collect();
                Ok(())
            }
            Event::Warnings(Remarks { name, text, diagnostics }) => {
                out.write_all(render::diagnostics(name, text, diagnostics, self.style).as_bytes())
            }
            // Findings are shown when the build has ended.
            Event::Findings(_) | Event::Begun { .. } | Event::Ended { .. } => Ok(()),
            Event::StepMissed { step, miss } => {
                self.misses.insert(*step, render::printable(&miss.to_string()));
                Ok(())
            }
            Event::Notice { message } => writeln!(out, "note: {}", render::printable(message)),
            Event::StepStarted { step } => self.begin(at, *step, out).map(drop),
            Event::StepCached { step, .. } => {
                let number = self.begin(at, *step, out)?;
                self.steps.remove(step);
                writeln!(out, "#{number} CACHED")
            }
            Event::StepOutput { step, stream, bytes } => self.output(at, *step, *stream, bytes, out),
            Event::StepFinished { step, took, .. } => self.end(*step, "DONE", *took, out),
            Event::StepFailed { step, took } => self.end(*step, "ERROR", *took, out),
            Event::TaskStarted { task, title, .. } => {
                let number = self.number();
                self.tasks.insert(*task, Task { number, told: at });
                writeln!(out, "#{number} {}", render::printable(title))
            }
            Event::TaskProgress { task, done, total } => self.progress(at, *task, *done, *total, out),
            Event::TaskFinished { task, took } => match self.tasks.remove(task) {
                Some(state) => writeln!(out, "#{} DONE {}", state.number, human::seconds(*took)),
                None => Ok(()),
            },
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use stave_dockerfile::Span;
    use stave_engine::{Origin, StepLine, TaskKind};

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
            (3000, Event::TaskFinished { task: TaskId(7), took: Duration::from_secs(3) }),
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
            (3500, Event::StepFailed { step: two, took: Duration::from_millis(400) }),
        ]
    }

    #[test]
    fn every_event_is_a_line() {
        let start = Instant::now();
        let (mut screen, mut out) = (Plain::new(Style::PLAIN), Vec::new());
        for (millis, event) in example() {
            screen.event(start + Duration::from_millis(millis), &event, &mut out).expect("a vector takes all");
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
#3 ERROR 0.4s
";
        assert_eq!(String::from_utf8(out).expect("text"), expected);
    }
}
