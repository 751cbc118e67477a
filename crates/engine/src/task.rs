//! Something that takes time and is not a step, told from its start to its end.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use crate::build::Report;
use crate::event::{Event, TaskId, TaskKind};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A task that ends when it is dropped.
pub(crate) struct Task<'a> {
    id: TaskId,
    events: Report<'a>,
    started: Instant,
}

impl<'a> Task<'a> {
    /// Tells that a task starts.
    pub(crate) fn start(events: Report<'a>, kind: TaskKind, title: String) -> Self {
        let id = TaskId(NEXT.fetch_add(1, Ordering::Relaxed));
        events(Event::TaskStarted { task: id, kind, title });
        Self { id, events, started: Instant::now() }
    }

    /// Tells how far it is, in bytes.
    pub(crate) fn progress(&self, done: u64, total: Option<u64>) {
        (self.events)(Event::TaskProgress { task: self.id, done, total });
    }
}

impl Drop for Task<'_> {
    fn drop(&mut self) {
        (self.events)(Event::TaskFinished { task: self.id, took: self.started.elapsed() });
    }
}
