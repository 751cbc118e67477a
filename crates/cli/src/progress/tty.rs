//! What runs now is drawn again and again at the bottom; what has ended stays above.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};
use std::time::{Duration, Instant};

use stave_engine::{Event, Remarks, StepId, Stream, TaskId};

use super::lines::Lines;
use super::plain::amount;
use super::{Screen, title};
use crate::human;
use crate::render::{self, Style};

/// Lines of output that are shown below a running step.
const TAIL_LINES: usize = 6;

struct Running {
    title: String,
    started: Instant,
    stdout: Lines,
    stderr: Lines,
    tail: VecDeque<String>,
}

struct Task {
    title: String,
    started: Instant,
    done: u64,
    total: Option<u64>,
}

pub(super) struct Tty {
    style: Style,
    start: Instant,
    size: fn() -> (usize, usize),
    titles: BTreeMap<StepId, String>,
    running: BTreeMap<StepId, Running>,
    tasks: BTreeMap<TaskId, Task>,
    ended: usize,
    /// Lines that stay, not yet printed.
    above: Vec<String>,
    /// Lines of the last drawing that will be drawn over.
    drawn: usize,
}

impl Tty {
    pub(super) fn new(start: Instant, style: Style) -> Self {
        Self {
            style,
            start,
            size: terminal_size,
            titles: BTreeMap::new(),
            running: BTreeMap::new(),
            tasks: BTreeMap::new(),
            ended: 0,
            above: Vec::new(),
            drawn: 0,
        }
    }

    fn output(&mut self, step: StepId, stream: Stream, bytes: &[u8]) {
        let Some(running) = self.running.get_mut(&step) else { return };
        let lines = match stream {
            Stream::Stdout => running.stdout.push(bytes),
            Stream::Stderr => running.stderr.push(bytes),
        };
        for line in lines {
            running.tail.push_back(line);
            if running.tail.len() > TAIL_LINES {
                running.tail.pop_front();
            }
        }
    }

    fn end(&mut self, step: StepId, took: Duration, failed: bool) {
        let Some(running) = self.running.remove(&step) else { return };
        self.ended += 1;
        let (columns, _) = (self.size)();
        let word = if failed { "ERROR " } else { "" };
        let line = with_time(&format!(" => {word}{}", running.title), took, columns);
        self.above.push(if failed { self.style.bold_red(&line) } else { self.style.green(&line) });
    }

    /// Returns the lines at the bottom, at most as many as the terminal has.
    fn live(&self, now: Instant) -> Vec<String> {
        let (columns, rows) = (self.size)();
        let mut lines = Vec::new();
        for task in self.tasks.values() {
            let amount = if task.done == 0 { String::new() } else { format!(" {}", amount(task.done, task.total)) };
            let text = format!(" => {}{amount}", task.title);
            lines.push(with_time(&text, now.saturating_duration_since(task.started), columns));
        }
        for running in self.running.values() {
            let elapsed = now.saturating_duration_since(running.started);
            lines.push(with_time(&format!(" => {}", running.title), elapsed, columns));
            for line in &running.tail {
                lines.push(self.style.dim(&cut(&format!(" => => # {}", line.replace('\t', "    ")), columns)));
            }
        }
        if !lines.is_empty() {
            let total = self.titles.len();
            let head = format!(
                "building {} ({}/{total})",
                human::seconds(now.saturating_duration_since(self.start)),
                self.ended.min(total)
            );
            lines.insert(0, cut(&head, columns));
        }
        lines.truncate(rows.saturating_sub(2).max(1));
        lines
    }

    fn repaint(&mut self, live: &[String], out: &mut dyn Write) -> io::Result<()> {
        let mut frame = String::new();
        if self.drawn > 0 {
            // Up over the last drawing, and all from there cleared.
            frame = format!("\x1b[{}A\r\x1b[J", self.drawn);
        }
        for line in self.above.drain(..).chain(live.iter().cloned()) {
            frame += &line;
            frame.push('\n');
        }
        self.drawn = live.len();
        if frame.is_empty() {
            return Ok(());
        }
        out.write_all(frame.as_bytes())?;
        out.flush()
    }
}

