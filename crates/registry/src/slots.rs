//! How many bodies move from one registry, and how many to it, at the same time, whatever command, image or thread they
//! belong to.
//!
//! The two directions are counted apart: a blob that is copied within a registry holds one of each, and if they were the
//! same, as many copies as there are slots would wait for each other.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::auth::Repository;
use crate::error::{HttpError, RegistryError};
use stave_http::url::Origin;

/// How often a wait for a slot looks whether an end was asked for.
const TICK: Duration = Duration::from_millis(100);

/// Which way a body moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    From,
    To,
}

/// The transfers that are under way, by registry.
#[derive(Default)]
pub(crate) struct Slots {
    taken: Mutex<BTreeMap<(Origin, Way), usize>>,
    freed: Condvar,
}

/// The right to one transfer; it ends with the value.
pub(crate) struct Slot<'s> {
    slots: &'s Slots,
    key: (Origin, Way),
}

impl Slots {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(Origin, Way), usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'c> Repository<'c> {
    /// Waits until another body may move this way.
    ///
    /// Errors: somebody asked for an end.
    pub(crate) fn slot(&self, way: Way) -> Result<Slot<'c>, RegistryError> {
        let client = self.client;
        let limit = client.limits.transfers_per_server_max.max(1);
        let key = (self.origin.clone(), way);
        let mut taken = client.slots.lock();
        loop {
            if client.cancel.is_cancelled() {
                return Err(HttpError::Cancelled.into());
            }
            let count = taken.entry(key.clone()).or_default();
            if *count < limit {
                *count += 1;
                return Ok(Slot { slots: &client.slots, key });
            }
            taken = client.slots.freed.wait_timeout(taken, TICK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        if let Some(count) = self.slots.lock().get_mut(&self.key) {
            *count -= 1;
        }
        self.slots.freed.notify_all();
    }
}
