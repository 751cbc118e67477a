//! Something that takes time and is not a step, told from its start to its end.

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::build::Report;
use crate::error::EngineError;
use crate::event::{Event, TaskEnding, TaskId, TaskKind};
use crate::outcome::BuildFailure;
use crate::told;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Least time between two events about how far a task is.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(50);

/// A task that has begun.
///
/// It ends well only where that is said: what drops one without a word has stopped it.
pub(crate) struct Task<'a> {
    id: TaskId,
    events: Report<'a>,
    started: Instant,
    told: Mutex<Told>,
    ending: TaskEnding,
}

/// What work can end with, as it is told.
pub(crate) trait TaskFailure {
    /// Whether it was stopped because of something else.
    fn is_stop(&self) -> bool;

    /// Why it failed, on one line.
    fn why(&self) -> String;
}

impl TaskFailure for EngineError {
    fn is_stop(&self) -> bool {
        self.is_cancelled()
    }

    fn why(&self) -> String {
        told::causes(self)
    }
}

impl TaskFailure for BuildFailure {
    fn is_stop(&self) -> bool {
        match self {
            Self::Interrupted => true,
            Self::Environment(error) => error.is_cancelled(),
            _ => false,
        }
    }

    fn why(&self) -> String {
        told::message(self)
    }
}

/// What was told of how far a task is.
#[derive(Default)]
struct Told {
    at: Option<Instant>,
    /// What came too early to be told.
    waiting: Option<(u64, Option<u64>)>,
}

impl<'a> Task<'a> {
    /// Tells that a task starts.
    pub(crate) fn start(events: Report<'a>, kind: TaskKind, title: String) -> Self {
        let id = TaskId(NEXT.fetch_add(1, Ordering::Relaxed));
        events(Event::TaskStarted { task: id, kind, title });
        let ending = TaskEnding::Cancelled;
        Self { id, events, started: Instant::now(), told: Mutex::default(), ending }
    }

    /// Does `work` as a task, which ends as the work does.
    pub(crate) fn during<T, E: TaskFailure>(
        events: Report<'a>,
        kind: TaskKind,
        title: String,
        work: impl FnOnce(&Self) -> Result<T, E>,
    ) -> Result<T, E> {
        let task = Self::start(events, kind, title);
        let result = work(&task);
        task.end(&result);
        result
    }

    /// Tells that it ended as its work did.
    pub(crate) fn end<T, E: TaskFailure>(mut self, result: &Result<T, E>) {
        self.ending = match result {
            Ok(_) => TaskEnding::Done,
            Err(error) if error.is_stop() => TaskEnding::Cancelled,
            Err(error) => TaskEnding::Failed { message: error.why() },
        };
    }

    /// Tells how far it is, in bytes. May be called for each piece: it is told from time to time, and at the end.
    pub(crate) fn progress(&self, done: u64, total: Option<u64>) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if told.at.is_some_and(|at| now.duration_since(at) < PROGRESS_INTERVAL) {
            told.waiting = Some((done, total));
            return;
        }
        *told = Told { at: Some(now), waiting: None };
        drop(told);
        (self.events)(Event::TaskProgress { task: self.id, done, total });
    }
}

impl Drop for Task<'_> {
    fn drop(&mut self) {
        let told = self.told.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some((done, total)) = told.waiting.take() {
            (self.events)(Event::TaskProgress { task: self.id, done, total });
        }
        let (task, took, ending) = (self.id, self.started.elapsed(), std::mem::take(&mut self.ending));
        (self.events)(Event::TaskFinished { task, took, ending });
    }
}

/// Reads or writes, and tells how many bytes have passed.
pub(crate) struct Counted<'t, 'a, T> {
    inner: T,
    task: &'t Task<'a>,
    done: u64,
    total: Option<u64>,
}

impl<'t, 'a, T> Counted<'t, 'a, T> {
    /// Returns `inner`, of which `total` bytes are expected.
    pub(crate) fn new(inner: T, task: &'t Task<'a>, total: Option<u64>) -> Self {
        Self { inner, task, done: 0, total }
    }

    fn count(&mut self, bytes: usize) -> usize {
        self.done += bytes as u64;
        self.task.progress(self.done, self.total);
        bytes
    }
}

impl<T: Read> Read for Counted<'_, '_, T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        Ok(self.count(count))
    }
}

impl<T: Write> Write for Counted<'_, '_, T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        Ok(self.count(count))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns how a task is told to have ended that `work` has.
    fn ending(work: impl FnOnce(Report<'_>)) -> TaskEnding {
        let told = Mutex::new(None);
        let report = |event| {
            if let Event::TaskFinished { ending, .. } = event {
                *told.lock().expect("no panic") = Some(ending);
            }
        };
        work(&report);
        told.into_inner().expect("no panic").expect("a task ends")
    }

    #[test]
    fn a_task_ends_as_its_work_does() {
        let during = |result: Result<(), EngineError>| {
            ending(|events| drop(Task::during(events, TaskKind::Fetch, "x".to_owned(), |_| result)))
        };
        assert_eq!(during(Ok(())), TaskEnding::Done);
        assert_eq!(during(Err(EngineError::Interrupted)), TaskEnding::Cancelled);
        let source = io::Error::from(io::ErrorKind::PermissionDenied);
        let message = "cannot write `f`: permission denied".to_owned();
        assert_eq!(during(Err(EngineError::io("write", "f", source))), TaskEnding::Failed { message });
        let cancelled = stave_http::HttpError::Cancelled;
        assert_eq!(during(Err(stave_registry::RegistryError::from(cancelled).into())), TaskEnding::Cancelled);
    }

    #[test]
    fn a_task_of_which_nothing_was_said_was_stopped() {
        let dropped = |events: Report<'_>| drop(Task::start(events, TaskKind::Fetch, "x".to_owned()));
        assert_eq!(ending(dropped), TaskEnding::Cancelled);
    }

    #[test]
    fn what_was_done_last_is_told_at_the_end_and_not_every_piece() {
        let told = Mutex::new(Vec::new());
        let report = |event| told.lock().expect("no panic").push(event);
        {
            let task = Task::start(&report, TaskKind::Compress, "x".to_owned());
            let mut out = Counted::new(io::sink(), &task, Some(1000));
            for _ in 0..1000 {
                out.write_all(b"x").expect("a sink takes all");
            }
        }
        let told = told.into_inner().expect("no panic");
        let done: Vec<u64> = told
            .iter()
            .filter_map(|one| if let Event::TaskProgress { done, .. } = one { Some(*done) } else { None })
            .collect();
        assert!(done.len() < 500 && done.first() == Some(&1) && done.last() == Some(&1000), "{done:?}");
    }
}
