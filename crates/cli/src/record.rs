//! Writes the events of a build into its directory, as the history of it.
//!
//! What steps write is not among them: it is in the logs beside. A history that cannot be written is no reason for a build
//! to fail, so nothing here does.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use stave_engine::{Event, TaskId};
use stave_history::Record;
use stave_history::event::json;

use crate::host::since_1970;
use crate::telemetry::Recorded;

/// Name of the file in a build's directory.
const FILE: &str = "events.jsonl";

/// Returns what is written down of the build whose directory this is, if anything is. A build that still runs has written
/// all but its last moments.
pub(crate) fn read(directory: &Path) -> Option<Record> {
    let bytes = std::fs::read(directory.join(FILE)).ok()?;
    // What is cut off may end within a character.
    Some(Record::of_lines(String::from_utf8_lossy(&bytes).lines()))
}

/// Returns how many bytes are written down of a build. That there are more of them is how one sees that something happened.
pub(crate) fn length(directory: &Path) -> u64 {
    std::fs::metadata(directory.join(FILE)).map_or(0, |metadata| metadata.len())
}

/// Writes events until it is finished. What waits is written by a thread of its own, so that nothing waits for the disk.
pub(crate) struct Recorder {
    start: Instant,
    /// When that was, since 1970.
    began: Duration,
    /// Where the build's directory is, once it has begun.
    directory: OnceLock<PathBuf>,
    events: Option<Sender<(Duration, Event)>>,
    thread: Option<JoinHandle<()>>,
}

impl Recorder {
    /// Waits for the build to begin.
    pub(crate) fn start() -> Self {
        let (events, inbox) = mpsc::channel();
        let thread = thread::spawn(move || write(&inbox));
        let (start, began) = (Instant::now(), since_1970());
        Self { start, began, directory: OnceLock::new(), events: Some(events), thread: Some(thread) }
    }

    /// Takes an event.
    pub(crate) fn report(&self, event: &Event) {
        if matches!(event, Event::StepOutput { .. }) {
            return;
        }
        if let Event::Begun { directory, .. } = event {
            self.directory.get_or_init(|| directory.clone());
        }
        if let Some(events) = &self.events {
            // Fails only when the thread has ended.
            drop(events.send((self.start.elapsed(), event.clone())));
        }
    }

    /// Writes what is left, and returns what was written down, if the build has begun.
    pub(crate) fn finish(mut self) -> Option<Recorded> {
        drop(self.events.take());
        // A panic there is a fault of this module, and the build is none the worse for it.
        drop(self.thread.take().map(JoinHandle::join));
        self.directory.into_inner().map(|directory| Recorded { directory, began: self.began })
    }
}

/// The file, and what comes before there is one.
#[derive(Default)]
struct Writer {
    file: Option<BufWriter<File>>,
    waiting: Vec<String>,
    /// How far each task is: only the last of it is kept.
    progress: BTreeMap<TaskId, (Duration, Event)>,
}

impl Writer {
    fn take(&mut self, at: Duration, event: Event) {
        match &event {
            Event::TaskProgress { task, .. } => {
                self.progress.insert(*task, (at, event));
                return;
            }
            Event::TaskFinished { task, .. } => {
                if let Some((at, last)) = self.progress.remove(task) {
                    self.waiting.push(json::line(at, &last));
                }
            }
            Event::Begun { directory, .. } => {
                self.file = File::create(directory.join(FILE)).ok().map(BufWriter::new);
                self.waiting.insert(0, json::line(at, &event));
                return;
            }
            _ => {}
        }
        self.waiting.push(json::line(at, &event));
    }

    /// Writes what waits, so that it can be read while the build runs.
    fn flush(&mut self) {
        let Some(file) = &mut self.file else { return };
        for line in self.waiting.drain(..) {
            drop(writeln!(file, "{line}"));
        }
        drop(file.flush());
    }
}

fn write(inbox: &mpsc::Receiver<(Duration, Event)>) {
    let mut writer = Writer::default();
    while let Ok((at, event)) = inbox.recv() {
        writer.take(at, event);
        // All that waits, then one write.
        while let Ok((at, event)) = inbox.try_recv() {
            writer.take(at, event);
        }
        writer.flush();
    }
}
