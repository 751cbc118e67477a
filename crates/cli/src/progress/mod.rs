//! Shows what the engine tells while it works.
//!
//! Events are taken without waiting and shown by a thread of its own, so a slow terminal slows nothing down: [`queue`] is
//! bounded, and what steps write faster than it can be shown is counted instead. [`plain`] and [`json`] print events as they
//! come; [`tty`] draws what runs, a frame at a time ([`layout`], [`frame`]).

mod cached;
mod frame;
mod json;
mod layout;
mod lines;
mod plain;
mod queue;
mod settings;
mod silence;
mod summary;
mod text;
mod tty;

#[cfg(test)]
mod picture;
#[cfg(test)]
mod screens;

use std::io::{IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use stave_engine::Event;

use crate::args::ProgressMode;
use crate::host::raw_variable;
use crate::human;
use crate::render::Style;
use frame::Size;
pub(crate) use lines::{Lines, as_shown};
use queue::{Pace, Queue};
use settings::Settings;
pub(crate) use text::{columns, cut};

/// Output that waits to be printed at most, in bytes.
const PRINTED_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The same of a terminal, which shows the last lines only.
const DRAWN_BYTES_MAX: usize = 1024 * 1024;
/// What is printed is written when it is as long as this, or when nothing more comes.
const WRITE_BYTES: usize = 64 * 1024;
/// What comes within this time is printed together.
const GATHER: Duration = Duration::from_millis(20);
/// How often it is looked whether something has been silent for long.
const TICK: Duration = Duration::from_secs(1);

/// One way to show events. Times are since the display was started.
trait Screen: Send {
    /// Takes note of an event.
    fn event(&mut self, at: Duration, event: &Event, out: &mut Vec<u8>);

    /// Shows what has changed since the last time; called after events and from time to time.
    fn draw(&mut self, now: Duration, out: &mut Vec<u8>) {
        let _ = (now, out);
    }

    /// Shows what is left.
    fn finish(&mut self, out: &mut Vec<u8>) {
        let _ = out;
    }
}

/// Whether something may be drawn. A panic ends that, so that its message is not drawn over.
static MAY_DRAW: Mutex<bool> = Mutex::new(true);

/// Ends all drawing in this process. A terminal is in order between any two frames.
pub(crate) fn stop_drawing() {
    // Who holds it writes to the terminal, which may be stopped; the message goes there as well.
    *MAY_DRAW.lock().unwrap_or_else(PoisonError::into_inner) = false;
}

/// Shows events until it is finished.
pub(crate) struct Display {
    queue: Option<Arc<Queue>>,
    thread: Option<JoinHandle<()>>,
}

impl Display {
    /// Starts to show events on standard error. `tty` without a terminal that can be drawn on is `plain`.
    pub(crate) fn start(mode: ProgressMode, style: Style) -> Self {
        let variable = |name: &str| raw_variable(name).and_then(|value| value.into_string().ok());
        let settings = Settings::new(style, &variable);
        let is_dumb = variable("TERM").is_some_and(|terminal| terminal == "dumb");
        let can_draw = !is_dumb && std::io::stderr().is_terminal();
        let (frame, bytes_max) = (settings.frame, PRINTED_BYTES_MAX);
        let (screen, bytes_max, frame): (Box<dyn Screen>, _, _) = match mode {
            ProgressMode::Quiet | ProgressMode::None => return Self { queue: None, thread: None },
            ProgressMode::Rawjson => (Box::new(json::Json), bytes_max, None),
            ProgressMode::Auto | ProgressMode::Tty if can_draw => {
                (Box::new(tty::Tty::new(settings, Box::new(terminal_size))), DRAWN_BYTES_MAX, Some(frame))
            }
            ProgressMode::Auto | ProgressMode::Tty | ProgressMode::Plain => {
                (Box::new(plain::Plain::new(settings)), bytes_max, None)
            }
        };
        let queue = Arc::new(Queue::new(bytes_max));
        let (start, events) = (Instant::now(), Arc::clone(&queue));
        let thread = thread::spawn(move || show(screen, &events, start, frame));
        Self { queue: Some(queue), thread: Some(thread) }
    }

    /// Takes an event. Does not wait for anything.
    pub(crate) fn report(&self, event: Event) {
        if let Some(queue) = &self.queue {
            queue.push(Instant::now(), event);
        }
    }

    /// Shows what is left to show and ends.
    pub(crate) fn finish(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(queue) = self.queue.take() {
            queue.close();
        }
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join) {
            std::panic::resume_unwind(panic);
        }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.end();
        }
    }
}

/// Shows events until there are no more. With `frame`, nothing is shown more often than so.
fn show(mut screen: Box<dyn Screen>, queue: &Queue, start: Instant, frame: Option<Duration>) {
    let (mut out, mut last) = (Vec::new(), start);
    let (until, pace) = frame.map_or((TICK, Pace::Gathered(GATHER)), |frame| (frame, Pace::Frames));
    loop {
        let batch = queue.take(last + until, pace);
        for (at, event) in batch.told {
            screen.event(at.saturating_duration_since(start), &event, &mut out);
            if out.len() >= WRITE_BYTES {
                write(&mut out);
            }
        }
        if batch.is_last {
            screen.finish(&mut out);
            return write(&mut out);
        }
        last = Instant::now();
        screen.draw(last.saturating_duration_since(start), &mut out);
        write(&mut out);
    }
}

/// Writes all of it at once. Nobody can be told that standard error does not take text, and the work goes on without.
fn write(out: &mut Vec<u8>) {
    if !out.is_empty() {
        let may_draw = MAY_DRAW.lock().unwrap_or_else(PoisonError::into_inner);
        if *may_draw {
            drop(std::io::stderr().write_all(out));
        }
        out.clear();
    }
}

/// Returns how many columns standard error has, if it is a terminal.
pub(crate) fn terminal_columns() -> Option<usize> {
    std::io::stderr().is_terminal().then(|| terminal_size().columns)
}

/// Returns the size of the terminal, asked for each frame: so a change of it is seen at the next one.
fn terminal_size() -> Size {
    match rustix::termios::tcgetwinsize(std::io::stderr()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
            Size { columns: size.ws_col.into(), rows: size.ws_row.into() }
        }
        _ => Size { columns: 80, rows: 24 },
    }
}

/// Returns `12MB / 224MB`.
fn amount(done: u64, total: Option<u64>) -> String {
    match total {
        Some(total) => format!("{} / {}", human::size(done), human::size(total)),
        None => human::size(done),
    }
}

/// Returns `[stage 2/5] TITLE` on one line, or `[linux/arm64 stage 2/5] TITLE` where there are several platforms.
pub(crate) fn title(line: &stave_engine::StepLine) -> String {
    let words: Vec<&str> = line.title.split_whitespace().collect();
    let platform = line.platform.as_ref().map(|platform| format!("{platform} ")).unwrap_or_default();
    let place = format!("{platform}{} {}/{}", line.stage, line.number, line.of);
    crate::render::printable(&format!("[{place}] {}", words.join(" ")))
}
