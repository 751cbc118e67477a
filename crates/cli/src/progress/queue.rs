//! Events on their way from the threads that work to the one that shows them, in bounded memory.
//!
//! Who tells an event never waits. What steps write is kept up to a number of bytes; of more, the oldest of the step that
//! wrote most is dropped and counted. It is in the step's log all the same.

use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use stave_engine::{Event, StepId, Stream, TaskId};

/// What one piece of output costs besides its bytes, so that very many small ones are bounded as well.
const PIECE_BYTES: usize = 128;

/// What a step wrote and nobody has taken yet.
#[derive(Default)]
struct Output {
    pieces: VecDeque<(u64, Instant, Stream, Vec<u8>)>,
    cost: usize,
    /// Where the last piece was that is missing, and the bytes of all that are.
    skipped: Option<(u64, Instant, u64)>,
}

#[derive(Default)]
struct State {
    /// Number of the next event, which says in which order they came.
    next: u64,
    events: Vec<(u64, Instant, Event)>,
    outputs: BTreeMap<StepId, Output>,
    /// How far each task is: the latest counts.
    progress: BTreeMap<TaskId, (u64, Instant, Event)>,
    cost: usize,
    is_closed: bool,
    sleep: Sleep,
}

/// What wakes who shows. Waking costs more than telling, so it is done when it is of use.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Sleep {
    /// Anything.
    #[default]
    Light,
    /// Much output, or the end.
    Deep,
    /// The end alone.
    Deepest,
}

/// How events are taken.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pace {
    /// All that has come by a time.
    Frames,
    /// As soon as something has come, with what comes within this time after it.
    Gathered(Duration),
}

/// Events between those who tell and the one who shows.
pub(super) struct Queue {
    state: Mutex<State>,
    more: Condvar,
    bytes_max: usize,
}

/// What was taken out.
pub(super) struct Batch {
    pub(super) told: Vec<(Instant, Event)>,
    pub(super) is_last: bool,
}

