//! How often a failed request is repeated, and how long is waited in between.

use std::sync::Arc;
use std::time::Duration;

use crate::cancel::Cancel;
use crate::client::Retry;
use crate::clock::Clock;
use crate::limits::Limits;

/// Counts failures of one undertaking and waits between its attempts.
pub struct Patience<'a> {
    limits: &'a Limits,
    cancel: &'a Cancel,
    clock: &'a Arc<dyn Clock>,
    retries: u32,
    failures: u32,
}

/// What comes after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a failure that nobody looks at is repeated forever"]
pub enum Wait {
    /// Another attempt; the time until then has passed.
    Again,
    /// Nothing: it would fail again, or it was tried often enough.
    GiveUp,
    /// Nothing: somebody asked for an end.
    Cancelled,
}

impl<'a> Patience<'a> {
    /// Returns a count that has no failure in it.
    #[must_use]
    pub fn new(limits: &'a Limits, cancel: &'a Cancel, clock: &'a Arc<dyn Clock>) -> Self {
        Self { limits, cancel, clock, retries: limits.retries_max, failures: 0 }
    }

    /// None at all: somebody else can be asked.
    #[must_use]
    pub fn none(mut self) -> Self {
        self.retries = 0;
        self
    }

    /// Forgets the failures so far: something was achieved since.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Waits before the next attempt, if there should be one.
    pub fn wait(&mut self, retry: Retry) -> Wait {
        self.wait_told(retry, &|_| ())
    }

    /// The same, and tells for how long before it does.
    pub fn wait_told(&mut self, retry: Retry, tell: &dyn Fn(Duration)) -> Wait {
        let wait = match retry {
            Retry::Never => return Wait::GiveUp,
            _ if self.failures >= self.retries => return Wait::GiveUp,
            Retry::Briefly if self.failures >= self.limits.connect_retries_max => return Wait::GiveUp,
            Retry::After(wait) => wait.min(self.limits.retry_after_max),
            Retry::Later | Retry::Briefly => {
                let doubled = self.limits.backoff_first.saturating_mul(1_u32 << self.failures.min(16));
                let wait = doubled.min(self.limits.backoff_max);
                // Up to a quarter more, so that clients that failed together don't come back together.
                wait + wait * self.clock.chance() / 400
            }
        };
        self.failures += 1;
        tell(wait);
        self.clock.sleep(wait, self.cancel);
        if self.cancel.is_cancelled() { Wait::Cancelled } else { Wait::Again }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;

    /// A clock on which waits take no time, and which has one chance for all of them.
    struct Recorded {
        chance: u32,
        slept: Mutex<Vec<Duration>>,
    }

    impl Clock for Recorded {
        fn now(&self) -> Duration {
            Duration::ZERO
        }

        fn sleep(&self, duration: Duration, _: &Cancel) {
            self.slept.lock().expect("no test fails here").push(duration);
        }

        fn chance(&self) -> u32 {
            self.chance
        }
    }

    /// Returns the waits of an undertaking that fails until it is given up.
    fn waits(chance: u32, retry: Retry) -> Vec<Duration> {
        let recorded = Arc::new(Recorded { chance, slept: Mutex::default() });
        let clock: Arc<dyn Clock> = Arc::<Recorded>::clone(&recorded);
        let (limits, cancel) = (Limits::default(), Cancel::new());
        let mut patience = Patience::new(&limits, &cancel, &clock);
        while patience.wait(retry) == Wait::Again {}
        let slept = recorded.slept.lock().expect("no test fails here");
        slept.clone()
    }

    /// F5: clients that failed together do not come back together, and none waits for longer than a quarter more.
    #[test]
    fn waits_double_to_a_limit_and_are_spread_by_chance() {
        let limits = Limits::default();
        let (even, late) = (waits(0, Retry::Later), waits(99, Retry::Later));
        assert_eq!(u32::try_from(even.len()).expect("a few"), limits.retries_max);
        assert_eq!(even[0], limits.backoff_first);
        for (place, (even, late)) in even.iter().zip(&late).enumerate() {
            let doubled = limits.backoff_first.saturating_mul(1 << place);
            assert_eq!(*even, doubled.min(limits.backoff_max));
            assert_eq!(*late, *even + *even * 99 / 400, "a quarter more at most");
        }
    }

    /// F5: what the server asks for counts within reason, and is not spread: it knows when it is ready.
    #[test]
    fn the_servers_own_wait_is_kept_to_a_limit() {
        let limits = Limits::default();
        let second = Duration::from_secs(1);
        assert!(waits(99, Retry::After(second)).iter().all(|wait| *wait == second));
        let hour = Duration::from_hours(1);
        assert!(waits(0, Retry::After(hour)).iter().all(|wait| *wait == limits.retry_after_max));
    }
}