impl Screen for Tty {
    fn event(&mut self, at: Instant, event: &Event, _: &mut dyn Write) -> io::Result<()> {
        match event {
            Event::Planned { steps } => self.titles = steps.iter().map(|line| (line.step, title(line))).collect(),
            Event::Warnings(Remarks { name, text, diagnostics }) => {
                let text = render::diagnostics(name, text, diagnostics, self.style);
                self.above.extend(text.lines().map(str::to_owned));
            }
            // Findings are shown when the build has ended.
            Event::Findings(_) | Event::Begun { .. } | Event::Ended { .. } | Event::StepMissed { .. } => {}
            Event::Notice { message } => self.above.push(format!("note: {}", render::printable(message))),
            Event::StepStarted { step } => {
                let title = self.titles.get(step).cloned().unwrap_or_default();
                let running = Running {
                    title,
                    started: at,
                    stdout: Lines::default(),
                    stderr: Lines::default(),
                    tail: VecDeque::new(),
                };
                self.running.insert(*step, running);
            }
            Event::StepCached { step, .. } => {
                self.ended += 1;
                let title = self.titles.get(step).cloned().unwrap_or_default();
                let (columns, _) = (self.size)();
                self.above.push(self.style.cyan(&cut(&format!(" => CACHED {title}"), columns)));
            }
            Event::StepOutput { step, stream, bytes } => self.output(*step, *stream, bytes),
            Event::StepFinished { step, took, .. } => self.end(*step, *took, false),
            Event::StepFailed { step, took } => self.end(*step, *took, true),
            Event::TaskStarted { task, title, .. } => {
                let title = render::printable(title);
                self.tasks.insert(*task, Task { title, started: at, done: 0, total: None });
            }
            Event::TaskProgress { task, done, total } => {
                if let Some(task) = self.tasks.get_mut(task) {
                    (task.done, task.total) = (*done, *total);
                }
            }
            Event::TaskFinished { task, took } => {
                if let Some(task) = self.tasks.remove(task) {
                    let (columns, _) = (self.size)();
                    self.above.push(self.style.green(&with_time(&format!(" => {}", task.title), *took, columns)));
                }
            }
        }
        Ok(())
    }

    fn draw(&mut self, now: Instant, out: &mut dyn Write) -> io::Result<()> {
        let live = self.live(now);
        self.repaint(&live, out)
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.repaint(&[], out)
    }
}

/// Returns columns and rows of the terminal.
fn terminal_size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(std::io::stderr()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => (80, 24),
    }
}

fn cut(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    text.chars().take(columns.saturating_sub(1)).chain(['…']).collect()
}

/// Returns `text` at the left and the time at the right.
fn with_time(text: &str, took: Duration, columns: usize) -> String {
    let time = human::seconds(took);
    let room = columns.saturating_sub(time.chars().count() + 1);
    let text = cut(text, room);
    let gap = room.saturating_sub(text.chars().count());
    format!("{text}{} {time}", " ".repeat(gap))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(start: Instant) -> Tty {
        Tty { size: || (40, 10), ..Tty::new(start, Style::PLAIN) }
    }

    #[test]
    fn what_has_ended_stays_and_what_runs_is_drawn_over() {
        let start = Instant::now();
        let (mut screen, mut out) = (screen(start), Vec::new());
        for (millis, event) in super::super::plain::tests::example() {
            let now = start + Duration::from_millis(millis);
            screen.event(now, &event, &mut out).expect("a vector takes all");
            screen.draw(now, &mut out).expect("a vector takes all");
        }
        screen.finish(&mut out).expect("a vector takes all");
        let text = String::from_utf8(out).expect("text");
        // What a terminal would show: each upward movement takes lines away.
        let mut shown: Vec<String> = Vec::new();
        for line in text.lines() {
            let mut line = line;
            while let Some((up, rest)) = line.strip_prefix("\x1b[").and_then(|rest| rest.split_once("A\r\x1b[J")) {
                shown.truncate(shown.len() - up.parse::<usize>().expect("a number of lines"));
                line = rest;
            }
            shown.push(line.to_owned());
        }
        let expected = [
            " => pull docker.io/library/golang:1… 3.0s",
            "note: build argument `x` is not declared by any `ARG`",
            " => CACHED [builder 2/3] WORKDIR /a",
            " => ERROR [builder 3/3] RUN make \\ …  0.4s",
        ];
        let shown: Vec<String> = shown.into_iter().filter(|line| !line.is_empty()).collect();
        assert_eq!(shown.len(), expected.len(), "{shown:#?}");
        assert_eq!(shown[1..3], expected[1..3]);
        assert!(shown[0].starts_with(" => pull docker.io/library/golang") && shown[0].ends_with("… 3.0s"), "{shown:?}");
        assert!(shown[3].starts_with(" => ERROR [builder 3/3] RUN make") && shown[3].ends_with(" 0.4s"), "{shown:?}");
        assert!(text.contains(" => => # compiling\n"), "{text:?}");
    }

    #[test]
    fn the_drawing_never_has_more_lines_or_columns_than_the_terminal() {
        let start = Instant::now();
        let mut screen = screen(start);
        for number in 0..30 {
            let step = StepId(number);
            screen.event(start, &Event::StepStarted { step }, &mut io::sink()).expect("a sink takes all");
            let bytes = vec![b'x'; 200].into_iter().chain(*b"\n").collect();
            let output = Event::StepOutput { step, stream: Stream::Stdout, bytes };
            screen.event(start, &output, &mut io::sink()).expect("a sink takes all");
        }
        let lines = screen.live(start);
        assert!(lines.len() <= 8 && lines.iter().all(|line| line.chars().count() <= 40), "{lines:#?}");
    }
}
