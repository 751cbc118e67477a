//! SIGINT, SIGTERM and SIGHUP: the first ends the work in order, the second ends the process at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, Instant};
use std::{io, thread};

use rustix::process::Signal;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use stave_engine::Cancel;

/// Time that a container gets to end after it was asked to, as with `docker stop`.
const GRACE: Duration = Duration::from_secs(10);
/// How often it is looked whether the container has started.
const MOMENT: Duration = Duration::from_millis(5);

/// What the signals have done so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Received {
    /// The first signal, 0 if none.
    first: Arc<AtomicI32>,
    /// Whether signals go to the container instead of ending stave's own work.
    forward: Arc<AtomicBool>,
}

impl Received {
    /// Returns the first signal that came.
    pub(crate) fn first(&self) -> Option<i32> {
        Some(self.first.load(Ordering::SeqCst)).filter(|&signal| signal != 0)
    }

    /// From now on signals go to the running container, whose command may know what to do with them. A second signal,
    /// and the end of a period of grace, kill it.
    pub(crate) fn forward(&self) {
        self.forward.store(true, Ordering::SeqCst);
    }

    /// Takes one signal. Returns whether it was the last straw.
    fn take(&self, signal: i32, cancel: &Cancel) -> bool {
        let earlier = self.first.swap(signal, Ordering::SeqCst);
        if self.forward.load(Ordering::SeqCst) && earlier == 0 {
            let (signal, cancel) = (Signal::from_named_raw(signal), cancel.clone());
            thread::spawn(move || pass_on(signal, &cancel));
            return false;
        }
        let again = cancel.is_cancelled();
        cancel.cancel();
        again
    }
}

/// Asks the container's command to end, and kills it when the grace is over. The command may be about to start.
fn pass_on(signal: Option<Signal>, cancel: &Cancel) {
    let end = Instant::now() + GRACE;
    while !cancel.is_watching() && Instant::now() < end {
        thread::sleep(MOMENT);
    }
    if let Some(signal) = signal {
        cancel.signal(signal);
    }
    thread::sleep(end.saturating_duration_since(Instant::now()));
    cancel.cancel();
}

/// Starts to watch for signals. There must be a thread for it, so call it after the launcher was started.
pub(crate) fn watch(cancel: Cancel) -> io::Result<Received> {
    let received = Received::default();
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let state = received.clone();
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            if state.take(signal, &cancel) {
                leave(signal);
            }
        }
    })?;
    Ok(received)
}

#[expect(clippy::exit, reason = "the user asked twice; steps end with this process")]
fn leave(signal: i32) -> ! {
    std::process::exit(128 + signal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_signal_cancels_and_the_second_is_the_last_straw() {
        let (received, cancel) = (Received::default(), Cancel::new());
        assert_eq!(received.first(), None);
        assert!(!received.take(SIGINT, &cancel));
        assert!(cancel.is_cancelled());
        assert_eq!(received.first(), Some(SIGINT));
        assert!(received.take(SIGINT, &cancel));
    }

    #[test]
    fn a_forwarded_signal_does_not_cancel_and_the_next_does() {
        let (received, cancel) = (Received::default(), Cancel::new());
        received.forward();
        assert!(!received.take(SIGTERM, &cancel));
        assert!(!cancel.is_cancelled());
        assert!(!received.take(SIGTERM, &cancel));
        assert!(cancel.is_cancelled());
    }
}
