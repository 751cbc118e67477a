//! Cancelling: one flag that everything checks, and the processes to end when it is set.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Signal, pidfd_send_signal};

/// Lets one thread end what others do. Clones are the same flag.
#[derive(Clone, Default)]
pub struct Cancel {
    transfers: stave_registry::Cancel,
    processes: Arc<Mutex<Vec<(u64, OwnedFd)>>>,
    next: Arc<AtomicU64>,
}

impl Cancel {
    /// Returns a flag that is not set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the flag and kills every watched process. A process that is watched later is killed at once.
    pub fn cancel(&self) {
        self.transfers.cancel();
        self.signal(Signal::KILL);
    }

    /// Whether [`Cancel::cancel`] was called.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.transfers.is_cancelled()
    }

    /// Returns the part that transfers wait on.
    pub(crate) fn transfers(&self) -> stave_registry::Cancel {
        self.transfers.clone()
    }

    /// Sends `signal` to every watched process.
    pub fn signal(&self, signal: Signal) {
        for (_, process) in self.lock().iter() {
            send(process.as_fd(), signal);
        }
    }

    /// Whether there is a process that [`Cancel::signal`] would reach.
    #[must_use]
    pub fn is_watching(&self) -> bool {
        !self.lock().is_empty()
    }

    /// Ends the process behind `pidfd` when this is cancelled, until the returned guard is dropped.
    pub(crate) fn watch(&self, pidfd: BorrowedFd<'_>) -> std::io::Result<Watch<'_>> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let process = pidfd.try_clone_to_owned()?;
        if self.is_cancelled() {
            send(process.as_fd(), Signal::KILL);
        }
        self.lock().push((id, process));
        if self.is_cancelled() {
            self.signal(Signal::KILL);
        }
        Ok(Watch { cancel: self, id })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(u64, OwnedFd)>> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends a signal. A process that has ended already cannot get one, which is as good.
fn send(process: BorrowedFd<'_>, signal: Signal) {
    match pidfd_send_signal(process, signal) {
        Ok(()) | Err(_) => {}
    }
}

/// A process that ends when the build is cancelled.
pub(crate) struct Watch<'a> {
    cancel: &'a Cancel,
    id: u64,
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.cancel.lock().retain(|(id, _)| *id != self.id);
    }
}
