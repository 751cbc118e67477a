//! From events to the lines on a terminal: what has ended, and what runs now with its last output.
//!
//! What is on which row is chosen in `layout`, how it gets to the terminal in `frame`.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use stave_engine::{Event, Remarks, StepId, Stream, TaskId};
use stave_history::Record;
use stave_history::event::{Ending, Miss, TaskEnding};

use super::frame::{Line, Painter, Size};
use super::lines::Lines;
use super::settings::{Settings, Tone};
use super::silence::Silence;
use super::{Screen, cached, layout, summary, text, title};
use crate::human;
use crate::render::{self, Style};

/// A task that took less and did not fail leaves no line.
const TASK_SHORT: Duration = Duration::from_millis(500);
/// Time over which a rate is measured.
const RATE_SPAN: Duration = Duration::from_secs(3);

/// A step that runs.
pub(super) struct Running {
    pub(super) step: StepId,
    pub(super) title: String,
    pub(super) started: Duration,
    stdout: Lines,
    stderr: Lines,
    tail: VecDeque<String>,
    /// Bytes that came too fast to be looked at.
    pub(super) skipped: u64,
    /// When it wrote last.
    pub(super) wrote: Duration,
}

impl Running {
    /// Returns its last lines, the unfinished one included.
    pub(super) fn tail(&self) -> Vec<String> {
        let unfinished = [self.stdout.unfinished(), self.stderr.unfinished()];
        self.tail.iter().cloned().chain(unfinished.into_iter().flatten()).collect()
    }
}

/// A task that runs.
pub(super) struct Task {
    pub(super) id: TaskId,
    pub(super) title: String,
    pub(super) started: Duration,
    pub(super) done: u64,
    pub(super) total: Option<u64>,
    samples: VecDeque<(Duration, u64)>,
}

impl Task {
    fn progress(&mut self, at: Duration, done: u64, total: Option<u64>) {
        (self.done, self.total) = (done, total);
        self.samples.push_back((at, done));
        while self.samples.len() > 2 && self.samples.front().is_some_and(|first| at > first.0 + RATE_SPAN) {
            self.samples.pop_front();
        }
    }

    /// Returns bytes in a second, of late.
    pub(super) fn rate(&self, now: Duration) -> Option<u64> {
        let (at, done) = *self.samples.front()?;
        rate(self.done.saturating_sub(done), now.saturating_sub(at))
    }
}

fn rate(bytes: u64, time: Duration) -> Option<u64> {
    let millis = u64::try_from(time.as_millis()).ok().filter(|&millis| millis >= 50)?;
    Some(bytes.saturating_mul(1000) / millis).filter(|&rate| rate > 0)
}

/// Everything that the screen shows.
pub(super) struct State {
    pub(super) settings: Settings,
    pub(super) record: Record,
    pub(super) silence: Silence,
    pub(super) running: Vec<Running>,
    pub(super) tasks: Vec<Task>,
    /// When anything happened last.
    pub(super) heard: Duration,
    titles: BTreeMap<StepId, String>,
    /// Lines that stay, not yet printed.
    above: Vec<Line>,
    /// Whether it is said already which steps were cached.
    told_cached: bool,
}

/// The screen itself.
pub(super) struct Tty {
    state: State,
    painter: Painter,
    size: Box<dyn Fn() -> Size + Send>,
}

impl Tty {
    pub(super) fn new(settings: Settings, size: Box<dyn Fn() -> Size + Send>) -> Self {
        Self { painter: Painter::new(settings.clone()), state: State::new(settings), size }
    }
}

impl Screen for Tty {
    fn event(&mut self, at: Duration, event: &Event, _: &mut Vec<u8>) {
        self.state.event(at, event);
    }

    fn draw(&mut self, now: Duration, out: &mut Vec<u8>) {
        let size = (self.size)();
        let live = layout::live(&self.state, now, size);
        self.painter.frame(size, std::mem::take(&mut self.state.above), &live, out);
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.state.tell_cached();
        self.painter.frame((self.size)(), std::mem::take(&mut self.state.above), &[], out);
    }
}

