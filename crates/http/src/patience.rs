//! How often a failed request is repeated, and how long is waited in between.

use std::sync::Arc;

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
        self.clock.sleep(wait, self.cancel);
        if self.cancel.is_cancelled() { Wait::Cancelled } else { Wait::Again }
    }
}
