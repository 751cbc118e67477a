//! Time as a parameter: how long something took, how long to wait, and a little chance.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::{Duration, Instant};

use crate::cancel::Cancel;

/// The client's only source of time. It never jumps: the wall clock plays no part in any decision.
pub trait Clock: Send + Sync {
    /// Time since some fixed moment.
    fn now(&self) -> Duration;

    /// Waits for `duration`, or until `cancel` says to end, whichever comes first.
    fn sleep(&self, duration: Duration, cancel: &Cancel);

    /// A number from 0 to 99 by which waits of many clients are spread.
    fn chance(&self) -> u32;
}

/// The machine's monotonic clock.
#[derive(Debug)]
pub struct SystemClock(Instant);

impl Default for SystemClock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, duration: Duration, cancel: &Cancel) {
        let _cut_short: bool = cancel.wait(duration);
    }

    fn chance(&self) -> u32 {
        // The standard library seeds each of these differently; nothing secret depends on it.
        u32::try_from(RandomState::new().hash_one(0_u8) % 100).expect("a number below 100 fits")
    }
}
