//! Asking for an end: one flag that waits, connections and transfers look at.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A request to stop, shared by everything that works on one command. Clones are the same token.
#[derive(Clone, Default)]
pub struct Cancel(Arc<Shared>);

#[derive(Default)]
struct Shared {
    cancelled: AtomicBool,
    agents: Mutex<Vec<ureq::Agent>>,
    woken: Condvar,
}

impl Cancel {
    /// Returns a token that nobody has used.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for an end. Waits end at once and open connections are shut, so that blocked reads return.
    ///
    /// Not for signal handlers: it takes a lock. The thread that receives signals may call it.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::SeqCst);
        let agents = std::mem::take(&mut *self.agents());
        self.0.woken.notify_all();
        for agent in agents {
            agent.shutdown();
        }
    }

    /// Whether an end was asked for.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::SeqCst)
    }

    /// Waits for `duration` or for the end, whichever comes first; returns whether an end was asked for.
    #[must_use = "a wait that was cut short must not be taken for a whole one"]
    pub fn wait(&self, duration: Duration) -> bool {
        let end = Instant::now() + duration;
        let mut agents = self.agents();
        while !self.is_cancelled() {
            let Some(rest) = end.checked_duration_since(Instant::now()).filter(|rest| !rest.is_zero()) else {
                return false;
            };
            agents = self.0.woken.wait_timeout(agents, rest).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Has `agent` shut down when the end is asked for.
    pub(crate) fn shuts(&self, agent: &ureq::Agent) {
        let mut agents = self.agents();
        if self.is_cancelled() {
            drop(agents);
            agent.clone().shutdown();
        } else {
            agents.push(agent.clone());
        }
    }

    fn agents(&self) -> std::sync::MutexGuard<'_, Vec<ureq::Agent>> {
        self.0.agents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Cancel").field(&self.is_cancelled()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_when_the_end_is_asked_for() {
        let cancel = Cancel::new();
        assert!(!cancel.wait(Duration::ZERO));
        let other = cancel.clone();
        let waiter = std::thread::spawn(move || other.wait(Duration::from_hours(1)));
        cancel.cancel();
        assert!(waiter.join().expect("the waiter does not panic"));
        assert!(cancel.is_cancelled());
    }
}