impl Queue {
    /// Returns a queue that holds at most so many bytes of output.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { state: Mutex::default(), more: Condvar::new(), bytes_max }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps until something wakes, or until a time.
    fn wait<'a>(&'a self, mut state: MutexGuard<'a, State>, sleep: Sleep, until: Instant) -> MutexGuard<'a, State> {
        state.sleep = sleep;
        loop {
            let is_enough = match sleep {
                Sleep::Light => !state.is_empty(),
                Sleep::Deep => state.cost > self.bytes_max / 4,
                Sleep::Deepest => false,
            };
            let rest = until.saturating_duration_since(Instant::now());
            if state.is_closed || is_enough || rest.is_zero() {
                return state;
            }
            state = self.more.wait_timeout(state, rest).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Takes an event. Never waits for who shows it.
    pub(super) fn push(&self, at: Instant, event: Event) {
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        match event {
            Event::StepOutput { step, stream, bytes } => {
                let cost = bytes.len() + PIECE_BYTES;
                let output = state.outputs.entry(step).or_default();
                output.pieces.push_back((number, at, stream, bytes));
                output.cost += cost;
                state.cost += cost;
                while state.cost > self.bytes_max {
                    state.drop_oldest();
                }
            }
            Event::TaskProgress { task, .. } => drop(state.progress.insert(task, (number, at, event))),
            event => state.events.push((number, at, event)),
        }
        let wakes = match state.sleep {
            Sleep::Light => true,
            Sleep::Deep => state.cost > self.bytes_max / 4,
            Sleep::Deepest => false,
        };
        drop(state);
        if wakes {
            self.more.notify_one();
        }
    }

    /// No more events come.
    pub(super) fn close(&self) {
        self.state().is_closed = true;
        self.more.notify_one();
    }

    /// Returns what there is, in the order in which it was told. Waits at most until `until` for something to come.
    pub(super) fn take(&self, until: Instant, pace: Pace) -> Batch {
        let mut state = self.state();
        match pace {
            Pace::Frames => state = self.wait(state, Sleep::Deepest, until),
            Pace::Gathered(time) => {
                if state.is_empty() {
                    state = self.wait(state, Sleep::Light, until);
                }
                if !state.is_empty() {
                    state = self.wait(state, Sleep::Deep, Instant::now() + time);
                }
            }
        }
        let is_last = state.is_closed;
        let (events, outputs) = (mem::take(&mut state.events), mem::take(&mut state.outputs));
        let progress = mem::take(&mut state.progress);
        state.cost = 0;
        drop(state);
        Batch { told: in_order(events, outputs, progress), is_last }
    }
}

impl State {
    fn is_empty(&self) -> bool {
        self.events.is_empty() && self.outputs.is_empty() && self.progress.is_empty()
    }

    /// Drops the oldest piece of the step that has most in the queue.
    fn drop_oldest(&mut self) {
        let Some(most) = self.outputs.values_mut().max_by_key(|output| output.cost) else { return };
        let Some((number, at, _, bytes)) = most.pieces.pop_front() else { return };
        let cost = bytes.len() + PIECE_BYTES;
        let before = most.skipped.map_or(0, |(.., bytes)| bytes);
        most.skipped = Some((number, at, before + bytes.len() as u64));
        most.cost -= cost;
        self.cost -= cost;
    }
}

fn in_order(
    events: Vec<(u64, Instant, Event)>,
    outputs: BTreeMap<StepId, Output>,
    progress: BTreeMap<TaskId, (u64, Instant, Event)>,
) -> Vec<(Instant, Event)> {
    let mut all: Vec<(u64, Instant, Event)> = events.into_iter().chain(progress.into_values()).collect();
    for (step, output) in outputs {
        all.extend(output.skipped.map(|(number, at, bytes)| (number, at, Event::StepOutputSkipped { step, bytes })));
        let piece = |(number, at, stream, bytes)| (number, at, Event::StepOutput { step, stream, bytes });
        all.extend(output.pieces.into_iter().map(piece));
    }
    all.sort_by_key(|(number, ..)| *number);
    all.into_iter().map(|(_, at, told)| (at, told)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn output(step: u32, bytes: &[u8]) -> Event {
        Event::StepOutput { step: StepId(step), stream: Stream::Stdout, bytes: bytes.to_vec() }
    }

    fn taken(queue: &Queue) -> Vec<Event> {
        queue.take(Instant::now(), Pace::Frames).told.into_iter().map(|(_, told)| told).collect()
    }

    #[test]
    fn events_come_out_in_their_order() {
        let queue = Queue::new(1000);
        let events = [Event::StepStarted { step: StepId(1) }, output(1, b"a"), output(2, b"b"), output(1, b"c")];
        for event in &events {
            queue.push(Instant::now(), event.clone());
        }
        assert_eq!(taken(&queue), events);
        assert_eq!(taken(&queue), []);
    }

    #[test]
    fn of_output_that_nobody_takes_the_oldest_is_dropped_and_counted() {
        let queue = Queue::new(3 * (PIECE_BYTES + 10));
        queue.push(Instant::now(), output(2, b"quiet"));
        for number in 0..10 {
            queue.push(Instant::now(), output(1, format!("piece {number:04}").as_bytes()));
        }
        let skipped = Event::StepOutputSkipped { step: StepId(1), bytes: 80 };
        let expected = [output(2, b"quiet"), skipped, output(1, b"piece 0008"), output(1, b"piece 0009")];
        assert_eq!(taken(&queue), expected);
    }

    #[test]
    fn of_a_tasks_progress_the_latest_is_kept() {
        let queue = Queue::new(1000);
        for done in 0..1000 {
            queue.push(Instant::now(), Event::TaskProgress { task: TaskId(1), done, total: None });
        }
        let last = Event::TaskProgress { task: TaskId(1), done: 999, total: None };
        assert_eq!(taken(&queue), [last]);
    }

    proptest! {
        /// Whatever steps write and however late it is taken: memory is bounded, and every byte is shown or counted.
        #[test]
        fn every_byte_is_shown_or_counted(
            pieces in prop::collection::vec((0_u32..4, 0_usize..300, prop::bool::weighted(0.1)), 0..200)
        ) {
            let queue = Queue::new(1000);
            let (mut written, mut seen) = ([0_u64; 4], [0_u64; 4]);
            let mut see = |told: Vec<Event>| for one in told {
                match one {
                    Event::StepOutput { step, bytes, .. } => seen[step.0 as usize] += bytes.len() as u64,
                    Event::StepOutputSkipped { step, bytes } => seen[step.0 as usize] += bytes,
                    _ => {}
                }
            };
            for (step, length, taken_now) in pieces {
                written[step as usize] += length as u64;
                queue.push(Instant::now(), output(step, &vec![b'x'; length]));
                prop_assert!(queue.state().cost <= 1000);
                if taken_now {
                    see(taken(&queue));
                }
            }
            see(taken(&queue));
            prop_assert_eq!(written, seen);
        }
    }
}