impl State {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            record: Record::default(),
            silence: Silence::default(),
            running: Vec::new(),
            tasks: Vec::new(),
            heard: Duration::ZERO,
            titles: BTreeMap::new(),
            above: Vec::new(),
            told_cached: false,
        }
    }

    pub(super) fn title(&self, step: StepId) -> &str {
        self.titles.get(&step).map_or("step", String::as_str)
    }

    fn style(&self) -> Style {
        self.settings.style
    }

    pub(super) fn event(&mut self, at: Duration, event: &Event) {
        self.heard = at;
        self.record.take(at, event);
        self.silence.take(at, event);
        match event {
            Event::Planned { steps } => self.titles = steps.iter().map(|line| (line.step, title(line))).collect(),
            Event::Warnings(Remarks { name, text, diagnostics }) => {
                let text = render::diagnostics(name, text, diagnostics, self.style());
                self.above.extend(text.lines().map(Line::whole));
            }
            Event::Notice { message } => {
                let note = render::printable(message).replace('\n', " ");
                self.above.push(Line::whole(text::safe(&format!("note: {note}"))));
            }
            Event::StepStarted { step } => {
                let title = self.title(*step).to_owned();
                self.running.push(Running {
                    step: *step,
                    title,
                    started: at,
                    stdout: Lines::default(),
                    stderr: Lines::default(),
                    tail: VecDeque::new(),
                    skipped: 0,
                    wrote: at,
                });
            }
            Event::StepOutput { step, stream, bytes } => self.output(at, *step, *stream, bytes),
            Event::StepOutputSkipped { step, bytes } => self.skip(*step, *bytes),
            Event::StepFinished { step, took, .. } => self.end(*step, *took, (Tone::Run, "")),
            Event::StepFailed { step, took, message: Some(message) } => {
                self.end(*step, *took, (Tone::Error, "ERROR "));
                self.above.push(Line::new(Tone::Error, format!("    {}", render::printable(message))));
            }
            Event::StepFailed { step, took, message: None } => {
                self.end(*step, *took, (Tone::Cancel, "CANCELED "));
            }
            Event::TaskStarted { task, title, .. } => self.tasks.push(Task {
                id: *task,
                title: render::printable(title),
                started: at,
                done: 0,
                total: None,
                samples: VecDeque::from([(at, 0)]),
            }),
            Event::TaskProgress { task, done, total } => {
                if let Some(running) = self.tasks.iter_mut().find(|running| running.id == *task) {
                    running.progress(at, *done, *total);
                }
            }
            Event::TaskFinished { task, took, ending } => self.end_task(*task, *took, ending),
            Event::Ended { ending } => self.ended(ending),
            // Findings are shown when the build has ended; why a step runs is shown with the step.
            Event::Findings(_)
            | Event::Begun { .. }
            | Event::StepMissed { .. }
            | Event::StepRequests { .. }
            | Event::StepCached { .. } => {}
        }
    }

    fn output(&mut self, at: Duration, step: StepId, stream: Stream, bytes: &[u8]) {
        let most = self.settings.log_lines;
        let Some(running) = self.running.iter_mut().find(|running| running.step == step) else { return };
        let Running { stdout, stderr, tail, .. } = running;
        let lines = match stream {
            Stream::Stdout => stdout,
            Stream::Stderr => stderr,
        };
        lines.each(bytes, &mut |line| {
            if tail.len() >= most {
                tail.pop_front();
            }
            tail.push_back(line.to_owned());
        });
        running.wrote = at;
    }

    fn skip(&mut self, step: StepId, bytes: u64) {
        let Some(running) = self.running.iter_mut().find(|running| running.step == step) else { return };
        running.skipped += bytes;
        drop((running.stdout.skip(), running.stderr.skip()));
    }

    fn end(&mut self, step: StepId, took: Duration, (tone, word): (Tone, &str)) {
        self.running.retain(|running| running.step != step);
        let line = Line::new(tone, format!(" => {word}{}", self.title(step)));
        self.above.push(line.with_right([human::seconds(took)]));
        self.above.extend(self.why(step).map(|why| Line::new(Tone::Quiet, format!("    because {why}"))));
    }

    /// Returns why a step ran, where that says more than that it never ran before or that it was to run.
    pub(super) fn why(&self, step: StepId) -> Option<String> {
        let miss = self.record.step(step)?.miss.as_ref()?;
        (!matches!(miss.root(), Miss::First | Miss::NoCache)).then(|| render::printable(&miss.to_string()))
    }

    fn end_task(&mut self, task: TaskId, took: Duration, ending: &TaskEnding) {
        let Some(place) = self.tasks.iter().position(|running| running.id == task) else { return };
        let task = self.tasks.remove(place);
        let (tone, word) = match ending {
            TaskEnding::Failed { .. } => (Tone::Error, "ERROR "),
            _ if took < TASK_SHORT => return,
            TaskEnding::Done => (Tone::Run, ""),
            TaskEnding::Cancelled => (Tone::Cancel, "CANCELED "),
        };
        let time = human::seconds(took);
        let line = Line::new(tone, format!(" => {word}{}", task.title));
        let amount = (task.done > 0).then(|| human::size(task.done));
        let speed = rate(task.done, took).map(|rate| format!("{}/s", human::size(rate)));
        let whole: Vec<String> = amount.into_iter().chain(speed).chain([time.clone()]).collect();
        self.above.push(line.with_right([whole.join("  "), time]));
        if let TaskEnding::Failed { message } = ending {
            self.above.push(Line::new(Tone::Error, format!("    {}", render::printable(message))));
        }
    }

    fn ended(&mut self, ending: &Ending) {
        self.tell_cached();
        if matches!(ending, Ending::Built { .. }) {
            self.above.extend(summary::lines(&self.record).into_iter().map(|line| Line::whole(text::safe(&line))));
        }
    }

    /// Says once which steps need not run.
    fn tell_cached(&mut self) {
        if !std::mem::replace(&mut self.told_cached, true) {
            self.above.extend(cached::line(&self.record, |step| self.title(step).to_owned()));
        }
    }

    /// Returns the line that says which steps need not run, as long as it is not above.
    pub(super) fn cached_line(&self) -> Option<Line> {
        if self.told_cached { None } else { cached::line(&self.record, |step| self.title(step).to_owned()) }
    }
}
