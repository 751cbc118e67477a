//! Shows what the engine tells while it works.
//!
//! Events are taken without waiting and shown by a thread of its own, so a slow terminal slows nothing down.

mod json;
mod lines;
mod plain;
mod tty;

use std::io::{IsTerminal as _, Write};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use stave_engine::Event;

use crate::args::ProgressMode;
use crate::render::Style;

/// How often running clocks are drawn again.
const FRAME: Duration = Duration::from_millis(100);

/// One way to show events.
trait Screen: Send {
    /// Takes note of an event.
    fn event(&mut self, at: Instant, event: &Event, out: &mut dyn Write) -> std::io::Result<()>;

    /// Draws what has changed since the last time; called after events and after each [`FRAME`].
    fn draw(&mut self, now: Instant, out: &mut dyn Write) -> std::io::Result<()> {
        let _ = (now, out);
        Ok(())
    }

    /// Leaves the terminal as it should be.
    fn finish(&mut self, out: &mut dyn Write) -> std::io::Result<()> {
        let _ = out;
        Ok(())
    }
}

/// Shows events until it is finished.
pub(crate) struct Display {
    events: Option<Sender<(Instant, Event)>>,
    thread: Option<JoinHandle<()>>,
}

impl Display {
    /// Starts to show events on standard error. `tty` without a terminal is `plain`.
    pub(crate) fn start(mode: ProgressMode, style: Style) -> Self {
        let now = Instant::now();
        let screen: Box<dyn Screen> = match mode {
            ProgressMode::Quiet => return Self { events: None, thread: None },
            ProgressMode::Rawjson => Box::new(json::Json::new(now)),
            ProgressMode::Auto | ProgressMode::Tty if std::io::stderr().is_terminal() => {
                Box::new(tty::Tty::new(now, style))
            }
            ProgressMode::Auto | ProgressMode::Tty | ProgressMode::Plain => Box::new(plain::Plain::new(style)),
        };
        let (sender, receiver) = mpsc::channel();
        let thread = thread::spawn(move || show(screen, &receiver));
        Self { events: Some(sender), thread: Some(thread) }
    }

    /// Takes an event.
    pub(crate) fn report(&self, event: Event) {
        if let Some(events) = &self.events {
            // Fails only when the thread has ended because standard error is closed; the work goes on.
            drop(events.send((Instant::now(), event)));
        }
    }

    /// Shows what is left to show and ends.
    pub(crate) fn finish(mut self) {
        self.end();
    }

    fn end(&mut self) {
        drop(self.events.take());
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

fn show(mut screen: Box<dyn Screen>, events: &mpsc::Receiver<(Instant, Event)>) {
    let mut out = std::io::stderr();
    let mut shown = || -> std::io::Result<()> {
        loop {
            match events.recv_timeout(FRAME) {
                Ok((at, event)) => {
                    screen.event(at, &event, &mut out)?;
                    // All that waits, then one drawing.
                    while let Ok((at, event)) = events.try_recv() {
                        screen.event(at, &event, &mut out)?;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return screen.finish(&mut out),
            }
            screen.draw(Instant::now(), &mut out)?;
        }
    };
    // Nobody can be told that standard error does not take text.
    drop(shown());
}

/// Returns `[stage 2/5] TITLE` on one line, or `[linux/arm64 stage 2/5] TITLE` where there are several platforms.
fn title(line: &stave_engine::StepLine) -> String {
    let words: Vec<&str> = line.title.split_whitespace().collect();
    let platform = line.platform.as_ref().map(|platform| format!("{platform} ")).unwrap_or_default();
    let place = format!("{platform}{} {}/{}", line.stage, line.number, line.of);
    crate::render::printable(&format!("[{place}] {}", words.join(" ")))
}
