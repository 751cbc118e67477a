//! A time after which transfers end, although nobody has asked for the end of everything.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use stave_registry::Cancel;

/// Time between two looks at the clock and at the request to end everything.
const LOOK: Duration = Duration::from_millis(20);

/// A request to end that makes itself when its time has come, and with the request that it hangs on.
pub(super) struct Deadline {
    cancel: Cancel,
    passed: Arc<AtomicBool>,
    watch: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Deadline {
    /// Begins to watch, for at most `time`; without one, it is `all` itself.
    ///
    /// Errors: no thread can be started.
    pub(super) fn start(all: Cancel, time: Option<Duration>) -> std::io::Result<Self> {
        let passed = Arc::new(AtomicBool::new(false));
        let Some(time) = time else { return Ok(Self { cancel: all, passed, watch: None }) };
        let (done, ended) = channel::<()>();
        let cancel = Cancel::new();
        let (own, tell, start) = (cancel.clone(), Arc::clone(&passed), Instant::now());
        let watch = move || {
            while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(LOOK) {
                if all.is_cancelled() {
                    return own.cancel();
                }
                if start.elapsed() >= time {
                    tell.store(true, Ordering::SeqCst);
                    return own.cancel();
                }
            }
        };
        let thread = std::thread::Builder::new().name("deadline".to_owned()).spawn(watch)?;
        Ok(Self { cancel, passed, watch: Some((done, thread)) })
    }

    /// Returns what transfers look at.
    pub(super) fn cancel(&self) -> Cancel {
        self.cancel.clone()
    }

    /// Whether the time has passed.
    pub(super) fn has_passed(&self) -> bool {
        self.passed.load(Ordering::SeqCst)
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        if let Some((done, thread)) = self.watch.take() {
            drop(done);
            // It does not panic, and if it did, nothing would hang on it.
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transfers_end_with_the_time_and_with_everything() {
        let all = Cancel::new();
        let late = Deadline::start(all.clone(), Some(Duration::ZERO)).expect("it starts");
        assert!(late.cancel().wait(Duration::from_mins(1)) && late.has_passed() && !all.is_cancelled());
        let early = Deadline::start(all.clone(), Some(Duration::from_hours(1))).expect("it starts");
        let none = Deadline::start(all.clone(), None).expect("it starts");
        all.cancel();
        assert!(early.cancel().wait(Duration::from_mins(1)) && !early.has_passed());
        assert!(none.cancel().is_cancelled() && !none.has_passed());
    }
}
