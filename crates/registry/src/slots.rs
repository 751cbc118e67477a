//! How many bodies move from or to one registry at the same time, whatever command, image or thread they belong to.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::auth::Repository;
use crate::error::{HttpError, RegistryError};
use stave_http::url::Origin;

/// How often a wait for a slot looks whether an end was asked for.
const TICK: Duration = Duration::from_millis(100);

/// The transfers that are under way, by registry.
#[derive(Default)]
pub(crate) struct Slots {
    taken: Mutex<BTreeMap<Origin, usize>>,
    freed: Condvar,
}

/// The right to one transfer; it ends with the value.
pub(crate) struct Slot<'s> {
    slots: &'s Slots,
    origin: Origin,
}

impl Slots {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Origin, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'c> Repository<'c> {
    /// Waits until another body may move from or to this registry.
    ///
    /// Errors: somebody asked for an end.
    pub(crate) fn slot(&self) -> Result<Slot<'c>, RegistryError> {
        let client = self.client;
        let limit = client.limits.transfers_per_server_max.max(1);
        let mut taken = client.slots.lock();
        loop {
            if client.cancel.is_cancelled() {
                return Err(HttpError::Cancelled.into());
            }
            let count = taken.entry(self.origin.clone()).or_default();
            if *count < limit {
                *count += 1;
                return Ok(Slot { slots: &client.slots, origin: self.origin.clone() });
            }
            taken = client.slots.freed.wait_timeout(taken, TICK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        if let Some(count) = self.slots.lock().get_mut(&self.origin) {
            *count -= 1;
        }
        self.slots.freed.notify_all();
    }
}
